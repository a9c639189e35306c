//! The numbers of kinds, indexes and spaces.

use std::{collections::BTreeMap, sync::Arc};

use im::OrdMap;

use crate::{format::manifest::NamedSpace, model::space::Space, num};

/// Names and their numbers. Numbers are assigned in the order in which the
/// names first appear in the log, so every replay assigns the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dictionary {
    names: im::Vector<Arc<str>>,
    numbers: OrdMap<Arc<str>, u32>,
}

impl Dictionary {
    /// A dictionary of these names, which are in the order of their numbers.
    pub(crate) fn from_names(names: &[String]) -> Self {
        let mut dictionary = Self::default();
        for name in names {
            dictionary.add(name.as_str().into());
        }
        dictionary
    }

    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The name with this number, if the number is assigned.
    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        self.names.get(num::index(number)).map(|name| &**name)
    }

    /// The name with a number that came from this dictionary, or was checked
    /// against it when it was read.
    pub(crate) fn known_name(&self, number: u32) -> &str {
        debug_assert!(self.knows(number), "number {number} of {}", self.len());
        self.name(number).unwrap_or_default()
    }

    /// Whether a number is assigned.
    #[inline]
    pub(crate) fn knows(&self, number: u32) -> bool {
        num::index(number) < self.names.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Assigns the next number to `name`. Limits on names are far below 2^32.
    pub(crate) fn add(&mut self, name: Arc<str>) {
        let number = num::short(self.names.len());
        self.names.push_back(Arc::clone(&name));
        self.numbers.insert(name, number);
    }
}

/// The vector spaces of a store, including dropped ones, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spaces {
    pub(super) by_number: Vec<NamedSpace>,
    /// The numbers of the spaces that exist, by name.
    names: BTreeMap<Box<str>, u32>,
}

impl Spaces {
    pub(crate) fn from_named(spaces: &[NamedSpace]) -> Self {
        let there = (0_u32..).zip(spaces).filter(|(_, space)| !space.dropped);
        let names = there.map(|(number, space)| (space.name.as_str().into(), number)).collect();
        Self { by_number: spaces.to_vec(), names }
    }

    /// The space with this name, and its number.
    pub(crate) fn get(&self, name: &str) -> Option<(u32, &NamedSpace)> {
        let number = *self.names.get(name)?;
        Some((number, self.by_number(number)?))
    }

    /// The space with this number, if it was not dropped.
    pub(crate) fn by_number(&self, number: u32) -> Option<&NamedSpace> {
        let space = self.by_number.get(num::index(number))?;
        (!space.dropped).then_some(space)
    }

    /// The spaces that exist, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &NamedSpace)> {
        self.names.values().filter_map(|number| Some((*number, self.by_number(*number)?)))
    }

    /// How many numbers are assigned, including those of dropped spaces.
    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(crate) fn add(&mut self, name: Box<str>, space: Space) {
        let number = num::short(self.by_number.len());
        self.by_number.push(NamedSpace::new(name.to_string(), space));
        self.names.insert(name, number);
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut NamedSpace> {
        self.by_number.get_mut(num::index(number))
    }

    pub(crate) fn drop(&mut self, number: u32) {
        if let Some(space) = self.get_mut(number) {
            space.dropped = true;
            let name = std::mem::take(&mut space.name);
            self.names.remove(name.as_str());
        }
    }
}
