//! All integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::type_complexity,
    unreachable_pub,
    reason = "tests"
)]

mod backup;
mod base;
mod base_edge_cases;
mod basics;
mod cli;
mod disk;
mod faults;
mod files;
mod fuzzed;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod keys;
mod killed;
mod model;
mod reads;
mod recovery;
mod repair;
mod threads;
mod tidy;
mod torture;
mod vectors;
mod verify;
mod writes;

/// Where `harness` finds golden files and inputs.
pub(crate) const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");

/// A directory that goes with its value: in memory where the machine has one,
/// since no test here depends on what a medium keeps.
pub(crate) fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Numbers that a seed repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}
