//! A second store with the same content, made of a live one.

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

/// Read and written at once where files are copied.
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
    /// The last commit that the backup has.
    pub seq: Seq,
    /// Data files of the backup.
    pub files: usize,
    /// Bytes of those files.
    pub bytes: u64,
    /// Of the files, those that are another name of a file of the store. They
    /// take no space until the store has replaced them.
    pub linked: usize,
    /// Of the files, those that were copied, since the file system does not
    /// link them.
    pub copied: usize,
}

impl Engine {
    /// Makes a backup in `dir`: a store with everything that was committed
    /// before the call. Writes and reads go on meanwhile.
    ///
    /// It brings what is in memory and in the log into the base, as
    /// [`checkpoint`](Self::checkpoint) does, and gives the files of the base
    /// another name in `dir`, which takes next to no time or space; into another
    /// file system it copies them, and no checkpoint happens until that is done.
    /// Files of a base never change, so both stores then live on by themselves.
    /// A linked file is one file all the same: damage to the medium under it is
    /// damage to both, and only a copy elsewhere helps.
    ///
    /// `dir` must be absent or empty, but for empty directories that a backup
    /// left that failed; the directory above it must exist. The manifest comes
    /// last: until the call returns, whatever happens, there is no store in
    /// `dir` or the whole backup. One that fails removes what it made.
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
    /// changed; `Locked` if somebody opens it meanwhile; as
    /// [`checkpoint`](Self::checkpoint) if that fails; `Io`. The store is not
    /// harmed by any.
    pub fn backup(&self, dir: impl AsRef<Path>) -> Result<BackupReport> {
        self.open_still()?;
        let dir = dir.as_ref();
        let dir = path::absolute(dir).map_err(|error| Error::io("create", dir, error))?;
        target::check_apart(&dir, &self.dir)?;
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

/// Makes the store that a manifest describes again, in another directory.
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
            // What is derived and lost is built again, here and there.
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

/// Whether a file is not there, or not whole.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
        error => matches!(error, Error::Corrupt { .. }),
    }
}

/// Gives a data file another name, or copies it. Returns whether it was linked:
/// then it was synced when it was written.
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
        let (piece, _) = buffer.split_at_mut(rest.min(BUFFER_BYTES));
        source.read_at(at, piece).map_err(|error| Error::io("read", from, error))?;
        target.write_at(at, piece).map_err(|error| Error::io("write", to, error))?;
        at += num::wide(piece.len());
    }
    target.sync().map_err(|error| Error::io("sync", to, error))
}
