//! What a checkpoint writes: heaps, and the new partitions of tables.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytemuck::{Pod, bytes_of};

use crate::{
    checkpoint::{
        kinds::KindCounts,
        plan::{HEAP_BYTES, Heaps, Refs},
    },
    format::{
        header::{FileKind, Header},
        heap::{BlobRef, NodeMeta, NodeParts, encode_attributes},
        manifest::{DataFile, TableFile},
        tables::{
            self, EdgeKey, EdgeRow, HeapRef, IndexEntryRef, KindRow, Le32, Le64, Le64s, LeF32,
            LeF64, NodeRow, RefRow, SLOT_BYTES,
        },
    },
    model::{
        error::{Error, Result},
        id::NodeId,
        time::Seq,
    },
    num,
    os::file::Fs,
    state::{
        base::{Base, partitions::encode_edge_key},
        record::{Content, EdgeRecord, NodeRecord},
    },
    store::segment::{self, writer::Writer},
    sync::atomic::{AtomicU64, Ordering},
};

/// Creates the files of a checkpoint.
pub(crate) struct FileSink<'a> {
    pub(super) fs: &'a dyn Fs,
    pub(super) dir: &'a Path,
    pub(super) store: [u8; 16],
    pub(super) next_file: &'a mut u32,
    pub(super) made: &'a mut Vec<PathBuf>,
    pub(super) written: &'a AtomicU64,
    pub(super) write_chunk_bytes: usize,
}

/// Numbers of data files end before the largest, because none could follow it.
const FILES: usize = num::index(u32::MAX);

impl FileSink<'_> {
    pub(crate) fn create(&mut self, kind: FileKind) -> Result<Writer> {
        // Those that are made are mapped in the end.
        segment::check_mappings(self.fs, self.made.len().saturating_add(1))?;
        let number = *self.next_file;
        *self.next_file = number
            .checked_add(1)
            .ok_or_else(|| Error::limit("data files that a store ever had", FILES, FILES))?;
        let salt = self.fs.random().first_chunk().map_or(0, |salt| u64::from_le_bytes(*salt));
        let header = Header::new(kind, self.store, number.into(), salt);
        let path = segment::file_path(self.dir, kind, number);
        self.made.push(path.clone());
        Writer::create(self.fs, path, header, self.write_chunk_bytes)
    }

    pub(crate) fn finish(&self, writer: Writer) -> Result<DataFile> {
        let file = writer.finish()?;
        self.written.fetch_add(file.len, Ordering::Relaxed);
        Ok(file)
    }
}

/// Writes the heaps of a checkpoint, one after the other.
#[derive(Debug, Default)]
pub(crate) struct HeapWriter {
    current: Option<(u32, Writer)>,
    done: Vec<DataFile>,
}

impl HeapWriter {
    pub(crate) fn append(&mut self, sink: &mut FileSink<'_>, bytes: &[u8]) -> Result<HeapRef> {
        if let Some((_, writer)) = self.current.take_if(|(_, w)| w.section_len() >= HEAP_BYTES) {
            self.done.push(sink.finish(writer)?);
        }
        if self.current.is_none() {
            let number = *sink.next_file;
            let mut writer = sink.create(FileKind::Heap)?;
            writer.section(tables::ROWS, 1);
            self.current = Some((number, writer));
        }
        let Some((number, writer)) = &mut self.current else {
            return Err(Error::internal("no heap was begun"));
        };
        let slot = writer.section_len() / SLOT_BYTES;
        let place = HeapRef {
            heap: *number,
            // A heap ends long before 32 GiB, a record before 4 GiB.
            slot: u32::try_from(slot).map_err(|_| Error::internal("a heap of 32 GiB"))?,
            len: u32::try_from(bytes.len()).map_err(|_| Error::internal("a record of 4 GiB"))?,
        };
        writer.write(bytes)?;
        let padding = place.size() - u64::from(place.len);
        writer.write([0; 8].get(..num::size(padding)).unwrap_or_default())?;
        Ok(place)
    }

