//! Maps data files and searches them.

use std::{
    fmt,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytemuck::Pod;

use super::file_path;
use crate::{
    error::{Error, Result},
    format::{
        Damage, FileKind, StoreId,
        manifest::DataFile,
        segment::{BLOCK_BYTES, Layout, Section, digest},
        tables::{self, KEY_HEAD_BYTES, KeyPlace, Le32, SortedRow},
    },
    os::{Fs, Mapping},
    sync::RwLock,
};

const BLOCK: u64 = 4096;

/// Whether the store is still the engine's that mapped its files. What has its
/// path afterwards is nobody's here to remove files from.
#[derive(Debug)]
pub(crate) struct Owned(RwLock<bool>);

impl Owned {
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
    file: DataFile,
    layout: Layout,
    map: Mapping,
    /// A bit for each block that was found to be good.
    ///
    /// Relaxed throughout: a bit tells about bytes that never change, and
    /// hands over nothing else.
    checked: Box<[AtomicU64]>,
    /// If the file goes with the last who has it: as long as this says so.
    retired: OnceLock<Arc<Owned>>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Some(owned) = self.retired.get() {
            let owned = owned.0.read().unwrap_or_else(PoisonError::into_inner);
            if *owned {
                // What stays is removed by the next opening.
                let _ = self.fs.remove(&self.path);
            }
        }
    }
}

