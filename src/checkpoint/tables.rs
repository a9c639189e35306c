//! Writes the new partitions of the tables of a checkpoint.

use std::sync::Arc;

use crate::{
    checkpoint::{
        Checkpointer, Work,
        index::{Build, Derived, Step},
        job::{Job, Task},
        merge::{Merged, merge},
        output::{
            EdgeOutput, KeyOutput, NodeOutput, attribute_bytes, carry_node, edge_row, encode_node,
            write_attributes,
        },
        plan::{Partitions, bounds, key_bounds, range, row_range, rows_of, rows_per_file, within},
        vectors,
    },
    cpu::prefetch,
    format::{
        header::FileKind,
        tables::{self, EdgeRow, HeapRef, IndexEntryRef, NodeRow},
    },
    model::error::Result,
    num,
    state::base::{FETCHED, partitions::Partition, vector_rows::VectorRows},
    store::segment::{self, file::Segment},
    vector::compute::Compute,
};

impl Checkpointer {
    pub(crate) fn task(&self, work: &mut Work, job: &mut Job, task: Task) -> Result<()> {
        match task {
            Task::Nodes(partitions) => self.write_nodes(work, job, partitions),
            Task::Out(partitions) => self.write_edges(work, job, partitions, true),
            Task::In(partitions) => self.write_edges(work, job, partitions, false),
            Task::Keys(partitions) => self.write_keys(work, job, partitions),
            Task::Vectors(space) => self.seal_vectors(work, job, space),
            Task::Codes => self.step_codes(work, job),
            Task::Finish => Ok(()),
        }
    }

    fn write_nodes(&self, work: &mut Work, job: &mut Job, partitions: Partitions) -> Result<()> {
        let Job { frozen, old, changes, gc_victims, heap, made, refs, targets, kinds, .. } = job;
        let mut sink = self.sink(work.manifest.store, &mut work.next_file, made);
        let (from, to) = bounds(old.nodes(), partitions, |partition| partition.first());
        let changes = within(changes, from, to);
        let rows = rows_of(old.nodes(), partitions) + changes.len();
        let mut output = NodeOutput::new(
            rows_per_file::<NodeRow>(rows, targets.nodes),
            std::mem::take(&mut kinds.new),
        );
        // Records lie in the order of their writing, not of their ids. They are
        // prefetched in groups, so that their cache misses overlap.
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
            row_range(old.nodes(), partitions),
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
        let (files, new) = output.finish(&mut sink, refs)?;
        kinds.new = new;
        for partition in old.nodes().get(partitions.0..partitions.1).unwrap_or_default() {
            kinds.replace_nodes(partition)?;
        }
        job.nodes.push((partitions, files));
        Ok(())
    }

    /// Writes partitions of out_edges if `out`, else of in_edges.
    fn write_edges(
        &self,
        work: &mut Work,
        job: &mut Job,
        partitions: Partitions,
        out: bool,
    ) -> Result<()> {
        let Job { frozen, old, gc_victims, heap, made, refs, targets, kinds, .. } = job;
        let mut sink = self.sink(work.manifest.store, &mut work.next_file, made);
        let (table, changes, kind) = if out {
            (old.out(), frozen.layer().out(), FileKind::Out)
        } else {
            (old.in_edges(), frozen.layer().in_edges(), FileKind::In)
        };
        let within = bounds(table, partitions, |partition| partition.first());
        let changes = || changes.range(range(within));
        let rows = rows_of(table, partitions) + changes().count();
        let target = if out { targets.out } else { targets.in_edges };
        let per_file = rows_per_file::<EdgeRow>(rows, target);
        let mut output = EdgeOutput::new(kind, per_file);
        let count_old = |row: &Result<&EdgeRow>| {
            if let (true, Ok(row)) = (out, row) {
                kinds.old.add(row.key().kind, 1);
            }
        };
        merge(
            row_range(table, partitions).inspect(count_old),
            |row: &&EdgeRow| row.key(),
            changes().map(|(key, edge)| (*key, edge.value().map(|edge| &**edge))),
            |item| {
                let row = match item {
                    Merged::New(edge) if out => {
                        let place = write_attributes(edge, heap, &mut sink)?;
                        edge_row(edge, edge.key(), place)
                    }
                    Merged::New(edge) => {
                        let len = attribute_bytes(edge).len();
                        // Far below 4 GiB: limits::ATTRIBUTE_BYTES.
                        let len = num::short(len);
                        let place = HeapRef { heap: 0, slot: 0, len };
                        edge_row(edge, edge.key().reversed(), place)
                    }
                    Merged::Old(row) => {
                        let place = row.attributes();
                        if out && place.len > 0 && gc_victims.contains(&place.heap) {
                            let bytes = old.heap(place.heap)?.bytes(place.offset(), place.len)?;
                            row.with_attributes(heap.append(&mut sink, bytes)?)
                        } else {
                            *row
                        }
                    }
                };
                if out {
                    kinds.new.add(row.key().kind, 1);
                }
                output.put(&mut sink, refs, row)
            },
        )?;
        let files = output.finish(&mut sink, refs)?;
        if out { &mut job.out } else { &mut job.in_edges }.push((partitions, files));
        Ok(())
    }

