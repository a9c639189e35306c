//! Vector search by a graph (HNSW), with the C++ library usearch. No other file
//! names the library.
//!
//! Source: Malkov and Yashunin, "Efficient and robust approximate nearest
//! neighbor search using Hierarchical Navigable Small World graphs",
//! arXiv:1603.09320.
//!
//! The library is used in two ways only. A [`Builder`] adds rows from one
//! thread and is then serialised. A [`Graph`] is a view of those bytes, which
//! is only searched. docs/decisions/0010-hnsw.md explains what each check here
//! prevents.
//!
//! The graph holds its rows quantised to i8 and orders by their distances. The
//! rows that it finds have to be ranked again with the stored vectors.
#![allow(unsafe_code)]

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use crate::{
    model::{
        error::{Error, Result},
        limits,
        space::Metric,
    },
    vector::parameters::GraphParameters,
};

/// Whether graphs can be built and served.
pub(crate) const AVAILABLE: bool = true;

/// Links of a node on each level but the lowest, which has twice as many.
const CONNECTIVITY: usize = 16;
/// Candidates among which the links of a new row are chosen.
const EXPANSION_ADD: usize = 128;
/// The largest number of links that is read back. The arithmetic of [`layout`]
/// does not overflow with it.
const CONNECTIVITY_MAX: usize = 256;
/// The largest number of rows. usearch numbers them with u32 and reserves the
/// last number.
const ROWS_MAX: usize = u32::MAX as usize - 1;
/// The largest number of concurrent searches of one graph.
const CONTEXTS_MAX: usize = 1_024;
/// The largest number of candidates of a search. A walk leaves behind a set as
/// large as the number of rows that it visited, which each later search in its
/// context clears; so no walk may visit much of a large graph.
const EXPANSION_MAX: usize = 4_096;
/// How often a filter is asked before the walk is given up: this multiple of
/// the candidates, but at least the second number.
const FILTER_CALLS: (usize, usize) = (16, 2_048);

impl GraphParameters {
    fn validate(&self) -> Result<()> {
        bounded("dimension of a graph", self.dimension, limits::DIMENSION)?;
        bounded("rows of a graph", self.rows, ROWS_MAX)?;
        bounded("links of a node", self.connectivity, CONNECTIVITY_MAX)?;
        if self.connectivity < 2 {
            return Err(Error::invalid("graph: its nodes have 1 link, the minimum is 2"));
        }
        let scaled = self.metric != Metric::Cosine;
        if !self.max_abs.is_finite() || self.max_abs < 0.0 || (!scaled && self.max_abs != 0.0) {
            return Err(Error::invalid(format!(
                "largest component of the rows of a graph: {}",
                self.max_abs
            )));
        }
        Ok(())
    }

    /// Makes an empty usearch index.
    fn index(&self) -> Result<Index> {
        let options = IndexOptions {
            dimensions: self.dimension,
            metric: metric_kind(self.metric)?,
            quantization: ScalarKind::I8,
            connectivity: self.connectivity,
            expansion_add: self.expansion_add,
            // A search uses the larger of this and the number of rows that it
            // asks for. The setting belongs to the whole index and is read by
            // concurrent searches without synchronisation. So it is set once to
            // the minimum, and each search asks for as many rows as it wants
            // candidates.
            expansion_search: 1,
            multi: false,
        };
        let index = Index::new(&options).map_err(refused)?;
        // A new index has as many contexts as the machine has cores, and
        // reserving never lowers that number. Additions use the contexts in
        // turn, and each has its own random generator of levels. Without the
        // reset, the bytes that are built would depend on the machine.
        index.reset().map_err(refused)?;
        Ok(index)
    }

    /// Quantises components to i8: `max_abs` becomes 127, and the values are
    /// from -127 to 127.
    fn quantise(&self, numbers: &[f32], max_abs: f32, to: &mut Vec<i8>) {
        // In f64 the scale does not overflow for any f32.
        let scale = if max_abs == 0.0 { 0.0 } else { 127.0 / f64::from(max_abs) };
        to.clear();
        to.extend(numbers.iter().map(|x| {
            let scaled = (f64::from(*x) * scale).round_ties_even();
            // The cast is exact after the clamp.
            scaled.clamp(-127.0, 127.0) as i8
        }));
    }

    /// Checks that a vector fits this graph, and returns its largest absolute
    /// component.
    fn check(&self, numbers: &[f32]) -> Result<f32> {
        if numbers.len() != self.dimension {
            return Err(Error::invalid(format!(
                "vector of {} components, the graph has {}",
                numbers.len(),
                self.dimension
            )));
        }
        if !numbers.iter().all(|x| x.is_finite()) {
            return Err(Error::invalid("vector with a component that is not finite"));
        }
        let max_abs = numbers.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        if self.metric == Metric::Cosine && max_abs == 0.0 {
            return Err(Error::invalid("zero vector under cosine: it has no direction"));
        }
        Ok(max_abs)
    }
}

fn bounded(what: &'static str, value: usize, most: usize) -> Result<()> {
    match value {
        0 => Err(Error::invalid(format!("{what}: 0"))),
        _ if value > most => Err(Error::limit(what, value, most)),
        _ => Ok(()),
    }
}

fn metric_kind(metric: Metric) -> Result<MetricKind> {
    match metric {
        Metric::Cosine => Ok(MetricKind::Cos),
        Metric::Dot => Ok(MetricKind::IP),
        Metric::L2 => Ok(MetricKind::L2sq),
    }
}

/// Converts an exception of the library, which is only a text.
fn refused(exception: impl fmt::Display) -> Error {
    Error::invalid(format!("graph: usearch: {exception}"))
}

fn disagrees(what: impl fmt::Display) -> Error {
    Error::invalid(format!("graph: {what}"))
}

