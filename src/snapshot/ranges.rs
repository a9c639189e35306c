//! Reads in order: nodes of a kind, edges of a node, keys of an index. Each
//! can be left and taken up again with a [`Cursor`], also on a later snapshot.

use std::{
    cmp::Ordering,
    iter::{FusedIterator, Peekable},
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use super::{
    EdgeRef, NodeRef, Snapshot,
    base::{Base, EdgePart, EdgeRepr, KeyPart, KindRun, Run, end_of},
    delta::{EdgeRecord, KeyEntry, Layer, State, expiry_key},
    kinds::Places,
    merge::{Found, Merge},
};
use crate::{
    error::{Error, Result},
    format::tables::{EXPIRY, EdgeKey, EdgeRow, KeyPlace, NodeRow},
    id::NodeId,
    model::{Timestamp, unknown_index},
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
    ///
    /// The first node sorts what was written of the newest state in memory since
    /// it was last scanned, if there was anything: about n log n of that many
    /// nodes, of all kinds. What follows merges files and memory, without
    /// reading what it gives before it is asked for.
    #[must_use]
    pub fn scan(&self, kind: &str) -> Scan<'_> {
        // No kind has the last number.
        let number = self.state.kinds.number(kind).unwrap_or(u32::MAX);
        Scan::new(&self.state, (number, NodeId::MIN), (number, NodeId::MAX))
    }

    /// All nodes, by kind in the order of [`kinds`](Self::kinds), then by id. It
    /// costs what [`scan`](Self::scan) does.
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
    pub(super) fn nodes_within(
        &self,
        index: u32,
        range: &KeyRange,
        most: usize,
    ) -> Result<Option<Vec<NodeId>>> {
        range.check()?;
        let base = &self.state.base;
        let bounds = (start_place(index, range), end_place(index, range));
        let low = base.key_bound(&bound_place(bounds.0))?;
        let high = base.key_bound(&bound_place(bounds.1))?;
        // What is in the base is counted without being read. Some of it may be
        // gone: then the range is taken for larger than it is.
        let parts = base.keys.get(low.0..high.0).unwrap_or_default().iter();
        let before = parts.map(|part| part.entries.len()).fold(0, usize::saturating_add);
        if before.saturating_add(high.1).saturating_sub(low.1) > most.saturating_mul(2) {
            return Ok(None);
        }
        let mut ids = Vec::new();
        let layered = |layer: &Layer| layer.keys.range::<_, KeyPlace<'_>>(bounds).next().is_some();
        if !self.state.layers().any(layered) {
            // Nothing of it has changed since: no merge.
            let end = (high.0, high.1.saturating_add(1));
            let last = base.keys.len();
            let high = if high.0 < last { end } else { high };
            for place in (Run { parts: &base.keys, low, high, descending: false }) {
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

/// Nodes in the order of kind and id: of layers and base, merged.
struct KindMerge<'s> {
    state: &'s State,
    bounds: Bounds<(u32, NodeId)>,
    /// Places in the layers, which say of each node themselves what it is.
    layers: [Option<Peekable<Places>>; 2],
    /// The rows of one kind.
    base: Option<Within<KindRun<'s>, (u32, NodeId)>>,
    base_head: Option<&'s NodeRow>,
    /// The kinds after that.
    kinds: std::ops::Range<u32>,
    /// Given next, and nothing after it.
    error: Option<Error>,
    ended: bool,
}

impl<'s> KindMerge<'s> {
    /// What lies within bounds that begin with `first`, and end with the kind
    /// `last` or before it ends.
    fn new(
        state: &'s State,
        bounds: Bounds<(u32, NodeId)>,
        first: (u32, NodeId),
        last: u32,
    ) -> Self {
        let (from, to) = bounds;
        let mut layers = state.layers().map(|layer| layer.by_kind.range(from, to).peekable());
        let layers = [layers.next(), layers.next()];
        let known = u32::try_from(state.kinds.len()).unwrap_or(u32::MAX);
        let end = last.saturating_add(1).min(known);
        let mut merge = Self {
            state,
            bounds,
            layers,
            base: None,
            base_head: None,
            kinds: first.0.saturating_add(1)..end,
            error: None,
            ended: false,
        };
        if first.0 < end {
            merge.base = Some(Within::new(state.base.of_kind(first.0, first.1), bounds, false));
        }
        merge.advance_base();
        merge
    }

    fn advance_base(&mut self) {
        self.base_head = None;
        loop {
            match self.base.as_mut().and_then(Iterator::next) {
                Some(Ok(row)) => self.base_head = Some(row),
                Some(Err(error)) => self.error = Some(error),
                None => {
                    let Some(kind) = self.kinds.next() else { return };
                    let rows = self.state.base.of_kind(kind, NodeId::MIN);
                    self.base = Some(Within::new(rows, self.bounds, false));
                    continue;
                }
            }
            return;
        }
    }
}

impl<'s> Iterator for KindMerge<'s> {
    /// A place, and the node if it could be read.
    type Item = Result<((u32, NodeId), Result<NodeRef<'s>>)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(error) = self.error.take() {
                self.ended = true;
                return Some(Err(error));
            }
            let stored = self.base_head.map(|row| (row.kind.get(), row.id()));
            let layered = self.layers.iter_mut().flatten();
            let next = layered.filter_map(|places| places.peek().copied()).chain(stored).min();
            let Some((kind, id)) = next else {
                self.ended = true;
                break;
            };
            for places in self.layers.iter_mut().flatten() {
                places.next_if_eq(&(kind, id));
            }
            let row = self.base_head.filter(|_| stored == next);
            if row.is_some() {
                self.advance_base();
            }
            let node = match (self.state.layered_node(&id), row) {
                (Some(Some(record)), _) if record.kind == kind => {
                    NodeRef::of_record(self.state, record)
                }
                (None, Some(row)) => {
                    self.state.base.stored(row).map(|node| NodeRef::stored(self.state, node))
                }
                // It is gone, or of another kind; or it is to come.
                _ => continue,
            };
            return Some(Ok(((kind, id), node)));
        }
        None
    }
}

type Bounds<K> = (Bound<K>, Bound<K>);

/// A run of the base, which may have failed to begin, within bounds.
struct Within<I, K> {
    run: Result<I, Option<Error>>,
    bounds: Bounds<K>,
    descending: bool,
}

impl<I, K> Within<I, K> {
    fn new(run: Result<I>, bounds: Bounds<K>, descending: bool) -> Self {
        Self { run: run.map_err(Some), bounds, descending }
    }
}

impl<I, K, T> Iterator for Within<I, K>
where
    I: Iterator<Item = Result<T>>,
    T: InOrder<K>,
{
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let run = match &mut self.run {
            Ok(run) => run,
            Err(error) => return error.take().map(Err),
        };
        loop {
            let item = match run.next()? {
                Ok(item) => item,
                Err(error) => return Some(Err(error)),
            };
            let after_start = match &self.bounds.0 {
                Bound::Included(start) => item.compare(start).is_ge(),
                Bound::Excluded(start) => item.compare(start).is_gt(),
                Bound::Unbounded => true,
            };
            let before_end = match &self.bounds.1 {
                Bound::Included(end) => item.compare(end).is_le(),
                Bound::Excluded(end) => item.compare(end).is_lt(),
                Bound::Unbounded => true,
            };
            let (begun, goes_on) =
                if self.descending { (before_end, after_start) } else { (after_start, before_end) };
            if !goes_on {
                return None;
            }
            if begun {
                return Some(Ok(item));
            }
        }
    }
}

