//! Waiting for another thread.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Polls until another thread has done something that it does not signal.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::yield_now();
    }
}
