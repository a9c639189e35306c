//! The strings that name nodes.

pub(crate) use ingrain::exchange::lines::{ID, node_id};
use ingrain::{NodeId, NodeRef, Snapshot, Value, exchange::lines::is_name};

use crate::error::{CliError, Result};

/// The string that names a node: its attribute "id", or else its id as a UUID.
pub(crate) fn name(node: &NodeRef<'_>) -> Result<String> {
    let attributes = node.attributes()?;
    match attributes.get(ID) {
        Some(value @ Value::Text(text)) if is_name(value, node.id()) => Ok(text.clone()),
        _ => Ok(node.id().to_string()),
    }
}

/// The string that names the node with this id.
pub(crate) fn name_of(snapshot: &Snapshot, id: NodeId) -> Result<String> {
    match snapshot.get(id)? {
        Some(node) => name(&node),
        None => Ok(id.to_string()),
    }
}

/// The node that a string names.
pub(crate) fn find<'s>(snapshot: &'s Snapshot, text: &str) -> Result<NodeRef<'s>> {
    snapshot.get(node_id(text))?.ok_or_else(|| {
        CliError::message(format!(
            "node {text:?}: it is not in the store; \"ingrain scan\" lists the nodes"
        ))
    })
}
