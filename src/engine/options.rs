//! How an engine is opened.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    model::{
        batch::Durability,
        error::{Error, Result},
        limits::{self, check_count, check_name},
        space::Space,
    },
    num,
    os::{
        clock::Clock,
        file::Fs,
        real::{RealClock, RealFs},
    },
    state::layer::kinds::LEAST_RUN,
    store::{
        segment,
        wal::{LogSizes, report::RecoveryMode},
    },
};

/// In what pieces an engine works. What it does is the same with any; small ones
/// show in small stores what happens between two of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Granularity {
    /// Bytes of a data file that are written at once.
    pub(super) write_chunk_bytes: usize,
    pub(super) log: LogSizes,
    /// Bytes of the log that are handed to the thread that applies them.
    pub(super) replay_group_bytes: usize,
    /// Entries of a layer's kinds from which on a reader sorts them for others.
    pub(super) kind_run: usize,
}

impl Default for Granularity {
    fn default() -> Self {
        Self {
            write_chunk_bytes: segment::WRITE_CHUNK_BYTES,
            log: LogSizes::default(),
            replay_group_bytes: 256 << 10,
            kind_run: LEAST_RUN,
        }
    }
}

/// How to open a store. Every value is checked when it is opened; one that
/// cannot be used is refused by name, with the range that can.
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
    /// The store is made, and opens only once that is done.
    pub(super) unfinished: bool,
    pub(super) spaces: BTreeMap<String, Space>,
    pub(super) indexes: BTreeSet<String>,
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
            indexes: BTreeSet::new(),
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

    /// How durable a batch is when it is acknowledged, unless it asks for
    /// something else itself: [`Durability::Sync`] by default.
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

    /// Most bytes of memory that the batches in the write log may take: 64 KiB
    /// to 64 GiB, by default 256 MiB. A batch counts with its operations and
    /// their encoded form. One that is larger than this by itself is refused.
    /// The group of batches that is being committed comes on top, and takes about
    /// as much at most.
    #[must_use]
    pub fn write_log_bytes(mut self, bytes: usize) -> Self {
        self.write_log_bytes = bytes;
        self
    }

    /// How long a writer is held by a full write log before it gets
    /// `Backpressure`: up to an hour, by default 10 seconds. Not less than
    /// [`publish_interval`](Self::publish_interval), unless zero: then a
    /// writer is never held.
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

    /// The longest that batches under way are let gather before they are
    /// published together: up to a second, by default 5 ms; zero never. Only
    /// load makes the engine wait, and only for what its thread commits:
    /// submitted batches, and writes that found another in the step.
    #[must_use]
    pub fn publish_interval(mut self, interval: Duration) -> Self {
        self.publish_interval = interval;
        self
    }

    /// About how much memory may be taken by what was committed and is not in
    /// the base yet: 256 KiB to 256 GiB, by default 256 MiB. At half of it a
    /// checkpoint begins by itself, or at an eighth while the tables of the store
    /// are small (not with vectors); from three quarters on writers are slowed,
    /// and at all of it they are held, until the checkpoint has made room or
    /// their patience ends. Batches in the write log come on top.
    #[must_use]
    pub fn delta_bytes(mut self, bytes: usize) -> Self {
        self.delta_bytes = bytes;
        self
    }

    /// The size of the log at which a checkpoint begins by itself: 4 KiB to
    /// 1 TiB, by default 128 MiB. It bounds what opening has to replay, and the
    /// log's disk, to about that and what is written while a checkpoint runs.
    #[must_use]
    pub fn wal_bytes(mut self, bytes: u64) -> Self {
        self.wal_bytes = bytes;
        self
    }

    /// About the largest that a part of a table becomes before it is split:
    /// 64 bytes to 1 GiB, by default 128 MiB. A checkpoint rewrites a part whole
    /// if anything in it has changed.
    #[must_use]
    pub fn partition_bytes(mut self, bytes: u64) -> Self {
        self.partition_bytes = bytes;
        self
    }

    /// How many vectors, in all spaces together, may have been committed and be
    /// in no file yet when a checkpoint begins by itself: 1 to 16,777,216, by
    /// default 16,384. A search compares all of its space.
    #[must_use]
    pub fn delta_vectors(mut self, vectors: usize) -> Self {
        self.delta_vectors = vectors;
        self
    }

    /// The least number of rows of a vector file that gets codes: 1 to
    /// 16,777,216, by default 1,024. A smaller one is compared whole.
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

    /// The most memory that building a graph may take, by estimate: 1 MiB to
    /// 1 TiB, by default 1 GiB. A vector file that would take more is searched
    /// by its codes.
    #[must_use]
    pub fn graph_bytes(mut self, bytes: u64) -> Self {
        self.graph_bytes = bytes;
        self
    }

    /// Whether data files are written in pieces of 2 MiB, of which some operating
    /// systems make huge pages: false by default. What is read at random from a
    /// store that is larger than the processor's caches is found sooner then: 1.1
    /// to 1.2 times as many gets a second with a million records. A load can be
    /// slower, by 20 to 29 % on a machine that gives free memory back to its
    /// host, and gathers more in memory meanwhile. What is in the files is the
    /// same, so a store can be opened with and without; files that are there stay
    /// as they are.
    ///
    /// Seen with ext4 on Linux 6.18. It takes a file system with large folios, and
    /// costs 1 MiB of memory more for each file that is being written.
    #[must_use]
    pub fn huge_pages(mut self, huge_pages: bool) -> Self {
        self.granularity.write_chunk_bytes =
            if huge_pages { segment::HUGE_WRITE_CHUNK_BYTES } else { segment::WRITE_CHUNK_BYTES };
        self
    }

    /// Bytes of a data file that are written at once, rounded up to blocks of
    /// 4 KiB, of which there are two or more: 1 MiB by default, 2 MiB with
    /// [`huge_pages`](Self::huge_pages). For crashes between the pieces of small
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
    /// pieces of a small log.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn log_chunk_bytes(mut self, bytes: usize) -> Self {
        self.granularity.log.chunk_bytes = bytes.max(1);
        self
    }

    /// Zeros with which a new log file begins, and which are written ahead of its
    /// commits; in a larger file they are up to 32 times as many. By default
    /// 32 KiB. For crashes at the end of the zeros of a small log.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn log_zeros_bytes(mut self, bytes: usize) -> Self {
        self.granularity.log.zeros_bytes = bytes;
        self
    }

    /// Bytes of the log that one thread decodes before another applies them:
    /// 256 KiB by default; more than one group if a small log is larger than this.
    #[cfg(feature = "sim")]
    #[must_use]
    pub fn replay_group_bytes(mut self, bytes: usize) -> Self {
        self.granularity.replay_group_bytes = bytes;
        self
    }

    /// How many nodes in memory are without a place in the order of their kinds
    /// before a read keeps the order that it has made of them: 128 by default.
    /// For scans of a kind over several such runs in a small store.
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

    /// Whether the engine does without threads of its own: false by default.
    /// Then a submitted batch is committed before [`Engine::submit`](crate::Engine::submit) returns,
    /// and what an engine does is a function of the calls to it, its file
    /// system and its clock: a simulation can be repeated.
    #[must_use]
    pub fn inline(mut self, inline: bool) -> Self {
        self.inline = inline;
        self
    }

    /// A vector space that the store must have: created if it has none of that
    /// name. One that is defined otherwise is an error.
    #[must_use]
    pub fn space(mut self, name: impl Into<String>, space: Space) -> Self {
        self.spaces.insert(name.into(), space);
        self
    }

    /// An index that the store must have: created if it has none of that name.
    #[must_use]
    pub fn index(mut self, name: impl Into<String>) -> Self {
        self.indexes.insert(name.into());
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
        within("partition_bytes", self.partition_bytes, 64, 1 << 30)?;
        within("delta_vectors", self.delta_vectors, 1, 1 << 24)?;
        within("index_rows", self.index_rows, 1, 1 << 24)?;
        within("graph_rows", self.graph_rows, 1, 1 << 24)?;
        within("graph_bytes", self.graph_bytes, 1 << 20, 1 << 40)?;
        within("patience", self.patience, Duration::ZERO, Duration::from_secs(3_600))?;
        within("publish_interval", self.publish_interval, Duration::ZERO, Duration::from_secs(1))?;
        if !self.patience.is_zero() && self.patience < self.publish_interval {
            return Err(Error::invalid(format!(
                "option patience = {:?}: with publish_interval = {:?} it must be zero or at \
                 least as long, or writers would be turned away while batches gather",
                self.patience, self.publish_interval
            )));
        }
        check_count("vector spaces of a store", self.spaces.len(), limits::SPACES)?;
        check_count("indexes of a store", self.indexes.len(), limits::INDEXES)?;
        self.spaces.iter().try_for_each(|(name, space)| space.check(name))?;
        self.indexes.iter().try_for_each(|name| check_name("index", name))
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
