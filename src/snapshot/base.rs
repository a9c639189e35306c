//! What the last checkpoint wrote: mapped tables, each a row of parts in the
//! order of their keys, and the heaps that they refer to.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use super::{
    delta::{Content, EdgeRecord, NodeRecord, StoredListing, VectorSlot, some_attributes},
    vectors::VectorPart,
};
use crate::{
    error::{Error, Result},
    format::{
        Damage, FileKind,
        heap::{ContentPlace, NodeMeta, decode_attributes},
        manifest::{DataFile, Manifest, TableFile},
        segment::BLOCK_BYTES,
        tables::{self, EdgeKey, EdgeRow, HeapPlace, KeyPlace, KindRow, Le32, NodeRow, RefRow},
    },
    id::NodeId,
    manifest,
    model::{Attributes, Seq},
    os::Fs,
    segment::{self, KeyTable, Segment, Table},
    vector::prefetch,
};

/// Tells that something that is derived was found to be damaged.
#[derive(Clone, Default)]
pub(crate) struct Notice(Option<Arc<dyn Fn() + Send + Sync>>);

impl Notice {
    pub(crate) fn new(tell: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }
}

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Notice").finish()
    }
}

/// Nodes or records that are fetched at once.
pub(crate) const FETCHED: usize = 32;

/// The base of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Base {
    /// The directory of the store.
    path: PathBuf,
    /// What it was opened from.
    pub(crate) manifest: Arc<Manifest>,
    /// By number.
    pub(crate) heaps: Vec<Arc<Heap>>,
    pub(crate) nodes: Vec<Arc<NodePart>>,
    pub(crate) out: Vec<Arc<EdgePart>>,
    pub(crate) into: Vec<Arc<EdgePart>>,
    pub(crate) keys: Vec<Arc<KeyPart>>,
    /// By number.
    pub(crate) vectors: Vec<VectorPart>,
    /// The first number of a heap, and from that on the places of heaps by their
    /// numbers, as far as they are near to each other: a search for each record
    /// is what its branches make slow.
    heap_places: (u32, Vec<u32>),
    /// Bytes of the rows of all tables, but for the vectors'.
    pub(crate) table_bytes: usize,
    pub(crate) notice: Notice,
}

/// Contents and attributes.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) segment: Arc<Segment>,
    number: u32,
    /// Once the first block was read.
    section: OnceLock<HeapSection>,
}

/// Where records and contents lie in the file of a heap.
#[derive(Debug, Clone, Copy)]
struct HeapSection {
    at: usize,
    len: u64,
}

/// Nodes of a range of ids.
#[derive(Debug)]
pub(crate) struct NodePart {
    pub(crate) first: NodeId,
    pub(crate) rows: Table<NodeRow>,
    pub(crate) kinds: Table<KindRow>,
    pub(crate) members: Table<Le32>,
    pub(crate) refs: Table<RefRow>,
}

/// Edges of a range of keys.
#[derive(Debug)]
pub(crate) struct EdgePart {
    pub(crate) first: EdgeKey,
    pub(crate) rows: Table<EdgeRow>,
    /// `None` of an in table.
    pub(crate) refs: Option<Table<RefRow>>,
}

/// Index keys of a range.
#[derive(Debug)]
pub(crate) struct KeyPart {
    pub(crate) first: Vec<u8>,
    pub(crate) entries: KeyTable,
}

/// A file that could not be opened, and why.
pub(crate) type Unopened = (FileKind, DataFile, Error);

/// The damage of a file that is whole but not the one that the manifest names.
fn another(segment: &Segment) -> Option<Error> {
    let mut checks = segment.verify();
    let error = checks.next()?.err()?;
    // Else its own checksums account for it.
    checks.all(|check| check.is_ok()).then_some(error)
}

/// A part of a table.
pub(crate) trait Part {
    /// What it has in each of its rows.
    type Entry<'a>
    where
        Self: 'a;

    fn len(&self) -> usize;

    fn entry(&self, row: usize) -> Result<Self::Entry<'_>>;

    fn segment(&self) -> &Arc<Segment>;

