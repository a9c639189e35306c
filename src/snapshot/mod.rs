//! A pinned state of the store, and every read of it.

mod base;
mod decide;
mod delta;
mod digest;
mod kinds;
mod merge;
mod nearest;
mod paths;
mod ranges;
mod table;
mod vectors;

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use base::EdgeRepr;
pub(crate) use base::{
    Base, EdgePart, FETCHED, Heap, KeyPart, NodePart, Notice, Part, Run, StoredNode, Unopened,
    encode_edge_key,
};
pub(crate) use decide::decide;
pub(crate) use delta::{Content, EdgeRecord, Frozen, Layer, NodeRecord, State, Vector, expiry_key};
pub use digest::Digest;
pub use nearest::{By, Effort, Filter, Found, Hit, Search};
pub use paths::{Path, PathOptions, PathStep, Toward};
pub use ranges::{Cursor, Direction, Edges, IndexEntry, KeyRange, Range, Scan};
pub(crate) use table::Said;
pub(crate) use vectors::{Codes, GraphIndex, Index, Load, MASK_ROWS, VectorPart, VectorRows};
pub use vectors::{IndexStats, SpaceStats, VectorFileStats};

use crate::{
    error::Result,
    format::tables::EdgeKey,
    id::NodeId,
    model::{Attributes, Edge, IndexKey, Node, Seq, Space, Timestamp},
};

/// A state of the store, pinned: it never changes, and everything in it has
/// the same sequence number.
///
/// Taking one costs a counter; reads take no lock and wait for nobody. What a
/// snapshot holds stays in memory, and the files that it reads stay on disk,
/// until it is gone: do not keep one for longer than its work takes.
///
/// Lookups that find nothing give `None`, never an error. Errors mean that the
/// question cannot be answered: an unknown index or space, or damage on disk.
#[derive(Clone)]
pub struct Snapshot {
    state: Arc<State>,
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
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// The last commit that the snapshot holds.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.state.seq
    }

    /// The node of that name. A hash lookup in what is in memory, then a search
    /// in what is on disk; nothing is copied.
    ///
    /// # Errors
    /// `Corrupt` if the node is damaged on disk.
    #[inline]
    pub fn get(&self, id: NodeId) -> Result<Option<NodeRef<'_>>> {
        NodeRef::find(&self.state, id)
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
        match self.state.layered_node(&id) {
            Some(layered) => Ok(layered.is_some()),
            None => Ok(self.state.base.node_row(id)?.is_some()),
        }
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
        let repr = match self.state.layered_edge(&key) {
            Some(layered) => layered.map(|record| EdgeRepr::Memory(record)),
            None => Base::edge(&self.state.base.out, &key)?
                .map(|row| EdgeRepr::Stored { row, inbound: false }),
        };
        Ok(repr.map(|repr| EdgeRef { state: &self.state, repr }))
    }

    /// The number of nodes.
    #[must_use]
    pub fn node_count(&self) -> usize {
        count(self.state.counts.nodes)
    }

    /// The number of edges.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        count(self.state.counts.edges)
    }

    /// The number of index keys.
    #[must_use]
    pub fn key_count(&self) -> usize {
        count(self.state.counts.keys)
    }

    /// The number of vectors, in all spaces together.
    #[must_use]
    pub fn vector_count(&self) -> usize {
        count(self.state.counts.vectors)
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
        self.state.spaces.iter().map(|(_, named)| (named.name.as_str(), named.space))
    }

    /// The indexes of the store, in the order of their creation.
    pub fn indexes(&self) -> impl Iterator<Item = &str> {
        self.state.indexes.iter()
    }
}

/// A count that is of things that fit into memory or files.
fn count(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A node of a [`Snapshot`], borrowed from it.
#[derive(Clone, Copy)]
pub struct NodeRef<'s> {
    state: &'s State,
    repr: NodeRepr<'s>,
}

#[derive(Clone, Copy)]
enum NodeRepr<'s> {
    Memory { record: &'s NodeRecord, content: &'s [u8] },
    Stored(StoredNode<'s>),
}

