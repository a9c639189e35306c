//! Reads everything that a store has on disk, and tells all that is wrong with
//! it: first the bytes against their checksums, then what they say against each
//! other.
//!
//! What a damaged block held is unknown, so it is told once, and nothing that
//! would follow from it: lookups that end in it are passed over, and so are
//! sums that it has a part in.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use super::Engine;
use crate::{
    error::{Error, Result},
    format::{
        Damage,
        heap::{ContentPlace, NodeMeta},
        tables::{
            EXPIRY, EdgeKey, EdgeRow, HeapPlace, KEY_HEAD_BYTES, KeyPlace, NodeRow, RefRow,
            SLOT_BYTES,
        },
        wal::decode_batch,
    },
    id::NodeId,
    manifest,
    model::Seq,
    segment::{Segment, Table},
    snapshot::{
        Base, Codes, EdgePart, Heap, Index, KeyPart, Load, NodePart, VectorRows, expiry_key,
    },
    vector, wal,
};

/// Most damage that a report lists.
const MOST_DAMAGE: usize = 10_000;
/// Bytes between two words about progress.
const PROGRESS_BYTES: u64 = 1 << 20;

/// What [`Engine::verify`] found.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The last commit that the base holds.
    pub seq: Seq,
    /// Files of the base.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Files of the log that were read: those that the base does not cover.
    pub log_files: u64,
    /// Nodes that the base was found to have.
    pub nodes: u64,
    /// Edges that the base was found to have.
    pub edges: u64,
    /// Index keys that the base was found to have.
    pub keys: u64,
    /// Vectors that the nodes of the base have.
    pub vectors: u64,
    /// What is wrong: `Corrupt` with file and offset, or the error of a file
    /// that could not be read. The first 10,000.
    pub damage: Vec<Error>,
    /// How much more is wrong than `damage` lists.
    pub more: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && self.more == 0
    }
}

