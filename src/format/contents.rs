//! A data file as a whole: its sections as typed rows, decoded from bytes in
//! memory or in a mapping without an engine; and encoding such a file.
//!
//! The engine does not use this; it maps files and reads single rows. This
//! module is for programs that read one file on its own: to inspect it, to
//! recover what is intact, or to test.
//!
//! ```
//! use ingrain::format::{FileKind, Header, contents::{Contents, Keys}, segment::File, tables::{IndexEntryRef, Le32}};
//! use ingrain::NodeId;
//!
//! let mut entries = Vec::new();
//! IndexEntryRef { index: 0, key: b"2026", node: NodeId::MIN }.encode(&mut entries);
//! let contents = Contents::Keys(Keys { entries: &entries, offsets: &[Le32::new(0)] });
//! let header = Header::new(FileKind::Keys, [7; 16], 1, 9);
//! let bytes = contents.encode(header)?;
//!
//! let file = File::decode(FileKind::Keys, &bytes)?;
//! assert_eq!(file.damage().next(), None); // every block matches its checksum
//! let Contents::Keys(keys) = Contents::decode(&file)? else { unreachable!() };
//! assert_eq!(keys.get(0)?.key, b"2026");
//! # Ok::<(), ingrain::format::Damage>(())
//! ```

use bytemuck::Pod;

use crate::{
    format::{
        header::{Damage, FileKind, Header},
        segment::{self, File},
        tables::{
            COMPONENTS, EdgeRow, IndexEntryRef, KEY_HEAD_BYTES, KINDS, KindRow, Le32, LeF32,
            MEMBERS, NodeRow, OFFSETS, REFS, ROW_KINDS, ROWS, RefRow, SLOT_BYTES, SortedRow,
            VectorHead,
        },
        vectors::{CODEBOOK, CODES, GRAPH, HEAD, IndexHead},
    },
    model::limits,
    num,
};