impl Segment {
    /// Maps a file and reads its first block.
    pub(crate) fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        kind: FileKind,
        store: StoreId,
        file: DataFile,
    ) -> Result<Self> {
        let path = file_path(dir, kind, file.number);
        let map = fs.map(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::corrupt(&path, 0, "the file is missing"),
            _ => Error::io("map", &path, error),
        })?;
        let damaged = |damage: Damage| damage.in_file(&path);
        let len = u64::try_from(map.len()).unwrap_or(u64::MAX);
        let layout = Layout::decode(kind, &map, len).map_err(damaged)?;
        if layout.header.store != store {
            return Err(damaged(Damage::new(16, "the file belongs to another store")));
        }
        if layout.header.number != u64::from(file.number) {
            let what = format!("the file has number {}", layout.header.number);
            return Err(damaged(Damage::new(32, what)));
        }
        if file.len != len {
            let what = format!("the manifest says {} bytes, there are {len}", file.len);
            return Err(damaged(Damage::new(64, what)));
        }
        let words = layout.blocks().saturating_add(1).div_ceil(64);
        let words = usize::try_from(words).unwrap_or(usize::MAX);
        let checked = std::iter::repeat_with(|| AtomicU64::new(0)).take(words).collect();
        Ok(Self { fs: Arc::clone(fs), path, file, layout, map, checked, retired: OnceLock::new() })
    }

    pub(crate) fn file(&self) -> DataFile {
        self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All of the file, unchecked.
    pub(crate) fn mapped(&self) -> &[u8] {
        &self.map
    }

    /// Lets the file go with the last who has it, while the store is owned.
    pub(crate) fn retire(&self, owned: &Arc<Owned>) {
        self.retired.get_or_init(|| Arc::clone(owned));
    }

    /// The error of damage at an offset within this file.
    pub(crate) fn damaged(&self, at: usize, what: impl Into<String>) -> Error {
        Damage::new(at, what).in_file(&self.path)
    }

    /// The section with this tag, whose rows have this size.
    pub(crate) fn section(&self, tag: u32, row_bytes: usize) -> Result<Section> {
        self.layout.section(tag, row_bytes).map_err(|damage| damage.in_file(&self.path))
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
        let index = u64::try_from(block).unwrap_or(u64::MAX);
        let slice = |at: u64| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            self.map.get(at..at.saturating_add(BLOCK_BYTES)).unwrap_or_default()
        };
        let checked = self.layout.check_block(
            index,
            slice(index.saturating_mul(BLOCK)),
            slice(self.layout.page_of(index)),
        );
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
        let pages_at = usize::try_from(self.layout.pages_offset()).unwrap_or(usize::MAX);
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
        let blocks = self.layout.blocks().saturating_mul(BLOCK);
        let named = self.check_named().map(|()| self.file.len.saturating_sub(blocks));
        // A bad page is named once, not for each of its blocks.
        let mut last = None;
        let blocks = (1..=self.layout.blocks()).filter_map(move |block| {
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

/// Rows of one section of a file.
#[derive(Debug)]
pub(crate) struct Table<R> {
    segment: Arc<Segment>,
    at: usize,
    count: usize,
    /// Ranks of the first and the last row, once a search needed them.
    ends: OnceLock<(u64, u64)>,
    rows: PhantomData<fn() -> R>,
}

impl<R: Pod> Table<R> {
    pub(crate) fn open(segment: &Arc<Segment>, tag: u32) -> Result<Self> {
        let section = segment.section(tag, size_of::<R>())?;
        let place = usize::try_from(section.offset).ok().zip(usize::try_from(section.rows()).ok());
        let Some((at, count)) = place else {
            return Err(segment.damaged(80, "a section is larger than the address space"));
        };
        Ok(Self {
            segment: Arc::clone(segment),
            at,
            count,
            ends: OnceLock::new(),
            rows: PhantomData,
        })
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of the rows.
    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.count.saturating_mul(size_of::<R>())).unwrap_or(u64::MAX)
    }

    /// Where a row stands in the file.
    pub(crate) fn offset(&self, row: usize) -> usize {
        self.at.saturating_add(row.saturating_mul(size_of::<R>()))
    }

    /// The bytes of all rows, checked.
    pub(crate) fn bytes_of_all(&self) -> Result<&[u8]> {
        self.segment.bytes(self.at, self.count.saturating_mul(size_of::<R>()))
    }

    #[inline]
    pub(crate) fn row(&self, row: usize) -> Result<&R> {
        let at = self.offset(row);
        if row >= self.count {
            return Err(self.segment.damaged(at, format!("there is no row {row}")));
        }
        let bytes = self.segment.bytes(at, size_of::<R>())?;
        // Rows have no alignment and any bytes are one: this does not fail.
        bytemuck::try_from_bytes(bytes)
            .map_err(|error| self.segment.damaged(at, format!("row {row}: {error}")))
    }
}

/// Guesses by interpolation before a search goes by halves.
const GUESSES: usize = 4;

impl<R: SortedRow> Table<R> {
    /// The first row whose key is not less than `key`.
    ///
    /// Ids are spread evenly if they are hashes, and nearly so if they are
    /// times: a guess in proportion lands close. What spread they have beyond
    /// that costs a search by halves from there.
    pub(crate) fn lower_bound(&self, key: &R::Key) -> Result<usize> {
        if self.count == 0 {
            return Ok(0);
        }
        let (mut low_rank, mut high_rank) = match self.ends.get() {
            Some(ends) => *ends,
            None => {
                let rank = |row: usize| Ok::<u64, Error>(R::rank(&self.row(row)?.key()));
                let ends = (rank(0)?, rank(self.count.saturating_sub(1))?);
                *self.ends.get_or_init(|| ends)
            }
        };
        let rank = R::rank(key);
        // Rows before `low` are less than the key, those from `high` on are not.
        let (mut low, mut high) = (0, self.count);
        let mut rising = None;
        for _ in 0..GUESSES {
            if high.saturating_sub(low) <= 4 {
                break;
            }
            let guess = interpolate(low, high, low_rank, high_rank, rank);
            let found = self.row(guess)?.key();
            if found < *key {
                low = guess.saturating_add(1);
                low_rank = R::rank(&found);
                rising = Some(true);
            } else {
                high = guess;
                high_rank = R::rank(&found);
                rising = Some(false);
            }
        }
        // From the last guess on in growing steps.
        let mut step = 1_usize;
        while let Some(rising) = rising {
            let next = if rising { low.saturating_add(step) } else { high.saturating_sub(step) };
            if next >= high || next < low || (rising && next == low) {
                break;
            }
            let less = self.row(next)?.key() < *key;
            if less {
                low = next.saturating_add(1);
            } else {
                high = next;
            }
            if less != rising {
                break;
            }
            step = step.saturating_mul(2);
        }
        while low < high {
            let middle = low.midpoint(high);
            if self.row(middle)?.key() < *key {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// A row of `low..high` in proportion to where `rank` lies between the ranks.
fn interpolate(low: usize, high: usize, low_rank: u64, high_rank: u64, rank: u64) -> usize {
    let last = high.saturating_sub(1);
    let (Some(span), Some(part)) =
        (high_rank.checked_sub(low_rank).filter(|s| *s > 0), rank.checked_sub(low_rank))
    else {
        return if rank < low_rank { low } else { low.midpoint(last) };
    };
    let rows = u128::try_from(last.saturating_sub(low)).unwrap_or(0);
    let ahead = rows.saturating_mul(u128::from(part)).checked_div(u128::from(span)).unwrap_or(0);
    low.saturating_add(usize::try_from(ahead).unwrap_or(usize::MAX)).min(last)
}

/// The entries of a key table.
#[derive(Debug)]
pub(crate) struct KeyTable {
    segment: Arc<Segment>,
    offsets: Table<Le32>,
    at: usize,
    len: usize,
}

impl KeyTable {
    pub(crate) fn open(segment: &Arc<Segment>) -> Result<Self> {
        let offsets = Table::open(segment, tables::OFFSETS)?;
        let section = segment.section(tables::ROWS, 1)?;
        let place = usize::try_from(section.offset).ok().zip(usize::try_from(section.len).ok());
        let Some((at, len)) = place else {
            return Err(segment.damaged(80, "a section is larger than the address space"));
        };
        Ok(Self { segment: Arc::clone(segment), offsets, at, len })
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Bytes of the entries.
    pub(crate) fn bytes(&self) -> u64 {
        u64::try_from(self.len).unwrap_or(u64::MAX)
    }

    /// Where an entry stands in the file; where the entries begin if that
    /// cannot be read.
    pub(crate) fn offset(&self, row: usize) -> usize {
        let offset = self.offsets.row(row).map_or(0, |offset| offset.get());
        self.at.saturating_add(usize::try_from(offset).unwrap_or(usize::MAX))
    }

    pub(crate) fn entry(&self, row: usize) -> Result<KeyPlace<'_>> {
        let offset = usize::try_from(self.offsets.row(row)?.get()).unwrap_or(usize::MAX);
        let damaged =
            |damage: Damage| self.segment.damaged(self.at.saturating_add(offset), damage.what);
        let at = self.at.saturating_add(offset);
        let head = self.segment.bytes(at, KEY_HEAD_BYTES)?;
        let (_, key) = KeyPlace::decode_head(head).map_err(damaged)?;
        let len = KEY_HEAD_BYTES.saturating_add(key);
        if offset.saturating_add(len) > self.len {
            return Err(self.segment.damaged(at, "an entry goes beyond its section"));
        }
        KeyPlace::decode(self.segment.bytes(at, len)?).map_err(damaged)
    }

    /// The first entry that is not less than `place`.
    pub(crate) fn lower_bound(&self, place: &KeyPlace<'_>) -> Result<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.entry(middle)?.compare(place).is_lt() {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
