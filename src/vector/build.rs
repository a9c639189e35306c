//! What building an index over vectors needs of its rows: a sample, and codes.

use crate::{model::error::Result, vector::pq::Codebook};

/// Vectors, numbered from 0.
pub(crate) trait Rows: Sync {
    /// The number of vectors.
    fn count(&self) -> usize;

    /// The components of a vector, and its Euclidean length.
    fn get(&self, row: usize) -> Result<(&[f32], f64)>;
}

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
