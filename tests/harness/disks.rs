//! Engines on the simulated disk.

use std::sync::Arc;

use ingrain::{
    Options,
    sim::{SimClock, SimDisk},
};

use super::in_small_pieces;

/// The options with this disk, a clock that stands still and no threads, so
/// that an engine behaves the same each time.
pub fn on_disk(disk: &SimDisk, options: Options) -> Options {
    let options = in_small_pieces(options);
    options.inline(true).fs(Arc::new(disk.clone())).clock(Arc::new(SimClock::default()))
}
