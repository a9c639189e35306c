//! `MANIFEST`: the files of the base, and the last commit that they hold.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 64 | [`Header`]; its number is the generation |
//! | 64 | 4 | length of the body |
//! | 68 | 4 | CRC-32 of the header, the length and the body |
//! | 72 | … | body: a MessagePack map, to the end of the file |

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor},
};

use crate::{
    format::{
        header::{Damage, Fields, FileKind, HEADER_BYTES, Header, StoreId},
        index,
    },
    model::{
        id::NodeId,
        index::Index,
        space::{Method, Space},
        time::Seq,
    },
    num,
};

/// The manifest of a store: the files of the base, and the last commit that
/// they hold. Its fields are the body of `MANIFEST`, except for two that are in
/// the header.
///
/// ```
/// use ingrain::{format::manifest::Manifest, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let seq = engine.checkpoint()?;
/// let bytes = std::fs::read(store.join("MANIFEST"))?;
/// let manifest = Manifest::decode(&bytes)?;
/// assert_eq!((manifest.checkpoint, manifest.kinds[0].as_str()), (seq, "note"));
/// assert!(manifest.files().all(|(_, file)| file.number < manifest.next_file));
/// assert_eq!(manifest.encode()?, bytes); // there is one encoding
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The id of the store; kept in the header.
    #[serde(skip)]
    pub store: StoreId,
    /// The generation: counts the manifests of the store, from 1. Kept in the
    /// header.
    #[serde(skip)]
    pub generation: u64,
    /// The last commit that the base files hold. The log continues from there.
    pub checkpoint: Seq,
    /// A commit that is known to be durable. A log that ends before it has lost
    /// commits.
    pub durable: Seq,
    /// Whether a salvaging recovery, or a repair into this store, has begun and
    /// not ended. Only a salvaging recovery may open the store then.
    pub salvaging: bool,
    /// The number of the next data file: larger than any number that the store
    /// ever used.
    pub next_file: u32,
    /// The names of the kinds, ascending by number.
    #[serde(deserialize_with = "items")]
    pub kinds: Vec<String>,
    /// The numbers of the kinds, ascending; empty if they are 0, 1, 2 and so on.
    #[serde(default, deserialize_with = "items", skip_serializing_if = "Vec::is_empty")]
    pub kind_numbers: Vec<u32>,
    /// The number of the next kind, unless it is the one after the last. No number
    /// is used twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_kind: Option<u32>,
    /// For each kind how many nodes and edges of the base are of it; empty if that
    /// is unknown, as in version 2.
    #[serde(default, deserialize_with = "items", skip_serializing_if = "Vec::is_empty")]
    pub kind_rows: Vec<u64>,
    /// The names of the indexes, ascending by number.
    #[serde(deserialize_with = "items")]
    pub indexes: Vec<String>,
    /// The numbers of the indexes, ascending; empty if they are 0, 1, 2 and so on.
    #[serde(default, deserialize_with = "items", skip_serializing_if = "Vec::is_empty")]
    pub index_numbers: Vec<u32>,
    /// The number of the next index, unless it is the one after the last. No number
    /// is used twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_index: Option<u32>,
    /// Those indexes whose keys the engine derives, ascending by number.
    #[serde(default, deserialize_with = "items", skip_serializing_if = "Vec::is_empty")]
    pub declared: Vec<DeclaredIndex>,
    /// The vector spaces, ascending by number. Those of version 2 may be marked as
    /// dropped.
    #[serde(deserialize_with = "items")]
    pub spaces: Vec<NamedSpace>,
    /// The numbers of the spaces, ascending; empty if they are 0, 1, 2 and so on.
    #[serde(default, deserialize_with = "items", skip_serializing_if = "Vec::is_empty")]
    pub space_numbers: Vec<u32>,
    /// The number of the next space, unless it is the one after the last. No number
    /// is used twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_space: Option<u32>,
    /// How many nodes, edges, keys and vectors the base holds.
    pub counts: Counts,
    /// The heaps, by number.
    #[serde(deserialize_with = "items")]
    pub heaps: Vec<HeapFile>,
    /// The partitions of the node table, in key order.
    #[serde(deserialize_with = "items")]
    pub nodes: Vec<TableFile>,
    /// The partitions of out_edges, in key order.
    #[serde(deserialize_with = "items")]
    pub out: Vec<TableFile>,
    /// The partitions of in_edges, in key order.
    #[serde(deserialize_with = "items")]
    #[serde(rename = "into")]
    pub in_edges: Vec<TableFile>,
    /// The partitions of the table of index keys, in key order.
    #[serde(deserialize_with = "items")]
    pub keys: Vec<TableFile>,
    /// The vector files, by number.
    #[serde(deserialize_with = "items")]
    pub vectors: Vec<VectorFile>,
}

