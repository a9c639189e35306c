//! The numbers of kinds, and the indexes and spaces with theirs.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use im::OrdMap;

use crate::{
    format::manifest::NamedSpace,
    model::{
        catalog::unknown_index,
        error::{Error, Result},
        id::NodeId,
        index::Index,
        space::Space,
    },
    num,
};

/// Names and their numbers. Numbers are assigned in ascending order and never
/// used again, so a number means the same in every file, layer and snapshot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Dictionary {
    /// Ascending by number.
    names: im::Vector<(u32, Arc<str>)>,
    numbers: OrdMap<Arc<str>, Numbered>,
    /// The number of the next name.
    next: u32,
    /// Counts the layers.
    layer: u64,
    /// The names that a batch of this layer has used, by number.
    used: im::OrdSet<u32>,
}

/// The number of a name, and the last layer in which a batch used the name.
#[derive(Debug, Clone, Copy)]
struct Numbered {
    number: u32,
    layer: u64,
}

impl Dictionary {
    /// A dictionary of names in the order of their numbers, none of which is used
    /// yet, whose next name gets the number `next`.
    pub(crate) fn new<'n>(names: impl Iterator<Item = (u32, &'n str)>, next: u32) -> Self {
        let mut dictionary = Self { layer: 1, next, ..Self::default() };
        for (number, name) in names {
            dictionary.insert(number, name.into(), 0);
        }
        dictionary
    }

    fn insert(&mut self, number: u32, name: Arc<str>, layer: u64) {
        match self.names.back() {
            Some((last, _)) if *last >= number => {
                let at = self.position(number).unwrap_or_else(|at| at);
                self.names.insert(at, (number, Arc::clone(&name)));
            }
            _ => self.names.push_back((number, Arc::clone(&name))),
        }
        self.numbers.insert(name, Numbered { number, layer });
    }

    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).map(|numbered| numbered.number)
    }

    /// The number of a name, and whether a batch of this layer has used it.
    pub(crate) fn number_and_use(&self, name: &str) -> Option<(u32, bool)> {
        let numbered = self.numbers.get(name)?;
        Some((numbered.number, numbered.layer == self.layer))
    }

    /// The position of a number among the names; if it is not there, the position
    /// of the next larger one as an error.
    #[inline]
    fn position(&self, number: u32) -> Result<usize, usize> {
        // As long as no name has left, the number is the position.
        match self.names.get(num::index(number)) {
            Some((found, _)) if *found == number => Ok(num::index(number)),
            _ => self.names.binary_search_by_key(&number, |(number, _)| *number),
        }
    }

    /// The name with this number, if there is one.
    #[inline]
    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        self.names.get(self.position(number).ok()?).map(|(_, name)| &**name)
    }

    /// The name with a number that came from this dictionary, or was checked
    /// against it when it was read.
    #[inline]
    pub(crate) fn known_name(&self, number: u32) -> &str {
        debug_assert!(self.knows(number), "number {number}");
        self.name(number).unwrap_or_default()
    }

    /// Whether there is a name with this number.
    #[inline]
    pub(crate) fn knows(&self, number: u32) -> bool {
        self.position(number).is_ok()
    }

    /// How many names there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The number of the next name.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(_, name)| &**name)
    }

    /// The numbers and names, ascending.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names.iter().map(|(number, name)| (*number, &**name))
    }

    /// The positions of the numbers from `first` to `last`, for
    /// [`number_at`](Self::number_at).
    pub(crate) fn positions(&self, first: u32, last: u32) -> Range<usize> {
        let from = self.position(first).unwrap_or_else(|at| at);
        let to = self.position(last).map_or_else(|at| at, |at| at + 1);
        from..to
    }

    /// The number at a position.
    pub(crate) fn number_at(&self, at: usize) -> Option<u32> {
        self.names.get(at).map(|(number, _)| *number)
    }

    /// Adds a name, which a batch uses, and assigns the next number to it. Batches
    /// are refused before the numbers run out.
    pub(crate) fn add(&mut self, name: Arc<str>) {
        let number = self.next;
        self.next = number.saturating_add(1);
        self.used.insert(number);
        self.insert(number, name, self.layer);
    }

    /// Notes that a batch of this layer uses a name.
    pub(crate) fn note_use(&mut self, number: u32) {
        let at = self.position(number).ok();
        if let Some((_, name)) = at.and_then(|at| self.names.get(at)) {
            self.numbers.insert(Arc::clone(name), Numbered { number, layer: self.layer });
            self.used.insert(number);
        }
    }

    /// Gives a number another name, which is a use of it.
    pub(crate) fn rename(&mut self, number: u32, name: Arc<str>) {
        if let Ok(at) = self.position(number) {
            let (_, old) = self.names.set(at, (number, Arc::clone(&name)));
            self.numbers.remove(&old);
            self.numbers.insert(name, Numbered { number, layer: self.layer });
            self.used.insert(number);
        }
    }

    /// Whether a batch of this layer has used the name with this number.
    pub(crate) fn is_used(&self, number: u32) -> bool {
        self.used.contains(&number)
    }

    /// Begins a layer, of which no batch has used a name yet.
    pub(crate) fn begin_layer(&mut self) {
        self.layer = self.layer.saturating_add(1);
        self.used = im::OrdSet::new();
    }

    /// Leaves only the names that `kept` has, and those that batches of this layer
    /// have used. `kept` has names of the time when the layer began, or before it;
    /// what was renamed since then keeps its new name. Cost: that of the names that
    /// are new, used or renamed.
    pub(crate) fn leave(&mut self, kept: Self) {
        let old = std::mem::replace(self, kept);
        self.layer = old.layer;
        self.next = old.next;
        // All of them first: a name may have gone from one number to another.
        for number in &old.used {
            if let Ok(at) = self.position(*number)
                && let Some((_, name)) = self.names.get(at).cloned()
            {
                self.numbers.remove(&name);
            }
        }
        for number in &old.used {
            let Some(name) = old.name(*number).map(Arc::from) else { continue };
            match self.position(*number) {
                Ok(at) => {
                    self.names.set(at, (*number, Arc::clone(&name)));
                    self.numbers.insert(name, Numbered { number: *number, layer: old.layer });
                }
                Err(_) => self.insert(*number, name, old.layer),
            }
        }
        self.used = old.used;
    }
}