/// The contents of a data file, borrowed from its bytes.
///
/// ```
/// use std::fs;
///
/// use ingrain::{format::{contents::Contents, manifest::Manifest, segment::File}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note").content("dogs bark")))?;
/// engine.checkpoint()?;
/// let manifest = Manifest::decode(&fs::read(store.join("MANIFEST"))?)?;
/// for (kind, file) in manifest.files() {
///     let name = format!("data/{:010}.{}", file.number, kind.suffix());
///     let bytes = fs::read(store.join(name))?;
///     match Contents::decode(&File::decode(kind, &bytes)?)? {
///         Contents::Nodes(nodes) => assert_eq!(nodes.rows.len(), 1),
///         Contents::Heap(records) => assert!(records.windows(9).any(|part| part == b"dogs bark")),
///         other => unreachable!("the store has no other files: {other:?}"),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Contents<'a> {
    /// Of a file `*.nodes`.
    Nodes(Nodes<'a>),
    /// Of a file `*.out` or `*.in`.
    Edges(Edges<'a>),
    /// Of a file `*.keys`.
    Keys(Keys<'a>),
    /// Of a file `*.heap`: the records, which the rows of [tables](Nodes) refer
    /// to. [`NodeMeta`](super::heap::NodeMeta) decodes one.
    Heap(&'a [u8]),
    /// Of a file `*.vec`.
    Vectors(Vectors<'a>),
    /// Of a file `*.vix`.
    Index(Index<'a>),
}

/// The contents of a file `*.nodes`: a partition of the node table.
///
/// ```
/// use ingrain::{format::{FileKind, contents::Contents, segment::File}, prelude::*};
/// # use ingrain::format::manifest::Manifest;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// let (dog, bark) = (NodeId::from_content(b"dog"), NodeId::new());
/// engine.write(Batch::new().put(Node::new(dog, "concept")).put(Node::new(bark, "event")))?;
/// engine.checkpoint()?;
/// # let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// # let path = store.join(format!("data/{:010}.nodes", manifest.nodes[0].file.number));
/// let bytes = std::fs::read(path)?; // the path of a file *.nodes
/// let file = File::decode(FileKind::Nodes, &bytes)?;
/// let Contents::Nodes(nodes) = Contents::decode(&file)? else { unreachable!() };
/// let event = nodes.kinds[1]; // the store numbers kinds as they first occur
/// let member = nodes.members[event.first.get() as usize];
/// assert_eq!(nodes.rows[member.get() as usize].id(), bark);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nodes<'a> {
    /// The nodes, sorted by id.
    pub rows: &'a [NodeRow],
    /// The kinds that occur, in ascending order.
    pub kinds: &'a [KindRow],
    /// The row numbers of the nodes of each kind, one kind after the other;
    /// empty if all rows are of one kind.
    pub members: &'a [Le32],
    /// How many bytes the rows refer to in each heap.
    pub refs: &'a [RefRow],
}

/// The contents of a file `*.out` or `*.in`: a partition of an edge table,
/// out_edges or in_edges.
///
/// ```
/// use ingrain::{format::{FileKind, contents::Contents, segment::File}, prelude::*};
/// # use ingrain::format::manifest::Manifest;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// let (dog, bark) = (NodeId::from_content(b"dog"), NodeId::new());
/// let mut batch = Batch::new();
/// batch.put(Node::new(dog, "concept")).put(Node::new(bark, "event"));
/// engine.write(batch.link(Edge::new(bark, "about", dog)))?;
/// engine.checkpoint()?;
/// # let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// # let path = store.join(format!("data/{:010}.in", manifest.in_edges[0].file.number));
/// let bytes = std::fs::read(path)?; // the path of a file *.in
/// let file = File::decode(FileKind::In, &bytes)?;
/// let Contents::Edges(edges) = Contents::decode(&file)? else { unreachable!() };
/// let key = edges.rows[0].key();
/// assert_eq!((key.from, key.to), (dog, bark)); // found by its target
/// assert!(edges.refs.is_none()); // its attributes are those of the row in *.out
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edges<'a> {
    /// The edges.
    pub rows: &'a [EdgeRow],
    /// How many bytes the rows refer to in each heap. `None` in in_edges, whose
    /// attributes are in the rows of out_edges.
    pub refs: Option<&'a [RefRow]>,
}

/// The contents of a file `*.keys`: a partition of the table of index keys.
///
/// ```
/// use ingrain::{NodeId, format::{contents::Keys, tables::{IndexEntryRef, Le32}}};
///
/// let (mut entries, mut offsets) = (Vec::new(), Vec::new());
/// for (key, node) in [("bark", NodeId::MAX), ("dog", NodeId::MIN)] {
///     offsets.push(Le32::new(entries.len() as u32));
///     IndexEntryRef { index: 0, key: key.as_bytes(), node }.encode(&mut entries);
/// }
/// let keys = Keys { entries: &entries, offsets: &offsets };
/// let found = (0..offsets.len()).find(|row| keys.get(*row).is_ok_and(|e| e.key == b"dog"));
/// assert_eq!(keys.get(found.unwrap())?.node, NodeId::MIN);
/// assert_eq!(keys.get(2).unwrap_err().what, "entry 2 does not exist");
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keys<'a> {
    /// The encoded entries, one after the other.
    pub entries: &'a [u8],
    /// The offset of each entry in `entries`.
    pub offsets: &'a [Le32],
}

impl<'a> Keys<'a> {
    /// Decodes entry `row`.
    ///
    /// # Errors
    /// [`Damage`], with its offset in the section of entries, when the entry
    /// does not exist or is cut off.
    pub fn get(&self, row: usize) -> Result<IndexEntryRef<'a>, Damage> {
        let Some(offset) = self.offsets.get(row) else {
            return Err(Damage::new(self.entries.len(), format!("entry {row} does not exist")));
        };
        let at = num::index(offset.get());
        IndexEntryRef::decode(self.entries.get(at..).unwrap_or_default())
            .map_err(|damage| Damage::new(at, format!("entry {row}: {}", damage.what)))
    }
}

/// The contents of a file `*.vec`: vectors of one space.
///
/// ```
/// use ingrain::{format::{FileKind, contents::Contents, segment::File}, prelude::*};
/// # use ingrain::format::manifest::Manifest;
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// # let engine = Engine::open(&store)?;
/// let id = NodeId::new();
/// engine.create_space("text", Space::new(2, Metric::L2))?;
/// engine.write(Batch::new().put(Node::new(id, "note").vector("text", [3.0, 4.0])))?;
/// engine.checkpoint()?;
/// # let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// # let path = store.join(format!("data/{:010}.vec", manifest.vectors[0].file.number));
/// let bytes = std::fs::read(path)?; // the path of a file *.vec
/// let file = File::decode(FileKind::Vectors, &bytes)?;
/// let Contents::Vectors(vectors) = Contents::decode(&file)? else { unreachable!() };
/// let components: Vec<f32> = vectors.get(0).unwrap().iter().map(|c| c.get()).collect();
/// assert_eq!((vectors.rows[0].id(), components), (id, vec![3.0, 4.0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vectors<'a> {
    /// Components of a vector.
    pub dimension: usize,
    /// The components of all vectors, one vector after the other.
    pub components: &'a [LeF32],
    /// The node of each vector, sorted by id.
    pub rows: &'a [VectorHead],
    /// The kind of each node.
    pub kinds: &'a [Le32],
}

