//! Directories for tests.

/// A directory that is removed when the value is dropped. It is in memory if
/// the machine has such a file system, since no test here depends on a medium.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