macro_rules! scalars {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> $type {
            match &self.repr {
                NodeRepr::Memory { record, .. } => record.$name,
                NodeRepr::Stored(node) => node.meta.$name,
            }
        }
    )*};
}

impl<'s> NodeRef<'s> {
    #[inline]
    fn find(state: &'s State, id: NodeId) -> Result<Option<Self>> {
        match state.layered_node(&id) {
            Some(layered) => layered.map(|record| Self::of_record(state, record)).transpose(),
            None => Ok(state.base.node(id)?.map(|node| Self::stored(state, node))),
        }
    }

    #[inline]
    fn of_record(state: &'s State, record: &'s NodeRecord) -> Result<Self> {
        let content = record.content.bytes()?;
        Ok(Self { state, repr: NodeRepr::Memory { record, content } })
    }

    #[inline]
    fn stored(state: &'s State, node: StoredNode<'s>) -> Self {
        Self { state, repr: NodeRepr::Stored(node) }
    }

    /// The name.
    #[must_use]
    pub fn id(&self) -> NodeId {
        match &self.repr {
            NodeRepr::Memory { record, .. } => record.id,
            NodeRepr::Stored(node) => node.row.id(),
        }
    }

    fn kind_number(&self) -> u32 {
        match &self.repr {
            NodeRepr::Memory { record, .. } => record.kind,
            NodeRepr::Stored(node) => node.row.kind.get(),
        }
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &'s str {
        self.state.kinds.name(self.kind_number())
    }

    /// The content, exactly as it was given.
    #[must_use]
    pub fn content(&self) -> &'s [u8] {
        match &self.repr {
            NodeRepr::Memory { content, .. } => content,
            NodeRepr::Stored(node) => node.content,
        }
    }

    /// The attributes, borrowed where they are in memory, decoded where they
    /// are on disk.
    ///
    /// # Errors
    /// `Corrupt` if they are damaged on disk.
    pub fn attributes(&self) -> Result<Cow<'s, Attributes>> {
        match &self.repr {
            NodeRepr::Memory { record, .. } => Ok(Cow::Borrowed(record.attributes())),
            NodeRepr::Stored(node) => node.attributes().map(Cow::Owned),
        }
    }

    scalars! {
        /// The commit that last put or patched the node, for
        /// [`Batch::put_if_version`](crate::Batch::put_if_version).
        version: Seq;
        /// How well it is remembered.
        strength: f32;
        /// How sure it is, from 0 to 1.
        confidence: f32;
        /// When it came to be.
        created: Timestamp;
        /// When it was last put or patched.
        updated: Timestamp;
        /// When it was last touched; when it was made, if never.
        accessed: Timestamp;
        /// How often it was touched.
        access_count: u64;
        /// When it may be pruned.
        expires: Option<Timestamp>;
    }

    fn numbered_keys(&self) -> impl Iterator<Item = (u32, &'s [u8])> + use<'s> {
        let (memory, stored) = match &self.repr {
            NodeRepr::Memory { record, .. } => (Some(record.keys.iter()), None),
            NodeRepr::Stored(node) => (None, Some(node.keys())),
        };
        let memory = memory.into_iter().flatten().map(|(index, key)| (*index, &**key));
        memory.chain(stored.into_iter().flatten())
    }

    /// Its keys: name of the index and key, in no particular order of names.
    pub fn keys(&self) -> impl Iterator<Item = (&'s str, &'s [u8])> + use<'s> {
        let state = self.state;
        self.numbered_keys().map(move |(index, key)| (state.indexes.name(index), key))
    }

    /// The commit that wrote its vector in a space.
    fn vector_seq(&self, space: u32) -> Option<Seq> {
        match &self.repr {
            NodeRepr::Memory { record, .. } => record.vector(space).map(|slot| slot.seq),
            NodeRepr::Stored(node) => {
                node.vectors().find(|(of, _)| *of == space).map(|(_, seq)| seq)
            }
        }
    }

    /// Its vector in a space.
    ///
    /// # Errors
    /// `Corrupt` if it is damaged on disk.
    pub fn vector(&self, space: &str) -> Result<Option<&'s [f32]>> {
        match self.state.spaces.get(space) {
            Some((number, _)) => self.numbered_vector(number),
            None => Ok(None),
        }
    }

    fn numbered_vector(&self, space: u32) -> Result<Option<&'s [f32]>> {
        let Some(seq) = self.vector_seq(space) else { return Ok(None) };
        if let NodeRepr::Memory { record, .. } = &self.repr
            && let Some(vector) = record.vector(space).and_then(|slot| slot.memory.as_ref())
        {
            return Ok(Some(&vector.numbers));
        }
        let found = self.state.base.vector(space, self.id(), seq)?;
        let lost =
            || self.state.base.damaged(format!("the vector of node {} is not there", self.id()));
        found.map(Some).ok_or_else(lost)
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
        let mut vectors = BTreeMap::new();
        for (number, named) in self.state.spaces.iter() {
            if let Some(vector) = self.numbered_vector(number)? {
                vectors.insert(named.name.clone(), vector.to_vec());
            }
        }
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
    state: &'s State,
    repr: EdgeRepr<'s>,
}

