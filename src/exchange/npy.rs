//! NumPy's `.npy` files, as far as vectors need them: versions 1 to 3, with
//! numbers of f16, f32 or f64 in either byte order, in C or Fortran order. They
//! are read as f32. The format is documented in `numpy.lib.format`.
//!
//! ```
//! use ingrain::exchange::npy::{Array, Number};
//!
//! let mut bytes = Array::header(2, 3); // 2 rows of 3 numbers
//! bytes.extend([1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|n| n.to_le_bytes()));
//!
//! let array = Array::decode(&bytes, bytes.len() as u64)?;
//! assert_eq!((array.rows, array.dimension, array.number), (2, 3, Number::F32));
//! let second = &bytes[array.data + array.row_bytes()..];
//! assert_eq!(array.row(second), Some(vec![4.0, 5.0, 6.0]));
//! # Ok::<(), ingrain::format::Damage>(())
//! ```

use half::f16;

use crate::{format::header::Damage, model::limits, num};

/// The bytes that every `.npy` file begins with.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// The largest number of bytes before the data: more than the header of any
/// matrix needs, although version 2 allows 4 GiB.
pub const HEADER_BYTES: usize = 1 << 20;

/// The type of the numbers of an array.
///
/// ```
/// use ingrain::exchange::npy::{Array, Number};
///
/// let header = Array::header(0, 3);
/// assert_eq!(Array::decode(&header, header.len() as u64)?.number, Number::F32);
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Number {
    /// IEEE 754 binary16.
    F16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64; read as the closest binary32.
    F64,
}

impl Number {
    /// Bytes of a number.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// The header of an array.
///
/// ```
/// use ingrain::exchange::npy::Array;
///
/// let mut bytes = Array::header(1, 2);
/// bytes.extend([0.5_f32, 1.0].iter().flat_map(|number| number.to_le_bytes()));
/// let array = Array::decode(&bytes, bytes.len() as u64)?;
/// assert_eq!((array.rows, array.dimension), (1, 2));
/// assert_eq!(array.row(&bytes[array.data..]), Some(vec![0.5, 1.0]));
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Array {
    /// Number of rows; 1 if the array has one dimension only.
    pub rows: u64,
    /// Numbers in a row: 1 to [`limits::DIMENSION`].
    pub dimension: usize,
    /// Whether the array has two dimensions rather than one.
    pub matrix: bool,
    /// The type of the numbers.
    pub number: Number,
    /// Whether the bytes of a number are in big-endian order.
    pub big_endian: bool,
    /// Whether the array is in Fortran order: number `c` of row `r` is then the
    /// number `c * rows + r` of the data, instead of `r * dimension + c`.
    pub fortran: bool,
    /// Offset of the data in the file.
    pub data: usize,
}

/// The position and the text of the header of a file.
fn header_of(bytes: &[u8]) -> Result<(usize, &[u8]), Damage> {
    let cut = || Damage::new(bytes.len(), "the file ends within the .npy header");
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return Err(match MAGIC.starts_with(bytes) {
            true => cut(),
            false => Damage::new(0, "it is not a .npy file"),
        });
    };
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version {
        [1, 0] => rest
            .split_first_chunk::<2>()
            .map(|(length, rest)| (u32::from(u16::from_le_bytes(*length)), rest)),
        [2 | 3, 0] => {
            rest.split_first_chunk::<4>().map(|(length, rest)| (u32::from_le_bytes(*length), rest))
        }
        [major, minor] => {
            let what =
                format!("version {major}.{minor} of the .npy format is unknown; save it as 1.0");
            return Err(Damage { unsupported: true, ..Damage::new(MAGIC.len(), what) });
        }
    }
    .ok_or_else(cut)?;
    let at = bytes.len() - rest.len();
    let length = num::index(length);
    if at.saturating_add(length) > HEADER_BYTES {
        let what = format!("its header claims to have {length} bytes, which is too long");
        return Err(Damage::new(at, what));
    }
    Ok((at, rest.get(..length).ok_or_else(cut)?))
}

