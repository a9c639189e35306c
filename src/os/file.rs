//! The traits of a file system.

use std::{
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
};

use crate::os::{map::Mapping, mapped::Mappings};

/// A file system, as far as the engine uses one.
///
/// Every call may fail and returns an error then. Paths are complete: the path
/// given to [`Options::open`](crate::Options::open) with names appended. A
/// crash may undo what POSIX allows: file data until [`File::sync`] returns,
/// and creations, links, renames and removals until [`Fs::sync_dir`] of their
/// directory returns.
///
/// ```
/// use std::path::Path;
///
/// use ingrain::os::{Fs, RealFs};
///
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("file");
/// let file = RealFs.create_new(&path)?;
/// file.write_at(0, b"dogs bark")?;
/// file.sync()?;
/// RealFs.sync_dir(dir.path())?; // now the name of the file is durable too
/// assert_eq!(&RealFs.map(&path)?[..], b"dogs bark");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Fs: Send + Sync + fmt::Debug {
    /// Creates a directory. Its parent exists.
    ///
    /// # Errors
    /// `AlreadyExists` when the path already exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates an empty file and opens it for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` when the path already exists.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// As [`create_new`](Self::create_new), but nobody can open the file for
    /// writing later: only the file that this returns can be written. So a data
    /// file, of which backups may be other names, is not written by accident. By
    /// default the same as `create_new`, for a file system without permissions.
    ///
    /// # Errors
    /// `AlreadyExists` when the path already exists.
    fn create_new_read_only(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.create_new(path)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound` when the file does not exist.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Maps a whole file for reading, in its current length. The caller
    /// promises that nobody writes to the file or truncates it while it is
    /// mapped. Removing it, or renaming another file over it, is allowed: the
    /// bytes stay readable.
    ///
    /// If the medium cannot deliver a page when it is first touched, the
    /// process may be ended by a signal; a mapping has no other way to report
    /// it.
    ///
    /// # Errors
    /// `NotFound` when the file does not exist.
    fn map(&self, path: &Path) -> io::Result<Mapping>;

    /// How many files are mapped, and how many may be; `None`, as by default, if
    /// nothing bounds them. The engine begins no data file that it could not map
    /// afterwards. At the bound, [`map`](Self::map) fails with `OutOfMemory`.
    fn mappings(&self) -> Option<Mappings> {
        None
    }

    /// How many more files the process can open at once; `None`, as by default,
    /// if that is unknown.
    fn free_descriptors(&self) -> Option<usize> {
        None
    }

    /// Creates a hard link: one more name of a file, which may be in another
    /// directory. The file exists until its last name is removed.
    ///
    /// # Errors
    /// `NotFound` when the file does not exist, `AlreadyExists` when the new
    /// name does; `Unsupported`, `CrossesDevices`, `TooManyLinks` or
    /// `PermissionDenied` if the file system cannot link the file.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file atomically, replacing a file that has the new name. If
    /// both are names of the same file, both stay, as POSIX specifies.
    ///
    /// # Errors
    /// Any error of the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name of a file, and with its last name the file.
    ///
    /// # Errors
    /// Any error of the operating system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the creations, links, renames and removals in a directory durable.
    ///
    /// # Errors
    /// Any error of the operating system.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The path of an existing file or directory without symbolic links. By default
    /// the path as it is, for a file system that has no links.
    ///
    /// # Errors
    /// `NotFound` when the path does not exist.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    /// Lists the names in a directory, in no particular order.
    ///
    /// # Errors
    /// `NotFound` when the directory does not exist.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Locks the file at `path`, which is created if it is missing. `None` when
    /// somebody else holds the lock. The lock is released when the value is
    /// dropped, or when its process ends for any reason.
    ///
    /// # Errors
    /// Any error of the operating system.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// Returns 16 random bytes, different in each call. They become store ids
    /// and salts.
    fn random(&self) -> [u8; 16];
}

/// An open file.
///
/// ```
/// use ingrain::os::{Fs, RealFs};
///
/// # let dir = tempfile::tempdir()?;
/// let file = RealFs.create_new(&dir.path().join("file"))?;
/// file.write_at(2, b"ab")?;
/// let mut buffer = [1; 4];
/// file.read_at(0, &mut buffer)?;
/// assert_eq!((&buffer, file.size()?), (b"\0\0ab", 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait File: Send + Sync + fmt::Debug {
    /// Writes all of `data` at `offset` and grows the file as needed. After an
    /// error, any part of it may have been written.
    ///
    /// # Errors
    /// Any error of the operating system.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends earlier.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The size of the file in bytes.
    ///
    /// # Errors
    /// Any error of the operating system.
    fn size(&self) -> io::Result<u64>;

    /// Makes everything that was written before the call durable, and the
    /// length of the file (fdatasync). After a failure, nothing may be assumed
    /// about what was written since the last success.
    ///
    /// # Errors
    /// Any error of the operating system.
    fn sync(&self) -> io::Result<()>;
}

/// A lock that is held until dropped.
///
/// ```
/// use ingrain::os::{Fs, RealFs};
///
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("lock");
/// let lock = RealFs.lock(&path)?.expect("nobody holds it");
/// assert!(lock.is_in_place());
/// assert!(RealFs.lock(&path)?.is_none()); // it is held
/// drop(lock);
/// assert!(RealFs.lock(&path)?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Lock: Send + Sync + fmt::Debug {
    /// Whether the path still refers to the locked file: nobody has removed it
    /// or moved its directory away. If not, the engine creates and removes no
    /// files. True if a file system cannot tell.
    fn is_in_place(&self) -> bool {
        true
    }
}

/// Reads a whole file into memory.
pub(crate) fn read_all(fs: &dyn Fs, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open(path)?;
    let len = usize::try_from(file.size()?).map_err(|_| {
        io::Error::new(io::ErrorKind::FileTooLarge, "larger than the address space")
    })?;
    // If the file is larger than memory, this is an error, not an abort.
    let bytes = bytemuck::allocation::try_zeroed_vec::<u8>(len);
    let mut bytes = bytes.map_err(|()| io::Error::from(io::ErrorKind::OutOfMemory))?;
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
