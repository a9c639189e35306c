//! Statistics of vector spaces.

use crate::{
    model::{
        id::NodeId,
        space::{Method, Space},
    },
    state::{State, base::vector_stats::VectorFileStats},
};

/// Statistics of a vector space.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.create_space("text", Space::new(2, Metric::L2))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note").vector("text", [1.0, 0.0])))?;
/// let stats = engine.stats();
/// let space = &stats.spaces[0];
/// assert_eq!((space.name.as_str(), space.vectors, space.in_memory), ("text", 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct SpaceStats {
    /// Its name.
    pub name: String,
    /// Its dimension, metric and element type.
    pub space: Space,
    /// The search method.
    pub method: Method,
    /// The number of vectors.
    pub vectors: u64,
    /// Entries of the space in the in-memory layers: vectors that are in no
    /// file yet, and deletions that are not in the files yet. A vector with an
    /// entry in both layers counts twice.
    pub in_memory: usize,
    /// Its vector files.
    pub files: Vec<VectorFileStats>,
}

impl State {
    /// Statistics of the vector spaces, sorted by name.
    pub(crate) fn space_stats(&self) -> Vec<SpaceStats> {
        let spaces = self.spaces.iter().map(|(number, named)| {
            let files = self.base.vectors_of(number).map(|partition| {
                let rows = &*partition.rows;
                let file = rows.segment().file();
                VectorFileStats {
                    file: file.number,
                    bytes: file.len,
                    rows: rows.len(),
                    dead: partition.dead_count(),
                    codes: partition.codes.as_ref().map(|codes| {
                        codes.stats(rows, crate::state::base::vector_index::Codes::memory)
                    }),
                    graph: partition
                        .graph
                        .as_ref()
                        .map(|graph| graph.stats(rows, |g| g.graph().memory())),
                }
            });
            let all = (number, NodeId::MIN)..=(number, NodeId::MAX);
            SpaceStats {
                name: named.name.clone(),
                space: named.space,
                method: named.method,
                vectors: self.vector_counts.get(&number).copied().unwrap_or(0),
                in_memory: self
                    .layers()
                    .map(|layer| layer.vectors.range(all.clone()).count())
                    .sum(),
                files: files.collect(),
            }
        });
        spaces.collect()
    }
}