/// The contents of a file `*.vix`: an index that is derived from a vector file.
///
/// ```
/// use ingrain::format::{FileKind, contents::Contents, manifest::Manifest, segment::File};
/// use ingrain::{Op, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = dir.path().join("memory");
/// let space = Space::new(2, Metric::L2);
/// let engine = Options::new().index_rows(64).space("text", space).open(&store)?;
/// let vectors = (0..64_u8).map(|n| [f32::from(n), 1.0]);
/// let nodes = vectors.map(|vector| Node::new(NodeId::new(), "note").vector("text", vector));
/// engine.write(nodes.map(Op::put).collect::<Batch>())?;
/// engine.checkpoint()?;
/// let manifest = Manifest::decode(&std::fs::read(store.join("MANIFEST"))?)?;
/// # let codes = manifest.vectors[0].codes.unwrap();
/// # let path = store.join(format!("data/{:010}.vix", codes.number));
/// let bytes = std::fs::read(path)?; // the path of a file *.vix
/// let file = File::decode(FileKind::VectorIndex, &bytes)?;
/// let Contents::Index(index) = Contents::decode(&file)? else { unreachable!() };
/// // An index is used with the vector file that it is derived from, and no other.
/// assert_eq!(index.head.rows_digest, manifest.vectors[0].file.digest);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Index<'a> {
    /// The file that the index is derived from, and the parameters.
    pub head: &'a IndexHead,
    /// The codes or the graph.
    pub body: IndexBody<'a>,
}

/// What a vector index consists of besides its head: codes or a graph.
///
/// ```
/// use ingrain::{Metric, format::{contents::{Contents, Index, IndexBody}, tables::{Le32, LeF32}}};
/// # use ingrain::format::{manifest::DataFile, vectors::IndexHead};
///
/// # let file = DataFile { number: 6, len: 0, digest: [0; 16] };
/// let mut head = IndexHead::new(&file, 18, 1, Metric::L2); // 18 rows of dimension 1
/// head.bits = Le32::new(4);
/// head.subs = Le32::new(1);
/// head.sub_dimension = Le32::new(1);
/// let codebook: Vec<LeF32> = (0..16_u8).map(|n| LeF32::new(f32::from(n) / 4.0)).collect();
/// let mut codes = [0_u8; 64];
/// codes[1] = 0x63; // the codes of rows 1 and 17
/// let body = IndexBody::Codes { codebook: &codebook, codes: &codes };
/// Contents::Index(Index { head: &head, body }).check()?;
/// assert_eq!(codebook[usize::from(codes[1] & 15)].get(), 0.75); // row 1, about
/// assert_eq!(codebook[usize::from(codes[1] >> 4)].get(), 1.5); // row 17, about
/// # Ok::<(), ingrain::format::Damage>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IndexBody<'a> {
    /// Product quantisation.
    Codes {
        /// The centroids.
        codebook: &'a [LeF32],
        /// The codes in blocks of 32 rows.
        codes: &'a [u8],
    },
    /// A graph, as its library serialises it (see docs/format.md).
    Graph(&'a [u8]),
}

