//! Appends groups of frames: one write and at most one sync a group.

use std::path::PathBuf;

use crate::{
    format::{
        header::{FileKind, HEADER_BYTES, Header, StoreId},
        wal::Frames,
    },
    model::{
        error::{Error, Result},
        time::Seq,
    },
    os::{self, file::File},
    store::wal::{
        dir::{LogDir, file_path},
        truncate::Removed,
    },
};

/// How far ahead of the frames a file is filled with zeros. A sync of blocks
/// that were written before has no metadata to write: 114 µs against 190 µs on
/// the machine that this was measured on. Space that is only allocated does not
/// have that effect.
///
/// A file begins with the smaller amount and doubles to the larger one, so that
/// a life with few writes leaves a small file.
const LEAST_AHEAD_BYTES: usize = 32 << 10;

const MOST_AHEAD_BYTES: usize = 1 << 20;

/// The buffer keeps at most this between groups.
const BUFFER_BYTES: usize = 4 << 20;

/// The end of the log.
#[derive(Debug)]
pub(crate) struct Writer {
    store: StoreId,
    dir: PathBuf,
    rotate_bytes: u64,
    /// The file of this life, once there is one.
    current: Option<Current>,
    /// The last frame that was written.
    last: Seq,
    /// The last frame that a sync covers.
    durable: Seq,
    /// Set by a failure: the log takes nothing more.
    failed: Option<Error>,
    buffer: Vec<u8>,
    files: u64,
    bytes: u64,
    /// The next frame goes into a new file.
    rotate: bool,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: Box<dyn File>,
    frames: Frames,
    /// Where the next frame goes.
    end: u64,
    /// Where the zeros that were written end; at least `end`.
    filled: u64,
}

impl Writer {
    /// Continues a log of `files` files and `bytes` bytes after `last`, all of
    /// which is durable.
    pub(crate) fn new(
        place: LogDir<'_>,
        rotate_bytes: u64,
        last: Seq,
        files: u64,
        bytes: u64,
    ) -> Self {
        Self {
            store: place.store,
            dir: place.dir.to_owned(),
            rotate_bytes,
            current: None,
            last,
            durable: last,
            failed: None,
            buffer: Vec::new(),
            files,
            bytes,
            rotate: false,
        }
    }

    /// The last frame that is known to be durable.
    pub(crate) fn durable(&self) -> Seq {
        self.durable
    }

    /// Files of the log.
    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    /// Bytes of the log's files, zeros ahead of the frames included.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Has the next frame go into a new file, so that those before it can be
    /// removed once a checkpoint covers them.
    pub(crate) fn rotate(&mut self) {
        self.rotate = true;
    }

