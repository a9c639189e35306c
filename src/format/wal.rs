//! `wal/*.wal`: the write-ahead log of committed batches.
//!
//! A file is a [`Header`], whose number is the sequence number of the first
//! frame, and frames at multiples of 8 bytes:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 4 | CRC-32 of the store id, the file's salt, and bytes 4 to 27 |
//! | 4 | 4 | CRC-32 of the payload and the zeros after it |
//! | 8 | 8 | sequence number |
//! | 16 | 8 | a sequence number known to be durable when the frame was written |
//! | 24 | 4 | length of the payload |
//! | 28 | … | payload |
//! | … | 0–7 | zeros, to the next multiple of 8 |
//!
//! The header of a frame has its own checksum, for two reasons. What it says
//! about durability can be believed even if the payload is torn. And a search
//! for headers costs the same whatever the bytes between them are.
//!
//! The payload is a MessagePack array: the time of the batch in microseconds,
//! then its operations, each an array that starts with its tag. The log holds
//! committed batches only, so it has neither preconditions nor requirements.

use std::{cell::Cell, ops::Range, sync::Arc};

use crate::{
    format::{
        header::{Damage, Fields, FileKind, HEADER_BYTES, Header},
        index,
        pack::{Packer, Unpacker, check_attributes_len},
    },
    model::{
        batch::{Named, Op, Precondition},
        edge::Edge,
        error::Result,
        id::NodeId,
        limits::{self, check_content, check_count},
        node::{Expiry, IndexKey, Node, Patch},
        space::{Element, Method, Metric, Space},
        time::{Seq, Timestamp},
        value::Attributes,
    },
    num,
};

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 28;
/// Frames start at multiples of this.
pub const FRAME_ALIGN: usize = 8;

/// Encodes and decodes the frames of one log file.
///
/// The checksum of a frame's header covers the store id and the salt of the
/// file. So a frame of another store, or of a file that used the same disk
/// blocks before, is not taken for a frame of this file.
///
/// ```
/// use ingrain::{Seq, format::{FileKind, Header, wal::Frames}};
///
/// let header = Header::new(FileKind::Wal, [7; 16], 1, 9);
/// let mut bytes = Vec::new();
/// Frames::new(&header).seal(Seq::new(1), Seq::ZERO, b"payload", &mut bytes);
///
/// let frame = Frames::new(&header).open(&bytes, 0).unwrap();
/// assert_eq!((frame.payload, frame.size), (&b"payload"[..], bytes.len()));
/// let other = Header { salt: 10, ..header }; // a file that had the same disk blocks
/// assert_eq!(Frames::new(&other).open(&bytes, 0), None);
/// ```
#[derive(Debug, Clone)]
pub struct Frames {
    seed: crc32fast::Hasher,
}

/// The header of a frame, decoded.
///
/// ```
/// use ingrain::{Seq, format::{FileKind, Header, wal::{FRAME_HEADER_BYTES, Frames}}};
///
/// # let header = Header::new(FileKind::Wal, [7; 16], 1, 9);
/// let frames = Frames::new(&header); // of the header of a log file
/// let mut bytes = Vec::new();
/// frames.seal(Seq::new(8), Seq::new(7), b"payload", &mut bytes);
/// bytes.truncate(FRAME_HEADER_BYTES + 3); // a crash: the rest is not on the disk
///
/// assert_eq!(frames.open(&bytes, 0), None);
/// let torn = frames.header(&bytes, 0).unwrap();
/// assert_eq!((torn.seq, torn.len), (Seq::new(8), 7));
/// assert_eq!(torn.durable, Seq::new(7)); // commit 7 was durable by then
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Sequence number of the batch.
    pub seq: Seq,
    /// A commit that was durable when this frame was written.
    pub durable: Seq,
    /// Length of the payload in bytes.
    pub len: usize,
    crc: u32,
}

/// A frame of a log file: one committed batch, borrowed from the bytes of the
/// file.
///
/// ```
/// use ingrain::{format::{HEADER_BYTES, wal::{File, FRAME_ALIGN}}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let seq = engine.write(Batch::new().put(Node::new(NodeId::new(), "event")))?;
/// let bytes = std::fs::read(store.join("wal/00000000000000000001.wal"))?;
/// let file = File::decode(&bytes)?;
/// let (mut last, mut end) = (Seq::ZERO, HEADER_BYTES);
/// for (offset, frame) in file.frames() {
///     assert_eq!((offset, offset % FRAME_ALIGN), (end, 0)); // one after the other
///     (last, end) = (frame.seq, offset + frame.size);
/// }
/// assert_eq!(last, seq);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Sequence number of the batch.
    pub seq: Seq,
    /// A commit that was durable when this frame was written.
    pub durable: Seq,
    /// The encoded batch.
    pub payload: &'a [u8],
    /// Bytes that the frame takes in the file.
    pub size: usize,
}

