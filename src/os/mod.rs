//! What the engine needs from an operating system, as traits: [`Fs`] and
//! [`Clock`]. No other module uses `std::fs` or a clock.
//!
//! [`RealFs`] and [`RealClock`] are the implementations for the real machine. A
//! test can pass its own `Fs` to [`Options::fs`](crate::Options::fs), for
//! example to inject failures.

pub(crate) mod clock;
pub(crate) mod file;
pub(crate) mod map;
pub(crate) mod mapped;
pub(crate) mod needs;
pub(crate) mod process;
pub(crate) mod real;
pub(crate) mod replace;
#[cfg(feature = "sim")]
pub(crate) mod sim;

pub use clock::Clock;
pub(crate) use file::read_all;
pub use file::{File, Fs, Lock};
pub use map::Mapping;
pub use mapped::Mappings;
pub use real::{RealClock, RealFs};
pub(crate) use replace::{Failure, Replacement, TEMPORARY_SUFFIX, write_atomic};
