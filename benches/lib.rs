//! What the benches share.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "benches"
)]

use std::{fs, path::PathBuf};

/// A directory on the medium that a bench is about: where the build is, not a
/// tmpfs.
pub fn scratch() -> tempfile::TempDir {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target");
    let _ = fs::create_dir(&target);
    tempfile::tempdir_in(target).unwrap()
}
