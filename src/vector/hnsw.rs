//! A graph that is walked to the nearest rows: HNSW, of the C++ library
//! usearch. No other file names it.
//!
//! Source: Malkov and Yashunin, "Efficient and robust approximate nearest
//! neighbor search using Hierarchical Navigable Small World graphs",
//! arXiv:1603.09320.
//!
//! The library is used in two ways only. A [`Builder`] adds rows from one
//! thread and is then serialised; a [`Graph`] is a view of those bytes that is
//! only searched. docs/decisions/0010-hnsw.md has what each check here keeps
//! out.
//!
//! The graph holds its rows in i8, and orders by the distance of those: what it
//! finds is to be ranked again with the raw vectors.
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
/// Most links that are read back: what fits the checks of [`layout`].
const CONNECTIVITY_MAX: usize = 256;
/// Most rows: usearch numbers them in u32 and keeps the last for itself.
const ROWS_MAX: usize = u32::MAX as usize - 1;
/// Most searches of one graph at once.
const CONTEXTS_MAX: usize = 1_024;
/// Most candidates of a search. A walk leaves behind a set as large as what it
/// visited, which each later search of its context clears; so none visits much
/// of a large graph.
const EXPANSION_MAX: usize = 4_096;
/// How often a filter is asked before the walk is given up, as multiple of the
/// candidates and at least.
const FILTER_CALLS: (usize, usize) = (16, 2_048);

impl GraphParameters {
    fn validate(&self) -> Result<()> {
        bounded("dimension of a graph", self.dimension, limits::DIMENSION)?;
        bounded("rows of a graph", self.rows, ROWS_MAX)?;
        bounded("links of a node", self.connectivity, CONNECTIVITY_MAX)?;
        if self.connectivity < 2 {
            return Err(Error::invalid("graph: its nodes have 1 link, the least is 2"));
        }
        let scaled = self.metric != Metric::Cosine;
        if !self.max_abs.is_finite() || self.max_abs < 0.0 || (!scaled && self.max_abs != 0.0) {
            return Err(Error::invalid(format!(
                "largest number of the rows of a graph: {}",
                self.max_abs
            )));
        }
        Ok(())
    }

    /// An empty index of usearch.
    fn index(&self) -> Result<Index> {
        let options = IndexOptions {
            dimensions: self.dimension,
            metric: metric_kind(self.metric)?,
            quantization: ScalarKind::I8,
            connectivity: self.connectivity,
            expansion_add: self.expansion_add,
            // A search expands to the larger of this and the rows it wants.
            // The setting is the whole index's and a plain number, which
            // others read as they search: so it is the least and stays, and
            // each search says by the second what it needs.
            expansion_search: 1,
            multi: false,
        };
        let index = Index::new(&options).map_err(refused)?;
        // A new index has as many contexts as the machine has cores, and
        // reserving never lowers their number. The contexts take turns, each
        // with its own source of levels: what is built would depend on the
        // machine.
        index.reset().map_err(refused)?;
        Ok(index)
    }

    /// The numbers as the graph holds them. Nothing leaves -127 to 127.
    fn quantise(&self, numbers: &[f32], max_abs: f32, to: &mut Vec<i8>) {
        // In f64 the scale of no number overflows.
        let scale = if max_abs == 0.0 { 0.0 } else { 127.0 / f64::from(max_abs) };
        to.clear();
        to.extend(numbers.iter().map(|x| {
            let scaled = (f64::from(*x) * scale).round_ties_even();
            // The cast is exact after the clamp.
            scaled.clamp(-127.0, 127.0) as i8
        }));
    }

