//! Product quantisation: vectors are cut into sub-vectors, and each sub-vector
//! is replaced by the number of the closest of 16 or 256 centroids.
//!
//! The codes are searched with a table of the distances between the sub-vectors
//! of a query and the centroids (Jégou, Douze and Schmid, "Product quantization
//! for nearest neighbor search", TPAMI 2011). The distances are approximate:
//! the best candidates have to be compared with the stored vectors.
//!
//! Codebooks and codes are a function of the vectors, the shape, the metric and
//! the seed alone. They do not depend on the machine or the number of threads.

use crate::{
    model::{limits, space::Metric},
    parallel,
    vector::{
        compute::Compute,
        metric::norm,
        simd::{self, FOLDED_ENTRY, Nearest},
    },
};

pub(crate) use crate::vector::simd::BLOCK_ROWS;

/// A scan skips blocks without rows that are allowed if at most one in so many has any.
const SKIPPED: usize = 6;

/// The largest number of rounds of k-means; more rounds do not raise the
/// recall.
const ROUNDS: usize = 20;
/// k-means ends when a round lowers the error by less than this share.
const GAIN: f64 = 1e-4;
/// 4-bit codes are scanned in groups of this many sub-vectors.
const SUBS_AT_ONCE: usize = 4;
/// Up to this number of sub-vectors, entries of 4-bit tables use a whole byte:
/// their sum fits in 16 bits, and short vectors need the finer steps.
const FINE_SUBS: usize = 64;
/// Components are clamped to this magnitude, so that no square overflows an
/// f32.
const REACH: f64 = 1e18;
/// The smallest number of blocks that is worth a task of its own.
const BLOCKS_PER_TASK: usize = 16;

/// How vectors of a dimension are cut into sub-vectors and coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Components of a vector.
    pub dimension: usize,
    /// Number of sub-vectors of a vector.
    pub subs: usize,
    /// Components of a sub-vector: 1, 2, 4 or 8. The last sub-vector is filled
    /// up with zeros.
    pub sub_dimension: usize,
    /// Bits of the code of a sub-vector: 4 or 8.
    pub bits: u32,
}

impl Shape {
    /// The shape for vectors of a dimension. `None` if the dimension is not
    /// from 1 to [`limits::DIMENSION`], or `bits` is not 4 or 8.
    pub(crate) fn new(dimension: usize, bits: u32) -> Option<Self> {
        if dimension == 0 || dimension > limits::DIMENSION {
            return None;
        }
        let sub_dimension = match (bits, dimension) {
            (4, 128..) | (8, 64..256) => 4,
            (4, 32..) | (8, 16..64) => 2,
            (8, 256..) => 8,
            (4 | 8, _) => 1,
            _ => return None,
        };
        Some(Self { dimension, subs: dimension.div_ceil(sub_dimension), sub_dimension, bits })
    }

    /// Number of centroids of a sub-vector.
    pub(crate) fn centroids(&self) -> usize {
        1 << self.bits
    }

    /// Number of components in a codebook.
    pub(crate) fn codebook_len(&self) -> usize {
        self.subs * self.book_len()
    }

    /// Bytes of the codes of `rows` rows, in whole blocks. `usize::MAX`, which
    /// no memory can hold, if the number overflows.
    pub(crate) fn code_bytes(&self, rows: usize) -> usize {
        rows.div_ceil(BLOCK_ROWS).saturating_mul(self.block_bytes())
    }

    /// The largest number of rows that [`Codebook::train`] uses. Of a larger
    /// sample it uses an even selection.
    pub(crate) fn sample_rows(&self) -> usize {
        match self.bits {
            4 => 16 * 512,
            _ => 256 * 64,
        }
    }

    /// Number of components of the centroids of a sub-vector.
    fn book_len(&self) -> usize {
        self.sub_dimension * self.centroids()
    }

    /// Bytes of the codes of a block. With 4 bits: 16 bytes for each
    /// sub-vector, byte `j` being the code of row `j` plus 16 times that of row
    /// `j + 16`; after the last sub-vector zeros up to a multiple of 4
    /// sub-vectors. With 8 bits: 32 bytes for each sub-vector.
    fn block_bytes(&self) -> usize {
        match self.bits {
            4 => self.subs.next_multiple_of(SUBS_AT_ONCE) * (BLOCK_ROWS / 2),
            _ => self.subs * BLOCK_ROWS,
        }
    }
}

/// The centroids of each sub-vector. A codebook is made only by training, or
/// from the components of one that was trained.
#[derive(Debug, Clone)]
pub(crate) struct Codebook {
    shape: Shape,
    metric: Metric,
    components: Vec<f32>,
    /// A power of two that scales the components to about 1, so that squares
    /// neither overflow nor vanish.
    scale: f64,
    /// The components times the scale.
    scaled: Vec<f32>,
}

