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

/// A wall clock that says what it was told, beside a clock that goes on. Clones
/// are the same clock.
#[derive(Debug, Clone, Default)]
pub struct TestClock(Arc<Wall>);

#[derive(Debug, Default)]
struct Wall {
    micros: AtomicI64,
    /// What each look at it adds.
    step: AtomicI64,
}

impl TestClock {
    /// Says that it is now so many microseconds since 1970.
    pub fn set(&self, micros: i64) {
        self.0.micros.store(micros, Ordering::SeqCst);
    }

    /// Jumps by so many microseconds, also back, at each look.
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
