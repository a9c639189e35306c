//! Verifies key tables.

use crate::{
    engine::verify::verifier::{Verifier, count},
    format::tables::{EXPIRY, IndexEntryRef, KEY_HEAD_BYTES},
    model::error::Error,
    num,
    state::{base::partitions::KeyPartition, record::expiry_key},
    store::segment::file::Segment,
};

impl<'a> Verifier<'a> {
    /// Verifies that the key table has the entries of the nodes, and no others.
    pub(crate) fn keys(&mut self) {
        let base = self.base;
        let mut entries = 0_u64;
        let mut last: Option<IndexEntryRef<'_>> = None;
        for partition in base.keys() {
            let segment = partition.entries().segment();
            let mut bytes = 0_u64;
            let mut whole = true;
            for at in 0..partition.entries().len() {
                let entry = match partition.entries().entry(at) {
                    Ok(entry) => entry,
                    Err(error) => {
                        whole = false;
                        self.entry_error(segment, error);
                        continue;
                    }
                };
                count(&mut entries);
                bytes += num::wide(KEY_HEAD_BYTES + entry.key.len());
                let mut wrong = |what: String| {
                    self.found(segment.damaged(partition.entries().offset(at), what));
                };
                if at == 0 && partition.first() != Some(entry) {
                    wrong("the manifest has another first entry".to_owned());
                }
                if last.is_some_and(|last| last.compare(&entry).is_ge()) {
                    wrong(format!("a key of node {} is out of order", entry.node));
                }
                last = Some(entry);
                if entry.index == EXPIRY {
                    continue;
                }
                if base.manifest().index(entry.index).is_none() {
                    wrong(format!("a key of unknown index {}", entry.index));
                }
                count(&mut self.report.keys);
            }
            if partition.entries().len() == 0 {
                self.wrong(segment, 0, "it has no entries");
            }
            if whole && bytes != partition.entries().bytes() {
                let declared = partition.entries().bytes();
                let what = format!("{declared} bytes of entries declared, {bytes} found");
                self.wrong(segment, 0, what);
            }
            self.gaps.keys |= !whole;
            self.advance(segment.file().len);
        }
        // Each key of a node led to a different entry. If the table has no more
        // entries than these, all are checked.
        if entries != self.entries || !self.damaged.is_empty() {
            for partition in base.keys() {
                self.owners(partition);
            }
        }
    }

    /// Reports an entry that could not be read, unless its block was reported.
    fn entry_error(&mut self, segment: &Segment, error: Error) {
        let reported = match &error {
            Error::Corrupt { offset, .. } => !segment.is_good(*offset),
            _ => false,
        };
        if !reported || !self.damaged.contains(&segment.file().number) {
            self.found(error);
        }
    }

    /// Verifies that the nodes of entries have these keys.
    fn owners(&mut self, partition: &KeyPartition) {
        for at in 0..partition.entries().len() {
            let Ok(entry) = partition.entries().entry(at) else { continue };
            // A node that cannot be read was reported.
            let Ok(node) = self.base.node(entry.node) else { continue };
            let has = node.is_some_and(|node| match entry.index {
                EXPIRY => node.meta().expires.is_some_and(|at| expiry_key(at) == entry.key),
                index => node.keys().any(|key| key == (index, entry.key)),
            });
            if !has {
                let what = format!("a key of node {}, which does not have it", entry.node);
                self.wrong(partition.entries().segment(), partition.entries().offset(at), what);
            }
        }
    }
}