/// Builds a graph, row by row, in the caller's thread.
///
/// The same rows give the same bytes, on machines where usearch selects the
/// same kernels.
pub(crate) struct Builder {
    index: Index,
    parameters: GraphParameters,
    added: usize,
    quantised: Vec<i8>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("parameters", &self.parameters)
            .field("added", &self.added)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Allocates the memory for the links of all `rows` at once. `max_abs` is
    /// the largest absolute component of all rows, for [`Metric::L2`] and
    /// [`Metric::Dot`]; it is ignored for [`Metric::Cosine`].
    ///
    /// If one row is far larger than the others, these use few of the 255
    /// quantisation levels, and the graph is poor; [`Builder::probe`] shows
    /// that.
    pub(crate) fn new(dimension: usize, metric: Metric, rows: usize, max_abs: f32) -> Result<Self> {
        let parameters = GraphParameters {
            dimension,
            metric,
            rows,
            max_abs: if metric == Metric::Cosine { 0.0 } else { max_abs },
            connectivity: CONNECTIVITY,
            expansion_add: EXPANSION_ADD,
        };
        parameters.validate()?;
        let index = parameters.index()?;
        index.reserve_capacity_and_threads(rows, 1).map_err(refused)?;
        Ok(Self { index, parameters, added: 0, quantised: Vec::with_capacity(dimension) })
    }

    /// The parameters to store with the bytes of [`Builder::finish`].
    pub(crate) fn parameters(&self) -> &GraphParameters {
        &self.parameters
    }

    /// Adds the next row; rows come in order from 0.
    ///
    /// # Errors
    /// A row that is not the next one or beyond the last; a vector of the wrong
    /// length, with a component that is not finite or larger than `max_abs`, or
    /// the zero vector under cosine. Nothing was added then. After an error of
    /// the library, no further row is accepted.
    pub(crate) fn add(&mut self, row: u32, numbers: &[f32]) -> Result<()> {
        let parameters = self.parameters;
        if row as usize != self.added || self.added >= parameters.rows {
            return Err(Error::invalid(format!(
                "row {row} of a graph: expected row {} of {}",
                self.added, parameters.rows
            )));
        }
        let own = parameters.check(numbers)?;
        let max_abs = match parameters.metric {
            Metric::Cosine => own,
            Metric::L2 | Metric::Dot if own > parameters.max_abs => {
                return Err(Error::invalid(format!(
                    "row {row} of a graph: its component {own} is larger than the declared maximum {}",
                    parameters.max_abs
                )));
            }
            Metric::L2 | Metric::Dot => parameters.max_abs,
        };
        parameters.quantise(numbers, max_abs, &mut self.quantised);
        // A failed add leaks memory in usearch, so no further one is tried.
        let next = std::mem::replace(&mut self.added, usize::MAX);
        self.index.add(u64::from(row), &self.quantised).map_err(refused)?;
        self.added = next + 1;
        Ok(())
    }

    /// Measures the recall: the share of the `k` nearest rows that the graph
    /// finds with `ef` candidates, for `sample` evenly spread rows, compared
    /// with an exact search over the quantised rows.
    ///
    /// Costs `sample` scans of all rows in i8.
    pub(crate) fn probe(&mut self, sample: usize, k: usize, ef: usize) -> Result<f64> {
        let rows = self.complete()?;
        let sample = sample.clamp(1, rows);
        let k = k.clamp(1, rows.min(EXPANSION_MAX));
        let wanted = ef.clamp(k, EXPANSION_MAX).min(rows);
        // get() writes a whole row, whatever the length of the slice.
        let mut own = vec![0_i8; self.parameters.dimension];
        let (mut found, mut of) = (0, 0);
        for i in 0..sample {
            let row = i as u128 * rows as u128 / sample as u128;
            if self.index.get(row as u64, &mut own).map_err(refused)? != 1 {
                return Err(disagrees(format_args!("row {row} is missing")));
            }
            let exact = self.index.exact_search(&own, k).map_err(refused)?.distances;
            let walked = self.index.search(&own, wanted).map_err(refused)?.distances;
            // Compared by distance, because rows that are as near as the last
            // are equally good.
            let Some(last) = exact.last() else { continue };
            found += walked.iter().take(k).filter(|distance| *distance <= last).count();
            of += exact.len();
        }
        Ok(found as f64 / of.max(1) as f64)
    }

    /// Serialises the graph for [`Graph::open`]. Needs as much memory again.
    ///
    /// # Errors
    /// When rows are missing, or there is no memory for the bytes.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        self.complete()?;
        let len = self.index.serialized_length();
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| Error::invalid(format!("graph of {len} bytes: out of memory")))?;
        bytes.resize(len, 0);
        self.index.save_to_buffer(&mut bytes).map_err(refused)?;
        layout(&bytes, &self.parameters)?;
        Ok(bytes)
    }

    fn complete(&self) -> Result<usize> {
        if self.added != self.parameters.rows || self.index.size() != self.parameters.rows {
            return Err(Error::invalid(format!(
                "graph of {} rows: {} were added",
                self.parameters.rows,
                self.index.size()
            )));
        }
        Ok(self.parameters.rows)
    }
}

/// A graph, searched in place in bytes that somebody else owns.
///
/// Any number of threads may search it at once. A search that finds no free
/// context returns without a result. usearch takes a mutex for the moment in
/// which it hands out a context.
pub(crate) struct Graph {
    // Must be declared before the owner of the bytes that it points to, because
    // fields are dropped in order.
    index: Index,
    _owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    parameters: GraphParameters,
    contexts: usize,
    free: AtomicUsize,
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph")
            .field("parameters", &self.parameters)
            .field("contexts", &self.contexts)
            .finish_non_exhaustive()
    }
}

