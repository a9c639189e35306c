//! The engine: an open store.

pub(crate) mod backup;
mod building;
pub(crate) mod lease;
#[cfg(all(test, loom))]
mod loom_models;
pub(crate) mod maintenance;
pub(crate) mod open;
pub(crate) mod options;
mod own;
pub(crate) mod prune;
pub(crate) mod repair;
pub(crate) mod replay;
#[cfg(all(test, shuttle))]
mod shuttle_models;
pub(crate) mod stats;
pub(crate) mod target;
pub(crate) mod transaction;
pub(crate) mod turns;
pub(crate) mod verify;

use std::{
    borrow::BorrowMut,
    mem,
    path::{self, Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    checkpoint::{
        Checkpointer,
        plan::{Limits, Scope},
    },
    engine::{
        maintenance::MaintenanceWorker,
        options::Options,
        prune::{Pruner, at_once},
        stats::Stats,
        turns::Turns,
    },
    format::wal::Payload,
    model::{
        batch::{Batch, Durability, Named, Op},
        catalog::unknown_space,
        error::{Error, Result},
        index::Index,
        limits::check_count,
        space::{Method, Space},
        time::{Seq, Timestamp},
    },
    os::{
        clock::Clock,
        file::{Fs, Lock},
        process::Owner,
    },
    read::{footprint::Footprint, index_info::IndexState, snapshot::Snapshot},
    state::base::rebuild_signal::RebuildSignal,
    store::wal::{self, LogSizes, report::RecoveryReport},
    sync::{Mutex, atomic::Ordering, thread},
    write::{
        reconciler::{Reconciler, Start},
        ticket::{Pending, Refused, Ticket},
    },
};

/// An open store.
///
/// An engine belongs to the process that opened it. In a process forked from that
/// one, snapshots can be read, and dropping the engine is harmless; all calls
/// that write, wait or maintain return [`Error::Forked`].
///
/// An engine is shared by reference or in an `Arc`; all its methods take
/// `&self`. It has two threads of its own, for commits and for checkpoints,
/// which sleep until they are needed, unless [`Options::inline`] says otherwise.
///
/// ```
/// use ingrain::{Batch, Engine, Node, NodeId};
///
/// # let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("memory"))?;
/// let id = NodeId::new();
/// let mut batch = Batch::new();
/// batch.put(Node::new(id, "note").content("dogs bark"));
/// let seq = engine.write(batch)?; // durable and visible from here on
///
/// let snapshot = engine.snapshot();
/// assert_eq!(snapshot.seq(), seq);
/// assert_eq!(snapshot.get(id)?.unwrap().content(), b"dogs bark");
/// engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Engine {
    dir: PathBuf,
    owner: Owner,
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    durability: Durability,
    patience: Duration,
    write_log_bytes: usize,
    inline: bool,
    log_sizes: LogSizes,
    reconciler: Arc<Reconciler>,
    checkpointer: Arc<Checkpointer>,
    maintenance: Arc<MaintenanceWorker>,
    pruner: Arc<Pruner>,
    report: RecoveryReport,
    /// Of transactions that are tried again.
    turns: Turns,
    /// The threads and the lock; `None` once the engine is closed.
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    threads: Vec<thread::JoinHandle<()>>,
    lock: Arc<dyn Lock>,
}

