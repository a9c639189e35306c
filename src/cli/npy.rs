//! Reads .npy files of vectors row by row.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use ingrain::{
    Metric,
    exchange::npy::{Array, HEADER_BYTES},
};

use crate::{
    error::{CliError, Result},
    input,
};

/// Rows of an array in Fortran order that are put together at a time.
const TOGETHER: usize = 1_024;

/// A .npy file that is read row by row.
pub(crate) struct Npy {
    path: PathBuf,
    reader: BufReader<File>,
    array: Array,
    read: u64,
    buffer: Vec<u8>,
    /// The next rows of an array in Fortran order, the last one first.
    turned: Vec<Vec<f32>>,
}

impl Npy {
    /// Opens a file, or standard input as `-`, and checks that it is as long as
    /// its header says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::with_buffer(path, 256 << 10)
    }

    pub(crate) fn with_buffer(path: &Path, buffer: usize) -> Result<Self> {
        Self::over(path, input::regular(path)?, buffer)
    }

    /// The array in an open file, from the file's beginning.
    pub(crate) fn over(path: &Path, file: File, buffer: usize) -> Result<Self> {
        let failed = |error| CliError::io("read", path, error);
        let len = file.metadata().map_err(failed)?.len();
        let mut reader = BufReader::with_capacity(buffer, file);
        reader.rewind().map_err(failed)?;
        let mut start = Vec::new();
        reader.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut start).map_err(failed)?;
        let array = Array::decode(&start, len).map_err(|damage| {
            CliError::message(format!("{}: {}", input::shown(path), damage.what))
        })?;
        reader.seek(SeekFrom::Start(array.data as u64)).map_err(failed)?;
        let buffer = vec![0; array.row_bytes()];
        Ok(Self { path: path.to_owned(), reader, array, read: 0, buffer, turned: Vec::new() })
    }

    pub(crate) fn rows(&self) -> u64 {
        self.array.rows
    }

    pub(crate) fn dimension(&self) -> usize {
        self.array.dimension
    }

    /// The bytes of all rows.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes_of(self.array.rows)
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
        self.array.matrix
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<f32>>> {
        if self.read == self.array.rows {
            return Ok(None);
        }
        let failed = |error| CliError::io("read", &self.path, error);
        let row = if self.array.fortran {
            if self.turned.is_empty() {
                self.turned =
                    turn(&self.array, self.reader.get_ref(), self.read).map_err(failed)?;
            }
            self.turned.pop()
        } else {
            self.reader.read_exact(&mut self.buffer).map_err(failed)?;
            self.array.row(&self.buffer)
        };
        self.read += 1;
        Ok(row)
    }
}

/// The rows from `from` on of an array whose columns are adjacent, the last one
/// first.
fn turn(array: &Array, file: &File, from: u64) -> std::io::Result<Vec<Vec<f32>>> {
    let left = usize::try_from(array.rows - from).unwrap_or(usize::MAX);
    let mut rows = vec![Vec::with_capacity(array.dimension); left.min(TOGETHER)];
    let mut bytes = vec![0; rows.len() * array.number.bytes()];
    for column in 0..array.dimension as u64 {
        let before = (column * array.rows + from) * array.number.bytes() as u64;
        file.read_exact_at(&mut bytes, array.data as u64 + before)?;
        for (row, number) in rows.iter_mut().rev().zip(array.numbers(&bytes)) {
            row.push(number);
        }
    }
    Ok(rows)
}

/// The vector of a row; `None` if it is all NaN.
pub(crate) fn check_row(row: Vec<f32>, metric: Metric) -> Result<Option<Vec<f32>>, String> {
    if row.iter().all(|number| number.is_nan()) {
        return Ok(None);
    }
    if let Some(at) = row.iter().position(|number| !number.is_finite()) {
        return Err(format!("component {at} of its vector is not finite in 32 bits"));
    }
    if metric == Metric::Cosine && row.iter().all(|number| *number == 0.0) {
        return Err("its vector is zero, which has no cosine".to_owned());
    }
    Ok(Some(row))
}
