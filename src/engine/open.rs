//! Opens a store, or creates it: from its files to its last state.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use crate::{
    engine::{
        lease::LeasedFs,
        options::{Granularity, Options},
        replay::Replayer,
    },
    format::manifest::Manifest,
    model::{
        batch::Op,
        error::{Error, Result},
        limits::check_count,
        time::Seq,
    },
    os::{
        file::{Fs, Lock},
        needs::Need,
    },
    state::{
        State,
        base::{Base, rebuild_signal::RebuildSignal},
    },
    store::{
        manifest, segment,
        wal::{
            self,
            report::{RecoveryMode, RecoveryReport},
            writer::Writer,
        },
    },
};

pub(super) const LOCK: &str = "LOCK";
const MANIFEST_TEMPORARY: &str = "MANIFEST.tmp";

/// A store that was opened and recovered.
pub(super) struct Opened {
    pub(super) lock: Arc<dyn Lock>,
    pub(super) manifest: Manifest,
    pub(super) state: State,
    pub(super) writer: Writer,
    pub(super) report: RecoveryReport,
}

/// Opens the store in `dir`, creating it if the options allow that.
///
/// Changes no existing file before everything has been read.
///
/// Replaces the file system of the options by a [`LeasedFs`], which refuses to
/// change files that are no longer the store's.
pub(super) fn open(
    dir: &Path,
    options: &mut Options,
    rebuild_signal: RebuildSignal,
) -> Result<Opened> {
    make_dir(&*options.fs, dir, options.create)?;
    let path = dir.join(LOCK);
    let lock: Arc<dyn Lock> = Arc::from(lock(&*options.fs, &path)?);
    check_descriptors(&*options.fs)?;
    options.fs = Arc::new(LeasedFs::new(Arc::clone(&options.fs), &lock));
    let wal_dir = dir.join(wal::DIR);
    match manifest::load(&*options.fs, dir)? {
        Some(_) if options.unfinished => {
            Err(Error::invalid(format!("path {}: it holds a store already", dir.display())))
        }
        Some(manifest) => recover(dir, options, lock, manifest, rebuild_signal),
        None => {
            let (manifest, writer) = create(dir, &wal_dir, options)?;
            let mut base = Base::open(&options.fs, &dir.join(segment::DIR), &manifest, None)?;
            base.set_rebuild_signal(rebuild_signal);
            let Granularity { kind_run, threads, .. } = options.granularity;
            let state = State::from_base(Arc::new(base), kind_run, threads);
            let report = RecoveryReport::default();
            Ok(Opened { lock, manifest, state, writer, report })
        }
    }
}

/// Opens a store with a manifest: maps its base and replays its log.
fn recover(
    dir: &Path,
    options: &Options,
    lock: Arc<dyn Lock>,
    mut manifest: Manifest,
    rebuild_signal: RebuildSignal,
) -> Result<Opened> {
    let (fs, granularity) = (&*options.fs, options.granularity);
    let wal_dir = dir.join(wal::DIR);
    let place = wal::LogDir::new(fs, &wal_dir, manifest.store).in_sizes(granularity.log);
    let data_dir = dir.join(segment::DIR);
    if manifest.files().next().is_none() {
        prepare_empty(fs, dir, &data_dir)?;
    }
    // The model checkers know only the engine's own threads.
    let in_turn = options.inline || cfg!(any(loom, shuttle));
    // An earlier engine may have renamed a file into its place and failed to make
    // that durable. The directories are synced before anything depends on it.
    let dirs = [dir, &wal_dir, &data_dir];
    let (synced, base) =
        both(in_turn, || sync(fs, dirs), || Base::open(&options.fs, &data_dir, &manifest, None));
    synced?;
    let mut base = base?;
    base.set_rebuild_signal(rebuild_signal);
    let kept: HashSet<u32> = manifest.files().map(|(_, file)| file.number).collect();
    let orphans = find_orphans(fs, &data_dir, |name| {
        segment::file_number(name).is_some_and(|number| !kept.contains(&number))
    })?;
    // Files of an earlier base are removed only if the heaps of this one can be
    // read.
    if !orphans.is_empty() {
        base.check_heaps()?;
    }
    let mut replayer = Replayer::new(Arc::new(base), granularity, in_turn);
    check_salvage(dir, &manifest, options.recovery)?;
    let recovered = wal::recover(
        place,
        &manifest,
        options.recovery,
        &|| {
            let salvaging = Manifest { salvaging: true, ..manifest.next() };
            manifest::publish(fs, dir, &salvaging).map_err(Error::from)
        },
        &mut replayer,
    )?;
    if recovered.report.damage.is_some() || manifest.salvaging {
        // Otherwise the next opening would report the commits that this one gave
        // up as missing. Two generations later, since the salvage itself published
        // one.
        manifest = Manifest { durable: recovered.last, salvaging: false, ..manifest.next().next() };
        manifest::publish(fs, dir, &manifest)?;
    }
    remove(fs, find_orphans(fs, dir, |name| name == MANIFEST_TEMPORARY)?)?;
    remove(fs, find_orphans(fs, &wal_dir, wal::is_unfinished)?)?;
    remove(fs, orphans)?;
    let mut removed = wal::Removed::default();
    wal::cut(place, manifest.checkpoint, &mut removed)?;
    let mut writer = Writer::new(
        place,
        options.wal_file_bytes,
        recovered.last,
        recovered.files,
        recovered.bytes,
    );
    writer.removed(removed);
    let state = replayer.into_state()?;
    Ok(Opened { lock, manifest, state, writer, report: recovered.report })
}

