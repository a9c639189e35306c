//! The reconciler's thread, which sleeps until it is woken.

use std::{sync::PoisonError, time::Duration};

use crate::sync::{
    Mutex,
    atomic::{AtomicU8, Ordering, fence},
    thread,
};

/// The reconciler's thread and its state.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    handle: Mutex<Option<thread::Thread>>,
    state: AtomicU8,
}

const BUSY: u8 = 0;

/// Asleep until it is woken.
const IDLE: u8 = 1;

/// Asleep for an interval, while batches gather.
const GATHERING: u8 = 2;

/// Calling wakers, which may take long.
const WAKING: u8 = 3;

const STOPPED: u8 = 4;

impl Worker {
    /// Called by the thread itself, before anything else.
    pub(crate) fn start(&self) {
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
    }

    /// Wakes the thread if it sleeps; while it lets batches gather, only if
    /// `urgent`. Returns false if it is calling wakers, and so may not take
    /// what is queued.
    pub(crate) fn call(&self, urgent: impl FnOnce() -> bool) -> bool {
        // Pairs with the fence in `sleep`: either the thread sees what was
        // queued before this call, or this call sees that it sleeps.
        fence(Ordering::SeqCst);
        match self.state.load(Ordering::Relaxed) {
            IDLE => {}
            GATHERING if urgent() => {}
            WAKING => return false,
            _ => return true,
        }
        // Only one of many callers need wake it.
        let woken = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |state| {
                matches!(state, IDLE | GATHERING).then_some(BUSY)
            })
            .is_ok();
        if woken {
            self.unpark();
        }
        true
    }

    /// Called by the thread itself, before and after it calls wakers.
    pub(crate) fn waking(&self, waking: bool) {
        let (from, to) = if waking { (BUSY, WAKING) } else { (WAKING, BUSY) };
        // A stopped thread stays stopped.
        let _ = self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        // Pairs with the fence in `call`: what was queued before a caller could
        // see the change is seen by the check of the queue that follows.
        fence(Ordering::SeqCst);
    }

    pub(crate) fn stop(&self) {
        self.state.swap(STOPPED, Ordering::AcqRel);
        self.unpark();
    }

    fn unpark(&self) {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = &*handle {
            thread.unpark();
        }
    }

    /// Sleeps until woken; with something queued, at most for `wait`. Returns
    /// false once stopped.
    pub(crate) fn sleep(&self, wait: Duration, nothing_queued: impl Fn() -> bool) -> bool {
        let state = if wait.is_zero() || nothing_queued() { IDLE } else { GATHERING };
        let slept = self.state.compare_exchange(BUSY, state, Ordering::AcqRel, Ordering::Acquire);
        if slept == Err(STOPPED) {
            return false;
        }
        fence(Ordering::SeqCst);
        match state {
            GATHERING => thread::park_timeout(wait),
            _ => {
                while nothing_queued() && self.state.load(Ordering::Acquire) == IDLE {
                    thread::park();
                }
            }
        }
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
                (state != STOPPED).then_some(BUSY)
            })
            .is_ok()
    }
}
