//! What a transaction read, and whether it is still so.
//!
//! Nodes and edges are remembered by what was found; ordered reads by how far they
//! were read and a hash of what they returned, which another state is asked to
//! repeat.

use std::{collections::HashMap, hash::BuildHasher, sync::Arc};

use foldhash::quality::RandomState;

use crate::{
    format::heap::encode_attributes,
    model::{
        error::{ConflictReason, Error, Result},
        id::NodeId,
        key::KeyRange,
        limits::{self, check_count},
        time::{Seq, Timestamp},
    },
    read::{cursor::Direction, edge::EdgeRef, edges::Edges, node::NodeRef, snapshot::Snapshot},
    state::{State, layer::Layer},
};

/// The name of an edge: source, kind, target and discriminator.
pub(crate) type EdgeName = (NodeId, String, NodeId, u64);

/// What is remembered of a node that is there: its version and its expiry, which
/// changes without it.
type Seen = (Seq, Option<Timestamp>);

/// An ordered read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ordered {
    /// The edges that leave a node, or with `inbound` those that reach it; of one kind,
    /// or all.
    Edges { id: NodeId, inbound: bool, kind: Option<String> },
    /// The entries of an index.
    Keys { index: String, range: KeyRange, direction: Direction },
    /// The nodes of a kind.
    Kind(String),
}

/// How far an ordered read was read, and what it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    items: usize,
    /// Whether it was read to its end.
    ended: bool,
    hash: u64,
}

/// What a transaction read of a snapshot.
#[derive(Debug)]
pub(crate) struct Footprint {
    snapshot: Snapshot,
    /// All that was read, which is bounded.
    items: usize,
    nodes: HashMap<NodeId, Option<Seen>, RandomState>,
    /// By name, the hash of what the edge has.
    edges: HashMap<EdgeName, Option<u64>, RandomState>,
    ordered: Vec<(Ordered, Progress)>,
    /// Whether the counts of nodes and edges were read.
    counts: [bool; 2],
    hasher: RandomState,
}

fn seen(node: &NodeRef<'_>) -> Seen {
    (node.version(), node.expires())
}

fn edge_hash(hasher: &RandomState, edge: &EdgeRef<'_>) -> Result<u64> {
    let name = (edge.source(), edge.kind(), edge.target(), edge.discriminator());
    let numbers = (edge.weight().to_bits(), edge.confidence().to_bits());
    let times = (edge.created(), edge.updated());
    let attributes = edge.attributes()?;
    let attributes =
        if attributes.is_empty() { Vec::new() } else { encode_attributes(&attributes) };
    Ok(hasher.hash_one((name, numbers, times, attributes)))
}

fn edges_of<'s>(
    snapshot: &'s Snapshot,
    id: NodeId,
    inbound: bool,
    kind: Option<&str>,
) -> Edges<'s> {
    let edges = if inbound { snapshot.edges_in(id) } else { snapshot.edges_out(id) };
    match kind {
        Some(kind) => edges.kind(kind),
        None => edges,
    }
}

/// Whether both states have the same base, and layers whose maps that `same` compares
/// are the same.
fn shares(a: &State, b: &State, same: impl Fn(&Layer, &Layer) -> bool) -> bool {
    Arc::ptr_eq(a.base(), b.base())
        && a.layers().count() == b.layers().count()
        && a.layers().zip(b.layers()).all(|(a, b)| same(a, b))
}

