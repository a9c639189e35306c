//! Partitions of tables: the rows of a key range, in one file.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::{
    format::tables::{EdgeKey, EdgeRow, IndexEntryRef, KindRow, Le32, NodeRow, RefRow},
    model::{error::Result, id::NodeId},
    num,
    store::segment::{file::Segment, keys::KeyTable, table::Table},
};

/// A partition of a table.
pub(crate) trait Partition {
    /// What each row is read as.
    type Entry<'a>
    where
        Self: 'a;

    fn len(&self) -> usize;

    fn entry(&self, row: usize) -> Result<Self::Entry<'_>>;

    fn segment(&self) -> &Arc<Segment>;

    /// Total bytes of its rows.
    fn bytes(&self) -> u64;
}

/// Nodes of a range of ids.
#[derive(Debug)]
pub(crate) struct NodePartition {
    pub(super) first: NodeId,
    pub(super) rows: Table<NodeRow>,
    pub(super) kinds: Table<KindRow>,
    pub(super) members: Table<Le32>,
    pub(super) refs: Table<RefRow>,
}

impl NodePartition {
    #[inline]
    pub(crate) fn members(&self) -> &Table<Le32> {
        &self.members
    }

    #[inline]
    pub(crate) fn kinds(&self) -> &Table<KindRow> {
        &self.kinds
    }

    #[inline]
    pub(crate) fn rows(&self) -> &Table<NodeRow> {
        &self.rows
    }

    #[inline]
    pub(crate) fn refs(&self) -> &Table<RefRow> {
        &self.refs
    }

    #[inline]
    pub(crate) fn first(&self) -> NodeId {
        self.first
    }
}

/// Edges of a range of keys.
#[derive(Debug)]
pub(crate) struct EdgePartition {
    pub(super) first: EdgeKey,
    pub(super) rows: Table<EdgeRow>,
    /// `None` in the in_edges table.
    pub(super) refs: Option<Table<RefRow>>,
}

impl EdgePartition {
    #[inline]
    pub(crate) fn rows(&self) -> &Table<EdgeRow> {
        &self.rows
    }

    /// `None` in the in_edges table.
    #[inline]
    pub(crate) fn refs(&self) -> Option<&Table<RefRow>> {
        self.refs.as_ref()
    }

    #[inline]
    pub(crate) fn first(&self) -> EdgeKey {
        self.first
    }
}

/// Index entries of a key range.
#[derive(Debug)]
pub(crate) struct KeyPartition {
    pub(super) first: Vec<u8>,
    pub(super) entries: KeyTable,
    /// Entries that were listed to make masks.
    listed: AtomicUsize,
}

impl KeyPartition {
    pub(super) fn new(first: Vec<u8>, entries: KeyTable) -> Self {
        Self { first, entries, listed: AtomicUsize::new(0) }
    }

    /// Notes that so many entries are to be listed. Returns how many were, with these.
    pub(crate) fn note_listed(&self, entries: usize) -> usize {
        // A figure that nothing depends on but when work is done once for all.
        self.listed.fetch_add(entries, Relaxed).saturating_add(entries)
    }

    #[inline]
    pub(crate) fn entries(&self) -> &KeyTable {
        &self.entries
    }
}

impl Partition for NodePartition {
    type Entry<'a> = &'a NodeRow;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn entry(&self, row: usize) -> Result<&NodeRow> {
        self.rows.row(row)
    }

    fn segment(&self) -> &Arc<Segment> {
        self.rows.segment()
    }

    fn bytes(&self) -> u64 {
        self.rows.bytes()
    }
}

impl Partition for EdgePartition {
    type Entry<'a> = &'a EdgeRow;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn entry(&self, row: usize) -> Result<&EdgeRow> {
        self.rows.row(row)
    }

    fn segment(&self) -> &Arc<Segment> {
        self.rows.segment()
    }

    fn bytes(&self) -> u64 {
        self.rows.bytes()
    }
}

impl Partition for KeyPartition {
    type Entry<'a> = IndexEntryRef<'a>;

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, row: usize) -> Result<IndexEntryRef<'_>> {
        self.entries.entry(row)
    }

    fn segment(&self) -> &Arc<Segment> {
        self.entries.segment()
    }

    fn bytes(&self) -> u64 {
        self.entries.bytes()
    }
}

/// Total bytes of the rows of all partitions.
pub(crate) fn total_bytes<P: Partition>(partitions: &[Arc<P>]) -> u64 {
    partitions.iter().map(|partition| partition.bytes()).sum()
}

