//! Engines on the simulated disk.

use std::sync::Arc;

use ingrain::{
    Options,
    sim::{SimClock, SimDisk},
};

/// The options with this disk, a clock that stands still and no threads, so
/// that an engine behaves the same each time.
pub fn on_disk(disk: &SimDisk, options: Options) -> Options {
    options.inline(true).fs(Arc::new(disk.clone())).clock(Arc::new(SimClock::default()))
}
