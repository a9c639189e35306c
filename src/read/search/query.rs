//! The query and the hits of a vector search.

use crate::{
    model::{
        error::{Error, Result},
        id::NodeId,
        limits::{self, check_count},
    },
    read::{filter::Filter, node::NodeRef},
};

/// A result of a vector search.
///
/// ```
/// use ingrain::{prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # engine.create_space("text", Space::new(2, Metric::L2))?;
/// # let note = |vector: [f32; 2]| Node::new(NodeId::new(), "note").vector("text", vector);
/// # engine.write(Batch::new().put(note([1.0, 0.0])).put(note([0.0, 1.0])))?;
/// let snapshot = engine.snapshot();
/// for hit in snapshot.nearest("text", &[1.0, 0.0], 10, &Filter::new())? {
///     println!("{:.3} {}", hit.distance, hit.node.id());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Hit<'s> {
    /// The distance to the query, exactly as the space's metric defines it.
    pub distance: f64,
    /// The node.
    pub node: NodeRef<'s>,
    /// How it was found, if [`Search::explain`] asked for that.
    pub origin: Option<HitOrigin>,
}

/// How a hit was found.
///
/// ```
/// use ingrain::{prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # engine.create_space("text", Space::new(2, Metric::L2))?;
/// # let note = |vector: [f32; 2]| Node::new(NodeId::new(), "note").vector("text", vector);
/// # engine.write(Batch::new().put(note([1.0, 0.0])).put(note([0.0, 1.0])))?;
/// let snapshot = engine.snapshot();
/// let hits = snapshot.search(&Search::new("text", &[1.0, 0.0], 1).explain(true))?;
/// let origin = hits[0].origin.expect("it was asked for");
/// assert_eq!(origin.file, None); // still in memory
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct HitOrigin {
    /// The number of the vector file; `None` if the vector is in memory.
    pub file: Option<u32>,
    /// How it became a candidate.
    pub by: CandidateSource,
    /// Its rank among the candidates of its file before their vectors were
    /// compared, from 0; `None` with [`CandidateSource::Comparison`].
    pub rank: Option<u32>,
}

/// How the candidates of a vector search are found.
///
/// ```
/// use ingrain::{prelude::*, search::CandidateSource};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # engine.create_space("text", Space::new(2, Metric::L2))?;
/// # let note = |vector: [f32; 2]| Node::new(NodeId::new(), "note").vector("text", vector);
/// # engine.write(Batch::new().put(note([1.0, 0.0])).put(note([0.0, 1.0])))?;
/// let snapshot = engine.snapshot();
/// let hits = snapshot.search(&Search::new("text", &[1.0, 0.0], 1).explain(true))?;
/// let origin = hits[0].origin.expect("it was asked for");
/// assert_eq!(origin.by, CandidateSource::Comparison);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CandidateSource {
    /// All vectors are compared.
    Comparison,
    /// A scan of the codes.
    Codes,
    /// A walk of the graph.
    Graph,
}

/// The recall that a vector search aims at: the share of the true ten nearest
/// neighbours that it finds.
///
/// How many candidates a recall takes is measured for every vector file, with
/// queries that are not its vectors. A search compares more where it shows that
/// they are not enough: for a query far from all vectors, up to all of them.
/// The recall is the mean of many queries, and no promise for one. Vectors in
/// memory are always compared one by one, and [`Exact`](Self::Exact) does the
/// same with those in files.
///
/// ```
/// use ingrain::{prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// # engine.create_space("text", Space::new(2, Metric::L2))?;
/// # let note = |vector: [f32; 2]| Node::new(NodeId::new(), "note").vector("text", vector);
/// # engine.write(Batch::new().put(note([1.0, 0.0])).put(note([0.0, 1.0])))?;
/// let snapshot = engine.snapshot();
/// let query = [0.6, 0.8];
/// let exact = snapshot.search(&Search::new("text", &query, 10).effort(Effort::Exact))?;
/// assert_eq!(exact.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Effort {
    /// A recall of 0.95.
    Fast,
    /// A recall of 0.99.
    #[default]
    Normal,
    /// A recall of 0.999.
    Thorough,
    /// A recall of 1: every vector that passes the filter is compared.
    Exact,
}

