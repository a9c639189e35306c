//! The errors that the program reports.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use ingrain::ErrorKind;

pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

#[derive(Debug)]
pub(crate) enum CliError {
    /// An error of the engine.
    Engine(ingrain::Error),
    /// An error of the operating system.
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// A line of an input file cannot be imported.
    Line { file: PathBuf, line: u64, cause: String },
    /// Anything else, as a sentence.
    Message(String),
    /// Standard output was closed by its reader.
    OutputClosed,
}

impl CliError {
    pub(crate) fn io(op: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { op, path: path.to_owned(), source }
    }

    pub(crate) fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine(error) => {
                error.with_causes().fmt(f)?;
                f.write_str(match error.kind() {
                    ErrorKind::Locked => "; close the program that has it open and try again",
                    ErrorKind::Corrupt => {
                        "; restore a backup, or copy everything readable into a new store with \
                         \"ingrain repair\""
                    }
                    ErrorKind::Poisoned => "; check the disk, then run the command again",
                    _ => "",
                })
            }
            Self::Io { op, path, source } => write!(f, "{op} {}: {source}", path.display()),
            Self::Line { file, line, cause } => write!(f, "{}:{line}: {cause}", file.display()),
            Self::Message(text) => f.write_str(text),
            Self::OutputClosed => f.write_str("standard output was closed"),
        }
    }
}

impl std::error::Error for CliError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            Self::Line { .. } | Self::Message(_) | Self::OutputClosed => None,
        }
    }
}

impl From<ingrain::Error> for CliError {
    fn from(error: ingrain::Error) -> Self {
        Self::Engine(error)
    }
}
