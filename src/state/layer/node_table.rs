//! The nodes of a layer: a hash table to which one writer appends while any
//! number of readers look up nodes, each at its own sequence number.
//!
//! Nothing is moved or removed before the table is dropped with its layer, so
//! publishing a change costs nothing, and readers need no lock. docs/decisions
//! has the measurement against a persistent map.

use std::{
    fmt,
    hash::BuildHasher as _,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use foldhash::quality::RandomState;

use crate::{
    cpu::prefetch,
    model::{id::NodeId, time::Seq},
    num,
    state::{layer::arena::Arena, record::NodeRecord},
};

/// A reference to a value of an arena: its index plus one; 0 for none.
#[derive(Default)]
struct Link(AtomicU32);

impl Link {
    /// Acquire: pairs with `set`, so that the value is initialised.
    fn get(&self) -> Option<u32> {
        self.0.load(Ordering::Acquire).checked_sub(1)
    }

    fn set(&self, target: u32) {
        self.0.store(target.saturating_add(1), Ordering::Release);
    }
}

/// A node that the layer has an entry for.
struct Key {
    id: NodeId,
    /// The newest version, if there is more than one.
    newest: Link,
    /// The number of versions after the first, and the last of them that skips.
    /// Relaxed: only the writer uses them.
    later: AtomicU32,
    skipping: AtomicU32,
    first: Version,
}

/// A version of a node, from a commit on.
struct Version {
    seq: Seq,
    /// `None`: the node is deleted.
    record: Option<NodeRecord>,
}

/// A later version of a node already in this table.
///
/// Every eighth version skips others that skip, further and further. The versions
/// between have a link to the last of these. So any version is found in a number of
/// steps that is logarithmic in the number of versions (E. W. Myers, An applicative
/// random-access stack, 1983): a snapshot that is held while a node is overwritten
/// again and again still reads it fast.
struct Later {
    version: Version,
    /// `None` for the oldest: before it is the first.
    older: Option<u32>,
    /// An older version that skips; the oldest itself in the oldest.
    skip: u32,
    /// The number of versions between it and the first.
    depth: u32,
}

/// So many versions have one that skips. Setting one of the others reads no
/// earlier version.
const SKIPPING: u32 = 8;

/// The position of a version in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum VersionRef {
    First(u32),
    Later(u32),
}

/// Slots of a cache line. They are filled from the first on.
const SLOTS: usize = 8;

/// Lines in which a key may be: that of its hash, and those that follow.
const PROBES: usize = 2;

/// Lines of the first index, as a power of two.
const FIRST_LINES: u32 = 6;

/// How much larger the next index is, as a power of two.
const GROWTH: u32 = 2;

/// The last index has 2^30 lines, for more keys than an arena takes.
const INDEXES: usize = 13;

/// Finds keys by hash.
///
/// The lower half of a slot is the index of a key plus one, the upper half its
/// hash, so that keys with other hashes need not be read. 0 is an empty slot.
struct SlotIndex {
    slots: Box<[AtomicU64]>,
    /// The first slot of the first line: lines are aligned to cache lines.
    first: usize,
    /// A power of two.
    lines: usize,
}

impl SlotIndex {
    fn new(lines: usize) -> Self {
        // An allocation of zeros takes no memory until it is written, but with an
        // alignment it takes it at once.
        let slots: Box<[AtomicU64]> = bytemuck::zeroed_slice_box((lines + 1) * SLOTS);
        let offset = slots.as_ptr().addr() / size_of::<AtomicU64>() % SLOTS;
        let first = (SLOTS - offset) % SLOTS;
        Self { slots, first, lines }
    }

    /// The slots in which a key with this hash may be, in the order in which
    /// they are filled.
    fn slots(&self, hash: u32) -> impl Iterator<Item = &AtomicU64> {
        let mask = self.lines - 1;
        let home = num::index(hash);
        (0..PROBES).flat_map(move |probe| {
            let line = home.wrapping_add(probe) & mask;
            let from = line * SLOTS + self.first;
            self.slots.get(from..from + SLOTS).unwrap_or_default()
        })
    }

    /// Puts a slot into the index. There is one writer. Returns whether there
    /// was room.
    fn put(&self, slot: u64) -> bool {
        // Relaxed: only this thread writes it.
        let free = self.slots(hash_of(slot)).find(|slot| slot.load(Ordering::Relaxed) == 0);
        // Release: pairs with the load in `key`, so that the key is
        // initialised.
        free.is_some_and(|free| {
            free.store(slot, Ordering::Release);
            true
        })
    }
}

