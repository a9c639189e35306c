//! Data derived from a vector file: codes and graphs.

use std::sync::{Arc, OnceLock};

use crate::{
    format::{
        header::FileKind,
        manifest::DataFile,
        segment::Section,
        tables::Le32,
        vectors::{CODEBOOK, CODES, GRAPH, HEAD, IndexHead, MEASURED},
    },
    model::{
        error::{Error, Result},
        space::{Metric, Space},
    },
    num,
    os::process::Owner,
    state::base::{vector_rows::VectorRows, vector_stats::IndexStats},
    store::segment::{file::Segment, table::Table},
    vector::{
        hnsw::Graph,
        parameters::GraphParameters,
        pq::{Codebook, DistanceTable, Shape},
    },
};

/// A vector index file: codes or a graph.
#[derive(Debug)]
pub(crate) struct Index<T> {
    file: DataFile,
    /// The error if it could not be opened.
    pub(super) segment: Result<Arc<Segment>>,
    /// Its head, or the error, once it was read.
    head: OnceLock<Result<IndexHead>>,
    /// Its contents, or the error, once they were loaded.
    loaded: OnceLock<Result<T>>,
    /// Damage that was found after loading.
    failed: OnceLock<Error>,
    /// Who reads and loads it. A thread that waits for another to do so would
    /// wait for ever in a forked process.
    owner: Owner,
}

impl<T> Index<T> {
    #[inline]
    pub(crate) fn file(&self) -> DataFile {
        self.file
    }
}

/// The contents of an [`Index`].
pub(crate) trait Load: Sized {
    /// Reads and checks what is needed to use it, except codes, which are
    /// checked when they are read.
    fn load(segment: &Arc<Segment>, head: &IndexHead, rows: &VectorRows) -> Result<Self>;
}

impl<T: Load> Index<T> {
    pub(crate) fn reuse(
        open: &dyn Fn(FileKind, DataFile) -> Result<Segment>,
        file: DataFile,
        old: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        match old {
            Some(old) if old.file == file => Arc::clone(old),
            _ => Arc::new(Self {
                file,
                segment: open(FileKind::VectorIndex, file).map(Arc::new),
                head: OnceLock::new(),
                loaded: OnceLock::new(),
                failed: OnceLock::new(),
                owner: Owner::current(),
            }),
        }
    }

    /// Its head. An error if it is damaged or not derived from these rows.
    fn head(&self, rows: &VectorRows) -> Result<&IndexHead> {
        if self.head.get().is_none() {
            self.owner.check()?;
        }
        let head = self.head.get_or_init(|| {
            let segment = self.segment.as_ref().map_err(Clone::clone)?;
            segment.check_named()?;
            let head = Table::<IndexHead>::open(segment, HEAD)?;
            let (row, offset) = (head.row(0)?, head.offset(0));
            if !row.same_rows(&rows.index_head()) {
                return Err(segment.damaged(offset, "it is derived from other vectors"));
            }
            if row.measured.get() != MEASURED {
                return Err(segment.damaged(offset + 68, "its recall was measured in another way"));
            }
            Ok(*row)
        });
        head.as_ref().map_err(Clone::clone)
    }

    /// Whether its recall was measured in a way that is no longer used: it is not
    /// damaged, and is built again.
    pub(crate) fn is_outdated(&self) -> bool {
        self.segment.as_ref().is_ok_and(|segment| {
            let head = Table::<IndexHead>::open(segment, HEAD);
            head.and_then(|head| Ok(head.row(0)?.measured.get() != MEASURED)).unwrap_or(false)
        })
    }

    /// Its contents. An error if they are damaged or not derived from these
    /// rows, or not loaded yet in a forked process.
    pub(crate) fn get(&self, rows: &VectorRows) -> Result<&T> {
        if self.loaded.get().is_none() {
            self.owner.check()?;
        }
        let loaded = self.loaded.get_or_init(|| {
            let segment = self.segment.as_ref().map_err(Clone::clone)?;
            T::load(segment, self.head(rows)?, rows)
        });
        loaded.as_ref().map_err(Clone::clone)
    }

    /// Records damage, so that the index is rebuilt.
    pub(crate) fn fail(&self, error: Error) {
        let _ = self.failed.set(error);
    }

    /// The damage that is known.
    pub(crate) fn failure(&self) -> Option<String> {
        let opened = self.segment.as_ref().err();
        let head = || self.head.get().and_then(|head| head.as_ref().err());
        let loaded = || self.loaded.get().and_then(|loaded| loaded.as_ref().err());
        let error = opened.or_else(head).or_else(loaded).or_else(|| self.failed.get());
        error.map(ToString::to_string)
    }
}

impl<T: Load> Index<T> {
    /// `memory` computes the bytes that serving it takes; 0 before its first
    /// use.
    pub(crate) fn stats(&self, rows: &VectorRows, memory: impl Fn(&T) -> usize) -> IndexStats {
        let head = self.head(rows).copied().unwrap_or_else(|_| rows.index_head());
        let loaded = self.loaded.get().and_then(|loaded| loaded.as_ref().ok());
        IndexStats {
            file: self.file.number,
            bytes: self.file.len,
            bits: head.bits.get(),
            recall: Some(head.recall.get()).filter(|recall| recall.is_finite()),
            sample: head.sample.get(),
            foreign_recall: Some(head.foreign_recall.get()).filter(|recall| recall.is_finite()),
            foreign: head.foreign.get(),
            depths: head.depths.map(|depth| Some(depth.get()).filter(|depth| *depth < u32::MAX)),
            memory: loaded.map_or(0, memory),
            damage: self.failure(),
        }
    }
}

