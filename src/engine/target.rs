//! A directory that will hold a complete new store, or none.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    engine::open::{LOCK, check_mapping, create_if_missing, lock, sync_dir},
    model::error::{Error, Result},
    os::file::{Fs, Lock},
    store::{manifest, segment, wal},
};

/// A directory without a store, locked so that nobody else creates one in it.
#[derive(Debug)]
pub(super) struct Target<'t> {
    fs: &'t dyn Fs,
    dir: &'t Path,
    lock: Box<dyn Lock>,
}

impl<'t> Target<'t> {
    /// Locks a directory, creating it if it is absent, and creates the directories
    /// of a store in it.
    pub(super) fn take(fs: &'t dyn Fs, dir: &'t Path) -> Result<Self> {
        create_if_missing(fs, dir)?;
        // The parent first: files are not durable if their directory is not.
        if let Some(parent) = dir.parent() {
            sync_dir(fs, parent)?;
        }
        let lock = lock(fs, &dir.join(LOCK))?;
        check_mapping(fs, dir)?;
        // Checked again under the lock: files may have appeared meanwhile.
        check(fs, dir)?;
        for name in [segment::DIR, wal::DIR] {
            create_if_missing(fs, &dir.join(name))?;
        }
        sync_dir(fs, dir)?;
        Ok(Self { fs, dir, lock })
    }

    pub(super) fn dir(&self) -> &'t Path {
        self.dir
    }

    /// Removes the files of the new store. Failures are ignored, since the caller
    /// reports the error that led here. The directories stay, and so does the lock
    /// file, which another process may be waiting for.
    pub(super) fn discard(self) {
        let Self { fs, dir, lock } = self;
        discard(fs, dir);
        drop(lock);
    }
}

/// As [`Target::discard`], under a lock that the caller holds.
pub(super) fn discard(fs: &dyn Fs, dir: &Path) {
    let removed = match fs.remove(&dir.join(manifest::FILE)) {
        Err(error) => error.kind() == io::ErrorKind::NotFound,
        Ok(()) => true,
    };
    // The files that the manifest names are removed only once its removal is
    // durable.
    if !removed || fs.sync_dir(dir).is_err() {
        return;
    }
    for dir in [dir.join(segment::DIR), dir.join(wal::DIR)] {
        for name in fs.list(&dir).unwrap_or_default() {
            let _ = fs.remove(&dir.join(name));
        }
        let _ = fs.sync_dir(&dir);
    }
}

/// Refuses a directory that holds anything except what a failed call leaves: the
/// lock file and empty directories.
pub(super) fn check(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let refused = |what: &str| {
        Err(Error::invalid(format!("path {}: {what}; it must be absent or empty", dir.display())))
    };
    let names = match fs.list(dir) {
        Ok(names) => names,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                io::ErrorKind::NotADirectory => refused("it is not a directory"),
                _ => Err(Error::io("list", dir, error)),
            };
        }
    };
    for name in names {
        let empty = name == LOCK
            || ((name == segment::DIR || name == wal::DIR)
                && fs.list(&dir.join(&name)).is_ok_and(|names| names.is_empty()));
        if !empty {
            return refused(&format!("it holds {}", Path::new(&name).display()));
        }
    }
    Ok(())
}

/// A path without symbolic links, as far as it exists.
fn resolved(fs: &dyn Fs, path: &Path) -> PathBuf {
    match (fs.resolve(path), path.parent(), path.file_name()) {
        (Ok(path), _, _) => path,
        (Err(_), Some(parent), Some(name)) => resolved(fs, parent).join(name),
        _ => path.to_owned(),
    }
}

/// Refuses a directory that is that of the store, or within it, by whatever path.
pub(super) fn check_apart(fs: &dyn Fs, dir: &Path, store: &Path) -> Result<()> {
    if resolved(fs, dir).starts_with(resolved(fs, store)) {
        return Err(Error::invalid(format!(
            "path {}: it is within the store {}",
            dir.display(),
            store.display()
        )));
    }
    Ok(())
}
