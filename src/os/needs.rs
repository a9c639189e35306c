//! What a store needs of a file system, and the error if it is not there.

use std::{io, path::Path};

use crate::model::error::Error;

/// Something that not every file system can do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// To map files.
    Mapping,
    /// Locks of files.
    Locks,
    /// Syncs of directories.
    DirectorySyncs,
}

impl Need {
    /// The error of a call on `path`: `Unsupported` if the file system cannot do
    /// this at all, else `Io`.
    pub(crate) fn failed(self, path: &Path, error: io::Error) -> Error {
        let (op, cannot) = match self {
            Self::Mapping => ("map", "map files into memory (mmap)"),
            Self::Locks => ("lock", "lock files (flock)"),
            Self::DirectorySyncs => ("sync", "sync directories (fsync)"),
        };
        if !is_lacking(&error) {
            return Error::io(op, path, error);
        }
        Error::Unsupported {
            what: format!(
                "the file system of {} cannot {cannot}, which a store needs: {error}; use a local \
                 file system",
                path.display()
            ),
        }
    }
}

/// Whether the file system does not have what it was asked for.
fn is_lacking(error: &io::Error) -> bool {
    /// The same on every Unix.
    const ENODEV: i32 = 19;
    const ENOLCK: i32 = if cfg!(target_os = "linux") { 37 } else { 77 };
    let code = error.raw_os_error();
    error.kind() == io::ErrorKind::Unsupported
        || (error.kind() == io::ErrorKind::InvalidInput && code.is_some())
        || code == Some(ENODEV)
        || code == Some(ENOLCK)
}
