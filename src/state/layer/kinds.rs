//! The nodes of a layer by kind: a list that one writer appends to, and sorted
//! runs of it that readers make on demand.
//!
//! With a persistent ordered map, the writer would copy a leaf for nearly every
//! node with a random id, even if nobody reads in order. Here it only appends,
//! and an ordered read sorts what was appended since the last such read.
//! docs/decisions has the measurement.

use std::{fmt, ops::Bound, sync::Arc};

use crate::{model::id::NodeId, num, state::layer::arena::Arena, sync::ArcSwap};

/// A kind, and a node that was added to it.
pub(crate) type KindEntry = (u32, NodeId);

/// While fewer entries than this follow the last run, each reader sorts them
/// for itself.
pub(crate) const LEAST_RUN: usize = 128;

/// A log with one entry for each time that a node of the layer got a kind.
///
/// Entries are candidates: the node table decides which kind a node has at a
/// commit. A kind that a node loses needs no entry: there is one from when the
/// node got it, here or in the layer below, or a row in the base.
pub(crate) struct KindLog {
    /// [`LEAST_RUN`], except in tests.
    least_run: usize,
    entries: Arena<KindEntry>,
    runs: ArcSwap<Runs>,
}

/// Sorted runs of the first `covered` entries, the longest first. Each is more
/// than twice as long as the next, so that there are few.
#[derive(Clone, Default)]
struct Runs {
    covered: u32,
    runs: Vec<Arc<[KindEntry]>>,
}

impl fmt::Debug for KindLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindLog").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl KindLog {
    pub(crate) fn new(least_run: usize) -> Self {
        let (entries, runs) = (Arena::default(), ArcSwap::from_pointee(Runs::default()));
        Self { least_run, entries, runs }
    }

    /// The number of new entries from which on a reader keeps them as a run.
    pub(crate) fn least_run(&self) -> usize {
        self.least_run
    }

    /// Adds a node to a kind. There is one writer. Returns whether it was
    /// added, which fails only at 2^32 entries.
    pub(crate) fn push(&self, kind: u32, id: NodeId) -> bool {
        self.entries.push((kind, id)).is_some()
    }

    /// The entries within bounds, sorted, without duplicates. They include all
    /// that were added before the call.
    ///
    /// Sorts the entries that no run covers yet: those since the last call, and
    /// fewer than [`LEAST_RUN`] older ones.
    pub(crate) fn range(&self, from: Bound<KindEntry>, to: Bound<KindEntry>) -> KindEntries {
        let len = self.entries.len();
        let known = self.runs.load();
        if len == 0 {
            return KindEntries { cursors: Vec::new(), descending: false };
        }
        let mut cursors: Vec<RunCursor> = Vec::with_capacity(known.runs.len() + 1);
        if known.covered < len {
            let new = num::index(len - known.covered);
            let mut tail: Vec<KindEntry> = Vec::with_capacity(new);
            tail.extend((known.covered..len).filter_map(|at| self.entries.get(at).copied()));
            tail.sort_unstable();
            tail.dedup();
            // Counts duplicates, so that many of the same entry are not sorted
            // by every reader.
            if new >= self.least_run {
                let mut runs = Runs { covered: len, runs: known.runs.clone() };
                runs.add(tail);
                cursors
                    .extend(runs.runs.iter().map(|run| RunCursor::new(Arc::clone(run), from, to)));
                // Another reader may store its runs at the same time. Whichever
                // stay are right for their `covered`.
                self.runs.store(Arc::new(runs));
                return KindEntries { cursors, descending: false };
            }
            cursors.push(RunCursor::new(tail.into(), from, to));
        }
        cursors.extend(known.runs.iter().map(|run| RunCursor::new(Arc::clone(run), from, to)));
        KindEntries { cursors, descending: false }
    }
}

impl Runs {
    /// Adds a run, merging it with those that are at most twice as long.
    fn add(&mut self, run: Vec<KindEntry>) {
        let mut run = run;
        while let Some(last) = self.runs.pop_if(|last| last.len() <= run.len() * 2) {
            run.extend_from_slice(&last);
            // A stable sort merges two sorted runs in one pass.
            run.sort();
            run.dedup();
        }
        self.runs.push(run.into());
    }
}

/// Entries of a [`KindLog`], sorted, without duplicates.
pub(crate) struct KindEntries {
    cursors: Vec<RunCursor>,
    descending: bool,
}

impl KindEntries {
    /// The same entries in descending order.
    pub(crate) fn descending(self) -> Self {
        Self { descending: true, ..self }
    }
}

