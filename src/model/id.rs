//! The 16 bytes that identify a node.

use std::{fmt, hash};

use uuid::Uuid;

/// The identifier of a node: 16 bytes, ordered as bytes.
///
/// Its text form is that of a UUID. [`NodeId::parse`] reads it back, and
/// `{:x}` writes the digits alone. With the feature `serde` an id is this text
/// in human-readable formats, and 16 bytes in others.
///
/// ```
/// use ingrain::NodeId;
///
/// let fresh = NodeId::new(); // a later one is larger
/// assert_eq!(NodeId::parse(&fresh.to_string())?, fresh);
///
/// // The same content has the same id everywhere.
/// let dog = NodeId::from_content(b"dog");
/// assert_eq!(dog, NodeId::from_content(b"dog"));
/// assert_eq!(dog.to_string(), "2d7f6617-d228-87cc-91de-ffe89ff46d85");
/// assert_eq!(format!("{dog:x}"), "2d7f6617d22887cc91deffe89ff46d85");
///
/// // Malformed text is an error. It is never hashed instead.
/// assert!(NodeId::parse("dog").is_err());
/// # Ok::<(), ingrain::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The smallest id: all bits are 0.
    pub const MIN: Self = Self([0; 16]);
    /// The largest id: all bits are 1.
    pub const MAX: Self = Self([0xff; 16]);

    /// A fresh id: a UUID of version 7 (RFC 9562), which begins with the time
    /// in milliseconds. Ids made by one process never repeat and always
    /// ascend, even when the wall clock is set back.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "a default that differs each time surprises")]
    pub fn new() -> Self {
        Self(Uuid::now_v7().into_bytes())
    }

    /// The id with these bytes. Any 16 bytes are a valid id.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id that belongs to `content`: the first 128 bits of its BLAKE3 hash.
    #[must_use]
    pub fn from_content(content: &[u8]) -> Self {
        let mut bytes = [0; 16];
        blake3::Hasher::new().update(content).finalize_xof().fill(&mut bytes);
        Self(bytes)
    }
}

impl From<[u8; 16]> for NodeId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl From<NodeId> for [u8; 16] {
    fn from(id: NodeId) -> Self {
        id.0
    }
}

impl AsRef<[u8]> for NodeId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl hash::Hash for NodeId {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_le_bytes(self.0));
    }
}

impl fmt::Display for NodeId {
    /// A UUID with hyphens, in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::LowerHex for NodeId {
    /// 32 hexadecimal digits without hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&Uuid::from_bytes(self.0).simple(), f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_ascend() {
        let ids: Vec<NodeId> = (0..10_000).map(|_| NodeId::new()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}
