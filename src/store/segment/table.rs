//! Tables of sorted rows.

use std::{
    marker::PhantomData,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use bytemuck::Pod;

use crate::{
    cpu::prefetch,
    format::tables::SortedRow,
    model::error::Result,
    store::segment::{
        file::Segment,
        search::{interpolate, search},
    },
};

/// Rows of one section of a file.
#[derive(Debug)]
pub(crate) struct Table<R> {
    segment: Arc<Segment>,
    at: usize,
    count: usize,
    /// Ranks of every so many'th row and of the last one, each once it was
    /// needed or filled in, 0 before: with them a search touches one block of the
    /// file.
    ///
    /// Relaxed: they tell about bytes that never change, and hand over nothing
    /// else.
    fences: OnceLock<Box<[AtomicU64]>>,
    rows: PhantomData<fn() -> R>,
}

impl<R: Pod> Table<R> {
    pub(crate) fn open(segment: &Arc<Segment>, tag: u32) -> Result<Self> {
        let section = segment.section(tag, size_of::<R>())?;
        let place = usize::try_from(section.offset).ok().zip(usize::try_from(section.rows()).ok());
        let Some((at, count)) = place else {
            return Err(segment.damaged(80, "a section is larger than the address space"));
        };
        Ok(Self {
            segment: Arc::clone(segment),
            at,
            count,
            fences: OnceLock::new(),
            rows: PhantomData,
        })
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of the rows.
    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.count.saturating_mul(size_of::<R>())).unwrap_or(u64::MAX)
    }

    /// Where a row stands in the file.
    pub(crate) fn offset(&self, row: usize) -> usize {
        self.at.saturating_add(row.saturating_mul(size_of::<R>()))
    }

    /// The bytes of all rows, checked.
    pub(crate) fn bytes_of_all(&self) -> Result<&[u8]> {
        self.segment.bytes(self.at, self.count.saturating_mul(size_of::<R>()))
    }

    #[inline]
    pub(crate) fn row(&self, row: usize) -> Result<&R> {
        let at = self.offset(row);
        if row >= self.count {
            return Err(self.segment.damaged(at, format!("there is no row {row}")));
        }
        let bytes = self.segment.bytes(at, size_of::<R>())?;
        // Rows have no alignment and any bytes are one: this does not fail.
        bytemuck::try_from_bytes(bytes)
            .map_err(|error| self.segment.damaged(at, format!("row {row}: {error}")))
    }
}

impl<R: Pod> Table<R> {
    /// Rows from one fence to the next: a fence is 8 bytes of memory for about
    /// 1,024 of the file.
    const STRIDE: usize = if size_of::<R>() < 1_024 { 1_024 / size_of::<R>() } else { 1 };
    /// Rows in the 64 bytes that a processor fetches at once.
    const LINE: usize = if size_of::<R>() < 64 { 64 / size_of::<R>() } else { 1 };
}

impl<R: SortedRow> Table<R> {
    /// The first row whose key is not less than `key`.
    ///
    /// Ids are spread evenly if they are hashes, and nearly so if they are
    /// times: a guess in proportion lands close. It is made among the fences,
    /// which are in memory once they were met, and then among the rows between
    /// two of them. What spread ids have beyond that costs a search by halves.
    pub(crate) fn lower_bound(&self, key: &R::Key) -> Result<usize> {
        let Some(last) = self.count.checked_sub(1) else { return Ok(0) };
        let rank = R::rank(key);
        let block = self.fences_before(rank, |at| {
            Ok(self.row(at.saturating_mul(Self::STRIDE).min(last))?.key() < *key)
        })?;
        let Some(before) = block.checked_sub(1) else { return Ok(0) };
        // The row at the fence before is less, that at the next one is not.
        let ((first, high), ranks) = self.between_fences(before)?;
        let low = first.saturating_add(1);
        if high > low {
            // What lies beside the guess comes with it, not after it.
            let guess = interpolate(low, high, ranks.0, ranks.1, rank);
            self.prefetch(guess);
        }
        search((low, high), ranks, rank, |row| {
            let found = self.row(row)?.key();
            Ok((R::rank(&found), found < *key))
        })
    }

    /// Looks at every fence, and so at every block of rows that are small.
    pub(crate) fn fill_fences(&self) -> Result<()> {
        let fences =
            if self.count == 0 { 0 } else { self.count.div_ceil(Self::STRIDE).saturating_add(1) };
        (0..fences).try_for_each(|at| self.fence(at).map(drop))
    }

