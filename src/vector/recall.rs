//! Measures how many candidates a search needs, with queries that are not rows.
//!
//! A row finds itself and its copies, whatever the codes. So rows are asked for
//! without their near copies, rows are moved, and there are queries that lie
//! elsewhere than the rows (docs/decisions/0026-recall-of-strangers.md).

use crate::{
    model::{
        error::{Error, Result},
        id::NodeId,
        space::Metric,
    },
    num, parallel,
    vector::{
        build::{Rows, spread},
        compute::Compute,
        exact::Closest,
        metric::{Measure, norm},
        pq::{DistanceTable, Random},
    },
};

/// Recall is measured for this number of nearest neighbours.
pub(crate) const NEIGHBOURS: usize = 10;
/// Rows that a task compares with all queries. Between two tasks, `stop` is
/// asked.
const CHUNK_ROWS: usize = 4096;
/// The largest number of queries: for four rows, one that is moved, and one
/// that is foreign.
const QUERIES: usize = 96;
/// The largest number of comparisons, unless fewer than 12 queries would
/// remain.
const COMPARISONS: usize = 1 << 26;
/// A row that is nearer to another than this share of the median distance
/// between rows is a near copy of it.
const COPY: f64 = 0.1;
/// So many copies of the first neighbour of a query are many.
const COPIES: f64 = 2.0;
/// How far a row is moved, as a share of the same.
const MOVED: f64 = 0.25;

/// Where a query lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is a row. Near copies of it do not count as its neighbours.
    Row,
    /// It is a row that was moved in a random direction.
    Moved,
    /// It is opposite to a row, the mean of two rows, noise, or short.
    Foreign,
}

/// A query with its nearest rows.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) place: Place,
    pub(crate) components: Vec<f32>,
    norm: f64,
    /// Its nearest rows, the nearest first.
    pub(crate) neighbours: Vec<u32>,
    /// The distance of the last of them.
    last: f64,
}

/// The exact result that recall is measured against.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) queries: Vec<Asked>,
    metric: Metric,
    /// Rows nearer than this to a query that is a row are copies of it.
    copy: f64,
    /// How many neighbours of a query are copies of its first, on average.
    together: f64,
    pub(crate) usual: Usual,
}

/// What queries the depths are meant for: those that are not farther from the
/// rows than rows are that were moved, or are asked for without their copies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usual {
    /// The largest distance of a tenth neighbour, as [`scaled`] has it.
    pub(crate) reach: f32,
    /// With L2, the least and the largest length of a query.
    pub(crate) lengths: [f32; 2],
}

impl Usual {
    /// Whether a query is foreign to the rows, whose tenth neighbour has this
    /// distance.
    pub(crate) fn is_foreign(&self, metric: Metric, length: f64, tenth: f64) -> bool {
        let [least, most] = self.lengths.map(f64::from);
        scaled(metric, length, tenth) > f64::from(self.reach)
            || (metric == Metric::L2 && !(least..=most).contains(&length))
    }
}

/// A distance that does not depend on the length of the query, if that does not
/// change the order of the rows.
fn scaled(metric: Metric, length: f64, distance: f64) -> f64 {
    if metric == Metric::Dot && length > 0.0 { distance / length } else { distance }
}

/// How many times the rank of the last candidate that was among the nearest is
/// compared before a search ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    /// With which the depths are measured.
    pub(crate) measured: usize,
    /// For a query like the rows.
    pub(crate) usual: usize,
    /// For a query that lies elsewhere.
    pub(crate) foreign: usize,
}

/// For a recall of 0.95, 0.99 and 0.999.
pub(crate) const STRETCHES: [Stretch; 3] = [
    Stretch { measured: 1, usual: 2, foreign: 4 },
    Stretch { measured: 2, usual: 4, foreign: 8 },
    Stretch { measured: 4, usual: 16, foreign: 20 },
];

/// What a measurement found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured<const N: usize> {
    /// The least number of candidates for each recall.
    pub(crate) depths: [Option<usize>; N],
    /// Number of usual queries, and the recall at 0.99's depth.
    pub(crate) usual: (usize, f64),
    /// Number of foreign queries, and the recall at 0.99's depth.
    pub(crate) foreign: (usize, f64),
}

