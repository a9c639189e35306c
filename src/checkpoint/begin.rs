//! Begins a checkpoint: decides which partitions of which tables are rewritten.

use std::{collections::VecDeque, sync::Arc};

use im::OrdMap;

use crate::{
    checkpoint::{
        Checkpointer, Work,
        job::{Job, Task},
        kinds::KindRows,
        output::HeapWriter,
        plan::{
            Heaps, MOST_PARTITIONS, Partitions, Refs, Scope, Targets, bounds, gc_victims,
            key_bounds, partitions_at, range, within,
        },
    },
    format::tables::{self, EdgeKey, EdgeRow, IndexEntryRef, NodeRow, RefRow},
    model::{error::Result, id::NodeId},
    num,
    state::{
        base::{
            Base,
            partitions::{EdgePartition, KeyPartition, NodePartition, Partition},
        },
        declared,
        layer::{Layer, change::Change, node_table::VersionRef},
        record::EdgeRecord,
    },
    store::segment::{self, table::Table},
};

/// What decides which partitions a checkpoint rewrites.
struct Touched<'a> {
    layer: &'a Layer,
    /// The changed nodes, ascending.
    changes: &'a [(NodeId, VersionRef)],
    gc_victims: &'a Heaps,
    targets: Targets,
    /// The indexes that the base has and that were dropped.
    dropped: &'a [u32],
    /// Whether all are rewritten.
    all: bool,
}

