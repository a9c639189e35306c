//! Edges of a node, in order.

use std::{iter::FusedIterator, sync::Arc};

use crate::{
    format::tables::{EdgeKey, EdgeRow},
    model::{error::Result, id::NodeId},
    read::{
        cursor::{Cursor, CursorOf},
        edge::EdgeRef,
        heaviest::heaviest,
        hidden::Hidden,
        merge::{Merge, MergedItem},
        snapshot::Snapshot,
        walk::{Ordered, Walk, at, run_from, unskipped},
        within::{Within, rest},
    },
    state::{
        State,
        base::{
            Base,
            partitions::{EdgePartition, Partition as _, RowRange, end_of},
            stored::EdgeRepr,
        },
        dead::{DeadRun, Runs},
        layer::Layer,
        record::EdgeRecord,
    },
};

impl Snapshot {
    /// The outgoing edges of a node, by kind in the order of
    /// [`kinds`](Self::kinds), then by target.
    #[must_use]
    pub fn edges_out(&self, id: NodeId) -> Edges<'_> {
        self.edges_at(id, Side::Out)
    }

    /// The incoming edges of a node, by kind in the order of
    /// [`kinds`](Self::kinds), then by source.
    #[must_use]
    pub fn edges_in(&self, id: NodeId) -> Edges<'_> {
        self.edges_at(id, Side::In)
    }

    fn edges_at(&self, from: NodeId, side: Side) -> Edges<'_> {
        let (start, end) = (EdgeKey::first(from, 0), EdgeKey::last(from, u32::MAX));
        let table = EdgeTable { state: &self.state, side, start, end, after: None };
        let (hidden, shown) = (self.hidden(), None);
        Edges { table, hidden, shown, front: None, back: None, at: None, back_at: None }
    }

    /// The edges of a kind from one node to another: parallel edges, by
    /// discriminator. Finding them costs the same however many other edges the
    /// nodes have.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// # let (alice, rex) = (NodeId::new(), NodeId::new());
    /// # engine.write(Batch::new().put(Node::new(alice, "person")).put(Node::new(rex, "dog")))?;
    /// let walk = |number| Edge::new(alice, "walked", rex).discriminator(number);
    /// engine.write(Batch::new().link(walk(1)).link(walk(7)).link(Edge::new(alice, "owns", rex)))?;
    /// let snapshot = engine.snapshot();
    /// let walks = snapshot.edges_between(alice, "walked", rex);
    /// let numbers = walks.map(|edge| Ok(edge?.discriminator())).collect::<ingrain::Result<Vec<_>>>()?;
    /// assert_eq!(numbers, [1, 7]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn edges_between(&self, source: NodeId, kind: &str, target: NodeId) -> Edges<'_> {
        let mut edges = self.edges_out(source).kind(kind);
        let (from, kind) = (source, edges.table.start.kind);
        edges.table.start = EdgeKey { from, kind, to: target, discriminator: 0 };
        edges.table.end = EdgeKey { from, kind, to: target, discriminator: u64::MAX };
        edges
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Out,
    In,
}

type EdgeMerge<'s> =
    Merge<'s, EdgeKey, Arc<EdgeRecord>, &'s EdgeRow, Within<RowRange<'s, EdgePartition>, EdgeKey>>;

/// The iterator of [`Snapshot::edges_out`] and [`Snapshot::edges_in`]. It can be
/// read from both ends.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # let (alice, rex) = (NodeId::new(), NodeId::new());
/// # engine.write(Batch::new().put(Node::new(alice, "person")).put(Node::new(rex, "dog")))?;
/// engine.write(
///     Batch::new().link(Edge::new(alice, "owns", rex)).link(Edge::new(rex, "likes", alice)),
/// )?;
/// let snapshot = engine.snapshot();
/// for edge in snapshot.edges_out(alice) {
///     assert_eq!(edge?.target(), rex);
/// }
/// assert_eq!(snapshot.edges_in(alice).kind("likes").count(), 1);
/// assert_eq!(snapshot.edges_in(alice).kind("owns").count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Edges<'s> {
    table: EdgeTable<'s>,
    /// What a view does not show, if that is anything.
    hidden: Option<&'s Hidden>,
    /// Whether it shows the node itself, once that is known.
    shown: Option<bool>,
    /// Set by the first call of `next`.
    front: Option<Walk<EdgeTable<'s>>>,
    back: Option<Box<Walk<EdgeTable<'s>>>>,
    at: Option<EdgeKey>,
    back_at: Option<EdgeKey>,
}

/// The edges of a range of keys.
pub(crate) struct EdgeTable<'s> {
    state: &'s State,
    side: Side,
    start: EdgeKey,
    end: EdgeKey,
    after: Option<EdgeKey>,
}

impl<'s> EdgeTable<'s> {
    /// All edges from `start` up to `end`, by their keys in the out_edges table
    /// if `out`, else in in_edges.
    pub(crate) fn between(state: &'s State, start: EdgeKey, end: EdgeKey, out: bool) -> Self {
        let side = if out { Side::Out } else { Side::In };
        Self { state, side, start, end, after: None }
    }

