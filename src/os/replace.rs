//! Whole files that take the place of others, atomically.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::os::file::{File, Fs};

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

impl From<Failure> for crate::model::error::Error {
    fn from(failure: Failure) -> Self {
        Self::io(failure.op, failure.path, failure.error)
    }
}