impl Graph {
    /// Opens the graph in `range` of the bytes of `owner`, to be searched by up
    /// to `contexts` threads at once. The bytes have passed a checksum; their
    /// whole structure is checked here again, so that no input makes the
    /// library access memory outside of them. Reads the links, not the vectors.
    ///
    /// # Errors
    /// When the bytes are not a graph with these parameters.
    pub(crate) fn open(
        owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
        range: Range<usize>,
        parameters: &GraphParameters,
        contexts: usize,
    ) -> Result<Self> {
        parameters.validate()?;
        bounded("searches of a graph at once", contexts, CONTEXTS_MAX)?;
        // Called only once, because another call might return other bytes.
        let bytes = (*owner).as_ref();
        let bytes = bytes.get(range.clone()).ok_or_else(|| {
            disagrees(format_args!("bytes {range:?} are beyond the end, {}", bytes.len()))
        })?;
        layout(bytes, parameters)?;
        metadata(bytes, parameters)?;
        let index = parameters.index()?;
        // The view keeps these contexts. Reserving after opening the view would
        // also work as long as nobody searches it, but copies its node table.
        index.reserve_capacity_and_threads(0, contexts).map_err(refused)?;
        // SAFETY: the index keeps a pointer to the bytes, which must stay
        // unchanged until it is dropped. They were borrowed from the value in
        // `owner`. That borrow may last as long as the value is neither moved,
        // dropped nor borrowed mutably, and an `Arc` allows nobody to do that
        // while this graph holds its own clone of it. The graph drops that
        // clone after the index. The view only reads: it never writes to a
        // node, and none of the methods that would free or change one is
        // called. `layout` has checked that every link, level and offset that a
        // walk follows stays within the bytes.
        unsafe { index.view_from_buffer(bytes) }.map_err(refused)?;
        let agrees = index.size() == parameters.rows
            && index.dimensions() == parameters.dimension
            && index.connectivity() == parameters.connectivity
            && index.metric_kind() == metric_kind(parameters.metric)?
            && index.scalar_kind() == ScalarKind::I8
            && !index.multi();
        if !agrees {
            return Err(disagrees("the view does not match its parameters"));
        }
        let (parameters, free) = (*parameters, AtomicUsize::new(contexts));
        Ok(Self { index, _owner: owner, parameters, contexts, free })
    }

    /// The rows nearest to `query` according to the graph, at most `k`, best
    /// first in the order of the quantised distances. The walk keeps the larger
    /// of `k` and `ef` candidates, at most [`EXPANSION_MAX`]; more candidates
    /// find more neighbours and cost more. `allowed` says whether a row may be
    /// returned.
    ///
    /// `None` if the graph cannot answer: as many searches as it has contexts
    /// are running, `k` is larger than [`EXPANSION_MAX`], so few rows are
    /// allowed that the walk was given up, or the walk reached fewer than `k`
    /// rows. Never waits. Without a filter, the result has `k` rows; with one
    /// it has fewer if the walk reaches no more that are allowed.
    ///
    /// # Errors
    /// A query of the wrong length, with a component that is not finite, or the
    /// zero vector under cosine. A panic of `allowed` is returned as an error,
    /// because it must not unwind through the library.
    pub(crate) fn search(
        &self,
        query: &[f32],
        k: usize,
        ef: usize,
        allowed: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Option<Vec<u32>>> {
        let own = self.parameters.check(query)?;
        let max_abs = match self.parameters.metric {
            // Scaling the query does not change the order of the rows.
            Metric::Cosine | Metric::Dot => own,
            Metric::L2 => self.parameters.max_abs,
        };
        let rows = self.parameters.rows;
        let k = k.min(rows);
        if k == 0 {
            return Ok(Some(Vec::new()));
        }
        if k > EXPANSION_MAX {
            return Ok(None);
        }
        let wanted = ef.clamp(k, EXPANSION_MAX).min(rows);
        let mut quantised = Vec::with_capacity(query.len());
        self.parameters.quantise(query, max_abs, &mut quantised);
        let Some(_context) = Context::take(&self.free) else {
            return Ok(None);
        };
        let keys = match allowed {
            None => {
                let keys = self.index.search(&quantised, wanted).map_err(refused)?.keys;
                // Dozens of rows that are equal in i8 may be linked only to
                // each other, so that the walk does not reach others.
                if keys.len() < k {
                    return Ok(None);
                }
                keys
            }
            Some(allowed) => {
                let gate = Gate::new(allowed, wanted);
                let walked = self.index.filtered_search(&quantised, wanted, |key| gate.allows(key));
                let given_up = gate.close()?;
                let keys = walked.map_err(refused)?.keys;
                if given_up {
                    return Ok(None);
                }
                keys
            }
        };
        let row = |key| match u32::try_from(key) {
            Ok(row) if (row as usize) < rows => Ok(row),
            _ => Err(disagrees(format_args!("it returned row {key} of {rows}"))),
        };
        keys.into_iter().take(k).map(row).collect::<Result<Vec<_>>>().map(Some)
    }

    /// Bytes of memory that the graph takes in addition to its bytes: what
    /// usearch keeps for each row, and the most that its searches can come to
    /// keep.
    pub(crate) fn memory(&self) -> usize {
        let rows = self.parameters.rows;
        // A pointer to the node, a pointer to the vector, and an entry of a
        // hash table with the key and its slot. usearch reports only the first
        // of the three.
        let of_rows = rows * 16 + (rows * 5 / 3).next_power_of_two() * 16;
        // The set of visited rows holds at most all neighbours of all
        // candidates.
        let visited = rows.min(EXPANSION_MAX * 2 * self.parameters.connectivity);
        of_rows + self.contexts * (visited * 5 / 3).next_power_of_two() * 4
    }
}

/// One of the contexts of a graph, returned when dropped.
struct Context<'g>(&'g AtomicUsize);