/// An index whose keys the engine derives: its definition and how far it is built.
///
/// ```
/// use ingrain::{format::manifest::Manifest, index::{Index, attr}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.create_index("timeline")?; // keys are given by hand
/// engine.create_index_on("by_topic", Index::on([attr("topic")]))?;
/// engine.checkpoint()?;
/// let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// assert_eq!(manifest.indexes, ["timeline", "by_topic"]);
/// assert_eq!(manifest.declared[0].number, 1);
/// assert_eq!(manifest.declared[0].index("by_topic")?, Index::on([attr("topic")]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredIndex {
    /// The number of the index.
    pub number: u32,
    /// Its definition, encoded as in the log.
    #[serde(with = "serde_bytes")]
    pub definition: Vec<u8>,
    /// The next node to derive keys of: the number of its kind and its id. Absent
    /// if keys of all nodes were derived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub building: Option<Building>,
    /// Why the keys of a node could not be derived. The index is not used then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// How far an index is built: the keys of nodes before this one are derived, in the
/// order of kinds and ids.
///
/// ```
/// use ingrain::format::manifest::Building;
///
/// let begun = Building::new(0, ingrain::NodeId::MIN);
/// assert_eq!((begun.kind, begun.node()), (0, ingrain::NodeId::MIN));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Building {
    /// The number of the kind of the next node.
    pub kind: u32,
    /// The id of the next node, or one before it.
    #[serde(with = "serde_bytes")]
    node: [u8; 16],
}

impl Building {
    /// The node that is next, by its kind and id.
    #[must_use]
    pub fn new(kind: u32, node: NodeId) -> Self {
        Self { kind, node: *node.as_bytes() }
    }

    /// The id of the next node, or one before it.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId::from_bytes(self.node)
    }
}

impl DeclaredIndex {
    /// An index that is built from `building` on.
    #[must_use]
    pub fn new(number: u32, index: &Index, building: Option<Building>) -> Self {
        Self { number, definition: index::encode(index), building, failed: None }
    }

    /// The definition of the index, which has this name.
    ///
    /// # Errors
    /// [`Damage`] if it is not a valid definition.
    pub fn index(&self, name: &str) -> Result<Index, Damage> {
        index::decode(name, &self.definition)
    }
}

/// A vector space, its name and its state.
///
/// ```
/// use ingrain::{format::manifest::{Manifest, NamedSpace}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.create_space("old", Space::new(2, Metric::L2))?;
/// engine.create_space("text", Space::new(3, Metric::Cosine))?;
/// engine.drop_space("old")?;
/// engine.checkpoint()?;
/// let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// let text = NamedSpace::new("text".to_owned(), Space::new(3, Metric::Cosine));
/// assert_eq!(manifest.spaces, [text]);
/// assert_eq!(manifest.space_numbers, [1]); // 0 is not used again
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedSpace {
    /// Its name; empty if the space was dropped.
    pub name: String,
    /// Its dimension, metric and element type.
    pub space: Space,
    /// How it is searched.
    pub method: Method,
    /// How many vectors it has.
    pub vectors: u64,
    /// Whether it was dropped, in a manifest of version 2. Later ones do not name
    /// dropped spaces.
    pub dropped: bool,
}

impl NamedSpace {
    /// A space without vectors.
    #[must_use]
    pub fn new(name: String, space: Space) -> Self {
        Self { name, space, method: Method::Auto, vectors: 0, dropped: false }
    }
}

/// How many nodes, edges, keys and vectors a base holds.
///
/// ```
/// use ingrain::{format::manifest::{Counts, Manifest}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// let (dog, bark) = (NodeId::from_content(b"dog"), NodeId::new());
/// let mut batch = Batch::new();
/// batch.put(Node::new(dog, "concept")).put(Node::new(bark, "event"));
/// engine.write(batch.link(Edge::new(bark, "about", dog)))?;
/// engine.checkpoint()?;
/// let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// assert_eq!(manifest.counts, Counts { nodes: 2, edges: 1, keys: 0, vectors: 0 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Number of nodes.
    pub nodes: u64,
    /// Number of edges.
    pub edges: u64,
    /// Number of index keys.
    pub keys: u64,
    /// Number of vectors in all spaces.
    pub vectors: u64,
}

