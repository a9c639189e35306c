//! Keys of an index, in order.

use std::{iter::FusedIterator, ops::Bound};

use crate::{
    format::tables::{EXPIRY, IndexEntryRef},
    model::{catalog::unknown_index, error::Result, id::NodeId, time::Timestamp},
    read::{
        cursor::{Cursor, Direction, KeyRange},
        edges::Edges,
        merge::Merge,
        node::NodeRef,
        scan::Scan,
        snapshot::Snapshot,
        within::{OwnedPlace, Within},
    },
    state::{
        State,
        base::partitions::{KeyPartition, RowRange},
        layer::Layer,
        record::{KeyEntry, expiry_key},
    },
};

impl Snapshot {
    /// The keys of an index that lie in a range, with their nodes, by key and
    /// then by id, or the other way round.
    ///
    /// # Errors
    /// `Invalid` if there is no such index, or the range ends before it starts.
    pub fn range(
        &self,
        index: &str,
        range: impl Into<KeyRange>,
        direction: Direction,
    ) -> Result<Range<'_>> {
        let number = self.state.indexes().number(index).ok_or_else(|| unknown_index(index))?;
        let range = range.into();
        range.check()?;
        Ok(Range::new(&self.state, number, range, direction))
    }

    /// The nodes that expire at `before` or earlier, the first to expire first.
    pub fn expired(&self, before: Timestamp) -> impl Iterator<Item = Result<NodeId>> {
        let range = KeyRange { start: Bound::Unbounded, end: Bound::Included(expiry_key(before)) };
        let mut range = Range::new(&self.state, EXPIRY, range, Direction::Ascending);
        std::iter::from_fn(move || range.next_place()).map(|place| place.map(|place| place.node))
    }
}

impl Snapshot {
    /// The nodes with a key in a range of an index, ascending, each once; `None`
    /// if they are more than `most`.
    pub(crate) fn nodes_within(
        &self,
        index: u32,
        range: &KeyRange,
        most: usize,
    ) -> Result<Option<Vec<NodeId>>> {
        range.check()?;
        let base = self.state.base();
        let bounds = (start_place(index, range), end_place(index, range));
        let low = base.key_bound(&bound_place(bounds.0))?;
        let high = base.key_bound(&bound_place(bounds.1))?;
        // What is in the base is counted without being read. Some of it may be
        // gone: then the range is taken for larger than it is.
        let partitions = base.keys().get(low.0..high.0).unwrap_or_default().iter();
        let before =
            partitions.map(|partition| partition.entries().len()).fold(0, usize::saturating_add);
        if before.saturating_add(high.1).saturating_sub(low.1) > most.saturating_mul(2) {
            return Ok(None);
        }
        let mut ids = Vec::new();
        let layered =
            |layer: &Layer| layer.keys().range::<_, IndexEntryRef<'_>>(bounds).next().is_some();
        if !self.state.layers().any(layered) {
            // Nothing of it has changed since: no merge.
            let end = (high.0, high.1.saturating_add(1));
            let last = base.keys().len();
            let high = if high.0 < last { end } else { high };
            for place in RowRange::new(base.keys(), low, high) {
                let place = place?;
                if place.index == index && range.contains(place.key) {
                    ids.push(place.node);
                }
            }
            if ids.len() > most {
                return Ok(None);
            }
            ids.sort_unstable();
            ids.dedup();
            return Ok(Some(ids));
        }
        let mut keys = Range::new(&self.state, index, range.clone(), Direction::Ascending);
        while let Some(place) = keys.next_place() {
            if ids.len() == most {
                return Ok(None);
            }
            ids.push(place?.node);
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(Some(ids))
    }
}

type KeyMerge<'s> =
    Merge<'s, KeyEntry, bool, IndexEntryRef<'s>, Within<RowRange<'s, KeyPartition>, OwnedPlace>>;

/// The entries of [`Snapshot::range`].
pub struct Range<'s> {
    state: &'s State,
    index: u32,
    range: KeyRange,
    direction: Direction,
    /// What [`after`](Self::after) was given.
    left_at: Option<Cursor>,
    /// Once the first is asked for.
    items: Option<KeyMerge<'s>>,
    at: Option<IndexEntryRef<'s>>,
}

/// An entry of an index.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct IndexEntry<'s> {
    /// The key.
    pub key: &'s [u8],
    /// The node that has it.
    pub node: NodeRef<'s>,
}

impl<'s> Range<'s> {
    fn new(state: &'s State, index: u32, range: KeyRange, direction: Direction) -> Self {
        Self { state, index, range, direction, left_at: None, items: None, at: None }
    }

    /// Goes on after a cursor of a range over the same index in the same
    /// direction.
    #[must_use]
    pub fn after(mut self, cursor: &Cursor) -> Self {
        self.left_at = Some(cursor.clone());
        self.items = None;
        self
    }

