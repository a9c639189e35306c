//! The bounded queue between writers and the reconciler.

#[cfg(all(test, loom))]
#[path = "write_log_models.rs"]
mod models;

use std::{sync::PoisonError, time::Duration};

use crate::{
    model::error::{Error, Result},
    os::clock::Clock,
    sync::{
        Condvar, Mutex, SegQueue,
        atomic::{AtomicUsize, Ordering, fence},
    },
    write::ticket::{Pending, Refused, lock},
};

/// The queue, bounded in batches and bytes by reservations that are made before
/// a push. Pushing and popping are lock-free; the lock is for writers that wait
/// because it is full.
///
/// A queue with a fixed capacity would allocate and write all its memory when
/// the engine is opened.
#[derive(Debug)]
pub(crate) struct WriteLog {
    queue: SegQueue<Pending>,
    batches: AtomicUsize,
    max_batches: usize,
    bytes: AtomicUsize,
    max_bytes: usize,
    /// Writers that wait for space.
    held: AtomicUsize,
    space: Mutex<()>,
    freed: Condvar,
}

impl WriteLog {
    pub(crate) fn new(max_batches: usize, max_bytes: usize) -> Self {
        Self {
            queue: SegQueue::new(),
            batches: AtomicUsize::new(0),
            max_batches,
            bytes: AtomicUsize::new(0),
            max_bytes,
            held: AtomicUsize::new(0),
            space: Mutex::new(()),
            freed: Condvar::new(),
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.max_batches
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// How full the log is, by batches or by bytes, in batches.
    pub(crate) fn pressure(&self) -> usize {
        let by_bytes = self.capacity() * (self.bytes() / 1024) / (self.max_bytes / 1024).max(1);
        self.len().max(by_bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Queues a batch, waiting up to `patience` for space. A batch that finds
    /// no space is returned, and has no sequence number.
    ///
    /// `nudge` is called before each wait, to make sure that a thread is making
    /// space.
    pub(crate) fn push(
        &self,
        mut pending: Pending,
        patience: Duration,
        clock: &dyn Clock,
        nudge: impl Fn(),
    ) -> Result<(), Refused> {
        let start = clock.monotonic();
        loop {
            match self.try_push(pending) {
                Ok(()) => return Ok(()),
                Err(back) => pending = back,
            }
            let waited = clock.monotonic().saturating_sub(start);
            let Some(left) = patience.checked_sub(waited).filter(|left| !left.is_zero()) else {
                let error = Error::Backpressure {
                    waited_ms: waited.as_millis().try_into().unwrap_or(u64::MAX),
                    queued: self.len(),
                    bytes: self.bytes(),
                    delta: 0,
                };
                return Err(Refused::new(error, pending));
            };
            nudge();
            let guard = lock(&self.space);
            self.held.fetch_add(1, Ordering::Relaxed);
            // Pairs with the fence in `release`: either the popper sees that a
            // writer is held, or this thread sees the space that it made.
            fence(Ordering::SeqCst);
            if !self.has_space(&pending) {
                drop(self.freed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner));
            }
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn has_space(&self, pending: &Pending) -> bool {
        self.batches.load(Ordering::Relaxed) < self.max_batches
            && self.bytes.load(Ordering::Relaxed) + pending.weight() <= self.max_bytes
    }

    #[allow(clippy::result_large_err, reason = "not an error: the batch, to be tried again")]
    fn try_push(&self, pending: Pending) -> Result<(), Pending> {
        let weight = pending.weight();
        // Relaxed: the counts bound memory and order nothing; the queue
        // synchronises the batch itself.
        let reserve = |count: &AtomicUsize, more: usize, most: usize| {
            let reserved = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                count.checked_add(more).filter(|count| *count <= most)
            });
            reserved.is_ok()
        };
        if !reserve(&self.batches, 1, self.max_batches) {
            return Err(pending);
        }
        if !reserve(&self.bytes, weight, self.max_bytes) {
            self.batches.fetch_sub(1, Ordering::Relaxed);
            return Err(pending);
        }
        self.queue.push(pending);
        Ok(())
    }

    /// Takes the oldest batch.
    pub(crate) fn pop(&self) -> Option<Pending> {
        let pending = self.queue.pop()?;
        self.release(pending.weight());
        Some(pending)
    }

    fn release(&self, weight: usize) {
        self.batches.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(weight, Ordering::Relaxed);
        // Pairs with the fence in `push`.
        fence(Ordering::SeqCst);
        if self.held.load(Ordering::Relaxed) > 0 {
            // Taken and dropped, so that the signal does not fall between a
            // writer's check of the queue and its wait.
            drop(lock(&self.space));
            self.freed.notify_all();
        }
    }
}
