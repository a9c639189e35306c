//! Builds indexes (codes and graphs) of vector files between checkpoints.

use std::sync::Arc;

use crate::{
    checkpoint::{
        Checkpointer, IndexJob, Work, at_step,
        index::{Build, Derived, Step},
        plan::Scope,
        unless_panicked,
    },
    format::manifest::{DataFile, VectorFile},
    model::{
        error::{Error, Result},
        space::Method,
    },
    num,
    state::base::{Base, vector_index::Codes},
    vector::{compute::Compute, hnsw},
};

/// Bytes of memory that a row takes while a graph is built and written: its
/// components as i8, its links, and both again in the bytes to be written.
fn graph_row_bytes(dimension: usize) -> u64 {
    num::wide((dimension + 256) * 2)
}

impl Checkpointer {
    /// Lets the indexes that could not be built be tried again.
    pub(crate) fn try_again(&self) {
        self.enter().backoff.clear();
    }

    /// Builds all missing indexes, and those of the spaces in `forced` even if
    /// they exist.
    pub(crate) fn build_indexes(&self, forced: Option<&[u32]>) -> Result<()> {
        let mut work = self.enter();
        if let Some(spaces) = forced {
            let of_spaces = |file: &&VectorFile| spaces.contains(&file.space);
            let files = work.manifest.vectors.iter().filter(of_spaces).map(|f| f.file.number);
            let files: Vec<u32> = files.collect();
            work.forced.extend(files.iter().flat_map(|file| [(*file, false), (*file, true)]));
            work.not_worth_indexing.retain(|(file, _)| !files.contains(file));
        }
        work.backoff.clear();
        drop(work);
        let built = (|| {
            // The lock is released between steps, so that others can make
            // checkpoints or close.
            loop {
                let mut work = self.enter();
                // First finishes a checkpoint that has begun.
                while work.job.is_some() {
                    self.step_in(&mut work, Scope::Incremental)?;
                }
                if !self.index_in(&mut work)? {
                    // The maintenance thread may have done some steps, and failed.
                    let failed = work.backoff.values().next();
                    return failed.cloned().map_or(Ok(()), Err);
                }
            }
        })();
        self.reconciler.wake_deferred();
        built
    }

    /// The next index to build: one that a vector file should have and has not.
    fn wanted_index(&self, work: &mut Work) -> Option<Build> {
        let state = self.reconciler.state();
        work.forced.retain(|(file, _)| {
            work.manifest.vectors.iter().any(|known| known.file.number == *file)
        });
        for partition in state.base().vectors() {
            let rows = partition.rows();
            let number = rows.segment().file().number;
            let Some(space) = state.spaces().by_number(rows.space()) else { continue };
            let forced = |graph| work.forced.contains(&(number, graph));
            if let Some(Derived::Codes(bits)) = Derived::codes(space.method)
                && rows.len() >= self.limits.index_rows
                && !work.not_worth_indexing.contains(&(number, false))
                && !work.backoff.contains_key(&(number, false))
            {
                let good = partition.codes().as_ref().is_some_and(|codes| {
                    let bits = |codes: &Codes| codes.head().bits.get() == bits;
                    codes.failure().is_none() && codes.get(rows).is_ok_and(bits)
                });
                if !good || forced(false) {
                    return Some(Build::new(Arc::clone(rows), Derived::Codes(bits)));
                }
            }
            let bytes = num::wide(rows.len()) * graph_row_bytes(rows.definition().dimension);
            if space.method == Method::Hnsw
                && hnsw::AVAILABLE
                && rows.len() >= self.limits.graph_rows
                && bytes <= self.limits.graph_bytes
                && !work.not_worth_indexing.contains(&(number, true))
                && !work.backoff.contains_key(&(number, true))
            {
                let good =
                    partition.graph().as_ref().is_some_and(|graph| graph.failure().is_none());
                if !good || forced(true) {
                    return Some(Build::new(Arc::clone(rows), Derived::Graph));
                }
            }
        }
        // Indexes that failed stay forced until they are tried again.
        let Work { forced, backoff, .. } = work;
        forced.retain(|wanted| backoff.contains_key(wanted));
        None
    }

