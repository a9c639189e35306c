//! Numbers about vector files.

/// Numbers about a vector file.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.create_space("text", Space::new(2, Metric::L2))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note").vector("text", [1.0, 0.0])))?;
/// engine.checkpoint()?;
/// let stats = engine.stats();
/// let file = &stats.spaces[0].files[0];
/// assert_eq!((file.rows, file.dead), (1, 0));
/// assert!(file.codes.is_none()); // too few rows: all are compared
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct VectorFileStats {
    /// Its number.
    pub file: u32,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its rows.
    pub rows: usize,
    /// Rows whose vectors were deleted or replaced.
    pub dead: usize,
    /// Its codes, if it has any.
    pub codes: Option<IndexStats>,
    /// Its graph, if it has one.
    pub graph: Option<IndexStats>,
}

/// Numbers about what is derived from a vector file.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.create_space("text", Space::new(2, Metric::L2))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note").vector("text", [1.0, 0.0])))?;
/// for file in engine.stats().spaces.iter().flat_map(|space| &space.files) {
///     if let Some(codes) = &file.codes {
///         println!("file {}: {} bits, recall {}", file.file, codes.bits, codes.recall);
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct IndexStats {
    /// The number of its file.
    pub file: u32,
    /// The length of its file in bytes.
    pub bytes: u64,
    /// Bits of a code; 0 of a graph, and where this cannot be read.
    pub bits: u32,
    /// The share of the ten closest that was found when it was built, for
    /// [`sample`](Self::sample) vectors of the file: by codes with 100
    /// candidates, by a graph with as many as a recall of 0.99 takes.
    pub recall: f32,
    /// Vectors whose closest were looked for.
    pub sample: u32,
    /// Candidates that a recall of 0.95, 0.99 and 0.999 takes; `None` where
    /// no number of them does.
    pub depths: [Option<u32>; 3],
    /// Bytes of memory that serving it takes beside its file; 0 before it was
    /// searched.
    pub memory: usize,
    /// What is wrong with it. It is not used then, and built again.
    pub damage: Option<String>,
}
