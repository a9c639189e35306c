//! Masks: which rows of a vector file meet conditions, a bit for each, found without
//! reading records.

use std::ops::Bound;

use crate::{
    format::tables::EXPIRY,
    model::{error::Result, id::NodeId, key::KeyRange, time::Timestamp},
    num,
    read::{
        filter::expr::{Expr, Keys},
        node::NodeRef,
        range::{count, layered_nodes, stored_between},
        snapshot::Snapshot,
    },
    state::{
        base::vectors::{MASK_ROWS, VectorPartition},
        record::expiry_key,
    },
    vector,
};

/// Which rows may be hits: a bit for each, 32 rows in a word.
pub(crate) type Bits = Vec<u32>;

/// The rows of an index in a partition are built once a share of its entries, one in
/// so many, was listed: then listing has cost about as much.
const LISTED: usize = 4;

fn set(mask: &mut Bits, row: usize, on: bool) {
    if let Some(word) = mask.get_mut(row / MASK_ROWS) {
        let bit = 1 << (row % MASK_ROWS);
        *word = if on { *word | bit } else { *word & !bit };
    }
}

/// A mask of this many rows with every bit set.
pub(crate) fn all_of(rows: usize) -> Bits {
    let mut mask = vec![u32::MAX; rows.div_ceil(MASK_ROWS)];
    if let Some(last) = mask.last_mut() {
        *last >>= (MASK_ROWS - rows % MASK_ROWS) % MASK_ROWS;
    }
    mask
}

/// The rows whose bits are set.
pub(crate) fn rows_of(mask: &[u32]) -> impl Iterator<Item = usize> {
    mask.iter().enumerate().flat_map(|(at, word)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let bit = Some(num::index(left.trailing_zeros())).filter(|_| left != 0)?;
            left &= left.wrapping_sub(1);
            Some(at * MASK_ROWS + bit)
        })
    })
}

/// The expiries up to a time.
fn expired_at(time: Timestamp) -> KeyRange {
    KeyRange::new(Bound::Unbounded, Bound::Included(expiry_key(time)))
}

impl Expr<'_> {
    /// Whether it can be a mask.
    pub(crate) fn is_maskable(&self) -> bool {
        match self {
            Self::All(all) | Self::Any(all) => all.iter().all(Self::is_maskable),
            Self::Not(of) => of.is_maskable(),
            Self::Kinds(_) | Self::Ids(_) | Self::Keys(_) | Self::AliveAt(_) => true,
            Self::Edge { .. } => true,
            Self::Field(..) | Self::Test(_) => false,
        }
    }

    /// How many nodes meet it, at most, if that is known without reading records.
    pub(crate) fn at_most(&self, snapshot: &Snapshot) -> Result<Option<u64>> {
        Ok(match self {
            Self::Ids(ids) => Some(num::wide(ids.len())),
            Self::Keys(keys) => {
                let mut entries = 0_u64;
                for range in &keys.ranges {
                    entries = entries.saturating_add(count(&snapshot.state, keys.index, range)?);
                }
                Some(entries)
            }
            Self::Edge { node, to, kind } => Some(if *to {
                snapshot.degree_in(*node, kind.as_deref())?
            } else {
                snapshot.degree_out(*node, kind.as_deref())?
            }),
            Self::Any(any) => {
                let mut most = Some(0_u64);
                for expr in any {
                    let of = expr.at_most(snapshot)?;
                    most = most.zip(of).map(|(sum, of)| sum.saturating_add(of));
                }
                most
            }
            Self::All(all) => {
                let mut least = None;
                for expr in all {
                    let of = expr.at_most(snapshot)?;
                    least = of.into_iter().chain(least).min();
                }
                least
            }
            _ => None,
        })
    }

    /// The nodes of which [`at_most`](Self::at_most) gives the number, ascending. Some
    /// may not meet it.
    pub(crate) fn list(&self, snapshot: &Snapshot) -> Result<Vec<NodeId>> {
        let mut nodes = Vec::new();
        match self {
            Self::Ids(ids) => return Ok(ids.to_vec()),
            Self::Keys(keys) => {
                for range in &keys.ranges {
                    nodes.extend(snapshot.nodes_within(keys.index, range)?);
                }
            }
            Self::Edge { node, to, kind } => {
                nodes = snapshot.neighbours(*node, *to, kind.as_deref())?;
            }
            Self::Any(any) => {
                for expr in any {
                    nodes.extend(expr.list(snapshot)?);
                }
            }
            Self::All(all) => {
                return fewest(all, snapshot)?.map_or(Ok(nodes), |(_, of)| of.list(snapshot));
            }
            _ => {}
        }
        nodes.sort_unstable();
        nodes.dedup();
        Ok(nodes)
    }
}

