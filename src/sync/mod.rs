//! The primitives by which threads synchronise: locks, atomics, threads, the
//! queue and the swap cell. Usually those of the machine; in a build with
//! `--cfg loom` or `--cfg shuttle` those of a model checker, which explores the
//! possible orders of the threads.
//!
//! All code that hands data from one thread to another, or blocks one, takes
//! its types from here, except `parallel`, whose threads end with the call that
//! starts them. docs/testing.md says what is explored.

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
