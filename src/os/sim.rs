//! A disk in memory that crashes: feature `sim`, public as [`ingrain::sim`](crate::sim).

use std::{
    collections::{BTreeMap, HashSet},
    ffi::{OsStr, OsString},
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use crate::{
    model::time::Timestamp,
    os::{
        clock::Clock,
        file::{File, Fs, Lock},
        map::Mapping,
    },
    // So that a model checker may let others run at each call.
    sync::{Mutex, MutexGuard},
};

/// Writes are torn at multiples of this.
pub const SECTOR_BYTES: usize = 512;

/// A file system in memory that keeps, beside what programs see, what the
/// medium has, and every operation in order.
///
/// A clone is another handle of the same disk. Paths begin at `/`, which is
/// there.
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
    /// The state before the first operation of the record.
    start: Medium,
    locks: HashSet<PathBuf>,
    draws: u64,
    faults: Faults,
}

/// A kind of call, for [`SimDisk::fail`] and [`SimDisk::calls`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// [`Fs::create_dir`].
    CreateDir,
    /// [`Fs::create_new`].
    Create,
    /// [`Fs::open`].
    Open,
    /// [`Fs::map`]. It is one call, and looking at the bytes is none.
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
    /// [`File::write_at`].
    Write,
    /// [`File::read_at`].
    Read,
    /// [`File::sync`].
    Sync,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// An input/output error. A write writes nothing, a sync syncs nothing.
    Io,
    /// No space. A write writes nothing.
    NoSpace,
    /// A write that writes only its first bytes, up to this many, then fails
    /// for lack of space. Other calls fail as with [`NoSpace`](Self::NoSpace).
    Short(usize),
    /// A sync that fails, and after which the file's unsynced writes are
    /// marked as clean: programs see them still, later syncs succeed, and the
    /// medium never gets them. Other calls fail as with [`Io`](Self::Io).
    LoseDirty,
}

#[derive(Debug, Default)]
struct Faults {
    only: Option<Call>,
    countdown: u64,
    sticky: bool,
    failure: Option<Failure>,
    /// Bytes that writes may still take.
    space: Option<usize>,
    /// Reads and maps until one gives flipped bits, and which.
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

    /// Counts what is about to be given to a reader, and flips its bits if it is
    /// the one. What is empty leaves the fault to the next.
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

/// Where [`SimDisk::crashes`] stops: before or after which operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Points {
    /// After every operation.
    All,
    /// Before and after every sync, rename and removal.
    Boundaries,
}

/// What a crash leaves of what was not synced. Data of files and entries of
/// directories are decided apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// Nothing is lost: the process died, not the machine.
    Nothing,
    /// Everything that was not synced is.
    All,
    /// Entries are kept, data is not: names without content.
    Data,
    /// Data is kept, entries are not.
    Entries,
    /// Sizes and entries are kept, the data between is zeros.
    Zeros,
    /// Each write and each change of an entry by the toss of a coin.
    Some,
    /// As [`Some`](Self::Some), but each sector of each write by itself.
    Torn,
}

impl Loss {
    /// All of them.
    pub const EACH: [Self; 7] =
        [Self::Nothing, Self::All, Self::Data, Self::Entries, Self::Zeros, Self::Some, Self::Torn];
}

/// A disk as a crash leaves it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Crash {
    /// The disk after the crash: all that is on it is durable.
    pub disk: SimDisk,
    /// Operations that had been done.
    pub point: usize,
    /// What was lost.
    pub loss: Loss,
    /// The seed of its coin.
    pub seed: u64,
    /// The marks that had been set: see [`SimDisk::mark`].
    pub marks: Vec<u64>,
}

/// The state of a disk: what programs see, and what the medium has.
#[derive(Debug, Clone, Default)]
struct Medium {
    files: Vec<Inode>,
    dirs: BTreeMap<PathBuf, Dir>,
}

