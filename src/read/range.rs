//! Entries of an index, in order.

use std::{collections::HashSet, iter::FusedIterator, ops::Bound};

use foldhash::quality::RandomState;

use crate::{
    format::tables::{EXPIRY, IndexEntryRef},
    model::{error::Result, id::NodeId, key::KeyRange, time::Timestamp},
    num,
    read::{
        cursor::{Cursor, CursorOf, Direction},
        hidden::{self, Expired, Hidden},
        merge::{Merge, MergedItem},
        node::NodeRef,
        snapshot::Snapshot,
        walk::{Ordered, Walk, run_from, unskipped},
        within::{OwnedPlace, Within},
    },
    state::{
        State,
        base::partitions::{KeyPartition, RowRange},
        dead::DeadRun,
        record::{KeyEntry, expiry_key},
    },
};

impl Snapshot {
    /// The entries of an index whose keys are in a range, with their nodes,
    /// sorted by key and then by id, ascending or descending.
    ///
    /// # Errors
    /// `Invalid` if the index does not exist, or the range ends before it
    /// starts; `NotReady` while the index is being built.
    pub fn range(
        &self,
        index: &str,
        range: impl Into<KeyRange>,
        direction: Direction,
    ) -> Result<IndexEntries<'_>> {
        let number = self.state.indexes().readable(index)?;
        let range = range.into();
        range.check()?;
        Ok(self.entries(number, range, direction))
    }

    /// The nodes that expire at `before` or earlier, sorted by expiry; also those
    /// that a view of [`alive_at`](Self::alive_at) hides.
    pub fn expired(&self, before: Timestamp) -> impl Iterator<Item = Result<NodeId>> {
        let mut entries = self.expiries(Bound::Unbounded, before);
        std::iter::from_fn(move || entries.next_place()).map(|place| place.map(|place| place.node))
    }

    /// The node that expires next, and when: of all nodes the earliest expiry,
    /// which may have passed. A view of [`alive_at`](Self::alive_at) has the
    /// earliest after its time. `None` if none expires.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
    /// let note = |second| Node::new(NodeId::new(), "note").expires(at(second));
    /// engine.write(Batch::new().put(note(10)).put(note(30)))?;
    /// let snapshot = engine.snapshot();
    /// assert_eq!(snapshot.next_expiry()?.map(|(time, _)| time), Some(at(10)));
    /// assert_eq!(snapshot.alive_at(at(20)).next_expiry()?.map(|(time, _)| time), Some(at(30)));
    /// assert_eq!(snapshot.alive_at(at(30)).next_expiry()?, None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` if the index of expiries, or the node, is damaged on disk.
    pub fn next_expiry(&self) -> Result<Option<(Timestamp, NodeId)>> {
        let after = self.view.as_ref().map(|hidden| expiry_key(hidden.at()));
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut entries = self.expiries(start, Timestamp::MAX);
        let Some(place) = entries.next_place().transpose()? else { return Ok(None) };
        let node = entries.entry(place)?.node;
        let lost = || {
            let what = format!("node {} is listed as expiring but does not", place.node);
            self.state.base().damaged(what)
        };
        Ok(Some((node.expires().ok_or_else(lost)?, place.node)))
    }

    fn expiries(&self, start: Bound<Vec<u8>>, before: Timestamp) -> IndexEntries<'_> {
        let range = KeyRange::new(start, Bound::Included(expiry_key(before)));
        self.entries(EXPIRY, range, Direction::Ascending)
    }

    pub(crate) fn entries(
        &self,
        index: u32,
        range: KeyRange,
        direction: Direction,
    ) -> IndexEntries<'_> {
        let hidden = self.view.as_deref();
        IndexEntries { hidden, ..IndexEntries::new(&self.state, index, range, direction) }
    }

    /// What a view hides, if it is one and hides anything.
    #[inline]
    pub(super) fn hidden(&self) -> Option<&Hidden> {
        let hidden = self.view.as_deref()?;
        hidden.has_any(|| self.find_expired(hidden.at())).then_some(hidden)
    }

    /// What has expired at this time.
    #[cold]
    fn find_expired(&self, at: Timestamp) -> Expired {
        let mut entries = self.expired(at).take(hidden::MOST + 1).peekable();
        if entries.peek().is_none() {
            return Expired::Nothing;
        }
        match entries.collect::<Result<HashSet<NodeId, RandomState>>>() {
            Ok(ids) if ids.len() <= hidden::MOST => Expired::Few(ids),
            // A record has its expiry too.
            _ => Expired::Many,
        }
    }
}