    /// Bytes of its rows.
    fn bytes(&self) -> u64;
}

impl Part for NodePart {
    type Entry<'a> = &'a NodeRow;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn entry(&self, row: usize) -> Result<&NodeRow> {
        self.rows.row(row)
    }

    fn segment(&self) -> &Arc<Segment> {
        self.rows.segment()
    }

    fn bytes(&self) -> u64 {
        self.rows.bytes()
    }
}

impl Part for EdgePart {
    type Entry<'a> = &'a EdgeRow;

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn entry(&self, row: usize) -> Result<&EdgeRow> {
        self.rows.row(row)
    }

    fn segment(&self) -> &Arc<Segment> {
        self.rows.segment()
    }

    fn bytes(&self) -> u64 {
        self.rows.bytes()
    }
}

impl Part for KeyPart {
    type Entry<'a> = KeyPlace<'a>;

    fn len(&self) -> usize {
        self.entries.len()
    }

    fn entry(&self, row: usize) -> Result<KeyPlace<'_>> {
        self.entries.entry(row)
    }

    fn segment(&self) -> &Arc<Segment> {
        self.entries.segment()
    }

    fn bytes(&self) -> u64 {
        self.entries.bytes()
    }
}

/// What [`Base::heap_places`] has of heaps in the order of their numbers.
fn places(heaps: &[Arc<Heap>]) -> (u32, Vec<u32>) {
    /// Numbers that are looked up so.
    const MOST: u32 = 1 << 16;
    let first = heaps.first().map_or(0, |heap| heap.number());
    let mut places = Vec::new();
    for (place, heap) in (0_u32..).zip(heaps) {
        let at = heap.number().saturating_sub(first);
        if at >= MOST {
            break;
        }
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        places.resize(at.saturating_add(1), place);
    }
    (first, places)
}

/// Bytes of the rows of all parts.
fn sum<P: Part>(parts: &[Arc<P>]) -> u64 {
    parts.iter().map(|part| part.bytes()).fold(0, u64::saturating_add)
}

/// A node as the base has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredNode<'s> {
    pub(crate) row: &'s NodeRow,
    pub(crate) meta: NodeMeta<'s>,
    pub(crate) content: &'s [u8],
    /// Where the record stands.
    heap: &'s Arc<Heap>,
    at: HeapPlace,
}

impl Heap {
    fn new(segment: Segment) -> Self {
        let number = segment.file().number;
        Self { segment: Arc::new(segment), number, section: OnceLock::new() }
    }

    #[inline]
    fn section(&self) -> Result<HeapSection> {
        match self.section.get() {
            Some(section) => Ok(*section),
            None => self.read_section(),
        }
    }

