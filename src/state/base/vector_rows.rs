//! The rows of a vector file.

use std::sync::{Arc, OnceLock};

use crate::{
    format::{
        tables::{self, Le32, SortedRow, VectorHead, vector_bytes},
        vectors::IndexHead,
    },
    model::{error::Result, id::NodeId, space::Space, time::Seq},
    num,
    store::segment::{file::Segment, table::Table},
    vector::build::Rows,
};

/// The rows of a vector file.
#[derive(Debug)]
pub(crate) struct VectorRows {
    pub(super) segment: Arc<Segment>,
    /// The number of the space.
    pub(super) space: u32,
    pub(super) definition: Space,
    heads: Table<VectorHead>,
    kinds: Table<Le32>,
    /// The offset of the components in the file.
    at: usize,
    /// The ranks of all rows, from the first list of ids on that is as long as a 64th
    /// of the rows: 8 bytes for each.
    ranks: OnceLock<Box<[u64]>>,
}

impl VectorRows {
    #[inline]
    pub(crate) fn kinds(&self) -> &Table<Le32> {
        &self.kinds
    }

    #[inline]
    pub(crate) fn heads(&self) -> &Table<VectorHead> {
        &self.heads
    }

    /// The number of the space.
    #[inline]
    pub(crate) fn space(&self) -> u32 {
        self.space
    }

    #[inline]
    pub(crate) fn definition(&self) -> Space {
        self.definition
    }

    #[inline]
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }
}

impl VectorRows {
    pub(crate) fn open(segment: Segment, space: u32, definition: Space) -> Result<Self> {
        let segment = Arc::new(segment);
        let heads = Table::<VectorHead>::open(&segment, tables::ROWS)?;
        let kinds = Table::open(&segment, tables::ROW_KINDS)?;
        let components = segment.section(tables::COMPONENTS, vector_bytes(definition.dimension))?;
        let at = num::size(components.offset);
        let rows = num::wide(heads.len());
        if components.rows() != rows || kinds.len() != heads.len() || u32::try_from(rows).is_err() {
            let (vectors, kinds) = (components.rows(), kinds.len());
            let what = format!("it has {rows} rows, {vectors} vectors and {kinds} kinds");
            return Err(segment.damaged(80, what));
        }
        Ok(Self { segment, space, definition, heads, kinds, at, ranks: OnceLock::new() })
    }

    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// The offset of a vector in the file.
    pub(crate) fn offset(&self, row: usize) -> usize {
        self.at.saturating_add(row.saturating_mul(vector_bytes(self.definition.dimension)))
    }

    pub(crate) fn components(&self, row: usize) -> Result<&[f32]> {
        let at = self.offset(row);
        if row >= self.len() {
            return Err(self.segment.damaged(at, format!("there is no vector {row}")));
        }
        let bytes = self.segment.bytes(at, vector_bytes(self.definition.dimension))?;
        bytemuck::try_cast_slice(bytes)
            .map_err(|error| self.segment.damaged(at, format!("vector {row}: {error}")))
    }

    pub(crate) fn row(&self, row: usize) -> Result<(&VectorHead, &[f32])> {
        Ok((self.heads.row(row)?, self.components(row)?))
    }

    /// The Euclidean lengths of all rows, rounded. A length that no binary32 can
    /// hold is the largest that it can.
    pub(crate) fn lengths(&self) -> Result<Vec<f32>> {
        let length = |row| {
            let norm = self.heads.row(row)?.norm.get();
            #[expect(clippy::cast_possible_truncation, reason = "for approximate distances")]
            Ok(norm.min(f64::from(f32::MAX)) as f32)
        };
        (0..self.len()).map(length).collect()
    }

    /// The row of a node.
    pub(crate) fn find_row(&self, id: NodeId) -> Result<Option<usize>> {
        let row = self.heads.lower_bound(&id)?;
        Ok((row < self.len() && self.heads.row(row)?.id() == id).then_some(row))
    }

