//! The vector files of a base, and what is derived from them.
//!
//! What is derived may be missing, damaged or of other rows: then it is not
//! used, which is told, and it is built again.

use std::sync::{Arc, OnceLock};

use super::State;
use crate::{
    error::{Error, Result},
    format::{
        FileKind,
        manifest::{DataFile, NamedSpace, VectorFile},
        tables::{self, Le32, VectorHead, vector_bytes},
        vectors::{CODEBOOK, CODES, GRAPH, HEAD, IndexHead, dead_rows},
    },
    id::NodeId,
    model::{Method, Seq, Space},
    segment::{Segment, Table},
    vector::{
        GraphParameters,
        build::Rows,
        hnsw::Graph,
        pq::{Codebook, Shape},
    },
};

/// Vectors of a space that were written together.
#[derive(Debug)]
pub(crate) struct VectorRows {
    pub(crate) segment: Arc<Segment>,
    /// The number of the space.
    pub(crate) space: u32,
    pub(crate) definition: Space,
    pub(crate) heads: Table<VectorHead>,
    pub(crate) kinds: Table<Le32>,
    /// Where the numbers begin in the file.
    at: usize,
}

impl VectorRows {
    pub(crate) fn open(segment: Segment, space: u32, definition: Space) -> Result<Self> {
        let segment = Arc::new(segment);
        let heads = Table::<VectorHead>::open(&segment, tables::ROWS)?;
        let kinds = Table::open(&segment, tables::ROW_KINDS)?;
        let numbers = segment.section(tables::NUMBERS, vector_bytes(definition.dimension))?;
        let at = usize::try_from(numbers.offset)
            .map_err(|_| segment.damaged(80, "a section is larger than the address space"))?;
        let rows = u64::try_from(heads.len()).unwrap_or(u64::MAX);
        if numbers.rows() != rows || kinds.len() != heads.len() || u32::try_from(rows).is_err() {
            let (vectors, kinds) = (numbers.rows(), kinds.len());
            let what = format!("it has {rows} rows, {vectors} vectors and {kinds} kinds");
            return Err(segment.damaged(80, what));
        }
        Ok(Self { segment, space, definition, heads, kinds, at })
    }

    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// Where a vector stands in the file.
    pub(crate) fn offset(&self, row: usize) -> usize {
        self.at.saturating_add(row.saturating_mul(vector_bytes(self.definition.dimension)))
    }

    pub(crate) fn numbers(&self, row: usize) -> Result<&[f32]> {
        let at = self.offset(row);
        if row >= self.len() {
            return Err(self.segment.damaged(at, format!("there is no vector {row}")));
        }
        let bytes = self.segment.bytes(at, vector_bytes(self.definition.dimension))?;
        bytemuck::try_cast_slice(bytes)
            .map_err(|error| self.segment.damaged(at, format!("vector {row}: {error}")))
    }

    pub(crate) fn row(&self, row: usize) -> Result<(&VectorHead, &[f32])> {
        Ok((self.heads.row(row)?, self.numbers(row)?))
    }

    /// The row of a node.
    pub(crate) fn find_row(&self, id: NodeId) -> Result<Option<usize>> {
        let row = self.heads.lower_bound(&id)?;
        Ok((row < self.len() && self.heads.row(row)?.id() == id).then_some(row))
    }

    /// Calls `each` with the rows of some nodes, which are ascending.
    pub(crate) fn for_rows_of(&self, ids: &[NodeId], mut each: impl FnMut(usize)) -> Result<()> {
        // Far apart: each is sought by itself.
        if ids.len().saturating_mul(64) < self.len() {
            for id in ids {
                if let Some(row) = self.find_row(*id)? {
                    each(row);
                }
            }
            return Ok(());
        }
        let before = |row: usize, id: &NodeId| Ok::<_, Error>(self.heads.row(row)?.id() < *id);
        // Rows before it are those of nodes before.
        let mut low = 0_usize;
        for id in ids {
            // In growing steps from the last, then by halves.
            let mut step = 1_usize;
            while low.saturating_add(step) < self.len() && before(low.saturating_add(step), id)? {
                low = low.saturating_add(step);
                step = step.saturating_mul(2);
            }
            let mut high = low.saturating_add(step).min(self.len());
            while low < high {
                let middle = low.midpoint(high);
                if before(middle, id)? {
                    low = middle.saturating_add(1);
                } else {
                    high = middle;
                }
            }
            if low == self.len() {
                break;
            }
            if self.heads.row(low)?.id() == *id {
                each(low);
            }
        }
        Ok(())
    }

