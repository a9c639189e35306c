//! What building an index over vectors needs: a sample, codes, and measuring
//! the recall against an exact search.

use crate::{
    model::{
        error::{Error, Result},
        id::NodeId,
        space::Metric,
    },
    num, parallel,
    vector::{compute::Compute, exact::Closest, metric::Measure, pq::Codebook},
};

/// Vectors, numbered from 0.
pub(crate) trait Rows: Sync {
    /// The number of vectors.
    fn count(&self) -> usize;

    /// The components of a vector, and its Euclidean length.
    fn get(&self, row: usize) -> Result<(&[f32], f64)>;
}

/// Rows that a task compares with all queries. Between two tasks, `stop` is
/// asked.
const CHUNK_ROWS: usize = 4096;
/// Recall is measured for this number of nearest neighbours.
const NEIGHBOURS: usize = 10;
/// The recall that is reported is measured with this many candidates per
/// neighbour.
const USUAL: usize = 10;
/// The largest number of rows that serve as queries.
const QUERIES: usize = 64;
/// The largest number of comparisons for measuring recall, unless fewer than 8
/// queries would remain.
const COMPARISONS: usize = 1 << 26;

/// The numbers of `count` rows that are spread evenly over all, or of all rows.
pub(crate) fn spread(rows: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(rows);
    (0..count).map(move |at| at.saturating_mul(rows).checked_div(count).unwrap_or(0))
}

/// The components of up to `count` rows that are spread evenly over all.
pub(crate) fn sample(rows: &impl Rows, count: usize) -> Result<Vec<f32>> {
    let mut components = Vec::new();
    for row in spread(rows.count(), count) {
        components.extend_from_slice(rows.get(row)?.0);
    }
    Ok(components)
}

/// Appends the codes of the rows `from..to`. `from` is a multiple of
/// [`BLOCK_ROWS`](crate::vector::pq::BLOCK_ROWS).
pub(crate) fn encode(
    codebook: &Codebook,
    rows: &impl Rows,
    from: usize,
    to: usize,
    threads: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let rows = (from..to).map(|row| rows.get(row)).collect::<Result<Vec<_>>>()?;
    codebook.encode(&rows, threads, out);
    Ok(())
}

/// The exact result that recall is measured against: some rows as queries, and
/// for each its nearest other rows.
#[derive(Debug)]
pub(crate) struct Truth {
    queries: Vec<(usize, Vec<u32>)>,
}

impl Truth {
    #[inline]
    pub(crate) fn queries(&self) -> &[(usize, Vec<u32>)] {
        &self.queries
    }
}

impl Truth {
    /// Compares some rows with all rows, in parallel. Returns `Closed` if
    /// `how` says so. Costs up to [`COMPARISONS`] distances, or 8 for each row
    /// if that is more.
    pub(crate) fn from_rows(rows: &impl Rows, metric: Metric, how: Compute<'_>) -> Result<Self> {
        let count = rows.count();
        let queries = QUERIES.min(COMPARISONS.checked_div(count).unwrap_or(0).max(8));
        let queries: Vec<usize> = spread(count, queries).collect();
        let measures = queries
            .iter()
            .map(|row| Ok(Measure::new(metric, rows.get(*row)?.0)))
            .collect::<Result<Vec<_>>>()?;
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
                let each = measures.iter().zip(&queries).zip(&mut closest);
                for ((measure, _), closest) in each.filter(|((_, q), _)| **q != row) {
                    let distance = measure.distance(components, norm);
                    closest.offer(distance, name(row), num::short(row));
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
        let neighbours = closest
            .into_iter()
            .map(|closest| closest.into_sorted().map(|(_, _, row)| row).collect::<Vec<u32>>());
        Ok(Self { queries: queries.into_iter().zip(neighbours).collect() })
    }

    /// For each recall (in thousandths), how many candidates the codes have to
    /// give to reach it. Also the share of the neighbours that are among the
    /// first [`NEIGHBOURS`] times [`USUAL`] candidates.
    pub(crate) fn of_codes<const N: usize>(
        &self,
        codebook: &Codebook,
        codes: &[u8],
        rows: &impl Rows,
        recalls: [u32; N],
        threads: usize,
    ) -> Result<([usize; N], f64)> {
        let count = rows.count();
        let ranks = parallel::map(threads, &self.queries, |(query, neighbours)| {
            let (components, norm) = rows.get(*query)?;
            let mut distances = Vec::new();
            codebook.table(components, norm).distances(codes, count, &mut distances);
            let at =
                |row: u32| usize::try_from(row).ok().and_then(|row| distances.get(row)).copied();
            // The query itself is usually ranked first and counts, although
            // it is not a neighbour.
            let rank = |row: u32| {
                let mine = at(row).unwrap_or(u32::MAX);
                let all = (0_u32..).zip(&distances);
                all.filter(|(other, distance)| (**distance, *other) < (mine, row)).count()
            };
            Ok(neighbours.iter().map(|row| rank(*row)).collect::<Vec<usize>>())
        });
        let ranks = ranks.into_iter().collect::<Result<Vec<_>>>()?;
        let mut ranks: Vec<usize> = ranks.into_iter().flatten().collect();
        ranks.sort_unstable();
        let usual = ranks.partition_point(|rank| *rank < NEIGHBOURS * USUAL);
        let depths = recalls.map(|recall| {
            let share = usize::try_from(recall).unwrap_or(1000).min(1000);
            let needed = (ranks.len() * share).div_ceil(1000);
            let last = needed.checked_sub(1).and_then(|at| ranks.get(at));
            last.map_or(0, |rank| rank + 1)
        });
        // Both are far below 2^52, so the casts are exact.
        let recall = if ranks.is_empty() { 1.0 } else { usual as f64 / ranks.len() as f64 };
        Ok((depths, recall))
    }

    /// The share of the neighbours that `search` finds. It gets the number of a
    /// query row and returns candidate rows.
    pub(crate) fn recall(&self, mut search: impl FnMut(usize) -> Result<Vec<u32>>) -> Result<f64> {
        let (mut found, mut all) = (0_u32, 0_u32);
        for (query, neighbours) in &self.queries {
            let candidates = search(*query)?;
            for row in neighbours {
                all += 1;
                found += u32::from(candidates.contains(row));
            }
        }
        Ok(if all == 0 { 1.0 } else { f64::from(found) / f64::from(all) })
    }
}
