//! Distances between vectors, and the searches: of all of them, by codes, and
//! by a graph.

pub(crate) mod build;
mod exact;
mod metric;
pub(crate) mod pq;
mod simd;

#[cfg(feature = "hnsw")]
pub(crate) mod hnsw;

pub(crate) use exact::Closest;
pub(crate) use metric::{Measure, norm};
pub(crate) use simd::prefetch;

use crate::model::Metric;

/// Whether to give up what takes long.
pub(crate) type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// What is stored beside a graph and must be known to serve it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct GraphParameters {
    /// Numbers in each row.
    pub(crate) dimension: usize,
    /// How distance is measured.
    pub(crate) metric: Metric,
    /// Rows of the graph: each is named by its number, from 0.
    pub(crate) rows: usize,
    /// Of L2 and dot: the largest absolute number of all rows, which becomes
    /// 127. Of cosine 0: each row has its own.
    pub(crate) max_abs: f32,
    /// Links of a node on each level but the lowest, which has twice as many.
    pub(crate) connectivity: usize,
    /// Candidates among which the links of a row were chosen.
    pub(crate) expansion_add: usize,
}

/// The graph index of a crate that was built without one: nothing of it can be
/// made.
#[cfg(not(feature = "hnsw"))]
pub(crate) mod hnsw {
    use std::{convert::Infallible, ops::Range, sync::Arc};

    use super::GraphParameters;
    use crate::{
        error::{Error, Result},
        model::Metric,
    };

    /// Whether graphs can be built and served.
    pub(crate) const AVAILABLE: bool = false;

    fn unsupported<T>() -> Result<T> {
        Err(Error::Unsupported { what: "a graph index: built without the feature `hnsw`".into() })
    }

    /// Builds nothing.
    #[derive(Debug)]
    pub(crate) struct Builder(Infallible);

    impl Builder {
        pub(crate) fn new(_: usize, _: Metric, _: usize, _: f32) -> Result<Self> {
            unsupported()
        }

        pub(crate) fn parameters(&self) -> &GraphParameters {
            match self.0 {}
        }

        pub(crate) fn add(&mut self, _: u32, _: &[f32]) -> Result<()> {
            match self.0 {}
        }

        pub(crate) fn probe(&mut self, _: usize, _: usize, _: usize) -> Result<f64> {
            match self.0 {}
        }

        pub(crate) fn finish(self) -> Result<Vec<u8>> {
            match self.0 {}
        }
    }

    /// Serves nothing.
    #[derive(Debug)]
    pub(crate) struct Graph(Infallible);

    impl Graph {
        pub(crate) fn open(
            _: Arc<dyn AsRef<[u8]> + Send + Sync>,
            _: Range<usize>,
            _: &GraphParameters,
            _: usize,
        ) -> Result<Self> {
            unsupported()
        }

        pub(crate) fn search(
            &self,
            _: &[f32],
            _: usize,
            _: usize,
            _: Option<&dyn Fn(u32) -> bool>,
        ) -> Result<Option<Vec<u32>>> {
            match self.0 {}
        }

        pub(crate) fn memory(&self) -> usize {
            match self.0 {}
        }
    }
}

/// Appends to `out` a bit for each of the little-endian numbers, set where it
/// is `wanted`: those of 32 in one number, the first in the lowest bit.
pub(crate) fn equal(numbers: &[u8], wanted: u32, out: &mut Vec<u32>) {
    let (numbers, _) = numbers.as_chunks::<4>();
    let wanted = wanted.to_le_bytes();
    out.extend(numbers.chunks(32).map(|numbers| {
        let bits = (0_u32..).zip(numbers);
        bits.fold(0, |bits, (at, number)| bits | (u32::from(*number == wanted) << at))
    }));
}