    /// The vector of a node that this commit wrote.
    pub(crate) fn find(&self, id: NodeId, seq: Seq) -> Result<Option<&[f32]>> {
        match self.find_row(id)? {
            Some(row) if self.heads.row(row)?.seq() == seq => self.numbers(row).map(Some),
            _ => Ok(None),
        }
    }

    /// What a file that is derived from these rows begins with.
    pub(crate) fn index_head(&self) -> IndexHead {
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let Space { dimension, metric, .. } = self.definition;
        IndexHead::new(&self.segment.file(), short(self.len()), short(dimension), metric)
    }
}

#[cfg(target_endian = "big")]
compile_error!("vectors are read where they are mapped, which needs a little-endian machine");

/// Rows for each number of a mask.
pub(crate) const MASK_ROWS: usize = 32;

/// A bit for each row that is not live, those of 32 rows in one number; empty
/// if all are.
pub(crate) type Dead = Arc<[u32]>;

/// Vectors that were written together, which of them are live, and what is
/// derived from them.
#[derive(Debug, Clone)]
pub(crate) struct VectorPart {
    pub(crate) rows: Arc<VectorRows>,
    pub(crate) dead: Dead,
    pub(crate) codes: Option<Arc<Index<Codes>>>,
    pub(crate) graph: Option<Arc<Index<GraphIndex>>>,
}

impl VectorPart {
    /// Maps a file of a manifest, but for what `old` has mapped.
    pub(crate) fn open(
        open: &dyn Fn(FileKind, DataFile) -> Result<Segment>,
        file: &VectorFile,
        space: &NamedSpace,
        old: Option<&Self>,
    ) -> Result<Self> {
        let rows = match old {
            Some(old) => Arc::clone(&old.rows),
            None => {
                let segment = open(FileKind::Vectors, file.file)?;
                Arc::new(VectorRows::open(segment, file.space, space.space)?)
            }
        };
        let words = rows.len().div_ceil(MASK_ROWS);
        let mut dead = if file.dead.is_empty() { Vec::new() } else { vec![0_u32; words] };
        for row in dead_rows(&file.dead) {
            if let Some(word) = dead.get_mut(row / MASK_ROWS) {
                *word |= 1 << (row % MASK_ROWS);
            }
        }
        let known_codes = old.and_then(|old| old.codes.as_ref());
        let known_graph = old.and_then(|old| old.graph.as_ref());
        Ok(Self {
            codes: file.codes.map(|index| Index::reuse(open, index, known_codes)),
            graph: file.graph.map(|index| Index::reuse(open, index, known_graph)),
            dead: dead.into(),
            rows,
        })
    }

    pub(crate) fn is_dead(&self, row: usize) -> bool {
        self.dead.get(row / MASK_ROWS).is_some_and(|word| word & (1 << (row % MASK_ROWS)) != 0)
    }

    /// How many rows are not live.
    pub(crate) fn dead_count(&self) -> usize {
        self.dead.iter().map(|word| usize::try_from(word.count_ones()).unwrap_or(0)).sum()
    }

    /// The row of a node, if it is live.
    pub(crate) fn live_row(&self, id: NodeId) -> Result<Option<usize>> {
        Ok(self.rows.find_row(id)?.filter(|row| !self.is_dead(*row)))
    }

    /// Sees that its graph, or its codes, can be used.
    pub(crate) fn check_index(&self, graph: bool) -> Result<()> {
        if graph {
            self.graph.as_ref().map_or(Ok(()), |graph| graph.get(&self.rows).map(drop))
        } else {
            self.codes.as_ref().map_or(Ok(()), |codes| codes.get(&self.rows).map(drop))
        }
    }

    /// Its files, but for those that could not be opened.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        let codes = self.codes.as_ref().and_then(|index| index.segment.as_ref().ok());
        let graph = self.graph.as_ref().and_then(|index| index.segment.as_ref().ok());
        std::iter::once(&self.rows.segment).chain(codes).chain(graph)
    }
}

