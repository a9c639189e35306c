//! Reads in order: nodes of a kind, edges of a node, keys of an index. Each
//! can be left and taken up again with a [`Cursor`], also on a later snapshot.

use std::{
    iter::FusedIterator,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use im::{ordmap, ordset, shared_ptr::DefaultSharedPtr};

use super::{
    EdgeRef, NodeRef, Snapshot,
    delta::{Delta, EdgeKey, EdgeRecord, KeyEntry, KeyPlace},
};
use crate::{
    error::{Error, Result},
    id::NodeId,
    model::unknown_index,
};

/// Which way to go through an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first.
    Descending,
}

/// A place in an ordered read: just after one of its items.
///
/// A cursor outlives its snapshot, its process and the item it names. On
/// another snapshot it goes on with what comes after that place there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    node: NodeId,
    key: Vec<u8>,
}

impl Cursor {
    /// The cursor as bytes, to keep or hand out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.node.as_bytes().as_slice(), &self.key].concat()
    }

    /// The cursor with these bytes.
    ///
    /// # Errors
    /// `Invalid` when they are none of [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (node, key) = bytes
            .split_first_chunk()
            .ok_or_else(|| Error::invalid("cursor: it is shorter than a node id"))?;
        Ok(Self { node: NodeId::from_bytes(*node), key: key.to_vec() })
    }
}

/// A range of index keys.
///
/// ```
/// use ingrain::{KeyBuilder, KeyRange};
///
/// let since = KeyRange::from(KeyBuilder::new().int(1_000).build()..);
/// let of_session = KeyRange::prefix(&KeyBuilder::new().text("session-1").build());
/// # let _ = (since, of_session);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// Every key that begins with these bytes.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        // The first key that is larger than all with the prefix: the prefix
        // without trailing 0xff, its last byte one more.
        let mut end = prefix.to_vec();
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        let end = match end.last_mut() {
            Some(byte) => {
                *byte = byte.saturating_add(1);
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        Self { start: Bound::Included(prefix.to_vec()), end }
    }

    fn check(&self) -> Result<()> {
        use Bound::{Excluded, Included, Unbounded};
        let reversed = match (&self.start, &self.end) {
            (Unbounded, _) | (_, Unbounded) => false,
            (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start > end,
        };
        if reversed { Err(Error::invalid("key range: it ends before it starts")) } else { Ok(()) }
    }

    /// Whether a key lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let start = match &self.start {
            Bound::Included(start) => **start <= *key,
            Bound::Excluded(start) => **start < *key,
            Bound::Unbounded => true,
        };
        let end = match &self.end {
            Bound::Included(end) => *key <= **end,
            Bound::Excluded(end) => *key < **end,
            Bound::Unbounded => true,
        };
        start && end
    }
}

impl<R: RangeBounds<Vec<u8>>> From<R> for KeyRange {
    fn from(range: R) -> Self {
        Self { start: range.start_bound().cloned(), end: range.end_bound().cloned() }
    }
}

impl Snapshot {
    /// The nodes of a kind, by id. A kind that nothing has gives none.
    #[must_use]
    pub fn scan(&self, kind: &str) -> Scan<'_> {
        // No kind has the last number.
        let number = self.state.kinds.number(kind).unwrap_or(u32::MAX);
        Scan::new(&self.state, (number, NodeId::MIN), (number, NodeId::MAX))
    }

    /// All nodes, by kind in the order of [`kinds`](Self::kinds), then by id.
    #[must_use]
    pub fn scan_all(&self) -> Scan<'_> {
        Scan::new(&self.state, (0, NodeId::MIN), (u32::MAX, NodeId::MAX))
    }

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
        let number = self.state.indexes.number(index).ok_or_else(|| unknown_index(index))?;
        let range = range.into();
        range.check()?;
        Ok(Range::new(&self.state, number, range, direction))
    }
}

/// The nodes of [`Snapshot::scan`] and [`Snapshot::scan_all`].
pub struct Scan<'s> {
    state: &'s Delta,
    start: (u32, NodeId),
    end: (u32, NodeId),
    items: ordset::RangedIter<'s, (u32, NodeId), DefaultSharedPtr>,
    at: Option<(u32, NodeId)>,
}

