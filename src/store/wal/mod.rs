//! The write-ahead log in its directory: [`Writer`](writer::Writer) appends groups of frames,
//! [`recover`](recover::recover) reads them back.
//!
//! A log is a row of files, each named by the sequence number of its first
//! frame. A file is complete and synced before the next is begun, so that
//! damage in any but the last is never a torn write. Each life of the engine
//! begins a file of its own with its first write, so that nothing is appended
//! to what another life left.
#![deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]

pub(crate) mod dir;
pub(crate) mod file;
pub(crate) mod recover;
pub(crate) mod report;
pub(crate) mod truncate;
pub(crate) mod writer;

pub(crate) use dir::{DIR, LogDir, check_unused, file_path, is_unfinished};
pub(crate) use recover::{check_file, covered, list, recover, salvage};
pub(crate) use truncate::{Removed, cut};
