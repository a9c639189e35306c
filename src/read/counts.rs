//! Numbers of nodes and edges: of a kind, and of the edges of a node.

use crate::{
    format::tables::EdgeKey,
    model::{error::Result, id::NodeId},
    read::{edges::EdgeTable, snapshot::Snapshot},
};

/// A kind that nodes or edges have, and how many of them.
///
/// ```
/// use ingrain::{KindCount, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let id = NodeId::new();
/// engine.write(Batch::new().put(Node::new(id, "note")).link(Edge::new(id, "cites", id)))?;
/// let snapshot = engine.snapshot();
/// let [note, cites] = snapshot.kind_counts()?[..] else { unreachable!() };
/// assert!(matches!(note, KindCount { kind: "note", nodes: 1, edges: 0, .. }));
/// assert!(matches!(cites, KindCount { kind: "cites", nodes: 0, edges: 1, .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindCount<'s> {
    /// The kind.
    pub kind: &'s str,
    /// The number of nodes that have it.
    pub nodes: u64,
    /// The number of edges that have it.
    pub edges: u64,
}

impl Snapshot {
    /// The number of nodes of a kind; 0 if the kind is unknown. As the other counts,
    /// it is of all nodes in a view too, also of those that have expired.
    ///
    /// No node is read. Each file of nodes has the positions at which a kind begins
    /// and ends, and what was written since the last checkpoint is counted by the
    /// commits: a binary search in each file, of which there are about a thousand at
    /// most.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let (first, second) = (NodeId::new(), NodeId::new());
    /// engine.write(Batch::new().put(Node::new(first, "note")).put(Node::new(second, "note")))?;
    /// engine.checkpoint()?;
    /// engine.write(Batch::new().put(Node::new(first, "task")))?;
    /// let snapshot = engine.snapshot();
    /// assert_eq!((snapshot.count("note")?, snapshot.count("task")?), (1, 1));
    /// assert_eq!(snapshot.count("person")?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` if a list of kinds is damaged on disk.
    pub fn count(&self, kind: &str) -> Result<u64> {
        self.state.kinds().number(kind).map_or(Ok(0), |number| self.numbered_count(number))
    }

    /// As [`count`](Self::count), of a kind by its number.
    pub(crate) fn numbered_count(&self, kind: u32) -> Result<u64> {
        let stored = self.state.base().nodes_of_kind(kind)?;
        Ok(stored.saturating_add_signed(self.state.layered_of_kind(kind).nodes))
    }

    /// The kinds that at least one node or edge has, in the order of
    /// [`kinds`](Self::kinds), each with how many nodes and edges have it. As the
    /// other counts, these are of all nodes and edges in a view too.
    ///
    /// No node and no edge is read. For each file of nodes, of which there are about
    /// a thousand at most, this reads which kinds its nodes have. The manifest has how
    /// many nodes and edges of each kind the files have together, and what was
    /// written since the last checkpoint is counted by the commits. A store that a
    /// build with format version 2 has written does not have the numbers of the
    /// manifest until it is compacted ([`Engine::compact`](crate::Engine::compact)):
    /// there, each call reads all rows of edges.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let (dog, bark) = (NodeId::new(), NodeId::new());
    /// let mut batch = Batch::new();
    /// batch.put(Node::new(dog, "concept")).put(Node::new(bark, "event"));
    /// engine.write(batch.link(Edge::new(bark, "about", dog)))?;
    /// engine.write(Batch::new().delete(bark))?;
    /// let snapshot = engine.snapshot();
    /// // No checkpoint has found out yet that two kinds are gone.
    /// assert_eq!(snapshot.kinds().count(), 3);
    /// let counts = snapshot.kind_counts()?;
    /// assert_eq!((counts.len(), counts[0].kind, counts[0].nodes), (1, "concept", 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` if a list of kinds, or of edges where they are read, is damaged on
    /// disk.
    pub fn kind_counts(&self) -> Result<Vec<KindCount<'_>>> {
        let stored = self.state.base().rows_of_kinds()?;
        let counts = self.state.kinds().numbered().map(|(number, kind)| {
            let (nodes, edges) = stored.get(&number).copied().unwrap_or_default();
            let layered = self.state.layered_of_kind(number);
            KindCount {
                kind,
                nodes: nodes.saturating_add_signed(layered.nodes),
                edges: edges.saturating_add_signed(layered.edges),
            }
        });
        Ok(counts.filter(|count| count.nodes > 0 || count.edges > 0).collect())
    }

    /// The number of edges that leave a node, of a kind or, with `None`, of all
    /// kinds. A view counts only the edges that it shows.
    ///
    /// No edge is read: what is in files is counted by two binary searches, however
    /// many edges there are. What was written since the last checkpoint is counted
    /// one by one, and so is everything in a view that hides any node.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// # let (alice, rex) = (NodeId::new(), NodeId::new());
    /// # engine.write(Batch::new().put(Node::new(alice, "person")).put(Node::new(rex, "dog")))?;
    /// let mut batch = Batch::new();
    /// batch.link(Edge::new(alice, "owns", rex)).link(Edge::new(alice, "walks", rex));
    /// engine.write(batch)?;
    /// let snapshot = engine.snapshot();
    /// assert_eq!(snapshot.degree_out(alice, None)?, 2);
    /// assert_eq!(snapshot.degree_out(alice, Some("walks"))?, 1);
    /// assert_eq!((snapshot.degree_in(rex, None)?, snapshot.degree_in(alice, None)?), (2, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` if the table of edges or, in a view, a node is damaged on disk.
    pub fn degree_out(&self, id: NodeId, kind: Option<&str>) -> Result<u64> {
        self.degree(id, false, kind)
    }

    /// The number of edges that reach a node, as [`degree_out`](Self::degree_out).
    ///
    /// # Errors
    /// As [`degree_out`](Self::degree_out).
    pub fn degree_in(&self, id: NodeId, kind: Option<&str>) -> Result<u64> {
        self.degree(id, true, kind)
    }

    fn degree(&self, id: NodeId, inbound: bool, kind: Option<&str>) -> Result<u64> {
        if self.hidden().is_some() {
            let mut edges = self.edges_for(id, inbound, kind);
            return edges.try_fold(0_u64, |sum, edge| edge.map(|_| sum.saturating_add(1)));
        }
        self.edge_table(id, inbound, kind).map_or(Ok(0), |table| table.count())
    }

    /// The other ends of the edges that leave a node, or reach it, in the order of the
    /// edges.
    pub(crate) fn neighbours(
        &self,
        id: NodeId,
        inbound: bool,
        kind: Option<&str>,
    ) -> Result<Vec<NodeId>> {
        if self.hidden().is_none() {
            let Some(table) = self.edge_table(id, inbound, kind) else { return Ok(Vec::new()) };
            if let Some(ends) = table.stored_ends()? {
                return Ok(ends);
            }
        }
        let edges = self.edges_for(id, inbound, kind);
        edges.map(|edge| Ok(edge?.end(!inbound))).collect()
    }

    /// The edges that leave a node, or reach it; `None` if the kind is unknown.
    fn edge_table(&self, id: NodeId, inbound: bool, kind: Option<&str>) -> Option<EdgeTable<'_>> {
        let (first, last) = match kind {
            None => (0, u32::MAX),
            Some(kind) => self.state.kinds().number(kind).map(|number| (number, number))?,
        };
        let (start, end) = (EdgeKey::first(id, first), EdgeKey::last(id, last));
        Some(EdgeTable::between(&self.state, start, end, !inbound))
    }
}
