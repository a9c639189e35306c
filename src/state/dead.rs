//! Runs of keys of which none is there: what ordered reads skip.
//!
//! What a layer deletes of the base stays in the base until a checkpoint, and a
//! node that is deleted stays in the lists of kinds of its layer. A read that
//! walks over many of them reports where it did. The commit step checks the
//! report against its own state, and notes the run in it. A run is a statement
//! about the merged view of one state, so it does not depend on where the dead
//! keys are stored, and stays true until a key in it is added.

use std::{fmt, ops::Bound, sync::OnceLock};

use crossbeam_queue::ArrayQueue;
use equivalent::Comparable;
use im::OrdMap;

use crate::{
    format::tables::EdgeKey,
    model::id::NodeId,
    state::{layer::kinds::KindEntry, record::KeyEntry},
};

/// The most runs of a table. One more, and they are learned anew.
const MOST_RUNS: usize = 4_096;

/// The most reports that wait; further ones are dropped, and made again by a
/// later read.
const MOST_REPORTS: usize = 64;

/// A key with one that follows it directly.
pub(crate) trait Successor: Sized {
    /// The next key of the order; `None` for the last, and where it is not worth
    /// finding.
    fn successor(&self) -> Option<Self>;
}

/// The id that follows an id; `None` for the last.
pub(crate) fn next_id(id: NodeId) -> Option<NodeId> {
    let next = u128::from_be_bytes(*id.as_bytes()).checked_add(1)?;
    Some(NodeId::from_bytes(next.to_be_bytes()))
}

impl Successor for KindEntry {
    fn successor(&self) -> Option<Self> {
        Some((self.0, next_id(self.1)?))
    }
}

impl Successor for KeyEntry {
    fn successor(&self) -> Option<Self> {
        Some(Self { node: next_id(self.node)?, ..self.clone() })
    }
}

impl Successor for EdgeKey {
    fn successor(&self) -> Option<Self> {
        Some(Self { discriminator: self.discriminator.checked_add(1)?, ..*self })
    }
}

/// Disjoint runs of dead keys, each from a key up to, but without, another.
#[derive(Debug, Clone)]
pub(crate) struct Runs<K: Ord>(OrdMap<K, K>);

impl<K: Ord + Clone> Default for Runs<K> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<K: Ord + Clone + Successor> Runs<K> {
    /// The run that has `place`.
    pub(crate) fn containing<Q: Comparable<K>>(&self, place: &Q) -> Option<(&K, &K)> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get_prev(place).filter(|(_, end)| place.compare(end).is_lt())
    }

    /// The run that ends at `place`, or has it and begins before it: what to skip
    /// on the way down from `place`.
    pub(crate) fn before<Q: Comparable<K>>(&self, place: &Q) -> Option<(&K, &K)> {
        if self.0.is_empty() {
            return None;
        }
        let range = (Bound::Unbounded, Bound::Excluded(place));
        self.0.range::<_, Q>(range).next_back().filter(|(_, end)| place.compare(end).is_le())
    }

    /// Whether all from `start` up to, but without, `end` is in one run.
    fn has(&self, start: &K, end: &K) -> bool {
        start >= end || self.containing(start).is_some_and(|(_, last)| last >= end)
    }

    /// Adds a run, and unites it with those that it meets.
    fn add(&mut self, start: K, end: K) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        if let Some((first, last)) = self.0.get_prev(&start)
            && *last >= start
        {
            end = end.max(last.clone());
            start = first.clone();
        }
        while let Some((first, last)) = self.0.range::<_, K>(&start..=&end).next() {
            let first = first.clone();
            end = end.max(last.clone());
            self.0.remove(&first);
        }
        if self.0.len() >= MOST_RUNS {
            self.0 = OrdMap::new();
        }
        self.0.insert(start, end);
    }

    /// Takes a key out of its run, since it is there from now on.
    fn revive(&mut self, place: &K) {
        let Some((start, end)) = self.containing(place) else { return };
        let (start, end) = (start.clone(), end.clone());
        if start < *place {
            self.0.insert(start, place.clone());
        } else {
            self.0.remove(&start);
        }
        // Without room, what follows is learned anew.
        if let Some(next) = place.successor()
            && next < end
            && self.0.len() < MOST_RUNS
        {
            self.0.insert(next, end);
        }
    }
}

/// The dead runs of each ordered table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dead {
    pub(crate) keys: Runs<KeyEntry>,
    pub(crate) kinds: Runs<KindEntry>,
    pub(crate) out: Runs<EdgeKey>,
    pub(crate) in_edges: Runs<EdgeKey>,
}

/// Keys that a read found dead: from one up to, but without, another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeadRun {
    Keys(KeyEntry, KeyEntry),
    Kinds(KindEntry, KindEntry),
    Out(EdgeKey, EdgeKey),
    In(EdgeKey, EdgeKey),
}