impl<'g> Context<'g> {
    /// Takes a free context. There are never more than the index has, since it
    /// returns an error if all are in use.
    fn take(free: &'g AtomicUsize) -> Option<Self> {
        free.try_update(Ordering::Acquire, Ordering::Relaxed, |free| free.checked_sub(1))
            .ok()
            .map(|_| Self(free))
    }
}

impl Drop for Context<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Wraps a filter that is called from C++. A panic that unwinds into C++ would
/// end the process, so it is caught. The number of calls is bounded, because a
/// walk that finds no allowed row goes through the whole graph.
///
/// After a panic, or when the bound is exceeded, everything is allowed, so that
/// the walk ends soon; its result is then discarded.
struct Gate<'f> {
    allowed: &'f dyn Fn(u32) -> bool,
    calls_left: Cell<usize>,
    panic: RefCell<Option<Box<dyn Any + Send>>>,
    given_up: Cell<bool>,
}

impl<'f> Gate<'f> {
    fn new(allowed: &'f dyn Fn(u32) -> bool, wanted: usize) -> Self {
        let (each, least) = FILTER_CALLS;
        Self {
            allowed,
            calls_left: Cell::new((wanted * each).max(least)),
            panic: RefCell::new(None),
            given_up: Cell::new(false),
        }
    }

    fn allows(&self, key: u64) -> bool {
        if self.given_up.get() {
            return true;
        }
        let (Some(left), Ok(row)) = (self.calls_left.get().checked_sub(1), u32::try_from(key))
        else {
            self.given_up.set(true);
            return true;
        };
        self.calls_left.set(left);
        match catch_unwind(AssertUnwindSafe(|| (self.allowed)(row))) {
            Ok(allowed) => allowed,
            Err(panic) => {
                self.given_up.set(true);
                *self.panic.borrow_mut() = Some(panic);
                true
            }
        }
    }

    /// Whether the walk was given up. A panic of the filter is returned as an
    /// error.
    fn close(self) -> Result<bool> {
        match self.panic.into_inner() {
            None => Ok(self.given_up.get()),
            Some(panic) => {
                let text = (panic.downcast_ref::<&str>().copied())
                    .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                    .unwrap_or("no message");
                Err(Error::invalid(format!("filter: it panicked: {text}")))
            }
        }
    }
}

/// Compares the metadata that usearch reads from the bytes with the parameters.
/// Opening a view would accept any metadata.
fn metadata(bytes: &[u8], parameters: &GraphParameters) -> Result<()> {
    let found = Index::metadata_from_buffer(bytes).map_err(refused)?;
    let agrees = found.dimensions == parameters.dimension as u64
        && found.metric == metric_kind(parameters.metric)?
        && found.quantization == ScalarKind::I8
        && !found.multi
        && found.count_present == parameters.rows as u64
        && found.count_deleted == 0
        // Versions older than Cargo.toml requires are read differently.
        && (found.version_major, found.version_minor >= 26) == (2, true);
    if agrees {
        Ok(())
    } else {
        Err(disagrees(format_args!("its metadata {found:?} does not match {parameters:?}")))
    }
}

/// The bytes before the vectors: their number and their dimension, u32 each.
#[cfg(test)]
const MATRIX_BYTES: usize = 8;
/// The head of the index, which begins with [`MAGIC`].
const HEAD_BYTES: usize = 64;
const MAGIC: &[u8] = b"usearch";
/// Offset in the head of the flag that a key may have several vectors. Before
/// it are the version, four enumerations of a byte each, and three numbers of 8
/// bytes.
const MULTI_AT: usize = MAGIC.len() + 3 * 2 + 4 + 3 * 8;
/// Size, links, links on the lowest level, highest level and entry, u64 each.
#[cfg(test)]
const GRAPH_BYTES: usize = 40;
/// Bytes of the key and the level of a node.
const NODE_BYTES: usize = 8 + 2;