    /// What is left of it after a place.
    pub(crate) fn after(self, place: EdgeKey) -> Self {
        Self { after: Some(place), ..self }
    }

    /// The number of its edges. Those of the base are counted by their positions,
    /// what layers change is counted one by one.
    pub(crate) fn count(&self) -> Result<u64> {
        let (start, end) = (self.start, self.end);
        let stored = Base::edges_within(self.partitions(), &start, &end)?;
        let layered = self.state.layered_edges(self.side == Side::Out, start..=end);
        Ok(stored.saturating_add_signed(layered))
    }

    /// The other ends of its edges, if all of these are in the base.
    pub(crate) fn stored_ends(&self) -> Result<Option<Vec<NodeId>>> {
        let (start, end) = (self.start, self.end);
        let layered = |layer: &Layer| {
            let edges = if self.side == Side::Out { layer.out() } else { layer.in_edges() };
            edges.range(start..=end).next().is_some()
        };
        if self.state.layers().any(layered) {
            return Ok(None);
        }
        let rows = Base::edge_rows(self.partitions(), &start, &end)?;
        rows.map(|row| Ok(row?.key().to)).collect::<Result<_>>().map(Some)
    }

    /// Its edges in the base.
    fn partitions(&self) -> &'s [Arc<EdgePartition>] {
        match self.side {
            Side::Out => self.state.base().out(),
            Side::In => self.state.base().in_edges(),
        }
    }

    /// The edge that a merge has found. Refuses one of an unknown kind.
    #[inline]
    pub(crate) fn edge(
        &self,
        found: MergedItem<'s, Arc<EdgeRecord>, &'s EdgeRow>,
    ) -> Result<EdgeRef<'s>> {
        let base = self.state.base();
        let repr = match found {
            MergedItem::Memory(record) => EdgeRepr::Memory(record),
            MergedItem::Base(row) if base.knows_kind(row.key().kind) => {
                EdgeRepr::Stored { row, inbound: self.side == Side::In }
            }
            MergedItem::Base(row) => {
                return Err(base.edge_of_unknown_kind(self.partitions(), &row.key()));
            }
        };
        Ok(EdgeRef { state: self.state, repr })
    }

    fn runs(&self) -> &'s Runs<EdgeKey> {
        match self.side {
            Side::Out => &self.state.dead().out,
            Side::In => &self.state.dead().in_edges,
        }
    }
}

impl<'s> Edges<'s> {
    /// Whether all edges are hidden, since the node is. After an error they are.
    fn hides_all(&mut self) -> Result<bool> {
        let Some(hidden) = self.hidden else { return Ok(false) };
        if self.shown.is_none() {
            self.shown = Some(false);
            self.shown = Some(!hidden.hides_id(self.table.state, self.table.start.from)?);
        }
        Ok(self.shown == Some(false))
    }

    /// Whether an edge is hidden, since its other end is.
    #[inline]
    fn hides(&self, key: EdgeKey) -> Result<bool> {
        self.hidden.map_or(Ok(false), |hidden| hidden.hides_id(self.table.state, key.to))
    }

    fn restart(self) -> Self {
        Self { front: None, back: None, at: None, back_at: None, ..self }
    }

    /// Restarts the iterator with only the edges of a kind; none if the kind is
    /// unknown.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        // No kind has this number.
        let number = self.table.state.kinds().number(kind).unwrap_or(u32::MAX);
        self.table.start = EdgeKey::first(self.table.start.from, number);
        self.table.end = EdgeKey::last(self.table.start.from, number);
        self.restart()
    }

    fn read(&self) -> CursorOf {
        match self.table.side {
            Side::Out => CursorOf::EdgesOut(self.table.start.from),
            Side::In => CursorOf::EdgesIn(self.table.start.from),
        }
    }

    /// Restarts the iterator after a cursor of the same edges, outgoing or
    /// incoming, of the same node. A cursor before the first edge leaves all
    /// edges; one past the last edge leaves none.
    ///
    /// # Errors
    /// `Invalid` if the cursor comes from another read.
    pub fn after(mut self, cursor: &Cursor) -> Result<Self> {
        cursor.check(&self.read())?;
        let place = cursor.key.split_first_chunk().and_then(|(discriminator, _)| {
            let kind = cursor.kind()?;
            let discriminator = u64::from_be_bytes(*discriminator);
            Some(EdgeKey { from: self.table.start.from, kind, to: cursor.node, discriminator })
        });
        self.table.after = Some(place.unwrap_or(EdgeKey::last(self.table.start.from, u32::MAX)));
        Ok(self.restart())
    }

    /// The position after the last edge that was read from the front. `None`
    /// before the first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let at = self.at?;
        let kind = at.kind.to_be_bytes();
        let key = [at.discriminator.to_be_bytes().as_slice(), &kind].concat();
        Some(Cursor { of: self.read(), node: at.to, key })
    }

    /// The `k` heaviest of these edges that were not read yet: those of the greatest
    /// weights, the heaviest first. Of edges that weigh the same, the one that the
    /// iterator returns first comes first.
    ///
    /// It reads all of them once, without their attributes, and keeps `k` at a time.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let word = |text: &str| NodeId::from_content(text.as_bytes());
    /// let mut batch = Batch::new();
    /// for (text, weight) in [("cat", 0.5), ("bone", 0.9), ("park", 0.7)] {
    ///     batch.link_ensuring(Edge::new(word("dog"), "evokes", word(text)).weight(weight), "word");
    /// }
    /// engine.write(batch)?;
    ///
    /// let snapshot = engine.snapshot();
    /// let two = snapshot.edges_out(word("dog")).kind("evokes").heaviest(2)?;
    /// let targets: Vec<NodeId> = two.iter().map(|edge| edge.target()).collect();
    /// assert_eq!(targets, [word("bone"), word("park")]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Limit` if `k` is more than [`limits::HEAVIEST_K`](crate::limits::HEAVIEST_K);
    /// `Corrupt` if an edge is damaged on disk.
    pub fn heaviest(self, k: usize) -> Result<Vec<EdgeRef<'s>>> {
        heaviest(self, k)
    }
}

