//! A pinned state of the store, and every read of it.

mod decide;
mod delta;
mod nearest;
mod paths;
mod ranges;

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

pub(crate) use decide::decide;
pub(crate) use delta::Delta;
use delta::{EdgeKey, EdgeRecord, NodeRecord};
pub use nearest::{Filter, Hit};
pub use paths::{Path, PathOptions, PathStep, Toward};
pub use ranges::{Cursor, Direction, Edges, IndexEntry, KeyRange, Range, Scan};

use crate::{
    error::Result,
    id::NodeId,
    model::{Attributes, Edge, IndexKey, Node, Seq, Space, Timestamp},
};

/// A state of the store, pinned: it never changes, and everything in it has
/// the same sequence number.
///
/// Taking one costs a counter; reads take no lock and wait for nobody. What a
/// snapshot holds stays in memory until it and all newer writes of the same
/// nodes are gone, so do not keep one for longer than its work takes.
///
/// Lookups that find nothing give `None`, never an error. Errors mean that the
/// question cannot be answered: an unknown index or space, or damage on disk.
#[derive(Clone)]
pub struct Snapshot {
    state: Arc<Delta>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("seq", &self.state.seq)
            .field("nodes", &self.node_count())
            .field("edges", &self.edge_count())
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(crate) fn new(state: Arc<Delta>) -> Self {
        Self { state }
    }

    /// The last commit that the snapshot holds.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.state.seq
    }

    /// The node of that name. One hash lookup; nothing is copied.
    ///
    /// # Errors
    /// `Corrupt` if the node is damaged on disk.
    pub fn get(&self, id: NodeId) -> Result<Option<NodeRef<'_>>> {
        Ok(self.state.nodes.get(&id).map(|record| NodeRef { state: &self.state, record }))
    }

    /// The nodes of those names, each at the place of its name.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many(&self, ids: &[NodeId]) -> Result<Vec<Option<NodeRef<'_>>>> {
        ids.iter().map(|id| self.get(*id)).collect()
    }

    /// Whether there is a node of that name.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, id: NodeId) -> Result<bool> {
        Ok(self.state.nodes.contains_key(&id))
    }

    /// The edge of that name, if there. One ordered lookup, however many edges
    /// its ends have.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn edge(
        &self,
        source: NodeId,
        kind: &str,
        target: NodeId,
        discriminator: u64,
    ) -> Result<Option<EdgeRef<'_>>> {
        let Some(kind) = self.state.kinds.number(kind) else { return Ok(None) };
        let key = EdgeKey { here: source, kind, there: target, discriminator };
        Ok(self.state.out.get(&key).map(|record| EdgeRef { state: &self.state, record }))
    }

    /// The number of nodes.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.state.nodes.len()
    }

    /// The number of edges.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        self.state.out.len()
    }

    /// The number of index keys.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.state.keys.len()
    }

    /// The number of vectors, in all spaces together.
    #[must_use]
    pub fn vector_count(&self) -> usize {
        self.state.vectors.len()
    }

    /// Every kind that a node or edge of the store ever had, in the order of
    /// their first appearance.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.state.kinds.iter()
    }

    /// The number of [`kinds`](Self::kinds).
    #[must_use]
    pub fn kind_count(&self) -> usize {
        self.state.kinds.len()
    }

    /// The vector spaces of the store, by name.
    pub fn spaces(&self) -> impl Iterator<Item = (&str, Space)> {
        self.state.spaces.iter().map(|(name, (_, space))| (&**name, *space))
    }

    /// The indexes of the store, in the order of their creation.
    pub fn indexes(&self) -> impl Iterator<Item = &str> {
        self.state.indexes.iter()
    }

    /// The nodes that expire at `before` or earlier, the first to expire first.
    pub fn expired(&self, before: Timestamp) -> impl Iterator<Item = NodeId> {
        self.state.expiring.range(..=(before, NodeId::MAX)).map(|(_, id)| *id)
    }
}

/// A node of a [`Snapshot`], borrowed from it.
#[derive(Clone, Copy)]
pub struct NodeRef<'s> {
    state: &'s Delta,
    record: &'s NodeRecord,
}

