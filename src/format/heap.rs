//! Records of `data/*.heap`: everything of a node that is not in its row.
//!
//! A heap has one section of bytes. It holds the records of nodes and the
//! attributes of edges (a MessagePack map, as in the log). Both start at
//! multiples of 8 bytes, with zeros between them. The record of a node is:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | length of the metadata |
//! | 4 | 4 | length of the content |
//! | 8 | … | metadata |
//! | … | … | content, unless it is external |
//!
//! The metadata consists of MessagePack values: flags, version, created; then
//! in this order, each only if its flag is set: updated (1; default: as
//! created), accessed (2; default: as created), access count (4; default: 0),
//! expires (8; default: never), strength (16; default: 1), confidence (32;
//! default: 1), heap and offset of an external content (64), bytes of the keys
//! (128), bytes of the vectors (256). Then follow the keys (index and key of
//! each), the vectors (space of each, and the sequence number of the commit
//! that wrote it), and the attributes as a map if there are any.

use crate::{
    format::{
        header::Damage,
        pack::{Packer, Unpacker},
    },
    model::{
        time::{Seq, Timestamp},
        value::Attributes,
    },
    num,
};

/// Bytes of a record before its metadata.
pub const RECORD_HEAD_BYTES: usize = 8;

/// The position of an external content: one that is in the record of an earlier
/// state of its node.
///
/// ```
/// use ingrain::{Attributes, Seq, Timestamp, format::heap::{BlobRef, NodeMeta, NodeParts}};
///
/// let attributes = Attributes::new();
/// let content = b"dogs bark";
/// let parts = NodeParts { keys: &[], vectors: &[], attributes: &attributes, content };
/// let (mut heap, mut meta) = (Vec::new(), NodeMeta::new(Seq::new(1), Timestamp::UNIX_EPOCH));
/// meta.encode(&parts, &mut heap);
///
/// // The node is touched: a new record, which refers to the content of the old.
/// let (offset, len) = ((heap.len() - content.len()) as u64, content.len() as u32);
/// meta.external = Some(BlobRef { heap: 1, offset, len });
/// meta.access_count = 1;
/// let mut record = Vec::new();
/// meta.encode(&NodeParts { content: b"", ..parts }, &mut record);
/// let BlobRef { offset, len, .. } = NodeMeta::decode(&record)?.external.unwrap();
/// assert_eq!(&heap[offset as usize..][..len as usize], content);
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRef {
    /// The heap file.
    pub heap: u32,
    /// Offset in the section of the heap, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
}

/// The record of a node. Keys, vectors, attributes and content are borrowed.
///
/// ```
/// use ingrain::{Attributes, Seq, Timestamp, format::heap::{NodeMeta, NodeParts}};
///
/// let attributes = Attributes::from([("lang".to_owned(), "en".into())]);
/// let content = b"dogs bark";
/// let parts = NodeParts { keys: &[], vectors: &[], attributes: &attributes, content };
/// let mut record = Vec::new();
/// NodeMeta::new(Seq::new(7), Timestamp::UNIX_EPOCH).encode(&parts, &mut record);
///
/// let meta = NodeMeta::decode(&record)?;
/// assert_eq!((meta.version, meta.content), (Seq::new(7), &b"dogs bark"[..]));
/// assert_eq!(meta.updated, meta.created); // a default, which takes no bytes
/// assert_eq!(meta.attributes()?, attributes);
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeMeta<'a> {
    /// The commit that last put or patched the node.
    pub version: Seq,
    /// When the node was created.
    pub created: Timestamp,
    /// When the node was last put or patched.
    pub updated: Timestamp,
    /// When the node was last touched.
    pub accessed: Timestamp,
    /// How often the node was touched.
    pub access_count: u64,
    /// When the node expires, that is, from when it may be pruned.
    pub expires: Option<Timestamp>,
    /// The strength of the node.
    pub strength: f32,
    /// The confidence of the node, from 0 to 1.
    pub confidence: f32,
    /// The position of the content, if it is not in this record.
    pub external: Option<BlobRef>,
    /// The encoded keys; [`keys`](Self::keys) decodes them.
    keys: &'a [u8],
    vectors: &'a [u8],
    attributes: &'a [u8],
    /// The content, if it is in this record.
    pub content: &'a [u8],
}

const UPDATED: u64 = 1;
const ACCESSED: u64 = 2;
const COUNT: u64 = 4;
const EXPIRES: u64 = 8;
const STRENGTH: u64 = 16;
const CONFIDENCE: u64 = 32;
const EXTERNAL: u64 = 64;
const KEYS: u64 = 128;
const VECTORS: u64 = 256;
const ALL: u64 = 511;

