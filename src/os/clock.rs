//! The trait of a clock.

use std::{fmt, time::Duration};

use crate::model::time::Timestamp;

/// The wall clock and the monotonic clock.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use ingrain::{Options, Timestamp, os::Clock};
///
/// #[derive(Debug)]
/// struct Stopped;
///
/// impl Clock for Stopped {
///     fn now(&self) -> Timestamp {
///         Timestamp::UNIX_EPOCH
///     }
///
///     fn monotonic(&self) -> Duration {
///         Duration::ZERO
///     }
/// }
///
/// let options = Options::new().clock(Arc::new(Stopped));
/// ```
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time of the wall clock. It may be wrong and may jump: the engine
    /// records it, and with [`Options::prune_every`](crate::Options::prune_every)
    /// deletes what has expired by it.
    fn now(&self) -> Timestamp;

    /// The time since a fixed point; it never decreases. The engine computes
    /// deadlines and rates from it.
    fn monotonic(&self) -> Duration;
}
