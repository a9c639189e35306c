//! Makes a second store with the same content from an open one.

use std::{
    io,
    path::{self, Path},
};

use crate::{
    checkpoint::plan::Scope,
    engine::{
        Engine,
        target::{self, Target},
    },
    format::{
        header::FileKind,
        manifest::{DataFile, Manifest},
    },
    model::{
        error::{Error, Result},
        time::Seq,
    },
    num,
    os::file::Fs,
    store::{
        manifest, segment,
        wal::{self, writer::Writer},
    },
};

/// Bytes that are read and written at once when a file is copied.
const BUFFER_BYTES: usize = 1 << 20;

/// What [`Engine::backup`] made.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let report = engine.backup(dir.path().join("backup"))?;
/// assert_eq!(report.seq, engine.snapshot().seq());
/// assert_eq!(report.linked + report.copied, report.files);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct BackupReport {
    /// The last commit of the backup.
    pub seq: Seq,
    /// Data files of the backup.
    pub files: usize,
    /// Bytes of those files.
    pub bytes: u64,
    /// How many of the files are hard links to files of the store. Such a file
    /// takes no extra space until the store has replaced and removed its own.
    pub linked: usize,
    /// How many of the files were copied, because they could not be linked.
    pub copied: usize,
}

/// How [`Engine::backup_with`] makes a backup.
///
/// ```
/// use ingrain::{admin::BackupOptions, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let options = BackupOptions::new().copy(true);
/// let report = engine.backup_with(dir.path().join("backup"), &options)?;
/// assert_eq!((report.linked, report.copied), (0, report.files)); // nothing is shared
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct BackupOptions {
    copy: bool,
}

impl BackupOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether all files are copied, also where they could be linked: false by
    /// default. A copy takes the time and the space of its bytes, and shares
    /// nothing with the store: what happens to the files of one of them, or to the
    /// medium under them, does not happen to the other.
    #[must_use]
    pub fn copy(mut self, copy: bool) -> Self {
        self.copy = copy;
        self
    }
}

