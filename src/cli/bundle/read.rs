//! Reads an export, and refuses one that is damaged or cut off before anything
//! is made of it.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Component, Path, PathBuf},
};

use tempfile::TempDir;

use super::{MANIFEST, Manifest};
use crate::{
    error::{CliError, Result},
    input, lines,
};

/// The longest manifest, in bytes: several times what the most spaces and
/// indexes of a store need.
const MANIFEST_BYTES: u64 = 64 << 20;

/// An export whose files were all found to be what its manifest says.
pub(crate) struct Source {
    pub(crate) manifest: Manifest,
    root: PathBuf,
    /// Where an archive was unpacked; removed in the end.
    _unpacked: Option<TempDir>,
}

impl Source {
    /// Opens a directory, or unpacks an archive into a directory beside the
    /// store, and checks everything.
    pub(crate) fn open(path: &Path, store: &Path) -> Result<Self> {
        let (root, unpacked) = if path.is_dir() {
            (path.to_owned(), None)
        } else {
            let unpacked = unpack(path, store)?;
            (top(unpacked.path())?, Some(unpacked))
        };
        let failed = |cause: String| {
            let name = match &unpacked {
                Some(_) => format!("{} in {}", MANIFEST, input::shown(path)),
                None => root.join(MANIFEST).display().to_string(),
            };
            CliError::message(format!("{name}: {cause}"))
        };
        let bytes = match read_manifest(&root) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(without_manifest(path, &root));
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let manifest = Manifest::decode(&bytes).map_err(failed)?;
        let source = Self { manifest, root, _unpacked: unpacked };
        source.check(path)?;
        Ok(source)
    }

    /// The path of a file of the export.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Compares all files with the manifest.
    fn check(&self, path: &Path) -> Result<()> {
        let wrong = |name: &str, what: String| {
            CliError::message(format!(
                "{}: the export is damaged or cut off: {name} {what}",
                input::shown(path)
            ))
        };
        for space in &self.manifest.spaces {
            for name in [&space.rows, &space.ids] {
                if !self.manifest.files.iter().any(|file| file.name == *name) {
                    return Err(wrong(name, "is not in its list of files".to_owned()));
                }
            }
        }
        for entry in &self.manifest.files {
            let name = Path::new(&entry.name);
            if !name.components().all(|part| matches!(part, Component::Normal(_))) {
                return Err(wrong(&entry.name, "is not a name for a file in it".to_owned()));
            }
            let mut file = File::open(self.root.join(name))
                .map_err(|error| wrong(&entry.name, format!("cannot be opened: {error}")))?;
            let failed = |error| CliError::io("read", &self.root.join(name), error);
            let bytes = file.metadata().map_err(failed)?.len();
            if bytes != entry.bytes {
                let said = entry.bytes;
                return Err(wrong(&entry.name, format!("has {bytes} bytes, not {said}")));
            }
            let mut hasher = blake3::Hasher::new();
            io::copy(&mut file, &mut hasher).map_err(failed)?;
            if hasher.finalize().to_hex().as_str() != entry.blake3 {
                return Err(wrong(&entry.name, "has another checksum".to_owned()));
            }
        }
        Ok(())
    }
}

fn read_manifest(root: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(root.join(MANIFEST))?.take(MANIFEST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why there is no manifest.
fn without_manifest(path: &Path, root: &Path) -> CliError {
    let shown = input::shown(path);
    CliError::message(if root.join("MANIFEST").is_file() {
        format!(
            "{shown}: it is a store, not an export; open it as it is, or copy it with \"ingrain \
             backup\""
        )
    } else {
        format!(
            "{shown}: it has no {MANIFEST}: it is not an export, or one that was interrupted or \
             cut off; export again"
        )
    })
}

/// Unpacks an archive into a temporary directory beside the store.
fn unpack(path: &Path, store: &Path) -> Result<TempDir> {
    let broken = |error: io::Error| {
        CliError::message(format!(
            "{}: it is not an archive of an export, or it is damaged or cut off: {error}",
            input::shown(path)
        ))
    };
    let (reader, _) = input::stream(path)?;
    let reader = lines::plain(reader).map_err(broken)?;
    let beside = match store.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let place = tempfile::Builder::new()
        .prefix(".ingrain-import-")
        .tempdir_in(beside)
        .map_err(|error| CliError::io("create a directory in", beside, error))?;
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        let names: PathBuf =
            name.components().filter(|part| !matches!(part, Component::CurDir)).collect();
        let inside = names.components().all(|part| matches!(part, Component::Normal(_)));
        match entry.header().entry_type() {
            tar::EntryType::Directory => {}
            tar::EntryType::Regular | tar::EntryType::Continuous if inside => {
                write_entry(&mut entry, &place.path().join(names), broken)?;
            }
            _ => {
                return Err(CliError::message(format!(
                    "{}: {} is not a file in it",
                    input::shown(path),
                    name.display()
                )));
            }
        }
    }
    // To the end: gzip has its checksum there.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    Ok(place)
}

fn write_entry(
    entry: &mut impl Read,
    path: &Path,
    broken: impl Fn(io::Error) -> CliError,
) -> Result<()> {
    let failed = |error| CliError::io("write", path, error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file = File::create_new(path).map_err(failed)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = match entry.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(&broken)?,
        };
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        io::Write::write_all(&mut file, bytes).map_err(failed)?;
    }
}

/// The directory with the manifest: what was unpacked, or the only directory in
/// it, and so on. Files beside that directory do not matter: some programs add
/// theirs to an archive.
fn top(unpacked: &Path) -> Result<PathBuf> {
    let mut top = unpacked.to_owned();
    while !top.join(MANIFEST).is_file() {
        let failed = |error| CliError::io("list", &top, error);
        let mut only = None;
        for entry in fs::read_dir(&top).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() && only.replace(path).is_some() {
                return Ok(unpacked.to_owned());
            }
        }
        match only {
            Some(only) => top = only,
            None => return Ok(unpacked.to_owned()),
        }
    }
    Ok(top)
}
