//! Paths through the graph.

use std::{cell::RefCell, collections::HashMap, ops::ControlFlow};

use foldhash::quality::RandomState;

use crate::{
    graph::{
        adjacency::Adjacency,
        paths::{Limits, Outcome, shortest},
    },
    model::{
        error::{Error, Result},
        id::NodeId,
    },
    read::{
        edge::EdgeRef,
        edges::Edges,
        filter::{
            Filter,
            expr::{Expr, Subject, holds_all},
        },
        snapshot::Snapshot,
    },
};

/// The edges of a node that a path may follow.
///
/// ```
/// use ingrain::{graph::{EdgeDirection, PathOptions}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # let (a, b) = (NodeId::new(), NodeId::new());
/// # let mut batch = Batch::new();
/// # batch.put(Node::new(a, "note")).put(Node::new(b, "note")).link(Edge::new(a, "next", b));
/// # engine.write(batch)?;
/// // There is one edge, from a to b.
/// let mut options = PathOptions::default();
/// let snapshot = engine.snapshot();
/// assert!(snapshot.shortest_path(b, a, &options)?.is_none());
/// options.toward = EdgeDirection::Both;
/// assert!(snapshot.shortest_path(b, a, &options)?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EdgeDirection {
    /// Outgoing edges.
    #[default]
    Out,
    /// Incoming edges.
    In,
    /// Both.
    Both,
}

/// The options of [`Snapshot::shortest_path`].
///
/// ```
/// use ingrain::{graph::PathOptions, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # let (a, b) = (NodeId::new(), NodeId::new());
/// # let mut batch = Batch::new();
/// # batch.put(Node::new(a, "note")).put(Node::new(b, "note")).link(Edge::new(a, "next", b));
/// # engine.write(batch)?;
/// let options = PathOptions { kinds: &["next"], max_depth: 3, ..PathOptions::default() };
/// assert!(engine.snapshot().shortest_path(a, b, &options)?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PathOptions<'o> {
    /// Which edges of a node to follow.
    pub toward: EdgeDirection,
    /// The kinds of edges to follow, in this order; empty for all.
    pub kinds: &'o [&'o str],
    /// Maximum number of edges of the path: 16 by default.
    pub max_depth: usize,
    /// Maximum number of edges to examine: 1,000,000 by default.
    pub max_edges: usize,
    /// What the nodes between the two ends have to pass; `None` for any nodes.
    pub through: Option<&'o Filter<'o>>,
}

impl Default for PathOptions<'_> {
    fn default() -> Self {
        Self {
            toward: EdgeDirection::Out,
            kinds: &[],
            max_depth: 16,
            max_edges: 1_000_000,
            through: None,
        }
    }
}

/// A path: where it starts, and its steps.
///
/// ```
/// use ingrain::{graph::PathOptions, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # let (a, b) = (NodeId::new(), NodeId::new());
/// # let mut batch = Batch::new();
/// # batch.put(Node::new(a, "note")).put(Node::new(b, "note")).link(Edge::new(a, "next", b));
/// # engine.write(batch)?;
/// let snapshot = engine.snapshot();
/// let path = snapshot.shortest_path(a, b, &PathOptions::default())?.expect("an edge");
/// assert_eq!((path.start, path.steps.len()), (a, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GraphPath<'s> {
    /// The first node.
    pub start: NodeId,
    /// The steps in order; none if the path ends where it starts.
    pub steps: Vec<PathStep<'s>>,
}

/// A step of a [`GraphPath`].
///
/// ```
/// use ingrain::{graph::PathOptions, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # let (a, b) = (NodeId::new(), NodeId::new());
/// # let mut batch = Batch::new();
/// # batch.put(Node::new(a, "note")).put(Node::new(b, "note")).link(Edge::new(a, "next", b));
/// # engine.write(batch)?;
/// let snapshot = engine.snapshot();
/// let path = snapshot.shortest_path(a, b, &PathOptions::default())?.expect("an edge");
/// for step in &path.steps {
///     println!("{} leads to {}", step.edge.kind(), step.node);
/// }
/// assert_eq!(path.steps[0].node, b);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct PathStep<'s> {
    /// The edge, with the direction that it has in the store.
    pub edge: EdgeRef<'s>,
    /// The node reached.
    pub node: NodeId,
}

