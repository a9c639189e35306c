//! Salvages edges.

use std::{path::Path, sync::Arc};

use crate::{
    engine::repair::{
        report::{EdgeName, LossItem, MOST_LOST},
        salvage::{Repair, count},
    },
    format::{
        header::FileKind,
        tables::{EdgeKey, EdgeRow},
    },
    model::{
        batch::Op,
        edge::Edge,
        error::{Error, Result},
        id::NodeId,
        time::{Seq, Timestamp},
        value::Attributes,
    },
    num,
    state::base::{
        partitions::{EdgePartition, Partition as _},
        vectors::VectorPartition,
    },
};

impl<'r> Repair<'r> {
    /// Salvages edges from out_edges. Returns the gaps of unreadable rows.
    pub(crate) fn edges(&mut self) -> Result<Vec<Gap>> {
        let base = self.base;
        let mut gaps: Vec<Gap> = Vec::new();
        let mut opened = base.out().iter().peekable();
        let mut last: Option<EdgeKey> = None;
        for file in &self.manifest.out {
            let is_it = |partition: &&Arc<EdgePartition>| {
                partition.segment().file().number == file.file.number
            };
            let Some(partition) = opened.next_if(is_it) else {
                let rows = base.out().iter().map(|partition| partition.rows().len());
                let rows = self.rows_of(FileKind::Out, self.manifest.counts.edges, rows);
                if let Some(error) = self.unopened(file.file) {
                    add_gap(&mut gaps, last, rows, error.clone());
                }
                continue;
            };
            // The number of unreadable rows since the last readable one, and the
            // first error.
            let mut bad: Option<(u64, Error)> = None;
            for at in 0..partition.rows().len() {
                self.advance();
                let row = match partition.rows().row(at) {
                    Ok(row) => row,
                    Err(error) => {
                        let (rows, _) = bad.get_or_insert((0, error));
                        count(rows);
                        continue;
                    }
                };
                if let Some((rows, error)) = bad.take() {
                    add_gap(&mut gaps, last, Some(rows), error);
                }
                let key = row.key();
                if let Some(gap) = gaps.last_mut().filter(|gap| gap.next.is_none()) {
                    gap.next = Some(key);
                }
                last = Some(key);
                let (file, offset) =
                    (partition.segment().path(), num::wide(partition.rows().offset(at)));
                let attributes = base.attributes(row);
                self.edge(row, key, attributes, file, offset)?;
            }
            if let Some((rows, error)) = bad {
                add_gap(&mut gaps, last, Some(rows), error);
            }
        }
        Ok(gaps)
    }

    /// Salvages the edges of the gaps from in_edges.
    pub(crate) fn edges_at_targets(&mut self, gaps: &mut [Gap]) -> Result<()> {
        if gaps.is_empty() {
            return Ok(());
        }
        let base = self.base;
        for partition in base.in_edges() {
            for at in 0..partition.rows().len() {
                // A row that is unreadable here as well stays in its gap.
                let Ok(row) = partition.rows().row(at) else { continue };
                let key = row.key().reversed();
                let gap = gaps.partition_point(|gap| gap.next.is_some_and(|end| end <= key));
                let Some(gap) = gaps.get_mut(gap) else { continue };
                if gap.previous.is_some_and(|start| key <= start) || self.has(&key)? {
                    continue;
                }
                count(&mut gap.found);
                let error = gap.error.clone();
                let (file, offset) =
                    (partition.segment().path(), num::wide(partition.rows().offset(at)));
                self.edge(row, key, Err(error), file, offset)?;
            }
        }
        Ok(())
    }

    /// Whether the new store has the edge.
    fn has(&self, key: &EdgeKey) -> Result<bool> {
        let Some(kind) = self.kind(key.kind) else { return Ok(false) };
        Ok(self.snapshot.edge(key.from, kind, key.to, key.discriminator)?.is_some())
    }

