//! A list that one thread appends to while others read it.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use crate::num;

/// An append-only list whose values are never moved: they are in chunks of one
/// size, which are in directories, each twice as large as the one before.
pub(crate) struct Arena<T> {
    directories: [OnceLock<Directory<T>>; DIRECTORIES],
    len: AtomicU32,
}

type Directory<T> = Box<[OnceLock<Chunk<T>>]>;

type Chunk<T> = Box<[OnceLock<T>]>;

/// Values in a chunk, as a power of two.
const CHUNK_BITS: u32 = 7;

/// Chunks in the first directory, as a power of two.
const FIRST_BITS: u32 = 3;

/// Enough for 2^32 values.
pub(crate) const DIRECTORIES: usize = 23;

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { directories: [const { OnceLock::new() }; DIRECTORIES], len: AtomicU32::new(0) }
    }
}

/// The directory of a value, its chunk there, and its position in the chunk.
pub(crate) fn place(index: u32) -> (usize, usize, usize) {
    let chunk = (index >> CHUNK_BITS) + (1 << FIRST_BITS);
    let bits = chunk.ilog2();
    let directory = bits - FIRST_BITS;
    let within = chunk - (1 << bits);
    let at = index & ((1 << CHUNK_BITS) - 1);
    (num::index(directory), num::index(within), num::index(at))
}

fn empty<T>(bits: u32) -> Box<[OnceLock<T>]> {
    std::iter::repeat_with(OnceLock::new).take(1_usize << bits).collect()
}

impl<T> Arena<T> {
    /// Appends a value and returns its index. There is one writer. `None` when
    /// there are 2^32 values, which no budget of a delta allows.
    #[inline]
    pub(crate) fn push(&self, value: T) -> Option<u32> {
        // Relaxed: only this thread writes it.
        let index = self.len.load(Ordering::Relaxed);
        let (directory, chunk, at) = place(index);
        let bits = num::short(directory) + FIRST_BITS;
        let chunks = self.directories.get(directory)?.get_or_init(|| empty(bits));
        let values = chunks.get(chunk)?.get_or_init(|| empty(CHUNK_BITS));
        values.get(at)?.set(value).ok()?;
        // Release: a reader that sees the length sees the values. A reader that
        // got an index elsewhere sees the value by the release that published
        // the index.
        self.len.store(index.checked_add(1)?, Ordering::Release);
        Some(index)
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        let (directory, chunk, at) = place(index);
        self.directories.get(directory)?.get()?.get(chunk)?.get()?.get(at)?.get()
    }

    pub(crate) fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other_through_chunks_and_directories() {
        let mut expected = (0, 0, 0);
        for index in 0..if cfg!(miri) { 2_000 } else { 100_000 } {
            assert_eq!(place(index), expected);
            expected.2 += 1;
            if expected.2 == 128 {
                expected = (expected.0, expected.1 + 1, 0);
            }
            if expected.1 == 8 << expected.0 {
                expected = (expected.0 + 1, 0, 0);
            }
        }
        assert_eq!(place(u32::MAX), (DIRECTORIES - 1, 7, 127));
    }
}
