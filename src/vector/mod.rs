//! Distances between vectors, and three ways to search them: exactly, by codes,
//! and by a graph.

pub(crate) mod build;
pub(crate) mod compute;
pub(crate) mod exact;
pub(crate) mod metric;
pub(crate) mod parameters;
pub(crate) mod pq;
pub(crate) mod recall;
pub(crate) mod rows;
pub(crate) mod simd;

pub(crate) use metric::norm;
pub(crate) use rows::equal;

#[cfg(feature = "hnsw")]
pub(crate) mod hnsw;
#[cfg(not(feature = "hnsw"))]
#[path = "hnsw_absent.rs"]
pub(crate) mod hnsw;
