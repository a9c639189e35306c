//! What all files of a store have in common: the kinds of files, the header,
//! and how damage is reported.

use std::path::Path;

use crate::{model::error::Error, num};

/// The version of the format that this crate writes.
pub const VERSION: u32 = 4;

/// The oldest version of the format that this crate reads. A store of an older
/// version than [`VERSION`] is read as it is, and what is written into it from
/// then on is of [`VERSION`].
pub const OLDEST_VERSION: u32 = 2;

/// Damage that a parser found: its offset, counted from the first byte that the
/// parser was given, and a description.
///
/// ```
/// use std::path::Path;
///
/// use ingrain::{ErrorKind, format::{FileKind, Header}};
///
/// let header = Header::new(FileKind::Heap, [7; 16], 1, 9);
/// let mut bytes = header.encode();
/// bytes[40] ^= 1; // a bit of the salt flips
/// let damage = Header::decode(FileKind::Heap, &bytes).unwrap_err();
/// assert_eq!(damage.to_string(), "at byte 60: the header fails its checksum");
/// let error = damage.in_file(Path::new("data/0000000001.heap"));
/// assert_eq!(error.kind(), ErrorKind::Corrupt);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {what}")]
pub struct Damage {
    /// Offset in bytes.
    pub offset: u64,
    /// What was expected and what was found instead.
    pub what: String,
    /// Whether the bytes are intact, but of a format version that this crate
    /// does not read.
    pub unsupported: bool,
}

impl Damage {
    pub(crate) fn new(offset: usize, what: impl Into<String>) -> Self {
        Self { offset: num::wide(offset), what: what.into(), unsupported: false }
    }

    /// Turns the damage into the error of a read of `file`:
    /// [`Error::Unsupported`] for another format version, [`Error::Corrupt`]
    /// otherwise.
    #[must_use]
    pub fn in_file(self, file: &Path) -> Error {
        if self.unsupported {
            return Error::Unsupported { what: format!("{}: {}", file.display(), self.what) };
        }
        Error::corrupt(file, self.offset, self.what)
    }
}

/// The id of a store: 16 random bytes, drawn when the store is created and kept
/// in the header of every file. It tells the files of two stores apart.
///
/// ```
/// use std::fs;
///
/// use ingrain::{Engine, format::{FileKind, Header, StoreId}};
///
/// # let dir = tempfile::tempdir()?;
/// let id = |name: &str| -> Result<StoreId, Box<dyn std::error::Error>> {
///     let store = dir.path().join(name);
///     Engine::open(&store)?;
///     let manifest = fs::read(store.join("MANIFEST"))?;
///     Ok(Header::decode(FileKind::Manifest, &manifest)?.store)
/// };
/// assert_eq!(id("memory")?, id("memory")?); // opened again, it is the same store
/// assert_ne!(id("memory")?, id("other")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type StoreId = [u8; 16];

/// The kind of a file: what it contains. The last byte of the magic number says
/// it.
///
/// ```
/// use std::fs;
///
/// use ingrain::{format::FileKind, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// engine.checkpoint()?;
/// for file in fs::read_dir(store.join("data"))? {
///     let path = file?.path();
///     let kind = FileKind::of(&fs::read(&path)?).unwrap();
///     assert!(FileKind::DATA.contains(&kind));
///     assert_eq!(path.extension().unwrap(), kind.suffix());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `MANIFEST`.
    Manifest,
    /// `wal/*.wal`.
    Wal,
    /// `data/*.nodes`: the node table, sorted by id.
    Nodes,
    /// `data/*.out`: the table out_edges, sorted by source.
    Out,
    /// `data/*.in`: the table in_edges, sorted by target.
    In,
    /// `data/*.keys`: the table of index keys.
    Keys,
    /// `data/*.heap`: node records with their content, and attributes of edges.
    Heap,
    /// `data/*.vec`: vectors of one space.
    Vectors,
    /// `data/*.vix`: an index derived from a vector file: codes or a graph.
    VectorIndex,
}

impl FileKind {
    /// The kinds of the files under `data/`.
    pub const DATA: [Self; 7] = [
        Self::Nodes,
        Self::Out,
        Self::In,
        Self::Keys,
        Self::Heap,
        Self::Vectors,
        Self::VectorIndex,
    ];

