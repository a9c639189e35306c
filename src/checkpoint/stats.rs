//! Statistics of checkpoints.

use crate::model::time::Seq;

/// Statistics of the base, and of checkpoints since the engine was opened.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let seq = engine.checkpoint()?;
/// let stats = engine.stats().checkpoint;
/// assert_eq!((stats.completed, stats.failed, stats.seq), (1, 0, seq));
/// assert!(stats.live_bytes <= stats.file_bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, serde::Serialize)]
#[non_exhaustive]
pub struct CheckpointStats {
    /// Checkpoints that were completed.
    pub completed: u64,
    /// Checkpoints that failed and left everything as it was.
    pub failed: u64,
    /// The last failure, if no checkpoint was completed after it.
    pub last_failure: Option<String>,
    /// The last commit that the base holds.
    pub seq: Seq,
    /// Bytes of memory that the delta takes, about.
    pub delta_bytes: usize,
    /// Files of the base.
    pub files: usize,
    /// Bytes of those files.
    pub file_bytes: u64,
    /// Those of the bytes that are live: not garbage of heaps, not dead vectors.
    pub live_bytes: u64,
    /// Bytes written to files of the base.
    pub written_bytes: u64,
}
