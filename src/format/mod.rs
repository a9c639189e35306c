//! Bytes to types and back, for every file of a store. Nothing else belongs
//! here.
//!
//! This module does no I/O and starts no threads. Parsers take byte slices, so
//! they read a `Vec`, a mapping or the input of a fuzzer alike. They never
//! panic, and they compare every length with the bytes that exist before they
//! allocate. docs/format.md describes the layout byte by byte.
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
pub(crate) mod index;
pub mod manifest;
pub(crate) mod pack;
pub mod segment;
pub mod tables;
pub mod vectors;
pub mod wal;

pub use header::{Damage, FileKind, HEADER_BYTES, Header, OLDEST_VERSION, StoreId, VERSION};
