//! The real machine. This is the only file that uses `std::fs`, memory maps and
//! the clocks.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this module wraps the calls for the rest of the crate"
)]

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant, SystemTime},
};

use crate::{
    model::time::Timestamp,
    os::{
        clock::Clock,
        file::{File, Fs, Lock},
        map::{Bytes, Mapped, Mapping},
        mapped::{MapCounter, Mappings},
        process::Owner,
    },
};

#[cfg(not(unix))]
compile_error!("ingrain needs the file locks and directory syncs of Unix");

/// The file system of the machine.
///
/// A mapped file ([`Fs::map`]) must not be changed by anybody. The engine never
/// changes a file that it maps. If another program truncates it, the operating
/// system ends the process (SIGBUS); if another program writes to it, what is
/// read is undefined.
///
/// ```
/// use std::sync::Arc;
///
/// use ingrain::{Options, os::RealFs};
///
/// let options = Options::new().fs(Arc::new(RealFs)); // as by default
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

impl Fs for RealFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn create_new_read_only(&self, path: &Path) -> io::Result<Box<dyn File>> {
        // The mode is that of later openings; this one may write.
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).mode(0o444).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile(open_regular(path)?)))
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        let file = open_regular(path)?;
        let counted = MAPPED.count(*MOST_MAPPED)?;
        Ok(Mapping::new(Bytes::Mapped(Mapped::new(&file)?), Some(counted)))
    }

    fn mappings(&self) -> Option<Mappings> {
        Some(Mappings { now: MAPPED.now(), most: *MOST_MAPPED })
    }

    fn free_descriptors(&self) -> Option<usize> {
        const EMFILE: i32 = 24;
        let limits = match fs::read_to_string("/proc/self/limits") {
            Ok(limits) => limits,
            Err(error) if error.raw_os_error() == Some(EMFILE) => return Some(0),
            Err(_) => return None,
        };
        let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let most: usize = soft.split_whitespace().next()?.parse().ok()?;
        // The listing itself is one of those that are open.
        let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        Some(most.saturating_sub(open))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // The parent of a relative path with one component is the empty path.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        fs::File::open(path)?.sync_all()
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // This is flock: it ends with its holder, and a second descriptor of
        // the same process is refused like that of another process.
        match file.try_lock() {
            Ok(()) => {
                let (path, owner) = (path.to_owned(), Owner::current());
                Ok(Some(Box::new(RealLock { path, file, owner })))
            }
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn random(&self) -> [u8; 16] {
        // Version and variant are fixed bits in a UUID of version 4; the second
        // one, rotated, makes these bits random as well.
        let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        (a.as_u128() ^ b.as_u128().rotate_left(61)).to_le_bytes()
    }
}

/// All files that this process has mapped.
static MAPPED: LazyLock<MapCounter> = LazyLock::new(MapCounter::default);

/// The most files that may be mapped at once: half of the mappings that Linux
/// lets a process have. The rest is for the program: its memory and its threads
/// take mappings too, and an allocation that gets none ends the process.
static MOST_MAPPED: LazyLock<usize> = LazyLock::new(|| {
    /// The default of Linux. Other systems have no limit of this kind.
    const MAPPINGS: usize = 65_530;
    let told = fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    told.and_then(|told| told.trim().parse::<usize>().ok()).unwrap_or(MAPPINGS) / 2
});

/// Opens a regular file for reading. Opening a pipe would block until somebody
/// opens its other end.
fn open_regular(path: &Path) -> io::Result<fs::File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    fs::File::open(path)
}

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[derive(Debug)]
struct RealLock {
    path: PathBuf,
    file: fs::File,
    owner: Owner,
}

impl Lock for RealLock {
    fn is_in_place(&self) -> bool {
        let known = |meta: fs::Metadata| (meta.dev(), meta.ino());
        let (ours, there) = (self.file.metadata().map(known), fs::metadata(&self.path).map(known));
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }
}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing the descriptor is not enough: a process that was forked and
        // has not reached its exec yet has a copy of the descriptor, and with
        // it the lock. If unlocking fails, the descriptor is still closed.
        //
        // A forked process has a copy of this value too. Unlocking there would
        // release the lock of its parent; closing the descriptor does not.
        if self.owner.is_here() {
            let _ = self.file.unlock();
        }
    }
}

/// The clocks of the real machine.
///
/// ```
/// use ingrain::os::{Clock, RealClock};
///
/// let start = RealClock.monotonic();
/// assert!(RealClock.monotonic() >= start);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        // A clock that is set beyond the year 294,000 shows the latest time.
        Timestamp::from_system_time(SystemTime::now()).unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
}

// Here, because no other file reads a clock.
impl Timestamp {
    /// The time by the system's clock.
    ///
    /// The engine does not use it: an engine reads its own clock, which is
    /// [`RealClock`] unless [`Options::clock`](crate::Options::clock) set
    /// another.
    #[must_use]
    pub fn now() -> Self {
        RealClock.now()
    }
}
