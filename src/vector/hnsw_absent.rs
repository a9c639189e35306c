//! Stands in for `hnsw.rs` when the crate is built without the feature `hnsw`:
//! no graph can be built or opened.

use std::{convert::Infallible, ops::Range, sync::Arc};

use crate::{
    model::{
        error::{Error, Result},
        space::Metric,
    },
    vector::parameters::GraphParameters,
};

/// Whether graphs can be built and served.
pub(crate) const AVAILABLE: bool = false;

fn unsupported<T>() -> Result<T> {
    Err(Error::Unsupported {
        what: "a graph index: ingrain was built without the feature `hnsw`".into(),
    })
}

/// A type without values in place of the builder.
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

/// A type without values in place of the graph.
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