/// The variable-length parts of a node record, to be encoded with the scalars
/// of a [`NodeMeta`].
///
/// ```
/// use ingrain::{Attributes, Seq, Timestamp, format::heap::{NodeMeta, NodeParts}};
///
/// let parts = NodeParts {
///     keys: &[(0, b"2026-05"), (0, b"2026-06")], // both in the index of number 0
///     vectors: &[(2, Seq::new(5))],              // in the space of number 2
///     attributes: &Attributes::new(),
///     content: b"dogs bark",
/// };
/// let mut record = Vec::new();
/// NodeMeta::new(Seq::new(7), Timestamp::UNIX_EPOCH).encode(&parts, &mut record);
///
/// let meta = NodeMeta::decode(&record)?;
/// assert_eq!(meta.keys().collect::<Result<Vec<_>, _>>()?, parts.keys);
/// assert_eq!(meta.vectors().collect::<Result<Vec<_>, _>>()?, parts.vectors);
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct NodeParts<'a> {
    /// The keys: the number of the index, and the key.
    pub keys: &'a [(u32, &'a [u8])],
    /// The vectors: the number of the space, and the commit that wrote the
    /// vector.
    pub vectors: &'a [(u32, Seq)],
    /// The attributes.
    pub attributes: &'a Attributes,
    /// The content; empty if it is external.
    pub content: &'a [u8],
}

impl NodeMeta<'_> {
    /// A record with scalars only: times equal `created`, and the rest is the
    /// default. [`encode`](Self::encode) takes the other parts.
    #[must_use]
    pub fn new(version: Seq, created: Timestamp) -> Self {
        Self {
            version,
            created,
            updated: created,
            accessed: created,
            access_count: 0,
            expires: None,
            strength: 1.0,
            confidence: 1.0,
            external: None,
            keys: &[],
            vectors: &[],
            attributes: &[],
            content: &[],
        }
    }

    /// The flags of the fields that differ from their defaults.
    fn flags(&self, keys: bool, vectors: bool) -> u64 {
        let flag = |set: bool, flag: u64| if set { flag } else { 0 };
        flag(self.updated != self.created, UPDATED)
            | flag(self.accessed != self.created, ACCESSED)
            | flag(self.access_count != 0, COUNT)
            | flag(self.expires.is_some(), EXPIRES)
            | flag(self.strength.to_bits() != 1.0_f32.to_bits(), STRENGTH)
            | flag(self.confidence.to_bits() != 1.0_f32.to_bits(), CONFIDENCE)
            | flag(self.external.is_some(), EXTERNAL)
            | flag(keys, KEYS)
            | flag(vectors, VECTORS)
    }

    /// Appends a record of these scalars and `parts` to `out`.
    pub fn encode(&self, parts: &NodeParts<'_>, out: &mut Vec<u8>) {
        let mut keys = Packer::with_capacity(0);
        for (index, key) in parts.keys {
            keys.uint(u64::from(*index));
            keys.bin(key);
        }
        let mut vectors = Packer::with_capacity(0);
        for (space, seq) in parts.vectors {
            vectors.uint(u64::from(*space));
            vectors.uint(seq.get());
        }
        let flags = self.flags(!parts.keys.is_empty(), !parts.vectors.is_empty());
        let start = out.len();
        out.extend([0; RECORD_HEAD_BYTES]);
        let mut p = Packer::over(std::mem::take(out));
        p.uint(flags);
        p.uint(self.version.get());
        p.int(self.created.as_micros());
        if flags & UPDATED != 0 {
            p.int(self.updated.as_micros());
        }
        if flags & ACCESSED != 0 {
            p.int(self.accessed.as_micros());
        }
        if flags & COUNT != 0 {
            p.uint(self.access_count);
        }
        if let Some(expires) = self.expires {
            p.int(expires.as_micros());
        }
        if flags & STRENGTH != 0 {
            p.f32(self.strength);
        }
        if flags & CONFIDENCE != 0 {
            p.f32(self.confidence);
        }
        if let Some(place) = self.external {
            p.uint(u64::from(place.heap));
            p.uint(place.offset);
        }
        for (flag, part) in [(KEYS, &keys), (VECTORS, &vectors)] {
            if flags & flag != 0 {
                p.uint(num::wide(part.len()));
            }
        }
        *out = p.finish();
        out.extend(keys.finish());
        out.extend(vectors.finish());
        if !parts.attributes.is_empty() {
            out.extend(encode_attributes(parts.attributes));
        }
        let meta = out.len().saturating_sub(start).saturating_sub(RECORD_HEAD_BYTES);
        let content = match self.external {
            Some(place) => place.len,
            // Contents are limited to 16 MiB.
            None => num::short(parts.content.len()),
        };
        let meta = num::short(meta).to_le_bytes();
        let head = meta.into_iter().chain(content.to_le_bytes());
        out.iter_mut().skip(start).zip(head).for_each(|(to, byte)| *to = byte);
        out.extend_from_slice(parts.content);
    }
}