    #[cold]
    fn read_section(&self) -> Result<HeapSection> {
        let section = self.segment.section(tables::ROWS, 1)?;
        let at = usize::try_from(section.offset)
            .map_err(|_| self.segment.damaged(80, "a section is larger than the address space"))?;
        Ok(*self.section.get_or_init(|| HeapSection { at, len: section.len }))
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Whether all of a place is in it.
    pub(crate) fn has(&self, offset: u64, len: u32) -> Result<bool> {
        Ok(self.section()?.has(offset, len))
    }

    /// Where an offset of the section stands in the file; where the first section
    /// begins if the first block cannot be read.
    pub(crate) fn file_offset(&self, offset: u64) -> usize {
        let at = self.section().map_or(BLOCK_BYTES, |section| section.at);
        at.saturating_add(usize::try_from(offset).unwrap_or(usize::MAX))
    }

    /// Bytes of the section, checked.
    #[inline]
    pub(crate) fn bytes(&self, offset: u64, len: u32) -> Result<&[u8]> {
        let section = self.section()?;
        let at = section.at.saturating_add(usize::try_from(offset).unwrap_or(usize::MAX));
        if !section.has(offset, len) {
            return Err(self
                .segment
                .damaged(at, format!("{len} bytes are referred to beyond the end of the heap")));
        }
        self.segment.bytes(at, usize::try_from(len).unwrap_or(usize::MAX))
    }
}

impl HeapSection {
    fn has(self, offset: u64, len: u32) -> bool {
        offset.saturating_add(u64::from(len)) <= self.len
    }
}

impl NodePart {
    /// The rows of a kind, as positions in the list of its members.
    fn kind_range(&self, kind: u32) -> Result<(usize, usize)> {
        let (mut low, mut high) = (0, self.kinds.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.kinds.row(middle)?.kind.get() < kind {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        if low == self.kinds.len() || self.kinds.row(low)?.kind.get() != kind {
            return Ok((0, 0));
        }
        let place = |row: &KindRow| usize::try_from(row.first.get()).unwrap_or(usize::MAX);
        let start = place(self.kinds.row(low)?);
        let next = low.saturating_add(1);
        let end =
            if next < self.kinds.len() { place(self.kinds.row(next)?) } else { self.rows.len() };
        if start > end || end > self.rows.len() {
            let at = self.kinds.offset(low);
            return Err(self.rows.segment().damaged(at, "the members of a kind are out of place"));
        }
        Ok((start, end))
    }

    /// A member of the list of members.
    pub(crate) fn member(&self, at: usize) -> Result<usize> {
        if self.members.len() == 0 {
            return Ok(at);
        }
        Ok(usize::try_from(self.members.row(at)?.get()).unwrap_or(usize::MAX))
    }

    /// The first member in `start..end` whose id is not less than `id`.
    fn member_lower_bound(&self, start: usize, end: usize, id: NodeId) -> Result<usize> {
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = low.midpoint(high);
            if self.rows.row(self.member(middle)?)?.id() < id {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

/// The number of parts that begin at `key` or before, less one: the part that
/// has the key if any has.
fn part_of<P, K: Ord + ?Sized>(parts: &[Arc<P>], key: &K, first: impl Fn(&P) -> &K) -> usize {
    parts.partition_point(|part| first(part) <= key).saturating_sub(1)
}

impl Base {
    /// Maps the files of a manifest, but for those that `old` has mapped.
    ///
    /// Without `old` it is the base of an opening, and heaps are not looked into
    /// before they are read. What a checkpoint has written is.
    pub(crate) fn open(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        manifest: &Manifest,
        old: Option<&Self>,
    ) -> Result<Self> {
        Self::open_with(fs, dir, manifest, old, old.is_some(), &mut |_, _, error| Err(error))
    }

    /// Maps the files of a manifest that can be, and gives the others, each with
    /// its damage. What refers to those finds nothing there. Only for reading
    /// what is left: a base with holes answers wrongly.
    pub(crate) fn open_what_can_be(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        manifest: &Manifest,
    ) -> Result<(Self, Vec<Unopened>)> {
        let mut unopened = Vec::new();
        let mut base = Self::open_with(fs, dir, manifest, None, true, &mut |kind, file, error| {
            if !matches!(error, Error::Corrupt { .. }) {
                return Err(error);
            }
            unopened.push((kind, file, error));
            Ok(())
        })?;
        // A whole file in the place of another, of a copy of the store say.
        let mut keep = |kind, segment: &Segment| match another(segment) {
            Some(error) => {
                unopened.push((kind, segment.file(), error));
                false
            }
            None => true,
        };
        base.heaps.retain(|heap| keep(FileKind::Heap, &heap.segment));
        base.heap_places = places(&base.heaps);
        base.nodes.retain(|part| keep(FileKind::Nodes, part.segment()));
        base.out.retain(|part| keep(FileKind::Out, part.segment()));
        base.into.retain(|part| keep(FileKind::In, part.segment()));
        base.keys.retain(|part| keep(FileKind::Keys, part.segment()));
        base.vectors.retain(|part| keep(FileKind::Vectors, &part.rows.segment));
        Ok((base, unopened))
    }

    /// Asks `failed` whether to go on without a file.
    fn open_with(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        manifest: &Manifest,
        old: Option<&Self>,
        look_into_heaps: bool,
        failed: &mut dyn FnMut(FileKind, DataFile, Error) -> Result<()>,
    ) -> Result<Self> {
        // All are mapped before one is read, so that a disk has all to do at once.
        let known = old.iter().flat_map(|old| old.segments()).map(|known| known.file().number);
        let known: HashSet<u32> = known.collect();
        let unknown = manifest.files().filter(|(_, file)| !known.contains(&file.number));
        let maps = unknown.map(|(kind, file)| (file.number, segment::map(fs, dir, kind, file)));
        let maps: RefCell<HashMap<_, _>> = RefCell::new(maps.collect());
        let segment = |kind, file: DataFile| {
            let map = maps.borrow_mut().remove(&file.number);
            let map = map.unwrap_or_else(|| segment::map(fs, dir, kind, file))?;
            Segment::open(fs, dir, kind, manifest.store, file, map)
        };
        let damaged = |what: &str| {
            Damage::new(72, format!("the manifest has {what}"))
                .in_file(&dir.with_file_name(manifest::FILE))
        };
        let path = dir.parent().unwrap_or(dir).to_owned();
        let notice = old.map(|old| old.notice.clone()).unwrap_or_default();
        let manifest_of = Arc::new(manifest.clone());
        let mut base = Self { path, manifest: manifest_of, notice, ..Self::default() };
        for heap in &manifest.heaps {
            let known = old.and_then(|old| old.heap(heap.file.number).ok());
            let opened = match known {
                Some(known) => Ok(Arc::clone(known)),
                None => segment(FileKind::Heap, heap.file).and_then(|file| {
                    let heap = Heap::new(file);
                    if look_into_heaps {
                        heap.section()?;
                    }
                    Ok(Arc::new(heap))
                }),
            };
            match opened {
                Ok(heap) => base.heaps.push(heap),
                Err(error) => failed(FileKind::Heap, heap.file, error)?,
            }
        }
        base.heaps.sort_unstable_by_key(|heap| heap.number());
        base.heap_places = places(&base.heaps);
        for file in &manifest.nodes {
            let opened = reuse(old.map(|old| &*old.nodes), file, || {
                let segment = Arc::new(segment(FileKind::Nodes, file.file)?);
                let first = file.first.as_slice().try_into();
                Ok(NodePart {
                    first: NodeId::from_bytes(first.map_err(|_| damaged("a wrong key"))?),
                    rows: Table::open(&segment, tables::ROWS)?,
                    kinds: Table::open(&segment, tables::KINDS)?,
                    members: Table::open(&segment, tables::MEMBERS)?,
                    refs: Table::open(&segment, tables::REFS)?,
                })
            });
            match opened {
                Ok(part) => base.nodes.push(part),
                Err(error) => failed(FileKind::Nodes, file.file, error)?,
            }
        }
        for (kind, files, parts, old) in [
            (FileKind::Out, &manifest.out, &mut base.out, old.map(|old| &*old.out)),
            (FileKind::In, &manifest.into, &mut base.into, old.map(|old| &*old.into)),
        ] {
            for file in files {
                let opened = reuse(old, file, || {
                    let segment = Arc::new(segment(kind, file.file)?);
                    let first = decode_edge_key(&file.first);
                    let refs = match kind {
                        FileKind::Out => Some(Table::open(&segment, tables::REFS)?),
                        _ => None,
                    };
                    Ok(EdgePart {
                        first: first.ok_or_else(|| damaged("a wrong key"))?,
                        rows: Table::open(&segment, tables::ROWS)?,
                        refs,
                    })
                });
                match opened {
                    Ok(part) => parts.push(part),
                    Err(error) => failed(kind, file.file, error)?,
                }
            }
        }
        for file in &manifest.keys {
            let opened = reuse(old.map(|old| &*old.keys), file, || {
                let segment = Arc::new(segment(FileKind::Keys, file.file)?);
                KeyPlace::decode(&file.first).map_err(|_| damaged("a wrong key"))?;
                Ok(KeyPart { first: file.first.clone(), entries: KeyTable::open(&segment)? })
            });
            match opened {
                Ok(part) => base.keys.push(part),
                Err(error) => failed(FileKind::Keys, file.file, error)?,
            }
        }
        for file in &manifest.vectors {
            let old = old.map(|old| old.vectors.iter());
            let known = old.and_then(|mut parts| {
                parts.find(|part| part.rows.segment.file().number == file.file.number)
            });
            let space = usize::try_from(file.space).ok();
            let space = space.and_then(|space| manifest.spaces.get(space));
            let space = space.ok_or_else(|| damaged("vectors of an unknown space"))?;
            match VectorPart::open(&segment, file, space, known) {
                Ok(part) => base.vectors.push(part),
                Err(error) => failed(FileKind::Vectors, file.file, error)?,
            }
        }
        let bytes = sum(&base.nodes).saturating_add(sum(&base.keys));
        let bytes = bytes.saturating_add(sum(&base.out)).saturating_add(sum(&base.into));
        base.table_bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let sorted = base.nodes.is_sorted_by(|a, b| a.first < b.first)
            && base.out.is_sorted_by(|a, b| a.first < b.first)
            && base.into.is_sorted_by(|a, b| a.first < b.first)
            && base.keys.is_sorted_by(|a, b| a.first() < b.first());
        if sorted { Ok(base) } else { Err(damaged("parts that are not in order")) }
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.out.is_empty()
            && self.into.is_empty()
            && self.keys.is_empty()
            && self.vectors.is_empty()
    }

    /// Reads the first block of each heap.
    pub(crate) fn look_into_heaps(&self) -> Result<()> {
        self.heaps.iter().try_for_each(|heap| heap.section().map(drop))
    }

    /// Tells that something that is derived is to be built again.
    pub(crate) fn notice(&self) {
        if let Some(tell) = &self.notice.0 {
            tell();
        }
    }

    /// Every file of it.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        fn of<P: Part>(parts: &[Arc<P>]) -> impl Iterator<Item = &Arc<Segment>> {
            parts.iter().map(|part| part.segment())
        }
        self.heaps
            .iter()
            .map(|heap| &heap.segment)
            .chain(of(&self.nodes))
            .chain(of(&self.out))
            .chain(of(&self.into))
            .chain(of(&self.keys))
            .chain(self.vectors.iter().flat_map(VectorPart::segments))
    }

    /// The error of something that is in no file.
    pub(crate) fn damaged(&self, what: impl Into<String>) -> Error {
        Error::corrupt(self.path.join(segment::DIR), 0, what)
    }

    #[inline]
    pub(crate) fn heap(&self, number: u32) -> Result<&Arc<Heap>> {
        let (first, places) = &self.heap_places;
        let place = number.checked_sub(*first).and_then(|at| places.get(usize::try_from(at).ok()?));
        let known = place.and_then(|place| self.heaps.get(usize::try_from(*place).ok()?));
        match known.filter(|heap| heap.number() == number) {
            Some(heap) => Ok(heap),
            None => self.heap_by_search(number),
        }
    }

    #[cold]
    fn heap_by_search(&self, number: u32) -> Result<&Arc<Heap>> {
        let found = self.heaps.binary_search_by_key(&number, |heap| heap.number());
        found.ok().and_then(|at| self.heaps.get(at)).ok_or_else(|| {
            let data = self.path.join(segment::DIR);
            let file = segment::file_path(&data, FileKind::Heap, number);
            Error::corrupt(file, 0, "the heap is referred to and not there")
        })
    }

    /// The node of that name.
    #[inline]
    pub(crate) fn node(&self, id: NodeId) -> Result<Option<StoredNode<'_>>> {
        self.node_row(id)?.map(|row| self.stored(row)).transpose()
    }

    #[inline]
    pub(crate) fn node_row(&self, id: NodeId) -> Result<Option<&NodeRow>> {
        let Some(part) = self.nodes.get(part_of(&self.nodes, &id, |part| &part.first)) else {
            return Ok(None);
        };
        let row = part.rows.lower_bound(&id)?;
        if row == part.rows.len() {
            return Ok(None);
        }
        let row = part.rows.row(row)?;
        Ok((row.id() == id).then_some(row))
    }

    /// Looks up the rows of nodes, and has the processor fetch their records: the
    /// misses of one overlap those of the next, which they do not when each node
    /// is looked at in its turn. Tells `found` of each id by its place, `None` if
    /// there is damage, which is for a look at that node to find.
    pub(crate) fn look<'s>(
        &'s self,
        ids: &[NodeId],
        found: &mut dyn FnMut(usize, Option<Option<&'s NodeRow>>),
    ) {
        let guess = |id: &NodeId| {
            let part = self.nodes.get(part_of(&self.nodes, id, |part| &part.first))?;
            Some((&part.rows, part.rows.guess(id).ok()?))
        };
        let mut guesses = [None; FETCHED];
        let mut places = [None; FETCHED];
        for (chunk, ids) in ids.chunks(FETCHED).enumerate() {
            guesses.iter_mut().zip(ids).for_each(|(to, id)| *to = guess(id));
            for (rows, at) in guesses.iter().take(ids.len()).flatten() {
                rows.prefetch(*at);
            }
            let first = chunk.saturating_mul(FETCHED);
            for (at, (to, id)) in places.iter_mut().zip(ids).enumerate() {
                let row = self.node_row(*id).ok();
                found(first.saturating_add(at), row);
                let place = row.flatten().map(NodeRow::place);
                *to = place.and_then(|place| Some((self.heap(place.heap).ok()?, place)));
            }
            for (heap, at) in places.iter().take(ids.len()).flatten() {
                // The head: contents may be large, and are not what is asked for.
                if let Ok(head) = heap.bytes(at.offset(), at.len.min(64)) {
                    prefetch(head);
                }
            }
        }
    }

    /// The node of a row of this base.
    #[inline]
    pub(crate) fn stored<'s>(&'s self, row: &'s NodeRow) -> Result<StoredNode<'s>> {
        let at = row.place();
        let heap = self.heap(at.heap)?;
        let bytes = heap.bytes(at.offset(), at.len)?;
        let meta = NodeMeta::decode(bytes).map_err(|damage| {
            let offset = heap.file_offset(at.offset().saturating_add(damage.offset));
            heap.segment.damaged(offset, format!("record of node {}: {}", row.id(), damage.what))
        })?;
        let content = match meta.elsewhere {
            Some(ContentPlace { heap, offset, len }) => self.heap(heap)?.bytes(offset, len)?,
            None => meta.content,
        };
        Ok(StoredNode { row, meta, content, heap, at })
    }

    /// The first row of an edge table that is not less than `key`, as a
    /// position.
    pub(crate) fn edge_bound(parts: &[Arc<EdgePart>], key: &EdgeKey) -> Result<(usize, usize)> {
        let part = part_of(parts, key, |part| &part.first);
        match parts.get(part) {
            Some(found) => Ok((part, found.rows.lower_bound(key)?)),
            None => Ok((0, 0)),
        }
    }

    /// The edge with that key in an edge table.
    pub(crate) fn edge<'s>(
        parts: &'s [Arc<EdgePart>],
        key: &EdgeKey,
    ) -> Result<Option<&'s EdgeRow>> {
        let (part, row) = Self::edge_bound(parts, key)?;
        let Some(part) = parts.get(part).filter(|part| row < part.rows.len()) else {
            return Ok(None);
        };
        let row = part.rows.row(row)?;
        Ok((row.key() == *key).then_some(row))
    }