/// Bytes are shared by the disks and maps that have the same, until one of them
/// writes.
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
            // Of a file whose creation was lost there is nothing to rename,
            // whatever else has its name.
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

    /// The file of that name.
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

    /// Does an operation that was found to be possible.
    fn apply(&mut self, op: &Op) {
        match op {
            Op::CreateDir(path) | Op::Create(path) => {
                let Ok((parent, name)) = split(path) else { return };
                let entry = if matches!(op, Op::CreateDir(_)) {
                    self.dirs.insert(path.clone(), Dir::default());
                    Entry::Dir
                } else {
                    self.files.push(Inode::default());
                    Entry::File(self.files.len().saturating_sub(1))
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

    /// What a crash leaves.
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
                        let first = SECTOR_BYTES.saturating_sub(offset % SECTOR_BYTES);
                        let (head, tail) = data.split_at(first.min(data.len()));
                        let mut at = *offset;
                        for sector in std::iter::once(head).chain(tail.chunks(SECTOR_BYTES)) {
                            if coin.toss() {
                                write(&mut bytes, at, sector);
                            }
                            at = at.saturating_add(sector.len());
                        }
                    }
                }
            }
            left.files.push(Inode { live: Arc::clone(&bytes), durable: bytes, dirty: Vec::new() });
        }
        // A directory whose own entry is lost takes what is in it along; it
        // sorts after the one that it is in.
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

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, good enough for coins.
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
            })),
        }
    }

    fn lock_shared(&self) -> MutexGuard<'_, Shared> {
        // Each step leaves the state whole.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many operations have changed the disk, marks included.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.lock_shared().record.len()
    }

    /// How many calls of each kind there were, failed ones included.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<Call, u64> {
        self.lock_shared().faults.calls.clone()
    }

    /// Notes a number in the record: say, that a write was acknowledged. A
    /// [`Crash`] has the marks that were set before it.
    pub fn mark(&self, mark: u64) {
        self.lock_shared().record.push(Op::Mark(mark));
    }

    /// Fails the `n`th call from now on, counted from 1, of a kind or of any;
    /// with `sticky` every one after it too.
    pub fn fail(&self, n: u64, only: Option<Call>, failure: Failure, sticky: bool) {
        let mut shared = self.lock_shared();
        let calls = std::mem::take(&mut shared.faults.calls);
        let Faults { space, flip, .. } = shared.faults;
        let failure = Some(failure);
        shared.faults = Faults { only, countdown: n, sticky, failure, space, flip, calls };
    }

    /// Lets writes take this many bytes more, then fail for lack of space,
    /// having written what fits; `None` for no bound.
    pub fn limit_space(&self, bytes: Option<usize>) {
        self.lock_shared().faults.space = bytes;
    }

    /// Ends all faults.
    pub fn heal(&self) {
        let mut shared = self.lock_shared();
        let calls = std::mem::take(&mut shared.faults.calls);
        shared.faults = Faults { calls, ..Faults::default() };
    }

    /// Flips bits of a file behind everybody's back, on the medium and in what
    /// is read; not in what was mapped before.
    ///
    /// # Errors
    /// `NotFound` if there is no such file or byte.
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

    /// Flips bits in the first byte of what the `n`th read from now on gives,
    /// counted from 1, and leaves the file as it is. A map counts as one read,
    /// however much of it is looked at; it keeps the flipped byte as long as it
    /// lives, and the next map of the file has the right one.
    pub fn flip_reads(&self, n: u64, bits: u8) {
        self.lock_shared().faults.flip = Some((n, bits));
    }

    /// Cuts a file short behind everybody's back. What was mapped before stays
    /// whole.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
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

    /// The disk after a crash now.
    #[must_use]
    pub fn crash(&self, loss: Loss, seed: u64) -> Self {
        let shared = self.lock_shared();
        Self::with(shared.medium.crashed(loss, &mut Coin(seed)), shared.draws)
    }

    /// Every crash that the record holds: for each point, each loss, those
    /// with a coin `coins` times. Points where nothing is unsynced give one.
    ///
    /// The disks are made one at a time; the record is replayed once.
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
                        let seed = u64::try_from(point).unwrap_or(0) << 16 | seed;
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

    /// A clock that goes with the disk: it stands still until it is set.
    #[must_use]
    pub fn clock(&self) -> SimClock {
        SimClock::default()
    }
}

/// What [`explore`] tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explored {
    /// Operations of the workload.
    pub operations: usize,
    /// Crashes that were checked.
    pub crashes: usize,
}

/// A crash that [`explore`] found not to be survived.
#[derive(Debug, thiserror::Error)]
#[error(
    "after operation {point} of {operations}, loss {loss:?}, seed {seed}: {what}\n\
     to see it again: run the workload on a new SimDisk, then take the crash with this point, \
     loss and seed from its crashes"
)]
#[non_exhaustive]
pub struct Found {
    /// Operations that had been done.
    pub point: usize,
    /// Operations of the workload.
    pub operations: usize,
    /// What was lost.
    pub loss: Loss,
    /// The seed of its coin.
    pub seed: u64,
    /// What the check said.
    pub what: String,
}

/// Runs a workload on a new disk, then checks every crash that it could have
/// met. The workload says by [`SimDisk::mark`] what it was promised; the check
/// opens the disk of the crash, compares it with the marks, and says what is
/// wrong.
///
/// # Errors
/// The first crash that the check does not pass.
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
        crashes = crashes.saturating_add(1);
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

    /// What programs see now, whatever is written later.
    fn map(&self, path: &Path) -> io::Result<Mapping> {
        let mut shared = self.lock_shared();
        shared.meet(Call::Map)?;
        let file = shared.medium.file(path)?;
        let mut bytes = Arc::clone(&shared.medium.inode(file)?.live);
        if shared.faults.flip.is_some() {
            shared.faults.flip_read(Arc::make_mut(&mut bytes).as_mut_slice());
        }
        Ok(Mapping::from_shared(bytes))
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
                "the simulated disk renames within a directory",
            ));
        }
        let Some(entry) = shared.medium.entry(from)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        // Two names of one file: nothing is done.
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
            *space = space.saturating_sub(fits);
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

/// A clock that stands still until it is set.
#[derive(Debug, Clone, Default)]
pub struct SimClock {
    now: Arc<AtomicI64>,
}

impl SimClock {
    /// Sets the wall clock, forward or back.
    pub fn set(&self, now: Timestamp) {
        // A number that orders nothing else.
        self.now.store(now.as_micros(), Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}
