//! What building an index over vectors takes: a sample, codes, and how well it
//! finds what an exact search finds.

use rayon::prelude::*;

use crate::{
    model::{
        error::{Error, Result},
        id::NodeId,
        space::Metric,
    },
    vector::{exact::Closest, metric::Measure, pq::Codebook, stop::Stop},
};

/// Vectors by number.
pub(crate) trait Rows: Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// One of them, and its Euclidean length.
    fn get(&self, row: usize) -> Result<(&[f32], f64)>;
}

/// Rows that are looked at in one piece.
const CHUNK_ROWS: usize = 4096;
/// The neighbours whose recall is measured.
const NEIGHBOURS: usize = 10;
/// Candidates for each neighbour with which recall is reported.
const USUAL: usize = 10;
/// Rows whose neighbours are looked for.
const QUERIES: usize = 64;
/// Comparisons that measuring recall may take.
const COMPARISONS: usize = 1 << 26;

/// `count` rows from all over, or all.
pub(crate) fn spread(rows: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(rows);
    (0..count).map(move |at| at.saturating_mul(rows).checked_div(count).unwrap_or(0))
}

/// The numbers of up to `count` rows from all over.
pub(crate) fn sample(rows: &impl Rows, count: usize) -> Result<Vec<f32>> {
    let mut components = Vec::new();
    for row in spread(rows.count(), count) {
        components.extend_from_slice(rows.get(row)?.0);
    }
    Ok(components)
}

/// Appends the codes of the rows `from..to`. `from` is a multiple of the rows of
/// a block.
pub(crate) fn encode(
    codebook: &Codebook,
    rows: &impl Rows,
    from: usize,
    to: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let rows = (from..to).map(|row| rows.get(row)).collect::<Result<Vec<_>>>()?;
    codebook.encode(&rows, out);
    Ok(())
}

/// Some rows, and the rows that are closest to each but itself.
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
    /// Compares some rows with all, in parallel. `Closed` when told to `stop`.
    pub(crate) fn from_rows(rows: &impl Rows, metric: Metric, stop: Stop<'_>) -> Result<Self> {
        let count = rows.count();
        let queries = QUERIES.min(COMPARISONS.checked_div(count).unwrap_or(0).max(8));
        let queries: Vec<usize> = spread(count, queries).collect();
        let measures = queries
            .iter()
            .map(|row| Ok(Measure::new(metric, rows.get(*row)?.0)))
            .collect::<Result<Vec<_>>>()?;
        // Rows by number in the place of nodes by id: the same order of ties.
        let name = |row: usize| {
            let row = u128::try_from(row).unwrap_or(u128::MAX);
            NodeId::from_bytes(row.to_be_bytes())
        };
        let nothing =
            || -> Vec<Closest<u32>> { measures.iter().map(|_| Closest::new(NEIGHBOURS)).collect() };
        let chunks: Vec<usize> = (0..count).step_by(CHUNK_ROWS).collect();
        let closest = chunks
            .into_par_iter()
            .map(|from| {
                let mut closest = nothing();
                if stop() {
                    return Err(Error::Closed);
                }
                for row in from..from.saturating_add(CHUNK_ROWS).min(count) {
                    let (components, norm) = rows.get(row)?;
                    let each = measures.iter().zip(&queries).zip(&mut closest);
                    for ((measure, _), closest) in each.filter(|((_, q), _)| **q != row) {
                        let distance = measure.distance(components, norm);
                        closest.offer(distance, name(row), u32::try_from(row).unwrap_or(u32::MAX));
                    }
                }
                Ok::<_, Error>(closest)
            })
            .try_reduce(nothing, |mut all, some| {
                for (all, some) in all.iter_mut().zip(some) {
                    for (distance, id, row) in some.into_sorted() {
                        all.offer(distance, id, row);
                    }
                }
                Ok(all)
            })?;
        let neighbours = closest
            .into_iter()
            .map(|closest| closest.into_sorted().map(|(_, _, row)| row).collect::<Vec<u32>>());
        Ok(Self { queries: queries.into_iter().zip(neighbours).collect() })
    }

    /// How many candidates the codes have to give for each recall, in
    /// thousandths, and the share of the neighbours that are among as many
    /// times [`NEIGHBOURS`] as [`USUAL`] says.
    pub(crate) fn of_codes<const N: usize>(
        &self,
        codebook: &Codebook,
        codes: &[u8],
        rows: &impl Rows,
        recalls: [u32; N],
    ) -> Result<([usize; N], f64)> {
        let count = rows.count();
        let ranks = self
            .queries
            .par_iter()
            .map(|(query, neighbours)| {
                let (components, norm) = rows.get(*query)?;
                let mut distances = Vec::new();
                codebook.table(components, norm).distances(codes, count, &mut distances);
                let at = |row: u32| {
                    usize::try_from(row).ok().and_then(|row| distances.get(row)).copied()
                };
                // The query itself is closest, and no neighbour.
                let rank = |row: u32| {
                    let mine = at(row).unwrap_or(u32::MAX);
                    let all = (0_u32..).zip(&distances);
                    all.filter(|(other, distance)| (**distance, *other) < (mine, row)).count()
                };
                Ok(neighbours.iter().map(|row| rank(*row)).collect::<Vec<usize>>())
            })
            .collect::<Result<Vec<_>>>()?;
        let mut ranks: Vec<usize> = ranks.into_iter().flatten().collect();
        ranks.sort_unstable();
        let usual = ranks.partition_point(|rank| *rank < NEIGHBOURS * USUAL);
        let depths = recalls.map(|recall| {
            let share = usize::try_from(recall).unwrap_or(1000).min(1000);
            let needed = ranks.len().saturating_mul(share).div_ceil(1000);
            let last = needed.checked_sub(1).and_then(|at| ranks.get(at));
            last.map_or(0, |rank| rank.saturating_add(1))
        });
        // Both are far below 2^52.
        let recall = if ranks.is_empty() { 1.0 } else { usual as f64 / ranks.len() as f64 };
        Ok((depths, recall))
    }

    /// The share of the neighbours that a search finds which gives candidates
    /// for a row.
    pub(crate) fn recall(&self, mut search: impl FnMut(usize) -> Result<Vec<u32>>) -> Result<f64> {
        let (mut found, mut all) = (0_u32, 0_u32);
        for (query, neighbours) in &self.queries {
            let candidates = search(*query)?;
            for row in neighbours {
                all = all.saturating_add(1);
                found = found.saturating_add(u32::from(candidates.contains(row)));
            }
        }
        Ok(if all == 0 { 1.0 } else { f64::from(found) / f64::from(all) })
    }
}
