//! Edges of a node, in order.

use std::{iter::FusedIterator, sync::Arc};

use crate::{
    format::tables::{EdgeKey, EdgeRow},
    model::{error::Result, id::NodeId},
    read::{
        cursor::{Cursor, CursorOf},
        edge::EdgeRef,
        merge::{Merge, MergedItem},
        snapshot::Snapshot,
        within::{Within, rest},
    },
    state::{
        State,
        base::{
            Base,
            partitions::{EdgePartition, Partition as _, RowRange, end_of},
            stored::EdgeRepr,
        },
        layer::Layer,
        record::EdgeRecord,
    },
};

impl Snapshot {
    /// The outgoing edges of a node, by kind in the order of
    /// [`kinds`](Self::kinds), then by target.
    #[must_use]
    pub fn edges_out(&self, id: NodeId) -> Edges<'_> {
        Edges::new(&self.state, id, Side::Out)
    }

    /// The incoming edges of a node, by kind in the order of
    /// [`kinds`](Self::kinds), then by source.
    #[must_use]
    pub fn edges_in(&self, id: NodeId) -> Edges<'_> {
        Edges::new(&self.state, id, Side::In)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Out,
    In,
}

type EdgeMerge<'s> = Merge<
    's,
    EdgeKey,
    Option<Arc<EdgeRecord>>,
    &'s EdgeRow,
    Within<RowRange<'s, EdgePartition>, EdgeKey>,
>;

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
    state: &'s State,
    side: Side,
    start: EdgeKey,
    end: EdgeKey,
    after: Option<EdgeKey>,
    /// Set by the first call of `next`.
    front: Option<EdgeMerge<'s>>,
    back: Option<Box<EdgeMerge<'s>>>,
    at: Option<EdgeKey>,
    back_at: Option<EdgeKey>,
}

impl<'s> Edges<'s> {
    fn new(state: &'s State, from: NodeId, side: Side) -> Self {
        let (start, end) = (EdgeKey::first(from, 0), EdgeKey::last(from, u32::MAX));
        let (front, back, at, back_at) = (None, None, None, None);
        Self { state, side, start, end, after: None, front, back, at, back_at }
    }

    fn restart(self) -> Self {
        Self { front: None, back: None, at: None, back_at: None, ..self }
    }

    /// Restarts the iterator with only the edges of a kind; none if the kind is
    /// unknown.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        // No kind has this number.
        let number = self.state.kinds().number(kind).unwrap_or(u32::MAX);
        self.start = EdgeKey::first(self.start.from, number);
        self.end = EdgeKey::last(self.start.from, number);
        self.restart()
    }

    fn read(&self) -> CursorOf {
        match self.side {
            Side::Out => CursorOf::EdgesOut(self.start.from),
            Side::In => CursorOf::EdgesIn(self.start.from),
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
            Some(EdgeKey { from: self.start.from, kind, to: cursor.node, discriminator })
        });
        self.after = Some(place.unwrap_or(EdgeKey::last(self.start.from, u32::MAX)));
        Ok(self.restart())
    }

    fn begin(&self, descending: bool) -> EdgeMerge<'s> {
        let (state, side) = (self.state, self.side);
        let partitions = match side {
            Side::Out => state.base().out(),
            Side::In => state.base().in_edges(),
        };
        let bounds = rest(self.start, self.end, self.after);
        let run = Base::edge_bound(partitions, &self.after.unwrap_or(self.start)).and_then(|low| {
            let high = if descending {
                // The row at the bound may be in the range.
                let (at, row) = Base::edge_bound(partitions, &self.end)?;
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

    /// The position after the last edge that was read from the front. `None`
    /// before the first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let at = self.at?;
        let kind = at.kind.to_be_bytes();
        let key = [at.discriminator.to_be_bytes().as_slice(), &kind].concat();
        Some(Cursor { of: self.read(), node: at.to, key })
    }

    #[inline]
    fn edge(
        &self,
        found: MergedItem<'s, Option<Arc<EdgeRecord>>, &'s EdgeRow>,
    ) -> Option<Result<EdgeRef<'s>>> {
        let base = self.state.base();
        let repr = match found {
            MergedItem::Memory(record) => EdgeRepr::Memory(record.as_deref()?),
            MergedItem::Base(row) if base.knows_kind(row.key().kind) => {
                EdgeRepr::Stored { row, inbound: self.side == Side::In }
            }
            MergedItem::Base(row) => {
                let table = if self.side == Side::In { base.in_edges() } else { base.out() };
                return Some(Err(base.edge_of_unknown_kind(table, &row.key())));
            }
        };
        Some(Ok(EdgeRef { state: self.state, repr }))
    }
}

impl<'s> Iterator for Edges<'s> {
    type Item = Result<EdgeRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.front.is_none() {
            self.front = Some(self.begin(false));
        }
        let (key, found) = match self.front.as_mut()?.next()? {
            Ok(item) => item,
            Err(error) => return Some(Err(error)),
        };
        // The back has returned the rest.
        if self.back_at.is_some_and(|back| key >= back) {
            return None;
        }
        self.at = Some(key);
        self.edge(found)
    }
}

impl DoubleEndedIterator for Edges<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.back.is_none() {
            self.back = Some(Box::new(self.begin(true)));
        }
        let (key, found) = match self.back.as_mut()?.next()? {
            Ok(item) => item,
            Err(error) => return Some(Err(error)),
        };
        if self.at.is_some_and(|front| key <= front) {
            return None;
        }
        self.back_at = Some(key);
        self.edge(found)
    }
}

impl FusedIterator for Edges<'_> {}

impl std::fmt::Debug for Edges<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edges").field("at", &self.at).finish_non_exhaustive()
    }
}
