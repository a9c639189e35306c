//! Engines on the simulated disk.

use std::sync::Arc;

use ingrain::{
    Options,
    sim::{SimClock, SimDisk},
};

/// The same options on this disk, with a clock that stands still and without a
/// thread: an engine that does the same each time.
pub fn on_disk(disk: &SimDisk, options: Options) -> Options {
    options.inline(true).fs(Arc::new(disk.clone())).clock(Arc::new(SimClock::default()))
}
