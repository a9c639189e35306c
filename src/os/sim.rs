//! A simulated disk in memory, which can crash and fail: feature `sim`, public
//! as [`ingrain::sim`](crate::sim).

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{OsStr, OsString},
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    model::time::Timestamp,
    num,
    os::{
        clock::Clock,
        file::{File, Fs, Lock},
        map::Mapping,
        mapped::{MapCounter, Mappings},
    },
    // Of the crate, so that a model checker can switch threads at each call.
    sync::{Mutex, MutexGuard},
};

/// The unit in which writes are torn. A sector is written completely or not at
/// all.
pub const SECTOR_BYTES: usize = 512;

/// A file system in memory. It keeps what programs see, what the medium has,
/// and a record of every operation in order.
///
/// A clone is another handle of the same disk. Paths begin with `/`, which
/// exists.
///
/// ```
/// use std::sync::Arc;
///
/// use ingrain::{prelude::*, sim::{Loss, SimDisk}};
///
/// fn open(disk: &SimDisk) -> ingrain::Result<Engine> {
///     Options::new().fs(Arc::new(disk.clone())).inline(true).open("/store")
/// }
///
/// let disk = SimDisk::new();
/// let engine = open(&disk)?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
///
/// let after = disk.crash(Loss::All, 0); // the power fails now
/// assert_eq!(open(&after)?.snapshot().node_count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Mutex<Shared>>,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

struct Shared {
    medium: Medium,
    record: Vec<Op>,
    /// The state before the first recorded operation.
    start: Medium,
    locks: HashSet<PathBuf>,
    draws: u64,
    faults: Faults,
    /// Counts what is mapped.
    maps: MapCounter,
    /// The most files that may be mapped.
    most_maps: Option<usize>,
}

/// A kind of call, for [`SimDisk::fail`] and [`SimDisk::calls`].
///
/// ```
/// use std::sync::Arc;
///
/// use ingrain::{prelude::*, sim::{Call, SimDisk}};
///
/// fn open(disk: &SimDisk) -> ingrain::Result<Engine> {
///     Options::new().fs(Arc::new(disk.clone())).inline(true).open("/store")
/// }
///
/// let disk = SimDisk::new();
/// let engine = open(&disk)?;
/// let before = disk.calls()[&Call::Sync];
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// assert_eq!(disk.calls()[&Call::Sync] - before, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// [`Fs::create_dir`].
    CreateDir,
    /// [`Fs::create_new`].
    Create,
    /// [`Fs::open`].
    Open,
    /// [`Fs::map`]. The call counts; reading the mapped bytes does not.
    Map,
    /// [`Fs::link`].
    Link,
    /// [`Fs::rename`].
    Rename,
    /// [`Fs::remove`].
    Remove,
    /// [`Fs::sync_dir`].
    SyncDir,
    /// [`Fs::list`].
    List,
    /// [`Fs::lock`].
    Lock,
    /// [`File::write_at`].
    Write,
    /// [`File::read_at`].
    Read,
    /// [`File::sync`].
    Sync,
}

/// How a call fails.
///
/// ```
/// use std::sync::Arc;
///
/// use ingrain::{prelude::*, sim::{Call, Failure, SimDisk}};
///
/// fn open(disk: &SimDisk) -> ingrain::Result<Engine> {
///     Options::new().fs(Arc::new(disk.clone())).inline(true).open("/store")
/// }
///
/// let disk = SimDisk::new();
/// let engine = open(&disk)?;
/// disk.fail(1, Some(Call::Sync), Failure::Io, false); // the next sync
/// let written = engine.write(Batch::new().put(Node::new(NodeId::new(), "note")));
/// assert_eq!(written.unwrap_err().kind(), ErrorKind::Poisoned);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// An input/output error. A write writes nothing, and a sync syncs nothing.
    Io,
    /// No space. A write writes nothing.
    NoSpace,
    /// A write writes only its first bytes, up to this many, and then fails for
    /// lack of space. Other calls fail as with [`NoSpace`](Self::NoSpace).
    Short(usize),
    /// A sync fails, and the unsynced writes of the file are marked as clean:
    /// programs still see them, later syncs succeed, but the medium never gets
    /// them. Other calls fail as with [`Io`](Self::Io).
    LoseDirty,
    /// The file system has no such call, as some have no maps, locks or syncs of
    /// directories. A write writes nothing, and a sync syncs nothing.
    Unsupported,
}