impl Truth {
    /// Makes queries of some rows and compares them with all rows, in parallel.
    /// Returns `Closed` if `how` says so. Costs up to [`COMPARISONS`]
    /// distances, or 12 for each row if that is more.
    pub(crate) fn from_rows(
        rows: &impl Rows,
        metric: Metric,
        seed: u64,
        how: Compute<'_>,
    ) -> Result<Self> {
        let (mut queries, median) = strangers(rows, metric, seed)?;
        let copy = share_of(metric, median, COPY);
        let found = nearest(rows, metric, &queries, copy, how)?;
        for (query, found) in queries.iter_mut().zip(found) {
            let found: Vec<(f64, NodeId, u32)> = found.into_sorted().collect();
            query.neighbours = found.iter().map(|(_, _, row)| *row).collect();
            query.last = found.last().map_or(f64::NEG_INFINITY, |(distance, ..)| *distance);
        }
        let like_rows = || queries.iter().filter(|query| query.place != Place::Foreign);
        let reach = like_rows().map(|query| scaled(metric, query.norm, query.last));
        let reach = reach.fold(f64::NEG_INFINITY, f64::max);
        let norms = || like_rows().map(|query| query.norm);
        let (least, most) = (norms().fold(f64::INFINITY, f64::min), norms().fold(0.0, f64::max));
        // Rounding moves the limits by a ten-millionth.
        #[expect(clippy::cast_possible_truncation, reason = "a limit, not a distance")]
        let usual =
            Usual { reach: reach as f32, lengths: [(least / 2.0) as f32, (most * 2.0) as f32] };
        let together = together(&queries, rows, metric, copy)?;
        Ok(Self { queries, metric, copy, together, usual })
    }

    /// How many neighbours of a query are copies of its first, on average.
    pub(crate) fn together(&self) -> f64 {
        self.together
    }

    /// Whether the depths are meant for a query.
    pub(crate) fn is_usual(&self, query: &Asked) -> bool {
        // Rounding must not make foreign what the limits were made of.
        query.place != Place::Foreign || !self.usual.is_foreign(self.metric, query.norm, query.last)
    }

