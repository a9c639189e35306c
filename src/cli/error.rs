//! The errors that the program reports.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use ingrain::{ErrorKind, exchange::json::object};
use serde_json::Value as Json;

pub(crate) type Result<T, E = CliError> = std::result::Result<T, E>;

#[derive(Debug)]
pub(crate) enum CliError {
    /// An error of the engine.
    Engine(ingrain::Error),
    /// An error of the operating system.
    Io { op: &'static str, path: PathBuf, source: io::Error },
    /// A line of an input file cannot be imported.
    Line { file: PathBuf, line: u64, cause: String },
    /// A node is not as the command requires it to be.
    Conflict { node: String, reason: String },
    /// The arguments contradict each other or are out of range.
    Usage(String),
    /// Anything else, as a sentence.
    Message(String),
    /// A command failed after it had done something, which stays.
    After { error: Box<Self>, kept: String },
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

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// The exit code of the program: 2 for wrong usage only.
    pub(crate) fn code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }

    /// The error as JSON: its text, its kind, and for a line of a file also
    /// which.
    pub(crate) fn json(&self) -> Json {
        let mut document =
            object([("error", Json::from(self.to_string())), ("kind", self.kind().into())]);
        let mut error = self;
        let Json::Object(fields) = &mut document else { return document };
        if let Self::After { error: first, kept } = self {
            fields.insert("error".to_owned(), first.to_string().into());
            fields.insert("kept".to_owned(), kept.as_str().into());
            error = first;
        }
        if let Self::Line { file, line, .. } = error {
            fields.insert("file".to_owned(), file.display().to_string().into());
            fields.insert("line".to_owned(), (*line).into());
        }
        document
    }

    /// One word for the kind of error.
    fn kind(&self) -> String {
        match self {
            Self::Engine(error) => format!("{:?}", error.kind()).to_lowercase(),
            Self::Io { .. } => "io".to_owned(),
            Self::Line { .. } => "line".to_owned(),
            Self::Conflict { .. } => "conflict".to_owned(),
            Self::Usage(_) => "usage".to_owned(),
            Self::Message(_) => "failed".to_owned(),
            Self::After { error, .. } => error.kind(),
            Self::OutputClosed => "closed".to_owned(),
        }
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
            Self::Conflict { node, reason } => write!(f, "node {node:?}: {reason}"),
            Self::Usage(text) | Self::Message(text) => f.write_str(text),
            Self::After { error, kept } => write!(f, "{error}\n{kept}"),
            Self::OutputClosed => f.write_str("standard output was closed"),
        }
    }
}

impl std::error::Error for CliError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Engine(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            Self::After { error, .. } => Some(error),
            Self::Line { .. }
            | Self::Conflict { .. }
            | Self::Usage(_)
            | Self::Message(_)
            | Self::OutputClosed => None,
        }
    }
}

impl From<ingrain::Error> for CliError {
    fn from(error: ingrain::Error) -> Self {
        Self::Engine(error)
    }
}
