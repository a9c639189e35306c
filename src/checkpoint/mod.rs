//! Merges delta and base into a new base, whose files replace those that were
//! touched. A checkpoint that fails leaves everything as it was.
//!
//! A checkpoint is a state machine: each [`step`](Checkpointer::step) runs one
//! task. It is driven by the engine's maintenance thread, by a caller who asks
//! for a checkpoint, or, in an engine without threads, by the writers between
//! their writes.

pub(crate) mod begin;
pub(crate) mod index;
pub(crate) mod indexing;
pub(crate) mod job;
pub(crate) mod kinds;
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
    /// Held while waiting for `work`. So a thread that works step by step, and
    /// locks `work` again at once, comes after the threads that wait.
    turn: Mutex<()>,
    written: AtomicU64,
    /// Whether to abandon long work, since the engine is closing. Relaxed: no
    /// other data is published through it.
    cancelled: AtomicBool,
    /// Not part of `work`, so that it can be read during a checkpoint.
    outcome: Mutex<Outcome>,
}

#[derive(Debug, Clone, Default)]
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
    /// The number of the next file. No number is used twice, not even after a
    /// failure.
    next_file: u32,
    /// Files of a failed checkpoint whose manifest may be on the disk. They are
    /// removed when a later manifest is in force.
    uncertain: Vec<PathBuf>,
    job: Option<Job>,
    /// The index that is being built for a vector file between checkpoints.
    index: Option<IndexJob>,
    /// Indexes to build again even if they are sound: the number of the vector
    /// file, and whether it is the graph (else the codes).
    forced: BTreeSet<(u32, bool)>,
    /// Indexes that would be useless, keyed as `forced`.
    not_worth_indexing: BTreeSet<(u32, bool)>,
    /// Indexes that could not be built, and why, keyed as `forced`. They are
    /// tried again after a pause, or after the next checkpoint.
    backoff: BTreeMap<(u32, bool), Error>,
    /// Whether the log has files that the base covers.
    wal_trim_pending: bool,
    /// Whether the engine is closed. The store may then belong to another engine.
    closed: bool,
}