impl<'a> NodeMeta<'a> {
    /// Decodes a record, which takes up all of `bytes`.
    ///
    /// # Errors
    /// [`Damage`] when the bytes are not what [`encode`](Self::encode) writes.
    /// The attributes are decoded only by [`attributes`](Self::attributes).
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Damage> {
        let short = || {
            Damage::new(0, format!("the record of a node is cut off after {} bytes", bytes.len()))
        };
        let (meta_len, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
        let (content_len, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let meta_len = num::index(u32::from_le_bytes(*meta_len));
        let (meta, content) = rest.split_at_checked(meta_len).ok_or_else(short)?;
        let content_len = u32::from_le_bytes(*content_len);

        let mut u = Unpacker::new(meta);
        let flags = u.uint()?;
        if flags > ALL {
            return Err(u.damage(format!("the record of a node has unknown flags {flags:#x}")));
        }
        let version = Seq::new(u.uint()?);
        let created = Timestamp::from_micros(u.int()?);
        let mut record = Self::new(version, created);
        if flags & UPDATED != 0 {
            record.updated = Timestamp::from_micros(u.int()?);
        }
        if flags & ACCESSED != 0 {
            record.accessed = Timestamp::from_micros(u.int()?);
        }
        if flags & COUNT != 0 {
            record.access_count = u.uint()?;
        }
        if flags & EXPIRES != 0 {
            record.expires = Some(Timestamp::from_micros(u.int()?));
        }
        if flags & STRENGTH != 0 {
            record.strength = u.f32()?;
        }
        if flags & CONFIDENCE != 0 {
            record.confidence = u.f32()?;
        }
        if flags & EXTERNAL != 0 {
            let heap = u.uint()?;
            let heap = u32::try_from(heap)
                .map_err(|_| u.damage(format!("the number of a heap is {heap}")))?;
            record.external = Some(BlobRef { heap, offset: u.uint()?, len: content_len });
        }
        let keys = if flags & KEYS == 0 { 0 } else { u.uint()? };
        let vectors = if flags & VECTORS == 0 { 0 } else { u.uint()? };
        record.keys = u.bytes(keys)?;
        record.vectors = u.bytes(vectors)?;
        record.attributes = u.rest();
        if flags != record.flags(keys > 0, vectors > 0) {
            return Err(Damage::new(0, "the record of a node has a field that equals its default"));
        }
        let expected = if record.external.is_some() { 0 } else { content_len };
        if usize::try_from(expected) != Ok(content.len()) {
            return Err(Damage::new(
                4,
                format!("a content of {expected} bytes declared, {} found", content.len()),
            ));
        }
        record.content = content;
        if keys > 0 || vectors > 0 {
            let vectors = record.vectors().map(|v| v.map(|(n, _)| (n, &[][..])));
            for entry in record.keys().chain(vectors) {
                entry?;
            }
        }
        Ok(record)
    }

    /// Iterates over the keys in ascending order: the number of the index, and
    /// the key.
    pub fn keys(&self) -> impl Iterator<Item = Result<(u32, &'a [u8]), Damage>> + use<'a> {
        pairs(self.keys, |u| u.bin())
    }

    /// Iterates over the vectors in ascending order: the number of the space,
    /// and the commit that wrote the vector.
    pub fn vectors(&self) -> impl Iterator<Item = Result<(u32, Seq), Damage>> + use<'a> {
        pairs(self.vectors, |u| u.uint().map(Seq::new))
    }

    /// Decodes the attributes.
    ///
    /// # Errors
    /// [`Damage`] when the bytes are not what [`encode`](Self::encode) writes.
    pub fn attributes(&self) -> Result<Attributes, Damage> {
        if self.attributes.is_empty() {
            return Ok(Attributes::new());
        }
        let attributes = decode_attributes(self.attributes)?;
        if attributes.is_empty() {
            return Err(Damage::new(0, "the record of a node has an empty map of attributes"));
        }
        Ok(attributes)
    }
}

fn pairs<'a, T>(
    bytes: &'a [u8],
    read: impl Fn(&mut Unpacker<'a>) -> Result<T, Damage>,
) -> impl Iterator<Item = Result<(u32, T), Damage>> {
    let mut u = Unpacker::new(bytes);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || u.is_empty() {
            return None;
        }
        let mut pair = || {
            let number = u.uint()?;
            let number = u32::try_from(number)
                .map_err(|_| u.damage(format!("the number of an index or a space is {number}")))?;
            Ok((number, read(&mut u)?))
        };
        let pair = pair();
        failed = pair.is_err();
        Some(pair)
    })
}

/// Encodes attributes as they are in a heap: a MessagePack map.
#[must_use]
pub fn encode_attributes(attributes: &Attributes) -> Vec<u8> {
    let mut packer = Packer::with_capacity(64);
    packer.attributes(attributes);
    packer.finish()
}

/// Decodes what [`encode_attributes`] has written.
///
/// # Errors
/// [`Damage`] when `bytes` is not such an encoding.
pub fn decode_attributes(bytes: &[u8]) -> Result<Attributes, Damage> {
    let mut u = Unpacker::new(bytes);
    let attributes = u.attributes()?;
    u.finish()?;
    Ok(attributes)
}
