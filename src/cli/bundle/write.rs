//! Writes an export.

use std::{
    fs::{self, File, Permissions},
    io::{BufWriter, Seek, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json};
use tempfile::TempDir;

use super::{FileEntry, MANIFEST, Manifest};
use crate::{
    error::{CliError, Result},
    files::{OutFile, UNFINISHED, resolve},
    input::is_dash,
};

/// The directory in an archive that has the files, so that unpacking it makes
/// one directory.
const TOP: &str = "ingrain-export";
/// The time of the files in an archive: always the same, so that equal stores
/// make equal archives. A second in 2001.
const TIME: u64 = 1_000_000_000;

/// Where an export goes.
pub(crate) struct Target {
    /// Where files are written first. It is renamed to the directory of the
    /// export, or removed.
    place: TempDir,
    kind: Kind,
    files: Vec<FileEntry>,
}

enum Kind {
    Directory(PathBuf),
    /// Files are copied from `place`, one after the other.
    Archive(Box<tar::Builder<OutFile>>, PathBuf),
}

/// A file of an export that is being written.
pub(crate) struct Part {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Part {
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| CliError::io("write", &self.path, error))
    }

    pub(crate) fn line(&mut self, fields: Map<String, Json>) -> Result<()> {
        let mut line = Json::Object(fields).to_string();
        line.push('\n');
        self.put(line.as_bytes())
    }
}

/// Whether a path names an archive.
fn is_archive(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    is_dash(path)
        || name
            .is_some_and(|name| [".tar", ".tar.gz", ".tgz"].iter().any(|end| name.ends_with(end)))
}

impl Target {
    pub(crate) fn create(path: &Path, store: &Path) -> Result<Self> {
        let target = if is_dash(path) { path.to_owned() } else { resolve(path, store)? };
        let beside = if is_dash(path) {
            std::env::temp_dir()
        } else {
            target.parent().unwrap_or(Path::new("/")).to_owned()
        };
        let kind = if is_archive(path) {
            let archive = tar::Builder::new(OutFile::create(target.clone())?);
            Kind::Archive(Box::new(archive), target)
        } else {
            unused(&target)?;
            Kind::Directory(target)
        };
        let place = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(&beside)
            .map_err(|error| CliError::io("create a directory in", &beside, error))?;
        Ok(Self { place, kind, files: Vec::new() })
    }

    pub(crate) fn is_stdout(&self) -> bool {
        matches!(&self.kind, Kind::Archive(_, target) if is_dash(target))
    }

    /// Begins a file.
    pub(crate) fn begin(&self, name: &str) -> Result<Part> {
        let path = self.place.path().join(name);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| CliError::io("create", &path, error))?;
        Ok(Part {
            name: name.to_owned(),
            path,
            file: BufWriter::with_capacity(64 << 10, file),
            hasher: blake3::Hasher::new(),
            bytes: 0,
        })
    }

    /// Completes a file.
    pub(crate) fn end(&mut self, part: Part) -> Result<()> {
        let entry = self.keep(part)?;
        self.files.push(entry);
        Ok(())
    }

    fn keep(&mut self, part: Part) -> Result<FileEntry> {
        let Part { name, path, file, hasher, bytes } = part;
        let failed = |error| CliError::io("write", &path, error);
        let mut file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        match &mut self.kind {
            Kind::Directory(_) => file.sync_all().map_err(failed)?,
            Kind::Archive(archive, target) => {
                file.rewind().map_err(failed)?;
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes);
                header.set_mode(0o644);
                header.set_mtime(TIME);
                archive
                    .append_data(&mut header, Path::new(TOP).join(&name), file)
                    .map_err(|error| CliError::io("write", target, error))?;
                fs::remove_file(&path).map_err(|error| CliError::io("remove", &path, error))?;
            }
        }
        Ok(FileEntry { name, bytes, blake3: hasher.finalize().to_hex().to_string() })
    }

    /// Writes the manifest, and gives the export its name. Returns the bytes of
    /// its files.
    pub(crate) fn publish(mut self, manifest: &mut Manifest) -> Result<u64> {
        manifest.files = std::mem::take(&mut self.files);
        let mut part = self.begin(MANIFEST)?;
        part.put(&manifest.encode()?)?;
        let mut bytes = self.keep(part)?.bytes;
        bytes += manifest.files.iter().map(|file| file.bytes).sum::<u64>();
        let Self { place, kind, .. } = self;
        match kind {
            Kind::Directory(target) => {
                let failed = |error| CliError::io("rename to", &target, error);
                sync(place.path()).map_err(failed)?;
                // It replaces an empty directory.
                fs::rename(place.path(), &target).map_err(failed)?;
                let _ = place.keep();
                sync(target.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
            }
            Kind::Archive(archive, target) => {
                let file =
                    archive.into_inner().map_err(|error| CliError::io("write", &target, error))?;
                file.finish()?.publish()?;
            }
        }
        Ok(bytes)
    }
}

fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Refuses a target that has something in it.
fn unused(target: &Path) -> Result<()> {
    match fs::read_dir(target) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(CliError::message(format!(
                "{}: it is not empty; export to a directory that is absent or empty",
                target.display()
            ))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(_) if target.is_file() => Err(CliError::message(format!(
            "{}: it is a file, and its name is not one of an archive: .tar, .tar.gz or .tgz",
            target.display()
        ))),
        Err(error) => Err(CliError::io("list", target, error)),
    }
}
