//! The report of a repair.

use std::{fmt, path::PathBuf};

use crate::{
    format::manifest::Counts,
    model::{error::Error, id::NodeId, time::Seq},
    store::wal::report::TornTail,
};

/// What [`Options::repair`](crate::Options::repair) salvaged, and what was lost.
///
/// Losses of the base are counted before the log is applied. So a node in `lost`
/// is in the new store nevertheless if a batch of the log put it again.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let seq = engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// engine.close()?;
/// let (from, to) = (dir.path().join("memory"), dir.path().join("repaired"));
/// let report = Options::new().repair(&from, &to, &mut |_, _| {})?;
/// assert!(report.is_complete());
/// assert_eq!(report.seq, seq);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// The last commit of the damaged store that the new one has.
    pub seq: Seq,
    /// Nodes of the base that were salvaged.
    pub nodes: u64,
    /// Edges of the base that were salvaged.
    pub edges: u64,
    /// Index keys of the base that were salvaged.
    pub keys: u64,
    /// Vectors of the base that were salvaged.
    pub vectors: u64,
    /// How many nodes, edges, keys and vectors of the base, as counted in its
    /// manifest, were not salvaged.
    pub missing: Counts,
    /// Batches of the log that were applied completely.
    pub batches: u64,
    /// Batches of the log with operations that could not be applied.
    pub partial_batches: u64,
    /// The torn tail of the log, if there was one. It is not a loss.
    pub torn_tail: Option<TornTail>,
    /// The errors of the files of the base that could not be opened. Not all of
    /// their contents need be lost, since other files may have them: see `lost`.
    pub unreadable: Vec<Error>,
    /// The losses, at most the first 10,000.
    pub lost: Vec<Loss>,
    /// How many more losses there are than `lost` lists.
    pub more: u64,
}

impl RepairReport {
    /// Whether nothing was lost.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty() && self.more == 0 && self.missing == Counts::default()
    }
}

/// Something that a repair could not salvage.
///
/// ```
/// use ingrain::{admin::Loss, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.close()?;
/// # let (from, to) = (dir.path().join("memory"), dir.path().join("repaired"));
/// let report = Options::new().repair(&from, &to, &mut |_, _| {})?;
/// for Loss { file, offset, item, why, .. } in &report.lost {
///     eprintln!("{item} is lost: {}, byte {offset}: {why}", file.display());
/// }
/// assert!(report.lost.is_empty()); // this store was sound
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Loss {
    /// The file that held it or refers to it; for an operation, the directory of
    /// the log.
    pub file: PathBuf,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// What was lost.
    pub item: LossItem,
    /// Why it was lost.
    pub why: String,
}

/// What a repair could not salvage.
///
/// ```
/// use ingrain::{admin::LossItem, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.close()?;
/// # let (from, to) = (dir.path().join("memory"), dir.path().join("repaired"));
/// let report = Options::new().repair(&from, &to, &mut |_, _| {})?;
/// let nodes = report.lost.iter().filter_map(|loss| match &loss.item {
///     LossItem::Node(id) => Some(*id),
///     _ => None,
/// });
/// assert_eq!(nodes.count(), 0); // this store was sound
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LossItem {
    /// A node, with its keys and vectors. Its edges are separate losses.
    Node(NodeId),
    /// Nodes whose ids could not be read. Only a range is known that holds them.
    Nodes {
        /// How many, if that is known.
        count: Option<u64>,
        /// The last known id before them, or else the smallest that they can have.
        from: NodeId,
        /// The first known id after them, or else the largest that they can have.
        to: NodeId,
    },
    /// A vector of a node that was salvaged.
    Vector {
        /// The node.
        node: NodeId,
        /// The name of the space.
        space: String,
    },
    /// An edge.
    Edge(EdgeName),
    /// The attributes of a salvaged edge. An edge that was read only in in_edges
    /// may have had none.
    Attributes(EdgeName),
    /// Edges that could not be read. Only a range is known that holds their
    /// sources.
    Edges {
        /// How many, if that is known.
        count: Option<u64>,
        /// The last known source before them, or else the smallest that they can
        /// have.
        from: NodeId,
        /// The first known source after them, or else the largest that they can
        /// have.
        to: NodeId,
    },
    /// An operation of the log that needs something that was lost.
    Operation {
        /// The commit.
        seq: Seq,
        /// Index of the operation within its batch.
        op: usize,
    },
    /// The commits of the log from this one on.
    Commits(Seq),
}

/// The key of an edge.
///
/// ```
/// use ingrain::{admin::LossItem, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.close()?;
/// # let (from, to) = (dir.path().join("memory"), dir.path().join("repaired"));
/// let report = Options::new().repair(&from, &to, &mut |_, _| {})?;
/// for loss in &report.lost {
///     if let LossItem::Edge(edge) = &loss.item {
///         eprintln!("link {} and {} again", edge.source, edge.target);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct EdgeName {
    /// The node that it leaves.
    pub source: NodeId,
    /// Its kind.
    pub kind: String,
    /// The node that it reaches.
    pub target: NodeId,
    /// Distinguishes parallel edges of one kind.
    pub discriminator: u64,
}

impl fmt::Display for EdgeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, kind, target, discriminator } = self;
        write!(f, "edge {source} {kind:?} {target}")?;
        if *discriminator == 0 { Ok(()) } else { write!(f, " ({discriminator})") }
    }
}

impl fmt::Display for LossItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let many = |f: &mut fmt::Formatter<'_>, count: &Option<u64>, what: &str| match count {
            Some(count) => write!(f, "{count} {what}"),
            None => write!(f, "an unknown number of {what}"),
        };
        match self {
            Self::Node(id) => write!(f, "node {id}"),
            Self::Nodes { count, from, to } => {
                many(f, count, "nodes")?;
                write!(f, " between {from} and {to}")
            }
            Self::Vector { node, space } => write!(f, "vector of node {node} in space {space:?}"),
            Self::Edge(name) => name.fmt(f),
            Self::Attributes(name) => write!(f, "attributes of {name}"),
            Self::Edges { count, from, to } => {
                many(f, count, "edges")?;
                write!(f, " with sources between {from} and {to}")
            }
            Self::Operation { seq, op } => write!(f, "operation {op} of commit {seq}"),
            Self::Commits(from) => write!(f, "every commit from {from} on"),
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, item, why } = self;
        write!(f, "{item}: {}, byte {offset}: {why}", file.display())
    }
}

/// Most losses that a report lists, and most gaps of unreadable edges that are
/// tracked separately.
pub(crate) const MOST_LOST: usize = 10_000;