impl Snapshot {
    /// The nodes with a key in a range of an index, in the order of the keys.
    pub(crate) fn nodes_within(&self, index: u32, range: &KeyRange) -> Result<Vec<NodeId>> {
        let mut entries = self.entries(index, range.clone(), Direction::Ascending);
        std::iter::from_fn(|| entries.next_place()).map(|place| Ok(place?.node)).collect()
    }
}

/// The first node with this key in an index that is `wanted`.
pub(crate) fn first_holder(
    state: &State,
    index: u32,
    key: &[u8],
    wanted: impl Fn(NodeId) -> bool,
) -> Result<Option<NodeId>> {
    let range = KeyRange::new(Bound::Included(key.to_vec()), Bound::Included(key.to_vec()));
    let mut entries = IndexEntries::new(state, index, range, Direction::Ascending);
    while let Some(place) = entries.next_place() {
        let node = place?.node;
        if wanted(node) {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

/// How many entries a range of an index has. Those of layers are counted one by one.
pub(crate) fn count(state: &State, index: u32, range: &KeyRange) -> Result<u64> {
    let layered = state.layered_keys((start_place(index, range), end_place(index, range)));
    Ok(count_stored(state, index, range)?.saturating_add_signed(layered))
}

/// How many entries the base has in a range of an index, by their positions.
pub(crate) fn count_stored(state: &State, index: u32, range: &KeyRange) -> Result<u64> {
    let position = |(partition, entry): (usize, usize)| {
        let before = state.base().keys().get(..partition).unwrap_or_default().iter();
        before.map(|partition| partition.entries().len()).sum::<usize>() + entry
    };
    let (from, to) = stored_between(state, index, range)?;
    Ok(num::wide(position(to).saturating_sub(position(from))))
}

/// Where the base has the entries in a range of an index: the partition and the number
/// in it of the first, and of the one after the last.
pub(crate) fn stored_between(
    state: &State,
    index: u32,
    range: &KeyRange,
) -> Result<((usize, usize), (usize, usize))> {
    let base = state.base();
    // The first entry that is not before a bound.
    let (start, end) = (start_place(index, range), end_place(index, range));
    let at = |bound: Bound<IndexEntryRef<'_>>, through: bool| -> Result<(usize, usize)> {
        let place = bound_place(bound);
        let (partition, entry) = base.key_bound(&place)?;
        let is_there = match base.keys().get(partition).map(|found| found.entries()) {
            Some(entries) if entry < entries.len() => entries.entry(entry)? == place,
            _ => false,
        };
        Ok((partition, entry + usize::from(is_there && through)))
    };
    let from = at(start, matches!(start, Bound::Excluded(_)))?;
    Ok((from, at(end, matches!(end, Bound::Included(_)))?))
}

/// The nodes whose entries in a range of an index a layer added or removed, ascending.
pub(crate) fn layered_nodes(state: &State, index: u32, range: &KeyRange) -> Vec<NodeId> {
    let bounds = (start_place(index, range), end_place(index, range));
    let changed = state.layers().flat_map(|layer| {
        layer.keys().range::<_, IndexEntryRef<'_>>(bounds).map(|(entry, _)| entry.place().node)
    });
    let mut nodes: Vec<NodeId> = changed.collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

type KeyMerge<'s> =
    Merge<'s, KeyEntry, (), IndexEntryRef<'s>, Within<RowRange<'s, KeyPartition>, OwnedPlace>>;

/// The iterator of [`Snapshot::range`]. It can be read from both ends.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.create_index("timeline")?;
/// let event = |key: &str| Node::new(NodeId::new(), "event").content(key).key("timeline", key);
/// engine.write(Batch::new().put(event("1")).put(event("2")).put(event("3")))?;
///
/// let snapshot = engine.snapshot();
/// let mut entries = snapshot.range("timeline", KeyRange::all(), Direction::Ascending)?;
/// assert_eq!(entries.next().unwrap()?.key, b"1");
/// assert_eq!(entries.next_back().unwrap()?.key, b"3");
/// let cursor = entries.cursor().expect("something was read"); // of the front
/// assert_eq!(snapshot.range("timeline", .., Direction::Ascending)?.after(&cursor)?.count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct IndexEntries<'s> {
    table: KeyTable<'s>,
    /// What a view does not show.
    hidden: Option<&'s Hidden>,
    /// Set by the first call of `next`.
    front: Option<Walk<KeyTable<'s>>>,
    back: Option<Walk<KeyTable<'s>>>,
    at: Option<IndexEntryRef<'s>>,
    back_at: Option<IndexEntryRef<'s>>,
}

/// The entries of a range of keys of an index.
pub(crate) struct KeyTable<'s> {
    state: &'s State,
    index: u32,
    range: KeyRange,
    direction: Direction,
    /// In place of the range.
    between: Option<(KeyEntry, KeyEntry)>,
    /// The cursor that [`IndexEntries::after`] was given.
    left_at: Option<Cursor>,
}

/// An entry of an index.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.create_index("timeline")?;
/// let event = |key: &str| Node::new(NodeId::new(), "event").content(key).key("timeline", key);
/// engine.write(Batch::new().put(event("1")).put(event("2")).put(event("3")))?;
///
/// let snapshot = engine.snapshot();
/// for entry in snapshot.range("timeline", .., Direction::Descending)? {
///     let entry = entry?;
///     assert_eq!(entry.key, entry.node.content());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct IndexEntry<'s> {
    /// The key.
    pub key: &'s [u8],
    /// The node that has it.
    pub node: NodeRef<'s>,
}

