//! Reads .npy files of vectors row by row.

use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use ingrain::{
    Metric,
    exchange::npy::{Array, HEADER_BYTES},
};

use crate::error::{CliError, Result};

/// A .npy file that is read row by row.
pub(crate) struct Npy {
    path: PathBuf,
    reader: BufReader<File>,
    array: Array,
    read: u64,
    buffer: Vec<u8>,
}

impl Npy {
    /// Opens a file and checks that it is as long as its header says.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| CliError::io("open", path, error))?;
        let len = file.metadata().map_err(|error| CliError::io("open", path, error))?.len();
        let mut reader = BufReader::with_capacity(256 << 10, file);
        let failed = |error| CliError::io("read", path, error);
        let mut start = Vec::new();
        reader.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut start).map_err(failed)?;
        let array = Array::decode(&start, len)
            .map_err(|damage| CliError::message(format!("{}: {}", path.display(), damage.what)))?;
        reader.seek(SeekFrom::Start(array.data as u64)).map_err(failed)?;
        let buffer = vec![0; array.row_bytes()];
        Ok(Self { path: path.to_owned(), reader, array, read: 0, buffer })
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
        self.reader
            .read_exact(&mut self.buffer)
            .map_err(|error| CliError::io("read", &self.path, error))?;
        self.read += 1;
        Ok(self.array.row(&self.buffer))
    }
}

/// The vector of a row; `None` if it is all NaN.
pub(crate) fn check_row(row: Vec<f32>, metric: Metric) -> Result<Option<Vec<f32>>, String> {
    if row.iter().all(|number| number.is_nan()) {
        return Ok(None);
    }
    if let Some(at) = row.iter().position(|number| !number.is_finite()) {
        return Err(format!("component {at} of its vector is not finite"));
    }
    if metric == Metric::Cosine && row.iter().all(|number| *number == 0.0) {
        return Err("its vector is zero, which has no cosine".to_owned());
    }
    Ok(Some(row))
}