/// The vector spaces of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spaces {
    by_number: BTreeMap<u32, NamedSpace>,
    /// The numbers, by name.
    names: BTreeMap<Box<str>, u32>,
    /// The number of the next space. None is used again.
    next: u32,
}

impl Spaces {
    /// These spaces. The next one gets the number `next`.
    pub(crate) fn new<'n>(spaces: impl Iterator<Item = (u32, &'n NamedSpace)>, next: u32) -> Self {
        let by_number: BTreeMap<u32, NamedSpace> =
            spaces.map(|(number, space)| (number, space.clone())).collect();
        let names = by_number.iter().map(|(number, space)| (space.name.as_str().into(), *number));
        Self { names: names.collect(), by_number, next }
    }

    /// The space with this name, and its number.
    pub(crate) fn get(&self, name: &str) -> Option<(u32, &NamedSpace)> {
        let number = *self.names.get(name)?;
        Some((number, self.by_number(number)?))
    }

    /// The space with this number, if it was not dropped.
    pub(crate) fn by_number(&self, number: u32) -> Option<&NamedSpace> {
        self.by_number.get(&number)
    }

    /// The spaces, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &NamedSpace)> {
        self.names.values().filter_map(|number| Some((*number, self.by_number(*number)?)))
    }

    /// The spaces, sorted by number.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u32, &NamedSpace)> {
        self.by_number.iter().map(|(number, space)| (*number, space))
    }

    /// How many spaces there are.
    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// The number of the next space.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Adds a space and assigns the next number to it.
    pub(crate) fn add(&mut self, name: Box<str>, space: Space) -> u32 {
        let number = self.next;
        self.next = number.saturating_add(1);
        self.by_number.insert(number, NamedSpace::new(name.to_string(), space));
        self.names.insert(name, number);
        number
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut NamedSpace> {
        self.by_number.get_mut(&number)
    }

    /// Gives a space another name.
    pub(crate) fn rename(&mut self, number: u32, name: Box<str>) {
        if let Some(space) = self.by_number.get_mut(&number) {
            self.names.remove(space.name.as_str());
            space.name = name.to_string();
            self.names.insert(name, number);
        }
    }

    pub(crate) fn drop(&mut self, number: u32) {
        if let Some(space) = self.by_number.remove(&number) {
            self.names.remove(space.name.as_str());
        }
    }
}

/// An index of a store.
#[derive(Debug, Clone)]
pub(crate) struct NamedIndex {
    pub(crate) name: Arc<str>,
    /// `None` if its keys are given by hand.
    pub(crate) derived: Option<Derived>,
}

/// What the keys of an index are derived from.
#[derive(Debug, Clone)]
pub(crate) struct Derived {
    pub(crate) definition: Arc<Index>,
    pub(crate) phase: Phase,
}

/// How far an index is built whose keys are derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The keys of all nodes are in it.
    Ready,
    /// The keys of nodes before this one are in it, by kind and id, and those of
    /// all nodes that were written since it was created.
    Building(u32, NodeId),
    /// The keys of a node could not be derived. It has no further keys.
    Failed(Arc<str>),
}

/// The indexes of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Indexes {
    by_number: BTreeMap<u32, NamedIndex>,
    /// The numbers, by name.
    names: BTreeMap<Arc<str>, u32>,
    /// The numbers of those whose keys are derived, ascending.
    derived: Vec<u32>,
    /// The number of the next index. None is used again.
    next: u32,
}

impl Indexes {
    /// Indexes with these numbers. The next one gets the number `next`.
    pub(crate) fn new(indexes: impl Iterator<Item = (u32, NamedIndex)>, next: u32) -> Self {
        let mut all = Self { next, ..Self::default() };
        for (number, index) in indexes {
            all.insert(number, index);
        }
        all
    }

