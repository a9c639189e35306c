//! Limits on what gathers between checkpoints, and the writers that they hold.

use std::{sync::PoisonError, time::Duration};

use crate::{
    state::State,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Limits on what gathers between checkpoints, and how much has.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(super) delta: usize,
    pub(super) vectors: usize,
    pub(super) wal: u64,
    /// Bytes of the layers. Relaxed: it bounds memory and orders nothing.
    pub(super) layers: AtomicUsize,
    /// Bytes of a layer that the base includes by now, until it is freed.
    pub(super) leaving: AtomicUsize,
    /// Bytes of the active layer.
    pub(super) active: AtomicUsize,
    /// Bytes of the active layer from which on a checkpoint is due.
    pub(super) due: AtomicUsize,
    /// Vectors of the active layer.
    pub(super) active_vectors: AtomicUsize,
    /// The lock of writers that wait for a checkpoint.
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
        // writer's check of the budget and its wait.
        drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.opened.notify_all();
    }
}

/// Bytes of the active layer from which on a checkpoint is due.
///
/// A checkpoint rewrites the tables, and writes the contents, about half of a
/// layer, once. It pays when both are as many bytes. While the tables
/// are small it comes sooner, and leaves less of the log to replay after a
/// crash. Each checkpoint writes its vectors to a file of their own, and a
/// search reads all files, so vectors are gathered up to `delta / 2`.
pub(crate) fn due(delta: usize, state: &State) -> usize {
    let most = delta / 2;
    if state.active().vectors().is_empty() {
        (state.base().table_bytes() * 2).clamp(delta / 8, most)
    } else {
        most
    }
}

/// Writers are slowed from here on, in thousandths of the budget.
pub(crate) const SLOW_FROM: usize = 750;

/// The longest delay of a writer, when the budget is nearly used up.
pub(crate) const SLOWEST: Duration = Duration::from_millis(8);