impl<'s> KeyTable<'s> {
    /// All entries from `start` up to, but without, `end`, which is of the same
    /// index or the first of another.
    pub(crate) fn between(state: &'s State, start: &KeyEntry, end: &KeyEntry) -> Self {
        Self {
            state,
            index: start.index,
            range: KeyRange::all(),
            direction: Direction::Ascending,
            between: Some((start.clone(), end.clone())),
            left_at: None,
        }
    }

    /// The bounds of what is left.
    fn bounds(&self) -> (Bound<IndexEntryRef<'_>>, Bound<IndexEntryRef<'_>>) {
        if let Some((start, end)) = &self.between {
            return (Bound::Included(start.place()), Bound::Excluded(end.place()));
        }
        let (mut start, mut end) =
            (start_place(self.index, &self.range), end_place(self.index, &self.range));
        if let Some(Cursor { node, key, .. }) = &self.left_at {
            let place = IndexEntryRef { index: self.index, key, node: *node };
            if self.direction == Direction::Descending {
                end = tighter(end, place, |new, old| new <= old);
            } else {
                start = tighter(start, place, |new, old| new >= old);
            }
        }
        (start, end)
    }
}

impl<'s> IndexEntries<'s> {
    pub(crate) fn new(state: &'s State, index: u32, range: KeyRange, direction: Direction) -> Self {
        let (between, left_at) = (None, None);
        let table = KeyTable { state, index, range, direction, between, left_at };
        Self { table, hidden: None, front: None, back: None, at: None, back_at: None }
    }

    fn read(&self) -> CursorOf {
        CursorOf::Index(
            self.table.state.indexes().name(self.table.index).unwrap_or_default().to_owned(),
            self.table.direction,
        )
    }

    /// Restarts the iterator after a cursor of the same index in the same
    /// direction. The cursor may come from another range.
    ///
    /// # Errors
    /// `Invalid` if the cursor comes from another read.
    pub fn after(self, cursor: &Cursor) -> Result<Self> {
        cursor.check(&self.read())?;
        let table = KeyTable { left_at: Some(cursor.clone()), ..self.table };
        Ok(Self { table, front: None, back: None, at: None, back_at: None, ..self })
    }