impl<'a> Contents<'a> {
    /// Decodes the sections that a file of its kind has. Blocks are not
    /// compared with their checksums; [`File::damage`] does that. Copies
    /// nothing.
    ///
    /// # Errors
    /// [`Damage`] when a section is missing, has rows of another size, or has a
    /// length that does not match the other sections.
    pub fn decode(file: &File<'a>) -> Result<Self, Damage> {
        Ok(match file.layout().header.kind {
            FileKind::Nodes => Self::Nodes(Nodes {
                rows: file.rows(ROWS)?,
                kinds: file.rows(KINDS)?,
                members: file.rows(MEMBERS)?,
                refs: file.rows(REFS)?,
            }),
            FileKind::Out => {
                Self::Edges(Edges { rows: file.rows(ROWS)?, refs: Some(file.rows(REFS)?) })
            }
            FileKind::In => Self::Edges(Edges { rows: file.rows(ROWS)?, refs: None }),
            FileKind::Keys => {
                Self::Keys(Keys { entries: file.bytes(ROWS)?, offsets: file.rows(OFFSETS)? })
            }
            FileKind::Heap => Self::Heap(file.bytes(ROWS)?),
            FileKind::Vectors => Self::Vectors(Vectors::decode(file)?),
            FileKind::VectorIndex => Self::Index(Index::decode(file)?),
            kind @ (FileKind::Manifest | FileKind::Wal) => {
                return Err(Damage::new(0, format!("a {kind:?} file has no sections")));
            }
        })
    }

    /// Encodes a file with these contents.
    ///
    /// # Errors
    /// [`Damage`] when these contents do not belong into a file of the header's
    /// kind.
    pub fn encode(&self, header: Header) -> Result<Vec<u8>, Damage> {
        fn section<R: Pod>(tag: u32, rows: &[R]) -> (u32, usize, &[u8]) {
            (tag, size_of::<R>(), bytemuck::must_cast_slice(rows))
        }
        let sections = match (self, header.kind) {
            (Self::Nodes(nodes), FileKind::Nodes) => vec![
                section(ROWS, nodes.rows),
                section(KINDS, nodes.kinds),
                section(MEMBERS, nodes.members),
                section(REFS, nodes.refs),
            ],
            (Self::Edges(Edges { rows, refs: Some(refs) }), FileKind::Out) => {
                vec![section(ROWS, rows), section(REFS, refs)]
            }
            (Self::Edges(Edges { rows, refs: None }), FileKind::In) => vec![section(ROWS, rows)],
            (Self::Keys(keys), FileKind::Keys) => {
                vec![section(ROWS, keys.entries), section(OFFSETS, keys.offsets)]
            }
            (Self::Heap(bytes), FileKind::Heap) => vec![section(ROWS, bytes)],
            (Self::Vectors(vectors), FileKind::Vectors) => {
                let row = vectors.dimension.saturating_mul(4);
                let components = bytemuck::must_cast_slice(vectors.components);
                vec![
                    (COMPONENTS, row, components),
                    section(ROWS, vectors.rows),
                    section(ROW_KINDS, vectors.kinds),
                ]
            }
            (Self::Index(Index { head, body }), FileKind::VectorIndex) => {
                let head = section(HEAD, std::slice::from_ref(*head));
                match body {
                    IndexBody::Codes { codebook, codes } => {
                        vec![head, section(CODEBOOK, codebook), section(CODES, codes)]
                    }
                    IndexBody::Graph(graph) => vec![head, section(GRAPH, graph)],
                }
            }
            (_, kind) => {
                return Err(Damage::new(
                    0,
                    format!("these contents do not belong into a {kind:?} file"),
                ));
            }
        };
        segment::encode(header, &sections)
    }