/// Codes of vectors.
#[derive(Debug)]
pub(crate) struct Codes {
    segment: Arc<Segment>,
    head: IndexHead,
    codebook: Codebook,
    /// The lengths of the rows, if the codes are of their directions.
    lengths: Vec<f32>,
    metric: Metric,
    at: usize,
    len: usize,
}

impl Codes {
    #[inline]
    pub(crate) fn codebook(&self) -> &Codebook {
        &self.codebook
    }

    #[inline]
    pub(crate) fn head(&self) -> &IndexHead {
        &self.head
    }
}

impl Codes {
    /// Bytes of memory that serving them takes besides the file.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(self.codebook.components()) + size_of_val(self.lengths.as_slice())
    }

    /// The table of distances for a query of this length.
    pub(crate) fn table(&self, query: &[f32], length: f64) -> DistanceTable<'_> {
        let table = self.codebook.table(query, length);
        let product = f64::from(self.head.directed.get());
        match self.lengths.is_empty() {
            true => table,
            false => table.with_lengths(&self.lengths, self.metric, length, product),
        }
    }

    /// The codes, verified against their checksums.
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        self.segment.bytes(self.at, self.len)
    }

    /// The error of damaged codes, `at` bytes into them.
    pub(crate) fn damaged(&self, at: usize, what: impl Into<String>) -> Error {
        self.segment.damaged(self.at.saturating_add(at), what)
    }
}

impl Load for Codes {
    fn load(segment: &Arc<Segment>, head: &IndexHead, rows: &VectorRows) -> Result<Self> {
        let Space { dimension, metric, .. } = rows.definition;
        let damaged = |what: &str| segment.damaged(80, what);
        let (bits, subs) = (head.bits.get(), head.subs.get());
        let shape = Some(bits).filter(|bits| matches!(bits, 4 | 8));
        let shape = shape.and_then(|bits| Shape::new(dimension, bits));
        let shape = shape.filter(|shape| {
            Ok(subs) == u32::try_from(shape.subs)
                && Ok(head.sub_dimension.get()) == u32::try_from(shape.sub_dimension)
        });
        let shape = shape.ok_or_else(|| damaged("codes of an unknown shape"))?;
        let section = segment.section(CODEBOOK, 4)?;
        let place = |section: Section| (num::size(section.offset), num::size(section.len));
        let (at, len) = place(section);
        if len != shape.codebook_len().saturating_mul(4) {
            return Err(damaged("a codebook of another length"));
        }
        let components = segment.bytes(at, len)?.as_chunks::<4>().0.iter();
        let components = components.map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let directed = head.directed.get() > 0.0;
        if !head.directed.get().is_finite() || (directed && metric == Metric::Cosine) {
            return Err(segment.damaged(80 + 92, "codes of an unknown kind"));
        }
        let trained = if directed { Metric::Cosine } else { metric };
        let codebook = Codebook::from_parts(shape, trained, components)
            .ok_or_else(|| damaged("a codebook that was not trained"))?;
        let section = segment.section(CODES, 1)?;
        let (at, len) = place(section);
        if len != shape.code_bytes(rows.len()) {
            return Err(damaged("codes of another number of rows"));
        }
        let lengths = if directed { rows.lengths()? } else { Vec::new() };
        Ok(Self { segment: Arc::clone(segment), head: *head, codebook, lengths, metric, at, len })
    }
}

/// A graph over vectors.
#[derive(Debug)]
pub(crate) struct GraphIndex {
    head: IndexHead,
    graph: Graph,
}

impl GraphIndex {
    #[inline]
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    #[inline]
    pub(crate) fn head(&self) -> &IndexHead {
        &self.head
    }
}

/// Concurrent searches of one graph. Further ones use the codes.
const CONTEXTS: usize = 64;

impl GraphIndex {
    /// The parameters of a graph over these rows.
    pub(crate) fn parameters(head: &IndexHead, rows: &VectorRows) -> GraphParameters {
        let number = |number: Le32| num::index(number.get());
        GraphParameters {
            dimension: rows.definition.dimension,
            metric: rows.definition.metric,
            rows: rows.len(),
            max_abs: head.max_abs.get(),
            connectivity: number(head.subs),
            expansion_add: number(head.sub_dimension),
        }
    }
}

/// The bytes of a file, kept mapped by their owner.
struct Bytes(Arc<Segment>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.0.mapped()
    }
}

impl Load for GraphIndex {
    /// Every byte of the graph is verified before the library reads one.
    fn load(segment: &Arc<Segment>, head: &IndexHead, rows: &VectorRows) -> Result<Self> {
        if head.bits.get() != 0 {
            return Err(segment.damaged(80, "codes in the place of a graph"));
        }
        let section = segment.section(GRAPH, 1)?;
        let (at, len) = (num::size(section.offset), num::size(section.len));
        segment.bytes(at, len)?;
        let owner = Arc::new(Bytes(Arc::clone(segment)));
        let parameters = Self::parameters(head, rows);
        let range = at..at.saturating_add(len);
        let graph = Graph::open(owner, range, &parameters, CONTEXTS)
            .map_err(|error| segment.damaged(at, error.to_string()))?;
        Ok(Self { head: *head, graph })
    }
}
