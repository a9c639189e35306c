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
        wal::{self, LogSizes, writer::Writer},
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

impl Engine {
    /// Makes a backup in `dir`: a store with everything that was committed
    /// before the call. Writes and reads continue meanwhile.
    ///
    /// It makes a [`checkpoint`](Self::checkpoint), and then hard links to the
    /// files of the base in `dir`, which takes next to no time or space. Into
    /// another file system it copies the files, and no checkpoint happens until
    /// that is done. Files of a base never change, so both stores are independent.
    /// But a linked file is on the disk only once: damage to the medium under it
    /// damages both stores, and only a copy on another medium helps.
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
        self.check_open()?;
        let dir = dir.as_ref();
        let dir = path::absolute(dir).map_err(|error| Error::io("create", dir, error))?;
        target::check_apart(&*self.fs, &dir, &self.dir)?;
        target::check(&*self.fs, &dir)?;
        self.checkpointer.run_with(Scope::Incremental, |manifest| {
            let target = Target::take(&*self.fs, &dir)?;
            let made = copy_store(&*self.fs, &self.dir, manifest, &target, self.log_sizes);
            if made.is_err() {
                target.discard();
            }
            made
        })
    }
}

/// Copies the store that a manifest describes into another directory.
fn copy_store(
    fs: &dyn Fs,
    from: &Path,
    manifest: &Manifest,
    target: &Target<'_>,
    log_sizes: LogSizes,
) -> Result<BackupReport> {
    let (from, to) = (from.join(segment::DIR), target.dir().join(segment::DIR));
    let mut report =
        BackupReport { seq: manifest.checkpoint, files: 0, bytes: 0, linked: 0, copied: 0 };
    let mut manifest = manifest.clone();
    for (kind, file) in manifest.clone().files() {
        let path = |dir: &Path| segment::file_path(dir, kind, file.number);
        let linked = match link_or_copy(fs, &path(&from), &path(&to), file) {
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
    let place = wal::LogDir::new(fs, &wal_dir, manifest.store).in_sizes(log_sizes);
    Writer::new(place, 0, manifest.checkpoint, 0, 0).create(place)?;
    manifest::publish(fs, target.dir(), &manifest)?;
    Ok(report)
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
    let target = fs.create_new(to).map_err(|error| Error::io("create", to, error))?;
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
