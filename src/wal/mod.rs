//! The write-ahead log in its directory: [`Writer`] appends groups of frames,
//! [`recover`] reads them back.
//!
//! A log is a row of files, each named by the sequence number of its first
//! frame. A file is complete and synced before the next is begun, so that
//! damage in any but the last is never a torn write. Each life of the engine
//! begins a file of its own with its first write, so that nothing is appended
//! to what another life left.
#![deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]

mod file;
mod replay;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use replay::{CutTail, RecoveryMode, RecoveryReport, SetAside};
pub(crate) use replay::{Logged, Refusal, Replay, check_file, covered, list, recover, salvage};
pub(crate) use writer::Writer;

use crate::{
    error::{Error, Result},
    format::{FileKind, HEADER_BYTES, Header, StoreId},
    model::Seq,
    os::{self, Fs},
};

/// The name of the log's directory in the store's.
pub(crate) const DIR: &str = "wal";

const SUFFIX: &str = ".wal";
const DIGITS: usize = 20;
const DAMAGED_SUFFIX: &str = ".damaged";

/// Where a log is, and whose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) fs: &'a dyn Fs,
    pub(crate) dir: &'a Path,
    pub(crate) store: StoreId,
}

impl Place<'_> {
    /// A salt for a new file.
    fn salt(&self) -> u64 {
        self.fs.random().first_chunk().map_or(0, |salt| u64::from_le_bytes(*salt))
    }
}

/// The name of the file whose first frame is `first`.
pub(crate) fn file_path(dir: &Path, first: Seq) -> PathBuf {
    dir.join(format!("{:0DIGITS$}{SUFFIX}", first.get()))
}

/// The reverse of [`file_path`].
fn first_seq(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Seq::new)
}

/// Whether a file of the log's directory was never finished, by its name.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(os::TEMPORARY_SUFFIX).is_some_and(|name| {
        let (log, damaged) =
            name.split_at_checked(DIGITS.saturating_add(SUFFIX.len())).unwrap_or_default();
        first_seq(log).is_some() && (damaged.is_empty() || damaged.ends_with(DAMAGED_SUFFIX))
    })
}

/// Removes the files that a checkpoint covers: those that another file follows
/// at the commit after it, or before. Adds how many, and their bytes, to
/// `removed`, also when it fails half way.
pub(crate) fn cut(place: Place<'_>, checkpoint: Seq, removed: &mut Removed) -> Result<()> {
    let firsts = replay::list(place)?;
    for first in firsts.iter().take(covered(&firsts, checkpoint)) {
        let path = file_path(place.dir, *first);
        let len = place.fs.open(&path).and_then(|file| file.size());
        let len = len.map_err(|error| Error::io("read", &path, error))?;
        place.fs.remove(&path).map_err(|error| Error::io("remove", &path, error))?;
        removed.files = removed.files.saturating_add(1);
        removed.bytes = removed.bytes.saturating_add(len);
    }
    if removed.files > 0 {
        place.fs.sync_dir(place.dir).map_err(|error| Error::io("sync", place.dir, error))?;
    }
    Ok(())
}

/// What was removed of a log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Removed {
    files: u64,
    bytes: u64,
}

/// The error of a log that has a history, for a store that has no manifest to
/// say which: what a creation that was cut short leaves is none.
pub(crate) fn check_unused(fs: &dyn Fs, dir: &Path, manifest: &Path) -> Result<Option<Error>> {
    let names = match fs.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("list", dir, error)),
    };
    for name in names.iter().filter_map(|name| name.to_str()) {
        let Some(first) = first_seq(name) else { continue };
        let path = dir.join(name);
        let bytes = os::read_all(fs, &path).map_err(|error| Error::io("read", &path, error))?;
        // Whatever was once written, even damaged, is a history.
        let unused = first == Seq::ZERO.next()
            && Header::decode(FileKind::Wal, &bytes).is_ok()
            && bytes.iter().skip(HEADER_BYTES).all(|byte| *byte == 0);
        if !unused {
            let what = format!("the file is missing, but the log holds {name}");
            return Ok(Some(Error::corrupt(manifest, 0, what)));
        }
    }
    Ok(None)
}
