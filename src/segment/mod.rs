//! The files under `data/`: [`Writer`] makes one, [`Segment`] maps it, and
//! [`Table`] searches its rows.
//!
//! A file is written once, synced, named by a manifest, and never changed
//! again. What is read of it has been checked against its checksums, block by
//! block, when it is first touched.
#![deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]

mod reader;
mod writer;

use std::path::{Path, PathBuf};

pub(crate) use reader::{KeyTable, Owned, Segment, Table, map};
pub(crate) use writer::{HUGE_PIECE_BYTES, PIECE_BYTES, Writer};

use crate::format::FileKind;

/// The name of the data files' directory in the store's.
pub(crate) const DIR: &str = "data";

const DIGITS: usize = 10;

/// The data file of that kind and number.
pub(crate) fn file_path(dir: &Path, kind: FileKind, number: u32) -> PathBuf {
    dir.join(format!("{number:0DIGITS$}.{}", kind.suffix()))
}

/// The number of a data file, from its name; `None` for any other name.
pub(crate) fn file_number(name: &str) -> Option<u32> {
    let (digits, end) = name.split_once('.')?;
    let known = FileKind::DATA.into_iter().any(|kind| kind.suffix() == end);
    let plain = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if known && plain { digits.parse().ok() } else { None }
}
