//! The numbers of kinds, indexes and spaces.

use std::{collections::BTreeMap, sync::Arc};

use im::OrdMap;

use crate::{format::manifest::NamedSpace, model::space::Space, num};

/// Names and the numbers that stand for them, given in the order of their
/// first appearance in the log, so that every replay gives the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dictionary {
    names: im::Vector<Arc<str>>,
    components: OrdMap<Arc<str>, u32>,
}

impl Dictionary {
    /// With these names, in the order of their numbers.
    pub(crate) fn from_names(names: &[String]) -> Self {
        let mut dictionary = Self::default();
        for name in names {
            dictionary.add(name.as_str().into());
        }
        dictionary
    }

    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.components.get(name).copied()
    }

    /// The name behind a number, if it was given to one.
    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        self.names.get(num::index(number)).map(|name| &**name)
    }

    /// The name behind a number that came from this dictionary, or was compared
    /// with it when it was read.
    pub(crate) fn known_name(&self, number: u32) -> &str {
        debug_assert!(self.knows(number), "number {number} of {}", self.len());
        self.name(number).unwrap_or_default()
    }

    /// Whether a number was given to a name.
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

    /// Gives `name` the next number. The bound on kinds is far below 2^32.
    pub(crate) fn add(&mut self, name: Arc<str>) {
        let number = num::short(self.names.len());
        self.names.push_back(Arc::clone(&name));
        self.components.insert(name, number);
    }
}

/// The vector spaces that a store has and had, by number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spaces {
    pub(super) by_number: Vec<NamedSpace>,
    /// Those that it has.
    names: BTreeMap<Box<str>, u32>,
}

impl Spaces {
    pub(crate) fn from_named(spaces: &[NamedSpace]) -> Self {
        let there = (0_u32..).zip(spaces).filter(|(_, space)| !space.dropped);
        let names = there.map(|(number, space)| (space.name.as_str().into(), number)).collect();
        Self { by_number: spaces.to_vec(), names }
    }

    /// The space of that name, and its number.
    pub(crate) fn get(&self, name: &str) -> Option<(u32, &NamedSpace)> {
        let number = *self.names.get(name)?;
        Some((number, self.by_number(number)?))
    }

    /// The space with that number, if it was not dropped.
    pub(crate) fn by_number(&self, number: u32) -> Option<&NamedSpace> {
        let space = self.by_number.get(num::index(number))?;
        (!space.dropped).then_some(space)
    }

    /// Those that there are, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &NamedSpace)> {
        self.names.values().filter_map(|number| Some((*number, self.by_number(*number)?)))
    }

    /// How many numbers were given.
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