/// A file that is derived from a vector file.
#[derive(Debug)]
pub(crate) struct Index<T> {
    pub(crate) file: DataFile,
    /// The error if it could not be opened.
    pub(crate) segment: Result<Arc<Segment>>,
    /// What it begins with, once it was asked for and found to be right.
    head: OnceLock<Result<IndexHead>>,
    /// What it holds, likewise.
    loaded: OnceLock<Result<T>>,
    /// What was found to be wrong with it after that.
    failed: OnceLock<Error>,
}

/// What an [`Index`] holds.
pub(crate) trait Load: Sized {
    /// Reads what is needed to use it; all but codes, which are checked as they
    /// are read.
    fn load(segment: &Arc<Segment>, head: &IndexHead, rows: &VectorRows) -> Result<Self>;
}

impl<T: Load> Index<T> {
    fn reuse(
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
            }),
        }
    }

    /// What it begins with, unless it is damaged or not derived from these rows.
    fn head(&self, rows: &VectorRows) -> Result<&IndexHead> {
        let head = self.head.get_or_init(|| {
            let segment = self.segment.as_ref().map_err(Clone::clone)?;
            segment.check_named()?;
            let head = Table::<IndexHead>::open(segment, HEAD)?;
            if head.row(0)?.same_rows(&rows.index_head()) {
                return Ok(*head.row(0)?);
            }
            Err(segment.damaged(head.offset(0), "it is derived from other vectors"))
        });
        head.as_ref().map_err(Clone::clone)
    }

    /// What it holds, unless it is damaged or not derived from these rows.
    pub(crate) fn get(&self, rows: &VectorRows) -> Result<&T> {
        let loaded = self.loaded.get_or_init(|| {
            let segment = self.segment.as_ref().map_err(Clone::clone)?;
            T::load(segment, self.head(rows)?, rows)
        });
        loaded.as_ref().map_err(Clone::clone)
    }

    /// Notes that it is to be built again, and why.
    pub(crate) fn fail(&self, error: Error) {
        let _ = self.failed.set(error);
    }

    /// What is known to be wrong with it.
    pub(crate) fn failure(&self) -> Option<String> {
        let opened = self.segment.as_ref().err();
        let head = || self.head.get().and_then(|head| head.as_ref().err());
        let loaded = || self.loaded.get().and_then(|loaded| loaded.as_ref().err());
        let error = opened.or_else(head).or_else(loaded).or_else(|| self.failed.get());
        error.map(ToString::to_string)
    }
}

/// Codes of vectors.
#[derive(Debug)]
pub(crate) struct Codes {
    segment: Arc<Segment>,
    pub(crate) head: IndexHead,
    pub(crate) codebook: Codebook,
    at: usize,
    len: usize,
}

impl Codes {
    /// The codes, checked.
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        self.segment.bytes(self.at, self.len)
    }

    /// The error of codes that are wrong from there on.
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
        let place = |offset: u64, len: u64| {
            let place = usize::try_from(offset).ok().zip(usize::try_from(len).ok());
            place.ok_or_else(|| damaged("a section is larger than the address space"))
        };
        let (at, len) = place(section.offset, section.len)?;
        if len != shape.codebook_len().saturating_mul(4) {
            return Err(damaged("a codebook of another length"));
        }
        let numbers = segment.bytes(at, len)?.as_chunks::<4>().0.iter();
        let numbers = numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let codebook = Codebook::from_parts(shape, metric, numbers)
            .ok_or_else(|| damaged("a codebook that was not trained"))?;
        let section = segment.section(CODES, 1)?;
        let (at, len) = place(section.offset, section.len)?;
        if len != shape.code_bytes(rows.len()) {
            return Err(damaged("codes of another number of rows"));
        }
        Ok(Self { segment: Arc::clone(segment), head: *head, codebook, at, len })
    }
}

/// A graph over vectors.
#[derive(Debug)]
pub(crate) struct GraphIndex {
    pub(crate) head: IndexHead,
    pub(crate) graph: Graph,
}

/// Searches of one graph at once. What comes on top is searched by codes.
const CONTEXTS: usize = 64;

