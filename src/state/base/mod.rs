//! What the last checkpoint wrote: mapped tables, each a row of parts in the
//! order of their keys, and the heaps that they refer to.

use crate::state::record::Content;
use crate::state::record::NodeRecord;
use crate::state::record::StoredSecondaryKeys;
pub(crate) mod heap;
pub(crate) mod open;
pub(crate) mod partitions;
pub(crate) mod rebuild_signal;
pub(crate) mod stored;
pub(crate) mod vector_index;
pub(crate) mod vector_rows;
pub(crate) mod vector_stats;
pub(crate) mod vectors;

use crate::state::record::some_attributes;
use std::{path::PathBuf, sync::Arc};

use crate::{
    cpu::prefetch,
    format::{
        header::FileKind,
        heap::{BlobRef, NodeMeta, decode_attributes},
        manifest::Manifest,
        tables::{EdgeKey, EdgeRow, IndexEntryRef, NodeRow},
    },
    model::{
        error::{Error, Result},
        id::NodeId,
        time::Seq,
        value::Attributes,
    },
    num,
    state::base::{
        heap::Heap,
        partitions::{
            EdgePartition, KeyPartition, KindRows, NodePartition, Partition, RowRange, end_of,
            partition_of,
        },
        rebuild_signal::RebuildSignal,
        stored::StoredNode,
        vectors::VectorPartition,
    },
    store::segment::{self, file::Segment},
};

/// Nodes or records that are fetched at once.
pub(crate) const FETCHED: usize = 32;

/// The base of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Base {
    /// The directory of the store.
    path: PathBuf,
    /// What it was opened from.
    pub(super) manifest: Arc<Manifest>,
    /// By number.
    heaps: Vec<Arc<Heap>>,
    pub(super) nodes: Vec<Arc<NodePartition>>,
    out: Vec<Arc<EdgePartition>>,
    in_edges: Vec<Arc<EdgePartition>>,
    keys: Vec<Arc<KeyPartition>>,
    /// By number.
    vectors: Vec<VectorPartition>,
    /// The first number of a heap, and from that on the places of heaps by their
    /// numbers, as far as they are near to each other: a search for each record
    /// is what its branches make slow.
    heap_places: (u32, Vec<u32>),
    /// Bytes of the rows of all tables, but for the vectors'.
    table_bytes: usize,
    rebuild_signal: RebuildSignal,
}

impl Base {
    /// Says whom to tell that something derived is to be built again.
    pub(crate) fn set_rebuild_signal(&mut self, signal: RebuildSignal) {
        self.rebuild_signal = signal;
    }

    /// Bytes of the rows of all tables, but for the vectors'.
    #[inline]
    pub(crate) fn table_bytes(&self) -> usize {
        self.table_bytes
    }

    /// By number.
    #[inline]
    pub(crate) fn heaps(&self) -> &[Arc<Heap>] {
        &self.heaps
    }

    #[inline]
    pub(crate) fn keys(&self) -> &[Arc<KeyPartition>] {
        &self.keys
    }

    #[inline]
    pub(crate) fn in_edges(&self) -> &[Arc<EdgePartition>] {
        &self.in_edges
    }

    #[inline]
    pub(crate) fn out(&self) -> &[Arc<EdgePartition>] {
        &self.out
    }

    /// What it was opened from.
    #[inline]
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    #[inline]
    pub(crate) fn nodes(&self) -> &[Arc<NodePartition>] {
        &self.nodes
    }

    /// By number.
    #[inline]
    pub(crate) fn vectors(&self) -> &[VectorPartition] {
        &self.vectors
    }
}