    /// How many candidates the codes have to give for each recall (in
    /// thousandths).
    pub(crate) fn of_codes<'t, const N: usize>(
        &self,
        table: impl Fn(&[f32], f64) -> DistanceTable<'t> + Sync,
        codes: &[u8],
        rows: &impl Rows,
        recalls: [(u32, Stretch); N],
        how: Compute<'_>,
    ) -> Result<Measured<N>> {
        let ranks = parallel::map(how.threads, &self.queries, |query| {
            if (how.stop)() {
                return Err(Error::Closed);
            }
            let mut distances = Vec::new();
            table(&query.components, query.norm).distances(codes, rows.count(), &mut distances);
            self.ranks(query, &distances, rows)
        });
        let ranks = ranks.into_iter().collect::<Result<Vec<_>>>()?;
        let of = |which: &dyn Fn(&Asked) -> bool| -> Vec<&Vec<usize>> {
            let some = self.queries.iter().zip(&ranks).filter(|(query, _)| which(query));
            some.map(|(_, ranks)| ranks).collect()
        };
        let usual = of(&|query| self.is_usual(query));
        let foreign = of(&|query| !self.is_usual(query));
        // Rows are nearer to rows than strangers are, so each has to be found.
        let are_rows = of(&|query| query.place == Place::Row);
        let others = of(&|query| self.is_usual(query) && query.place != Place::Row);
        let depths = recalls.map(|(recall, stretch)| {
            let of = |ranks| depth(ranks, recall, stretch.measured, self.together);
            of(&are_rows).max(of(&others))
        });
        let (at, stretch) = match (depths.get(1), recalls.get(1)) {
            (Some(depth), Some((_, stretch))) => (*depth, *stretch),
            _ => (0, Stretch { measured: 1, usual: 1, foreign: 1 }),
        };
        Ok(Measured {
            depths: depths.map(Some),
            usual: (usual.len(), recall(&usual, at, stretch.usual)),
            foreign: (foreign.len(), recall(&foreign, at, stretch.foreign)),
        })
    }

    /// The rank of each neighbour of a query by approximate distance, ascending.
    /// Rows that are copies of the query are not counted.
    fn ranks(&self, query: &Asked, distances: &[u32], rows: &impl Rows) -> Result<Vec<usize>> {
        let at = |row: u32| distances.get(num::index(row)).copied().unwrap_or(u32::MAX);
        let mut places: Vec<(u32, u32)> =
            query.neighbours.iter().map(|row| (at(*row), *row)).collect();
        places.sort_unstable();
        let Some(last) = places.last().copied() else { return Ok(Vec::new()) };
        let mut before = vec![0_usize; places.len()];
        let copies = Copies::new(query, self.metric, self.copy);
        for place in distances.iter().copied().zip(0_u32..).filter(|place| *place < last) {
            let copy = query.place == Place::Row && {
                let (components, norm) = rows.get(num::index(place.1))?;
                copies.has(components, norm)
            };
            let first = places.partition_point(|of| *of <= place);
            if let Some(count) = before.get_mut(first).filter(|_| !copy) {
                *count += 1;
            }
        }
        let mut sum = 0;
        Ok(before
            .into_iter()
            .map(|count| {
                sum += count;
                sum
            })
            .collect())
    }

    /// The number of usual and of foreign queries, and the share of the
    /// neighbours that `search` finds; and the least share among the usual ones
    /// that are rows, that were moved, and that lie between rows. Each has to be
    /// found: a walk that finds rows well may miss a half of what is near the mean
    /// of two. `search` returns candidate rows. Those that are as near as the last
    /// neighbour are as good.
    pub(crate) fn recall(
        &self,
        rows: &impl Rows,
        mut search: impl FnMut(&Asked) -> Result<Vec<u32>>,
    ) -> Result<([(usize, f64); 2], f64)> {
        let mut sums = [(0_usize, 0_usize, 0_usize); 2];
        let mut places = [(0_usize, 0_usize); 3];
        for query in &self.queries {
            let candidates = search(query)?;
            let [usual, foreign] = &mut sums;
            let sum = if self.is_usual(query) { usual } else { foreign };
            let measure = Measure::new(self.metric, &query.components);
            let copies = Copies::new(query, self.metric, self.copy);
            let mut found = 0;
            for row in candidates {
                let (components, norm) = rows.get(num::index(row))?;
                let near = measure.distance(components, norm) <= query.last;
                found += usize::from(near && !copies.has(components, norm));
            }
            let found = found.min(query.neighbours.len());
            *sum = (sum.0 + 1, sum.1 + found, sum.2 + query.neighbours.len());
            if self.is_usual(query) {
                let [rows, moved, between] = &mut places;
                let place = match query.place {
                    Place::Row => rows,
                    Place::Moved => moved,
                    Place::Foreign => between,
                };
                *place = (place.0 + found, place.1 + query.neighbours.len());
            }
        }
        let least = places.map(|(found, all)| if all == 0 { 1.0 } else { share(found, all) });
        let least = least.into_iter().fold(1.0, f64::min);
        Ok((sums.map(|(queries, found, all)| (queries, share(found, all))), least))
    }
}

/// Whether rows are near copies of a query that is a row.
struct Copies<'q> {
    measure: Option<Measure<'q>>,
    within: f64,
}

impl<'q> Copies<'q> {
    fn new(query: &'q Asked, metric: Metric, copy: f64) -> Self {
        let measure =
            (query.place == Place::Row).then(|| Measure::new(apart(metric), &query.components));
        Self { measure, within: copy }
    }

    fn has(&self, components: &[f32], norm: f64) -> bool {
        self.measure
            .as_ref()
            .is_some_and(|measure| measure.distance(components, norm) <= self.within)
    }
}

/// The metric in which rows are near copies: of directions under cosine.
fn apart(metric: Metric) -> Metric {
    match metric {
        Metric::Cosine => Metric::Cosine,
        Metric::Dot | Metric::L2 => Metric::L2,
    }
}

/// A share of a distance in [`apart`]. Cosine distances are squares.
fn share_of(metric: Metric, distance: f64, share: f64) -> f64 {
    if metric == Metric::Cosine { distance * share * share } else { distance * share }
}

/// Not a number if there is nothing to find.
fn share(found: usize, all: usize) -> f64 {
    // Both are far below 2^52, so the casts are exact.
    found as f64 / all as f64
}

