//! What all files of a store have in common: kinds, header, damage.

use std::path::Path;

use crate::model::error::Error;

/// The version of the format that this crate writes. It reads no other.
pub const VERSION: u32 = 2;

/// Damage found by a parser: where, counted from the first byte it was given,
/// and what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct Damage {
    /// Offset in bytes.
    pub offset: u64,
    /// What was expected and what was found.
    pub what: String,
    /// Whether the bytes are whole but of a version that this crate does not
    /// read.
    pub unsupported: bool,
}

impl Damage {
    pub(crate) fn new(offset: usize, what: impl Into<String>) -> Self {
        Self {
            offset: u64::try_from(offset).unwrap_or(u64::MAX),
            what: what.into(),
            unsupported: false,
        }
    }

    /// The error of a reader that met the damage in this file.
    #[must_use]
    pub fn in_file(self, file: &Path) -> Error {
        if self.unsupported {
            return Error::Unsupported { what: format!("{}: {}", file.display(), self.what) };
        }
        Error::corrupt(file, self.offset, self.what)
    }
}

/// The name of a store: 16 random bytes, drawn when it is created, in the
/// header of every file. It keeps the files of two stores apart.
pub type StoreId = [u8; 16];

/// What a file is, by the last byte of its magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `MANIFEST`.
    Manifest,
    /// `wal/*.wal`.
    Wal,
    /// `data/*.nodes`: nodes by id.
    Nodes,
    /// `data/*.out`: edges by source.
    Out,
    /// `data/*.in`: edges by target.
    In,
    /// `data/*.keys`: index keys.
    Keys,
    /// `data/*.heap`: contents and attributes.
    Heap,
    /// `data/*.vec`: vectors.
    Vectors,
    /// `data/*.vix`: what is derived from a vector file for searching it.
    VectorIndex,
}

impl FileKind {
    /// Those of the files under `data/`.
    pub const DATA: [Self; 7] = [
        Self::Nodes,
        Self::Out,
        Self::In,
        Self::Keys,
        Self::Heap,
        Self::Vectors,
        Self::VectorIndex,
    ];

    /// What a file says that it is; `None` if it is no file of this crate.
    ///
    /// ```
    /// use ingrain::format::FileKind;
    ///
    /// assert_eq!(FileKind::of(b"INGRAINW\x02\0\0\0"), Some(FileKind::Wal));
    /// assert_eq!(FileKind::of(b"INGRAIN"), None);
    /// ```
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let magic = bytes.first_chunk::<8>()?;
        let kinds = [Self::Manifest, Self::Wal].into_iter().chain(Self::DATA);
        kinds.into_iter().find(|kind| kind.magic() == *magic)
    }

    /// What the name of a file ends in, after the dot; a manifest's name has
    /// no such end.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Manifest => "",
            Self::Wal => "wal",
            Self::Nodes => "nodes",
            Self::Out => "out",
            Self::In => "in",
            Self::Keys => "keys",
            Self::Heap => "heap",
            Self::Vectors => "vec",
            Self::VectorIndex => "vix",
        }
    }

    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Manifest => *b"INGRAINM",
            Self::Wal => *b"INGRAINW",
            Self::Nodes => *b"INGRAINN",
            Self::Out => *b"INGRAINO",
            Self::In => *b"INGRAINI",
            Self::Keys => *b"INGRAINK",
            Self::Heap => *b"INGRAINH",
            Self::Vectors => *b"INGRAINV",
            Self::VectorIndex => *b"INGRAINX",
        }
    }
}

/// Length of [`Header`] in a file, in bytes.
pub const HEADER_BYTES: usize = 64;

/// The first 64 bytes of every file.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 8 | magic: `INGRAIN` and the kind's letter |
/// | 8 | 4 | format version |
/// | 12 | 4 | zero |
/// | 16 | 16 | store id |
/// | 32 | 8 | number: a WAL's first sequence number, a manifest's generation, a data file's number |
/// | 40 | 8 | salt: drawn anew for each file |
/// | 48 | 12 | zero |
/// | 60 | 4 | CRC-32 of bytes 0 to 59 |
///
/// All integers are little-endian; all checksums are CRC-32 (IEEE 802.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the file is.
    pub kind: FileKind,
    /// The store that it belongs to.
    pub store: StoreId,
    /// Its number.
    pub number: u64,
    /// Its salt.
    pub salt: u64,
}

