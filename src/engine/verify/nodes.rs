//! Verifies node tables and their records.

use std::sync::Arc;

use crate::{
    engine::verify::verifier::{Refs, Verifier, count, refer},
    format::{
        header::Damage,
        heap::{BlobRef, NodeMeta},
        tables::{EXPIRY, IndexEntryRef, NodeRow, RefRow, SLOT_BYTES},
    },
    model::{error::Result, id::NodeId, index::Fields, time::Seq},
    num,
    state::{
        base::{heap::Heap, partitions::NodePartition},
        catalog::{Indexes, Phase},
        record::expiry_key,
    },
    store::segment::{file::Segment, table::Table},
};

/// The indexes whose keys in a record are not those that are derived from it.
fn wrong_keys(indexes: &Indexes, kind: &str, meta: &NodeMeta<'_>) -> Vec<String> {
    if indexes.none_derived() {
        return Vec::new();
    }
    // Attributes that cannot be read are reported.
    let Ok(attributes) = meta.attributes() else { return Vec::new() };
    let fields = Fields {
        kind,
        attributes: &attributes,
        strength: meta.strength,
        confidence: meta.confidence,
        created: meta.created,
        updated: meta.updated,
        accessed: meta.accessed,
        access_count: meta.access_count,
        expires: meta.expires,
    };
    let mut wrong = Vec::new();
    for (number, index, derived) in indexes.all_derived() {
        // The others lack keys.
        if derived.phase != Phase::Ready {
            continue;
        }
        let mut expected = Vec::new();
        let possible = derived.definition.derive(&fields, &mut expected).is_ok();
        expected.sort_unstable();
        expected.dedup();
        let found = meta.keys().filter_map(Result::ok).filter(|(of, _)| *of == number);
        if !possible || !found.map(|(_, key)| key).eq(expected.iter().map(Vec::as_slice)) {
            wrong.push(format!("its keys of index {:?} are not those of its fields", index.name));
        }
    }
    wrong
}

impl<'a> Verifier<'a> {
    /// Verifies the node table, and everything that records refer to.
    pub(crate) fn nodes(&mut self) {
        let base = self.base;
        let mut last = None;
        for partition in base.nodes() {
            let segment = partition.rows().segment();
            let mut refs = Refs::new();
            let mut whole = true;
            for at in 0..partition.rows().len() {
                let Ok(row) = partition.rows().row(at) else {
                    self.gaps.nodes = true;
                    whole = false;
                    continue;
                };
                count(&mut self.report.nodes);
                let (id, offset) = (row.id(), partition.rows().offset(at));
                if at == 0 && id != partition.first() {
                    self.wrong(segment, offset, "the manifest has another first node");
                }
                if last.is_some_and(|last| last >= id) {
                    self.wrong(segment, offset, format!("node {id} is out of order"));
                }
                last = Some(id);
                if base.knows_kind(row.kind.get()) {
                    refer(&mut self.kinds, row.kind.get(), 1);
                } else {
                    self.gaps.kinds = true;
                    let what = format!("node {id} is of unknown kind {}", row.kind.get());
                    self.wrong(segment, offset, what);
                }
                whole &= self.record(segment, offset, row, &mut refs);
            }
            if partition.rows().len() == 0 {
                self.wrong(segment, 0, "it has no rows");
            }
            self.members(partition);
            self.table_refs(segment, partition.refs(), &refs, whole);
            self.gaps.records |= !whole;
            self.advance(segment.file().len);
        }
    }

