//! Queries of indexes whose keys the engine derives.

use std::{ops::Bound, sync::Arc};

use crate::{
    model::{
        error::{Error, Result},
        index::{Index, IndexPart, TEXT_CLASS, class_of, encode_value},
        key::KeyRange,
        value::Value,
    },
    read::{
        cursor::{Cursor, Direction},
        range::{IndexEntries, IndexEntry, count},
        snapshot::Snapshot,
    },
};

impl Snapshot {
    /// A query of an index whose keys the engine derives: values of its first
    /// fields, and then a range of the next. Without any, all entries.
    ///
    /// ```
    /// use ingrain::{index::{Index, attr, created}, prelude::*};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("memory"))?;
    /// engine.create_index_on("by_topic", Index::on([attr("topic"), created().desc()]))?;
    /// let day = |n: i64| Timestamp::from_micros(n * 86_400_000_000);
    /// let note = |topic: &str, at| Node::new(NodeId::new(), "note").attribute("topic", topic).created(at);
    /// engine.write(Batch::new().put(note("rust", day(1))).put(note("rust", day(3))).put(note("c", day(2))))?;
    ///
    /// let snapshot = engine.snapshot();
    /// // The notes on Rust from the second day on, the latest first.
    /// let latest = snapshot.query("by_topic").eq("rust").from(day(2)).first()?;
    /// assert_eq!(latest.unwrap().node.created(), day(3));
    /// // From the first to the last, of the reversed order.
    /// let mut entries = snapshot.query("by_topic").eq("rust").rev().entries()?;
    /// assert_eq!(entries.next().unwrap()?.node.created(), day(1));
    /// assert_eq!(snapshot.query("by_topic").count()?, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn query(&self, index: &str) -> Query<'_> {
        let state = &self.state;
        let found = state.indexes().readable(index).and_then(|number| {
            let derived = state.indexes().derived(number).ok_or_else(|| {
                Error::invalid(format!(
                    "index {index:?}: its keys are given by hand; read ranges of them"
                ))
            })?;
            Ok((number, Arc::clone(&derived.definition)))
        });
        Query {
            snapshot: self,
            range: found.map(|(number, definition)| Range::new(number, definition, index)),
            direction: Direction::Ascending,
        }
    }
}

/// A query under construction: see [`Snapshot::query`]. What is wrong with it, such
/// as an index that is not there, is reported when it is run.
///
/// A bound is of one type: a range from 5 has no text in it.
#[derive(Debug, Clone)]
pub struct Query<'s> {
    snapshot: &'s Snapshot,
    range: Result<Range>,
    direction: Direction,
}

/// Values of the first fields of an index, and a range of the next.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) index: u32,
    definition: Arc<Index>,
    name: Arc<str>,
    /// How many fields have values.
    fields: usize,
    /// Their encoding.
    prefix: Vec<u8>,
    start: Option<Bound<Vec<u8>>>,
    end: Option<Bound<Vec<u8>>>,
    /// The first byte of the values in the range.
    class: Option<u8>,
}

impl Range {
    pub(crate) fn new(index: u32, definition: Arc<Index>, name: &str) -> Self {
        Self {
            index,
            definition,
            name: name.into(),
            fields: 0,
            prefix: Vec::new(),
            start: None,
            end: None,
            class: None,
        }
    }

    fn part(&self, value: &Value) -> Result<(IndexPart, Vec<u8>)> {
        let part = self.definition.parts().get(self.fields).cloned().ok_or_else(|| {
            Error::invalid(format!("index {:?}: it is on {} fields", self.name, self.fields))
        })?;
        let mut key = Vec::new();
        if !part.encode(value, &mut key) {
            return Err(Error::invalid(format!(
                "index {:?}: {value} has no place in an order",
                self.name
            )));
        }
        Ok((part, key))
    }

    /// Only keys whose next field has this value.
    pub(crate) fn eq(mut self, value: &Value) -> Result<Self> {
        if self.start.is_some() || self.end.is_some() {
            return Err(Error::invalid(format!(
                "index {:?}: a value of a field after a range of another",
                self.name
            )));
        }
        let (_, key) = self.part(value)?;
        self.prefix.extend(key);
        self.fields += 1;
        Ok(self)
    }

    /// Only keys whose next field is not before (`from`), or not after, a value, or
    /// not the value itself either.
    pub(crate) fn bound(mut self, value: &Value, from: bool, with: bool) -> Result<Self> {
        let (part, key) = self.part(value)?;
        let class = class_of(value);
        if self.class.is_some_and(|of| of != class) {
            return Err(Error::invalid(format!(
                "index {:?}: the bounds are of different types",
                self.name
            )));
        }
        self.class = Some(class);
        let bound = if with { Bound::Included(key) } else { Bound::Excluded(key) };
        *(if from != part.is_descending() { &mut self.start } else { &mut self.end }) = Some(bound);
        Ok(self)
    }

    /// Only keys whose next field is text that begins with this one.
    pub(crate) fn starting_with(self, text: &str) -> Result<Self> {
        let (part, _) = self.part(&Value::from(text))?;
        // The encoding without its end.
        let mut key = Vec::new();
        encode_value(&Value::from(text), &mut key);
        key.truncate(key.len().saturating_sub(2));
        if part.is_descending() {
            key.iter_mut().for_each(|byte| *byte = !*byte);
        }
        let bound = Bound::Included(key);
        Ok(Self { start: Some(bound.clone()), end: Some(bound), class: Some(TEXT_CLASS), ..self })
    }

