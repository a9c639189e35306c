//! Copies everything readable of a damaged store into a new one.

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
    state::{base::Base, indexes_of},
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

/// Least `write_log_bytes` of the new store, for large batches of the old log.
const WRITE_LOG_BYTES: usize = 1 << 30;

impl Options {
    /// Copies everything readable of a damaged store into a new one, and reports
    /// what was lost. The damaged store is only read; nobody may have it open
    /// meanwhile.
    ///
    /// From the base of the last checkpoint, it takes each node whose record and
    /// content are sound, with its times, counts, scores, attributes and keys; its
    /// sound vectors; and each edge between salvaged nodes. An edge that cannot be
    /// read in out_edges is taken from in_edges, without its attributes. Tables
    /// that can be rebuilt from others (of keys, of kinds) are no loss. Then it
    /// applies each batch of the log up to the first damage, with its own time. If
    /// a batch needs something that was lost, only those of its operations are
    /// applied that do not. A torn tail of the log is not damage.
    ///
    /// Sequence numbers, and with them the versions of nodes, start again.
    ///
    /// `to` must be absent or empty. Until the call returns, the store in it does
    /// not open. A repair that fails removes the files that it made.
    ///
    /// These options say how the new store is written, and on which file system
    /// both are. Their spaces, indexes and recovery mode are ignored: the new
    /// store has the spaces and indexes of the old one. Memory is bounded by
    /// [`delta_bytes`](Self::delta_bytes), a chunk of the log (1 MiB) and its
    /// largest batch.
    ///
    /// `progress` is called now and then, and at the end, with how many nodes and
    /// edges of the base were read, and how many it has.
    ///
    /// Files are mapped into memory: if the medium reports an error for a page,
    /// the process is ended by a signal. In that case, first copy the store to a
    /// sound medium, with zeros for what cannot be read.
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
    /// `Corrupt` if the manifest, which lists the files of the store, is damaged or
    /// missing; `NoStore` if `from` is not a store; `Invalid` if `to` holds
    /// anything, or one directory lies within the other; `Locked` if a store is
    /// open; `Unsupported` for another version of the format; `Io`.
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
        let fs = Arc::clone(&self.fs);
        check_apart(&*fs, &to, &from)?;
        check_apart(&*fs, &from, &to)?;
        // Before a lock file is created in a directory without a store.
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
            indexes: indexes_of(&manifest),
            unopened: &unopened,
            report: RepairReport::default(),
            pending: Vec::new(),
            pending_bytes: 0,
            progress,
            done: 0,
        };
        let salvaged = repair.all(&from, &fs);
        let report = repair.report;
        let salvaged = salvaged.and_then(|()| engine.checkpointer.finish_salvage());
        let salvaged = salvaged.and_then(|()| engine.close());
        if let Err(error) = salvaged {
            drop(engine);
            if let Ok(Some(_lock)) = fs.lock(&to.join(LOCK)) {
                target::discard(&*fs, &to);
            }
            return Err(match error {
                // The caller cannot reopen this engine, so only the cause is of use.
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
    const NEEDED: &str = "without it the files of the store and their contents are unknown, \
                          and no repair is possible: restore a backup";
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