impl Array {
    /// Decodes the header of a file of `len` bytes. `bytes` is the beginning of
    /// the file, or all of it; [`HEADER_BYTES`] suffice.
    ///
    /// # Errors
    /// [`Damage`] when it is not a `.npy` file, has a shape or a type that
    /// vectors cannot have, or has another length than its header implies.
    pub fn decode(bytes: &[u8], len: u64) -> Result<Self, Damage> {
        let (at, text) = header_of(bytes)?;
        let wrong = |what: String| Damage::new(at, what);
        let data = at.saturating_add(text.len());
        let text = String::from_utf8_lossy(text);
        let header = Header::parse(&text)
            .ok_or_else(|| wrong(format!("the .npy header cannot be parsed: {}", text.trim())))?;
        let (order, number) = header.descr.split_at_checked(1).unwrap_or_default();
        let number = match (order, number) {
            ("<" | ">" | "=", "f2") => Number::F16,
            ("<" | ">" | "=", "f4") => Number::F32,
            ("<" | ">" | "=", "f8") => Number::F64,
            _ => {
                return Err(wrong(format!(
                    "its numbers are of type {}, not f4, f8 or f2; use astype(\"<f4\")",
                    header.descr
                )));
            }
        };
        let big_endian = order == ">";
        let (rows, dimension, matrix) = match *header.shape {
            [dimension] => (1, dimension, false),
            [rows, dimension] => (rows, dimension, true),
            _ => {
                let what = format!("its shape is {:?}; it must be (rows, dimension)", header.shape);
                return Err(wrong(what));
            }
        };
        let dimension = usize::try_from(dimension)
            .ok()
            .filter(|dimension| (1..=limits::DIMENSION).contains(dimension))
            .ok_or_else(|| {
                let most = limits::DIMENSION;
                wrong(format!("its rows have {dimension} numbers, the limit is {most}"))
            })?;
        let fortran = header.fortran_order && matrix;
        let array = Self { rows, dimension, matrix, number, big_endian, fortran, data };
        let row = num::wide(array.row_bytes());
        let before = num::wide(data);
        let expected = rows.checked_mul(row).and_then(|numbers| numbers.checked_add(before));
        if expected != Some(len) {
            return Err(wrong(format!(
                "it has {len} bytes, but its header says {rows} rows of {row} bytes after \
                 {before} of header: the file is cut off or damaged"
            )));
        }
        Ok(array)
    }

    /// Encodes the header of a two-dimensional array of f32: everything before
    /// the data.
    #[must_use]
    pub fn header(rows: usize, dimension: usize) -> Vec<u8> {
        let mut text =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}");
        // The data has to begin at a multiple of 64, after a line end.
        let before = MAGIC.len().saturating_add(4);
        let end = before.saturating_add(text.len()).saturating_add(1).next_multiple_of(64);
        let spaces = end.saturating_sub(before).saturating_sub(text.len()).saturating_sub(1);
        text.extend(std::iter::repeat_n(' ', spaces));
        text.push('\n');
        // Two numbers and 60 characters are far below 65,535.
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        [MAGIC, &[1, 0], &length.to_le_bytes(), text.as_bytes()].concat()
    }

    /// Bytes of a row.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.dimension.saturating_mul(self.number.bytes())
    }

    /// Decodes the row at the start of `bytes`. `None` if there are too few
    /// bytes. The array must be in C order.
    #[must_use]
    pub fn row(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        bytes.get(..self.row_bytes()).map(|bytes| self.numbers(bytes))
    }

    /// Decodes adjacent numbers. Bytes at the end that are no whole number are
    /// left out.
    ///
    /// ```
    /// use ingrain::exchange::npy::Array;
    ///
    /// let bytes = Array::header(0, 1);
    /// let array = Array::decode(&bytes, bytes.len() as u64)?;
    /// assert_eq!(array.numbers(&[0, 0, 128, 63, 0, 0, 0, 64]), [1.0, 2.0]);
    /// # Ok::<(), ingrain::format::Damage>(())
    /// ```
    #[must_use]
    pub fn numbers(&self, bytes: &[u8]) -> Vec<f32> {
        match self.number {
            Number::F16 => {
                let (pairs, _) = bytes.as_chunks();
                let number = |bytes| f16::from_bits(u16::from_le_bytes(bytes)).to_f32();
                pairs.iter().map(|bytes| number(self.little(*bytes))).collect()
            }
            Number::F32 => {
                let (quads, _) = bytes.as_chunks();
                quads.iter().map(|bytes| f32::from_le_bytes(self.little(*bytes))).collect()
            }
            Number::F64 => {
                let (eights, _) = bytes.as_chunks();
                eights.iter().map(|bytes| binary32(self.little(*bytes))).collect()
            }
        }
    }

    /// The bytes of a number in little-endian order.
    fn little<const N: usize>(&self, mut bytes: [u8; N]) -> [u8; N] {
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }
}

#[expect(clippy::as_conversions, reason = "only a cast rounds to the closest binary32")]
fn binary32(bytes: [u8; 8]) -> f32 {
    f64::from_le_bytes(bytes) as f32
}

/// The fields of the header, which is a literal of a Python dictionary.
struct Header<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<u64>,
}

impl<'a> Header<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            rest = after.trim_start().strip_prefix(':')?.trim_start();
            match key {
                "descr" => {
                    let (value, after) = quoted(rest)?;
                    descr = Some(value);
                    rest = after;
                }
                "fortran_order" => {
                    let (value, after) = match rest.strip_prefix("False") {
                        Some(after) => (false, after),
                        None => (true, rest.strip_prefix("True")?),
                    };
                    fortran_order = Some(value);
                    rest = after;
                }
                "shape" => {
                    let (inner, after) = rest.strip_prefix('(')?.split_once(')')?;
                    let sizes = inner.split(',').map(str::trim).filter(|size| !size.is_empty());
                    shape = Some(sizes.map(|size| size.parse().ok()).collect::<Option<_>>()?);
                    rest = after;
                }
                _ => return None,
            }
            rest = rest.trim_start();
            match rest.strip_prefix(',') {
                Some(after) => rest = after.trim_start(),
                None if rest.is_empty() => {}
                None => return None,
            }
        }
        Some(Self { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// The quoted text at the start, and the rest after it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text.get(1..)?.split_once(quote)
}
