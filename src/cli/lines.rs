//! Reads the lines of a plain or gzip file.

use std::{
    io::{self, BufRead, BufReader, Cursor, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

use crate::{
    error::{CliError, Result},
    input,
};

/// Longest line, in bytes: more than any node needs, whose content of 16 MiB may
/// be control characters, of which JSON makes six bytes each.
const LINE_BYTES: usize = 128 << 20;
/// Some programs write it before UTF-8. It is skipped.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const BUFFER_BYTES: usize = 64 << 10;

pub(crate) struct Lines {
    path: PathBuf,
    reader: BufReader<Box<dyn Read>>,
    line: Vec<u8>,
    number: u64,
    position: Arc<AtomicU64>,
    bytes: u64,
}

/// A line that is not blank.
pub(crate) struct Text<'l> {
    /// Its number in the file, from 1.
    pub(crate) number: u64,
    /// Its bytes, or why it cannot be used.
    pub(crate) bytes: Result<&'l [u8], String>,
}

impl Lines {
    /// Opens a file, or standard input as `-`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (file, bytes) = input::stream(path)?;
        Self::over(path, file, bytes)
    }

    /// The lines of what is read from a file with that name and size.
    pub(crate) fn over(path: &Path, file: Box<dyn Read>, bytes: u64) -> Result<Self> {
        let position = Arc::new(AtomicU64::new(0));
        let counted = Counted { file, position: Arc::clone(&position) };
        let reader = plain(counted).map_err(|error| CliError::io("read", path, error))?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            line: Vec::new(),
            number: 0,
            position,
            bytes,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How much of the file has been read.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// The next line that is not blank.
    pub(crate) fn next(&mut self) -> Result<Option<Text<'_>>> {
        loop {
            let Some(fits) = self.fill().map_err(|error| {
                CliError::message(format!(
                    "read {} after line {}: {error}",
                    input::shown(&self.path),
                    self.number
                ))
            })?
            else {
                return Ok(None);
            };
            self.number += 1;
            if self.number == 1 && self.line.starts_with(BYTE_ORDER_MARK) {
                self.line.drain(..BYTE_ORDER_MARK.len());
            }
            if !fits {
                let cause = format!("the line is longer than {LINE_BYTES} bytes");
                return Ok(Some(Text { number: self.number, bytes: Err(cause) }));
            }
            if !self.line.trim_ascii().is_empty() {
                break;
            }
        }
        Ok(Some(Text { number: self.number, bytes: Ok(&self.line) }))
    }

    /// Reads a line. `Some(false)` if it was too long to keep.
    fn fill(&mut self) -> io::Result<Option<bool>> {
        self.line.clear();
        let (mut fits, mut any) = (true, false);
        loop {
            let chunk = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                chunk => chunk?,
            };
            if chunk.is_empty() {
                return Ok(any.then_some(fits));
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let (part, used) = match end {
                Some(end) => chunk.split_at(end),
                None => (chunk, [].as_slice()),
            };
            fits &= self.line.len().saturating_add(part.len()) <= LINE_BYTES;
            if fits {
                self.line.extend_from_slice(part);
            }
            let consumed = part.len() + usize::from(!used.is_empty());
            self.reader.consume(consumed);
            if end.is_some() {
                return Ok(Some(fits));
            }
        }
    }
}

/// What a plain or gzip file holds; its first two bytes decide which it is.
pub(crate) fn plain(mut file: impl Read + 'static) -> io::Result<Box<dyn Read>> {
    let mut first = Vec::new();
    file.by_ref().take(2).read_to_end(&mut first)?;
    let gzip = first == [0x1f, 0x8b];
    let file = Cursor::new(first).chain(file);
    Ok(if gzip {
        Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, file)))
    } else {
        Box::new(file)
    })
}

struct Counted<R> {
    file: R,
    position: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let read_64 = u64::try_from(read).unwrap_or(u64::MAX);
        self.position.fetch_add(read_64, Ordering::Relaxed);
        Ok(read)
    }
}
