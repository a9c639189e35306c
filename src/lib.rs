#![doc = include_str!("../README.md")]

mod checkpoint;
mod engine;
mod error;
pub mod format;
mod graph;
mod id;
pub mod limits;
mod manifest;
mod model;
pub mod os;
mod pacing;
mod reconciler;
mod segment;
mod snapshot;
mod sync;
mod vector;
mod wal;
mod write_log;

pub use checkpoint::CheckpointStats;
pub use engine::{
    BackupReport, EdgeName, Engine, Lost, LostItem, Options, RepairReport, Stats, VerifyReport,
};
pub use error::{ConflictReason, Error, ErrorKind, Result};
pub use id::NodeId;
pub use model::{
    Attributes, Batch, Durability, Edge, Element, IndexKey, KeyBuilder, Method, Metric, Node, Op,
    Patch, Precondition, Seq, Space, Timestamp, Value,
};
pub use pacing::{Advice, Pace};
pub use reconciler::WriteStats;
pub use snapshot::{
    By, Cursor, Digest, Direction, EdgeRef, Edges, Effort, Filter, Found, Hit, IndexEntry,
    IndexStats, KeyRange, NodeRef, Path, PathOptions, PathStep, Range, Scan, Search, Snapshot,
    SpaceStats, Toward, VectorFileStats,
};
pub use wal::{CutTail, RecoveryMode, RecoveryReport, SetAside};
pub use write_log::Ticket;

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