    /// Runs one step of building an index. Returns whether there may be more. If
    /// the vector file was removed, its unfinished index is discarded.
    pub(crate) fn index_in(&self, work: &mut Work) -> Result<bool> {
        if work.closed {
            return Err(Error::Closed);
        }
        if work.job.is_some() {
            return Ok(false);
        }
        let mut job = match work.index.take() {
            Some(job) => job,
            None => match self.wanted_index(work) {
                Some(build) => IndexJob { build, made: Vec::new() },
                None => return Ok(false),
            },
        };
        let number = job.build.rows().segment().file().number;
        if !work.manifest.vectors.iter().any(|file| file.file.number == number) {
            work.index = Some(job);
            self.give_up_index(work);
            return Ok(true);
        }
        let mut sink = self.sink(work.manifest.store, &mut work.next_file, &mut job.made);
        match unless_panicked(|| {
            job.build.step(
                &mut sink,
                Compute { threads: self.limits.threads, stop: &|| self.cancelled() },
            )
        }) {
            Ok(Step::More) => {
                work.index = Some(job);
                Ok(true)
            }
            Ok(Step::NotWorthIndexing) => {
                let graph = job.build.derived() == Derived::Graph;
                work.not_worth_indexing.insert((number, graph));
                work.forced.remove(&(number, graph));
                Ok(true)
            }
            Ok(Step::Done(file)) => {
                let graph = job.build.derived() == Derived::Graph;
                let published = self.publish_index(work, job, file);
                if let Err(cause) = &published {
                    work.backoff.insert((number, graph), cause.clone());
                }
                self.note(published).map(|()| true)
            }
            // The engine is closing.
            Err(Error::Closed) => {
                work.index = Some(job);
                self.give_up_index(work);
                Err(Error::Closed)
            }
            Err(cause) => {
                let cause = at_step("index", cause);
                work.backoff.insert((number, job.build.derived() == Derived::Graph), cause.clone());
                work.index = Some(job);
                self.give_up_index(work);
                self.note(Err(cause))
            }
        }
    }

    /// Removes the files of an unfinished index.
    pub(crate) fn give_up_index(&self, work: &mut Work) {
        for path in work.index.take().into_iter().flat_map(|job| job.made) {
            // If this fails, the next opening removes the file.
            let _ = self.fs.remove(&path);
        }
    }

    /// Publishes the index of a vector file, and installs it.
    fn publish_index(&self, work: &mut Work, mut job: IndexJob, file: DataFile) -> Result<()> {
        let number = job.build.rows().segment().file().number;
        let derived = job.build.derived();
        let mut next = work.manifest.next();
        next.generation = work.generation.saturating_add(1);
        next.next_file = work.next_file;
        for vectors in next.vectors.iter_mut().filter(|v| v.file.number == number) {
            match derived {
                Derived::Codes(_) => vectors.codes = Some(file),
                Derived::Graph => vectors.graph = Some(file),
            }
        }
        let state = self.reconciler.state();
        let prepared = unless_panicked(|| {
            self.fs
                .sync_dir(&self.data_dir)
                .map_err(|error| Error::io("sync", &self.data_dir, error))?;
            let base = Base::open(&self.fs, &self.data_dir, &next, Some(state.base()))?;
            // A base opens without an index that cannot be opened. Such an index
            // would be built again at once, over and over.
            for partition in
                base.vectors().iter().filter(|p| p.rows().segment().file().number == number)
            {
                partition.check_index(derived == Derived::Graph)?;
            }
            Ok(base)
        });
        let base = match prepared {
            Ok(base) => base,
            Err(cause) => {
                work.index = Some(job);
                self.give_up_index(work);
                return Err(at_step("index", cause));
            }
        };
        if let Err((error, certain)) = self.publish(work, &next) {
            if certain {
                work.index = Some(job);
                self.give_up_index(work);
            } else {
                work.uncertain.append(&mut job.made);
            }
            return Err(error);
        }
        self.in_force(work, next, state.base(), &base);
        work.forced.remove(&(number, derived == Derived::Graph));
        self.reconciler.replace(Arc::new(base));
        Ok(())
    }
}