/// For each neighbour of a query, the least depth with which it is found, if a
/// search goes on until `stretch` times as many candidates were compared as when
/// the last neighbour was found. `ranks` are theirs, ascending.
fn needed(ranks: &[usize], stretch: usize) -> impl Iterator<Item = usize> {
    let (mut reached, mut depth) = (0_usize, 0);
    ranks.iter().map(move |rank| {
        let candidates = rank + 1;
        if candidates > reached {
            depth = candidates;
        }
        reached = candidates.saturating_mul(stretch);
        depth
    })
}

/// The recall with a depth.
fn recall(ranks: &[&Vec<usize>], depth: usize, stretch: usize) -> f64 {
    let all = || ranks.iter().flat_map(|ranks| needed(ranks, stretch));
    share(all().filter(|needed| *needed <= depth).count(), all().count())
}

/// The depth for a recall in thousandths: the least that reaches it, or that of
/// a logarithmic normal distribution if that is more, because few queries say
/// little of the thousandth that is hardest. So many neighbours of a query are
/// copies, which are found or missed `together`.
fn depth(ranks: &[&Vec<usize>], wanted: u32, stretch: usize, together: f64) -> usize {
    let all = ranks.iter().flat_map(|ranks| needed(ranks, stretch));
    let mut depths: Vec<usize> = all.collect();
    depths.sort_unstable();
    let enough = (depths.len() * num::index(wanted)).div_ceil(1000);
    let Some(least) = enough.checked_sub(1).and_then(|at| depths.get(at)) else { return 0 };
    let logs = || depths.iter().map(|depth| (*depth as f64).ln());
    let count = depths.len() as f64;
    let mean = logs().sum::<f64>() / count;
    let variance = logs().map(|log| (log - mean).powi(2)).sum::<f64>() / count;
    let quantile = match wanted {
        0..=950 => 1.645,
        951..=990 => 2.326,
        // Beyond 3.09: the tail of what was measured is longer than that of a normal
        // distribution.
        _ => 3.5,
    };
    // The upper end of what such a sample may come from, in 99 of 100 cases.
    let quantile: f64 =
        quantile + 2.326 * ((1.0 + 0.5 * quantile * quantile) * together / count).sqrt();
    // Copies are found or missed together, so they say less of the tail.
    let copies = if together > COPIES { 1.5 } else { 1.0 };
    // A cast of a float takes the nearest number that there is.
    let depth = (copies * (mean + quantile * variance.sqrt()).exp()).ceil() as usize;
    let depth = (*least).max(depth);
    // More than there can be rows is all of them.
    depth.min(num::index(u32::MAX - 1))
}

/// The queries, without neighbours, and the median distance of rows, in
/// [`apart`], to be shared by [`share_of`].
fn strangers(rows: &impl Rows, metric: Metric, seed: u64) -> Result<(Vec<Asked>, f64)> {
    let count = rows.count();
    let all = QUERIES.min(COMPARISONS.checked_div(count).unwrap_or(0).max(12));
    let few = (all / 6).min(count);
    let chosen: Vec<usize> = spread(count, all - 2 * few).collect();
    let mut queries = Vec::new();
    for row in &chosen {
        queries.extend(asked(Place::Row, rows.get(*row)?.0.to_vec()));
    }
    let median = median(&queries, metric);
    let random = &mut Random(seed ^ 0x5351);
    for at in 0..few {
        let pick = |random: &mut Random| rows.get(random.below(count));
        let (row, norm) = pick(random)?;
        let noise = noise(row.len(), random);
        let by = match metric {
            Metric::Cosine => (2.0 * median).sqrt() * norm,
            Metric::Dot | Metric::L2 => median,
        };
        let moved = mix(row, 1.0, &noise, MOVED * by);
        queries.extend(asked(Place::Moved, moved));
        let (row, norm) = pick(random)?;
        let foreign = match (at % 4, metric) {
            (0, _) => mix(row, -1.0, &[], 0.0),
            // Such a length may be beyond what a component can have.
            (1, _) => mix(&noise, norm, &[], 0.0),
            (2, Metric::L2) if at % 8 == 2 => mix(row, 1e-3, &[], 0.0),
            _ => mix(row, 0.5, pick(random)?.0, 0.5),
        };
        queries.extend(asked(Place::Foreign, foreign));
    }
    Ok((queries, median))
}

