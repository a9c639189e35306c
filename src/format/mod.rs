//! Bytes to types and back: every file of a store, and nothing else.
//!
//! No I/O and no threads: parsers take byte slices, so they run on a `Vec`, a
//! mapping or a fuzzer's input alike. They never panic, and compare every
//! length with what is there before allocating. docs/format.md shows the layout
//! byte by byte.
#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

pub mod contents;
pub(crate) mod header;
pub mod heap;
pub mod manifest;
pub(crate) mod pack;
pub mod segment;
pub mod tables;
pub mod vectors;
pub mod wal;

pub use header::{Damage, FileKind, HEADER_BYTES, Header, StoreId, VERSION};
