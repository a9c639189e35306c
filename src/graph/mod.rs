//! The graph: paths between nodes.
//!
//! [`Snapshot::shortest_path`](crate::Snapshot::shortest_path) finds them. The
//! walks themselves know a graph by its `Adjacency` only.

pub(crate) mod adjacency;
pub(crate) mod paths;

// What a snapshot gives; the walks below know nothing of it.
pub use crate::read::paths::{EdgeDirection, GraphPath, PathOptions, PathStep};
