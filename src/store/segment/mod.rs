//! The data files: [`Writer`](writer::Writer) writes one,
//! [`Segment`](file::Segment) maps it, and [`Table`](table::Table) searches its
//! rows.
//!
//! A file is written once, synced, listed in a manifest, and never changed
//! again. Each block is compared with its checksum when it is first read.
#![deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)]

pub(crate) mod file;
pub(crate) mod keys;
pub(crate) mod path;
pub(crate) mod search;
pub(crate) mod table;
pub(crate) mod writer;

pub(crate) use file::{check_mappings, check_mappings_for_checkpoint, map};
pub(crate) use path::{DIR, file_number, file_path};
pub(crate) use writer::{HUGE_WRITE_CHUNK_BYTES, WRITE_CHUNK_BYTES};