impl Dead {
    /// Whether a run is known.
    pub(super) fn has(&self, run: &DeadRun) -> bool {
        match run {
            DeadRun::Keys(start, end) => self.keys.has(start, end),
            DeadRun::Kinds(start, end) => self.kinds.has(start, end),
            DeadRun::Out(start, end) => self.out.has(start, end),
            DeadRun::In(start, end) => self.in_edges.has(start, end),
        }
    }

    pub(super) fn add(&mut self, run: DeadRun) {
        match run {
            DeadRun::Keys(start, end) => self.keys.add(start, end),
            DeadRun::Kinds(start, end) => self.kinds.add(start, end),
            DeadRun::Out(start, end) => self.out.add(start, end),
            DeadRun::In(start, end) => self.in_edges.add(start, end),
        }
    }

    /// Whether [`revive`](Self::revive) of this key would change anything.
    pub(super) fn has_key(&self, entry: &KeyEntry) -> bool {
        self.keys.containing(entry).is_some()
    }

    pub(super) fn revive_key(&mut self, entry: &KeyEntry) {
        self.keys.revive(entry);
    }

    pub(super) fn has_kind(&self, entry: &KindEntry) -> bool {
        self.kinds.containing(entry).is_some()
    }

    pub(super) fn revive_kind(&mut self, entry: &KindEntry) {
        self.kinds.revive(entry);
    }

    /// By its key in the out_edges table.
    pub(super) fn has_edge(&self, key: &EdgeKey) -> bool {
        self.out.containing(key).is_some() || self.in_edges.containing(&key.reversed()).is_some()
    }

    pub(super) fn revive_edge(&mut self, key: &EdgeKey) {
        self.out.revive(key);
        self.in_edges.revive(&key.reversed());
    }
}

/// Reports of readers that wait for the commit step. Readers never wait.
pub(crate) struct DeadReports {
    runs: ArrayQueue<DeadRun>,
    /// Asks the maintenance thread to note what is reported. An engine without
    /// threads has none.
    signal: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Default for DeadReports {
    fn default() -> Self {
        Self { runs: ArrayQueue::new(MOST_REPORTS), signal: OnceLock::new() }
    }
}

impl fmt::Debug for DeadReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadReports").field("runs", &self.runs.len()).finish_non_exhaustive()
    }
}

impl DeadReports {
    /// Sets what a report of a long run calls, once.
    pub(crate) fn set_signal(&self, signal: impl Fn() + Send + Sync + 'static) {
        // Another one is there only if it was set before.
        let _ = self.signal.set(Box::new(signal));
    }

    pub(crate) fn push(&self, run: DeadRun, long: bool) {
        // A full queue drops it: a later read walks there again.
        let _ = self.runs.push(run);
        if long && let Some(signal) = self.signal.get() {
            signal();
        }
    }

    pub(crate) fn pop(&self) -> Option<DeadRun> {
        self.runs.pop()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::num;

    impl Successor for u32 {
        fn successor(&self) -> Option<Self> {
            self.checked_add(1)
        }
    }

    /// Keys that come back one by one divide a run into no more than there may be.
    #[test]
    fn runs_are_bounded_however_they_are_divided() {
        let mut runs = Runs::default();
        let places = num::short(4 * MOST_RUNS);
        runs.add(0, places);
        for place in (1..places).step_by(2) {
            runs.revive(&place);
            assert!(runs.containing(&place).is_none());
        }
        assert!(runs.0.len() <= MOST_RUNS, "{}", runs.0.len());
    }

    /// Runs that are added and keys that are revived, against a set of numbers.
    #[test]
    fn runs_are_the_set_of_what_is_dead() {
        let (mut runs, mut dead) = (Runs::default(), BTreeSet::new());
        let mut random = 1_u32;
        for _ in 0..if cfg!(miri) { 200 } else { 5_000 } {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (place, len) = (random >> 16 & 127, random >> 8 & 15);
            if random >> 30 == 0 {
                runs.add(place, place + len);
                dead.extend(place..place + len);
            } else {
                runs.revive(&place);
                dead.remove(&place);
            }
            let found: Vec<(u32, u32)> = runs.0.iter().map(|(a, b)| (*a, *b)).collect();
            assert!(found.iter().all(|(start, end)| start < end), "{found:?}");
            assert!(found.is_sorted_by(|a, b| a.1 <= b.0), "{found:?}");
            assert!(found.iter().flat_map(|(a, b)| *a..*b).eq(dead.iter().copied()));
            for at in 0..150_u32 {
                assert_eq!(runs.containing(&at).is_some(), dead.contains(&at));
                let down = at.checked_sub(1).is_some_and(|below| dead.contains(&below));
                assert_eq!(runs.before(&at).is_some(), down);
            }
        }
    }
}