impl Frames {
    /// The frames of the file with this header.
    #[must_use]
    pub fn new(header: &Header) -> Self {
        let mut seed = crc32fast::Hasher::new();
        seed.update(&header.store);
        seed.update(&header.salt.to_le_bytes());
        Self { seed }
    }

    /// Bytes of a frame whose payload has `len` bytes, including the padding.
    #[must_use]
    pub const fn size(len: usize) -> usize {
        FRAME_HEADER_BYTES.saturating_add(len).next_multiple_of(FRAME_ALIGN)
    }

    /// Appends a frame to `out`. `durable` is a commit that is known to be
    /// durable.
    pub fn seal(&self, seq: Seq, durable: Seq, payload: &[u8], out: &mut Vec<u8>) {
        let end = out.len().saturating_add(Self::size(payload.len()));
        let padding = Self::size(payload.len())
            .saturating_sub(FRAME_HEADER_BYTES)
            .saturating_sub(payload.len());
        let mut crc = crc32fast::Hasher::new();
        crc.update(payload);
        crc.update([0; FRAME_ALIGN].get(..padding).unwrap_or_default());
        // Batches are limited to `limits::BATCH_BYTES`, far below 4 GiB.
        let len = num::short(payload.len());
        let mut header = Vec::with_capacity(FRAME_HEADER_BYTES);
        header.extend(crc.finalize().to_le_bytes());
        header.extend(seq.get().to_le_bytes());
        header.extend(durable.get().to_le_bytes());
        header.extend(len.to_le_bytes());
        out.reserve(Self::size(payload.len()));
        out.extend(self.header_crc(&header).to_le_bytes());
        out.extend(header);
        out.extend_from_slice(payload);
        out.resize(end, 0);
    }

    /// Decodes the header of the frame at `offset`. `None` if no frame of this
    /// file begins there. The payload may still be torn.
    #[must_use]
    pub fn header(&self, bytes: &[u8], offset: usize) -> Option<FrameHeader> {
        let bytes = bytes.get(offset..)?.first_chunk::<FRAME_HEADER_BYTES>()?;
        let mut fields = Fields { bytes, at: 0 };
        let header_crc = u32::from_le_bytes(fields.take().ok()?);
        let (_, covered) = bytes.split_first_chunk::<4>()?;
        let crc = u32::from_le_bytes(fields.take().ok()?);
        let seq = Seq::new(u64::from_le_bytes(fields.take().ok()?));
        let durable = Seq::new(u64::from_le_bytes(fields.take().ok()?));
        let len = usize::try_from(u32::from_le_bytes(fields.take().ok()?)).ok()?;
        let sound = len > 0 && len <= limits::BATCH_BYTES && durable < seq;
        (sound && header_crc == self.header_crc(covered)).then_some(FrameHeader {
            seq,
            durable,
            len,
            crc,
        })
    }

    /// Decodes the frame at `offset`. `None` if no complete frame of this file
    /// begins there. Reads the payload to check it.
    #[must_use]
    pub fn open<'a>(&self, bytes: &'a [u8], offset: usize) -> Option<Frame<'a>> {
        let FrameHeader { seq, durable, len, crc } = self.header(bytes, offset)?;
        let frame = bytes.get(offset..)?.get(..Self::size(len))?;
        let padded = frame.get(FRAME_HEADER_BYTES..)?;
        let (payload, padding) = padded.split_at_checked(len)?;
        let sound = crc == crc32fast::hash(padded) && padding.iter().all(|byte| *byte == 0);
        sound.then_some(Frame { seq, durable, payload, size: frame.len() })
    }

    fn header_crc(&self, covered: &[u8]) -> u32 {
        let mut crc = self.seed.clone();
        crc.update(covered);
        crc.finalize()
    }
}

/// A log file in memory or in a mapping.
///
/// ```
/// use ingrain::format::{FileKind, Header, wal::{File, Frames}};
/// use ingrain::Seq;
///
/// let header = Header::new(FileKind::Wal, [7; 16], 1, 9);
/// let mut bytes = header.encode().to_vec();
/// Frames::new(&header).seal(Seq::new(1), Seq::ZERO, b"payload", &mut bytes);
///
/// let file = File::decode(&bytes)?;
/// let (offset, frame) = file.frames().next().unwrap();
/// assert_eq!((offset, frame.payload), (64, &b"payload"[..]));
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone)]
pub struct File<'a> {
    /// The header.
    pub header: Header,
    frames: Frames,
    bytes: &'a [u8],
}

