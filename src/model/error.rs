//! What can go wrong, sorted by what a caller can do about it.

use std::{error, fmt, io, path::PathBuf, sync::Arc};

use crate::model::{id::NodeId, time::Seq};

/// The result of every fallible call of this crate.
///
/// ```
/// use ingrain::{Engine, NodeId, Result};
///
/// fn has(engine: &Engine, id: NodeId) -> Result<bool> {
///     engine.snapshot().contains(id)
/// }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error, cheap to clone: one failed sync is reported to every writer of
/// its group.
///
/// Match on [`Error::kind`] rather than on the text; the text is for people.
/// A lookup of a node or an edge that does not exist gives `None`, not an error.
/// The cause of an error is its [`source`](error::Error::source);
/// [`with_causes`](Error::with_causes) prints it too. Variants and their fields
/// may grow: match with `..`.
///
/// ```
/// use ingrain::{ErrorKind, Options};
///
/// # let dir = tempfile::tempdir()?;
/// let error = Options::new().create(false).open(dir.path().join("nothing")).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NoStore);
/// assert!(!error.is_retryable());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The call was wrong: a value is out of range, or it names a space or an
    /// index that does not exist.
    #[non_exhaustive]
    Invalid {
        /// What was given, what is wrong with it, and what would be right.
        what: String,
    },
    /// A documented bound would be passed, or one of the operating system's, such
    /// as the number of files that a process may map.
    #[non_exhaustive]
    Limit {
        /// The bounded quantity.
        what: &'static str,
        /// What was asked for.
        value: u64,
        /// The bound.
        limit: u64,
    },
    /// There is no store at this path, and
    /// [`Options::create`](crate::Options::create) is false.
    #[non_exhaustive]
    NoStore {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// The write log stayed full until the deadline, or the delta had used up
    /// its budget and no checkpoint made room. The batch has no sequence number
    /// and left no trace: write it again later, or slow down.
    #[non_exhaustive]
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
    /// A precondition of the batch did not hold when its turn came, or what a
    /// transaction had read was changed meanwhile. Nothing of the batch was applied.
    #[non_exhaustive]
    Conflict {
        /// Index of the operation within the batch; 0 for
        /// [`ConflictReason::Read`].
        op: usize,
        /// The node on which the precondition failed.
        node: NodeId,
        /// Which precondition.
        reason: ConflictReason,
    },
    /// A file holds something that the engine did not write there.
    #[non_exhaustive]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where in the file, in bytes.
        offset: u64,
        /// What was expected and what was found.
        what: String,
    },
    /// The index cannot be read: it is being built, or could not be.
    #[non_exhaustive]
    NotReady {
        /// The name of the index.
        index: Arc<str>,
        /// Why.
        why: Arc<str>,
    },
    /// Another engine, in this process or another, has the store open.
    #[non_exhaustive]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A write to the log failed, so this engine refuses all further writes. Reads
    /// continue. Close it and open the store again: all acknowledged batches are
    /// there. Whether the batches of the failed write are there too can only be
    /// seen then.
    #[non_exhaustive]
    Poisoned {
        /// The failure.
        cause: Arc<Error>,
    },
    /// A checkpoint failed at this step. The engine goes on, and what was
    /// acknowledged is in the log. New files are removed, or, if the manifest may
    /// have been replaced, stay until a later manifest is in force. A failure of
    /// `truncate` only leaves a log that is longer than necessary.
    #[non_exhaustive]
    Checkpoint {
        /// The step, as docs/architecture.md names it.
        step: &'static str,
        /// Why it failed.
        cause: Arc<Error>,
    },
    /// The operating system refused.
    #[non_exhaustive]
    Io {
        /// The operation, as a verb.
        op: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        source: Arc<io::Error>,
    },
    /// A closure of a filter failed.
    #[non_exhaustive]
    Filter {
        /// Its error.
        source: Arc<dyn error::Error + Send + Sync>,
    },
    /// The engine was closed.
    Closed,
    /// This process was forked from the one that opened the engine. It can read
    /// on the snapshots that it has a copy of, but only the other process can
    /// use the engine.
    #[non_exhaustive]
    Forked {
        /// The process that opened the engine.
        owner: u32,
    },
    /// The file or the request belongs to a version or platform that this one
    /// does not support. Opening reports it; for a heap, the first read from it
    /// does.
    #[non_exhaustive]
    Unsupported {
        /// What, and what is supported.
        what: String,
    },
    /// The engine found itself in a state that it should never be in, or a
    /// thread of it panicked. Please report it.
    #[non_exhaustive]
    Internal {
        /// What was met.
        what: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { what } => write!(f, "invalid {what}"),
            Self::Limit { what, value, limit } => {
                write!(f, "{what} is {value}, the limit is {limit}")
            }
            Self::NoStore { path } => write!(f, "there is no store in {}", path.display()),
            Self::Backpressure { waited_ms, queued, bytes, delta } => write!(
                f,
                "no room was made for the batch in {waited_ms} ms ({queued} batches, {bytes} bytes \
                 queued, {delta} bytes in the delta)"
            ),
            Self::Conflict { reason: reason @ ConflictReason::Read { .. }, .. } => {
                write!(f, "{reason}")
            }
            Self::Conflict { op, node, reason } => {
                write!(f, "operation {op} of the batch on node {node}: {reason}")
            }
            Self::Corrupt { file, offset, what } => {
                write!(f, "{}: damaged at byte {offset}: {what}", file.display())
            }
            Self::NotReady { index, why } => write!(f, "index {index:?} cannot be read: {why}"),
            Self::Locked { path } => write!(f, "{} is open in another engine", path.display()),
            Self::Poisoned { .. } => {
                f.write_str("the engine refuses writes because its log failed")
            }
            Self::Checkpoint { step, .. } => write!(f, "checkpoint failed at {step}"),
            Self::Io { op, path, .. } => write!(f, "cannot {op} {}", path.display()),
            Self::Filter { .. } => f.write_str("the filter failed"),
            Self::Closed => f.write_str("the engine is closed"),
            Self::Forked { owner } => write!(
                f,
                "the engine belongs to process {owner}, from which this one was forked: open a \
                 store after the fork"
            ),
            Self::Unsupported { what } => write!(f, "unsupported: {what}"),
            Self::Internal { what } => write!(f, "internal error: {what}"),
        }
    }
}

