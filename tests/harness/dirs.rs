//! Directories for tests.

/// A directory that goes with its value: in memory where the machine has one,
/// since no test here depends on what a medium keeps.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
