//! The rows of `data/*.nodes`, `*.out`, `*.in`, `*.keys` and `*.vec`: the
//! sections of each kind of file, and the order of their rows.
//!
//! Rows are plain bytes without alignment. Any bytes are a valid row, and a row
//! is borrowed from a mapping without a copy. All integers are little-endian.

use std::cmp::Ordering;

use bytemuck::{Pod, Zeroable};

use crate::{
    format::header::{Damage, Fields},
    model::{id::NodeId, limits, time::Seq},
    num,
};

/// Section of all tables: the rows ([`NodeRow`], [`EdgeRow`] or
/// [`VectorHead`]); in a key table the encoded entries.
pub const ROWS: u32 = 1;
/// Section of a node table: [`KindRow`]s, ascending.
pub const KINDS: u32 = 2;
/// Section of a node table: [`Le32`] row numbers. For each kind, those of its
/// nodes, ascending. Empty if all nodes are of one kind.
pub const MEMBERS: u32 = 3;
/// Section of a node table or out_edges: [`RefRow`]s, ascending; the heaps that
/// its rows refer to.
pub const REFS: u32 = 4;
/// Section of a key table: the [`Le32`] offset in [`ROWS`] of each entry.
pub const OFFSETS: u32 = 5;
/// Section of a vector file: the components of the vectors, binary32, in the
/// order of the rows.
pub const COMPONENTS: u32 = 6;
/// Section of a vector file: for each row the kind of its node, [`Le32`].
pub const ROW_KINDS: u32 = 7;

macro_rules! little_endian {
    ($($name:ident: $int:ty, $bytes:literal;)*) => {$(
        #[doc = concat!("A little-endian `", stringify!($int), "` without alignment.")]
        ///
        /// ```
        /// use ingrain::format::{FileKind, Header, segment::{self, File}};
        #[doc = concat!("use ingrain::format::tables::", stringify!($name), ";")]
        ///
        /// # let header = Header::new(FileKind::Heap, [7; 16], 1, 9);
        #[doc = concat!("let number = 7 as ", stringify!($int), ";")]
        #[doc = concat!("let section = (1, ", stringify!($bytes), ", &number.to_le_bytes()[..]);")]
        /// let bytes = segment::encode(header, &[section])?;
        /// let file = File::decode(FileKind::Heap, &bytes)?;
        #[doc = concat!("let rows: &[", stringify!($name), "] = file.rows(1)?; // not copied")]
        /// assert_eq!(rows[0].get(), number);
        /// # Ok::<(), ingrain::format::Damage>(())
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
        #[repr(transparent)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// Converts from the native number.
            #[must_use]
            pub const fn new(value: $int) -> Self {
                Self(value.to_le_bytes())
            }

            /// Converts to the native number.
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

/// The position of a record in a heap: the heap file, the slot in its only
/// section, and the length.
///
/// ```
/// use ingrain::format::{FileKind, heap::NodeMeta, segment::File, tables::{NodeRow, ROWS}};
/// use ingrain::prelude::*;
/// # use ingrain::format::manifest::Manifest;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note").content("dogs bark")))?;
/// engine.checkpoint()?;
/// # let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// # let number = manifest.nodes[0].file.number;
/// let path = |number: u32, suffix| store.join(format!("data/{number:010}.{suffix}"));
/// let nodes = std::fs::read(path(number, "nodes"))?; // `number` is in the manifest
/// let place = File::decode(FileKind::Nodes, &nodes)?.rows::<NodeRow>(ROWS)?[0].place();
///
/// let heap = std::fs::read(path(place.heap, "heap"))?;
/// let records = File::decode(FileKind::Heap, &heap)?.section(ROWS, 1)?;
/// let record = &records[place.offset() as usize..][..place.len as usize];
/// assert_eq!(NodeMeta::decode(record)?.content, b"dogs bark");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeapRef {
    /// Number of the heap file.
    pub heap: u32,
    /// Offset in units of [`SLOT_BYTES`].
    pub slot: u32,
    /// Length in bytes.
    pub len: u32,
}

/// Bytes of a slot. Records of a heap start at multiples of this.
pub const SLOT_BYTES: u64 = 8;

impl HeapRef {
    /// Bytes that the record takes in its file, including the zeros after it.
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

/// A row of a node table: 32 bytes. Rows are sorted by id.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 16 | id |
/// | 16 | 4 | kind |
/// | 20 | 4 | heap file of its record |
/// | 24 | 4 | slot of its record |
/// | 28 | 4 | length of its record; the highest bit is set if the content is external |
///
/// ```
/// use ingrain::{format::{FileKind, segment::File, tables::{NodeRow, ROWS}}, prelude::*};
/// # use ingrain::format::manifest::Manifest;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// let (dog, bark) = (NodeId::from_content(b"dog"), NodeId::new());
/// engine.write(Batch::new().put(Node::new(dog, "concept")).put(Node::new(bark, "event")))?;
/// engine.checkpoint()?;
/// # let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// # let path = store.join(format!("data/{:010}.nodes", manifest.nodes[0].file.number));
/// let bytes = std::fs::read(path)?; // the path of a file *.nodes
/// let file = File::decode(FileKind::Nodes, &bytes)?;
/// let rows: &[NodeRow] = file.rows(ROWS)?;
/// let row = rows.binary_search_by_key(&bark, NodeRow::id).map(|row| rows[row]).unwrap();
/// assert_eq!(row.kind.get(), 1); // the manifest has the names of the kinds
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct NodeRow {
    /// The id of the node.
    pub id: [u8; 16],
    /// The number of the kind.
    pub kind: Le32,
    heap: Le32,
    slot: Le32,
    len: Le32,
}

const _: () = assert!(size_of::<NodeRow>() == 32);

const EXTERNAL: u32 = 1 << 31;

impl NodeRow {
    /// Makes a row. With `external`, the content of the node is in another
    /// record.
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

    /// The id of the node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::from_bytes(self.id)
    }

    /// The position of the node's record.
    #[must_use]
    pub fn place(&self) -> HeapRef {
        HeapRef { heap: self.heap.get(), slot: self.slot.get(), len: self.len.get() & !EXTERNAL }
    }

    /// Whether the content of the node is in another record.
    #[must_use]
    pub fn external(&self) -> bool {
        self.len.get() & EXTERNAL != 0
    }
}

/// The key of an edge, as seen from one of its two ends. Edge tables are sorted
/// by it, in the order of the fields.
///
/// ```
/// use ingrain::{NodeId, format::tables::EdgeKey};
///
/// let (bark, dog) = (NodeId::from_content(b"bark"), NodeId::from_content(b"dog"));
/// let about = EdgeKey { from: bark, kind: 0, to: dog, discriminator: 0 };
/// let back = about.reversed(); // its key in in_edges
/// assert_eq!((back.from, back.to), (dog, bark));
///
/// // The edges of a node are together, and among them those of a kind.
/// let cause = EdgeKey { kind: 1, to: NodeId::MIN, ..about };
/// assert!(about < cause);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EdgeKey {
    /// The end by which the edge is found: the source in out_edges, the target
    /// in in_edges.
    pub from: NodeId,
    /// The number of the kind.
    pub kind: u32,
    /// The other end of the edge.
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

    /// The key of the same edge as seen from its other end.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { from: self.to, to: self.from, ..self }
    }
}

