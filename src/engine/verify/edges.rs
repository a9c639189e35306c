//! Verifies edge tables.

use std::sync::Arc;

use crate::{
    engine::verify::verifier::{Refs, Verifier, count, known, refer},
    format::tables::{EdgeKey, EdgeRow, HeapRef},
    state::base::{Base, partitions::EdgePartition},
    store::segment::file::Segment,
};

impl<'a> Verifier<'a> {
    /// Edges at their sources and at their targets.
    pub(crate) fn edges(&mut self) {
        let base = self.base;
        let mut turned = 0;
        let out = self.edge_table(base.out(), true, &mut |verifier, partition, at, row| {
            let missing = "it is not at its target";
            turned += u64::from(verifier.is_mirrored(partition, at, row, base.in_edges(), missing));
        });
        let into = self.edge_table(base.in_edges(), false, &mut |_, _, _, _| {});
        self.report.edges = out;
        // Every edge led to a row of its own at its target: if these are all,
        // there is no other.
        if into != turned || !self.damaged.is_empty() {
            for partition in base.in_edges() {
                for at in 0..partition.rows().len() {
                    if let Ok(row) = partition.rows().row(at) {
                        self.is_mirrored(partition, at, row, base.out(), "it is not at its source");
                    }
                }
            }
        }
    }

    /// One of the two tables of edges. Returns the number of its rows.
    fn edge_table(
        &mut self,
        partitions: &'a [Arc<EdgePartition>],
        out: bool,
        each: &mut dyn FnMut(&mut Self, &EdgePartition, usize, &EdgeRow),
    ) -> u64 {
        let mut rows = 0;
        let mut last: Option<EdgeKey> = None;
        let mut there = None;
        for partition in partitions {
            let segment = partition.rows().segment();
            let mut refs = Refs::new();
            let mut whole = true;
            for at in 0..partition.rows().len() {
                let Ok(row) = partition.rows().row(at) else {
                    self.gaps.edges |= out;
                    whole = false;
                    continue;
                };
                count(&mut rows);
                let (key, offset) = (row.key(), partition.rows().offset(at));
                if at == 0 && key != partition.first() {
                    self.wrong(segment, offset, "the manifest has another first edge");
                }
                if last.is_some_and(|last| last >= key) {
                    self.wrong(segment, offset, "an edge is out of order");
                }
                last = Some(key);
                self.edge(partition, offset, row);
                // The other end is looked for where the edge is at home there.
                if there != Some(key.from) {
                    match self.base.node_row(key.from) {
                        Ok(None) => {
                            let what = format!("node {} of an edge is not there", key.from);
                            self.wrong(segment, offset, what);
                        }
                        _ => there = Some(key.from),
                    }
                }
                if out {
                    whole &= self.attributes(segment, offset, row, &mut refs);
                }
                each(self, partition, at, row);
            }
            if partition.rows().len() == 0 {
                self.wrong(segment, 0, "there is no row in it");
            }
            if let Some(table) = partition.refs() {
                self.table_refs(segment, table, &refs, whole);
            }
            self.advance(segment.file().len);
        }
        rows
    }

    /// What a row of an edge says by itself.
    fn edge(&mut self, partition: &EdgePartition, offset: usize, row: &EdgeRow) {
        let segment = partition.rows().segment();
        let kind = row.key().kind;
        if !known(kind, self.base.manifest().kinds.len()) {
            self.wrong(segment, offset, format!("an edge of unknown kind {kind}"));
        }
        let (weight, confidence) = (row.weight.get(), row.confidence.get());
        if !weight.is_finite() || !(0.0..=1.0).contains(&confidence) {
            let what = format!("an edge of weight {weight}, confidence {confidence}");
            self.wrong(segment, offset, what);
        }
        let place = row.attributes();
        let nowhere = HeapRef { heap: 0, slot: 0, ..place };
        if (partition.refs().is_none() || place.len == 0) && place != nowhere {
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
    fn is_mirrored(
        &mut self,
        partition: &EdgePartition,
        at: usize,
        row: &EdgeRow,
        table: &[Arc<EdgePartition>],
        missing: &str,
    ) -> bool {
        // A block that is damaged was told.
        let Ok(found) = Base::edge(table, &row.key().reversed()) else { return true };
        let Some(found) = found else {
            let what = format!("edge {:?}: {missing}", row.key());
            self.wrong(partition.rows().segment(), partition.rows().offset(at), what);
            return false;
        };
        let len = row.attributes().len;
        if same_edge(row, row.key(), HeapRef { heap: 0, slot: 0, len })
            != same_edge(
                found,
                row.key(),
                HeapRef { heap: 0, slot: 0, len: found.attributes().len },
            )
        {
            let what = format!("edge {:?}: it is another at its other end", row.key());
            self.wrong(partition.rows().segment(), partition.rows().offset(at), what);
        }
        true
    }
}

/// An edge with the fields of another, to be compared: but for its place and
/// that of its attributes.
fn same_edge(row: &EdgeRow, key: EdgeKey, attributes: HeapRef) -> EdgeRow {
    let mut same = EdgeRow::new(key, attributes);
    same.confidence = row.confidence;
    same.weight = row.weight;
    same.created = row.created;
    same.updated = row.updated;
    same
}
