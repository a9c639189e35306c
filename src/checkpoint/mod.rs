//! Delta and base become a new base, in files that replace those that were
//! touched; or everything stays as it was.
//!
//! A checkpoint is a state machine: each [`step`](Checkpointer::step) does one
//! piece of the work. The engine's second thread drives it, or a caller who
//! wants it done, or, in an engine without threads, the writers between their
//! writes.

pub(crate) mod begin;
pub(crate) mod index;
pub(crate) mod indexing;
pub(crate) mod job;
pub(crate) mod merge;
pub(crate) mod output;
pub(crate) mod plan;
pub(crate) mod publish;
pub(crate) mod stats;
pub(crate) mod tables;
pub(crate) mod vectors;

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use crate::{
    checkpoint::{
        index::Build,
        job::{Job, Task},
        output::FileSink,
        plan::{Limits, Scope},
        stats::CheckpointStats,
    },
    format::{header::StoreId, manifest::Manifest},
    model::{
        error::{Error, Result},
        time::Seq,
    },
    num,
    os::file::Fs,
    store::segment::{self, file::StoreLease},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    write::reconciler::Reconciler,
};

/// Makes checkpoints of one engine, one at a time.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    data_dir: PathBuf,
    reconciler: Arc<Reconciler>,
    limits: Limits,
    lease: Arc<StoreLease>,
    work: Mutex<Work>,
    /// Held while waiting for the work, so that who does it in pieces, and comes
    /// back at once for the next, comes after those who wait.
    turn: Mutex<()>,
    written: AtomicU64,
    /// Whether what takes long is to be given up, since the engine ends. Relaxed:
    /// it hands over nothing.
    cancelled: AtomicBool,
    /// Apart from the work, so that it can be looked at meanwhile.
    outcome: Mutex<Outcome>,
}

#[derive(Debug, Default)]
struct Outcome {
    completed: u64,
    failed: u64,
    last_failure: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Work {
    /// The manifest that is in force.
    manifest: Manifest,
    /// The last generation that may be on the disk.
    generation: u64,
    /// The next file's number: none is given twice, not even after a failure.
    next_file: u32,
    /// Files of a checkpoint of which it is not known whether the disk has its
    /// manifest. They go when a later one is in force.
    uncertain: Vec<PathBuf>,
    job: Option<Job>,
    /// What is derived from a vector file between checkpoints.
    index: Option<IndexJob>,
    /// What is to be derived again, by file, though it may be whole.
    forced: BTreeSet<(u32, bool)>,
    /// Files that no use can be had of codes or of a graph of.
    not_worth_indexing: BTreeSet<(u32, bool)>,
    /// What could not be derived from files, codes or graph, and why. It is tried
    /// again after a while, or after the next checkpoint.
    backoff: BTreeMap<(u32, bool), Error>,
    /// The log has files that the base covers.
    wal_trim_pending: bool,
    /// The store is let go of, and somebody else's to write to.
    closed: bool,
}

/// A file that is derived from a vector file of the base.
#[derive(Debug)]
struct IndexJob {
    build: Build,
    made: Vec<PathBuf>,
}

impl Checkpointer {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        dir: &Path,
        reconciler: Arc<Reconciler>,
        limits: Limits,
        manifest: Manifest,
    ) -> Self {
        Self {
            fs,
            dir: dir.to_owned(),
            data_dir: dir.join(segment::DIR),
            reconciler,
            limits,
            lease: Arc::new(StoreLease::new()),
            work: Mutex::new(Work {
                generation: manifest.generation,
                next_file: manifest.next_file,
                manifest,
                uncertain: Vec::new(),
                job: None,
                index: None,
                forced: BTreeSet::new(),
                not_worth_indexing: BTreeSet::new(),
                backoff: BTreeMap::new(),
                wal_trim_pending: false,
                closed: false,
            }),
            turn: Mutex::default(),
            written: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            outcome: Mutex::default(),
        }
    }

