//! The nodes of a layer: a hash table to which one writer appends while any
//! number of readers look, each at its own sequence number.
//!
//! Nothing is ever moved or taken away before the whole table goes with its
//! layer, so publishing a change costs nothing, and a reader needs no lock.
//! docs/decisions has the measurement against a persistent map.

use std::{
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use foldhash::quality::RandomState;

use super::delta::NodeRecord;
use crate::{id::NodeId, model::Seq};

/// Values that stay where they were put: chunks, each twice as large as the one
/// before.
pub(super) struct Arena<T> {
    chunks: [OnceLock<Box<[OnceLock<T>]>>; CHUNKS],
    len: AtomicU32,
}

const CHUNKS: usize = 24;
/// Values in the first chunk, as a power of two.
const FIRST_CHUNK_BITS: u32 = 8;

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS], len: AtomicU32::new(0) }
    }
}

/// The chunk of a value, and its place there.
fn place(index: u32) -> (usize, usize) {
    let n = u64::from(index).saturating_add(1 << FIRST_CHUNK_BITS);
    let bits = n.ilog2();
    let chunk = bits.saturating_sub(FIRST_CHUNK_BITS);
    let at = n.saturating_sub(1 << bits);
    (usize::try_from(chunk).unwrap_or(usize::MAX), usize::try_from(at).unwrap_or(usize::MAX))
}

impl<T> Arena<T> {
    /// Appends a value and gives its index. There is one writer. `None` when
    /// there are 2^32 values, which no budget of a delta lets be.
    pub(super) fn push(&self, value: T) -> Option<u32> {
        // Relaxed: written by the one who reads it here.
        let index = self.len.load(Ordering::Relaxed);
        let (chunk, at) = place(index);
        let values = self.chunks.get(chunk)?.get_or_init(|| {
            let len = 1_usize << (chunk.saturating_add(FIRST_CHUNK_BITS as usize));
            std::iter::repeat_with(OnceLock::new).take(len).collect()
        });
        values.get(at)?.set(value).ok()?;
        // Release: who sees the length sees the values. Readers who come by an
        // index see its value by the way they came.
        self.len.store(index.checked_add(1)?, Ordering::Release);
        Some(index)
    }

    pub(super) fn get(&self, index: u32) -> Option<&T> {
        let (chunk, at) = place(index);
        self.chunks.get(chunk)?.get()?.get(at)?.get()
    }

    pub(super) fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }
}

/// A reference to a value of an arena: its index and one; 0 for none.
#[derive(Default)]
struct Link(AtomicU32);

impl Link {
    fn new(target: Option<u32>) -> Self {
        Self(AtomicU32::new(target.map_or(0, |index| index.saturating_add(1))))
    }

    /// Acquire: pairs with `set`, so that what is behind the link is whole.
    fn get(&self) -> Option<u32> {
        self.0.load(Ordering::Acquire).checked_sub(1)
    }

    fn set(&self, target: u32) {
        self.0.store(target.saturating_add(1), Ordering::Release);
    }
}

/// A node that the layer says something of.
struct Key {
    id: NodeId,
    /// The next node of the bucket.
    next: Link,
    newest: Link,
}

/// What the layer says of a node from a commit on.
struct Version {
    seq: Seq,
    /// `None`: it is not there.
    record: Option<Arc<NodeRecord>>,
    older: Link,
}

/// The nodes of a layer.
pub(crate) struct NodeTable {
    /// A power of two; made with the first node.
    buckets: OnceLock<Box<[Link]>>,
    bucket_count: usize,
    hasher: RandomState,
    keys: Arena<Key>,
    versions: Arena<Version>,
}

impl fmt::Debug for NodeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeTable").field("nodes", &self.keys.len()).finish_non_exhaustive()
    }
}

impl NodeTable {
    /// A table for about so many nodes; it takes any number.
    pub(crate) fn new(expected: usize) -> Self {
        Self {
            buckets: OnceLock::new(),
            bucket_count: expected.clamp(64, 1 << 24).next_power_of_two(),
            hasher: RandomState::default(),
            keys: Arena::default(),
            versions: Arena::default(),
        }
    }

    /// A new table for as many nodes.
    pub(crate) fn successor(&self) -> Self {
        Self::new(self.bucket_count)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.len() == 0
    }

    fn bucket(&self, id: &NodeId) -> Option<&Link> {
        let buckets = self.buckets.get()?;
        let hash = usize::try_from(self.hasher.hash_one(id) >> 16).unwrap_or(0);
        buckets.get(hash & self.bucket_count.saturating_sub(1))
    }

    fn key(&self, id: &NodeId) -> Option<&Key> {
        let mut at = self.bucket(id)?.get();
        while let Some(key) = self.keys.get(at?) {
            if key.id == *id {
                return Some(key);
            }
            at = key.next.get();
        }
        None
    }

