//! Statistics of an engine.

use crate::{
    checkpoint::stats::CheckpointStats,
    engine::prune::PruneStats,
    model::time::Seq,
    state::stats::SpaceStats,
    write::{pins::SnapshotStats, stats::WriteStats},
};

/// Statistics of an engine.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let seq = engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let stats = engine.stats();
/// assert_eq!((stats.seq, stats.nodes, stats.kinds), (seq, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The last commit.
    pub seq: Seq,
    /// Nodes in the store.
    pub nodes: usize,
    /// Edges in the store.
    pub edges: usize,
    /// Index keys in the store.
    pub keys: usize,
    /// Vectors in the store.
    pub vectors: usize,
    /// The number of kinds: see [`Snapshot::kinds`](crate::Snapshot::kinds).
    pub kinds: usize,
    /// The vector spaces, by name.
    pub spaces: Vec<SpaceStats>,
    /// The write path.
    pub write: WriteStats,
    /// What held snapshots keep.
    pub snapshots: SnapshotStats,
    /// The base and its checkpoints.
    pub checkpoint: CheckpointStats,
    /// What the engine has pruned by itself.
    pub prune: PruneStats,
}
