//! Positions in ordered reads.

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
