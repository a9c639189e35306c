//! Which partitions of which tables a checkpoint rewrites.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use foldhash::quality::RandomState;

use crate::{
    format::{
        manifest::{HeapFile, Manifest, TableFile},
        tables::{self, EdgeRow, IndexEntryRef, NodeRow},
    },
    model::{
        error::{Error, Result},
        id::NodeId,
    },
    num,
    state::{
        base::{
            Base,
            partitions::{KeyPartition, Partition, RowRange, total_bytes},
        },
        layer::{Layer, node_table::VersionRef},
    },
};

/// A heap takes no further record once it has this many bytes, so that garbage
/// is collected heap by heap.
pub(crate) const HEAP_BYTES: u64 = 1 << 30;

/// The user's options for writing files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Largest partition of a table, about.
    pub(crate) partition_bytes: u64,
    /// Least rows of a vector file that gets codes.
    pub(crate) index_rows: usize,
    /// Least rows of a vector file that gets a graph.
    pub(crate) graph_rows: usize,
    /// Most bytes of memory that building a graph may take, about.
    pub(crate) graph_bytes: u64,
    /// Most threads that compute codes.
    pub(crate) threads: usize,
    /// Bytes of a file that are written at once.
    pub(crate) write_chunk_bytes: usize,
}

/// A table is divided into about this many partitions at most: if
/// [`Limits::partition_bytes`] would give more, partitions are larger. Each is a
/// mapped file, and what a process may map is bounded.
pub(crate) const MOST_PARTITIONS: usize = 1_024;

/// The size at which a partition of each table is split.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) nodes: u64,
    pub(crate) out: u64,
    pub(crate) in_edges: u64,
    pub(crate) keys: u64,
}

impl Targets {
    /// Those of a checkpoint that writes a layer, with this number of changed
    /// nodes, over a base.
    pub(crate) fn new(partition_bytes: u64, old: &Base, layer: &Layer, nodes: usize) -> Self {
        /// Offsets in a partition have 32 bits.
        const MOST_BYTES: u64 = 1 << 30;
        let of = |bytes: u64, new: usize| {
            let bytes = bytes.saturating_add(num::wide(new));
            partition_bytes.max((bytes / num::wide(MOST_PARTITIONS)).min(MOST_BYTES))
        };
        let keys = layer.keys().keys().map(|entry| entry.key.len() + tables::KEY_HEAD_BYTES);
        let (out, in_edges) = (layer.out().len(), layer.in_edges().len());
        Self {
            nodes: of(total_bytes(old.nodes()), nodes.saturating_mul(size_of::<NodeRow>())),
            out: of(total_bytes(old.out()), out.saturating_mul(size_of::<EdgeRow>())),
            in_edges: of(
                total_bytes(old.in_edges()),
                in_edges.saturating_mul(size_of::<EdgeRow>()),
            ),
            keys: of(total_bytes(old.keys()), keys.sum()),
        }
    }
}

/// How much a checkpoint rewrites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What was touched, and heaps with much garbage.
    Incremental,
    /// Everything.
    Full,
}

/// Bytes referred to, by heap.
pub(crate) type Refs = HashMap<u32, u64, RandomState>;

/// Numbers of heaps.
pub(crate) type Heaps = HashSet<u32, RandomState>;

/// The heaps to collect: those with the largest share of garbage, as many as
/// reduce garbage to half of the live bytes. Copying them takes at most twice
/// `copy_bytes`, the bytes of the layer, or 32 MiB if that is more; the first
/// heap is taken whatever its size.
pub(crate) fn gc_victims(manifest: &Manifest, scope: Scope, copy_bytes: u64) -> Heaps {
    const LEAST_COPY_BYTES: u64 = 32 << 20;
    let mut heaps: Vec<&HeapFile> = manifest.heaps.iter().collect();
    if scope == Scope::Full {
        // Heaps with hardly any garbage stay, unless they are small and several.
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
    // By live bytes in thousandths, as the manifest declares them.
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

/// The span of keys of the partitions `from..to`. The first partition of a table
/// has no lower bound, the last no upper bound.
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

/// Inclusive lower bound and exclusive upper bound; `None` for no bound.
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

pub(crate) fn row_range<P: Partition>(
    partitions: &[Arc<P>],
    (from, to): Partitions,
) -> RowRange<'_, P> {
    RowRange::new(partitions, (from, 0), (to, 0))
}

pub(crate) fn rows_of<P: Partition>(partitions: &[Arc<P>], (from, to): Partitions) -> usize {
    let partitions = partitions.get(from..to).unwrap_or_default();
    partitions.iter().map(|partition| partition.len()).sum()
}

/// Rows of each file, so that none has more than `target` bytes and all have
/// about the same size.
pub(crate) fn rows_per_file<R>(rows: usize, target: u64) -> usize {
    let most = num::size(target) / size_of::<R>();
    rows.div_ceil(rows.div_ceil(most.max(1)).max(1)).max(1)
}

/// The old partitions that no new ones replace.
pub(crate) fn unreplaced<'a, P>(
    old: &'a [Arc<P>],
    new: &'a [(Partitions, Vec<TableFile>)],
) -> impl Iterator<Item = &'a Arc<P>> {
    old.iter().enumerate().filter_map(move |(at, partition)| {
        let gone = new.iter().any(|((from, to), _)| (*from..*to).contains(&at));
        (!gone).then_some(partition)
    })
}

/// The files of a table after new ones have replaced old ones.
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

/// Adjacent partitions of the old table that are rewritten together: the first,
/// and the one after the last.
pub(crate) type Partitions = (usize, usize);
