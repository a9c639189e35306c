//! How an engine is opened.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    model::{
        batch::Durability,
        error::{Error, Result},
        index::Index,
        limits::{self, check_count, check_name},
        space::Space,
    },
    num,
    os::{
        clock::Clock,
        file::Fs,
        real::{RealClock, RealFs},
    },
    parallel,
    state::layer::kinds::LEAST_RUN,
    store::{
        segment,
        wal::{LogSizes, report::RecoveryMode},
    },
};

/// The sizes of the chunks in which an engine works. They do not change its
/// results. With small ones, tests reach chunk boundaries in small stores.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granularity {
    /// Bytes of a data file that are written at once.
    pub(super) write_chunk_bytes: usize,
    pub(super) log: LogSizes,
    /// Bytes of the log that are handed over at once to the thread that applies
    /// them.
    pub(super) replay_group_bytes: usize,
    /// From this many unsorted entries of a layer's kinds on, a reader keeps its
    /// sorted list of them for other readers.
    pub(super) kind_run: usize,
    /// The most threads of one computation.
    pub(super) threads: usize,
    /// The least value of the option `partition_bytes`: a block of a data file.
    pub(super) least_partition_bytes: u64,
}

/// The largest value of the option `threads`.
const MOST_THREADS: usize = 256;

impl Default for Granularity {
    fn default() -> Self {
        Self {
            write_chunk_bytes: segment::WRITE_CHUNK_BYTES,
            log: LogSizes::default(),
            replay_group_bytes: 256 << 10,
            kind_run: LEAST_RUN,
            threads: parallel::available().min(MOST_THREADS),
            least_partition_bytes: 4 << 10,
        }
    }
}

