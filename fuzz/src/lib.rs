//! The targets that `fuzz_targets/` runs. What they do is in `tests/harness`,
//! which the tests of the engine share.

/// Where the harness finds golden files and inputs.
pub(crate) const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[path = "../../tests/harness/mod.rs"]
pub mod harness;