/// `None` for a vector without a direction.
fn asked(place: Place, components: Vec<f32>) -> Option<Asked> {
    let norm = norm(&components);
    let asked = Asked { place, components, norm, neighbours: Vec::new(), last: f64::NEG_INFINITY };
    (norm > 0.0).then_some(asked)
}

/// The sum of two vectors, each times a number; the second may be shorter.
fn mix(a: &[f32], of_a: f64, b: &[f32], of_b: f64) -> Vec<f32> {
    let b = b.iter().copied().chain(std::iter::repeat(0.0));
    let sum = |(a, b): (&f32, f32)| f64::from(*a) * of_a + f64::from(b) * of_b;
    let most = f64::from(f32::MAX);
    a.iter().zip(b).map(|pair| sum(pair).clamp(-most, most) as f32).collect()
}

/// A random direction, of length one.
fn noise(dimension: usize, random: &mut Random) -> Vec<f32> {
    let mut normal = || (0..6).map(|_| random.share() as f32 - 0.5).sum::<f32>();
    let vector: Vec<f32> = (0..dimension).map(|_| normal()).collect();
    let norm = norm(&vector);
    vector.iter().map(|x| (f64::from(*x) / norm.max(f64::MIN_POSITIVE)) as f32).collect()
}

/// The median distance between two of the queries, in [`apart`].
fn median(queries: &[Asked], metric: Metric) -> f64 {
    let mut distances = Vec::new();
    for (at, query) in queries.iter().enumerate() {
        let measure = Measure::new(apart(metric), &query.components);
        let others = queries.iter().skip(at + 1);
        distances.extend(others.map(|other| measure.distance(&other.components, other.norm)));
    }
    distances.sort_unstable_by(f64::total_cmp);
    distances.get(distances.len() / 2).copied().unwrap_or(0.0)
}

/// How many neighbours of a query are copies of its first, on average; 1 without
/// queries.
fn together(queries: &[Asked], rows: &impl Rows, metric: Metric, copy: f64) -> Result<f64> {
    let (mut copies, mut all) = (0_usize, 0_usize);
    for query in queries.iter().filter(|query| query.place == Place::Row) {
        let Some(first) = query.neighbours.first() else { continue };
        let measure = Measure::new(apart(metric), rows.get(num::index(*first))?.0);
        for row in &query.neighbours {
            let (components, norm) = rows.get(num::index(*row))?;
            copies += usize::from(measure.distance(components, norm) <= copy);
        }
        all += 1;
    }
    Ok(if all == 0 { 1.0 } else { copies.max(all) as f64 / all as f64 })
}

/// The nearest rows of each query.
fn nearest(
    rows: &impl Rows,
    metric: Metric,
    queries: &[Asked],
    copy: f64,
    how: Compute<'_>,
) -> Result<Vec<Closest<u32>>> {
    let count = rows.count();
    let measures: Vec<(Measure<'_>, Copies<'_>)> = queries
        .iter()
        .map(|query| (Measure::new(metric, &query.components), Copies::new(query, metric, copy)))
        .collect();
    // Row numbers stand in for node ids, so that ties are ordered by row.
    let name = |row: usize| {
        let row = u128::try_from(row).unwrap_or(u128::MAX);
        NodeId::from_bytes(row.to_be_bytes())
    };
    let nothing =
        || -> Vec<Closest<u32>> { measures.iter().map(|_| Closest::new(NEIGHBOURS)).collect() };
    let chunks: Vec<usize> = (0..count).step_by(CHUNK_ROWS).collect();
    let found = parallel::map(how.threads, &chunks, |from| {
        let (from, mut closest) = (*from, nothing());
        if (how.stop)() {
            return Err(Error::Closed);
        }
        for row in from..(from + CHUNK_ROWS).min(count) {
            let (components, norm) = rows.get(row)?;
            for ((measure, copies), closest) in measures.iter().zip(&mut closest) {
                let distance = measure.distance(components, norm);
                if closest.wants(distance, name(row)) && !copies.has(components, norm) {
                    closest.offer(distance, name(row), num::short(row));
                }
            }
        }
        Ok::<_, Error>(closest)
    });
    let mut closest = nothing();
    for some in found {
        for (all, some) in closest.iter_mut().zip(some?) {
            for (distance, id, row) in some.into_sorted() {
                all.offer(distance, id, row);
            }
        }
    }
    Ok(closest)
}