    fn begin(&self) -> KeyMerge<'s> {
        let state = self.state;
        let descending = self.direction == Direction::Descending;
        let (mut start, mut end) =
            (start_place(self.index, &self.range), end_place(self.index, &self.range));
        if let Some(Cursor { node, key }) = &self.left_at {
            let place = IndexEntryRef { index: self.index, key, node: *node };
            if descending {
                end = tighter(end, place, |new, old| new <= old);
            } else {
                start = tighter(start, place, |new, old| new >= old);
            }
        }
        let (from, to) = (bound_place(start), bound_place(end));
        if from > to {
            // Nothing: the cursor is past the last.
            (start, end) = (Bound::Excluded(from), Bound::Included(from));
        }
        let (from, to) = (bound_place(start), bound_place(end));
        let run = state.base().key_bound(&from).and_then(|low| {
            let high = state.base().key_bound(&to)?;
            let len =
                state.base().keys().get(high.0).map_or(0, |partition| partition.entries().len());
            // The entry at the bound itself may belong to it.
            let high = (high.0, high.1.saturating_add(1).min(len));
            Ok(RowRange::directed(state.base().keys(), low, high, descending))
        });
        let owned = (start.map(OwnedPlace::from), end.map(OwnedPlace::from));
        let base = Within::new(run, owned, descending);
        Merge::new::<IndexEntryRef<'_>, _>(
            state.layers(),
            |layer| layer.keys(),
            (start, end),
            base,
            descending,
        )
    }

    /// Where the read is: after the entry that it gave last. `None` before the
    /// first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let at = self.at?;
        Some(Cursor { node: at.node, key: at.key.to_vec() })
    }

    /// The next entry, without its node.
    fn next_place(&mut self) -> Option<Result<IndexEntryRef<'s>>> {
        if self.items.is_none() {
            self.items = Some(self.begin());
        }
        let item = self.items.as_mut()?.next()?;
        Some(item.map(|(place, _)| {
            self.at = Some(place);
            place
        }))
    }
}

fn bound_place<'k>(bound: Bound<IndexEntryRef<'k>>) -> IndexEntryRef<'k> {
    match bound {
        Bound::Included(place) | Bound::Excluded(place) => place,
        // There is none of these.
        Bound::Unbounded => IndexEntryRef { index: 0, key: &[], node: NodeId::MIN },
    }
}

fn start_place(index: u32, range: &KeyRange) -> Bound<IndexEntryRef<'_>> {
    match &range.start {
        Bound::Unbounded => Bound::Included(IndexEntryRef { index, key: &[], node: NodeId::MIN }),
        Bound::Included(key) => Bound::Included(IndexEntryRef { index, key, node: NodeId::MIN }),
        Bound::Excluded(key) => Bound::Excluded(IndexEntryRef { index, key, node: NodeId::MAX }),
    }
}

fn end_place(index: u32, range: &KeyRange) -> Bound<IndexEntryRef<'_>> {
    match &range.end {
        // Indexes are few: there is always a next number. Expiries are asked for
        // with an end.
        Bound::Unbounded => Bound::Excluded(IndexEntryRef {
            index: index.saturating_add(1),
            key: &[],
            node: NodeId::MIN,
        }),
        Bound::Included(key) => Bound::Included(IndexEntryRef { index, key, node: NodeId::MAX }),
        Bound::Excluded(key) => Bound::Excluded(IndexEntryRef { index, key, node: NodeId::MIN }),
    }
}

/// The bound that excludes `place`, unless the other lies further in already.
fn tighter<'k>(
    bound: Bound<IndexEntryRef<'k>>,
    place: IndexEntryRef<'k>,
    further_in: impl Fn(IndexEntryRef<'k>, IndexEntryRef<'k>) -> bool,
) -> Bound<IndexEntryRef<'k>> {
    match bound {
        Bound::Included(old) | Bound::Excluded(old) if !further_in(place, old) => bound,
        _ => Bound::Excluded(place),
    }
}

impl<'s> Iterator for Range<'s> {
    type Item = Result<IndexEntry<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.next_place()?.and_then(|place| {
            // Keys and nodes change in the same commit: each is there.
            let node = NodeRef::find(self.state, place.node)?;
            let gone = || {
                let what = format!("node {} has an index key and is not there", place.node);
                self.state.base().damaged(what)
            };
            Ok(IndexEntry { key: place.key, node: node.ok_or_else(gone)? })
        }))
    }
}

impl FusedIterator for Range<'_> {}

macro_rules! debug_place {
    ($($type:ident),*) => {$(
        impl std::fmt::Debug for $type<'_> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).field("at", &self.at).finish_non_exhaustive()
            }
        }
    )*};
}

debug_place!(Scan, Edges, Range);
