//! Vector search.

use super::{Layer, NodeRef, Snapshot, ranges::KeyRange};
use crate::{
    error::{Error, Result},
    id::NodeId,
    limits,
    model::{check_count, unknown_index, unknown_space},
    vector::{Closest, Measure},
};

/// A result of a vector search.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Hit<'s> {
    /// The distance to the query, exactly as the space's metric defines it.
    pub distance: f64,
    /// The node.
    pub node: NodeRef<'s>,
}

/// What nodes a vector search may find. All conditions must hold.
///
/// ```
/// use ingrain::{Filter, KeyRange};
///
/// let filter = Filter::new()
///     .kind("note")
///     .index("timeline", KeyRange::all())
///     .test(|node| node.confidence() > 0.5);
/// # let _ = filter;
/// ```
#[derive(Default)]
pub struct Filter<'f> {
    kind: Option<&'f str>,
    index: Option<(&'f str, KeyRange)>,
    test: Option<Test<'f>>,
}

type Test<'f> = Box<dyn Fn(&NodeRef<'_>) -> bool + 'f>;

impl std::fmt::Debug for Filter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter")
            .field("kind", &self.kind)
            .field("index", &self.index)
            .field("test", &self.test.is_some())
            .finish()
    }
}

impl<'f> Filter<'f> {
    /// Any node.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only nodes of this kind.
    #[must_use]
    pub fn kind(mut self, kind: &'f str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only nodes with a key in this range of this index.
    #[must_use]
    pub fn index(mut self, index: &'f str, range: impl Into<KeyRange>) -> Self {
        self.index = Some((index, range.into()));
        self
    }

    /// Only nodes that pass this test. It is called for those only that pass
    /// the rest and are close enough to matter.
    #[must_use]
    pub fn test(mut self, test: impl Fn(&NodeRef<'_>) -> bool + 'f) -> Self {
        self.test = Some(Box::new(test));
        self
    }
}

impl Snapshot {
    /// The `k` nodes whose vectors in `space` are closest to `query`, best
    /// first, ties by id; fewer if there are fewer.
    ///
    /// The search is exact: it computes the distance to every vector of the
    /// space that the filter lets by. The cost grows with their number times
    /// the dimension.
    ///
    /// # Errors
    /// `Invalid` if there is no such space or index, or the query does not fit
    /// the space; `Limit` if `k` passes [`limits::NEAREST_K`].
    pub fn nearest(
        &self,
        space: &str,
        query: &[f32],
        k: usize,
        filter: &Filter<'_>,
    ) -> Result<Vec<Hit<'_>>> {
        let (number, definition) =
            *self.state.spaces.get(space).ok_or_else(|| unknown_space(space))?;
        definition.check_vector(space, query)?;
        check_count("hits of a vector search", k, limits::NEAREST_K)?;
        let kind = match filter.kind.map(|kind| self.state.kinds.number(kind)) {
            Some(None) => return Ok(Vec::new()),
            known => known.flatten(),
        };
        let index = match &filter.index {
            Some((name, range)) => {
                let number = self.state.indexes.number(name).ok_or_else(|| unknown_index(name))?;
                Some((number, range))
            }
            None => None,
        };
        let filtered = kind.is_some() || index.is_some() || filter.test.is_some();
        let allowed = |node: &NodeRef<'_>| {
            kind.is_none_or(|kind| node.kind_number() == kind)
                && index.is_none_or(|(number, range)| {
                    node.numbered_keys().any(|(of, key)| of == number && range.contains(key))
                })
                && filter.test.as_ref().is_none_or(|test| test(node))
        };
        let measure = Measure::new(definition.metric, query);
        let mut closest = Closest::new(k);
        let all = (number, NodeId::MIN)..=(number, NodeId::MAX);
        let layers: Vec<&Layer> = self.state.layers().collect();
        for (at, layer) in layers.iter().enumerate() {
            let newer = layers.get(..at).unwrap_or_default();
            for ((_, id), vector) in layer.vectors.range(all.clone()) {
                let Some(vector) = vector else { continue };
                let distance = measure.distance(&vector.numbers, vector.norm);
                if closest.wants(distance, *id)
                    && !newer.iter().any(|layer| layer.vectors.contains_key(&(number, *id)))
                    && (!filtered || self.get(*id)?.is_some_and(|node| allowed(&node)))
                {
                    closest.offer(distance, *id);
                }
            }
        }
        for part in self.state.base.vectors.iter().filter(|part| part.space == number) {
            for row in 0..part.len {
                let (head, numbers) = part.row(row)?;
                let id = head.id();
                let distance = measure.distance(numbers, head.norm.get());
                // Whether the vector is still its node's, the node knows.
                if closest.wants(distance, id)
                    && let Some(node) = self.get(id)?
                    && node.vector_seq(number) == Some(head.seq())
                    && (!filtered || allowed(&node))
                {
                    closest.offer(distance, id);
                }
            }
        }
        closest
            .into_sorted()
            .map(|(distance, id)| match self.get(id)? {
                Some(node) => Ok(Hit { distance, node }),
                // Vectors and nodes change in the same commit.
                None => Err(Error::invalid(format!("vector of {id}: the node is not there"))),
            })
            .collect()
    }
}
