//! Which parts of which tables a checkpoint writes again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::quality::RandomState;

use crate::{
    format::{
        manifest::{HeapFile, Manifest, TableFile},
        tables::IndexEntryRef,
    },
    model::{
        error::{Error, Result},
        id::NodeId,
    },
    num,
    state::{
        base::partitions::{KeyPartition, Partition, RowRange},
        layer::node_table::VersionRef,
    },
};

/// A heap takes no further record once it has this many bytes, so that garbage
/// is collected in pieces.
pub(crate) const HEAP_BYTES: u64 = 1 << 30;

/// What of making files is the user's to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Largest part of a table, about.
    pub(crate) partition_bytes: u64,
    /// Least rows of a vector file that gets codes.
    pub(crate) index_rows: usize,
    /// Least rows of a vector file that gets a graph.
    pub(crate) graph_rows: usize,
    /// Most bytes of memory that building a graph may take, about.
    pub(crate) graph_bytes: u64,
    /// Bytes of a file that are written at once.
    pub(crate) write_chunk_bytes: usize,
}

/// What a checkpoint does beside what it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What was touched, and some garbage.
    Incremental,
    /// Everything.
    Full,
}

/// Bytes referred to, by heap.
pub(crate) type Refs = HashMap<u32, u64, RandomState>;

/// Numbers of heaps.
pub(crate) type Heaps = HashSet<u32, RandomState>;

/// The heaps whose content is to move: of those that are garbage the most, as
/// many as bring garbage down to half of what is live, and no more than what
/// this checkpoint writes anyway, twice over.
pub(crate) fn gc_victims(manifest: &Manifest, extent: Scope, copy_bytes: u64) -> Heaps {
    const LEAST_COPY_BYTES: u64 = 32 << 20;
    let mut heaps: Vec<&HeapFile> = manifest.heaps.iter().collect();
    if extent == Scope::Full {
        // One whole heap is as good as another; many small ones are not.
        let whole =
            |heap: &HeapFile| heap.live.saturating_mul(50) >= heap.file.len.saturating_mul(49);
        let large = |heap: &HeapFile| heap.file.len >= HEAP_BYTES / 2;
        return heaps
            .iter()
            .filter(|heap| !whole(heap) || (heaps.len() > 1 && !large(heap)))
            .map(|heap| heap.file.number)
            .collect();
    }
    let live = heaps.iter().map(|heap| heap.live).fold(0, u64::saturating_add);
    let total = heaps.iter().map(|heap| heap.file.len).fold(0, u64::saturating_add);
    let mut garbage = total.saturating_sub(live);
    let mut copied = 0_u64;
    let most = (copy_bytes * 2).max(LEAST_COPY_BYTES);
    // Live bytes of a thousand, by what the manifest declares.
    heaps.sort_unstable_by_key(|heap| {
        (heap.live.saturating_mul(1000).checked_div(heap.file.len), heap.file.number)
    });
    let mut chosen = Heaps::default();
    for heap in heaps {
        let dead = heap.file.len.saturating_sub(heap.live);
        copied = copied.saturating_add(heap.live);
        if garbage <= live / 2 || dead == 0 || (copied > most && !chosen.is_empty()) {
            break;
        }
        garbage = garbage.saturating_sub(dead);
        chosen.insert(heap.file.number);
    }
    chosen
}

pub(crate) fn partitions_at<P>(partitions: &[Arc<P>], at: usize) -> Result<&P> {
    let partition = partitions.get(at).map(|partition| &**partition);
    partition.ok_or_else(|| Error::internal(format!("a table has no partition {at}")))
}

/// The keys of parts `from..to`: from, up to; the first part begins before all
/// keys, the last ends after all.
pub(crate) fn bounds<P, K>(
    partitions: &[Arc<P>],
    (from, to): Partitions,
    first: impl Fn(&P) -> K,
) -> KeySpan<K> {
    let low = partitions.get(from).filter(|_| from > 0).map(|partition| first(partition));
    (low, partitions.get(to).map(|partition| first(partition)))
}

pub(crate) fn key_bounds(
    partitions: &[Arc<KeyPartition>],
    (from, to): Partitions,
) -> KeySpan<IndexEntryRef<'_>> {
    let low = partitions.get(from).filter(|_| from > 0).and_then(|partition| partition.first());
    (low, partitions.get(to).and_then(|partition| partition.first()))
}

/// From, up to; `None` for no bound.
type KeySpan<K> = (Option<K>, Option<K>);

pub(crate) fn range<K>((from, to): KeySpan<K>) -> (std::ops::Bound<K>, std::ops::Bound<K>) {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    (from.map_or(Unbounded, Included), to.map_or(Unbounded, Excluded))
}

pub(crate) fn within(
    changes: &[(NodeId, VersionRef)],
    from: Option<NodeId>,
    to: Option<NodeId>,
) -> &[(NodeId, VersionRef)] {
    let low = from.map_or(0, |from| changes.partition_point(|(id, _)| *id < from));
    let high = to.map_or(changes.len(), |to| changes.partition_point(|(id, _)| *id < to));
    changes.get(low..high).unwrap_or_default()
}

pub(crate) fn run<P: Partition>(partitions: &[Arc<P>], (from, to): Partitions) -> RowRange<'_, P> {
    RowRange::new(partitions, (from, 0), (to, 0))
}

pub(crate) fn rows_of<P: Partition>(partitions: &[Arc<P>], (from, to): Partitions) -> usize {
    let partitions = partitions.get(from..to).unwrap_or_default();
    partitions.iter().map(|partition| partition.len()).sum()
}

/// Rows of each file, so that none is larger than `target` and all are about
/// of one size.
pub(crate) fn rows_per_file<R>(rows: usize, target: u64) -> usize {
    let most = num::size(target) / size_of::<R>();
    rows.div_ceil(rows.div_ceil(most.max(1)).max(1)).max(1)
}

/// The old parts that no new one is in the place of.
pub(crate) fn left<'a, P>(
    old: &'a [Arc<P>],
    new: &'a [(Partitions, Vec<TableFile>)],
) -> impl Iterator<Item = &'a Arc<P>> {
    old.iter().enumerate().filter_map(move |(at, partition)| {
        let gone = new.iter().any(|((from, to), _)| (*from..*to).contains(&at));
        (!gone).then_some(partition)
    })
}

/// The files of a table, new ones in the place of old ones.
pub(crate) fn replaced(
    old: &[TableFile],
    new: &mut Vec<(Partitions, Vec<TableFile>)>,
) -> Vec<TableFile> {
    let mut files = Vec::new();
    let mut at = 0;
    for ((from, to), new) in new.drain(..) {
        files.extend_from_slice(old.get(at..from).unwrap_or_default());
        files.extend(new);
        at = to;
    }
    files.extend_from_slice(old.get(at..).unwrap_or_default());
    files
}

/// Parts of the old table that follow each other and are written anew together:
/// from, to.
pub(crate) type Partitions = (usize, usize);
