//! What threads meet at: the locks, atomics, threads, queue and swap of the
//! machine; in a build with `--cfg loom` or `--cfg shuttle` those of a model
//! checker, which tries the orders that threads could run in.
//!
//! What hands something from one thread to another, or holds one up, takes its
//! types from here. docs/testing.md says what is explored.

#[cfg(any(loom, shuttle))]
pub(crate) mod models;

#[cfg(any(loom, shuttle))]
pub(crate) use models::{ArcSwap, Condvar, Mutex, MutexGuard, RwLock, SegQueue, atomic, thread};

#[cfg(not(any(loom, shuttle)))]
pub(crate) use {
    arc_swap::ArcSwap,
    crossbeam_queue::SegQueue,
    std::{
        sync::{Condvar, Mutex, MutexGuard, RwLock, atomic},
        thread,
    },
};
