//! Nodes and edges as the base has them.

use std::sync::Arc;

use crate::{
    format::{
        heap::{BlobRef, NodeMeta},
        tables::{EdgeRow, HeapRef, NodeRow},
    },
    model::{error::Result, time::Seq, value::Attributes},
    num,
    state::{
        base::heap::Heap,
        record::{EdgeRecord, StoredSecondaryKeys, VectorSlot},
    },
};

/// A node as the base has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredNode<'s> {
    pub(super) row: &'s NodeRow,
    pub(super) meta: NodeMeta<'s>,
    pub(super) content: &'s [u8],
    /// Where the record stands.
    pub(super) heap: &'s Arc<Heap>,
    pub(super) at: HeapRef,
}

impl<'s> StoredNode<'s> {
    #[inline]
    pub(crate) fn content(&self) -> &'s [u8] {
        self.content
    }

    #[inline]
    pub(crate) fn row(&self) -> &'s NodeRow {
        self.row
    }

    #[inline]
    pub(crate) fn meta(&self) -> &NodeMeta<'s> {
        &self.meta
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
    pub(crate) fn content_place(&self) -> BlobRef {
        self.meta.external.unwrap_or_else(|| {
            let len = num::short(self.content.len());
            let end = self.at.offset().saturating_add(u64::from(self.at.len));
            let offset = end.saturating_sub(u64::from(len));
            BlobRef { heap: self.heap.number(), offset, len }
        })
    }

    /// Where else it is found.
    pub(crate) fn secondary_keys(&self) -> StoredSecondaryKeys {
        StoredSecondaryKeys {
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