#[derive(Debug, Default)]
struct Faults {
    only: Option<Call>,
    countdown: u64,
    sticky: bool,
    failure: Option<Failure>,
    /// Bytes that can still be written.
    space: Option<usize>,
    /// How many reads and maps it takes until one returns flipped bits, and
    /// which bits.
    flip: Option<(u64, u8)>,
    calls: BTreeMap<Call, u64>,
}

impl Faults {
    fn meet(&mut self, call: Call) -> Option<Failure> {
        *self.calls.entry(call).or_default() += 1;
        let failure = self.failure?;
        if self.only.is_some_and(|only| only != call) || self.countdown == 0 {
            return None;
        }
        if self.countdown > 1 {
            self.countdown -= 1;
            return None;
        }
        if !self.sticky {
            self.countdown = 0;
        }
        Some(failure)
    }

    /// Counts a read and flips bits of its first byte if it is the chosen one.
    /// An empty read leaves the fault to the next.
    fn flip_read(&mut self, bytes: &mut [u8]) {
        let Some((countdown, bits)) = &mut self.flip else { return };
        *countdown = countdown.saturating_sub(1);
        if let (0, Some(byte)) = (*countdown, bytes.first_mut()) {
            *byte ^= *bits;
            self.flip = None;
        }
    }
}

impl Failure {
    fn error(self) -> io::Error {
        match self {
            Self::Io | Self::LoseDirty => io::Error::other("simulated input/output error"),
            Self::NoSpace | Self::Short(_) => io::Error::from(io::ErrorKind::StorageFull),
            Self::Unsupported => io::Error::from(io::ErrorKind::Unsupported),
        }
    }
}

/// An operation that changed the disk.
#[derive(Debug, Clone)]
enum Op {
    CreateDir(PathBuf),
    Create(PathBuf),
    Write { file: usize, offset: usize, data: Arc<[u8]> },
    Sync(usize),
    LoseDirty(usize),
    SyncDir(PathBuf),
    Link(usize, PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Mark(u64),
}

/// The points at which [`SimDisk::crashes`] crashes the disk.
///
/// ```
/// use std::sync::Arc;
///
/// use ingrain::{prelude::*, sim::{Points, SimDisk}};
///
/// fn open(disk: &SimDisk) -> ingrain::Result<Engine> {
///     Options::new().fs(Arc::new(disk.clone())).inline(true).open("/store")
/// }
///
/// let disk = SimDisk::new();
/// open(&disk)?;
/// let (all, some) = (disk.crashes(Points::All, 1), disk.crashes(Points::Boundaries, 1));
/// assert!(all.count() > some.count());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Points {
    /// After every operation.
    All,
    /// Before and after every sync, rename and removal.
    Boundaries,
}

/// What a crash loses of what was not synced. File data and directory entries
/// are decided separately.
///
/// ```
/// use std::sync::Arc;
///
/// use ingrain::{prelude::*, sim::{Loss, SimDisk}};
///
/// fn open(disk: &SimDisk) -> ingrain::Result<Engine> {
///     Options::new().fs(Arc::new(disk.clone())).inline(true).open("/store")
/// }
///
/// let disk = SimDisk::new();
/// let engine = open(&disk)?;
/// let note = Node::new(NodeId::new(), "note");
/// engine.write(Batch::new().put(note).durability(Durability::Os))?; // not synced
///
/// assert_eq!(open(&disk.crash(Loss::Nothing, 0))?.snapshot().node_count(), 1);
/// assert_eq!(open(&disk.crash(Loss::All, 0))?.snapshot().node_count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Nothing is lost: the process died, not the machine.
    Nothing,
    /// Everything that was not synced is lost.
    All,
    /// Directory entries are kept, file data is lost: names without content.
    Data,
    /// File data is kept, directory entries are lost.
    Entries,
    /// Sizes and entries are kept; the unsynced data is zeros.
    Zeros,
    /// Each write and each change of an entry is lost or kept at random.
    Some,
    /// As [`Some`](Self::Some), but each sector of a write is decided
    /// separately.
    Torn,
}

