//! Builds the codes or the graph of a vector file, step by step.

use std::sync::Arc;

use bytemuck::bytes_of;

use crate::{
    checkpoint::output::FileSink,
    format::{
        header::FileKind,
        manifest::DataFile,
        tables::{Le32, LeF32},
        vectors::{CODEBOOK, CODES, GRAPH, HEAD, IndexHead, RECALLS},
    },
    model::{
        error::{Error, Result},
        space::{Method, Metric},
    },
    num,
    state::base::{vector_index::GraphIndex, vector_rows::VectorRows},
    store::segment::writer::Writer,
    vector::{
        build::{self, Rows},
        compute::Compute,
        hnsw::{self, Graph},
        pq::{Codebook, Shape},
        recall::{Measured, STRETCHES, Truth},
    },
};

/// Rows that are encoded in one step.
const ENCODED: usize = 1 << 16;

/// Rows that are added to a graph in one step.
const ADDED: usize = 1 << 9;

/// Numbers of candidates with which a graph is measured, ascending.
const TRIED: [usize; 14] = [8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024];

/// How many times as many candidates a query needs that is not a row. Most of the
/// queries with which a graph is measured are rows, whose links lead to their
/// nearest neighbours.
const STRANGER: usize = 2;

/// A graph that finds less than this share of its rows by their own vectors is
/// not used.
const SELF_RECALL: f64 = 0.9;

/// No graph is built of rows of whose neighbours more than this number are copies
/// of the first, on average: copies are linked to each other, and hide what is
/// behind them.
const TOGETHER: f64 = 1.5;

/// What is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Derived {
    /// Codes of this many bits.
    Codes(u32),
    Graph,
}

impl Derived {
    /// The codes of a space with this method, if it has any.
    pub(crate) fn codes(method: Method) -> Option<Self> {
        match method {
            Method::Exact => None,
            Method::Pq8 => Some(Self::Codes(8)),
            Method::Auto | Method::Pq4 | Method::Hnsw => Some(Self::Codes(4)),
        }
    }
}

/// An index that is being built.
#[derive(Debug)]
pub(crate) struct Build {
    rows: Arc<VectorRows>,
    derived: Derived,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Begin,
    Encode {
        shape: Shape,
        codebook: Codebook,
        codes: Vec<u8>,
        next: usize,
    },
    Add {
        builder: Box<hnsw::Builder>,
        next: usize,
        /// What the graph is measured against.
        truth: Box<Truth>,
    },
    /// The index would be useless.
    NotWorthIndexing,
    Done,
}

/// The result of a step.
#[derive(Debug)]
pub(crate) enum Step {
    /// More to do.
    More,
    /// The file.
    Done(DataFile),
    /// An index of these rows would be useless.
    NotWorthIndexing,
}

impl Build {
    pub(crate) fn new(rows: Arc<VectorRows>, derived: Derived) -> Self {
        Self { rows, derived, stage: Stage::Begin }
    }

    pub(crate) fn rows(&self) -> &Arc<VectorRows> {
        &self.rows
    }

    pub(crate) fn derived(&self) -> Derived {
        self.derived
    }