    /// A row near to which `key` is, without a look at more of the file than
    /// fences that were never met.
    pub(crate) fn guess(&self, key: &R::Key) -> Result<usize> {
        let rank = R::rank(key);
        let before = self.fences_before(rank, |_| Ok(false))?.saturating_sub(1);
        let ((low, high), ranks) = self.between_fences(before)?;
        Ok(interpolate(low, high, ranks.0, ranks.1, rank))
    }

    /// Has the processor fetch a row and those beside it.
    #[inline]
    pub(crate) fn prefetch(&self, row: usize) {
        let last = self.count.saturating_sub(1);
        for row in [row.saturating_sub(Self::LINE), row, row.saturating_add(Self::LINE)] {
            if let Ok(row) = self.row(row.min(last)) {
                prefetch(row);
            }
        }
    }

    /// The number of fences that are less: by their ranks, and where these are
    /// the same, as `tie` says.
    fn fences_before(&self, rank: u64, tie: impl Fn(usize) -> Result<bool>) -> Result<usize> {
        let count = self.count.div_ceil(Self::STRIDE);
        search((0, count), (self.fence(0)?, self.fence(count)?), rank, |at| {
            let found = self.fence(at)?;
            Ok((found, found < rank || (found == rank && tie(at)?)))
        })
    }

    /// The rows from a fence to the next, and the ranks of both.
    fn between_fences(&self, at: usize) -> Result<((usize, usize), (u64, u64))> {
        let next = at.saturating_add(1);
        let row = |fence: usize| fence.saturating_mul(Self::STRIDE).min(self.count);
        Ok(((row(at), row(next)), (self.fence(at)?, self.fence(next)?)))
    }

    /// The rank of the first row of a block, or after the blocks of the last.
    fn fence(&self, at: usize) -> Result<u64> {
        let fences = self.fences.get_or_init(|| {
            // Zeros that nobody wrote take no memory. Without any, rows are looked
            // at instead.
            let fences = self.count.div_ceil(Self::STRIDE).saturating_add(1);
            bytemuck::allocation::try_zeroed_slice_box(fences).unwrap_or_default()
        });
        let known = fences.get(at);
        if let Some(rank) = known.map(|rank| rank.load(Ordering::Relaxed)).filter(|r| *r > 0) {
            return Ok(rank);
        }
        let row = at.saturating_mul(Self::STRIDE).min(self.count.saturating_sub(1));
        let rank = R::rank(&self.row(row)?.key());
        if let Some(known) = known {
            known.store(rank, Ordering::Relaxed);
        }
        Ok(rank)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "small numbers")]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Whatever the keys are spread like, and whatever the ranks say that steer:
    /// the place is that of a search by halves, and few rows are looked at.
    #[test]
    fn searches_end_where_halving_does() {
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = |what, n: u64| match what {
            "evenly spread" => n << 40,
            "all the same" => 7,
            "cubes" => n * n * n,
            "dense, then far apart" if n > 900 => n << 50,
            "powers" => 1 << (n / 16),
            _ => n,
        };
        for what in ["evenly spread", "all the same", "cubes", "dense, then far apart", "powers"] {
            for len in [0, 1, 2, 5, 128, 1_000_u64] {
                let keys: Vec<u64> = (0..len).map(|n| key(what, n)).collect();
                assert!(keys.is_sorted(), "{what}");
                let ends = (keys.first().copied().unwrap_or(0), keys.last().copied().unwrap_or(0));
                let wanted = keys.iter().flat_map(|key| [*key, key.wrapping_add(1)]);
                let wanted = wanted.chain([0, 1, u64::MAX]).chain((0..50).map(spread));
                for wanted in wanted {
                    let expected = keys.partition_point(|key| *key < wanted);
                    for ranks in [ends, (0, u64::MAX), (5, 5), (9, 3)] {
                        let looks = Cell::new(0);
                        let found = search((0, keys.len()), ranks, wanted, |at| {
                            looks.set(looks.get() + 1);
                            let found = *keys.get(at).unwrap();
                            Ok((found, found < wanted))
                        });
                        assert_eq!(found.unwrap(), expected, "{what} {len} {wanted} {ranks:?}");
                        // Guesses, growing steps, and halves of what those left.
                        assert!(looks.get() <= 4 + 10 + 10, "{what} {len}: {}", looks.get());
                    }
                }
            }
        }
    }
}
