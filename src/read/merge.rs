//! Ordered reads over layers and base: a merge in which the newest of equals
//! wins, and tombstones are left out.

use std::{iter::FusedIterator, ops::RangeBounds};

use equivalent::Comparable;
use im::{OrdMap, ordmap, shared_ptr::DefaultSharedPtr};

use crate::{
    format::tables::{EdgeKey, EdgeRow, IndexEntryRef},
    model::error::{Error, Result},
    state::{
        layer::{Layer, change::Change},
        record::KeyEntry,
    },
};

/// An item with a position in an order.
pub(crate) trait Placed {
    /// The position, borrowed.
    type Place<'a>: Copy + Ord
    where
        Self: 'a;

    fn place(&self) -> Self::Place<'_>;
}

impl Placed for EdgeKey {
    type Place<'a> = Self;

    fn place(&self) -> Self {
        *self
    }
}

impl Placed for KeyEntry {
    type Place<'a> = IndexEntryRef<'a>;

    fn place(&self) -> IndexEntryRef<'_> {
        Self::place(self)
    }
}

/// An item of the base, in the order of `K`.
pub(crate) trait Stored<'s, K: Placed + 's>: Copy {
    fn place(&self) -> K::Place<'s>;
}

impl<'s> Stored<'s, EdgeKey> for &'s EdgeRow {
    fn place(&self) -> EdgeKey {
        self.key()
    }
}

impl<'s> Stored<'s, KeyEntry> for IndexEntryRef<'s> {
    fn place(&self) -> IndexEntryRef<'s> {
        *self
    }
}

/// An item of a merge, and where it was found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MergedItem<'s, V, B> {
    Memory(&'s V),
    Base(B),
}

/// A step of a merge.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<P, T> {
    /// The next item.
    Item(P, T),
    /// Another [`STALL`] keys in succession were tombstones; the last is at this
    /// position.
    Dead(P),
}

/// Tombstones in succession after which a merge returns, so that its caller can
/// skip the rest of a run that is known to be dead, or report it.
pub(crate) const STALL: u32 = 32;

/// The items of one layer.
struct LayerRun<'s, K: Placed, V> {
    items: ordmap::RangedIter<'s, K, Change<V>, DefaultSharedPtr>,
    head: Option<(K::Place<'s>, &'s Change<V>)>,
}

/// Layers and base, merged.
pub(crate) struct Merge<'s, K: Placed, V, B, I> {
    descending: bool,
    /// Newest first.
    layers: [Option<LayerRun<'s, K, V>>; 2],
    base: I,
    base_head: Option<(K::Place<'s>, B)>,
    /// Returned next, and nothing after it.
    error: Option<Error>,
    ended: bool,
    /// Tombstones in succession, modulo [`STALL`].
    dead: u32,
}

impl<'s, K, V, B, I> Merge<'s, K, V, B, I>
where
    K: Placed + Ord,
    B: Stored<'s, K>,
    I: Iterator<Item = Result<B>>,
{
    /// Merges what is in `range` in the map that `map` picks of each layer with
    /// `base`, which has the same range and direction.
    pub(crate) fn new<Q, R>(
        layers: impl Iterator<Item = &'s Layer>,
        map: impl Fn(&'s Layer) -> &'s OrdMap<K, Change<V>>,
        range: R,
        base: I,
        descending: bool,
    ) -> Self
    where
        Q: Comparable<K> + ?Sized,
        R: RangeBounds<Q> + Clone,
    {
        let mut runs = layers.map(|layer| {
            let mut run = LayerRun { items: map(layer).range(range.clone()), head: None };
            run.advance(descending);
            run
        });
        let layers = [runs.next(), runs.next()];
        let mut merge =
            Self { descending, layers, base, base_head: None, error: None, ended: false, dead: 0 };
        merge.advance_base();
        merge
    }

    fn advance_base(&mut self) {
        self.base_head = None;
        match self.base.next() {
            Some(Ok(item)) => self.base_head = Some((item.place(), item)),
            Some(Err(error)) => self.error = Some(error),
            None => {}
        }
    }

    /// Counts a tombstone.
    fn stalls(&mut self) -> bool {
        self.dead += 1;
        let stalls = self.dead == STALL;
        if stalls {
            self.dead = 0;
        }
        stalls
    }

    /// The next position.
    fn next_place(&self) -> Option<K::Place<'s>> {
        let layers = self.layers.iter().flatten().filter_map(|run| run.head.map(|(at, _)| at));
        let places = layers.chain(self.base_head.as_ref().map(|(at, _)| *at));
        if self.descending { places.max() } else { places.min() }
    }
}

impl<'s, K, V, B, I> Iterator for Merge<'s, K, V, B, I>
where
    K: Placed + Ord,
    B: Stored<'s, K>,
    I: Iterator<Item = Result<B>>,
{
    type Item = Result<Step<K::Place<'s>, MergedItem<'s, V, B>>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(error) = self.error.take() {
                self.ended = true;
                return Some(Err(error));
            }
            // Most reads end with one run left, whose items need no comparison.
            let mut left = self.layers.iter_mut().flatten().filter(|run| run.head.is_some());
            match (left.next(), left.next(), self.base_head) {
                (None, _, None) => {
                    self.ended = true;
                    break;
                }
                (None, _, Some((place, item))) => {
                    self.advance_base();
                    self.dead = 0;
                    return Some(Ok(Step::Item(place, MergedItem::Base(item))));
                }
                (Some(run), None, None) => {
                    let Some((place, value)) = run.head else { break };
                    run.advance(self.descending);
                    if let Some(value) = value.value() {
                        self.dead = 0;
                        return Some(Ok(Step::Item(place, MergedItem::Memory(value))));
                    }
                    if self.stalls() {
                        return Some(Ok(Step::Dead(place)));
                    }
                    continue;
                }
                _ => {}
            }
            let Some(place) = self.next_place() else { break };
            let mut found = None;
            for run in self.layers.iter_mut().flatten() {
                if let Some((_, value)) = run.head.filter(|(at, _)| *at == place) {
                    found.get_or_insert(value.value().map(MergedItem::Memory));
                    run.advance(self.descending);
                }
            }
            if let Some((_, item)) = self.base_head.filter(|(at, _)| *at == place) {
                found.get_or_insert(Some(MergedItem::Base(item)));
                self.advance_base();
            }
            match found {
                Some(Some(found)) => {
                    self.dead = 0;
                    return Some(Ok(Step::Item(place, found)));
                }
                Some(None) if self.stalls() => return Some(Ok(Step::Dead(place))),
                _ => {}
            }
        }
        None
    }
}

impl<'s, K, V, B, I> FusedIterator for Merge<'s, K, V, B, I>
where
    K: Placed + Ord,
    B: Stored<'s, K>,
    I: Iterator<Item = Result<B>>,
{
}

impl<'s, K: Placed + Ord, V> LayerRun<'s, K, V> {
    fn advance(&mut self, descending: bool) {
        let item = if descending { self.items.next_back() } else { self.items.next() };
        self.head = item.map(|(key, value)| (key.place(), value));
    }
}