    /// The edges of a node in an edge table.
    pub(crate) fn edges_of<'s>(
        parts: &'s [Arc<EdgePart>],
        id: NodeId,
    ) -> Result<impl Iterator<Item = Result<EdgeKey>> + use<'s>> {
        let low = Self::edge_bound(parts, &EdgeKey::first(id, 0))?;
        let run = Run { parts, low, high: end_of(parts), descending: false };
        Ok(run
            .map(|row| row.map(EdgeRow::key))
            .take_while(move |key| key.as_ref().map_or(true, |key| key.here == id)))
    }

    /// The attributes of an edge of the out table.
    pub(crate) fn attributes(&self, row: &EdgeRow) -> Result<Attributes> {
        let place = row.attributes();
        if place.len == 0 {
            return Ok(Attributes::new());
        }
        let heap = self.heap(place.heap)?;
        decode_attributes(heap.bytes(place.offset(), place.len)?).map_err(|damage| {
            let offset = heap.file_offset(place.offset().saturating_add(damage.offset));
            heap.segment.damaged(offset, damage.what)
        })
    }

    /// The first entry that is not less than `place`, as a position.
    pub(crate) fn key_bound(&self, place: &KeyPlace<'_>) -> Result<(usize, usize)> {
        let before = |part: &Arc<KeyPart>| part.first().is_none_or(|f| f.compare(place).is_le());
        let part = self.keys.partition_point(before).saturating_sub(1);
        match self.keys.get(part) {
            Some(found) => Ok((part, found.entries.lower_bound(place)?)),
            None => Ok((0, 0)),
        }
    }

    /// The vector files of a space, the newest first.
    pub(crate) fn vectors_of(&self, space: u32) -> impl Iterator<Item = &VectorPart> {
        self.vectors.iter().rev().filter(move |part| part.rows.space == space)
    }

    /// The vector of a node in a space that this commit wrote.
    pub(crate) fn vector(&self, space: u32, id: NodeId, seq: Seq) -> Result<Option<&[f32]>> {
        for part in self.vectors_of(space) {
            if let Some(found) = part.rows.find(id, seq)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The nodes of a kind, by id, from `from` on.
    pub(crate) fn of_kind(&self, kind: u32, from: NodeId) -> Result<KindRun<'_>> {
        let part = part_of(&self.nodes, &from, |part| &part.first);
        let mut run = KindRun { base: self, kind, part, at: 0, end: 0 };
        if let Some(part) = self.nodes.get(part) {
            let (start, end) = part.kind_range(kind)?;
            run.at = part.member_lower_bound(start, end, from)?;
            run.end = end;
        }
        Ok(run)
    }
}

