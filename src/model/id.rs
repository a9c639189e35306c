//! The 16 bytes that identify a node.

use std::{fmt, hash, str::FromStr};

use uuid::Uuid;

use crate::model::error::{Error, Result};

/// The name of a node: 16 bytes, compared as bytes.
///
/// ```
/// use ingrain::NodeId;
///
/// let fresh = NodeId::new(); // ordered by the time of its making
/// assert_eq!(NodeId::parse(&fresh.to_string())?, fresh);
///
/// // The same content has the same name everywhere.
/// assert_eq!(NodeId::of_content(b"dog"), NodeId::of_content(b"dog"));
///
/// // Malformed text is an error, never a name made up for it.
/// assert!(NodeId::parse("dog").is_err());
/// # Ok::<(), ingrain::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The smallest id in byte order.
    pub const MIN: Self = Self([0; 16]);
    /// The largest id in byte order.
    pub const MAX: Self = Self([0xff; 16]);

    /// A fresh id: a UUID of version 7 (RFC 9562), so ids made later sort
    /// later. Ids made by one process never repeat or go back, even when the
    /// wall clock does.
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
    pub fn of_content(content: &[u8]) -> Self {
        let mut bytes = [0; 16];
        blake3::Hasher::new().update(content).finalize_xof().fill(&mut bytes);
        Self(bytes)
    }

    /// Reads an id from 32 hexadecimal digits, or from a UUID with hyphens.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        // Uuid also reads braces and `urn:uuid:`; we do not.
        if matches!(text.len(), 32 | 36)
            && let Ok(uuid) = Uuid::try_parse(text)
        {
            return Ok(Self(uuid.into_bytes()));
        }
        Err(Error::invalid(format!(
            "node id {text:?}: expected 32 hexadecimal digits, or a UUID with hyphens"
        )))
    }
}

impl hash::Hash for NodeId {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_le_bytes(self.0));
    }
}

impl fmt::Display for NodeId {
    /// Lower-case UUID form, with hyphens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_the_two_forms_and_nothing_else() {
        let id = NodeId::from_bytes(*b"0123456789abcdef");
        let plain = "30313233343536373839616263646566";
        assert_eq!(NodeId::parse(plain).unwrap(), id);
        assert_eq!(NodeId::parse(&plain.to_uppercase()).unwrap(), id);
        assert_eq!(NodeId::parse(&id.to_string()).unwrap(), id);
        for bad in [
            "",
            "30",
            &plain[1..],
            &format!("{{{id}}}"),
            &format!("urn:uuid:{id}"),
            &"g".repeat(32),
        ] {
            assert_eq!(
                NodeId::parse(bad).unwrap_err().kind(),
                crate::model::error::ErrorKind::Invalid,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn fresh_ids_ascend() {
        let ids: Vec<NodeId> = (0..10_000).map(|_| NodeId::new()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}