    /// The position after the last entry that was read from the front. `None`
    /// before the first.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let at = self.at?;
        Some(Cursor { of: self.read(), node: at.node, key: at.key.to_vec() })
    }

    /// The next entry, without its node.
    pub(crate) fn next_place(&mut self) -> Option<Result<IndexEntryRef<'s>>> {
        let table = &self.table;
        let descending = table.direction == Direction::Descending;
        let front = self.front.get_or_insert_with(|| Walk::new(table, descending));
        let place = match front.next(table)? {
            Ok((place, _)) => place,
            Err(error) => return Some(Err(error)),
        };
        // The back has returned the rest.
        if self.back_at.is_some_and(|back| !self.is_before(place, back)) {
            return None;
        }
        self.at = Some(place);
        Some(Ok(place))
    }

    /// The next entry from the back, without its node.
    fn next_place_back(&mut self) -> Option<Result<IndexEntryRef<'s>>> {
        let table = &self.table;
        let descending = table.direction == Direction::Ascending;
        let back = self.back.get_or_insert_with(|| Walk::new(table, descending));
        let place = match back.next(table)? {
            Ok((place, _)) => place,
            Err(error) => return Some(Err(error)),
        };
        if self.at.is_some_and(|front| !self.is_before(front, place)) {
            return None;
        }
        self.back_at = Some(place);
        Some(Ok(place))
    }

    /// Whether the read returns `a` before `b`.
    fn is_before(&self, a: IndexEntryRef<'_>, b: IndexEntryRef<'_>) -> bool {
        match self.table.direction {
            Direction::Ascending => a < b,
            Direction::Descending => a > b,
        }
    }

    /// The node of an entry, unless it is hidden.
    fn shown(&self, place: IndexEntryRef<'s>) -> Result<Option<IndexEntry<'s>>> {
        let entry = self.entry(place)?;
        let hides = self.hidden.is_some_and(|hidden| hidden.hides(&entry.node));
        Ok((!hides).then_some(entry))
    }

    fn entry(&self, place: IndexEntryRef<'s>) -> Result<IndexEntry<'s>> {
        // Keys and nodes change in the same commit, so the node exists.
        let node = NodeRef::find(self.table.state, place.node)?;
        let gone = || {
            let what = format!("node {} has an index key but does not exist", place.node);
            self.table.state.base().damaged(what)
        };
        Ok(IndexEntry { key: place.key, node: node.ok_or_else(gone)? })
    }
}

impl<'s> Ordered for KeyTable<'s> {
    type Place = IndexEntryRef<'s>;
    type Item = MergedItem<'s, (), IndexEntryRef<'s>>;
    type Merge = KeyMerge<'s>;

    fn state(&self) -> &State {
        self.state
    }

    fn begin(&self, descending: bool, from: Option<IndexEntryRef<'s>>) -> KeyMerge<'s> {
        let (state, runs) = (self.state, &self.state.dead().keys);
        let (start, end) =
            unskipped(runs, self.bounds(), descending, from, |entry: &KeyEntry| entry.place());
        let (from, to) = (bound_place(start), bound_place(end));
        let run = state.base().key_bound(&from).and_then(|low| {
            let high = state.base().key_bound(&to)?;
            let len =
                state.base().keys().get(high.0).map_or(0, |partition| partition.entries().len());
            // The entry at the bound may be in the range.
            let high = (high.0, (high.1 + 1).min(len));
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

    fn skip(&self, place: IndexEntryRef<'s>, descending: bool) -> Option<IndexEntryRef<'s>> {
        let (first, next) = self.state.dead().keys.containing(&place)?;
        Some(if descending { first.place() } else { next.place() })
    }

    fn run(
        &self,
        dead: IndexEntryRef<'s>,
        live: Option<IndexEntryRef<'s>>,
        descending: bool,
    ) -> Option<DeadRun> {
        let (start, end) = self.bounds();
        let bounds = (start.map(KeyEntry::from), end.map(KeyEntry::from));
        let live = live.map(KeyEntry::from);
        let (from, to) = run_from(bounds, dead.into(), live, descending)?;
        Some(DeadRun::Keys(from, to))
    }
}

fn bound_place<'k>(bound: Bound<IndexEntryRef<'k>>) -> IndexEntryRef<'k> {
    match bound {
        Bound::Included(place) | Bound::Excluded(place) => place,
        // No caller has an unbounded one.
        Bound::Unbounded => IndexEntryRef { index: 0, key: &[], node: NodeId::MIN },
    }
}

fn start_place(index: u32, range: &KeyRange) -> Bound<IndexEntryRef<'_>> {
    match range.start() {
        Bound::Unbounded => Bound::Included(IndexEntryRef { index, key: &[], node: NodeId::MIN }),
        Bound::Included(key) => Bound::Included(IndexEntryRef { index, key, node: NodeId::MIN }),
        Bound::Excluded(key) => Bound::Excluded(IndexEntryRef { index, key, node: NodeId::MAX }),
    }
}

fn end_place(index: u32, range: &KeyRange) -> Bound<IndexEntryRef<'_>> {
    match range.end() {
        // Numbers of indexes are small, so there is always a next one.
        // `EXPIRY`, the largest number, is always read with an end.
        Bound::Unbounded => Bound::Excluded(IndexEntryRef {
            index: index.saturating_add(1),
            key: &[],
            node: NodeId::MIN,
        }),
        Bound::Included(key) => Bound::Included(IndexEntryRef { index, key, node: NodeId::MAX }),
        Bound::Excluded(key) => Bound::Excluded(IndexEntryRef { index, key, node: NodeId::MIN }),
    }
}

/// The bound that excludes `place`, unless `bound` is tighter already.
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

impl<'s> Iterator for IndexEntries<'s> {
    type Item = Result<IndexEntry<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        let before = self.at;
        loop {
            let Some(place) = self.next_place() else {
                // A cursor is at what was returned.
                self.at = before;
                return None;
            };
            let entry = place.and_then(|place| self.shown(place)).transpose();
            if entry.is_some() {
                return entry;
            }
        }
    }
}

impl DoubleEndedIterator for IndexEntries<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        loop {
            let place = self.next_place_back()?;
            let entry = place.and_then(|place| self.shown(place)).transpose();
            if entry.is_some() {
                return entry;
            }
        }
    }
}

impl FusedIterator for IndexEntries<'_> {}

impl std::fmt::Debug for IndexEntries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexEntries").field("at", &self.at).finish_non_exhaustive()
    }
}
