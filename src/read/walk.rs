//! Reads of an ordered table in one direction, which skip what is known to be
//! dead, and report what they found dead.

use crate::{
    model::error::Result,
    read::merge::Step,
    state::{State, dead::DeadRun},
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