/// A file under `data/` as the manifest names it: by its number, with its
/// length and digest.
///
/// ```
/// use ingrain::{format::{FileKind, manifest::Manifest, segment::File}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// engine.checkpoint()?;
/// let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// let data = manifest.nodes[0].file;
/// let bytes = std::fs::read(store.join(format!("data/{:010}.nodes", data.number)))?;
/// assert_eq!(bytes.len() as u64, data.len);
/// // The file is the one that the manifest means, not another of the same name.
/// assert_eq!(File::decode(FileKind::Nodes, &bytes)?.digest(), data.digest);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// The number of the file, which no other file of the store ever had.
    pub number: u32,
    /// Its length in bytes.
    pub len: u64,
    /// Its [digest](super::segment::digest).
    #[serde(with = "serde_bytes")]
    pub digest: [u8; 16],
}

/// A heap, and how much of it is in use.
///
/// ```
/// use ingrain::{Op, format::manifest::Manifest, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// let ids = [1, 2, 3].map(|n| NodeId::from_bytes([n; 16]));
/// let nodes = ids.map(|id| Node::new(id, "page").content(vec![b' '; 100_000]));
/// engine.write(nodes.into_iter().map(Op::put).collect::<Batch>())?;
/// engine.checkpoint()?;
/// let before = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?.heaps[0];
/// engine.write(Batch::new().delete(ids[1]))?;
/// engine.checkpoint()?;
/// let after = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?.heaps[0];
/// assert_eq!(after.file, before.file); // a data file never changes
/// assert_eq!(after.live * 3, before.live * 2); // one of three records is garbage
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeapFile {
    /// The file.
    pub file: DataFile,
    /// Bytes of the heap that tables refer to.
    pub live: u64,
}

/// A partition of a table: its file, and where its keys begin.
///
/// ```
/// use ingrain::format::{FileKind, manifest::Manifest, segment::File, tables::{NodeRow, ROWS}};
/// use ingrain::{Op, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// let engine = Options::new().partition_bytes(4096).open(&store)?; // about a hundred rows
/// let nodes = (0..255_u8).map(|n| Node::new(NodeId::from_bytes([n; 16]), "note"));
/// engine.write(nodes.map(Op::put).collect::<Batch>())?;
/// engine.checkpoint()?;
/// let parts = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?.nodes;
/// assert!(parts.len() > 1);
/// // A node is in the last partition that begins at or before its id.
/// let after = parts.partition_point(|part| part.first <= vec![9; 16]);
/// let number = parts[after - 1].file.number;
/// let bytes = std::fs::read(store.join(format!("data/{number:010}.nodes")))?;
/// let file = File::decode(FileKind::Nodes, &bytes)?;
/// assert!(file.rows(ROWS)?.iter().any(|row: &NodeRow| row.id == [9; 16]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFile {
    /// The file.
    pub file: DataFile,
    /// The first key of the partition. For nodes the id (16 bytes); for edges
    /// the first 44 bytes of the first row; for keys the first entry.
    #[serde(with = "serde_bytes")]
    pub first: Vec<u8>,
}

/// A vector file of one space, and the indexes derived from it.
///
/// ```
/// use ingrain::{Op, format::{manifest::Manifest, vectors::dead_rows}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.create_space("text", Space::new(2, Metric::L2))?;
/// let ids = [1, 2, 3].map(|n| NodeId::from_bytes([n; 16]));
/// let nodes = ids.map(|id| Node::new(id, "note").vector("text", [3.0, 4.0]));
/// engine.write(nodes.into_iter().map(Op::put).collect::<Batch>())?;
/// engine.checkpoint()?;
/// engine.write(Batch::new().delete(ids[1]))?;
/// engine.checkpoint()?;
/// let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// let file = &manifest.vectors[0];
/// assert_eq!(dead_rows(&file.dead).collect::<Vec<_>>(), [1]); // still in the file
/// assert_eq!((file.live, file.codes), (2, None)); // too few for codes
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorFile {
    /// The file.
    pub file: DataFile,
    /// The number of the space.
    pub space: u32,
    /// Number of live rows: those that still are the vector of their node.
    pub live: u64,
    /// The dead rows, a bit for each row; row 0 is bit 0 of byte 0. Empty if
    /// all rows are live. See [`dead_bits`](super::vectors::dead_bits).
    #[serde(with = "serde_bytes")]
    pub dead: Vec<u8>,
    /// The file of its codes, if it has codes.
    pub codes: Option<DataFile>,
    /// The file of its graph, if it has a graph.
    pub graph: Option<DataFile>,
}

