//! Writing a data file sequentially.

use std::path::PathBuf;

use crate::{
    format::{
        header::Header,
        manifest::DataFile,
        segment::{self, BLOCK_BYTES, Layout, Section},
    },
    model::error::{Error, Result},
    num,
    os::file::{File, Fs},
};

/// Bytes of a write chunk. Chunks are written at multiples of their size.
pub(crate) const WRITE_CHUNK_BYTES: usize = 1 << 20;

/// Bytes of a write chunk with `huge_pages`. A file system that supports large
/// pages in its cache uses pages of this size for such writes.
pub(crate) const HUGE_WRITE_CHUNK_BYTES: usize = 2 << 20;

/// A data file that is being written. Block 0 is written last, so a file that
/// was not finished is not valid.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: Box<dyn File>,
    header: Header,
    sections: Vec<Section>,
    /// The bytes after the last written block.
    buffer: Vec<u8>,
    chunk_bytes: usize,
    /// The length at which the buffer is written, so that chunks are at
    /// multiples of their size. The first one is shorter by block 0.
    full: usize,
    /// Offset of the buffer in the file: a multiple of the block size.
    at: u64,
    checksums: Vec<u32>,
}

impl Writer {
    /// Creates the file. `chunk_bytes` is the number of bytes of a write chunk: a
    /// multiple of the block size, and larger than one block.
    pub(crate) fn create(
        fs: &dyn Fs,
        path: PathBuf,
        header: Header,
        chunk_bytes: usize,
    ) -> Result<Self> {
        let file = fs.create_new_read_only(&path);
        let file = file.map_err(|error| Error::io("create", &path, error))?;
        Ok(Self {
            path,
            file,
            header,
            sections: Vec::new(),
            buffer: Vec::with_capacity(chunk_bytes),
            chunk_bytes,
            full: chunk_bytes.saturating_sub(BLOCK_BYTES),
            at: num::wide(BLOCK_BYTES),
            checksums: Vec::new(),
        })
    }

    /// Ends the current section and begins a new one.
    pub(crate) fn section(&mut self, tag: u32, row_bytes: usize) {
        self.pad();
        self.sections.push(Section {
            tag,
            row_bytes: num::short(row_bytes),
            offset: self.end(),
            len: 0,
        });
    }

    /// Length of the current section in bytes.
    pub(crate) fn section_len(&self) -> u64 {
        self.sections.last().map_or(0, |section| section.len)
    }

    /// Appends to the current section.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(section) = self.sections.last_mut() {
            section.len = section.len.saturating_add(num::wide(bytes.len()));
        }
        let mut rest = bytes;
        loop {
            let room = self.full.saturating_sub(self.buffer.len());
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.buffer.extend_from_slice(now);
            if self.buffer.len() < self.full {
                return Ok(());
            }
            self.flush()?;
            rest = later;
        }
    }

    /// Offset of the next byte in the file.
    fn end(&self) -> u64 {
        self.at.saturating_add(num::wide(self.buffer.len()))
    }

    /// Fills the last block with zeros.
    fn pad(&mut self) {
        self.buffer.resize(self.buffer.len().next_multiple_of(BLOCK_BYTES), 0);
    }

    /// Writes the buffer, which consists of complete blocks.
    fn flush(&mut self) -> Result<()> {
        let (blocks, _) = self.buffer.as_chunks::<BLOCK_BYTES>();
        self.checksums.extend(blocks.iter().map(|block| crc32fast::hash(block)));
        self.file
            .write_at(self.at, &self.buffer)
            .map_err(|error| Error::io("write", &self.path, error))?;
        self.at = self.end();
        self.full = self.chunk_bytes;
        self.buffer.clear();
        Ok(())
    }

    /// Finishes the file and syncs it. The caller has to sync the directory.
    pub(crate) fn finish(mut self) -> Result<DataFile> {
        self.pad();
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        let number = u32::try_from(self.header.number).unwrap_or(u32::MAX);
        let layout =
            Layout::new(self.header, self.sections).map_err(|damage| damage.in_file(&self.path))?;
        let block0 = layout.encode();
        let pages = layout.encode_pages(&self.checksums);
        self.file
            .write_at(self.at, &pages)
            .and_then(|()| self.file.write_at(0, &block0))
            .map_err(|error| Error::io("write", &self.path, error))?;
        self.file.sync().map_err(|error| Error::io("sync", &self.path, error))?;
        Ok(DataFile { number, len: layout.len, digest: segment::digest(&block0, &pages) })
    }
}
