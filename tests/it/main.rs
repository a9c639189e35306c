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
mod counts;
mod dead;
mod declared;
mod disk;
mod expiry;
mod files;
mod filters;
mod fork;
mod fuzzed;
mod gone;
#[path = "../harness/mod.rs"]
mod harness;
mod hostile;
mod keys;
mod killed;
mod limits;
mod model;
mod names;
mod reads;
mod recovery;
mod repair;
#[cfg(feature = "serde")]
mod serialized;
mod threads;
mod tidy;
mod torture;
mod transactions;
mod upserts;
mod vectors;
mod verify;
mod writes;

/// Where `harness` finds golden files and inputs.
pub(crate) const REPOSITORY: &str = env!("CARGO_MANIFEST_DIR");
