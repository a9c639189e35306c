//! The fuzz targets, and code that tests share.
//!
//! Each fuzz target is a function of bytes that panics when a property does not
//! hold. Two crates include this module: `fuzz/`, where libFuzzer calls the
//! targets, and the tests, which call them with the inputs under
//! `tests/fuzzed`. The including crate defines `REPOSITORY`, the path of the
//! repository.
//!
//! The other modules support tests: stores on file systems and disks that fail,
//! clocks that are set, files taken apart, and random nodes, operations and
//! vectors.

#[cfg(feature = "exchange")]
pub mod exchange;
pub mod files;
pub mod formats;
pub mod graph;
pub mod keys;
pub mod memory;
pub mod oracle;
pub mod seal;

#[cfg(feature = "sim")]
pub mod disks;
#[cfg(feature = "sim")]
pub mod ops;
#[cfg(feature = "sim")]
pub mod seeds;
#[cfg(feature = "sim")]
pub mod store;

// Only the tests use these.
#[cfg(test)]
pub mod any;
#[cfg(test)]
pub mod clocks;
#[cfg(test)]
pub mod dirs;
#[cfg(test)]
pub mod faults;
#[cfg(test)]
pub mod fork;
#[cfg(test)]
pub mod nodes;
#[cfg(test)]
pub mod random;
#[cfg(test)]
pub mod waiting;

/// The same options, with pieces so small that a small store has several, where
/// the feature `sim` lets them be set.
pub fn in_small_pieces(options: ingrain::Options) -> ingrain::Options {
    #[cfg(feature = "sim")]
    let options = options.log_chunk_bytes(4 << 10).replay_group_bytes(4 << 10).kind_run(8);
    options
}

/// The same options, with partitions of about this many bytes: of as few as the
/// options allow, where the feature `sim` lets them be smaller.
pub fn in_partitions_of(bytes: u64, options: ingrain::Options) -> ingrain::Options {
    #[cfg(feature = "sim")]
    let options = options.tiny_partition_bytes(bytes);
    #[cfg(not(feature = "sim"))]
    let options = options.partition_bytes(bytes.max(4 << 10));
    options
}

/// The function of a target.
pub type Target = fn(&[u8]);

/// All targets, by name.
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
