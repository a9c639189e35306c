//! `data/*.vix`: an index derived from a vector file. It has codes or a graph;
//! both begin with an [`IndexHead`] that names the vector file by its number
//! and its digest.
//!
//! | section | codes | graph |
//! |---|---|---|
//! | [`HEAD`] | one [`IndexHead`] | the same |
//! | [`CODEBOOK`] | the centroids, binary32 | – |
//! | [`CODES`] | blocks of 32 rows | – |
//! | [`GRAPH`] | – | the graph, as its library serialises it (see docs/format.md) |
//!
//! A codebook holds, for each sub-vector and each of its components, that
//! component of all centroids; the last sub-vector is filled up with zeros. A
//! block of four-bit codes has 16 bytes for each sub-vector: byte `j` has the
//! code of row `j` in its lower half, and that of row `j + 16` in its upper
//! half. A block of eight-bit codes has 32 bytes for each sub-vector, one for
//! each row. Rows after the last have code 0.

use bytemuck::{Pod, Zeroable};

use crate::{
    format::{
        header::Damage,
        manifest::DataFile,
        tables::{Le32, LeF32},
    },
    model::space::Metric,
    num,
};

/// Section: one [`IndexHead`].
pub const HEAD: u32 = 8;
/// Section: components of the centroids, binary32.
pub const CODEBOOK: u32 = 9;
/// Section: codes of the rows, in blocks of 32 rows.
pub const CODES: u32 = 10;
/// Section: a graph.
pub const GRAPH: u32 = 11;
/// How recall is measured. An index that was measured in another way, or before
/// this number was written, is built again.
pub const MEASURED: u32 = 1;

/// The recalls at 10 (the share of the ten nearest that is found) for which an
/// index has depths, in thousandths. In the order of [`IndexHead::depths`].
pub const RECALLS: [u32; 3] = [950, 990, 999];

/// The head of an index: what it is derived from, and its parameters. 96 bytes.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 16 | digest of the vector file |
/// | 16 | 4 | number of the vector file |
/// | 20 | 4 | its rows |
/// | 24 | 4 | dimension |
/// | 28 | 4 | metric: 1 cosine, 2 dot, 3 L2 |
/// | 32 | 4 | bits of a code; 0: a graph |
/// | 36 | 4 | sub-vectors; graph: links of a row, twice as many on the lowest level |
/// | 40 | 4 | components of a sub-vector; graph: candidates when it was built |
/// | 44 | 4 | graph of an L2 or dot space: the largest absolute component (binary32) |
/// | 48 | 4 | number of usual queries with which the recall was measured |
/// | 52 | 4 | recall at 10 of these with the depth for 0.99 (binary32) |
/// | 56 | 12 | depths for a recall of 0.95, 0.99 and 0.999 |
/// | 68 | 4 | how the recall was measured: [`MEASURED`] |
/// | 72 | 4 | the farthest tenth neighbour of a usual query (binary32); a query that is farther from all rows is foreign |
/// | 76 | 8 | L2: a query with a length outside of these two is foreign (binary32) |
/// | 84 | 4 | number of foreign queries with which the recall was measured |
/// | 88 | 4 | recall at 10 of these with the depth for 0.99 (binary32) |
/// | 92 | 4 | codes of directions: the mean inner product of a row's direction and its centroids (binary32); 0: codes of the rows as they are, or a graph |
///
/// ```
/// use ingrain::{Metric, format::{manifest::DataFile, tables::Le32, vectors::IndexHead}};
///
/// let file = DataFile { number: 6, len: 16_384, digest: [7; 16] };
/// let mut head = IndexHead::new(&file, 100, 8, Metric::Cosine);
/// head.bits = Le32::new(4); // 16 centroids for each of 8 sub-vectors
/// head.subs = Le32::new(8);
/// head.sub_dimension = Le32::new(1);
/// let (codebook, codes) = head.code_lens()?;
/// assert_eq!(codebook, 16 * 8);
/// assert_eq!(codes, 4 * 8 * 16); // 4 blocks of 32 rows
///
/// let other = IndexHead::new(&DataFile { digest: [8; 16], ..file }, 100, 8, Metric::Cosine);
/// assert!(!head.same_rows(&other)); // of other vectors
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct IndexHead {
    /// The digest of the vector file.
    pub rows_digest: [u8; 16],
    /// The number of the vector file.
    pub file: Le32,
    /// Its rows.
    pub rows: Le32,
    /// Components of a vector.
    pub dimension: Le32,
    metric: Le32,
    /// Bits of a code; 0 for a graph.
    pub bits: Le32,
    /// Number of sub-vectors; for a graph, links of a row.
    pub subs: Le32,
    /// Components of a sub-vector; for a graph, candidates when it was built.
    pub sub_dimension: Le32,
    /// For a graph of an L2 or dot space, the largest absolute component of its
    /// rows.
    pub max_abs: LeF32,
    /// Number of usual queries with which the recall was measured: rows without
    /// their near copies, and rows that were moved.
    pub sample: Le32,
    /// The recall at 10 of these with the depth for 0.99; of a graph without
    /// one, with the largest depth that was tried. Not a number if `sample` is
    /// zero.
    pub recall: LeF32,
    /// How many candidates have to be compared with the query for each of
    /// [`RECALLS`]. `u32::MAX` if no number suffices and all rows have to be
    /// compared.
    pub depths: [Le32; 3],
    /// How the recall was measured: [`MEASURED`].
    pub measured: Le32,
    /// The distance of the farthest tenth neighbour of a usual query; with dot,
    /// divided by the length of the query. A query whose tenth neighbour is
    /// farther is foreign.
    pub reach: LeF32,
    /// With L2, a query that is shorter than the first or longer than the
    /// second is foreign.
    pub lengths: [LeF32; 2],
    /// Number of foreign queries with which the recall was measured.
    pub foreign: Le32,
    /// The recall at 10 of these with the depth for 0.99. Not a number if
    /// `foreign` is zero.
    pub foreign_recall: LeF32,
    /// With L2 and dot, codes may be of the directions of rows, whose lengths
    /// are in the vector file. Then this is the mean inner product of a
    /// direction and the centroids that stand for it. 0 if the codes are of the
    /// rows as they are, as they are under cosine, and for a graph.
    pub directed: LeF32,
}

