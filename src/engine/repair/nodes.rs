//! Salvages nodes.

use std::{path::Path, sync::Arc};

use crate::{
    engine::repair::{
        edges::Cursor,
        report::LossItem,
        salvage::{Repair, count},
    },
    format::{header::FileKind, manifest::TableFile, tables::NodeRow},
    model::{
        batch::{Op, Precondition},
        error::{Error, Result},
        id::NodeId,
        node::{IndexKey, Node},
        value::Attributes,
    },
    num,
    state::base::{
        partitions::{NodePartition, Partition as _},
        stored::StoredNode,
    },
};

impl<'r> Repair<'r> {
    pub(crate) fn nodes(&mut self) -> Result<()> {
        let base = self.base;
        let partitions = base.vectors().iter();
        let mut cursors: Vec<Cursor<'r>> =
            partitions.map(|partition| Cursor { partition, row: 0, error: None }).collect();
        let mut opened = base.nodes().iter().peekable();
        let mut last = None;
        let files = &self.manifest.nodes;
        for (at, file) in files.iter().enumerate() {
            let first = |file: &TableFile| file.first.as_slice().try_into().map(NodeId::from_bytes);
            let end = files.get(at + 1).and_then(|next| first(next).ok());
            let end = end.unwrap_or(NodeId::MAX);
            let is_it = |partition: &&Arc<NodePartition>| {
                partition.segment().file().number == file.file.number
            };
            match opened.next_if(is_it) {
                Some(partition) => {
                    last = self.node_partition(partition, &mut cursors, last, end)?.or(last)
                }
                None => {
                    let rows = base.nodes().iter().map(|partition| partition.rows().len());
                    let count = self.rows_of(FileKind::Nodes, self.manifest.counts.nodes, rows);
                    let from = first(file).unwrap_or(NodeId::MIN);
                    if let Some(error) = self.unopened(file.file) {
                        self.lost_by(LossItem::Nodes { count, from, to: end }, error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Salvages the nodes of a partition, whose ids are below `end`. Returns the
    /// last id that could be read.
    fn node_partition(
        &mut self,
        partition: &'r NodePartition,
        cursors: &mut [Cursor<'r>],
        before: Option<NodeId>,
        end: NodeId,
    ) -> Result<Option<NodeId>> {
        let mut last = None;
        // The number of unreadable rows since the last readable one, and the first
        // error.
        let mut bad: Option<(u64, Error)> = None;
        let bounds = |last: Option<NodeId>| last.or(before).unwrap_or(NodeId::MIN);
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
            let id = row.id();
            if let Some((rows, error)) = bad.take() {
                let item = LossItem::Nodes { count: Some(rows), from: bounds(last), to: id };
                self.lost_by(item, &error);
            }
            last = Some(id);
            self.node(partition, at, row, cursors)?;
        }
        if let Some((rows, error)) = bad {
            let item = LossItem::Nodes { count: Some(rows), from: bounds(last), to: end };
            self.lost_by(item, &error);
        }
        Ok(last)
    }

    fn node(
        &mut self,
        partition: &'r NodePartition,
        at: usize,
        row: &'r NodeRow,
        cursors: &mut [Cursor<'r>],
    ) -> Result<()> {
        let id = row.id();
        let read = self.base.stored(row).and_then(|stored| Ok((stored, stored.attributes()?)));
        let (stored, attributes) = match read {
            Ok(read) => read,
            Err(error) => {
                self.lost_by(LossItem::Node(id), &error);
                return Ok(());
            }
        };
        let (file, offset) = (partition.segment().path(), num::wide(partition.rows().offset(at)));
        let Some(kind) = self.kind(row.kind.get()) else {
            let why = format!("unknown kind {}", row.kind.get());
            self.lost(file, offset, LossItem::Node(id), why);
            return Ok(());
        };
        let mut node = whole_node(&stored, kind, attributes);
        for (index, key) in stored.keys() {
            // A key of an unknown index is dropped. The report counts it as missing.
            // What is derived is derived again.
            if let Some(name) = self.indexes.given_name(index) {
                node.keys.push(IndexKey::new(name, key));
            }
        }
        for (space, seq) in stored.vectors() {
            let Some(named) = self.manifest.space(space) else { continue };
            let mut of_space =
                cursors.iter_mut().filter(|cursor| cursor.partition.rows().space() == space);
            let found = of_space.find_map(|cursor| cursor.find(id, seq));
            match found {
                Some(components) if named.space.check_vector(&named.name, components).is_ok() => {
                    node.vectors.insert(named.name.clone(), components.to_vec());
                }
                Some(_) => {
                    let item = LossItem::Vector { node: id, space: named.name.clone() };
                    self.lost(file, offset, item, "the vector is not valid in its space");
                }
                None => self.vector(id, space, &named.name, cursors, (file, offset)),
            }
        }
        let keys = stored.keys().filter(|(index, _)| self.indexes.knows(*index)).count();
        let (keys, vectors) = (num::wide(keys), num::wide(node.vectors.len()));
        let op = Op::Put { node, precondition: Precondition::None };
        match self.queue(op)? {
            Ok(()) => {
                count(&mut self.report.nodes);
                self.report.keys += keys;
                self.report.vectors += vectors;
            }
            Err(error) => {
                self.lost(file, offset, LossItem::Node(id), error.with_causes().to_string())
            }
        }
        Ok(())
    }

    /// Reports a vector that was not found.
    fn vector(
        &mut self,
        node: NodeId,
        space: u32,
        name: &str,
        cursors: &[Cursor<'r>],
        (file, offset): (&Path, u64),
    ) {
        let item = LossItem::Vector { node, space: name.to_owned() };
        let of_space = || cursors.iter().filter(|cursor| cursor.partition.rows().space() == space);
        let in_file = of_space().find_map(|cursor| cursor.error.clone());
        let of_files = || {
            let files = self.manifest.vectors.iter().filter(|file| file.space == space);
            files.filter_map(|file| self.unopened(file.file)).next().cloned()
        };
        match in_file.or_else(of_files) {
            Some(error) => self.lost_by(item, &error),
            None => self.lost(file, offset, item, "no file has the vector"),
        }
    }
}

/// A node with everything but its keys and vectors.
fn whole_node(stored: &StoredNode<'_>, kind: &str, attributes: Attributes) -> Node {
    let meta = stored.meta();
    let mut node = Node::new(stored.row().id(), kind);
    node.content = stored.content().to_vec();
    node.attributes = attributes;
    node.strength = meta.strength;
    node.confidence = meta.confidence;
    node.created = Some(meta.created);
    node.updated = Some(meta.updated);
    node.accessed = Some(meta.accessed);
    node.access_count = Some(meta.access_count);
    node.expires = meta.expires.into();
    node
}