    /// What the table says of a node up to a commit: `None` nothing,
    /// `Some(None)` that it is not there.
    #[inline]
    pub(crate) fn get(&self, id: &NodeId, seq: Seq) -> Option<Option<&Arc<NodeRecord>>> {
        self.at(self.key(id)?, seq)
    }

    fn at(&self, key: &Key, seq: Seq) -> Option<Option<&Arc<NodeRecord>>> {
        let (_, version) = self.version_at(key, seq)?;
        Some(version.record.as_ref())
    }

    /// What it says of a node up to a commit, and the number of that.
    fn version_at(&self, key: &Key, seq: Seq) -> Option<(u32, &Version)> {
        let mut at = key.newest.get();
        while let Some(version) = self.versions.get(at?) {
            if version.seq <= seq {
                return Some((at?, version));
            }
            at = version.older.get();
        }
        None
    }

    /// Says something of a node from a commit on, which is not before any other
    /// of the table. There is one writer. Returns whether it could be kept,
    /// which fails at 2^32 changes only.
    pub(crate) fn set(&self, id: NodeId, seq: Seq, record: Option<Arc<NodeRecord>>) -> bool {
        self.buckets.get_or_init(|| {
            std::iter::repeat_with(Link::default).take(self.bucket_count).collect()
        });
        let known = self.key(&id);
        let older = Link::new(known.and_then(|key| key.newest.get()));
        let Some(version) = self.versions.push(Version { seq, record, older }) else {
            return false;
        };
        match known {
            Some(key) => key.newest.set(version),
            None => {
                let Some(bucket) = self.bucket(&id) else { return false };
                let key =
                    Key { id, next: Link::new(bucket.get()), newest: Link::new(Some(version)) };
                let Some(key) = self.keys.push(key) else { return false };
                bucket.set(key);
            }
        }
        true
    }

    /// The nodes that it says something of up to a commit, in no order, each
    /// with the number under which [`record`](Self::record) has it.
    pub(crate) fn changes(&self, seq: Seq) -> impl Iterator<Item = (NodeId, u32)> {
        let keys = (0..self.keys.len()).filter_map(|index| self.keys.get(index));
        keys.filter_map(move |key| Some((key.id, self.version_at(key, seq)?.0)))
    }

    /// What is said under a number of [`changes`](Self::changes): `None` that the
    /// node is not there.
    pub(crate) fn record(&self, version: u32) -> Option<&NodeRecord> {
        self.versions.get(version)?.record.as_deref()
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

    fn record(id: NodeId, version: u64) -> Arc<NodeRecord> {
        Arc::new(NodeRecord { id, version: Seq::new(version), ..NodeRecord::empty() })
    }

    fn id(n: u64) -> NodeId {
        // Without a hash, which takes Miri long.
        NodeId::from_bytes((u128::from(n) << 64 | u128::from(!n)).to_le_bytes())
    }

    #[test]
    fn places_follow_each_other_through_the_chunks() {
        let mut expected = (0, 0);
        for index in 0..if cfg!(miri) { 2_000 } else { 100_000 } {
            assert_eq!(place(index), expected);
            expected.1 += 1;
            if expected.1 == 256 << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert_eq!(place(u32::MAX).0, 24);
    }

    #[test]
    fn each_commit_sees_its_own_state() {
        for expected in [1, if cfg!(miri) { 300 } else { 100_000 }] {
            let table = NodeTable::new(expected);
            let mut states = vec![BTreeMap::new()];
            for seq in 1..if cfg!(miri) { 20_u64 } else { 2_000 } {
                let mut state = states.last().unwrap().clone();
                // Several in one commit, some twice.
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
                let mut changes: Vec<(NodeId, u32)> = table.changes(seq).collect();
                changes.sort_unstable();
                assert!(changes.iter().map(|(id, _)| id).eq(state.keys()));
                for (id, version) in changes {
                    let found = table.record(version).map(|record| record.version.get());
                    assert_eq!(found, state[&id]);
                }
            }
        }
    }

    #[test]
    fn readers_see_whole_commits_while_the_writer_appends() {
        let commits = if cfg!(miri) { 50 } else { 20_000_u64 };
        let table = NodeTable::new(64);
        let published = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let seq = published.load(SeqCst);
                        for n in 0..seq.min(50) {
                            let found = table.get(&id(n), Seq::new(seq)).unwrap().unwrap();
                            assert!(found.version.get() <= seq && found.version.get() + 50 > seq);
                        }
                        assert!(table.get(&id(99_999), Seq::new(seq)).is_none());
                        if seq == commits {
                            break;
                        }
                    }
                });
            }
            for seq in 1..=commits {
                let id = id((seq - 1) % 50);
                assert!(table.set(id, Seq::new(seq), Some(record(id, seq))));
                published.store(seq, SeqCst);
            }
        });
    }
}
