//! The mode of a recovery, and its report.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{error::Error, time::Seq};

/// What opening a store does if the log is damaged.
///
/// A torn tail, which any crash can leave, is not damage: it was never
/// acknowledged as durable, and is truncated in either mode.
///
/// ```
/// use ingrain::{Options, admin::RecoveryMode};
///
/// # let dir = tempfile::tempdir()?;
/// let options = Options::new().recovery(RecoveryMode::Salvage);
/// let engine = options.open(dir.path().join("memory"))?;
/// if let Some(damage) = &engine.recovery().damage {
///     eprintln!("the log is damaged, later commits are lost: {damage}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RecoveryMode {
    /// Refuse to open, and report where the damage is. Nothing is changed.
    #[default]
    Strict,
    /// Keep what comes before the damage, and lose every commit after it. Log
    /// files from after it are kept in the directory with the suffix
    /// `.damaged`; [`Engine::recovery`](crate::Engine::recovery) reports what
    /// happened. The sequence numbers of the lost commits are used again. If a
    /// salvage is interrupted, [`Strict`](Self::Strict) refuses to open the
    /// store until a salvage has completed.
    Salvage,
}

/// What opening a store found and did.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let seq = engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// engine.close()?;
/// let engine = Engine::open(dir.path().join("memory"))?;
/// assert_eq!(engine.recovery().seq, seq);
/// assert!(engine.recovery().damage.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The last commit that was recovered.
    pub seq: Seq,
    /// Number of batches read from the log.
    pub batches: u64,
    /// Number of bytes of the log that were read.
    pub bytes: u64,
    /// The torn tail of the log, if it had one.
    pub torn_tail: Option<TornTail>,
    /// The damage at which a salvaging recovery stopped.
    pub damage: Option<Error>,
    /// Log files that a salvaging recovery renamed out of the log.
    pub quarantined: Vec<QuarantinedFile>,
}

/// The torn tail of a log: an incomplete write at its end. No batch in it was
/// acknowledged as durable under [`Durability::Sync`](crate::Durability::Sync).
///
/// ```
/// use ingrain::Engine;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// if let Some(torn) = &engine.recovery().torn_tail {
///     println!("{} was truncated at byte {}", torn.file.display(), torn.offset);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The log file.
    pub file: PathBuf,
    /// The offset in bytes at which the log was truncated.
    pub offset: u64,
}

/// A quarantined file: a log file that was renamed out of the log.
///
/// ```
/// use ingrain::Engine;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// for file in &engine.recovery().quarantined {
///     println!("{} is now {}", file.from.display(), file.to.display());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuarantinedFile {
    /// The path that it had.
    pub from: PathBuf,
    /// The path that it has now.
    pub to: PathBuf,
}