    pub(crate) fn finish(&mut self, sink: &mut FileSink<'_>) -> Result<Vec<DataFile>> {
        if let Some((_, writer)) = self.current.take() {
            self.done.push(sink.finish(writer)?);
        }
        Ok(std::mem::take(&mut self.done))
    }
}

/// The place of a content that is not in its node's record.
pub(crate) type ExternalBlob = Option<BlobRef>;

/// Encodes the record of a node that is in memory.
pub(crate) fn encode_node(
    record: &NodeRecord,
    old: &Base,
    gc_victims: &Heaps,
    out: &mut Vec<u8>,
) -> Result<ExternalBlob> {
    /// Contents up to this length are not worth a second lookup.
    const INLINE_BYTES: u32 = 64;
    let external = match &record.content {
        Content::Stored { heap, place }
            if place.len > INLINE_BYTES
                && !gc_victims.contains(&place.heap)
                && old.heap(place.heap).is_ok_and(|found| Arc::ptr_eq(found, heap)) =>
        {
            Some(*place)
        }
        _ => None,
    };
    let mut meta = NodeMeta::new(record.version, record.created);
    meta.updated = record.updated;
    meta.accessed = record.accessed;
    meta.access_count = record.access_count;
    meta.expires = record.expires;
    meta.strength = record.strength;
    meta.confidence = record.confidence;
    meta.external = external;
    let keys: Vec<(u32, &[u8])> = record.keys.iter().map(|(n, key)| (*n, &**key)).collect();
    let vectors: Vec<(u32, Seq)> =
        record.vectors.iter().map(|slot| (slot.space, slot.seq)).collect();
    let content = if external.is_some() { &[] } else { record.content.bytes()? };
    out.clear();
    meta.encode(
        &NodeParts { keys: &keys, vectors: &vectors, attributes: record.attributes(), content },
        out,
    );
    Ok(external)
}

/// The row of a node that did not change. Its record is copied if its heap, or
/// that of its content, is collected.
pub(crate) fn carry_node(
    row: &NodeRow,
    old: &Base,
    gc_victims: &Heaps,
    heap: &mut HeapWriter,
    sink: &mut FileSink<'_>,
    buffer: &mut Vec<u8>,
) -> Result<(NodeRow, ExternalBlob)> {
    let place = row.place();
    if !row.external() {
        if !gc_victims.contains(&place.heap) {
            return Ok((*row, None));
        }
        let bytes = old.heap(place.heap)?.bytes(place.offset(), place.len)?;
        let place = heap.append(sink, bytes)?;
        return Ok((NodeRow::new(row.id(), row.kind.get(), place, false), None));
    }
    let node = old.stored(row)?;
    let content = node.content_place();
    if !gc_victims.contains(&place.heap) && !gc_victims.contains(&content.heap) {
        return Ok((*row, Some(content)));
    }
    let external = encode_node(&old.record_of(node)?, old, gc_victims, buffer)?;
    let place = heap.append(sink, buffer)?;
    Ok((NodeRow::new(row.id(), row.kind.get(), place, external.is_some()), external))
}

pub(crate) fn attribute_bytes(edge: &EdgeRecord) -> Vec<u8> {
    if edge.attributes.is_empty() { Vec::new() } else { encode_attributes(&edge.attributes) }
}

pub(crate) fn write_attributes(
    edge: &EdgeRecord,
    heap: &mut HeapWriter,
    sink: &mut FileSink<'_>,
) -> Result<HeapRef> {
    if edge.attributes.is_empty() {
        return Ok(HeapRef { heap: 0, slot: 0, len: 0 });
    }
    heap.append(sink, &attribute_bytes(edge))
}

pub(crate) fn edge_row(edge: &EdgeRecord, key: EdgeKey, attributes: HeapRef) -> EdgeRow {
    let mut row = EdgeRow::new(key, attributes);
    row.confidence = LeF32::new(edge.confidence);
    row.weight = LeF64::new(edge.weight);
    row.created = Le64s::new(edge.created.as_micros());
    row.updated = Le64s::new(edge.updated.as_micros());
    row
}

