//! A table of sorted rows.

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
    num,
    store::segment::{
        file::Segment,
        search::{interpolate, search},
    },
};

/// The rows of one section of a file.
#[derive(Debug)]
pub(crate) struct Table<R> {
    segment: Arc<Segment>,
    at: usize,
    count: usize,
    /// The fences: the rank of every [`STRIDE`](Self::STRIDE)th row and of the
    /// last one. Each is set when it is first needed or by
    /// [`fill_fences`](Self::fill_fences), and 0 before. With them, a search
    /// reads one block of the file.
    ///
    /// All accesses are relaxed: fences describe bytes that never change, and
    /// no other memory depends on them.
    fences: OnceLock<Box<[AtomicU64]>>,
    rows: PhantomData<fn() -> R>,
}

impl<R: Pod> Table<R> {
    pub(crate) fn open(segment: &Arc<Segment>, tag: u32) -> Result<Self> {
        let section = segment.section(tag, size_of::<R>())?;
        let (at, count) = (num::size(section.offset), num::size(section.rows()));
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

    /// Total bytes of the rows.
    pub(crate) fn bytes(&self) -> u64 {
        num::wide(self.count.saturating_mul(size_of::<R>()))
    }

    /// The offset of a row in the file.
    pub(crate) fn offset(&self, row: usize) -> usize {
        self.at.saturating_add(row.saturating_mul(size_of::<R>()))
    }

    /// The bytes of all rows. Blocks are checked if they were not before.
    pub(crate) fn bytes_of_all(&self) -> Result<&[u8]> {
        self.segment.bytes(self.at, self.count.saturating_mul(size_of::<R>()))
    }

    #[inline]
    pub(crate) fn row(&self, row: usize) -> Result<&R> {
        let at = self.offset(row);
        if row >= self.count {
            return Err(self.segment.damaged(at, format!("row {row} does not exist")));
        }
        let bytes = self.segment.bytes(at, size_of::<R>())?;
        // Rows have no alignment and any bytes are a valid row, so this does
        // not fail.
        bytemuck::try_from_bytes(bytes)
            .map_err(|error| self.segment.damaged(at, format!("row {row}: {error}")))
    }
}

impl<R: Pod> Table<R> {
    /// Rows from one fence to the next: a fence takes 8 bytes of memory for
    /// about 1,024 bytes of the file.
    const STRIDE: usize = if size_of::<R>() < 1_024 { 1_024 / size_of::<R>() } else { 1 };
    /// Rows in a cache line of 64 bytes.
    const LINE: usize = if size_of::<R>() < 64 { 64 / size_of::<R>() } else { 1 };
}

impl<R: SortedRow> Table<R> {
    /// The number of the first row whose key is not less than `key`.
    ///
    /// Ids are distributed evenly if they are hashes, and nearly so if they are
    /// times, so interpolation lands close. It is done among the fences, which
    /// are in memory after their first use, and then among the rows between two
    /// fences. If the ids are distributed otherwise, the search continues by
    /// binary search.
    pub(crate) fn lower_bound(&self, key: &R::Key) -> Result<usize> {
        let Some(last) = self.count.checked_sub(1) else { return Ok(0) };
        let rank = R::rank(key);
        let block = self.fences_before(rank, |at| {
            Ok(self.row(at.saturating_mul(Self::STRIDE).min(last))?.key() < *key)
        })?;
        let Some(before) = block.checked_sub(1) else { return Ok(0) };
        // The row at this fence is less than the key, and the row at the next
        // fence is not.
        let ((first, high), ranks) = self.between_fences(before)?;
        let low = first.saturating_add(1);
        if high > low {
            // The neighbouring cache lines are fetched together with that of
            // the guess, not after it.
            let guess = interpolate(low, high, ranks.0, ranks.1, rank);
            self.prefetch(guess);
        }
        search((low, high), ranks, rank, |row| {
            let found = self.row(row)?.key();
            Ok((R::rank(&found), found < *key))
        })
    }

    /// Computes all fences. Reads every block of the section, if rows are
    /// small.
    pub(crate) fn fill_fences(&self) -> Result<()> {
        let fences =
            if self.count == 0 { 0 } else { self.count.div_ceil(Self::STRIDE).saturating_add(1) };
        (0..fences).try_for_each(|at| self.fence(at).map(drop))
    }

    /// An estimate of the row of `key`. Reads nothing of the file except for
    /// fences that are not known yet.
    pub(crate) fn guess(&self, key: &R::Key) -> Result<usize> {
        let rank = R::rank(key);
        let before = self.fences_before(rank, |_| Ok(false))?.saturating_sub(1);
        let ((low, high), ranks) = self.between_fences(before)?;
        Ok(interpolate(low, high, ranks.0, ranks.1, rank))
    }

    /// Prefetches the cache lines of a row and those beside it.
    #[inline]
    pub(crate) fn prefetch(&self, row: usize) {
        let last = self.count.saturating_sub(1);
        for row in [row.saturating_sub(Self::LINE), row, row.saturating_add(Self::LINE)] {
            if let Ok(row) = self.row(row.min(last)) {
                prefetch(row);
            }
        }
    }

    /// The number of fences that are less than the key: by their ranks, and if
    /// these are equal, according to `tie`.
    fn fences_before(&self, rank: u64, tie: impl Fn(usize) -> Result<bool>) -> Result<usize> {
        let count = self.count.div_ceil(Self::STRIDE);
        search((0, count), (self.fence(0)?, self.fence(count)?), rank, |at| {
            let found = self.fence(at)?;
            Ok((found, found < rank || (found == rank && tie(at)?)))
        })
    }

    /// The rows from fence `at` to the next one, and the ranks of both.
    fn between_fences(&self, at: usize) -> Result<((usize, usize), (u64, u64))> {
        let next = at.saturating_add(1);
        let row = |fence: usize| fence.saturating_mul(Self::STRIDE).min(self.count);
        Ok(((row(at), row(next)), (self.fence(at)?, self.fence(next)?)))
    }

    /// The rank of the row at fence `at`; that of the last row for the fence
    /// after the last.
    fn fence(&self, at: usize) -> Result<u64> {
        let fences = self.fences.get_or_init(|| {
            // Zeroed pages take no memory until they are written. If the
            // allocation fails, the rows are read instead.
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

    /// For any distribution of the keys, and any ranks, the result is that of a
    /// binary search, and few rows are read.
    #[test]
    fn searches_agree_with_a_binary_search() {
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
                        // Guesses, galloping, and binary search in the rest.
                        assert!(looks.get() <= 4 + 10 + 10, "{what} {len}: {}", looks.get());
                    }
                }
            }
        }
    }
}