impl Codebook {
    /// Trains a codebook on rows of `shape.dimension` components: on all rows
    /// of the sample, or on [`Shape::sample_rows`] of them, chosen evenly.
    /// `None` for a sample without rows, or if `stop` says so.
    ///
    /// Runs k-means for each sub-vector, in parallel, initialised by k-means++
    /// (Arthur and Vassilvitskii, 2007).
    pub(crate) fn train(
        shape: Shape,
        metric: Metric,
        sample: &[f32],
        seed: u64,
        how: Compute<'_>,
    ) -> Option<Self> {
        let all = sample.len() / shape.dimension;
        let count = all.min(shape.sample_rows());
        let rows: Vec<&[f32]> = (0..count)
            .filter_map(|at| {
                // The product does not overflow: one factor is a number of rows
                // in memory, the other is below 2^14.
                let start = at * all / count * shape.dimension;
                sample.get(start..start + shape.dimension)
            })
            .collect();
        let most = rows.iter().flat_map(|row| *row).fold(0_f32, |most, x| most.max(x.abs()));
        let scale = if metric == Metric::Cosine { 1.0 } else { unit(most) };
        let rows: Vec<(&[f32], f64)> =
            rows.into_iter().map(|row| (row, factor(metric, scale, norm(row)))).collect();
        if rows.is_empty() {
            return None;
        }
        let subs: Vec<usize> = (0..shape.subs).collect();
        let books = parallel::map(how.threads, &subs, |sub| {
            let sub = *sub;
            // from_parts refuses a codebook with too few components.
            if (how.stop)() {
                return Vec::new();
            }
            let mut columns = Vec::new();
            for block in rows.chunks(BLOCK_ROWS) {
                let cut = sub * shape.sub_dimension..(sub + 1) * shape.sub_dimension;
                cut_columns(block, cut, &mut columns);
            }
            // Each sub-vector has its own seed.
            let random = Random(seed ^ (sub as u64).wrapping_mul(0xa076_1d64_78bd_642f));
            k_means(shape, &columns, rows.len(), random)
        });
        let components = books.iter().flatten().map(|x| (f64::from(*x) / scale) as f32).collect();
        Self::from_parts(shape, metric, components)
    }

    /// Makes a codebook from its components: for each sub-vector and each of
    /// its dimensions, those of all centroids. `None` if there are too few or
    /// too many, one is not finite, or, under cosine, all are zero.
    pub(crate) fn from_parts(shape: Shape, metric: Metric, components: Vec<f32>) -> Option<Self> {
        let most = components.iter().fold(0_f32, |most, x| most.max(x.abs()));
        let untrained = most == 0.0 && metric == Metric::Cosine;
        if components.len() != shape.codebook_len()
            || components.iter().any(|x| !x.is_finite())
            || untrained
        {
            return None;
        }
        let scale = unit(most);
        let scaled = components.iter().map(|x| (f64::from(*x) * scale) as f32).collect();
        Some(Self { shape, metric, components, scale, scaled })
    }

    /// For what it was trained.
    pub(crate) fn metric(&self) -> Metric {
        self.metric
    }

    /// The mean inner product of the direction of a row and the centroids that
    /// stand for it, in a codebook for cosine. Greater than 0.
    pub(crate) fn product(&self, rows: &[(&[f32], f64)]) -> f64 {
        let shape = &self.shape;
        let mut nearest = vec![Nearest::NONE; shape.subs];
        let mut columns = Vec::new();
        let (mut squares, mut count) = (0.0, 0.0);
        for rows in rows.chunks(BLOCK_ROWS) {
            self.nearest_of(rows, &mut columns, &mut nearest);
            // The squared distance of a direction of length one.
            for row in 0..rows.len() {
                squares += nearest.iter().map(|n| f64::from(n.distances[row])).sum::<f64>();
                count += 1.0;
            }
        }
        // A centroid is the mean of what it stands for, so the product with it
        // is one less the mean square.
        (1.0 - squares / (count * self.scale * self.scale)).clamp(0.1, 1.0)
    }

    /// The components to store, in the order that
    /// [`from_parts`](Self::from_parts) takes.
    pub(crate) fn components(&self) -> &[f32] {
        &self.components
    }

    /// Appends the codes of rows, each given with its Euclidean length, in
    /// whole blocks. The last block is filled up with the codes of zero
    /// vectors.
    pub(crate) fn encode(&self, rows: &[(&[f32], f64)], threads: usize, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.shape.code_bytes(rows.len()), 0);
        let tasks = rows.chunks(BLOCK_ROWS * BLOCKS_PER_TASK);
        let codes = out[start..].chunks_mut(self.shape.block_bytes() * BLOCKS_PER_TASK);
        parallel::for_each(
            threads,
            tasks.zip(codes),
            || (Vec::new(), vec![Nearest::NONE; self.shape.subs]),
            |(columns, nearest), (rows, codes)| {
                let blocks = codes.chunks_mut(self.shape.block_bytes());
                for (rows, codes) in rows.chunks(BLOCK_ROWS).zip(blocks) {
                    self.encode_block(rows, columns, nearest, codes);
                }
            },
        );
    }

    /// The nearest centroids of up to 32 rows.
    fn nearest_of(
        &self,
        rows: &[(&[f32], f64)],
        columns: &mut Vec<[f32; BLOCK_ROWS]>,
        nearest: &mut [Nearest],
    ) {
        let shape = &self.shape;
        let mut scaled = [(&[][..], 0.0); BLOCK_ROWS];
        for (to, (row, norm)) in scaled.iter_mut().zip(rows) {
            *to = (*row, factor(self.metric, self.scale, *norm));
        }
        columns.clear();
        cut_columns(&scaled, 0..shape.subs * shape.sub_dimension, columns);
        simd::nearest_centroids(
            shape.sub_dimension,
            shape.centroids(),
            columns,
            &self.scaled,
            nearest,
        );
    }

    fn encode_block(
        &self,
        rows: &[(&[f32], f64)],
        columns: &mut Vec<[f32; BLOCK_ROWS]>,
        nearest: &mut [Nearest],
        out: &mut [u8],
    ) {
        self.nearest_of(rows, columns, nearest);
        if self.shape.bits == 4 {
            for (out, nearest) in
                out.as_chunks_mut::<{ BLOCK_ROWS / 2 }>().0.iter_mut().zip(nearest)
            {
                let (low, high) = nearest.codes.split_at(BLOCK_ROWS / 2);
                for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
                    *out = low | high << 4;
                }
            }
        } else {
            for (out, nearest) in out.as_chunks_mut().0.iter_mut().zip(nearest) {
                *out = nearest.codes;
            }
        }
    }

    /// The table of distances for a query, which is given with its Euclidean
    /// length.
    pub(crate) fn table(&self, query: &[f32], query_norm: f64) -> DistanceTable<'static> {
        let shape = &self.shape;
        let centroids = shape.centroids();
        let factor = match self.metric {
            Metric::L2 => self.scale,
            // The length of the query does not change the order of rows.
            Metric::Cosine | Metric::Dot => factor(Metric::Cosine, 1.0, query_norm),
        };
        let l2 = self.metric == Metric::L2;
        let mut distances = vec![0_f32; shape.subs * centroids];
        let parts = query.chunks(shape.sub_dimension);
        let books = self.scaled.chunks_exact(shape.book_len());
        for ((part, book), distances) in parts.zip(books).zip(distances.chunks_exact_mut(centroids))
        {
            for (number, column) in part.iter().zip(book.chunks_exact(centroids)) {
                let number = bounded(*number, factor);
                if l2 {
                    for (distance, of) in distances.iter_mut().zip(column) {
                        *distance += (number - of) * (number - of);
                    }
                } else {
                    for (distance, of) in distances.iter_mut().zip(column) {
                        *distance -= number * of;
                    }
                }
            }
        }
        DistanceTable::new(shape, &distances, self.scale)
    }
}