impl<'s> NodeRef<'s> {
    /// The name.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.record.id
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &'s str {
        self.state.kinds.name(self.record.kind)
    }

    /// The commit that last put or patched the node, for
    /// [`Batch::put_if_version`](crate::Batch::put_if_version).
    #[must_use]
    pub fn version(&self) -> Seq {
        self.record.version
    }

    /// The content, exactly as it was given.
    #[must_use]
    pub fn content(&self) -> &'s [u8] {
        &self.record.content
    }

    /// The attributes, borrowed where they are in memory, decoded where they
    /// are on disk.
    ///
    /// # Errors
    /// `Corrupt` if they are damaged on disk.
    pub fn attributes(&self) -> Result<Cow<'s, Attributes>> {
        Ok(Cow::Borrowed(&self.record.attributes))
    }

    /// How well it is remembered.
    #[must_use]
    pub fn strength(&self) -> f32 {
        self.record.strength
    }

    /// How sure it is, from 0 to 1.
    #[must_use]
    pub fn confidence(&self) -> f32 {
        self.record.confidence
    }

    /// When it came to be.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.record.created
    }

    /// When it was last put or patched.
    #[must_use]
    pub fn updated(&self) -> Timestamp {
        self.record.updated
    }

    /// When it was last touched; when it was made, if never.
    #[must_use]
    pub fn accessed(&self) -> Timestamp {
        self.record.accessed
    }

    /// How often it was touched.
    #[must_use]
    pub fn access_count(&self) -> u64 {
        self.record.access_count
    }

    /// When it may be pruned.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.record.expires
    }

    /// Its keys: name of the index and key, in no particular order of names.
    pub fn keys(&self) -> impl Iterator<Item = (&'s str, &'s [u8])> + use<'s> {
        let state = self.state;
        self.record.keys.iter().map(move |(index, key)| (state.indexes.name(*index), &**key))
    }

    /// Its vector in a space.
    #[must_use]
    pub fn vector(&self, space: &str) -> Option<&'s [f32]> {
        let (number, _) = self.state.spaces.get(space)?;
        let at = self.record.vectors.binary_search_by_key(number, |(space, _)| *space).ok()?;
        self.record.vectors.get(at).map(|(_, vector)| &*vector.numbers)
    }

    /// A copy of the node that can be changed and put, here or into another
    /// store.
    ///
    /// # Errors
    /// As [`attributes`](Self::attributes).
    pub fn to_node(&self) -> Result<Node> {
        let mut keys: Vec<IndexKey> = self
            .keys()
            .map(|(index, key)| IndexKey { index: index.to_owned(), key: key.to_vec() })
            .collect();
        keys.sort_unstable();
        let vectors: BTreeMap<String, Vec<f32>> = self
            .state
            .spaces
            .keys()
            .filter_map(|space| Some((space.to_string(), self.vector(space)?.to_vec())))
            .collect();
        Ok(Node {
            id: self.id(),
            kind: self.kind().to_owned(),
            content: self.content().to_vec(),
            attributes: self.attributes()?.into_owned(),
            strength: self.strength(),
            confidence: self.confidence(),
            created: Some(self.created()),
            updated: Some(self.updated()),
            accessed: Some(self.accessed()),
            access_count: Some(self.access_count()),
            expires: self.expires(),
            keys,
            vectors,
        })
    }
}

impl fmt::Debug for NodeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRef")
            .field("id", &self.id())
            .field("kind", &self.kind())
            .field("version", &self.version())
            .field("content_bytes", &self.content().len())
            .finish_non_exhaustive()
    }
}

/// An edge of a [`Snapshot`], borrowed from it.
#[derive(Clone, Copy)]
pub struct EdgeRef<'s> {
    state: &'s Delta,
    record: &'s EdgeRecord,
}

impl<'s> EdgeRef<'s> {
    /// The node it leaves.
    #[must_use]
    pub fn source(&self) -> NodeId {
        self.record.source
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &'s str {
        self.state.kinds.name(self.record.kind)
    }

    /// The node it reaches.
    #[must_use]
    pub fn target(&self) -> NodeId {
        self.record.target
    }

    /// What tells it from parallel edges of its kind.
    #[must_use]
    pub fn discriminator(&self) -> u64 {
        self.record.discriminator
    }

    /// The weight.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.record.weight
    }

    /// How sure it is, from 0 to 1.
    #[must_use]
    pub fn confidence(&self) -> f32 {
        self.record.confidence
    }

    /// The attributes, borrowed where they are in memory, decoded where they
    /// are on disk.
    ///
    /// # Errors
    /// `Corrupt` if they are damaged on disk.
    pub fn attributes(&self) -> Result<Cow<'s, Attributes>> {
        Ok(Cow::Borrowed(&self.record.attributes))
    }

    /// When it came to be.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.record.created
    }

    /// When it was last linked.
    #[must_use]
    pub fn updated(&self) -> Timestamp {
        self.record.updated
    }

    /// A copy of the edge that can be changed and linked.
    ///
    /// # Errors
    /// As [`attributes`](Self::attributes).
    pub fn to_edge(&self) -> Result<Edge> {
        Ok(Edge {
            source: self.source(),
            kind: self.kind().to_owned(),
            target: self.target(),
            discriminator: self.discriminator(),
            weight: self.weight(),
            confidence: self.confidence(),
            attributes: self.attributes()?.into_owned(),
            created: Some(self.created()),
            updated: Some(self.updated()),
        })
    }
}

impl fmt::Debug for EdgeRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdgeRef")
            .field("source", &self.source())
            .field("kind", &self.kind())
            .field("target", &self.target())
            .field("discriminator", &self.discriminator())
            .finish_non_exhaustive()
    }
}