/// Checks the structure of a serialised index of usearch 2. It consists of, all
/// little-endian: the number and the dimension of the vectors (u32 each), the
/// vectors, a head of 64 bytes, the size, links, links on the lowest level,
/// highest level and entry of the graph (u64 each), the level of each node
/// (i16), and the nodes. A node is its key (u64), its level (i16), and for the
/// lowest level and each other level of the node the number of its links (u32)
/// and space for them (u32 each).
///
/// A walk trusts all of that: it begins at the entry on the highest level and
/// follows links to nodes, which must exist and have that level.
fn layout(bytes: &[u8], parameters: &GraphParameters) -> Result<()> {
    let mut rest = bytes;
    let (rows, connectivity) = (parameters.rows, parameters.connectivity);

    if (take_u32(&mut rest)?, take_u32(&mut rest)?) != (rows as u64, parameters.dimension as u64) {
        return Err(disagrees(
            "the number or the dimension of its vectors does not match its parameters",
        ));
    }
    let vectors = rows.checked_mul(parameters.dimension).ok_or_else(short)?;
    take(&mut rest, vectors)?;
    let head = take(&mut rest, HEAD_BYTES)?;
    // usearch reads the flag as a bool, whatever the byte is, and passes it on
    // to Rust. A byte other than 0 or 1 would be undefined behaviour in
    // `metadata`.
    if !head.starts_with(MAGIC) || head.get(MULTI_AT) != Some(&0) {
        return Err(disagrees(
            "its head is not that of a usearch index with one vector for each key",
        ));
    }
    let [size, links, links_base, highest, entry] = {
        let mut numbers = [0; 5];
        for number in &mut numbers {
            *number = take_u64(&mut rest)?;
        }
        numbers
    };
    if (size, links, links_base) != (rows as u64, connectivity as u64, 2 * connectivity as u64) {
        return Err(disagrees("its number of rows or links does not match its parameters"));
    }

    let levels = take(&mut rest, rows.checked_mul(2).ok_or_else(short)?)?;
    let levels = levels.as_chunks().0;
    let level = |row: usize| usize::try_from(i16::from_le_bytes(*levels.get(row)?)).ok();
    let entry_level = usize::try_from(entry).ok().and_then(level);
    if entry_level.is_none_or(|level| highest > level as u64) {
        return Err(disagrees("its entry is not on the highest level"));
    }

    for row in 0..rows {
        let wrong = || disagrees(format_args!("the node of row {row} is malformed"));
        let of_row = level(row).ok_or_else(wrong)?;
        let mut node = take(&mut rest, NODE_BYTES)?;
        if take_u64(&mut node)? != row as u64 || node != (of_row as i16).to_le_bytes() {
            return Err(wrong());
        }
        for on_level in 0..=of_row {
            let room = if on_level == 0 { 2 * connectivity } else { connectivity };
            let mut links = take(&mut rest, 4 + 4 * room)?;
            let count = take_u32(&mut links)?;
            let links =
                usize::try_from(count).ok().and_then(|count| links.as_chunks().0.get(..count));
            let fits = |link: &[u8; 4]| {
                level(u32::from_le_bytes(*link) as usize).is_some_and(|level| level >= on_level)
            };
            if !links.ok_or_else(wrong)?.iter().all(fits) {
                return Err(wrong());
            }
        }
    }
    if !rest.is_empty() {
        return Err(disagrees(format_args!("{} bytes follow after its end", rest.len())));
    }
    Ok(())
}

fn short() -> Error {
    disagrees("its bytes end too early")
}

fn take<'b>(rest: &mut &'b [u8], len: usize) -> Result<&'b [u8]> {
    rest.split_off(..len).ok_or_else(short)
}

fn take_u32(rest: &mut &[u8]) -> Result<u64> {
    let (number, after) = rest.split_first_chunk().ok_or_else(short)?;
    *rest = after;
    Ok(u64::from(u32::from_le_bytes(*number)))
}

