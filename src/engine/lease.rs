//! The file system of an open store, usable as long as the store is at its path.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use crate::os::{
    file::{File, Fs, Lock},
    map::Mapping,
    mapped::Mappings,
    process::Owner,
};

/// A file system that creates, links, renames and removes files only while the
/// engine's lock file is at its path, and only in the engine's process.
///
/// The engine uses paths. Somebody may rename the directory of an open store and
/// put another in its place, such as a backup. Without this check, the engine
/// would then overwrite files of that other store, which may already be open
/// under its own lock.
#[derive(Debug)]
pub(crate) struct LeasedFs {
    fs: Arc<dyn Fs>,
    /// Weak, so that a snapshot, which keeps the file system, does not keep the
    /// lock: it is released when the engine is closed.
    lock: Weak<dyn Lock>,
    owner: Owner,
}

impl LeasedFs {
    pub(crate) fn new(fs: Arc<dyn Fs>, lock: &Arc<dyn Lock>) -> Self {
        Self { fs, lock: Arc::downgrade(lock), owner: Owner::current() }
    }

    fn check(&self) -> io::Result<()> {
        self.owner.check().map_err(io::Error::other)?;
        match self.lock.upgrade() {
            Some(lock) if lock.is_in_place() => Ok(()),
            Some(_) => Err(io::Error::other(
                "the store was removed, or moved away from its path, while it was open",
            )),
            None => Err(io::Error::other("the store was released")),
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

    fn create_new_read_only(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.check()?;
        self.fs.create_new_read_only(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.fs.open(path)
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        self.fs.map(path)
    }

    fn mappings(&self) -> Option<Mappings> {
        self.fs.mappings()
    }

    fn free_descriptors(&self) -> Option<usize> {
        self.fs.free_descriptors()
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

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.fs.resolve(path)
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
