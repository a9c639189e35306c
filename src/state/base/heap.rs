//! Heaps: records of nodes with their content, and attributes of edges.

use std::sync::{Arc, OnceLock};

use crate::{
    format::{segment::BLOCK_BYTES, tables},
    model::error::Result,
    num,
    store::segment::file::Segment,
};

/// A mapped heap file.
#[derive(Debug)]
pub(crate) struct Heap {
    pub(super) segment: Arc<Segment>,
    number: u32,
    /// Set when the first block was read.
    section: OnceLock<HeapSection>,
}

impl Heap {
    #[inline]
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }
}

/// The section of a heap's file that has the records.
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

    /// Whether the heap has this whole range.
    pub(crate) fn has(&self, offset: u64, len: u32) -> Result<bool> {
        Ok(self.section()?.has(offset, len))
    }

    /// The offset in the file of an offset in the section. If the first block
    /// cannot be read, the section is assumed to follow it.
    pub(crate) fn file_offset(&self, offset: u64) -> usize {
        let at = self.section().map_or(BLOCK_BYTES, |section| section.at);
        at.saturating_add(num::size(offset))
    }

    /// Bytes of the section, verified against their checksums.
    #[inline]
    pub(crate) fn bytes(&self, offset: u64, len: u32) -> Result<&[u8]> {
        let section = self.section()?;
        let at = section.at.saturating_add(num::size(offset));
        if !section.has(offset, len) {
            return Err(self
                .segment
                .damaged(at, format!("a reference to {len} bytes beyond the end of the heap")));
        }
        self.segment.bytes(at, num::index(len))
    }
}

impl HeapSection {
    fn has(self, offset: u64, len: u32) -> bool {
        offset.saturating_add(u64::from(len)) <= self.len
    }
}

/// The `heap_places` of a base with these heaps, which are sorted by number.
pub(crate) fn places(heaps: &[Arc<Heap>]) -> (u32, Vec<u32>) {
    /// Heaps whose number is further from the first are left out.
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