fn reuse<P: Part>(
    old: Option<&[Arc<P>]>,
    file: &TableFile,
    open: impl FnOnce() -> Result<P>,
) -> Result<Arc<P>> {
    let known = old.and_then(|old| old.iter().find(|part| part.segment().file() == file.file));
    match known {
        Some(known) => Ok(Arc::clone(known)),
        None => open().map(Arc::new),
    }
}

impl KeyPart {
    pub(crate) fn first(&self) -> Option<KeyPlace<'_>> {
        KeyPlace::decode(&self.first).ok()
    }
}

/// The bytes of an [`EdgeKey`] in a manifest.
pub(crate) fn encode_edge_key(key: &EdgeKey) -> Vec<u8> {
    let mut out = key.here.as_bytes().to_vec();
    out.extend(key.there.as_bytes());
    out.extend(key.discriminator.to_le_bytes());
    out.extend(key.kind.to_le_bytes());
    out
}

fn decode_edge_key(bytes: &[u8]) -> Option<EdgeKey> {
    let (here, rest) = bytes.split_first_chunk()?;
    let (there, rest) = rest.split_first_chunk()?;
    let (discriminator, rest) = rest.split_first_chunk()?;
    Some(EdgeKey {
        here: NodeId::from_bytes(*here),
        kind: u32::from_le_bytes(rest.try_into().ok()?),
        there: NodeId::from_bytes(*there),
        discriminator: u64::from_le_bytes(*discriminator),
    })
}

