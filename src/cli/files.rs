//! The files that the user wants written: under their names only when they are
//! complete, or to standard output as `-`.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Map, Value as Json};
use tempfile::NamedTempFile;

use crate::{
    error::{CliError, Result},
    input::is_dash,
};

/// The name of a file while it is written begins with this.
pub(crate) const UNFINISHED: &str = ".ingrain-export-";

/// The place of a path, with links resolved. Refuses the directory of the store.
pub(crate) fn resolve(path: &Path, store: &Path) -> Result<PathBuf> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| CliError::io("export to a file in", &path, error)
    };
    let target = match path.canonicalize() {
        Ok(target) => target,
        Err(_) => {
            let parent = match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let name = path.file_name().ok_or_else(|| {
                CliError::message(format!("{}: it is not a name for a file", path.display()))
            })?;
            parent.canonicalize().map_err(failed(parent))?.join(name)
        }
    };
    if target.starts_with(store.canonicalize().map_err(failed(store))?) {
        return Err(CliError::message(format!(
            "{}: it is in the store; export to a place outside",
            path.display()
        )));
    }
    Ok(target)
}

/// A file that gets its name only when it is complete. An existing file that is
/// not a regular one, such as a pipe, is written directly, and so is standard
/// output.
pub(crate) struct OutFile {
    target: PathBuf,
    writer: Writer,
}

enum Writer {
    Plain(BufWriter<Place>),
    Gzip(GzEncoder<BufWriter<Place>>),
}

enum Place {
    /// In the directory of the target; removed unless it is renamed.
    Temporary(NamedTempFile),
    Direct(File),
}

impl Write for Place {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Temporary(file) => file.write(bytes),
            Self::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Temporary(file) => file.flush(),
            Self::Direct(file) => file.flush(),
        }
    }
}

/// Standard output as a file, past the buffer of `Output`.
fn stdout() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// A complete file without its final name.
pub(crate) struct Finished {
    target: PathBuf,
    place: Place,
}

impl OutFile {
    /// Creates a file with gzip if its name ends in .gz or .tgz.
    pub(crate) fn create(target: PathBuf) -> Result<Self> {
        let failed = |error| CliError::io("create", &target, error);
        let place = match fs::metadata(&target) {
            _ if is_dash(&target) => Place::Direct(stdout().map_err(failed)?),
            Ok(existing) if existing.is_dir() => {
                return Err(failed(io::ErrorKind::IsADirectory.into()));
            }
            Ok(existing) if !existing.is_file() => {
                Place::Direct(OpenOptions::new().write(true).open(&target).map_err(failed)?)
            }
            _ => {
                let parent = target.parent().unwrap_or(Path::new("/"));
                // The permissions of any new file, reduced by the umask.
                let file = tempfile::Builder::new()
                    .prefix(UNFINISHED)
                    .permissions(Permissions::from_mode(0o666))
                    .tempfile_in(parent)
                    .map_err(failed)?;
                Place::Temporary(file)
            }
        };
        let file = BufWriter::with_capacity(256 << 10, place);
        let gzip = target
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("gz") || end.eq_ignore_ascii_case("tgz"));
        let writer = if gzip {
            Writer::Gzip(GzEncoder::new(file, Compression::default()))
        } else {
            Writer::Plain(file)
        };
        Ok(Self { target, writer })
    }

    /// Writes all of the bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|error| failure(&self.target, error))
    }

    pub(crate) fn line(&mut self, fields: Map<String, Json>) -> Result<()> {
        let mut line = Json::Object(fields).to_string();
        line.push('\n');
        self.put(line.as_bytes())
    }

    pub(crate) fn finish(self) -> Result<Finished> {
        let Self { target, writer } = self;
        let failed = |error| failure(&target, error);
        let writer = match writer {
            Writer::Plain(writer) => writer,
            Writer::Gzip(writer) => writer.finish().map_err(failed)?,
        };
        let place = writer.into_inner().map_err(|error| failed(error.into_error()))?;
        if let Place::Temporary(file) = &place {
            file.as_file().sync_all().map_err(failed)?;
        }
        Ok(Finished { target, place })
    }
}

/// The reader of a pipe may have read enough.
fn failure(target: &Path, error: io::Error) -> CliError {
    match error.kind() {
        io::ErrorKind::BrokenPipe if is_dash(target) => CliError::OutputClosed,
        _ => CliError::io("write", target, error),
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.writer {
            Writer::Plain(writer) => writer.write(bytes),
            Writer::Gzip(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.writer {
            Writer::Plain(writer) => writer.flush(),
            Writer::Gzip(writer) => writer.flush(),
        }
    }
}

impl Finished {
    pub(crate) fn publish(self) -> Result<()> {
        if let Place::Temporary(file) = self.place {
            file.persist(&self.target)
                .map_err(|error| CliError::io("rename to", &self.target, error.error))?;
        }
        Ok(())
    }
}