impl<'a> File<'a> {
    /// Decodes the header of a file. `bytes` is the whole file.
    ///
    /// # Errors
    /// As [`Header::decode`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Damage> {
        let header = Header::decode(FileKind::Wal, bytes)?;
        Ok(Self { header, frames: Frames::new(&header), bytes })
    }

    /// Iterates over the frames and their offsets, up to the first position
    /// that has no complete frame with the next sequence number. Whether that
    /// is the end of the log, a torn tail or damage depends on what follows in
    /// this file and in others; docs/format.md has the rules of recovery.
    pub fn frames(&self) -> impl Iterator<Item = (usize, Frame<'a>)> {
        let mut at = HEADER_BYTES;
        let mut next = Seq::new(self.header.number);
        std::iter::from_fn(move || {
            let frame = self.frames.open(self.bytes, at).filter(|frame| frame.seq == next)?;
            let offset = at;
            at = at.saturating_add(frame.size);
            next = next.next();
            Some((offset, frame))
        })
    }
}

/// A batch as it is in the log: a time, and operations without preconditions.
///
/// ```
/// use ingrain::{Op, format::wal::{File, decode_batch}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// let id = NodeId::new();
/// engine.write(Batch::new().put(Node::new(id, "note")))?;
/// let bytes = std::fs::read(store.join("wal/00000000000000000001.wal"))?;
/// let (_, frame) = File::decode(&bytes)?.frames().next().unwrap();
/// let logged = decode_batch(frame.payload)?;
/// assert!(matches!(&logged.ops[..], [Op::Put { node, .. }] if node.id == id));
/// // The node was put without a time.
/// assert_eq!(engine.snapshot().get(id)?.unwrap().created(), logged.time);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedBatch {
    /// The time of the batch. It is used wherever an operation needs the
    /// current time.
    pub time: Timestamp,
    /// Its operations, in order.
    pub ops: Vec<Op>,
}

const PUT: u64 = 1;
const PATCH: u64 = 2;
const TOUCH: u64 = 3;
const EXPIRE: u64 = 4;
const DELETE: u64 = 5;
const PRUNE: u64 = 6;
const LINK: u64 = 7;
const UNLINK: u64 = 8;
const CREATE_SPACE: u64 = 9;
const CREATE_INDEX: u64 = 10;
const DROP_SPACE: u64 = 11;
const SET_METHOD: u64 = 12;
/// A put that keeps the expiry of the node.
const PUT_KEEPING: u64 = 13;
const PUT_OR_KEEP: u64 = 14;
const INCREMENT: u64 = 15;
const INCREMENT_WEIGHT: u64 = 16;
const DECLARE_INDEX: u64 = 17;
const DROP_INDEX: u64 = 19;
const BUILD_INDEX: u64 = 20;
const RENAME: u64 = 18;

const KIND: u64 = 1;
const INDEX: u64 = 2;
const SPACE: u64 = 3;

const COSINE: u64 = 1;
const DOT: u64 = 2;
const L2: u64 = 3;
const F32: u64 = 1;

const AUTO: u64 = 0;
const EXACT: u64 = 1;
const PQ4: u64 = 2;
const PQ8: u64 = 3;
const HNSW: u64 = 4;

/// Encodes a batch that has passed its checks as the payload of a frame.
/// Preconditions and requirements are left out.
///
/// # Errors
/// [`Error::Limit`](crate::Error::Limit) when the attributes of one node or
/// edge, or the whole batch, are too large when encoded.
pub fn encode_batch(time: Timestamp, ops: &[Op]) -> Result<Vec<u8>> {
    encode(time, ops, Vec::with_capacity(capacity(ops)), &mut |_| {})
}

/// Encodes into `buffer`, whose old content is dropped. Calls `content` for
/// each operation with the position of its content.
fn encode(
    time: Timestamp,
    ops: &[Op],
    mut buffer: Vec<u8>,
    content: &mut dyn FnMut(ContentAt),
) -> Result<Vec<u8>> {
    buffer.clear();
    let mut packer = Packer::over(buffer);
    let logged = ops.iter().filter(|op| op.is_logged()).count();
    packer.array(logged.saturating_add(1));
    packer.int(time.as_micros());
    for op in ops {
        content(encode_op(&mut packer, op)?);
        check_count("bytes of a batch", packer.len(), limits::BATCH_BYTES)?;
    }
    Ok(packer.finish())
}

