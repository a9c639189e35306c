//! What the engine asks of a clock.

use std::{fmt, time::Duration};

use crate::model::time::Timestamp;

/// The two clocks.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock. It may be wrong and may jump; the engine only records
    /// it.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point; it never goes back. Deadlines and rates
    /// are made of it.
    fn monotonic(&self) -> Duration;
}
