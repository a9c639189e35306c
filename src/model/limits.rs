//! Every bound in one place.
//!
//! A batch that passes one of them is refused, as a rule before it is queued.
//! What bounds an engine as a whole (queue, group, log file)
//! is an option: see [`Options`](crate::Options).

use crate::model::error::{Error, Result};

/// Longest kind, index name, space name or attribute name, in bytes of UTF-8.
pub const NAME_BYTES: usize = 255;

/// Largest content of a node, in bytes.
pub const CONTENT_BYTES: usize = 16 << 20;

/// Most attributes of a node or edge, and most entries of a map within one.
pub const ATTRIBUTES: usize = 1_024;

/// Most bytes that the attributes of a node or edge take when encoded.
pub const ATTRIBUTE_BYTES: usize = 1 << 20;

/// How deep the value of an attribute may nest: each list and each map is a
/// level, and so is what is in the innermost.
pub const VALUE_DEPTH: usize = 32;

/// Most index keys of a node.
pub const NODE_KEYS: usize = 1_024;

/// Longest index key, in bytes.
pub const KEY_BYTES: usize = 1_024;

/// Most vectors of a node (it has at most one in a space).
pub const NODE_VECTORS: usize = 64;

/// Most dimensions of a vector space.
pub const DIMENSION: usize = 4_096;

/// Most vector spaces of a store. Those that were dropped do not count.
pub const SPACES: usize = 1_024;

/// Most indexes of a store.
pub const INDEXES: usize = 4_096;

/// Most distinct kinds of a store. Those that no node and no edge has any more do
/// not count from the next checkpoint on.
pub const KINDS: usize = 1 << 24;

/// Most operations of a batch.
pub const BATCH_OPS: usize = 1 << 20;

/// Most bytes of an encoded batch.
pub const BATCH_BYTES: usize = 64 << 20;

/// Most nodes, edges, entries of an index and other items that a transaction reads
/// ([`Engine::transact`](crate::Engine::transact)): the commit step may have to read
/// all of them again.
pub const TRANSACTION_READS: usize = 10_000;

/// How often a transaction is tried.
pub const TRANSACTION_TRIES: u32 = 64;

/// Most hits of a vector search.
pub const NEAREST_K: usize = 100_000;

/// Most hits of a vector search that are to differ from each other: choosing
/// them compares each with four times as many candidates.
pub const DIVERSE_K: usize = 1_000;

/// Most edges that a read of the heaviest ones returns
/// ([`Edges::heaviest`](crate::Edges::heaviest)).
pub const HEAVIEST_K: usize = 100_000;

/// Most fields of an index.
pub const INDEX_PARTS: usize = 16;

/// Most kinds that an index names.
pub const INDEX_KINDS: usize = 1_024;

/// Most nodes of one step in which an index is built.
pub const INDEX_STEP: usize = 4_096;

/// How deep a condition of a filter may nest.
pub const CONDITION_DEPTH: usize = 64;

/// Most terms of a condition of a filter: comparisons, sets, `and`, `or` and `not`.
pub const CONDITION_TERMS: usize = 1_024;

/// Most values with which a condition of a filter compares one field, and most kinds
/// that it names.
pub const CONDITION_VALUES: usize = 10_000;

/// Most rows of one vector file.
pub const VECTOR_FILE_ROWS: usize = 1 << 22;

pub(crate) fn check_count(what: &'static str, value: usize, limit: usize) -> Result<()> {
    if value > limit { Err(Error::limit(what, value, limit)) } else { Ok(()) }
}

pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(format!("{what}: the name is empty")));
    }
    check_count("bytes of a name", name.len(), NAME_BYTES)
}

pub(crate) fn check_content(content: &[u8]) -> Result<()> {
    check_count("bytes of content", content.len(), CONTENT_BYTES)
}

pub(crate) fn check_scores(strength: f32, confidence: f32) -> Result<()> {
    if !strength.is_finite() {
        return Err(Error::invalid(format!("strength {strength}: it is not finite")));
    }
    if !(0.0..=1.0).contains(&confidence) {
        return Err(Error::invalid(format!("confidence {confidence}: it is not in 0..=1")));
    }
    Ok(())
}

pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    check_count("bytes of an index key", key.len(), KEY_BYTES)
}
