//! The turns of transactions that are tried again: one at a time, in the order in
//! which they came. Others go on, unless that does not suffice.

use std::{cell::Cell, collections::VecDeque, sync::PoisonError, time::Duration};

use crate::{
    os::clock::Clock,
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// Who has the turn, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    queue: Mutex<Queue>,
    moved: Condvar,
    /// Whether those who begin should wait as well.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    /// Numbers of those who wait. The first has the turn.
    waiting: VecDeque<u64>,
    next: u64,
    /// Counts those who left.
    left: u64,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'t> {
    turns: &'t Turns,
    number: u64,
    closed: Cell<bool>,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether who has the turn asked that others wait for it before they begin.
    pub(crate) fn are_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Waits for the turn, but not longer than `patience`: who has it may be waiting
    /// for the caller. `None` if the wait was in vain.
    pub(crate) fn take(&self, clock: &dyn Clock, patience: Duration) -> Option<Turn<'_>> {
        let start = clock.monotonic();
        let mut queue = self.lock();
        let number = queue.next;
        queue.next = number.wrapping_add(1);
        queue.waiting.push_back(number);
        // Leaves the queue when it is dropped, also without having had the turn.
        let turn = Turn { turns: self, number, closed: Cell::new(false) };
        while queue.waiting.front() != Some(&number) {
            let left = patience.saturating_sub(clock.monotonic().saturating_sub(start));
            let left_before = queue.left;
            let waited = self.moved.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            // Nobody left: the time is over, whatever the clock says. A wake-up without
            // a reason ends the wait too, which does no harm.
            if queue.left == left_before {
                drop(queue);
                return None;
            }
        }
        drop(queue);
        Some(turn)
    }
}

impl Turn<'_> {
    /// Asks that others wait before they begin, until this turn is over.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.turns.closed.store(true, Ordering::Relaxed);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.closed.get() {
            self.turns.closed.store(false, Ordering::Relaxed);
        }
        let mut queue = self.turns.lock();
        queue.waiting.retain(|number| *number != self.number);
        queue.left = queue.left.wrapping_add(1);
        drop(queue);
        self.turns.moved.notify_all();
    }
}
