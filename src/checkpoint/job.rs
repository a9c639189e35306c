//! A checkpoint under way, and the pieces of it.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use crate::{
    checkpoint::{
        index::Build,
        output::HeapWriter,
        plan::{Heaps, Partitions, Refs, Scope},
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
    pub(super) extent: Scope,
    pub(super) next: Manifest,
    pub(super) tasks: VecDeque<Task>,
    /// The changed nodes, ascending, and what of the layer is said of each.
    pub(super) changes: Vec<(NodeId, VersionRef)>,
    /// Heaps whose content moves.
    pub(super) gc_victims: Heaps,
    pub(super) heap: HeapWriter,
    /// All files made so far.
    pub(super) made: Vec<PathBuf>,
    /// The new parts of the tables, in order, each with the old parts in whose
    /// place it is.
    pub(super) nodes: Vec<(Partitions, Vec<TableFile>)>,
    pub(super) out: Vec<(Partitions, Vec<TableFile>)>,
    pub(super) in_edges: Vec<(Partitions, Vec<TableFile>)>,
    pub(super) keys: Vec<(Partitions, Vec<TableFile>)>,
    /// The files of the spaces that were looked at.
    pub(super) vectors: Vec<VectorFile>,
    /// Codes of the last of those.
    pub(super) build: Option<Build>,
    /// Bytes of heaps that the new parts refer to.
    pub(super) refs: Refs,
}

/// A piece of a checkpoint.
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
    /// As docs/architecture.md names it.
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