    /// The kind of the file that begins with `bytes`, by its magic number.
    /// `None` if it is not a file of this crate.
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

    /// The extension of the file's name, without the dot. The manifest has
    /// none.
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

/// Length of an encoded [`Header`] in bytes.
pub const HEADER_BYTES: usize = 64;

/// The header of a file: its first 64 bytes, which every file has.
///
/// | offset | bytes | what |
/// |---|---|---|
/// | 0 | 8 | magic: `INGRAIN` and the kind's letter |
/// | 8 | 4 | format version |
/// | 12 | 4 | zero |
/// | 16 | 16 | store id |
/// | 32 | 8 | number: the first sequence number of a log file, the generation of a manifest, the number of a data file |
/// | 40 | 8 | salt: a random number of each file; 0 in a manifest |
/// | 48 | 12 | zero |
/// | 60 | 4 | CRC-32 of bytes 0 to 59 |
///
/// All integers are little-endian; all checksums are CRC-32 (IEEE 802.3).
///
/// ```
/// use ingrain::{format::{FileKind, HEADER_BYTES, Header}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// let seq = engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let bytes = std::fs::read(store.join("wal/00000000000000000001.wal"))?;
/// let header = Header::decode(FileKind::Wal, &bytes)?;
/// assert_eq!(header.number, seq.get()); // the first commit of the file
/// assert_eq!(header.encode(), bytes[..HEADER_BYTES]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The version of the format that the file is written in:
    /// [`OLDEST_VERSION`] to [`VERSION`].
    pub version: u32,
    /// What the file contains.
    pub kind: FileKind,
    /// The store that the file belongs to.
    pub store: StoreId,
    /// First sequence number, generation or file number, depending on `kind`.
    pub number: u64,
    /// A random number that enters the checksums of the file, so that bytes of
    /// another file do not pass for its own.
    pub salt: u64,
}

impl Header {
    /// A header of the current version.
    #[must_use]
    pub fn new(kind: FileKind, store: StoreId, number: u64, salt: u64) -> Self {
        Self { version: VERSION, kind, store, number, salt }
    }

    /// Encodes the header.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend(self.kind.magic());
        out.extend(self.version.to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.store);
        out.extend(self.number.to_le_bytes());
        out.extend(self.salt.to_le_bytes());
        out.extend([0; 12]);
        out.extend(crc32fast::hash(&out).to_le_bytes());
        out.try_into().unwrap_or([0; HEADER_BYTES])
    }

    /// Decodes the header at the start of `bytes`.
    ///
    /// # Errors
    /// [`Damage`] when `bytes` is too short, the file is of another kind, the
    /// header fails its checksum, or its format version is not read (then
    /// [`Damage::unsupported`] is set).
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
                format!("this is not a {kind:?} file of ingrain: wrong magic"),
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
        if !(OLDEST_VERSION..=VERSION).contains(&version) {
            let what =
                format!("format version {version}; this crate reads {OLDEST_VERSION} to {VERSION}");
            return Err(Damage { unsupported: true, ..Damage::new(8, what) });
        }
        if zero != [0; 4] || zeros != [0; 12] {
            return Err(Damage::new(12, "reserved bytes of the header are not zero"));
        }
        Ok(Self { version, kind, store, number, salt })
    }
}

/// A reader of consecutive fixed-size fields.
pub(crate) struct Fields<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl Fields<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let field = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let Some(field) = field else {
            return Err(Damage::new(self.at, format!("expected {N} bytes, found the end")));
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

    /// Runs every parser over the files of a small store; small enough for
    /// Miri.
    #[test]
    fn golden_files_decode_and_encode_to_the_same_bytes() {
        for (name, bytes) in golden![
            "v4/MANIFEST",
            "v4/data/0000000001.heap",
            "v4/data/0000000002.nodes",
            "v4/data/0000000003.out",
            "v4/data/0000000004.in",
            "v4/data/0000000005.keys",
            "v4/data/0000000006.vec",
            "v4/data/0000000007.vix",
            "v4/wal/00000000000000000003.wal"
        ] {
            // A copy in `u64` words is aligned like the start of a mapping.
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