impl GraphIndex {
    /// What a graph over these rows is known by.
    pub(crate) fn parameters(head: &IndexHead, rows: &VectorRows) -> GraphParameters {
        let number = |number: Le32| usize::try_from(number.get()).unwrap_or(usize::MAX);
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

/// The bytes of a file, to those who may keep them.
struct Bytes(Arc<Segment>);

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.0.mapped()
    }
}

impl Load for GraphIndex {
    /// Every byte of the graph is checked before the library sees one.
    fn load(segment: &Arc<Segment>, head: &IndexHead, rows: &VectorRows) -> Result<Self> {
        if head.bits.get() != 0 {
            return Err(segment.damaged(80, "codes in the place of a graph"));
        }
        let section = segment.section(GRAPH, 1)?;
        let place = usize::try_from(section.offset).ok().zip(usize::try_from(section.len).ok());
        let Some((at, len)) = place else {
            return Err(segment.damaged(80, "a section is larger than the address space"));
        };
        segment.bytes(at, len)?;
        let owner = Arc::new(Bytes(Arc::clone(segment)));
        let parameters = Self::parameters(head, rows);
        let range = at..at.saturating_add(len);
        let graph = Graph::open(owner, range, &parameters, CONTEXTS)
            .map_err(|error| segment.damaged(at, error.to_string()))?;
        Ok(Self { head: *head, graph })
    }
}

impl Rows for VectorRows {
    fn count(&self) -> usize {
        self.len()
    }

    fn get(&self, row: usize) -> Result<(&[f32], f64)> {
        let (head, numbers) = self.row(row)?;
        Ok((numbers, head.norm.get()))
    }
}

/// Numbers about a vector space.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct SpaceStats {
    /// Its name.
    pub name: String,
    /// What it is.
    pub space: Space,
    /// How it is searched.
    pub method: Method,
    /// Vectors in it.
    pub vectors: u64,
    /// Vectors of it in no file yet; what was deleted and stands in a file
    /// counts too.
    pub in_memory: usize,
    /// Its files.
    pub files: Vec<VectorFileStats>,
}

/// Numbers about a vector file.
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

impl<T: Load> Index<T> {
    /// `memory` tells what serving it takes; nothing before it was used.
    fn stats(&self, rows: &VectorRows, memory: impl Fn(&T) -> usize) -> IndexStats {
        let head = self.head(rows).copied().unwrap_or_else(|_| rows.index_head());
        let loaded = self.loaded.get().and_then(|loaded| loaded.as_ref().ok());
        IndexStats {
            file: self.file.number,
            bytes: self.file.len,
            bits: head.bits.get(),
            recall: head.recall.get(),
            sample: head.sample.get(),
            depths: head.depths.map(|depth| Some(depth.get()).filter(|depth| *depth < u32::MAX)),
            memory: loaded.map_or(0, memory),
            damage: self.failure(),
        }
    }
}

impl State {
    /// Numbers about the vector spaces, by name.
    pub(crate) fn space_stats(&self) -> Vec<SpaceStats> {
        let spaces = self.spaces.iter().map(|(number, named)| {
            let files = self.base.vectors_of(number).map(|part| {
                let rows = &*part.rows;
                let file = rows.segment.file();
                VectorFileStats {
                    file: file.number,
                    bytes: file.len,
                    rows: rows.len(),
                    dead: part.dead_count(),
                    codes: part
                        .codes
                        .as_ref()
                        .map(|codes| codes.stats(rows, |c| size_of_val(c.codebook.numbers()))),
                    graph: part.graph.as_ref().map(|graph| graph.stats(rows, |g| g.graph.memory())),
                }
            });
            let counts = usize::try_from(number).ok();
            let all = (number, NodeId::MIN)..=(number, NodeId::MAX);
            SpaceStats {
                name: named.name.clone(),
                space: named.space,
                method: named.method,
                vectors: counts.and_then(|at| self.vector_counts.get(at)).copied().unwrap_or(0),
                in_memory: self
                    .layers()
                    .map(|layer| layer.vectors.range(all.clone()).count())
                    .sum(),
                files: files.collect(),
            }
        });
        spaces.collect()
    }
}
