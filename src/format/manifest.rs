//! `MANIFEST`: what a store consists of.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 64 | [`Header`], its number the generation |
//! | 64 | 4 | length of the body |
//! | 68 | 4 | CRC-32 of the header, the length and the body |
//! | 72 | … | body: a MessagePack map, to the end of the file |

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

use crate::{
    format::header::{Damage, Fields, FileKind, HEADER_BYTES, Header, StoreId},
    model::{
        space::{Method, Space},
        time::Seq,
    },
};

/// The body of a manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The store.
    #[serde(skip)]
    pub store: StoreId,
    /// Counts the manifests of the store, from 1.
    #[serde(skip)]
    pub generation: u64,
    /// The last commit that the base files hold. The log continues from there.
    pub checkpoint: Seq,
    /// A commit that is known to be durable: a log that ends before it has
    /// lost something.
    pub durable: Seq,
    /// Whether a salvaging recovery began to take the log apart and has not
    /// ended.
    pub salvaging: bool,
    /// The number of the next data file: larger than any that was given.
    pub next_file: u32,
    /// The names of the kinds, by number.
    #[serde(deserialize_with = "items")]
    pub kinds: Vec<String>,
    /// The names of the indexes, by number.
    #[serde(deserialize_with = "items")]
    pub indexes: Vec<String>,
    /// The vector spaces that there are and were, by number.
    #[serde(deserialize_with = "items")]
    pub spaces: Vec<NamedSpace>,
    /// What the base holds.
    pub counts: Counts,
    /// Content and attributes, by number.
    #[serde(deserialize_with = "items")]
    pub heaps: Vec<HeapFile>,
    /// The node tables, in the order of their keys.
    #[serde(deserialize_with = "items")]
    pub nodes: Vec<TableFile>,
    /// The edges by source, in the order of their keys.
    #[serde(deserialize_with = "items")]
    pub out: Vec<TableFile>,
    /// The edges by target, in the order of their keys.
    #[serde(deserialize_with = "items")]
    #[serde(rename = "into")]
    pub in_edges: Vec<TableFile>,
    /// The index keys, in order.
    #[serde(deserialize_with = "items")]
    pub keys: Vec<TableFile>,
    /// The vectors, by number.
    #[serde(deserialize_with = "items")]
    pub vectors: Vec<VectorFile>,
}

/// A vector space and its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSpace {
    /// Its name.
    pub name: String,
    /// What it is.
    pub space: Space,
    /// How it is searched.
    pub method: Method,
    /// Vectors in it.
    pub vectors: u64,
    /// Whether it was dropped. Its number is not given again.
    pub dropped: bool,
}

impl NamedSpace {
    /// A space without vectors.
    #[must_use]
    pub fn new(name: String, space: Space) -> Self {
        Self { name, space, method: Method::Auto, vectors: 0, dropped: false }
    }
}

/// How much of everything there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Nodes.
    pub nodes: u64,
    /// Edges.
    pub edges: u64,
    /// Index keys.
    pub keys: u64,
    /// Vectors, in all spaces together.
    pub vectors: u64,
}

/// A file under `data/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Its number, which no other file of the store ever had.
    pub number: u32,
    /// Its length in bytes.
    pub len: u64,
    /// Its [digest](super::segment::digest).
    #[serde(with = "serde_bytes")]
    pub digest: [u8; 16],
}

/// A heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeapFile {
    /// The file.
    pub file: DataFile,
    /// Bytes of it that tables refer to.
    pub live: u64,
}

/// A part of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFile {
    /// The file.
    pub file: DataFile,
    /// Its first key: of a node table 16 bytes, of an edge table the first 44
    /// bytes of its first row, of a key table its first entry.
    #[serde(with = "serde_bytes")]
    pub first: Vec<u8>,
}

/// A file of vectors of one space, and what is derived from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorFile {
    /// The file.
    pub file: DataFile,
    /// The number of the space.
    pub space: u32,
    /// Vectors in it that their nodes still have.
    pub live: u64,
    /// The rows that are not: bit 0 of byte 0 is that of row 0. Empty if all
    /// are live, else a bit for each row, rounded up to bytes.
    #[serde(with = "serde_bytes")]
    pub dead: Vec<u8>,
    /// Its codes, if it has any.
    pub codes: Option<DataFile>,
    /// Its graph, if it has one.
    pub graph: Option<DataFile>,
}

