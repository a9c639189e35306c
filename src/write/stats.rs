//! Statistics of the write path.

use crate::{
    model::time::Seq,
    store::wal::writer::Writer,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    write::pacing::Pace,
};

/// Counts since the engine was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(super) batches: AtomicU64,
    pub(super) groups: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) wal_files: AtomicU64,
    pub(super) wal_bytes: AtomicU64,
    pub(super) durable: AtomicU64,
    pub(super) poisoned: AtomicBool,
}

/// Statistics of the write path since the engine was opened.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let seq = engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let stats = engine.stats().write;
/// assert_eq!((stats.batches, stats.groups, stats.durable), (1, 1, seq));
/// assert!(!stats.poisoned);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
#[non_exhaustive]
pub struct WriteStats {
    /// Batches committed.
    pub batches: u64,
    /// Groups in which they were logged, each with one write and at most one
    /// sync.
    pub groups: u64,
    /// Batches refused by the commit step: a precondition did not hold, or the
    /// result would exceed a limit or is not valid.
    pub refused: u64,
    /// Batches in the write log now.
    pub queued: usize,
    /// Bytes in the write log now.
    pub queued_bytes: usize,
    /// Files of the log on disk.
    pub wal_files: u64,
    /// Bytes of those files.
    pub wal_bytes: u64,
    /// The last commit that is known to be durable.
    pub durable: Seq,
    /// Whether a failure of the log has stopped writes.
    pub poisoned: bool,
    /// The load as last measured by the reconciler.
    pub pace: Pace,
}

impl Counters {
    pub(crate) fn note(&self, writer: &Writer) {
        self.wal_files.store(writer.files(), Ordering::Relaxed);
        self.wal_bytes.store(writer.bytes(), Ordering::Relaxed);
        self.durable.store(writer.durable().get(), Ordering::Relaxed);
    }
}
