//! Maps data files and searches them.

use std::{
    fmt,
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
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
    os::{Expected, Fs, Mapping},
    sync::RwLock,
    vector::prefetch,
};

const BLOCK: u64 = 4096;
/// Once so many blocks of a file were met, the operating system reads ahead in
/// it. Before, it would read megabytes for each of the few that an opening and
/// the first look-ups need.
const FEW: u32 = 16;

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
    pub(crate) fn retire(&self, owned: &Arc<Owned>) {
        self.retired.get_or_init(|| Arc::clone(owned));
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

/// Rows of one section of a file.
#[derive(Debug)]
pub(crate) struct Table<R> {
    segment: Arc<Segment>,
    at: usize,
    count: usize,
    /// Ranks of every so many'th row and of the last one, each once it was
    /// needed or filled in, 0 before: with them a search touches one block of the
    /// file.
    ///
    /// Relaxed: they tell about bytes that never change, and hand over nothing
    /// else.
    fences: OnceLock<Box<[AtomicU64]>>,
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
            fences: OnceLock::new(),
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

impl<R: Pod> Table<R> {
    /// Rows from one fence to the next: a fence is 8 bytes of memory for about
    /// 1,024 of the file.
    const STRIDE: usize = if size_of::<R>() < 1_024 { 1_024 / size_of::<R>() } else { 1 };
    /// Rows in the 64 bytes that a processor fetches at once.
    const LINE: usize = if size_of::<R>() < 64 { 64 / size_of::<R>() } else { 1 };
}

impl<R: SortedRow> Table<R> {
    /// The first row whose key is not less than `key`.
    ///
    /// Ids are spread evenly if they are hashes, and nearly so if they are
    /// times: a guess in proportion lands close. It is made among the fences,
    /// which are in memory once they were met, and then among the rows between
    /// two of them. What spread ids have beyond that costs a search by halves.
    pub(crate) fn lower_bound(&self, key: &R::Key) -> Result<usize> {
        let Some(last) = self.count.checked_sub(1) else { return Ok(0) };
        let rank = R::rank(key);
        let block = self.fences_before(rank, |at| {
            Ok(self.row(at.saturating_mul(Self::STRIDE).min(last))?.key() < *key)
        })?;
        let Some(before) = block.checked_sub(1) else { return Ok(0) };
        // The row at the fence before is less, that at the next one is not.
        let ((first, high), ranks) = self.between_fences(before)?;
        let low = first.saturating_add(1);
        if high > low {
            // What lies beside the guess comes with it, not after it.
            let guess = interpolate(low, high, ranks.0, ranks.1, rank);
            self.prefetch(guess);
        }
        search((low, high), ranks, rank, |row| {
            let found = self.row(row)?.key();
            Ok((R::rank(&found), found < *key))
        })
    }

    /// Looks at every fence, and so at every block of rows that are small.
    pub(crate) fn fill_fences(&self) -> Result<()> {
        let fences =
            if self.count == 0 { 0 } else { self.count.div_ceil(Self::STRIDE).saturating_add(1) };
        (0..fences).try_for_each(|at| self.fence(at).map(drop))
    }

    /// A row near to which `key` is, without a look at more of the file than
    /// fences that were never met.
    pub(crate) fn guess(&self, key: &R::Key) -> Result<usize> {
        let rank = R::rank(key);
        let before = self.fences_before(rank, |_| Ok(false))?.saturating_sub(1);
        let ((low, high), ranks) = self.between_fences(before)?;
        Ok(interpolate(low, high, ranks.0, ranks.1, rank))
    }

    /// Has the processor fetch a row and those beside it.
    #[inline]
    pub(crate) fn prefetch(&self, row: usize) {
        let last = self.count.saturating_sub(1);
        for row in [row.saturating_sub(Self::LINE), row, row.saturating_add(Self::LINE)] {
            if let Ok(row) = self.row(row.min(last)) {
                prefetch(row);
            }
        }
    }

    /// The number of fences that are less: by their ranks, and where these are
    /// the same, as `tie` says.
    fn fences_before(&self, rank: u64, tie: impl Fn(usize) -> Result<bool>) -> Result<usize> {
        let count = self.count.div_ceil(Self::STRIDE);
        search((0, count), (self.fence(0)?, self.fence(count)?), rank, |at| {
            let found = self.fence(at)?;
            Ok((found, found < rank || (found == rank && tie(at)?)))
        })
    }

    /// The rows from a fence to the next, and the ranks of both.
    fn between_fences(&self, at: usize) -> Result<((usize, usize), (u64, u64))> {
        let next = at.saturating_add(1);
        let row = |fence: usize| fence.saturating_mul(Self::STRIDE).min(self.count);
        Ok(((row(at), row(next)), (self.fence(at)?, self.fence(next)?)))
    }

    /// The rank of the first row of a block, or after the blocks of the last.
    fn fence(&self, at: usize) -> Result<u64> {
        let fences = self.fences.get_or_init(|| {
            // Zeros that nobody wrote take no memory. Without any, rows are looked
            // at instead.
            let fences = self.count.div_ceil(Self::STRIDE).saturating_add(1);
            bytemuck::allocation::try_zeroed_slice_box(fences).unwrap_or_default()
        });
        let known = fences.get(at);
        if let Some(rank) = known.map(|rank| rank.load(Ordering::Relaxed)).filter(|r| *r > 0) {
            return Ok(rank);
        }
        let row = at.saturating_mul(Self::STRIDE).min(self.count.saturating_sub(1));
        let rank = R::rank(&self.row(row)?.key());
        if let Some(known) = known {
            known.store(rank, Ordering::Relaxed);
        }
        Ok(rank)
    }
}

/// The first of `low..high` of which `look` does not say that it is less than
/// what is looked for, and its rank. `ranks` are those at `low` and at about
/// `high`; they steer, and decide nothing.
fn search(
    (mut low, mut high): (usize, usize),
    (mut low_rank, mut high_rank): (u64, u64),
    rank: u64,
    look: impl Fn(usize) -> Result<(u64, bool)>,
) -> Result<usize> {
    let mut rising = None;
    for _ in 0..GUESSES {
        if high.saturating_sub(low) <= 4 {
            break;
        }
        let guess = interpolate(low, high, low_rank, high_rank, rank);
        let (found, less) = look(guess)?;
        if less {
            low = guess.saturating_add(1);
            low_rank = found;
        } else {
            high = guess;
            high_rank = found;
        }
        rising = Some(less);
    }
    // From the last guess on in growing steps.
    let mut step = 1_usize;
    while let Some(rising) = rising {
        let next = if rising { low.saturating_add(step) } else { high.saturating_sub(step) };
        if next >= high || next < low || (rising && next == low) {
            break;
        }
        let (_, less) = look(next)?;
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
        let (_, less) = look(middle)?;
        if less {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// A row of `low..high` in proportion to where `rank` lies between the ranks.
fn interpolate(low: usize, high: usize, low_rank: u64, high_rank: u64, rank: u64) -> usize {
    let last = high.saturating_sub(1);
    let (Some(span), Some(part)) =
        (high_rank.checked_sub(low_rank).filter(|s| *s > 0), rank.checked_sub(low_rank))
    else {
        return if rank < low_rank { low } else { low.midpoint(last) };
    };
    // 32 bits of each are enough for a guess, and a quotient of 64 bits is not
    // worth a quarter of one of 128.
    let shift = 32_u32.saturating_sub(span.leading_zeros());
    let rows = u64::try_from(last.saturating_sub(low)).unwrap_or(0);
    let ahead = rows.saturating_mul(part >> shift).checked_div(span >> shift).unwrap_or(0);
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

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "small numbers")]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Whatever the keys are spread like, and whatever the ranks say that steer:
    /// the place is that of a search by halves, and few rows are looked at.
    #[test]
    fn searches_end_where_halving_does() {
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = |what, n: u64| match what {
            "evenly spread" => n << 40,
            "all the same" => 7,
            "cubes" => n * n * n,
            "dense, then far apart" if n > 900 => n << 50,
            "powers" => 1 << (n / 16),
            _ => n,
        };
        for what in ["evenly spread", "all the same", "cubes", "dense, then far apart", "powers"] {
            for len in [0, 1, 2, 5, 128, 1_000_u64] {
                let keys: Vec<u64> = (0..len).map(|n| key(what, n)).collect();
                assert!(keys.is_sorted(), "{what}");
                let ends = (keys.first().copied().unwrap_or(0), keys.last().copied().unwrap_or(0));
                let wanted = keys.iter().flat_map(|key| [*key, key.wrapping_add(1)]);
                let wanted = wanted.chain([0, 1, u64::MAX]).chain((0..50).map(spread));
                for wanted in wanted {
                    let expected = keys.partition_point(|key| *key < wanted);
                    for ranks in [ends, (0, u64::MAX), (5, 5), (9, 3)] {
                        let looks = Cell::new(0);
                        let found = search((0, keys.len()), ranks, wanted, |at| {
                            looks.set(looks.get() + 1);
                            let found = *keys.get(at).unwrap();
                            Ok((found, found < wanted))
                        });
                        assert_eq!(found.unwrap(), expected, "{what} {len} {wanted} {ranks:?}");
                        // Guesses, growing steps, and halves of what those left.
                        assert!(looks.get() <= 4 + 10 + 10, "{what} {len}: {}", looks.get());
                    }
                }
            }
        }
    }
}