/// An item of a run, whose place can be compared.
trait InOrder<K> {
    fn compare(&self, key: &K) -> Ordering;
}

impl InOrder<(u32, NodeId)> for &NodeRow {
    fn compare(&self, key: &(u32, NodeId)) -> Ordering {
        (self.kind.get(), self.id()).cmp(key)
    }
}

impl InOrder<EdgeKey> for &EdgeRow {
    fn compare(&self, key: &EdgeKey) -> Ordering {
        self.key().cmp(key)
    }
}

impl InOrder<OwnedPlace> for KeyPlace<'_> {
    fn compare(&self, key: &OwnedPlace) -> Ordering {
        (self.index, self.key, self.node).cmp(&(key.index, &*key.key, key.node))
    }
}

/// The nodes of [`Snapshot::scan`] and [`Snapshot::scan_all`].
pub struct Scan<'s> {
    state: &'s State,
    start: (u32, NodeId),
    end: (u32, NodeId),
    /// What [`after`](Self::after) was given.
    left_at: Option<(u32, NodeId)>,
    /// Once the first is asked for.
    items: Option<KindMerge<'s>>,
    at: Option<(u32, NodeId)>,
}

impl<'s> Scan<'s> {
    fn new(state: &'s State, start: (u32, NodeId), end: (u32, NodeId)) -> Self {
        Self { state, start, end, left_at: None, items: None, at: None }
    }

