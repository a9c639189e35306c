//! A checkpoint under way, and its tasks.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use crate::{
    checkpoint::{
        index::Build,
        kinds::KindRows,
        output::HeapWriter,
        plan::{Heaps, Partitions, Refs, Scope, Targets},
    },
    format::manifest::{Manifest, TableFile, VectorFile},
    model::id::NodeId,
    state::{
        base::Base,
        layer::{Frozen, node_table::VersionRef},
    },
};

/// A checkpoint under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(super) frozen: Arc<Frozen>,
    pub(super) old: Arc<Base>,
    pub(super) scope: Scope,
    pub(super) next: Manifest,
    pub(super) tasks: VecDeque<Task>,
    /// The changed nodes, ascending, each with its version in the layer.
    pub(super) changes: Vec<(NodeId, VersionRef)>,
    /// Heaps whose live records move to new heaps.
    pub(super) gc_victims: Heaps,
    /// The sizes of partitions.
    pub(super) targets: Targets,
    pub(super) heap: HeapWriter,
    /// All files created so far.
    pub(super) made: Vec<PathBuf>,
    /// The new partitions of the tables, in order, each with the range of old
    /// partitions that they replace.
    pub(super) nodes: Vec<(Partitions, Vec<TableFile>)>,
    pub(super) out: Vec<(Partitions, Vec<TableFile>)>,
    pub(super) in_edges: Vec<(Partitions, Vec<TableFile>)>,
    pub(super) keys: Vec<(Partitions, Vec<TableFile>)>,
    /// The vector files of the spaces that are done.
    pub(super) vectors: Vec<VectorFile>,
    /// The building of codes for the last of those files.
    pub(super) build: Option<Build>,
    /// Bytes of heaps that the new partitions refer to.
    pub(super) refs: Refs,
    /// Rows by kind of the partitions that are replaced, and of the new ones.
    pub(super) kinds: KindRows,
}

/// A task of a checkpoint.
#[derive(Debug)]
pub(crate) enum Task {
    Nodes(Partitions),
    Out(Partitions),
    In(Partitions),
    Keys(Partitions),
    Vectors(u32),
    Codes,
    Finish,
}

impl Task {
    /// The name in docs/architecture.md.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Nodes(_) => "nodes",
            Self::Out(_) => "out",
            Self::In(_) => "in",
            Self::Keys(_) => "keys",
            Self::Vectors(_) => "vectors",
            Self::Codes => "index",
            Self::Finish => "publish",
        }
    }
}
