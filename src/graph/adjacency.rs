//! A graph as a walk sees it.

use std::ops::ControlFlow;

use crate::model::{error::Result, id::NodeId};

/// A graph whose nodes can be asked for their neighbours.
pub(crate) trait Adjacency {
    /// What a step from a node to a neighbour is remembered by.
    type Step: Clone;

    /// Calls `visit` with each neighbour of `node` and the step to it, in an
    /// order that is always the same, until it breaks.
    fn neighbours(
        &self,
        node: NodeId,
        visit: &mut dyn FnMut(NodeId, Self::Step) -> ControlFlow<()>,
    ) -> Result<()>;
}
