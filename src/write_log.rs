//! The bounded queue between writers and the reconciler, and the tickets that
//! bring back the answers.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    error::{Error, Result},
    format::wal::Payload,
    model::{Durability, Op, Seq, Timestamp},
    os::Clock,
    sync::{
        Condvar, Mutex, MutexGuard, SegQueue,
        atomic::{AtomicUsize, Ordering, fence},
    },
};

#[cfg(all(test, loom))]
mod models;

/// The answer to a batch that is under way.
///
/// Wait for it with [`wait`](Self::wait), or await it: it is a [`Future`] that
/// needs no particular runtime. Dropping it does not call the batch back.
#[derive(Debug)]
#[must_use = "a batch is acknowledged by its ticket"]
pub struct Ticket {
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    state: Mutex<SlotState>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct SlotState {
    answer: Option<Result<Seq>>,
    /// Somebody sleeps until it is there.
    awaited: bool,
    waker: Option<Waker>,
}

/// A lock whose data is whole at every step: a panic elsewhere in the thread
/// that held it does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// Gives the answer, and the waker to be called for it.
    fn complete(&self, answer: Result<Seq>) -> Option<Waker> {
        let mut state = lock(&self.state);
        if state.answer.is_some() {
            return None;
        }
        state.answer = Some(answer);
        let waker = state.waker.take();
        if state.awaited {
            drop(state);
            self.done.notify_all();
        }
        waker
    }
}

/// Calls wakers, which may do anything: take their time, write, panic.
pub(crate) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        // A waker that panics is its owner's to mend; those that follow are
        // owed to others.
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

impl Ticket {
    /// Blocks until the batch is as durable as it asked to be and visible to
    /// snapshots, or has failed.
    ///
    /// # Errors
    /// `Conflict` if a precondition did not hold; `Poisoned` if the log failed.
    pub fn wait(self) -> Result<Seq> {
        let mut state = lock(&self.slot.state);
        loop {
            if let Some(answer) = state.answer.take() {
                return answer;
            }
            state.awaited = true;
            state = self.slot.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether the answer is there, so that [`wait`](Self::wait) will not block.
    #[must_use]
    pub fn is_done(&self) -> bool {
        lock(&self.slot.state).answer.is_some()
    }
}

impl Future for Ticket {
    type Output = Result<Seq>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.slot.state);
        if let Some(answer) = &state.answer {
            // Kept, so that a second poll gets the same answer.
            return Poll::Ready(answer.clone());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A batch on its way: checked, encoded, not yet decided.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) time: Timestamp,
    pub(crate) ops: Vec<Op>,
    pub(crate) payload: Payload,
    pub(crate) durability: Durability,
    weight: usize,
    /// Until the answer is given.
    slot: Option<Arc<Slot>>,
}

impl Pending {
    pub(crate) fn new(
        time: Timestamp,
        ops: Vec<Op>,
        payload: Payload,
        durability: Durability,
    ) -> (Self, Ticket) {
        let slot = Arc::new(Slot::default());
        let ticket = Ticket { slot: Arc::clone(&slot) };
        let memory = ops.iter().map(Op::memory).fold(0, usize::saturating_add);
        let weight = payload.weight().saturating_add(memory);
        (Self { time, ops, payload, durability, weight, slot: Some(slot) }, ticket)
    }

    /// Gives the answer. The waker, if any, is the caller's to [`wake`].
    #[must_use]
    pub(crate) fn answer(mut self, answer: Result<Seq>) -> Option<Waker> {
        self.slot.take().and_then(|slot| slot.complete(answer))
    }

    /// Bytes that the batch holds while it waits.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }
}

impl Drop for Pending {
    /// A batch that is dropped without an answer met a panic on its way.
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let error = Error::invalid("batch: it was dropped by a panic");
            wake(slot.complete(Err(error.poisons())));
        }
    }
}

/// The queue, bounded in batches and bytes by reservations that are made
/// before a push. Pushing and popping are lock-free; the lock is for writers
/// that wait because it is full.
///
/// A queue that is bounded by itself would take all its memory, and the time
/// to write to it, when the engine is opened.
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
        let by_bytes =
            self.capacity().saturating_mul(self.bytes() / 1024) / (self.max_bytes / 1024).max(1);
        self.len().max(by_bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Queues a batch, waiting for space for up to `patience`. A batch that
    /// finds none is not queued, and has no sequence number.
    ///
    /// `nudge` is called before each wait, to see that somebody is making
    /// space.
    pub(crate) fn push(
        &self,
        mut pending: Pending,
        patience: Duration,
        clock: &dyn Clock,
        nudge: impl Fn(),
    ) -> Result<()> {
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
                // Its ticket was handed to nobody yet.
                drop(pending.answer(Err(error.clone())));
                return Err(error);
            };
            nudge();
            let guard = lock(&self.space);
            self.held.fetch_add(1, Ordering::Relaxed);
            // Pairs with the fence in `pop`: either the popper sees that
            // somebody is held, or this sees the space that it made.
            fence(Ordering::SeqCst);
            if !self.has_space(&pending) {
                drop(self.freed.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner));
            }
            self.held.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn has_space(&self, pending: &Pending) -> bool {
        self.batches.load(Ordering::Relaxed) < self.max_batches
            && self.bytes.load(Ordering::Relaxed).saturating_add(pending.weight()) <= self.max_bytes
    }

    fn try_push(&self, pending: Pending) -> Result<(), Pending> {
        let weight = pending.weight();
        // Relaxed: the counts bound memory and order nothing; the queue hands
        // over the batch itself.
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
            // writer's look at the queue and its wait.
            drop(lock(&self.space));
            self.freed.notify_all();
        }
    }
}