/// The distances between the sub-vectors of a query and the centroids,
/// quantised to integer steps. The step is the same for all sub-vectors; the
/// distances of each are counted from its smallest.
#[derive(Debug)]
pub(crate) struct DistanceTable<'l> {
    block_bytes: usize,
    entries: Entries,
    /// What a sum of entries begins with and what a step is worth, in the units
    /// of the components.
    base: f64,
    step: f64,
    lengths: Option<Lengths<'l>>,
}

/// The lengths of rows whose directions are coded.
#[derive(Debug)]
struct Lengths<'l> {
    of_rows: &'l [f32],
    /// L2 or dot.
    metric: Metric,
    of_query: f64,
}

impl Lengths<'_> {
    /// A number that orders rows by their approximate distance, given the
    /// approximate inner product of the directions, negated.
    fn order(&self, row: usize, apart: f64) -> u32 {
        let length = f64::from(self.of_rows.get(row).copied().unwrap_or(0.0));
        let distance = match self.metric {
            Metric::L2 => length * (length + 2.0 * self.of_query * apart),
            Metric::Cosine | Metric::Dot => length * apart,
        };
        // The upper half of a number: its sign, its exponent and 20 bits. No
        // product of lengths leaves the range of an exponent.
        let upper = (distance.to_bits() >> 32) as u32;
        if distance.is_sign_negative() { !upper } else { upper | 1 << 31 }
    }
}

#[derive(Debug)]
enum Entries {
    /// The tables, padded with zeros to a multiple of 4.
    Four {
        tables: Vec<[u8; 16]>,
        folded: bool,
    },
    Eight(Vec<[u16; 256]>),
}

impl DistanceTable<'static> {
    fn new(shape: &Shape, distances: &[f32], scale: f64) -> Self {
        let parts = || distances.chunks_exact(shape.centroids());
        let least: Vec<f32> =
            parts().map(|part| part.iter().copied().fold(f32::INFINITY, f32::min)).collect();
        let widest = parts().zip(&least).fold(0_f32, |widest, (part, least)| {
            part.iter().fold(widest, |widest, x| widest.max(x - least))
        });
        let folded = shape.subs > FINE_SUBS;
        let top = match shape.bits {
            4 if folded => f32::from(FOLDED_ENTRY),
            4 => f32::from(u8::MAX),
            _ => f32::from(u16::MAX),
        };
        // If the range is so small that the step is not finite, all distances
        // count as equal.
        let step = top / widest;
        let step = if step.is_finite() { step } else { 0.0 };
        // `min` keeps the rounded value in range; the cast rounds down.
        let entry = |x: f32, least: f32| ((x - least) * step + 0.5).min(top);
        let entries = if shape.bits == 4 {
            let mut tables = vec![[0; 16]; shape.subs.next_multiple_of(SUBS_AT_ONCE)];
            for ((table, part), least) in tables.iter_mut().zip(parts()).zip(&least) {
                for (to, x) in table.iter_mut().zip(part) {
                    *to = entry(*x, *least) as u8;
                }
            }
            Entries::Four { tables, folded }
        } else {
            let mut tables = vec![[0; 256]; shape.subs];
            for ((table, part), least) in tables.iter_mut().zip(parts()).zip(&least) {
                for (to, x) in table.iter_mut().zip(part) {
                    *to = entry(*x, *least) as u16;
                }
            }
            Entries::Eight(tables)
        };
        let base = least.iter().map(|least| f64::from(*least)).sum::<f64>() / scale;
        let worth = if step > 0.0 { 1.0 / (f64::from(step) * scale) } else { 0.0 };
        Self { block_bytes: shape.block_bytes(), entries, base, step: worth, lengths: None }
    }

    /// The same for codes of the directions of rows with these lengths. The
    /// table is of a codebook for cosine, whose centroids have this mean inner
    /// product with what they stand for.
    pub(crate) fn with_lengths(
        self,
        of_rows: &[f32],
        metric: Metric,
        of_query: f64,
        product: f64,
    ) -> DistanceTable<'_> {
        let lengths = Some(Lengths { of_rows, metric, of_query });
        let (base, step) = (self.base / product, self.step / product);
        DistanceTable { block_bytes: self.block_bytes, entries: self.entries, base, step, lengths }
    }
}