    /// Runs one step. Fails with `Closed` when it is cancelled.
    pub(crate) fn step(&mut self, sink: &mut FileSink<'_>, how: Compute<'_>) -> Result<Step> {
        let rows = &*self.rows;
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Begin => {
                self.stage = match self.derived {
                    Derived::Codes(bits) => {
                        let dimension = rows.definition().dimension;
                        let shape = Shape::new(dimension, bits).ok_or_else(|| {
                            Error::internal(format!("there are no codes of {bits} bits"))
                        })?;
                        let sample = build::sample(rows, shape.sample_rows())?;
                        // The file number is the seed, so the same file gets the
                        // same codes.
                        let seed = rows.segment().file().number.into();
                        let metric = coded(rows.definition().metric, uneven(rows)?);
                        let trained = Codebook::train(shape, metric, &sample, seed, how);
                        match trained {
                            Some(codebook) => {
                                let codes = Vec::with_capacity(shape.code_bytes(rows.len()));
                                Stage::Encode { shape, codebook, codes, next: 0 }
                            }
                            None if (how.stop)() => return Err(Error::Closed),
                            None => Stage::NotWorthIndexing,
                        }
                    }
                    Derived::Graph => {
                        let truth = Box::new(self.truth(how)?);
                        if self.is_of_copies(&truth) {
                            return Ok(Step::NotWorthIndexing);
                        }
                        let max_abs = match rows.definition().metric {
                            Metric::Cosine => 0.0,
                            _ => largest(rows)?,
                        };
                        let space = rows.definition();
                        let builder =
                            hnsw::Builder::new(space.dimension, space.metric, rows.len(), max_abs)?;
                        Stage::Add { builder: Box::new(builder), next: 0, truth }
                    }
                };
                Ok(Step::More)
            }
            Stage::Encode { shape, codebook, mut codes, next } => {
                let end = (next + ENCODED).min(rows.len());
                build::encode(&codebook, rows, next, end, how.threads, &mut codes)?;
                if end < rows.len() {
                    self.stage = Stage::Encode { shape, codebook, codes, next: end };
                    return Ok(Step::More);
                }
                self.finish_codes(sink, shape, &codebook, &codes, how).map(Step::Done)
            }
            Stage::Add { mut builder, next, truth } => {
                let end = (next + ADDED).min(rows.len());
                for row in next..end {
                    builder.add(num::short(row), rows.components(row)?)?;
                }
                if end < rows.len() {
                    self.stage = Stage::Add { builder, next: end, truth };
                    return Ok(Step::More);
                }
                self.finish_graph(sink, *builder, &truth, how)
            }
            Stage::NotWorthIndexing | Stage::Done => Ok(Step::NotWorthIndexing),
        }
    }

    /// Whether most neighbours are copies. In a few dimensions, rows that are
    /// near are no copies.
    fn is_of_copies(&self, truth: &Truth) -> bool {
        const FEW: usize = 4;
        self.rows.definition().dimension > FEW && truth.together() > TOGETHER
    }

    /// What recall is measured against.
    fn truth(&self, how: Compute<'_>) -> Result<Truth> {
        let rows = &*self.rows;
        let seed = rows.segment().file().number.into();
        Truth::from_rows(rows, rows.definition().metric, seed, how)
    }

    fn finish_codes(
        &self,
        sink: &mut FileSink<'_>,
        shape: Shape,
        codebook: &Codebook,
        codes: &[u8],
        how: Compute<'_>,
    ) -> Result<DataFile> {
        let rows = &*self.rows;
        let truth = self.truth(how)?;
        let recalls = [0, 1, 2].map(|at: usize| (RECALLS[at], STRETCHES[at]));
        let mut head = rows.index_head();
        let metric = rows.definition().metric;
        let directed = codebook.metric() != metric;
        let lengths = if directed { rows.lengths()? } else { Vec::new() };
        if directed {
            let some = build::spread(rows.len(), shape.sample_rows());
            let some = some.map(|row| rows.get(row)).collect::<Result<Vec<_>>>()?;
            head.directed = LeF32::new(codebook.product(&some) as f32);
        }
        let product = head.directed.get().into();
        let table = |query: &[f32], norm: f64| {
            let table = codebook.table(query, norm);
            if directed { table.with_lengths(&lengths, metric, norm, product) } else { table }
        };
        let measured = truth.of_codes(table, codes, rows, recalls, how)?;
        head.bits = Le32::new(shape.bits);
        head.subs = le32(shape.subs);
        head.sub_dimension = le32(shape.sub_dimension);
        record(&mut head, &truth, &measured);
        let mut writer = begin(sink, &head)?;
        writer.section(CODEBOOK, 4);
        writer.write(bytemuck::cast_slice(codebook.components()))?;
        writer.section(CODES, 1);
        writer.write(codes)?;
        sink.finish(writer)
    }

    fn finish_graph(
        &self,
        sink: &mut FileSink<'_>,
        mut builder: hnsw::Builder,
        truth: &Truth,
        how: Compute<'_>,
    ) -> Result<Step> {
        const PROBED: usize = 100;
        let rows = &*self.rows;
        if builder.probe(PROBED, 10, 64)? < SELF_RECALL {
            return Ok(Step::NotWorthIndexing);
        }
        let mut head = rows.index_head();
        let parameters = *builder.parameters();
        head.subs = le32(parameters.connectivity);
        head.sub_dimension = le32(parameters.expansion_add);
        head.max_abs = LeF32::new(parameters.max_abs);
        let bytes = Arc::new(builder.finish()?);
        // Opened as for a search: a graph that cannot be opened is not written.
        let owner: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(Shared(Arc::clone(&bytes)));
        let parameters = GraphIndex::parameters(&head, rows);
        let graph = Graph::open(owner, 0..bytes.len(), &parameters, 1)?;
        let nothing = (0, f64::NAN);
        let mut measured =
            Measured { depths: [None; RECALLS.len()], usual: nothing, foreign: nothing };
        for tried in TRIED {
            if (how.stop)() {
                return Err(Error::Closed);
            }
            let ([usual, foreign], least) = truth.recall(rows, |query| {
                // One more, since a row finds itself.
                let found = graph.search(&query.components, tried + 1, 0, None)?;
                Ok(found.unwrap_or_default())
            })?;
            if measured.depths[1].is_none() {
                (measured.usual, measured.foreign) = (usual, foreign);
            }
            for (depth, asked) in measured.depths.iter_mut().zip(RECALLS) {
                // `Fast` is for queries as most are: with the hardest of the usual, it
                // would take longer than a scan of the codes.
                let recall = if asked <= 950 { usual.1 } else { least };
                if depth.is_none() && recall * 1000.0 >= f64::from(asked) {
                    *depth = Some(tried * STRANGER);
                }
            }
        }
        record(&mut head, truth, &measured);
        let mut writer = begin(sink, &head)?;
        writer.section(GRAPH, 1);
        writer.write(&bytes)?;
        sink.finish(writer).map(Step::Done)
    }
}