impl Snapshot {
    /// A path from one node to another with as few edges as possible, or `None`
    /// if there is none of at most `max_depth` edges. Of several such paths,
    /// this is the first in the order of [`edges_out`](Self::edges_out) and
    /// [`edges_in`](Self::edges_in), so the result is deterministic.
    ///
    /// Breadth-first search; it keeps every node that it reaches in memory.
    ///
    /// # Errors
    /// `Limit` if `max_edges` were examined without an answer; those of
    /// [`search`](Self::search) for what is wrong with a filter.
    pub fn shortest_path(
        &self,
        from: NodeId,
        to: NodeId,
        options: &PathOptions<'_>,
    ) -> Result<Option<GraphPath<'_>>> {
        if !self.contains(from)? || !self.contains(to)? {
            return Ok(None);
        }
        let limits = Limits { depth: options.max_depth, budget: options.max_edges };
        let through = options.through.map(|filter| filter.compile(self)).transpose()?;
        let passed = RefCell::default();
        let walk = Walk { snapshot: self, options, ends: [from, to], through, passed };
        match shortest(&walk, from, to, limits)? {
            Outcome::Found(steps) => {
                let step = |(edge, node)| PathStep { edge, node };
                Ok(Some(GraphPath { start: from, steps: steps.into_iter().map(step).collect() }))
            }
            Outcome::None => Ok(None),
            Outcome::Exhausted => Err(Error::limit(
                "edges examined for a path",
                options.max_edges.saturating_add(1),
                options.max_edges,
            )),
        }
    }
}

struct Walk<'s, 'o> {
    snapshot: &'s Snapshot,
    options: &'o PathOptions<'o>,
    /// Nodes that need not pass.
    ends: [NodeId; 2],
    through: Option<Vec<Expr<'o>>>,
    /// Nodes that were asked, and whether they pass.
    passed: RefCell<HashMap<NodeId, bool, RandomState>>,
}

impl Walk<'_, '_> {
    fn passes(&self, id: NodeId) -> Result<bool> {
        let Some(through) = &self.through else { return Ok(true) };
        if self.ends.contains(&id) {
            return Ok(true);
        }
        if let Some(passes) = self.passed.borrow().get(&id) {
            return Ok(*passes);
        }
        let passes = match self.snapshot.get(id)? {
            Some(node) => holds_all(through.iter(), self.snapshot, &Subject::new(node))?,
            None => false,
        };
        self.passed.borrow_mut().insert(id, passes);
        Ok(passes)
    }
}

impl<'s> Adjacency for Walk<'s, '_> {
    type Step = EdgeRef<'s>;

    fn neighbours(
        &self,
        node: NodeId,
        visit: &mut dyn FnMut(NodeId, Self::Step) -> ControlFlow<()>,
    ) -> Result<()> {
        let Walk { snapshot, options, .. } = *self;
        let sides = [
            (matches!(options.toward, EdgeDirection::Out | EdgeDirection::Both), true),
            (matches!(options.toward, EdgeDirection::In | EdgeDirection::Both), false),
        ];
        for (_, out) in sides.into_iter().filter(|(wanted, _)| *wanted) {
            let edges = || if out { snapshot.edges_out(node) } else { snapshot.edges_in(node) };
            let of_kinds: Vec<Edges<'_>> = match options.kinds {
                [] => vec![edges()],
                kinds => kinds.iter().map(|kind| edges().kind(kind)).collect(),
            };
            for edge in of_kinds.into_iter().flatten() {
                let edge = edge?;
                let neighbour = if out { edge.target() } else { edge.source() };
                if self.passes(neighbour)? && visit(neighbour, edge).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
