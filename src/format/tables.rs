//! The rows of `data/*.nodes`, `*.out`, `*.in`, `*.keys` and `*.vec`: the
//! sections of each kind of file, and what they are sorted by.
//!
//! Rows are plain bytes without alignment: any bytes are a row, and a row is
//! borrowed from a mapping without a copy. All integers are little-endian.

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable};

use crate::{
    format::header::{Damage, Fields},
    model::{id::NodeId, limits, time::Seq},
};

/// The rows of a table: [`NodeRow`], [`EdgeRow`] or [`VectorHead`]; of a key
/// table the entries as bytes.
pub const ROWS: u32 = 1;
/// Of a node table: [`KindRow`], ascending.
pub const KINDS: u32 = 2;
/// Of a node table: [`Le32`] row numbers, for each kind those of its nodes,
/// ascending. Empty if all are of one kind.
pub const MEMBERS: u32 = 3;
/// Of a node or out table: [`RefRow`], ascending: the heaps that its rows
/// refer to.
pub const REFS: u32 = 4;
/// Of a key table: [`Le32`] offsets of the entries in [`ROWS`].
pub const OFFSETS: u32 = 5;
/// Of a vector file: the vectors, in the order of its rows, each number
/// binary32.
pub const COMPONENTS: u32 = 6;
/// Of a vector file: [`Le32`], the kind of the node of each row.
pub const ROW_KINDS: u32 = 7;

macro_rules! little_endian {
    ($($name:ident: $int:ty, $bytes:literal;)*) => {$(
        #[doc = concat!("A little-endian `", stringify!($int), "` without alignment.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// The number as bytes.
            #[must_use]
            pub const fn new(value: $int) -> Self {
                Self(value.to_le_bytes())
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> $int {
                <$int>::from_le_bytes(self.0)
            }
        }
    )*};
}
little_endian! {
    Le32: u32, 4;
    Le64: u64, 8;
    Le64s: i64, 8;
    LeF32: f32, 4;
    LeF64: f64, 8;
}

/// Where bytes stand in a heap: file, slot of 8 bytes in its only section, and
/// length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeapRef {
    /// The number of the heap file.
    pub heap: u32,
    /// Offset in units of [`SLOT_BYTES`].
    pub slot: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Records of a heap start at multiples of this.
pub const SLOT_BYTES: u64 = 8;

impl HeapRef {
    /// Bytes that it takes in its file, with the zeros after it.
    #[must_use]
    pub fn size(&self) -> u64 {
        u64::from(self.len).next_multiple_of(SLOT_BYTES)
    }

    /// Offset in the heap's section, in bytes.
    #[must_use]
    pub fn offset(&self) -> u64 {
        u64::from(self.slot).saturating_mul(SLOT_BYTES)
    }
}

/// A node: 32 bytes, sorted by id.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 16 | id |
/// | 16 | 4 | kind |
/// | 20 | 4 | heap file of its record |
/// | 24 | 4 | slot of its record |
/// | 28 | 4 | length of its record; the highest bit tells that the content is elsewhere |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NodeRow {
    /// The name.
    pub id: [u8; 16],
    /// The number of the kind.
    pub kind: Le32,
    heap: Le32,
    slot: Le32,
    len: Le32,
}

const EXTERNAL: u32 = 1 << 31;

impl NodeRow {
    /// A row. `elsewhere`: the record refers to a content that is not in it.
    #[must_use]
    pub fn new(id: NodeId, kind: u32, place: HeapRef, external: bool) -> Self {
        let flag = if external { EXTERNAL } else { 0 };
        Self {
            id: *id.as_bytes(),
            kind: Le32::new(kind),
            heap: Le32::new(place.heap),
            slot: Le32::new(place.slot),
            len: Le32::new(place.len & !EXTERNAL | flag),
        }
    }

    /// The name.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::from_bytes(self.id)
    }

    /// Where the record stands.
    #[must_use]
    pub fn place(&self) -> HeapRef {
        HeapRef { heap: self.heap.get(), slot: self.slot.get(), len: self.len.get() & !EXTERNAL }
    }

    /// Whether the content is in another record.
    #[must_use]
    pub fn external(&self) -> bool {
        self.len.get() & EXTERNAL != 0
    }
}