impl DistanceTable<'_> {
    /// What orders a row: the sum of its entries, or with lengths, a number
    /// made of it.
    fn order(&self, row: usize, sum: u32) -> u32 {
        match &self.lengths {
            None => sum,
            Some(lengths) => lengths.order(row, self.base + f64::from(sum) * self.step),
        }
    }

    /// Offers the first `rows` rows of the codes to `nearest`. With `allowed`,
    /// only rows whose bit is set: bit `i` of number `b` for row `32 b + i`;
    /// rows beyond its end are not allowed. Rows beyond the end of the codes
    /// are skipped.
    pub(crate) fn scan(
        &self,
        codes: &[u8],
        rows: usize,
        allowed: Option<&[u32]>,
        nearest: &mut Candidates,
    ) {
        if nearest.n == 0 {
            return;
        }
        let (codes, rows) = self.clamp(codes, rows);
        // Skipping blocks here and there stalls the reading of the codes, which is what a
        // scan waits for. It pays if most are skipped.
        let skips = allowed.is_some_and(|allowed| {
            let some = allowed.iter().filter(|rows| **rows != 0).count();
            some.saturating_mul(SKIPPED) < allowed.len()
        });
        let allowed = |block: usize| {
            present(block, rows)
                & allowed.map_or(!0, |allowed| allowed.get(block).copied().unwrap_or(0))
        };
        let read = |block: usize| Some(allowed(block)).filter(|rows| *rows != 0 || !skips);
        match &self.entries {
            Entries::Four { tables, folded } => {
                // With lengths, a sum says nothing without that of its row.
                let limit = |nearest: &Candidates| match &self.lengths {
                    None => nearest.limit(),
                    Some(_) => u16::MAX,
                };
                let first = limit(nearest);
                simd::scan(*folded, tables, codes, read, first, |block, mask, sums| {
                    for row in bits(mask) {
                        let order = self.order(block * BLOCK_ROWS + row, u32::from(sums[row]));
                        nearest.offer(order, block, row);
                    }
                    limit(nearest)
                });
            }
            Entries::Eight(tables) => {
                for (block, codes) in codes.chunks_exact(self.block_bytes).enumerate() {
                    let mask = allowed(block);
                    if mask != 0 {
                        let sums = sums(tables, codes);
                        for row in bits(mask) {
                            let order = self.order(block * BLOCK_ROWS + row, sums[row]);
                            nearest.offer(order, block, row);
                        }
                    }
                }
            }
        }
    }

    /// Appends the approximate distances of the first `rows` rows, in steps of
    /// the table, or with lengths, numbers in the same order. Fewer if the codes
    /// have fewer rows.
    pub(crate) fn distances(&self, codes: &[u8], rows: usize, out: &mut Vec<u32>) {
        let (codes, rows) = self.clamp(codes, rows);
        let start = out.len();
        match &self.entries {
            Entries::Four { tables, folded } => {
                simd::scan(
                    *folded,
                    tables,
                    codes,
                    |_| Some(!0),
                    u16::MAX,
                    |_, _, sums| {
                        out.extend(sums.iter().map(|sum| u32::from(*sum)));
                        u16::MAX
                    },
                );
            }
            Entries::Eight(tables) => {
                for codes in codes.chunks_exact(self.block_bytes) {
                    out.extend(sums(tables, codes));
                }
            }
        }
        out.truncate(start + rows);
        if self.lengths.is_some() {
            for (row, order) in out[start..].iter_mut().enumerate() {
                *order = self.order(row, *order);
            }
        }
    }

    /// The blocks of the first `rows` rows, and their number of rows, limited
    /// to the blocks that exist.
    fn clamp<'c>(&self, codes: &'c [u8], rows: usize) -> (&'c [u8], usize) {
        // Row numbers have 32 bits.
        let rows = rows.min(u32::MAX as usize);
        let blocks = rows.div_ceil(BLOCK_ROWS).min(codes.len() / self.block_bytes);
        (&codes[..blocks * self.block_bytes], rows.min(blocks * BLOCK_ROWS))
    }
}

/// The rows of a block that are below `rows`, as bits.
fn present(block: usize, rows: usize) -> u32 {
    match rows.saturating_sub(block * BLOCK_ROWS) {
        left @ 0..BLOCK_ROWS => (1 << left) - 1,
        _ => !0,
    }
}

/// The positions of the bits that are set.
fn bits(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(bit)
    })
}

/// The sums of the table entries of a block of 8-bit codes, one for each row.
fn sums(tables: &[[u16; 256]], codes: &[u8]) -> [u32; BLOCK_ROWS] {
    const GROUP: usize = 8;
    let (codes, _) = codes.as_chunks::<BLOCK_ROWS>();
    let mut sums = [0; BLOCK_ROWS];
    for (group, sums) in sums.as_chunks_mut::<GROUP>().0.iter_mut().enumerate() {
        for (table, codes) in tables.iter().zip(codes) {
            for (sum, code) in sums.iter_mut().zip(&codes[group * GROUP..]) {
                *sum += u32::from(table[usize::from(*code)]);
            }
        }
    }
    sums
}

/// The `n` rows of smallest approximate distance, with ties ordered by row.
#[derive(Debug)]
pub(crate) struct Candidates {
    n: usize,
    /// Distance and row in one number. Reduced to `n` whenever there are twice
    /// as many; that is cheaper than a heap, although the limit is updated
    /// late.
    keys: Vec<u64>,
    /// Keys that are not below this are not among the `n`.
    end: u64,
}

impl Candidates {
    /// An empty collection for `n` rows.
    pub(crate) fn new(n: usize) -> Self {
        Self { n, keys: Vec::new(), end: if n == 0 { 0 } else { u64::MAX } }
    }

    /// Offers a row, given by its block and its position in the block.
    fn offer(&mut self, distance: u32, block: usize, row: usize) {
        let key = u64::from(distance) << 32 | (block * BLOCK_ROWS + row) as u64;
        if key < self.end {
            self.keys.push(key);
            if self.keys.len() >= self.n.saturating_mul(2).max(BLOCK_ROWS) {
                self.cut();
            }
        }
    }