/// The nodes of a layer.
pub(crate) struct NodeTable {
    /// Each has all keys of the one before. The first are small, so that while
    /// there are few keys, a lookup of a node that is not in the layer stays
    /// within the processor's caches.
    indexes: [OnceLock<SlotIndex>; INDEXES],
    /// The number of the index that has all keys.
    newest: AtomicUsize,
    hasher: RandomState,
    keys: Arena<Key>,
    later: Arena<Later>,
}

impl fmt::Debug for NodeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeTable").field("nodes", &self.keys.len()).finish_non_exhaustive()
    }
}

/// The index of the key that a slot refers to.
fn key_of(slot: u64) -> u32 {
    u32::try_from(slot & u64::from(u32::MAX)).unwrap_or(0).saturating_sub(1)
}

/// The hash of the key that a slot refers to.
fn hash_of(slot: u64) -> u32 {
    u32::try_from(slot >> 32).unwrap_or(0)
}

impl Default for NodeTable {
    fn default() -> Self {
        Self {
            indexes: [const { OnceLock::new() }; INDEXES],
            newest: AtomicUsize::new(0),
            hasher: RandomState::default(),
            keys: Arena::default(),
            later: Arena::default(),
        }
    }
}

impl NodeTable {
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes that it has a version of, also of those that were deleted.
    pub(crate) fn len(&self) -> usize {
        num::index(self.keys.len())
    }

    fn hash(&self, id: &NodeId) -> u32 {
        hash_of(self.hasher.hash_one(id))
    }

    /// The index that has all keys of the commits that are visible to the
    /// caller.
    fn index(&self) -> Option<&SlotIndex> {
        // Acquire: pairs with the store in `grow`. A commit is made visible by
        // a release that follows that store, so the reader sees the index that
        // had the keys of the commit, or a later one.
        self.indexes.get(self.newest.load(Ordering::Acquire))?.get()
    }

    fn key(&self, id: &NodeId) -> Option<&Key> {
        let hash = self.hash(id);
        for slot in self.index()?.slots(hash) {
            // Acquire: pairs with the store in `put`, so that the key is
            // initialised.
            let slot = slot.load(Ordering::Acquire);
            if slot == 0 {
                return None;
            }
            if hash_of(slot) == hash
                && let Some(key) = self.keys.get(key_of(slot))
                && key.id == *id
            {
                return Some(key);
            }
        }
        None
    }

    /// Prefetches the line in which a node is looked up first.
    #[inline]
    pub(crate) fn fetch(&self, id: &NodeId) {
        if let Some(index) = self.index() {
            index.slots(self.hash(id)).take(1).for_each(prefetch);
        }
    }

    /// Puts a key into the newest index, or into a larger one if that has no
    /// room. There is one writer. Returns whether it was put.
    fn put(&self, slot: u64) -> bool {
        // Relaxed: only this thread writes it.
        let newest = self.newest.load(Ordering::Relaxed);
        let Some(index) = self.indexes.get(newest) else { return false };
        let index = index.get_or_init(|| SlotIndex::new(1 << FIRST_LINES));
        let keys = num::index(self.keys.len());
        let half = index.lines * (SLOTS / 2);
        (keys <= half && index.put(slot)) || self.grow(newest, index, slot)
    }

    /// Makes a larger index with the keys of the newest one, and one more.
    fn grow(&self, newest: usize, index: &SlotIndex, slot: u64) -> bool {
        let mut lines = index.lines;
        for (at, next) in self.indexes.iter().enumerate().skip(newest + 1) {
            lines *= 1 << GROWTH;
            let larger = SlotIndex::new(lines);
            let all = index.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
            if all.filter(|slot| *slot != 0).chain([slot]).all(|slot| larger.put(slot))
                && next.set(larger).is_ok()
            {
                // Release: pairs with the load in `index`.
                self.newest.store(at, Ordering::Release);
                return true;
            }
        }
        false
    }

    /// Looks up a node as of a commit: `None` if the table has no entry for it,
    /// `Some(None)` if it was deleted.
    #[inline]
    pub(crate) fn get(&self, id: &NodeId, seq: Seq) -> Option<Option<&NodeRecord>> {
        let (_, version) = self.version(self.key(id)?, seq)?;
        Some(version.record.as_ref())
    }