    /// Verifies the record of a node. Returns whether it could be read.
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
            heap.segment().damaged(at, format!("record of node {id}: {}", damage.what))
        };
        let meta = match NodeMeta::decode(bytes) {
            Ok(meta) => meta,
            Err(damage) => {
                self.found(in_record(damage));
                return false;
            }
        };
        let indexes = Arc::clone(&self.indexes);
        let record_at = heap.file_offset(place.offset());
        let mut wrong = |what: String| {
            let what = format!("record of node {id}: {what}");
            self.found(heap.segment().damaged(record_at, what));
        };
        if let Err(damage) = meta.attributes() {
            wrong(format!("attributes: {}", damage.what));
        }
        if row.external() != meta.external.is_some() {
            wrong("it and its row disagree on where the content is".to_owned());
        }
        if meta.version > base.manifest().checkpoint {
            wrong(format!("version {} is after the checkpoint", meta.version));
        }
        if !meta.strength.is_finite() || !(0.0..=1.0).contains(&meta.confidence) {
            wrong(format!("strength {}, confidence {}", meta.strength, meta.confidence));
        }
        let keys = || meta.keys().filter_map(Result::ok);
        if !keys().is_sorted_by(|a, b| a < b) {
            wrong("keys are out of order".to_owned());
        }
        // Keys of indexes that were dropped stay until the record is written again.
        let unknown = |index: u32| !indexes.knows(index) && !indexes.is_dropped(index);
        if let Some((index, _)) = keys().find(|(index, _)| unknown(*index)) {
            wrong(format!("a key of unknown index {index}"));
        }
        if let Some(kind) = base.manifest().kind(row.kind.get()) {
            wrong_keys(&indexes, kind, &meta).into_iter().for_each(&mut wrong);
        }
        let vectors = || meta.vectors().filter_map(Result::ok);
        if !vectors().is_sorted_by(|(a, _), (b, _)| a < b) {
            wrong("vectors are out of order".to_owned());
        }
        if let Some(BlobRef { heap, offset: from, len }) = meta.external {
            refer(refs, heap, u64::from(len).next_multiple_of(SLOT_BYTES));
            // A damaged block of it was reported.
            self.heap(segment, offset, heap, from, len);
        }
        for (index, key) in keys().filter(|(index, _)| indexes.knows(*index)) {
            self.has_key(segment, offset, &IndexEntryRef { index, key, node: id });
        }
        if let Some(expires) = meta.expires {
            let key = expiry_key(expires);
            self.has_key(segment, offset, &IndexEntryRef { index: EXPIRY, key: &key, node: id });
        }
        for (space, seq) in vectors() {
            self.has_vector((segment, offset), (id, row.kind.get()), (space, seq));
        }
        true
    }

    /// The heap that has the bytes to which the row at `at` refers.
    pub(crate) fn heap(
        &mut self,
        segment: &Segment,
        at: usize,
        heap: u32,
        offset: u64,
        len: u32,
    ) -> Option<&'a Heap> {
        let Ok(found) = self.base.heap(heap) else {
            self.wrong(segment, at, format!("heap {heap} is referred to but missing"));
            return None;
        };
        match found.has(offset, len) {
            Ok(true) => return Some(found),
            Ok(false) => {
                let what = format!("{len} bytes from {offset} are beyond the end of heap {heap}");
                self.wrong(segment, at, what);
            }
            // Reported once, unless it was reported with its file.
            Err(error) if self.damaged.insert(heap) => self.found(error),
            Err(_) => {}
        }
        None
    }

    /// Verifies that the key table has the entry of a node's key.
    fn has_key(&mut self, segment: &Segment, at: usize, place: &IndexEntryRef<'_>) {
        let base = self.base;
        let entry =
            base.key_bound(place).and_then(|(partition, row)| match base.keys().get(partition) {
                Some(partition) if row < partition.entries().len() => {
                    partition.entries().entry(row).map(Some)
                }
                _ => Ok(None),
            });
        match entry {
            Ok(Some(entry)) if entry == *place => count(&mut self.entries),
            Ok(_) => {
                let what = format!("a key of node {} is not in the key table", place.node);
                self.wrong(segment, at, what);
            }
            // Reported when the key table is verified.
            Err(_) => {}
        }
    }

    /// Verifies that exactly one vector file has a node's vector.
    fn has_vector(
        &mut self,
        (segment, at): (&Segment, usize),
        (id, kind): (NodeId, u32),
        (space, seq): (u32, Seq),
    ) {
        // It was dropped.
        let manifest = self.base.manifest();
        if manifest.space(space).is_none() && space < manifest.next_space() {
            return;
        }
        count(&mut self.report.vectors);
        let mut places = 0_u64;
        for partition in self.base.vectors_of(space) {
            let found = partition.rows().find_row(id).and_then(|row| match row {
                Some(row) if partition.rows().heads().row(row)?.seq() == seq => {
                    Ok(Some((row, partition.rows().kinds().row(row)?.get())))
                }
                _ => Ok(None),
            });
            match found {
                Ok(Some((row, of))) => {
                    count(&mut places);
                    refer(&mut self.live, partition.rows().segment().file().number, 1);
                    if partition.is_dead(row) || of != kind {
                        let what = if of == kind { "is marked dead" } else { "has another kind" };
                        let what = format!("the vector of node {id} by commit {seq} {what}");
                        self.wrong(
                            partition.rows().segment(),
                            partition.rows().kinds().offset(row),
                            what,
                        );
                    }
                }
                Ok(None) => {}
                // The vector may be in the row that could not be read.
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

    /// Verifies the lists of rows by kind.
    fn members(&mut self, partition: &NodePartition) {
        let segment = partition.rows().segment();
        let (rows, kinds) = (partition.rows().len(), partition.kinds().len());
        let listed = if kinds > 1 { rows } else { 0 };
        if partition.members().len() != listed || (kinds == 0 && rows > 0) {
            let what =
                format!("{rows} rows of {kinds} kinds, {} members", partition.members().len());
            return self.wrong(segment, partition.kinds().offset(0), what);
        }
        let place = |first: u32| num::index(first);
        let mut last_kind = None;
        let mut start = 0;
        for at in 0..kinds {
            // Damaged blocks were reported.
            let Ok(row) = partition.kinds().row(at) else { return };
            let (kind, first, offset) =
                (row.kind.get(), row.first.get(), partition.kinds().offset(at));
            let end = match at + 1 {
                next if next < kinds => {
                    partition.kinds().row(next).map(|row| place(row.first.get()))
                }
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
                let Ok(member) = partition.member(member_at) else { continue };
                // Members ascend and are of this kind. As there are as many members
                // as rows, each row is listed once.
                if member >= rows || last_member.is_some_and(|last| last >= member) {
                    let offset = partition.members().offset(member_at);
                    self.wrong(segment, offset, format!("member {member} is out of order"));
                    continue;
                }
                last_member = Some(member);
                let Ok(row) = partition.rows().row(member) else { continue };
                if row.kind.get() != kind {
                    let what = format!("row {member} is listed as of kind {kind}");
                    self.wrong(segment, partition.members().offset(member_at), what);
                }
            }
            start = end;
        }
    }

    /// Compares the heap references that a partition lists with those of its rows.
    pub(crate) fn table_refs(
        &mut self,
        segment: &Segment,
        table: &Table<RefRow>,
        refs: &Refs,
        whole: bool,
    ) {
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
}