    fn begin(&self) -> KindMerge<'s> {
        let bounds = rest(self.start, self.end, self.left_at);
        let first = match bounds.0 {
            Bound::Included(first) | Bound::Excluded(first) => first,
            Bound::Unbounded => self.start,
        };
        KindMerge::new(self.state, bounds, first, self.end.0)
    }

    /// Goes on after a cursor of a scan. A cursor before the first node leaves
    /// all, one past the last, or of a kind that the store does not know, none.
    #[must_use]
    pub fn after(mut self, cursor: &Cursor) -> Self {
        let kind = str::from_utf8(&cursor.key).ok().and_then(|name| self.state.kinds.number(name));
        self.left_at = Some(kind.map_or(self.end, |kind| (kind, cursor.node)));
        self.items = None;
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
        if self.items.is_none() {
            self.items = Some(self.begin());
        }
        match self.items.as_mut()?.next()? {
            Ok((at, node)) => {
                self.at = Some(at);
                Some(node)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl FusedIterator for Scan<'_> {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Out,
    In,
}

type EdgeMerge<'s> =
    Merge<'s, EdgeKey, Option<Arc<EdgeRecord>>, &'s EdgeRow, Within<Run<'s, EdgePart>, EdgeKey>>;

/// The edges of [`Snapshot::edges_out`] and [`Snapshot::edges_in`].
pub struct Edges<'s> {
    state: &'s State,
    side: Side,
    start: EdgeKey,
    end: EdgeKey,
    after: Option<EdgeKey>,
    /// Once the first is asked for.
    items: Option<EdgeMerge<'s>>,
    at: Option<EdgeKey>,
}

impl<'s> Edges<'s> {
    fn new(state: &'s State, here: NodeId, side: Side) -> Self {
        let (start, end) = (EdgeKey::first(here, 0), EdgeKey::last(here, u32::MAX));
        Self { state, side, start, end, after: None, items: None, at: None }
    }

    /// Only those of a kind. A kind that nothing has leaves none.
    #[must_use]
    pub fn kind(mut self, kind: &str) -> Self {
        // No kind has the last number.
        let number = self.state.kinds.number(kind).unwrap_or(u32::MAX);
        self.start = EdgeKey::first(self.start.here, number);
        self.end = EdgeKey::last(self.start.here, number);
        self.items = None;
        self
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
        self.items = None;
        self
    }

    fn begin(&self) -> EdgeMerge<'s> {
        let (state, side) = (self.state, self.side);
        let parts = match side {
            Side::Out => &*state.base.out,
            Side::In => &*state.base.into,
        };
        let bounds = rest(self.start, self.end, self.after);
        let run = Base::edge_bound(parts, &self.after.unwrap_or(self.start)).map(|low| Run {
            parts,
            low,
            high: end_of(parts),
            descending: false,
        });
        let map = move |layer: &'s Layer| match side {
            Side::Out => &layer.out,
            Side::In => &layer.into,
        };
        Merge::new(state.layers(), map, bounds, Within::new(run, bounds, false), false)
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
            Found::Memory(record) => EdgeRepr::Memory(record.as_deref()?),
            Found::Base(row) => EdgeRepr::Stored { row, inbound: self.side == Side::In },
        };
        Some(Ok(EdgeRef { state: self.state, repr }))
    }
}

impl FusedIterator for Edges<'_> {}

type KeyMerge<'s> = Merge<'s, KeyEntry, bool, KeyPlace<'s>, Within<Run<'s, KeyPart>, OwnedPlace>>;

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
    at: Option<KeyPlace<'s>>,
}

/// A [`KeyPlace`] that borrows nothing.
#[derive(Debug, Clone)]
struct OwnedPlace {
    index: u32,
    key: Vec<u8>,
    node: NodeId,
}

impl From<KeyPlace<'_>> for OwnedPlace {
    fn from(place: KeyPlace<'_>) -> Self {
        Self { index: place.index, key: place.key.to_vec(), node: place.node }
    }
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
            let place = KeyPlace { index: self.index, key, node: *node };
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
        let run = state.base.key_bound(&from).and_then(|low| {
            let high = state.base.key_bound(&to)?;
            let len = state.base.keys.get(high.0).map_or(0, |part| part.entries.len());
            // The entry at the bound itself may belong to it.
            let high = (high.0, high.1.saturating_add(1).min(len));
            Ok(Run { parts: &state.base.keys, low, high, descending })
        });
        let owned = (start.map(OwnedPlace::from), end.map(OwnedPlace::from));
        let base = Within::new(run, owned, descending);
        Merge::new::<KeyPlace<'_>, _>(
            state.layers(),
            |layer| &layer.keys,
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
    fn next_place(&mut self) -> Option<Result<KeyPlace<'s>>> {
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

fn bound_place<'k>(bound: Bound<KeyPlace<'k>>) -> KeyPlace<'k> {
    match bound {
        Bound::Included(place) | Bound::Excluded(place) => place,
        // There is none of these.
        Bound::Unbounded => KeyPlace { index: 0, key: &[], node: NodeId::MIN },
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
        // Indexes are few: there is always a next number. Expiries are asked for
        // with an end.
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
        Some(self.next_place()?.and_then(|place| {
            // Keys and nodes change in the same commit: each is there.
            let node = NodeRef::find(self.state, place.node)?;
            let gone = || {
                let what = format!("node {} has an index key and is not there", place.node);
                self.state.base.damaged(what)
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
