//! What can go wrong, sorted by what a caller can do about it.

use std::{io, path::PathBuf, sync::Arc};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error, cheap to clone: one failed sync is reported to every writer of
/// its group.
///
/// Match on [`Error::kind`] rather than on the text; the text is for people.
/// That something is not there is never an error: lookups return `Option`.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller gave something that can never be accepted.
    #[error("invalid {what}")]
    Invalid {
        /// What was given, what is wrong with it, and what would be right.
        what: String,
    },
    /// A documented bound would be passed.
    #[error("{what} is {value}, the limit is {limit}")]
    Limit {
        /// The bounded quantity.
        what: &'static str,
        /// What was asked for.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// The write log stayed full until the deadline, or the delta had used up
    /// its budget and no checkpoint made room. The batch has no sequence number
    /// and left no trace: try again later, or slow down.
    #[error(
        "no room was made for the batch in {waited_ms} ms ({queued} batches, {bytes} bytes queued, \
         {delta} bytes in the delta)"
    )]
    Backpressure {
        /// How long the caller was held.
        waited_ms: u64,
        /// Batches in the write log when it gave up.
        queued: usize,
        /// Bytes in the write log when it gave up.
        bytes: usize,
        /// Bytes that waited for a checkpoint when it gave up.
        delta: usize,
    },
    /// A precondition of the batch did not hold when its turn came. Nothing of
    /// the batch was applied.
    #[error("operation {op} of the batch on node {}: {reason}", uuid::Uuid::from_bytes(*node))]
    Conflict {
        /// Index of the operation within the batch.
        op: usize,
        /// The node on which the precondition failed: the bytes of its
        /// [`NodeId`](crate::NodeId).
        node: [u8; 16],
        /// Which precondition.
        reason: ConflictReason,
    },
    /// A file holds something that the engine did not write there.
    #[error("{}: damaged at byte {offset}: {what}", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What was expected and what was found.
        what: String,
    },
    /// Another engine, in this process or another, has the store open.
    #[error("{} is open in another engine", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// An earlier write to the log failed, so this engine takes no more of
    /// them. Reads go on. Close it and open the store again: what was
    /// acknowledged is there; whether the batch that met the failure is there
    /// too, only the disk knows.
    #[error("the engine takes no more writes, its log failed: {cause}")]
    Poisoned {
        /// The failure.
        cause: Arc<Error>,
    },
    /// A checkpoint failed at this step. If it was before `cut`, everything is
    /// as it was: what was acknowledged is in the log, new files are gone, and
    /// the engine goes on. A failure of `cut` leaves a log that is longer than
    /// it need be.
    #[error("checkpoint failed at {step}: {cause}")]
    Checkpoint {
        /// What it was doing, as docs/architecture.md names it.
        step: &'static str,
        /// Why it failed.
        cause: Arc<Error>,
    },
    /// The operating system refused.
    #[error("{op} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
    /// The file or the request belongs to a version or platform that this one
    /// does not serve. Files are met by opening; a heap, beside a manifest that
    /// this version reads, by whoever reads it.
    #[error("unsupported: {what}")]
    Unsupported {
        /// What, and what is supported.
        what: String,
    },
}

/// Why a precondition failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictReason {
    /// The node is there, and the operation wanted it absent.
    Exists,
    /// The node is not there, and the operation needs it.
    Missing,
    /// The node has another version than the caller saw.
    Version {
        /// The version that the caller named.
        expected: u64,
        /// The version that the node has.
        found: u64,
    },
}

impl std::fmt::Display for ConflictReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exists => f.write_str("the node exists already"),
            Self::Missing => f.write_str("there is no such node"),
            Self::Version { expected, found } => {
                write!(f, "the node is at version {found}, not {expected}")
            }
        }
    }
}

/// The kinds of [`Error`], for `match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Change the call.
    Invalid,
    /// Split the work.
    Limit,
    /// Try again later.
    Backpressure,
    /// Read again, decide again.
    Conflict,
    /// Restore a backup, or open with a salvaging
    /// [`RecoveryMode`](crate::RecoveryMode).
    Corrupt,
    /// Close the other engine.
    Locked,
    /// Reopen the store.
    Poisoned,
    /// Look at the disk.
    Io,
    /// The engine was closed.
    Closed,
    /// Use another version.
    Unsupported,
}

impl Error {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Limit { .. } => ErrorKind::Limit,
            Self::Backpressure { .. } => ErrorKind::Backpressure,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Poisoned { .. } => ErrorKind::Poisoned,
            Self::Checkpoint { cause, .. } => cause.kind(),
            Self::Io { .. } => ErrorKind::Io,
            Self::Closed => ErrorKind::Closed,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
        }
    }

    /// Whether the same call may succeed later without the caller changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Backpressure | ErrorKind::Locked)
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    pub(crate) fn io(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { op, path: path.into(), source: Arc::new(source) }
    }

    pub(crate) fn corrupt(file: impl Into<PathBuf>, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt { file: file.into(), offset, what: what.into() }
    }

    pub(crate) fn limit(what: &'static str, value: usize, limit: usize) -> Self {
        // usize is at most 64 bits on every target that Rust has.
        Self::Limit { what, value: value as u64, limit: limit as u64 }
    }

    /// The poison that this failure leaves behind.
    pub(crate) fn poisons(self) -> Self {
        match self {
            poisoned @ Self::Poisoned { .. } => poisoned,
            cause => Self::Poisoned { cause: Arc::new(cause) },
        }
    }
}
