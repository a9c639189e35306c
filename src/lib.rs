#![doc = include_str!("../README.md")]

mod checkpoint;
mod cpu;
mod engine;
#[cfg(feature = "exchange")]
pub mod exchange;
pub mod format;
mod graph;
mod model;
pub mod os;
mod read;
mod state;
mod store;
mod sync;
mod vector;
mod write;

pub use checkpoint::stats::CheckpointStats;
pub use engine::{
    Engine,
    backup::BackupReport,
    options::Options,
    repair::report::{EdgeName, Lost, LostItem, RepairReport},
    stats::Stats,
    verify::report::VerifyReport,
};
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
    digest::Digest,
    edge::EdgeRef,
    edges::Edges,
    node::NodeRef,
    paths::{Path, PathOptions, PathStep, Toward},
    range::{IndexEntry, Range},
    scan::Scan,
    search::query::{By, Effort, Filter, Found, Hit, Search},
    snapshot::Snapshot,
};
pub use state::{
    base::vector_stats::{IndexStats, VectorFileStats},
    stats::SpaceStats,
};
pub use store::wal::report::{CutTail, RecoveryMode, RecoveryReport, SetAside};
pub use write::{
    pacing::{Advice, Pace},
    stats::WriteStats,
    ticket::Ticket,
};

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
