//! The table of index keys.

use std::sync::Arc;

use crate::{
    format::{
        header::Damage,
        tables::{self, IndexEntryRef, KEY_HEAD_BYTES, Le32},
    },
    model::error::Result,
    num,
    store::segment::{file::Segment, table::Table},
};

/// A partition of the table of index keys.
#[derive(Debug)]
pub(crate) struct KeyTable {
    segment: Arc<Segment>,
    offsets: Table<Le32>,
    at: usize,
    len: usize,
}

impl KeyTable {
    pub(crate) fn open(segment: &Arc<Segment>) -> Result<Self> {
        let offsets = Table::open(segment, tables::OFFSETS)?;
        let section = segment.section(tables::ROWS, 1)?;
        let (at, len) = (num::size(section.offset), num::size(section.len));
        Ok(Self { segment: Arc::clone(segment), offsets, at, len })
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Bytes of the entries.
    pub(crate) fn bytes(&self) -> u64 {
        num::wide(self.len)
    }

    /// The offset of an entry in the file; that of the first entry if the
    /// offset cannot be read.
    pub(crate) fn offset(&self, row: usize) -> usize {
        let offset = self.offsets.row(row).map_or(0, |offset| offset.get());
        self.at.saturating_add(num::index(offset))
    }

    pub(crate) fn entry(&self, row: usize) -> Result<IndexEntryRef<'_>> {
        let offset = num::index(self.offsets.row(row)?.get());
        let damaged =
            |damage: Damage| self.segment.damaged(self.at.saturating_add(offset), damage.what);
        let at = self.at.saturating_add(offset);
        let head = self.segment.bytes(at, KEY_HEAD_BYTES)?;
        let (_, key) = IndexEntryRef::decode_head(head).map_err(damaged)?;
        let len = KEY_HEAD_BYTES.saturating_add(key);
        if offset.saturating_add(len) > self.len {
            return Err(self.segment.damaged(at, "an entry ends beyond its section"));
        }
        IndexEntryRef::decode(self.segment.bytes(at, len)?).map_err(damaged)
    }

    /// The number of the first entry that is not less than `place`, by binary
    /// search.
    pub(crate) fn lower_bound(&self, place: &IndexEntryRef<'_>) -> Result<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.entry(middle)?.compare(place).is_lt() {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}
