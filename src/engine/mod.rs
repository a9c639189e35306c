//! The engine: a store that is open.

pub(crate) mod backup;
pub(crate) mod lease;
#[cfg(all(test, loom))]
mod loom_models;
pub(crate) mod maintenance;
pub(crate) mod open;
pub(crate) mod options;
pub(crate) mod repair;
pub(crate) mod replay;
#[cfg(all(test, shuttle))]
mod shuttle_models;
pub(crate) mod stats;
pub(crate) mod target;
pub(crate) mod verify;

use std::{
    borrow::BorrowMut,
    path::{self, Path, PathBuf},
    sync::{Arc, PoisonError},
    time::Duration,
};

use crate::{
    checkpoint::{
        Checkpointer,
        plan::{Limits, Scope},
    },
    engine::{maintenance::MaintenanceWorker, options::Options, stats::Stats},
    format::wal::Payload,
    model::{
        batch::{Batch, Durability, Op},
        catalog::unknown_space,
        error::{Error, Result},
        limits::check_count,
        space::{Method, Space},
        time::{Seq, Timestamp},
    },
    os::{
        clock::Clock,
        file::{Fs, Lock},
    },
    read::snapshot::Snapshot,
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
    report: RecoveryReport,
    /// What an engine that is not closed holds.
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
        // The engine creates files long after this: it shall not follow a
        // change of the working directory.
        let dir = path::absolute(path).map_err(|error| Error::io("open", path, error))?;
        let maintenance = Arc::new(MaintenanceWorker::default());
        let ask = Arc::clone(&maintenance);
        let opened = open::open(&dir, &mut options, RebuildSignal::new(move || ask.ask()))?;
        let missing = open::missing(&opened.state, &options)?;
        let ask = Arc::clone(&maintenance);
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
            checkpoint: Box::new(move || ask.ask()),
        }));
        let checkpointer = Arc::new(Checkpointer::new(
            Arc::clone(&options.fs),
            &dir,
            Arc::clone(&reconciler),
            Limits {
                partition_bytes: options.partition_bytes,
                index_rows: options.index_rows,
                graph_rows: options.graph_rows,
                graph_bytes: options.graph_bytes,
                write_chunk_bytes: options.granularity.write_chunk_bytes,
            },
            opened.manifest,
        ));
        let engine = Self {
            dir,
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
            report: opened.report,
            held: Mutex::new(Some(Held { threads: Vec::new(), lock: opened.lock })),
        };
        if !options.inline {
            engine.start()?;
        }
        // The thread looks what vector files want.
        if engine.reconciler.checkpoint_due()
            || !engine.reconciler.state().base().vectors().is_empty()
        {
            engine.maintenance.ask();
        }
        if !missing.is_empty() {
            engine.write(Batch::from_iter(missing))?;
        }
        Ok(engine)
    }

    /// Starts the threads. If one cannot be had, dropping the engine ends the
    /// other.
    fn start(&self) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = held.as_mut() else { return Ok(()) };
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
            thread.map_err(|error| Error::io("start a thread for", &self.dir, error))
        };
        let worker = Arc::clone(&self.reconciler);
        held.threads.push(spawn("ingrain", Box::new(move || worker.work()))?);
        let (reconciler, checkpointer, maintenance, clock) = (
            Arc::clone(&self.reconciler),
            Arc::clone(&self.checkpointer),
            Arc::clone(&self.maintenance),
            Arc::clone(&self.clock),
        );
        let work = move || maintenance.work(&reconciler, &checkpointer, &*clock);
        held.threads.push(spawn("ingrain-base", Box::new(work))?);
        Ok(())
    }

    /// Without threads, the writers make checkpoints: a step with each write,
    /// or all of it when there is no more room.
    fn maintain(&self) {
        if !self.inline {
            return;
        }
        let (under_way, full) = (self.checkpointer.is_under_way(), self.reconciler.is_full());
        // A failure is in the stats. The write that met it is not concerned;
        // when there is no room left, the next one is.
        if full {
            let _ = self.checkpointer.run(Scope::Incremental);
        } else if under_way || self.maintenance.wanted.swap(false, Ordering::AcqRel) {
            let more = self.checkpointer.step();
            // An index is done, and others may be wanted.
            if more.is_ok_and(|more| more) && !self.checkpointer.is_under_way() {
                self.maintenance.ask();
            }
        }
    }

    /// Writes a batch. When it returns, the batch is as durable as asked and
    /// every snapshot taken from now on has it.
    ///
    /// Many threads may write at once; what they write together shares one
    /// sync. Encoding happens here, in the caller's thread.
    ///
    /// It takes a batch or a `&mut Batch`, and takes its operations out. If the
    /// batch is refused before it is queued, they stay in it, so that a borrowed
    /// batch can be written again, as after `Backpressure`:
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
    /// Before anything happens: `Invalid` and `Limit` for a batch that can
    /// never be accepted, `Backpressure` if the write log stays full, `Closed`.
    /// In its turn, with no effect either: `Conflict`. `Poisoned` if the log
    /// failed: then the batch may or may not be there after reopening.
    pub fn write(&self, mut batch: impl BorrowMut<Batch>) -> Result<Seq> {
        self.write_at(batch.borrow_mut(), self.clock.now())
    }

    /// Writes a batch that was made at that time.
    fn write_at(&self, batch: &mut Batch, time: Timestamp) -> Result<Seq> {
        let ticket = self.queue(batch, time)?;
        self.reconciler.see_through(ticket)
    }

    /// Queues a batch and returns at once, unless the write log is full.
    ///
    /// # Errors
    /// Those of [`write`](Self::write) that come before anything happens; the
    /// ticket brings the others.
    pub fn submit(&self, mut batch: impl BorrowMut<Batch>) -> Result<Ticket> {
        let ticket = self.queue(batch.borrow_mut(), self.clock.now())?;
        self.reconciler.hand_over();
        Ok(ticket)
    }

    /// Checks, encodes and queues a batch. One that is refused keeps its
    /// operations.
    fn queue(&self, batch: &mut Batch, time: Timestamp) -> Result<Ticket> {
        // What is taken away until the batch's turn comes, it meets then.
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
        let (pending, ticket) = Pending::new(time, ops, payload, durability);
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

    /// The state after the last published commit. Costs a counter.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.reconciler.state())
    }

    /// Creates a vector space, durably. The same again changes nothing.
    ///
    /// # Errors
    /// `Invalid` if the definition is out of bounds, or the store has the
    /// space otherwise; else as [`write`](Self::write).
    pub fn create_space(&self, name: impl Into<String>, space: Space) -> Result<Seq> {
        let (name, snapshot) = (name.into(), self.snapshot());
        if snapshot.spaces().any(|existing| existing == (&name, space)) {
            return Ok(snapshot.seq());
        }
        self.create(Op::CreateSpace { name, space })
    }

    /// Creates an index, durably. The same again changes nothing.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn create_index(&self, name: impl Into<String>) -> Result<Seq> {
        let (name, snapshot) = (name.into(), self.snapshot());
        if snapshot.indexes().any(|existing| existing == name) {
            return Ok(snapshot.seq());
        }
        self.create(Op::CreateIndex { name })
    }

    /// Drops a vector space with all its vectors, durably. Its name may be given
    /// to another. Memory and disk are freed by the next checkpoint.
    ///
    /// # Errors
    /// `Invalid` if there is none of that name; else as [`write`](Self::write).
    pub fn drop_space(&self, name: impl Into<String>) -> Result<Seq> {
        self.create(Op::DropSpace { name: name.into() })
    }

    /// Changes how a vector space is searched, durably. Its vectors stay as they
    /// are; what the method needs is built in the background, until when the
    /// space is searched with what it has.
    ///
    /// # Errors
    /// As [`drop_space`](Self::drop_space).
    pub fn set_method(&self, name: impl Into<String>, method: Method) -> Result<Seq> {
        let seq = self.create(Op::SetMethod { name: name.into(), method })?;
        self.maintenance.ask();
        Ok(seq)
    }

    fn create(&self, op: Op) -> Result<Seq> {
        self.write(Batch::from(op).durability(Durability::Sync))
    }

    /// Deletes up to `limit` nodes that expire at `before` or earlier, the
    /// first to expire first, in batches of a thousand or so. Returns how many
    /// had expired when it looked; one whose expiry is changed meanwhile stays.
    ///
    /// # Errors
    /// As [`write`](Self::write); earlier batches stay done.
    pub fn prune(&self, before: Timestamp, limit: usize) -> Result<usize> {
        // Small enough for the smallest write log.
        const AT_ONCE: usize = 128;
        let at_once = AT_ONCE.max(self.write_log_bytes.min(4 << 20) / 4096);
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

    /// Numbers about the engine, as of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let snapshot = self.snapshot();
        Stats {
            seq: snapshot.seq(),
            nodes: snapshot.node_count(),
            edges: snapshot.edge_count(),
            keys: snapshot.key_count(),
            vectors: snapshot.vector_count(),
            kinds: snapshot.kind_count(),
            spaces: self.reconciler.state().space_stats(),
            write: self.reconciler.stats(),
            checkpoint: self.checkpointer.stats(),
        }
    }

    /// What opening found and did.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.report
    }

    /// The directory of the store.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Brings everything that was committed before the call into the base, and
    /// cuts the log. Returns the last commit that the base holds. Writes and
    /// reads go on meanwhile.
    ///
    /// Checkpoints happen by themselves as [`Options::delta_bytes`] and
    /// [`Options::wal_bytes`] say; this is for those who want one now. It costs
    /// the writing of every part of a table that was touched.
    ///
    /// # Errors
    /// `Checkpoint`, naming the step that failed: then everything is as it was,
    /// and the next checkpoint, asked for or not, starts again. `Poisoned` if
    /// the log had failed before all of it was in the base. `Closed`, also if
    /// the engine is closed meanwhile.
    pub fn checkpoint(&self) -> Result<Seq> {
        self.open_still()?;
        let seq = self.checkpointer.run(Scope::Incremental)?;
        // What new vector files want beside codes is for the background.
        if !self.reconciler.state().base().vectors().is_empty() {
            self.maintenance.ask();
        }
        Ok(seq)
    }

    /// Writes the whole base anew, without garbage and in parts of even size.
    /// Until it is done, the disk holds the old base too: together at most two
    /// and a half times what is live, and the log.
    ///
    /// Garbage is collected by itself, down to half of what is live; this is
    /// for a store that shall be small now.
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn compact(&self) -> Result<Seq> {
        self.open_still()?;
        let seq = self.checkpointer.run(Scope::Full)?;
        self.checkpointer.build_indexes(None)?;
        Ok(seq)
    }

    /// Builds anew what searches of vectors go by, codes and graphs, from the
    /// vectors themselves: of a space, or of all. Writes and reads go on, and
    /// searches use what there is until the new is ready. It costs a reading of
    /// the vectors; for codes of four bits about a second for each 100,000, for
    /// those of eight bits several, for graphs much more.
    ///
    /// What is missing or found to be damaged is built by itself; this is for
    /// those who doubt.
    ///
    /// # Errors
    /// `Invalid` if there is no space of that name; else as
    /// [`checkpoint`](Self::checkpoint).
    pub fn rebuild(&self, space: Option<&str>) -> Result<()> {
        self.open_still()?;
        let state = self.reconciler.state();
        let spaces = match space {
            Some(name) => vec![state.spaces().get(name).ok_or_else(|| unknown_space(name))?.0],
            None => state.spaces().iter().map(|(number, _)| number).collect(),
        };
        self.checkpointer.build_indexes(Some(&spaces))
    }

    fn open_still(&self) -> Result<()> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() { Ok(()) } else { Err(Error::Closed) }
    }

    /// Commits what is in the write log, makes everything durable, notes in
    /// the manifest how far the log reaches, and lets go of the store. A log
    /// that would take the next opening a while to replay is brought into the
    /// base first. Writes fail with `Closed` from then on; snapshots stay good.
    /// Closing again, also while another closes, does nothing.
    ///
    /// Dropping an engine closes it too, but cannot say if that failed, and
    /// leaves the log as it is.
    ///
    /// # Errors
    /// `Poisoned` if the log had failed or fails now; `Checkpoint` or `Io` if
    /// the base or the manifest cannot be written. The engine is closed all the
    /// same, and what was acknowledged is there when it is opened again.
    pub fn close(&self) -> Result<()> {
        self.end(true)
    }

    fn end(&self, tidy: bool) -> Result<()> {
        // Not held while the threads are waited for: one may be closing too, in
        // a waker.
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Held { threads, lock }) = held else { return Ok(()) };
        let ended = self.wind_down(threads, tidy);
        // A caller may be in a checkpoint, or about to begin one.
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
            // A waker that closes the engine runs in one of them.
            if thread.thread().id() != thread::current().id() {
                panicked |= thread.join().is_err();
            }
        }
        self.checkpointer.cancel_long_work(false);
        if panicked {
            return Err(Error::internal("a thread of the engine panicked").poisons());
        }
        let last = last?;
        let tidied = if tidy && self.reconciler.stats().wal_bytes > SHORT_LOG_BYTES {
            self.checkpointer.run(Scope::Incremental).map(drop)
        } else {
            Ok(())
        };
        self.checkpointer.note_durable(last)?;
        tidied
    }
}

impl Options {
    /// Opens the store in a directory. It costs the manifest, and the replay of
    /// what was committed since the last checkpoint, whatever the size of the
    /// store.
    ///
    /// # Errors
    /// `Invalid` for an unusable option, and for a path that is no directory or
    /// one that holds something else; `Locked` if the store is open elsewhere; `Corrupt` if what
    /// opening reads is damaged, with nothing changed: the manifest, the first
    /// blocks of tables, the log (records are checked when they are read);
    /// `Unsupported` if it is of another format version; `Io`.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Engine> {
        self.check()?;
        Engine::open_with(path.as_ref(), self)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // There is nobody to tell. What was acknowledged is in the log.
        let _ = self.end(false);
    }
}