impl VectorFile {
    /// Its files, and what they are.
    pub fn files(&self) -> impl Iterator<Item = (FileKind, DataFile)> {
        let derived = [self.codes, self.graph].into_iter().flatten();
        let derived = derived.map(|file| (FileKind::VectorIndex, file));
        std::iter::once((FileKind::Vectors, self.file)).chain(derived)
    }
}

const PREFIX_BYTES: usize = HEADER_BYTES.saturating_add(8);

impl Manifest {
    /// The manifest that follows this one, to be changed.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { generation: self.generation.saturating_add(1), ..self.clone() }
    }

    /// Every data file, and what it is.
    pub fn files(&self) -> impl Iterator<Item = (FileKind, DataFile)> {
        let tables = [
            (FileKind::Nodes, &self.nodes),
            (FileKind::Out, &self.out),
            (FileKind::In, &self.in_edges),
            (FileKind::Keys, &self.keys),
        ];
        let tables =
            tables.into_iter().flat_map(|(kind, files)| files.iter().map(move |f| (kind, f.file)));
        let heaps = self.heaps.iter().map(|heap| (FileKind::Heap, heap.file));
        let vectors = self.vectors.iter().flat_map(VectorFile::files);
        tables.chain(heaps).chain(vectors)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Damage`] if the body cannot be written as MessagePack, which no
    /// manifest of this crate makes happen.
    pub fn encode(&self) -> Result<Vec<u8>, Damage> {
        let body = rmp_serde::to_vec_named(self)
            .map_err(|error| Damage::new(PREFIX_BYTES, error.to_string()))?;
        let len = u32::try_from(body.len())
            .map_err(|_| Damage::new(HEADER_BYTES, "the manifest is larger than 4 GiB"))?;
        let header = Header {
            kind: FileKind::Manifest,
            store: self.store,
            number: self.generation,
            salt: 0,
        };
        let mut out = Vec::with_capacity(PREFIX_BYTES.saturating_add(body.len()));
        out.extend(header.encode());
        out.extend(len.to_le_bytes());
        out.extend(body_crc(&out, &body).to_le_bytes());
        out.extend(body);
        Ok(out)
    }

    /// Reads a manifest that takes up all of `bytes`.
    ///
    /// # Errors
    /// [`Damage`] when it is short, long, fails a checksum, is of another
    /// version, or does not say what a manifest says.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let header = Header::decode(FileKind::Manifest, bytes)?;
        let mut fields = Fields { bytes, at: HEADER_BYTES };
        let len = u32::from_le_bytes(fields.take()?);
        let covered = bytes.get(..fields.at).unwrap_or_default();
        let crc = u32::from_le_bytes(fields.take()?);
        let body = bytes.get(fields.at..).unwrap_or_default();
        if usize::try_from(len) != Ok(body.len()) {
            return Err(Damage::new(
                HEADER_BYTES,
                format!("a body of {len} bytes declared, {} found", body.len()),
            ));
        }
        if crc != body_crc(covered, body) {
            return Err(Damage::new(HEADER_BYTES, "the manifest fails its checksum"));
        }
        let manifest: Self = rmp_serde::from_slice(body)
            .map_err(|error| Damage::new(PREFIX_BYTES, error.to_string()))?;
        let mut numbers: Vec<u32> = manifest.files().map(|(_, file)| file.number).collect();
        numbers.sort_unstable();
        if numbers.last().is_some_and(|last| *last >= manifest.next_file)
            || !numbers.is_sorted_by(|a, b| a < b)
        {
            return Err(Damage::new(PREFIX_BYTES, "a number stands for two files, or for none"));
        }
        let manifest = Self { store: header.store, generation: header.number, ..manifest };
        // MessagePack has several forms for most of it.
        if manifest.encode()? != bytes {
            return Err(Damage::new(PREFIX_BYTES, "the body is not as a manifest is written"));
        }
        Ok(manifest)
    }
}

/// Reads a list that grows with what is there, not with what it declares.
fn items<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct Items<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = from.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }

    from.deserialize_seq(Items(PhantomData))
}

fn body_crc(covered: &[u8], body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(covered);
    crc.update(body);
    crc.finalize()
}
