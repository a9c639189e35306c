//! Opening stores, and the reads that the commands share.

use std::path::Path;

use ingrain::{Cursor, EdgeRef, Edges, Engine, NodeId, Options, Snapshot, Space};

use crate::error::{CliError, Result};

/// The index that holds the nodes in the order of their import.
pub(crate) const TIMELINE: &str = "timeline";

/// Opens a store that is there.
pub(crate) fn open(path: &Path) -> Result<Engine> {
    if !path.is_dir() {
        return Err(CliError::message(format!(
            "store {}: there is no such directory; \"ingrain import\" creates a store",
            path.display()
        )));
    }
    Ok(Options::new().create(false).open(path)?)
}

/// The vector space of that name, or the only one.
pub(crate) fn space(snapshot: &Snapshot, name: Option<&str>) -> Result<(String, Space)> {
    let spaces: Vec<(&str, Space)> = snapshot.spaces().collect();
    let names = || spaces.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    match (name, spaces.as_slice()) {
        (_, []) => Err(CliError::message(
            "the store has no vector space; import vectors with --vectors first",
        )),
        (None, [(name, space)]) => Ok(((*name).to_owned(), *space)),
        (None, _) => Err(CliError::message(format!(
            "the store has several vector spaces: {}; choose one with --space",
            names()
        ))),
        (Some(wanted), spaces) => spaces
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(name, space)| ((*name).to_owned(), *space))
            .ok_or_else(|| {
                CliError::message(format!(
                    "vector space {wanted:?}: the store has none of that name, but {}",
                    names()
                ))
            }),
    }
}

/// What names an edge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EdgeName<'n> {
    pub(crate) source: NodeId,
    pub(crate) kind: &'n str,
    pub(crate) target: NodeId,
    pub(crate) discriminator: u64,
}

/// The edge of that name, among those that leave its source.
pub(crate) fn edge_out<'s>(
    snapshot: &'s Snapshot,
    name: &EdgeName<'_>,
) -> Result<Option<EdgeRef<'s>>> {
    seek(snapshot.edges_out(name.source), name.target, name)
}

/// The edge of that name, among those that reach its target.
pub(crate) fn edge_in<'s>(
    snapshot: &'s Snapshot,
    name: &EdgeName<'_>,
) -> Result<Option<EdgeRef<'s>>> {
    seek(snapshot.edges_in(name.target), name.source, name)
}

/// Goes straight to the edge: a node may have very many.
fn seek<'s>(edges: Edges<'s>, there: NodeId, name: &EdgeName<'_>) -> Result<Option<EdgeRef<'s>>> {
    // A cursor stands after an edge; that of the edge that would come before.
    let before = match name.discriminator.checked_sub(1) {
        Some(discriminator) => Some((*there.as_bytes(), discriminator)),
        None => u128::from_be_bytes(*there.as_bytes())
            .checked_sub(1)
            .map(|there| (there.to_be_bytes(), u64::MAX)),
    };
    let mut edges = edges.kind(name.kind);
    if let Some((there, discriminator)) = before {
        let key = [&there, discriminator.to_be_bytes().as_slice(), name.kind.as_bytes()].concat();
        edges = edges.after(&Cursor::from_bytes(&key)?);
    }
    let Some(edge) = edges.next().transpose()? else { return Ok(None) };
    let same = edge.source() == name.source
        && edge.kind() == name.kind
        && edge.target() == name.target
        && edge.discriminator() == name.discriminator;
    Ok(same.then_some(edge))
}