impl Engine {
    /// Reads and checks all that the store has on disk: every byte of the base
    /// against its checksums, every reference from one file to another, the
    /// manifest, and the log as far as it was published when this was called.
    /// Damage is no error here: all of it is in the report. Where a checksum
    /// fails, the report has the block, and not what follows from its loss.
    ///
    /// Writes, reads and checkpoints go on; the files of the base that is
    /// verified stay until it is done. From the moment that a block is found to
    /// be damaged, reads of it give `Corrupt`, even if it was whole when it was
    /// first read.
    ///
    /// It costs two readings of the base, and for each edge, key and vector a
    /// search in a table. Memory: one file of the log at a time, and a few bytes
    /// for each file.
    ///
    /// # Errors
    /// `Closed`, also if the engine is closed meanwhile.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = ingrain::Engine::open(dir.path().join("memory"))?;
    /// let report = engine.verify()?;
    /// for damage in &report.damage {
    ///     eprintln!("{damage}");
    /// }
    /// assert!(report.is_sound());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(&mut |_, _| {})
    }

    /// As [`verify`](Self::verify), and tells how it is getting on, about once
    /// for each megabyte and at the end: bytes read so far, and bytes to be
    /// read. What is read twice counts twice.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_with(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport> {
        self.open_still()?;
        let (base, last) = {
            let state = self.reconciler.state();
            (Arc::clone(&state.base), state.seq)
        };
        let lens = base.segments().map(|segment| segment.file().len);
        let heaps = base.heaps.iter().map(|heap| heap.segment.file().len);
        let bytes = lens.fold(0, u64::saturating_add);
        let again = bytes.saturating_sub(heaps.fold(0, u64::saturating_add));
        let log = self.reconciler.stats().wal_bytes;
        let mut verifier = Verifier {
            base: &base,
            manifest: self.dir.join(manifest::FILE),
            report: VerifyReport { seq: base.manifest.checkpoint, bytes, ..Default::default() },
            progress,
            done: 0,
            told: 0,
            total: bytes.saturating_add(again).saturating_add(log),
            damaged: HashSet::new(),
            refs: Refs::new(),
            live: BTreeMap::new(),
            entries: 0,
            gaps: Gaps::default(),
        };
        self.verify_log(&mut verifier, last);
        self.verify_manifest(&mut verifier);
        for segment in base.segments() {
            verifier.file(segment);
            // It is mapped, which would hide that it has lost its name.
            if let Err(error) = self.fs.open(segment.path()) {
                verifier.unreadable(segment.path().to_owned(), error);
            }
        }
        verifier.nodes();
        verifier.keys();
        verifier.edges();
        verifier.vectors();
        verifier.indexes();
        verifier.sums();
        verifier.end();
        let report = verifier.report;
        // Another engine may have had the files.
        self.open_still()?;
        Ok(report)
    }

    /// The commits of the log that the base does not have, up to `last`.
    fn verify_log(&self, verifier: &mut Verifier<'_>, last: Seq) {
        let dir = self.dir.join(wal::DIR);
        let base = verifier.base;
        let place = wal::Place { fs: &*self.fs, dir: &dir, store: base.manifest.store };
        // What a checkpoint covers now, it may have cut.
        let checkpoint = || self.reconciler.state().base.manifest.checkpoint;
        let listed = match wal::list(place) {
            Ok(listed) => listed,
            Err(error) => return verifier.found(error),
        };
        if listed.first().is_none_or(|first| *first > checkpoint().next()) {
            let what = format!("no log file begins at commit {} or before", checkpoint().next());
            verifier.found(Error::corrupt(&dir, 0, what));
        }
        let covered = wal::covered(&listed, base.manifest.checkpoint);
        for (at, first) in listed.iter().enumerate().skip(covered) {
            // The last is being written: what was published is whole. All
            // others are.
            let stop = match listed.get(at.saturating_add(1)) {
                Some(next) => *next,
                None => last.next().max(*first),
            };
            let mut decode =
                |_: Seq, logged: wal::Logged<'_>| Ok(decode_batch(logged.payload()).map(drop)?);
            match wal::check_file(place, *first, stop, &mut decode) {
                Ok(Some(bytes)) => {
                    verifier.report.log_files = verifier.report.log_files.saturating_add(1);
                    verifier.advance(bytes);
                }
                Ok(None) if checkpoint().next() > *first => {}
                Ok(None) => {
                    let path = wal::file_path(&dir, *first);
                    verifier.found(Error::corrupt(path, 0, "the file is missing"));
                }
                Err(error) => verifier.found(error),
            }
        }
    }

    /// The manifest on disk: that of the base, or a later one.
    fn verify_manifest(&self, verifier: &mut Verifier<'_>) {
        let ours = &verifier.base.manifest;
        let damage = match manifest::load(&*self.fs, &self.dir) {
            Err(error) => return verifier.found(error),
            Ok(None) => "the file is missing",
            Ok(Some(found)) if found.store != ours.store => "the file belongs to another store",
            Ok(Some(found)) if found.generation < ours.generation => {
                "an earlier manifest has come back"
            }
            Ok(Some(found)) if found.generation == ours.generation && found != **ours => {
                "the file says something else than when it was read"
            }
            Ok(Some(_)) => return,
        };
        verifier.found(Error::corrupt(&verifier.manifest, 0, damage));
    }
}

/// Bytes referred to, by heap.
type Refs = BTreeMap<u32, u64>;

/// Of what there is something that could not be read.
#[derive(Debug, Clone, Copy, Default)]
struct Gaps {
    nodes: bool,
    /// Nodes or their records.
    records: bool,
    edges: bool,
    keys: bool,
    vectors: bool,
    /// What refers to heaps.
    refs: bool,
}

struct Verifier<'a> {
    base: &'a Base,
    manifest: PathBuf,
    report: VerifyReport,
    progress: &'a mut dyn FnMut(u64, u64),
    done: u64,
    told: u64,
    total: u64,
    /// The files with bytes that fail their checksums.
    damaged: HashSet<u32>,
    refs: Refs,
    /// Rows that are their node's, by vector file.
    live: BTreeMap<u32, u64>,
    /// Entries of the key table that the records of nodes led to.
    entries: u64,
    gaps: Gaps,
}

fn count(count: &mut u64) {
    *count = count.saturating_add(1);
}

fn refer(refs: &mut Refs, heap: u32, bytes: u64) {
    let sum = refs.entry(heap).or_default();
    *sum = sum.saturating_add(bytes);
}