    fn write_keys(&self, work: &mut Work, job: &mut Job, partitions: Partitions) -> Result<()> {
        let Job { frozen, old, made, targets, .. } = job;
        let mut sink = self.sink(work.manifest.store, &mut work.next_file, made);
        let within = key_bounds(old.keys(), partitions);
        let changes = || frozen.layer().keys().range::<_, IndexEntryRef<'_>>(range(within));
        let old_bytes = old.keys().get(partitions.0..partitions.1).unwrap_or_default();
        let old_bytes = old_bytes.iter().map(|partition| partition.bytes());
        let new_bytes = changes().map(|(entry, _)| {
            let len = entry.key.len() + tables::KEY_HEAD_BYTES;
            num::wide(len)
        });
        let bytes = old_bytes.chain(new_bytes).sum::<u64>();
        let files = bytes.div_ceil(targets.keys).max(1);
        let mut output = KeyOutput::new(bytes.div_ceil(files).max(1));
        merge(
            row_range(old.keys(), partitions),
            |place: &IndexEntryRef<'_>| *place,
            changes().map(|(entry, change)| (entry.place(), change.is_there().then_some(entry))),
            |item| {
                let place = match item {
                    Merged::New(entry) => entry.place(),
                    Merged::Old(place) => place,
                };
                if frozen.indexes().is_dropped(place.index) {
                    return Ok(());
                }
                output.put(&mut sink, place)
            },
        )?;
        let files = output.finish(&mut sink)?;
        job.keys.push((partitions, files));
        Ok(())
    }

    /// Writes the vectors of a space, and begins the codes of the new file if it
    /// gets any.
    fn seal_vectors(&self, work: &mut Work, job: &mut Job, space: u32) -> Result<()> {
        let store = work.manifest.store;
        let Job { frozen, old, made, .. } = job;
        let mut sink = self.sink(store, &mut work.next_file, made);
        let files = vectors::seal(space, frozen, old, job.scope, &mut sink)?;
        job.vectors.extend(files.kept);
        let Some(file) = files.new else { return Ok(()) };
        let named = frozen.space(space);
        let enough = num::size(file.live) >= self.limits.index_rows;
        let codes = named
            .filter(|_| enough)
            .and_then(|named| Some((named.space, Derived::codes(named.method)?)));
        if let Some((definition, codes)) = codes {
            let (fs, kind) = (&self.fs, FileKind::Vectors);
            let map = segment::map(fs, &self.data_dir, kind, file.file)?;
            let segment = Segment::open(fs, &self.data_dir, kind, store, file.file, map)?;
            let rows = VectorRows::open(segment, space, definition)?;
            job.build = Some(Build::new(Arc::new(rows), codes));
            job.tasks.push_front(Task::Codes);
        }
        job.vectors.push(file);
        Ok(())
    }

    /// Runs one step of building codes for the vector file that was sealed last.
    fn step_codes(&self, work: &mut Work, job: &mut Job) -> Result<()> {
        let mut sink = self.sink(work.manifest.store, &mut work.next_file, &mut job.made);
        let Some(build) = &mut job.build else { return Ok(()) };
        match build
            .step(&mut sink, Compute { threads: self.limits.threads, stop: &|| self.cancelled() })?
        {
            Step::More => job.tasks.push_front(Task::Codes),
            Step::Done(codes) => {
                if let Some(file) = job.vectors.last_mut() {
                    file.codes = Some(codes);
                }
                job.build = None;
            }
            Step::NotWorthIndexing => job.build = None,
        }
        Ok(())
    }
}
