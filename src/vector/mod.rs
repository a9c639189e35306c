//! Distances between vectors, and the search that computes all of them.

mod exact;
mod metric;

pub(crate) use exact::Closest;
pub(crate) use metric::{Measure, norm};