/// A row of an edge table: 88 bytes. Rows are sorted by [`EdgeKey`].
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 16 | the end by which it is found |
/// | 16 | 16 | the other end |
/// | 32 | 8 | discriminator |
/// | 40 | 4 | kind |
/// | 44 | 4 | confidence (binary32) |
/// | 48 | 8 | weight (binary64) |
/// | 56 | 8 | created |
/// | 64 | 8 | updated |
/// | 72 | 4 | heap file of the attributes; 0 in in_edges |
/// | 76 | 4 | slot of the attributes; 0 in in_edges |
/// | 80 | 4 | length of the attributes; 0 if it has none |
/// | 84 | 4 | zero |
///
/// ```
/// use ingrain::{Attributes, NodeId};
/// use ingrain::format::{heap, tables::{EdgeKey, EdgeRow, HeapRef, LeF64}};
///
/// let attributes = Attributes::from([("source".to_owned(), "a book".into())]);
/// let record = heap::encode_attributes(&attributes); // as it is in heap 1
/// let key = EdgeKey { from: NodeId::MIN, kind: 0, to: NodeId::MAX, discriminator: 0 };
/// let mut row = EdgeRow::new(key, HeapRef { heap: 1, slot: 0, len: record.len() as u32 });
/// row.weight = LeF64::new(0.8);
///
/// let place = row.attributes();
/// let found = &record[place.offset() as usize..][..place.len as usize];
/// assert_eq!(heap::decode_attributes(found)?, attributes);
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct EdgeRow {
    from: [u8; 16],
    to: [u8; 16],
    discriminator: Le64,
    kind: Le32,
    /// The confidence, from 0 to 1.
    pub confidence: LeF32,
    /// The weight.
    pub weight: LeF64,
    /// When the edge was created, in microseconds since 1970-01-01 UTC.
    pub created: Le64s,
    /// When the edge was last linked, in microseconds since 1970-01-01 UTC.
    pub updated: Le64s,
    heap: Le32,
    slot: Le32,
    len: Le32,
    zero: Le32,
}