impl Loss {
    /// All kinds of loss.
    pub const EACH: [Self; 7] =
        [Self::Nothing, Self::All, Self::Data, Self::Entries, Self::Zeros, Self::Some, Self::Torn];
}

/// A disk after a crash.
///
/// ```
/// use std::sync::Arc;
///
/// use ingrain::{prelude::*, sim::{Points, SimDisk}};
///
/// fn open(disk: &SimDisk) -> ingrain::Result<Engine> {
///     Options::new().fs(Arc::new(disk.clone())).inline(true).open("/store")
/// }
///
/// let disk = SimDisk::new();
/// let engine = open(&disk)?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// disk.mark(1); // acknowledged
///
/// for crash in disk.crashes(Points::Boundaries, 1) {
///     let recovered = open(&crash.disk)?;
///     assert!(crash.marks.is_empty() || recovered.snapshot().node_count() == 1);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Crash {
    /// The disk after the crash. Everything on it is durable.
    pub disk: SimDisk,
    /// Number of operations before the crash.
    pub point: usize,
    /// The kind of loss.
    pub loss: Loss,
    /// The seed of the random decisions.
    pub seed: u64,
    /// The marks that were set before the crash: see [`SimDisk::mark`].
    pub marks: Vec<u64>,
}

/// The state of a disk: what programs see, and what the medium has.
#[derive(Debug, Clone, Default)]
struct Medium {
    files: Vec<Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
}