/// Counts bytes of a heap that are referred to.
pub(crate) fn refer(refs: &mut Refs, heap: u32, bytes: u64) {
    let sum = refs.entry(heap).or_default();
    *sum += bytes;
}

pub(crate) fn write_rows<R: Pod>(writer: &mut Writer, tag: u32, rows: &[R]) -> Result<()> {
    writer.section(tag, size_of::<R>());
    writer.write(bytemuck::cast_slice(rows))
}

/// Writes the heap references of a partition, and adds them to `all`.
pub(crate) fn write_refs(writer: &mut Writer, refs: &mut Refs, all: &mut Refs) -> Result<()> {
    let mut refs: Vec<(u32, u64)> = refs.drain().collect();
    refs.sort_unstable();
    let row = |(heap, bytes): &(u32, u64)| RefRow {
        heap: Le32::new(*heap),
        zero: Le32::new(0),
        bytes: Le64::new(*bytes),
    };
    write_rows(writer, tables::REFS, &refs.iter().map(row).collect::<Vec<_>>())?;
    refs.into_iter().for_each(|(heap, bytes)| refer(all, heap, bytes));
    Ok(())
}

/// The new partitions of a node table.
pub(crate) struct NodeOutput {
    rows_per_file: usize,
    current: Option<Writer>,
    first: NodeId,
    rows: u32,
    members: BTreeMap<u32, Vec<Le32>>,
    kinds: KindCounts,
    refs: Refs,
    files: Vec<TableFile>,
}

impl NodeOutput {
    /// Counts rows by kind in `kinds`.
    pub(crate) fn new(rows_per_file: usize, kinds: KindCounts) -> Self {
        Self {
            rows_per_file,
            current: None,
            first: NodeId::MIN,
            rows: 0,
            members: BTreeMap::new(),
            kinds,
            refs: Refs::default(),
            files: Vec::new(),
        }
    }

    pub(crate) fn put(
        &mut self,
        sink: &mut FileSink<'_>,
        all: &mut Refs,
        row: NodeRow,
        content: ExternalBlob,
    ) -> Result<()> {
        if num::index(self.rows) >= self.rows_per_file {
            self.end(sink, all)?;
        }
        if self.current.is_none() {
            let mut writer = sink.create(FileKind::Nodes)?;
            writer.section(tables::ROWS, size_of::<NodeRow>());
            self.current = Some(writer);
            self.first = row.id();
        }
        if let Some(writer) = &mut self.current {
            writer.write(bytes_of(&row))?;
        }
        self.members.entry(row.kind.get()).or_default().push(Le32::new(self.rows));
        self.rows += 1;
        refer(&mut self.refs, row.place().heap, row.place().size());
        if let Some(place) = content {
            let bytes = u64::from(place.len).next_multiple_of(SLOT_BYTES);
            refer(&mut self.refs, place.heap, bytes);
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, sink: &mut FileSink<'_>, all: &mut Refs) -> Result<()> {
        let Some(mut writer) = self.current.take() else { return Ok(()) };
        let members = std::mem::take(&mut self.members);
        let mut first = 0_u32;
        let mut kinds = Vec::with_capacity(members.len());
        for (kind, rows) in &members {
            kinds.push(KindRow { kind: Le32::new(*kind), first: Le32::new(first) });
            self.kinds.add(*kind, num::wide(rows.len()));
            first += num::short(rows.len());
        }
        write_rows(&mut writer, tables::KINDS, &kinds)?;
        writer.section(tables::MEMBERS, size_of::<Le32>());
        if members.len() > 1 {
            for rows in members.values() {
                writer.write(bytemuck::cast_slice(rows))?;
            }
        }
        write_refs(&mut writer, &mut self.refs, all)?;
        let first = self.first.as_bytes().to_vec();
        self.files.push(TableFile { file: sink.finish(writer)?, first });
        self.rows = 0;
        Ok(())
    }

    /// The files, and the rows by kind.
    pub(crate) fn finish(
        mut self,
        sink: &mut FileSink<'_>,
        all: &mut Refs,
    ) -> Result<(Vec<TableFile>, KindCounts)> {
        self.end(sink, all)?;
        Ok((self.files, self.kinds))
    }
}

/// The new partitions of an edge table.
pub(crate) struct EdgeOutput {
    kind: FileKind,
    rows_per_file: usize,
    current: Option<(EdgeKey, Writer)>,
    rows: usize,
    refs: Refs,
    files: Vec<TableFile>,
}

impl EdgeOutput {
    pub(crate) fn new(kind: FileKind, rows_per_file: usize) -> Self {
        Self {
            kind,
            rows_per_file,
            current: None,
            rows: 0,
            refs: Refs::default(),
            files: Vec::new(),
        }
    }