/// Prepares a store without data files. Tools that copy a store may leave out
/// directories without files; the log's is never empty. Nor has this file system
/// mapped anything for the store yet.
fn prepare_empty(fs: &dyn Fs, dir: &Path, data_dir: &Path) -> Result<()> {
    create_if_missing(fs, data_dir)?;
    check_mapping(fs, dir)
}

/// Refuses a store in which a salvage was interrupted, unless it is to go on.
fn check_salvage(dir: &Path, manifest: &Manifest, mode: RecoveryMode) -> Result<()> {
    if manifest.salvaging && mode == RecoveryMode::Strict {
        let what = "a salvaging recovery was interrupted: open with RecoveryMode::Salvage again; \
                    or a repair into this directory was: repair again, into another";
        return Err(Error::corrupt(dir.join(manifest::FILE), 0, what));
    }
    Ok(())
}

/// Takes the lock of a store.
pub(super) fn lock(fs: &dyn Fs, path: &Path) -> Result<Box<dyn Lock>> {
    let lock = fs.lock(path).map_err(|error| Need::Locks.failed(path, error))?;
    lock.ok_or_else(|| Error::Locked { path: path.to_owned() })
}

/// Syncs a directory.
pub(super) fn sync_dir(fs: &dyn Fs, dir: &Path) -> Result<()> {
    fs.sync_dir(dir).map_err(|error| Need::DirectorySyncs.failed(dir, error))
}

/// Refuses a file system that cannot map files. Otherwise the first checkpoint
/// would find out, after commits that were acknowledged. The lock file is the one
/// that is there already.
pub(super) fn check_mapping(fs: &dyn Fs, dir: &Path) -> Result<()> {
    let path = dir.join(LOCK);
    fs.map(&path).map(drop).map_err(|error| Need::Mapping.failed(&path, error))
}

/// Refuses to open a store if the process is about to run out of descriptors.
fn check_descriptors(fs: &dyn Fs) -> Result<()> {
    /// The lock, the log and its next file, and those of a checkpoint; what is
    /// mapped takes none.
    const DESCRIPTORS: usize = 12;
    let what = "file descriptors that an open store may need (raise the limit: ulimit -n)";
    match fs.free_descriptors() {
        Some(free) => check_count(what, DESCRIPTORS, free),
        None => Ok(()),
    }
}

/// Creates a directory, unless it exists.
pub(super) fn create_if_missing(fs: &dyn Fs, dir: &Path) -> Result<()> {
    match fs.create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io("create", dir, error))
        }
        _ => Ok(()),
    }
}

/// Syncs the directories of a store.
fn sync(fs: &dyn Fs, dirs: [&Path; 3]) -> Result<()> {
    dirs.into_iter().try_for_each(|dir| match fs.sync_dir(dir) {
        // Recovery reports a missing log more precisely.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced.map_err(|error| Need::DirectorySyncs.failed(dir, error)),
    })
}

/// Runs `waits`, which waits for the disk, and `other`: in two threads, or one
/// after the other if `in_turn`.
fn both<A: Send, B>(
    in_turn: bool,
    waits: impl Fn() -> A + Sync,
    other: impl FnOnce() -> B,
) -> (A, B) {
    if in_turn {
        return (waits(), other());
    }
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("ingrain-sync".to_owned());
        let thread = thread.spawn_scoped(scope, &waits);
        let other = other();
        // If there is no thread, or it panicked, this thread does it.
        let waited = thread.ok().and_then(|thread| thread.join().ok());
        (waited.unwrap_or_else(&waits), other)
    })
}

