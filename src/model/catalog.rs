//! What spaces and indexes a store has, as far as a batch must know.

use std::collections::BTreeMap;

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
    /// Whether the engine derives its keys.
    fn derives(&self, name: &str) -> bool;
}

/// A catalog with what the operations of a batch have changed so far. Whether they
/// may is decided when the turn of the batch comes.
pub(crate) struct Changed<'b, C> {
    before: &'b C,
    /// `None` for a dropped space.
    spaces: BTreeMap<&'b str, Option<Space>>,
    /// Whether the keys of an index are derived; `None` for a dropped index.
    indexes: BTreeMap<&'b str, Option<bool>>,
}

impl<'b, C: Catalog> Changed<'b, C> {
    pub(crate) fn new(before: &'b C) -> Self {
        Self { before, spaces: BTreeMap::new(), indexes: BTreeMap::new() }
    }

    pub(crate) fn create_space(&mut self, name: &'b str, space: Space) {
        // One that exists stays as it is, or the batch is refused.
        if self.space(name).is_none() {
            self.spaces.insert(name, Some(space));
        }
    }

    pub(crate) fn drop_space(&mut self, name: &'b str) {
        self.spaces.insert(name, None);
    }

    pub(crate) fn create_index(&mut self, name: &'b str, derived: bool) {
        if !self.has_index(name) {
            self.indexes.insert(name, Some(derived));
        }
    }

    pub(crate) fn drop_index(&mut self, name: &'b str) {
        self.indexes.insert(name, None);
    }
}

impl<C: Catalog> Catalog for Changed<'_, C> {
    fn space(&self, name: &str) -> Option<Space> {
        self.spaces.get(name).map_or_else(|| self.before.space(name), |changed| *changed)
    }

    fn has_index(&self, name: &str) -> bool {
        self.indexes.get(name).map_or_else(|| self.before.has_index(name), Option::is_some)
    }

    fn derives(&self, name: &str) -> bool {
        let changed = self.indexes.get(name);
        changed.map_or_else(|| self.before.derives(name), |changed| *changed == Some(true))
    }
}

pub(crate) fn check_index(index: &str, catalog: &impl Catalog) -> Result<()> {
    match catalog.has_index(index) {
        true if catalog.derives(index) => Err(derived_index(index)),
        true => Ok(()),
        false => Err(unknown_index(index)),
    }
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

/// The error of a key that is given for an index whose keys are derived.
pub(crate) fn derived_index(name: &str) -> Error {
    Error::invalid(format!("index {name:?}: the engine derives its keys, none can be given"))
}

pub(crate) fn unknown_kind(name: &str) -> Error {
    Error::invalid(format!("kind {name:?}: the store has none of that name"))
}

pub(crate) fn unknown_index(name: &str) -> Error {
    Error::invalid(format!("index {name:?}: the store has none of that name"))
}
