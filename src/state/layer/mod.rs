//! A layer: what was committed since a checkpoint, in memory.

pub(crate) mod arena;
pub(crate) mod kinds;
pub(crate) mod node_table;

use std::sync::Arc;

use im::OrdMap;

use crate::{
    format::{
        manifest::{Counts, NamedSpace},
        tables::EdgeKey,
    },
    model::{id::NodeId, time::Seq},
    state::{
        catalog::Dictionary,
        layer::{kinds::KindLog, node_table::NodeTable},
        record::{EdgeRecord, KeyEntry, NodeRecord, Vector},
    },
};

/// Changes on top of a base, or of another layer: what is not in it is as it is
/// below. `None` and `false` stand for what is there no more.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Shared by all states of the layer, which look at it each at its own
    /// sequence number.
    pub(crate) nodes: Arc<NodeTable>,
    /// The kinds that nodes came to: shared likewise.
    pub(crate) by_kind: Arc<KindLog>,
    pub(crate) out: OrdMap<EdgeKey, Option<Arc<EdgeRecord>>>,
    pub(crate) in_edges: OrdMap<EdgeKey, Option<Arc<EdgeRecord>>>,
    pub(crate) keys: OrdMap<KeyEntry, bool>,
    pub(crate) vectors: OrdMap<(u32, NodeId), Option<Arc<Vector>>>,
    /// About how many bytes of memory all this takes.
    pub(crate) bytes: usize,
}

impl Layer {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Arc::default(),
            by_kind: Arc::default(),
            out: OrdMap::new(),
            in_edges: OrdMap::new(),
            keys: OrdMap::new(),
            vectors: OrdMap::new(),
            bytes: 0,
        }
    }

    /// Whether nothing was changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.out.is_empty()
            && self.in_edges.is_empty()
            && self.keys.is_empty()
            && self.vectors.is_empty()
    }

    pub(crate) fn grow(&mut self, more: usize, less: usize) {
        self.bytes = self.bytes.saturating_add(more).saturating_sub(less);
    }
}

/// What a checkpoint writes: a layer, and what was true when it was taken.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) layer: Layer,
    pub(crate) seq: Seq,
    pub(crate) kinds: Dictionary,
    pub(crate) indexes: Dictionary,
    pub(crate) spaces: Vec<NamedSpace>,
    pub(crate) counts: Counts,
}

impl Frozen {
    /// What it says of a node.
    pub(crate) fn node(&self, id: &NodeId) -> Option<Option<&NodeRecord>> {
        self.layer.nodes.get(id, self.seq)
    }
}
