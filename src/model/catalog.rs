//! What spaces and indexes a store has, as far as a batch must know.

use crate::model::{
    error::{Error, Result},
    space::Space,
};

/// The spaces and indexes that a store has.
pub(crate) trait Catalog {
    /// The definition of a space.
    fn space(&self, name: &str) -> Option<Space>;
    /// Whether there is such an index.
    fn has_index(&self, name: &str) -> bool;
}

pub(crate) fn check_index(index: &str, catalog: &impl Catalog) -> Result<()> {
    if catalog.has_index(index) { Ok(()) } else { Err(unknown_index(index)) }
}

pub(crate) fn check_vector(space: &str, vector: &[f32], catalog: &impl Catalog) -> Result<()> {
    match catalog.space(space) {
        Some(definition) => definition.check_vector(space, vector),
        None => Err(unknown_space(space)),
    }
}

pub(crate) fn unknown_space(name: &str) -> Error {
    Error::invalid(format!("vector space {name:?}: the store has none of that name"))
}

pub(crate) fn unknown_kind(name: &str) -> Error {
    Error::invalid(format!("kind {name:?}: the store has none of that name"))
}

pub(crate) fn unknown_index(name: &str) -> Error {
    Error::invalid(format!("index {name:?}: the store has none of that name"))
}