/// Ensures that `dir` is a directory that is a store or may become one.
fn make_dir(fs: &dyn Fs, dir: &Path, create: bool) -> Result<()> {
    let none = || Error::NoStore { path: dir.to_owned() };
    let names = match fs.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !create {
                return Err(none());
            }
            // Another process may create it at the same time.
            create_if_missing(fs, dir)?;
            fs.list(dir).map_err(|error| Error::io("list", dir, error))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(Error::invalid(format!("path {}: it is not a directory", dir.display())));
        }
        Err(error) => return Err(Error::io("list", dir, error)),
    };
    if names.iter().any(|name| name == manifest::FILE) {
        return Ok(());
    }
    // Without a manifest it is at most an unfinished store. Any file that an
    // interrupted creation does not leave belongs to somebody else.
    let ours = [LOCK, wal::DIR, segment::DIR, MANIFEST_TEMPORARY];
    if let Some(name) = names.iter().find(|name| !ours.iter().any(|ours| *name == ours)) {
        return Err(Error::invalid(format!(
            "path {}: it is not a store, and holds {}",
            dir.display(),
            Path::new(name).display()
        )));
    }
    if !create && !names.iter().any(|name| name == wal::DIR) {
        return Err(none());
    }
    Ok(())
}

/// Creates a store. The manifest comes last: an interrupted creation can be
/// repeated.
fn create(dir: &Path, wal_dir: &Path, options: &Options) -> Result<(Manifest, Writer)> {
    let fs = &*options.fs;
    if let Some(error) = wal::check_unused(fs, wal_dir, &dir.join(manifest::FILE))? {
        return Err(error);
    }
    if !options.create {
        return Err(Error::NoStore { path: dir.to_owned() });
    }
    check_mapping(fs, dir)?;
    // The parent first: files are not durable if their directory is not.
    if let Some(parent) = dir.parent() {
        sync_dir(fs, parent)?;
    }
    let data_dir = dir.join(segment::DIR);
    for dir in [wal_dir, &data_dir] {
        create_if_missing(fs, dir)?;
    }
    // Data files without a manifest are a damaged store.
    let names = fs.list(&data_dir).map_err(|error| Error::io("list", &data_dir, error))?;
    if let Some(name) = names.first() {
        let what = format!("the file is missing, but there is {}", Path::new(name).display());
        return Err(Error::corrupt(dir.join(manifest::FILE), 0, what));
    }
    sync_dir(fs, dir)?;
    let manifest = Manifest {
        store: fs.random(),
        generation: 1,
        next_file: 1,
        salvaging: options.unfinished,
        ..Manifest::default()
    };
    let place = wal::LogDir::new(fs, wal_dir, manifest.store);
    let place = place.in_sizes(options.granularity.log);
    let mut writer = Writer::new(place, options.wal_file_bytes, Seq::ZERO, 0, 0);
    writer.create(place)?;
    manifest::publish(fs, dir, &manifest)?;
    Ok((manifest, writer))
}

/// The files of a directory that do not belong to the store, by their names.
fn find_orphans(fs: &dyn Fs, dir: &Path, is_orphan: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let names = fs.list(dir).map_err(|error| Error::io("list", dir, error))?;
    let found = names.iter().filter(|name| name.to_str().is_some_and(&is_orphan));
    Ok(found.map(|name| dir.join(name)).collect())
}

fn remove(fs: &dyn Fs, paths: Vec<PathBuf>) -> Result<()> {
    paths
        .iter()
        .try_for_each(|path| fs.remove(path).map_err(|error| Error::io("remove", path, error)))
}

/// The operations that give a store the spaces and indexes of the options.
pub(super) fn missing(state: &State, options: &Options) -> Result<Vec<Op>> {
    let mut ops = Vec::new();
    for (name, space) in &options.spaces {
        match state.spaces().get(name.as_str()) {
            Some((_, existing)) if existing.space == *space => {}
            Some((_, existing)) => {
                return Err(Error::invalid(format!(
                    "option space {name:?}: the store has it as {:?}, which is not {space:?}",
                    existing.space
                )));
            }
            None => ops.push(Op::CreateSpace { name: name.clone(), space: *space }),
        }
    }
    for (name, index) in &options.indexes {
        let Some(number) = state.indexes().number(name) else {
            let name = name.to_owned();
            ops.push(Op::CreateIndex { name, index: index.clone() });
            continue;
        };
        let existing = state.indexes().derived(number).map(|derived| &*derived.definition);
        if existing != index.as_ref() {
            return Err(Error::invalid(format!(
                "option index {name:?}: the store has it with another definition"
            )));
        }
    }
    Ok(ops)
}
