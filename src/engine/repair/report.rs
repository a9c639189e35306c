//! What a repair says of what it did.

use std::{fmt, path::PathBuf};

use crate::{
    format::manifest::Counts,
    model::{error::Error, id::NodeId, time::Seq},
    store::wal::report::TornTail,
};

/// What [`Options::repair`](crate::Options::repair) salvaged, and what it did not.
///
/// What was lost of the base is told as the last checkpoint had it: a node that
/// is in `lost` is in the new store all the same if the log puts it again.
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
    /// How many of each the base had, by its manifest, that were not salvaged.
    pub missing: Counts,
    /// Batches of the log that were applied whole.
    pub batches: u64,
    /// Batches of the log of which some operations could not be applied.
    pub partial_batches: u64,
    /// The torn write at the end of the log, if there was one: no loss.
    pub torn_tail: Option<TornTail>,
    /// Files of the base that could not be read at all. What they held may be
    /// known from others: see `lost`.
    pub unreadable: Vec<Error>,
    /// What was lost. The first 10,000.
    pub lost: Vec<Loss>,
    /// How much more was lost than `lost` lists.
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
    /// The file that had it or tells of it; of an operation, the log.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What it was.
    pub item: LossItem,
    /// Why it is lost.
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
    /// A node, with its keys and vectors. Its edges are told each by itself.
    Node(NodeId),
    /// Nodes whose ids are not known but for their bounds.
    Nodes {
        /// How many, if that is known.
        count: Option<u64>,
        /// The last id before them that is known, or the least that they may
        /// have.
        from: NodeId,
        /// The first id after them that is known, or the greatest that they may
        /// have.
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
    /// The attributes of an edge that was salvaged. Where it was found at its
    /// target only, it may have had none.
    Attributes(EdgeName),
    /// Edges of which no more is known than the bounds of their sources.
    Edges {
        /// How many, if that is known.
        count: Option<u64>,
        /// The last source before them that is known, or the least that they
        /// may have.
        from: NodeId,
        /// The first source after them that is known, or the greatest that they
        /// may have.
        to: NodeId,
    },
    /// An operation of the log, since something that it needs was lost.
    Operation {
        /// The commit.
        seq: Seq,
        /// Index of the operation within its batch.
        op: usize,
    },
    /// The commits of the log from this one on.
    Commits(Seq),
}

/// What tells edges apart.
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
    /// The node it leaves.
    pub source: NodeId,
    /// Its kind.
    pub kind: String,
    /// The node it reaches.
    pub target: NodeId,
    /// Tells parallel edges of one kind apart.
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

/// Most losses that a report lists, and most runs of damaged rows that are kept
/// apart.
pub(crate) const MOST_LOST: usize = 10_000;