impl<'s> Scan<'s> {
    fn new(state: &'s Delta, start: (u32, NodeId), end: (u32, NodeId)) -> Self {
        Self { state, start, end, items: state.by_kind.range(start..=end), at: None }
    }

    /// Goes on after a cursor of a scan. A cursor before the first node leaves
    /// all, one past the last, or of a kind that the store does not know, none.
    #[must_use]
    pub fn after(mut self, cursor: &Cursor) -> Self {
        let kind = str::from_utf8(&cursor.key).ok().and_then(|name| self.state.kinds.number(name));
        let place = kind.map_or(self.end, |kind| (kind, cursor.node));
        self.items = self.state.by_kind.range(rest(self.start, self.end, Some(place)));
        self
    }

    /// Where the scan is: after the node that it gave last. `None` before the
    /// first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let (kind, node) = self.at?;
        Some(Cursor { node, key: self.state.kinds.name(kind).as_bytes().to_vec() })
    }
}

/// What is left of `start..=end` after `place`.
fn rest<T: Ord + Copy>(start: T, end: T, place: Option<T>) -> (Bound<T>, Bound<T>) {
    match place {
        Some(place) if place >= end => (Bound::Excluded(end), Bound::Included(end)),
        Some(place) if place >= start => (Bound::Excluded(place), Bound::Included(end)),
        _ => (Bound::Included(start), Bound::Included(end)),
    }
}

impl<'s> Iterator for Scan<'s> {
    type Item = Result<NodeRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, id) = *self.items.next()?;
        self.at = Some((kind, id));
        // Kinds and nodes change in the same commit: each is there.
        let record = self.state.nodes.get(&id)?;
        Some(Ok(NodeRef { state: self.state, record }))
    }
}

impl FusedIterator for Scan<'_> {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Out,
    In,
}

/// The edges of [`Snapshot::edges_out`] and [`Snapshot::edges_in`].
pub struct Edges<'s> {
    state: &'s Delta,
    side: Side,
    start: EdgeKey,
    end: EdgeKey,
    after: Option<EdgeKey>,
    items: ordmap::RangedIter<'s, EdgeKey, Arc<EdgeRecord>, DefaultSharedPtr>,
    at: Option<EdgeKey>,
}

impl<'s> Edges<'s> {
    fn new(state: &'s Delta, here: NodeId, side: Side) -> Self {
        let (start, end) = (EdgeKey::first(here, 0), EdgeKey::last(here, u32::MAX));
        let items = map(state, side).range(start..=end);
        Self { state, side, start, end, after: None, items, at: None }
    }

    /// Only those of a kind. A kind that nothing has leaves none.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        // No kind has the last number.
        let number = self.state.kinds.number(kind).unwrap_or(u32::MAX);
        self.start = EdgeKey::first(self.start.here, number);
        self.end = EdgeKey::last(self.start.here, number);
        self.again()
    }

    /// Goes on after a cursor of the same read. A cursor before the first edge
    /// leaves all, one past the last, or of a kind that the store does not
    /// know, none.
    #[must_use]
    pub fn after(mut self, cursor: &Cursor) -> Self {
        let place = cursor.key.split_first_chunk().and_then(|(discriminator, name)| {
            let kind = self.state.kinds.number(str::from_utf8(name).ok()?)?;
            let discriminator = u64::from_be_bytes(*discriminator);
            Some(EdgeKey { here: self.start.here, kind, there: cursor.node, discriminator })
        });
        self.after = Some(place.unwrap_or(EdgeKey::last(self.start.here, u32::MAX)));
        self.again()
    }

    fn again(mut self) -> Self {
        self.items = map(self.state, self.side).range(rest(self.start, self.end, self.after));
        self
    }

    /// Where the read is: after the edge that it gave last. `None` before the
    /// first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let at = self.at?;
        let kind = self.state.kinds.name(at.kind);
        let key = [at.discriminator.to_be_bytes().as_slice(), kind.as_bytes()].concat();
        Some(Cursor { node: at.there, key })
    }
}

