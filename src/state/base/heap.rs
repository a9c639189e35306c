//! Heaps: contents, attributes and records of nodes.

use std::sync::{Arc, OnceLock};

use crate::{
    format::{segment::BLOCK_BYTES, tables},
    model::error::Result,
    num,
    store::segment::file::Segment,
};

/// Contents and attributes.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(super) segment: Arc<Segment>,
    number: u32,
    /// Once the first block was read.
    section: OnceLock<HeapSection>,
}

impl Heap {
    #[inline]
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }
}

/// Where records and contents lie in the file of a heap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeapSection {
    at: usize,
    len: u64,
}

impl Heap {
    pub(crate) fn new(segment: Segment) -> Self {
        let number = segment.file().number;
        Self { segment: Arc::new(segment), number, section: OnceLock::new() }
    }

    #[inline]
    pub(crate) fn section(&self) -> Result<HeapSection> {
        match self.section.get() {
            Some(section) => Ok(*section),
            None => self.read_section(),
        }
    }

    #[cold]
    fn read_section(&self) -> Result<HeapSection> {
        let section = self.segment.section(tables::ROWS, 1)?;
        let at = num::size(section.offset);
        Ok(*self.section.get_or_init(|| HeapSection { at, len: section.len }))
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Whether all of a place is in it.
    pub(crate) fn has(&self, offset: u64, len: u32) -> Result<bool> {
        Ok(self.section()?.has(offset, len))
    }

    /// Where an offset of the section stands in the file; where the first section
    /// begins if the first block cannot be read.
    pub(crate) fn file_offset(&self, offset: u64) -> usize {
        let at = self.section().map_or(BLOCK_BYTES, |section| section.at);
        at.saturating_add(num::size(offset))
    }

    /// Bytes of the section, checked.
    #[inline]
    pub(crate) fn bytes(&self, offset: u64, len: u32) -> Result<&[u8]> {
        let section = self.section()?;
        let at = section.at.saturating_add(num::size(offset));
        if !section.has(offset, len) {
            return Err(self
                .segment
                .damaged(at, format!("{len} bytes are referred to beyond the end of the heap")));
        }
        self.segment.bytes(at, num::index(len))
    }
}

impl HeapSection {
    fn has(self, offset: u64, len: u32) -> bool {
        offset.saturating_add(u64::from(len)) <= self.len
    }
}

/// What [`Base::heap_places`] has of heaps in the order of their numbers.
pub(crate) fn places(heaps: &[Arc<Heap>]) -> (u32, Vec<u32>) {
    /// Numbers that are looked up so.
    const MOST: u32 = 1 << 16;
    let first = heaps.first().map_or(0, |heap| heap.number());
    let mut places = Vec::new();
    for (place, heap) in (0_u32..).zip(heaps) {
        let at = heap.number().saturating_sub(first);
        if at >= MOST {
            break;
        }
        let at = num::index(at);
        places.resize(at + 1, place);
    }
    (first, places)
}
