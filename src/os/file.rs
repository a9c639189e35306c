//! What the engine asks of a file system.

use std::{ffi::OsString, fmt, io, path::Path};

use crate::os::map::Mapping;

/// A file system, as far as the engine uses one.
///
/// Every call may fail, and says so. Paths are whole, as given to
/// [`Options::open`](crate::Options::open) with names appended. What a crash
/// may undo is what POSIX lets it: file data until [`File::sync`] returns, and
/// creations, links, renames and removals until [`Fs::sync_dir`] of their
/// directory returns.
pub trait Fs: Send + Sync + fmt::Debug {
    /// Creates one directory.
    ///
    /// # Errors
    /// `AlreadyExists` when there is something of that name.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Creates an empty file and opens it for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` when there is something of that name.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Maps a whole file for reading, as long as it is now. The caller promises
    /// that nobody writes to the file or cuts it short while it is mapped.
    /// Removing it, or renaming another in its place, is fine: the bytes stay
    /// readable.
    ///
    /// Where the medium cannot give a page when it is first touched, the
    /// process may be ended by a signal: a mapping has no other way to say so.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn map(&self, path: &Path) -> io::Result<Mapping>;

    /// Gives a file one more name, which may be in another directory. The file
    /// lives until its last name is removed.
    ///
    /// # Errors
    /// `NotFound` when there is no such file, `AlreadyExists` when there is
    /// something of the new name; `Unsupported`, `CrossesDevices`,
    /// `TooManyLinks` or `PermissionDenied` where the file system cannot.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Renames a file, in place of any that has the new name, atomically. When
    /// both are names of one file, both stay, as POSIX has it.
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file, or one of its names.
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the creations, links, renames and removals in a directory durable.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// Takes the lock file at `path`, creating it if absent, or `None` when
    /// somebody holds it. The lock ends when the value is dropped or its
    /// process ends, however it ends.
    ///
    /// # Errors
    /// The operating system's.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// 16 bytes that no other call gives: store ids and salts are made of them.
    fn random(&self) -> [u8; 16];
}

/// An open file.
pub trait File: Send + Sync + fmt::Debug {
    /// Writes all of `data` at `offset`, growing the file as needed. On an
    /// error any part of it may have been written.
    ///
    /// # Errors
    /// The operating system's.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The size of the file in bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn size(&self) -> io::Result<u64>;

    /// Makes the data that was written before the call, and the length,
    /// durable (fdatasync). After a failure nothing may be assumed of what was
    /// written since the last success.
    ///
    /// # Errors
    /// The operating system's.
    fn sync(&self) -> io::Result<()>;
}

/// A lock that is held until dropped.
pub trait Lock: Send + Sync + fmt::Debug {
    /// Whether its path still leads to what is locked: nobody has removed the
    /// file, nor moved its directory away. The engine makes and removes no files
    /// when it does not. True if a file system cannot tell.
    fn is_in_place(&self) -> bool {
        true
    }
}

/// Reads a whole file.
pub(crate) fn read_all(fs: &dyn Fs, path: &Path) -> io::Result<Vec<u8>> {
    let file = fs.open(path)?;
    let len = usize::try_from(file.size()?).map_err(|_| {
        io::Error::new(io::ErrorKind::FileTooLarge, "larger than the address space")
    })?;
    // A file larger than memory is an error, not an abort.
    let bytes = bytemuck::allocation::try_zeroed_vec::<u8>(len);
    let mut bytes = bytes.map_err(|()| io::Error::from(io::ErrorKind::OutOfMemory))?;
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}
