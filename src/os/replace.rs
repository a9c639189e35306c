//! Atomic replacement of whole files.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    num,
    os::file::{File, Fs},
};

/// Writes a file under a temporary name, syncs it, renames it to `path` and
/// syncs the directory. After a crash, `path` is either the old file or the new
/// one; the temporary file may remain.
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

/// A file that is being written under a temporary name. Dropping it before
/// [`replace`](Self::replace) removes the temporary file.
pub(crate) struct Replacement<'f> {
    fs: &'f dyn Fs,
    path: PathBuf,
    temporary: PathBuf,
    /// `None` after the file was renamed.
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
        self.len = self.len.saturating_add(num::wide(data.len()));
        Ok(())
    }

    pub(crate) fn sync(&mut self) -> Result<(), Failure> {
        self.with("sync", |file| file.sync())
    }

    /// Renames the file to its path and syncs the directory. Call
    /// [`sync`](Self::sync) before.
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
            // The caller gets the error that came before. A temporary file that
            // remains is removed by the next opening.
            let _ = self.fs.remove(&self.temporary);
        }
    }
}

/// The temporary name of a file while it is written.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

/// The suffix of temporary names.
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";

/// A call to the file system that failed.
pub(crate) struct Failure {
    op: &'static str,
    path: PathBuf,
    error: io::Error,
    replaced: bool,
}

impl Failure {
    /// A failure before the rename: the old file is unchanged.
    pub(crate) fn before(op: &'static str, path: &Path, error: io::Error) -> Self {
        Self { op, path: path.to_owned(), error, replaced: false }
    }

    /// Whether the new file may be at its path, now or after a crash.
    pub(crate) fn may_have_replaced(&self) -> bool {
        self.replaced
    }
}

impl From<Failure> for crate::model::error::Error {
    fn from(failure: Failure) -> Self {
        Self::io(failure.op, failure.path, failure.error)
    }
}