    /// Drops all keys that are not among the `n` smallest so far.
    fn cut(&mut self) {
        if self.n > 0 && self.keys.len() >= self.n {
            let (_, last, _) = self.keys.select_nth_unstable(self.n - 1);
            self.end = *last;
            self.keys.truncate(self.n);
        }
    }

    /// Rows of a larger distance would not be kept.
    fn limit(&self) -> u16 {
        u16::try_from(self.end >> 32).unwrap_or(u16::MAX)
    }

    /// Distances and rows, the closest first.
    pub(crate) fn into_sorted(mut self) -> Vec<(u32, u32)> {
        self.cut();
        self.keys.sort_unstable();
        self.keys.into_iter().map(|key| ((key >> 32) as u32, key as u32)).collect()
    }
}

/// A power of two that scales `most` to between 1 and 2.
fn unit(most: f32) -> f64 {
    // Every f32 except zero is a normal f64, and so is its inverse.
    let exponent = f64::from(most).to_bits() >> 52;
    if most == 0.0 || !most.is_finite() {
        1.0
    } else {
        f64::from_bits((2 * 1_023 - exponent) << 52)
    }
}

/// The factor that the components of a row are multiplied with before they are
/// coded.
fn factor(metric: Metric, scale: f64, norm: f64) -> f64 {
    match metric {
        Metric::Cosine if norm > 0.0 => scale / norm,
        Metric::Cosine => 0.0,
        Metric::Dot | Metric::L2 => scale,
    }
}

/// A component times a factor, clamped to what can be squared.
fn bounded(number: f32, factor: f64) -> f32 {
    (f64::from(number) * factor).clamp(-REACH, REACH) as f32
}

/// Appends the components `cut` of up to 32 rows as columns, each row
/// multiplied by its factor. Missing rows and components are zero.
fn cut_columns(
    rows: &[(&[f32], f64)],
    cut: std::ops::Range<usize>,
    out: &mut Vec<[f32; BLOCK_ROWS]>,
) {
    let start = out.len();
    out.resize(start + cut.len(), [0.0; BLOCK_ROWS]);
    for (at, (row, factor)) in rows.iter().enumerate() {
        let part = row.get(cut.start..cut.end.min(row.len())).unwrap_or_default();
        for (column, number) in out[start..].iter_mut().zip(part) {
            column[at] = bounded(*number, *factor);
        }
    }
}

/// Computes the centroids of `count` points, at least one, which are given in
/// blocks of columns. Returns their components, one dimension after the other.
fn k_means(
    shape: Shape,
    columns: &[[f32; BLOCK_ROWS]],
    count: usize,
    mut random: Random,
) -> Vec<f32> {
    let (dimension, centroids) = (shape.sub_dimension, shape.centroids());
    let point = |row: usize, d: usize| columns[row / BLOCK_ROWS * dimension + d][row % BLOCK_ROWS];
    let mut book = start(shape, columns, count, &mut random);
    let mut found = vec![Nearest::NONE; columns.len() / dimension];
    let mut before = f64::INFINITY;
    for _ in 0..ROUNDS {
        simd::nearest_centroids(dimension, centroids, columns, &book, &mut found);
        let mut error = 0.0;
        let mut sizes = vec![0_u32; centroids];
        let mut sums = vec![0_f64; centroids * dimension];
        let mut left = count;
        for (found, columns) in found.iter().zip(columns.chunks_exact(dimension)) {
            for row in 0..left.min(BLOCK_ROWS) {
                let code = usize::from(found.codes[row]);
                sizes[code] += 1;
                error += f64::from(found.distances[row]);
                for (sum, column) in sums[code * dimension..].iter_mut().zip(columns) {
                    *sum += f64::from(column[row]);
                }
            }
            left = left.saturating_sub(BLOCK_ROWS);
        }
        if before - error <= before * GAIN && before.is_finite() {
            break;
        }
        before = error;
        for (code, size) in sizes.iter().enumerate() {
            if *size > 0 {
                for d in 0..dimension {
                    book[d * centroids + code] =
                        (sums[code * dimension + d] / f64::from(*size)) as f32;
                }
            } else if let Some(row) = farthest(&found, count) {
                // A centroid without points moves to the point that is
                // farthest from its own.
                found[row / BLOCK_ROWS].distances[row % BLOCK_ROWS] = 0.0;
                for d in 0..dimension {
                    book[d * centroids + code] = point(row, d);
                }
            }
        }
    }
    book
}

/// The point farthest from its centroid, the first of equals. `None` if all
/// distances are zero.
fn farthest(found: &[Nearest], count: usize) -> Option<usize> {
    let all = found.iter().flat_map(|found| &found.distances).take(count).enumerate();
    let (row, distance) =
        all.fold((0, 0.0), |most, (row, of)| if *of > most.1 { (row, *of) } else { most });
    (distance > 0.0).then_some(row)
}

