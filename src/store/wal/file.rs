//! Reading a log file from its beginning to its end, one chunk at a time.

use std::{io, ops::Range, path::Path, sync::Arc};

use crate::{
    format::{
        header::{Damage, FileKind, HEADER_BYTES, Header},
        wal::{FRAME_HEADER_BYTES, FrameHeader, Frames},
    },
    model::time::Seq,
    num, os,
};

/// A log file that is read from the beginning to the end. A chunk stays in
/// memory as long as somebody refers to it.
pub(crate) struct LogFile {
    file: Box<dyn os::File>,
    len: usize,
    /// Bytes that are read at once.
    chunk_bytes: usize,
    chunk: Arc<[u8]>,
    /// Offset of the current chunk in the file.
    at: usize,
    /// A copy of the payload of the last large frame.
    large: Arc<[u8]>,
}

/// A frame, and the buffer that it is in.
pub(crate) struct ReadFrame<'a> {
    pub(super) seq: Seq,
    pub(super) durable: Seq,
    pub(super) buffer: &'a Arc<[u8]>,
    /// The range of the payload in `buffer`.
    pub(super) range: Range<usize>,
    /// Bytes that the frame takes in the file.
    pub(super) size: usize,
}

impl LogFile {
    pub(crate) fn open(fs: &dyn os::Fs, path: &Path, chunk_bytes: usize) -> io::Result<Self> {
        let file = fs.open(path)?;
        let len = usize::try_from(file.size()?).map_err(|_| {
            io::Error::new(io::ErrorKind::FileTooLarge, "larger than the address space")
        })?;
        Ok(Self { file, len, chunk_bytes, chunk: Arc::default(), at: 0, large: Arc::default() })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Reads bytes from `at` on: at least `least`, if the file has them.
    fn from(&mut self, at: usize, least: usize) -> io::Result<&[u8]> {
        let left = self.len.saturating_sub(at);
        let least = least.min(left);
        let have = self.chunk.len().saturating_sub(at.saturating_sub(self.at));
        if at < self.at || have < least {
            // Drops the old chunk first, so that only one is in memory.
            self.chunk = Arc::default();
            self.at = at;
            let bytes = left.min(least.max(self.chunk_bytes));
            let mut chunk: Arc<[u8]> = std::iter::repeat_n(0, bytes).collect();
            if let Some(bytes) = Arc::get_mut(&mut chunk) {
                self.file.read_at(num::wide(at), bytes)?;
            }
            self.chunk = chunk;
        }
        Ok(self.chunk.get(at.saturating_sub(self.at)..).unwrap_or_default())
    }

    /// The header of the file.
    pub(crate) fn header(&mut self) -> io::Result<Result<Header, Damage>> {
        Ok(Header::decode(FileKind::Wal, self.from(0, HEADER_BYTES)?))
    }

    /// The header of the frame at `at`. `None` if no frame begins there.
    pub(crate) fn frame_header(
        &mut self,
        frames: &Frames,
        at: usize,
    ) -> io::Result<Option<FrameHeader>> {
        Ok(frames.header(self.from(at, FRAME_HEADER_BYTES)?, 0))
    }

    /// The frame at `at`. `None` if no complete frame begins there.
    pub(crate) fn frame(
        &mut self,
        frames: &Frames,
        at: usize,
    ) -> io::Result<Option<ReadFrame<'_>>> {
        let Some(header) = self.frame_header(frames, at)? else { return Ok(None) };
        let size = Frames::size(header.len);
        if size > self.len.saturating_sub(at) {
            return Ok(None);
        }
        self.from(at, size)?;
        let from = at.saturating_sub(self.at);
        let Some(frame) = frames.open(&self.chunk, from) else { return Ok(None) };
        let (seq, durable) = (frame.seq, frame.durable);
        let len = frame.payload.len();
        // The payload of a larger frame is copied out of its chunk. Otherwise it
        // would keep too much of the chunk in memory.
        if size > self.chunk_bytes / 3 {
            self.large = frame.payload.into();
            return Ok(Some(ReadFrame { seq, durable, buffer: &self.large, range: 0..len, size }));
        }
        let start = from.saturating_add(FRAME_HEADER_BYTES);
        let range = start..start.saturating_add(len);
        Ok(Some(ReadFrame { seq, durable, buffer: &self.chunk, range, size }))
    }

    /// Whether the file has only zeros from `at` on.
    pub(crate) fn is_zero_from(&mut self, mut at: usize) -> io::Result<bool> {
        while at < self.len {
            let bytes = self.from(at, 1)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at = at.saturating_add(bytes.len().max(1));
        }
        Ok(true)
    }
}
