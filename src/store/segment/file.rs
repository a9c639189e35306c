//! Mapping data files and checking the blocks that are read.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use crate::{
    format::{
        header::{Damage, FileKind, StoreId},
        manifest::DataFile,
        segment::{BLOCK_BYTES, Layout, Section, digest},
    },
    model::{
        error::{Error, Result},
        limits::check_count,
    },
    num,
    os::{
        file::Fs,
        map::{Expected, Mapping},
        mapped::Mappings,
        needs::Need,
        process::Owner,
    },
    store::segment::path::file_path,
    sync::RwLock,
};

const BLOCK: u64 = 4096;

/// After this many checks of blocks of a file, the operating system is allowed
/// to read ahead in it. Earlier it would read megabytes for each of the few
/// blocks that an opening and the first lookups need.
const FEW: u32 = 16;

/// Whether the engine still owns the store. After it was closed, another engine
/// may own the path, so no files may be removed there.
#[derive(Debug)]
pub(crate) struct StoreLease {
    valid: RwLock<bool>,
    owner: Owner,
}

impl StoreLease {
    pub(crate) fn new() -> Self {
        Self { valid: RwLock::new(true), owner: Owner::current() }
    }

    /// Ends the lease. Waits for a removal that is under way.
    pub(crate) fn end(&self) {
        *self.valid.write().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// A mapped data file. Its blocks are checked on first access.
pub(crate) struct Segment {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    kind: FileKind,
    store: StoreId,
    file: DataFile,
    map: Mapping,
    /// The decoded block 0, once it was read.
    layout: OnceLock<Layout>,
    /// A bit for each block, set if the block was found to be good.
    ///
    /// All accesses are relaxed: a bit describes bytes that never change, and
    /// no other memory depends on it.
    checked: Box<[AtomicU64]>,
    /// How many times a block was checked.
    checks: AtomicU32,
    /// Set if the file is to be removed when the last user drops it, provided
    /// that the lease is still valid then.
    retired: OnceLock<Arc<StoreLease>>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // A forked process removes nothing, and waits for no lock.
        if let Some(lease) = self.retired.get().filter(|lease| lease.owner.is_here()) {
            let lease = lease.valid.read().unwrap_or_else(PoisonError::into_inner);
            if *lease {
                // If it fails, the next opening removes the file.
                let _ = self.fs.remove(&self.path);
            }
        }
    }
}

/// Maps a file. Requests its first block to be read ahead, if opening the file
/// reads it; of heaps it does not. A store of many millions of nodes has dozens
/// of heaps, of which the first lookups read one or two.
pub(crate) fn map(fs: &Arc<dyn Fs>, dir: &Path, kind: FileKind, file: DataFile) -> Result<Mapping> {
    let path = file_path(dir, kind, file.number);
    let map = fs.map(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::corrupt(&path, 0, "the file is missing"),
        std::io::ErrorKind::OutOfMemory => match check_mappings(&**fs, 1) {
            Ok(()) => Error::io("map", &path, error),
            Err(limit) => limit,
        },
        _ => Need::Mapping.failed(&path, error),
    })?;
    let first = if kind == FileKind::Heap { 0 } else { BLOCK_BYTES };
    map.advise(Expected::Little { first });
    Ok(map)
}

/// What the error of too many mappings calls them.
const MAPPED_FILES: &str = "mapped files of the process (drop old snapshots, close other engines, \
                            compact, or raise vm.max_map_count)";

/// Refuses to map this many more files than are mapped if that would be too
/// many.
pub(crate) fn check_mappings(fs: &dyn Fs, more: usize) -> Result<()> {
    let Some(Mappings { now, most }) = fs.mappings() else { return Ok(()) };
    check_count(MAPPED_FILES, now.saturating_add(more), most)
}

/// Refuses a checkpoint while so many files are mapped that a compaction, which
/// maps the old and the new files, might find no room.
pub(crate) fn check_mappings_for_checkpoint(fs: &dyn Fs) -> Result<()> {
    let Some(Mappings { now, most }) = fs.mappings() else { return Ok(()) };
    check_count(MAPPED_FILES, now, most.saturating_sub(most / 4))
}

