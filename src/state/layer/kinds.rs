//! The nodes of each kind that a layer says something of: a list that one
//! writer appends to, and sorted runs of it that readers make as they need them.
//!
//! A persistent ordered map would have the writer copy a leaf for nearly every
//! node that comes in at random, whether or not anybody ever reads in order.
//! Here it appends, and who reads in order sorts what came since the last such
//! read. docs/decisions has the measurement.

use std::{fmt, ops::Bound, sync::Arc};

use crate::{model::id::NodeId, state::layer::arena::Arena, sync::ArcSwap};

/// A node under a kind.
pub(crate) type KindEntry = (u32, NodeId);

/// What came after the last run is sorted by each reader for itself until it is
/// this much.
pub(crate) const LEAST_RUN: usize = 128;

/// Every kind that a node came to in the layer, as often as it did.
///
/// Which of them it has at a commit, the node table says: here are the places to
/// look at. A kind that a node leaves needs no place: it came to it here, in the
/// layer below, or has a row of it in the base.
pub(crate) struct KindLog {
    /// [`LEAST_RUN`], or what a test wants.
    least_run: usize,
    places: Arena<KindEntry>,
    runs: ArcSwap<Runs>,
}

/// Sorted runs of the first places, the longest first; each is more than twice
/// as long as the next, so that there are few.
#[derive(Clone, Default)]
struct Runs {
    covered: u32,
    runs: Vec<Arc<[KindEntry]>>,
}

impl fmt::Debug for KindLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KindLog").field("places", &self.places.len()).finish_non_exhaustive()
    }
}

impl KindLog {
    pub(crate) fn new(least_run: usize) -> Self {
        let (places, runs) = (Arena::default(), ArcSwap::from_pointee(Runs::default()));
        Self { least_run, places, runs }
    }

    /// From how many entries on a reader leaves a sorted run to the next.
    pub(crate) fn least_run(&self) -> usize {
        self.least_run
    }

    /// Notes that a node comes to a kind. There is one writer.
    /// Returns whether it could be kept, which fails at 2^32 places only.
    pub(crate) fn push(&self, kind: u32, id: NodeId) -> bool {
        self.places.push((kind, id)).is_some()
    }

    /// The places within bounds in order, each once; among them all that were
    /// noted before the call.
    ///
    /// Costs the sorting of what was noted since the last such call, or of the
    /// last [`LEAST_RUN`] places.
    pub(crate) fn range(&self, from: Bound<KindEntry>, to: Bound<KindEntry>) -> KindEntries {
        let len = self.places.len();
        let known = self.runs.load();
        if len == 0 {
            return KindEntries { cursors: Vec::new(), descending: false };
        }
        let mut cursors: Vec<RunCursor> = Vec::with_capacity(known.runs.len().saturating_add(1));
        if known.covered < len {
            let new = usize::try_from(len.saturating_sub(known.covered)).unwrap_or(usize::MAX);
            let mut tail: Vec<KindEntry> = Vec::with_capacity(new);
            tail.extend((known.covered..len).filter_map(|at| self.places.get(at).copied()));
            tail.sort_unstable();
            tail.dedup();
            // By what was noted, so that the same noted over and over is not sorted
            // over and over.
            if new >= self.least_run {
                let mut runs = Runs { covered: len, runs: known.runs.clone() };
                runs.add(tail);
                cursors
                    .extend(runs.runs.iter().map(|run| RunCursor::new(Arc::clone(run), from, to)));
                // Another reader may do the same at this moment. Whichever stays,
                // what it has is right for the length that it says.
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
    /// Adds a run, merging it with those that are not longer than twice it.
    fn add(&mut self, run: Vec<KindEntry>) {
        let mut run = run;
        while let Some(last) = self.runs.pop_if(|last| last.len() <= run.len().saturating_mul(2)) {
            run.extend_from_slice(&last);
            // Two runs that are sorted: merged in one pass.
            run.sort();
            run.dedup();
        }
        self.runs.push(run.into());
    }
}

/// KindEntries in order, each once.
pub(crate) struct KindEntries {
    cursors: Vec<RunCursor>,
    descending: bool,
}

impl KindEntries {
    /// The same entries, the last first.
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
            // A run has a place once.
            if cursor.head(descending) == Some(next) {
                if descending {
                    cursor.end = cursor.end.saturating_sub(1);
                } else {
                    cursor.at = cursor.at.saturating_add(1);
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

    /// So that there are many runs.
    const SMALL_RUN: usize = 8;

    const PLACES: u32 = if cfg!(miri) { 150 } else { 20_000 };

    /// In no order, some more than once.
    fn place(n: u32) -> KindEntry {
        let mixed = n.wrapping_mul(0x9e37_79b1) >> 7;
        (mixed % 3, NodeId::from_bytes(u128::from(mixed / 5 * 5).to_be_bytes()))
    }

    fn all(log: &KindLog) -> Vec<KindEntry> {
        log.range(Bound::Unbounded, Bound::Unbounded).collect()
    }

    #[test]
    fn places_come_in_order_and_once_however_often_they_are_read() {
        // Reads after so many places: never, seldom, often, each time.
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
            assert!(usize::try_from(log.places.len() - covered).unwrap() < SMALL_RUN);
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