impl Footprint {
    /// Of a transaction that has read nothing yet of this snapshot.
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot,
            items: 0,
            nodes: HashMap::default(),
            edges: HashMap::default(),
            ordered: Vec::new(),
            counts: [false; 2],
            hasher: RandomState::default(),
        }
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        /// Generously, with a name.
        const ITEM: usize = 128;
        self.nodes.len().saturating_add(self.edges.len()).saturating_add(self.ordered.len()) * ITEM
    }

    fn count(&mut self) -> Result<()> {
        self.items = self.items.saturating_add(1);
        self.check_bounds()
    }

    /// Refuses more than the commit step should have to read again.
    pub(crate) fn check_bounds(&self) -> Result<()> {
        check_count("reads of a transaction", self.items, limits::TRANSACTION_READS)
    }

    /// Notes that a node was read, and what was found.
    pub(crate) fn node(&mut self, id: NodeId, found: Option<&NodeRef<'_>>) -> Result<()> {
        if self.nodes.insert(id, found.map(seen)).is_none() {
            self.count()?;
        }
        Ok(())
    }

    /// Notes that an edge was read, and what was found.
    pub(crate) fn edge(&mut self, name: EdgeName, found: Option<&EdgeRef<'_>>) -> Result<()> {
        let hash = found.map(|edge| edge_hash(&self.hasher, edge)).transpose()?;
        if self.edges.insert(name, hash).is_none() {
            self.count()?;
        }
        Ok(())
    }

    pub(crate) fn node_count(&mut self) {
        self.counts[0] = true;
    }

    pub(crate) fn edge_count(&mut self) {
        self.counts[1] = true;
    }

    /// Begins an ordered read, and returns its number.
    pub(crate) fn begin(&mut self, read: Ordered) -> Result<usize> {
        self.count()?;
        self.ordered.push((read, Progress::default()));
        Ok(self.ordered.len().saturating_sub(1))
    }

    /// Notes what an ordered read returned next: `None` for its end.
    fn item(&mut self, read: usize, hash: Option<u64>) -> Result<()> {
        if hash.is_some() {
            self.count()?;
        }
        if let Some((_, progress)) = self.ordered.get_mut(read) {
            match hash {
                Some(hash) => progress.add(&self.hasher, hash),
                None => progress.ended = true,
            }
        }
        Ok(())
    }

    /// Notes that an ordered read returned this edge, or ended.
    pub(crate) fn next_edge(&mut self, read: usize, edge: Option<&EdgeRef<'_>>) -> Result<()> {
        let hash = edge.map(|edge| edge_hash(&self.hasher, edge)).transpose()?;
        self.item(read, hash)
    }

    /// Notes that an ordered read returned this entry of an index, or ended.
    pub(crate) fn next_entry(&mut self, read: usize, entry: Option<(&[u8], NodeId)>) -> Result<()> {
        let hash = entry.map(|entry| self.hasher.hash_one(entry));
        self.item(read, hash)
    }

    /// Notes that an ordered read returned this node, or ended.
    pub(crate) fn next_node(&mut self, read: usize, id: Option<NodeId>) -> Result<()> {
        let hash = id.map(|id| self.hasher.hash_one(id));
        self.item(read, hash)
    }

    /// Refuses what was read if a later state has something else.
    ///
    /// # Errors
    /// `Conflict` with the reason [`ConflictReason::Read`]; `Corrupt` if what has to
    /// be read again is damaged on disk.
    pub(crate) fn check(&self, state: &State) -> Result<()> {
        if state.seq() == self.snapshot.seq() {
            return Ok(());
        }
        let changed =
            |node| Err(Error::Conflict { op: 0, node, reason: ConflictReason::Read { tries: 1 } });
        let (before, now) = (self.snapshot.state.counts(), state.counts());
        let read = self.counts;
        if read[0] && before.nodes != now.nodes || read[1] && before.edges != now.edges {
            return changed(NodeId::MIN);
        }
        // Kinds and indexes are read by their names.
        if self.snapshot.state.renames() != state.renames() {
            return changed(NodeId::MIN);
        }
        for (id, before) in &self.nodes {
            if NodeRef::find(state, *id)?.map(|node| seen(&node)) != *before {
                return changed(*id);
            }
        }
        if self.edges.is_empty() && self.ordered.is_empty() {
            return Ok(());
        }
        let before = &*self.snapshot.state;
        let same_edges = shares(before, state, |a, b| a.out().ptr_eq(b.out()));
        let same_keys = shares(before, state, |a, b| a.keys().ptr_eq(b.keys()));
        // A clone shares everything with the state.
        let now = Snapshot::new(Arc::new(state.clone()));
        if !same_edges {
            for (name, before) in &self.edges {
                let edge = now.edge(name.0, &name.1, name.2, name.3)?;
                let hash = edge.map(|edge| edge_hash(&self.hasher, &edge)).transpose()?;
                if hash != *before {
                    return changed(name.0);
                }
            }
        }
        for (read, progress) in &self.ordered {
            let (same, node) = match read {
                Ordered::Edges { id, .. } => (same_edges, *id),
                Ordered::Keys { .. } => (same_keys, NodeId::MIN),
                Ordered::Kind(_) => (false, NodeId::MIN),
            };
            if !same && self.again(&now, read, progress)? != *progress {
                return changed(node);
            }
        }
        Ok(())
    }

    /// Repeats an ordered read as far as it was read.
    fn again(&self, now: &Snapshot, read: &Ordered, before: &Progress) -> Result<Progress> {
        let hasher = &self.hasher;
        match read {
            Ordered::Edges { id, inbound, kind } => {
                let edges = edges_of(now, *id, *inbound, kind.as_deref());
                before.again(hasher, edges.map(|edge| edge_hash(hasher, &edge?)))
            }
            Ordered::Keys { index, range, direction } => {
                let mut entries = now.range(index, range.clone(), *direction)?;
                let places = std::iter::from_fn(|| entries.next_place());
                let hash = places.map(|place| place.map(|at| hasher.hash_one((at.key, at.node))));
                before.again(hasher, hash)
            }
            Ordered::Kind(kind) => {
                let nodes = now.scan(kind);
                before.again(hasher, nodes.map(|node| Ok(hasher.hash_one(node?.id()))))
            }
        }
    }
}

impl Progress {
    fn add(&mut self, hasher: &RandomState, hash: u64) {
        self.items = self.items.saturating_add(1);
        self.hash = hasher.hash_one((self.hash, hash));
    }

    /// What these items come to, as far as this progress, and at most one beyond
    /// it if it was read to its end.
    fn again(
        &self,
        hasher: &RandomState,
        mut items: impl Iterator<Item = Result<u64>>,
    ) -> Result<Self> {
        let mut now = Self::default();
        while now.items < self.items || self.ended {
            match items.next().transpose()? {
                Some(hash) => now.add(hasher, hash),
                None => {
                    now.ended = true;
                    break;
                }
            }
            if now.items > self.items {
                break;
            }
        }
        Ok(now)
    }
}

/// Reads of a snapshot for a transaction, which the footprint does not note by itself.
impl Snapshot {
    /// The edges that an ordered read of edges reads.
    pub(crate) fn edges_for(&self, id: NodeId, inbound: bool, kind: Option<&str>) -> Edges<'_> {
        edges_of(self, id, inbound, kind)
    }
}