    /// Calls `each` with the positions of those of `ids` that have a row, and with
    /// that row. The ids are ascending.
    pub(crate) fn for_rows_of(
        &self,
        ids: &[NodeId],
        mut each: impl FnMut(usize, usize),
    ) -> Result<()> {
        // Far apart: each is searched for separately.
        if ids.len() * 64 < self.len() {
            for (at, id) in ids.iter().enumerate() {
                if let Some(row) = self.find_row(*id)? {
                    each(at, row);
                }
            }
            return Ok(());
        }
        let heads = self.all_heads()?;
        let mut firsts: Vec<(usize, usize)> = Vec::with_capacity(ids.len());
        self.each_first(ids, |at, first| firsts.push((at, first)))?;
        for (at, first) in firsts {
            let Some(id) = ids.get(at) else { continue };
            let rows = heads.iter().enumerate().skip(first);
            let same = rows.map(|(row, head)| (row, head.id())).find(|(_, of)| of >= id);
            if let Some((row, of)) = same
                && of == *id
            {
                each(at, row);
            }
        }
        Ok(())
    }

    /// As [`for_rows_of`](Self::for_rows_of), but with all rows whose ids have the same
    /// first half as one of `ids`, and without reading the rows.
    pub(crate) fn for_rows_like(&self, ids: &[NodeId], mut each: impl FnMut(usize)) -> Result<()> {
        if ids.len() * 64 < self.len() {
            return self.for_rows_of(ids, |_, row| each(row));
        }
        let ranks = self.ranks()?;
        self.each_first(ids, |_, first| {
            let rank = ranks.get(first);
            (first..ranks.len()).take_while(|row| ranks.get(*row) == rank).for_each(&mut each);
        })
    }

    fn all_heads(&self) -> Result<&[VectorHead]> {
        bytemuck::try_cast_slice(self.heads.bytes_of_all()?)
            .map_err(|error| self.segment.damaged(self.heads.offset(0), format!("ids: {error}")))
    }

    /// The first halves of the ids of all rows.
    fn ranks(&self) -> Result<&[u64]> {
        let heads = self.all_heads()?;
        let rank = |of: &VectorHead| <VectorHead as SortedRow>::rank(&of.id());
        Ok(self.ranks.get_or_init(|| heads.iter().map(rank).collect()))
    }

    /// Calls `each` with the positions of those of `ids`, which are ascending, whose
    /// first half the id of a row has, and with the first such row.
    fn each_first(&self, ids: &[NodeId], mut each: impl FnMut(usize, usize)) -> Result<()> {
        let ranks = self.ranks()?;
        // All rows before `low` have smaller ranks. A few at a time are counted without
        // a branch for each.
        let mut low = 0_usize;
        for (at, id) in ids.iter().enumerate() {
            let wanted = <VectorHead as SortedRow>::rank(id);
            while let Some(some) = ranks.get(low..).and_then(|rest| rest.first_chunk::<8>()) {
                let before = some.iter().map(|rank| usize::from(*rank < wanted)).sum::<usize>();
                low += before;
                if before < some.len() {
                    break;
                }
            }
            while ranks.get(low).is_some_and(|rank| *rank < wanted) {
                low += 1;
            }
            if ranks.get(low) == Some(&wanted) {
                each(at, low);
            }
        }
        Ok(())
    }

    /// The vector of a node, if commit `seq` wrote it.
    pub(crate) fn find(&self, id: NodeId, seq: Seq) -> Result<Option<&[f32]>> {
        match self.find_row(id)? {
            Some(row) if self.heads.row(row)?.seq() == seq => self.components(row).map(Some),
            _ => Ok(None),
        }
    }

    /// The head of an index file that is derived from these rows.
    pub(crate) fn index_head(&self) -> IndexHead {
        let Space { dimension, metric, .. } = self.definition;
        IndexHead::new(&self.segment.file(), num::short(self.len()), num::short(dimension), metric)
    }
}

impl Rows for VectorRows {
    fn count(&self) -> usize {
        self.len()
    }

    fn get(&self, row: usize) -> Result<(&[f32], f64)> {
        let (head, components) = self.row(row)?;
        Ok((components, head.norm.get()))
    }
}

#[cfg(target_endian = "big")]
compile_error!("vectors are read where they are mapped, which needs a little-endian machine");