/// The payload of a batch, and the memory that keeps its contents.
#[derive(Debug)]
pub(crate) struct Payload {
    bytes: Arc<[u8]>,
    contents: Contents,
}

impl Payload {
    #[inline]
    pub(crate) fn bytes(&self) -> &Arc<[u8]> {
        &self.bytes
    }
}

/// The memory that keeps the contents of a batch, and their positions in it.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The memory that has the contents: the buffer that the payload is in, or,
    /// if the contents are less than half of the payload, a copy of the
    /// contents only.
    kept: Arc<[u8]>,
    /// The positions in `kept`, one for each operation.
    at: Vec<ContentAt>,
    /// Bytes of memory that are kept for this batch. A buffer that several
    /// batches keep counts with the first of them.
    memory: usize,
}

impl Contents {
    /// The memory that has the contents: the buffer that the payload is in, or,
    /// if the contents are less than half of the payload, a copy of the
    /// contents only.
    #[inline]
    pub(crate) fn kept(&self) -> &Arc<[u8]> {
        &self.kept
    }
}

/// The position of the content of an operation; empty if the operation has
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ContentAt {
    offset: u32,
    len: u32,
}

impl ContentAt {
    #[inline]
    pub(crate) fn offset(&self) -> u32 {
        self.offset
    }

    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.len
    }
}

impl ContentAt {
    /// The last `len` bytes before `end`. Batches are limited to 64 MiB, so
    /// positions fit into `u32`.
    fn ending(end: usize, len: usize) -> Self {
        let offset = num::short(end.saturating_sub(len));
        Self { offset, len: num::short(len) }
    }
}

impl Contents {
    /// The contents of a payload of `payload` bytes that is in the buffer
    /// `around`.
    fn new(around: &Arc<[u8]>, payload: usize, mut at: Vec<ContentAt>) -> Self {
        let size = |n: u32| num::index(n);
        let total = at.iter().map(|at| size(at.len)).fold(0, usize::saturating_add);
        let part = |at: &ContentAt| {
            let from = size(at.offset);
            around.get(from..from.saturating_add(size(at.len)))
        };
        // Empty contents need no memory.
        if total == 0 {
            return Self { kept: Arc::default(), at, memory: 0 };
        }
        if total < payload / 2
            && let Some(parts) = at.iter().map(part).collect::<Option<Vec<_>>>()
        {
            let mut end = 0_usize;
            for at in &mut at {
                end = end.saturating_add(size(at.len));
                *at = ContentAt::ending(end, size(at.len));
            }
            return Self { kept: parts.concat().into(), at, memory: total };
        }
        // The whole buffer is kept, and counts with the first batch that keeps
        // it.
        let memory = if Arc::strong_count(around) == 1 { around.len() } else { 0 };
        let kept = Arc::clone(around);
        Self { kept, at, memory }
    }

    /// The position of the content of operation `op`.
    pub(crate) fn of(&self, op: usize) -> ContentAt {
        self.at.get(op).copied().unwrap_or_default()
    }

    /// Bytes of memory that are kept for the contents.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }
}

