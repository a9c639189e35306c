//! Rows of the base within bounds.

use std::{cmp::Ordering, ops::Bound};

use crate::{
    format::tables::{EdgeKey, EdgeRow, IndexEntryRef, NodeRow},
    model::{
        error::{Error, Result},
        id::NodeId,
    },
};

pub(crate) type Bounds<K> = (Bound<K>, Bound<K>);

/// Rows of the base, restricted to bounds. Their iterator may have failed to
/// begin.
pub(crate) struct Within<I, K> {
    run: Result<I, Option<Error>>,
    bounds: Bounds<K>,
    descending: bool,
    /// Whether a row was within the bound at which the run begins: all after it
    /// are.
    begun: bool,
}

impl<I, K> Within<I, K> {
    pub(crate) fn new(run: Result<I>, bounds: Bounds<K>, descending: bool) -> Self {
        Self { run: run.map_err(Some), bounds, descending, begun: false }
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
            let after_start = || match &self.bounds.0 {
                Bound::Included(start) => item.compare(start).is_ge(),
                Bound::Excluded(start) => item.compare(start).is_gt(),
                Bound::Unbounded => true,
            };
            let before_end = || match &self.bounds.1 {
                Bound::Included(end) => item.compare(end).is_le(),
                Bound::Excluded(end) => item.compare(end).is_lt(),
                Bound::Unbounded => true,
            };
            if !(if self.descending { after_start() } else { before_end() }) {
                return None;
            }
            self.begun = self.begun || if self.descending { before_end() } else { after_start() };
            if self.begun {
                return Some(Ok(item));
            }
        }
    }
}

/// A row whose key can be compared with a bound.
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

impl InOrder<OwnedPlace> for IndexEntryRef<'_> {
    fn compare(&self, key: &OwnedPlace) -> Ordering {
        (self.index, self.key, self.node).cmp(&(key.index, &*key.key, key.node))
    }
}

/// An owned [`IndexEntryRef`].
#[derive(Debug, Clone)]
pub(crate) struct OwnedPlace {
    index: u32,
    key: Vec<u8>,
    node: NodeId,
}

impl From<IndexEntryRef<'_>> for OwnedPlace {
    fn from(place: IndexEntryRef<'_>) -> Self {
        Self { index: place.index, key: place.key.to_vec(), node: place.node }
    }
}

/// The part of `start..=end` after `place`.
pub(crate) fn rest<T: Ord + Copy>(start: T, end: T, place: Option<T>) -> (Bound<T>, Bound<T>) {
    match place {
        Some(place) if place >= end => (Bound::Excluded(end), Bound::Included(end)),
        Some(place) if place >= start => (Bound::Excluded(place), Bound::Included(end)),
        _ => (Bound::Included(start), Bound::Included(end)),
    }
}