    /// The largest absolute number of a vector that is fit for this graph.
    fn check(&self, numbers: &[f32]) -> Result<f32> {
        if numbers.len() != self.dimension {
            return Err(Error::invalid(format!(
                "vector of {} numbers, the graph has {}",
                numbers.len(),
                self.dimension
            )));
        }
        if !numbers.iter().all(|x| x.is_finite()) {
            return Err(Error::invalid("vector with a number that is not finite"));
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

/// An exception of the library, which is a text and no more.
fn refused(exception: impl fmt::Display) -> Error {
    Error::invalid(format!("graph: usearch: {exception}"))
}

fn disagrees(what: impl fmt::Display) -> Error {
    Error::invalid(format!("graph: {what}"))
}

/// Builds a graph, row by row, on the caller's thread.
///
/// The same rows give the same bytes, on machines with the same kernels.
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
    /// Takes the memory for the links of all `rows` at once. `max_abs` is the
    /// largest absolute number of all rows, for [`Metric::L2`] and
    /// [`Metric::Dot`]; [`Metric::Cosine`] has no use for it.
    ///
    /// One row far larger than the others leaves these few of the 255 levels,
    /// and a poor graph; [`Builder::probe`] shows it.
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

    /// What is to be stored beside the bytes of [`Builder::finish`].
    pub(crate) fn parameters(&self) -> &GraphParameters {
        &self.parameters
    }

    /// Adds the next row; rows come in order from 0.
    ///
    /// # Errors
    /// A row that is not the next or past the last, or a vector of the wrong
    /// length, with a number that is not finite or beyond `max_abs`, or zero
    /// under cosine: nothing was added. One from the library ends the build.
    pub(crate) fn add(&mut self, row: u32, numbers: &[f32]) -> Result<()> {
        let parameters = self.parameters;
        if row as usize != self.added || self.added >= parameters.rows {
            return Err(Error::invalid(format!(
                "row {row} of a graph: the next is {} of {}",
                self.added, parameters.rows
            )));
        }
        let own = parameters.check(numbers)?;
        let max_abs = match parameters.metric {
            Metric::Cosine => own,
            Metric::L2 | Metric::Dot if own > parameters.max_abs => {
                return Err(Error::invalid(format!(
                    "row {row} of a graph: {own} is beyond its largest number, {}",
                    parameters.max_abs
                )));
            }
            Metric::L2 | Metric::Dot => parameters.max_abs,
        };
        parameters.quantise(numbers, max_abs, &mut self.quantised);
        // A failed add leaks in usearch: no second is tried.
        let next = std::mem::replace(&mut self.added, usize::MAX);
        self.index.add(u64::from(row), &self.quantised).map_err(refused)?;
        self.added = next + 1;
        Ok(())
    }

    /// The share of the `k` nearest of `sample` rows, spread evenly, that the
    /// graph finds with effort `ef`, measured against all rows as the graph
    /// holds them.
    ///
    /// Costs `sample` scans of the rows in i8.
    pub(crate) fn probe(&mut self, sample: usize, k: usize, ef: usize) -> Result<f64> {
        let rows = self.complete()?;
        let sample = sample.clamp(1, rows);
        let k = k.clamp(1, rows.min(EXPANSION_MAX));
        let wanted = ef.clamp(k, EXPANSION_MAX).min(rows);
        // get() writes what it has, whatever the length of the slice.
        let mut own = vec![0_i8; self.parameters.dimension];
        let (mut found, mut of) = (0, 0);
        for i in 0..sample {
            let row = i as u128 * rows as u128 / sample as u128;
            if self.index.get(row as u64, &mut own).map_err(refused)? != 1 {
                return Err(disagrees(format_args!("row {row} is not in it")));
            }
            let exact = self.index.exact_search(&own, k).map_err(refused)?.distances;
            let walked = self.index.search(&own, wanted).map_err(refused)?.distances;
            // By distance: of rows as near as the last, any will do.
            let Some(last) = exact.last() else { continue };
            found += walked.iter().take(k).filter(|distance| *distance <= last).count();
            of += exact.len();
        }
        Ok(found as f64 / of.max(1) as f64)
    }

    /// The graph as bytes, for [`Graph::open`]. Takes as much memory again.
    ///
    /// # Errors
    /// When rows are missing.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        self.complete()?;
        let len = self.index.serialized_length();
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(len)
            .map_err(|_| Error::invalid(format!("graph of {len} bytes: no memory for them")))?;
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

/// A graph, served from bytes that stay where they are.
///
/// Any number of threads search it at once; those beyond its contexts are sent
/// away. Usearch takes a mutex for the moment in which it hands out a context.
pub(crate) struct Graph {
    // Before the owner of the bytes that it points into: fields are dropped in
    // order.
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
    /// Opens the graph in `range` of the bytes of `owner`, to be searched by
    /// `contexts` threads at once. The bytes have passed a checksum; all of
    /// their structure is checked here again, so that no bytes whatever make
    /// the library leave them. Reads the links, not the vectors.
    ///
    /// # Errors
    /// When the bytes are not those of a graph with these parameters.
    pub(crate) fn open(
        owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
        range: Range<usize>,
        parameters: &GraphParameters,
        contexts: usize,
    ) -> Result<Self> {
        parameters.validate()?;
        bounded("searches of a graph at once", contexts, CONTEXTS_MAX)?;
        // Once only: another call might give other bytes.
        let bytes = (*owner).as_ref();
        let bytes = bytes.get(range.clone()).ok_or_else(|| {
            disagrees(format_args!("bytes {range:?} of {} are not there", bytes.len()))
        })?;
        layout(bytes, parameters)?;
        metadata(bytes, parameters)?;
        let index = parameters.index()?;
        // Kept by the view. Reserving on a view would do too, once nobody
        // searches it yet, and copies its node table.
        index.reserve_capacity_and_threads(0, contexts).map_err(refused)?;
        // SAFETY: the index keeps a pointer to the bytes, which must stay as
        // they are until it is dropped. They were borrowed from the value in
        // `owner`, and that borrow may last as long as the value is neither
        // moved, dropped nor borrowed mutably, which an `Arc` allows nobody
        // while this graph holds its own clone of it; the graph gives that up
        // after the index. The view only reads: it never writes to a node, and
        // of the methods that would free or change one none is called.
        // `layout` has seen that every link, level and offset that a walk
        // follows stays within the bytes.
        unsafe { index.view_from_buffer(bytes) }.map_err(refused)?;
        let agrees = index.size() == parameters.rows
            && index.dimensions() == parameters.dimension
            && index.connectivity() == parameters.connectivity
            && index.metric_kind() == metric_kind(parameters.metric)?
            && index.scalar_kind() == ScalarKind::I8
            && !index.multi();
        if !agrees {
            return Err(disagrees("the view has another shape than its parameters"));
        }
        let (parameters, free) = (*parameters, AtomicUsize::new(contexts));
        Ok(Self { index, _owner: owner, parameters, contexts, free })
    }

    /// The rows nearest to `query` by the graph, at most `k`, best first in its
    /// own order. It keeps the larger of `k` and `ef` candidates as it walks,
    /// at most [`EXPANSION_MAX`]; more find better and cost more. `allowed`
    /// says of a row whether it may be found.
    ///
    /// `None` where the graph is not the way: as many searches as it has
    /// contexts are under way, `k` is larger than [`EXPANSION_MAX`], so few rows
    /// are allowed that the walk was given up, or links to other rows are
    /// missing. Never waits. Fewer than `k` come only when `allowed` lets no
    /// more of those pass that the walk can reach.
    ///
    /// # Errors
    /// A query of the wrong length, with a number that is not finite, or zero
    /// under cosine. A panic of `allowed`: it cannot pass through the library.
    pub(crate) fn search(
        &self,
        query: &[f32],
        k: usize,
        ef: usize,
        allowed: Option<&dyn Fn(u32) -> bool>,
    ) -> Result<Option<Vec<u32>>> {
        let own = self.parameters.check(query)?;
        let max_abs = match self.parameters.metric {
            // Any multiple of the query orders the rows alike.
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
                // Rows that are equal in i8, by the dozen, may link only to
                // each other.
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
            _ => Err(disagrees(format_args!("it found row {key} of {rows}"))),
        };
        keys.into_iter().take(k).map(row).collect::<Result<Vec<_>>>().map(Some)
    }

    /// Bytes of memory beside those that it is served from: what usearch keeps
    /// of each row, and as much as its searches can come to keep.
    pub(crate) fn memory(&self) -> usize {
        let rows = self.parameters.rows;
        // Where the node is and where the vector, and in a hash table the key
        // with its slot. usearch counts the first of the three.
        let of_rows = rows * 16 + (rows * 5 / 3).next_power_of_two() * 16;
        // The set of visited rows: at most all neighbours of all candidates.
        let visited = rows.min(EXPANSION_MAX * 2 * self.parameters.connectivity);
        of_rows + self.contexts * (visited * 5 / 3).next_power_of_two() * 4
    }
}

/// One of the contexts of a graph, given back when dropped.
struct Context<'g>(&'g AtomicUsize);

impl<'g> Context<'g> {
    /// Never more at once than the index has: it gives an error then.
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

/// A filter on its way through C++, where a panic would end the process, and
/// with a bound on how often it is asked: a walk that finds nobody allowed goes
/// on through the whole graph.
///
/// Once it panicked or the bound is passed, everything is allowed, so that the
/// walk ends soon; what it found then counts for nothing.
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

    /// Whether it was given up; a panic as an error.
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

/// Compares what usearch itself says of the bytes with the parameters. A view
/// would take over whatever is there.
fn metadata(bytes: &[u8], parameters: &GraphParameters) -> Result<()> {
    let found = Index::metadata_from_buffer(bytes).map_err(refused)?;
    let agrees = found.dimensions == parameters.dimension as u64
        && found.metric == metric_kind(parameters.metric)?
        && found.quantization == ScalarKind::I8
        && !found.multi
        && found.count_present == parameters.rows as u64
        && found.count_deleted == 0
        // Those before the bound of Cargo.toml are read in other ways.
        && (found.version_major, found.version_minor >= 26) == (2, true);
    if agrees { Ok(()) } else { Err(disagrees(format_args!("{found:?} is not {parameters:?}"))) }
}

/// The bytes before the vectors: their number and their length, in u32.
#[cfg(test)]
const MATRIX_BYTES: usize = 8;
/// The description of the index, which begins with [`MAGIC`].
const HEAD_BYTES: usize = 64;
const MAGIC: &[u8] = b"usearch";
/// In the head, after the version, four kinds of a byte each and three numbers
/// of 8: whether a key may have several vectors.
const MULTI_AT: usize = MAGIC.len() + 3 * 2 + 4 + 3 * 8;
/// Size, links, links on the lowest level, highest level and entry, in u64.
#[cfg(test)]
const GRAPH_BYTES: usize = 40;
/// The key and the level of a node.
const NODE_BYTES: usize = 8 + 2;

/// Checks the structure of a serialised index of usearch 2, which is, all
/// little-endian: the number and the length of the vectors (u32 each), the
/// vectors, a head of 64 bytes, the size, links, links on the lowest level,
/// highest level and entry of the graph (u64 each), the level of each node
/// (i16), and the nodes: key (u64), level (i16), and for the lowest level and
/// each other of the node the number of its links (u32) and room for them (u32
/// each).
///
/// A walk trusts all of it: it begins at the entry on the highest level and
/// follows links to nodes that must be there and have that level.
fn layout(bytes: &[u8], parameters: &GraphParameters) -> Result<()> {
    let mut rest = bytes;
    let (rows, connectivity) = (parameters.rows, parameters.connectivity);

    if (take_u32(&mut rest)?, take_u32(&mut rest)?) != (rows as u64, parameters.dimension as u64) {
        return Err(disagrees("its vectors are not as many or as long as they should be"));
    }
    let vectors = rows.checked_mul(parameters.dimension).ok_or_else(short)?;
    take(&mut rest, vectors)?;
    let head = take(&mut rest, HEAD_BYTES)?;
    // usearch reads the flag as a bool, whatever the byte, and hands it on to
    // Rust: what `metadata` gets would be undefined.
    if !head.starts_with(MAGIC) || head.get(MULTI_AT) != Some(&0) {
        return Err(disagrees("its head is not one of usearch with one vector for each key"));
    }
    let [size, links, links_base, highest, entry] = {
        let mut numbers = [0; 5];
        for number in &mut numbers {
            *number = take_u64(&mut rest)?;
        }
        numbers
    };
    if (size, links, links_base) != (rows as u64, connectivity as u64, 2 * connectivity as u64) {
        return Err(disagrees("it has other rows or links than it should have"));
    }

    let levels = take(&mut rest, rows.checked_mul(2).ok_or_else(short)?)?;
    let levels = levels.as_chunks().0;
    let level = |row: usize| usize::try_from(i16::from_le_bytes(*levels.get(row)?)).ok();
    let entry_level = usize::try_from(entry).ok().and_then(level);
    if entry_level.is_none_or(|level| highest > level as u64) {
        return Err(disagrees("its entry is not a row of the highest level"));
    }

    for row in 0..rows {
        let wrong = || disagrees(format_args!("row {row} is not as it should be"));
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
        return Err(disagrees(format_args!("{} bytes follow it", rest.len())));
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

    /// Numbers that look random, the same each time.
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

        /// From -1 to 1.
        fn unit(&mut self) -> f32 {
            (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    /// Rows about 40 centres.
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
        // Neither first nor aligned.
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
    fn rows_that_are_equal_may_hide_each_other_but_not_from_the_caller() {
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
    fn shapes_that_cannot_be_are_refused() {
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
            "no use for it"
        );
    }

    #[test]
    fn vectors_are_checked_at_the_door() {
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
    fn zero_rows_and_extreme_ones_make_a_graph() {
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
    fn more_threads_than_contexts_are_sent_away_or_answered_right() {
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
    fn a_search_beyond_the_contexts_is_sent_away() {
        // More than most machines have cores: usearch would take their number.
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
        // From within a filter it takes a context of its own.
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
    fn filters_see_rows_and_find_no_others() {
        let rows = clustered(1_000);
        let graph = graph(Metric::L2, &rows);
        let odd = |row: u32| {
            assert!(row < 1_000);
            row % 2 == 1
        };
        let found = graph.search(&rows[4], 20, 128, Some(&odd)).unwrap().unwrap();
        assert_eq!(found.len(), 20);
        assert!(found.iter().all(|row| row % 2 == 1));
        // A small graph is walked to its end.
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
    fn bytes_of_another_shape_are_refused() {
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

    /// What would crash the library: each is refused, or searched like any.
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
                    // The two heads, often.
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
        // Neither does one that could not be opened keep them.
        let dropped = Arc::new(AtomicBool::new(false));
        let owner = Arc::new(Watched(bytes.clone(), Arc::clone(&dropped)));
        assert!(Graph::open(owner, 1..bytes.len(), &parameters, 1).is_err());
        assert!(dropped.load(Ordering::Relaxed));
    }

    #[test]
    fn nothing_of_the_thread_is_changed() {
        let rows = clustered(100);
        let graph = graph(Metric::Cosine, &rows);
        graph.search(&rows[0], 1, 1, None).unwrap();
        // The library is compiled with fast mathematics, which elsewhere turns
        // off the numbers below the least normal one.
        let least = std::hint::black_box(f32::MIN_POSITIVE) / std::hint::black_box(2.0);
        assert!(least > 0.0 && least * 2.0 == f32::MIN_POSITIVE);
    }
}