impl<'s> EdgeRef<'s> {
    /// Its place at its source.
    fn key(&self) -> EdgeKey {
        match self.repr {
            EdgeRepr::Memory(record) => record.key(),
            EdgeRepr::Stored { row, inbound: false } => row.key(),
            EdgeRepr::Stored { row, inbound: true } => row.key().turned(),
        }
    }

    /// The node it leaves.
    #[must_use]
    pub fn source(&self) -> NodeId {
        self.key().here
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &'s str {
        self.state.kinds.name(self.key().kind)
    }

    /// The node it reaches.
    #[must_use]
    pub fn target(&self) -> NodeId {
        self.key().there
    }

    /// What tells it from parallel edges of its kind.
    #[must_use]
    pub fn discriminator(&self) -> u64 {
        self.key().discriminator
    }

    /// The weight.
    #[must_use]
    pub fn weight(&self) -> f64 {
        match self.repr {
            EdgeRepr::Memory(record) => record.weight,
            EdgeRepr::Stored { row, .. } => row.weight.get(),
        }
    }

    /// How sure it is, from 0 to 1.
    #[must_use]
    pub fn confidence(&self) -> f32 {
        match self.repr {
            EdgeRepr::Memory(record) => record.confidence,
            EdgeRepr::Stored { row, .. } => row.confidence.get(),
        }
    }

    /// The attributes, borrowed where they are in memory, decoded where they
    /// are on disk. Those of an edge that was found at its target cost a search
    /// for it at its source.
    ///
    /// # Errors
    /// `Corrupt` if they are damaged on disk.
    pub fn attributes(&self) -> Result<Cow<'s, Attributes>> {
        let base = &self.state.base;
        match self.repr {
            EdgeRepr::Memory(record) => Ok(Cow::Borrowed(&record.attributes)),
            EdgeRepr::Stored { row, inbound } => {
                let row = if inbound && row.attributes().len > 0 {
                    let lost = || {
                        let what = format!("{:?}: it is not at its source", self);
                        base.damaged(what)
                    };
                    Base::edge(&base.out, &self.key())?.ok_or_else(lost)?
                } else {
                    row
                };
                base.attributes(row).map(Cow::Owned)
            }
        }
    }

    /// When it came to be.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        match self.repr {
            EdgeRepr::Memory(record) => record.created,
            EdgeRepr::Stored { row, .. } => Timestamp::from_micros(row.created.get()),
        }
    }

    /// When it was last linked.
    #[must_use]
    pub fn updated(&self) -> Timestamp {
        match self.repr {
            EdgeRepr::Memory(record) => record.updated,
            EdgeRepr::Stored { row, .. } => Timestamp::from_micros(row.updated.get()),
        }
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