/// An edge's place at one of its ends; edges are sorted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey {
    /// The end at which it is found: the source in an out table, the target in
    /// an in table.
    pub from: NodeId,
    /// The number of the kind.
    pub kind: u32,
    /// The other end.
    pub to: NodeId,
    /// The discriminator.
    pub discriminator: u64,
}

impl EdgeKey {
    pub(crate) const fn first(from: NodeId, kind: u32) -> Self {
        Self { from, kind, to: NodeId::MIN, discriminator: 0 }
    }

    pub(crate) const fn last(from: NodeId, kind: u32) -> Self {
        Self { from, kind, to: NodeId::MAX, discriminator: u64::MAX }
    }

    /// The same edge at its other end.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }
}

/// An edge: 88 bytes, sorted by [`EdgeKey`].
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 16 | the end at which it is found |
/// | 16 | 16 | the other end |
/// | 32 | 8 | discriminator |
/// | 40 | 4 | kind |
/// | 44 | 4 | confidence (binary32) |
/// | 48 | 8 | weight (binary64) |
/// | 56 | 8 | created |
/// | 64 | 8 | updated |
/// | 72 | 4 | heap file of the attributes; 0 in an in table |
/// | 76 | 4 | slot of the attributes; 0 in an in table |
/// | 80 | 4 | length of the attributes; 0 for none |
/// | 84 | 4 | zero |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct EdgeRow {
    from: [u8; 16],
    to: [u8; 16],
    discriminator: Le64,
    kind: Le32,
    /// How sure it is.
    pub confidence: LeF32,
    /// The weight.
    pub weight: LeF64,
    /// When it came to be.
    pub created: Le64s,
    /// When it was last linked.
    pub updated: Le64s,
    heap: Le32,
    slot: Le32,
    len: Le32,
    zero: Le32,
}

impl EdgeRow {
    /// The row of an edge whose other fields are set afterwards.
    #[must_use]
    pub fn new(key: EdgeKey, attributes: HeapRef) -> Self {
        Self {
            from: *key.from.as_bytes(),
            to: *key.to.as_bytes(),
            discriminator: Le64::new(key.discriminator),
            kind: Le32::new(key.kind),
            confidence: LeF32::new(1.0),
            weight: LeF64::new(1.0),
            created: Le64s::new(0),
            updated: Le64s::new(0),
            heap: Le32::new(attributes.heap),
            slot: Le32::new(attributes.slot),
            len: Le32::new(attributes.len),
            zero: Le32::new(0),
        }
    }

    /// What it is sorted by.
    #[must_use]
    pub fn key(&self) -> EdgeKey {
        EdgeKey {
            from: NodeId::from_bytes(self.from),
            kind: self.kind.get(),
            to: NodeId::from_bytes(self.to),
            discriminator: self.discriminator.get(),
        }
    }

    /// Where the attributes stand; of length 0 if there are none.
    #[must_use]
    pub fn attributes(&self) -> HeapRef {
        HeapRef { heap: self.heap.get(), slot: self.slot.get(), len: self.len.get() }
    }

    /// The same edge with its attributes elsewhere.
    #[must_use]
    pub fn with_attributes(self, place: HeapRef) -> Self {
        Self {
            heap: Le32::new(place.heap),
            slot: Le32::new(place.slot),
            len: Le32::new(place.len),
            ..self
        }
    }
}

/// A kind of a node table: 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct KindRow {
    /// The number of the kind.
    pub kind: Le32,
    /// Where its members begin in [`MEMBERS`].
    pub first: Le32,
}

/// What the rows of a table refer to in one heap: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RefRow {
    /// The heap file.
    pub heap: Le32,
    /// Zero.
    pub zero: Le32,
    /// Bytes of it that they refer to, with the zeros after each.
    pub bytes: Le64,
}

