//! The parameters of a graph of vectors.

use crate::model::space::Metric;

/// The parameters of a graph. They are stored outside of its bytes and needed
/// to search it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GraphParameters {
    /// Components of a row.
    pub(crate) dimension: usize,
    /// The metric of the distances.
    pub(crate) metric: Metric,
    /// Number of rows. The key of a row in the graph is its number, from 0.
    pub(crate) rows: usize,
    /// For L2 and dot: the largest absolute component of all rows, which is
    /// scaled to 127. For cosine 0, because each row is scaled by its own.
    pub(crate) max_abs: f32,
    /// Links of a node on each level but the lowest, which has twice as many.
    pub(crate) connectivity: usize,
    /// Candidates among which the links of a new row are chosen.
    pub(crate) expansion_add: usize,
}
