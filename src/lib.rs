#![doc = include_str!("../README.md")]

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
mod read;
mod state;
mod store;
mod sync;
mod vector;
mod write;

pub use checkpoint::stats::CheckpointStats;
pub use engine::{Engine, options::Options};
pub use model::{
    batch::{Batch, Durability, Op, Precondition},
    edge::Edge,
    error::{ConflictReason, Error, ErrorKind, Result},
    id::NodeId,
    key::KeyBuilder,
    limits,
    node::{IndexKey, Node, Patch},
    space::{Element, Method, Metric, Space},
    time::{Seq, Timestamp},
    value::{Attributes, Value},
};
pub use read::{
    cursor::{Cursor, Direction, KeyRange},
    edge::EdgeRef,
    edges::Edges,
    node::NodeRef,
    owned::{Owned, OwnedIndexEntry},
    range::{IndexEntries, IndexEntry},
    scan::Scan,
    snapshot::Snapshot,
};
pub use write::ticket::Ticket;

/// Vector search: what it is asked, and what it answers.
///
/// [`Snapshot::nearest`] and [`Snapshot::search`] run it.
pub mod search {
    pub use crate::read::search::query::{CandidateSource, Effort, Filter, Hit, HitOrigin, Search};
}

/// What those who run a store need: statistics, recovery, backup, verification
/// and repair.
///
/// [`Engine::stats`], [`Engine::recovery`], [`Engine::backup`],
/// [`Engine::verify`], [`Options::repair`] and [`Snapshot::digest`] give these.
pub mod admin {
    pub use crate::{
        checkpoint::stats::CheckpointStats,
        engine::{
            backup::BackupReport,
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

/// The documents of the repository.
pub mod docs {
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}
    #[doc = include_str!("../docs/format.md")]
    pub mod format {}
    #[doc = include_str!("../docs/testing.md")]
    pub mod testing {}
}
