//! The files of a store: the log, the data files, and the manifest that lists
//! them.

pub(crate) mod manifest;
pub(crate) mod segment;
pub(crate) mod wal;