    fn enter(&self) -> MutexGuard<'_, Work> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Panics are caught where files are made; after any other, what is
        // under way is given up.
        self.work.lock().unwrap_or_else(|poisoned| {
            self.work.clear_poison();
            let mut work = poisoned.into_inner();
            if let Some(job) = work.job.take() {
                self.give_up(&mut work, job, true);
            }
            self.give_up_index(&mut work);
            work
        })
    }

    fn outcome(&self) -> MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that the base has all that was committed before the call.
    /// Returns the last commit that it has.
    pub(crate) fn run(&self, extent: Scope) -> Result<Seq> {
        self.run_with(extent, |work| Ok(work.checkpoint))
    }

    /// As [`run`](Self::run), and does something before another checkpoint can
    /// begin.
    pub(crate) fn run_with<T>(
        &self,
        extent: Scope,
        then: impl FnOnce(&Manifest) -> Result<T>,
    ) -> Result<T> {
        let target = self.reconciler.state().seq();
        let done = self.run_in(&mut self.enter(), target, extent, then);
        self.reconciler.wake_deferred();
        done
    }

    fn run_in<T>(
        &self,
        work: &mut Work,
        target: Seq,
        extent: Scope,
        then: impl FnOnce(&Manifest) -> Result<T>,
    ) -> Result<T> {
        if work.closed {
            return Err(Error::Closed);
        }
        // What is under way comes first.
        while work.job.is_some() {
            self.step_in(work, extent)?;
        }
        let mut all = extent == Scope::Full;
        while all || work.manifest.checkpoint < target {
            let begun = self.step_in(work, if all { extent } else { Scope::Incremental })?;
            while work.job.is_some() {
                self.step_in(work, extent)?;
            }
            // What an earlier one left came first, if there was any.
            all = all && work.manifest.checkpoint < target;
            if !begun {
                break;
            }
        }
        if work.wal_trim_pending {
            let cut = self.truncate(work);
            self.note(cut)?;
        }
        then(&work.manifest)
    }

    /// Makes one checkpoint if it is `due` or one has failed, and then what
    /// vector files want until another is due; less if it is told to stop
    /// meanwhile. What cannot be derived is in the stats, and no failure here:
    /// gives whether there is any to be [tried again](Self::try_again).
    pub(crate) fn run_until(&self, stopped: &AtomicBool, due: bool) -> Result<bool> {
        let made = (|| {
            let mut work = self.enter();
            let left = work.job.is_none() && self.reconciler.state().frozen().is_some();
            while (due || left) && self.step_in(&mut work, Scope::Incremental)? {
                if stopped.load(Ordering::Acquire) {
                    if let Some(job) = work.job.take() {
                        self.give_up(&mut work, job, true);
                    }
                    return Ok(false);
                }
            }
            drop(work);
            while !stopped.load(Ordering::Acquire)
                && !self.reconciler.checkpoint_due()
                && self.index_in(&mut self.enter()).unwrap_or(true)
            {}
            Ok(!self.enter().backoff.is_empty())
        })();
        self.reconciler.wake_deferred();
        made
    }

    /// Does a piece of the work, beginning it if there is none under way.
    /// Returns whether there is more.
    pub(crate) fn step(&self) -> Result<bool> {
        let more = (|| {
            let mut work = self.enter();
            let begun = self.step_in(&mut work, Scope::Incremental)?;
            Ok(begun || work.job.is_some() || self.index_in(&mut work)?)
        })();
        self.reconciler.wake_deferred();
        more
    }

    /// Whether a checkpoint is under way. Waits for nothing.
    pub(crate) fn is_under_way(&self) -> bool {
        self.work.try_lock().map_or(true, |work| work.job.is_some() || work.index.is_some())
    }

    /// Gives up what takes long, or does so no more.
    pub(crate) fn cancel_long_work(&self, cancel_long_work: bool) {
        self.cancelled.store(cancel_long_work, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Waits for whoever makes a checkpoint, and lets nobody make another:
    /// from here on, nothing of the store is written to.
    pub(crate) fn shut(&self) {
        let mut work = self.enter();
        work.closed = true;
        if let Some(job) = work.job.take() {
            self.give_up(&mut work, job, true);
        }
        self.give_up_index(&mut work);
        self.lease.end();
    }

    fn step_in(&self, work: &mut Work, extent: Scope) -> Result<bool> {
        if work.closed {
            return Err(Error::Closed);
        }
        let Some(mut job) = work.job.take() else {
            let begun = self.begin(work, extent).map_err(|cause| at_step("freeze", cause));
            work.job = self.note(begun)?;
            if work.job.is_none() && work.wal_trim_pending {
                let cut = self.truncate(work);
                self.note(cut)?;
            }
            return Ok(work.job.is_some());
        };
        let task = job.tasks.pop_front().unwrap_or(Task::Finish);
        let step = task.name();
        if matches!(task, Task::Finish) {
            let finished = self.finish(work, job);
            return self.note(finished).map(|()| false);
        }
        match unless_panicked(|| self.task(work, &mut job, task)) {
            Ok(()) => {
                work.job = Some(job);
                Ok(true)
            }
            Err(cause) => {
                self.give_up(work, job, true);
                self.note(Err(at_step(step, cause)))
            }
        }
    }

    /// Counts a failure.
    fn note<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            let mut outcome = self.outcome();
            outcome.failed += 1;
            outcome.last_failure = Some(error.with_causes().to_string());
        }
        result
    }

    /// Removes what a failed checkpoint made, unless the disk may have a
    /// manifest that names it.
    fn give_up(&self, work: &mut Work, job: Job, certain: bool) {
        let Job { mut made, heap, .. } = job;
        drop(heap);
        if certain {
            for path in made {
                // What stays is no part of the store: the next opening removes
                // it.
                let _ = self.fs.remove(&path);
            }
        } else {
            work.uncertain.append(&mut made);
        }
    }

    fn sink<'a>(
        &'a self,
        store: StoreId,
        next_file: &'a mut u32,
        made: &'a mut Vec<PathBuf>,
    ) -> FileSink<'a> {
        let (fs, dir, written) = (&*self.fs, &*self.data_dir, &self.written);
        let write_chunk_bytes = self.limits.write_chunk_bytes;
        FileSink { fs, dir, store, next_file, made, written, write_chunk_bytes }
    }

    pub(crate) fn stats(&self) -> CheckpointStats {
        let state = self.reconciler.state();
        let manifest = state.base().manifest();
        let outcome = self.outcome();
        let bytes = manifest.files().map(|(_, file)| file.len).fold(0, u64::saturating_add);
        let dead = manifest.heaps.iter().map(|heap| heap.file.len.saturating_sub(heap.live));
        let dead_vectors =
            manifest.vectors.iter().zip(state.base().vectors()).map(|(file, partition)| {
                let rows = num::wide(partition.rows().len());
                let each = file.file.len.checked_div(rows).unwrap_or(0);
                each.saturating_mul(rows.saturating_sub(file.live))
            });
        let dead = dead.chain(dead_vectors).fold(0, u64::saturating_add);
        CheckpointStats {
            completed: outcome.completed,
            failed: outcome.failed,
            last_failure: outcome.last_failure.clone(),
            seq: manifest.checkpoint,
            delta_bytes: state.layer_bytes(),
            files: manifest.files().count(),
            file_bytes: bytes,
            live_bytes: bytes.saturating_sub(dead),
            written_bytes: self.written.load(Ordering::Relaxed),
        }
    }
}

/// A panic, of a file system of the caller's or a fault of ours, as an error.
fn unless_panicked<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::internal("a panic ended the checkpoint half way")))
}

fn at_step(step: &'static str, cause: Error) -> Error {
    match cause {
        // Not the checkpoint's.
        cause @ (Error::Poisoned { .. } | Error::Checkpoint { .. }) => cause,
        cause => Error::Checkpoint { step, cause: Arc::new(cause) },
    }
}
