//! What recovery of a log is asked to do, and what it did.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{error::Error, time::Seq};

/// What opening does with a log that is damaged.
///
/// A torn write at the end of the log, which any crash can leave, is not
/// damage: it was never acknowledged as durable, and is cut in either mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum RecoveryMode {
    /// Refuse to open, and say where the damage is. Nothing is changed.
    #[default]
    Strict,
    /// Keep what comes before the damage, and lose every commit after it. Log
    /// files from after it are kept beside the log with the suffix `.damaged`;
    /// [`Engine::recovery`](crate::Engine::recovery) says what happened. The
    /// sequence numbers of the lost commits are given again. If it is cut
    /// short, [`Strict`](Self::Strict) refuses the store until it was opened so
    /// to the end.
    Salvage,
}

/// What opening found and did.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The last commit that was recovered.
    pub seq: Seq,
    /// Batches read from the log.
    pub batches: u64,
    /// Bytes of the log that were read.
    pub bytes: u64,
    /// The torn write at the end of the log, if there was one.
    pub torn_tail: Option<TornTail>,
    /// The damage at which a salvaging recovery stopped.
    pub damage: Option<Error>,
    /// Files that a salvaging recovery set aside.
    pub quarantined: Vec<QuarantinedFile>,
}

/// A torn write at the end of the log. No batch in it was acknowledged as
/// durable under [`Durability::Sync`](crate::Durability::Sync).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TornTail {
    /// The log file.
    pub file: PathBuf,
    /// Where it was cut, in bytes.
    pub offset: u64,
}

/// A file that was renamed out of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuarantinedFile {
    /// The name that it had.
    pub from: PathBuf,
    /// The name that it has now.
    pub to: PathBuf,
}
