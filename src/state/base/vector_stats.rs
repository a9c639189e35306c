//! Statistics of vector files.

/// Statistics of a vector file.
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
    /// The number of the file.
    pub file: u32,
    /// The length of the file in bytes.
    pub bytes: u64,
    /// The number of rows.
    pub rows: usize,
    /// Rows whose vectors were deleted or replaced.
    pub dead: usize,
    /// The codes, if there are any.
    pub codes: Option<IndexStats>,
    /// The graph, if there is one.
    pub graph: Option<IndexStats>,
}

/// Statistics of a vector index file: codes or a graph.
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
///         println!("file {}: {} bits, recall {:?}", file.file, codes.bits, codes.recall);
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
    /// Bits of a code; 0 for a graph, and if the file cannot be read.
    pub bits: u32,
    /// The share of the ten nearest neighbours that a search of
    /// [`Effort::Normal`](crate::search::Effort::Normal) finds, as measured when
    /// the index was built, with [`sample`](Self::sample) queries that lie
    /// where the rows do: rows of the file, whose near copies did not count, and
    /// rows that were moved. `None` if nothing was measured.
    pub recall: Option<f32>,
    /// How many queries [`recall`](Self::recall) was measured with.
    pub sample: u32,
    /// The same for [`foreign`](Self::foreign) queries that are farther from
    /// the rows: rows turned round, noise, means of two rows. Codes are
    /// searched deeper for such a query. A graph is searched only to find out
    /// that it is one, and then the codes: this is the recall of the graph
    /// alone.
    pub foreign_recall: Option<f32>,
    /// How many queries [`foreign_recall`](Self::foreign_recall) was measured
    /// with.
    pub foreign: u32,
    /// How many candidates a search compares at least for a recall of 0.95,
    /// 0.99 and 0.999, as measured when the index was built; `None` if no number
    /// is enough.
    pub depths: [Option<u32>; 3],
    /// Bytes of memory that serving takes besides the file; 0 before the first
    /// search.
    pub memory: usize,
    /// The damage, if any. A damaged index is not used, and is rebuilt.
    pub damage: Option<String>,
}