const _: () = assert!(size_of::<EdgeRow>() == 88);

impl EdgeRow {
    /// A row with this key and these attributes. Confidence and weight are 1
    /// and the times are 0; the caller sets them.
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

    /// The key, by which rows are sorted.
    #[must_use]
    pub fn key(&self) -> EdgeKey {
        EdgeKey {
            from: NodeId::from_bytes(self.from),
            kind: self.kind.get(),
            to: NodeId::from_bytes(self.to),
            discriminator: self.discriminator.get(),
        }
    }

    /// The position of the attributes in a heap. The length is 0 if the edge
    /// has none.
    #[must_use]
    pub fn attributes(&self) -> HeapRef {
        HeapRef { heap: self.heap.get(), slot: self.slot.get(), len: self.len.get() }
    }

    /// The same row with its attributes at another position.
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

/// A kind that occurs in a node table: 8 bytes.
///
/// ```
/// use ingrain::format::tables::{KindRow, Le32};
///
/// let kind = |kind, first| KindRow { kind: Le32::new(kind), first: Le32::new(first) };
/// let kinds = [kind(0, 0), kind(4, 2)];
/// let members = [0, 2, 1, 3, 4].map(Le32::new); // rows 0 and 2 are of kind 0
///
/// // The members of a kind end where those of the next kind begin.
/// let at = kinds.binary_search_by_key(&4, |row| row.kind.get()).unwrap();
/// let end = kinds.get(at + 1).map_or(members.len(), |next| next.first.get() as usize);
/// let rows = &members[kinds[at].first.get() as usize..end];
/// assert_eq!(rows, [1, 3, 4].map(Le32::new));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct KindRow {
    /// The number of the kind.
    pub kind: Le32,
    /// Index of its first member in [`MEMBERS`].
    pub first: Le32,
}

const _: () = assert!(size_of::<KindRow>() == 8);

/// A heap that the rows of a table refer to, and the bytes of it that they
/// refer to: 16 bytes.
///
/// ```
/// use ingrain::format::{FileKind, manifest::Manifest, segment::File, tables::{REFS, RefRow}};
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note").content("dogs bark")))?;
/// engine.checkpoint()?;
/// let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// # let path = store.join(format!("data/{:010}.nodes", manifest.nodes[0].file.number));
/// let bytes = std::fs::read(path)?; // the path of a file *.nodes
/// let file = File::decode(FileKind::Nodes, &bytes)?;
/// let refs: &[RefRow] = file.rows(REFS)?;
/// // No other file refers to the heap: these bytes are all that is live in it.
/// assert_eq!(refs[0].heap.get(), manifest.heaps[0].file.number);
/// assert_eq!(refs[0].bytes.get(), manifest.heaps[0].live);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct RefRow {
    /// Number of the heap file.
    pub heap: Le32,
    /// Zero.
    pub zero: Le32,
    /// Bytes that the rows refer to, including the zeros after each record.
    pub bytes: Le64,
}

const _: () = assert!(size_of::<RefRow>() == 16);

/// A row of a vector file: the node of a vector, and when it was written. 32
/// bytes; rows are sorted by id.
///
/// ```
/// use ingrain::{format::{FileKind, segment::File, tables::{ROWS, VectorHead}}, prelude::*};
/// # use ingrain::format::manifest::Manifest;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// let id = NodeId::new();
/// engine.create_space("text", Space::new(2, Metric::L2))?;
/// let seq = engine.write(Batch::new().put(Node::new(id, "note").vector("text", [3.0, 4.0])))?;
/// engine.checkpoint()?;
/// # let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// # let path = store.join(format!("data/{:010}.vec", manifest.vectors[0].file.number));
/// let bytes = std::fs::read(path)?; // the path of a file *.vec
/// let file = File::decode(FileKind::Vectors, &bytes)?;
/// let rows: &[VectorHead] = file.rows(ROWS)?;
/// assert_eq!((rows[0].id(), rows[0].seq(), rows[0].norm.get()), (id, seq, 5.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct VectorHead {
    /// The id of the node.
    pub id: [u8; 16],
    /// The commit that wrote the vector.
    pub seq: Le64,
    /// The Euclidean length of the vector.
    pub norm: LeF64,
}

const _: () = assert!(size_of::<VectorHead>() == 32);