/// A vector search, for [`Snapshot::search`](crate::Snapshot::search).
///
/// ```
/// use ingrain::{Batch, Engine, Metric, Node, NodeId, Options, Space, search::{Effort, Filter, Search}};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Options::new().space("text", Space::new(2, Metric::Cosine)).open(dir.path().join("s"))?;
/// let (a, b) = (NodeId::from_content(b"a"), NodeId::from_content(b"b"));
/// let mut batch = Batch::new();
/// batch.put(Node::new(a, "note").vector("text", [1.0, 0.0]));
/// batch.put(Node::new(b, "note").vector("text", [0.6, 0.8]));
/// engine.write(batch)?;
///
/// let snapshot = engine.snapshot();
/// let search = Search::new("text", &[1.0, 0.1], 10)
///     .filter(Filter::new().kind("note"))
///     .effort(Effort::Thorough);
/// let hits = snapshot.search(&search)?;
/// assert_eq!(hits.len(), 2);
/// assert_eq!(hits[0].node.id(), a);
///
/// let like_a = snapshot.search(&Search::like("text", a, 10))?;
/// assert_eq!(like_a[0].node.id(), b);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Search<'q> {
    pub(super) space: &'q str,
    pub(super) query: Query<'q>,
    pub(super) k: usize,
    pub(super) filter: FilterOf<'q>,
    pub(super) effort: Effort,
    pub(super) within: Option<f64>,
    pub(super) diversity: Option<f64>,
    pub(super) explain: bool,
}

/// A filter, owned or borrowed.
#[derive(Debug)]
pub(crate) enum FilterOf<'q> {
    Owned(Filter<'q>),
    Borrowed(&'q Filter<'q>),
}

impl<'q> FilterOf<'q> {
    pub(crate) fn get(&self) -> &Filter<'q> {
        match self {
            Self::Owned(filter) => filter,
            Self::Borrowed(filter) => filter,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Query<'q> {
    Vector(&'q [f32]),
    Like(NodeId),
}

impl<'q> Search<'q> {
    pub(crate) fn of(space: &'q str, query: Query<'q>, k: usize) -> Self {
        let filter = Filter::new();
        Self {
            space,
            query,
            k,
            filter: FilterOf::Owned(filter),
            effort: Effort::Normal,
            within: None,
            diversity: None,
            explain: false,
        }
    }

    /// The `k` nodes whose vectors in `space` are closest to `query`.
    #[must_use]
    pub fn new(space: &'q str, query: &'q [f32], k: usize) -> Self {
        Self::of(space, Query::Vector(query), k)
    }

    /// The `k` nodes whose vectors in `space` are closest to that of this node,
    /// which is not among them.
    #[must_use]
    pub fn like(space: &'q str, node: NodeId, k: usize) -> Self {
        Self::of(space, Query::Like(node), k)
    }

    /// Only nodes that pass this filter.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Filter<'q>>) -> Self {
        self.filter = FilterOf::Owned(filter.into());
        self
    }

    /// The effort: [`Effort::Normal`] by default.
    #[must_use]
    pub fn effort(mut self, effort: Effort) -> Self {
        self.effort = effort;
        self
    }

    /// Only nodes at this distance or closer. The search is then exact: it
    /// finds all of them, up to `k`.
    #[must_use]
    pub fn within(mut self, distance: f64) -> Self {
        self.within = Some(distance);
        self
    }

    /// Prefers hits that differ from each other. They are chosen one by one
    /// from the closest `4 k` nodes: the next hit is the node with the least
    /// `(1 - diversity) * q - diversity * d`, where `q` is its distance to the
    /// query and `d` that to the closest hit already chosen. 0 changes nothing,
    /// 1 is the maximum. Above 0, `k` is at most
    /// [`limits::DIVERSE_K`].
    ///
    /// Maximal marginal relevance: Carbonell and Goldstein, SIGIR 1998.
    #[must_use]
    pub fn diversity(mut self, diversity: f64) -> Self {
        self.diversity = Some(diversity);
        self
    }

    /// Checks its numbers. Returns the diversity.
    pub(super) fn check(&self) -> Result<f64> {
        check_count("hits of a vector search", self.k, limits::NEAREST_K)?;
        if let Some(within) = self.within.filter(|within| within.is_nan()) {
            return Err(Error::invalid(format!("distance {within} of a vector search")));
        }
        let diversity = self.diversity.unwrap_or(0.0);
        if !(0.0..=1.0).contains(&diversity) {
            return Err(Error::invalid(format!("diversity {diversity}: it is not in 0..=1")));
        }
        if diversity > 0.0 {
            check_count("hits that differ of a vector search", self.k, limits::DIVERSE_K)?;
        }
        Ok(diversity)
    }

    /// Whether hits report how they were found: false by default.
    #[must_use]
    pub fn explain(mut self, explain: bool) -> Self {
        self.explain = explain;
        self
    }
}
