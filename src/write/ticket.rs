//! The handle of a submitted batch.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{
    format::wal::Payload,
    model::{
        batch::{Batch, Durability, Op},
        error::{Error, Result},
        time::{Seq, Timestamp},
    },
    os::process::Owner,
    read::footprint::Footprint,
    sync::{Condvar, Mutex, MutexGuard},
};

/// The handle of a submitted batch.
///
/// Wait for its answer with [`wait`](Self::wait), or await it: it is a
/// [`Future`] that needs no particular runtime. Dropping it does not cancel the
/// batch.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let tickets: Vec<Ticket> = (0..3)
///     .map(|_| engine.submit(Batch::new().put(Node::new(NodeId::new(), "note"))))
///     .collect::<Result<_, _>>()?;
/// for ticket in tickets {
///     ticket.wait()?; // durable and visible
/// }
/// assert_eq!(engine.snapshot().node_count(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a batch is acknowledged by its ticket"]
pub struct Ticket {
    slot: Arc<Slot>,
}

#[derive(Debug)]
struct Slot {
    /// Who answers. Another process must not wait: the mutex may be held by a
    /// thread that it does not have.
    owner: Owner,
    state: Mutex<SlotState>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct SlotState {
    answer: Option<Result<Seq>>,
    /// A thread sleeps until the answer is there.
    awaited: bool,
    waker: Option<Waker>,
}

/// Locks a mutex whose data is consistent at every step, so that a panic of a
/// thread that held it does not matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// Gives the answer, and returns the waker to be called for it.
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

/// Calls wakers, which may do anything: block, write, panic.
pub(crate) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        // A panic of a waker must not keep the others from being called.
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

impl Ticket {
    /// Blocks until the batch is as durable as it asked to be and visible to
    /// snapshots, or has failed.
    ///
    /// # Errors
    /// Those that [`Engine::write`](crate::Engine::write) returns when the batch's
    /// turn comes: `Conflict`, `Invalid`, `Limit`, `Corrupt`, `Poisoned`; and
    /// `Forked` in a process forked from that of the engine.
    pub fn wait(self) -> Result<Seq> {
        self.slot.owner.check()?;
        self.wait_here()
    }

    /// [`wait`](Self::wait) in the process of the engine.
    pub(super) fn wait_here(self) -> Result<Seq> {
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
        !self.slot.owner.is_here() || self.is_answered()
    }

    /// [`is_done`](Self::is_done) in the process of the engine.
    pub(super) fn is_answered(&self) -> bool {
        lock(&self.slot.state).answer.is_some()
    }
}

impl Future for Ticket {
    type Output = Result<Seq>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = self.slot.owner.check() {
            return Poll::Ready(Err(error));
        }
        let mut state = lock(&self.slot.state);
        if let Some(answer) = &state.answer {
            // Kept, so that a second poll gets the same answer.
            return Poll::Ready(answer.clone());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A batch that is validated and encoded, but not decided yet.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(super) time: Timestamp,
    pub(super) ops: Vec<Op>,
    pub(super) payload: Payload,
    pub(super) durability: Durability,
    /// What the transaction that made the batch read.
    pub(super) reads: Option<Box<Footprint>>,
    /// Whether the log has anything of it.
    pub(super) is_logged: bool,
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
        owner: Owner,
    ) -> (Self, Ticket) {
        let (state, done) = (Mutex::default(), Condvar::default());
        let slot = Arc::new(Slot { owner, state, done });
        let ticket = Ticket { slot: Arc::clone(&slot) };
        let memory = ops.iter().map(Op::memory).sum::<usize>();
        let weight = payload.weight() + memory;
        let (is_logged, slot) = (ops.is_empty() || ops.iter().any(Op::is_logged), Some(slot));
        let reads = None;
        (Self { time, ops, payload, durability, reads, is_logged, weight, slot }, ticket)
    }

    /// The batch of a transaction that read this.
    pub(crate) fn after(mut self, reads: Box<Footprint>) -> Self {
        self.weight += reads.memory();
        self.reads = Some(reads);
        self
    }

    /// The operations with their contents, as they were before encoding. The
    /// ticket must not have been handed out.
    fn into_ops(mut self) -> Vec<Op> {
        self.slot = None;
        let mut ops = std::mem::take(&mut self.ops);
        self.payload.give_back(&mut ops);
        ops
    }

    /// Gives the answer. The caller has to [`wake`] the waker, if any.
    #[must_use]
    pub(crate) fn answer(mut self, answer: Result<Seq>) -> Option<Waker> {
        self.slot.take().and_then(|slot| slot.complete(answer))
    }

    /// Bytes that the batch holds while it waits.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }
}

/// A batch that was not queued, and why.
#[derive(Debug)]
pub(crate) struct Refused {
    error: Error,
    pending: Box<Pending>,
}

impl Refused {
    pub(crate) fn new(error: Error, pending: Pending) -> Self {
        Self { error, pending: Box::new(pending) }
    }

    /// Puts the operations back into the batch that they came from.
    pub(crate) fn give_back(self, batch: &mut Batch) -> Error {
        batch.replace_ops(self.pending.into_ops());
        self.error
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

impl Drop for Pending {
    /// A batch is dropped without an answer only by a panic.
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let error = Error::internal("a panic dropped the batch");
            wake(slot.complete(Err(error.poisons())));
        }
    }
}