impl VectorHead {
    /// The id of the node.
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

/// Bytes of the components of a vector.
#[must_use]
pub fn vector_bytes(dimension: usize) -> usize {
    dimension.saturating_mul(4)
}

/// A row of a sorted table, which is found by its key.
///
/// ```
/// use ingrain::{NodeId, format::tables::{HeapRef, NodeRow, SortedRow}};
///
/// /// Works for nodes, edges and vectors.
/// fn find<R: SortedRow>(rows: &[R], key: R::Key) -> Option<&R> {
///     rows.get(rows.partition_point(|row| row.key() < key)).filter(|row| row.key() == key)
/// }
///
/// let place = HeapRef { heap: 1, slot: 0, len: 8 };
/// let rows = [NodeId::MIN, NodeId::MAX].map(|id| NodeRow::new(id, 0, place, false));
/// assert_eq!(find(&rows, NodeId::MAX), Some(&rows[1]));
/// assert_eq!(find(&rows, NodeId::from_content(b"dog")), None);
/// ```
pub trait SortedRow: Pod {
    /// The key by which rows are sorted.
    type Key: Ord + Copy;

    /// The key of the row.
    fn key(&self) -> Self::Key;

    /// Maps a key to a number that is monotonic in the key and distributed like
    /// the keys. An interpolation search guesses positions from it.
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
/// Entries are sorted by index, key, node.
///
/// ```
/// use ingrain::{KeyBuilder, NodeId, Timestamp};
/// use ingrain::format::tables::{EXPIRY, IndexEntryRef, KEY_HEAD_BYTES};
///
/// let time = KeyBuilder::new().time(Timestamp::UNIX_EPOCH).build();
/// let dog = IndexEntryRef { index: 0, key: b"dog", node: NodeId::MIN };
/// let expiry = IndexEntryRef { index: EXPIRY, key: &time, node: NodeId::MIN };
/// let mut bytes = Vec::new();
/// dog.encode(&mut bytes);
/// expiry.encode(&mut bytes);
///
/// let first = IndexEntryRef::decode(&bytes)?;
/// let second = IndexEntryRef::decode(&bytes[KEY_HEAD_BYTES + first.key.len()..])?;
/// assert_eq!((first, second), (dog, expiry));
/// assert!(first.compare(&second).is_lt()); // expiries come last
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IndexEntryRef<'k> {
    /// The number of the index, or [`EXPIRY`].
    pub index: u32,
    /// The key.
    pub key: &'k [u8],
    /// The node that has it.
    pub node: NodeId,
}

/// The number of the index in which the engine lists the nodes that expire. The
/// key is the time, as encoded by
/// [`KeyBuilder::time`](crate::KeyBuilder::time).
pub const EXPIRY: u32 = u32::MAX;

/// Bytes of an entry of a key table before the key.
pub const KEY_HEAD_BYTES: usize = 24;

impl<'k> IndexEntryRef<'k> {
    /// Appends the entry to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.index.to_le_bytes());
        out.extend(num::short(self.key.len()).to_le_bytes());
        out.extend(self.node.as_bytes());
        out.extend(self.key);
    }

    /// Decodes the fixed part of an entry. Returns the entry without its key,
    /// and the length of the key.
    ///
    /// # Errors
    /// [`Damage`] when `bytes` is too short, or declares a key longer than
    /// [`limits::KEY_BYTES`].
    pub fn decode_head(bytes: &[u8]) -> Result<(Self, usize), Damage> {
        let mut fields = Fields { bytes, at: 0 };
        let index = u32::from_le_bytes(fields.take()?);
        let len = num::index(u32::from_le_bytes(fields.take()?));
        let node = NodeId::from_bytes(fields.take()?);
        if len > limits::KEY_BYTES {
            return Err(Damage::new(4, format!("a key of {len} bytes is too long")));
        }
        Ok((Self { index, key: &[], node }, len))
    }

    /// Decodes the entry at the start of `bytes`.
    ///
    /// # Errors
    /// [`Damage`] when `bytes` is too short, or declares a key longer than
    /// [`limits::KEY_BYTES`].
    pub fn decode(bytes: &'k [u8]) -> Result<Self, Damage> {
        let (head, len) = Self::decode_head(bytes)?;
        let key =
            bytes.get(KEY_HEAD_BYTES..).and_then(|rest| rest.get(..len)).ok_or_else(|| {
                Damage::new(KEY_HEAD_BYTES, format!("a key of {len} bytes is cut off"))
            })?;
        Ok(Self { key, ..head })
    }

    /// Compares two entries in the order of the table.
    #[must_use]
    pub fn compare(&self, other: &IndexEntryRef<'_>) -> Ordering {
        (self.index, self.key, self.node).cmp(&(other.index, other.key, other.node))
    }
}