    /// Checks the file on its own: the order of rows, references within the
    /// file, and values that no engine writes. References to other files are
    /// checked by [`Engine::verify`](crate::Engine::verify). Reads all rows.
    ///
    /// # Errors
    /// The first [`Damage`], with its offset in the section that it is in.
    pub fn check(&self) -> Result<(), Damage> {
        match self {
            Self::Nodes(nodes) => nodes.check(),
            Self::Edges(edges) => edges.check(),
            Self::Keys(keys) => keys.check(),
            Self::Heap(_) => Ok(()),
            Self::Vectors(vectors) => vectors.check(),
            Self::Index(index) => index.check(),
        }
    }
}

/// Checks that rows are strictly ascending.
fn check_order<R: SortedRow>(rows: &[R]) -> Result<(), Damage> {
    match rows.is_sorted_by(|a, b| a.key() < b.key()) {
        true => Ok(()),
        false => {
            let pair = rows.array_windows::<2>().position(|[a, b]| a.key() >= b.key());
            let row = pair.unwrap_or(0).saturating_add(1);
            Err(Damage::new(offset::<R>(row), format!("row {row} is out of order")))
        }
    }
}

fn offset<R>(row: usize) -> usize {
    row.saturating_mul(size_of::<R>())
}

fn check_refs(refs: &[RefRow]) -> Result<(), Damage> {
    let sound = refs.iter().all(|row| row.zero.get() == 0 && row.bytes.get() % SLOT_BYTES == 0);
    if sound && refs.is_sorted_by(|a, b| a.heap.get() < b.heap.get()) {
        return Ok(());
    }
    Err(Damage::new(0, "the references to heaps are out of order"))
}

impl Nodes<'_> {
    fn check(&self) -> Result<(), Damage> {
        check_order(self.rows)?;
        check_refs(self.refs)?;
        let wrong = |what: &str| Err(Damage::new(0, format!("members of the kinds: {what}")));
        if !self.kinds.is_sorted_by(|a, b| a.kind.get() < b.kind.get()) {
            return wrong("kinds are out of order");
        }
        let place = |number: Le32| num::index(number.get());
        if self.members.is_empty() {
            let one = self.kinds.first().filter(|_| self.kinds.len() == 1);
            let all = one.is_some_and(|one| {
                one.first.get() == 0 && self.rows.iter().all(|row| row.kind == one.kind)
            });
            let none = self.rows.is_empty() && self.kinds.is_empty();
            return if all || none {
                Ok(())
            } else {
                wrong("there are none, but the rows are of several kinds")
            };
        }
        if self.members.len() != self.rows.len() {
            return wrong("there are not as many as there are rows");
        }
        let mut ends = self.kinds.iter().skip(1).map(|kind| place(kind.first));
        for kind in self.kinds {
            let end = ends.next().unwrap_or(self.members.len());
            let Some(members) = self.members.get(place(kind.first)..end) else {
                return wrong(
                    "those of a kind begin beyond the end, or before those of the previous kind",
                );
            };
            let of_kind = |row: &Le32| {
                self.rows.get(place(*row)).is_some_and(|found| found.kind == kind.kind)
            };
            if !members.iter().all(of_kind) || !members.is_sorted_by(|a, b| a.get() < b.get()) {
                return wrong("a member is of another kind, or out of order");
            }
        }
        // There are as many members as rows, each is of its kind and none
        // occurs twice. So they are all rows, provided that the first kind
        // begins at the first member.
        match self.kinds.first() {
            Some(first) if first.first.get() == 0 => Ok(()),
            _ => wrong("the first member belongs to no kind"),
        }
    }
}

impl Edges<'_> {
    fn check(&self) -> Result<(), Damage> {
        check_order(self.rows)?;
        self.refs.map_or(Ok(()), check_refs)?;
        for (row, edge) in self.rows.iter().enumerate() {
            let place = edge.attributes();
            let foreign = self.refs.is_none() && (place.heap, place.slot) != (0, 0);
            let sound = edge.weight.get().is_finite()
                && (0.0..=1.0).contains(&edge.confidence.get())
                && !foreign;
            if !sound {
                let what = format!("row {row} is not a valid edge: {edge:?}");
                return Err(Damage::new(offset::<EdgeRow>(row), what));
            }
        }
        Ok(())
    }
}

