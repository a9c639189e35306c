//! The closest `k` of many, best first, ties by id.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::id::NodeId;

/// Collects the closest `k` candidates.
#[derive(Debug)]
pub(crate) struct Closest {
    k: usize,
    /// The worst of the best is on top.
    heap: BinaryHeap<Candidate>,
}

#[derive(Debug, PartialEq)]
struct Candidate {
    distance: f64,
    id: NodeId,
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.id.cmp(&other.id))
    }
}

impl Closest {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// Whether a candidate at `distance` would be kept.
    pub(crate) fn wants(&self, distance: f64, id: NodeId) -> bool {
        self.heap.len() < self.k
            || self.heap.peek().is_some_and(|worst| Candidate { distance, id } < *worst)
    }

    pub(crate) fn offer(&mut self, distance: f64, id: NodeId) {
        if self.wants(distance, id) {
            if self.heap.len() == self.k {
                self.heap.pop();
            }
            self.heap.push(Candidate { distance, id });
        }
    }

    /// The candidates that were kept, best first.
    pub(crate) fn into_sorted(self) -> impl Iterator<Item = (f64, NodeId)> {
        self.heap.into_sorted_vec().into_iter().map(|candidate| (candidate.distance, candidate.id))
    }
}
