//! Graphs: paths between nodes.
//!
//! [`Snapshot::shortest_path`](crate::Snapshot::shortest_path) finds them. The
//! algorithms run over any graph that implements `Adjacency`.

pub(crate) mod adjacency;
pub(crate) mod paths;

// The public types of paths, which the algorithms below do not use.
pub use crate::read::paths::{EdgeDirection, GraphPath, PathOptions, PathStep};
