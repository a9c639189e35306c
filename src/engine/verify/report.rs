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
/// let report = engine.verify()?;
/// assert!(report.is_sound());
/// assert_eq!((report.nodes, report.log_batches), (0, 1)); // it is in the log only
/// engine.checkpoint()?;
/// let report = engine.verify()?;
/// assert_eq!((report.nodes, report.log_batches), (1, 0));
/// assert_eq!(report.seq, engine.snapshot().seq());
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
    /// Files of the log that were read: those with commits that the base does not
    /// have.
    pub log_files: u64,
    /// Commits in those files that the base does not have. Their operations were
    /// decoded and checked; they are not in the counts below.
    pub log_batches: u64,
    /// Nodes found in the base.
    pub nodes: u64,
    /// Edges found in the base.
    pub edges: u64,
    /// Index keys found in the base.
    pub keys: u64,
    /// Vectors that the nodes of the base have.
    pub vectors: u64,
    /// The damage: `Corrupt` with file and offset, or the error of a file that
    /// could not be read; at most the first 10,000.
    pub damage: Vec<Error>,
    /// How many more there are than `damage` lists.
    pub more: u64,
}

impl VerifyReport {
    /// Whether no damage was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.more == 0
    }
}

/// Most damage that a report lists.
pub(crate) const MOST_DAMAGE: usize = 10_000;
