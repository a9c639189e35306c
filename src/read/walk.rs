//! Reads of an ordered table in one direction, which skip what is known to be
//! dead, and report what they found dead.

use std::ops::Bound;

use equivalent::Comparable;

use crate::{
    model::error::Result,
    read::{merge::Step, within::Bounds},
    state::{
        State,
        dead::{DeadRun, Runs, Successor},
    },
};

/// Stalls of a merge in succession from which on a reader also wakes the
/// maintenance thread, so that the run is noted even if nobody writes.
const LONG: u32 = 32;

/// An ordered table within bounds, which can be read from both ends.
pub(crate) trait Ordered {
    type Place: Copy;
    type Item;
    type Merge: Iterator<Item = Result<Step<Self::Place, Self::Item>>>;

    fn state(&self) -> &State;

    /// Begins to read at the first key in this direction that no run skips:
    /// from `from` on, or below it if descending, if it is given.
    fn begin(&self, descending: bool, from: Option<Self::Place>) -> Self::Merge;

    /// Where to go on if `place` is in a run: at the place that is returned, or
    /// below it if descending.
    fn skip(&self, place: Self::Place, descending: bool) -> Option<Self::Place>;

    /// The run from `dead`, which was met in this direction, to `live`, or to
    /// the end of the table.
    fn run(
        &self,
        dead: Self::Place,
        live: Option<Self::Place>,
        descending: bool,
    ) -> Option<DeadRun>;
}

/// A read in one direction.
pub(crate) struct Walk<T: Ordered> {
    merge: T::Merge,
    descending: bool,
    /// Where the merge first stalled since the last item, and how often it did.
    stalled: Option<(T::Place, u32)>,
}

impl<T: Ordered> Walk<T> {
    pub(crate) fn new(table: &T, descending: bool) -> Self {
        Self { merge: table.begin(descending, None), descending, stalled: None }
    }

    /// As [`new`](Self::new), from `from` on, which is not before the table begins.
    pub(crate) fn ascending_from(table: &T, from: T::Place) -> Self {
        Self { merge: table.begin(false, Some(from)), descending: false, stalled: None }
    }

    /// The next item.
    #[inline]
    pub(crate) fn next(&mut self, table: &T) -> Option<Result<(T::Place, T::Item)>> {
        loop {
            match self.merge.next() {
                Some(Ok(Step::Item(place, item))) => {
                    if self.stalled.is_some() {
                        self.report(table, Some(place));
                    }
                    return Some(Ok((place, item)));
                }
                Some(Ok(Step::Dead(place))) => self.stall(table, place),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.report(table, None);
                    return None;
                }
            }
        }
    }

    #[cold]
    fn stall(&mut self, table: &T, place: T::Place) {
        let (first, times) = self.stalled.unwrap_or((place, 0));
        self.stalled = Some((first, times.saturating_add(1)));
        if let Some(from) = table.skip(place, self.descending) {
            self.merge = table.begin(self.descending, Some(from));
        }
    }

    fn report(&mut self, table: &T, live: Option<T::Place>) {
        let Some((dead, times)) = self.stalled.take() else { return };
        let Some(run) = table.run(dead, live, self.descending) else { return };
        table.state().dead_reports().push(run, times >= LONG);
    }
}

/// The bounds of a read in a direction, from `from` on (below it if descending)
/// if that is given, without the run at which the read would begin. `place`
/// borrows a key of a run.
pub(crate) fn unskipped<'s, K, P>(
    runs: &'s Runs<K>,
    bounds: Bounds<P>,
    descending: bool,
    from: Option<P>,
    place: impl Fn(&'s K) -> P,
) -> Bounds<P>
where
    K: Ord + Clone + Successor,
    P: Comparable<K> + Ord + Copy,
{
    let (mut start, mut end) = bounds;
    if descending {
        end = from.map_or(end, Bound::Excluded);
        let skipped = match end {
            Bound::Excluded(end) => runs.before(&end),
            Bound::Included(end) => runs.containing(&end),
            Bound::Unbounded => None,
        };
        end = skipped.map_or(end, |(first, _)| Bound::Excluded(place(first)));
    } else {
        start = from.map_or(start, Bound::Included);
        let skipped = at(start).and_then(|start| runs.containing(&start));
        start = skipped.map_or(start, |(_, next)| Bound::Included(place(next)));
    }
    match (at(start), at(end)) {
        // Nothing is left.
        (Some(first), Some(last)) if first > last => {
            (Bound::Excluded(first), Bound::Included(first))
        }
        _ => (start, end),
    }
}

/// The run from `dead`, which a read within these bounds met in its direction, to
/// `live`, or to the end of the read.
pub(crate) fn run_from<K: Successor>(
    bounds: Bounds<K>,
    dead: K,
    live: Option<K>,
    descending: bool,
) -> Option<(K, K)> {
    let (start, end) = bounds;
    if !descending {
        return Some((dead, live.or_else(|| at(end))?));
    }
    let from = match (live, start) {
        (Some(live), _) => live.successor()?,
        (None, Bound::Excluded(start)) => start.successor()?,
        (None, start) => at(start)?,
    };
    Some((from, dead))
}

/// The place of a bound.
pub(crate) fn at<P>(bound: Bound<P>) -> Option<P> {
    match bound {
        Bound::Included(place) | Bound::Excluded(place) => Some(place),
        Bound::Unbounded => None,
    }
}
