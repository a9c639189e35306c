//! The names of data files.

use std::path::{Path, PathBuf};

use crate::format::header::FileKind;

/// The name of the data files' directory in that of the store.
pub(crate) const DIR: &str = "data";

const DIGITS: usize = 10;

/// The path of the data file of this kind and number.
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
