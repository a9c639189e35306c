//! Nodes and edges of the base.

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

/// A node of the base.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredNode<'s> {
    pub(super) row: &'s NodeRow,
    pub(super) meta: NodeMeta<'s>,
    pub(super) content: &'s [u8],
    /// The heap that has the record, and the position in it.
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

    /// The index and the key of each index key. The record is known to be
    /// valid.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u32, &'s [u8])> + use<'s> {
        self.meta.keys().filter_map(Result::ok)
    }

    /// The space of each vector, and the commit that wrote it.
    pub(crate) fn vectors(&self) -> impl Iterator<Item = (u32, Seq)> + use<'s> {
        self.meta.vectors().filter_map(Result::ok)
    }

    /// The position of the content.
    pub(crate) fn content_place(&self) -> BlobRef {
        self.meta.external.unwrap_or_else(|| {
            let len = num::short(self.content.len());
            let end = self.at.offset().saturating_add(u64::from(self.at.len));
            let offset = end.saturating_sub(u64::from(len));
            BlobRef { heap: self.heap.number(), offset, len }
        })
    }

    /// All entries under which the node is listed besides its id.
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

/// An edge of a layer, or a row of the base; `inbound` if it is one of the
/// in_edges table.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EdgeRepr<'s> {
    Memory(&'s EdgeRecord),
    Stored { row: &'s EdgeRow, inbound: bool },
}
