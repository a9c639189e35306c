//! The directory of a log, and the names of its files.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    format::header::{FileKind, HEADER_BYTES, Header, StoreId},
    model::{
        error::{Error, Result},
        time::Seq,
    },
    os::{self, file::Fs},
};

/// The name of the log's directory in that of the store.
pub(crate) const DIR: &str = "wal";

const SUFFIX: &str = ".wal";

const DIGITS: usize = 20;

pub(crate) const DAMAGED_SUFFIX: &str = ".damaged";

/// The sizes in which a log is read and written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogSizes {
    /// Bytes that are read at once. Also those that are written at once when
    /// recovery writes frames again.
    pub(crate) chunk_bytes: usize,
    /// How far ahead of the frames a new file is filled with zeros. A sync of
    /// blocks that were written before has no metadata to write: it took 114 µs
    /// instead of 190 µs in our measurement. Space that is only allocated does
    /// not have that effect.
    ///
    /// A file begins with this much, which doubles up to 32 times as much, so
    /// that a lifetime with few writes leaves a small file.
    pub(crate) zeros_bytes: usize,
}

impl Default for LogSizes {
    fn default() -> Self {
        Self { chunk_bytes: 1 << 20, zeros_bytes: 32 << 10 }
    }
}

/// The directory of a log, its file system, and the store that it belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogDir<'a> {
    pub(super) fs: &'a dyn Fs,
    pub(super) dir: &'a Path,
    pub(super) store: StoreId,
    pub(super) sizes: LogSizes,
}

impl<'a> LogDir<'a> {
    /// The log of `store`, in the directory `dir`.
    pub(crate) fn new(fs: &'a dyn Fs, dir: &'a Path, store: StoreId) -> Self {
        Self { fs, dir, store, sizes: LogSizes::default() }
    }

    /// The same log, read and written in these sizes.
    pub(crate) fn in_sizes(self, sizes: LogSizes) -> Self {
        Self { sizes, ..self }
    }

    /// Draws a salt for a new file.
    pub(crate) fn salt(&self) -> u64 {
        self.fs.random().first_chunk().map_or(0, |salt| u64::from_le_bytes(*salt))
    }
}

/// The path of the log file whose first frame is `first`.
pub(crate) fn file_path(dir: &Path, first: Seq) -> PathBuf {
    dir.join(format!("{:0DIGITS$}{SUFFIX}", first.get()))
}

/// The number of the first frame, from the name of a log file. `None` for any
/// other name.
pub(crate) fn first_seq(name: &str) -> Option<Seq> {
    let digits = name.strip_suffix(SUFFIX)?;
    if digits.len() != DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Seq::new)
}

/// Whether this is the temporary name of a log file that was never finished.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(os::TEMPORARY_SUFFIX).is_some_and(|name| {
        let (log, damaged) =
            name.split_at_checked(DIGITS.saturating_add(SUFFIX.len())).unwrap_or_default();
        first_seq(log).is_some() && (damaged.is_empty() || damaged.ends_with(DAMAGED_SUFFIX))
    })
}

/// For a store without a manifest: returns an error if its log was ever written
/// to, because the manifest is lost then. What an interrupted creation of a
/// store leaves is not an error.
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
        // Anything but an empty first file was written by a store that was
        // open, even if it is damaged.
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