    pub(crate) fn put(
        &mut self,
        sink: &mut FileSink<'_>,
        all: &mut Refs,
        row: EdgeRow,
    ) -> Result<()> {
        if self.rows >= self.rows_per_file {
            self.end(sink, all)?;
        }
        if self.current.is_none() {
            let mut writer = sink.create(self.kind)?;
            writer.section(tables::ROWS, size_of::<EdgeRow>());
            self.current = Some((row.key(), writer));
        }
        if let Some((_, writer)) = &mut self.current {
            writer.write(bytes_of(&row))?;
        }
        self.rows += 1;
        let place = row.attributes();
        if self.kind == FileKind::Out && place.len > 0 {
            refer(&mut self.refs, place.heap, place.size());
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, sink: &mut FileSink<'_>, all: &mut Refs) -> Result<()> {
        let Some((first, mut writer)) = self.current.take() else { return Ok(()) };
        if self.kind == FileKind::Out {
            write_refs(&mut writer, &mut self.refs, all)?;
        }
        let first = encode_edge_key(&first);
        self.files.push(TableFile { file: sink.finish(writer)?, first });
        self.rows = 0;
        Ok(())
    }

    pub(crate) fn finish(
        mut self,
        sink: &mut FileSink<'_>,
        all: &mut Refs,
    ) -> Result<Vec<TableFile>> {
        self.end(sink, all)?;
        Ok(self.files)
    }
}

/// The new partitions of the key table.
pub(crate) struct KeyOutput {
    bytes_per_file: u64,
    current: Option<Writer>,
    first: Vec<u8>,
    offsets: Vec<Le32>,
    buffer: Vec<u8>,
    files: Vec<TableFile>,
}

impl KeyOutput {
    pub(crate) fn new(bytes_per_file: u64) -> Self {
        Self {
            bytes_per_file,
            current: None,
            first: Vec::new(),
            offsets: Vec::new(),
            buffer: Vec::new(),
            files: Vec::new(),
        }
    }

    pub(crate) fn put(&mut self, sink: &mut FileSink<'_>, place: IndexEntryRef<'_>) -> Result<()> {
        if self.current.as_ref().is_some_and(|w| w.section_len() >= self.bytes_per_file) {
            self.end(sink)?;
        }
        self.buffer.clear();
        place.encode(&mut self.buffer);
        if self.current.is_none() {
            let mut writer = sink.create(FileKind::Keys)?;
            writer.section(tables::ROWS, 1);
            self.current = Some(writer);
            self.first.clone_from(&self.buffer);
        }
        if let Some(writer) = &mut self.current {
            // A partition ends long before 4 GiB.
            let offset = u32::try_from(writer.section_len())
                .map_err(|_| Error::internal("a partition of 4 GiB of keys"))?;
            self.offsets.push(Le32::new(offset));
            writer.write(&self.buffer)?;
        }
        Ok(())
    }

    pub(crate) fn end(&mut self, sink: &mut FileSink<'_>) -> Result<()> {
        let Some(mut writer) = self.current.take() else { return Ok(()) };
        write_rows(&mut writer, tables::OFFSETS, &std::mem::take(&mut self.offsets))?;
        let first = std::mem::take(&mut self.first);
        self.files.push(TableFile { file: sink.finish(writer)?, first });
        Ok(())
    }

    pub(crate) fn finish(mut self, sink: &mut FileSink<'_>) -> Result<Vec<TableFile>> {
        self.end(sink)?;
        Ok(self.files)
    }
}
