//! Shortest paths by breadth-first search.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::ControlFlow,
};

use foldhash::quality::RandomState;

use crate::{
    graph::adjacency::Adjacency,
    model::{error::Result, id::NodeId},
};

/// The bounds of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The largest number of steps of a path.
    pub(crate) depth: usize,
    /// The largest number of steps that are examined.
    pub(crate) budget: usize,
}

/// How a search ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome<S> {
    /// The steps of a shortest path in order, each with the node that it
    /// reaches.
    Found(Vec<(S, NodeId)>),
    /// No path with at most `depth` steps exists.
    None,
    /// The budget was used up before the result was known.
    Exhausted,
}

/// A shortest path from `from` to `to`: the first in the order of the
/// neighbours. Time: one call of `visit` for each step examined. Memory: one
/// entry for each node reached.
pub(crate) fn shortest<A: Adjacency>(
    graph: &A,
    from: NodeId,
    to: NodeId,
    limits: Limits,
) -> Result<Outcome<A::Step>> {
    if from == to {
        return Ok(Outcome::Found(Vec::new()));
    }
    let mut came: HashMap<NodeId, Option<(NodeId, A::Step)>, RandomState> = HashMap::default();
    came.insert(from, None);
    let mut frontier = vec![from];
    let mut examined = 0_usize;
    let mut exhausted = false;
    for _ in 0..limits.depth {
        let mut next = Vec::new();
        for node in frontier {
            graph.neighbours(node, &mut |neighbour, step| {
                if examined == limits.budget {
                    exhausted = true;
                    return ControlFlow::Break(());
                }
                examined += 1;
                if let Entry::Vacant(entry) = came.entry(neighbour) {
                    entry.insert(Some((node, step)));
                    next.push(neighbour);
                    if neighbour == to {
                        return ControlFlow::Break(());
                    }
                }
                ControlFlow::Continue(())
            })?;
            if came.contains_key(&to) {
                return Ok(Outcome::Found(trace(&came, to)));
            }
            if exhausted {
                return Ok(Outcome::Exhausted);
            }
        }
        if next.is_empty() {
            break;
        }
        frontier = next;
    }
    Ok(Outcome::None)
}

fn trace<S: Clone>(
    came: &HashMap<NodeId, Option<(NodeId, S)>, RandomState>,
    to: NodeId,
) -> Vec<(S, NodeId)> {
    let mut path = Vec::new();
    let mut at = to;
    while let Some(Some((before, step))) = came.get(&at) {
        path.push((step.clone(), at));
        at = *before;
    }
    path.reverse();
    path
}