    /// Salvages an edge, whose key begins with the source.
    fn edge(
        &mut self,
        row: &EdgeRow,
        key: EdgeKey,
        attributes: Result<Attributes>,
        file: &'r Path,
        offset: u64,
    ) -> Result<()> {
        let kind = self.kind(key.kind);
        let name = EdgeName {
            source: key.from,
            kind: kind.map_or_else(|| key.kind.to_string(), str::to_owned),
            target: key.to,
            discriminator: key.discriminator,
        };
        if kind.is_none() {
            self.lost(file, offset, LossItem::Edge(name), "its kind is unknown");
            return Ok(());
        }
        for end in [key.from, key.to] {
            if !self.snapshot.contains(end)? {
                let why = format!("node {end} was lost");
                self.lost(file, offset, LossItem::Edge(name), why);
                return Ok(());
            }
        }
        let mut edge = Edge::new(key.from, name.kind.clone(), key.to);
        edge.discriminator = key.discriminator;
        edge.weight = row.weight.get();
        edge.confidence = row.confidence.get();
        edge.created = Some(Timestamp::from_micros(row.created.get()));
        edge.updated = Some(Timestamp::from_micros(row.updated.get()));
        let mut damage = None;
        match attributes {
            Ok(attributes) => edge.attributes = attributes,
            Err(error) => damage = Some(error),
        }
        match self.queue(Op::Link { edge })? {
            Ok(()) => {
                count(&mut self.report.edges);
                if let Some(error) = damage {
                    self.lost_by(LossItem::Attributes(name), &error);
                }
            }
            Err(error) => {
                self.lost(file, offset, LossItem::Edge(name), error.with_causes().to_string())
            }
        }
        Ok(())
    }

    /// Reports the edges of the gaps that were not found in in_edges either.
    pub(crate) fn gaps(&mut self, gaps: Vec<Gap>) {
        for gap in gaps {
            let left = gap.rows.map(|rows| rows.saturating_sub(gap.found));
            if left == Some(0) {
                continue;
            }
            let item = LossItem::Edges {
                count: left,
                from: gap.previous.map_or(NodeId::MIN, |key| key.from),
                to: gap.next.map_or(NodeId::MAX, |key| key.from),
            };
            self.lost_by(item, &gap.error);
        }
    }
}

/// Adjacent rows of out_edges that could not be read.
pub(crate) struct Gap {
    /// The last readable key before the gap, and the first one after it, if any.
    previous: Option<EdgeKey>,
    next: Option<EdgeKey>,
    /// How many rows, if that is known.
    rows: Option<u64>,
    /// Edges of the gap that were found in in_edges.
    found: u64,
    error: Error,
}

fn add_gap(gaps: &mut Vec<Gap>, previous: Option<EdgeKey>, rows: Option<u64>, error: Error) {
    let full = gaps.len() >= MOST_LOST;
    match gaps.last_mut() {
        // Gaps are merged if no readable row is between them, or if there are too
        // many.
        Some(gap) if full || gap.next.is_none() => {
            gap.next = None;
            gap.rows = gap.rows.zip(rows).map(|(a, b)| a.saturating_add(b));
        }
        _ => gaps.push(Gap { previous, next: None, rows, found: 0, error }),
    }
}

/// A position in a vector file, whose rows are in the order of their nodes.
pub(crate) struct Cursor<'r> {
    pub(super) partition: &'r VectorPartition,
    pub(super) row: usize,
    /// The error of the last row that could not be read.
    pub(super) error: Option<Error>,
}

impl<'r> Cursor<'r> {
    /// Moves forward to the row of a node, whose id must not be smaller than that
    /// of the last call. Returns its vector if this commit wrote it.
    pub(crate) fn find(&mut self, id: NodeId, seq: Seq) -> Option<&'r [f32]> {
        while self.row < self.partition.rows().len() {
            match self.partition.rows().row(self.row) {
                Ok((head, _)) if head.id() < id => {}
                Ok((head, components)) => {
                    return (head.id() == id && head.seq() == seq).then_some(components);
                }
                Err(error) => self.error = Some(error),
            }
            self.row += 1;
        }
        None
    }
}
