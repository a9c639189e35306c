//! How many files are mapped at once, and how many may be.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// How many files of a file system are mapped at the moment, and how many may
/// be: see [`Fs::mappings`](crate::os::Fs::mappings).
///
/// ```
/// use ingrain::os::{Fs, RealFs};
///
/// let mappings = RealFs.mappings().unwrap();
/// assert!(mappings.now < mappings.most);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mappings {
    /// Files that are mapped now. One that is mapped twice counts twice.
    pub now: usize,
    /// The most that may be mapped at once.
    pub most: usize,
}

/// Counts mappings. A clone counts the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct MapCounter(Arc<AtomicUsize>);

impl MapCounter {
    pub(crate) fn now(&self) -> usize {
        // Relaxed here and below: a number that bounds something, and hands over
        // nothing.
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one more, until what it returns is dropped.
    ///
    /// # Errors
    /// `OutOfMemory` if there are `most` already.
    pub(crate) fn count(&self, most: usize) -> io::Result<Counted> {
        let counted = Counted(Arc::clone(&self.0));
        if self.0.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(counted);
        }
        Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("{most} files are mapped, and no more may be"),
        ))
    }
}

/// A mapping that is counted.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_most_are_counted_at_once() {
        let counter = MapCounter::default();
        let (first, second) = (counter.count(2).unwrap(), counter.count(2).unwrap());
        assert_eq!(counter.count(2).unwrap_err().kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(counter.now(), 2);
        drop(first);
        assert_eq!(counter.now(), 1);
        let third = counter.count(2).unwrap();
        drop((second, third));
        assert_eq!(counter.now(), 0);
    }
}
