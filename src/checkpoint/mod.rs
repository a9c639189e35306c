//! Delta and base become a new base, in files that replace those that were
//! touched; or everything stays as it was.
//!
//! A checkpoint is a state machine: each [`step`](Checkpointer::step) does one
//! piece of the work. The engine's second thread drives it, or a caller who
//! wants it done, or, in an engine without threads, the writers between their
//! writes.

mod index;
mod output;
mod vectors;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
};

use foldhash::quality::RandomState;

use index::{Build, Derived, Step};
use output::{
    EdgeOutput, HeapWriter, KeyOutput, Making, NodeOutput, attribute_bytes, carry_node, edge_row,
    encode_node, write_attributes,
};

use crate::{
    error::{Error, Result},
    format::{
        FileKind, StoreId,
        manifest::{DataFile, HeapFile, Manifest, TableFile, VectorFile},
        tables::{self, EdgeRow, HeapPlace, KeyPlace, NodeRow, RefRow},
    },
    id::NodeId,
    manifest,
    model::{Method, Seq},
    os::Fs,
    reconciler::Reconciler,
    segment::{self, Owned, Segment},
    snapshot::{Base, Codes, EdgePart, FETCHED, Frozen, KeyPart, NodePart, Part, Said, VectorRows},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    vector::{hnsw, prefetch},
};

/// A heap takes no further record once it has this many bytes, so that garbage
/// is collected in pieces.
const HEAP_BYTES: u64 = 1 << 30;

/// Numbers about checkpoints since the engine was opened.
#[derive(Debug, Clone, Default, serde::Serialize)]
#[non_exhaustive]
pub struct CheckpointStats {
    /// Checkpoints that were completed.
    pub completed: u64,
    /// Checkpoints that failed and left everything as it was.
    pub failed: u64,
    /// The last failure, until a checkpoint is completed.
    pub last_failure: Option<String>,
    /// The last commit that the base holds.
    pub seq: Seq,
    /// Bytes of memory that the delta takes, about.
    pub delta_bytes: usize,
    /// Files of the base.
    pub files: usize,
    /// Bytes of those files.
    pub file_bytes: u64,
    /// Of those bytes, the ones that are referred to.
    pub live_bytes: u64,
    /// Bytes written to files of the base.
    pub written_bytes: u64,
}

/// Makes checkpoints of one engine, one at a time.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    data_dir: PathBuf,
    reconciler: Arc<Reconciler>,
    limits: Limits,
    owned: Arc<Owned>,
    work: Mutex<Work>,
    /// Held while waiting for the work, so that who does it in pieces, and comes
    /// back at once for the next, comes after those who wait.
    turn: Mutex<()>,
    written: AtomicU64,
    /// Whether what takes long is to be given up, since the engine ends. Relaxed:
    /// it hands over nothing.
    hurried: AtomicBool,
    /// Apart from the work, so that it can be looked at meanwhile.
    outcome: Mutex<Outcome>,
}

/// What of making files is the user's to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Largest part of a table, about.
    pub(crate) part_bytes: u64,
    /// Least rows of a vector file that gets codes.
    pub(crate) index_rows: usize,
    /// Least rows of a vector file that gets a graph.
    pub(crate) graph_rows: usize,
    /// Most bytes of memory that building a graph may take, about.
    pub(crate) graph_bytes: u64,
    /// Bytes of a file that are written at once.
    pub(crate) piece_bytes: usize,
}

#[derive(Debug, Default)]
struct Outcome {
    completed: u64,
    failed: u64,
    last_failure: Option<String>,
}

#[derive(Debug)]
struct Work {
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
    unfit: BTreeSet<(u32, bool)>,
    /// What could not be derived from files, codes or graph, and why. It is tried
    /// again after a while, or after the next checkpoint.
    put_aside: BTreeMap<(u32, bool), Error>,
    /// The log has files that the base covers.
    uncut: bool,
    /// The store is let go of, and somebody else's to write to.
    closed: bool,
}

/// What a checkpoint does beside what it must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What was touched, and some garbage.
    Touched,
    /// Everything.
    All,
}

/// A checkpoint under way.
#[derive(Debug)]
struct Job {
    frozen: Arc<Frozen>,
    old: Arc<Base>,
    extent: Extent,
    next: Manifest,
    tasks: VecDeque<Task>,
    /// The changed nodes, ascending, and what of the layer is said of each.
    changes: Vec<(NodeId, Said)>,
    /// Heaps whose content moves.
    condemned: Heaps,
    heap: HeapWriter,
    /// All files made so far.
    made: Vec<PathBuf>,
    /// The new parts of the tables, in order, each with the old parts in whose
    /// place it is.
    nodes: Vec<(Parts, Vec<TableFile>)>,
    out: Vec<(Parts, Vec<TableFile>)>,
    into: Vec<(Parts, Vec<TableFile>)>,
    keys: Vec<(Parts, Vec<TableFile>)>,
    /// The files of the spaces that were looked at.
    vectors: Vec<VectorFile>,
    /// Codes of the last of those.
    build: Option<Build>,
    /// Bytes of heaps that the new parts refer to.
    refs: Refs,
}