/// The position after the last row.
pub(crate) fn end_of<P: Part>(parts: &[Arc<P>]) -> (usize, usize) {
    (parts.len(), 0)
}

/// The rows between two positions, from either end.
#[derive(Debug)]
pub(crate) struct Run<'s, P> {
    pub(crate) parts: &'s [Arc<P>],
    /// Part and row of the first.
    pub(crate) low: (usize, usize),
    /// Part and row after the last.
    pub(crate) high: (usize, usize),
    pub(crate) descending: bool,
}

impl<'s, P: Part> Iterator for Run<'s, P> {
    type Item = Result<P::Entry<'s>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.descending {
            return self.next_back();
        }
        loop {
            if self.low >= self.high {
                return None;
            }
            let (part, row) = self.low;
            let found = self.parts.get(part)?;
            if row < found.len() {
                self.low.1 = row.saturating_add(1);
                return Some(found.entry(row));
            }
            self.low = (part.saturating_add(1), 0);
        }
    }
}

impl<'s, P: Part> Run<'s, P> {
    fn next_back(&mut self) -> Option<Result<P::Entry<'s>>> {
        loop {
            if self.low >= self.high {
                return None;
            }
            let (part, row) = self.high;
            if let Some(before) = row.checked_sub(1) {
                self.high.1 = before;
                return Some(self.parts.get(part)?.entry(before));
            }
            let part = part.checked_sub(1)?;
            self.high = (part, self.parts.get(part)?.len());
        }
    }
}

