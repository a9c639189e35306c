//! A data file as a whole: what its sections hold, typed, read from bytes in
//! memory or a mapping without an engine; and the reverse.
//!
//! The engine maps files and reads row by row. This is for those who look at a
//! file by itself: to inspect it, to recover what is whole, to test.
//!
//! ```
//! use ingrain::format::{FileKind, Header, contents::{Contents, Keys}, segment::File, tables::{IndexEntryRef, Le32}};
//! use ingrain::NodeId;
//!
//! let mut entries = Vec::new();
//! IndexEntryRef { index: 0, key: b"2026", node: NodeId::MIN }.encode(&mut entries);
//! let contents = Contents::Keys(Keys { entries: &entries, offsets: &[Le32::new(0)] });
//! let header = Header { kind: FileKind::Keys, store: [7; 16], number: 1, salt: 9 };
//! let bytes = contents.encode(header)?;
//!
//! let file = File::decode(FileKind::Keys, &bytes)?;
//! assert_eq!(file.damage().next(), None); // every block is what its checksum says
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
};

/// What a data file holds, borrowed from its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Contents<'a> {
    /// Of `*.nodes`.
    Nodes(Nodes<'a>),
    /// Of `*.out` and `*.in`.
    Edges(Edges<'a>),
    /// Of `*.keys`.
    Keys(Keys<'a>),
    /// Of `*.heap`: the records, which [tables](Nodes) lead to.
    /// [`NodeMeta`](super::heap::NodeMeta) reads one.
    Heap(&'a [u8]),
    /// Of `*.vec`.
    Vectors(Vectors<'a>),
    /// Of `*.vix`.
    Index(Index<'a>),
}

/// A part of the table of nodes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nodes<'a> {
    /// The nodes, by id.
    pub rows: &'a [NodeRow],
    /// The kinds that there are, ascending.
    pub kinds: &'a [KindRow],
    /// The numbers of their rows, kind after kind; empty if all are of one.
    pub members: &'a [Le32],
    /// What the rows refer to.
    pub refs: &'a [RefRow],
}

/// A part of the table of edges, at one of their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edges<'a> {
    /// The edges.
    pub rows: &'a [EdgeRow],
    /// What the rows refer to; `None` in an in table, whose edges have their
    /// attributes in the out table.
    pub refs: Option<&'a [RefRow]>,
}

/// A part of the table of index keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Keys<'a> {
    /// The entries, one after the other.
    pub entries: &'a [u8],
    /// Where each begins.
    pub offsets: &'a [Le32],
}

impl<'a> Keys<'a> {
    /// An entry.
    ///
    /// # Errors
    /// [`Damage`], with its offset in the section of entries, when there is no
    /// such entry, or it is cut.
    pub fn get(&self, row: usize) -> Result<IndexEntryRef<'a>, Damage> {
        let Some(offset) = self.offsets.get(row) else {
            return Err(Damage::new(self.entries.len(), format!("there is no entry {row}")));
        };
        let at = usize::try_from(offset.get()).unwrap_or(usize::MAX);
        IndexEntryRef::decode(self.entries.get(at..).unwrap_or_default())
            .map_err(|damage| Damage::new(at, format!("entry {row}: {}", damage.what)))
    }
}

/// Vectors of one space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vectors<'a> {
    /// Numbers of a vector.
    pub dimension: usize,
    /// The vectors, one after the other.
    pub components: &'a [LeF32],
    /// Whose they are, by id.
    pub rows: &'a [VectorHead],
    /// The kind of each node.
    pub kinds: &'a [Le32],
}

/// What is derived from a file of vectors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Index<'a> {
    /// What it is derived from, and how.
    pub head: &'a IndexHead,
    /// The codes or the graph.
    pub body: IndexBody<'a>,
}

/// Codes, or a graph.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum IndexBody<'a> {
    /// Product quantisation.
    Codes {
        /// The centroids.
        codebook: &'a [LeF32],
        /// The codes in blocks of 32 rows.
        codes: &'a [u8],
    },
    /// As its library writes it.
    Graph(&'a [u8]),
}

impl<'a> Contents<'a> {
    /// Reads the sections that a file of its kind has. Blocks are not compared
    /// with their checksums: that is [`File::damage`]. Costs no copy.
    ///
    /// # Errors
    /// [`Damage`] when a section is missing, has rows of another size, or is
    /// of another length than the sections beside it ask for.
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

    /// The bytes of a file that holds this.
    ///
    /// # Errors
    /// [`Damage`] when it is no contents of a file of the header's kind.
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
                return Err(Damage::new(0, format!("this is no contents of a {kind:?} file")));
            }
        };
        segment::encode(header, &sections)
    }

    /// What is wrong with it by itself: rows out of order, references that
    /// lead nowhere in this file, numbers that no engine writes. What refers to
    /// other files is for [`Engine::verify`](crate::Engine::verify). Costs a
    /// reading of the rows.
    ///
    /// # Errors
    /// The first [`Damage`], its offset counted in the section that it is in.
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