impl Touched<'_> {
    /// Whether any of these references points into a heap that is collected.
    fn moves(&self, refs: &Table<RefRow>) -> Result<bool> {
        for row in 0..refs.len() {
            if self.gc_victims.contains(&refs.row(row)?.heap.get()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn row_bytes(rows: usize, bytes: usize) -> u64 {
    num::wide(rows * bytes)
}

impl Checkpointer {
    pub(crate) fn begin(&self, work: &Work, scope: Scope) -> Result<Option<Job>> {
        if scope == Scope::Incremental {
            segment::check_mappings_for_checkpoint(&*self.fs)?;
        }
        let (frozen, old) = match self.reconciler.freeze()? {
            Some(taken) => taken,
            None if scope == Scope::Full => {
                let state = self.reconciler.state();
                (Arc::new(state.empty_frozen()), Arc::clone(state.base()))
            }
            None => return Ok(None),
        };
        let layer = frozen.layer();
        let mut next = work.manifest.next();
        next.generation = work.generation.saturating_add(1);
        next.checkpoint = frozen.seq();
        next.durable = next.durable.max(frozen.seq());
        let indexes = frozen.indexes().numbered();
        let indexes = indexes.map(|(number, index)| (number, index.name.to_string())).collect();
        next.set_indexes(indexes, declared(frozen.indexes()), frozen.indexes().next());
        next.set_spaces(frozen.spaces().to_vec(), frozen.next_space());
        next.counts = frozen.counts();
        let mut changes: Vec<(NodeId, VersionRef)> = layer.nodes().changes(frozen.seq()).collect();
        changes.sort_unstable();
        let copy_bytes = num::wide(layer.bytes());
        let gc_victims = gc_victims(old.manifest(), scope, copy_bytes);
        let all = scope == Scope::Full;
        let mut tasks = VecDeque::new();

        let targets = Targets::new(self.limits.partition_bytes, &old, layer, changes.len());
        let dropped = old.manifest().numbered_indexes().map(|(number, _)| number);
        let dropped: Vec<u32> =
            dropped.filter(|number| frozen.indexes().is_dropped(*number)).collect();
        let touched = Touched {
            layer,
            changes: &changes,
            gc_victims: &gc_victims,
            targets,
            dropped: &dropped,
            all,
        };
        tasks.extend(self.node_groups(&old, &touched)?.into_iter().map(Task::Nodes));
        let groups = self.edge_groups(old.out(), layer.out(), targets.out, &touched)?;
        tasks.extend(groups.into_iter().map(Task::Out));
        let groups =
            self.edge_groups(old.in_edges(), layer.in_edges(), targets.in_edges, &touched)?;
        tasks.extend(groups.into_iter().map(Task::In));
        tasks.extend(self.key_groups(&old, &touched)?.into_iter().map(Task::Keys));
        tasks.extend(frozen.spaces().iter().map(|(space, _)| Task::Vectors(*space)));
        tasks.push_back(Task::Finish);
        Ok(Some(Job {
            frozen,
            old,
            scope,
            next,
            tasks,
            changes,
            targets,
            gc_victims,
            heap: HeapWriter::default(),
            made: Vec::new(),
            nodes: Vec::new(),
            out: Vec::new(),
            in_edges: Vec::new(),
            keys: Vec::new(),
            vectors: Vec::new(),
            build: None,
            refs: Refs::default(),
            kinds: KindRows::default(),
        }))
    }

    fn node_groups(&self, old: &Base, by: &Touched<'_>) -> Result<Vec<Partitions>> {
        let of = |at: usize, partitions: &[Arc<NodePartition>]| {
            let (from, to) = bounds(partitions, (at, at + 1), |partition| partition.first());
            within(by.changes, from, to)
        };
        let touched = |at: usize, partitions: &[Arc<NodePartition>]| -> Result<bool> {
            Ok(by.all
                || !of(at, partitions).is_empty()
                || by.moves(partitions_at(partitions, at)?.refs())?)
        };
        let gone = |at: usize| {
            let changes = of(at, old.nodes()).iter();
            let gone = changes.filter(|(_, version)| by.layer.nodes().record(*version).is_none());
            row_bytes(gone.count(), size_of::<NodeRow>())
        };
        group(old.nodes(), by.targets.nodes, by.changes.is_empty(), touched, gone)
    }

    /// For out_edges or in_edges, with the changes of that table.
    fn edge_groups(
        &self,
        partitions: &[Arc<EdgePartition>],
        changes: &OrdMap<EdgeKey, Change<Arc<EdgeRecord>>>,
        target: u64,
        by: &Touched<'_>,
    ) -> Result<Vec<Partitions>> {
        let of = |at: usize| {
            let within = bounds(partitions, (at, at + 1), |partition| partition.first());
            changes.range(range(within))
        };
        let touched = |at: usize, partitions: &[Arc<EdgePartition>]| -> Result<bool> {
            let moves = match partitions_at(partitions, at)?.refs() {
                Some(refs) => by.moves(refs)?,
                None => false,
            };
            Ok(by.all || moves || of(at).next().is_some())
        };
        let gone = |at: usize| {
            let gone = of(at).filter(|(_, change)| !change.is_there());
            row_bytes(gone.count(), size_of::<EdgeRow>())
        };
        group(partitions, target, changes.is_empty(), touched, gone)
    }

    fn key_groups(&self, old: &Base, by: &Touched<'_>) -> Result<Vec<Partitions>> {
        let keys = by.layer.keys();
        let of = |at: usize, partitions: &[Arc<KeyPartition>]| {
            let within = key_bounds(partitions, (at, at + 1));
            keys.range::<_, IndexEntryRef<'_>>(range(within))
        };
        let touched = |at: usize, partitions: &[Arc<KeyPartition>]| -> Result<bool> {
            let first = |at: usize| partitions.get(at)?.first().map(|entry| entry.index);
            let (from, to) = (first(at).unwrap_or(0), first(at + 1).unwrap_or(u32::MAX));
            Ok(by.all
                || of(at, partitions).next().is_some()
                || by.dropped.iter().any(|number| (from..=to).contains(number)))
        };
        let gone = |at: usize| {
            let gone = of(at, old.keys()).filter(|(_, change)| !change.is_there());
            let bytes = gone.map(|(entry, _)| entry.key.len() + tables::KEY_HEAD_BYTES);
            row_bytes(bytes.sum(), 1)
        };
        group(old.keys(), by.targets.keys, keys.is_empty(), touched, gone)
    }
}

/// Groups the partitions of a table that are to be rewritten: each that is
/// touched, with neighbours that are small enough to be merged with it.
/// `gone` returns how many bytes of a partition's rows are deleted.
fn group<P: Partition>(
    partitions: &[Arc<P>],
    target: u64,
    no_changes: bool,
    touched: impl Fn(usize, &[Arc<P>]) -> Result<bool>,
    gone: impl Fn(usize) -> u64,
) -> Result<Vec<Partitions>> {
    let small = |bytes: u64| bytes < target / 4;
    let sizes = partitions.iter().enumerate();
    let sizes: Vec<u64> =
        sizes.map(|(at, partition)| partition.bytes().saturating_sub(gone(at))).collect();
    let size = |at: usize| sizes.get(at).copied().unwrap_or(u64::MAX);
    let fits = |bytes: u64, more: u64| {
        (small(bytes) || small(more)) && bytes.saturating_add(more) <= target
    };
    // What nobody touches stays as small as it was when the table was small. Too
    // many of them are merged all the same.
    let crowded = partitions.len() > 2 * MOST_PARTITIONS;
    let merges = |at: usize| crowded && at + 1 < partitions.len() && fits(size(at), size(at + 1));
    let mut groups: Vec<Partitions> = Vec::new();
    if partitions.is_empty() && !no_changes {
        groups.push((0, 0));
    }
    let mut at = 0;
    while at < partitions.len() {
        if !merges(at) && !touched(at, partitions)? {
            at += 1;
            continue;
        }
        let (mut from, mut to, mut bytes) = (at, at + 1, size(at));
        let taken = groups.last().map_or(0, |(_, to)| *to);
        if let Some(before) = from.checked_sub(1).filter(|before| *before >= taken)
            && fits(bytes, size(before))
        {
            bytes = bytes.saturating_add(size(before));
            from = before;
        }
        while to < partitions.len() && fits(bytes, size(to)) {
            bytes = bytes.saturating_add(size(to));
            to += 1;
        }
        groups.push((from, to));
        at = to;
    }
    Ok(groups)
}
