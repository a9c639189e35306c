//! The engine: a store that is open.

mod open;
mod options;

use std::{
    path::{self, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

pub use options::Options;

use crate::{
    error::{Error, Result},
    format::{manifest::Manifest, wal::encode_batch},
    manifest,
    model::{Batch, Durability, Op, Seq, Space, Timestamp, check_count},
    os::{Clock, Fs, Lock},
    reconciler::{Reconciler, Start, WriteStats},
    snapshot::Snapshot,
    wal::{self, RecoveryReport},
    write_log::{Pending, Ticket},
};

/// An open store.
///
/// An engine is shared by reference or in an `Arc`; all its methods take
/// `&self`. It has one thread of its own, which sleeps until it is needed,
/// unless [`Options::inline`] says otherwise.
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
    reconciler: Arc<Reconciler>,
    report: RecoveryReport,
    /// What an engine that is not closed holds.
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    thread: Option<thread::JoinHandle<()>>,
    manifest: Manifest,
    _lock: Box<dyn Lock>,
}

/// Numbers about an engine.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The last commit.
    pub seq: Seq,
    /// Nodes in the store.
    pub nodes: usize,
    /// Edges in the store.
    pub edges: usize,
    /// Index keys in the store.
    pub keys: usize,
    /// Vectors in the store.
    pub vectors: usize,
    /// Kinds that the store ever had.
    pub kinds: usize,
    /// The write path.
    pub write: WriteStats,
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

    fn open_with(path: &Path, options: Options) -> Result<Self> {
        // The engine creates files long after this: it shall not follow a
        // change of the working directory.
        let dir = path::absolute(path).map_err(|error| Error::io("open", path, error))?;
        let opened = open::open(&dir, &options)?;
        let missing = open::missing(&opened.state, &options)?;
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
        }));
        let thread = if options.inline {
            None
        } else {
            let worker = Arc::clone(&reconciler);
            let thread = thread::Builder::new()
                .name("ingrain".to_owned())
                .spawn(move || worker.work())
                .map_err(|error| Error::io("start a thread for", &dir, error))?;
            Some(thread)
        };
        let engine = Self {
            dir,
            fs: options.fs,
            clock: options.clock,
            durability: options.durability,
            patience: options.patience,
            write_log_bytes: options.write_log_bytes,
            reconciler,
            report: opened.report,
            held: Mutex::new(Some(Held { thread, manifest: opened.manifest, _lock: opened.lock })),
        };
        if !missing.is_empty() {
            engine.write(Batch { ops: missing, durability: None })?;
        }
        Ok(engine)
    }

    /// Writes a batch. When it returns, the batch is as durable as asked and
    /// every snapshot taken from now on has it.
    ///
    /// Many threads may write at once; what they write together shares one
    /// sync. Encoding happens here, in the caller's thread.
    ///
    /// # Errors
    /// Before anything happens: `Invalid` and `Limit` for a batch that can
    /// never be accepted, `Backpressure` if the write log stays full, `Closed`.
    /// In its turn, with no effect either: `Conflict`. `Poisoned` if the log
    /// failed: then the batch may or may not be there after reopening.
    pub fn write(&self, batch: Batch) -> Result<Seq> {
        let (pending, ticket) = self.prepare(batch)?;
        self.reconciler.write(pending, ticket, self.patience)
    }

    /// Queues a batch and returns at once, unless the write log is full.
    ///
    /// # Errors
    /// Those of [`write`](Self::write) that come before anything happens; the
    /// ticket brings the others.
    pub fn submit(&self, batch: Batch) -> Result<Ticket> {
        let (pending, ticket) = self.prepare(batch)?;
        self.reconciler.submit(pending, self.patience)?;
        Ok(ticket)
    }

    fn prepare(&self, batch: Batch) -> Result<(Pending, Ticket)> {
        // Spaces and indexes are never taken away: what is known now is known
        // when the batch's turn comes.
        batch.check(&*self.reconciler.state())?;
        let time = self.clock.now();
        let payload = encode_batch(time, &batch.ops)?;
        let durability = batch.durability.unwrap_or(self.durability);
        let (pending, ticket) = Pending::new(time, batch.ops, payload, durability);
        check_count("bytes of a batch in the write log", pending.weight(), self.write_log_bytes)?;
        Ok((pending, ticket))
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

    fn create(&self, op: Op) -> Result<Seq> {
        self.write(Batch { ops: vec![op], durability: Some(Durability::Sync) })
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
                batch.prune(id, before);
            }
            found = found.saturating_add(batch.len());
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
            write: self.reconciler.stats(),
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

    /// Commits what is in the write log, makes everything durable, notes in
    /// the manifest how far the log reaches, and lets go of the store. Writes
    /// fail with `Closed` from then on; snapshots stay good. Closing again, also
    /// while another closes, does nothing.
    ///
    /// Dropping an engine closes it too, but cannot say if that failed.
    ///
    /// # Errors
    /// `Poisoned` if the log had failed or fails now; `Io` if the manifest
    /// cannot be written. The engine is closed all the same, and what was
    /// acknowledged is there when it is opened again.
    pub fn close(&self) -> Result<()> {
        // Not held while the thread is waited for: it may be closing too, in a
        // waker.
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Held { thread, manifest, _lock }) = held else { return Ok(()) };
        let last = self.reconciler.close();
        // A waker that closes the engine runs in the very thread.
        if let Some(thread) = thread.filter(|t| t.thread().id() != thread::current().id())
            && thread.join().is_err()
        {
            return Err(Error::invalid("engine: its thread panicked").poisons());
        }
        let last = last?;
        if last > manifest.durable {
            manifest::publish(
                &*self.fs,
                &self.dir,
                &Manifest { durable: last, ..manifest.next() },
            )?;
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // There is nobody to tell. What was acknowledged is in the log.
        let _ = self.close();
    }
}