struct RunCursor {
    run: Arc<[KindEntry]>,
    at: usize,
    end: usize,
}

impl RunCursor {
    fn new(run: Arc<[KindEntry]>, from: Bound<KindEntry>, to: Bound<KindEntry>) -> Self {
        let at = match from {
            Bound::Included(from) => run.partition_point(|place| *place < from),
            Bound::Excluded(from) => run.partition_point(|place| *place <= from),
            Bound::Unbounded => 0,
        };
        let end = match to {
            Bound::Included(to) => run.partition_point(|place| *place <= to),
            Bound::Excluded(to) => run.partition_point(|place| *place < to),
            Bound::Unbounded => run.len(),
        };
        Self { run, at, end }
    }

    fn head(&self, descending: bool) -> Option<KindEntry> {
        if self.at >= self.end {
            return None;
        }
        let at = if descending { self.end.checked_sub(1)? } else { self.at };
        self.run.get(at).copied()
    }
}

impl Iterator for KindEntries {
    type Item = KindEntry;

    fn next(&mut self) -> Option<KindEntry> {
        let descending = self.descending;
        let heads = self.cursors.iter().filter_map(|cursor| cursor.head(descending));
        let next = if descending { heads.max() } else { heads.min() }?;
        for cursor in &mut self.cursors {
            // A run has no duplicates.
            if cursor.head(descending) == Some(next) {
                if descending {
                    cursor.end -= 1;
                } else {
                    cursor.at += 1;
                }
            }
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicU32, Ordering::SeqCst},
        thread,
    };

    use super::*;

    /// Small, so that there are many runs.
    const SMALL_RUN: usize = 8;

    const PLACES: u32 = if cfg!(miri) { 150 } else { 20_000 };

    /// Unordered, with duplicates.
    fn place(n: u32) -> KindEntry {
        let mixed = n.wrapping_mul(0x9e37_79b1) >> 7;
        (mixed % 3, NodeId::from_bytes(u128::from(mixed / 5 * 5).to_be_bytes()))
    }

    fn all(log: &KindLog) -> Vec<KindEntry> {
        log.range(Bound::Unbounded, Bound::Unbounded).collect()
    }

    #[test]
    fn places_come_in_order_and_once_however_often_they_are_read() {
        // Reads after this many entries: never, rarely, often, each time.
        for every in if cfg!(miri) { &[131, 17][..] } else { &[u32::MAX, 1_009, 131, 17, 1] } {
            let (log, mut expected) = (KindLog::new(SMALL_RUN), BTreeSet::new());
            for n in 0..if *every == 1 { PLACES / 20 } else { PLACES } {
                let (kind, id) = place(n);
                assert!(log.push(kind, id));
                expected.insert((kind, id));
                if n % every == 0 {
                    let from = Bound::Included((1, NodeId::MIN));
                    let to = Bound::Excluded(place(n / 2));
                    let reversed =
                        matches!((from, to), (Bound::Included(a), Bound::Excluded(b)) if a > b);
                    if !reversed {
                        assert!(log.range(from, to).eq(expected.range((from, to)).copied()));
                    }
                }
            }
            assert!(all(&log).iter().eq(&expected));
            let covered = log.runs.load().covered;
            assert!(usize::try_from(log.entries.len() - covered).unwrap() < SMALL_RUN);
            let lens: Vec<usize> = log.runs.load().runs.iter().map(|run| run.len()).collect();
            assert!(lens.is_sorted_by(|a, b| *a > 2 * *b), "{lens:?}");
        }
    }

    #[test]
    fn what_is_noted_over_and_over_is_sorted_once() {
        let log = KindLog::new(SMALL_RUN);
        for n in 0..PLACES {
            assert!(log.push(n % 2, NodeId::MIN));
        }
        assert_eq!(all(&log), [(0, NodeId::MIN), (1, NodeId::MIN)]);
        let runs = log.runs.load();
        assert_eq!((runs.covered, runs.runs.len()), (PLACES, 1));
    }

    #[test]
    fn readers_find_all_that_was_there_while_the_writer_appends() {
        let (log, pushed) = (KindLog::new(SMALL_RUN), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let n = pushed.load(SeqCst);
                        let found = all(&log);
                        assert!(found.is_sorted_by(|a, b| a < b));
                        for at in (0..n).step_by(37) {
                            assert!(found.binary_search(&place(at)).is_ok());
                        }
                        if n == PLACES {
                            break;
                        }
                    }
                });
            }
            for n in 0..PLACES {
                let (kind, id) = place(n);
                assert!(log.push(kind, id));
                pushed.store(n + 1, SeqCst);
            }
        });
    }
}
