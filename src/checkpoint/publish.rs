//! Puts a new manifest in force.

use std::{collections::HashSet, sync::Arc};

use crate::{
    checkpoint::{
        Checkpointer, Work, at_step,
        job::Job,
        kinds::KindRows,
        plan::{Refs, replaced, unreplaced},
        unless_panicked,
    },
    format::{
        header::FileKind,
        manifest::{HeapFile, Manifest},
        tables::RefRow,
    },
    model::{
        error::{Error, Result},
        space::Method,
        time::Seq,
    },
    state::{
        base::{Base, partitions::Partition as _},
        catalog::Dictionary,
        kinds_of,
    },
    store::{
        manifest,
        segment::{self, table::Table},
    },
};

impl Checkpointer {
    /// Finishes the files, publishes their manifest and installs the new base.
    pub(crate) fn finish(&self, work: &mut Work, mut job: Job) -> Result<()> {
        let prepared = unless_panicked(|| self.prepare(work, &mut job));
        let (next, base) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                self.give_up(work, job, true);
                return Err(error);
            }
        };
        if let Err((error, certain)) = self.publish(work, &next) {
            self.give_up(work, job, certain);
            return Err(error);
        }
        let kinds = self.kinds_left(&job, &next);
        self.in_force(work, next, &job.old, &base);
        work.backoff.clear();
        self.reconciler.install(Arc::new(base), kinds);
        {
            let mut outcome = self.outcome();
            outcome.completed += 1;
            outcome.last_failure = None;
        }
        // It is large. It is dropped here, where only writers that need its
        // memory wait.
        drop(job);
        self.reconciler.released();
        self.truncate(work)
    }

    /// Removes log files that the base covers. If that fails, a later call tries
    /// again.
    pub(crate) fn truncate(&self, work: &mut Work) -> Result<()> {
        work.wal_trim_pending = true;
        unless_panicked(|| self.reconciler.truncate(work.manifest.checkpoint))
            .map_err(|cause| at_step("truncate", cause))?;
        work.wal_trim_pending = false;
        Ok(())
    }

    fn prepare(&self, work: &mut Work, job: &mut Job) -> Result<(Manifest, Base)> {
        let mut sink = self.sink(work.manifest.store, &mut work.next_file, &mut job.made);
        let heaps = job.heap.finish(&mut sink).map_err(|cause| at_step("heap", cause))?;
        let old = &job.old;
        let mut refs = std::mem::take(&mut job.refs);
        let kinds = std::mem::take(&mut job.kinds);
        let read = |refs: &mut Refs, table: &Table<RefRow>| -> Result<()> {
            for row in 0..table.len() {
                let row = table.row(row)?;
                let bytes = refs.entry(row.heap.get()).or_default();
                *bytes = bytes.saturating_add(row.bytes.get());
            }
            Ok(())
        };
        for partition in unreplaced(old.nodes(), &job.nodes) {
            read(&mut refs, partition.refs()).map_err(|cause| at_step("heap", cause))?;
        }
        for partition in unreplaced(old.out(), &job.out) {
            if let Some(table) = partition.refs() {
                read(&mut refs, table).map_err(|cause| at_step("heap", cause))?;
            }
        }
        let mut next = job.next.clone();
        let left = unreplaced(old.nodes(), &job.nodes).next().is_some()
            || unreplaced(old.out(), &job.out).next().is_some();
        next.heaps = old
            .manifest()
            .heaps
            .iter()
            .map(|heap| heap.file)
            .chain(heaps)
            .filter_map(|file| Some(HeapFile { file, live: *refs.get(&file.number)? }))
            .collect();
        next.nodes = replaced(&old.manifest().nodes, &mut job.nodes);
        next.out = replaced(&old.manifest().out, &mut job.out);
        next.in_edges = replaced(&old.manifest().in_edges, &mut job.in_edges);
        next.keys = replaced(&old.manifest().keys, &mut job.keys);
        let mut vectors = std::mem::take(&mut job.vectors);
        for file in &mut vectors {
            let space = next.space(file.space);
            let method = space.map_or(Method::Auto, |space| space.method);
            file.codes = file.codes.filter(|_| method != Method::Exact);
            file.graph = file.graph.filter(|_| method == Method::Hnsw);
        }
        vectors.sort_unstable_by_key(|file| file.file.number);
        next.vectors = vectors;
        self.name_kinds(job, kinds, !left, &mut next);
        next.next_file = work.next_file;
        self.fs
            .sync_dir(&self.data_dir)
            .map_err(|error| at_step("sync", Error::io("sync", &self.data_dir, error)))?;
        let base = Base::open(&self.fs, &self.data_dir, &next, Some(old))
            .map_err(|cause| at_step("map", cause))?;
        // Done here, so that the first readers need not, unless writers wait.
        let known: HashSet<u32> =
            old.nodes().iter().map(|partition| partition.segment().file().number).collect();
        for partition in base.nodes() {
            if !known.contains(&partition.segment().file().number) && !self.reconciler.is_full() {
                partition.rows().fill_fences().map_err(|cause| at_step("map", cause))?;
            }
        }
        Ok((next, base))
    }

    /// Publishes a manifest. The flag of an error is whether the old manifest is
    /// certainly still in place.
    pub(crate) fn publish(&self, work: &mut Work, next: &Manifest) -> Result<(), (Error, bool)> {
        work.generation = next.generation;
        // After a rename that may have happened, or a panic, either manifest may
        // be on the disk. The files and the log of both are kept.
        let mut certain = false;
        let published = unless_panicked(|| {
            manifest::publish(&*self.fs, &self.dir, next).map_err(|failure| {
                certain = !failure.may_have_replaced();
                failure.into()
            })
        });
        published.map_err(|error| (at_step("publish", error), certain))
    }

    /// Notes that a manifest is in force, and removes files that only `old` has.
    pub(crate) fn in_force(&self, work: &mut Work, next: Manifest, old: &Base, base: &Base) {
        for path in work.uncertain.drain(..) {
            let _ = self.fs.remove(&path);
        }
        work.manifest = next;
        let kept: HashSet<u32> = base.segments().map(|segment| segment.file().number).collect();
        for segment in old.segments().filter(|s| !kept.contains(&s.file().number)) {
            segment.retire(&self.lease);
        }
        // Index files that could not be opened have no segment, so they are
        // removed here.
        let named: HashSet<u32> = work.manifest.files().map(|(_, file)| file.number).collect();
        for (kind, file) in old.manifest().files() {
            let mapped = || old.segments().any(|segment| segment.file().number == file.number);
            if kind == FileKind::VectorIndex && !named.contains(&file.number) && !mapped() {
                let _ = self.fs.remove(&segment::file_path(&self.data_dir, kind, file.number));
            }
        }
    }

    /// Publishes a manifest without the mark of an unfinished salvage.
    pub(crate) fn finish_salvage(&self) -> Result<()> {
        let mut work = self.enter();
        let mut next = work.manifest.next();
        next.salvaging = false;
        self.replace(&mut work, next)
    }

    /// Publishes a manifest with the last durable commit, if the one in force has
    /// an earlier one.
    pub(crate) fn note_durable(&self, durable: Seq) -> Result<()> {
        let mut work = self.enter();
        if durable > work.manifest.durable {
            let mut next = work.manifest.next();
            next.durable = durable;
            self.replace(&mut work, next)?;
        }
        Ok(())
    }

    /// Publishes a manifest with the same base.
    fn replace(&self, work: &mut Work, mut next: Manifest) -> Result<()> {
        next.generation = work.generation.saturating_add(1);
        next.next_file = work.next_file;
        work.generation = next.generation;
        manifest::publish(&*self.fs, &self.dir, &next)?;
        work.manifest = next;
        Ok(())
    }

    /// Gives a manifest the kinds that are left after a checkpoint. Those of no
    /// node and no edge leave, unless a batch has used them since the layer was
    /// frozen: then a later checkpoint decides.
    ///
    /// In the active layer they have the numbers that they had. If the log is
    /// replayed on top of the manifest, kinds that are new there get larger ones.
    pub(crate) fn name_kinds(&self, job: &Job, rows: KindRows, all: bool, next: &mut Manifest) {
        let rows = rows.total(job.old.manifest().rows_by_kind(), all);
        let state = self.reconciler.state();
        let frozen = job.frozen.kinds();
        let mut kinds = Vec::new();
        for (number, name) in frozen.numbered() {
            let of_kind = rows.as_ref().map(|rows| rows.get(&number).copied().unwrap_or(0));
            if of_kind != Some(0) || state.kinds().is_used(number) {
                kinds.push((number, name.to_owned(), of_kind.unwrap_or(0)));
            }
        }
        next.set_kinds(kinds, frozen.next(), rows.is_some());
    }

    /// The kinds that a state has after a checkpoint, if it does not have all of
    /// those before.
    pub(crate) fn kinds_left(&self, job: &Job, next: &Manifest) -> Option<Dictionary> {
        let gone = next.kinds.len() < job.frozen.kinds().len();
        gone.then(|| kinds_of(next))
    }
}