impl Payload {
    /// A payload without operations.
    #[cfg(all(test, loom))]
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self::new(bytes.into(), Vec::new())
    }

    fn new(bytes: Arc<[u8]>, at: Vec<ContentAt>) -> Self {
        let contents = Contents::new(&bytes, bytes.len(), at);
        Self { bytes, contents }
    }

    /// Encodes a batch, and removes the contents from its operations.
    pub(crate) fn encode(time: Timestamp, ops: &mut [Op]) -> Result<Self> {
        /// The largest buffer that a thread keeps for its next batch.
        const KEPT_BYTES: usize = 1 << 20;
        thread_local! {
            static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        let mut contents = Vec::with_capacity(ops.len());
        // While a thread ends, its buffer no longer exists.
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.reserve(capacity(ops));
        let buffer = encode(time, ops, buffer, &mut |at| contents.push(at))?;
        let bytes = Arc::from(&*buffer);
        if buffer.capacity() <= KEPT_BYTES {
            let _ = BUFFER.try_with(|kept| kept.set(buffer));
        }
        for op in ops {
            match op {
                Op::Put { node, .. } | Op::PutOrKeep { node } => node.content = Vec::new(),
                Op::Patch { patch, .. } => {
                    patch.content = patch.content.as_ref().map(|_| Vec::new());
                }
                _ => {}
            }
        }
        Ok(Self::new(bytes, contents))
    }

    /// Puts back the contents that [`encode`](Self::encode) removed from these
    /// operations.
    pub(crate) fn give_back(&self, ops: &mut [Op]) {
        for (op, at) in ops.iter_mut().zip(&self.contents.at) {
            let size = |n: u32| num::index(n);
            let from = size(at.offset);
            let content = self.contents.kept.get(from..from.saturating_add(size(at.len)));
            let content = content.unwrap_or_default().to_vec();
            match op {
                Op::Put { node, .. } | Op::PutOrKeep { node } => node.content = content,
                Op::Patch { patch, .. } if patch.content.is_some() => patch.content = Some(content),
                _ => {}
            }
        }
    }

    /// Decodes a batch whose payload is the range `part` of `around`. The
    /// operations get empty contents; their positions are returned.
    pub(crate) fn decode(
        around: &Arc<[u8]>,
        part: Range<usize>,
    ) -> Result<(LoggedBatch, Contents), Damage> {
        let from = num::short(part.start);
        let payload = part.len();
        let bytes = around.get(part).unwrap_or_default();
        let mut contents = Vec::new();
        let batch = decode(
            bytes,
            &mut |at| contents.push(ContentAt { offset: at.offset.saturating_add(from), ..at }),
            false,
        )?;
        Ok((batch, Contents::new(around, payload, contents)))
    }

    /// Moves the contents out; the payload keeps its bytes.
    pub(crate) fn take(&mut self) -> Contents {
        let at = std::mem::take(&mut self.contents.at);
        Contents { kept: Arc::clone(&self.contents.kept), at, memory: self.contents.memory }
    }

    /// Bytes of memory that the payload and the contents take.
    pub(crate) fn weight(&self) -> usize {
        let kept =
            if Arc::ptr_eq(&self.bytes, &self.contents.kept) { 0 } else { self.contents.memory };
        let at = size_of_val(&*self.contents.at);
        self.bytes.len().saturating_add(kept).saturating_add(at)
    }
}

/// An estimate of the encoded size, which avoids most reallocations.
fn capacity(ops: &[Op]) -> usize {
    let per_op = |op: &Op| match op {
        Op::Put { node, .. } | Op::PutOrKeep { node } => node
            .vectors
            .values()
            .fold(node.content.len(), |sum, v| sum.saturating_add(v.len().saturating_mul(4))),
        _ => 0,
    };
    ops.iter()
        .map(per_op)
        .fold(16_usize, |sum, n| sum.saturating_add(n).saturating_add(96))
        .min(limits::BATCH_BYTES)
}

