//! Vector search.

pub(crate) mod query;
pub(crate) mod run;

use crate::{
    model::{
        catalog::unknown_space,
        error::{Error, Result},
        id::NodeId,
        space::{Method, Space},
    },
    num, parallel,
    read::{
        filter::{Filter, expr::Expr, mask::fewest},
        search::{
            query::{Effort, FilterOf, Hit, HitOrigin, Query, Search},
            run::{COMPARED, SearchRun, many},
        },
        snapshot::Snapshot,
    },
    vector::{
        self,
        exact::{Closest, Least},
        metric::Measure,
        recall::NEIGHBOURS,
    },
};

impl Snapshot {
    /// The `k` nodes whose vectors in `space` are closest to `query`, closest
    /// first, ties by id; fewer if fewer pass the filter. This is a
    /// [`search`](Self::search) of [`Effort::Normal`].
    ///
    /// # Errors
    /// As [`search`](Self::search).
    pub fn nearest(
        &self,
        space: &str,
        query: &[f32],
        k: usize,
        filter: &Filter<'_>,
    ) -> Result<Vec<Hit<'_>>> {
        let search = Search {
            filter: FilterOf::Borrowed(filter),
            ..Search::of(space, Query::Vector(query), k)
        };
        self.search(&search)
    }

    /// The nodes that a [`Search`] finds, closest first, ties by id; with
    /// [`diversity`](Search::diversity), in the order in which they are chosen. All
    /// distances are exact. The [`Effort`] of the search determines how many of
    /// the true nearest neighbours are found.
    ///
    /// Vectors in memory, which are in no file yet, are compared one by one. A
    /// checkpoint starts when there are
    /// [`Options::delta_vectors`](crate::Options::delta_vectors) of them. In a
    /// vector file, a scan of codes or a walk of a graph gives candidates,
    /// whose vectors are then compared.
    ///
    /// What a [`Filter`] asks of kinds, ids, indexes, edges and expiry is answered by a
    /// mask of the rows of a file, without reading records, and so are comparisons
    /// that an index serves. Other comparisons and closures are asked of each
    /// candidate. If few nodes pass, all that pass are compared.
    ///
    /// # Errors
    /// `Invalid` if the space or the index does not exist, the query does not
    /// fit the space, or the node of [`Search::like`] has no vector in it;
    /// `NotReady` while an index of the filter is being built; `Filter` if a closure
    /// failed; `Limit` if `k` exceeds
    /// [`limits::NEAREST_K`](crate::limits::NEAREST_K), or with diversity
    /// [`limits::DIVERSE_K`](crate::limits::DIVERSE_K); `Corrupt` if a vector
    /// is damaged on disk.
    pub fn search(&self, search: &Search<'_>) -> Result<Vec<Hit<'_>>> {
        let (number, named) =
            self.state.spaces().get(search.space).ok_or_else(|| unknown_space(search.space))?;
        let space = named.space;
        let (query, excluded) = self.query_vector(search, number)?;
        space.check_vector(search.space, query)?;
        let diversity = search.check()?;
        let filter = search.filter.get();
        let mut filter = filter.compile(self)?;
        let files = self.state.base().vectors_of(number);
        let many = many(files.map(|file| file.rows().len()).sum());
        for expr in &mut filter {
            if matches!(expr, Expr::Edge { .. }) && expr.at_most(self)? <= Some(many) {
                *expr = Expr::Ids(expr.list(self)?.into());
            }
        }
        let pool = if diversity > 0.0 { search.k.saturating_mul(4) } else { search.k };
        let exact = search.effort == Effort::Exact
            || search.within.is_some()
            || named.method == Method::Exact;
        let mut run = SearchRun {
            snapshot: self,
            number,
            query,
            measure: Measure::new(space.metric, query),
            k: pool,
            excluded,
            filter: &filter,
            masks: Vec::new(),
            rest: Vec::new(),
            thinned: 1,
            effort: if exact { Effort::Exact } else { search.effort },
            within: search.within,
            layers: self.state.layers().collect(),
            tried: Vec::new(),
            closest: Closest::new(pool),
            least: Least::new(pool.max(NEIGHBOURS)),
        };
        match fewest(&filter, self)? {
            Some((nodes, expr)) if num::size(nodes) <= COMPARED => run.among(&expr.list(self)?)?,
            _ => {
                run.split()?;
                run.all(named.method)?;
            }
        }
        let hits = self.hits(run.closest, search.explain)?;
        if diversity > 0.0 {
            self.diverse(number, space, hits, search.k, diversity)
        } else {
            Ok(hits)
        }
    }

    /// The vector that a search is for, and the node that it leaves out.
    fn query_vector<'q>(
        &'q self,
        search: &Search<'q>,
        number: u32,
    ) -> Result<(&'q [f32], Option<NodeId>)> {
        match search.query {
            Query::Vector(query) => Ok((query, None)),
            Query::Like(id) => {
                let node = self.get(id)?;
                let vector = node.as_ref().map(|node| node.numbered_vector(number)).transpose()?;
                let vector = vector.flatten().ok_or_else(|| {
                    let what = if node.is_some() { "has no vector in it" } else { "is missing" };
                    Error::invalid(format!("vector space {:?}: node {id} {what}", search.space))
                })?;
                Ok((vector, Some(id)))
            }
        }
    }

    /// The hits of a search, closest first.
    fn hits(&self, closest: Closest<HitOrigin>, explain: bool) -> Result<Vec<Hit<'_>>> {
        let hits = closest.into_sorted().map(|(distance, id, found)| match self.get(id)? {
            _ if !distance.is_finite() => {
                Err(self.state.base().damaged(format!("the vector of node {id} has no distance")))
            }
            Some(node) => Ok(Hit { distance, node, origin: explain.then_some(found) }),
            // Vectors and nodes change in the same commit.
            None => {
                Err(self.state.base().damaged(format!("node {id} has a vector but does not exist")))
            }
        });
        hits.collect()
    }

    /// Runs several searches, as [`search`](Self::search), on up to
    /// [`Options::threads`](crate::Options::threads) threads. The hits of each are
    /// at the position of its search. A thread costs about 0.1 ms to start: for a
    /// few searches of codes, call [`search`](Self::search).
    ///
    /// # Errors
    /// The error of one of the searches that failed.
    pub fn search_many(&self, searches: &[Search<'_>]) -> Result<Vec<Vec<Hit<'_>>>> {
        let results = parallel::map(self.state.threads(), searches, |search| self.search(search));
        results.into_iter().collect()
    }

    /// Chooses `k` diverse hits.
    fn diverse<'s>(
        &'s self,
        number: u32,
        space: Space,
        hits: Vec<Hit<'s>>,
        k: usize,
        diversity: f64,
    ) -> Result<Vec<Hit<'s>>> {
        let lost = |id| {
            self.state.base().damaged(format!("node {id} was found by a vector that is missing"))
        };
        let mut left = hits
            .into_iter()
            .map(|hit| {
                let vector = hit.node.numbered_vector(number)?;
                let vector = vector.ok_or_else(|| lost(hit.node.id()))?;
                // The last is the distance to the closest chosen hit.
                Ok((hit, vector, vector::norm(vector), f64::INFINITY))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut chosen: Vec<Hit<'s>> = Vec::with_capacity(k.min(left.len()));
        while chosen.len() < k {
            let score = |(hit, _, _, apart): &(Hit<'s>, &[f32], f64, f64)| -> f64 {
                let apart = if apart.is_finite() { *apart } else { 0.0 };
                (1.0 - diversity) * hit.distance - diversity * apart
            };
            // Hits are sorted by distance, so the first of equals is the
            // closest.
            let scores = left.iter().map(score).enumerate();
            let Some((best, _)) = scores.min_by(|(_, a), (_, b)| a.total_cmp(b)) else { break };
            let (hit, vector, _, _) = left.remove(best);
            chosen.push(hit);
            let measure = Measure::new(space.metric, vector);
            for (_, other, norm, apart) in &mut left {
                *apart = apart.min(measure.distance(other, *norm));
            }
        }
        Ok(chosen)
    }
}