    /// Begins a file for what follows `checkpoint` if there is none, so that
    /// all before it can go. The log has a file that continues the checkpoint
    /// at any time.
    ///
    /// If the file cannot be made, nothing of the log has changed, and the next
    /// frame has it made again. A sync that fails is the log's end, as ever.
    pub(crate) fn continue_from(&mut self, place: LogDir<'_>, checkpoint: Seq) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.last == checkpoint && (self.rotate || self.current.is_none()) {
            self.sync()?;
            // A failure stops nothing: the next frame needs a new file as
            // before, and what may be there of this one holds none.
            return self.begin_file(place);
        }
        Ok(())
    }

    /// Notes that files were removed.
    pub(crate) fn removed(&mut self, removed: Removed) {
        self.files = self.files.saturating_sub(removed.files);
        self.bytes = self.bytes.saturating_sub(removed.bytes);
    }

    /// Creates the first file of a store's log.
    pub(crate) fn create(&mut self, place: LogDir<'_>) -> Result<()> {
        self.begin_file(place)
    }

    /// Appends a group of batches, which continue the sequence, in one write;
    /// with `sync`, one sync makes them and all before them durable.
    ///
    /// After an error the writer takes nothing more: what reached the disk is
    /// for recovery to find out.
    pub(crate) fn append<'p>(
        &mut self,
        place: LogDir<'_>,
        group: impl Iterator<Item = &'p [u8]> + Clone,
        sync: bool,
    ) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let result = self.try_append(place, group, sync);
        if let Err(error) = &result {
            self.failed = Some(error.clone());
        }
        result
    }

    fn try_append<'p>(
        &mut self,
        place: LogDir<'_>,
        group: impl Iterator<Item = &'p [u8]> + Clone,
        sync: bool,
    ) -> Result<()> {
        let size =
            group.clone().map(|payload| Frames::size(payload.len())).fold(0, usize::saturating_add);
        if self.must_rotate(size) {
            self.sync()?;
            self.begin_file(place)?;
        }
        let Some(current) = &mut self.current else {
            return Err(Error::internal("no file of the log was begun"));
        };
        self.buffer.clear();
        let mut last = self.last;
        for payload in group {
            last = last.next();
            current.frames.seal(last, self.durable, payload, &mut self.buffer);
        }
        let grown = current.write(&mut self.buffer)?;
        // One large group shall not hold its memory for ever.
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
        self.bytes = self.bytes.saturating_add(grown);
        self.last = last;
        if sync { self.sync() } else { Ok(()) }
    }

    /// Makes all that was appended durable.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.durable == self.last {
            return Ok(());
        }
        if let Some(current) = &self.current
            && let Err(error) = current.file.sync()
        {
            let error = Error::io("sync", &current.path, error);
            self.failed = Some(error.clone());
            return Err(error);
        }
        self.durable = self.last;
        Ok(())
    }

    fn must_rotate(&self, size: usize) -> bool {
        let Some(current) = self.current.as_ref().filter(|_| !self.rotate) else { return true };
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        // A group that is larger than a file gets one of its own.
        current.end > u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX)
            && current.end.saturating_add(size) > self.rotate_bytes
    }

    /// Begins the file whose first frame is the next one. It appears whole:
    /// header, zeros and name, durably, before any frame goes into it.
    fn begin_file(&mut self, place: LogDir<'_>) -> Result<()> {
        let first = self.last.next();
        let path = file_path(&self.dir, first);
        let header = Header {
            kind: FileKind::Wal,
            store: self.store,
            number: first.get(),
            salt: place.salt(),
        };
        let mut start = header.encode().to_vec();
        start.resize(LEAST_AHEAD_BYTES, 0);
        let file = os::write_atomic(place.fs, &path, &start)?;
        let filled = u64::try_from(start.len()).unwrap_or(u64::MAX);
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(filled);
        self.rotate = false;
        self.current = Some(Current {
            path,
            file,
            frames: Frames::new(&header),
            end: u64::try_from(HEADER_BYTES).unwrap_or(u64::MAX),
            filled,
        });
        Ok(())
    }
}

impl Current {
    /// Writes `frames` at the end, followed by zeros if they pass those that
    /// are there. Returns by how much the file grew.
    fn write(&mut self, frames: &mut Vec<u8>) -> Result<u64> {
        let len = u64::try_from(frames.len()).unwrap_or(u64::MAX);
        let end = self.end.saturating_add(len);
        // A large group pays for its own metadata; zeros would only double
        // what it writes.
        let ahead =
            usize::try_from(end).unwrap_or(usize::MAX).clamp(LEAST_AHEAD_BYTES, MOST_AHEAD_BYTES);
        if end > self.filled && frames.len() < ahead / 2 {
            frames.resize(frames.len().saturating_add(ahead), 0);
        }
        self.file
            .write_at(self.end, frames)
            .map_err(|error| Error::io("write", &self.path, error))?;
        let written = self.end.saturating_add(u64::try_from(frames.len()).unwrap_or(u64::MAX));
        let grown = written.saturating_sub(self.filled);
        self.filled = self.filled.max(written);
        self.end = end;
        Ok(grown)
    }
}
