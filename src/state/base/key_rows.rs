//! Which row of a vector file each entry of an index belongs to: what makes a mask of
//! rows out of a range of an index without reading its entries. Derived from two
//! immutable files, kept in memory, built again when it is not there.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::Arc,
};

use crate::{
    model::{error::Result, id::NodeId},
    num,
    state::base::{
        partitions::{KeyPartition, Partition},
        vector_rows::VectorRows,
    },
    sync::ArcSwap,
};

/// The most bytes of all that are kept.
const KEPT: usize = 64 << 20;

/// The entries of a partition of index keys whose nodes have a vector in a file.
#[derive(Debug)]
pub(crate) struct KeyRows {
    /// The numbers of the entries in the partition, ascending.
    entries: Vec<u32>,
    /// The row of each.
    rows: Vec<u32>,
}

impl KeyRows {
    /// Finds the rows of the entries from `from` up to `to`. O(n log n).
    fn build(keys: &KeyPartition, from: usize, to: usize, rows: &VectorRows) -> Result<Self> {
        let mut nodes: Vec<(NodeId, u32)> = Vec::with_capacity(to.saturating_sub(from));
        for entry in from..to {
            nodes.push((keys.entry(entry)?.node, num::short(entry)));
        }
        nodes.sort_unstable();
        let mut pairs: Vec<(u32, u32)> = Vec::new();
        let ids: Vec<NodeId> = nodes.iter().map(|(id, _)| *id).collect();
        rows.for_rows_of(&ids, |at, row| {
            if let Some((_, entry)) = nodes.get(at) {
                pairs.push((*entry, num::short(row)));
            }
        })?;
        pairs.sort_unstable();
        let (entries, rows) = pairs.into_iter().unzip();
        Ok(Self { entries, rows })
    }

    /// The rows of the entries from `from` up to `to`.
    pub(crate) fn between(&self, from: usize, to: usize) -> &[u32] {
        let at = |entry: usize| self.entries.partition_point(|of| num::index(*of) < entry);
        self.rows.get(at(from)..at(to)).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        size_of::<u32>().saturating_mul(self.entries.len().saturating_add(self.rows.len()))
    }
}

/// The digests of the files, between which is the number of the index. A digest is
/// that of the file's contents, so what is equal has equal rows.
type Of = ([u8; 16], u32, [u8; 16]);

/// What was built, shared by the bases of an engine.
pub(crate) struct KeyRowsCache(ArcSwap<BTreeMap<Of, Arc<KeyRows>>>);

impl Default for KeyRowsCache {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(BTreeMap::new()))
    }
}

impl fmt::Debug for KeyRowsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRowsCache").field("kept", &self.0.load().len()).finish()
    }
}

impl KeyRowsCache {
    fn name(keys: &KeyPartition, index: u32, rows: &VectorRows) -> Of {
        (keys.segment().file().digest, index, rows.segment().file().digest)
    }

    /// What was built of a partition and a vector file.
    pub(crate) fn get(
        &self,
        keys: &KeyPartition,
        index: u32,
        rows: &VectorRows,
    ) -> Option<Arc<KeyRows>> {
        self.0.load().get(&Self::name(keys, index, rows)).map(Arc::clone)
    }

    /// Builds and keeps the rows of the entries of an index in a partition, which are
    /// those from `from` up to `to`. What was built of files whose digests are not in
    /// `used` leaves. If there is no room then, it is not kept.
    pub(crate) fn add(
        &self,
        keys: &KeyPartition,
        (index, from, to): (u32, usize, usize),
        rows: &VectorRows,
        used: &HashSet<[u8; 16]>,
    ) -> Result<Arc<KeyRows>> {
        let built = Arc::new(KeyRows::build(keys, from, to, rows)?);
        let name = Self::name(keys, index, rows);
        let kept = self.0.load_full();
        let is_used = |(of, _): &(&Of, &Arc<KeyRows>)| used.contains(&of.0) && used.contains(&of.2);
        let used = kept.iter().filter(is_used).map(|(of, rows)| (*of, Arc::clone(rows)));
        let mut kept: BTreeMap<Of, Arc<KeyRows>> = used.collect();
        let bytes = kept.values().map(|rows| rows.bytes()).fold(0, usize::saturating_add);
        if bytes.saturating_add(built.bytes()) <= KEPT {
            kept.insert(name, Arc::clone(&built));
        }
        // What another thread kept meanwhile may be lost, and is then built again.
        self.0.store(Arc::new(kept));
        Ok(built)
    }
}
