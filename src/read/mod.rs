//! Reads of a state: the snapshot and all its queries.

pub(crate) mod counts;
pub(crate) mod cursor;
pub(crate) mod dead;
pub(crate) mod digest;
pub(crate) mod edge;
pub(crate) mod edge_scan;
pub(crate) mod edges;
pub(crate) mod filter;
pub(crate) mod footprint;
pub(crate) mod heaviest;
pub(crate) mod hidden;
pub(crate) mod index_info;
pub(crate) mod merge;
pub(crate) mod node;
pub(crate) mod owned;
pub(crate) mod paths;
pub(crate) mod query;
pub(crate) mod range;
pub(crate) mod scan;
pub(crate) mod search;
pub(crate) mod select;
pub(crate) mod snapshot;
pub(crate) mod walk;
pub(crate) mod within;