/// Rows are strictly ascending.
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
        let wrong = |what: &str| Err(Damage::new(0, format!("members of kinds: {what}")));
        if !self.kinds.is_sorted_by(|a, b| a.kind.get() < b.kind.get()) {
            return wrong("kinds are out of order");
        }
        let place = |number: Le32| usize::try_from(number.get()).unwrap_or(usize::MAX);
        if self.members.is_empty() {
            let one = self.kinds.first().filter(|_| self.kinds.len() == 1);
            let all = one.is_some_and(|one| {
                one.first.get() == 0 && self.rows.iter().all(|row| row.kind == one.kind)
            });
            let none = self.rows.is_empty() && self.kinds.is_empty();
            return if all || none { Ok(()) } else { wrong("rows of several kinds have none") };
        }
        if self.members.len() != self.rows.len() {
            return wrong("there are not as many as rows");
        }
        let mut ends = self.kinds.iter().skip(1).map(|kind| place(kind.first));
        for kind in self.kinds {
            let end = ends.next().unwrap_or(self.members.len());
            let Some(members) = self.members.get(place(kind.first)..end) else {
                return wrong("one begins beyond the end, or before the last");
            };
            let of_kind = |row: &Le32| {
                self.rows.get(place(*row)).is_some_and(|found| found.kind == kind.kind)
            };
            if !members.iter().all(of_kind) || !members.is_sorted_by(|a, b| a.get() < b.get()) {
                return wrong("one is of another kind, or out of order");
            }
        }
        // As many as rows, each of its kind and none twice: all of them, if
        // they begin at the first.
        match self.kinds.first() {
            Some(first) if first.first.get() == 0 => Ok(()),
            _ => wrong("the first is of no kind"),
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
                let what = format!("row {row} is no edge: {edge:?}");
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
            len => Err(Damage::new(at, format!("{} bytes are no entry", len.saturating_sub(at)))),
        }
    }
}

impl<'a> Vectors<'a> {
    fn decode(file: &File<'a>) -> Result<Self, Damage> {
        let layout = file.layout();
        let section = layout.sections.iter().find(|section| section.tag == COMPONENTS);
        let row_bytes = section.map_or(0, |section| section.row_bytes);
        let dimension = usize::try_from(row_bytes / 4).unwrap_or(usize::MAX);
        if row_bytes % 4 != 0 || !(1..=limits::DIMENSION).contains(&dimension) {
            return Err(Damage::new(80, format!("vectors of {row_bytes} bytes")));
        }
        let components = file.section(COMPONENTS, dimension.saturating_mul(4))?;
        let vectors = Self {
            dimension,
            components: bytemuck::try_cast_slice(components)
                .map_err(|error| Damage::new(80, format!("numbers of vectors: {error}")))?,
            rows: file.rows(ROWS)?,
            kinds: file.rows(ROW_KINDS)?,
        };
        let rows = vectors.rows.len();
        if vectors.kinds.len() != rows || vectors.components.len() != rows.saturating_mul(dimension)
        {
            let what = format!(
                "{} numbers of dimension {dimension} and {} kinds for {rows} vectors",
                vectors.components.len(),
                vectors.kinds.len()
            );
            return Err(Damage::new(80, what));
        }
        Ok(vectors)
    }

    /// The numbers of a vector.
    #[must_use]
    pub fn get(&self, row: usize) -> Option<&'a [LeF32]> {
        self.components.chunks(self.dimension.max(1)).nth(row)
    }

    fn check(&self) -> Result<(), Damage> {
        check_order(self.rows)?;
        match self.components.iter().position(|number| !number.get().is_finite()) {
            Some(at) => Err(Damage::new(
                at.saturating_mul(4),
                format!("number {at} of the vectors is not finite"),
            )),
            None => Ok(()),
        }
    }
}

impl<'a> Index<'a> {
    fn decode(file: &File<'a>) -> Result<Self, Damage> {
        let heads: &[IndexHead] = file.rows(HEAD)?;
        let [head] = heads else {
            return Err(Damage::new(80, format!("{} heads of an index", heads.len())));
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
                    "a codebook of {} numbers and {} bytes of codes, where {components} and {bytes} \
                     belong",
                    codebook.len(),
                    codes.len()
                ),
            ));
        }
        match codebook.iter().position(|number| !number.get().is_finite()) {
            Some(at) => Err(Damage::new(
                at.saturating_mul(4),
                format!("number {at} of the codebook is not finite"),
            )),
            None => Ok(()),
        }
    }
}
