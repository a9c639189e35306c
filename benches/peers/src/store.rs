//! What a peer can do: the calls that the phases make, and nothing else.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

/// The memory that a peer with a cache of its own may give it.
#[allow(dead_code, reason = "some peers need it")]
pub const CACHE_BYTES: u64 = 256 << 20;

pub type Key = [u8; 16];

/// A record to write, or with no value one to delete.
pub struct Change<'v> {
    pub key: Key,
    pub value: Option<&'v [u8]>,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, as far as the store has such a mode: each file
    /// says what its own is.
    Os,
    /// A power cut.
    Sync,
}

/// A store. Methods take `&self` and are called from several threads.
pub trait Store: Sized + Sync {
    type Snapshot<'s>: Snapshot
    where
        Self: 's;

    /// Opens the store in a directory that exists, or makes it there.
    fn open(dir: &Path) -> Result<Self>;

    /// Applies all of the changes or none, and returns when they are as durable
    /// as asked for. A key occurs once.
    fn write(&self, changes: &[Change<'_>], durability: Durability) -> Result<()>;

    /// Brings what was written to where it stays, makes it durable and waits
    /// for background work that this caused. Returns how much of the time was
    /// spent to see that nothing goes on any more: the phases subtract it.
    fn settle(&self) -> Result<Duration>;

    /// A state that later writes do not change.
    fn snapshot(&self) -> Result<Self::Snapshot<'_>>;

    /// Reads one record of the newest state, in whatever way is the usual one
    /// for a single read.
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        self.snapshot()?.get(key, look)
    }

    fn close(self) -> Result<()>;
}

/// A pinned state. Used by the thread that took it.
pub trait Snapshot {
    /// Gives the value to `look` without a copy, if the store can.
    fn get<T>(&self, key: &Key, look: impl FnOnce(&[u8]) -> T) -> Result<Option<T>>;

    /// All records in the order of their keys.
    fn scan(&self, look: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()>;
}

/// Files under a directory, with their length and the bytes allocated to them.
/// Files that go away meanwhile are left out.
pub fn files(dir: &Path) -> io::Result<BTreeMap<PathBuf, (u64, u64)>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = fs::read_dir(dir) else { continue };
        for entry in entries {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                dirs.push(entry.path());
            } else {
                found.insert(entry.path(), (meta.len(), meta.blocks() * 512));
            }
        }
    }
    Ok(found)
}

/// For stores that do not tell when their background work is done: waits until
/// no file has changed its length and `busy` was false for 200 ms. Returns how
/// long that was.
#[allow(dead_code, reason = "some peers need it")]
pub fn until_quiet(dir: &Path, busy: impl Fn() -> bool) -> Result<Duration> {
    const QUIET: Duration = Duration::from_millis(200);
    let (mut since, mut last) = (Instant::now(), files(dir)?);
    loop {
        thread::sleep(Duration::from_millis(5));
        let now = files(dir)?;
        if busy() || now != last {
            (since, last) = (Instant::now(), now);
        } else if since.elapsed() >= QUIET {
            return Ok(since.elapsed());
        }
    }
}
