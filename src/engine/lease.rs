//! The file system of an open store, as long as the store is where it was.

use std::{
    ffi::OsString,
    io,
    path::Path,
    sync::{Arc, Weak},
};

use crate::os::{
    file::{File, Fs, Lock},
    map::Mapping,
};

/// A file system that makes, links, renames and removes files only while the
/// lock that the engine took is what has its path.
///
/// The engine goes by paths. If somebody renames the directory of an open store
/// and puts another in its place, a backup say, then whatever the engine still
/// has to write would replace files of that other store, which may be open by
/// now, under a lock of its own.
#[derive(Debug)]
pub(crate) struct LeasedFs {
    fs: Arc<dyn Fs>,
    /// Not held by those who keep the file system for a snapshot: it ends when
    /// the engine is closed.
    lock: Weak<dyn Lock>,
}

impl LeasedFs {
    pub(crate) fn new(fs: Arc<dyn Fs>, lock: &Arc<dyn Lock>) -> Self {
        Self { fs, lock: Arc::downgrade(lock) }
    }

    fn check(&self) -> io::Result<()> {
        match self.lock.upgrade() {
            Some(lock) if lock.is_in_place() => Ok(()),
            Some(_) => Err(io::Error::other(
                "the store was removed, or moved away from its path, while it was open",
            )),
            None => Err(io::Error::other("the store was let go of")),
        }
    }
}

impl Fs for LeasedFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        self.fs.create_dir(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.check()?;
        self.fs.create_new(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.fs.open(path)
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        self.fs.map(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        self.fs.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check()?;
        self.fs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.check()?;
        self.fs.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.fs.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.fs.list(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.fs.lock(path)
    }

    fn random(&self) -> [u8; 16] {
        self.fs.random()
    }
}
