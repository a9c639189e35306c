//! The engine's maintenance thread: when it runs, and when it stops.

use std::{cell::Cell, sync::PoisonError, time::Duration};

use crate::{
    checkpoint::Checkpointer,
    engine::{building, prune::Pruner},
    model::error::{Error, Result},
    os::{clock::Clock, process::Owner},
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
        thread,
    },
    write::reconciler::Reconciler,
};

/// Requests to the maintenance thread, and its body.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceWorker {
    pub(super) wanted: AtomicBool,
    stopped: AtomicBool,
    /// A lock, so that the thread sees requests from before it was started: either
    /// the thread has stored its handle and is unparked, or the requester had the
    /// lock first, and the thread then sees its flag.
    thread: Mutex<Option<thread::Thread>>,
    /// For the pause after a failure.
    pause: Mutex<()>,
    stop: Condvar,
}

impl MaintenanceWorker {
    pub(crate) fn request(&self) {
        // Only the first of several requests wakes the thread. It resets the flag
        // before it checks what is due, so that no request is missed.
        if !self.wanted.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Requests a turn of the thread for something that can wait for the next one:
    /// for readers, which wait for no lock.
    pub(crate) fn hint(&self) {
        if let Ok(thread) = self.thread.try_lock()
            && let Some(thread) = &*thread
            && !self.wanted.swap(true, Ordering::AcqRel)
        {
            thread.unpark();
        }
    }

    fn wake(&self) {
        if let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.unpark();
        }
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
        // Locked and unlocked, so that the signal does not fall between the
        // thread's check of the flag and its wait.
        drop(self.pause.lock().unwrap_or_else(PoisonError::into_inner));
        self.stop.notify_all();
    }

    /// Builds an index a step further. Returns whether there is more to do.
    fn build_step(&self, reconciler: &Reconciler, clock: &dyn Clock, owner: Owner) -> Result<bool> {
        /// As long as writers make room. It is this thread that makes checkpoints.
        const PATIENCE: Duration = Duration::from_millis(10);
        let state = reconciler.state();
        let Some(name) = state.indexes().unfinished() else { return Ok(false) };
        match building::step(reconciler, name, clock.now(), PATIENCE, owner) {
            Err(error) if error.is_retryable() => Ok(true),
            // Nothing can be written any more.
            Err(Error::Closed | Error::Poisoned { .. }) => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// The body of the thread.
    pub(crate) fn work(
        &self,
        reconciler: &Reconciler,
        checkpointer: &Checkpointer,
        pruner: &Pruner,
        clock: &dyn Clock,
        owner: Owner,
    ) {
        /// Between a failure and the next try; doubled each time.
        const LEAST_PAUSE: Duration = Duration::from_millis(50);
        const MOST_PAUSE: Duration = Duration::from_secs(30);
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        let mut pause = LEAST_PAUSE;
        // When to try again to build the indexes that failed. It is a time of the
        // clock, so that requests, which any search may make, neither hasten nor
        // delay it. Unlike after a failed checkpoint, other requests are served
        // meanwhile.
        let (mut again, mut last) = (None::<Duration>, LEAST_PAUSE);
        while !self.stopped.load(Ordering::Acquire) {
            let left = again.map(|at| at.saturating_sub(clock.monotonic()));
            let tried = left.is_some_and(|left| left.is_zero());
            let prune = pruner.left();
            let due = prune.is_some_and(|left| left.is_zero());
            if due {
                pruner.step();
            }
            if !self.wanted.swap(false, Ordering::AcqRel) && !tried {
                match [left, prune].into_iter().flatten().min() {
                    _ if due => {}
                    Some(left) => thread::park_timeout(left),
                    None => thread::park(),
                }
                continue;
            }
            if tried {
                checkpointer.try_again();
                again = None;
            }
            reconciler.note_dead();
            let due = reconciler.checkpoint_due() || reconciler.is_full();
            // The failure is in the stats, and the work is tried again.
            let interrupted = Cell::new(false);
            let run = checkpointer.run_until(&self.stopped, due, &|| {
                interrupted.set(interrupted.get() || pruner.is_due());
                interrupted.get()
            });
            if interrupted.get() {
                self.wanted.store(true, Ordering::Release);
            }
            let run = run.and_then(|left| {
                if self.build_step(reconciler, clock, owner)? {
                    self.wanted.store(true, Ordering::Release);
                }
                Ok(left)
            });
            if !run.as_ref().is_ok_and(|left| *left) {
                (again, last) = (None, LEAST_PAUSE);
            } else if again.is_none() {
                again = Some(clock.monotonic().saturating_add(last));
                last = last.saturating_mul(2).min(MOST_PAUSE);
            }
            if run.is_err() {
                let guard = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
                let stopped = |(): &mut ()| !self.stopped.load(Ordering::Acquire);
                let waited = self.stop.wait_timeout_while(guard, pause, stopped);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
                pause = pause.saturating_mul(2).min(MOST_PAUSE);
                self.wanted.store(true, Ordering::Release);
            } else {
                pause = LEAST_PAUSE;
            }
        }
    }
}
