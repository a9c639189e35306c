//! The vector files of a base, and the data derived from them.
//!
//! Derived data that is missing, damaged or of other rows is not used; it is
//! reported and rebuilt.

use std::sync::Arc;

use crate::{
    format::{
        header::FileKind,
        manifest::{DataFile, NamedSpace, VectorFile},
        vectors::dead_rows,
    },
    model::{error::Result, id::NodeId},
    num,
    state::base::{
        vector_index::{Codes, GraphIndex, Index},
        vector_rows::VectorRows,
    },
    store::segment::file::Segment,
};

/// Rows per word of a mask.
pub(crate) const MASK_ROWS: usize = 32;

/// A bit for each row that is not live, 32 rows per word; empty if all rows are
/// live.
pub(crate) type Dead = Arc<[u32]>;

/// A vector file, which of its rows are live, and the data derived from it.
#[derive(Debug, Clone)]
pub(crate) struct VectorPartition {
    pub(in crate::state) rows: Arc<VectorRows>,
    dead: Dead,
    pub(in crate::state) codes: Option<Arc<Index<Codes>>>,
    pub(in crate::state) graph: Option<Arc<Index<GraphIndex>>>,
}

impl VectorPartition {
    #[inline]
    pub(crate) fn dead(&self) -> &Dead {
        &self.dead
    }

    #[inline]
    pub(crate) fn codes(&self) -> Option<&Arc<Index<Codes>>> {
        self.codes.as_ref()
    }

    #[inline]
    pub(crate) fn graph(&self) -> Option<&Arc<Index<GraphIndex>>> {
        self.graph.as_ref()
    }

    #[inline]
    pub(crate) fn rows(&self) -> &Arc<VectorRows> {
        &self.rows
    }
}

impl VectorPartition {
    /// Maps a file of a manifest, except what `old` has mapped.
    pub(crate) fn open(
        open: &dyn Fn(FileKind, DataFile) -> Result<Segment>,
        file: &VectorFile,
        space: &NamedSpace,
        old: Option<&Self>,
    ) -> Result<Self> {
        let rows = match old {
            Some(old) => Arc::clone(&old.rows),
            None => {
                let segment = open(FileKind::Vectors, file.file)?;
                Arc::new(VectorRows::open(segment, file.space, space.space)?)
            }
        };
        let words = rows.len().div_ceil(MASK_ROWS);
        let mut dead = if file.dead.is_empty() { Vec::new() } else { vec![0_u32; words] };
        for row in dead_rows(&file.dead) {
            if let Some(word) = dead.get_mut(row / MASK_ROWS) {
                *word |= 1 << (row % MASK_ROWS);
            }
        }
        let known_codes = old.and_then(|old| old.codes.as_ref());
        let known_graph = old.and_then(|old| old.graph.as_ref());
        Ok(Self {
            codes: file.codes.map(|index| Index::reuse(open, index, known_codes)),
            graph: file.graph.map(|index| Index::reuse(open, index, known_graph)),
            dead: dead.into(),
            rows,
        })
    }

    pub(crate) fn is_dead(&self, row: usize) -> bool {
        self.dead.get(row / MASK_ROWS).is_some_and(|word| word & (1 << (row % MASK_ROWS)) != 0)
    }

    /// The number of rows that are not live.
    pub(crate) fn dead_count(&self) -> usize {
        self.dead.iter().map(|word| num::index(word.count_ones())).sum()
    }

    /// The row of a node, if it is live.
    pub(crate) fn live_row(&self, id: NodeId) -> Result<Option<usize>> {
        Ok(self.rows.find_row(id)?.filter(|row| !self.is_dead(*row)))
    }

    /// Checks that its graph, or else its codes, can be used, if there are any.
    pub(crate) fn check_index(&self, graph: bool) -> Result<()> {
        if graph {
            self.graph.as_ref().map_or(Ok(()), |graph| graph.get(&self.rows).map(drop))
        } else {
            self.codes.as_ref().map_or(Ok(()), |codes| codes.get(&self.rows).map(drop))
        }
    }

    /// Its files, except those that could not be opened.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        let codes = self.codes.as_ref().and_then(|index| index.segment.as_ref().ok());
        let graph = self.graph.as_ref().and_then(|index| index.segment.as_ref().ok());
        std::iter::once(&self.rows.segment).chain(codes).chain(graph)
    }
}
