//! The interface of a graph that the algorithms use.

use std::ops::ControlFlow;

use crate::model::{error::Result, id::NodeId};

/// A graph that can list the neighbours of a node.
pub(crate) trait Adjacency {
    /// Describes the step from a node to a neighbour, for example the edge.
    type Step: Clone;

    /// Calls `visit` with each neighbour of `node` and the step to it, until it
    /// breaks. The order is the same each time.
    fn neighbours(
        &self,
        node: NodeId,
        visit: &mut dyn FnMut(NodeId, Self::Step) -> ControlFlow<()>,
    ) -> Result<()>;
}
