//! Positions in ordered reads, and key ranges.

use std::ops::{Bound, RangeBounds};

use crate::model::{
    error::{Error, Result},
    id::NodeId,
};

/// The direction of an ordered read.
///
/// ```
/// use ingrain::Direction;
///
/// assert_eq!(Direction::default(), Direction::Ascending);
/// assert_eq!(Direction::Ascending.reversed(), Direction::Descending);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Smallest first.
    #[default]
    Ascending,
    /// Largest first.
    Descending,
}

impl Direction {
    /// The opposite direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// A position in an ordered read: just after one of its items.
///
/// A cursor outlives its snapshot, its process and its item. On another
/// snapshot, the read continues with what comes after the position there. A
/// cursor is valid only for the read that it comes from; every other read
/// refuses it.
///
/// Reads of several kinds are in the order in which the kinds were first used. If a
/// kind leaves the store and comes back, it comes after all others. If the process
/// ends just after that, opening may order kinds that came since then anew: a read
/// that is continued may return items again, but leaves out none.
///
/// ```
/// use ingrain::{Batch, Cursor, Engine, Node, NodeId};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("s"))?;
/// engine.write(Batch::from_iter(
///     (0..5).map(|_| ingrain::Op::put(Node::new(NodeId::new(), "note"))),
/// ))?;
/// let snapshot = engine.snapshot();
/// let mut page = snapshot.scan("note");
/// assert_eq!(page.by_ref().take(2).count(), 2);
/// let bytes = page.cursor().unwrap().to_bytes(); // to hand out
///
/// let cursor = Cursor::from_bytes(&bytes)?;
/// assert_eq!(engine.snapshot().scan("note").after(&cursor)?.count(), 3);
/// assert!(snapshot.scan("task").after(&cursor).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub(super) of: CursorOf,
    pub(super) node: NodeId,
    pub(super) key: Vec<u8>,
}

/// The read that a cursor comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CursorOf {
    /// All nodes.
    ScanAll,
    /// The nodes of a kind.
    Scan(String),
    /// The edges that leave a node.
    EdgesOut(NodeId),
    /// The edges that reach a node.
    EdgesIn(NodeId),
    /// All edges.
    AllEdges,
    /// The edges of a kind.
    EdgesOfKind(String),
    /// The entries of an index, in this direction.
    Index(String, Direction),
}

impl std::fmt::Display for CursorOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ScanAll => f.write_str("the scan of all nodes"),
            Self::Scan(kind) => write!(f, "the scan of the kind {kind:?}"),
            Self::EdgesOut(node) => write!(f, "the edges that leave node {node}"),
            Self::EdgesIn(node) => write!(f, "the edges that reach node {node}"),
            Self::AllEdges => f.write_str("the scan of all edges"),
            Self::EdgesOfKind(kind) => write!(f, "the edges of the kind {kind:?}"),
            Self::Index(index, Direction::Ascending) => write!(f, "the index {index:?}, ascending"),
            Self::Index(index, Direction::Descending) => {
                write!(f, "the index {index:?}, descending")
            }
        }
    }
}

/// The version of the encoding of a cursor.
const VERSION: u8 = 3;

impl Cursor {
    /// The cursor as bytes, to keep or hand out. The bytes are opaque: only
    /// [`from_bytes`](Self::from_bytes) reads them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Version, tag, length of the name, name, id, key, CRC-32 of these.
        let (tag, name): (u8, &[u8]) = match &self.of {
            CursorOf::ScanAll => (0, &[]),
            CursorOf::Scan(kind) => (1, kind.as_bytes()),
            CursorOf::EdgesOut(node) => (2, node.as_bytes()),
            CursorOf::EdgesIn(node) => (3, node.as_bytes()),
            CursorOf::Index(index, Direction::Ascending) => (4, index.as_bytes()),
            CursorOf::Index(index, Direction::Descending) => (5, index.as_bytes()),
            CursorOf::AllEdges => (6, &[]),
            CursorOf::EdgesOfKind(kind) => (7, kind.as_bytes()),
        };
        // Names have at most 255 bytes.
        let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let head = [VERSION, tag, len];
        let mut bytes = [head.as_slice(), name, self.node.as_bytes(), &self.key].concat();
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Decodes a cursor.
    ///
    /// # Errors
    /// `Invalid` if the bytes are not those of [`to_bytes`](Self::to_bytes), which
    /// end with a checksum.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let cursor = || {
            let (bytes, sum) = bytes.split_last_chunk()?;
            if crc32fast::hash(bytes) != u32::from_le_bytes(*sum) {
                return None;
            }
            let ([version, tag, len], rest) = bytes.split_first_chunk()?;
            let (name, rest) = rest.split_at_checked(usize::from(*len))?;
            let (node, key) = rest.split_first_chunk()?;
            let text = || str::from_utf8(name).ok().map(str::to_owned);
            let of = match tag {
                0 if name.is_empty() => CursorOf::ScanAll,
                1 => CursorOf::Scan(text()?),
                2 => CursorOf::EdgesOut(NodeId::from_bytes(name.try_into().ok()?)),
                3 => CursorOf::EdgesIn(NodeId::from_bytes(name.try_into().ok()?)),
                4 => CursorOf::Index(text()?, Direction::Ascending),
                5 => CursorOf::Index(text()?, Direction::Descending),
                6 if name.is_empty() => CursorOf::AllEdges,
                7 => CursorOf::EdgesOfKind(text()?),
                _ => return None,
            };
            let cursor = Self { of, node: NodeId::from_bytes(*node), key: key.to_vec() };
            (*version == VERSION).then_some(cursor)
        };
        cursor().ok_or_else(|| Error::invalid("cursor: invalid bytes"))
    }

    /// The number of the kind, with which the key of some reads ends.
    pub(super) fn kind(&self) -> Option<u32> {
        self.key.last_chunk().map(|kind| u32::from_be_bytes(*kind))
    }

    /// Refuses a cursor of another read.
    pub(super) fn check(&self, read: &CursorOf) -> Result<()> {
        if self.of == *read {
            return Ok(());
        }
        let of = &self.of;
        Err(Error::invalid(format!("cursor: it comes from {of} and cannot continue {read}")))
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
        // The smallest key that is larger than all with the prefix: the prefix
        // without trailing 0xff, its last byte plus one.
        let mut end = prefix.to_vec();
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        let end = match end.last_mut() {
            Some(byte) => {
                *byte += 1;
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
