//! SIMD kernels. Each is compiled in several forms, one for each set of
//! instructions that processors have. The form is chosen when the program runs.
//!
//! Every form of a kernel gives the same bits: sums run over a fixed number of
//! lanes in a fixed order, and a product is rounded before it is added.
//! Whatever is computed from stored vectors can therefore be computed again on
//! another machine and compared.
//!
//! A floating-point kernel is one portable body, compiled once for each form;
//! the compiler vectorises it. The scan of codes is written with intrinsics,
//! because its core is a byte shuffle, which compilers do not generate.
#![allow(
    unsafe_code,
    reason = "a function compiled for instructions beyond the baseline may be called only on a processor that has them: Form is the proof"
)]

/// Rows of a block of codes.
pub(crate) const BLOCK_ROWS: usize = 32;

/// Lanes of a sum in f64. Enough independent additions that none waits for
/// another, for registers of any width.
const LANES: usize = 32;

/// The largest entry of a folded 4-bit table, so that the sum of [`FOLD`]
/// entries fits in a byte.
pub(crate) const FOLDED_ENTRY: u8 = u8::MAX / FOLD as u8;
/// How many entries are added as bytes before the sum is widened to 16 bits.
const FOLD: usize = 4;

/// A set of instructions that this processor has.
///
/// Values are made by detection only, so a value proves that the processor can
/// execute them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The instructions that the compiler may assume.
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F and BW.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon,
}

impl Form {
    /// The widest form that this processor has.
    #[inline]
    #[allow(unreachable_code, reason = "on the processors whose form is known beforehand")]
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
                return Self(Kind::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                return Self(Kind::Avx2);
            }
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        return Self(Kind::Neon);
        Self(Kind::Portable)
    }

    /// All forms that this processor has, the portable one first.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let mut forms = vec![Self(Kind::Portable)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            forms.push(Self(Kind::Avx2));
        }
        if !forms.contains(&Self::best()) {
            forms.push(Self::best());
        }
        forms
    }

    /// Runs a kernel compiled for this form.
    #[inline]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Kind::Portable => kernel.run(),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the form exists, so the processor has AVX2.
            Kind::Avx2 => unsafe { run_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the form exists, so the processor has AVX-512 F and BW.
            Kind::Avx512 => unsafe { run_avx512(kernel) },
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Kind::Neon => kernel.run(),
        }
    }
}

/// A portable body of a kernel. `run` is `#[inline(always)]` in each, so that
/// it is compiled with the instructions of the function that calls it.
trait Kernel {
    type Output;
    fn run(self) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run()
}

/// The inner product of two vectors of the same length.
///
/// Summed in f64, in which products of f32 are exact and finite.
#[inline]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    dot_in(Form::best(), a, b)
}

/// The squared Euclidean distance of two vectors of the same length, summed in
/// f64.
#[inline]
pub(crate) fn l2_squared(a: &[f32], b: &[f32]) -> f64 {
    l2_squared_in(Form::best(), a, b)
}

#[inline]
fn dot_in(form: Form, a: &[f32], b: &[f32]) -> f64 {
    form.run(Sum { a, b, term: |a, b| a * b })
}

#[inline]
fn l2_squared_in(form: Form, a: &[f32], b: &[f32]) -> f64 {
    form.run(Sum { a, b, term: |a, b| (a - b) * (a - b) })
}

struct Sum<'v, T> {
    a: &'v [f32],
    b: &'v [f32],
    term: T,
}

impl<T: Fn(f64, f64) -> f64> Kernel for Sum<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let mut lanes = [0.0; LANES];
        let (a_chunks, a_rest) = self.a.as_chunks::<LANES>();
        let (b_chunks, b_rest) = self.b.as_chunks::<LANES>();
        for (a, b) in a_chunks.iter().zip(b_chunks) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane += (self.term)(f64::from(*a), f64::from(*b));
            }
        }
        for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
            *lane += (self.term)(f64::from(*a), f64::from(*b));
        }
        let mut width = LANES / 2;
        while width > 0 {
            let (low, high) = lanes.split_at_mut(width);
            for (low, high) in low.iter_mut().zip(high) {
                *low += *high;
            }
            width /= 2;
        }
        lanes[0]
    }
}

