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

pub(crate) use reader::{KeyTable, Owned, Segment, Table};
pub(crate) use writer::Writer;

use crate::format::FileKind;

/// The name of the data files' directory in the store's.
pub(crate) const DIR: &str = "data";

const DIGITS: usize = 10;

/// What the name of a data file ends in.
const fn suffix(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Nodes => "nodes",
        FileKind::Out => "out",
        FileKind::In => "in",
        FileKind::Keys => "keys",
        FileKind::Heap => "heap",
        FileKind::Vectors => "vec",
        FileKind::VectorIndex => "vix",
        FileKind::Manifest | FileKind::Wal => "",
    }
}

/// The data file of that kind and number.
pub(crate) fn file_path(dir: &Path, kind: FileKind, number: u32) -> PathBuf {
    dir.join(format!("{number:0DIGITS$}.{}", suffix(kind)))
}

/// The number of a data file, from its name; `None` for any other name.
pub(crate) fn file_number(name: &str) -> Option<u32> {
    let (digits, end) = name.split_once('.')?;
    let kinds = [
        FileKind::Nodes,
        FileKind::Out,
        FileKind::In,
        FileKind::Keys,
        FileKind::Heap,
        FileKind::Vectors,
        FileKind::VectorIndex,
    ];
    let known = kinds.into_iter().any(|kind| suffix(kind) == end);
    let plain = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    if known && plain { digits.parse().ok() } else { None }
}