/// Whether a number is given to one of so many names.
fn known(number: u32, names: usize) -> bool {
    usize::try_from(number).is_ok_and(|number| number < names)
}

fn len64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl<'a> Verifier<'a> {
    fn found(&mut self, error: Error) {
        if self.report.damage.len() < MOST_DAMAGE {
            self.report.damage.push(error);
        } else {
            count(&mut self.report.more);
        }
    }

    fn wrong(&mut self, segment: &Segment, at: usize, what: impl Into<String>) {
        self.found(segment.damaged(at, what));
    }

    fn unreadable(&mut self, path: PathBuf, error: io::Error) {
        self.found(match error.kind() {
            io::ErrorKind::NotFound => Error::corrupt(path, 0, "the file is missing"),
            _ => Error::io("open", path, error),
        });
    }

    fn advance(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes).min(self.total);
        if self.done.saturating_sub(self.told) >= PROGRESS_BYTES {
            self.told = self.done;
            (self.progress)(self.done, self.total);
        }
    }

    fn end(&mut self) {
        (self.progress)(self.total, self.total);
    }

    /// The bytes of a file.
    fn file(&mut self, segment: &Segment) {
        count(&mut self.report.files);
        for checked in segment.verify() {
            match checked {
                Ok(bytes) => self.advance(bytes),
                Err(error) => {
                    self.damaged.insert(segment.file().number);
                    self.found(error);
                }
            }
        }
    }

    /// Nodes, and what their records refer to.
    fn nodes(&mut self) {
        let base = self.base;
        let mut last = None;
        for part in &base.nodes {
            let segment = part.rows.segment();
            let mut refs = Refs::new();
            let mut whole = true;
            for at in 0..part.rows.len() {
                let Ok(row) = part.rows.row(at) else {
                    self.gaps.nodes = true;
                    whole = false;
                    continue;
                };
                count(&mut self.report.nodes);
                let (id, offset) = (row.id(), part.rows.offset(at));
                if at == 0 && id != part.first {
                    self.wrong(segment, offset, "the manifest has another first node");
                }
                if last.is_some_and(|last| last >= id) {
                    self.wrong(segment, offset, format!("node {id} is out of order"));
                }
                last = Some(id);
                if !known(row.kind.get(), base.manifest.kinds.len()) {
                    let what = format!("node {id} is of kind {}: there is none", row.kind.get());
                    self.wrong(segment, offset, what);
                }
                whole &= self.record(segment, offset, row, &mut refs);
            }
            if part.rows.len() == 0 {
                self.wrong(segment, 0, "there is no row in it");
            }
            self.members(part);
            self.table_refs(segment, &part.refs, &refs, whole);
            self.gaps.records |= !whole;
            self.advance(segment.file().len);
        }
    }

    /// The record of a node. Returns whether it could be read.
    fn record(&mut self, segment: &Segment, offset: usize, row: &NodeRow, refs: &mut Refs) -> bool {
        let base = self.base;
        let (id, place) = (row.id(), row.place());
        refer(refs, place.heap, place.size());
        let Some(heap) = self.heap(segment, offset, place.heap, place.offset(), place.len) else {
            return false;
        };
        let Ok(bytes) = heap.bytes(place.offset(), place.len) else { return false };
        let in_record = |damage: Damage| {
            let at = heap.file_offset(place.offset().saturating_add(damage.offset));
            heap.segment.damaged(at, format!("record of node {id}: {}", damage.what))
        };
        let meta = match NodeMeta::decode(bytes) {
            Ok(meta) => meta,
            Err(damage) => {
                self.found(in_record(damage));
                return false;
            }
        };
        let record_at = heap.file_offset(place.offset());
        let mut wrong = |what: String| {
            let what = format!("record of node {id}: {what}");
            self.found(heap.segment.damaged(record_at, what));
        };
        if let Err(damage) = meta.attributes() {
            wrong(format!("attributes: {}", damage.what));
        }
        if row.elsewhere() != meta.elsewhere.is_some() {
            wrong("it and its row say different things about where the content is".to_owned());
        }
        if meta.version > base.manifest.checkpoint {
            wrong(format!("version {} is after the checkpoint", meta.version));
        }
        if !meta.strength.is_finite() || !(0.0..=1.0).contains(&meta.confidence) {
            wrong(format!("strength {}, confidence {}", meta.strength, meta.confidence));
        }
        let keys = || meta.keys().filter_map(Result::ok);
        if !keys().is_sorted_by(|a, b| a < b) {
            wrong("keys are out of order".to_owned());
        }
        if let Some((index, _)) = keys().find(|(n, _)| !known(*n, base.manifest.indexes.len())) {
            wrong(format!("a key of index {index}: there is none"));
        }
        let vectors = || meta.vectors().filter_map(Result::ok);
        if !vectors().is_sorted_by(|(a, _), (b, _)| a < b) {
            wrong("vectors are out of order".to_owned());
        }
        if let Some(ContentPlace { heap, offset: from, len }) = meta.elsewhere {
            refer(refs, heap, u64::from(len).next_multiple_of(SLOT_BYTES));
            // If a block of it is damaged, that was told.
            self.heap(segment, offset, heap, from, len);
        }
        for (index, key) in keys() {
            self.has_key(segment, offset, &KeyPlace { index, key, node: id });
        }
        if let Some(expires) = meta.expires {
            let key = expiry_key(expires);
            self.has_key(segment, offset, &KeyPlace { index: EXPIRY, key: &key, node: id });
        }
        for (space, seq) in vectors() {
            self.has_vector((segment, offset), (id, row.kind.get()), (space, seq));
        }
        true
    }

    /// The heap that has the bytes to which the row at `at` refers.
    fn heap(
        &mut self,
        segment: &Segment,
        at: usize,
        heap: u32,
        offset: u64,
        len: u32,
    ) -> Option<&'a Heap> {
        let Ok(found) = self.base.heap(heap) else {
            self.wrong(segment, at, format!("heap {heap} is referred to and not there"));
            return None;
        };
        match found.has(offset, len) {
            Ok(true) => return Some(found),
            Ok(false) => {
                let what = format!("{len} bytes from {offset} are beyond the end of heap {heap}");
                self.wrong(segment, at, what);
            }
            // Told once, if not with its file.
            Err(error) if self.damaged.insert(heap) => self.found(error),
            Err(_) => {}
        }
        None
    }

    /// The entry of a node's key.
    fn has_key(&mut self, segment: &Segment, at: usize, place: &KeyPlace<'_>) {
        let base = self.base;
        let entry = base.key_bound(place).and_then(|(part, row)| match base.keys.get(part) {
            Some(part) if row < part.entries.len() => part.entries.entry(row).map(Some),
            _ => Ok(None),
        });
        match entry {
            Ok(Some(entry)) if entry == *place => count(&mut self.entries),
            Ok(_) => {
                let what = format!("a key of node {} is not in the key table", place.node);
                self.wrong(segment, at, what);
            }
            // Told where the key table is read.
            Err(_) => {}
        }
    }

    /// The row of a node's vector.
    fn has_vector(
        &mut self,
        (segment, at): (&Segment, usize),
        (id, kind): (NodeId, u32),
        (space, seq): (u32, Seq),
    ) {
        let space_of = |number: u32| {
            let spaces = &self.base.manifest.spaces;
            usize::try_from(number).ok().and_then(|number| spaces.get(number))
        };
        if space_of(space).is_some_and(|space| space.dropped) {
            return;
        }
        count(&mut self.report.vectors);
        let mut places = 0_u64;
        for part in self.base.vectors_of(space) {
            let found = part.rows.find_row(id).and_then(|row| match row {
                Some(row) if part.rows.heads.row(row)?.seq() == seq => {
                    Ok(Some((row, part.rows.kinds.row(row)?.get())))
                }
                _ => Ok(None),
            });
            match found {
                Ok(Some((row, of))) => {
                    count(&mut places);
                    refer(&mut self.live, part.rows.segment.file().number, 1);
                    if part.is_dead(row) || of != kind {
                        let what =
                            if of == kind { "is taken for dead" } else { "has another kind" };
                        let what = format!("the vector of node {id} by commit {seq} {what}");
                        self.wrong(&part.rows.segment, part.rows.kinds.offset(row), what);
                    }
                }
                Ok(None) => {}
                // It may be the one that has it.
                Err(_) => {
                    self.gaps.vectors = true;
                    return;
                }
            }
        }
        if places != 1 {
            let what = format!(
                "the vector of node {id} in space {space} by commit {seq} is in {places} files"
            );
            self.wrong(segment, at, what);
        }
    }

    /// The rows of each kind.
    fn members(&mut self, part: &NodePart) {
        let segment = part.rows.segment();
        let (rows, kinds) = (part.rows.len(), part.kinds.len());
        let listed = if kinds > 1 { rows } else { 0 };
        if part.members.len() != listed || (kinds == 0 && rows > 0) {
            let what = format!("{rows} rows of {kinds} kinds, {} members", part.members.len());
            return self.wrong(segment, part.kinds.offset(0), what);
        }
        let place = |first: u32| usize::try_from(first).unwrap_or(usize::MAX);
        let mut last_kind = None;
        let mut start = 0;
        for at in 0..kinds {
            // What is damaged was told.
            let Ok(row) = part.kinds.row(at) else { return };
            let (kind, first, offset) = (row.kind.get(), row.first.get(), part.kinds.offset(at));
            let end = match at.saturating_add(1) {
                next if next < kinds => part.kinds.row(next).map(|row| place(row.first.get())),
                _ => Ok(rows),
            };
            let Ok(end) = end else { return };
            if place(first) != start || start >= end || end > rows {
                return self.wrong(segment, offset, "the members of a kind are out of place");
            }
            if last_kind.is_some_and(|last| last >= kind) {
                self.wrong(segment, offset, format!("kind {kind} is out of order"));
            }
            last_kind = Some(kind);
            let mut last_member = None;
            for member_at in start..end {
                let Ok(member) = part.member(member_at) else { continue };
                // Ascending, and of this kind: so each row is there once, if
                // there are as many members as rows.
                if member >= rows || last_member.is_some_and(|last| last >= member) {
                    let offset = part.members.offset(member_at);
                    self.wrong(segment, offset, format!("member {member} is out of order"));
                    continue;
                }
                last_member = Some(member);
                let Ok(row) = part.rows.row(member) else { continue };
                if row.kind.get() != kind {
                    let what = format!("row {member} is listed as of kind {kind}");
                    self.wrong(segment, part.members.offset(member_at), what);
                }
            }
            start = end;
        }
    }

    /// What a part says that it refers to, and what its rows do.
    fn table_refs(&mut self, segment: &Segment, table: &Table<RefRow>, refs: &Refs, whole: bool) {
        for (heap, bytes) in refs {
            refer(&mut self.refs, *heap, *bytes);
        }
        if !whole {
            self.gaps.refs = true;
            return;
        }
        let mut same = table.len() == refs.len();
        for (at, (heap, bytes)) in refs.iter().enumerate().take(table.len()) {
            let Ok(row) = table.row(at) else { return };
            same &= (row.heap.get(), row.zero.get(), row.bytes.get()) == (*heap, 0, *bytes);
        }
        if !same {
            let what = format!("it does not list what its rows refer to: {refs:?}");
            self.wrong(segment, table.offset(0), what);
        }
    }

    /// Entries of the key table: those of the nodes, and no others.
    fn keys(&mut self) {
        let base = self.base;
        let mut entries = 0_u64;
        let mut last: Option<KeyPlace<'_>> = None;
        for part in &base.keys {
            let segment = part.entries.segment();
            let mut bytes = 0_u64;
            let mut whole = true;
            for at in 0..part.entries.len() {
                let entry = match part.entries.entry(at) {
                    Ok(entry) => entry,
                    Err(error) => {
                        whole = false;
                        self.entry_error(segment, error);
                        continue;
                    }
                };
                count(&mut entries);
                bytes = bytes
                    .saturating_add(len64(KEY_HEAD_BYTES))
                    .saturating_add(len64(entry.key.len()));
                let mut wrong = |what: String| {
                    self.found(segment.damaged(part.entries.offset(at), what));
                };
                if at == 0 && part.first() != Some(entry) {
                    wrong("the manifest has another first entry".to_owned());
                }
                if last.is_some_and(|last| last.compare(&entry).is_ge()) {
                    wrong(format!("a key of node {} is out of order", entry.node));
                }
                last = Some(entry);
                if entry.index == EXPIRY {
                    continue;
                }
                if !known(entry.index, base.manifest.indexes.len()) {
                    wrong(format!("a key of index {}: there is none", entry.index));
                }
                count(&mut self.report.keys);
            }
            if part.entries.len() == 0 {
                self.wrong(segment, 0, "there is no entry in it");
            }
            if whole && bytes != part.entries.bytes() {
                let what = format!("entries of {bytes} bytes in {}", part.entries.bytes());
                self.wrong(segment, 0, what);
            }
            self.gaps.keys |= !whole;
            self.advance(segment.file().len);
        }
        // Every key of a node led to an entry of its own: if these are all,
        // there is no other.
        if entries != self.entries || !self.damaged.is_empty() {
            for part in &base.keys {
                self.owners(part);
            }
        }
    }

    /// An entry that could not be read, unless its block was told.
    fn entry_error(&mut self, segment: &Segment, error: Error) {
        let told = match &error {
            Error::Corrupt { offset, .. } => !segment.is_good(*offset),
            _ => false,
        };
        if !told || !self.damaged.contains(&segment.file().number) {
            self.found(error);
        }
    }

    /// The nodes of entries.
    fn owners(&mut self, part: &KeyPart) {
        for at in 0..part.entries.len() {
            let Ok(entry) = part.entries.entry(at) else { continue };
            // A node that cannot be read was told.
            let Ok(node) = self.base.node(entry.node) else { continue };
            let has = node.is_some_and(|node| match entry.index {
                EXPIRY => node.meta.expires.is_some_and(|at| expiry_key(at) == entry.key),
                index => node.keys().any(|key| key == (index, entry.key)),
            });
            if !has {
                let what = format!("a key of node {}, which does not have it", entry.node);
                self.wrong(part.entries.segment(), part.entries.offset(at), what);
            }
        }
    }

    /// Edges at their sources and at their targets.
    fn edges(&mut self) {
        let base = self.base;
        let mut turned = 0;
        let out = self.edge_table(&base.out, true, &mut |verifier, part, at, row| {
            let missing = "it is not at its target";
            turned += u64::from(verifier.is_turned(part, at, row, &base.into, missing));
        });
        let into = self.edge_table(&base.into, false, &mut |_, _, _, _| {});
        self.report.edges = out;
        // Every edge led to a row of its own at its target: if these are all,
        // there is no other.
        if into != turned || !self.damaged.is_empty() {
            for part in &base.into {
                for at in 0..part.rows.len() {
                    if let Ok(row) = part.rows.row(at) {
                        self.is_turned(part, at, row, &base.out, "it is not at its source");
                    }
                }
            }
        }
    }

    /// One of the two tables of edges. Returns the number of its rows.
    fn edge_table(
        &mut self,
        parts: &'a [Arc<EdgePart>],
        out: bool,
        each: &mut dyn FnMut(&mut Self, &EdgePart, usize, &EdgeRow),
    ) -> u64 {
        let mut rows = 0;
        let mut last: Option<EdgeKey> = None;
        let mut there = None;
        for part in parts {
            let segment = part.rows.segment();
            let mut refs = Refs::new();
            let mut whole = true;
            for at in 0..part.rows.len() {
                let Ok(row) = part.rows.row(at) else {
                    self.gaps.edges |= out;
                    whole = false;
                    continue;
                };
                count(&mut rows);
                let (key, offset) = (row.key(), part.rows.offset(at));
                if at == 0 && key != part.first {
                    self.wrong(segment, offset, "the manifest has another first edge");
                }
                if last.is_some_and(|last| last >= key) {
                    self.wrong(segment, offset, "an edge is out of order");
                }
                last = Some(key);
                self.edge(part, offset, row);
                // The other end is looked for where the edge is at home there.
                if there != Some(key.here) {
                    match self.base.node_row(key.here) {
                        Ok(None) => {
                            let what = format!("node {} of an edge is not there", key.here);
                            self.wrong(segment, offset, what);
                        }
                        _ => there = Some(key.here),
                    }
                }
                if out {
                    whole &= self.attributes(segment, offset, row, &mut refs);
                }
                each(self, part, at, row);
            }
            if part.rows.len() == 0 {
                self.wrong(segment, 0, "there is no row in it");
            }
            if let Some(table) = &part.refs {
                self.table_refs(segment, table, &refs, whole);
            }
            self.advance(segment.file().len);
        }
        rows
    }

    /// What a row of an edge says by itself.
    fn edge(&mut self, part: &EdgePart, offset: usize, row: &EdgeRow) {
        let segment = part.rows.segment();
        let kind = row.key().kind;
        if !known(kind, self.base.manifest.kinds.len()) {
            self.wrong(segment, offset, format!("an edge of kind {kind}: there is none"));
        }
        let (weight, confidence) = (row.weight.get(), row.confidence.get());
        if !weight.is_finite() || !(0.0..=1.0).contains(&confidence) {
            let what = format!("an edge of weight {weight}, confidence {confidence}");
            self.wrong(segment, offset, what);
        }
        let place = row.attributes();
        let nowhere = HeapPlace { heap: 0, slot: 0, ..place };
        if (part.refs.is_none() || place.len == 0) && place != nowhere {
            self.wrong(segment, offset, "an edge has attributes that are not its own");
        }
        if same_edge(row, row.key(), place) != *row {
            self.wrong(segment, offset, "reserved bytes of an edge are not zero");
        }
    }

    /// The attributes of an edge. Returns whether they could be read.
    fn attributes(
        &mut self,
        segment: &Segment,
        offset: usize,
        row: &EdgeRow,
        refs: &mut Refs,
    ) -> bool {
        let place = row.attributes();
        if place.len == 0 {
            return true;
        }
        refer(refs, place.heap, place.size());
        let heap = self.heap(segment, offset, place.heap, place.offset(), place.len);
        let Some(heap) = heap else { return false };
        // A block that is damaged was told.
        if heap.bytes(place.offset(), place.len).is_ok()
            && let Err(error) = self.base.attributes(row)
        {
            self.found(error);
        }
        true
    }

    /// Whether an edge is at its other end what it is here.
    fn is_turned(
        &mut self,
        part: &EdgePart,
        at: usize,
        row: &EdgeRow,
        table: &[Arc<EdgePart>],
        missing: &str,
    ) -> bool {
        // A block that is damaged was told.
        let Ok(found) = Base::edge(table, &row.key().turned()) else { return true };
        let Some(found) = found else {
            let what = format!("edge {:?}: {missing}", row.key());
            self.wrong(part.rows.segment(), part.rows.offset(at), what);
            return false;
        };
        let len = row.attributes().len;
        if same_edge(row, row.key(), HeapPlace { heap: 0, slot: 0, len })
            != same_edge(
                found,
                row.key(),
                HeapPlace { heap: 0, slot: 0, len: found.attributes().len },
            )
        {
            let what = format!("edge {:?}: it is another at its other end", row.key());
            self.wrong(part.rows.segment(), part.rows.offset(at), what);
        }
        true
    }

    /// Vectors.
    fn vectors(&mut self) {
        let base = self.base;
        for part in &base.vectors {
            let dead = part.dead_count();
            let part = &part.rows;
            let segment = &part.segment;
            let mut declared = base.manifest.vectors.iter();
            let declared = declared.find(|file| file.file.number == segment.file().number);
            let space = usize::try_from(part.space).ok();
            let space = space.and_then(|space| base.manifest.spaces.get(space));
            let mut last = None;
            for at in 0..part.len() {
                let Ok((head, numbers)) = part.row(at) else { continue };
                let (id, offset) = (head.id(), part.offset(at));
                if last.is_some_and(|last| last >= id) {
                    self.wrong(segment, offset, format!("the vector of node {id} is out of order"));
                }
                last = Some(id);
                if head.seq() > base.manifest.checkpoint {
                    let what = format!("vector of node {id}: commit {} is to come", head.seq());
                    self.wrong(segment, offset, what);
                }
                if let Some(space) = space
                    && let Err(error) = space.space.check_vector(&space.name, numbers)
                {
                    self.wrong(segment, offset, format!("vector of node {id}: {error}"));
                }
                let norm = vector::norm(numbers);
                if head.norm.get().to_bits() != norm.to_bits() {
                    let what = format!(
                        "vector of node {id}: its length is {norm}, not {}",
                        head.norm.get()
                    );
                    self.wrong(segment, offset, what);
                }
            }
            self.advance(segment.file().len);
            let number = segment.file().number;
            let live = declared.map_or(0, |file| usize::try_from(file.live).unwrap_or(usize::MAX));
            if live.saturating_add(dead) != part.len() {
                let rows = part.len();
                let what = format!("vector file {number}: {rows} rows, {live} live, {dead} dead");
                self.found(Error::corrupt(&self.manifest, 72, what));
            }
        }
    }

    /// What is derived from vector files. It is built again if it is wrong.
    fn indexes(&mut self) {
        let base = self.base;
        let mut wrong = false;
        for part in &base.vectors {
            if let Some(codes) = &part.codes
                && let Some(error) = self.codes(&part.rows, codes)
            {
                codes.fail(error.clone());
                wrong = true;
                self.found_of(codes, error);
            }
            if let Some(graph) = &part.graph
                && let Err(error) = graph.get(&part.rows)
            {
                wrong = true;
                self.found_of(graph, error);
            }
        }
        if wrong {
            base.notice();
        }
    }

    /// Tells of an index that it is wrong, if that was not told of its blocks.
    fn found_of<T: Load>(&mut self, index: &Index<T>, error: Error) {
        if !self.damaged.contains(&index.file.number) {
            self.found(error);
        }
    }

    /// What is wrong with codes: each is to be that of its row.
    fn codes(&mut self, rows: &VectorRows, index: &Index<Codes>) -> Option<Error> {
        /// Rows that are encoded at once: a multiple of those of a block.
        const ENCODED: usize = 4096;
        let loaded = index.get(rows).and_then(|codes| Ok((codes, codes.bytes()?)));
        let (codes, bytes) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return Some(error),
        };
        let mut at = 0_usize;
        for from in (0_usize..rows.len()).step_by(ENCODED) {
            let to = from.saturating_add(ENCODED).min(rows.len());
            let mut expected = Vec::new();
            // What is damaged was told.
            if vector::build::encode(&codes.codebook, rows, from, to, &mut expected).is_err() {
                return None;
            }
            let end = at.saturating_add(expected.len());
            if bytes.get(at..end) != Some(expected.as_slice()) {
                let what = format!("the codes of rows {from} to {to} are not theirs");
                return Some(codes.damaged(at, what));
            }
            at = end;
        }
        None
    }

    /// What the manifest says of all of it.
    fn sums(&mut self) {
        let manifest = &self.base.manifest;
        let Gaps { nodes, records, edges, keys, vectors, refs } = self.gaps;
        let mut wrong = Vec::new();
        let counts = manifest.counts;
        for (what, declared, found, gap) in [
            ("nodes", counts.nodes, self.report.nodes, nodes),
            ("edges", counts.edges, self.report.edges, edges),
            ("keys", counts.keys, self.report.keys, keys),
            ("vectors", counts.vectors, self.report.vectors, records),
        ] {
            if declared != found && !gap {
                wrong.push(format!("{declared} {what} declared, {found} found"));
            }
        }
        for heap in manifest.heaps.iter().filter(|_| !refs) {
            let found = self.refs.get(&heap.file.number).copied().unwrap_or(0);
            if heap.live != found {
                wrong.push(format!(
                    "heap {}: {} live bytes declared, {found} are referred to",
                    heap.file.number, heap.live
                ));
            }
        }
        for file in manifest.vectors.iter().filter(|_| !records && !vectors) {
            let found = self.live.get(&file.file.number).copied().unwrap_or(0);
            if file.live != found {
                wrong.push(format!(
                    "vector file {}: {} live rows declared, {found} are referred to",
                    file.file.number, file.live
                ));
            }
        }
        for what in wrong {
            self.found(Error::corrupt(&self.manifest, 72, what));
        }
    }
}

/// An edge with the fields of another, to be compared: but for its place and
/// that of its attributes.
fn same_edge(row: &EdgeRow, key: EdgeKey, attributes: HeapPlace) -> EdgeRow {
    let mut same = EdgeRow::new(key, attributes);
    same.confidence = row.confidence;
    same.weight = row.weight;
    same.created = row.created;
    same.updated = row.updated;
    same
}