/// The bytes of a graph in memory, from which it is measured.
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The metric for which codes are trained: that of the space, or for directions
/// alone.
pub(crate) fn coded(metric: Metric, directed: bool) -> Metric {
    if directed { Metric::Cosine } else { metric }
}

/// Whether few rows are so much longer than most that codes of the rows as they
/// are would be spent on these few.
fn uneven(rows: &VectorRows) -> Result<bool> {
    /// How many times as long as the median row is the root of the mean square.
    const UNEVEN: f64 = 2.0;
    if rows.definition().metric == Metric::Cosine {
        return Ok(false);
    }
    let lengths = rows.lengths()?;
    let squares: f64 = lengths.iter().map(|length| f64::from(*length).powi(2)).sum();
    let mut lengths = lengths;
    let middle = lengths.len() / 2;
    let (_, median, _) = lengths.select_nth_unstable_by(middle, f32::total_cmp);
    let mean = (squares / rows.len() as f64).sqrt();
    Ok(mean > f64::from(*median) * UNEVEN)
}

/// The largest absolute value of a component.
fn largest(rows: &VectorRows) -> Result<f32> {
    let mut largest = 0.0_f32;
    for row in 0..rows.len() {
        largest = rows.components(row)?.iter().fold(largest, |largest, x| largest.max(x.abs()));
    }
    Ok(largest)
}

fn le32(number: usize) -> Le32 {
    Le32::new(num::short(number))
}

/// Writes down what was measured.
fn record(head: &mut IndexHead, truth: &Truth, measured: &Measured<{ RECALLS.len() }>) {
    head.depths = measured.depths.map(|depth| depth.map_or(Le32::new(u32::MAX), le32));
    let [least, most] = truth.usual.lengths;
    head.reach = LeF32::new(truth.usual.reach);
    head.lengths = [LeF32::new(least), LeF32::new(most)];
    // Only shown in the stats, so rounding does no harm.
    #[expect(clippy::cast_possible_truncation, reason = "from 0 to 1")]
    let number = |(queries, recall): (usize, f64)| (le32(queries), LeF32::new(recall as f32));
    (head.sample, head.recall) = number(measured.usual);
    (head.foreign, head.foreign_recall) = number(measured.foreign);
}

fn begin(sink: &mut FileSink<'_>, head: &IndexHead) -> Result<Writer> {
    let mut writer = sink.create(FileKind::VectorIndex)?;
    writer.section(HEAD, size_of::<IndexHead>());
    writer.write(bytes_of(head))?;
    Ok(writer)
}