/// How to open a store. Opening checks every value; the error for an unusable
/// one has its name and the allowed range.
///
/// ```
/// use ingrain::{Durability, Metric, Options, Space};
///
/// # let dir = tempfile::tempdir()?;
/// let engine = Options::new()
///     .durability(Durability::Os)
///     .space("text", Space::new(384, Metric::Cosine))
///     .index("timeline")
///     .open(dir.path().join("memory"))?;
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) create: bool,
    pub(super) durability: Durability,
    pub(super) write_log_batches: usize,
    pub(super) write_log_bytes: usize,
    pub(super) patience: Duration,
    pub(super) wal_file_bytes: u64,
    pub(super) publish_interval: Duration,
    /// `None` for never.
    pub(super) prune_every: Option<Duration>,
    pub(super) delta_bytes: usize,
    pub(super) delta_vectors: usize,
    pub(super) wal_bytes: u64,
    pub(super) partition_bytes: u64,
    pub(super) index_rows: usize,
    pub(super) graph_rows: usize,
    pub(super) graph_bytes: u64,
    pub(super) granularity: Granularity,
    pub(super) recovery: RecoveryMode,
    pub(super) inline: bool,
    /// Whether the new store must not open until its maker has finished it.
    pub(super) unfinished: bool,
    pub(super) spaces: BTreeMap<String, Space>,
    /// A space that was given with two definitions.
    pub(super) twice: Option<String>,
    /// The same of indexes.
    pub(super) index_twice: Option<String>,
    pub(super) indexes: BTreeMap<String, Option<Index>>,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            create: true,
            durability: Durability::Sync,
            write_log_batches: 100_000,
            write_log_bytes: 256 << 20,
            patience: Duration::from_secs(10),
            wal_file_bytes: 64 << 20,
            publish_interval: Duration::from_millis(5),
            prune_every: None,
            delta_bytes: 256 << 20,
            delta_vectors: 16_384,
            wal_bytes: 128 << 20,
            partition_bytes: 128 << 20,
            index_rows: 1_024,
            graph_rows: 50_000,
            graph_bytes: 1 << 30,
            granularity: Granularity::default(),
            recovery: RecoveryMode::Strict,
            inline: false,
            unfinished: false,
            spaces: BTreeMap::new(),
            twice: None,
            index_twice: None,
            indexes: BTreeMap::new(),
            fs: Arc::new(RealFs),
            clock: Arc::new(RealClock),
        }
    }
}

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to create the store if there is none: true by default. The
    /// directory above it must exist.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// How durable a batch is when it is acknowledged, unless the batch says
    /// otherwise: [`Durability::Sync`] by default.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Most batches in the write log: 1 to 16,777,216, by default 100,000.
    #[must_use]
    pub fn write_log_batches(mut self, batches: usize) -> Self {
        self.write_log_batches = batches;
        self
    }

    /// Most bytes of memory for the batches in the write log: 64 KiB to 64 GiB, by
    /// default 256 MiB. Both the operations of a batch and their encoded form
    /// count. A batch that is larger than this is refused. The batches that are
    /// being committed no longer count; they may take about as much again.
    #[must_use]
    pub fn write_log_bytes(mut self, bytes: usize) -> Self {
        self.write_log_bytes = bytes;
        self
    }

    /// How long a writer is held by a full write log or delta before it gets
    /// `Backpressure`: up to an hour, by default 10 seconds. It must not be less
    /// than [`publish_interval`](Self::publish_interval), unless it is zero: then
    /// a writer is never held.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Size at which a new log file is begun: 64 KiB to 1 GiB, by default
    /// 64 MiB.
    #[must_use]
    pub fn wal_file_bytes(mut self, bytes: u64) -> Self {
        self.wal_file_bytes = bytes;
        self
    }

    /// The longest time for which the engine lets batches gather before it
    /// publishes them together: up to a second, by default 5 ms; with zero it
    /// never waits. It waits only under load, and only in its own thread, which
    /// commits submitted batches and those of writers that found another thread
    /// committing.
    #[must_use]
    pub fn publish_interval(mut self, interval: Duration) -> Self {
        self.publish_interval = interval;
        self
    }

    /// How often the engine deletes by itself what has expired, as
    /// [`Engine::prune`](crate::Engine::prune) with the time of its clock does: 1 ms
    /// to 366 days; by default never. It looks when it is opened, and then this long
    /// after it last found no more. What it finds it deletes in batches of up to
    /// about a thousand nodes, which are batches like any other: they have sequence
    /// numbers of their own, they are in the log, and snapshots that were taken
    /// before keep the nodes. They are as durable as
    /// [`Durability::Os`](crate::Durability::Os), since what a power cut brings back
    /// has still expired. [`Stats::prune`](crate::admin::Stats) counts them.
    ///
    /// The thread that makes checkpoints does it, between the steps of building
    /// indexes but not during a checkpoint. While the delta or the write log is
    /// full, it deletes nothing and tries again after this time, at least 50 ms. An
    /// engine without threads of its own ([`inline`](Self::inline)) does it with a
    /// write, when it is due: a batch before that of the caller.
    ///
    /// A read shows a node until it is deleted:
    /// [`Snapshot::alive_at`](crate::Snapshot::alive_at) hides it from its expiry on.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let options = ingrain::Options::new().prune_every(Duration::from_secs(60));
    /// let engine = options.open(dir.path().join("memory"))?;
    /// # engine.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn prune_every(mut self, interval: Duration) -> Self {
        self.prune_every = Some(interval);
        self
    }

    /// Memory for commits that are not in the base yet, by estimate: 256 KiB to
    /// 256 GiB, by default 256 MiB. A checkpoint begins automatically when half of
    /// it is used, or earlier, down to an eighth, while the tables of the store are
    /// small and no vectors were written. From three quarters on, writers are
    /// slowed. When all of it is used, they are held until a checkpoint has made
    /// room or their [`patience`](Self::patience) ends. Batches in the write log
    /// come on top.
    #[must_use]
    pub fn delta_bytes(mut self, bytes: usize) -> Self {
        self.delta_bytes = bytes;
        self
    }

    /// The size of the log at which a checkpoint begins automatically: 4 KiB to
    /// 1 TiB, by default 128 MiB. The log, which opening may have to replay, grows
    /// to about this and what is written while a checkpoint runs.
    #[must_use]
    pub fn wal_bytes(mut self, bytes: u64) -> Self {
        self.wal_bytes = bytes;
        self
    }

    /// The size at which a partition of a table is split, about: 4 KiB to 1 GiB,
    /// by default 128 MiB. A checkpoint rewrites a whole partition if anything in
    /// it has changed. Each partition is a file, which an open store maps. If a
    /// table would have more than about a thousand of them, they are made larger
    /// than this.
    #[must_use]
    pub fn partition_bytes(mut self, bytes: u64) -> Self {
        self.partition_bytes = bytes;
        self
    }

    /// As [`partition_bytes`](Self::partition_bytes), from 64 bytes on. For several
    /// partitions in a small store.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn tiny_partition_bytes(mut self, bytes: u64) -> Self {
        self.granularity.least_partition_bytes = 64;
        self.partition_bytes(bytes)
    }

    /// The number of vectors in memory, of all spaces together, at which a
    /// checkpoint begins automatically: 1 to 16,777,216, by default 16,384. A
    /// search compares its query with all of them that are in its space.
    #[must_use]
    pub fn delta_vectors(mut self, vectors: usize) -> Self {
        self.delta_vectors = vectors;
        self
    }

    /// The least number of rows of a vector file that gets codes: 1 to
    /// 16,777,216, by default 1,024. Of a smaller file, a search compares all
    /// vectors.
    #[must_use]
    pub fn index_rows(mut self, rows: usize) -> Self {
        self.index_rows = rows;
        self
    }

    /// The least number of rows of a vector file that gets a graph, in spaces
    /// with [`Method::Hnsw`](crate::Method::Hnsw): 1 to 16,777,216, by default
    /// 50,000.
    #[must_use]
    pub fn graph_rows(mut self, rows: usize) -> Self {
        self.graph_rows = rows;
        self
    }

    /// The most threads that one computation takes, the thread that asks for it
    /// among them: 1 to 256, by default as many as the machine runs at once. It
    /// applies to building the codes of vectors, in the background, and to
    /// [`Snapshot::search_many`](crate::Snapshot::search_many). These threads
    /// belong to the engine and end with the computation; if one cannot be
    /// started, the computation goes on with fewer.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.granularity.threads = threads;
        self
    }

    /// The most memory that building a graph may take, by estimate: 1 MiB to
    /// 1 TiB, by default 1 GiB. A vector file that would take more is searched
    /// by its codes.
    #[must_use]
    pub fn graph_bytes(mut self, bytes: u64) -> Self {
        self.graph_bytes = bytes;
        self
    }

    /// Whether data files are written in chunks of 2 MiB, which some operating
    /// systems map with huge pages: false by default. It makes random reads faster
    /// in stores that are larger than the processor's caches: 1.1 to 1.2 times as
    /// many gets a second with a million records. Loads can be slower, by 20 to
    /// 29 % on a machine that gives free memory back to its host, and keep more in
    /// memory meanwhile. The contents of the files are the same, so a store can be
    /// opened with or without this option. Existing files stay as they are.
    ///
    /// Measured with ext4 on Linux 6.18. It needs a file system with large folios,
    /// and takes 1 MiB more memory for each file that is being written.
    #[must_use]
    pub fn huge_pages(mut self, huge_pages: bool) -> Self {
        self.granularity.write_chunk_bytes =
            if huge_pages { segment::HUGE_WRITE_CHUNK_BYTES } else { segment::WRITE_CHUNK_BYTES };
        self
    }

    /// Bytes of a data file that are written at once, rounded up to two or more
    /// blocks of 4 KiB: 1 MiB by default, 2 MiB with
    /// [`huge_pages`](Self::huge_pages). For crashes between the chunks of small
    /// files.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn write_chunk_bytes(mut self, bytes: usize) -> Self {
        let block = crate::format::segment::BLOCK_BYTES;
        self.granularity.write_chunk_bytes = bytes.div_ceil(block).max(2).saturating_mul(block);
        self
    }

    /// Bytes of the log that are read at once, and written at once when recovery
    /// writes commits again: 1 MiB by default. For damage and crashes between the
    /// chunks of a small log.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn log_chunk_bytes(mut self, bytes: usize) -> Self {
        self.granularity.log.chunk_bytes = bytes.max(1);
        self
    }

    /// Bytes of zeros that are written to a new log file, ahead of its commits; in
    /// a larger file they are up to 32 times as many. By default 32 KiB. For
    /// crashes at the end of the zeros of a small log.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn log_zeros_bytes(mut self, bytes: usize) -> Self {
        self.granularity.log.zeros_bytes = bytes;
        self
    }

    /// Bytes of the log that one thread decodes before another applies them:
    /// 256 KiB by default. For several groups in a small log.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn replay_group_bytes(mut self, bytes: usize) -> Self {
        self.granularity.replay_group_bytes = bytes;
        self
    }

    /// From this many nodes in memory on that are not sorted by kind yet, a read
    /// keeps the sorted run that it has made of them: 128 by default. For scans of
    /// a kind over several runs in a small store.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn kind_run(mut self, nodes: usize) -> Self {
        self.granularity.kind_run = nodes;
        self
    }

    /// What to do with a damaged log: [`RecoveryMode::Strict`] by default.
    #[must_use]
    pub fn recovery(mut self, mode: RecoveryMode) -> Self {
        self.recovery = mode;
        self
    }

    /// Whether the engine has no threads of its own, except those that
    /// [`threads`](Self::threads) allows for the time of a computation: false by
    /// default. If it has none, a submitted batch is committed before
    /// [`Engine::submit`](crate::Engine::submit) returns, and all that the engine
    /// does depends only on the calls to it, its file system and its clock: a
    /// simulation can be repeated.
    #[must_use]
    pub fn inline(mut self, inline: bool) -> Self {
        self.inline = inline;
        self
    }

    /// A vector space that the store must have: created if it has none of that
    /// name. A space of that name with another definition is an error.
    #[must_use]
    pub fn space(mut self, name: impl Into<String>, space: Space) -> Self {
        let name = name.into();
        if self.spaces.get(&name).is_some_and(|existing| *existing != space) {
            self.twice.get_or_insert_with(|| name.clone());
        }
        self.spaces.insert(name, space);
        self
    }

    /// An index that the store must have: created if it has none of that name.
    #[must_use]
    pub fn index(self, name: impl Into<String>) -> Self {
        self.define_index(name.into(), None)
    }

    /// An index that the store must have, whose keys the engine derives: created if
    /// it has none of that name. An index of that name with another definition is an
    /// error.
    #[must_use]
    pub fn index_on(self, name: impl Into<String>, index: Index) -> Self {
        self.define_index(name.into(), Some(index))
    }

    fn define_index(mut self, name: String, index: Option<Index>) -> Self {
        if self.indexes.get(&name).is_some_and(|existing| *existing != index) {
            self.index_twice.get_or_insert_with(|| name.clone());
        }
        self.indexes.insert(name, index);
        self
    }

    /// The file system to use: the machine's by default.
    #[must_use]
    pub fn fs(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = fs;
        self
    }

    /// The clock to use: the machine's by default.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        within("write_log_batches", self.write_log_batches, 1, 1 << 24)?;
        let write_log_bytes = num::wide(self.write_log_bytes);
        within("write_log_bytes", write_log_bytes, 64 << 10, 64 << 30)?;
        within("wal_file_bytes", self.wal_file_bytes, 64 << 10, 1 << 30)?;
        let delta_bytes = num::wide(self.delta_bytes);
        within("delta_bytes", delta_bytes, 256 << 10, 1 << 38)?;
        within("wal_bytes", self.wal_bytes, 4 << 10, 1 << 40)?;
        let least = self.granularity.least_partition_bytes;
        within("partition_bytes", self.partition_bytes, least, 1 << 30)?;
        within("delta_vectors", self.delta_vectors, 1, 1 << 24)?;
        within("index_rows", self.index_rows, 1, 1 << 24)?;
        within("threads", self.granularity.threads, 1, MOST_THREADS)?;
        within("graph_rows", self.graph_rows, 1, 1 << 24)?;
        within("graph_bytes", self.graph_bytes, 1 << 20, 1 << 40)?;
        within("patience", self.patience, Duration::ZERO, Duration::from_secs(3_600))?;
        within("publish_interval", self.publish_interval, Duration::ZERO, Duration::from_secs(1))?;
        if let Some(interval) = self.prune_every {
            let most = Duration::from_secs(366 * 86_400);
            within("prune_every", interval, Duration::from_millis(1), most)?;
        }
        if !self.patience.is_zero() && self.patience < self.publish_interval {
            return Err(Error::invalid(format!(
                "option patience = {:?}: with publish_interval = {:?} it must be zero or at \
                 least as long, or writers would be refused while batches gather",
                self.patience, self.publish_interval
            )));
        }
        if let Some(name) = &self.twice {
            return Err(Error::invalid(format!("vector space {name:?}: it has two definitions")));
        }
        if let Some(name) = &self.index_twice {
            return Err(Error::invalid(format!("index {name:?}: it has two definitions")));
        }
        check_count("vector spaces of a store", self.spaces.len(), limits::SPACES)?;
        check_count("indexes of a store", self.indexes.len(), limits::INDEXES)?;
        self.spaces.iter().try_for_each(|(name, space)| space.check(name))?;
        self.indexes.iter().try_for_each(|(name, index)| match index {
            Some(index) => index.check(name),
            None => check_name("index", name),
        })
    }
}

fn within<T: PartialOrd + std::fmt::Debug>(name: &str, value: T, least: T, most: T) -> Result<()> {
    if value < least || value > most {
        return Err(Error::invalid(format!(
            "option {name} = {value:?}: it must be in {least:?}..={most:?}"
        )));
    }
    Ok(())
}