fn encode_op(p: &mut Packer, op: &Op) -> Result<ContentAt> {
    let mut content = ContentAt::default();
    match op {
        Op::Put { node, precondition: _ } if node.expires == Expiry::Keep => {
            content = node_fields(p, node, 13, PUT_KEEPING)?;
        }
        Op::Put { node, precondition: _ } => content = node_fields(p, node, 14, PUT)?,
        Op::PutOrKeep { node } => content = node_fields(p, node, 14, PUT_OR_KEEP)?,
        Op::Require { .. } | Op::RequireEdge { .. } => {}
        Op::Increment { id, attribute, by } => {
            p.array(4);
            p.uint(INCREMENT);
            p.bin(id.as_bytes());
            p.str(attribute);
            p.value(by);
        }
        Op::IncrementWeight { source, kind, target, discriminator, by } => {
            p.array(6);
            p.uint(INCREMENT_WEIGHT);
            p.bin(source.as_bytes());
            p.str(kind);
            p.bin(target.as_bytes());
            p.uint(*discriminator);
            p.f64(*by);
        }
        Op::Patch { id, patch } => {
            p.array(9);
            p.uint(PATCH);
            p.bin(id.as_bytes());
            p.option(patch.kind.as_deref(), Packer::str);
            p.option(patch.content.as_deref(), Packer::bin);
            content = ContentAt::ending(p.len(), patch.content.as_ref().map_or(0, Vec::len));
            p.array(patch.attributes.len());
            for (name, value) in &patch.attributes {
                match value {
                    Some(value) => {
                        p.array(2);
                        p.str(name);
                        p.value(value);
                    }
                    None => {
                        p.array(1);
                        p.str(name);
                    }
                }
            }
            p.option(patch.strength, Packer::f32);
            p.option(patch.confidence, Packer::f32);
            p.array(patch.keys.len());
            for (index, keys) in &patch.keys {
                p.array(2);
                p.str(index);
                p.array(keys.len());
                keys.iter().for_each(|key| p.bin(key));
            }
            p.array(patch.vectors.len());
            for (space, vector) in &patch.vectors {
                p.array(2);
                p.str(space);
                p.option(vector.as_deref(), Packer::vector);
            }
        }
        Op::Touch { id, count } => {
            p.array(3);
            p.uint(TOUCH);
            p.bin(id.as_bytes());
            p.uint(*count);
        }
        Op::Expire { id, expires } => {
            p.array(3);
            p.uint(EXPIRE);
            p.bin(id.as_bytes());
            time(p, *expires);
        }
        Op::Delete { id } => {
            p.array(2);
            p.uint(DELETE);
            p.bin(id.as_bytes());
        }
        Op::Prune { id, before } => {
            p.array(3);
            p.uint(PRUNE);
            p.bin(id.as_bytes());
            p.int(before.as_micros());
        }
        Op::Link { edge } => {
            p.array(10);
            p.uint(LINK);
            p.bin(edge.source.as_bytes());
            p.str(&edge.kind);
            p.bin(edge.target.as_bytes());
            p.uint(edge.discriminator);
            p.f64(edge.weight);
            p.f32(edge.confidence);
            checked_attributes(p, &edge.attributes)?;
            time(p, edge.created);
            time(p, edge.updated);
        }
        Op::Unlink { source, kind, target, discriminator } => {
            p.array(5);
            p.uint(UNLINK);
            p.bin(source.as_bytes());
            p.str(kind);
            p.bin(target.as_bytes());
            p.uint(*discriminator);
        }
        Op::CreateSpace { name, space } => {
            p.array(5);
            p.uint(CREATE_SPACE);
            p.str(name);
            p.uint(num::wide(space.dimension));
            p.uint(match space.metric {
                Metric::Cosine => COSINE,
                Metric::Dot => DOT,
                Metric::L2 => L2,
            });
            p.uint(match space.element {
                Element::F32 => F32,
            });
        }
        Op::CreateIndex { name, index: None } => {
            p.array(2);
            p.uint(CREATE_INDEX);
            p.str(name);
        }
        Op::CreateIndex { name, index: Some(index) } => {
            p.array(3);
            p.uint(DECLARE_INDEX);
            p.str(name);
            index::pack(p, index);
        }
        Op::DropIndex { name } => {
            p.array(2);
            p.uint(DROP_INDEX);
            p.str(name);
        }
        Op::BuildIndex { name, nodes } => {
            p.array(3);
            p.uint(BUILD_INDEX);
            p.str(name);
            p.uint(u64::from(*nodes));
        }
        Op::DropSpace { name } => {
            p.array(2);
            p.uint(DROP_SPACE);
            p.str(name);
        }
        Op::SetMethod { name, method } => {
            p.array(3);
            p.uint(SET_METHOD);
            p.str(name);
            p.uint(match method {
                Method::Auto => AUTO,
                Method::Exact => EXACT,
                Method::Pq4 => PQ4,
                Method::Pq8 => PQ8,
                Method::Hnsw => HNSW,
            });
        }
        Op::Rename { what, from, to } => {
            p.array(4);
            p.uint(RENAME);
            p.uint(match what {
                Named::Kind => KIND,
                Named::Index => INDEX,
                Named::Space => SPACE,
            });
            p.str(from);
            p.str(to);
        }
    }
    Ok(content)
}

/// A put, whose tag says whether the expiry is one of the fields.
fn node_fields(p: &mut Packer, node: &Node, fields: usize, tag: u64) -> Result<ContentAt> {
    p.array(fields);
    p.uint(tag);
    p.bin(node.id.as_bytes());
    p.str(&node.kind);
    p.bin(&node.content);
    let content = ContentAt::ending(p.len(), node.content.len());
    checked_attributes(p, &node.attributes)?;
    p.f32(node.strength);
    p.f32(node.confidence);
    time(p, node.created);
    time(p, node.updated);
    time(p, node.accessed);
    p.option(node.access_count, Packer::uint);
    if tag != PUT_KEEPING {
        time(p, node.expires.time());
    }
    p.array(node.keys.len());
    for IndexKey { index, key } in &node.keys {
        p.array(2);
        p.str(index);
        p.bin(key);
    }
    p.array(node.vectors.len());
    for (space, vector) in &node.vectors {
        p.array(2);
        p.str(space);
        p.vector(vector);
    }
    Ok(content)
}

fn time(p: &mut Packer, time: Option<Timestamp>) {
    p.option(time.map(Timestamp::as_micros), Packer::int);
}

fn checked_attributes(p: &mut Packer, attributes: &Attributes) -> Result<()> {
    let before = p.len();
    p.attributes(attributes);
    check_attributes_len(p.len().saturating_sub(before))
}