impl<'s> Ordered for EdgeTable<'s> {
    type Place = EdgeKey;
    type Item = MergedItem<'s, Arc<EdgeRecord>, &'s EdgeRow>;
    type Merge = EdgeMerge<'s>;

    fn state(&self) -> &State {
        self.state
    }

    fn begin(&self, descending: bool, from: Option<EdgeKey>) -> EdgeMerge<'s> {
        let (state, side) = (self.state, self.side);
        let partitions = self.partitions();
        let bounds = rest(self.start, self.end, self.after);
        let bounds = unskipped(self.runs(), bounds, descending, from, |key| *key);
        let place = |bound| at(bound).unwrap_or(self.start);
        let (low, high) = (place(bounds.0), place(bounds.1));
        let run = Base::edge_bound(partitions, &low).and_then(|low| {
            let high = if descending {
                // The row at the bound may be in the range.
                let (at, row) = Base::edge_bound(partitions, &high)?;
                let len = partitions.get(at).map_or(0, |partition| partition.len());
                (at, (row + 1).min(len))
            } else {
                end_of(partitions)
            };
            Ok(RowRange::directed(partitions, low, high, descending))
        });
        let map = move |layer: &'s Layer| match side {
            Side::Out => layer.out(),
            Side::In => layer.in_edges(),
        };
        let base = Within::new(run, bounds, descending);
        Merge::new(state.layers(), map, bounds, base, descending)
    }

    fn skip(&self, place: EdgeKey, descending: bool) -> Option<EdgeKey> {
        let (first, next) = self.runs().containing(&place)?;
        Some(if descending { *first } else { *next })
    }

    fn run(&self, dead: EdgeKey, live: Option<EdgeKey>, descending: bool) -> Option<DeadRun> {
        let bounds = rest(self.start, self.end, self.after);
        let run = run_from(bounds, dead, live, descending)?;
        Some(match self.side {
            Side::Out => DeadRun::Out(run.0, run.1),
            Side::In => DeadRun::In(run.0, run.1),
        })
    }
}

impl<'s> Iterator for Edges<'s> {
    type Item = Result<EdgeRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.hides_all() {
            Ok(true) => return None,
            Ok(false) => {}
            Err(error) => return Some(Err(error)),
        }
        loop {
            let front = self.front.get_or_insert_with(|| Walk::new(&self.table, false));
            let (key, found) = match front.next(&self.table)? {
                Ok(item) => item,
                Err(error) => return Some(Err(error)),
            };
            // The back has returned the rest.
            if self.back_at.is_some_and(|back| key >= back) {
                return None;
            }
            match self.hides(key) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return Some(Err(error)),
            }
            self.at = Some(key);
            return Some(self.table.edge(found));
        }
    }
}

impl DoubleEndedIterator for Edges<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self.hides_all() {
            Ok(true) => return None,
            Ok(false) => {}
            Err(error) => return Some(Err(error)),
        }
        loop {
            let back = self.back.get_or_insert_with(|| Box::new(Walk::new(&self.table, true)));
            let (key, found) = match back.next(&self.table)? {
                Ok(item) => item,
                Err(error) => return Some(Err(error)),
            };
            if self.at.is_some_and(|front| key <= front) {
                return None;
            }
            match self.hides(key) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => return Some(Err(error)),
            }
            self.back_at = Some(key);
            return Some(self.table.edge(found));
        }
    }
}

impl FusedIterator for Edges<'_> {}

impl std::fmt::Debug for Edges<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edges").field("at", &self.at).finish_non_exhaustive()
    }
}
