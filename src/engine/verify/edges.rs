//! Verifies edge tables.

use std::sync::Arc;

use crate::{
    engine::verify::verifier::{Refs, Verifier, count, refer},
    format::tables::{EdgeKey, EdgeRow, HeapRef},
    state::base::{Base, partitions::EdgePartition},
    store::segment::file::Segment,
};

impl<'a> Verifier<'a> {
    /// Verifies both edge tables.
    pub(crate) fn edges(&mut self) {
        let base = self.base;
        let mut mirrored = 0;
        let out = self.edge_table(base.out(), true, &mut |verifier, partition, at, row| {
            let missing = "it is not at its target";
            let found = verifier.is_mirrored(partition, at, row, base.in_edges(), missing);
            mirrored += u64::from(found);
        });
        let in_edges = self.edge_table(base.in_edges(), false, &mut |_, _, _, _| {});
        self.report.edges = out;
        // Each edge led to a different row of in_edges. If in_edges has no more rows
        // than these, all are checked.
        if in_edges != mirrored || !self.damaged.is_empty() {
            for partition in base.in_edges() {
                for at in 0..partition.rows().len() {
                    if let Ok(row) = partition.rows().row(at) {
                        self.is_mirrored(partition, at, row, base.out(), "it is not at its source");
                    }
                }
            }
        }
    }

    /// Verifies one of the two edge tables. Returns the number of its rows.
    fn edge_table(
        &mut self,
        partitions: &'a [Arc<EdgePartition>],
        out: bool,
        each: &mut dyn FnMut(&mut Self, &EdgePartition, usize, &EdgeRow),
    ) -> u64 {
        let mut rows = 0;
        let mut last: Option<EdgeKey> = None;
        let mut found = None;
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
                // The other end is checked in the other edge table.
                if found != Some(key.from) {
                    match self.base.node_row(key.from) {
                        Ok(None) => {
                            let what = format!("node {} of an edge is missing", key.from);
                            self.wrong(segment, offset, what);
                        }
                        _ => found = Some(key.from),
                    }
                }
                if out {
                    whole &= self.attributes(segment, offset, row, &mut refs);
                }
                each(self, partition, at, row);
            }
            if partition.rows().len() == 0 {
                self.wrong(segment, 0, "it has no rows");
            }
            if let Some(table) = partition.refs() {
                self.table_refs(segment, table, &refs, whole);
            }
            self.advance(segment.file().len);
        }
        rows
    }

    /// Verifies the fields of a row.
    fn edge(&mut self, partition: &EdgePartition, offset: usize, row: &EdgeRow) {
        let segment = partition.rows().segment();
        let kind = row.key().kind;
        if !self.base.knows_kind(kind) {
            self.gaps.kinds = true;
            self.wrong(segment, offset, format!("an edge of unknown kind {kind}"));
        } else if partition.refs().is_some() {
            refer(&mut self.kinds, kind, 1);
        }
        let (weight, confidence) = (row.weight.get(), row.confidence.get());
        if !weight.is_finite() || !(0.0..=1.0).contains(&confidence) {
            let what = format!("an edge of weight {weight}, confidence {confidence}");
            self.wrong(segment, offset, what);
        }
        let place = row.attributes();
        let none = HeapRef { heap: 0, slot: 0, ..place };
        if (partition.refs().is_none() || place.len == 0) && place != none {
            self.wrong(segment, offset, "an edge refers to attributes that it must not have");
        }
        if same_edge(row, row.key(), place) != *row {
            self.wrong(segment, offset, "reserved bytes of an edge are not zero");
        }
    }

    /// Verifies the attributes of an edge. Returns whether their heap could be
    /// read.
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
        // A damaged block was reported.
        if heap.bytes(place.offset(), place.len).is_ok()
            && let Err(error) = self.base.attributes(row)
        {
            self.found(error);
        }
        true
    }

    /// Verifies that the other edge table has the same edge. Returns whether it has
    /// one with this key.
    fn is_mirrored(
        &mut self,
        partition: &EdgePartition,
        at: usize,
        row: &EdgeRow,
        table: &[Arc<EdgePartition>],
        missing: &str,
    ) -> bool {
        // A damaged block was reported.
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
            let what = format!("edge {:?}: it differs at its other end", row.key());
            self.wrong(partition.rows().segment(), partition.rows().offset(at), what);
        }
        true
    }
}

/// A row with the fields of another, but with this key and this place of
/// attributes, for comparisons.
fn same_edge(row: &EdgeRow, key: EdgeKey, attributes: HeapRef) -> EdgeRow {
    let mut same = EdgeRow::new(key, attributes);
    same.confidence = row.confidence;
    same.weight = row.weight;
    same.created = row.created;
    same.updated = row.updated;
    same
}
