//! What is whole of a damaged store, put into a new one.

use std::{
    io,
    path::{self, Path},
    sync::Arc,
};

use crate::{
    engine::{
        Engine,
        open::LOCK,
        options::Options,
        repair::{report::RepairReport, salvage::Repair},
        target::{self, check_apart},
    },
    format::manifest::Manifest,
    model::{
        batch::Durability,
        error::{Error, Result},
    },
    os::file::Fs,
    state::base::Base,
    store::{
        manifest, segment,
        wal::{self, report::RecoveryMode},
    },
};
pub(crate) mod edges;
pub(crate) mod log;
pub(crate) mod nodes;
pub(crate) mod report;
pub(crate) mod salvage;

/// Memory that the batches of the log may need while they are written again.
const WRITE_LOG_BYTES: usize = 1 << 30;

impl Options {
    /// Puts everything that is whole of a damaged store into a new one, and
    /// tells what was lost. The damaged store is only read; nobody may have it
    /// open meanwhile.
    ///
    /// From the base, as the last checkpoint left it, comes every node whose
    /// record and content are whole, with its times, counts, scores, attributes
    /// and keys; its vectors, each if it is whole; every edge whose ends were
    /// salvaged. An edge that cannot be read at its source is taken from its
    /// target, without its attributes. Tables that can be made anew from others
    /// (of keys, of kinds) are no loss. Then every batch of the log up to the
    /// first damage is applied, with its own time; of one that needs something
    /// that was lost, the operations that do not. A write that a crash tore at
    /// the end of the log is no damage.
    ///
    /// Sequence numbers, and with them the versions of nodes, begin anew.
    ///
    /// `to` must be absent or empty. Until the call returns there is no store
    /// in it that opens; if it fails, it removes what it made.
    ///
    /// These options say how the new store is written, and which file system
    /// both are on; their spaces, indexes and recovery mode do not count. The
    /// store has the spaces and indexes that it had. Memory is bounded by
    /// [`delta_bytes`](Self::delta_bytes), one file of the log and one of its
    /// batches.
    ///
    /// `progress` is told, now and then and at the end, how many nodes and
    /// edges of the base were gone through, and how many it has.
    ///
    /// Files are mapped: where the medium gives an error for a page, the
    /// process is ended by a signal. Copy the store to a medium that is whole
    /// first, with zeros for what cannot be read.
    ///
    /// ```
    /// # use ingrain::{Engine, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let (damaged, mended) = (dir.path().join("damaged"), dir.path().join("mended"));
    /// # Engine::open(&damaged)?.close()?;
    /// let report = Options::new().repair(&damaged, &mended, &mut |_, _| {})?;
    /// for lost in &report.lost {
    ///     eprintln!("{lost}");
    /// }
    /// let engine = Engine::open(&mended)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupt` if the manifest is damaged or missing, without which nothing
    /// tells what the store consists of; `Invalid` if `from` is no store, or
    /// `to` holds anything or lies within `from`; `Locked` if a store is open;
    /// `Unsupported` for another version of the format; `Io`.
    pub fn repair(
        self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<RepairReport> {
        self.check()?;
        let absolute =
            |path: &Path| path::absolute(path).map_err(|error| Error::io("open", path, error));
        let (from, to) = (absolute(from.as_ref())?, absolute(to.as_ref())?);
        check_apart(&to, &from)?;
        check_apart(&from, &to)?;
        let fs = Arc::clone(&self.fs);
        // Before a lock file is made where there is no store.
        load(&*fs, &from)?;
        let path = from.join(LOCK);
        let _lock = fs
            .lock(&path)
            .map_err(|error| Error::io("lock", &path, error))?
            .ok_or(Error::Locked { path })?;
        let manifest = load(&*fs, &from)?;
        target::check(&*fs, &to)?;
        let data_dir = from.join(segment::DIR);
        let (base, unopened) = Base::open_salvageable(&fs, &data_dir, &manifest)?;
        let options = Self {
            create: true,
            durability: Durability::Os,
            write_log_bytes: self.write_log_bytes.max(WRITE_LOG_BYTES),
            recovery: RecoveryMode::Strict,
            inline: true,
            unfinished: true,
            spaces: Default::default(),
            indexes: Default::default(),
            ..self
        };
        let engine = Engine::open_with(&to, options)?;
        let mut repair = Repair {
            engine: &engine,
            snapshot: engine.snapshot(),
            base: &base,
            data_dir: &data_dir,
            manifest: &manifest,
            unopened: &unopened,
            report: RepairReport::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            progress,
            done: 0,
        };
        let salvaged = repair.all(&from, &fs);
        let report = repair.report;
        let salvaged = salvaged.and_then(|()| engine.checkpointer.settle());
        let salvaged = salvaged.and_then(|()| engine.close());
        if let Err(error) = salvaged {
            drop(engine);
            if let Ok(Some(_lock)) = fs.lock(&to.join(LOCK)) {
                target::discard(&*fs, &to);
            }
            return Err(match error {
                // The engine was nobody's to close and open again.
                Error::Poisoned { cause } => Error::clone(&cause),
                error => error,
            });
        }
        Ok(report)
    }
}

/// The manifest of the damaged store.
fn load(fs: &dyn Fs, from: &Path) -> Result<Manifest> {
    let no_store = || Error::NoStore { path: from.to_owned() };
    let names = fs.list(from).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => no_store(),
        _ => Error::io("list", from, error),
    })?;
    let ours = [manifest::FILE, wal::DIR, segment::DIR];
    if !names.iter().any(|name| ours.iter().any(|ours| name == ours)) {
        return Err(no_store());
    }
    const NEEDED: &str = "without it nothing tells which files are the store's and what is in \
                          them, and no repair is possible: restore a backup";
    match manifest::load(fs, from) {
        Ok(Some(manifest)) => Ok(manifest),
        Ok(None) => {
            let what = format!("the file is missing; {NEEDED}");
            Err(Error::corrupt(from.join(manifest::FILE), 0, what))
        }
        Err(Error::Corrupt { file, offset, what }) => {
            Err(Error::corrupt(file, offset, format!("{what}; {NEEDED}")))
        }
        Err(error) => Err(error),
    }
}