const _: () = assert!(size_of::<IndexHead>() == 96);

impl IndexHead {
    /// The head of an index over `file`. The other fields are zero.
    #[must_use]
    pub fn new(file: &DataFile, rows: u32, dimension: u32, metric: Metric) -> Self {
        Self {
            rows_digest: file.digest,
            file: Le32::new(file.number),
            rows: Le32::new(rows),
            dimension: Le32::new(dimension),
            metric: Le32::new(match metric {
                Metric::Cosine => 1,
                Metric::Dot => 2,
                Metric::L2 => 3,
            }),
            measured: Le32::new(MEASURED),
            ..Self::zeroed()
        }
    }

    /// Number of components in the codebook, and bytes of the codes.
    ///
    /// # Errors
    /// [`Damage`] when the index has no codes, or contradictory parameters.
    pub fn code_lens(&self) -> Result<(usize, usize), Damage> {
        let number = |number: Le32| num::index(number.get());
        let (subs, sub_dimension) = (number(self.subs), number(self.sub_dimension));
        let (centroids, block) = match self.bits.get() {
            4 => (16_usize, subs.next_multiple_of(4).saturating_mul(16)),
            8 => (256_usize, subs.saturating_mul(32)),
            bits => return Err(Damage::new(32, format!("codes of {bits} bits"))),
        };
        if number(self.dimension).checked_div(sub_dimension).is_none_or(|whole| whole > subs) {
            return Err(Damage::new(
                36,
                format!("{subs} sub-vectors of {sub_dimension} components do not make a vector"),
            ));
        }
        let numbers = subs.saturating_mul(sub_dimension).saturating_mul(centroids);
        Ok((numbers, number(self.rows).div_ceil(32).saturating_mul(block)))
    }

    /// Whether both are derived from the same rows.
    #[must_use]
    pub fn same_rows(&self, other: &Self) -> bool {
        self.rows_digest == other.rows_digest
            && self.file == other.file
            && self.rows == other.rows
            && self.dimension == other.dimension
            && self.metric == other.metric
    }
}

/// Encodes the set of dead rows as it is in a manifest: a bit for each of `len`
/// rows, set if the row is dead. Empty if no row is.
///
/// ```
/// use ingrain::format::vectors::{dead_bits, dead_rows};
///
/// let bits = dead_bits([1, 8].into_iter(), 10);
/// assert_eq!(bits, [0b10, 0b1]);
/// assert_eq!(dead_rows(&bits).collect::<Vec<_>>(), [1, 8]);
/// assert!(dead_bits([].into_iter(), 10).is_empty());
/// ```
#[must_use]
pub fn dead_bits(rows: impl Iterator<Item = usize>, len: usize) -> Vec<u8> {
    let mut bits = Vec::new();
    for row in rows.filter(|row| *row < len) {
        if bits.is_empty() {
            bits.resize(len.div_ceil(8), 0);
        }
        if let Some(byte) = bits.get_mut(row / 8) {
            *byte |= 1_u8 << (row % 8);
        }
    }
    bits
}

/// The rows whose bits are set.
pub fn dead_rows(bits: &[u8]) -> impl Iterator<Item = usize> {
    bits.iter().enumerate().filter(|(_, byte)| **byte != 0).flat_map(|(at, byte)| {
        (0..8_usize)
            .filter(move |bit| byte & (1_u8 << bit) != 0)
            .map(move |bit| at.saturating_mul(8).saturating_add(bit))
    })
}