/// Finds the closest centroid of a book for each point.
///
/// `points` are blocks of `dimension` columns of 32 points. `books` are one or
/// more books, each with the components of `centroids` centroids, one dimension
/// after the other; the blocks use the books in turn. For each block, an entry
/// of `found` gets the number of the closest centroid of each point (the first
/// of equals) and the squared distance to it. `dimension` is 1, 2, 4 or 8 and
/// `centroids` at most 256.
pub(crate) fn nearest_centroids(
    dimension: usize,
    centroids: usize,
    points: &[[f32; BLOCK_ROWS]],
    books: &[f32],
    found: &mut [Nearest],
) {
    nearest_centroids_in(Form::best(), dimension, centroids, points, books, found);
}

/// What [`nearest_centroids`] found for a block of points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Nearest {
    /// The numbers of the closest centroids.
    pub codes: [u8; BLOCK_ROWS],
    /// The squared distances to them.
    pub distances: [f32; BLOCK_ROWS],
}

impl Nearest {
    /// An entry that is not filled yet.
    pub(crate) const NONE: Self =
        Self { codes: [0; BLOCK_ROWS], distances: [f32::INFINITY; BLOCK_ROWS] };
}

fn nearest_centroids_in(
    form: Form,
    dimension: usize,
    centroids: usize,
    points: &[[f32; BLOCK_ROWS]],
    books: &[f32],
    found: &mut [Nearest],
) {
    match dimension {
        1 => form.run(Centroids::<1> { centroids, points, books, found }),
        2 => form.run(Centroids::<2> { centroids, points, books, found }),
        4 => form.run(Centroids::<4> { centroids, points, books, found }),
        _ => form.run(Centroids::<8> { centroids, points, books, found }),
    }
}

struct Centroids<'p, const D: usize> {
    centroids: usize,
    points: &'p [[f32; BLOCK_ROWS]],
    books: &'p [f32],
    found: &'p mut [Nearest],
}

/// Points that are compared at a time: few enough to stay in registers.
const GROUP: usize = 16;

impl<const D: usize> Kernel for Centroids<'_, D> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (blocks, _) = self.points.as_chunks::<D>();
        let books = self.books.chunks_exact((self.centroids * D).max(1)).cycle();
        for ((block, book), found) in blocks.iter().zip(books).zip(self.found) {
            for group in 0..BLOCK_ROWS / GROUP {
                let at = group * GROUP;
                let mut columns = [[0_f32; GROUP]; D];
                for (to, from) in columns.iter_mut().zip(block) {
                    to.copy_from_slice(&from[at..at + GROUP]);
                }
                let mut least = [f32::INFINITY; GROUP];
                let mut codes = [0_u32; GROUP];
                for centroid in 0..self.centroids {
                    let mut distances = [0_f32; GROUP];
                    for (dimension, column) in columns.iter().enumerate() {
                        let of = book[dimension * self.centroids + centroid];
                        for (distance, number) in distances.iter_mut().zip(column) {
                            let apart = number - of;
                            *distance += apart * apart;
                        }
                    }
                    for lane in 0..GROUP {
                        let closer = distances[lane] < least[lane];
                        least[lane] = if closer { distances[lane] } else { least[lane] };
                        codes[lane] = if closer { centroid as u32 } else { codes[lane] };
                    }
                }
                found.distances[at..at + GROUP].copy_from_slice(&least);
                for (to, code) in found.codes[at..at + GROUP].iter_mut().zip(codes) {
                    *to = code as u8;
                }
            }
        }
    }
}

/// Adds up the table entries of every row of 4-bit codes, and calls `hit` for
/// the rows whose sum is not above a limit.
///
/// `codes` has a block of `tables.len()` times 16 bytes for 32 rows: byte `j`
/// of a sub-vector is the code of row `j` in its low half and that of row `j +
/// 16` in its high half. (The layout, and the shuffle that looks up 16 entries
/// at a time, are those of André, Kermarrec and Le Scouarnec, "Cache locality
/// is not enough", VLDB 2015, and of faiss's fast scan.) The number of tables
/// is a multiple of 4. The entries of all tables add up to at most 65,535; if
/// `folded`, none is above [`FOLDED_ENTRY`].
///
/// `allowed` returns the rows of a block that count, bit `i` for row `i`; a
/// block without any is skipped. `hit` takes the number of the block, the rows
/// whose sum is at most the limit, and all sums of the block; it returns the
/// limit for the following blocks.
pub(crate) fn scan(
    folded: bool,
    tables: &[[u8; 16]],
    codes: &[u8],
    allowed: impl FnMut(usize) -> Option<u32>,
    limit: u16,
    hit: impl FnMut(usize, u32, &[u16; BLOCK_ROWS]) -> u16,
) {
    scan_in(Form::best(), folded, tables, codes, allowed, limit, hit);
}