/// The nodes of a kind, by id.
#[derive(Debug)]
pub(crate) struct KindRun<'s> {
    base: &'s Base,
    kind: u32,
    part: usize,
    at: usize,
    end: usize,
}

impl<'s> Iterator for KindRun<'s> {
    type Item = Result<&'s NodeRow>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let part = self.base.nodes.get(self.part)?;
            if self.at < self.end {
                let at = self.at;
                self.at = at.saturating_add(1);
                return Some(part.member(at).and_then(|row| part.rows.row(row)));
            }
            self.part = self.part.saturating_add(1);
            let range = self.base.nodes.get(self.part)?.kind_range(self.kind);
            match range {
                Ok((start, end)) => (self.at, self.end) = (start, end),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<'s> StoredNode<'s> {
    pub(crate) fn attributes(&self) -> Result<Attributes> {
        self.meta.attributes().map_err(|damage| {
            let what = format!("attributes of node {}: {}", self.row.id(), damage.what);
            self.heap.segment.damaged(self.heap.file_offset(self.at.offset()), what)
        })
    }

    /// Index and key of each key. The record was found to be whole.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u32, &'s [u8])> + use<'s> {
        self.meta.keys().filter_map(Result::ok)
    }

    /// Space of each vector, and the commit that wrote it.
    pub(crate) fn vectors(&self) -> impl Iterator<Item = (u32, Seq)> + use<'s> {
        self.meta.vectors().filter_map(Result::ok)
    }

