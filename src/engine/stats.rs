//! Numbers about an engine.

use crate::{
    checkpoint::stats::CheckpointStats, model::time::Seq, state::stats::SpaceStats,
    write::stats::WriteStats,
};

/// Numbers about an engine.
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
    /// Kinds that the store ever had.
    pub kinds: usize,
    /// The vector spaces, by name.
    pub spaces: Vec<SpaceStats>,
    /// The write path.
    pub write: WriteStats,
    /// The base, and how it is kept up.
    pub checkpoint: CheckpointStats,
}