impl Engine {
    /// Opens the store in a directory with the default [`Options`], creating
    /// it if there is none.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Options::new().open(path)
    }

    fn open_with(path: &Path, mut options: Options) -> Result<Self> {
        // The engine creates files long after this, and the working directory may
        // change meanwhile.
        let dir = path::absolute(path).map_err(|error| Error::io("open", path, error))?;
        let owner = Owner::current();
        let maintenance = Arc::new(MaintenanceWorker::default());
        let worker = Arc::clone(&maintenance);
        // Reads send it, also in a forked process, which must not wait for a lock.
        let signal = RebuildSignal::new(move || {
            if owner.is_here() {
                worker.request();
            }
        });
        let opened = open::open(&dir, &mut options, signal)?;
        let missing = open::missing(&opened.state, &options)?;
        if !options.inline {
            let worker = Arc::clone(&maintenance);
            opened.state.dead_reports().set_signal(move || {
                if owner.is_here() {
                    worker.hint();
                }
            });
        }
        let worker = Arc::clone(&maintenance);
        let reconciler = Arc::new(Reconciler::new(Start {
            fs: Arc::clone(&options.fs),
            clock: Arc::clone(&options.clock),
            wal_dir: dir.join(wal::DIR),
            store: opened.manifest.store,
            writer: opened.writer,
            state: opened.state,
            entries: options.write_log_batches,
            bytes: options.write_log_bytes,
            max_interval: if options.inline { Duration::ZERO } else { options.publish_interval },
            inline: options.inline,
            delta_bytes: options.delta_bytes,
            delta_vectors: options.delta_vectors,
            wal_bytes: options.wal_bytes,
            checkpoint: Box::new(move || worker.request()),
        }));
        let checkpointer = Arc::new(Checkpointer::new(
            Arc::clone(&options.fs),
            &dir,
            Arc::clone(&reconciler),
            options.limits(),
            opened.manifest,
        ));
        let pruner = Arc::new(Pruner::new(
            Arc::clone(&reconciler),
            Arc::clone(&options.clock),
            owner,
            options.prune_every,
            options.write_log_bytes,
        ));
        let engine = Self {
            dir,
            owner,
            fs: options.fs,
            clock: options.clock,
            durability: options.durability,
            patience: options.patience,
            write_log_bytes: options.write_log_bytes,
            inline: options.inline,
            log_sizes: options.granularity.log,
            reconciler,
            checkpointer,
            maintenance,
            pruner,
            report: opened.report,
            turns: Turns::default(),
            held: Mutex::new(Some(Held { threads: Vec::new(), lock: opened.lock })),
        };
        if !options.inline {
            engine.start()?;
        }
        // The maintenance thread also builds missing indexes of vector files.
        if engine.reconciler.checkpoint_due()
            || (!engine.inline && engine.reconciler.state().indexes().unfinished().is_some())
            || !engine.reconciler.state().base().vectors().is_empty()
        {
            engine.maintenance.request();
        }
        if !missing.is_empty() {
            engine.write(Batch::from_iter(missing))?;
        }
        Ok(engine)
    }

    /// Starts the threads. If the second cannot be started, dropping the engine
    /// ends the first.
    fn start(&self) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = held.as_mut() else { return Ok(()) };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.map_err(|error| Error::io("start a thread for", &self.dir, error))
        };
        let worker = Arc::clone(&self.reconciler);
        held.threads.push(spawn("ingrain", Box::new(move || worker.work()))?);
        let (reconciler, checkpointer, maintenance, pruner, clock) = (
            Arc::clone(&self.reconciler),
            Arc::clone(&self.checkpointer),
            Arc::clone(&self.maintenance),
            Arc::clone(&self.pruner),
            Arc::clone(&self.clock),
        );
        let owner = self.owner;
        let work = move || maintenance.work(&reconciler, &checkpointer, &pruner, &*clock, owner);
        held.threads.push(spawn("ingrain-base", Box::new(work))?);
        Ok(())
    }

    /// In an engine without threads, the writers make checkpoints: a step with
    /// each write, or a whole checkpoint when the delta is full. They also delete
    /// what has expired, a batch of it with each write while there is more.
    fn maintain(&self) {
        if !self.inline {
            return;
        }
        if let Some(name) = self.reconciler.state().indexes().unfinished() {
            // What fails now is tried again with the next write.
            let now = self.clock.now();
            let _ = building::step(&self.reconciler, name, now, Duration::ZERO, self.owner);
        }
        self.make_room();
    }

    /// The part of [`maintain`](Self::maintain) that writes files.
    fn make_room(&self) {
        if !self.inline {
            return;
        }
        let (under_way, full) = (self.checkpointer.is_under_way(), self.reconciler.is_full());
        // A failure is in the stats. It does not concern this write, unless there
        // is no room: then the write gets `Backpressure`.
        if full {
            let _ = self.checkpointer.run(Scope::Incremental);
        } else if under_way || self.maintenance.wanted.swap(false, Ordering::AcqRel) {
            let more = self.checkpointer.step();
            // One index is done, and others may be missing.
            if more.is_ok_and(|more| more) && !self.checkpointer.is_under_way() {
                self.maintenance.request();
            }
        }
        self.pruner.step();
    }

    /// Writes a batch. When it returns, the batch is as durable as requested, and
    /// every snapshot taken from now on contains it.
    ///
    /// Many threads may write at once: their batches share a sync (group commit).
    /// Encoding happens here, in the caller's thread.
    ///
    /// It takes a batch or a `&mut Batch`, which is empty once it is queued. A
    /// batch that is refused before that keeps its operations, so that it can be
    /// written again, for example after `Backpressure`:
    ///
    /// ```
    /// use ingrain::{Batch, Edge, Engine, ErrorKind, Node, NodeId};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let (a, b) = (NodeId::new(), NodeId::new());
    /// engine.write(Batch::new().put(Node::new(a, "note")).put(Node::new(b, "note")))?;
    ///
    /// let mut batch = Batch::new();
    /// batch.link(Edge::new(a, "mentions", b));
    /// let seq = loop {
    ///     match engine.write(&mut batch) {
    ///         Err(error) if error.is_retryable() => continue, // or slow down
    ///         written => break written?,
    ///     }
    /// };
    /// assert!(batch.is_empty() && engine.snapshot().seq() == seq);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Before the batch is queued: `Invalid` and `Limit` for a batch that can
    /// never be accepted, `Backpressure` if the write log or the delta stays full,
    /// `Closed`. When its turn comes, also without any effect: `Conflict`;
    /// `Invalid` or `Limit` if what it would make is not allowed; `Corrupt` if
    /// what it needs is damaged on disk. `Poisoned` if the log failed: then the
    /// batch may or may not be there after reopening.
    pub fn write(&self, mut batch: impl BorrowMut<Batch>) -> Result<Seq> {
        self.write_at(batch.borrow_mut(), self.clock.now())
    }

    /// Writes a batch with the given time.
    fn write_at(&self, batch: &mut Batch, time: Timestamp) -> Result<Seq> {
        let ticket = self.queue(batch, time, None)?;
        self.reconciler.see_through(ticket)
    }

    /// Queues a batch and returns at once, unless the write log is full.
    ///
    /// # Errors
    /// Those of [`write`](Self::write) that come before the batch is queued; the
    /// ticket returns the others.
    pub fn submit(&self, mut batch: impl BorrowMut<Batch>) -> Result<Ticket> {
        let ticket = self.queue(batch.borrow_mut(), self.clock.now(), None)?;
        self.reconciler.hand_over();
        Ok(ticket)
    }

    /// Checks, encodes and queues a batch. A batch that is refused keeps its
    /// operations. With `reads`, it is the batch of a transaction.
    fn queue(
        &self,
        batch: &mut Batch,
        time: Timestamp,
        reads: Option<Box<Footprint>>,
    ) -> Result<Ticket> {
        self.owner.check()?;
        // A space that is dropped after this check is found missing when the batch
        // is decided.
        batch.check(&*self.reconciler.state())?;
        let mut ops = batch.take_ops();
        let payload = match Payload::encode(time, &mut ops) {
            Ok(payload) => payload,
            Err(error) => {
                batch.replace_ops(ops);
                return Err(error);
            }
        };
        let durability = batch.asked_durability().unwrap_or(self.durability);
        let (pending, ticket) = Pending::new(time, ops, payload, durability, self.owner);
        let pending = match reads {
            Some(reads) => pending.after(reads),
            None => pending,
        };
        let fits = check_count(
            "bytes of a batch in the write log",
            pending.weight(),
            self.write_log_bytes,
        );
        let queued = match fits {
            Ok(()) => {
                self.maintain();
                self.reconciler.queue(pending, self.patience)
            }
            Err(error) => Err(Refused::new(error, pending)),
        };
        queued.map(|()| ticket).map_err(|refused| refused.give_back(batch))
    }

    /// A snapshot of the last published commit. It costs one reference count.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.reconciler.state())
    }

    /// Creates a vector space, durably. If the store has the same space already,
    /// nothing changes.
    ///
    /// # Errors
    /// `Invalid` if the definition is out of bounds, or the store has a space of
    /// that name with another definition; else as [`write`](Self::write).
    pub fn create_space(&self, name: impl Into<String>, space: Space) -> Result<Seq> {
        self.check_open()?;
        let (name, snapshot) = (name.into(), self.snapshot());
        if snapshot.spaces().any(|existing| existing == (&name, space)) {
            return Ok(snapshot.seq());
        }
        self.create(Op::CreateSpace { name, space })
    }

    /// Creates an index, durably. If the store has it already, nothing changes.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn create_index(&self, name: impl Into<String>) -> Result<Seq> {
        self.check_open()?;
        let (name, snapshot) = (name.into(), self.snapshot());
        if snapshot.index(&name).is_some_and(|existing| existing.definition.is_none()) {
            return Ok(snapshot.seq());
        }
        self.create(Op::CreateIndex { name, index: None })
    }

    /// Creates an index whose keys the engine derives from the nodes, durably. If the
    /// store has the same index already, nothing changes.
    ///
    /// The nodes that are there are added in the background, a few with each commit,
    /// and reads of the index are refused with `NotReady` until all are:
    /// [`build_index`](Self::build_index) waits for that. A crash loses at most the
    /// last steps. If a node cannot be added, because its key would be too long or it
    /// has the key of another in a unique index, the index is left
    /// [failed](crate::index::IndexState::Failed).
    ///
    /// # Errors
    /// `Invalid` if the definition is out of bounds, or the store has an index of that
    /// name with another definition; else as [`write`](Self::write).
    pub fn create_index_on(&self, name: impl Into<String>, index: Index) -> Result<Seq> {
        self.check_open()?;
        let (name, snapshot) = (name.into(), self.snapshot());
        let same = snapshot.index(&name).is_some_and(|old| old.definition == Some(&index));
        if same {
            return Ok(snapshot.seq());
        }
        self.create(Op::CreateIndex { name, index: Some(index) })
    }

    /// Drops an index with all its keys, durably. Its name can be used again. The
    /// next checkpoint frees the disk space.
    ///
    /// # Errors
    /// `Invalid` if there is no index of that name; else as [`write`](Self::write).
    pub fn drop_index(&self, name: impl Into<String>) -> Result<Seq> {
        self.create(Op::DropIndex { name: name.into() })
    }

    /// Adds what is missing in an index that is being built, in the caller's thread.
    /// When it returns, the index can be read.
    ///
    /// # Errors
    /// `Invalid` if there is no index of that name; `NotReady` if it cannot be built;
    /// else as [`write`](Self::write). `Backpressure` is waited out.
    pub fn build_index(&self, name: &str) -> Result<()> {
        loop {
            self.check_open()?;
            match self.reconciler.state().indexes().readable(name) {
                Ok(_) => return Ok(()),
                Err(Error::NotReady { .. }) if self.is_building(name) => {}
                Err(error) => return Err(error),
            }
            self.make_room();
            let now = self.clock.now();
            match building::step(&self.reconciler, name, now, self.patience, self.owner) {
                Err(error) if error.is_retryable() => {}
                done => done?,
            }
        }
    }

    fn is_building(&self, name: &str) -> bool {
        self.snapshot().index(name).is_some_and(|index| index.state == IndexState::Building)
    }

    /// Drops a vector space with all its vectors, durably. Its name can be used
    /// again. The next checkpoint frees the memory and the disk space.
    ///
    /// # Errors
    /// `Invalid` if there is no space of that name; else as
    /// [`write`](Self::write).
    pub fn drop_space(&self, name: impl Into<String>) -> Result<Seq> {
        self.create(Op::DropSpace { name: name.into() })
    }

    /// Changes how a vector space is searched, durably. Its vectors stay as they
    /// are. The indexes that the method needs are built in the background; until
    /// they are ready, searches use those that exist.
    ///
    /// # Errors
    /// As [`drop_space`](Self::drop_space).
    pub fn set_method(&self, name: impl Into<String>, method: Method) -> Result<Seq> {
        let seq = self.create(Op::SetMethod { name: name.into(), method })?;
        self.maintenance.request();
        Ok(seq)
    }

    /// Gives a kind another name, durably, for nodes and edges alike. Nothing is
    /// rewritten, so it costs the same however many have it. Snapshots that were
    /// taken before keep the old name.
    ///
    /// A [`Cursor`](crate::Cursor) of a scan of the kind holds its name, and
    /// continues no scan of the new one; that of a scan of all nodes does.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// let id = NodeId::new();
    /// engine.write(Batch::new().put(Node::new(id, "memo")))?;
    /// let before = engine.snapshot();
    /// engine.rename_kind("memo", "note")?;
    /// assert_eq!(engine.snapshot().get(id)?.unwrap().kind(), "note");
    /// assert_eq!(before.get(id)?.unwrap().kind(), "memo");
    /// assert!(engine.rename_kind("memo", "task").is_err()); // there is none any more
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if there is no kind of that name, one that has the new name already,
    /// or an index that is on the kinds of nodes, whose keys have the old name: drop
    /// it first, and create it again. Else as [`write`](Self::write).
    pub fn rename_kind(&self, from: impl Into<String>, to: impl Into<String>) -> Result<Seq> {
        self.rename(Named::Kind, from, to)
    }

    /// Gives an index another name, durably, as [`rename_kind`](Self::rename_kind)
    /// does for a kind. Its keys stay as they are.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// engine.create_index("time")?;
    /// engine.write(Batch::new().put(Node::new(NodeId::new(), "event").key("time", "1")))?;
    /// engine.rename_index("time", "timeline")?;
    /// let snapshot = engine.snapshot();
    /// assert_eq!(snapshot.range("timeline", .., Direction::Ascending)?.count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if there is no index of that name, or one that has the new name
    /// already; else as [`write`](Self::write).
    pub fn rename_index(&self, from: impl Into<String>, to: impl Into<String>) -> Result<Seq> {
        self.rename(Named::Index, from, to)
    }

    /// Gives a vector space another name, durably, as
    /// [`rename_kind`](Self::rename_kind) does for a kind. Its vectors and the
    /// indexes over them stay as they are.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// engine.create_space("text", Space::new(2, Metric::L2))?;
    /// let id = NodeId::new();
    /// engine.write(Batch::new().put(Node::new(id, "note").vector("text", [1.0, 0.0])))?;
    /// engine.rename_space("text", "title")?;
    /// let snapshot = engine.snapshot();
    /// let hits = snapshot.nearest("title", &[1.0, 0.0], 1, &Filter::new())?;
    /// assert_eq!(hits[0].node.id(), id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if there is no space of that name, or one that has the new name
    /// already; else as [`write`](Self::write).
    pub fn rename_space(&self, from: impl Into<String>, to: impl Into<String>) -> Result<Seq> {
        self.rename(Named::Space, from, to)
    }

    /// Drops the vector space `old` and gives its name to the space `with`, in one
    /// commit and durably: searches use the vectors of the one up to then and
    /// those of the other from then on, and none finds the name missing. For
    /// vectors of another model: the new space, which may have another dimension
    /// and another metric, is filled while the old one serves.
    ///
    /// ```
    /// use ingrain::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// engine.create_space("text", Space::new(2, Metric::L2))?;
    /// let id = NodeId::new();
    /// engine.write(Batch::new().put(Node::new(id, "note").vector("text", [1.0, 0.0])))?;
    ///
    /// engine.create_space("text-new", Space::new(3, Metric::Cosine))?;
    /// engine.write(Batch::new().patch(id, Patch::new().vector("text-new", [0.5, 0.5, 1.0])))?;
    /// let before = engine.snapshot();
    /// engine.replace_space("text", "text-new")?;
    /// let hits = |snapshot: &Snapshot, query: &[f32]| {
    ///     snapshot.nearest("text", query, 1, &Filter::new()).map(|hits| hits.len())
    /// };
    /// assert_eq!(hits(&engine.snapshot(), &[0.5, 0.5, 1.0])?, 1);
    /// assert_eq!(hits(&before, &[1.0, 0.0])?, 1); // as it was
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid` if there is no space of one of the names; else as
    /// [`write`](Self::write).
    pub fn replace_space(&self, old: impl Into<String>, with: impl Into<String>) -> Result<Seq> {
        let (old, with) = (old.into(), with.into());
        let mut batch = Batch::from(Op::DropSpace { name: old.clone() });
        batch.rename(Named::Space, with, old);
        self.write(batch.durability(Durability::Sync))
    }

    fn rename(&self, what: Named, from: impl Into<String>, to: impl Into<String>) -> Result<Seq> {
        self.create(Op::Rename { what, from: from.into(), to: to.into() })
    }

    fn create(&self, op: Op) -> Result<Seq> {
        self.write(Batch::from(op).durability(Durability::Sync))
    }

    /// Deletes up to `limit` nodes that expire at or before `before`, the earliest
    /// first, in batches of about a thousand. Returns how many expired nodes a
    /// snapshot taken at the beginning had, up to `limit`. A node whose expiry is
    /// changed before its batch is committed counts, but stays.
    ///
    /// # Errors
    /// As [`write`](Self::write). Batches that were committed before the error
    /// stay committed.
    pub fn prune(&self, before: Timestamp, limit: usize) -> Result<usize> {
        self.check_open()?;
        let at_once = at_once(self.write_log_bytes);
        let snapshot = self.snapshot();
        let mut expired = snapshot.expired(before).take(limit).peekable();
        let mut found: usize = 0;
        while expired.peek().is_some() {
            let mut batch = Batch::new();
            for id in expired.by_ref().take(at_once) {
                batch.prune(id?, before);
            }
            found += batch.len();
            self.write(batch)?;
        }
        Ok(found)
    }

    /// Statistics of the engine, as of now; in a forked process, as of the fork.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let (here, snapshot) = (self.owner.is_here(), self.snapshot());
        Stats {
            seq: snapshot.seq(),
            nodes: snapshot.node_count(),
            edges: snapshot.edge_count(),
            keys: snapshot.key_count(),
            vectors: snapshot.vector_count(),
            kinds: snapshot.kind_count(),
            spaces: self.reconciler.state().space_stats(),
            write: self.reconciler.stats(here),
            snapshots: self.reconciler.snapshot_stats(here),
            checkpoint: self.checkpointer.stats(here),
            prune: self.pruner.stats(here),
        }
    }

    /// What recovery found and did when the store was opened.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.report
    }

    /// The directory of the store.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Writes everything that was committed before the call into the base, and
    /// removes the log files that are no longer needed. Returns the last commit of
    /// the base. Writes and reads continue meanwhile.
    ///
    /// Checkpoints also happen automatically, when [`Options::delta_bytes`] or
    /// [`Options::wal_bytes`] require one. A checkpoint rewrites the touched
    /// partitions of all tables.
    ///
    /// # Errors
    /// `Checkpoint`, with the step that failed: everything is as before, and the
    /// next checkpoint starts again. `Poisoned` if the log had failed before all
    /// of it was in the base. `Closed`, also if the engine is closed meanwhile.
    pub fn checkpoint(&self) -> Result<Seq> {
        self.check_open()?;
        let seq = self.checkpointer.run(Scope::Incremental)?;
        // Graphs of new vector files are built in the background.
        if !self.reconciler.state().base().vectors().is_empty() {
            self.maintenance.request();
        }
        Ok(seq)
    }

    /// Rewrites the whole base, without garbage and in partitions of even size.
    /// Until it is done, the disk holds the old base too: together at most two
    /// and a half times the live bytes, and the log.
    ///
    /// Checkpoints collect garbage automatically, down to half of the live bytes.
    /// This makes a store as small as possible now.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn compact(&self) -> Result<Seq> {
        self.check_open()?;
        let seq = self.checkpointer.run(Scope::Full)?;
        self.checkpointer.build_indexes(None)?;
        Ok(seq)
    }

    /// Rebuilds the indexes of vector searches, codes and graphs, from the vectors
    /// of one space or of all. Writes and reads continue, and searches use the old
    /// indexes until the new ones are ready. It reads all the vectors. For each
    /// 100,000 of them, codes of four bits take about a second, codes of eight
    /// bits several, and graphs much more.
    ///
    /// Indexes that are missing or found to be damaged are rebuilt automatically.
    ///
    /// # Errors
    /// `Invalid` if there is no space of that name; else as
    /// [`checkpoint`](Self::checkpoint).
    pub fn rebuild(&self, space: Option<&str>) -> Result<()> {
        self.check_open()?;
        let state = self.reconciler.state();
        let spaces = match space {
            Some(name) => vec![state.spaces().get(name).ok_or_else(|| unknown_space(name))?.0],
            None => state.spaces().iter().map(|(number, _)| number).collect(),
        };
        self.checkpointer.build_indexes(Some(&spaces))
    }

    fn check_open(&self) -> Result<()> {
        self.owner.check()?;
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() { Ok(()) } else { Err(Error::Closed) }
    }

    /// Commits what is in the write log, makes everything durable, records the
    /// last commit in the manifest, and releases the store. If the log is longer
    /// than 1 MiB, a checkpoint comes first, so that the next opening is fast.
    /// Further writes fail with `Closed`; snapshots stay valid. Closing again, also
    /// while another thread closes, does nothing.
    ///
    /// Dropping an engine also closes it, but does not report failures and makes
    /// no checkpoint.
    ///
    /// # Errors
    /// `Poisoned` if the log had failed or fails now; `Checkpoint` or `Io` if
    /// the base or the manifest cannot be written. The engine is closed all the
    /// same, and everything acknowledged is there when it is opened again.
    pub fn close(&self) -> Result<()> {
        self.end(true)
    }

    fn end(&self, tidy: bool) -> Result<()> {
        self.owner.check()?;
        // Not held while waiting for the threads: one of them may be closing the
        // engine too, in a waker.
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Held { threads, lock }) = held else { return Ok(()) };
        let ended = self.wind_down(threads, tidy);
        // Another thread may be in a checkpoint, or about to begin one.
        self.checkpointer.shut();
        drop(lock);
        ended
    }

    fn wind_down(&self, threads: Vec<thread::JoinHandle<()>>, tidy: bool) -> Result<()> {
        /// A log of this size is replayed in a few milliseconds.
        const SHORT_LOG_BYTES: u64 = 1 << 20;
        self.maintenance.stop();
        self.checkpointer.cancel_long_work(true);
        let last = self.reconciler.close();
        let mut panicked = false;
        for thread in threads {
            // A waker that closes the engine runs in one of these threads, which
            // cannot join itself.
            if thread.thread().id() != thread::current().id() {
                panicked |= thread.join().is_err();
            }
        }
        self.checkpointer.cancel_long_work(false);
        if panicked {
            return Err(Error::internal("a thread of the engine panicked").poisons());
        }
        let last = last?;
        let tidied = if tidy && self.reconciler.stats(true).wal_bytes > SHORT_LOG_BYTES {
            self.checkpointer.run(Scope::Incremental).map(drop)
        } else {
            Ok(())
        };
        self.checkpointer.note_durable(last)?;
        tidied
    }
}

impl Options {
    fn limits(&self) -> Limits {
        Limits {
            partition_bytes: self.partition_bytes,
            index_rows: self.index_rows,
            graph_rows: self.graph_rows,
            graph_bytes: self.graph_bytes,
            threads: self.granularity.threads,
            write_chunk_bytes: self.granularity.write_chunk_bytes,
        }
    }

    /// Opens the store in a directory. It reads the manifest and the first blocks
    /// of tables, and replays what was committed since the last checkpoint. The
    /// rest of the store is not read.
    ///
    /// # Errors
    /// `Invalid` and `Limit` for an unusable option, and `Invalid` for a path that is
    /// not a directory or holds other files; `NoStore` without
    /// [`create`](Self::create); `Locked` if the store is open in another engine;
    /// `Corrupt` if what opening reads is damaged, with nothing changed: the
    /// manifest, the first blocks of tables, the log (records are checked when
    /// they are read); `Unsupported` for another format version; `Io`.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Engine> {
        self.check()?;
        Engine::open_with(path.as_ref(), self)
    }
}

impl Engine {
    /// Drops an engine in a forked process: closes its copy of the lock's
    /// descriptor, which keeps the lock held, and runs no destructor of what the
    /// engine shares with its threads.
    fn abandon(&self) {
        mem::forget(Arc::clone(&self.reconciler));
        mem::forget(Arc::clone(&self.checkpointer));
        mem::forget(Arc::clone(&self.maintenance));
        mem::forget(Arc::clone(&self.pruner));
        // A thread that does not exist here may hold the mutex.
        if let Ok(mut held) = self.held.try_lock()
            && let Some(Held { threads, lock }) = held.take()
        {
            mem::forget(threads);
            drop(lock);
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if !self.owner.is_here() {
            return self.abandon();
        }
        // A failure cannot be reported. Everything acknowledged is in the log.
        let _ = self.end(false);
    }
}