impl Keys<'_> {
    fn check(&self) -> Result<(), Damage> {
        let mut at = 0_usize;
        let mut last: Option<IndexEntryRef<'_>> = None;
        for (row, offset) in self.offsets.iter().enumerate() {
            if usize::try_from(offset.get()) != Ok(at) {
                return Err(Damage::new(at, format!("entry {row} does not begin here")));
            }
            let entry = self.get(row)?;
            if last.is_some_and(|last| last.compare(&entry).is_ge()) {
                return Err(Damage::new(at, format!("entry {row} is out of order")));
            }
            at = at.saturating_add(KEY_HEAD_BYTES).saturating_add(entry.key.len());
            last = Some(entry);
        }
        match self.entries.len() {
            len if len == at => Ok(()),
            len => Err(Damage::new(
                at,
                format!("{} bytes follow after the last entry", len.saturating_sub(at)),
            )),
        }
    }
}

impl<'a> Vectors<'a> {
    fn decode(file: &File<'a>) -> Result<Self, Damage> {
        let layout = file.layout();
        let section = layout.sections.iter().find(|section| section.tag == COMPONENTS);
        let row_bytes = section.map_or(0, |section| section.row_bytes);
        let dimension = num::index(row_bytes / 4);
        if row_bytes % 4 != 0 || !(1..=limits::DIMENSION).contains(&dimension) {
            return Err(Damage::new(80, format!("vectors of {row_bytes} bytes each")));
        }
        let components = file.section(COMPONENTS, dimension.saturating_mul(4))?;
        let vectors = Self {
            dimension,
            components: bytemuck::try_cast_slice(components)
                .map_err(|error| Damage::new(80, format!("components of vectors: {error}")))?,
            rows: file.rows(ROWS)?,
            kinds: file.rows(ROW_KINDS)?,
        };
        let rows = vectors.rows.len();
        if vectors.kinds.len() != rows || vectors.components.len() != rows.saturating_mul(dimension)
        {
            let what = format!(
                "{} components of dimension {dimension} and {} kinds for {rows} vectors",
                vectors.components.len(),
                vectors.kinds.len()
            );
            return Err(Damage::new(80, what));
        }
        Ok(vectors)
    }

    /// The components of the vector of a row. Costs O(1).
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&'a [LeF32]> {
        self.components.chunks(self.dimension.max(1)).nth(row)
    }

    fn check(&self) -> Result<(), Damage> {
        check_order(self.rows)?;
        match self.components.iter().position(|number| !number.get().is_finite()) {
            Some(at) => Err(Damage::new(
                at.saturating_mul(4),
                format!("component {at} of the vectors is not finite"),
            )),
            None => Ok(()),
        }
    }
}

impl<'a> Index<'a> {
    fn decode(file: &File<'a>) -> Result<Self, Damage> {
        let heads: &[IndexHead] = file.rows(HEAD)?;
        let [head] = heads else {
            return Err(Damage::new(80, format!("{} index heads, expected one", heads.len())));
        };
        let body = match head.bits.get() {
            0 => IndexBody::Graph(file.bytes(GRAPH)?),
            _ => IndexBody::Codes { codebook: file.rows(CODEBOOK)?, codes: file.bytes(CODES)? },
        };
        Ok(Self { head, body })
    }

    fn check(&self) -> Result<(), Damage> {
        let IndexBody::Codes { codebook, codes } = self.body else { return Ok(()) };
        let (components, bytes) = self.head.code_lens()?;
        if codebook.len() != components || codes.len() != bytes {
            return Err(Damage::new(
                80,
                format!(
                    "a codebook of {} components and {} bytes of codes; expected {components} \
                     and {bytes}",
                    codebook.len(),
                    codes.len()
                ),
            ));
        }
        match codebook.iter().position(|number| !number.get().is_finite()) {
            Some(at) => Err(Damage::new(
                at.saturating_mul(4),
                format!("component {at} of the codebook is not finite"),
            )),
            None => Ok(()),
        }
    }
}