/// The initial centroids by k-means++: points chosen with a probability
/// proportional to the squared distance from those chosen before. If all
/// distances are zero, the last point is repeated.
fn start(
    shape: Shape,
    columns: &[[f32; BLOCK_ROWS]],
    count: usize,
    random: &mut Random,
) -> Vec<f32> {
    let (dimension, centroids) = (shape.sub_dimension, shape.centroids());
    let mut book = vec![0.0; shape.book_len()];
    let mut least = vec![f32::INFINITY; count];
    let mut found = vec![Nearest::NONE; columns.len() / dimension];
    let mut chosen = random.below(count);
    for code in 0..centroids {
        let centroid: Vec<f32> = columns[chosen / BLOCK_ROWS * dimension..][..dimension]
            .iter()
            .map(|column| column[chosen % BLOCK_ROWS])
            .collect();
        for (d, number) in centroid.iter().enumerate() {
            book[d * centroids + code] = *number;
        }
        simd::nearest_centroids(dimension, 1, columns, &centroid, &mut found);
        let mut total = 0.0;
        for (least, distance) in least.iter_mut().zip(found.iter().flat_map(|f| &f.distances)) {
            *least = least.min(*distance);
            total += f64::from(*least);
        }
        let mut at = random.share() * total;
        // Rounding may leave a remainder; the last point with a distance is
        // chosen then.
        for (row, distance) in least.iter().enumerate().filter(|(_, distance)| **distance > 0.0) {
            chosen = row;
            at -= f64::from(*distance);
            if at < 0.0 {
                break;
            }
        }
    }
    book
}

