//! What is stored beside a graph of vectors.

use crate::model::space::Metric;

/// What is stored beside a graph and must be known to serve it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GraphParameters {
    /// Numbers in each row.
    pub(crate) dimension: usize,
    /// How distance is measured.
    pub(crate) metric: Metric,
    /// Rows of the graph: each is named by its number, from 0.
    pub(crate) rows: usize,
    /// Of L2 and dot: the largest absolute number of all rows, which becomes
    /// 127. Of cosine 0: each row has its own.
    pub(crate) max_abs: f32,
    /// Links of a node on each level but the lowest, which has twice as many.
    pub(crate) connectivity: usize,
    /// Candidates among which the links of a row were chosen.
    pub(crate) expansion_add: usize,
}