/// Decodes the payload of a frame.
///
/// # Errors
/// [`Damage`] when the bytes are not what [`encode_batch`] writes, or an
/// operation is invalid.
pub fn decode_batch(payload: &[u8]) -> Result<LoggedBatch, Damage> {
    decode(payload, &mut |_| {}, true)
}

/// Decodes a batch. Its operations get their contents if `keep`, and empty ones
/// otherwise. Calls `content` for each operation with the position of its
/// content.
fn decode(
    payload: &[u8],
    content: &mut dyn FnMut(ContentAt),
    keep: bool,
) -> Result<LoggedBatch, Damage> {
    let mut u = Unpacker::new(payload);
    let len = u.array()?;
    let Some(ops_len) = len.checked_sub(1) else {
        return Err(u.damage("a batch has no time"));
    };
    let time = Timestamp::from_micros(u.int()?);
    // `u.array` has checked the length against the bytes that are left, and an
    // operation takes more than one byte, so the reserved memory is bounded.
    let mut ops = Vec::with_capacity(ops_len.min(1024));
    for _ in 0..ops_len {
        let op = decode_op(&mut u, content, keep)?;
        op.check().map_err(|error| u.damage(error.to_string()))?;
        ops.push(op);
    }
    u.finish()?;
    Ok(LoggedBatch { time, ops })
}