impl Base {
    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.out.is_empty()
            && self.in_edges.is_empty()
            && self.keys.is_empty()
            && self.vectors.is_empty()
    }

    /// Reads the first block of each heap.
    pub(crate) fn look_into_heaps(&self) -> Result<()> {
        self.heaps.iter().try_for_each(|heap| heap.section().map(drop))
    }

    /// Tells that something that is derived is to be built again.
    pub(crate) fn signal_rebuild(&self) {
        if let Some(tell) = &self.rebuild_signal.0 {
            tell();
        }
    }

    /// Every file of it.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        fn of<P: Partition>(partitions: &[Arc<P>]) -> impl Iterator<Item = &Arc<Segment>> {
            partitions.iter().map(|partition| partition.segment())
        }
        self.heaps
            .iter()
            .map(|heap| &heap.segment)
            .chain(of(&self.nodes))
            .chain(of(&self.out))
            .chain(of(&self.in_edges))
            .chain(of(&self.keys))
            .chain(self.vectors.iter().flat_map(VectorPartition::segments))
    }

    /// The error of something that is in no file.
    pub(crate) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::corrupt(self.path.join(segment::DIR), 0, what)
    }

    #[inline]
    pub(crate) fn heap(&self, number: u32) -> Result<&Arc<Heap>> {
        let (first, places) = &self.heap_places;
        let place = number.checked_sub(*first).and_then(|at| places.get(num::index(at)));
        let known = place.and_then(|place| self.heaps.get(num::index(*place)));
        match known.filter(|heap| heap.number() == number) {
            Some(heap) => Ok(heap),
            None => self.heap_by_search(number),
        }
    }

    #[cold]
    fn heap_by_search(&self, number: u32) -> Result<&Arc<Heap>> {
        let found = self.heaps.binary_search_by_key(&number, |heap| heap.number());
        found.ok().and_then(|at| self.heaps.get(at)).ok_or_else(|| {
            let data = self.path.join(segment::DIR);
            let file = segment::file_path(&data, FileKind::Heap, number);
            Error::corrupt(file, 0, "the heap is referred to and not there")
        })
    }

    /// The node of that name.
    #[inline]
    pub(crate) fn node(&self, id: NodeId) -> Result<Option<StoredNode<'_>>> {
        self.node_row(id)?.map(|row| self.stored(row)).transpose()
    }

    #[inline]
    pub(crate) fn node_row(&self, id: NodeId) -> Result<Option<&NodeRow>> {
        let Some(partition) =
            self.nodes.get(partition_of(&self.nodes, &id, |partition| &partition.first))
        else {
            return Ok(None);
        };
        let row = partition.rows.lower_bound(&id)?;
        if row == partition.rows.len() {
            return Ok(None);
        }
        let row = partition.rows.row(row)?;
        Ok((row.id() == id).then_some(row))
    }

    /// Looks up the rows of nodes, and has the processor fetch their records: the
    /// misses of one overlap those of the next, which they do not when each node
    /// is looked at in its turn. Tells `found` of each id by its place, `None` if
    /// there is damage, which is for a look at that node to find.
    pub(crate) fn prefetch_lookup<'s>(
        &'s self,
        ids: &[NodeId],
        found: &mut dyn FnMut(usize, Option<Option<&'s NodeRow>>),
    ) {
        let guess = |id: &NodeId| {
            let partition =
                self.nodes.get(partition_of(&self.nodes, id, |partition| &partition.first))?;
            Some((&partition.rows, partition.rows.guess(id).ok()?))
        };
        let mut guesses = [None; FETCHED];
        let mut places = [None; FETCHED];
        for (chunk, ids) in ids.chunks(FETCHED).enumerate() {
            guesses.iter_mut().zip(ids).for_each(|(to, id)| *to = guess(id));
            for (rows, at) in guesses.iter().take(ids.len()).flatten() {
                rows.prefetch(*at);
            }
            let first = chunk * FETCHED;
            for (at, (to, id)) in places.iter_mut().zip(ids).enumerate() {
                let row = self.node_row(*id).ok();
                found(first + at, row);
                let place = row.flatten().map(NodeRow::place);
                *to = place.and_then(|place| Some((self.heap(place.heap).ok()?, place)));
            }
            for (heap, at) in places.iter().take(ids.len()).flatten() {
                // The head: contents may be large, and are not what is asked for.
                if let Ok(head) = heap.bytes(at.offset(), at.len.min(64)) {
                    prefetch(head);
                }
            }
        }
    }

    /// The node of a row of this base, whose kind has a name.
    #[inline]
    pub(crate) fn stored<'s>(&'s self, row: &'s NodeRow) -> Result<StoredNode<'s>> {
        if !self.knows_kind(row.kind.get()) {
            return Err(self.node_of_unknown_kind(row));
        }
        let at = row.place();
        let heap = self.heap(at.heap)?;
        let bytes = heap.bytes(at.offset(), at.len)?;
        let meta = NodeMeta::decode(bytes).map_err(|damage| {
            let offset = heap.file_offset(at.offset().saturating_add(damage.offset));
            heap.segment.damaged(offset, format!("record of node {}: {}", row.id(), damage.what))
        })?;
        let content = match meta.external {
            Some(BlobRef { heap, offset, len }) => self.heap(heap)?.bytes(offset, len)?,
            None => meta.content,
        };
        Ok(StoredNode { row, meta, content, heap, at })
    }

    #[inline]
    pub(crate) fn knows_kind(&self, kind: u32) -> bool {
        num::index(kind) < self.manifest.kinds.len()
    }

    #[cold]
    fn node_of_unknown_kind(&self, row: &NodeRow) -> Error {
        let (id, kind) = (row.id(), row.kind.get());
        let what = format!("node {id} is of kind {kind}: there is none");
        let partition = partition_of(&self.nodes, &id, |partition| &partition.first);
        match self.nodes.get(partition).map(|partition| &partition.rows) {
            Some(rows) => {
                rows.segment().damaged(rows.lower_bound(&id).map_or(0, |at| rows.offset(at)), what)
            }
            None => self.damaged(what),
        }
    }

    /// The error of an edge whose kind has no name.
    #[cold]
    pub(crate) fn edge_of_unknown_kind(
        &self,
        partitions: &[Arc<EdgePartition>],
        key: &EdgeKey,
    ) -> Error {
        let what = format!("an edge of kind {}: there is none", key.kind);
        let partition = partition_of(partitions, key, |partition| &partition.first);
        match partitions.get(partition).map(|partition| &partition.rows) {
            Some(rows) => {
                rows.segment().damaged(rows.lower_bound(key).map_or(0, |at| rows.offset(at)), what)
            }
            None => self.damaged(what),
        }
    }

    /// The first row of an edge table that is not less than `key`, as a
    /// position.
    pub(crate) fn edge_bound(
        partitions: &[Arc<EdgePartition>],
        key: &EdgeKey,
    ) -> Result<(usize, usize)> {
        let partition = partition_of(partitions, key, |partition| &partition.first);
        match partitions.get(partition) {
            Some(found) => Ok((partition, found.rows.lower_bound(key)?)),
            None => Ok((0, 0)),
        }
    }

    /// The edge with that key in an edge table.
    pub(crate) fn edge<'s>(
        partitions: &'s [Arc<EdgePartition>],
        key: &EdgeKey,
    ) -> Result<Option<&'s EdgeRow>> {
        let (partition, row) = Self::edge_bound(partitions, key)?;
        let Some(partition) =
            partitions.get(partition).filter(|partition| row < partition.rows.len())
        else {
            return Ok(None);
        };
        let row = partition.rows.row(row)?;
        Ok((row.key() == *key).then_some(row))
    }

    /// The edges of a node in an edge table.
    pub(crate) fn edges_of<'s>(
        partitions: &'s [Arc<EdgePartition>],
        id: NodeId,
    ) -> Result<impl Iterator<Item = Result<EdgeKey>> + use<'s>> {
        let low = Self::edge_bound(partitions, &EdgeKey::first(id, 0))?;
        let run = RowRange::new(partitions, low, end_of(partitions));
        Ok(run
            .map(|row| row.map(EdgeRow::key))
            .take_while(move |key| key.as_ref().map_or(true, |key| key.from == id)))
    }

    /// The attributes of an edge of the out table.
    pub(crate) fn attributes(&self, row: &EdgeRow) -> Result<Attributes> {
        let place = row.attributes();
        if place.len == 0 {
            return Ok(Attributes::new());
        }
        let heap = self.heap(place.heap)?;
        decode_attributes(heap.bytes(place.offset(), place.len)?).map_err(|damage| {
            let offset = heap.file_offset(place.offset().saturating_add(damage.offset));
            heap.segment.damaged(offset, damage.what)
        })
    }

    /// The first entry that is not less than `place`, as a position.
    pub(crate) fn key_bound(&self, place: &IndexEntryRef<'_>) -> Result<(usize, usize)> {
        let before = |partition: &Arc<KeyPartition>| {
            partition.first().is_none_or(|f| f.compare(place).is_le())
        };
        let partition = self.keys.partition_point(before).saturating_sub(1);
        match self.keys.get(partition) {
            Some(found) => Ok((partition, found.entries.lower_bound(place)?)),
            None => Ok((0, 0)),
        }
    }

    /// The vector files of a space, the newest first.
    pub(crate) fn vectors_of(&self, space: u32) -> impl Iterator<Item = &VectorPartition> {
        self.vectors.iter().rev().filter(move |partition| partition.rows.space == space)
    }

    /// The vector of a node in a space that this commit wrote.
    pub(crate) fn vector(&self, space: u32, id: NodeId, seq: Seq) -> Result<Option<&[f32]>> {
        for partition in self.vectors_of(space) {
            if let Some(found) = partition.rows.find(id, seq)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The nodes of a kind, by id, from `from` on.
    pub(crate) fn of_kind(&self, kind: u32, from: NodeId) -> Result<KindRows<'_>> {
        let partition = partition_of(&self.nodes, &from, |partition| &partition.first);
        let mut run =
            KindRows { partitions: &self.nodes, kind, partition, at: 0, end: 0, descending: false };
        if let Some(partition) = self.nodes.get(partition) {
            let (start, end) = partition.kind_range(kind)?;
            run.at = partition.member_lower_bound(start, end, from)?;
            run.end = end;
        }
        Ok(run)
    }

    /// The nodes of a kind, the last first, from `to` down.
    pub(crate) fn of_kind_descending(&self, kind: u32, to: NodeId) -> Result<KindRows<'_>> {
        let mut rows = self.of_kind(kind, to)?;
        rows.descending = true;
        if let Some(partition) = self.nodes.get(rows.partition) {
            let (start, end) = partition.kind_range(kind)?;
            // The row at the bound itself belongs to it.
            let at = partition.member_lower_bound(start, end, to)?;
            rows.at = start;
            rows.end = (at + 1).min(end);
        }
        Ok(rows)
    }

    /// The record that a change to the node starts from. The content stays
    /// where it is, in a heap of this base.
    pub(crate) fn record_of(&self, node: StoredNode<'_>) -> Result<NodeRecord> {
        let place = node.content_place();
        let heap = self.heap(place.heap)?;
        let attributes = some_attributes(node.attributes()?);
        let StoredSecondaryKeys { kind, expires, keys, vectors } = node.secondary_keys();
        let meta = &node.meta;
        Ok(NodeRecord {
            id: node.row.id(),
            kind,
            version: meta.version,
            content: Content::Stored { heap: Arc::clone(heap), place },
            attributes,
            strength: meta.strength,
            confidence: meta.confidence,
            created: meta.created,
            updated: meta.updated,
            accessed: meta.accessed,
            access_count: meta.access_count,
            expires,
            keys,
            vectors,
        })
    }
}
