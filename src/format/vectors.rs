//! `data/*.vix`: what is derived from a vector file for searching it. Such a
//! file has codes or a graph; both begin with an [`IndexHead`] that names the
//! vector file by its number and its digest.
//!
//! | section | codes | graph |
//! |---|---|---|
//! | [`HEAD`] | one [`IndexHead`] | the same |
//! | [`CODEBOOK`] | the centroids, binary32 | – |
//! | [`CODES`] | blocks of 32 rows | – |
//! | [`GRAPH`] | – | the graph as its library writes it |
//!
//! A codebook has for each sub-vector, for each of its numbers, those of all
//! centroids; the last sub-vector is filled up with zeros. A block of four-bit codes has 16
//! bytes for each sub-vector: byte `j` is the code of row `j`, and of row
//! `j + 16` in the upper half. A block of eight-bit codes has 32 bytes for each,
//! one a row. Rows after the last have code 0.

use bytemuck::{Pod, Zeroable};

use crate::{
    format::{
        header::Damage,
        manifest::DataFile,
        tables::{Le32, LeF32},
    },
    model::space::Metric,
};

/// One [`IndexHead`].
pub const HEAD: u32 = 8;
/// Numbers of a codebook, binary32.
pub const CODEBOOK: u32 = 9;
/// Codes of rows, in blocks.
pub const CODES: u32 = 10;
/// A graph.
pub const GRAPH: u32 = 11;

/// Recalls of ten that are asked of an index, in thousandths, and the places
/// of [`IndexHead::depths`].
pub const RECALLS: [u32; 3] = [950, 990, 999];

/// What a file is derived from, and how: 96 bytes.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 16 | digest of the vector file |
/// | 16 | 4 | number of the vector file |
/// | 20 | 4 | its rows |
/// | 24 | 4 | dimension |
/// | 28 | 4 | metric: 1 cosine, 2 dot, 3 L2 |
/// | 32 | 4 | bits of a code; 0 of a graph |
/// | 36 | 4 | sub-vectors; of a graph: links of a row, twice as many on the lowest level |
/// | 40 | 4 | numbers of a sub-vector; of a graph: candidates when it was built |
/// | 44 | 4 | of a graph of L2 or dot: the largest absolute number (binary32) |
/// | 48 | 4 | vectors whose nearest were looked for, to measure recall |
/// | 52 | 4 | recall of ten that was measured: of codes with 100 candidates, of a graph with the depth for 0.99 (binary32) |
/// | 56 | 12 | depths for a recall of 0.95, 0.99 and 0.999 |
/// | 68 | 28 | zero |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct IndexHead {
    /// The digest of the vector file.
    pub rows_digest: [u8; 16],
    /// The number of the vector file.
    pub file: Le32,
    /// Its rows.
    pub rows: Le32,
    /// Numbers of a vector.
    pub dimension: Le32,
    metric: Le32,
    /// Bits of a code; 0 of a graph.
    pub bits: Le32,
    /// Sub-vectors; of a graph: links of a row.
    pub subs: Le32,
    /// Numbers of a sub-vector; of a graph: candidates when it was built.
    pub sub_dimension: Le32,
    /// Of a graph of L2 or dot: the largest absolute number of its rows.
    pub max_abs: LeF32,
    /// Vectors whose nearest were looked for, to measure recall.
    pub sample: Le32,
    /// The recall of ten that was measured: of codes with 100 candidates, of a
    /// graph with the depth for 0.99, or the largest that was tried.
    pub recall: LeF32,
    /// How many candidates have to be compared for each of [`RECALLS`]; the
    /// largest number if all have.
    pub depths: [Le32; 3],
    zero: [Le32; 7],
}

const _: () = assert!(size_of::<IndexHead>() == 96);

impl IndexHead {
    /// The head of what is derived from this file; the rest is zero.
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
            ..Self::zeroed()
        }
    }

    /// Numbers of the codebook, and bytes of the codes.
    ///
    /// # Errors
    /// [`Damage`] when it is no head of codes.
    pub fn code_lens(&self) -> Result<(usize, usize), Damage> {
        let number = |number: Le32| usize::try_from(number.get()).unwrap_or(usize::MAX);
        let (subs, sub_dimension) = (number(self.subs), number(self.sub_dimension));
        let (centroids, block) = match self.bits.get() {
            4 => (16_usize, subs.next_multiple_of(4).saturating_mul(16)),
            8 => (256_usize, subs.saturating_mul(32)),
            bits => return Err(Damage::new(32, format!("codes of {bits} bits"))),
        };
        if number(self.dimension).checked_div(sub_dimension).is_none_or(|whole| whole > subs) {
            return Err(Damage::new(36, format!("{subs} sub-vectors of {sub_dimension} numbers")));
        }
        let numbers = subs.saturating_mul(sub_dimension).saturating_mul(centroids);
        Ok((numbers, number(self.rows).div_ceil(32).saturating_mul(block)))
    }

    /// Whether it is derived from the same rows as `other` is.
    #[must_use]
    pub fn same_rows(&self, other: &Self) -> bool {
        self.rows_digest == other.rows_digest
            && self.file == other.file
            && self.rows == other.rows
            && self.dimension == other.dimension
            && self.metric == other.metric
    }
}

/// Bits of rows, as a manifest has them: set for those that are not live.
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