impl error::Error for Error {
    /// The error itself and not the `Arc` around it, so that it can be downcast.
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Poisoned { cause } | Self::Checkpoint { cause, .. } => Some(&**cause),
            Self::Io { source, .. } => Some(&**source),
            Self::Filter { source } => Some(&**source),
            _ => None,
        }
    }
}

/// Why a precondition failed.
///
/// ```
/// use ingrain::{ConflictReason, Error, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let mut batch = Batch::new();
/// batch.touch(NodeId::new());
/// match engine.write(batch) {
///     Err(Error::Conflict { reason, .. }) => assert_eq!(reason, ConflictReason::Missing),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConflictReason {
    /// The node is there, and the operation wanted it absent.
    Exists,
    /// The node is not there, and the operation needs it.
    Missing,
    /// The node has another version than the caller saw.
    Version {
        /// The version that the caller named.
        expected: Seq,
        /// The version that the node has.
        found: Seq,
    },
    /// Another node has the key that the node would have in a unique index.
    Unique {
        /// The name of the index.
        index: Arc<str>,
        /// The node that has the key.
        holder: NodeId,
    },
    /// There is no such edge from the node, and the operation needs it.
    NoEdge,
    /// Others changed what the transaction had read, in each of its tries
    /// ([`Engine::transact`](crate::Engine::transact)). The node is one that it read;
    /// for a read that is of no single node, [`NodeId::MIN`].
    Read {
        /// How often the transaction was tried.
        tries: u32,
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
            Self::Unique { index, holder } => {
                write!(f, "node {holder} has the same key in the unique index {index:?}")
            }
            Self::NoEdge => f.write_str("there is no such edge"),
            Self::Read { tries } => write!(
                f,
                "what the transaction read was changed before it could commit, in each of {tries} \
                 tries"
            ),
        }
    }
}

/// What a caller can do about an [`Error`], for `match`.
///
/// The kind of a failed checkpoint is that of its cause.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let error = engine.write(Batch::new().delete(NodeId::new()).touch(NodeId::new())).unwrap_err();
/// let advice = match error.kind() {
///     ErrorKind::Backpressure => "write again later",
///     ErrorKind::Conflict => "read again, and decide again",
///     _ => "show it to a person", // kinds may be added
/// };
/// assert_eq!(advice, "read again, and decide again");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Change the call.
    Invalid,
    /// Split the work, or do what the error advises.
    Limit,
    /// Create a store, or look elsewhere for it.
    NoStore,
    /// Try again later.
    Backpressure,
    /// Read again, decide again.
    Conflict,
    /// Restore a backup, repair the store, or open it with a salvaging
    /// [`RecoveryMode`](crate::admin::RecoveryMode).
    Corrupt,
    /// Wait until the index is built, or drop it if it could not be.
    NotReady,
    /// Close the other engine.
    Locked,
    /// Reopen the store.
    Poisoned,
    /// Free space on the disk, or raise the quota.
    DiskFull,
    /// Make the file system writable.
    ReadOnly,
    /// Give permission to the directory or file.
    PermissionDenied,
    /// Give the process more memory.
    OutOfMemory,
    /// Look at the disk: any other error of the operating system.
    Io,
    /// Look at the closure of the filter: it failed.
    Filter,
    /// Open the store again: the engine was closed.
    Closed,
    /// Open the store after the fork, once the process that has it open has
    /// closed it.
    Forked,
    /// Use another version.
    Unsupported,
    /// Report it: a fault of the engine.
    Internal,
}

impl Error {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Limit { .. } => ErrorKind::Limit,
            Self::NoStore { .. } => ErrorKind::NoStore,
            Self::Backpressure { .. } => ErrorKind::Backpressure,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::NotReady { .. } => ErrorKind::NotReady,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Poisoned { .. } => ErrorKind::Poisoned,
            Self::Checkpoint { cause, .. } => cause.kind(),
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
                io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
                _ => ErrorKind::Io,
            },
            Self::Filter { .. } => ErrorKind::Filter,
            Self::Closed => ErrorKind::Closed,
            Self::Forked { .. } => ErrorKind::Forked,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// Whether the same call may succeed later without the caller changing it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), ErrorKind::Backpressure | ErrorKind::Locked)
    }

    /// Prints the error and, after colons, its causes.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("missing").join("store");
    /// let error = ingrain::Engine::open(&path).unwrap_err();
    /// assert!(error.to_string().starts_with("cannot create"));
    /// assert!(error.with_causes().to_string().contains("No such file"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn with_causes(&self) -> impl fmt::Display + '_ {
        struct WithCauses<'e>(&'e Error);
        impl fmt::Display for WithCauses<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)?;
                let mut cause = error::Error::source(self.0);
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
        }
        WithCauses(self)
    }

    /// The operating system's error among the causes, if there is one.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Poisoned { cause } | Self::Checkpoint { cause, .. } => cause.io_error(),
            _ => None,
        }
    }

    pub(crate) fn internal(what: impl Into<String>) -> Self {
        Self::Internal { what: what.into() }
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
