//! A file system that fails where a test wants it to.

use std::{
    ffi::OsString,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
};

use ingrain::os::{File, Fs, Lock, Mapping, RealFs};

/// The calls that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    CreateDir,
    Create,
    Open,
    Map,
    Link,
    Rename,
    Remove,
    SyncDir,
    List,
    Write,
    Read,
    Sync,
}

#[derive(Debug, Default)]
struct Plan {
    /// The call, counted from 1, at which failing starts.
    fail_at: u64,
    only: Option<Call>,
    sticky: bool,
    panic: bool,
    /// A write that fails writes this many bytes first.
    short_write: usize,
}

/// Decides about a call: it returns, fails the call, blocks it, or panics.
type Hook = Box<dyn Fn(Call, &Path) -> io::Result<()> + Send + Sync>;

/// The file system of the machine with planned failures, a record of the calls,
/// a gate before each sync, and a hook.
#[derive(Default)]
pub struct FaultFs {
    plan: Mutex<Plan>,
    calls: AtomicU64,
    record: Mutex<Vec<Call>>,
    syncs: Gate,
    hook: OnceLock<Hook>,
    thread: Mutex<Option<ThreadId>>,
    /// The seed of the random bytes; 0 for real random bytes.
    seed: AtomicU64,
}

impl fmt::Debug for FaultFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultFs")
    }
}

/// A gate that holds threads while it is closed.
#[derive(Debug, Default)]
pub struct Gate {
    state: Mutex<GateState>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    closed: bool,
    waiting: usize,
}

impl Gate {
    pub fn close(&self) {
        self.state.lock().unwrap().closed = true;
    }

    pub fn open(&self) {
        self.state.lock().unwrap().closed = false;
        self.moved.notify_all();
    }

    /// Returns once a thread is held.
    pub fn wait_until_held(&self) {
        let mut state = self.state.lock().unwrap();
        while state.waiting == 0 {
            state = self.moved.wait(state).unwrap();
        }
    }

    /// Passes the gate; blocks while it is closed.
    pub fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.waiting += 1;
        self.moved.notify_all();
        while state.closed {
            state = self.moved.wait(state).unwrap();
        }
        state.waiting -= 1;
    }
}

/// A file system that calls the hook before each call.
pub fn hooked(hook: impl Fn(Call, &Path) -> io::Result<()> + Send + Sync + 'static) -> Arc<Handle> {
    let fs = FaultFs::new();
    assert!(fs.hook.set(Box::new(hook)).is_ok());
    Arc::new(Handle(fs))
}

/// A file system that fails the picked calls for lack of space, as long as
/// `failing` is true.
pub fn failing_while(
    failing: &Arc<AtomicBool>,
    picked: impl Fn(Call, &Path) -> bool + Send + Sync + 'static,
) -> Arc<Handle> {
    let failing = Arc::clone(failing);
    hooked(move |call, path| {
        if picked(call, path) && failing.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    })
}

/// Whether a path is directly in a directory of that name.
pub fn within(path: &Path, dir: &str) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with(dir))
}

impl FaultFs {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A handle that can be passed to an engine.
    pub fn handle(self: &Arc<Self>) -> Arc<Handle> {
        Arc::new(Handle(Arc::clone(self)))
    }

    /// Makes the `n`th call from now on fail, of one kind or of any. With
    /// `sticky`, all later ones fail too.
    pub fn fail(&self, n: u64, only: Option<Call>, sticky: bool) {
        self.calls.store(0, Ordering::SeqCst);
        *self.plan.lock().unwrap() =
            Plan { fail_at: n, only, sticky, panic: false, short_write: 3 };
    }

    /// Panics at the `n`th call of a kind from now on.
    pub fn panic_at(&self, n: u64, only: Call) {
        self.fail(n, Some(only), false);
        self.plan.lock().unwrap().panic = true;
    }

    /// The calls since this was last called.
    pub fn take_record(&self) -> Vec<Call> {
        std::mem::take(&mut self.record.lock().unwrap())
    }