/// Of conditions, the one that the fewest nodes meet, as far as that is known, and how
/// many.
pub(crate) fn fewest<'e, 'f>(
    all: &'e [Expr<'f>],
    snapshot: &Snapshot,
) -> Result<Option<(u64, &'e Expr<'f>)>> {
    let mut fewest: Option<(u64, &Expr<'_>)> = None;
    for expr in all {
        if let Some(of) = expr.at_most(snapshot)?
            && fewest.is_none_or(|(least, _)| of < least)
        {
            fewest = Some((of, expr));
        }
    }
    Ok(fewest)
}

/// The rows of a file whose ids have the same first half as one of these, which are
/// ascending.
pub(crate) fn mask_like(ids: &[NodeId], file: &VectorPartition) -> Result<Bits> {
    let mut mask = vec![0; file.rows().len().div_ceil(MASK_ROWS)];
    file.rows().for_rows_like(ids, |row| set(&mut mask, row, true))?;
    Ok(mask)
}

impl Snapshot {
    /// The rows of a file that meet a condition that [can be a
    /// mask](Expr::is_maskable). Vectors that a layer overrides do not count.
    pub(crate) fn mask(&self, expr: &Expr<'_>, file: &VectorPartition) -> Result<Bits> {
        let rows = file.rows();
        let none = || vec![0; rows.len().div_ceil(MASK_ROWS)];
        let combine = |all: &[Expr<'_>], first: Bits, with: fn(u32, u32) -> u32| {
            all.iter().try_fold(first, |mut mask, expr| {
                for (word, other) in mask.iter_mut().zip(self.mask(expr, file)?) {
                    *word = with(*word, other);
                }
                Ok(mask)
            })
        };
        let opposite = |mut mask: Bits| {
            for (word, all) in mask.iter_mut().zip(all_of(rows.len())) {
                *word = !*word & all;
            }
            mask
        };
        match expr {
            Expr::All(all) => combine(all, all_of(rows.len()), |a, b| a & b),
            Expr::Any(any) => combine(any, none(), |a, b| a | b),
            Expr::Not(of) => Ok(opposite(self.mask(of, file)?)),
            Expr::Kinds(kinds) => {
                let mut mask = none();
                for kind in kinds {
                    let mut of_kind = Vec::with_capacity(mask.len());
                    vector::equal(rows.kinds().bytes_of_all()?, *kind, &mut of_kind);
                    mask.iter_mut().zip(of_kind).for_each(|(word, of_kind)| *word |= of_kind);
                }
                Ok(mask)
            }
            Expr::Edge { .. } => self.mask(&Expr::Ids(expr.list(self)?.into()), file),
            Expr::Ids(ids) => {
                let mut mask = none();
                rows.for_rows_of(ids, |_, row| set(&mut mask, row, true))?;
                Ok(mask)
            }
            Expr::Keys(keys) => {
                let mut mask = none();
                self.mask_keys(keys, file, &mut mask, |node| keys.has(node))?;
                Ok(mask)
            }
            Expr::AliveAt(time) => {
                let expired = Keys { index: EXPIRY, ranges: vec![expired_at(*time)], fixed: 0 };
                let mut mask = none();
                self.mask_keys(&expired, file, &mut mask, |node| {
                    node.expires().is_some_and(|expires| expires <= *time)
                })?;
                Ok(opposite(mask))
            }
            // They cannot be a mask.
            Expr::Field(..) | Expr::Test(_) => Ok(all_of(rows.len())),
        }
    }

    /// Sets the rows of nodes with a key in ranges of an index.
    fn mask_keys(
        &self,
        keys: &Keys,
        file: &VectorPartition,
        mask: &mut Bits,
        has: impl Fn(&NodeRef<'_>) -> bool,
    ) -> Result<()> {
        for range in &keys.ranges {
            self.mask_stored(keys.index, range, file, mask)?;
        }
        // What layers changed is looked up.
        for range in &keys.ranges {
            for id in layered_nodes(&self.state, keys.index, range) {
                if let Some(row) = file.rows().find_row(id)? {
                    let node = NodeRef::find(&self.state, id)?;
                    set(mask, row, node.is_some_and(|node| has(&node)));
                }
            }
        }
        Ok(())
    }

    /// Sets the rows of nodes that have a key in a range of an index in the base.
    fn mask_stored(
        &self,
        index: u32,
        range: &KeyRange,
        file: &VectorPartition,
        mask: &mut Bits,
    ) -> Result<()> {
        let base = self.state.base();
        let (start, end) = stored_between(&self.state, index, range)?;
        let last = end.0.min(base.keys().len().saturating_sub(1));
        for (at, partition) in base.keys().iter().enumerate().take(last + 1).skip(start.0) {
            let len = partition.entries().len();
            let from = if at == start.0 { start.1.min(len) } else { 0 };
            let to = if at == end.0 { end.1.min(len) } else { len };
            if from >= to {
                continue;
            }
            let rows = file.rows();
            let mut known = base.key_rows().get(partition, index, rows);
            if known.is_none() {
                // Expiries are read with an end.
                let all =
                    if index == EXPIRY { expired_at(Timestamp::MAX) } else { KeyRange::all() };
                let (first, next) = stored_between(&self.state, index, &all)?;
                let first = if at == first.0 { first.1 } else { 0 };
                let next = if at == next.0 { next.1.min(len) } else { len };
                let listed = partition.note_listed(to - from);
                if listed.saturating_mul(LISTED) >= next.saturating_sub(first) {
                    let of = (index, first, next);
                    known = Some(base.key_rows().add(partition, of, rows, &base.digests())?);
                }
            }
            if let Some(known) = known {
                for row in known.between(from, to) {
                    set(mask, num::index(*row), true);
                }
                continue;
            }
            let ids = (from..to).map(|entry| Ok(partition.entries().entry(entry)?.node));
            let mut ids = ids.collect::<Result<Vec<NodeId>>>()?;
            ids.sort_unstable();
            rows.for_rows_of(&ids, |_, row| set(mask, row, true))?;
        }
        Ok(())
    }
}