/// Whose a vector is: 32 bytes. Rows are sorted by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct VectorHead {
    /// The node.
    pub id: [u8; 16],
    /// The commit that wrote the vector.
    pub seq: Le64,
    /// Its Euclidean length (binary64).
    pub norm: LeF64,
}

impl VectorHead {
    /// The node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::from_bytes(self.id)
    }

    /// The commit that wrote the vector.
    #[must_use]
    pub fn seq(&self) -> Seq {
        Seq::new(self.seq.get())
    }
}

/// Bytes of a vector's numbers.
#[must_use]
pub fn vector_bytes(dimension: usize) -> usize {
    dimension.saturating_mul(4)
}

/// A row that is found by what it is sorted by.
pub trait SortedRow: Pod {
    /// What rows are sorted by.
    type Key: Ord + Copy;

    /// Its key.
    fn key(&self) -> Self::Key;

    /// A number that does not fall when keys rise, spread as they are: the
    /// guess of a search is made of it.
    fn rank(key: &Self::Key) -> u64;
}

fn id_rank(id: &NodeId) -> u64 {
    id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl SortedRow for NodeRow {
    type Key = NodeId;

    fn key(&self) -> NodeId {
        self.id()
    }

    fn rank(key: &NodeId) -> u64 {
        id_rank(key)
    }
}

impl SortedRow for VectorHead {
    type Key = NodeId;

    fn key(&self) -> NodeId {
        self.id()
    }

    fn rank(key: &NodeId) -> u64 {
        id_rank(key)
    }
}

impl SortedRow for EdgeRow {
    type Key = EdgeKey;

    fn key(&self) -> EdgeKey {
        Self::key(self)
    }

    fn rank(key: &EdgeKey) -> u64 {
        id_rank(&key.from)
    }
}

/// An entry of a key table: index (4), length of the key (4), node (16), key.
/// Sorted by index, key, node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntryRef<'k> {
    /// The number of the index, or [`EXPIRY`].
    pub index: u32,
    /// The key.
    pub key: &'k [u8],
    /// The node that has it.
    pub node: NodeId,
}

/// The number of the index that the engine keeps of expiries: the key is the
/// time, as [`KeyBuilder::time`](crate::KeyBuilder::time) has it.
pub const EXPIRY: u32 = u32::MAX;

/// Bytes of an entry of a key table before the key.
pub const KEY_HEAD_BYTES: usize = 24;

impl<'k> IndexEntryRef<'k> {
    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.index.to_le_bytes());
        out.extend(u32::try_from(self.key.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(self.node.as_bytes());
        out.extend(self.key);
    }

    /// Reads the first part of an entry: the entry without its key, and the
    /// length of the key.
    ///
    /// # Errors
    /// [`Damage`] when it is short, or declares a key beyond the limit.
    pub fn decode_head(bytes: &[u8]) -> Result<(Self, usize), Damage> {
        let mut fields = Fields { bytes, at: 0 };
        let index = u32::from_le_bytes(fields.take()?);
        let len = usize::try_from(u32::from_le_bytes(fields.take()?)).unwrap_or(usize::MAX);
        let node = NodeId::from_bytes(fields.take()?);
        if len > limits::KEY_BYTES {
            return Err(Damage::new(4, format!("a key of {len} bytes")));
        }
        Ok((Self { index, key: &[], node }, len))
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// [`Damage`] when it is short, or declares a key beyond the limit.
    pub fn decode(bytes: &'k [u8]) -> Result<Self, Damage> {
        let (head, len) = Self::decode_head(bytes)?;
        let key = bytes
            .get(KEY_HEAD_BYTES..)
            .and_then(|rest| rest.get(..len))
            .ok_or_else(|| Damage::new(KEY_HEAD_BYTES, format!("a key of {len} bytes is cut")))?;
        Ok(Self { key, ..head })
    }

    /// The order of entries.
    #[must_use]
    pub fn compare(&self, other: &IndexEntryRef<'_>) -> Ordering {
        (self.index, self.key, self.node).cmp(&(other.index, other.key, other.node))
    }
}
