//! The engine's second thread: when it is asked, and when it stops.

use std::{sync::PoisonError, time::Duration};

use crate::{
    checkpoint::Checkpointer,
    os::clock::Clock,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
        thread,
    },
    write::reconciler::Reconciler,
};

/// Asks the second thread for a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct MaintenanceWorker {
    pub(super) wanted: AtomicBool,
    stopped: AtomicBool,
    /// A lock, so that the thread hears of whoever came before it: one of the two
    /// has the lock first, and the other sees what it left.
    thread: Mutex<Option<thread::Thread>>,
    /// For the pause after a failure.
    pause: Mutex<()>,
    stop: Condvar,
}

impl MaintenanceWorker {
    pub(crate) fn ask(&self) {
        // Only the first of many who ask need wake it. It takes the wish back
        // before it looks whether a checkpoint is due, so that none is missed.
        if !self.wanted.swap(true, Ordering::AcqRel) {
            self.wake();
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
        // Taken and dropped, so that the signal does not fall between the
        // thread's look at the flag and its wait.
        drop(self.pause.lock().unwrap_or_else(PoisonError::into_inner));
        self.stop.notify_all();
    }

    /// The body of the thread.
    pub(crate) fn work(
        &self,
        reconciler: &Reconciler,
        checkpointer: &Checkpointer,
        clock: &dyn Clock,
    ) {
        /// Between a failure and the next try: doubled each time.
        const LEAST_PAUSE: Duration = Duration::from_millis(50);
        const MOST_PAUSE: Duration = Duration::from_secs(30);
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        let mut pause = LEAST_PAUSE;
        // When to try again what could not be derived, by the clock: every search
        // may ask for it, which neither hastens it nor puts it off. Unlike a
        // checkpoint that failed, it holds up nothing that is asked for meanwhile.
        let (mut again, mut last) = (None::<Duration>, LEAST_PAUSE);
        while !self.stopped.load(Ordering::Acquire) {
            let left = again.map(|at| at.saturating_sub(clock.monotonic()));
            let tried = left.is_some_and(|left| left.is_zero());
            if !self.wanted.swap(false, Ordering::AcqRel) && !tried {
                match left {
                    Some(left) => thread::park_timeout(left),
                    None => thread::park(),
                }
                continue;
            }
            if tried {
                checkpointer.try_again();
                again = None;
            }
            let due = reconciler.checkpoint_due() || reconciler.is_full();
            // The failure is in the stats; what it left behind is tried again.
            let run = checkpointer.run_until(&self.stopped, due);
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