impl Header {
    /// The bytes of the header.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend(self.kind.magic());
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.store);
        out.extend(self.number.to_le_bytes());
        out.extend(self.salt.to_le_bytes());
        out.extend([0; 12]);
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.try_into().unwrap_or([0; HEADER_BYTES])
    }

    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// [`Damage`] when it is short, of another kind, fails its checksum, or is
    /// of another version (then [`Damage::unsupported`] is set).
    pub fn decode(kind: FileKind, bytes: &[u8]) -> Result<Self, Damage> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Damage::new(
                bytes.len(),
                format!("the file ends within its header of {HEADER_BYTES} bytes"),
            ));
        };
        let mut fields = Fields { bytes: header, at: 0 };
        if fields.take::<8>()? != kind.magic() {
            return Err(Damage::new(
                0,
                format!("this is no {kind:?} file of ingrain: wrong magic"),
            ));
        }
        let version = u32::from_le_bytes(fields.take()?);
        let zero: [u8; 4] = fields.take()?;
        let store = fields.take()?;
        let number = u64::from_le_bytes(fields.take()?);
        let salt = u64::from_le_bytes(fields.take()?);
        let zeros: [u8; 12] = fields.take()?;
        let covered = header.get(..fields.at).unwrap_or_default();
        let crc_at = fields.at;
        if u32::from_le_bytes(fields.take()?) != crc32fast::hash(covered) {
            return Err(Damage::new(crc_at, "the header fails its checksum"));
        }
        if version != VERSION {
            return Err(Damage {
                unsupported: true,
                ..Damage::new(8, format!("format version {version}; this crate reads {VERSION}"))
            });
        }
        if zero != [0; 4] || zeros != [0; 12] {
            return Err(Damage::new(12, "reserved bytes of the header are not zero"));
        }
        Ok(Self { kind, store, number, salt })
    }
}

/// Fixed-size fields, one after the other.
pub(crate) struct Fields<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Fields<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let field = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let Some(field) = field else {
            return Err(Damage::new(self.at, format!("{N} bytes expected, the end found")));
        };
        self.at = self.at.saturating_add(N);
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{
        contents::Contents,
        manifest::Manifest,
        segment::File,
        wal::{self, decode_batch, encode_batch},
    };

    macro_rules! golden {
        ($($name:literal),*) => {
            [$(($name, &include_bytes!(concat!("../../tests/golden/", $name))[..])),*]
        };
    }

    /// Small enough for Miri: every parser over a file of a store.
    #[test]
    fn golden_files_are_what_they_decode_to() {
        for (name, bytes) in golden![
            "v2/MANIFEST",
            "v2/data/0000000001.heap",
            "v2/data/0000000002.nodes",
            "v2/data/0000000003.out",
            "v2/data/0000000004.in",
            "v2/data/0000000005.keys",
            "v2/data/0000000006.vec",
            "v2/data/0000000007.vix",
            "v2/wal/00000000000000000003.wal"
        ] {
            // As a map begins.
            let mut words = vec![0_u64; bytes.len().div_ceil(8)];
            let copy: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
            copy.get_mut(..bytes.len()).unwrap().copy_from_slice(bytes);
            let bytes = copy.get(..bytes.len()).unwrap();
            match FileKind::of(bytes).unwrap() {
                FileKind::Manifest => {
                    assert_eq!(Manifest::decode(bytes).unwrap().encode().unwrap(), bytes);
                }
                FileKind::Wal => {
                    let file = wal::File::decode(bytes).unwrap();
                    let mut frames = 0;
                    for (_, frame) in file.frames() {
                        let batch = decode_batch(frame.payload).unwrap();
                        assert_eq!(encode_batch(batch.time, &batch.ops).unwrap(), frame.payload);
                        frames += 1;
                    }
                    assert!(frames > 0, "{name}");
                }
                kind => {
                    let file = File::decode(kind, bytes).unwrap();
                    assert_eq!(file.damage().next(), None, "{name}");
                    let contents = Contents::decode(&file).unwrap();
                    contents.check().unwrap();
                    assert!(contents.encode(file.layout().header).unwrap() == bytes, "{name}");
                }
            }
        }
    }
}