impl VectorFile {
    /// The vector file and its index files, each with its kind.
    pub fn files(&self) -> impl Iterator<Item = (FileKind, DataFile)> {
        let derived = [self.codes, self.graph].into_iter().flatten();
        let derived = derived.map(|file| (FileKind::VectorIndex, file));
        std::iter::once((FileKind::Vectors, self.file)).chain(derived)
    }
}

const PREFIX_BYTES: usize = HEADER_BYTES.saturating_add(8);

impl Manifest {
    /// A copy with the next generation, for the caller to change.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { generation: self.generation.saturating_add(1), ..self.clone() }
    }

    /// All data files of the store, each with its kind.
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

    /// The kinds with their numbers, ascending.
    pub fn numbered_kinds(&self) -> impl Iterator<Item = (u32, &str)> {
        numbers(&self.kind_numbers).zip(self.kinds.iter().map(String::as_str))
    }

    /// The name of the kind with this number.
    #[must_use]
    pub fn kind(&self, number: u32) -> Option<&str> {
        self.kinds.get(place(&self.kind_numbers, number)?).map(String::as_str)
    }

    /// The number of the next kind.
    #[must_use]
    pub fn next_kind(&self) -> u32 {
        self.next_kind.unwrap_or_else(|| following(&self.kind_numbers, self.kinds.len()))
    }

    /// How many nodes and edges of the base are of each kind, by its number. `None`
    /// if that is unknown.
    #[must_use]
    pub fn rows_by_kind(&self) -> Option<BTreeMap<u32, u64>> {
        let rows = self.kind_rows.iter().copied();
        let rows = || numbers(&self.kind_numbers).zip(rows).collect();
        (self.kind_rows.len() == self.kinds.len()).then(rows)
    }

    /// Replaces the kinds. `next` is the number of the next one, and `rows` whether
    /// the numbers of nodes and edges are known.
    pub fn set_kinds(&mut self, kinds: Vec<(u32, String, u64)>, next: u32, rows: bool) {
        self.kind_numbers = kinds.iter().map(|(number, ..)| *number).collect();
        self.kind_rows = kinds.iter().map(|(_, _, rows)| *rows).filter(|_| rows).collect();
        self.kinds = kinds.into_iter().map(|(_, name, _)| name).collect();
        shorten(&mut self.kind_numbers);
        let implied = following(&self.kind_numbers, self.kinds.len());
        self.next_kind = Some(next).filter(|next| *next != implied);
    }

    /// The indexes with their numbers, ascending.
    pub fn numbered_indexes(&self) -> impl Iterator<Item = (u32, &str)> {
        numbers(&self.index_numbers).zip(self.indexes.iter().map(String::as_str))
    }

    /// The name of the index with this number.
    #[must_use]
    pub fn index(&self, number: u32) -> Option<&str> {
        self.indexes.get(place(&self.index_numbers, number)?).map(String::as_str)
    }

    /// The number of the next index.
    #[must_use]
    pub fn next_index(&self) -> u32 {
        self.next_index.unwrap_or_else(|| following(&self.index_numbers, self.indexes.len()))
    }

    /// Replaces the indexes. `next` is the number of the next one.
    pub fn set_indexes(
        &mut self,
        indexes: Vec<(u32, String)>,
        declared: Vec<DeclaredIndex>,
        next: u32,
    ) {
        (self.index_numbers, self.indexes) = indexes.into_iter().unzip();
        self.declared = declared;
        shorten(&mut self.index_numbers);
        let implied = following(&self.index_numbers, self.indexes.len());
        self.next_index = Some(next).filter(|next| *next != implied);
    }

    /// The vector spaces that were not dropped, with their numbers, ascending.
    pub fn numbered_spaces(&self) -> impl Iterator<Item = (u32, &NamedSpace)> {
        let all = numbers(&self.space_numbers).zip(&self.spaces);
        all.filter(|(_, space)| !space.dropped)
    }

    /// The space with this number, unless it was dropped.
    #[must_use]
    pub fn space(&self, number: u32) -> Option<&NamedSpace> {
        let space = self.spaces.get(place(&self.space_numbers, number)?)?;
        (!space.dropped).then_some(space)
    }

    /// The number of the next space.
    #[must_use]
    pub fn next_space(&self) -> u32 {
        self.next_space.unwrap_or_else(|| following(&self.space_numbers, self.spaces.len()))
    }

    /// Replaces the spaces. `next` is the number of the next one.
    pub fn set_spaces(&mut self, spaces: Vec<(u32, NamedSpace)>, next: u32) {
        (self.space_numbers, self.spaces) = spaces.into_iter().unzip();
        shorten(&mut self.space_numbers);
        let implied = following(&self.space_numbers, self.spaces.len());
        self.next_space = Some(next).filter(|next| *next != implied);
    }

    /// Whether numbers are ascending, each belongs to one name, and the next is
    /// larger than all.
    fn numbers_are_right(&self) -> bool {
        let right = |numbers: &Vec<u32>, names: usize, next: Option<u32>| {
            let mut shortened = numbers.clone();
            shorten(&mut shortened);
            let implied = following(numbers, names);
            (numbers.is_empty() || (numbers.len() == names && shortened == *numbers))
                && numbers.is_sorted_by(|a, b| a < b)
                && next.is_none_or(|next| next > implied)
        };
        right(&self.kind_numbers, self.kinds.len(), self.next_kind)
            && right(&self.space_numbers, self.spaces.len(), self.next_space)
            && right(&self.index_numbers, self.indexes.len(), self.next_index)
            && self.declared.is_sorted_by(|a, b| a.number < b.number)
            && self.declared.iter().all(|declared| self.index(declared.number).is_some())
            && (self.kind_rows.is_empty() || self.kind_rows.len() == self.kinds.len())
    }

    /// Encodes the manifest.
    ///
    /// # Errors
    /// [`Damage`] if the body cannot be encoded as MessagePack, which no
    /// manifest of this crate causes.
    pub fn encode(&self) -> Result<Vec<u8>, Damage> {
        let body = self.body()?;
        let len = u32::try_from(body.len())
            .map_err(|_| Damage::new(HEADER_BYTES, "the manifest is larger than 4 GiB"))?;
        let header = Header::new(FileKind::Manifest, self.store, self.generation, 0);
        let mut out = Vec::with_capacity(PREFIX_BYTES.saturating_add(body.len()));
        out.extend(header.encode());
        out.extend(len.to_le_bytes());
        out.extend(body_crc(&out, &body).to_le_bytes());
        out.extend(body);
        Ok(out)
    }

    fn body(&self) -> Result<Vec<u8>, Damage> {
        rmp_serde::to_vec_named(self).map_err(|error| Damage::new(PREFIX_BYTES, error.to_string()))
    }

    /// Decodes a manifest, which takes up all of `bytes`. Its version is not
    /// kept: [`encode`](Self::encode) writes the current one.
    ///
    /// # Errors
    /// [`Damage`] when it is too short or too long, fails a checksum, is of
    /// a version that is not read, or is not in the canonical encoding.
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
            return Err(Damage::new(
                PREFIX_BYTES,
                "two files have the same number, or one that is not below next_file",
            ));
        }
        if !manifest.numbers_are_right() {
            return Err(Damage::new(
                PREFIX_BYTES,
                "the numbers of kinds, spaces or indexes are out of order, or not as many as \
                 the names",
            ));
        }
        for declared in &manifest.declared {
            let name = manifest.index(declared.number).unwrap_or_default();
            let decoded = declared.index(name);
            decoded.map_err(|damage| {
                Damage::new(PREFIX_BYTES, format!("index {name:?}: {}", damage.what))
            })?;
        }
        let manifest = Self { store: header.store, generation: header.number, ..manifest };
        // Most values have several encodings in MessagePack; only the canonical
        // one is accepted.
        if manifest.body()? != body || header.salt != 0 {
            return Err(Damage::new(
                PREFIX_BYTES,
                "the body is not in the canonical encoding of a manifest",
            ));
        }
        Ok(manifest)
    }
}

/// The numbers of names, as a manifest has them.
fn numbers(numbers: &[u32]) -> impl Iterator<Item = u32> {
    let all = if numbers.is_empty() { 0..u32::MAX } else { 0..0 };
    numbers.iter().copied().chain(all)
}

/// The position of the name with this number. It may be past the last name.
#[inline]
fn place(numbers: &[u32], number: u32) -> Option<usize> {
    if numbers.is_empty() {
        return Some(num::index(number));
    }
    numbers.binary_search(&number).ok()
}

/// The number after those of so many names.
fn following(numbers: &[u32], names: usize) -> u32 {
    let last = numbers.last().map(|last| last.saturating_add(1));
    last.unwrap_or_else(|| u32::try_from(names).unwrap_or(u32::MAX))
}

/// Leaves out numbers that are 0, 1, 2 and so on.
fn shorten(numbers: &mut Vec<u32>) {
    if numbers.iter().copied().eq((0_u32..).take(numbers.len())) {
        numbers.clear();
    }
}

/// Reads a list. The memory that it takes grows with the items that exist, not
/// with the declared number.
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