/// A file that is derived from a vector file of the base.
#[derive(Debug)]
struct IndexJob {
    build: Build,
    made: Vec<PathBuf>,
}

/// Bytes referred to, by heap.
type Refs = HashMap<u32, u64, RandomState>;

/// Numbers of heaps.
type Heaps = HashSet<u32, RandomState>;

/// A piece of a checkpoint.
#[derive(Debug)]
enum Task {
    Nodes(Parts),
    Out(Parts),
    In(Parts),
    Keys(Parts),
    Vectors(u32),
    Codes,
    Finish,
}

impl Task {
    /// As docs/architecture.md names it.
    const fn name(&self) -> &'static str {
        match self {
            Self::Nodes(_) => "nodes",
            Self::Out(_) => "out",
            Self::In(_) => "in",
            Self::Keys(_) => "keys",
            Self::Vectors(_) => "vectors",
            Self::Codes => "index",
            Self::Finish => "publish",
        }
    }
}

/// Parts of the old table that follow each other and are written anew together:
/// from, to.
type Parts = (usize, usize);

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
            owned: Arc::new(Owned::new()),
            work: Mutex::new(Work {
                generation: manifest.generation,
                next_file: manifest.next_file,
                manifest,
                uncertain: Vec::new(),
                job: None,
                index: None,
                forced: BTreeSet::new(),
                unfit: BTreeSet::new(),
                put_aside: BTreeMap::new(),
                uncut: false,
                closed: false,
            }),
            turn: Mutex::default(),
            written: AtomicU64::new(0),
            hurried: AtomicBool::new(false),
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
    pub(crate) fn run(&self, extent: Extent) -> Result<Seq> {
        self.run_with(extent, |work| Ok(work.checkpoint))
    }

    /// As [`run`](Self::run), and does something before another checkpoint can
    /// begin.
    pub(crate) fn run_with<T>(
        &self,
        extent: Extent,
        then: impl FnOnce(&Manifest) -> Result<T>,
    ) -> Result<T> {
        let target = self.reconciler.state().seq;
        let done = self.run_in(&mut self.enter(), target, extent, then);
        self.reconciler.wake_deferred();
        done
    }

    fn run_in<T>(
        &self,
        work: &mut Work,
        target: Seq,
        extent: Extent,
        then: impl FnOnce(&Manifest) -> Result<T>,
    ) -> Result<T> {
        if work.closed {
            return Err(Error::Closed);
        }
        // What is under way comes first.
        while work.job.is_some() {
            self.step_in(work, extent)?;
        }
        let mut all = extent == Extent::All;
        while all || work.manifest.checkpoint < target {
            let begun = self.step_in(work, if all { extent } else { Extent::Touched })?;
            while work.job.is_some() {
                self.step_in(work, extent)?;
            }
            // What an earlier one left came first, if there was any.
            all = all && work.manifest.checkpoint < target;
            if !begun {
                break;
            }
        }
        if work.uncut {
            let cut = self.cut(work);
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
            let left = work.job.is_none() && self.reconciler.state().frozen.is_some();
            while (due || left) && self.step_in(&mut work, Extent::Touched)? {
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
            Ok(!self.enter().put_aside.is_empty())
        })();
        self.reconciler.wake_deferred();
        made
    }

    /// Takes up what could not be derived.
    pub(crate) fn try_again(&self) {
        self.enter().put_aside.clear();
    }

    /// Builds what the vector files want, again if it is `forced` for these
    /// spaces.
    pub(crate) fn build_indexes(&self, forced: Option<&[u32]>) -> Result<()> {
        let mut work = self.enter();
        if let Some(spaces) = forced {
            let of_spaces = |file: &&VectorFile| spaces.contains(&file.space);
            let files = work.manifest.vectors.iter().filter(of_spaces).map(|f| f.file.number);
            let files: Vec<u32> = files.collect();
            work.forced.extend(files.iter().flat_map(|file| [(*file, false), (*file, true)]));
            work.unfit.retain(|(file, _)| !files.contains(file));
        }
        work.put_aside.clear();
        drop(work);
        let built = (|| {
            // In pieces, between which others may have checkpoints, or close.
            loop {
                let mut work = self.enter();
                // What is under way comes first.
                while work.job.is_some() {
                    self.step_in(&mut work, Extent::Touched)?;
                }
                if !self.index_in(&mut work)? {
                    // The second thread may have done some of it.
                    let failed = work.put_aside.values().next();
                    return failed.cloned().map_or(Ok(()), Err);
                }
            }
        })();
        self.reconciler.wake_deferred();
        built
    }

    /// Does a piece of the work, beginning it if there is none under way.
    /// Returns whether there is more.
    pub(crate) fn step(&self) -> Result<bool> {
        let more = (|| {
            let mut work = self.enter();
            let begun = self.step_in(&mut work, Extent::Touched)?;
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
    pub(crate) fn hurry(&self, hurry: bool) {
        self.hurried.store(hurry, Ordering::Relaxed);
    }

    fn hurried(&self) -> bool {
        self.hurried.load(Ordering::Relaxed)
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
        self.owned.end();
    }

    fn step_in(&self, work: &mut Work, extent: Extent) -> Result<bool> {
        if work.closed {
            return Err(Error::Closed);
        }
        let Some(mut job) = work.job.take() else {
            let begun = self.begin(work, extent).map_err(|cause| at_step("freeze", cause));
            work.job = self.note(begun)?;
            if work.job.is_none() && work.uncut {
                let cut = self.cut(work);
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
            outcome.failed = outcome.failed.saturating_add(1);
            outcome.last_failure = Some(error.to_string());
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

    fn begin(&self, work: &Work, extent: Extent) -> Result<Option<Job>> {
        let (frozen, old) = match self.reconciler.freeze()? {
            Some(taken) => taken,
            None if extent == Extent::All => {
                let state = self.reconciler.state();
                (Arc::new(state.nothing_frozen()), Arc::clone(&state.base))
            }
            None => return Ok(None),
        };
        let layer = &frozen.layer;
        let mut next = work.manifest.next();
        next.generation = work.generation.saturating_add(1);
        next.checkpoint = frozen.seq;
        next.durable = next.durable.max(frozen.seq);
        next.kinds = frozen.kinds.iter().map(str::to_owned).collect();
        next.indexes = frozen.indexes.iter().map(str::to_owned).collect();
        next.spaces.clone_from(&frozen.spaces);
        next.counts = frozen.counts;
        let mut changes: Vec<(NodeId, Said)> = layer.nodes.changes(frozen.seq).collect();
        changes.sort_unstable();
        let copy_bytes = u64::try_from(layer.bytes).unwrap_or(u64::MAX);
        let condemned = condemned(&old.manifest, extent, copy_bytes);
        let all = extent == Extent::All;
        let mut tasks = VecDeque::new();

        let moves = |refs: &segment::Table<RefRow>| -> Result<bool> {
            for row in 0..refs.len() {
                if condemned.contains(&refs.row(row)?.heap.get()) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let touched = |at: usize, parts: &[Arc<NodePart>]| -> Result<bool> {
            let (from, to) = bounds(parts, (at, at.saturating_add(1)), |part| part.first);
            Ok(all || !within(&changes, from, to).is_empty() || moves(&parts_at(parts, at)?.refs)?)
        };
        let row =
            |rows: usize, bytes: usize| u64::try_from(rows.saturating_mul(bytes)).unwrap_or(0);
        let gone = |at: usize| {
            let (from, to) = bounds(&old.nodes, (at, at.saturating_add(1)), |part| part.first);
            let gone = within(&changes, from, to)
                .iter()
                .filter(|(_, said)| layer.nodes.record(*said).is_none());
            row(gone.count(), size_of::<NodeRow>())
        };
        for group in self.group(&old.nodes, changes.is_empty(), touched, gone)? {
            tasks.push_back(Task::Nodes(group));
        }
        for (parts, changes, task) in [
            (&old.out, &layer.out, Task::Out as fn(Parts) -> Task),
            (&old.into, &layer.into, Task::In as fn(Parts) -> Task),
        ] {
            let touched = |at: usize, parts: &[Arc<EdgePart>]| -> Result<bool> {
                let within = bounds(parts, (at, at.saturating_add(1)), |part| part.first);
                let moves = match &parts_at(parts, at)?.refs {
                    Some(refs) => moves(refs)?,
                    None => false,
                };
                Ok(all || moves || changes.range(range(within)).next().is_some())
            };
            let gone = |at: usize| {
                let within = bounds(parts, (at, at.saturating_add(1)), |part| part.first);
                let gone = changes.range(range(within)).filter(|(_, edge)| edge.is_none());
                row(gone.count(), size_of::<EdgeRow>())
            };
            for group in self.group(parts, changes.is_empty(), touched, gone)? {
                tasks.push_back(task(group));
            }
        }
        let touched = |at: usize, parts: &[Arc<KeyPart>]| -> Result<bool> {
            let within = key_bounds(parts, (at, at.saturating_add(1)));
            Ok(all || layer.keys.range::<_, KeyPlace<'_>>(range(within)).next().is_some())
        };
        let gone = |at: usize| {
            let within = key_bounds(&old.keys, (at, at.saturating_add(1)));
            let gone = layer.keys.range::<_, KeyPlace<'_>>(range(within)).filter(|(_, has)| !**has);
            let bytes = gone.map(|(entry, _)| entry.key.len() + tables::KEY_HEAD_BYTES);
            row(bytes.fold(0, usize::saturating_add), 1)
        };
        for group in self.group(&old.keys, layer.keys.is_empty(), touched, gone)? {
            tasks.push_back(Task::Keys(group));
        }
        tasks.extend((0_u32..).zip(&frozen.spaces).map(|(space, _)| Task::Vectors(space)));
        tasks.push_back(Task::Finish);
        Ok(Some(Job {
            frozen,
            old,
            extent,
            next,
            tasks,
            changes,
            condemned,
            heap: HeapWriter::default(),
            made: Vec::new(),
            nodes: Vec::new(),
            out: Vec::new(),
            into: Vec::new(),
            keys: Vec::new(),
            vectors: Vec::new(),
            build: None,
            refs: Refs::default(),
        }))
    }

    /// Puts the parts of a table that are to be written anew into groups: each
    /// that is touched, with neighbours so small that they should be one. `gone`
    /// tells how many bytes of a part's rows will not be there afterwards.
    fn group<P: Part>(
        &self,
        parts: &[Arc<P>],
        no_changes: bool,
        touched: impl Fn(usize, &[Arc<P>]) -> Result<bool>,
        gone: impl Fn(usize) -> u64,
    ) -> Result<Vec<Parts>> {
        let target = self.limits.part_bytes;
        let small = |bytes: u64| bytes < target / 4;
        let sizes = parts.iter().enumerate();
        let sizes: Vec<u64> =
            sizes.map(|(at, part)| part.bytes().saturating_sub(gone(at))).collect();
        let size = |at: usize| sizes.get(at).copied().unwrap_or(u64::MAX);
        let mut groups: Vec<Parts> = Vec::new();
        if parts.is_empty() && !no_changes {
            groups.push((0, 0));
        }
        let mut at = 0;
        while at < parts.len() {
            if !touched(at, parts)? {
                at = at.saturating_add(1);
                continue;
            }
            let (mut from, mut to, mut bytes) = (at, at.saturating_add(1), size(at));
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
            while to < parts.len() && fits(bytes, size(to)) {
                bytes = bytes.saturating_add(size(to));
                to = to.saturating_add(1);
            }
            groups.push((from, to));
            at = to;
        }
        Ok(groups)
    }

    fn task(&self, work: &mut Work, job: &mut Job, task: Task) -> Result<()> {
        let Job { frozen, old, changes, condemned, heap, made, refs, .. } = job;
        let mut making = self.making(work.manifest.store, &mut work.next_file, made);
        let condemned = &*condemned;
        let target = self.limits.part_bytes;
        match task {
            Task::Nodes(parts) => {
                let (from, to) = bounds(&old.nodes, parts, |part| part.first);
                let changes = within(changes, from, to);
                let rows = rows_of(&old.nodes, parts).saturating_add(changes.len());
                let mut output = NodeOutput::new(rows_per_file::<NodeRow>(rows, target));
                // Records are where they were written, not in order: fetched some
                // at a time, the misses of one overlap those of the next.
                let changes = changes.chunks(FETCHED).flat_map(|changes| {
                    let nodes = &frozen.layer.nodes;
                    let mut fetched = [None; FETCHED];
                    for (to, (id, said)) in fetched.iter_mut().zip(changes) {
                        *to = Some((*id, nodes.record(*said)));
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
                    run(&old.nodes, parts),
                    |row: &&NodeRow| row.id(),
                    changes,
                    |item| {
                        let (row, content) = match item {
                            Merged::New(record) => {
                                let content = encode_node(record, old, condemned, &mut buffer)?;
                                let place = heap.append(&mut making, &buffer)?;
                                let elsewhere = content.is_some();
                                (NodeRow::new(record.id, record.kind, place, elsewhere), content)
                            }
                            Merged::Old(row) => {
                                carry_node(row, old, condemned, heap, &mut making, &mut buffer)?
                            }
                        };
                        output.put(&mut making, refs, row, content)
                    },
                )?;
                job.nodes.push((parts, output.finish(&mut making, refs)?));
            }
            Task::Out(parts) | Task::In(parts) => {
                let out = matches!(task, Task::Out(_));
                let (table, changes) = if out {
                    (&old.out, &frozen.layer.out)
                } else {
                    (&old.into, &frozen.layer.into)
                };
                let within = bounds(table, parts, |part| part.first);
                let rows =
                    rows_of(table, parts).saturating_add(changes.range(range(within)).count());
                let kind = if out { FileKind::Out } else { FileKind::In };
                let mut output = EdgeOutput::new(kind, rows_per_file::<EdgeRow>(rows, target));
                merge(
                    run(table, parts),
                    |row: &&EdgeRow| row.key(),
                    changes.range(range(within)).map(|(key, edge)| (*key, edge.as_deref())),
                    |item| {
                        let row = match item {
                            Merged::New(edge) if out => {
                                let place = write_attributes(edge, heap, &mut making)?;
                                edge_row(edge, edge.key(), place)
                            }
                            Merged::New(edge) => {
                                let len = attribute_bytes(edge).len();
                                let len = u32::try_from(len).unwrap_or(u32::MAX);
                                let place = HeapPlace { heap: 0, slot: 0, len };
                                edge_row(edge, edge.key().turned(), place)
                            }
                            Merged::Old(row) => {
                                let place = row.attributes();
                                if out && place.len > 0 && condemned.contains(&place.heap) {
                                    let bytes =
                                        old.heap(place.heap)?.bytes(place.offset(), place.len)?;
                                    row.with_attributes(heap.append(&mut making, bytes)?)
                                } else {
                                    *row
                                }
                            }
                        };
                        output.put(&mut making, refs, row)
                    },
                )?;
                let files = output.finish(&mut making, refs)?;
                if out { job.out.push((parts, files)) } else { job.into.push((parts, files)) }
            }
            Task::Keys(parts) => {
                let within = key_bounds(&old.keys, parts);
                let changes = || frozen.layer.keys.range::<_, KeyPlace<'_>>(range(within));
                let old_bytes = old.keys.get(parts.0..parts.1).unwrap_or_default();
                let old_bytes = old_bytes.iter().map(|part| part.bytes());
                let new_bytes = changes().map(|(entry, _)| {
                    let len = entry.key.len().saturating_add(tables::KEY_HEAD_BYTES);
                    u64::try_from(len).unwrap_or(u64::MAX)
                });
                let bytes = old_bytes.chain(new_bytes).fold(0, u64::saturating_add);
                let mut output =
                    KeyOutput::new(bytes.div_ceil(bytes.div_ceil(target).max(1)).max(1));
                merge(
                    run(&old.keys, parts),
                    |place: &KeyPlace<'_>| *place,
                    changes().map(|(entry, has)| (entry.place(), has.then_some(entry))),
                    |item| match item {
                        Merged::New(entry) => output.put(&mut making, entry.place()),
                        Merged::Old(place) => output.put(&mut making, place),
                    },
                )?;
                job.keys.push((parts, output.finish(&mut making)?));
            }
            Task::Vectors(space) => {
                let files = vectors::seal(space, frozen, old, job.extent, &mut making)?;
                job.vectors.extend(files.kept);
                if let Some(file) = files.new {
                    let named = usize::try_from(space).ok().and_then(|at| frozen.spaces.get(at));
                    let codes = named
                        .filter(|_| {
                            usize::try_from(file.live).unwrap_or(0) >= self.limits.index_rows
                        })
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
                match job.build.as_mut().map(|b| b.step(&mut making, &|| self.hurried())) {
                    Some(Ok(Step::More)) => job.tasks.push_front(Task::Codes),
                    Some(Ok(Step::Done(codes))) => {
                        if let Some(file) = job.vectors.last_mut() {
                            file.codes = Some(codes);
                        }
                        job.build = None;
                    }
                    Some(Ok(Step::Unfit)) => job.build = None,
                    Some(Err(error)) => return Err(error),
                    None => {}
                }
            }
            Task::Finish => {}
        }
        Ok(())
    }

    fn making<'a>(
        &'a self,
        store: StoreId,
        next_file: &'a mut u32,
        made: &'a mut Vec<PathBuf>,
    ) -> Making<'a> {
        let (fs, dir, written) = (&*self.fs, &*self.data_dir, &self.written);
        let piece_bytes = self.limits.piece_bytes;
        Making { fs, dir, store, next_file, made, written, piece_bytes }
    }

    /// Finishes the files and puts them in force.
    fn finish(&self, work: &mut Work, mut job: Job) -> Result<()> {
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
        self.in_force(work, next, &job.old, &base);
        work.put_aside.clear();
        self.reconciler.install(Arc::new(base));
        {
            let mut outcome = self.outcome();
            outcome.completed = outcome.completed.saturating_add(1);
            outcome.last_failure = None;
        }
        // Large, and not to be dropped where anybody waits but for the room that
        // this makes.
        drop(job);
        self.reconciler.released();
        self.cut(work)
    }

    /// Removes log files that the base covers; again, if that failed before.
    fn cut(&self, work: &mut Work) -> Result<()> {
        work.uncut = true;
        unless_panicked(|| self.reconciler.cut(work.manifest.checkpoint))
            .map_err(|cause| at_step("cut", cause))?;
        work.uncut = false;
        Ok(())
    }

    fn prepare(&self, work: &mut Work, job: &mut Job) -> Result<(Manifest, Base)> {
        let mut making = self.making(work.manifest.store, &mut work.next_file, &mut job.made);
        let heaps = job.heap.finish(&mut making).map_err(|cause| at_step("heap", cause))?;
        let old = &job.old;
        let mut refs = std::mem::take(&mut job.refs);
        let read = |refs: &mut Refs, table: &segment::Table<RefRow>| -> Result<()> {
            for row in 0..table.len() {
                let row = table.row(row)?;
                let bytes = refs.entry(row.heap.get()).or_default();
                *bytes = bytes.saturating_add(row.bytes.get());
            }
            Ok(())
        };
        for part in left(&old.nodes, &job.nodes) {
            read(&mut refs, &part.refs).map_err(|cause| at_step("heap", cause))?;
        }
        for part in left(&old.out, &job.out) {
            if let Some(table) = &part.refs {
                read(&mut refs, table).map_err(|cause| at_step("heap", cause))?;
            }
        }
        let mut next = job.next.clone();
        next.heaps = old
            .manifest
            .heaps
            .iter()
            .map(|heap| heap.file)
            .chain(heaps)
            .filter_map(|file| Some(HeapFile { file, live: *refs.get(&file.number)? }))
            .collect();
        next.nodes = replaced(&old.manifest.nodes, &mut job.nodes);
        next.out = replaced(&old.manifest.out, &mut job.out);
        next.into = replaced(&old.manifest.into, &mut job.into);
        next.keys = replaced(&old.manifest.keys, &mut job.keys);
        next.vectors = std::mem::take(&mut job.vectors);
        for file in &mut next.vectors {
            let space = usize::try_from(file.space).ok().and_then(|at| next.spaces.get(at));
            let method = space.map_or(Method::Auto, |space| space.method);
            file.codes = file.codes.filter(|_| method != Method::Exact);
            file.graph = file.graph.filter(|_| method == Method::Hnsw);
        }
        next.vectors.sort_unstable_by_key(|file| file.file.number);
        next.next_file = work.next_file;
        self.fs
            .sync_dir(&self.data_dir)
            .map_err(|error| at_step("sync", Error::io("sync", &self.data_dir, error)))?;
        let base = Base::open(&self.fs, &self.data_dir, &next, Some(old))
            .map_err(|cause| at_step("map", cause))?;
        // Here and not in those who read it first, unless writers wait.
        let known: HashSet<u32> =
            old.nodes.iter().map(|part| part.segment().file().number).collect();
        for part in &base.nodes {
            if !known.contains(&part.segment().file().number) && !self.reconciler.is_full() {
                part.rows.fill_fences().map_err(|cause| at_step("map", cause))?;
            }
        }
        Ok((next, base))
    }

    /// What a vector file wants that it has not.
    fn wanted_index(&self, work: &mut Work) -> Option<Build> {
        let state = self.reconciler.state();
        work.forced.retain(|(file, _)| {
            work.manifest.vectors.iter().any(|known| known.file.number == *file)
        });
        for part in &state.base.vectors {
            let rows = &part.rows;
            let number = rows.segment.file().number;
            let Some(space) = state.spaces.by_number(rows.space) else { continue };
            let forced = |graph| work.forced.contains(&(number, graph));
            if let Some(Derived::Codes(bits)) = Derived::codes(space.method)
                && rows.len() >= self.limits.index_rows
                && !work.unfit.contains(&(number, false))
                && !work.put_aside.contains_key(&(number, false))
            {
                let good = part.codes.as_ref().is_some_and(|codes| {
                    let bits = |codes: &Codes| codes.head.bits.get() == bits;
                    codes.failure().is_none() && codes.get(rows).is_ok_and(bits)
                });
                if !good || forced(false) {
                    return Some(Build::new(Arc::clone(rows), Derived::Codes(bits)));
                }
            }
            let bytes = u64::try_from(rows.len()).unwrap_or(u64::MAX);
            let bytes = bytes.saturating_mul(graph_row_bytes(rows.definition.dimension));
            if space.method == Method::Hnsw
                && hnsw::AVAILABLE
                && rows.len() >= self.limits.graph_rows
                && bytes <= self.limits.graph_bytes
                && !work.unfit.contains(&(number, true))
                && !work.put_aside.contains_key(&(number, true))
            {
                let good = part.graph.as_ref().is_some_and(|graph| graph.failure().is_none());
                if !good || forced(true) {
                    return Some(Build::new(Arc::clone(rows), Derived::Graph));
                }
            }
        }
        // What failed stays forced until it is tried again.
        let Work { forced, put_aside, .. } = work;
        forced.retain(|wanted| put_aside.contains_key(wanted));
        None
    }

    /// Does a piece of what vector files want. Returns whether there may be
    /// more. A file that goes meanwhile takes its index with it.
    fn index_in(&self, work: &mut Work) -> Result<bool> {
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
        let number = job.build.rows().segment.file().number;
        if !work.manifest.vectors.iter().any(|file| file.file.number == number) {
            work.index = Some(job);
            self.give_up_index(work);
            return Ok(true);
        }
        let mut making = self.making(work.manifest.store, &mut work.next_file, &mut job.made);
        match unless_panicked(|| job.build.step(&mut making, &|| self.hurried())) {
            Ok(Step::More) => {
                work.index = Some(job);
                Ok(true)
            }
            Ok(Step::Unfit) => {
                let graph = job.build.derived() == Derived::Graph;
                work.unfit.insert((number, graph));
                work.forced.remove(&(number, graph));
                Ok(true)
            }
            Ok(Step::Done(file)) => {
                let graph = job.build.derived() == Derived::Graph;
                let published = self.publish_index(work, job, file);
                if let Err(cause) = &published {
                    work.put_aside.insert((number, graph), cause.clone());
                }
                self.note(published).map(|()| true)
            }
            // The engine ends.
            Err(Error::Closed) => {
                work.index = Some(job);
                self.give_up_index(work);
                Err(Error::Closed)
            }
            Err(cause) => {
                let cause = at_step("index", cause);
                work.put_aside
                    .insert((number, job.build.derived() == Derived::Graph), cause.clone());
                work.index = Some(job);
                self.give_up_index(work);
                self.note(Err(cause))
            }
        }
    }

    /// Removes what was made of an index that is not finished.
    fn give_up_index(&self, work: &mut Work) {
        for path in work.index.take().into_iter().flat_map(|job| job.made) {
            // What stays is no part of the store: the next opening removes it.
            let _ = self.fs.remove(&path);
        }
    }

    /// Puts the index of a vector file in force.
    fn publish_index(&self, work: &mut Work, mut job: IndexJob, file: DataFile) -> Result<()> {
        let number = job.build.rows().segment.file().number;
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
            let base = Base::open(&self.fs, &self.data_dir, &next, Some(&state.base))?;
            // A base does without an index that cannot be opened; this one
            // would be wanted again at once, and so without end.
            for part in base.vectors.iter().filter(|p| p.rows.segment.file().number == number) {
                part.check_index(derived == Derived::Graph)?;
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
        self.in_force(work, next, &state.base, &base);
        work.forced.remove(&(number, derived == Derived::Graph));
        self.reconciler.replace(Arc::new(base));
        Ok(())
    }

    /// Publishes a manifest. An error tells whether it is certain that the old
    /// one is in its place.
    fn publish(&self, work: &mut Work, next: &Manifest) -> Result<(), (Error, bool)> {
        work.generation = next.generation;
        // After a rename that may have happened, or a panic, the disk may have
        // either manifest: each finds its files and its log.
        let mut certain = false;
        let published = unless_panicked(|| {
            manifest::publish(&*self.fs, &self.dir, next).map_err(|failure| {
                certain = !failure.may_have_replaced();
                failure.into()
            })
        });
        published.map_err(|error| (at_step("publish", error), certain))
    }

    /// A manifest is in force: files that only `old` has go.
    fn in_force(&self, work: &mut Work, next: Manifest, old: &Base, base: &Base) {
        for path in work.uncertain.drain(..) {
            let _ = self.fs.remove(&path);
        }
        work.manifest = next;
        let kept: HashSet<u32> = base.segments().map(|segment| segment.file().number).collect();
        for segment in old.segments().filter(|s| !kept.contains(&s.file().number)) {
            segment.retire(&self.owned);
        }
        // What could not be opened is not mapped, and has to go all the same.
        let named: HashSet<u32> = work.manifest.files().map(|(_, file)| file.number).collect();
        for (kind, file) in old.manifest.files() {
            let mapped = || old.segments().any(|segment| segment.file().number == file.number);
            if kind == FileKind::VectorIndex && !named.contains(&file.number) && !mapped() {
                let _ = self.fs.remove(&segment::file_path(&self.data_dir, kind, file.number));
            }
        }
    }

    /// Publishes a manifest that says that the store is whole.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut work = self.enter();
        let mut next = work.manifest.next();
        next.salvaging = false;
        self.replace(&mut work, next)
    }

    /// Publishes a manifest that says how far the log reaches, if the one in
    /// force does not.
    pub(crate) fn note_durable(&self, durable: Seq) -> Result<()> {
        let mut work = self.enter();
        if durable > work.manifest.durable {
            let mut next = work.manifest.next();
            next.durable = durable;
            self.replace(&mut work, next)?;
        }
        Ok(())
    }

    /// Publishes a manifest of the same base.
    fn replace(&self, work: &mut Work, mut next: Manifest) -> Result<()> {
        next.generation = work.generation.saturating_add(1);
        next.next_file = work.next_file;
        work.generation = next.generation;
        manifest::publish(&*self.fs, &self.dir, &next)?;
        work.manifest = next;
        Ok(())
    }

    pub(crate) fn stats(&self) -> CheckpointStats {
        let state = self.reconciler.state();
        let manifest = &state.base.manifest;
        let outcome = self.outcome();
        let bytes = manifest.files().map(|(_, file)| file.len).fold(0, u64::saturating_add);
        let dead = manifest.heaps.iter().map(|heap| heap.file.len.saturating_sub(heap.live));
        let dead_vectors = manifest.vectors.iter().zip(&state.base.vectors).map(|(file, part)| {
            let rows = u64::try_from(part.rows.len()).unwrap_or(u64::MAX);
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

/// Bytes of memory that a row takes while a graph is built and written: its
/// numbers as i8, its links, and both again in the bytes to be written.
fn graph_row_bytes(dimension: usize) -> u64 {
    u64::try_from(dimension.saturating_add(256).saturating_mul(2)).unwrap_or(u64::MAX)
}

/// A panic, of a file system of the caller's or a fault of ours, as an error.
fn unless_panicked<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Error::invalid("checkpoint: a panic ended it half way")))
}

fn at_step(step: &'static str, cause: Error) -> Error {
    match cause {
        // Not the checkpoint's.
        cause @ (Error::Poisoned { .. } | Error::Checkpoint { .. }) => cause,
        cause => Error::Checkpoint { step, cause: Arc::new(cause) },
    }
}

/// The heaps whose content is to move: of those that are garbage the most, as
/// many as bring garbage down to half of what is live, and no more than what
/// this checkpoint writes anyway, twice over.
fn condemned(manifest: &Manifest, extent: Extent, copy_bytes: u64) -> Heaps {
    const LEAST_COPY_BYTES: u64 = 32 << 20;
    let mut heaps: Vec<&HeapFile> = manifest.heaps.iter().collect();
    if extent == Extent::All {
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
    let most = copy_bytes.saturating_mul(2).max(LEAST_COPY_BYTES);
    // Live bytes of a thousand.
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

/// What a merge gives for a key.
enum Merged<R, C> {
    /// The old row.
    Old(R),
    /// What it changed to.
    New(C),
}

/// Merges rows and changes, both ascending, into what is there afterwards.
fn merge<R, C, K: Ord>(
    old: impl Iterator<Item = Result<R>>,
    key: impl Fn(&R) -> K,
    changes: impl Iterator<Item = (K, Option<C>)>,
    mut emit: impl FnMut(Merged<R, C>) -> Result<()>,
) -> Result<()> {
    let mut changes = changes.peekable();
    for row in old {
        let row = row?;
        let place = key(&row);
        while let Some((_, change)) = changes.next_if(|(key, _)| *key < place) {
            if let Some(change) = change {
                emit(Merged::New(change))?;
            }
        }
        match changes.next_if(|(key, _)| *key == place) {
            Some((_, Some(change))) => emit(Merged::New(change))?,
            Some((_, None)) => {}
            None => emit(Merged::Old(row))?,
        }
    }
    for (_, change) in changes {
        if let Some(change) = change {
            emit(Merged::New(change))?;
        }
    }
    Ok(())
}

fn parts_at<P>(parts: &[Arc<P>], at: usize) -> Result<&P> {
    let part = parts.get(at).map(|part| &**part);
    part.ok_or_else(|| Error::invalid(format!("part {at} of a table: there is none")))
}

/// The keys of parts `from..to`: from, up to; the first part begins before all
/// keys, the last ends after all.
fn bounds<P, K>(parts: &[Arc<P>], (from, to): Parts, first: impl Fn(&P) -> K) -> Within<K> {
    let low = parts.get(from).filter(|_| from > 0).map(|part| first(part));
    (low, parts.get(to).map(|part| first(part)))
}

fn key_bounds(parts: &[Arc<KeyPart>], (from, to): Parts) -> Within<KeyPlace<'_>> {
    let low = parts.get(from).filter(|_| from > 0).and_then(|part| part.first());
    (low, parts.get(to).and_then(|part| part.first()))
}

/// From, up to; `None` for no bound.
type Within<K> = (Option<K>, Option<K>);

fn range<K>((from, to): Within<K>) -> (std::ops::Bound<K>, std::ops::Bound<K>) {
    use std::ops::Bound::{Excluded, Included, Unbounded};
    (from.map_or(Unbounded, Included), to.map_or(Unbounded, Excluded))
}

fn within(
    changes: &[(NodeId, Said)],
    from: Option<NodeId>,
    to: Option<NodeId>,
) -> &[(NodeId, Said)] {
    let low = from.map_or(0, |from| changes.partition_point(|(id, _)| *id < from));
    let high = to.map_or(changes.len(), |to| changes.partition_point(|(id, _)| *id < to));
    changes.get(low..high).unwrap_or_default()
}

fn run<P: Part>(parts: &[Arc<P>], (from, to): Parts) -> crate::snapshot::Run<'_, P> {
    crate::snapshot::Run { parts, low: (from, 0), high: (to, 0), descending: false }
}

fn rows_of<P: Part>(parts: &[Arc<P>], (from, to): Parts) -> usize {
    let parts = parts.get(from..to).unwrap_or_default();
    parts.iter().map(|part| part.len()).fold(0, usize::saturating_add)
}

/// Rows of each file, so that none is larger than `target` and all are about
/// of one size.
fn rows_per_file<R>(rows: usize, target: u64) -> usize {
    let most = usize::try_from(target).unwrap_or(usize::MAX) / size_of::<R>();
    rows.div_ceil(rows.div_ceil(most.max(1)).max(1)).max(1)
}

/// The old parts that no new one is in the place of.
fn left<'a, P>(
    old: &'a [Arc<P>],
    new: &'a [(Parts, Vec<TableFile>)],
) -> impl Iterator<Item = &'a Arc<P>> {
    old.iter().enumerate().filter_map(move |(at, part)| {
        let gone = new.iter().any(|((from, to), _)| (*from..*to).contains(&at));
        (!gone).then_some(part)
    })
}

/// The files of a table, new ones in the place of old ones.
fn replaced(old: &[TableFile], new: &mut Vec<(Parts, Vec<TableFile>)>) -> Vec<TableFile> {
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
