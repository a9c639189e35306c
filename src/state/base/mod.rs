//! The base: mapped tables, each a sequence of partitions in key order, and the
//! heaps that they refer to.

use crate::state::record::Content;
use crate::state::record::NodeRecord;
use crate::state::record::StoredSecondaryKeys;
pub(crate) mod heap;
pub(crate) mod key_rows;
pub(crate) mod open;
pub(crate) mod partitions;
pub(crate) mod rebuild_signal;
pub(crate) mod stored;
pub(crate) mod vector_index;
pub(crate) mod vector_rows;
pub(crate) mod vector_stats;
pub(crate) mod vectors;

use crate::state::record::some_attributes;
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

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
        key_rows::KeyRowsCache,
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

/// Nodes or records that are prefetched together.
pub(crate) const FETCHED: usize = 32;

/// The base of a state.
#[derive(Debug, Default)]
pub(crate) struct Base {
    /// The directory of the store.
    path: PathBuf,
    /// The manifest that it was opened from.
    pub(super) manifest: Arc<Manifest>,
    /// Sorted by number.
    heaps: Vec<Arc<Heap>>,
    pub(super) nodes: Vec<Arc<NodePartition>>,
    out: Vec<Arc<EdgePartition>>,
    in_edges: Vec<Arc<EdgePartition>>,
    keys: Vec<Arc<KeyPartition>>,
    /// Sorted by number.
    vectors: Vec<VectorPartition>,
    /// The first number of a heap, and the positions in `heaps` by number minus
    /// that, as far as the numbers are close together. A binary search for each
    /// record is slow because of its branches.
    heap_places: (u32, Vec<u32>),
    /// Bytes of the rows of all tables, without vectors.
    table_bytes: usize,
    rebuild_signal: RebuildSignal,
    key_rows: Arc<KeyRowsCache>,
}

impl Base {
    /// Sets the signal for [`signal_rebuild`](Self::signal_rebuild).
    pub(crate) fn set_rebuild_signal(&mut self, signal: RebuildSignal) {
        self.rebuild_signal = signal;
    }

    /// Bytes of the rows of all tables, without vectors.
    #[inline]
    pub(crate) fn table_bytes(&self) -> usize {
        self.table_bytes
    }

    /// Rows of vector files by entries of indexes.
    pub(crate) fn key_rows(&self) -> &KeyRowsCache {
        &self.key_rows
    }

    /// Sorted by number.
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

    /// The manifest that it was opened from.
    #[inline]
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    #[inline]
    pub(crate) fn nodes(&self) -> &[Arc<NodePartition>] {
        &self.nodes
    }

    /// Sorted by number.
    #[inline]
    pub(crate) fn vectors(&self) -> &[VectorPartition] {
        &self.vectors
    }
}

impl Base {
    /// Reads the first block of each heap.
    pub(crate) fn check_heaps(&self) -> Result<()> {
        self.heaps.iter().try_for_each(|heap| heap.section().map(drop))
    }

    /// Wakes the maintenance thread: there is something to rebuild or to note.
    pub(crate) fn signal_maintenance(&self) {
        if let Some(signal) = &self.rebuild_signal.0 {
            signal();
        }
    }

    /// Its files, except those that could not be opened.
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

    /// The digests of the files of index keys and vectors.
    pub(crate) fn digests(&self) -> HashSet<[u8; 16]> {
        let keys = self.keys.iter().map(|partition| partition.segment());
        let vectors = self.vectors.iter().map(|partition| partition.rows().segment());
        keys.chain(vectors).map(|segment| segment.file().digest).collect()
    }

