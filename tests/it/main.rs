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
mod keys;
mod killed;
mod model;
mod reads;
mod recovery;
mod repair;
mod threads;
mod tidy;
mod torture;
mod verify;
mod writes;

/// A directory that goes with its value: in memory where the machine has one,
/// since no test here depends on what a medium keeps.
pub(crate) fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