    /// The range of keys.
    pub(crate) fn keys(&self) -> KeyRange {
        let with = |key: &[u8]| [&self.prefix, key].concat();
        let descending = self.definition.parts().get(self.fields).is_some_and(|p| p.descending);
        let flip = |byte: u8| if descending { !byte } else { byte };
        // The first bytes of the class, as they are in a key.
        let classes = self.class.map(|class| {
            let (a, b) = (flip(class), flip(class | 0x0f));
            (a.min(b), a.max(b))
        });
        let start = match (&self.start, classes) {
            (Some(Bound::Included(key)), _) => Bound::Included(with(key)),
            (Some(Bound::Excluded(key)), _) => {
                after(with(key)).map_or(Bound::Unbounded, Bound::Included)
            }
            (_, Some((first, _))) => Bound::Included(with(&[first])),
            (_, None) => Bound::Included(with(&[])),
        };
        let up_to = |key: Vec<u8>| after(key).map_or(Bound::Unbounded, Bound::Excluded);
        let end = match (&self.end, classes) {
            (Some(Bound::Included(key)), _) => up_to(with(key)),
            (Some(Bound::Excluded(key)), _) => Bound::Excluded(with(key)),
            (_, Some((_, last))) => up_to(with(&[last])),
            (_, None) => up_to(with(&[])),
        };
        // Bounds that exclude each other leave nothing.
        match (&start, &end) {
            (Bound::Included(first), Bound::Excluded(last)) if first > last => {
                KeyRange::new(Bound::Included(first.clone()), Bound::Excluded(first.clone()))
            }
            _ => KeyRange::new(start, end),
        }
    }
}

/// The first key after all that begin with `key`.
fn after(mut key: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = key.pop() {
        if let Some(next) = last.checked_add(1) {
            key.push(next);
            return Some(key);
        }
    }
    None
}

impl<'s> Query<'s> {
    fn with(mut self, change: impl FnOnce(Range) -> Result<Range>) -> Self {
        self.range = self.range.and_then(change);
        self
    }

    /// Only entries whose next field has this value.
    #[must_use]
    pub fn eq(self, value: impl Into<Value>) -> Self {
        self.with(|range| range.eq(&value.into()))
    }

    /// Only entries whose next field has this value or one after it.
    #[must_use]
    pub fn from(self, value: impl Into<Value>) -> Self {
        self.with(|range| range.bound(&value.into(), true, true))
    }

    /// Only entries whose next field has a value after this one.
    #[must_use]
    pub fn above(self, value: impl Into<Value>) -> Self {
        self.with(|range| range.bound(&value.into(), true, false))
    }

    /// Only entries whose next field has this value or one before it.
    #[must_use]
    pub fn to(self, value: impl Into<Value>) -> Self {
        self.with(|range| range.bound(&value.into(), false, true))
    }

    /// Only entries whose next field has a value before this one.
    #[must_use]
    pub fn below(self, value: impl Into<Value>) -> Self {
        self.with(|range| range.bound(&value.into(), false, false))
    }

    /// Only entries whose next field is text that begins with this one.
    #[must_use]
    pub fn starting_with(self, text: &str) -> Self {
        self.with(|range| range.starting_with(text))
    }

    /// Reverses the order, so that a descending field is ascending.
    #[must_use]
    pub fn rev(mut self) -> Self {
        self.direction = match self.direction {
            Direction::Ascending => Direction::Descending,
            Direction::Descending => Direction::Ascending,
        };
        self
    }

    /// The range of keys, for [`Snapshot::range`] and filters.
    ///
    /// # Errors
    /// `Invalid` if there is no such index or it is not on these fields; `NotReady`
    /// while it is being built.
    pub fn key_range(&self) -> Result<KeyRange> {
        self.range.as_ref().map(Range::keys).map_err(Clone::clone)
    }

    /// The entries. A node that has several keys in the range, because a field is a
    /// list, comes once for each.
    ///
    /// # Errors
    /// As [`key_range`](Self::key_range).
    pub fn entries(&self) -> Result<IndexEntries<'s>> {
        let range = self.range.as_ref().map_err(Clone::clone)?;
        Ok(self.snapshot.entries(range.index, range.keys(), self.direction))
    }

    /// The entries after a cursor of this index in this direction.
    ///
    /// # Errors
    /// As [`key_range`](Self::key_range), and `Invalid` if the cursor comes from
    /// another read.
    pub fn after(&self, cursor: &Cursor) -> Result<IndexEntries<'s>> {
        self.entries()?.after(cursor)
    }

    /// The first entry.
    ///
    /// # Errors
    /// As [`key_range`](Self::key_range); `Corrupt` if what it reads is damaged on
    /// disk.
    pub fn first(&self) -> Result<Option<IndexEntry<'s>>> {
        self.entries()?.next().transpose()
    }

    /// The last entry.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn last(&self) -> Result<Option<IndexEntry<'s>>> {
        self.entries()?.next_back().transpose()
    }

    /// The number of entries. What is in files is counted without being read, what is
    /// in memory one by one. In a [view](Snapshot::alive_at), entries of expired nodes
    /// count too.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn count(&self) -> Result<u64> {
        let range = self.range.as_ref().map_err(Clone::clone)?;
        count(&self.snapshot.state, range.index, &range.keys())
    }
}