/// The building of codes or a graph for a vector file of the base.
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
        // Panics of steps are caught. After any other panic, unfinished work is
        // abandoned.
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

    /// Makes checkpoints until the base has everything that was committed before
    /// the call. Returns the last commit of the base.
    pub(crate) fn run(&self, scope: Scope) -> Result<Seq> {
        self.run_with(scope, |work| Ok(work.checkpoint))
    }

    /// As [`run`](Self::run), and calls `then` before another checkpoint can
    /// begin.
    pub(crate) fn run_with<T>(
        &self,
        scope: Scope,
        then: impl FnOnce(&Manifest) -> Result<T>,
    ) -> Result<T> {
        let target = self.reconciler.state().seq();
        let done = self.run_in(&mut self.enter(), target, scope, then);
        self.reconciler.wake_deferred();
        done
    }

    fn run_in<T>(
        &self,
        work: &mut Work,
        target: Seq,
        scope: Scope,
        then: impl FnOnce(&Manifest) -> Result<T>,
    ) -> Result<T> {
        if work.closed {
            return Err(Error::Closed);
        }
        // First finishes a checkpoint that has begun.
        while work.job.is_some() {
            self.step_in(work, scope)?;
        }
        let mut all = scope == Scope::Full;
        while all || work.manifest.checkpoint < target {
            let begun = self.step_in(work, if all { scope } else { Scope::Incremental })?;
            while work.job.is_some() {
                self.step_in(work, scope)?;
            }
            // A checkpoint of a layer that was frozen earlier came first, if there
            // was one.
            all = all && work.manifest.checkpoint < target;
            if !begun {
                break;
            }
        }
        if work.wal_trim_pending {
            let truncated = self.truncate(work);
            self.note(truncated)?;
        }
        then(&work.manifest)
    }

    /// Makes one checkpoint if it is `due` or an earlier one has failed, and then
    /// builds missing indexes until another is due, or until `other_work` says that
    /// something else is. Stops early when `stopped` is set. An index that cannot be
    /// built is reported in the stats and is no error here. Returns whether there is
    /// any to [try again](Self::try_again).
    pub(crate) fn run_until(
        &self,
        stopped: &AtomicBool,
        due: bool,
        other_work: &dyn Fn() -> bool,
    ) -> Result<bool> {
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
                && !other_work()
                && self.index_in(&mut self.enter()).unwrap_or(true)
            {}
            Ok(!self.enter().backoff.is_empty())
        })();
        self.reconciler.wake_deferred();
        made
    }

    /// Runs one step of a checkpoint, beginning one if needed, or one step of
    /// building an index. Returns whether there is more to do.
    pub(crate) fn step(&self) -> Result<bool> {
        let more = (|| {
            let mut work = self.enter();
            let begun = self.step_in(&mut work, Scope::Incremental)?;
            Ok(begun || work.job.is_some() || self.index_in(&mut work)?)
        })();
        self.reconciler.wake_deferred();
        more
    }

    /// Whether a checkpoint or the building of an index is under way. Does not
    /// wait.
    pub(crate) fn is_under_way(&self) -> bool {
        self.work.try_lock().map_or(true, |work| work.job.is_some() || work.index.is_some())
    }

    /// Sets whether long work is abandoned.
    pub(crate) fn cancel_long_work(&self, cancel_long_work: bool) {
        self.cancelled.store(cancel_long_work, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Waits for a running step to end, and prevents all further ones:
    /// afterwards, no file of the store is written.
    pub(crate) fn shut(&self) {
        let mut work = self.enter();
        work.closed = true;
        if let Some(job) = work.job.take() {
            self.give_up(&mut work, job, true);
        }
        self.give_up_index(&mut work);
        self.lease.end();
    }

    fn step_in(&self, work: &mut Work, scope: Scope) -> Result<bool> {
        if work.closed {
            return Err(Error::Closed);
        }
        let Some(mut job) = work.job.take() else {
            let begun = self.begin(work, scope).map_err(|cause| at_step("freeze", cause));
            work.job = self.note(begun)?;
            if work.job.is_none() && work.wal_trim_pending {
                let truncated = self.truncate(work);
                self.note(truncated)?;
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

    /// Removes the files of a failed checkpoint, unless the manifest on disk may
    /// name them (`certain` is false).
    fn give_up(&self, work: &mut Work, job: Job, certain: bool) {
        let Job { mut made, heap, .. } = job;
        drop(heap);
        if certain {
            for path in made {
                // If this fails, the next opening removes the file.
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

    /// In a forked process, which is not `here`, a thread that does not exist may
    /// hold the lock.
    pub(crate) fn stats(&self, here: bool) -> CheckpointStats {
        let state = self.reconciler.state();
        let manifest = state.base().manifest();
        let outcome = if here { Some(self.outcome()) } else { self.outcome.try_lock().ok() };
        let outcome = outcome.map_or_else(Outcome::default, |outcome| (*outcome).clone());
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
            last_failure: outcome.last_failure,
            seq: manifest.checkpoint,
            delta_bytes: state.layer_bytes(),
            files: manifest.files().count(),
            file_bytes: bytes,
            live_bytes: bytes.saturating_sub(dead),
            written_bytes: self.written.load(Ordering::Relaxed),
        }
    }
}

/// Turns a panic, by the caller's file system or by a bug here, into an error.
fn unless_panicked<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::internal("a panic ended the checkpoint halfway")))
}

fn at_step(step: &'static str, cause: Error) -> Error {
    match cause {
        // Not caused by this step.
        cause @ (Error::Poisoned { .. } | Error::Checkpoint { .. }) => cause,
        cause => Error::Checkpoint { step, cause: Arc::new(cause) },
    }
}
