//! An embedded storage engine for the memory of AI agents: records, a typed
//! graph and vectors in one atomic commit.
//!
//! ingrain is a library. One process opens a store, which is a directory, and
//! reads and writes it through an [`Engine`]. There is no server and no query
//! language.
//!
//! - An [`Engine`] is an open store. [`Options`] say how to open it.
//! - A [`Batch`] is a list of changes that are committed together or not at all.
//!   [`Engine::write`] commits one and returns its sequence number.
//! - A [`Node`] is a record: content, attributes, index keys and vectors. An
//!   [`Edge`] is a typed, weighted, directed association between two nodes.
//! - A [`Snapshot`] is the state after one commit. It never changes. Its methods
//!   read nodes, edges, ordered indexes ([`Snapshot::range`]) and vectors
//!   ([`Snapshot::search`]).
//! - An [`Error`] has an [`ErrorKind`], which says what a caller can do about it.
//!
//! ```
//! use ingrain::prelude::*;
//!
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("memory");
//! let engine = Options::new().space("text", Space::new(3, Metric::Cosine)).open(&path)?;
//! let (dog, bark) = (NodeId::from_content(b"dog"), NodeId::new());
//!
//! let mut batch = Batch::new();
//! batch
//!     .put(Node::new(dog, "concept").content("a canid").vector("text", [0.9, 0.1, 0.0]))
//!     .put(Node::new(bark, "event").content("it barked").vector("text", [0.7, 0.6, 0.1]))
//!     .link(Edge::new(bark, "about", dog).weight(0.8));
//! let seq = engine.write(batch)?; // durable and visible from here on
//!
//! let snapshot = engine.snapshot();
//! assert_eq!(snapshot.seq(), seq);
//! assert_eq!(snapshot.edges_in(dog).next().unwrap()?.source(), bark);
//! let hits = snapshot.nearest("text", &[1.0, 0.0, 0.0], 1, &Filter::new())?;
//! assert_eq!(hits[0].node.id(), dog);
//! engine.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read on
//!
//! - [`docs::cookbook`]: short recipes, by question.
//! - [`docs::guarantees`]: what can be relied on, and the tests that show it.
//! - [`docs::architecture`]: how it works. [`docs::glossary`]: the terms.
//! - [`docs::testing`]: how it is tested, and how to test a program of your own
//!   on a disk that crashes.
//! - [`docs::format`]: the files of a store.
//!
//! # Features
//!
//! None is enabled by default.
//!
//! | feature | what it adds |
//! |---|---|
//! | `exchange` | the module `exchange`: JSON lines and `.npy` arrays |
//! | `hnsw` | graphs over large vector files ([`Method::Hnsw`]); building needs a C++ compiler |
//! | `serde` | serde for nodes, edges, values, patches and batches |
//! | `sim` | the module `sim`: a disk that crashes, for tests |
//!
//! # Platforms
//!
//! 64-bit, because files larger than 4 GiB are mapped; little-endian, because
//! vectors are read where they are mapped; Unix, for file locks and syncs of
//! directories. It is tested on Linux. Other targets are refused at compile time.

mod checkpoint;
mod cpu;
mod engine;
#[cfg(feature = "exchange")]
pub mod exchange;
pub mod format;
pub mod graph;
mod model;
mod num;
pub mod os;
mod parallel;
mod read;
mod state;
mod store;
mod sync;
mod vector;
mod write;

pub use engine::{
    Engine,
    options::Options,
    transaction::{Committed, Transaction},
};
pub use model::{
    batch::{Batch, Durability, Named, Op, Precondition},
    edge::Edge,
    error::{ConflictReason, Error, ErrorKind, Result},
    id::NodeId,
    key::{KeyBuilder, KeyRange},
    limits,
    node::{Expiry, IndexKey, Node, Patch},
    space::{Element, Method, Metric, Space},
    time::{Seq, Timestamp},
    value::{Attributes, Value},
};
pub use read::{
    counts::KindCount,
    cursor::{Cursor, Direction},
    edge::EdgeRef,
    edge_scan::EdgeScan,
    edges::Edges,
    node::NodeRef,
    owned::{OwnedIndexEntry, OwnedRead},
    query::Query,
    range::{IndexEntries, IndexEntry},
    scan::Scan,
    snapshot::Snapshot,
};
pub use write::ticket::Ticket;

/// Indexes whose keys the engine derives, and what they are on.
///
/// [`Engine::create_index_on`] creates one, [`Snapshot::query`] reads it.
pub mod index {
    pub use crate::{
        model::index::{
            Field, Index, IndexPart, access_count, accessed, attr, attr_path, confidence, created,
            expires, kind, strength, updated,
        },
        read::index_info::{IndexInfo, IndexState},
    };
}

/// Vector search: what it is asked, and what it answers.
///
/// [`Snapshot::nearest`] and [`Snapshot::search`] run it.
pub mod search {
    pub use crate::{
        model::condition::Condition,
        read::{
            filter::{Filter, matcher::Matcher},
            search::query::{CandidateSource, Effort, Hit, HitOrigin, Search},
            select::{Select, Selected},
        },
    };
}

/// Types for operating a store: statistics, recovery, backup, verification and
/// repair.
///
/// [`Engine::stats`], [`Engine::recovery`], [`Engine::backup_with`],
/// [`Engine::verify`], [`Options::repair`] and [`Snapshot::digest`] return them.
pub mod admin {
    pub use crate::{
        checkpoint::stats::CheckpointStats,
        engine::{
            backup::{BackupOptions, BackupReport},
            prune::PruneStats,
            repair::report::{EdgeName, Loss, LossItem, RepairReport},
            stats::Stats,
            verify::report::VerifyReport,
        },
        read::digest::Digest,
        state::{
            base::vector_stats::{IndexStats, VectorFileStats},
            stats::SpaceStats,
        },
        store::wal::report::{QuarantinedFile, RecoveryMode, RecoveryReport, TornTail},
        write::{
            pacing::{Advice, Pace},
            pins::SnapshotStats,
            stats::WriteStats,
        },
    };
}

/// What most programs use, for one `use` line.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("memory"))?;
/// let id = NodeId::new();
/// engine.write(Batch::new().put(Node::new(id, "note").content("dogs bark")))?;
/// assert!(engine.snapshot().contains(id)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub mod prelude {
    pub use crate::{
        Batch, Cursor, Direction, Durability, Edge, EdgeRef, Engine, ErrorKind, KeyBuilder,
        KeyRange, Metric, Node, NodeId, NodeRef, Options, Patch, Seq, Snapshot, Space, Ticket,
        Timestamp, Value,
        search::{Effort, Filter, Hit, Search},
    };
}

/// A disk that crashes, to test on: the engine, or any program over [`os::Fs`].
///
/// docs/testing.md has a complete example, and says what the model covers.
#[cfg(feature = "sim")]
pub mod sim {
    pub use crate::os::sim::{
        Call, Crash, Explored, Failure, Found, Loss, Points, SECTOR_BYTES, SimClock, SimDisk,
        explore,
    };
}

/// The documents of the repository. Links in them between documents are to files
/// of the repository, not to these pages.
pub mod docs {
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("../docs/cookbook.md")]
    pub mod cookbook {}
    #[doc = include_str!("../docs/format.md")]
    pub mod format {}
    #[doc = include_str!("../docs/glossary.md")]
    pub mod glossary {}
    #[doc = include_str!("../docs/guarantees.md")]
    pub mod guarantees {}
    #[doc = include_str!("../docs/testing.md")]
    pub mod testing {}
}

/// The examples of the README are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
