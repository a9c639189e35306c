//! A checkpoint under way, and the pieces of it.

use std::{collections::VecDeque, path::PathBuf, sync::Arc};

use crate::{
    checkpoint::{
        index::Build,
        output::HeapWriter,
        plan::{Extent, Heaps, Parts, Refs},
    },
    format::manifest::{Manifest, TableFile, VectorFile},
    model::id::NodeId,
    state::{
        base::Base,
        layer::{Frozen, node_table::Said},
    },
};

/// A checkpoint under way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) frozen: Arc<Frozen>,
    pub(crate) old: Arc<Base>,
    pub(crate) extent: Extent,
    pub(crate) next: Manifest,
    pub(crate) tasks: VecDeque<Task>,
    /// The changed nodes, ascending, and what of the layer is said of each.
    pub(crate) changes: Vec<(NodeId, Said)>,
    /// Heaps whose content moves.
    pub(crate) condemned: Heaps,
    pub(crate) heap: HeapWriter,
    /// All files made so far.
    pub(crate) made: Vec<PathBuf>,
    /// The new parts of the tables, in order, each with the old parts in whose
    /// place it is.
    pub(crate) nodes: Vec<(Parts, Vec<TableFile>)>,
    pub(crate) out: Vec<(Parts, Vec<TableFile>)>,
    pub(crate) into: Vec<(Parts, Vec<TableFile>)>,
    pub(crate) keys: Vec<(Parts, Vec<TableFile>)>,
    /// The files of the spaces that were looked at.
    pub(crate) vectors: Vec<VectorFile>,
    /// Codes of the last of those.
    pub(crate) build: Option<Build>,
    /// Bytes of heaps that the new parts refer to.
    pub(crate) refs: Refs,
}

/// A piece of a checkpoint.
#[derive(Debug)]
pub(crate) enum Task {
    Nodes(Parts),
    Out(Parts),
    In(Parts),
    Keys(Parts),
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