/// Disks and maps with the same bytes share them, until one of them writes.
#[derive(Debug, Clone, Default)]
struct Inode {
    live: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Writes since the last sync.
    dirty: Vec<(usize, Arc<[u8]>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File(usize),
    Dir,
}

#[derive(Debug, Clone, Default)]
struct Dir {
    live: BTreeMap<OsString, Entry>,
    durable: BTreeMap<OsString, Entry>,
    /// Changes since the last sync.
    dirty: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Add(OsString, Entry),
    Remove(OsString),
    Rename(OsString, OsString, Entry),
}

impl Change {
    fn apply(&self, entries: &mut BTreeMap<OsString, Entry>) {
        match self {
            Self::Add(name, entry) => {
                entries.insert(name.clone(), *entry);
            }
            Self::Remove(name) => {
                entries.remove(name);
            }
            // If the creation of the file was lost, nothing is renamed, even if
            // another file has its name.
            Self::Rename(from, to, entry) => {
                if entries.get(from) == Some(entry) {
                    entries.remove(from);
                    entries.insert(to.clone(), *entry);
                }
            }
        }
    }
}

fn write(bytes: &mut Arc<Vec<u8>>, offset: usize, data: &[u8]) {
    let bytes = Arc::make_mut(bytes);
    let end = offset.saturating_add(data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(offset..end) {
        place.copy_from_slice(data);
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

impl Medium {
    fn new() -> Self {
        let dirs = [(PathBuf::from("/"), Dir::default())].into();
        Self { files: Vec::new(), dirs }
    }

    fn dir(&self, path: &Path) -> io::Result<&Dir> {
        if let Some(dir) = self.dirs.get(path) {
            return Ok(dir);
        }
        let is_file = split(path).ok().is_some_and(|(parent, name)| {
            self.dirs.get(parent).is_some_and(|dir| dir.live.contains_key(name))
        });
        Err(if is_file { io::ErrorKind::NotADirectory } else { io::ErrorKind::NotFound }.into())
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let (parent, name) = split(path)?;
        Ok(self.dir(parent)?.live.get(name).copied())
    }

    /// The number of the file at a path.
    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.entry(path)? {
            Some(Entry::File(file)) => Ok(file),
            Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn inode(&self, file: usize) -> io::Result<&Inode> {
        self.files.get(file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&mut self, dir: &Path, change: Change) {
        if let Some(dir) = self.dirs.get_mut(dir) {
            change.apply(&mut dir.live);
            dir.dirty.push(change);
        }
    }

    /// Applies an operation. The caller has checked that it is possible.
    fn apply(&mut self, op: &Op) {
        match op {
            Op::CreateDir(path) | Op::Create(path) => {
                let Ok((parent, name)) = split(path) else { return };
                let entry = if matches!(op, Op::CreateDir(_)) {
                    self.dirs.insert(path.clone(), Dir::default());
                    Entry::Dir
                } else {
                    self.files.push(Inode::default());
                    Entry::File(self.files.len() - 1)
                };
                self.change(parent, Change::Add(name.to_owned(), entry));
            }
            Op::Write { file, offset, data } => {
                if let Some(inode) = self.files.get_mut(*file) {
                    write(&mut inode.live, *offset, data);
                    inode.dirty.push((*offset, Arc::clone(data)));
                }
            }
            Op::Sync(file) => {
                if let Some(inode) = self.files.get_mut(*file) {
                    for (offset, data) in inode.dirty.drain(..) {
                        write(&mut inode.durable, offset, &data);
                    }
                }
            }
            Op::LoseDirty(file) => {
                if let Some(inode) = self.files.get_mut(*file) {
                    inode.dirty.clear();
                }
            }
            Op::SyncDir(path) => {
                if let Some(dir) = self.dirs.get_mut(path) {
                    for change in dir.dirty.drain(..) {
                        change.apply(&mut dir.durable);
                    }
                }
            }
            Op::Link(file, to) => {
                if let Ok((parent, name)) = split(to) {
                    self.change(parent, Change::Add(name.to_owned(), Entry::File(*file)));
                }
            }
            Op::Rename(from, to) => {
                if let (Ok((parent, name)), Ok((_, to)), Ok(Some(entry))) =
                    (split(from), split(to), self.entry(from))
                {
                    self.change(parent, Change::Rename(name.to_owned(), to.to_owned(), entry));
                }
            }
            Op::Remove(path) => {
                if let Ok((parent, name)) = split(path) {
                    self.change(parent, Change::Remove(name.to_owned()));
                }
            }
            Op::Mark(_) => {}
        }
    }

    /// The state after a crash with this loss.
    fn crashed(&self, loss: Loss, coin: &mut Coin) -> Self {
        let mut left = Self::default();
        for inode in &self.files {
            let mut bytes = Arc::clone(&inode.durable);
            for (offset, data) in &inode.dirty {
                match loss {
                    Loss::Nothing | Loss::Entries => write(&mut bytes, *offset, data),
                    Loss::All | Loss::Data => {}
                    Loss::Zeros => {
                        let end = offset.saturating_add(data.len());
                        let bytes = Arc::make_mut(&mut bytes);
                        bytes.resize(bytes.len().max(end), 0);
                    }
                    Loss::Some => {
                        if coin.toss() {
                            write(&mut bytes, *offset, data);
                        }
                    }
                    Loss::Torn => {
                        let first = SECTOR_BYTES - offset % SECTOR_BYTES;
                        let (head, tail) = data.split_at(first.min(data.len()));
                        let mut at = *offset;
                        for sector in std::iter::once(head).chain(tail.chunks(SECTOR_BYTES)) {
                            if coin.toss() {
                                write(&mut bytes, at, sector);
                            }
                            at += sector.len();
                        }
                    }
                }
            }
            left.files.push(Inode { live: Arc::clone(&bytes), durable: bytes, dirty: Vec::new() });
        }
        // If the entry of a directory is lost, so is everything in it. A
        // directory sorts after its parent, so the parent was decided before.
        for (path, dir) in &self.dirs {
            let found = match split(path) {
                Ok((parent, name)) => {
                    left.dirs.get(parent).is_some_and(|dir: &Dir| dir.live.contains_key(name))
                }
                Err(_) => true,
            };
            if !found {
                continue;
            }
            let mut entries = dir.durable.clone();
            for change in &dir.dirty {
                let kept = match loss {
                    Loss::Nothing | Loss::Data | Loss::Zeros => true,
                    Loss::All | Loss::Entries => false,
                    Loss::Some | Loss::Torn => coin.toss(),
                };
                if kept {
                    change.apply(&mut entries);
                }
            }
            let dir = Dir { live: entries.clone(), durable: entries, dirty: Vec::new() };
            left.dirs.insert(path.clone(), dir);
        }
        left
    }
}

/// The random generator SplitMix64 (Steele, Lea, Flood 2014): small and seeded.
#[derive(Debug, Clone)]
struct Coin(u64);

impl Coin {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn toss(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Medium::new(), 0)
    }

    fn with(medium: Medium, draws: u64) -> Self {
        Self {
            shared: Arc::new(Mutex::new(Shared {
                start: medium.clone(),
                medium,
                record: Vec::new(),
                locks: HashSet::new(),
                draws,
                faults: Faults::default(),
                maps: MapCounter::default(),
                most_maps: None,
            })),
        }
    }

    fn lock_shared(&self) -> MutexGuard<'_, Shared> {
        // Every operation leaves the state consistent, so a poisoned lock can
        // be used.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of operations that changed the disk, including marks.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.lock_shared().record.len()
    }

    /// The number of calls of each kind, including failed ones.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<Call, u64> {
        self.lock_shared().faults.calls.clone()
    }

    /// Adds a number to the record, for example when a write was acknowledged.
    /// A [`Crash`] lists the marks that were set before it.
    pub fn mark(&self, mark: u64) {
        self.lock_shared().record.push(Op::Mark(mark));
    }

    /// Makes the `n`th call from now on fail, counted from 1, of one kind or of
    /// any. With `sticky`, all later ones fail too.
    pub fn fail(&self, n: u64, only: Option<Call>, failure: Failure, sticky: bool) {
        let mut shared = self.lock_shared();
        let calls = std::mem::take(&mut shared.faults.calls);
        let Faults { space, flip, .. } = shared.faults;
        let failure = Some(failure);
        shared.faults = Faults { only, countdown: n, sticky, failure, space, flip, calls };
    }

    /// Lets writes take this many more bytes. The write that exceeds them
    /// writes what fits and fails for lack of space. `None` removes the limit.
    pub fn limit_space(&self, bytes: Option<usize>) {
        self.lock_shared().faults.space = bytes;
    }

    /// Bounds how many files may be mapped at once, those that are mapped already
    /// among them. `None` removes the limit.
    pub fn limit_mappings(&self, most: Option<usize>) {
        self.lock_shared().most_maps = most;
    }

    /// Removes all faults.
    pub fn heal(&self) {
        let mut shared = self.lock_shared();
        let calls = std::mem::take(&mut shared.faults.calls);
        shared.faults = Faults { calls, ..Faults::default() };
    }

    /// Flips bits of a byte of a file, on the medium and in what is read later;
    /// not in maps that exist already.
    ///
    /// # Errors
    /// `NotFound` if the file or the byte does not exist.
    pub fn flip(&self, path: &Path, offset: usize, bits: u8) -> io::Result<()> {
        let mut shared = self.lock_shared();
        let file = shared.medium.file(path)?;
        let Shared { medium, start, .. } = &mut *shared;
        let mut found = false;
        for medium in [medium, start] {
            let Some(inode) = medium.files.get_mut(file) else { continue };
            for bytes in [&mut inode.live, &mut inode.durable] {
                if let Some(byte) = Arc::make_mut(bytes).get_mut(offset) {
                    *byte ^= bits;
                    found = true;
                }
            }
        }
        if found { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Flips bits in the first byte that the `n`th read from now on returns,
    /// counted from 1, and leaves the file unchanged. A map counts as one read,
    /// however much of it is used; it keeps the flipped byte as long as it
    /// exists, and the next map of the file has the right one.
    pub fn flip_reads(&self, n: u64, bits: u8) {
        self.lock_shared().faults.flip = Some((n, bits));
    }

    /// Truncates a file. Maps that exist already keep all bytes.
    ///
    /// # Errors
    /// `NotFound` if the file does not exist.
    pub fn truncate(&self, path: &Path, len: usize) -> io::Result<()> {
        let mut shared = self.lock_shared();
        let file = shared.medium.file(path)?;
        if let Some(inode) = shared.medium.files.get_mut(file) {
            for bytes in [&mut inode.live, &mut inode.durable] {
                Arc::make_mut(bytes).truncate(len);
            }
        }
        Ok(())
    }

    /// The disk after a crash at this moment.
    #[must_use]
    pub fn crash(&self, loss: Loss, seed: u64) -> Self {
        let shared = self.lock_shared();
        Self::with(shared.medium.crashed(loss, &mut Coin(seed)), shared.draws)
    }

    /// Iterates over the crashes that were possible: for each point each kind
    /// of loss, and the random ones with `coins` seeds each. A point with
    /// nothing unsynced gives one crash.
    ///
    /// The disks are made one at a time; the record is replayed once in total.
    pub fn crashes(&self, points: Points, coins: u64) -> impl Iterator<Item = Crash> + use<> {
        let shared = self.lock_shared();
        let record = shared.record.clone();
        let mut medium = shared.start.clone();
        let draws = shared.draws;
        drop(shared);
        let mut marks = Vec::new();
        let stops = move |op: Option<&Op>| {
            points == Points::All
                || matches!(
                    op,
                    None | Some(
                        Op::Sync(_)
                            | Op::SyncDir(_)
                            | Op::Rename(..)
                            | Op::Remove(_)
                            | Op::LoseDirty(_)
                    )
                )
        };
        (0..=record.len()).flat_map(move |point| {
            let before = point.checked_sub(1).and_then(|at| record.get(at));
            if let Some(op) = before {
                medium.apply(op);
                if let Op::Mark(mark) = op {
                    marks.push(*mark);
                }
            }
            let mut crashes = Vec::new();
            if point == 0 || stops(before) || stops(record.get(point)) {
                let clean = medium.files.iter().all(|inode| inode.dirty.is_empty())
                    && medium.dirs.values().all(|dir| dir.dirty.is_empty());
                for loss in Loss::EACH {
                    let seeds = match loss {
                        Loss::Some | Loss::Torn => coins,
                        _ => 1,
                    };
                    for seed in 0..seeds {
                        let seed = num::wide(point) << 16 | seed;
                        let left = medium.crashed(loss, &mut Coin(seed));
                        let disk = Self::with(left, draws);
                        crashes.push(Crash { disk, point, loss, seed, marks: marks.clone() });
                        if clean {
                            return crashes;
                        }
                    }
                }
            }
            crashes
        })
    }

    /// A clock for use with the disk. Its time changes only when it is set.
    #[must_use]
    pub fn clock(&self) -> SimClock {
        SimClock::default()
    }
}

/// What [`explore`] tried.
///
/// ```
/// use std::sync::Arc;
///
/// use ingrain::{Options, sim::{Points, explore}};
///
/// let explored = explore(
///     Points::All,
///     1,
///     |disk| drop(Options::new().fs(Arc::new(disk.clone())).inline(true).open("/store")),
///     |crash| {
///         let options = Options::new().fs(Arc::new(crash.disk.clone())).inline(true);
///         options.open("/store").map(drop).map_err(|error| error.to_string())
///     },
/// )?;
/// assert!(explored.crashes >= explored.operations);
/// # Ok::<(), ingrain::sim::Found>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explored {
    /// Number of operations of the workload.
    pub operations: usize,
    /// Number of crashes that were checked.
    pub crashes: usize,
}

/// A crash after which the check of [`explore`] failed.
///
/// ```
/// use std::path::Path;
///
/// use ingrain::{os::Fs, sim::{Points, explore}};
///
/// let found = explore(
///     Points::All,
///     1,
///     |disk| {
///         disk.create_new(Path::new("/file")).unwrap();
///         disk.mark(1); // too early: the directory is not synced
///     },
///     |crash| match crash.disk.open(Path::new("/file")) {
///         Err(_) if crash.marks.contains(&1) => Err("the file is lost".to_owned()),
///         _ => Ok(()),
///     },
/// )
/// .unwrap_err();
/// assert_eq!(found.what, "the file is lost");
/// ```
#[derive(Debug, thiserror::Error)]
#[error(
    "after operation {point} of {operations}, loss {loss:?}, seed {seed}: {what}\n\
     to reproduce it: run the workload on a new SimDisk, then take the crash with this point, \
     loss and seed from its crashes"
)]
#[non_exhaustive]
pub struct Found {
    /// Number of operations before the crash.
    pub point: usize,
    /// Number of operations of the workload.
    pub operations: usize,
    /// The kind of loss.
    pub loss: Loss,
    /// The seed of the random decisions.
    pub seed: u64,
    /// The message of the check.
    pub what: String,
}

/// Runs a workload on a new disk, and then checks every crash that could have
/// happened during it. With [`SimDisk::mark`], the workload records what was
/// promised to it; the check opens the disk after a crash, compares it with the
/// marks, and returns what is wrong. Time: one check for each crash.
///
/// # Errors
/// The first crash for which the check fails.
pub fn explore(
    points: Points,
    coins: u64,
    workload: impl FnOnce(&SimDisk),
    mut check: impl FnMut(&Crash) -> Result<(), String>,
) -> Result<Explored, Found> {
    let disk = SimDisk::new();
    workload(&disk);
    let operations = disk.operations();
    let mut crashes = 0_usize;
    for crash in disk.crashes(points, coins) {
        crashes += 1;
        check(&crash).map_err(|what| Found {
            point: crash.point,
            operations,
            loss: crash.loss,
            seed: crash.seed,
            what,
        })?;
    }
    Ok(Explored { operations, crashes })
}

impl Shared {
    fn done(&mut self, op: Op) {
        self.medium.apply(&op);
        self.record.push(op);
    }

    fn meet(&mut self, call: Call) -> io::Result<()> {
        self.faults.meet(call).map_or(Ok(()), |failure| Err(failure.error()))
    }
}

impl Fs for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut shared = self.lock_shared();
        shared.meet(Call::CreateDir)?;
        if shared.medium.entry(path)?.is_some() || shared.medium.dirs.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        shared.done(Op::CreateDir(path.to_owned()));
        Ok(())
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut shared = self.lock_shared();
        shared.meet(Call::Create)?;
        if shared.medium.entry(path)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        shared.done(Op::Create(path.to_owned()));
        let file = shared.medium.file(path)?;
        drop(shared);
        Ok(Box::new(SimFile { disk: self.clone(), file, writable: true }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut shared = self.lock_shared();
        shared.meet(Call::Open)?;
        let file = shared.medium.file(path)?;
        drop(shared);
        Ok(Box::new(SimFile { disk: self.clone(), file, writable: false }))
    }

    /// Maps the current bytes; later writes do not change the map.
    fn map(&self, path: &Path) -> io::Result<Mapping> {
        let mut shared = self.lock_shared();
        shared.meet(Call::Map)?;
        let file = shared.medium.file(path)?;
        let mut bytes = Arc::clone(&shared.medium.inode(file)?.live);
        if shared.faults.flip.is_some() {
            shared.faults.flip_read(Arc::make_mut(&mut bytes).as_mut_slice());
        }
        let counted = shared.maps.count(shared.most_maps.unwrap_or(usize::MAX))?;
        Ok(Mapping::from_shared(bytes).counted(counted))
    }

    fn mappings(&self) -> Option<Mappings> {
        let shared = self.lock_shared();
        shared.most_maps.map(|most| Mappings { now: shared.maps.now(), most })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut shared = self.lock_shared();
        shared.meet(Call::Link)?;
        let Some(entry) = shared.medium.entry(from)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if shared.medium.entry(to)?.is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // Linux refuses a second name for a directory with EPERM.
        let Entry::File(file) = entry else {
            return Err(io::ErrorKind::PermissionDenied.into());
        };
        shared.done(Op::Link(file, to.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut shared = self.lock_shared();
        shared.meet(Call::Rename)?;
        if from.parent() != to.parent() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the simulated disk renames only within a directory",
            ));
        }
        let Some(entry) = shared.medium.entry(from)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // If both are names of the same file, nothing is done, as in POSIX.
        if matches!(entry, Entry::File(_)) && shared.medium.entry(to)? == Some(entry) {
            return Ok(());
        }
        shared.done(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut shared = self.lock_shared();
        shared.meet(Call::Remove)?;
        shared.medium.file(path)?;
        shared.done(Op::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut shared = self.lock_shared();
        shared.meet(Call::SyncDir)?;
        shared.medium.dir(path)?;
        shared.done(Op::SyncDir(path.to_owned()));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut shared = self.lock_shared();
        shared.meet(Call::List)?;
        Ok(shared.medium.dir(path)?.live.keys().cloned().collect())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let mut shared = self.lock_shared();
        shared.meet(Call::Lock)?;
        if shared.medium.entry(path)?.is_none() {
            shared.done(Op::Create(path.to_owned()));
        }
        if !shared.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        drop(shared);
        Ok(Some(Box::new(SimLock { disk: self.clone(), path: path.to_owned() })))
    }

    fn random(&self) -> [u8; 16] {
        let mut shared = self.lock_shared();
        shared.draws = shared.draws.wrapping_add(1);
        let mut coin = Coin(shared.draws);
        let (a, b) = (coin.next(), coin.next());
        (u128::from(a) << 64 | u128::from(b)).to_le_bytes()
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
    writable: bool,
}

impl File for SimFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut shared = self.disk.lock_shared();
        let mut failure = shared.faults.meet(Call::Write);
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut fits = match failure {
            None => data.len(),
            Some(Failure::Short(bytes)) => bytes.min(data.len()),
            Some(_) => 0,
        };
        if let Some(space) = &mut shared.faults.space {
            if fits > *space {
                fits = *space;
                failure = Some(Failure::NoSpace);
            }
            *space -= fits;
        }
        if let Some(written) = data.get(..fits).filter(|written| !written.is_empty()) {
            shared.done(Op::Write { file: self.file, offset, data: written.into() });
        }
        failure.map_or(Ok(()), |failure| Err(failure.error()))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut shared = self.disk.lock_shared();
        shared.meet(Call::Read)?;
        let bytes = &shared.medium.inode(self.file)?.live;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let found = bytes
            .get(start..)
            .and_then(|rest| rest.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        shared.faults.flip_read(buffer);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        let shared = self.disk.lock_shared();
        let len = shared.medium.inode(self.file)?.live.len();
        Ok(len.try_into().unwrap_or(u64::MAX))
    }

    fn sync(&self) -> io::Result<()> {
        let mut shared = self.disk.lock_shared();
        match shared.faults.meet(Call::Sync) {
            None => shared.done(Op::Sync(self.file)),
            Some(failure) => {
                if failure == Failure::LoseDirty {
                    shared.done(Op::LoseDirty(self.file));
                }
                return Err(failure.error());
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.lock_shared().locks.remove(&self.path);
    }
}

/// A clock whose time changes only when it is set. Its monotonic time is always
/// zero.
///
/// ```
/// use ingrain::{Timestamp, os::Clock, sim::SimDisk};
///
/// let clock = SimDisk::new().clock();
/// clock.set(Timestamp::from_micros(7));
/// assert_eq!(clock.now(), Timestamp::from_micros(7));
/// ```
#[derive(Debug, Clone, Default)]
pub struct SimClock {
    now: Arc<AtomicI64>,
    monotonic: Arc<AtomicU64>,
}

impl SimClock {
    /// Sets the wall clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        // Relaxed: other memory does not depend on the order.
        self.now.store(now.as_micros(), Ordering::Relaxed);
    }

    /// Lets time pass, on both clocks.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
        let micros = by.as_micros().try_into().unwrap_or(u64::MAX);
        self.monotonic.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic.load(Ordering::Relaxed))
    }
}