    /// Where the content stands.
    pub(crate) fn content_place(&self) -> ContentPlace {
        self.meta.elsewhere.unwrap_or_else(|| {
            let len = u32::try_from(self.content.len()).unwrap_or(u32::MAX);
            let end = self.at.offset().saturating_add(u64::from(self.at.len));
            let offset = end.saturating_sub(u64::from(len));
            ContentPlace { heap: self.heap.number(), offset, len }
        })
    }

    /// The record that a change to the node starts from. The content stays
    /// where it is, in a heap of this base.
    pub(crate) fn to_record(self, base: &Base) -> Result<NodeRecord> {
        let place = self.content_place();
        let heap = base.heap(place.heap)?;
        let attributes = some_attributes(self.attributes()?);
        let StoredListing { kind, expires, keys, vectors } = self.listing();
        let meta = &self.meta;
        Ok(NodeRecord {
            id: self.row.id(),
            kind,
            version: meta.version,
            content: Content::Stored { heap: Arc::clone(heap), place },
            attributes,
            strength: meta.strength,
            confidence: meta.confidence,
            created: meta.created,
            updated: meta.updated,
            accessed: meta.accessed,
            access_count: meta.access_count,
            expires,
            keys,
            vectors,
        })
    }

    /// Where else it is found.
    pub(crate) fn listing(&self) -> StoredListing {
        StoredListing {
            kind: self.row.kind.get(),
            expires: self.meta.expires,
            keys: self.keys().map(|(index, key)| (index, Arc::from(key))).collect(),
            vectors: self
                .vectors()
                .map(|(space, seq)| VectorSlot { space, seq, memory: None })
                .collect(),
        }
    }
}

/// The row of an edge, and whether it was found at its target.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EdgeRepr<'s> {
    Memory(&'s EdgeRecord),
    Stored { row: &'s EdgeRow, inbound: bool },
}