fn decode_op(
    u: &mut Unpacker<'_>,
    content: &mut dyn FnMut(ContentAt),
    keep: bool,
) -> Result<Op, Damage> {
    let mut at = ContentAt::default();
    let mut take = |u: &Unpacker<'_>, bytes: &[u8]| -> Result<Vec<u8>, Damage> {
        check_content(bytes).map_err(|error| u.damage(error.to_string()))?;
        at = ContentAt::ending(u.offset(), bytes.len());
        Ok(if keep { bytes.to_vec() } else { Vec::new() })
    };
    let len = u.array()?;
    let tag = u.uint()?;
    let expected = match tag {
        PUT | PUT_OR_KEEP => 14,
        PUT_KEEPING => 13,
        PATCH => 9,
        TOUCH | EXPIRE | PRUNE | SET_METHOD | DECLARE_INDEX | BUILD_INDEX => 3,
        DELETE | CREATE_INDEX | DROP_SPACE | DROP_INDEX => 2,
        LINK => 10,
        UNLINK | CREATE_SPACE => 5,
        INCREMENT => 4,
        INCREMENT_WEIGHT => 6,
        RENAME => 4,
        _ => return Err(u.damage(format!("an operation has the unknown tag {tag}"))),
    };
    if len != expected {
        return Err(u.damage(format!("operation {tag} has {expected} fields, not {len}")));
    }
    let op = match tag {
        PUT | PUT_KEEPING | PUT_OR_KEEP => {
            let id = node_id(u)?;
            let mut node = Node::new(id, u.str()?);
            let bytes = u.bin()?;
            node.content = take(u, bytes)?;
            node.attributes = u.attributes()?;
            node.strength = u.f32()?;
            node.confidence = u.f32()?;
            node.created = option_time(u)?;
            node.updated = option_time(u)?;
            node.accessed = option_time(u)?;
            node.access_count = u.option(Unpacker::uint)?;
            match tag {
                PUT => node.expires = option_time(u)?.into(),
                // A node that is not there has no expiry to be kept.
                PUT_OR_KEEP => node.expires = option_time(u)?.map_or(Expiry::Keep, Expiry::At),
                _ => {}
            }
            for _ in 0..u.array()? {
                u.array_of(2)?;
                node.keys.push(IndexKey { index: u.str()?.to_owned(), key: u.bin()?.to_vec() });
            }
            for _ in 0..u.array()? {
                u.array_of(2)?;
                let (space, vector) = (u.str()?.to_owned(), u.vector()?);
                u.insert(&mut node.vectors, space, vector)?;
            }
            match tag {
                PUT_OR_KEEP => Op::PutOrKeep { node },
                _ => Op::Put { node, precondition: Precondition::None },
            }
        }
        INCREMENT => {
            Op::Increment { id: node_id(u)?, attribute: u.str()?.to_owned(), by: u.value(1)? }
        }
        INCREMENT_WEIGHT => Op::IncrementWeight {
            source: node_id(u)?,
            kind: u.str()?.to_owned(),
            target: node_id(u)?,
            discriminator: u.uint()?,
            by: u.f64()?,
        },
        PATCH => {
            let id = node_id(u)?;
            let mut patch = Patch {
                kind: u.option(Unpacker::str)?.map(str::to_owned),
                content: match u.option(Unpacker::bin)? {
                    Some(bytes) => Some(take(u, bytes)?),
                    None => None,
                },
                ..Patch::default()
            };
            for _ in 0..u.array()? {
                let change = u.array()?;
                let name = u.str()?.to_owned();
                let value = match change {
                    1 => None,
                    2 => Some(u.value(1)?),
                    n => {
                        return Err(u.damage(format!(
                            "the change of an attribute has {n} fields, not 1 or 2"
                        )));
                    }
                };
                u.insert(&mut patch.attributes, name, value)?;
            }
            patch.strength = u.option(Unpacker::f32)?;
            patch.confidence = u.option(Unpacker::f32)?;
            for _ in 0..u.array()? {
                u.array_of(2)?;
                let index = u.str()?.to_owned();
                let keys = (0..u.array()?)
                    .map(|_| u.bin().map(<[u8]>::to_vec))
                    .collect::<Result<_, Damage>>()?;
                u.insert(&mut patch.keys, index, keys)?;
            }
            for _ in 0..u.array()? {
                u.array_of(2)?;
                let (space, vector) = (u.str()?.to_owned(), u.option(Unpacker::vector)?);
                u.insert(&mut patch.vectors, space, vector)?;
            }
            Op::Patch { id, patch }
        }
        TOUCH => Op::Touch { id: node_id(u)?, count: u.uint()? },
        EXPIRE => Op::Expire { id: node_id(u)?, expires: option_time(u)? },
        DELETE => Op::Delete { id: node_id(u)? },
        PRUNE => Op::Prune { id: node_id(u)?, before: Timestamp::from_micros(u.int()?) },
        LINK => {
            let source = node_id(u)?;
            let kind = u.str()?;
            let mut edge = Edge::new(source, kind, node_id(u)?);
            edge.discriminator = u.uint()?;
            edge.weight = u.f64()?;
            edge.confidence = u.f32()?;
            edge.attributes = u.attributes()?;
            edge.created = option_time(u)?;
            edge.updated = option_time(u)?;
            Op::Link { edge }
        }
        UNLINK => Op::Unlink {
            source: node_id(u)?,
            kind: u.str()?.to_owned(),
            target: node_id(u)?,
            discriminator: u.uint()?,
        },
        CREATE_SPACE => {
            let name = u.str()?.to_owned();
            let dimension = num::size(u.uint()?);
            let metric = match u.uint()? {
                COSINE => Metric::Cosine,
                DOT => Metric::Dot,
                L2 => Metric::L2,
                n => return Err(u.damage(format!("unknown metric {n}"))),
            };
            match u.uint()? {
                F32 => Op::CreateSpace { name, space: Space::new(dimension, metric) },
                n => return Err(u.damage(format!("unknown element type {n}"))),
            }
        }
        CREATE_INDEX => Op::CreateIndex { name: u.str()?.to_owned(), index: None },
        DECLARE_INDEX => {
            let name = u.str()?.to_owned();
            Op::CreateIndex { name, index: Some(index::unpack(u)?) }
        }
        DROP_INDEX => Op::DropIndex { name: u.str()?.to_owned() },
        BUILD_INDEX => {
            let name = u.str()?.to_owned();
            let nodes = u.uint()?;
            let nodes = u32::try_from(nodes)
                .map_err(|_| u.damage(format!("{nodes} nodes of an index to be built")))?;
            Op::BuildIndex { name, nodes }
        }
        DROP_SPACE => Op::DropSpace { name: u.str()?.to_owned() },
        RENAME => {
            let what = match u.uint()? {
                KIND => Named::Kind,
                INDEX => Named::Index,
                SPACE => Named::Space,
                n => return Err(u.damage(format!("a rename of unknown {n}"))),
            };
            Op::Rename { what, from: u.str()?.to_owned(), to: u.str()?.to_owned() }
        }
        // The tag was checked above, so this is SET_METHOD.
        _ => {
            let name = u.str()?.to_owned();
            let method = match u.uint()? {
                AUTO => Method::Auto,
                EXACT => Method::Exact,
                PQ4 => Method::Pq4,
                PQ8 => Method::Pq8,
                HNSW => Method::Hnsw,
                n => return Err(u.damage(format!("unknown method {n}"))),
            };
            Op::SetMethod { name, method }
        }
    };
    content(at);
    Ok(op)
}

fn node_id(u: &mut Unpacker<'_>) -> Result<NodeId, Damage> {
    u.bin_of().map(NodeId::from_bytes)
}

fn option_time(u: &mut Unpacker<'_>) -> Result<Option<Timestamp>, Damage> {
    Ok(u.option(Unpacker::int)?.map(Timestamp::from_micros))
}
