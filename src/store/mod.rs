//! The files of a store: the log, data files, and the manifest that names them.

pub(crate) mod manifest;
pub(crate) mod segment;
pub(crate) mod wal;
