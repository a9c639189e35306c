//! Counts the rows of a base by kind.

use std::collections::{BTreeMap, HashMap};

use foldhash::quality::RandomState;

use crate::{model::error::Result, state::base::partitions::NodePartition};

/// Rows by kind. One that is counted in a row of the same kind costs an addition.
#[derive(Debug, Default)]
pub(crate) struct KindCounts {
    rows: HashMap<u32, u64, RandomState>,
    last: Option<(u32, u64)>,
}

impl KindCounts {
    pub(crate) fn add(&mut self, kind: u32, rows: u64) {
        match &mut self.last {
            Some((last, sum)) if *last == kind => *sum = sum.saturating_add(rows),
            last => {
                if let Some((kind, sum)) = last.replace((kind, rows)) {
                    self.merge(kind, sum);
                }
            }
        }
    }

    fn merge(&mut self, kind: u32, rows: u64) {
        let sum = self.rows.entry(kind).or_default();
        *sum = sum.saturating_add(rows);
    }

    fn into_counts(mut self) -> HashMap<u32, u64, RandomState> {
        if let Some((kind, sum)) = self.last.take() {
            self.merge(kind, sum);
        }
        self.rows
    }
}

/// The rows of the partitions that a checkpoint replaces, and those of the
/// partitions that replace them: nodes, and edges by source.
#[derive(Debug, Default)]
pub(crate) struct KindRows {
    pub(super) old: KindCounts,
    pub(super) new: KindCounts,
}

impl KindRows {
    /// Counts the nodes of an old partition.
    pub(crate) fn replace_nodes(&mut self, partition: &NodePartition) -> Result<()> {
        partition.rows_of_kinds().try_for_each(|of_kind| {
            let (kind, rows) = of_kind?;
            self.old.add(kind, rows);
            Ok(())
        })
    }

    /// The rows of the new base by kind, if they are known. `before` are those of
    /// the old base; nothing of it is left if `all` was replaced.
    pub(crate) fn total(
        self,
        before: Option<BTreeMap<u32, u64>>,
        all: bool,
    ) -> Option<BTreeMap<u32, u64>> {
        let (old, new) = (self.old.into_counts(), self.new.into_counts());
        let mut total = if all { BTreeMap::new() } else { before? };
        if !all {
            for (kind, rows) in old {
                // Counts that are wrong are worth no more than unknown ones.
                let left = total.get_mut(&kind)?;
                *left = left.checked_sub(rows)?;
            }
        }
        for (kind, rows) in new {
            let sum = total.entry(kind).or_default();
            *sum = sum.saturating_add(rows);
        }
        Some(total)
    }
}
