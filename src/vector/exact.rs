//! The closest of many candidates.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::model::id::NodeId;

/// Collects the closest `k` candidates, each with a value. Memory: `k`
/// candidates.
#[derive(Debug, Clone)]
pub(crate) struct Closest<T> {
    k: usize,
    /// The worst of the kept candidates is on top.
    heap: BinaryHeap<Candidate<T>>,
}

#[derive(Debug, Clone)]
struct Candidate<T> {
    distance: f64,
    id: NodeId,
    with: T,
}

impl<T> PartialEq for Candidate<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Candidate<T> {}

impl<T> PartialOrd for Candidate<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Candidate<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.distance.total_cmp(&other.distance).then(self.id.cmp(&other.id))
    }
}

impl<T> Closest<T> {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, heap: BinaryHeap::new() }
    }

    /// Whether a candidate at `distance` would be kept.
    pub(crate) fn wants(&self, distance: f64, id: NodeId) -> bool {
        self.heap.len() < self.k
            || self.heap.peek().is_some_and(|worst| {
                distance.total_cmp(&worst.distance).then(id.cmp(&worst.id)).is_lt()
            })
    }

    pub(crate) fn offer(&mut self, distance: f64, id: NodeId, with: T) {
        if self.wants(distance, id) {
            if self.heap.len() == self.k {
                self.heap.pop();
            }
            self.heap.push(Candidate { distance, id, with });
        }
    }

    /// The kept candidates, best first.
    pub(crate) fn into_sorted(self) -> impl Iterator<Item = (f64, NodeId, T)> {
        let sorted = self.heap.into_sorted_vec().into_iter();
        sorted.map(|candidate| (candidate.distance, candidate.id, candidate.with))
    }
}

/// The `n` least of many distances. Equal distances are not told apart.
#[derive(Debug, Clone)]
pub(crate) struct Least {
    n: usize,
    /// The largest is on top.
    heap: BinaryHeap<Distance>,
}

#[derive(Debug, Clone)]
struct Distance(f64);

impl PartialEq for Distance {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Distance {}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Distance {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Least {
    pub(crate) fn new(n: usize) -> Self {
        // One allocation for a usual search.
        Self { n, heap: BinaryHeap::with_capacity(n.min(64)) }
    }

    /// Returns whether the distance is less than the `n`-th so far.
    pub(crate) fn offer(&mut self, distance: f64) -> bool {
        if self.heap.len() < self.n {
            self.heap.push(Distance(distance));
            return true;
        }
        match self.heap.peek_mut() {
            Some(mut most) if distance < most.0 => {
                *most = Distance(distance);
                true
            }
            _ => false,
        }
    }

    /// The least but for so many, if there were `n`. O(n).
    pub(crate) fn nth(&self, before: usize) -> Option<f64> {
        self.last()?;
        let mut distances: Vec<f64> = self.heap.iter().map(|distance| distance.0).collect();
        (before < distances.len())
            .then(|| *distances.select_nth_unstable_by(before, f64::total_cmp).1)
    }

    /// The `n`-th least; `None` if there were fewer.
    pub(crate) fn last(&self) -> Option<f64> {
        self.heap.peek().filter(|_| self.heap.len() == self.n).map(|most| most.0)
    }
}
