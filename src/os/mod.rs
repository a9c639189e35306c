//! What the engine needs of an operating system, as traits: [`Fs`] and
//! [`Clock`]. Nothing above this module touches `std::fs` or a clock.
//!
//! [`RealFs`] and [`RealClock`] are the machine. A test passes its own `Fs` to
//! [`Options::fs`](crate::Options::fs) to make a disk fail where it wants.

use std::{
    ffi::OsString,
    fmt, io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::model::Timestamp;

mod real;
#[cfg(feature = "sim")]
pub(crate) mod sim;

pub use real::{RealClock, RealFs};

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

/// The bytes of a file, mapped for reading by [`Fs::map`].
pub struct Mapping(Bytes);

/// Variants and not a trait object: looking at the bytes is a branch, not a
/// virtual call.
enum Bytes {
    Mapped(real::Mapped),
    Owned(Arc<Vec<u8>>),
    /// A copy, where the bytes did not begin as a map does.
    Aligned(Box<[u64]>, usize),
}

impl Mapping {
    /// Bytes in memory, for a file system that has its files there and for
    /// tests.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::from_shared(Arc::new(bytes))
    }

    fn from_shared(bytes: Arc<Vec<u8>>) -> Self {
        if bytes.as_ptr().addr().is_multiple_of(align_of::<u64>()) {
            return Self(Bytes::Owned(bytes));
        }
        // Few allocators do that. Numbers are read where they lie.
        let mut words = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
        let copy: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        copy.iter_mut().zip(&*bytes).for_each(|(to, from)| *to = *from);
        Self(Bytes::Aligned(words.into(), bytes.len()))
    }
}

/// How much of a mapped file is going to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// A page here and there, and these many bytes at the beginning.
    Little { first: usize },
    /// So much that what lies around a page is read with it.
    Much,
}

impl Mapping {
    /// Tells the operating system what to read, which is the same bytes in any
    /// case.
    pub(crate) fn advise(&self, expected: Expected) {
        if let Bytes::Mapped(mapped) = &self.0 {
            mapped.advise(expected);
        }
    }
}

impl Deref for Mapping {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(mapped) => mapped.bytes(),
            Bytes::Owned(bytes) => bytes,
            Bytes::Aligned(words, len) => {
                bytemuck::cast_slice(words).get(..*len).unwrap_or_default()
            }
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("len", &self.len()).finish()
    }
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

/// The two clocks.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock. It may be wrong and may jump; the engine only records
    /// it.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point; it never goes back. Deadlines and rates
    /// are made of it.
    fn monotonic(&self) -> Duration;
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

/// Writes a whole file under a temporary name, syncs it, renames it to `path`
/// and syncs the directory. After a crash `path` is the old file or the new
/// one; the temporary one may be left.
pub(crate) fn write_atomic(
    fs: &dyn Fs,
    path: &Path,
    data: &[u8],
) -> Result<Box<dyn File>, Failure> {
    let mut replacement = Replacement::begin(fs, path)?;
    replacement.append(data)?;
    replacement.sync()?;
    replacement.replace()
}

/// A whole file in the making, under a temporary name, which goes if it is not
/// finished.
pub(crate) struct Replacement<'f> {
    fs: &'f dyn Fs,
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once it has its place.
    file: Option<Box<dyn File>>,
    len: u64,
}

impl<'f> Replacement<'f> {
    pub(crate) fn begin(fs: &'f dyn Fs, path: &Path) -> Result<Self, Failure> {
        let temporary = temporary(path);
        match fs.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::before("remove", &temporary, error));
            }
            _ => {}
        }
        let file = fs.create_new(&temporary);
        let file = file.map_err(|error| Failure::before("create", &temporary, error))?;
        Ok(Self { fs, path: path.to_owned(), temporary, file: Some(file), len: 0 })
    }

    fn with(
        &self,
        op: &'static str,
        call: impl FnOnce(&dyn File) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let called = self.file.as_deref().map_or(Ok(()), call);
        called.map_err(|error| Failure::before(op, &self.temporary, error))
    }

    pub(crate) fn append(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.with("write", |file| file.write_at(self.len, data))?;
        self.len = self.len.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), Failure> {
        self.with("sync", |file| file.sync())
    }

    /// Gives it its place, after [`sync`](Self::sync).
    pub(crate) fn replace(mut self) -> Result<Box<dyn File>, Failure> {
        let fail = |op, path: &Path, error| {
            let path = path.to_owned();
            Failure { op, path, error, replaced: true }
        };
        let renamed = self.fs.rename(&self.temporary, &self.path);
        renamed.map_err(|error| fail("rename", &self.temporary, error))?;
        let file = self.file.take();
        if let Some(parent) = self.path.parent() {
            self.fs.sync_dir(parent).map_err(|error| fail("sync", parent, error))?;
        }
        file.ok_or_else(|| fail("rename", &self.temporary, io::ErrorKind::NotFound.into()))
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // What failed is what the caller must hear of. A temporary file that
            // stays is removed by the next opening.
            let _ = self.fs.remove(&self.temporary);
        }
    }
}

/// The temporary name of a file in the making.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

/// What the names of files in the making end in.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// A call to the file system that failed.
pub(crate) struct Failure {
    op: &'static str,
    path: PathBuf,
    error: io::Error,
    replaced: bool,
}

impl Failure {
    /// One that left everything as it was.
    pub(crate) fn before(op: &'static str, path: &Path, error: io::Error) -> Self {
        Self { op, path: path.to_owned(), error, replaced: false }
    }

    /// Whether the new file may be in its place, now or after a crash.
    pub(crate) fn may_have_replaced(&self) -> bool {
        self.replaced
    }
}

impl From<Failure> for crate::error::Error {
    fn from(failure: Failure) -> Self {
        Self::io(failure.op, failure.path, failure.error)
    }
}
