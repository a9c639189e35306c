//! Records of `data/*.heap`: what a node has beside its row.
//!
//! A heap has one section of bytes. Node records and the attributes of edges
//! (as the log has them, a MessagePack map) start at multiples of 8 bytes in it,
//! zeros between them. A node record:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | length of the meta part |
//! | 4 | 4 | length of the content |
//! | 8 | … | the meta part |
//! | … | … | the content, unless it is elsewhere |
//!
//! The meta part is MessagePack: flags, version, created; then, in this order
//! and each if its flag is set, updated (1; else as created), accessed (2; else
//! as created), access count (4; else 0), expires (8), strength (16; else 1),
//! confidence (32; else 1), heap and offset of the content elsewhere (64), bytes
//! of the keys (128), bytes of the vectors (256). Then, to the end: the keys
//! (index and key, one after the other), the vectors (space and the sequence
//! number of the commit that wrote it), and the attributes as a map if there are
//! any.

use crate::{
    format::{
        header::Damage,
        pack::{Packer, Unpacker},
    },
    model::{
        time::{Seq, Timestamp},
        value::Attributes,
    },
};

/// Bytes of a record before its meta part.
pub const RECORD_HEAD_BYTES: usize = 8;

/// Where a content stands that is in the record of an earlier state of its
/// node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRef {
    /// The heap file.
    pub heap: u32,
    /// Offset in its section, in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
}

/// What the record of a node says, its parts borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeMeta<'a> {
    /// The commit that last put or patched it.
    pub version: Seq,
    /// When it came to be.
    pub created: Timestamp,
    /// When it was last put or patched.
    pub updated: Timestamp,
    /// When it was last touched.
    pub accessed: Timestamp,
    /// How often it was touched.
    pub access_count: u64,
    /// When it may be pruned.
    pub expires: Option<Timestamp>,
    /// How well it is remembered.
    pub strength: f32,
    /// How sure it is.
    pub confidence: f32,
    /// Where the content is, if not in this record.
    pub external: Option<BlobRef>,
    /// The keys, for [`keys`](Self::keys).
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

/// The parts of a node record that the scalars of a [`NodeMeta`] do not have.
#[derive(Debug, Clone, Copy)]
pub struct NodeParts<'a> {
    /// Index and key of each.
    pub keys: &'a [(u32, &'a [u8])],
    /// Space of each, and the commit that wrote it.
    pub vectors: &'a [(u32, Seq)],
    /// The attributes.
    pub attributes: &'a Attributes,
    /// The content; empty if it is elsewhere.
    pub content: &'a [u8],
}

impl NodeMeta<'_> {
    /// A record of nothing but scalars, to be encoded with its parts.
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

    /// The flags of what differs from what is understood.
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

    /// Appends a record of these scalars and those parts to `out`.
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
                p.uint(u64::try_from(part.len()).unwrap_or(u64::MAX));
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
            // Contents are held to 16 MiB.
            None => u32::try_from(parts.content.len()).unwrap_or(u32::MAX),
        };
        let meta = u32::try_from(meta).unwrap_or(u32::MAX).to_le_bytes();
        let head = meta.into_iter().chain(content.to_le_bytes());
        out.iter_mut().skip(start).zip(head).for_each(|(to, byte)| *to = byte);
        out.extend_from_slice(parts.content);
    }
}

impl<'a> NodeMeta<'a> {
    /// Reads a record, which takes up all of `bytes`.
    ///
    /// # Errors
    /// [`Damage`] when it is not what [`encode`](Self::encode) writes. The
    /// attributes are not looked at before they are asked for.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Damage> {
        let short = || Damage::new(0, format!("a node's record of {} bytes is cut", bytes.len()));
        let (meta_len, rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
        let (content_len, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let meta_len = usize::try_from(u32::from_le_bytes(*meta_len)).unwrap_or(usize::MAX);
        let (meta, content) = rest.split_at_checked(meta_len).ok_or_else(short)?;
        let content_len = u32::from_le_bytes(*content_len);

        let mut u = Unpacker::new(meta);
        let flags = u.uint()?;
        if flags > ALL {
            return Err(u.damage(format!("a node's record with flags {flags:#x}")));
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
            let heap = u32::try_from(heap).map_err(|_| u.damage(format!("heap {heap}")))?;
            record.external = Some(BlobRef { heap, offset: u.uint()?, len: content_len });
        }
        let keys = if flags & KEYS == 0 { 0 } else { u.uint()? };
        let vectors = if flags & VECTORS == 0 { 0 } else { u.uint()? };
        record.keys = u.bytes(keys)?;
        record.vectors = u.bytes(vectors)?;
        record.attributes = u.rest();
        if flags != record.flags(keys > 0, vectors > 0) {
            return Err(Damage::new(0, "a node's record has what would be understood"));
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

    /// Index and key of each of its keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = Result<(u32, &'a [u8]), Damage>> + use<'a> {
        pairs(self.keys, |u| u.bin())
    }

    /// Space of each of its vectors, ascending, and the commit that wrote it.
    pub fn vectors(&self) -> impl Iterator<Item = Result<(u32, Seq), Damage>> + use<'a> {
        pairs(self.vectors, |u| u.uint().map(Seq::new))
    }

    /// Its attributes.
    ///
    /// # Errors
    /// [`Damage`] when they are none.
    pub fn attributes(&self) -> Result<Attributes, Damage> {
        if self.attributes.is_empty() {
            return Ok(Attributes::new());
        }
        let attributes = decode_attributes(self.attributes)?;
        if attributes.is_empty() {
            return Err(Damage::new(0, "a node's record has attributes and none"));
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
            let number = u32::try_from(number).map_err(|_| u.damage(format!("number {number}")))?;
            Ok((number, read(&mut u)?))
        };
        let pair = pair();
        failed = pair.is_err();
        Some(pair)
    })
}

/// Attributes as a heap has them.
#[must_use]
pub fn encode_attributes(attributes: &Attributes) -> Vec<u8> {
    let mut packer = Packer::with_capacity(64);
    packer.attributes(attributes);
    packer.finish()
}

/// The reverse of [`encode_attributes`].
///
/// # Errors
/// [`Damage`] when `bytes` is something else.
pub fn decode_attributes(bytes: &[u8]) -> Result<Attributes, Damage> {
    let mut u = Unpacker::new(bytes);
    let attributes = u.attributes()?;
    u.finish()?;
    Ok(attributes)
}