    /// The error of damage that no single file has.
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
            Error::corrupt(file, 0, "the heap is referred to but missing")
        })
    }

    /// The node with this id.
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

    /// Looks up the rows of nodes and prefetches their records, so that the
    /// cache misses of the nodes overlap. Calls `found` with the position of
    /// each id and its row, or with `None` if there is damage, which a lookup
    /// of that node alone reports.
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
                // Only the head: contents may be large, and are not needed
                // here.
                if let Ok(head) = heap.bytes(at.offset(), at.len.min(64)) {
                    prefetch(head);
                }
            }
        }
    }

    /// The node of a row of this base. Refuses a row of an unknown kind.
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
        self.manifest.kind(kind).is_some()
    }

    #[cold]
    fn node_of_unknown_kind(&self, row: &NodeRow) -> Error {
        let (id, kind) = (row.id(), row.kind.get());
        let what = format!("node {id} is of unknown kind {kind}");
        let partition = partition_of(&self.nodes, &id, |partition| &partition.first);
        match self.nodes.get(partition).map(|partition| &partition.rows) {
            Some(rows) => {
                rows.segment().damaged(rows.lower_bound(&id).map_or(0, |at| rows.offset(at)), what)
            }
            None => self.damaged(what),
        }
    }

    /// The error of an edge of an unknown kind.
    #[cold]
    pub(crate) fn edge_of_unknown_kind(
        &self,
        partitions: &[Arc<EdgePartition>],
        key: &EdgeKey,
    ) -> Error {
        let what = format!("an edge of unknown kind {}", key.kind);
        let partition = partition_of(partitions, key, |partition| &partition.first);
        match partitions.get(partition).map(|partition| &partition.rows) {
            Some(rows) => {
                rows.segment().damaged(rows.lower_bound(key).map_or(0, |at| rows.offset(at)), what)
            }
            None => self.damaged(what),
        }
    }

    /// The position (partition and row) of the first row of an edge table that
    /// is not less than `key`.
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

    /// The edge with this key in an edge table.
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

    /// The keys of the edges of a node in an edge table.
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

    /// The attributes of an edge of the out_edges table.
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

    /// The position (partition and row) of the first entry that is not less
    /// than `place`.
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

    /// The vector files of a space, newest first.
    pub(crate) fn vectors_of(&self, space: u32) -> impl Iterator<Item = &VectorPartition> {
        self.vectors.iter().rev().filter(move |partition| partition.rows.space == space)
    }

    /// The vector of a node in a space, as written by commit `seq`.
    pub(crate) fn vector(&self, space: u32, id: NodeId, seq: Seq) -> Result<Option<&[f32]>> {
        for partition in self.vectors_of(space) {
            if let Some(found) = partition.rows.find(id, seq)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The nodes of a kind, sorted by id, from `from` on.
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

    /// The nodes of a kind in descending order, from `to` down.
    pub(crate) fn of_kind_descending(&self, kind: u32, to: NodeId) -> Result<KindRows<'_>> {
        let mut rows = self.of_kind(kind, to)?;
        rows.descending = true;
        if let Some(partition) = self.nodes.get(rows.partition) {
            let (start, end) = partition.kind_range(kind)?;
            // Includes the row at the bound, whose id may be `to`; if it is
            // not, the caller skips it.
            let at = partition.member_lower_bound(start, end, to)?;
            rows.at = start;
            rows.end = (at + 1).min(end);
        }
        Ok(rows)
    }

    /// How many nodes are of a kind. Reads no rows.
    pub(crate) fn nodes_of_kind(&self, kind: u32) -> Result<u64> {
        self.nodes.iter().try_fold(0_u64, |sum, partition| {
            let (start, end) = partition.kind_range(kind)?;
            Ok(sum.saturating_add(num::wide(end.saturating_sub(start))))
        })
    }

    /// How many nodes and how many edges are of each kind that has any. Reads no
    /// rows, unless the manifest does not have the numbers of both together, as one
    /// of version 2: then it reads the keys of all edges.
    pub(crate) fn rows_of_kinds(&self) -> Result<BTreeMap<u32, (u64, u64)>> {
        let mut of_kinds: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        for of_kind in self.nodes.iter().flat_map(|partition| partition.rows_of_kinds()) {
            let (kind, rows) = of_kind?;
            let (nodes, _) = of_kinds.entry(kind).or_default();
            *nodes = nodes.saturating_add(rows);
        }
        if let Some(both) = self.manifest.rows_by_kind() {
            for (kind, rows) in both {
                let (nodes, edges) = of_kinds.entry(kind).or_default();
                *edges = rows.saturating_sub(*nodes);
            }
        } else {
            for row in RowRange::new(&self.out, (0, 0), end_of(&self.out)) {
                let (_, edges) = of_kinds.entry(row?.key().kind).or_default();
                *edges = edges.saturating_add(1);
            }
        }
        Ok(of_kinds)
    }

    /// How many rows of an edge table have keys from `first` to `last`, by their
    /// positions.
    pub(crate) fn edges_within(
        partitions: &[Arc<EdgePartition>],
        first: &EdgeKey,
        last: &EdgeKey,
    ) -> Result<u64> {
        let (from, start) = Self::edge_bound(partitions, first)?;
        let (to, end) = Self::edge_bound(partitions, last)?;
        let between = partitions.get(from..to).unwrap_or_default().iter();
        let before: usize = between.map(|partition| partition.len()).sum();
        let through = usize::from(Self::edge(partitions, last)?.is_some());
        Ok(num::wide((before + end + through).saturating_sub(start)))
    }

    /// The rows of an edge table with keys from `first` to `last`.
    pub(crate) fn edge_rows<'s>(
        partitions: &'s [Arc<EdgePartition>],
        first: &EdgeKey,
        last: &EdgeKey,
    ) -> Result<RowRange<'s, EdgePartition>> {
        let from = Self::edge_bound(partitions, first)?;
        let (to, end) = Self::edge_bound(partitions, last)?;
        let through = usize::from(Self::edge(partitions, last)?.is_some());
        Ok(RowRange::new(partitions, from, (to, end + through)))
    }

    /// A copy of a node to be changed. The content stays in its heap.
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