    /// The version of a node as of a commit, and its position in `later` if it
    /// is not the first.
    fn version<'a>(&'a self, key: &'a Key, seq: Seq) -> Option<(Option<u32>, &'a Version)> {
        let mut at = key.newest.get();
        while let Some(later) = at.and_then(|at| self.later.get(at)) {
            if later.version.seq <= seq {
                return Some((at, &later.version));
            }
            at = self.earlier(later, seq);
        }
        (key.first.seq <= seq).then_some((None, &key.first))
    }

    /// Where to look after a version that is later than a commit; `None` for the
    /// first.
    fn earlier(&self, later: &Later, seq: Seq) -> Option<u32> {
        // What is skipped is later too, if what it skips to is. The oldest skips
        // to itself.
        match self.later.get(later.skip) {
            Some(skipped) if later.depth > 0 && skipped.version.seq > seq => Some(later.skip),
            _ => later.older,
        }
    }

    /// Adds a version of a node. Its commit must not be before that of any
    /// other version in the table. There is one writer. Returns whether it was
    /// added, which fails only at 2^32 versions, or if so many hashes are equal
    /// that no index has room.
    #[inline]
    pub(crate) fn set(&self, id: NodeId, seq: Seq, record: Option<NodeRecord>) -> bool {
        let version = Version { seq, record };
        if let Some(key) = self.key(&id) {
            let older = key.newest.get();
            let depth = key.later.load(Ordering::Relaxed);
            let skip = if depth.is_multiple_of(SKIPPING) {
                // The oldest is the next of the arena, and skips to itself.
                let last = older.map(|_| key.skipping.load(Ordering::Relaxed));
                last.map_or(self.later.len(), |last| self.skip_from(last))
            } else {
                key.skipping.load(Ordering::Relaxed)
            };
            let Some(later) = self.later.push(Later { version, older, skip, depth }) else {
                return false;
            };
            key.later.store(depth.saturating_add(1), Ordering::Relaxed);
            if depth.is_multiple_of(SKIPPING) {
                key.skipping.store(later, Ordering::Relaxed);
            }
            key.newest.set(later);
            return true;
        }
        self.add(id, seq, version.record)
    }

    /// The skip link of the next version that skips, after `last`. If the last two
    /// skips were equally long, the new one is as long as both and one more;
    /// otherwise it is a link to `last`.
    fn skip_from(&self, last: u32) -> u32 {
        let later = |at: u32| self.later.get(at).map(|later| (later.skip, later.depth));
        let twice = later(last).and_then(|(skip, start)| {
            let (further, middle) = later(skip)?;
            let (_, end) = later(further)?;
            (start - middle == middle - end).then_some(further)
        });
        twice.unwrap_or(last)
    }

    /// As [`set`](Self::set), for a node that the table has no entry for.
    #[inline]
    pub(crate) fn add(&self, id: NodeId, seq: Seq, record: Option<NodeRecord>) -> bool {
        debug_assert!(self.key(&id).is_none(), "the table has the node");
        let first = Version { seq, record };
        let Some(key) = self.keys.push(Key {
            id,
            newest: Link::default(),
            later: AtomicU32::new(0),
            skipping: AtomicU32::new(0),
            first,
        }) else {
            return false;
        };
        self.put(u64::from(self.hash(&id)) << 32 | u64::from(key.saturating_add(1)))
    }

    /// The nodes that have an entry as of a commit, unordered, each with the
    /// position of its version for [`record`](Self::record).
    pub(crate) fn changes(&self, seq: Seq) -> impl Iterator<Item = (NodeId, VersionRef)> {
        (0..self.keys.len()).filter_map(move |index| {
            let key = self.keys.get(index)?;
            let (later, _) = self.version(key, seq)?;
            Some((key.id, later.map_or(VersionRef::First(index), VersionRef::Later)))
        })
    }

    /// The version at a position from [`changes`](Self::changes): `None` if the
    /// node is deleted.
    pub(crate) fn record(&self, version: VersionRef) -> Option<&NodeRecord> {
        let version = match version {
            VersionRef::First(at) => &self.keys.get(at)?.first,
            VersionRef::Later(at) => &self.later.get(at)?.version,
        };
        version.record.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicU64, Ordering::SeqCst},
        thread,
    };

    use super::*;

    fn record(id: NodeId, version: u64) -> NodeRecord {
        NodeRecord { id, version: Seq::new(version), ..NodeRecord::empty() }
    }

    fn id(n: u64) -> NodeId {
        // Not a hash, which takes Miri long.
        NodeId::from_bytes((u128::from(n) << 64 | u128::from(!n)).to_le_bytes())
    }

    #[test]
    fn a_table_grows_and_says_the_same() {
        let table = NodeTable::default();
        let nodes = if cfg!(miri) { 300 } else { 30_000 };
        for n in 0..nodes {
            assert!(table.get(&id(n), Seq::new(nodes)).is_none());
            assert!(table.set(id(n), Seq::new(n), Some(record(id(n), n))));
        }
        for n in 0..nodes {
            let found = table.get(&id(n), Seq::new(nodes)).unwrap().unwrap();
            assert_eq!((found.id, found.version.get()), (id(n), n));
            assert!(n == 0 || table.get(&id(n), Seq::new(n - 1)).is_none());
        }
        assert!(table.get(&id(nodes), Seq::new(nodes)).is_none());
        assert_eq!(table.changes(Seq::new(nodes)).count() as u64, nodes);
    }

    #[test]
    fn each_commit_sees_its_own_state() {
        let table = NodeTable::default();
        let mut states = vec![BTreeMap::new()];
        for seq in 1..if cfg!(miri) { 20_u64 } else { 2_000 } {
            let mut state = states.last().unwrap().clone();
            // Several nodes in one commit, some of them twice.
            for n in [seq % 13, seq % 7, seq % 7] {
                let record = (seq % 5 != 0).then(|| record(id(n), seq));
                state.insert(id(n), record.as_ref().map(|_| seq));
                assert!(table.set(id(n), Seq::new(seq), record));
            }
            states.push(state);
        }
        for (seq, state) in states.iter().enumerate() {
            let seq = Seq::new(seq as u64);
            for n in 0..15 {
                let found = table.get(&id(n), seq);
                let found = found.map(|found| found.map(|record| record.version.get()));
                assert_eq!(found, state.get(&id(n)).copied());
            }
            let mut changes: Vec<(NodeId, VersionRef)> = table.changes(seq).collect();
            changes.sort_unstable();
            assert!(changes.iter().map(|(id, _)| id).eq(state.keys()));
            for (id, version) in changes {
                let found = table.record(version).map(|record| record.version.get());
                assert_eq!(found, state[&id]);
            }
        }
    }

    /// Any of many versions is found in a logarithmic number of steps.
    #[test]
    fn an_old_version_is_found_in_few_steps() {
        let versions = if cfg!(miri) { 100 } else { 100_000_u64 };
        let table = NodeTable::default();
        for seq in 1..=versions {
            assert!(table.set(id(1), Seq::new(seq * 2), Some(record(id(1), seq))));
        }
        for asked in (2..=versions * 2 + 1).step_by(if cfg!(miri) { 7 } else { 997 }) {
            let found = table.get(&id(1), Seq::new(asked)).unwrap().unwrap();
            assert_eq!(found.version.get(), asked / 2);
            let (mut at, mut steps) = (table.key(&id(1)).unwrap().newest.get(), 0);
            while let Some(later) = at.and_then(|at| table.later.get(at))
                && later.version.seq.get() > asked
            {
                at = table.earlier(later, Seq::new(asked));
                steps += 1;
            }
            assert!(steps <= 3 * versions.ilog2(), "{steps} steps");
        }
        assert!(table.get(&id(1), Seq::new(1)).is_none());
    }

    /// The index grows meanwhile: the first has room for 256.
    #[test]
    fn readers_see_whole_commits_while_the_writer_appends() {
        const KEYS: u64 = if cfg!(miri) { 300 } else { 5_000 };
        let commits = if cfg!(miri) { 320 } else { 20_000_u64 };
        let table = NodeTable::default();
        let published = AtomicU64::new(0);
        thread::scope(|scope| {
            for reader in 0..2 {
                let (table, published) = (&table, &published);
                scope.spawn(move || {
                    let mut at = reader;
                    loop {
                        let seq = published.load(SeqCst);
                        // The latest nodes, and others in turn.
                        at += 7;
                        let last = (seq.saturating_sub(5)..seq).map(|n| n % KEYS);
                        let some = (0..5).map(|n| (at + n * 101) % seq.clamp(1, KEYS));
                        for n in last.chain(some).take(if seq == 0 { 0 } else { 10 }) {
                            let found = table.get(&id(n), Seq::new(seq)).unwrap().unwrap();
                            assert!(found.version.get() <= seq && found.version.get() + KEYS > seq);
                        }
                        assert!(table.get(&id(99_999), Seq::new(seq)).is_none());
                        if seq == commits {
                            break;
                        }
                    }
                });
            }
            for seq in 1..=commits {
                let id = id((seq - 1) % KEYS);
                assert!(table.set(id, Seq::new(seq), Some(record(id, seq))));
                published.store(seq, SeqCst);
            }
        });
    }
}