    fn insert(&mut self, number: u32, index: NamedIndex) {
        self.names.insert(Arc::clone(&index.name), number);
        if index.derived.is_some() {
            self.derived.push(number);
        }
        self.by_number.insert(number, index);
    }

    pub(crate) fn number(&self, name: &str) -> Option<u32> {
        self.names.get(name).copied()
    }

    pub(crate) fn by_number(&self, number: u32) -> Option<&NamedIndex> {
        self.by_number.get(&number)
    }

    /// The name of the index with this number, if there is one.
    pub(crate) fn name(&self, number: u32) -> Option<&str> {
        self.by_number(number).map(|index| &*index.name)
    }

    /// The name of the index with this number, if its keys are given by hand.
    pub(crate) fn given_name(&self, number: u32) -> Option<&str> {
        let index = self.by_number(number).filter(|index| index.derived.is_none());
        index.map(|index| &*index.name)
    }

    /// The number of an index that can be read.
    ///
    /// # Errors
    /// `Invalid` if there is none of that name; `NotReady` while it is being built,
    /// and if it could not be.
    pub(crate) fn readable(&self, name: &str) -> Result<u32> {
        let number = self.number(name).ok_or_else(|| unknown_index(name))?;
        match self.derived(number).map(|derived| &derived.phase) {
            None | Some(Phase::Ready) => Ok(number),
            Some(Phase::Building(..)) => {
                Err(Error::NotReady { index: name.into(), why: "it is being built".into() })
            }
            Some(Phase::Failed(why)) => {
                Err(Error::NotReady { index: name.into(), why: Arc::clone(why) })
            }
        }
    }

    /// Those whose keys are derived and complete.
    pub(crate) fn ready(&self) -> impl Iterator<Item = (u32, &Arc<Index>)> {
        let derived =
            self.derived.iter().filter_map(|number| Some((*number, self.derived(*number)?)));
        derived.filter(|(_, of)| of.phase == Phase::Ready).map(|(at, of)| (at, &of.definition))
    }

    /// Whether there is an index with this number.
    pub(crate) fn knows(&self, number: u32) -> bool {
        self.by_number.contains_key(&number)
    }

    /// Whether there was an index with this number, which is no more.
    pub(crate) fn is_dropped(&self, number: u32) -> bool {
        number < self.next && !self.knows(number)
    }

    /// The index with this number, if its keys are derived.
    pub(crate) fn derived(&self, number: u32) -> Option<&Derived> {
        self.by_number(number)?.derived.as_ref()
    }

    /// Those whose keys are derived, by number.
    pub(crate) fn all_derived(&self) -> impl Iterator<Item = (u32, &NamedIndex, &Derived)> {
        self.derived.iter().filter_map(|number| {
            let index = self.by_number(*number)?;
            Some((*number, index, index.derived.as_ref()?))
        })
    }

    /// The name of one that is being built.
    pub(crate) fn unfinished(&self) -> Option<&str> {
        let mut derived = self.all_derived();
        let found = derived.find(|(.., derived)| matches!(derived.phase, Phase::Building(..)));
        found.map(|(_, index, _)| &*index.name)
    }

    /// Whether there is none whose keys are derived.
    pub(crate) fn none_derived(&self) -> bool {
        self.derived.is_empty()
    }

    /// How many indexes there are.
    pub(crate) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// The number of the next index.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// The indexes, by number.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u32, &NamedIndex)> {
        self.by_number.iter().map(|(number, index)| (*number, index))
    }

    /// Adds an index, and assigns the next number to it. Batches are refused before
    /// the numbers run out.
    pub(crate) fn add(&mut self, index: NamedIndex) {
        let number = self.next;
        self.next = number.saturating_add(1);
        self.insert(number, index);
    }

    pub(crate) fn drop(&mut self, number: u32) {
        if let Some(index) = self.by_number.remove(&number) {
            self.names.remove(&index.name);
            self.derived.retain(|of| *of != number);
        }
    }

    /// Gives an index another name.
    pub(crate) fn rename(&mut self, number: u32, name: Arc<str>) {
        if let Some(index) = self.by_number.get_mut(&number) {
            self.names.remove(&index.name);
            index.name = Arc::clone(&name);
            self.names.insert(name, number);
        }
    }

    /// Gives a kind another name in all definitions.
    pub(crate) fn rename_kind(&mut self, from: &str, to: &str) {
        let derived = self.by_number.values_mut().filter_map(|index| index.derived.as_mut());
        for derived in derived.filter(|derived| derived.definition.kinds.contains(from)) {
            let definition = Arc::make_mut(&mut derived.definition);
            definition.kinds.remove(from);
            definition.kinds.insert(to.to_owned());
        }
    }

    pub(crate) fn set_phase(&mut self, number: u32, phase: Phase) {
        if let Some(derived) =
            self.by_number.get_mut(&number).and_then(|index| index.derived.as_mut())
        {
            derived.phase = phase;
        }
    }
}
