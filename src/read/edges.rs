//! Edges of a node, in order.

use std::{iter::FusedIterator, sync::Arc};

use crate::{
    format::tables::{EdgeKey, EdgeRow},
    model::{error::Result, id::NodeId},
    read::{
        cursor::Cursor,
        edge::EdgeRef,
        merge::{Merge, MergedItem},
        snapshot::Snapshot,
        within::{Within, rest},
    },
    state::{
        State,
        base::{
            Base,
            partitions::{EdgePartition, RowRange, end_of},
            stored::EdgeRepr,
        },
        layer::Layer,
        record::EdgeRecord,
    },
};

impl Snapshot {
    /// The edges that leave a node, by kind in the order of
    /// [`kinds`](Self::kinds), then by target.
    #[must_use]
    pub fn edges_out(&self, id: NodeId) -> Edges<'_> {
        Edges::new(&self.state, id, Side::Out)
    }

    /// The edges that reach a node, by kind in the order of
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

/// The edges of [`Snapshot::edges_out`] and [`Snapshot::edges_in`].
pub struct Edges<'s> {
    state: &'s State,
    side: Side,
    start: EdgeKey,
    end: EdgeKey,
    after: Option<EdgeKey>,
    /// Once the first is asked for.
    items: Option<EdgeMerge<'s>>,
    pub(super) at: Option<EdgeKey>,
}

impl<'s> Edges<'s> {
    fn new(state: &'s State, from: NodeId, side: Side) -> Self {
        let (start, end) = (EdgeKey::first(from, 0), EdgeKey::last(from, u32::MAX));
        Self { state, side, start, end, after: None, items: None, at: None }
    }

    /// Only those of a kind. A kind that nothing has leaves none.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        // No kind has the last number.
        let number = self.state.kinds().number(kind).unwrap_or(u32::MAX);
        self.start = EdgeKey::first(self.start.from, number);
        self.end = EdgeKey::last(self.start.from, number);
        self.items = None;
        self
    }

    /// Goes on after a cursor of the same read. A cursor before the first edge
    /// leaves all, one past the last, or of a kind that the store does not
    /// know, none.
    #[must_use]
    pub fn after(mut self, cursor: &Cursor) -> Self {
        let place = cursor.key.split_first_chunk().and_then(|(discriminator, name)| {
            let kind = self.state.kinds().number(str::from_utf8(name).ok()?)?;
            let discriminator = u64::from_be_bytes(*discriminator);
            Some(EdgeKey { from: self.start.from, kind, to: cursor.node, discriminator })
        });
        self.after = Some(place.unwrap_or(EdgeKey::last(self.start.from, u32::MAX)));
        self.items = None;
        self
    }

    fn begin(&self) -> EdgeMerge<'s> {
        let (state, side) = (self.state, self.side);
        let partitions = match side {
            Side::Out => state.base().out(),
            Side::In => state.base().in_edges(),
        };
        let bounds = rest(self.start, self.end, self.after);
        let run = Base::edge_bound(partitions, &self.after.unwrap_or(self.start))
            .map(|low| RowRange::new(partitions, low, end_of(partitions)));
        let map = move |layer: &'s Layer| match side {
            Side::Out => layer.out(),
            Side::In => layer.in_edges(),
        };
        Merge::new(state.layers(), map, bounds, Within::new(run, bounds, false), false)
    }

    /// Where the read is: after the edge that it gave last. `None` before the
    /// first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let at = self.at?;
        let kind = self.state.kinds().name(at.kind);
        let key = [at.discriminator.to_be_bytes().as_slice(), kind.as_bytes()].concat();
        Some(Cursor { node: at.to, key })
    }
}

impl<'s> Iterator for Edges<'s> {
    type Item = Result<EdgeRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.items.is_none() {
            self.items = Some(self.begin());
        }
        let (key, found) = match self.items.as_mut()?.next()? {
            Ok(item) => item,
            Err(error) => return Some(Err(error)),
        };
        self.at = Some(key);
        let repr = match found {
            MergedItem::Memory(record) => EdgeRepr::Memory(record.as_deref()?),
            MergedItem::Base(row) => EdgeRepr::Stored { row, inbound: self.side == Side::In },
        };
        Some(Ok(EdgeRef { state: self.state, repr }))
    }
}

impl FusedIterator for Edges<'_> {}
