//! What is fuzzed: for each target a function of bytes that panics when a
//! property does not hold.
//!
//! Shared by `fuzz/`, where libFuzzer calls them, and by the tests, which call
//! them with what is kept under `tests/fuzzed`. The crate that includes this
//! says in `REPOSITORY` where that is.

#[cfg(feature = "exchange")]
pub mod exchange;
pub mod formats;
pub mod keys;
pub mod memory;
pub mod oracle;
pub mod seal;

#[cfg(feature = "sim")]
pub mod ops;
#[cfg(feature = "sim")]
pub mod seeds;
#[cfg(feature = "sim")]
pub mod store;

/// A target's property.
pub type Target = fn(&[u8]);

/// Every target, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("heap_record", formats::heap_record),
    #[cfg(feature = "exchange")]
    ("import_line", exchange::import_line),
    ("index_head", formats::index_head),
    ("keys", keys::keys),
    ("manifest", formats::manifest),
    #[cfg(feature = "exchange")]
    ("npy", exchange::npy),
    #[cfg(feature = "sim")]
    ("ops", ops::ops),
    ("segment_heap", formats::segment_heap),
    ("segment_in", formats::segment_in),
    ("segment_keys", formats::segment_keys),
    ("segment_nodes", formats::segment_nodes),
    ("segment_out", formats::segment_out),
    ("segment_vec", formats::segment_vec),
    ("segment_vix", formats::segment_vix),
    #[cfg(feature = "sim")]
    ("store", store::store),
    #[cfg(feature = "sim")]
    ("wal_file", store::wal_file),
    ("wal_payload", formats::wal_payload),
];
