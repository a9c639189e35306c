//! The trait of a clock.

use std::{fmt, time::Duration};

use crate::model::time::Timestamp;

/// The wall clock and the monotonic clock.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of the wall clock. It may be wrong and may jump; the engine
    /// only records it.
    fn now(&self) -> Timestamp;

    /// The time since a fixed point; it never decreases. The engine computes
    /// deadlines and rates from it.
    fn monotonic(&self) -> Duration;
}
