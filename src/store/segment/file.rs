//! Maps data files and checks what is read of them.

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
    model::error::{Error, Result},
    os::{
        file::Fs,
        map::{Expected, Mapping},
    },
    store::segment::path::file_path,
    sync::RwLock,
};

const BLOCK: u64 = 4096;

/// Once so many blocks of a file were met, the operating system reads ahead in
/// it. Before, it would read megabytes for each of the few that an opening and
/// the first look-ups need.
const FEW: u32 = 16;

/// Whether the store is still the engine's that mapped its files. What has its
/// path afterwards is nobody's here to remove files from.
#[derive(Debug)]
pub(crate) struct StoreLease(RwLock<bool>);

impl StoreLease {
    pub(crate) fn new() -> Self {
        Self(RwLock::new(true))
    }

    /// Waits for whoever is removing a file.
    pub(crate) fn end(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// A data file, mapped.
pub(crate) struct Segment {
    fs: Arc<dyn Fs>,
    path: PathBuf,
    kind: FileKind,
    store: StoreId,
    file: DataFile,
    map: Mapping,
    /// What the first block says, once it was read.
    layout: OnceLock<Layout>,
    /// A bit for each block that was found to be good.
    ///
    /// Relaxed throughout: a bit tells about bytes that never change, and
    /// hands over nothing else.
    checked: Box<[AtomicU64]>,
    /// How many times a block was checked.
    checks: AtomicU32,
    /// If the file goes with the last who has it: as long as this says so.
    retired: OnceLock<Arc<StoreLease>>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Some(lease) = self.retired.get() {
            let lease = lease.0.read().unwrap_or_else(PoisonError::into_inner);
            if *lease {
                // What stays is removed by the next opening.
                let _ = self.fs.remove(&self.path);
            }
        }
    }
}

/// Maps a file, and has its first block fetched, if that is looked at when it is
/// opened. A store of many millions has dozens of heaps, of which the first
/// look-ups read one or two.
pub(crate) fn map(fs: &Arc<dyn Fs>, dir: &Path, kind: FileKind, file: DataFile) -> Result<Mapping> {
    let path = file_path(dir, kind, file.number);
    let map = fs.map(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::corrupt(&path, 0, "the file is missing"),
        _ => Error::io("map", &path, error),
    })?;
    let first = if kind == FileKind::Heap { 0 } else { BLOCK_BYTES };
    map.advise(Expected::Little { first });
    Ok(map)
}

impl Segment {
    /// A file that is mapped, if it has the length that it is to have, and if its
    /// first block says what it is to say. Of a heap that is read when anything
    /// else of it is.
    pub(crate) fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        kind: FileKind,
        store: StoreId,
        file: DataFile,
        map: Mapping,
    ) -> Result<Self> {
        let path = file_path(dir, kind, file.number);
        let len = u64::try_from(map.len()).unwrap_or(u64::MAX);
        if file.len != len {
            return Err(match Layout::decode(kind, &map, len) {
                Err(damage) if damage.unsupported => damage.in_file(&path),
                _ => {
                    let what = format!("the manifest says {} bytes, there are {len}", file.len);
                    Error::corrupt(path, 64, what)
                }
            });
        }
        let words = len.div_ceil(BLOCK).saturating_add(1).div_ceil(64);
        let words = usize::try_from(words).unwrap_or(usize::MAX);
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

    /// What the first block says.
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

    /// All of the file, unchecked.
    pub(crate) fn mapped(&self) -> &[u8] {
        self.map.advise(Expected::Much);
        &self.map
    }

    /// Lets the file go with the last who has it, while the store is owned.
    pub(crate) fn retire(&self, lease: &Arc<StoreLease>) {
        self.retired.get_or_init(|| Arc::clone(lease));
    }

    /// The error of damage at an offset within this file.
    pub(crate) fn damaged(&self, at: usize, what: impl Into<String>) -> Error {
        Damage::new(at, what).in_file(&self.path)
    }

    /// The section with this tag, whose rows have this size.
    pub(crate) fn section(&self, tag: u32, row_bytes: usize) -> Result<Section> {
        self.layout()?.section(tag, row_bytes).map_err(|damage| damage.in_file(&self.path))
    }

    /// Bytes of the file, checked.
    #[inline]
    pub(crate) fn bytes(&self, at: usize, len: usize) -> Result<&[u8]> {
        let bytes = at.checked_add(len).and_then(|end| self.map.get(at..end));
        let Some(bytes) = bytes else {
            return Err(self.damaged(at, format!("{len} bytes expected, the end found")));
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
        // Relaxed: it counts, and hands over nothing.
        if self.checks.fetch_add(1, Ordering::Relaxed) == FEW {
            self.map.advise(Expected::Much);
        }
        let layout = self.layout()?;
        let index = u64::try_from(block).unwrap_or(u64::MAX);
        let slice = |at: u64| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            self.map.get(at..at.saturating_add(BLOCK_BYTES)).unwrap_or_default()
        };
        let (bytes, page) = (slice(index.saturating_mul(BLOCK)), slice(layout.page_of(index)));
        let checked = layout.check_block(index, bytes, page);
        let (word, bit) = (self.checked.get(block / 64), 1 << (block % 64));
        if let Some(word) = word {
            match checked {
                Ok(()) => word.fetch_or(bit, Ordering::Relaxed),
                // It may have been good once.
                Err(_) => word.fetch_and(!bit, Ordering::Relaxed),
            };
        }
        checked.map_err(|damage| damage.in_file(&self.path))
    }

    /// Whether the block of this byte was good when it was last checked.
    pub(crate) fn is_good(&self, at: u64) -> bool {
        let block = usize::try_from(at / BLOCK).unwrap_or(usize::MAX);
        let word = self.checked.get(block / 64).map_or(0, |word| word.load(Ordering::Relaxed));
        word & (1 << (block % 64)) != 0
    }

    /// Checks that the file is the one that the manifest names, by its first
    /// block and its checksums.
    pub(crate) fn check_named(&self) -> Result<()> {
        self.check_named_by(self.layout()?)
    }

    fn check_named_by(&self, layout: &Layout) -> Result<()> {
        let pages_at = usize::try_from(layout.pages_offset()).unwrap_or(usize::MAX);
        let (block0, pages) = (self.map.get(..BLOCK_BYTES), self.map.get(pages_at..));
        if digest(block0.unwrap_or_default(), pages.unwrap_or_default()) == self.file.digest {
            Ok(())
        } else {
            Err(self.damaged(0, "the file is not the one that the manifest names"))
        }
    }

    /// Checks every byte of the file, whatever was checked before, and that it
    /// is the one that the manifest names. Gives bytes as they are found to be
    /// good, and all the damage there is. From then on, what is damaged is not
    /// read.
    pub(crate) fn verify(&self) -> impl Iterator<Item = Result<u64>> {
        let layout = self.layout();
        // Without a first block, that is all there is to tell.
        let count = layout.as_ref().map_or(0, |layout| layout.blocks());
        let beside = self.file.len.saturating_sub(count.saturating_mul(BLOCK));
        let named = layout.and_then(|layout| self.check_named_by(layout)).map(|()| beside);
        // A bad page is named once, not for each of its blocks.
        let mut last = None;
        let blocks = (1..=count).filter_map(move |block| {
            match self.check(usize::try_from(block).unwrap_or(usize::MAX)) {
                Ok(()) => Some(Ok(BLOCK)),
                Err(error) => {
                    let before = last.replace(error.to_string());
                    (before != last).then_some(Err(error))
                }
            }
        });
        std::iter::once(named).chain(blocks)
    }
}
