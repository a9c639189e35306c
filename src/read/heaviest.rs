//! The heaviest of some edges.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::{
    model::{
        error::Result,
        limits::{HEAVIEST_K, check_count},
    },
    read::edge::EdgeRef,
};

/// An edge in the order of weights. The greatest is the one that comes first.
struct Weighted<'s> {
    weight: f64,
    /// Its place among the edges: an earlier one is greater.
    place: Reverse<u64>,
    edge: EdgeRef<'s>,
}

impl Ord for Weighted<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.weight.total_cmp(&other.weight).then(self.place.cmp(&other.place))
    }
}

impl PartialOrd for Weighted<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Weighted<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Weighted<'_> {}

/// The `k` heaviest of these edges, the heaviest first; of equal ones, the earlier
/// first.
pub(super) fn heaviest<'s>(
    edges: impl Iterator<Item = Result<EdgeRef<'s>>>,
    k: usize,
) -> Result<Vec<EdgeRef<'s>>> {
    check_count("heaviest edges of a read", k, HEAVIEST_K)?;
    if k == 0 {
        return Ok(Vec::new());
    }
    // Its greatest is the one to be replaced first.
    let mut best: BinaryHeap<Reverse<Weighted<'s>>> = BinaryHeap::new();
    for (place, edge) in (0..).zip(edges) {
        let edge = edge?;
        // Makes a zero of a negative zero, which weighs the same.
        let weight = edge.weight() + 0.0;
        let next = Reverse(Weighted { weight, place: Reverse(place), edge });
        if best.len() < k {
            best.push(next);
        } else if let Some(mut least) = best.peek_mut()
            && next < *least
        {
            *least = next;
        }
    }
    Ok(best.into_sorted_vec().into_iter().map(|Reverse(weighted)| weighted.edge).collect())
}
