//! The write-ahead log: [`Writer`](writer::Writer) appends groups of frames,
//! [`recover`](recover::recover) reads them back.
//!
//! A log is a sequence of files, each named by the sequence number of its first
//! frame. A file is complete and synced before the next is created, so damage
//! in any file but the last is never a torn tail. Each lifetime of the engine
//! begins a file of its own with its first write, so nothing is appended to a
//! file of an earlier lifetime.
#![deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]

pub(crate) mod dir;
pub(crate) mod file;
pub(crate) mod recover;
pub(crate) mod report;
pub(crate) mod truncate;
pub(crate) mod writer;

pub(crate) use dir::{DIR, LogDir, LogSizes, check_unused, file_path, is_unfinished};
pub(crate) use recover::{check_file, covered, list, recover, salvage};
pub(crate) use truncate::{Removed, cut};