impl Segment {
    /// Opens a mapped file, after checking that it has the length that the
    /// manifest says and that block 0 is right. Block 0 of a heap is checked
    /// only when the heap is first read.
    pub(crate) fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        kind: FileKind,
        store: StoreId,
        file: DataFile,
        map: Mapping,
    ) -> Result<Self> {
        let path = file_path(dir, kind, file.number);
        let len = num::wide(map.len());
        if file.len != len {
            return Err(match Layout::decode(kind, &map, len) {
                Err(damage) if damage.unsupported => damage.in_file(&path),
                _ => {
                    let what =
                        format!("the manifest says {} bytes, but the file has {len}", file.len);
                    Error::corrupt(path, 64, what)
                }
            });
        }
        let words = len.div_ceil(BLOCK).saturating_add(1).div_ceil(64);
        let words = num::size(words);
        let checked = bytemuck::allocation::try_zeroed_slice_box(words);
        let checked = checked.map_err(|()| {
            Error::io("map", &path, std::io::Error::from(std::io::ErrorKind::OutOfMemory))
        })?;
        let segment = Self {
            fs: Arc::clone(fs),
            path,
            kind,
            store,
            file,
            map,
            layout: OnceLock::new(),
            checked,
            checks: AtomicU32::new(0),
            retired: OnceLock::new(),
        };
        if kind != FileKind::Heap {
            segment.layout()?;
        }
        Ok(segment)
    }

    /// The decoded block 0.
    fn layout(&self) -> Result<&Layout> {
        match self.layout.get() {
            Some(layout) => Ok(layout),
            None => self.read_layout(),
        }
    }

    #[cold]
    fn read_layout(&self) -> Result<&Layout> {
        let damaged = |damage: Damage| damage.in_file(&self.path);
        let layout = Layout::decode(self.kind, &self.map, self.file.len).map_err(damaged)?;
        if layout.header.store != self.store {
            return Err(damaged(Damage::new(16, "the file belongs to another store")));
        }
        if layout.header.number != u64::from(self.file.number) {
            let what = format!("the file has number {}", layout.header.number);
            return Err(damaged(Damage::new(32, what)));
        }
        Ok(self.layout.get_or_init(|| layout))
    }

    pub(crate) fn file(&self) -> DataFile {
        self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All bytes of the file, without checking them.
    pub(crate) fn mapped(&self) -> &[u8] {
        self.map.advise(Expected::Much);
        &self.map
    }

    /// Removes the file when the last user drops it, if `lease` is still valid
    /// then.
    pub(crate) fn retire(&self, lease: &Arc<StoreLease>) {
        self.retired.get_or_init(|| Arc::clone(lease));
    }

    /// The error for damage at an offset of this file.
    pub(crate) fn damaged(&self, at: usize, what: impl Into<String>) -> Error {
        Damage::new(at, what).in_file(&self.path)
    }

    /// The section with this tag and this size of rows.
    pub(crate) fn section(&self, tag: u32, row_bytes: usize) -> Result<Section> {
        self.layout()?.section(tag, row_bytes).map_err(|damage| damage.in_file(&self.path))
    }

    /// A range of bytes of the file. Its blocks are checked if they were not
    /// before.
    #[inline]
    pub(crate) fn bytes(&self, at: usize, len: usize) -> Result<&[u8]> {
        let bytes = at.checked_add(len).and_then(|end| self.map.get(at..end));
        let Some(bytes) = bytes else {
            return Err(self.damaged(at, format!("expected {len} bytes, found the end")));
        };
        if len > 0 {
            let last = at.saturating_add(len).saturating_sub(1) / BLOCK_BYTES;
            for block in at / BLOCK_BYTES..=last {
                let bit = 1_u64 << (block % 64);
                let word = self.checked.get(block / 64);
                if word.is_none_or(|word| word.load(Ordering::Relaxed) & bit == 0) {
                    self.check(block)?;
                }
            }
        }
        Ok(bytes)
    }

    #[cold]
    fn check(&self, block: usize) -> Result<()> {
        // Relaxed: only a counter; no other memory depends on it.
        if self.checks.fetch_add(1, Ordering::Relaxed) == FEW {
            self.map.advise(Expected::Much);
        }
        let layout = self.layout()?;
        let index = num::wide(block);
        let slice = |at: u64| {
            let at = num::size(at);
            self.map.get(at..at.saturating_add(BLOCK_BYTES)).unwrap_or_default()
        };
        let (bytes, page) = (slice(index.saturating_mul(BLOCK)), slice(layout.page_of(index)));
        let checked = layout.check_block(index, bytes, page);
        let (word, bit) = (self.checked.get(block / 64), 1 << (block % 64));
        if let Some(word) = word {
            match checked {
                Ok(()) => word.fetch_or(bit, Ordering::Relaxed),
                // It may have been good in an earlier check.
                Err(_) => word.fetch_and(!bit, Ordering::Relaxed),
            };
        }
        checked.map_err(|damage| damage.in_file(&self.path))
    }

    /// Whether the block of this byte was good when it was last checked.
    pub(crate) fn is_good(&self, at: u64) -> bool {
        let block = num::size(at / BLOCK);
        let word = self.checked.get(block / 64).map_or(0, |word| word.load(Ordering::Relaxed));
        word & (1 << (block % 64)) != 0
    }

    /// Checks by block 0 and the checksum pages that the file is the one that
    /// the manifest names.
    pub(crate) fn check_named(&self) -> Result<()> {
        self.check_named_by(self.layout()?)
    }

    fn check_named_by(&self, layout: &Layout) -> Result<()> {
        let pages_at = num::size(layout.pages_offset());
        let (block0, pages) = (self.map.get(..BLOCK_BYTES), self.map.get(pages_at..));
        if digest(block0.unwrap_or_default(), pages.unwrap_or_default()) == self.file.digest {
            Ok(())
        } else {
            Err(self.damaged(0, "the file is not the one that the manifest names"))
        }
    }

    /// Checks every byte of the file, regardless of earlier checks, and that it
    /// is the file that the manifest names. Yields the number of bytes for each
    /// good part, and all damage. Reads of blocks that are found to be damaged
    /// fail from then on.
    pub(crate) fn verify(&self) -> impl Iterator<Item = Result<u64>> {
        let layout = self.layout();
        // If block 0 cannot be read, its error is the only item.
        let count = layout.as_ref().map_or(0, |layout| layout.blocks());
        let beside = self.file.len.saturating_sub(count.saturating_mul(BLOCK));
        let named = layout.and_then(|layout| self.check_named_by(layout)).map(|()| beside);
        // A bad checksum page is reported once, not for each of its blocks.
        let mut last = None;
        let blocks = (1..=count).filter_map(move |block| match self.check(num::size(block)) {
            Ok(()) => Some(Ok(BLOCK)),
            Err(error) => {
                let before = last.replace(error.to_string());
                (before != last).then_some(Err(error))
            }
        });
        std::iter::once(named).chain(blocks)
    }
}