fn map(state: &Delta, side: Side) -> &im::OrdMap<EdgeKey, Arc<EdgeRecord>> {
    match side {
        Side::Out => &state.out,
        Side::In => &state.into,
    }
}

impl<'s> Iterator for Edges<'s> {
    type Item = Result<EdgeRef<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, record) = self.items.next()?;
        self.at = Some(*key);
        Some(Ok(EdgeRef { state: self.state, record }))
    }
}

impl FusedIterator for Edges<'_> {}

/// The entries of [`Snapshot::range`].
pub struct Range<'s> {
    state: &'s Delta,
    index: u32,
    range: KeyRange,
    direction: Direction,
    items: ordset::RangedIter<'s, KeyEntry, DefaultSharedPtr>,
    at: Option<&'s KeyEntry>,
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
    fn new(state: &'s Delta, index: u32, range: KeyRange, direction: Direction) -> Self {
        let start = start_place(index, &range);
        let end = end_place(index, &range);
        let items = state.keys.range::<_, KeyPlace<'_>>((start, end));
        Self { state, index, range, direction, items, at: None }
    }

    /// Goes on after a cursor of a range over the same index in the same
    /// direction.
    #[must_use]
    pub fn after(mut self, cursor: &Cursor) -> Self {
        let place = KeyPlace { index: self.index, key: &cursor.key, node: cursor.node };
        let (start, end) =
            (start_place(self.index, &self.range), end_place(self.index, &self.range));
        let (start, end) = match self.direction {
            Direction::Ascending => (tighter(start, place, |new, old| new >= old), end),
            Direction::Descending => (start, tighter(end, place, |new, old| new <= old)),
        };
        let (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) = (start, end)
        else {
            return self;
        };
        self.items = if from <= to {
            self.state.keys.range::<_, KeyPlace<'_>>((start, end))
        } else {
            self.state.keys.range::<_, KeyPlace<'_>>((Bound::Excluded(from), Bound::Included(from)))
        };
        self
    }

    /// Where the read is: after the entry that it gave last. `None` before the
    /// first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let at = self.at?;
        Some(Cursor { node: at.node, key: at.key.to_vec() })
    }
}

fn start_place(index: u32, range: &KeyRange) -> Bound<KeyPlace<'_>> {
    match &range.start {
        Bound::Unbounded => Bound::Included(KeyPlace { index, key: &[], node: NodeId::MIN }),
        Bound::Included(key) => Bound::Included(KeyPlace { index, key, node: NodeId::MIN }),
        Bound::Excluded(key) => Bound::Excluded(KeyPlace { index, key, node: NodeId::MAX }),
    }
}

fn end_place(index: u32, range: &KeyRange) -> Bound<KeyPlace<'_>> {
    match &range.end {
        // Indexes are few: there is always a next number.
        Bound::Unbounded => Bound::Excluded(KeyPlace {
            index: index.saturating_add(1),
            key: &[],
            node: NodeId::MIN,
        }),
        Bound::Included(key) => Bound::Included(KeyPlace { index, key, node: NodeId::MAX }),
        Bound::Excluded(key) => Bound::Excluded(KeyPlace { index, key, node: NodeId::MIN }),
    }
}

/// The bound that excludes `place`, unless the other lies further in already.
fn tighter<'k>(
    bound: Bound<KeyPlace<'k>>,
    place: KeyPlace<'k>,
    further_in: impl Fn(KeyPlace<'k>, KeyPlace<'k>) -> bool,
) -> Bound<KeyPlace<'k>> {
    match bound {
        Bound::Included(old) | Bound::Excluded(old) if !further_in(place, old) => bound,
        _ => Bound::Excluded(place),
    }
}

impl<'s> Iterator for Range<'s> {
    type Item = Result<IndexEntry<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = match self.direction {
            Direction::Ascending => self.items.next(),
            Direction::Descending => self.items.next_back(),
        }?;
        self.at = Some(entry);
        // Keys and nodes change in the same commit: each is there.
        let record = self.state.nodes.get(&entry.node)?;
        Some(Ok(IndexEntry { key: &entry.key, node: NodeRef { state: self.state, record } }))
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
