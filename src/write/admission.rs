//! What may gather between checkpoints, and who waits for them.

use std::{sync::PoisonError, time::Duration};

use crate::{
    state::State,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// What may gather between checkpoints, and what has.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(super) delta: usize,
    pub(super) vectors: usize,
    pub(super) wal: u64,
    /// Bytes of the layers. Relaxed: it bounds memory and orders nothing.
    pub(super) layers: AtomicUsize,
    /// Bytes of a layer that the base has by now, until it is let go of.
    pub(super) leaving: AtomicUsize,
    /// Bytes of the active layer.
    pub(super) active: AtomicUsize,
    /// Bytes of the active layer from which on a checkpoint is due.
    pub(super) due: AtomicUsize,
    /// Vectors of the active layer.
    pub(super) active_vectors: AtomicUsize,
    /// Writers that wait for a checkpoint.
    pub(super) gate: Mutex<()>,
    pub(super) opened: Condvar,
}

impl Budget {
    /// How much of the budget is used, in thousandths.
    pub(crate) fn fill(&self) -> usize {
        self.bytes() * 1000 / self.delta.max(1)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.layers.load(Ordering::Relaxed) + self.leaving.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, state: &State) {
        self.layers.store(state.layer_bytes(), Ordering::Relaxed);
        self.active.store(state.active().bytes(), Ordering::Relaxed);
        self.due.store(due(self.delta, state), Ordering::Relaxed);
        self.active_vectors.store(state.active().vectors().len(), Ordering::Relaxed);
    }

    pub(crate) fn open(&self) {
        // Taken and dropped, so that the signal does not fall between a
        // writer's look at the budget and its wait.
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.opened.notify_all();
    }
}

/// Bytes of the active layer from which on a checkpoint is due.
///
/// A checkpoint writes the tables again and the contents, which are about half
/// of what a layer takes, once: it is worth it when there are as many bytes of
/// both. While the tables are small it comes sooner, and leaves less of the log
/// to an opening after a crash. Each makes a file of its vectors, which searches
/// look into one by one: these are gathered.
pub(crate) fn due(delta: usize, state: &State) -> usize {
    let most = delta / 2;
    if state.active().vectors().is_empty() {
        (state.base().table_bytes() * 2).clamp(delta / 8, most)
    } else {
        most
    }
}

/// From here on, in thousandths of the budget, writers are slowed.
pub(crate) const SLOW_FROM: usize = 750;

/// The longest that a writer is slowed when the budget is nearly used up.
pub(crate) const SLOWEST: Duration = Duration::from_millis(8);
