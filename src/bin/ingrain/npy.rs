//! NumPy's `.npy` files, as far as vectors need them: versions 1 to 3, f32 and
//! f16, little-endian, in C order.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use half::f16;
use ingrain::{Metric, limits};

use crate::error::{CliError, Result};

pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";
/// More than any header of a matrix needs; version 2 allows 4 GiB.
const HEADER_BYTES: u32 = 1 << 20;

/// A matrix that is read row by row.
pub(crate) struct Npy {
    path: PathBuf,
    reader: BufReader<File>,
    half: bool,
    rows: u64,
    dimension: usize,
    matrix: bool,
    read: u64,
    buffer: Vec<u8>,
}

impl Npy {
    /// Opens a file and checks that it is as long as its header says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| CliError::io("open", path, error))?;
        let metadata = file.metadata().map_err(|error| CliError::io("open", path, error))?;
        let wrong = |what: String| CliError::message(format!("{}: {what}", path.display()));
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let mut exact = |length: u32| -> Result<Vec<u8>> {
            let mut bytes = Vec::new();
            reader
                .by_ref()
                .take(u64::from(length))
                .read_to_end(&mut bytes)
                .map_err(|error| CliError::io("read", path, error))?;
            if u32::try_from(bytes.len()) != Ok(length) {
                return Err(wrong("the file ends within the .npy header".to_owned()));
            }
            Ok(bytes)
        };
        let start = exact(8)?;
        let version = match start.strip_prefix(MAGIC) {
            Some([version @ 1..=3, 0]) => *version,
            Some([major, minor]) => {
                return Err(wrong(format!(
                    "version {major}.{minor} of the .npy format is not known; save it as 1.0"
                )));
            }
            _ => return Err(wrong("it is no .npy file".to_owned())),
        };
        let (width, length) = match exact(if version == 1 { 2 } else { 4 })?.as_slice() {
            [a, b] => (2, u32::from(u16::from_le_bytes([*a, *b]))),
            [a, b, c, d] => (4, u32::from_le_bytes([*a, *b, *c, *d])),
            _ => (0, 0),
        };
        if length > HEADER_BYTES {
            return Err(wrong(format!("its header of {length} bytes is too long to be right")));
        }
        let text = exact(length)?;
        let text = String::from_utf8_lossy(&text);
        let header = Header::parse(&text)
            .ok_or_else(|| wrong(format!("the .npy header cannot be read: {}", text.trim())))?;
        let half = match header.descr.as_str() {
            "<f2" => true,
            "<f4" => false,
            other => {
                return Err(wrong(format!(
                    "its numbers are {other}; vectors are <f4 or <f2: use astype(\"<f4\")"
                )));
            }
        };
        if header.fortran_order {
            return Err(wrong("it is in Fortran order; use numpy.ascontiguousarray".to_owned()));
        }
        let (rows, dimension, matrix) = match *header.shape {
            [dimension] => (1, dimension, false),
            [rows, dimension] => (rows, dimension, true),
            _ => {
                return Err(wrong(format!(
                    "its shape is {:?}; it must be (rows, dimension)",
                    header.shape
                )));
            }
        };
        let dimension = usize::try_from(dimension)
            .ok()
            .filter(|dimension| (1..=limits::DIMENSION).contains(dimension))
            .ok_or_else(|| {
                wrong(format!(
                    "its rows have {dimension} numbers, the limit is {}",
                    limits::DIMENSION
                ))
            })?;
        let row = dimension * if half { 2 } else { 4 };
        let expected = u64::try_from(row)
            .ok()
            .and_then(|row| rows.checked_mul(row))
            .and_then(|data| data.checked_add(8 + width + u64::from(length)));
        if expected != Some(metadata.len()) {
            return Err(wrong(format!(
                "it has {} bytes, but its header says {rows} rows of {row} bytes after {} of \
                 header: the file is cut off or damaged",
                metadata.len(),
                8 + width + u64::from(length),
            )));
        }
        let buffer = vec![0; row];
        Ok(Self { path: path.to_owned(), reader, half, rows, dimension, matrix, read: 0, buffer })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) fn dimension(&self) -> usize {
        self.dimension
    }

    /// The bytes of all rows.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes_of(self.rows)
    }

    /// The bytes of the rows that have been read.
    pub(crate) fn position(&self) -> u64 {
        self.bytes_of(self.read)
    }

    fn bytes_of(&self, rows: u64) -> u64 {
        rows.saturating_mul(u64::try_from(self.buffer.len()).unwrap_or(u64::MAX))
    }

    /// Whether the array has two dimensions.
    pub(crate) fn is_matrix(&self) -> bool {
        self.matrix
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<f32>>> {
        if self.read == self.rows {
            return Ok(None);
        }
        self.reader
            .read_exact(&mut self.buffer)
            .map_err(|error| CliError::io("read", &self.path, error))?;
        self.read += 1;
        Ok(Some(if self.half {
            let (pairs, _) = self.buffer.as_chunks();
            pairs.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
        } else {
            let (quads, _) = self.buffer.as_chunks();
            quads.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }))
    }
}

/// The vector of a row; none if it is all NaN.
pub(crate) fn check_row(row: Vec<f32>, metric: Metric) -> Result<Option<Vec<f32>>, String> {
    if row.iter().all(|number| number.is_nan()) {
        return Ok(None);
    }
    if let Some(at) = row.iter().position(|number| !number.is_finite()) {
        return Err(format!("number {at} of its vector is not finite"));
    }
    if metric == Metric::Cosine && row.iter().all(|number| *number == 0.0) {
        return Err("its vector is zero, which has no cosine".to_owned());
    }
    Ok(Some(row))
}

/// What the header of a matrix of f32 says, with the magic before it.
pub(crate) fn header(rows: usize, dimension: usize) -> Vec<u8> {
    let mut text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}");
    // The data is to begin at a multiple of 64.
    while !(MAGIC.len() + 4 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    // Two numbers and 60 characters are far from 65,535.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [MAGIC, &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat()
}

/// The header: a literal of a Python dictionary.
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

impl Header {
    fn parse(text: &str) -> Option<Self> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            rest = after.trim_start().strip_prefix(':')?.trim_start();
            match key {
                "descr" => {
                    let (value, after) = quoted(rest)?;
                    descr = Some(value.to_owned());
                    rest = after;
                }
                "fortran_order" => {
                    let (value, after) = match rest.strip_prefix("False") {
                        Some(after) => (false, after),
                        None => (true, rest.strip_prefix("True")?),
                    };
                    fortran_order = Some(value);
                    rest = after;
                }
                "shape" => {
                    let (inner, after) = rest.strip_prefix('(')?.split_once(')')?;
                    let sizes = inner.split(',').map(str::trim).filter(|size| !size.is_empty());
                    shape = Some(sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?);
                    rest = after;
                }
                _ => return None,
            }
            rest = rest.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None if rest.is_empty() => {}
                None => return None,
            }
        }
        Some(Self { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// A quoted text at the start, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text.get(1..)?.split_once(quote)
}