fn scan_in(
    form: Form,
    folded: bool,
    tables: &[[u8; 16]],
    codes: &[u8],
    allowed: impl FnMut(usize) -> Option<u32>,
    limit: u16,
    hit: impl FnMut(usize, u32, &[u16; BLOCK_ROWS]) -> u16,
) {
    let (codes, _) = codes.as_chunks::<16>();
    let scan = Scan { tables, codes, allowed, limit, hit };
    match (form.0, folded) {
        (Kind::Portable, _) => scan.run(sums),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the form exists, so the processor has AVX2.
        (Kind::Avx2, false) => unsafe { x86::scan_avx2::<1, _, _>(scan) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the form exists, so the processor has AVX2.
        (Kind::Avx2, true) => unsafe { x86::scan_avx2::<FOLD, _, _>(scan) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the form exists, so the processor has AVX-512 F and BW.
        (Kind::Avx512, false) => unsafe { x86::scan_avx512::<1, _, _>(scan) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the form exists, so the processor has AVX-512 F and BW.
        (Kind::Avx512, true) => unsafe { x86::scan_avx512::<FOLD, _, _>(scan) },
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        // SAFETY: the form exists only if the compiler may assume NEON.
        (Kind::Neon, false) => unsafe { neon::scan::<1, _, _>(scan) },
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        // SAFETY: the form exists only if the compiler may assume NEON.
        (Kind::Neon, true) => unsafe { neon::scan::<FOLD, _, _>(scan) },
    }
}

struct Scan<'c, A, H> {
    tables: &'c [[u8; 16]],
    codes: &'c [[u8; 16]],
    allowed: A,
    limit: u16,
    hit: H,
}

/// A bit for each row of a block whose sum is at most the limit, and the sums
/// of all rows.
type Sums = (u32, [u16; BLOCK_ROWS]);

impl<A, H> Scan<'_, A, H>
where
    A: FnMut(usize) -> Option<u32>,
    H: FnMut(usize, u32, &[u16; BLOCK_ROWS]) -> u16,
{
    #[inline(always)]
    fn run(mut self, sums: impl Fn(&[[u8; 16]], &[[u8; 16]], u16) -> Sums) {
        for (at, block) in self.codes.chunks_exact(self.tables.len().max(1)).enumerate() {
            if let Some(allowed) = (self.allowed)(at) {
                let (below, sums) = sums(self.tables, block, self.limit);
                if below & allowed != 0 {
                    self.limit = (self.hit)(at, below & allowed, &sums);
                }
            }
        }
    }
}

/// The reference implementation, which the other forms have to agree with.
fn sums(tables: &[[u8; 16]], block: &[[u8; 16]], limit: u16) -> Sums {
    let mut sums = [0_u16; BLOCK_ROWS];
    for (table, codes) in tables.iter().zip(block) {
        for (row, code) in codes.iter().enumerate() {
            let (low, high) = (usize::from(code & 15), usize::from(code >> 4));
            sums[row] = sums[row].wrapping_add(u16::from(table[low]));
            sums[row + 16] = sums[row + 16].wrapping_add(u16::from(table[high]));
        }
    }
    (below(&sums, limit), sums)
}

fn below(sums: &[u16; BLOCK_ROWS], limit: u16) -> u32 {
    sums.iter().enumerate().fold(0, |bits, (row, sum)| bits | (u32::from(*sum <= limit) << row))
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use bytemuck::must_cast;

    use super::{BLOCK_ROWS, Scan, Sums};

    #[target_feature(enable = "avx2")]
    pub(super) fn scan_avx2<const FOLD: usize, A, H>(scan: Scan<'_, A, H>)
    where
        A: FnMut(usize) -> Option<u32>,
        H: FnMut(usize, u32, &[u16; BLOCK_ROWS]) -> u16,
    {
        scan.run(|tables, block, limit| {
            let zero = _mm256_setzero_si256();
            // A lane of 16 bits has the byte sums of two rows: `both` adds up
            // the whole lanes, `odd` their upper bytes.
            let (mut low_both, mut low_odd) = (zero, zero);
            let (mut high_both, mut high_odd) = (zero, zero);
            let mut widen = |(low, high)| {
                low_both = _mm256_add_epi16(low_both, low);
                low_odd = _mm256_add_epi16(low_odd, _mm256_srli_epi16::<8>(low));
                high_both = _mm256_add_epi16(high_both, high);
                high_odd = _mm256_add_epi16(high_odd, _mm256_srli_epi16::<8>(high));
            };
            let (tables, _) = tables.as_flattened().as_chunks::<32>();
            let (block, _) = block.as_flattened().as_chunks::<32>();
            let (tables, last_tables) = tables.as_chunks::<FOLD>();
            let (block, last_block) = block.as_chunks::<FOLD>();
            for (tables, block) in tables.iter().zip(block) {
                widen(entries_avx2(tables, block));
            }
            widen(entries_avx2(last_tables, last_block));
            finish(low_both, low_odd, high_both, high_odd, limit)
        });
    }

    /// Looks up the entries of rows 0 to 15 and of rows 16 to 31, and sums them
    /// as bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn entries_avx2(tables: &[[u8; 32]], block: &[[u8; 32]]) -> (__m256i, __m256i) {
        let half = _mm256_set1_epi8(15);
        let (mut low, mut high) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for (table, codes) in tables.iter().zip(block) {
            let table: __m256i = must_cast(*table);
            let codes: __m256i = must_cast(*codes);
            let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), half);
            let lower = _mm256_and_si256(codes, half);
            low = _mm256_add_epi8(low, _mm256_shuffle_epi8(table, lower));
            high = _mm256_add_epi8(high, _mm256_shuffle_epi8(table, upper));
        }
        (low, high)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn scan_avx512<const FOLD: usize, A, H>(scan: Scan<'_, A, H>)
    where
        A: FnMut(usize) -> Option<u32>,
        H: FnMut(usize, u32, &[u16; BLOCK_ROWS]) -> u16,
    {
        scan.run(|tables, block, limit| {
            let zero = _mm512_setzero_si512();
            let (mut low_both, mut low_odd) = (zero, zero);
            let (mut high_both, mut high_odd) = (zero, zero);
            let mut widen = |(low, high)| {
                low_both = _mm512_add_epi16(low_both, low);
                low_odd = _mm512_add_epi16(low_odd, _mm512_srli_epi16::<8>(low));
                high_both = _mm512_add_epi16(high_both, high);
                high_odd = _mm512_add_epi16(high_odd, _mm512_srli_epi16::<8>(high));
            };
            let (tables, _) = tables.as_flattened().as_chunks::<64>();
            let (block, _) = block.as_flattened().as_chunks::<64>();
            let (tables, last_tables) = tables.as_chunks::<FOLD>();
            let (block, last_block) = block.as_chunks::<FOLD>();
            for (tables, block) in tables.iter().zip(block) {
                widen(entries_avx512(tables, block));
            }
            widen(entries_avx512(last_tables, last_block));
            finish(halves(low_both), halves(low_odd), halves(high_both), halves(high_odd), limit)
        });
    }

    /// Looks up the entries of rows 0 to 15 and of rows 16 to 31, and sums them
    /// as bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn entries_avx512(tables: &[[u8; 64]], block: &[[u8; 64]]) -> (__m512i, __m512i) {
        let half = _mm512_set1_epi8(15);
        let (mut low, mut high) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        for (table, codes) in tables.iter().zip(block) {
            let table: __m512i = must_cast(*table);
            let codes: __m512i = must_cast(*codes);
            let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), half);
            let lower = _mm512_and_si512(codes, half);
            low = _mm512_add_epi8(low, _mm512_shuffle_epi8(table, lower));
            high = _mm512_add_epi8(high, _mm512_shuffle_epi8(table, upper));
        }
        (low, high)
    }

    /// The lower half of a register plus its upper half.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn halves(register: __m512i) -> __m256i {
        _mm256_add_epi16(_mm512_castsi512_si256(register), _mm512_extracti64x4_epi64::<1>(register))
    }

    /// Adds up the sums in the lower and the upper half of a register, which
    /// are of different sub-vectors, and brings the rows into order. `low` is
    /// of rows 0 to 15, `high` of rows 16 to 31. In a lane, `both` has the sum
    /// of an even row plus 256 times that of the odd row after it, modulo
    /// 65,536, and `odd` the latter.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn finish(
        low_both: __m256i,
        low_odd: __m256i,
        high_both: __m256i,
        high_odd: __m256i,
        limit: u16,
    ) -> Sums {
        let low_even = _mm256_sub_epi16(low_both, _mm256_slli_epi16::<8>(low_odd));
        let high_even = _mm256_sub_epi16(high_both, _mm256_slli_epi16::<8>(high_odd));
        let even = _mm256_add_epi16(
            _mm256_permute2x128_si256::<0x20>(low_even, high_even),
            _mm256_permute2x128_si256::<0x31>(low_even, high_even),
        );
        let odd = _mm256_add_epi16(
            _mm256_permute2x128_si256::<0x20>(low_odd, high_odd),
            _mm256_permute2x128_si256::<0x31>(low_odd, high_odd),
        );
        // Rows 0 to 7 and 16 to 23; rows 8 to 15 and 24 to 31.
        let first = _mm256_unpacklo_epi16(even, odd);
        let second = _mm256_unpackhi_epi16(even, odd);
        let limit = _mm256_set1_epi16(limit as i16);
        let below = _mm256_packs_epi16(
            _mm256_cmpeq_epi16(_mm256_min_epu16(first, limit), first),
            _mm256_cmpeq_epi16(_mm256_min_epu16(second, limit), second),
        );
        let sums = [
            _mm256_permute2x128_si256::<0x20>(first, second),
            _mm256_permute2x128_si256::<0x31>(first, second),
        ];
        (_mm256_movemask_epi8(below) as u32, must_cast(sums))
    }
}

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod neon {
    use std::arch::aarch64::*;

    use bytemuck::must_cast;

    use super::{BLOCK_ROWS, Scan, below};

    #[target_feature(enable = "neon")]
    pub(super) fn scan<const FOLD: usize, A, H>(scan: Scan<'_, A, H>)
    where
        A: FnMut(usize) -> Option<u32>,
        H: FnMut(usize, u32, &[u16; BLOCK_ROWS]) -> u16,
    {
        scan.run(|tables, block, limit| {
            let mut sums = [vdupq_n_u16(0); 4];
            let mut widen = |(low, high)| {
                sums[0] = vaddw_u8(sums[0], vget_low_u8(low));
                sums[1] = vaddw_high_u8(sums[1], low);
                sums[2] = vaddw_u8(sums[2], vget_low_u8(high));
                sums[3] = vaddw_high_u8(sums[3], high);
            };
            let (tables, last_tables) = tables.as_chunks::<FOLD>();
            let (block, last_block) = block.as_chunks::<FOLD>();
            for (tables, block) in tables.iter().zip(block) {
                widen(entries(tables, block));
            }
            widen(entries(last_tables, last_block));
            let least = vminq_u16(vminq_u16(sums[0], sums[1]), vminq_u16(sums[2], sums[3]));
            let any = vminvq_u16(least) <= limit;
            let sums = must_cast(sums);
            (if any { below(&sums, limit) } else { 0 }, sums)
        });
    }

    /// Looks up the entries of rows 0 to 15 and of rows 16 to 31, and sums them
    /// as bytes.
    #[inline]
    #[target_feature(enable = "neon")]
    fn entries(tables: &[[u8; 16]], block: &[[u8; 16]]) -> (uint8x16_t, uint8x16_t) {
        let (mut low, mut high) = (vdupq_n_u8(0), vdupq_n_u8(0));
        for (table, codes) in tables.iter().zip(block) {
            let table: uint8x16_t = must_cast(*table);
            let codes: uint8x16_t = must_cast(*codes);
            let lower = vandq_u8(codes, vdupq_n_u8(15));
            let upper = vshrq_n_u8::<4>(codes);
            low = vaddq_u8(low, vqtbl1q_u8(table, lower));
            high = vaddq_u8(high, vqtbl1q_u8(table, upper));
        }
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pseudo-random numbers, the same on every machine.
    fn numbers(mut state: u64) -> impl FnMut() -> u64 {
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) ^ (state >> 11)
        }
    }

    fn floats(seed: u64, len: usize) -> Vec<f32> {
        let mut next = numbers(seed);
        (0..len)
            .map(|_| {
                let mantissa = (next() % 2_000_001) as f32 / 1e6 - 1.0;
                mantissa * 10_f32.powi((next() % 13) as i32 - 6)
            })
            .collect()
    }

    #[test]
    fn sums_have_the_same_bits_in_all_forms() {
        for len in 0..=130 {
            for start in [0, 1, 3] {
                let (a, b) = (floats(len as u64, len + start), floats(99, len + start));
                let (a, b) = (&a[start..], &b[start..]);
                let all = |of: fn(Form, &[f32], &[f32]) -> f64| -> Vec<u64> {
                    Form::all().into_iter().map(|form| of(form, a, b).to_bits()).collect()
                };
                for bits in [all(dot_in), all(l2_squared_in)] {
                    assert!(bits.iter().all(|b| *b == bits[0]), "{len} from {start}: {bits:?}");
                }
                let plain: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!((dot(a, b) - plain).abs() <= 1e-9 * (1.0 + dot(a, a) + dot(b, b)));
            }
        }
    }

    #[test]
    fn centroids_are_the_same_in_all_forms_and_the_closest() {
        for dimension in [1, 2, 4, 8] {
            for centroids in [1, 16, 256] {
                let books = floats(5, 3 * dimension * centroids);
                let points: Vec<[f32; BLOCK_ROWS]> =
                    floats(6, 5 * dimension * BLOCK_ROWS).as_chunks().0.to_vec();
                let all: Vec<Vec<Nearest>> = Form::all()
                    .into_iter()
                    .map(|form| {
                        let mut found = vec![Nearest::NONE; 5];
                        nearest_centroids_in(
                            form, dimension, centroids, &points, &books, &mut found,
                        );
                        found
                    })
                    .collect();
                assert!(all.iter().all(|found| *found == all[0]), "{dimension} {centroids}");
                for (block, found) in all[0].iter().enumerate() {
                    let book = &books[(block % 3) * dimension * centroids..];
                    for (row, code) in found.codes.iter().enumerate() {
                        let distance = |centroid: usize| -> f32 {
                            (0..dimension)
                                .map(|d| {
                                    points[block * dimension + d][row]
                                        - book[d * centroids + centroid]
                                })
                                .fold(0.0, |sum, apart| sum + apart * apart)
                        };
                        let closest = (0..centroids)
                            .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
                            .unwrap();
                        assert_eq!(usize::from(*code), closest);
                        assert_eq!(found.distances[row], distance(closest));
                    }
                }
            }
        }
    }

    #[test]
    fn scans_have_the_same_sums_in_all_forms() {
        for subs in [4, 8, 12, 16, 20, 64, 96, 1_024] {
            for (folded, most) in [(false, if subs <= 64 { 255 } else { 63 }), (true, 63)] {
                let mut next = numbers(subs as u64);
                let mut bytes = |len: usize, below: u64| -> Vec<u8> {
                    (0..len).map(|_| (next() % below) as u8).collect()
                };
                let tables = bytes(subs * 16, most + 1);
                // The largest possible sums.
                let full = vec![most as u8; subs * 16];
                let blocks = 5;
                // One byte more, so that blocks are not aligned.
                let codes = bytes(blocks * subs * 16 + 1, 256);
                for tables in [tables, full] {
                    let tables = tables.as_chunks().0;
                    for limit in [0, 1_500, 7_000, 60_000, u16::MAX] {
                        let all: Vec<_> = Form::all()
                            .into_iter()
                            .map(|form| {
                                let mut hits = Vec::new();
                                let allowed = |block: usize| {
                                    [Some(!0), Some(1), None, Some(0x8000_ffff), Some(0)][block]
                                };
                                scan_in(
                                    form,
                                    folded,
                                    tables,
                                    &codes[1..],
                                    allowed,
                                    limit,
                                    |at, rows, sums| {
                                        hits.push((at, rows, *sums));
                                        limit - limit / 10
                                    },
                                );
                                hits
                            })
                            .collect();
                        assert!(all.iter().all(|hits| *hits == all[0]), "{subs} {limit}");
                        assert!(all[0].iter().all(|(at, ..)| *at != 2));
                        assert!(limit < u16::MAX || !all[0].is_empty());
                    }
                }
            }
        }
    }
}
