//! A clock that a test sets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ingrain::{
    Timestamp,
    os::{Clock, RealClock},
};

/// A wall clock whose time is set, and a monotonic clock that runs on. Clones
/// share their time.
#[derive(Debug, Clone, Default)]
pub struct TestClock(Arc<Wall>);

#[derive(Debug, Default)]
struct Wall {
    micros: AtomicI64,
    /// What each reading adds to the time.
    step: AtomicI64,
}

impl TestClock {
    /// Sets the time, in microseconds since 1970.
    pub fn set(&self, micros: i64) {
        self.0.micros.store(micros, Ordering::SeqCst);
    }

    /// Makes the time jump by this many microseconds, which may be negative, at
    /// each reading.
    pub fn step(&self, micros: i64) {
        self.0.step.store(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let step = self.0.step.load(Ordering::SeqCst);
        Timestamp::from_micros(self.0.micros.fetch_add(step, Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        RealClock.monotonic()
    }
}
