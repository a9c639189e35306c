//! Appending groups of frames to the log, with one write and at most one sync
//! for each group.

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
    num,
    os::{self, file::File},
    store::wal::{
        dir::{LogDir, file_path},
        truncate::Removed,
    },
};

/// The most zeros ahead of the frames, as a multiple of those that a file
/// begins with.
const MOST_AHEAD: usize = 32;

/// The largest capacity that the buffer keeps between groups.
const BUFFER_BYTES: usize = 4 << 20;

/// The end of the log, to which frames are appended.
#[derive(Debug)]
pub(crate) struct Writer {
    store: StoreId,
    dir: PathBuf,
    rotate_bytes: u64,
    zeros_bytes: usize,
    /// The current file of this lifetime of the engine; `None` before its first
    /// write.
    current: Option<Current>,
    /// The last frame that was written.
    last: Seq,
    /// The last frame that a sync covers.
    durable: Seq,
    /// Set by a failure: the log accepts no more writes.
    failed: Option<Error>,
    buffer: Vec<u8>,
    files: u64,
    bytes: u64,
    /// Whether the next frame goes into a new file.
    rotate: bool,
}

#[derive(Debug)]
struct Current {
    path: PathBuf,
    file: Box<dyn File>,
    frames: Frames,
    /// Offset of the next frame.
    end: u64,
    /// Offset at which the written zeros end; at least `end`.
    filled: u64,
}

impl Writer {
    /// Continues a log of `files` files and `bytes` bytes after the commit
    /// `last`. All of it is durable.
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
            zeros_bytes: place.sizes.zeros_bytes,
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

    /// Number of files of the log.
    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    /// Bytes of the log files, including zeros ahead of the frames.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes the next frame go into a new file, so that the files before it can
    /// be removed once a checkpoint covers them.
    pub(crate) fn rotate(&mut self) {
        self.rotate = true;
    }

    /// Begins a file for the commits after `checkpoint` if no file has any, so
    /// that all files before it can be removed. At any time, the log has a file
    /// that continues the checkpoint.
    ///
    /// If the file cannot be created, nothing of the log has changed, and the
    /// next frame tries it again. A failed sync fails the log for good, as
    /// always.
    pub(crate) fn continue_from(&mut self, place: LogDir<'_>, checkpoint: Seq) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.last == checkpoint && (self.rotate || self.current.is_none()) {
            self.sync()?;
            // A failure is not recorded in `failed`: the next frame needs a new
            // file as before, and a file that may have been left holds no
            // frame.
            return self.begin_file(place);
        }
        Ok(())
    }

    /// Subtracts files that were removed.
    pub(crate) fn removed(&mut self, removed: Removed) {
        self.files = self.files.saturating_sub(removed.files);
        self.bytes = self.bytes.saturating_sub(removed.bytes);
    }

    /// Creates the first file of a store's log.
    pub(crate) fn create(&mut self, place: LogDir<'_>) -> Result<()> {
        self.begin_file(place)
    }

    /// Appends a group of batches, which continue the sequence, in one write.
    /// With `sync`, one sync makes them and all earlier ones durable.
    ///
    /// After an error, the writer accepts no more writes. How much of the group
    /// reached the disk is for recovery to find out.
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
            return Err(Error::internal("the log has no current file"));
        };
        self.buffer.clear();
        let mut last = self.last;
        for payload in group {
            last = last.next();
            current.frames.seal(last, self.durable, payload, &mut self.buffer);
        }
        let grown = current.write(&mut self.buffer, self.zeros_bytes)?;
        // The memory of a large group is released.
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
        self.bytes = self.bytes.saturating_add(grown);
        self.last = last;
        if sync { self.sync() } else { Ok(()) }
    }

    /// Makes everything that was appended durable.
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
        let size = num::wide(size);
        // A group that is larger than a file gets one of its own.
        current.end > num::wide(HEADER_BYTES)
            && current.end.saturating_add(size) > self.rotate_bytes
    }

    /// Begins the file whose first frame is the next one. Header, zeros and
    /// name are durable before any frame is written to it.
    fn begin_file(&mut self, place: LogDir<'_>) -> Result<()> {
        let first = self.last.next();
        let path = file_path(&self.dir, first);
        let header = Header::new(FileKind::Wal, self.store, first.get(), place.salt());
        let mut start = header.encode().to_vec();
        start.resize(self.zeros_bytes.max(start.len()), 0);
        let file = os::write_atomic(place.fs, &path, &start)?;
        let filled = num::wide(start.len());
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(filled);
        self.rotate = false;
        self.current = Some(Current {
            path,
            file,
            frames: Frames::new(&header),
            end: num::wide(HEADER_BYTES),
            filled,
        });
        Ok(())
    }
}

impl Current {
    /// Writes `frames` at the end, followed by zeros if they exceed the zeros
    /// that were written before: `least` of them or more. Returns by how many
    /// bytes the file grew.
    fn write(&mut self, frames: &mut Vec<u8>, least: usize) -> Result<u64> {
        let len = num::wide(frames.len());
        let end = self.end.saturating_add(len);
        // No zeros after a large group, since they would only double the bytes
        // that it writes.
        let most = least.saturating_mul(MOST_AHEAD);
        let ahead = num::size(end).clamp(least, most);
        if end > self.filled && frames.len() < ahead / 2 {
            frames.resize(frames.len().saturating_add(ahead), 0);
        }
        self.file
            .write_at(self.end, frames)
            .map_err(|error| Error::io("write", &self.path, error))?;
        let written = self.end.saturating_add(num::wide(frames.len()));
        let grown = written.saturating_sub(self.filled);
        self.filled = self.filled.max(written);
        self.end = end;
        Ok(grown)
    }
}
