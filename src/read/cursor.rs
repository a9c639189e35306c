//! Places in ordered reads, and ranges of keys.

use std::ops::{Bound, RangeBounds};

use crate::model::{
    error::{Error, Result},
    id::NodeId,
};

/// Which way to go through an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first.
    Descending,
}

/// A place in an ordered read: just after one of its items.
///
/// A cursor outlives its snapshot, its process and the item it names. On
/// another snapshot it goes on with what comes after that place there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) node: NodeId,
    pub(super) key: Vec<u8>,
}

impl Cursor {
    /// The cursor as bytes, to keep or hand out.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.node.as_bytes().as_slice(), &self.key].concat()
    }

    /// The cursor with these bytes.
    ///
    /// # Errors
    /// `Invalid` when they are none of [`to_bytes`](Self::to_bytes).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (node, key) = bytes
            .split_first_chunk()
            .ok_or_else(|| Error::invalid("cursor: it is shorter than a node id"))?;
        Ok(Self { node: NodeId::from_bytes(*node), key: key.to_vec() })
    }
}

/// A range of index keys.
///
/// ```
/// use ingrain::{KeyBuilder, KeyRange};
///
/// let since = KeyRange::from(KeyBuilder::new().int(1_000).build()..);
/// let of_session = KeyRange::prefix(&KeyBuilder::new().text("session-1").build());
/// # let _ = (since, of_session);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    pub(super) start: Bound<Vec<u8>>,
    pub(super) end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// Every key that begins with these bytes.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        // The first key that is larger than all with the prefix: the prefix
        // without trailing 0xff, its last byte one more.
        let mut end = prefix.to_vec();
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        let end = match end.last_mut() {
            Some(byte) => {
                *byte = byte.saturating_add(1);
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        Self { start: Bound::Included(prefix.to_vec()), end }
    }

    pub(crate) fn check(&self) -> Result<()> {
        use Bound::{Excluded, Included, Unbounded};
        let reversed = match (&self.start, &self.end) {
            (Unbounded, _) | (_, Unbounded) => false,
            (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start > end,
        };
        if reversed { Err(Error::invalid("key range: it ends before it starts")) } else { Ok(()) }
    }

    /// Whether a key lies in the range.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let start = match &self.start {
            Bound::Included(start) => **start <= *key,
            Bound::Excluded(start) => **start < *key,
            Bound::Unbounded => true,
        };
        let end = match &self.end {
            Bound::Included(end) => *key <= **end,
            Bound::Excluded(end) => *key < **end,
            Bound::Unbounded => true,
        };
        start && end
    }
}

impl<R: RangeBounds<Vec<u8>>> From<R> for KeyRange {
    fn from(range: R) -> Self {
        Self { start: range.start_bound().cloned(), end: range.end_bound().cloned() }
    }
}
