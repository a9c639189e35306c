//! Opening stores, and the reads that the commands share.

use std::path::Path;

use ingrain::{Engine, Options, Snapshot, Space};

use crate::error::{CliError, Result};

/// The index that holds the nodes in the order of their import.
pub(crate) const TIMELINE: &str = "timeline";

/// Opens an existing store.
pub(crate) fn open(path: &Path) -> Result<Engine> {
    if path.exists() && !path.is_dir() {
        return Err(CliError::message(format!(
            "store {}: it is a file; a store is a directory",
            path.display()
        )));
    }
    if !path.is_dir() {
        return Err(CliError::message(format!(
            "store {}: there is no such directory; \"ingrain import\" creates a store",
            path.display()
        )));
    }
    Ok(Options::new().create(false).open(path)?)
}

/// The vector space of this name, or the only one if there is no name.
pub(crate) fn space(snapshot: &Snapshot, name: Option<&str>) -> Result<(String, Space)> {
    let spaces: Vec<(&str, Space)> = snapshot.spaces().collect();
    let names: Vec<&str> = spaces.iter().map(|(name, _)| *name).collect();
    match (name, spaces.as_slice()) {
        (_, []) => Err(CliError::message(
            "the store has no vector space; import vectors with --vectors first",
        )),
        (None, [(name, space)]) => Ok(((*name).to_owned(), *space)),
        (None, _) => Err(CliError::message(format!(
            "the store has several vector spaces: {}; choose one with --space",
            names.join(", ")
        ))),
        (Some(wanted), spaces) => spaces
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(name, space)| ((*name).to_owned(), *space))
            .ok_or_else(|| unknown("vector space", wanted, &names)),
    }
}

/// The error for a name that the store does not have; it lists those it has.
pub(crate) fn unknown(what: &str, name: &str, names: &[&str]) -> CliError {
    CliError::message(match names {
        [] => format!("{what} {name:?}: the store has none"),
        names => {
            format!("{what} {name:?}: the store has none of that name, but {}", names.join(", "))
        }
    })
}