impl NodePartition {
    /// The rows of a kind, as a range of positions in the list of members.
    pub(crate) fn kind_range(&self, kind: u32) -> Result<(usize, usize)> {
        let (mut low, mut high) = (0, self.kinds.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.kinds.row(middle)?.kind.get() < kind {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == self.kinds.len() || self.kinds.row(low)?.kind.get() != kind {
            return Ok((0, 0));
        }
        let place = |row: &KindRow| num::index(row.first.get());
        let start = place(self.kinds.row(low)?);
        let next = low + 1;
        let end =
            if next < self.kinds.len() { place(self.kinds.row(next)?) } else { self.rows.len() };
        if start > end || end > self.rows.len() {
            let at = self.kinds.offset(low);
            return Err(self.rows.segment().damaged(at, "the members of a kind are out of place"));
        }
        Ok((start, end))
    }

    /// The kinds of its nodes, each with how many of them have it.
    pub(crate) fn rows_of_kinds(&self) -> impl Iterator<Item = Result<(u32, u64)>> {
        (0..self.kinds.len()).map(|at| {
            let row = self.kinds.row(at)?;
            let end = match at + 1 {
                next if next < self.kinds.len() => num::index(self.kinds.row(next)?.first.get()),
                _ => self.rows.len(),
            };
            let rows = end.saturating_sub(num::index(row.first.get()));
            Ok((row.kind.get(), num::wide(rows)))
        })
    }

    /// The row at a position in the list of members. Without a list, all rows
    /// are of one kind and the position is the row.
    pub(crate) fn member(&self, at: usize) -> Result<usize> {
        if self.members.len() == 0 {
            return Ok(at);
        }
        Ok(num::index(self.members.row(at)?.get()))
    }

    /// The first member in `start..end` whose id is not less than `id`.
    pub(crate) fn member_lower_bound(&self, start: usize, end: usize, id: NodeId) -> Result<usize> {
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = low.midpoint(high);
            if self.rows.row(self.member(middle)?)?.id() < id {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

impl KeyPartition {
    pub(crate) fn first(&self) -> Option<IndexEntryRef<'_>> {
        IndexEntryRef::decode(&self.first).ok()
    }
}

/// The number of partitions that begin at `key` or before, minus one: the only
/// partition that may have the key.
pub(crate) fn partition_of<P, K: Ord + ?Sized>(
    partitions: &[Arc<P>],
    key: &K,
    first: impl Fn(&P) -> &K,
) -> usize {
    partitions.partition_point(|partition| first(partition) <= key).saturating_sub(1)
}

/// The rows between two positions, in either direction.
#[derive(Debug)]
pub(crate) struct RowRange<'s, P> {
    partitions: &'s [Arc<P>],
    /// Partition and row of the first.
    low: (usize, usize),
    /// Partition and row after the last.
    high: (usize, usize),
    descending: bool,
}

impl<'s, P: Partition> Iterator for RowRange<'s, P> {
    type Item = Result<P::Entry<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.descending {
            return self.next_back();
        }
        loop {
            if self.low >= self.high {
                return None;
            }
            let (partition, row) = self.low;
            let found = self.partitions.get(partition)?;
            if row < found.len() {
                self.low.1 = row + 1;
                return Some(found.entry(row));
            }
            self.low = (partition + 1, 0);
        }
    }
}

impl<'s, P: Partition> RowRange<'s, P> {
    /// The rows from `low` to before `high`, each a partition and a row of it,
    /// ascending.
    pub(crate) fn new(partitions: &'s [Arc<P>], low: (usize, usize), high: (usize, usize)) -> Self {
        Self::directed(partitions, low, high, false)
    }

    /// As [`new`](Self::new), in descending order if asked.
    pub(crate) fn directed(
        partitions: &'s [Arc<P>],
        low: (usize, usize),
        high: (usize, usize),
        descending: bool,
    ) -> Self {
        Self { partitions, low, high, descending }
    }

    fn next_back(&mut self) -> Option<Result<P::Entry<'s>>> {
        loop {
            if self.low >= self.high {
                return None;
            }
            let (partition, row) = self.high;
            if let Some(before) = row.checked_sub(1) {
                self.high.1 = before;
                return Some(self.partitions.get(partition)?.entry(before));
            }
            let partition = partition.checked_sub(1)?;
            self.high = (partition, self.partitions.get(partition)?.len());
        }
    }
}

/// The nodes of a kind, in the order of ids.
#[derive(Debug)]
pub(crate) struct KindRows<'s> {
    pub(super) partitions: &'s [Arc<NodePartition>],
    pub(super) kind: u32,
    pub(super) partition: usize,
    pub(super) at: usize,
    pub(super) end: usize,
    pub(super) descending: bool,
}

impl<'s> Iterator for KindRows<'s> {
    type Item = Result<&'s NodeRow>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let partition = self.partitions.get(self.partition)?;
            if self.at < self.end {
                let at = if self.descending {
                    self.end -= 1;
                    self.end
                } else {
                    let at = self.at;
                    self.at += 1;
                    at
                };
                return Some(partition.member(at).and_then(|row| partition.rows.row(row)));
            }
            self.partition =
                if self.descending { self.partition.checked_sub(1)? } else { self.partition + 1 };
            let range = self.partitions.get(self.partition)?.kind_range(self.kind);
            match range {
                Ok((start, end)) => (self.at, self.end) = (start, end),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The position after the last row.
pub(crate) fn end_of<P: Partition>(partitions: &[Arc<P>]) -> (usize, usize) {
    (partitions.len(), 0)
}

/// The bytes of an [`EdgeKey`] in a manifest.
pub(crate) fn encode_edge_key(key: &EdgeKey) -> Vec<u8> {
    let mut out = key.from.as_bytes().to_vec();
    out.extend(key.to.as_bytes());
    out.extend(key.discriminator.to_le_bytes());
    out.extend(key.kind.to_le_bytes());
    out
}

pub(crate) fn decode_edge_key(bytes: &[u8]) -> Option<EdgeKey> {
    let (from, rest) = bytes.split_first_chunk()?;
    let (to, rest) = rest.split_first_chunk()?;
    let (discriminator, rest) = rest.split_first_chunk()?;
    Some(EdgeKey {
        from: NodeId::from_bytes(*from),
        kind: u32::from_le_bytes(rest.try_into().ok()?),
        to: NodeId::from_bytes(*to),
        discriminator: u64::from_le_bytes(*discriminator),
    })
}