    /// Holds every sync until [`open_gate`](Self::open_gate).
    pub fn close_gate(&self) {
        self.syncs.close();
    }

    pub fn open_gate(&self) {
        self.syncs.open();
    }

    /// Returns once a sync is held.
    pub fn wait_until_held(&self) {
        self.syncs.wait_until_held();
    }

    /// Makes store ids and salts reproducible.
    pub fn seed(&self, seed: u64) {
        self.seed.store(seed, Ordering::SeqCst);
    }

    /// Fails every call from a thread other than this one.
    pub fn expect_thread(&self, thread: Option<ThreadId>) {
        *self.thread.lock().unwrap() = thread;
    }

    fn pass(&self, call: Call, path: &Path) -> io::Result<()> {
        if let Some(hook) = self.hook.get() {
            hook(call, path)?;
        }
        if self.thread.lock().unwrap().is_some_and(|expected| expected != thread::current().id()) {
            return Err(io::Error::other("called by another thread"));
        }
        self.record.lock().unwrap().push(call);
        let plan = self.plan.lock().unwrap();
        if plan.fail_at == 0 || plan.only.is_some_and(|only| only != call) {
            return Ok(());
        }
        let n = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if n == plan.fail_at || (plan.sticky && n > plan.fail_at) {
            let panic = plan.panic;
            drop(plan);
            assert!(!panic, "injected panic");
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }
}

/// A handle that can be passed to an engine.
#[derive(Debug, Clone)]
pub struct Handle(Arc<FaultFs>);

impl Fs for Handle {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.pass(Call::CreateDir, path)?;
        RealFs.create_dir(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.0.pass(Call::Create, path)?;
        FaultFile::boxed(&self.0, path, RealFs.create_new(path)?)
    }

    fn create_new_read_only(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.0.pass(Call::Create, path)?;
        FaultFile::boxed(&self.0, path, RealFs.create_new_read_only(path)?)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.0.pass(Call::Open, path)?;
        FaultFile::boxed(&self.0, path, RealFs.open(path)?)
    }

    fn map(&self, path: &Path) -> io::Result<Mapping> {
        self.0.pass(Call::Map, path)?;
        RealFs.map(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.pass(Call::Link, to)?;
        RealFs.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.pass(Call::Rename, to)?;
        RealFs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.pass(Call::Remove, path)?;
        RealFs.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.pass(Call::SyncDir, path)?;
        RealFs.sync_dir(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        RealFs.resolve(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        self.0.pass(Call::List, path)?;
        RealFs.list(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        RealFs.lock(path)
    }

    fn random(&self) -> [u8; 16] {
        match self.0.seed.load(Ordering::SeqCst) {
            0 => RealFs.random(),
            seed => {
                self.0.seed.store(seed + 1, Ordering::SeqCst);
                [seed.to_le_bytes(), seed.to_be_bytes()].concat().try_into().unwrap()
            }
        }
    }
}

#[derive(Debug)]
struct FaultFile {
    fs: Arc<FaultFs>,
    path: PathBuf,
    file: Box<dyn File>,
}

impl FaultFile {
    fn boxed(fs: &Arc<FaultFs>, path: &Path, file: Box<dyn File>) -> io::Result<Box<dyn File>> {
        Ok(Box::new(Self { fs: Arc::clone(fs), path: path.to_owned(), file }))
    }
}

impl File for FaultFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if let Err(error) = self.fs.pass(Call::Write, &self.path) {
            let short = self.fs.plan.lock().unwrap().short_write.min(data.len());
            self.file.write_at(offset, &data[..short])?;
            return Err(error);
        }
        self.file.write_at(offset, data)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.fs.pass(Call::Read, &self.path)?;
        self.file.read_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn sync(&self) -> io::Result<()> {
        self.fs.syncs.pass();
        self.fs.pass(Call::Sync, &self.path)?;
        self.file.sync()
    }
}