/// The generator SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `count`, which is not zero.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::id::NodeId,
        vector::{
            exact::Closest,
            metric::{Measure, norm},
        },
    };

    const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

    /// Rows in clusters around centres, as embeddings often are.
    fn clustered(rows: usize, dimension: usize, seed: u64) -> Vec<f32> {
        let mut random = Random(seed);
        let mut normal = move || -> f32 { (0..6).map(|_| random.share() as f32 - 0.5).sum() };
        let centres: Vec<f32> = (0..40 * dimension).map(|_| normal()).collect();
        (0..rows * dimension)
            .map(|at| {
                let (row, d) = (at / dimension, at % dimension);
                centres[row % 40 * dimension + d] + 0.7 * normal()
            })
            .collect()
    }

    fn shape(dimension: usize, bits: u32) -> Shape {
        Shape::new(dimension, bits).unwrap()
    }

    fn with_norms(components: &[f32], dimension: usize) -> Vec<(&[f32], f64)> {
        components.chunks(dimension).map(|row| (row, norm(row))).collect()
    }

    fn encoded(book: &Codebook, components: &[f32]) -> Vec<u8> {
        let mut codes = Vec::new();
        book.encode(&with_norms(components, book.shape.dimension), 1, &mut codes);
        codes
    }

    /// The code of a sub-vector of a row, read as documented at
    /// `Shape::block_bytes`.
    fn code(shape: &Shape, codes: &[u8], row: usize, sub: usize) -> usize {
        let block = &codes[row / 32 * shape.block_bytes()..];
        let row = row % 32;
        usize::from(match shape.bits {
            4 if row < 16 => block[sub * 16 + row] & 15,
            4 => block[sub * 16 + row - 16] >> 4,
            _ => block[sub * 32 + row],
        })
    }

    #[test]
    fn shapes_cover_every_dimension_and_nothing_else() {
        for bits in [4, 8] {
            for dimension in 1..=limits::DIMENSION {
                let shape = shape(dimension, bits);
                let whole = shape.subs * shape.sub_dimension;
                assert!(whole >= dimension && whole < dimension + shape.sub_dimension);
                assert!([1, 2, 4, 8].contains(&shape.sub_dimension));
                assert_eq!(shape.codebook_len(), whole * shape.centroids());
                assert_eq!(shape.code_bytes(0), 0);
                assert_eq!(shape.code_bytes(1), shape.code_bytes(32));
                assert_eq!(shape.code_bytes(33), 2 * shape.block_bytes());
                assert!(shape.code_bytes(usize::MAX) > usize::MAX / 32);
                // Sums of entries fit in the kernel's 16 bits.
                let most = if shape.subs > FINE_SUBS { FOLDED_ENTRY } else { u8::MAX };
                assert!(bits == 8 || shape.subs * usize::from(most) <= usize::from(u16::MAX));
            }
            assert_eq!(Shape::new(0, bits), None);
            assert_eq!(Shape::new(limits::DIMENSION + 1, bits), None);
        }
        assert_eq!(Shape::new(384, 5), None);
        assert_eq!(shape(384, 4).subs, 96);
        assert_eq!(shape(384, 4).code_bytes(100_000), 4_800_000);
    }

    /// Every sub-vector gets the closest centroid. The distance of a row is the
    /// sum of the table entries of its codes, and close to the true distance to
    /// the coded vector.
    #[test]
    fn codes_and_distances_match_their_definitions() {
        for metric in METRICS {
            for bits in [4, 8] {
                for (dimension, rows) in [(1, 3), (7, 70), (33, 64), (130, 41), (300, 31)] {
                    let shape = shape(dimension, bits);
                    let components = clustered(rows, dimension, 3);
                    let query = clustered(1, dimension, 4);
                    let book =
                        Codebook::train(shape, metric, &components, 1, Compute::ALONE).unwrap();
                    let codes = encoded(&book, &components);
                    assert_eq!(codes.len(), shape.code_bytes(rows));
                    let table = book.table(&query, norm(&query));
                    let mut distances = Vec::new();
                    table.distances(&codes, rows, &mut distances);
                    assert_eq!(distances.len(), rows);
                    let centroid = |sub: usize, d: usize, code: usize| {
                        let at = (sub * shape.sub_dimension + d) * shape.centroids() + code;
                        f64::from(book.components()[at])
                    };
                    let unit = |row: &[f32]| -> Vec<f64> {
                        let by = if metric == Metric::Cosine { norm(row) } else { 1.0 };
                        let mut whole: Vec<f64> = row.iter().map(|x| f64::from(*x) / by).collect();
                        whole.resize(shape.subs * shape.sub_dimension, 0.0);
                        whole
                    };
                    let measure = |query: &[f64], sub: usize, code: usize| -> f64 {
                        (0..shape.sub_dimension)
                            .map(|d| {
                                let (q, c) =
                                    (query[sub * shape.sub_dimension + d], centroid(sub, d, code));
                                if metric == Metric::L2 { (q - c).powi(2) } else { -q * c }
                            })
                            .sum()
                    };
                    let asked = unit(&query);
                    let mut true_distances = Vec::new();
                    for (at, row) in components.chunks(dimension).enumerate() {
                        let row = unit(row);
                        let mut sum = 0.0;
                        let mut entries = 0;
                        for sub in 0..shape.subs {
                            let of = code(&shape, &codes, at, sub);
                            let apart = |code: usize| -> f64 {
                                (0..shape.sub_dimension)
                                    .map(|d| {
                                        (row[sub * shape.sub_dimension + d]
                                            - centroid(sub, d, code))
                                        .powi(2)
                                    })
                                    .sum()
                            };
                            let best =
                                (0..shape.centroids()).map(&apart).fold(f64::INFINITY, f64::min);
                            assert!(
                                apart(of) <= best + 1e-5 * (1.0 + best),
                                "{metric:?} {bits} {dimension}"
                            );
                            sum += measure(&asked, sub, of);
                            entries += match &table.entries {
                                Entries::Four { tables, .. } => u32::from(tables[sub][of]),
                                Entries::Eight(tables) => u32::from(tables[sub][of]),
                            };
                        }
                        assert_eq!(distances[at], entries, "{metric:?} {bits} {dimension}");
                        true_distances.push(sum);
                    }
                    // In steps of the table, the two differ by a constant,
                    // apart from the rounding of each sub-vector.
                    let spans = (0..shape.subs).map(|sub| {
                        let all = (0..shape.centroids()).map(|code| measure(&asked, sub, code));
                        all.clone().fold(f64::NEG_INFINITY, f64::max)
                            - all.fold(f64::INFINITY, f64::min)
                    });
                    let top = match &table.entries {
                        Entries::Four { folded: true, .. } => 63.0,
                        Entries::Four { .. } => 255.0,
                        Entries::Eight(_) => 65_535.0,
                    };
                    let step = spans.fold(0.0, f64::max) / top;
                    for (row, (steps, distance)) in
                        distances.iter().zip(&true_distances).enumerate()
                    {
                        let expected = (distance - true_distances[0]) / step;
                        let got = f64::from(*steps) - f64::from(distances[0]);
                        assert!(
                            (got - expected).abs() <= shape.subs as f64 + 2.0,
                            "{metric:?} {bits} {dimension} row {row}: {got} for {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn reranked_candidates_have_a_high_recall() {
        let (dimension, rows, k) = (128, 2_000, 10);
        let components = clustered(rows + 20, dimension, 9);
        let (queries, components) = components.split_at(20 * dimension);
        for metric in METRICS {
            for bits in [4, 8] {
                let book =
                    Codebook::train(shape(dimension, bits), metric, components, 1, Compute::ALONE)
                        .unwrap();
                let codes = encoded(&book, components);
                let mut common = 0;
                for query in queries.chunks(dimension) {
                    let measure = Measure::new(metric, query);
                    let closest = |rows: &mut dyn Iterator<Item = u32>| -> Vec<NodeId> {
                        let mut closest = Closest::new(k);
                        for row in rows {
                            let vector = &components[row as usize * dimension..][..dimension];
                            let id = NodeId::from_bytes(u128::from(row).to_be_bytes());
                            closest.offer(measure.distance(vector, norm(vector)), id, ());
                        }
                        closest.into_sorted().map(|(_, id, ())| id).collect()
                    };
                    let mut candidates = Candidates::new(10 * k);
                    book.table(query, norm(query)).scan(&codes, rows, None, &mut candidates);
                    let candidates = candidates.into_sorted();
                    assert_eq!(candidates.len(), 10 * k);
                    let found = closest(&mut candidates.iter().map(|(_, row)| *row));
                    let exact = closest(&mut (0..rows as u32));
                    common += exact.iter().filter(|id| found.contains(id)).count();
                }
                // The rows of a cluster differ only by noise in every
                // direction, which is harder than embeddings.
                assert!(common >= 190, "{metric:?} {bits}: {common} of 200");
            }
        }
    }

    #[test]
    fn the_number_of_threads_does_not_change_the_result() {
        let components = clustered(3_000, 40, 2);
        let of = |threads: usize| {
            let how = Compute { threads, ..Compute::ALONE };
            [4, 8].map(|bits| {
                let book =
                    Codebook::train(shape(40, bits), Metric::L2, &components, 7, how).unwrap();
                let mut codes = Vec::new();
                book.encode(&with_norms(&components, 40), threads, &mut codes);
                (codes, book.components)
            })
        };
        for threads in [2, 3, 8] {
            assert_eq!(of(1), of(threads));
        }
    }

    #[test]
    fn a_codebook_from_stored_components_gives_the_same_codes() {
        for metric in METRICS {
            let components = clustered(500, 37, 2);
            let book =
                Codebook::train(shape(37, 4), metric, &components, 7, Compute::ALONE).unwrap();
            let again =
                Codebook::from_parts(shape(37, 4), metric, book.components().to_vec()).unwrap();
            assert_eq!(encoded(&book, &components), encoded(&again, &components));
        }
    }

    #[test]
    fn invalid_samples_and_components_make_no_codebook() {
        for bits in [4, 8] {
            let shape = shape(5, bits);
            let book = |metric, components| Codebook::from_parts(shape, metric, components);
            let len = shape.codebook_len();
            assert!(Codebook::train(shape, Metric::L2, &[], 1, Compute::ALONE).is_none());
            assert!(Codebook::train(shape, Metric::L2, &[1.0; 4], 1, Compute::ALONE).is_none());
            assert!(book(Metric::Cosine, vec![0.0; len]).is_none());
            assert!(book(Metric::L2, vec![0.0; len]).is_some());
            assert!(book(Metric::L2, vec![1.0; len - 1]).is_none());
            assert!(book(Metric::L2, vec![1.0; len + 1]).is_none());
            for wrong in [f32::NAN, f32::INFINITY] {
                let mut components = vec![1.0; len];
                components[len / 2] = wrong;
                assert!(book(Metric::L2, components).is_none());
            }
        }
    }

    /// Few rows, equal rows, constant sub-vectors, components at the limits of
    /// f32: each row is among the nearest of itself.
    #[test]
    fn degenerate_rows_are_near_themselves() {
        let spread = |by: f32| -> Vec<f32> { clustered(50, 6, 1).iter().map(|x| x * by).collect() };
        let mut constant = clustered(50, 6, 1);
        constant.iter_mut().step_by(3).for_each(|x| *x = 4.0);
        let mut uneven = clustered(50, 6, 1);
        uneven[..6].fill(3e38);
        uneven[6..12].fill(1e-42);
        let cases = [
            vec![1.5; 6],
            vec![1.5; 6 * 50],
            clustered(2, 6, 1),
            constant,
            spread(1e30),
            spread(1e38),
            spread(1e-30),
            spread(1e-42),
            uneven,
        ];
        for (case, components) in cases.iter().enumerate() {
            for (metric, bits) in METRICS.into_iter().flat_map(|m| [(m, 4), (m, 8)]) {
                let book =
                    Codebook::train(shape(6, bits), metric, components, 1, Compute::ALONE).unwrap();
                assert!(book.components().iter().all(|x| x.is_finite()));
                let codes = encoded(&book, components);
                let rows = with_norms(components, 6);
                for (at, (row, norm)) in rows.iter().enumerate() {
                    let table = book.table(row, *norm);
                    let mut distances = Vec::new();
                    table.distances(&codes, rows.len(), &mut distances);
                    // Within a quarter of the largest range. Under dot, another
                    // row may be closer; and in the last case the huge row
                    // makes all others equal.
                    let slack = if bits == 4 { 64 } else { 16_384 };
                    let least = distances.iter().min().unwrap();
                    assert!(
                        metric == Metric::Dot || case == 8 || distances[at] <= least + slack,
                        "case {case} {metric:?} {bits}: row {at} has {}, least {least}",
                        distances[at]
                    );
                    let mut candidates = Candidates::new(5);
                    table.scan(&codes, rows.len(), None, &mut candidates);
                    assert_eq!(candidates.into_sorted().len(), rows.len().min(5));
                }
            }
        }
        for metric in [Metric::Dot, Metric::L2] {
            let zeros = vec![0.0; 6 * 40];
            let book = Codebook::train(shape(6, 4), metric, &zeros, 1, Compute::ALONE).unwrap();
            let mut distances = Vec::new();
            book.table(&zeros[..6], 0.0).distances(&encoded(&book, &zeros), 40, &mut distances);
            assert_eq!(distances, [0; 40]);
        }
    }

    #[test]
    fn codes_that_are_too_short_have_fewer_rows() {
        for bits in [4, 8] {
            let components = clustered(100, 9, 1);
            let book = Codebook::train(shape(9, bits), Metric::L2, &components, 1, Compute::ALONE)
                .unwrap();
            let codes = encoded(&book, &components);
            let table = book.table(&components[..9], norm(&components[..9]));
            for (bytes, rows, expected) in [
                (0, 100, 0),
                (codes.len() / 4 - 1, 100, 0),
                (codes.len() - 1, 100, 96),
                (codes.len(), usize::MAX, 128),
                (codes.len(), 0, 0),
                (codes.len(), 33, 33),
            ] {
                let mut distances = Vec::new();
                table.distances(&codes[..bytes], rows, &mut distances);
                assert_eq!(distances.len(), expected);
                let mut candidates = Candidates::new(1_000);
                table.scan(&codes[..bytes], rows, None, &mut candidates);
                assert_eq!(candidates.into_sorted().len(), expected);
                let mut candidates = Candidates::new(1_000);
                table.scan(&codes[..bytes], rows, Some(&[!0, 1]), &mut candidates);
                assert_eq!(candidates.into_sorted().len(), expected.min(33));
            }
        }
    }

    proptest! {
        #[test]
        fn scans_keep_what_a_sort_would(
            rows in 0_usize..700,
            n in 0_usize..90,
            bits in prop_oneof![Just(4), Just(8)],
            dimension in prop_oneof![Just(3_usize), Just(260)],
            masks in proptest::option::of(proptest::collection::vec(any::<u32>(), 0..25)),
            seed in any::<u64>(),
        ) {
            let shape = shape(dimension, bits);
            let book = Codebook::train(shape, Metric::Dot, &clustered(20, dimension, seed), 1, Compute::ALONE).unwrap();
            let mut random = Random(seed);
            // Few distinct codes, so that many distances are equal.
            let codes: Vec<u8> =
                (0..shape.code_bytes(rows)).map(|_| (random.next() as u8) & 0x11).collect();
            let query = clustered(1, dimension, seed ^ 1);
            let table = book.table(&query, norm(&query));
            let mut distances = Vec::new();
            table.distances(&codes, rows, &mut distances);
            let mut expected: Vec<(u32, u32)> = distances
                .iter()
                .zip(0..)
                .map(|(distance, row)| (*distance, row))
                .filter(|(_, row)| masks.as_ref().is_none_or(|masks| {
                    masks.get(*row as usize / 32).is_some_and(|mask| mask >> (row % 32) & 1 == 1)
                }))
                .collect();
            expected.sort_unstable();
            expected.truncate(n);
            let mut candidates = Candidates::new(n);
            table.scan(&codes, rows, masks.as_deref(), &mut candidates);
            prop_assert_eq!(candidates.into_sorted(), expected);
        }
    }
}