impl Engine {
    /// Makes a backup in `dir`: a store with everything that was committed
    /// before the call. Writes and reads continue meanwhile.
    ///
    /// It makes a [`checkpoint`](Self::checkpoint), and then hard links to the
    /// files of the base in `dir`, which takes next to no time or space. Into
    /// another file system it copies the files, and no checkpoint happens until
    /// that is done. Files of a base never change, so both stores are independent
    /// as far as engines are concerned. But a linked file is on the disk only once:
    /// damage to the medium under it damages both stores, and so does a program
    /// that writes into it. Data files have no permission to be written, against
    /// accidents; a program that removes a file and writes a new one of its name
    /// does not harm the other store. [`backup_with`](Self::backup_with) can copy
    /// the files instead.
    ///
    /// `dir` must be absent or empty, except for what a failed backup leaves: a
    /// lock file and empty directories. The directory above it must exist. The
    /// manifest is written last, so at any time `dir` holds the complete backup or
    /// no store. A backup that fails removes its files.
    ///
    /// ```
    /// # use ingrain::{Batch, Engine, Node, NodeId};
    /// # let dir = tempfile::tempdir()?;
    /// let engine = Engine::open(dir.path().join("memory"))?;
    /// let mut batch = Batch::new();
    /// batch.put(Node::new(NodeId::new(), "note").content("dogs bark"));
    /// engine.write(batch)?;
    ///
    /// let backup = engine.backup(dir.path().join("backup"))?;
    /// assert_eq!(backup.seq, engine.snapshot().seq());
    /// let copy = Engine::open(dir.path().join("backup"))?;
    /// assert_eq!(copy.snapshot().digest()?, engine.snapshot().digest()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if `dir` holds anything or lies within the store, with nothing
    /// changed; `Locked` if another engine opens it meanwhile; as
    /// [`checkpoint`](Self::checkpoint) if that fails; `Io`. None of them harms the
    /// store.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.backup_with(dir, &BackupOptions::new())
    }

    /// Makes a backup as [`backup`](Self::backup) does, with options.
    ///
    /// # Errors
    /// As [`backup`](Self::backup).
    pub fn backup_with(
        &self,
        dir: impl AsRef<Path>,
        options: &BackupOptions,
    ) -> Result<BackupReport> {
        self.check_open()?;
        let dir = dir.as_ref();
        let dir = path::absolute(dir).map_err(|error| Error::io("create", dir, error))?;
        target::check_apart(&*self.fs, &dir, &self.dir)?;
        target::check(&*self.fs, &dir)?;
        self.checkpointer.run_with(Scope::Incremental, |manifest| {
            let target = Target::take(&*self.fs, &dir)?;
            let made = self.copy_store(manifest, &target, options);
            if made.is_err() {
                target.discard();
            }
            made
        })
    }

    /// Copies the store that a manifest describes into another directory.
    fn copy_store(
        &self,
        manifest: &Manifest,
        target: &Target<'_>,
        options: &BackupOptions,
    ) -> Result<BackupReport> {
        let fs = &*self.fs;
        let (from, to) = (self.dir.join(segment::DIR), target.dir().join(segment::DIR));
        let mut report =
            BackupReport { seq: manifest.checkpoint, files: 0, bytes: 0, linked: 0, copied: 0 };
        let mut manifest = manifest.clone();
        for (kind, file) in manifest.clone().files() {
            let path = |dir: &Path| segment::file_path(dir, kind, file.number);
            let (old, new) = (path(&from), path(&to));
            let linked = if options.copy {
                copy(fs, &old, &new, file).map(|()| false)
            } else {
                link_or_copy(fs, &old, &new, file)
            };
            let linked = match linked {
                // A missing or damaged index is left out, and rebuilt in both stores.
                Err(error) if kind == FileKind::VectorIndex && is_lost(&error) => {
                    for vectors in &mut manifest.vectors {
                        vectors.codes = vectors.codes.filter(|codes| *codes != file);
                        vectors.graph = vectors.graph.filter(|graph| *graph != file);
                    }
                    continue;
                }
                linked => linked?,
            };
            if linked {
                report.linked += 1;
            } else {
                report.copied += 1;
            }
            report.files += 1;
            report.bytes = report.bytes.saturating_add(file.len);
        }
        fs.sync_dir(&to).map_err(|error| Error::io("sync", &to, error))?;
        let wal_dir = target.dir().join(wal::DIR);
        let place = wal::LogDir::new(fs, &wal_dir, manifest.store).in_sizes(self.log_sizes);
        Writer::new(place, 0, manifest.checkpoint, 0, 0).create(place)?;
        manifest::publish(fs, target.dir(), &manifest)?;
        Ok(report)
    }
}

/// Whether a file is missing or damaged.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        error => matches!(error, Error::Corrupt { .. }),
    }
}

/// Links a data file, or copies it. Returns whether it was linked. A linked file
/// needs no sync: it was synced when it was written.
fn link_or_copy(fs: &dyn Fs, from: &Path, to: &Path, file: DataFile) -> Result<bool> {
    match fs.link(from, to) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::Unsupported
            | io::ErrorKind::CrossesDevices
            | io::ErrorKind::TooManyLinks
            | io::ErrorKind::PermissionDenied => copy(fs, from, to, file).map(|()| false),
            _ => Err(Error::io("link", from, error)),
        },
    }
}

fn copy(fs: &dyn Fs, from: &Path, to: &Path, file: DataFile) -> Result<()> {
    let source = fs.open(from).map_err(|error| Error::io("open", from, error))?;
    let len = source.size().map_err(|error| Error::io("read", from, error))?;
    if len != file.len {
        let what = format!("the manifest says {} bytes, there are {len}", file.len);
        return Err(Error::corrupt(from, 0, what));
    }
    let target = fs.create_new_read_only(to);
    let target = target.map_err(|error| Error::io("create", to, error))?;
    let mut buffer = vec![0; num::size(len).min(BUFFER_BYTES)];
    let mut at = 0;
    while at < len {
        let rest = num::size(len - at);
        let (chunk, _) = buffer.split_at_mut(rest.min(BUFFER_BYTES));
        source.read_at(at, chunk).map_err(|error| Error::io("read", from, error))?;
        target.write_at(at, chunk).map_err(|error| Error::io("write", to, error))?;
        at += num::wide(chunk.len());
    }
    target.sync().map_err(|error| Error::io("sync", to, error))
}
