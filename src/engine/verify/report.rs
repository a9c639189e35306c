//! What a verification found.

use crate::model::{error::Error, time::Seq};

/// What [`Engine::verify`](crate::Engine::verify) found.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// engine.checkpoint()?;
/// let report = engine.verify()?;
/// assert!(report.is_sound());
/// assert_eq!((report.nodes, report.seq), (1, engine.snapshot().seq()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The last commit that the base holds.
    pub seq: Seq,
    /// Files of the base.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Files of the log that were read: those that the base does not cover.
    pub log_files: u64,
    /// Nodes that the base was found to have.
    pub nodes: u64,
    /// Edges that the base was found to have.
    pub edges: u64,
    /// Index keys that the base was found to have.
    pub keys: u64,
    /// Vectors that the nodes of the base have.
    pub vectors: u64,
    /// What is wrong: `Corrupt` with file and offset, or the error of a file
    /// that could not be read. The first 10,000.
    pub damage: Vec<Error>,
    /// How much more is wrong than `damage` lists.
    pub more: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.more == 0
    }
}

/// Most damage that a report lists.
pub(crate) const MOST_DAMAGE: usize = 10_000;
