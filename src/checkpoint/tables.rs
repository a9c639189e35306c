//! Begins a checkpoint and writes the new parts of its tables.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    checkpoint::{
        Checkpointer, Work,
        index::{Build, Derived, Step},
        job::{Job, Task},
        merge::{Merged, merge},
        output::{
            EdgeOutput, HeapWriter, KeyOutput, NodeOutput, attribute_bytes, carry_node, edge_row,
            encode_node, write_attributes,
        },
        plan::{
            Partitions, Refs, Scope, bounds, gc_victims, key_bounds, partitions_at, range, rows_of,
            rows_per_file, run, within,
        },
        vectors,
    },
    cpu::prefetch,
    format::{
        header::FileKind,
        tables::{self, EdgeRow, HeapRef, IndexEntryRef, NodeRow, RefRow},
    },
    model::{error::Result, id::NodeId},
    num,
    state::{
        base::{
            FETCHED,
            partitions::{EdgePartition, KeyPartition, NodePartition, Partition},
            vector_rows::VectorRows,
        },
        layer::node_table::VersionRef,
    },
    store::segment::{self, file::Segment, table::Table},
};

impl Checkpointer {
    pub(crate) fn begin(&self, work: &Work, extent: Scope) -> Result<Option<Job>> {
        let (frozen, old) = match self.reconciler.freeze()? {
            Some(taken) => taken,
            None if extent == Scope::Full => {
                let state = self.reconciler.state();
                (Arc::new(state.nothing_frozen()), Arc::clone(state.base()))
            }
            None => return Ok(None),
        };
        let layer = frozen.layer();
        let mut next = work.manifest.next();
        next.generation = work.generation.saturating_add(1);
        next.checkpoint = frozen.seq();
        next.durable = next.durable.max(frozen.seq());
        next.kinds = frozen.kinds().iter().map(str::to_owned).collect();
        next.indexes = frozen.indexes().iter().map(str::to_owned).collect();
        next.spaces.clear();
        next.spaces.extend_from_slice(frozen.spaces());
        next.counts = frozen.counts();
        let mut changes: Vec<(NodeId, VersionRef)> = layer.nodes().changes(frozen.seq()).collect();
        changes.sort_unstable();
        let copy_bytes = num::wide(layer.bytes());
        let gc_victims = gc_victims(old.manifest(), extent, copy_bytes);
        let all = extent == Scope::Full;
        let mut tasks = VecDeque::new();

        let moves = |refs: &Table<RefRow>| -> Result<bool> {
            for row in 0..refs.len() {
                if gc_victims.contains(&refs.row(row)?.heap.get()) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let touched = |at: usize, partitions: &[Arc<NodePartition>]| -> Result<bool> {
            let (from, to) = bounds(partitions, (at, at + 1), |partition| partition.first());
            Ok(all
                || !within(&changes, from, to).is_empty()
                || moves(partitions_at(partitions, at)?.refs())?)
        };
        let row = |rows: usize, bytes: usize| num::wide(rows * bytes);
        let gone = |at: usize| {
            let (from, to) = bounds(old.nodes(), (at, at + 1), |partition| partition.first());
            let gone = within(&changes, from, to)
                .iter()
                .filter(|(_, version)| layer.nodes().record(*version).is_none());
            row(gone.count(), size_of::<NodeRow>())
        };
        for group in self.group(old.nodes(), changes.is_empty(), touched, gone)? {
            tasks.push_back(Task::Nodes(group));
        }
        for (partitions, changes, task) in [
            (old.out(), layer.out(), Task::Out as fn(Partitions) -> Task),
            (old.in_edges(), layer.in_edges(), Task::In as fn(Partitions) -> Task),
        ] {
            let touched = |at: usize, partitions: &[Arc<EdgePartition>]| -> Result<bool> {
                let within = bounds(partitions, (at, at + 1), |partition| partition.first());
                let moves = match &partitions_at(partitions, at)?.refs() {
                    Some(refs) => moves(refs)?,
                    None => false,
                };
                Ok(all || moves || changes.range(range(within)).next().is_some())
            };
            let gone = |at: usize| {
                let within = bounds(partitions, (at, at + 1), |partition| partition.first());
                let gone = changes.range(range(within)).filter(|(_, edge)| edge.is_none());
                row(gone.count(), size_of::<EdgeRow>())
            };
            for group in self.group(partitions, changes.is_empty(), touched, gone)? {
                tasks.push_back(task(group));
            }
        }
        let touched = |at: usize, partitions: &[Arc<KeyPartition>]| -> Result<bool> {
            let within = key_bounds(partitions, (at, at + 1));
            Ok(all || layer.keys().range::<_, IndexEntryRef<'_>>(range(within)).next().is_some())
        };
        let gone = |at: usize| {
            let within = key_bounds(old.keys(), (at, at + 1));
            let gone =
                layer.keys().range::<_, IndexEntryRef<'_>>(range(within)).filter(|(_, has)| !**has);
            let bytes = gone.map(|(entry, _)| entry.key.len() + tables::KEY_HEAD_BYTES);
            row(bytes.sum(), 1)
        };
        for group in self.group(old.keys(), layer.keys().is_empty(), touched, gone)? {
            tasks.push_back(Task::Keys(group));
        }
        tasks.extend((0_u32..).zip(frozen.spaces()).map(|(space, _)| Task::Vectors(space)));
        tasks.push_back(Task::Finish);
        Ok(Some(Job {
            frozen,
            old,
            extent,
            next,
            tasks,
            changes,
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
        }))
    }

    /// Puts the parts of a table that are to be written anew into groups: each
    /// that is touched, with neighbours so small that they should be one. `gone`
    /// tells how many bytes of a part's rows will not be there afterwards.
    fn group<P: Partition>(
        &self,
        partitions: &[Arc<P>],
        no_changes: bool,
        touched: impl Fn(usize, &[Arc<P>]) -> Result<bool>,
        gone: impl Fn(usize) -> u64,
    ) -> Result<Vec<Partitions>> {
        let target = self.limits.part_bytes;
        let small = |bytes: u64| bytes < target / 4;
        let sizes = partitions.iter().enumerate();
        let sizes: Vec<u64> =
            sizes.map(|(at, partition)| partition.bytes().saturating_sub(gone(at))).collect();
        let size = |at: usize| sizes.get(at).copied().unwrap_or(u64::MAX);
        let mut groups: Vec<Partitions> = Vec::new();
        if partitions.is_empty() && !no_changes {
            groups.push((0, 0));
        }
        let mut at = 0;
        while at < partitions.len() {
            if !touched(at, partitions)? {
                at += 1;
                continue;
            }
            let (mut from, mut to, mut bytes) = (at, at + 1, size(at));
            let fits = |bytes: u64, more: u64| {
                (small(bytes) || small(more)) && bytes.saturating_add(more) <= target
            };
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

    pub(crate) fn task(&self, work: &mut Work, job: &mut Job, task: Task) -> Result<()> {
        let Job { frozen, old, changes, gc_victims, heap, made, refs, .. } = job;
        let mut sink = self.sink(work.manifest.store, &mut work.next_file, made);
        let gc_victims = &*gc_victims;
        let target = self.limits.part_bytes;
        match task {
            Task::Nodes(partitions) => {
                let (from, to) = bounds(old.nodes(), partitions, |partition| partition.first());
                let changes = within(changes, from, to);
                let rows = rows_of(old.nodes(), partitions) + changes.len();
                let mut output = NodeOutput::new(rows_per_file::<NodeRow>(rows, target));
                // Records are where they were written, not in order: fetched some
                // at a time, the misses of one overlap those of the next.
                let changes = changes.chunks(FETCHED).flat_map(|changes| {
                    let nodes = frozen.layer().nodes();
                    let mut fetched = [None; FETCHED];
                    for (to, (id, version)) in fetched.iter_mut().zip(changes) {
                        *to = Some((*id, nodes.record(*version)));
                    }
                    for (_, record) in fetched.iter().flatten() {
                        let content = record.and_then(|record| record.content.in_memory());
                        for line in content.unwrap_or_default().chunks(64).take(16) {
                            prefetch(line);
                        }
                    }
                    fetched.into_iter().flatten()
                });
                let mut buffer = Vec::new();
                merge(
                    run(old.nodes(), partitions),
                    |row: &&NodeRow| row.id(),
                    changes,
                    |item| {
                        let (row, content) = match item {
                            Merged::New(record) => {
                                let content = encode_node(record, old, gc_victims, &mut buffer)?;
                                let place = heap.append(&mut sink, &buffer)?;
                                let external = content.is_some();
                                (NodeRow::new(record.id, record.kind, place, external), content)
                            }
                            Merged::Old(row) => {
                                carry_node(row, old, gc_victims, heap, &mut sink, &mut buffer)?
                            }
                        };
                        output.put(&mut sink, refs, row, content)
                    },
                )?;
                job.nodes.push((partitions, output.finish(&mut sink, refs)?));
            }
            Task::Out(partitions) | Task::In(partitions) => {
                let out = matches!(task, Task::Out(_));
                let (table, changes) = if out {
                    (old.out(), frozen.layer().out())
                } else {
                    (old.in_edges(), frozen.layer().in_edges())
                };
                let within = bounds(table, partitions, |partition| partition.first());
                let rows = rows_of(table, partitions) + changes.range(range(within)).count();
                let kind = if out { FileKind::Out } else { FileKind::In };
                let mut output = EdgeOutput::new(kind, rows_per_file::<EdgeRow>(rows, target));
                merge(
                    run(table, partitions),
                    |row: &&EdgeRow| row.key(),
                    changes.range(range(within)).map(|(key, edge)| (*key, edge.as_deref())),
                    |item| {
                        let row = match item {
                            Merged::New(edge) if out => {
                                let place = write_attributes(edge, heap, &mut sink)?;
                                edge_row(edge, edge.key(), place)
                            }
                            Merged::New(edge) => {
                                // Far below 4 GiB: limits::ATTRIBUTE_BYTES.
                                let len = num::short(attribute_bytes(edge).len());
                                let place = HeapRef { heap: 0, slot: 0, len };
                                edge_row(edge, edge.key().reversed(), place)
                            }
                            Merged::Old(row) => {
                                let place = row.attributes();
                                if out && place.len > 0 && gc_victims.contains(&place.heap) {
                                    let bytes =
                                        old.heap(place.heap)?.bytes(place.offset(), place.len)?;
                                    row.with_attributes(heap.append(&mut sink, bytes)?)
                                } else {
                                    *row
                                }
                            }
                        };
                        output.put(&mut sink, refs, row)
                    },
                )?;
                let files = output.finish(&mut sink, refs)?;
                if out {
                    job.out.push((partitions, files))
                } else {
                    job.in_edges.push((partitions, files))
                }
            }
            Task::Keys(partitions) => {
                let within = key_bounds(old.keys(), partitions);
                let changes = || frozen.layer().keys().range::<_, IndexEntryRef<'_>>(range(within));
                let old_bytes = old.keys().get(partitions.0..partitions.1).unwrap_or_default();
                let old_bytes = old_bytes.iter().map(|partition| partition.bytes());
                let new_bytes = changes().map(|(entry, _)| {
                    let len = entry.key.len() + tables::KEY_HEAD_BYTES;
                    num::wide(len)
                });
                let bytes = old_bytes.chain(new_bytes).sum::<u64>();
                let mut output =
                    KeyOutput::new(bytes.div_ceil(bytes.div_ceil(target).max(1)).max(1));
                merge(
                    run(old.keys(), partitions),
                    |place: &IndexEntryRef<'_>| *place,
                    changes().map(|(entry, has)| (entry.place(), has.then_some(entry))),
                    |item| match item {
                        Merged::New(entry) => output.put(&mut sink, entry.place()),
                        Merged::Old(place) => output.put(&mut sink, place),
                    },
                )?;
                job.keys.push((partitions, output.finish(&mut sink)?));
            }
            Task::Vectors(space) => {
                let files = vectors::seal(space, frozen, old, job.extent, &mut sink)?;
                job.vectors.extend(files.kept);
                if let Some(file) = files.new {
                    let named = frozen.spaces().get(num::index(space));
                    let codes = named
                        .filter(|_| num::size(file.live) >= self.limits.index_rows)
                        .and_then(|named| Some((named, Derived::codes(named.method)?)));
                    if let Some((named, codes)) = codes {
                        let store = work.manifest.store;
                        let (fs, kind) = (&self.fs, FileKind::Vectors);
                        let map = segment::map(fs, &self.data_dir, kind, file.file)?;
                        let segment =
                            Segment::open(fs, &self.data_dir, kind, store, file.file, map)?;
                        let rows = VectorRows::open(segment, space, named.space)?;
                        job.build = Some(Build::new(Arc::new(rows), codes));
                        job.tasks.push_front(Task::Codes);
                    }
                    job.vectors.push(file);
                }
            }
            Task::Codes => {
                match job.build.as_mut().map(|b| b.step(&mut sink, &|| self.cancelled())) {
                    Some(Ok(Step::More)) => job.tasks.push_front(Task::Codes),
                    Some(Ok(Step::Done(codes))) => {
                        if let Some(file) = job.vectors.last_mut() {
                            file.codes = Some(codes);
                        }
                        job.build = None;
                    }
                    Some(Ok(Step::NotWorthIndexing)) => job.build = None,
                    Some(Err(error)) => return Err(error),
                    None => {}
                }
            }
            Task::Finish => {}
        }
        Ok(())
    }
}
