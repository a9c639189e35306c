//! A snapshot: a pinned state of the store.

use std::{fmt, sync::Arc};

use crate::{
    format::tables::EdgeKey,
    model::{
        error::Result,
        id::NodeId,
        space::Space,
        time::{Seq, Timestamp},
    },
    num,
    read::{edge::EdgeRef, hidden::Hidden, index_info::IndexInfo, node::NodeRef},
    state::{
        Prefetched, State,
        base::{Base, stored::EdgeRepr},
    },
};

/// A consistent, immutable view of the store: everything in it reflects one
/// sequence number.
///
/// Taking one increments a counter; reads take no lock and never wait. A snapshot
/// keeps its data in memory, and the files that it reads on disk, until it is
/// dropped: do not keep one for longer than its work takes.
///
/// Lookups that find nothing return `None`, not an error. Errors mean that a
/// read cannot be answered: an unknown index or space, or damage on disk.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let id = NodeId::new();
/// engine.write(Batch::new().put(Node::new(id, "note").content("first")))?;
/// let snapshot = engine.snapshot();
/// engine.write(Batch::new().delete(id))?;
///
/// assert_eq!(snapshot.get(id)?.unwrap().content(), b"first"); // as it was
/// assert!(engine.snapshot().get(id)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Snapshot {
    pub(super) state: Arc<State>,
    /// What is not shown, in a view of the living.
    pub(super) view: Option<Arc<Hidden>>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("seq", &self.state.seq())
            .field("nodes", &self.node_count())
            .field("edges", &self.edge_count())
            .field("alive_at", &self.view.as_ref().map(|hidden| hidden.at()))
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(crate) fn new(state: Arc<State>) -> Self {
        Self { state, view: None }
    }

    /// A view of this snapshot without the nodes that have expired: those whose
    /// expiry is at `now` or before it. It is a snapshot, and all its reads hide
    /// them: nodes by id, scans, ranges of indexes, vector searches, which find
    /// `k` of those that are left, edges, whose two ends must both be alive, and
    /// paths. Only what is expressly about all nodes counts them too: the counts,
    /// as [`node_count`](Self::node_count) and [`count`](Self::count),
    /// [`kinds`](Self::kinds), and [`expired`](Self::expired).
    ///
    /// The time is that of the caller: no read asks a clock. A view of a view has
    /// its own time and not that of the other. Making one costs nothing; the first
    /// read that needs to know what has expired, one of edges or a vector search,
    /// reads that from the expiries, up to 65,536 of them. With more, each node is
    /// looked up: [`Options::prune_every`](crate::Options::prune_every) deletes
    /// them in time.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let now = Timestamp::parse("2030-01-01T12:00:00Z")?;
    /// let (short, long) = (NodeId::new(), NodeId::new());
    /// let mut batch = Batch::new();
    /// batch.put(Node::new(short, "note").expires(now)).put(Node::new(long, "note"));
    /// batch.link(Edge::new(long, "mentions", short));
    /// engine.write(batch)?;
    ///
    /// let snapshot = engine.snapshot();
    /// let alive = snapshot.alive_at(now);
    /// assert!(snapshot.contains(short)? && !alive.contains(short)?);
    /// assert_eq!((snapshot.scan("note").count(), alive.scan("note").count()), (2, 1));
    /// assert_eq!((snapshot.edges_out(long).count(), alive.edges_out(long).count()), (1, 0));
    /// let before = snapshot.alive_at(now.saturating_sub(Duration::from_secs(1)));
    /// assert!(before.contains(short)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn alive_at(&self, now: Timestamp) -> Self {
        Self { state: Arc::clone(&self.state), view: Some(Arc::new(Hidden::new(now))) }
    }

    /// Whether a node that was not read is hidden by a view.
    #[inline]
    pub(super) fn hides_id(&self, id: NodeId) -> Result<bool> {
        self.hidden().map_or(Ok(false), |hidden| hidden.hides_id(&self.state, id))
    }

    /// The last commit that the snapshot includes.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.state.seq()
    }

    /// The node with this id: a hash lookup in memory, then a search in the
    /// mapped files. Nothing is copied.
    ///
    /// # Errors
    /// `Corrupt` if the node is damaged on disk.
    #[inline]
    pub fn get(&self, id: NodeId) -> Result<Option<NodeRef<'_>>> {
        let node = NodeRef::find(&self.state, id)?;
        if let Some(hidden) = &self.view
            && node.as_ref().is_some_and(|node| hidden.hides(node))
        {
            return Ok(None);
        }
        Ok(node)
    }

    /// The nodes with these ids, each at the position of its id; `None` where
    /// there is none.
    ///
    /// Prefetching overlaps the cache misses of up to 64 lookups, so many ids
    /// at once cost less than a [`get`](Self::get) for each.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many(&self, ids: &[NodeId]) -> Result<Vec<Option<NodeRef<'_>>>> {
        /// Ids that are prefetched together. With more, what is fetched would
        /// leave the processor's caches before it is read.
        const WINDOW: usize = 64;
        /// For fewer ids, prefetching does not pay.
        const LEAST: usize = 4;
        let mut nodes = Vec::with_capacity(ids.len());
        for ids in ids.chunks(WINDOW) {
            if ids.len() < LEAST {
                for id in ids {
                    nodes.push(self.get(*id)?);
                }
                continue;
            }
            let wanted: Vec<Option<NodeId>> = ids.iter().copied().map(Some).collect();
            for (id, found) in ids.iter().zip(self.state.prefetch_lookup(&wanted)) {
                let node = match found {
                    Prefetched::Layers(record) => {
                        record.map(|record| NodeRef::from_record(&self.state, record)).transpose()
                    }
                    Prefetched::Base(row) => {
                        let stored = row.map(|row| self.state.base().stored(row)).transpose()?;
                        Ok(stored.map(|node| NodeRef::stored(&self.state, node)))
                    }
                    Prefetched::Not => self.get(*id),
                };
                nodes.push(node?);
            }
        }
        if let Some(hidden) = &self.view {
            for node in &mut nodes {
                node.take_if(|node| hidden.hides(node));
            }
        }
        Ok(nodes)
    }

    /// Whether a node with this id exists.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains(&self, id: NodeId) -> Result<bool> {
        match self.state.layered_node(&id) {
            Some(layered) => Ok(layered.is_some_and(|record| match &self.view {
                Some(hidden) => !hidden.hides_expiry(record.expires),
                None => true,
            })),
            None => Ok(self.state.base().node_row(id)?.is_some() && !self.hides_id(id)?),
        }
    }

    /// The edge with these ends, kind and discriminator, if it exists. One
    /// ordered lookup, however many edges its ends have.
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
        let Some(kind) = self.state.kinds().number(kind) else { return Ok(None) };
        let key = EdgeKey { from: source, kind, to: target, discriminator };
        let repr = match self.state.layered_edge(&key) {
            Some(layered) => layered.map(|record| EdgeRepr::Memory(record)),
            None => Base::edge(self.state.base().out(), &key)?
                .map(|row| EdgeRepr::Stored { row, inbound: false }),
        };
        if repr.is_some() && (self.hides_id(source)? || self.hides_id(target)?) {
            return Ok(None);
        }
        Ok(repr.map(|repr| EdgeRef { state: &self.state, repr }))
    }

    /// The number of nodes; in a view too, of all nodes, also those that have
    /// expired, as are the other counts.
    #[must_use]
    pub fn node_count(&self) -> usize {
        count(self.state.counts().nodes)
    }

    /// The number of edges.
    #[must_use]
    pub fn edge_count(&self) -> usize {
        count(self.state.counts().edges)
    }

    /// The number of index keys.
    #[must_use]
    pub fn key_count(&self) -> usize {
        count(self.state.counts().keys)
    }

    /// The number of vectors, in all spaces together.
    #[must_use]
    pub fn vector_count(&self) -> usize {
        count(self.state.counts().vectors)
    }

    /// The kinds of the nodes and edges of the store, in the order of their first
    /// use. A kind that no node and no edge has any more is listed until a
    /// checkpoint has found that out; if it is used again later, it comes last.
    /// [`kind_counts`](Self::kind_counts) lists only those that something has now.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.state.kinds().iter()
    }

    /// The number of [`kinds`](Self::kinds).
    #[must_use]
    pub fn kind_count(&self) -> usize {
        self.state.kinds().len()
    }

    /// The vector spaces of the store, by name.
    pub fn spaces(&self) -> impl Iterator<Item = (&str, Space)> {
        self.state.spaces().iter().map(|(_, named)| (named.name.as_str(), named.space))
    }

    /// The indexes of the store, in the order of their creation, also those without
    /// keys.
    pub fn indexes(&self) -> impl Iterator<Item = IndexInfo<'_>> {
        self.state.indexes().numbered().map(|(_, index)| IndexInfo::of(index))
    }

    /// The index with this name.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<IndexInfo<'_>> {
        let number = self.state.indexes().number(name)?;
        self.state.indexes().by_number(number).map(IndexInfo::of)
    }
}

/// A count as a `usize`, which has 64 bits on the supported machines.
fn count(count: u64) -> usize {
    num::size(count)
}
