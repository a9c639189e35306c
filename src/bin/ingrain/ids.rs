//! The strings that people name nodes by.

use ingrain::{NodeId, NodeRef, Snapshot, Value};

use crate::error::{CliError, Result};

/// The attribute that keeps the string of a node's id.
pub(crate) const ID: &str = "id";

/// The id that is written as a UUID, lower-case with hyphens.
pub(crate) fn canonical(text: &str) -> Option<NodeId> {
    NodeId::parse(text).ok().filter(|id| id.to_string() == text)
}

/// The id of the node that a string names.
pub(crate) fn node_id(text: &str) -> NodeId {
    canonical(text).unwrap_or_else(|| NodeId::of_content(text.as_bytes()))
}

/// Whether a node with this attribute "id" is named by it: only then does the
/// attribute say nothing that the id does not.
pub(crate) fn names(value: &Value, id: NodeId) -> bool {
    matches!(value, Value::Text(text)
        if !text.is_empty() && canonical(text).is_none() && node_id(text) == id)
}

/// The string that names a node: its attribute "id", or else its id as a UUID.
pub(crate) fn name(node: &NodeRef<'_>) -> Result<String> {
    let attributes = node.attributes()?;
    match attributes.get(ID) {
        Some(value @ Value::Text(text)) if names(value, node.id()) => Ok(text.clone()),
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
            "node {text:?}: the store has none of that id; \"ingrain scan\" lists those it has"
        ))
    })
}
