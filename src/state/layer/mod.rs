//! A layer: an in-memory set of committed changes.

pub(crate) mod arena;
pub(crate) mod change;
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
        catalog::{Dictionary, Indexes},
        layer::{change::Change, kinds::KindLog, node_table::NodeTable},
        record::{EdgeRecord, KeyEntry, NodeRecord, Vector},
    },
};

/// How many nodes and edges of a kind a layer adds to what is below; less than none
/// if it takes some away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KindChange {
    pub(crate) nodes: i64,
    pub(crate) edges: i64,
}

impl KindChange {
    pub(crate) const NODE: Self = Self { nodes: 1, edges: 0 };
    pub(crate) const NO_NODE: Self = Self { nodes: -1, edges: 0 };
    pub(crate) const EDGE: Self = Self { nodes: 0, edges: 1 };
    pub(crate) const NO_EDGE: Self = Self { nodes: 0, edges: -1 };

    /// Both changes.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            edges: self.edges.saturating_add(other.edges),
        }
    }
}

/// Changes on top of a base or of another layer. What it has no entry for is as
/// it is below.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Shared by all states that have the layer; each reads it at its own
    /// sequence number.
    pub(super) nodes: Arc<NodeTable>,
    /// The nodes by kind, shared likewise.
    pub(super) by_kind: Arc<KindLog>,
    pub(super) out: OrdMap<EdgeKey, Change<Arc<EdgeRecord>>>,
    pub(super) in_edges: OrdMap<EdgeKey, Change<Arc<EdgeRecord>>>,
    pub(super) keys: OrdMap<KeyEntry, Change<()>>,
    pub(super) vectors: OrdMap<(u32, NodeId), Change<Arc<Vector>>>,
    /// How many nodes and edges of each kind it adds to what is below.
    pub(super) of_kinds: OrdMap<u32, KindChange>,
    /// Estimated bytes of memory of the layer.
    pub(super) bytes: usize,
}

impl Layer {
    /// The node table, shared by all states that have the layer.
    #[inline]
    pub(crate) fn nodes(&self) -> &NodeTable {
        &self.nodes
    }

    #[inline]
    pub(crate) fn shared_nodes(&self) -> &Arc<NodeTable> {
        &self.nodes
    }

    /// Estimated bytes of memory of the layer.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(crate) fn vectors(&self) -> &OrdMap<(u32, NodeId), Change<Arc<Vector>>> {
        &self.vectors
    }

    /// The nodes by kind, shared likewise.
    #[inline]
    pub(crate) fn by_kind(&self) -> &Arc<KindLog> {
        &self.by_kind
    }

    #[inline]
    pub(crate) fn keys(&self) -> &OrdMap<KeyEntry, Change<()>> {
        &self.keys
    }

    #[inline]
    pub(crate) fn in_edges(&self) -> &OrdMap<EdgeKey, Change<Arc<EdgeRecord>>> {
        &self.in_edges
    }

    #[inline]
    pub(crate) fn out(&self) -> &OrdMap<EdgeKey, Change<Arc<EdgeRecord>>> {
        &self.out
    }
}

impl Layer {
    /// An empty layer. Readers keep new entries of its lists of kinds as a
    /// sorted run if there are at least `kind_run`.
    pub(crate) fn new(kind_run: usize) -> Self {
        Self {
            nodes: Arc::default(),
            by_kind: Arc::new(KindLog::new(kind_run)),
            out: OrdMap::new(),
            in_edges: OrdMap::new(),
            keys: OrdMap::new(),
            vectors: OrdMap::new(),
            of_kinds: OrdMap::new(),
            bytes: 0,
        }
    }

    /// An empty layer with the same `kind_run`, to follow this one.
    pub(super) fn next(&self) -> Self {
        Self::new(self.by_kind.least_run())
    }

    /// Whether the layer has no changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.out.is_empty()
            && self.in_edges.is_empty()
            && self.keys.is_empty()
            && self.vectors.is_empty()
    }

    pub(crate) fn grow(&mut self, more: usize, less: usize) {
        self.bytes = (self.bytes + more).saturating_sub(less);
    }
}

/// What a checkpoint writes: a layer, and the names and counts of the state
/// when it was frozen.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(super) layer: Layer,
    pub(super) seq: Seq,
    pub(super) kinds: Dictionary,
    pub(super) indexes: Arc<Indexes>,
    /// The spaces with their numbers, ascending.
    pub(super) spaces: Vec<(u32, NamedSpace)>,
    pub(super) next_space: u32,
    pub(super) counts: Counts,
}

impl Frozen {
    #[inline]
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    #[inline]
    pub(crate) fn spaces(&self) -> &[(u32, NamedSpace)] {
        &self.spaces
    }

    /// The number that the next space gets.
    #[inline]
    pub(crate) fn next_space(&self) -> u32 {
        self.next_space
    }

    /// The space with this number.
    pub(crate) fn space(&self, number: u32) -> Option<&NamedSpace> {
        let found = self.spaces.binary_search_by_key(&number, |(number, _)| *number);
        found.ok().and_then(|at| self.spaces.get(at)).map(|(_, space)| space)
    }

    #[inline]
    pub(crate) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    #[inline]
    pub(crate) fn kinds(&self) -> &Dictionary {
        &self.kinds
    }

    #[inline]
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    #[inline]
    pub(crate) fn layer(&self) -> &Layer {
        &self.layer
    }
}

impl Frozen {
    /// Looks up a node, as [`NodeTable::get`].
    pub(crate) fn node(&self, id: &NodeId) -> Option<Option<&NodeRecord>> {
        self.layer.nodes.get(id, self.seq)
    }
}