fn take_u64(rest: &mut &[u8]) -> Result<u64> {
    let (number, after) = rest.split_first_chunk().ok_or_else(short)?;
    *rest = after;
    Ok(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize},
    };

    use super::*;

    const DIMENSION: usize = 24;

    /// Pseudo-random numbers, the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn below(&mut self, bound: usize) -> usize {
            (self.next() % bound as u64) as usize
        }

        /// A number from -1 to 1.
        fn unit(&mut self) -> f32 {
            (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// Rows in clusters around 40 centres.
    fn clustered(rows: usize) -> Vec<Vec<f32>> {
        let mut numbers = Numbers(7);
        let mut vector =
            |spread: f32| -> Vec<f32> { (0..DIMENSION).map(|_| numbers.unit() * spread).collect() };
        let centres: Vec<_> = (0..40).map(|_| vector(1.0)).collect();
        (0..rows)
            .map(|row| centres[row % 40].iter().zip(vector(0.3)).map(|(a, b)| a + b).collect())
            .collect()
    }

    fn built(metric: Metric, rows: &[Vec<f32>]) -> Builder {
        let mut builder = Builder::new(rows[0].len(), metric, rows.len(), 2.0).unwrap();
        for (row, numbers) in rows.iter().enumerate() {
            builder.add(row as u32, numbers).unwrap();
        }
        builder
    }

    fn owned(bytes: Vec<u8>) -> Arc<dyn AsRef<[u8]> + Send + Sync> {
        Arc::new(bytes)
    }

    fn opened(bytes: &[u8], parameters: &GraphParameters) -> Result<Graph> {
        // Bytes before the graph make it unaligned.
        let mut around = vec![0xaa; 13];
        around.extend(bytes);
        around.extend([0xaa; 5]);
        Graph::open(owned(around), 13..13 + bytes.len(), parameters, 2)
    }

    fn graph(metric: Metric, rows: &[Vec<f32>]) -> Graph {
        let builder = built(metric, rows);
        let parameters = *builder.parameters();
        opened(&builder.finish().unwrap(), &parameters).unwrap()
    }

    fn nearest(metric: Metric, rows: &[Vec<f32>], query: &[f32]) -> Vec<u32> {
        let measure = crate::vector::metric::Measure::new(metric, query);
        let mut by_distance: Vec<_> = (0..rows.len() as u32)
            .map(|row| {
                let vector = &rows[row as usize];
                (measure.distance(vector, crate::vector::norm(vector)), row)
            })
            .collect();
        by_distance.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        by_distance.into_iter().map(|(_, row)| row).collect()
    }

    #[test]
    fn the_nearest_are_found_under_each_metric() {
        let rows = clustered(3_000);
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let mut builder = built(metric, &rows);
            let probed = builder.probe(100, 10, 64).unwrap();
            assert!(probed >= 0.95, "{metric:?}: probe {probed}");
            let parameters = *builder.parameters();
            let graph = opened(&builder.finish().unwrap(), &parameters).unwrap();
            let (mut found, mut own) = (0, 0);
            for row in (0..rows.len()).step_by(30) {
                let hits = graph.search(&rows[row], 20, 64, None).unwrap().unwrap();
                let exact = nearest(metric, &rows, &rows[row]);
                found += exact[..10].iter().filter(|row| hits.contains(row)).count();
                own += usize::from(hits.contains(&(row as u32)));
            }
            assert!(found >= 950, "{metric:?}: {found} of 1000");
            assert!(metric == Metric::Dot || own >= 99, "{metric:?}: {own} of 100");
        }
    }

    #[test]
    fn the_same_rows_give_the_same_bytes() {
        let rows = clustered(1_000);
        let bytes = |()| built(Metric::Cosine, &rows).finish().unwrap();
        assert!(bytes(()) == bytes(()));
    }

    #[test]
    fn k_and_effort_are_bounded() {
        let rows = clustered(300);
        let graph = graph(Metric::L2, &rows);
        let search = |k, ef| graph.search(&rows[0], k, ef, None).unwrap().unwrap();
        assert!(search(0, 64).is_empty());
        assert_eq!(search(1, 0), [0]);
        assert_eq!(search(5, usize::MAX).len(), 5);
        for k in [300, 301, usize::MAX] {
            let mut all = search(k, 0);
            all.sort_unstable();
            assert_eq!(all, (0..300).collect::<Vec<_>>(), "{k}");
        }
        let many = clustered(EXPANSION_MAX + 1);
        let graph = self::graph(Metric::L2, &many);
        let found = |k| graph.search(&many[0], k, 1, None).unwrap().map(|rows| rows.len());
        assert_eq!(found(EXPANSION_MAX), Some(EXPANSION_MAX));
        assert_eq!(found(EXPANSION_MAX + 1), None);
        assert_eq!(found(usize::MAX), None);
        assert_eq!(graph.search(&many[0], 3, usize::MAX, None).unwrap().unwrap().len(), 3);
    }

    #[test]
    fn equal_rows_give_a_complete_result_or_none() {
        let rows: Vec<_> = (0..2_000).map(|row| vec![(row % 20) as f32 / 20.0, 1.0]).collect();
        let graph = graph(Metric::L2, &rows);
        for k in [1, 10, 100, 1_000, 2_000] {
            let found = graph.search(&rows[3], k, 64, None).unwrap();
            assert!(found.as_ref().is_none_or(|found| found.len() == k), "{k}");
            assert!(k > 10 || found.is_some_and(|found| found.iter().all(|row| row % 20 == 3)));
        }
    }

    #[test]
    fn rows_come_in_order_and_no_more_than_reserved() {
        let mut builder = Builder::new(2, Metric::L2, 2, 1.0).unwrap();
        for row in [1, u32::MAX] {
            assert!(builder.add(row, &[0.0, 0.0]).is_err());
        }
        assert!(builder.probe(1, 1, 1).is_err(), "not complete");
        builder.add(0, &[0.0, 0.0]).unwrap();
        assert!(builder.add(0, &[0.0, 0.0]).is_err(), "twice");
        builder.add(1, &[0.0, 1.0]).unwrap();
        for _ in 0..1_000 {
            assert!(builder.add(2, &[0.0, 0.0]).is_err());
        }
        let parameters = *builder.parameters();
        let graph = opened(&builder.finish().unwrap(), &parameters).unwrap();
        assert_eq!(graph.search(&[0.0, 0.9], 9, 9, None).unwrap().unwrap(), [1, 0]);

        let mut builder = Builder::new(2, Metric::L2, 2, 1.0).unwrap();
        builder.add(0, &[0.0, 0.0]).unwrap();
        assert!(builder.finish().is_err(), "a row is missing");
    }

    #[test]
    fn impossible_shapes_are_refused() {
        for (dimension, rows, max_abs) in [
            (0, 1, 1.0),
            (limits::DIMENSION + 1, 1, 1.0),
            (1, 0, 1.0),
            (1, usize::MAX, 1.0),
            (1, 1, f32::NAN),
            (1, 1, f32::INFINITY),
            (1, 1, -1.0),
        ] {
            assert!(Builder::new(dimension, Metric::L2, rows, max_abs).is_err());
        }
        assert!(
            Builder::new(limits::DIMENSION, Metric::Cosine, 1, f32::NAN).is_ok(),
            "cosine ignores max_abs"
        );
    }

    #[test]
    fn invalid_vectors_are_refused() {
        let rows = clustered(50);
        for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
            let graph = graph(metric, &rows);
            let mut builder = Builder::new(DIMENSION, metric, 1, 2.0).unwrap();
            let with = |number: f32| {
                let mut vector = rows[0].clone();
                vector[DIMENSION - 1] = number;
                vector
            };
            let mut wrong = vec![
                Vec::new(),
                vec![1.0; DIMENSION - 1],
                vec![1.0; DIMENSION + 1],
                with(f32::NAN),
                with(f32::INFINITY),
                with(f32::NEG_INFINITY),
            ];
            if metric == Metric::Cosine {
                wrong.push(vec![0.0; DIMENSION]);
            }
            for vector in wrong {
                assert!(builder.add(0, &vector).is_err(), "{metric:?} {vector:?}");
                assert!(graph.search(&vector, 1, 1, None).is_err(), "{metric:?} {vector:?}");
            }
            assert_eq!(builder.add(0, &with(2.1)).is_ok(), metric == Metric::Cosine);
            // A query may be larger than all rows, or tiny.
            for number in [f32::MAX, f32::MIN_POSITIVE / 4.0] {
                let vector = vec![number; DIMENSION];
                assert_eq!(graph.search(&vector, 50, 1, None).unwrap().unwrap().len(), 50);
            }
        }
    }

    #[test]
    fn zero_and_extreme_components_make_a_graph() {
        for (metric, numbers) in [
            (Metric::L2, 0.0),
            (Metric::Dot, 0.0),
            (Metric::L2, f32::MAX),
            (Metric::Cosine, f32::MIN_POSITIVE / 4.0),
            (Metric::Cosine, f32::MAX),
        ] {
            let mut builder = Builder::new(3, metric, 40, numbers).unwrap();
            for row in 0..40 {
                builder.add(row, &[numbers; 3]).unwrap();
            }
            assert_eq!(builder.probe(40, 10, 10).unwrap(), 1.0, "{metric:?} {numbers}");
            let parameters = *builder.parameters();
            let graph = opened(&builder.finish().unwrap(), &parameters).unwrap();
            assert_eq!(graph.search(&[1.0; 3], 40, 1, None).unwrap().unwrap().len(), 40);
        }
    }

    #[test]
    fn with_more_threads_than_contexts_results_are_right_or_none() {
        let rows = clustered(2_000);
        let graph = graph(Metric::Cosine, &rows);
        let expected: Vec<_> =
            rows.iter().map(|row| graph.search(row, 10, 64, None).unwrap().unwrap()).collect();
        let (answered, sent_away) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (graph, rows, expected) = (&graph, &rows, &expected);
                let (answered, sent_away) = (&answered, &sent_away);
                scope.spawn(move || {
                    for i in 0..1_000 {
                        let row = (i * 8 + thread) % rows.len();
                        let everyone = |_| true;
                        let allowed: Option<&dyn Fn(u32) -> bool> =
                            if i % 2 == 0 { None } else { Some(&everyone) };
                        match graph.search(&rows[row], 10, 64, allowed).unwrap() {
                            Some(found) => {
                                assert_eq!(found, expected[row]);
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            None => {
                                sent_away.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                });
            }
        });
        assert_eq!(answered.into_inner() + sent_away.into_inner(), 8_000);
        assert_eq!(graph.free.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_search_without_a_free_context_returns_none() {
        // More than most machines have cores, which is the number of contexts
        // that usearch takes by default.
        const CONTEXTS: usize = 65;
        let rows = clustered(100);
        let builder = built(Metric::Cosine, &rows);
        let parameters = *builder.parameters();
        let bytes = builder.finish().unwrap();
        let range = 0..bytes.len();
        let graph = Graph::open(owned(bytes), range, &parameters, CONTEXTS).unwrap();
        let (inside, tried) = (Barrier::new(CONTEXTS + 1), Barrier::new(CONTEXTS + 1));
        std::thread::scope(|scope| {
            for _ in 0..CONTEXTS {
                scope.spawn(|| {
                    let first = AtomicBool::new(true);
                    let waits = |_| {
                        if first.swap(false, Ordering::Relaxed) {
                            inside.wait();
                            tried.wait();
                        }
                        true
                    };
                    let found = graph.search(&rows[0], 1, 1, Some(&waits)).unwrap();
                    assert_eq!(found, Some(vec![0]));
                });
            }
            inside.wait();
            let beyond = graph.search(&rows[0], 1, 1, None);
            tried.wait();
            assert_eq!(beyond.unwrap(), None);
        });
        assert_eq!(graph.search(&rows[0], 1, 1, None).unwrap(), Some(vec![0]));
        // A search from within a filter takes a context of its own.
        let again = |_| graph.search(&rows[0], 1, 1, None).unwrap().is_some();
        assert_eq!(graph.search(&rows[0], 1, 1, Some(&again)).unwrap(), Some(vec![0]));
    }

    #[test]
    fn a_panic_of_the_filter_is_an_error_and_leaves_the_graph_as_it_was() {
        let rows = clustered(1_000);
        let graph = graph(Metric::Cosine, &rows);
        for after in [0, 1, 50] {
            let calls = Cell::new(0);
            let allowed = |_| {
                calls.set(calls.get() + 1);
                assert!(calls.get() <= after, "call {}", calls.get());
                true
            };
            let error = graph.search(&rows[3], 5, 64, Some(&allowed)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("invalid filter: it panicked: call {}", after + 1)
            );
            assert_eq!(calls.get(), after + 1, "not asked again");
        }
        for _ in 0..5 {
            assert_eq!(graph.search(&rows[3], 1, 64, None).unwrap(), Some(vec![3]));
        }
    }

    #[test]
    fn filters_get_row_numbers_and_decide_what_is_found() {
        let rows = clustered(1_000);
        let graph = graph(Metric::L2, &rows);
        let odd = |row: u32| {
            assert!(row < 1_000);
            row % 2 == 1
        };
        let found = graph.search(&rows[4], 20, 128, Some(&odd)).unwrap().unwrap();
        assert_eq!(found.len(), 20);
        assert!(found.iter().all(|row| row % 2 == 1));
        // A small graph is walked completely.
        assert_eq!(graph.search(&rows[4], 20, 20, Some(&|_| false)).unwrap(), Some(Vec::new()));
        let one = graph.search(&rows[4], 20, 20, Some(&|row| row == 777)).unwrap();
        assert_eq!(one, Some(vec![777]));
    }

    #[test]
    fn a_walk_that_finds_few_allowed_is_given_up() {
        let rows = clustered(3 * FILTER_CALLS.1);
        let graph = graph(Metric::L2, &rows);
        let calls = Cell::new(0);
        let nobody = |_| {
            calls.set(calls.get() + 1);
            false
        };
        assert_eq!(graph.search(&rows[0], 10, 64, Some(&nobody)).unwrap(), None);
        assert_eq!(calls.get(), FILTER_CALLS.1);
        let some = |row: u32| row.is_multiple_of(5);
        let found = graph.search(&rows[0], 10, 64, Some(&some)).unwrap().unwrap();
        assert_eq!((found.len(), found[0]), (10, 0));
    }

    #[test]
    fn bytes_that_do_not_match_the_parameters_are_refused() {
        let rows = clustered(200);
        let builder = built(Metric::Cosine, &rows);
        let right = *builder.parameters();
        let bytes = builder.finish().unwrap();
        assert!(AVAILABLE && opened(&bytes, &right).is_ok());
        for wrong in [
            GraphParameters { dimension: DIMENSION - 1, ..right },
            GraphParameters { dimension: DIMENSION / 2, rows: 400, ..right },
            GraphParameters { dimension: 0, ..right },
            GraphParameters { metric: Metric::Dot, ..right },
            GraphParameters { metric: Metric::L2, ..right },
            GraphParameters { max_abs: 1.0, ..right },
            GraphParameters { max_abs: f32::NAN, ..right },
            GraphParameters { rows: 199, ..right },
            GraphParameters { rows: 201, ..right },
            GraphParameters { rows: 0, ..right },
            GraphParameters { rows: usize::MAX, ..right },
            GraphParameters { connectivity: 8, ..right },
            GraphParameters { connectivity: usize::MAX, ..right },
        ] {
            assert!(opened(&bytes, &wrong).is_err(), "{wrong:?}");
        }
        let owner = owned(bytes.clone());
        for contexts in [0, CONTEXTS_MAX + 1, usize::MAX] {
            assert!(Graph::open(owner.clone(), 0..bytes.len(), &right, contexts).is_err());
        }
        for range in [0..bytes.len() + 1, 1..bytes.len(), 0..0, usize::MAX - 1..usize::MAX] {
            assert!(Graph::open(owner.clone(), range, &right, 1).is_err());
        }
        let other_kind = Index::new(&IndexOptions {
            dimensions: DIMENSION / 4,
            metric: MetricKind::Cos,
            quantization: ScalarKind::F32,
            connectivity: CONNECTIVITY,
            ..Default::default()
        })
        .unwrap();
        other_kind.reserve(1).unwrap();
        other_kind.add(0, &[1.0_f32; DIMENSION / 4]).unwrap();
        let mut bytes = vec![0; other_kind.serialized_length()];
        other_kind.save_to_buffer(&mut bytes).unwrap();
        let error = opened(&bytes, &GraphParameters { rows: 1, ..right }).unwrap_err();
        assert!(error.to_string().contains("F32"), "{error}");
    }

    /// Bytes that could crash the library are refused or searched safely.
    #[test]
    fn cut_and_damaged_bytes_never_leave_the_buffer() {
        let rows = clustered(150);
        let builder = built(Metric::L2, &rows);
        let parameters = *builder.parameters();
        let bytes = builder.finish().unwrap();
        for len in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            assert!(opened(&bytes[..len], &parameters).is_err(), "{len}");
        }
        let graph_at = MATRIX_BYTES + rows.len() * DIMENSION;
        let mut numbers = Numbers(11);
        let (mut refused, mut served) = (0, 0);
        for i in 0..6_000 {
            let mut damaged = bytes.clone();
            for _ in 0..[1, 1, 1, 64][i % 4] {
                let at = match i % 3 {
                    // The two heads are damaged most often.
                    0 => graph_at + numbers.below(HEAD_BYTES + GRAPH_BYTES),
                    1 => graph_at + numbers.below(bytes.len() - graph_at),
                    _ => numbers.below(bytes.len()),
                };
                damaged[at] = match numbers.below(3) {
                    0 => damaged[at] ^ (1 << numbers.below(8)),
                    1 => 0xff,
                    _ => numbers.next() as u8,
                };
            }
            match opened(&damaged, &parameters) {
                Err(_) => refused += 1,
                Ok(graph) => {
                    served += 1;
                    for row in [0, 77, 149] {
                        let found = graph.search(&rows[row], 150, 0, None).unwrap().unwrap();
                        assert!(found.iter().all(|row| *row < 150));
                    }
                }
            }
        }
        assert!(refused > 1_000 && served > 1_000, "{refused} refused, {served} served");
    }

    #[test]
    fn the_bytes_live_as_long_as_the_graph_and_no_longer() {
        struct Watched(Vec<u8>, Arc<AtomicBool>);
        impl AsRef<[u8]> for Watched {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        impl Drop for Watched {
            fn drop(&mut self) {
                self.0.fill(0xff);
                self.1.store(true, Ordering::Relaxed);
            }
        }
        let rows = clustered(500);
        let builder = built(Metric::Cosine, &rows);
        let parameters = *builder.parameters();
        let bytes = builder.finish().unwrap();
        let dropped = Arc::new(AtomicBool::new(false));
        let owner = Arc::new(Watched(bytes.clone(), Arc::clone(&dropped)));
        let graph = Graph::open(owner.clone(), 0..bytes.len(), &parameters, 1).unwrap();
        drop(owner);
        assert!(!dropped.load(Ordering::Relaxed));
        assert_eq!(graph.search(&rows[9], 1, 64, None).unwrap(), Some(vec![9]));
        assert!(graph.memory() >= graph.index.memory_usage());
        drop(graph);
        assert!(dropped.load(Ordering::Relaxed));
        // A graph that could not be opened does not keep its bytes either.
        let dropped = Arc::new(AtomicBool::new(false));
        let owner = Arc::new(Watched(bytes.clone(), Arc::clone(&dropped)));
        assert!(Graph::open(owner, 1..bytes.len(), &parameters, 1).is_err());
        assert!(dropped.load(Ordering::Relaxed));
    }

    #[test]
    fn a_search_does_not_change_the_floating_point_mode() {
        let rows = clustered(100);
        let graph = graph(Metric::Cosine, &rows);
        graph.search(&rows[0], 1, 1, None).unwrap();
        // The library is compiled with fast-math, which with some compilers
        // turns on flushing of subnormal numbers to zero.
        let least = std::hint::black_box(f32::MIN_POSITIVE) / std::hint::black_box(2.0);
        assert!(least > 0.0 && least * 2.0 == f32::MIN_POSITIVE);
    }
}
