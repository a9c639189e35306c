//! Indexes whose keys the engine derives from the nodes.

use std::collections::BTreeSet;

use crate::model::{
    error::{Error, Result},
    key::KeyBuilder,
    limits::{self, check_count, check_key, check_name},
    time::Timestamp,
    value::{Attributes, ENTRY_BYTES, Value, add},
};

/// What an index is on: fields of the node, in the order in which they count.
///
/// The engine derives the keys of each node: in every put, patch, touch, change of
/// kind and of expiry, in the same commit. A node has a key if it has all fields;
/// a field that is a list gives a key for each of its elements. A field that is a
/// map gives none.
///
/// Values of different types are ordered by type: null, false, true, numbers, text,
/// bytes. Integers and floats are one type, ordered by their values; times are
/// microseconds since 1970.
///
/// ```
/// use ingrain::{index::{Index, attr, created}, prelude::*};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// let by_topic = Index::on([attr("topic"), created().desc()]).kinds(["episode"]);
/// engine.create_index_on("by_topic", by_topic)?;
/// let episode = Node::new(NodeId::new(), "episode").attribute("topic", "rust");
/// engine.write(Batch::new().put(episode))?;
///
/// let snapshot = engine.snapshot();
/// assert_eq!(snapshot.query("by_topic").eq("rust").count()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Index {
    pub(crate) parts: Vec<IndexPart>,
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) kinds: BTreeSet<String>,
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) unique: bool,
}

/// One field of an [`Index`], and how it is ordered.
///
/// ```
/// use ingrain::index::{Index, attr, attr_path, strength};
///
/// let parts = [
///     attr("topic").or("none"),            // nodes without a topic come under "none"
///     attr_path(["source", "language"]),   // an attribute within an attribute
///     strength().desc(),                   // the strongest first
/// ];
/// let index = Index::on(parts);
/// assert_eq!(index.parts().len(), 3);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct IndexPart {
    pub(crate) field: Field,
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) descending: bool,
    // Null is a value too.
    #[cfg_attr(feature = "serde", serde(default, deserialize_with = "given"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub(crate) default: Option<Value>,
}

/// Reads a value that is there, also if it is null.
#[cfg(feature = "serde")]
fn given<'de, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<Value>, D::Error> {
    serde::Deserialize::deserialize(from).map(Some)
}

/// A field of a node.
///
/// ```
/// use ingrain::index::{Field, attr, created};
///
/// assert_eq!(created().field(), &Field::Created);
/// assert_eq!(attr("topic").field(), &Field::Attribute(vec!["topic".to_owned()]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Field {
    /// An attribute, by its name; within an attribute that is a map, or a list of
    /// maps, by the names that lead to it.
    Attribute(Vec<String>),
    /// The kind.
    Kind,
    /// The creation time.
    Created,
    /// When the content, attributes, scores, keys or vectors changed last.
    Updated,
    /// When it was touched last.
    Accessed,
    /// How often it was touched.
    AccessCount,
    /// When it expires; a node that does not has no such field.
    Expires,
    /// The strength.
    Strength,
    /// The confidence.
    Confidence,
}

impl Field {
    pub(crate) fn is_attribute(&self) -> bool {
        matches!(self, Self::Attribute(_))
    }

    /// Whether every node has it.
    pub(crate) fn is_always_there(&self) -> bool {
        !self.is_attribute() && *self != Self::Expires
    }
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident => $field:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// ```
        #[doc = concat!("let part = ingrain::index::", stringify!($name), "().desc();")]
        #[doc = concat!("assert_eq!(part.field(), &ingrain::index::Field::", stringify!($field), ");")]
        /// ```
        #[must_use]
        pub fn $name() -> IndexPart {
            Field::$field.into()
        }
    )*};
}
fields! {
    /// The kind of a node, as a field of an index.
    kind => Kind;
    /// The creation time, as a field of an index.
    created => Created;
    /// The time of the last change, as a field of an index.
    updated => Updated;
    /// The time of the last access, as a field of an index. Each touch of a node
    /// then changes the index.
    accessed => Accessed;
    /// The number of accesses, as a field of an index. Each touch of a node then
    /// changes the index.
    access_count => AccessCount;
    /// The expiry, as a field of an index.
    expires => Expires;
    /// The strength, as a field of an index.
    strength => Strength;
    /// The confidence, as a field of an index.
    confidence => Confidence;
}

/// An attribute, as a field of an index.
///
/// ```
/// use ingrain::index::{Index, attr};
///
/// let index = Index::on([attr("topic")]);
/// assert_eq!(index.parts()[0].field().to_string(), "topic");
/// ```
#[must_use]
pub fn attr(name: impl Into<String>) -> IndexPart {
    attr_path([name])
}

/// An attribute within an attribute, as a field of an index: the names that lead to
/// it, the outermost first.
///
/// ```
/// use ingrain::index::{Index, attr_path};
///
/// let index = Index::on([attr_path(["source", "language"])]);
/// assert_eq!(index.parts()[0].field().to_string(), "source.language");
/// ```
#[must_use]
pub fn attr_path<S: Into<String>>(names: impl IntoIterator<Item = S>) -> IndexPart {
    Field::Attribute(names.into_iter().map(Into::into).collect()).into()
}

impl From<Field> for IndexPart {
    /// The field, ascending, without a default.
    fn from(field: Field) -> Self {
        Self { field, descending: false, default: None }
    }
}

impl IndexPart {
    /// Orders by this field from the largest value to the smallest.
    #[must_use]
    pub fn desc(mut self) -> Self {
        self.descending = true;
        self
    }

    /// The value of nodes that do not have the field. Without one they have no key.
    #[must_use]
    pub fn or(mut self, value: impl Into<Value>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// The field.
    #[must_use]
    pub fn field(&self) -> &Field {
        &self.field
    }

    /// Whether the order is from the largest value to the smallest.
    #[must_use]
    pub fn is_descending(&self) -> bool {
        self.descending
    }

    /// The value of nodes that do not have the field.
    #[must_use]
    pub fn default_value(&self) -> Option<&Value> {
        self.default.as_ref()
    }

    /// Checks the names of an attribute.
    pub(crate) fn check_field(&self, of: &str) -> Result<()> {
        let Field::Attribute(path) = &self.field else { return Ok(()) };
        check_count("names of a nested attribute", path.len(), limits::VALUE_DEPTH)?;
        if path.is_empty() {
            return Err(Error::invalid(format!("{of}: a field has no name")));
        }
        path.iter().try_for_each(|name| check_name("attribute", name))
    }

    /// Appends the encoding of a value to a key. Returns whether the value has one:
    /// lists and maps have none.
    pub(crate) fn encode(&self, value: &Value, key: &mut Vec<u8>) -> bool {
        let from = key.len();
        let known = encode_value(value, key);
        if self.descending {
            key.iter_mut().skip(from).for_each(|byte| *byte = !*byte);
        }
        known
    }
}

impl Index {
    /// An index on these fields of all nodes.
    #[must_use]
    pub fn on(parts: impl IntoIterator<Item = IndexPart>) -> Self {
        Self { parts: parts.into_iter().collect(), kinds: BTreeSet::new(), unique: false }
    }

    /// Only nodes of these kinds have keys.
    #[must_use]
    pub fn kinds<S: Into<String>>(mut self, kinds: impl IntoIterator<Item = S>) -> Self {
        self.kinds = kinds.into_iter().map(Into::into).collect();
        self
    }

    /// Refuses a second node with the same key: a `Conflict` that names both.
    #[must_use]
    pub fn unique(mut self) -> Self {
        self.unique = true;
        self
    }

    /// The fields, in the order in which they count.
    #[must_use]
    pub fn parts(&self) -> &[IndexPart] {
        &self.parts
    }

    /// The kinds whose nodes have keys, sorted; all kinds if there are none.
    pub fn of_kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().map(String::as_str)
    }

    /// Whether no two nodes may have the same key.
    #[must_use]
    pub fn is_unique(&self) -> bool {
        self.unique
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn memory(&self) -> usize {
        let path = |field: &Field| match field {
            Field::Attribute(path) => path.iter().map(String::capacity).fold(0, add),
            _ => 0,
        };
        let of = |part: &IndexPart| {
            let default = part.default.as_ref().map_or(0, Value::memory);
            size_of::<IndexPart>().saturating_add(path(&part.field)).saturating_add(default)
        };
        let kinds = self.kinds.iter().map(|kind| ENTRY_BYTES.saturating_add(kind.capacity()));
        self.parts.iter().map(of).chain(kinds).fold(0, add)
    }

    /// Checks the definition.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        check_name("index", name)?;
        check_count("fields of an index", self.parts.len(), limits::INDEX_PARTS)?;
        check_count("kinds of an index", self.kinds.len(), limits::INDEX_KINDS)?;
        if self.parts.is_empty() {
            return Err(Error::invalid(format!("index {name:?}: it is on no field")));
        }
        self.kinds.iter().try_for_each(|kind| check_name("kind", kind))?;
        for part in &self.parts {
            part.check_field(&format!("index {name:?}"))?;
            if let Some(default) = &part.default {
                let mut key = Vec::new();
                if !encode_value(default, &mut key) {
                    return Err(Error::invalid(format!(
                        "index {name:?}: the default {default} is a list, a map or no number"
                    )));
                }
                check_key(&key)?;
            }
        }
        Ok(())
    }

    /// Whether one of its fields is this one.
    pub(crate) fn is_on(&self, field: &Field) -> bool {
        self.parts.iter().any(|part| part.field == *field)
    }

    /// Whether its keys depend on what a touch changes.
    pub(crate) fn follows_access(&self) -> bool {
        self.is_on(&Field::Accessed) || self.is_on(&Field::AccessCount)
    }

    /// Whether its keys depend on the expiry.
    pub(crate) fn follows_expiry(&self) -> bool {
        self.is_on(&Field::Expires)
    }

    /// Whether nodes of a kind have keys.
    pub(crate) fn has_kind(&self, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.contains(kind)
    }

    /// Adds the keys of a node to `keys`. They may come twice.
    ///
    /// # Errors
    /// `Limit` if a key is longer than [`limits::KEY_BYTES`], or there are more than
    /// [`limits::NODE_KEYS`].
    pub(crate) fn derive(&self, node: &Fields<'_>, keys: &mut Vec<Vec<u8>>) -> Result<()> {
        if self.has_kind(node.kind) {
            self.extend(node, 0, &mut Vec::new(), keys)?;
        }
        Ok(())
    }

    /// The first of the keys of a node, whatever its kind and however long the key;
    /// `None` if it has none. O(n) in the values of the fields.
    pub(crate) fn first_key(&self, node: &Fields<'_>) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        for part in &self.parts {
            let mut first: Option<Vec<u8>> = None;
            let mut found = false;
            node.each(&part.field, &mut |value| {
                found = true;
                let mut encoded = Vec::new();
                if part.encode(value, &mut encoded)
                    && first.as_ref().is_none_or(|first| encoded < *first)
                {
                    first = Some(encoded);
                }
            });
            if let (false, Some(default)) = (found, &part.default) {
                let mut encoded = Vec::new();
                first = part.encode(default, &mut encoded).then_some(encoded);
            }
            key.extend(first?);
        }
        Some(key)
    }

    /// Adds the keys that begin with `key`, which has the fields before `at`.
    fn extend(
        &self,
        node: &Fields<'_>,
        at: usize,
        key: &mut Vec<u8>,
        keys: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let Some(part) = self.parts.get(at) else {
            check_key(key)?;
            keys.push(key.clone());
            return check_count("index keys of a node", keys.len(), limits::NODE_KEYS);
        };
        let len = key.len();
        let (mut found, mut failed) = (false, Ok(()));
        node.each(&part.field, &mut |value| {
            found = true;
            if failed.is_ok() && part.encode(value, key) {
                failed = self.extend(node, at.saturating_add(1), key, keys);
            }
            key.truncate(len);
        });
        failed?;
        if let (false, Some(default)) = (found, &part.default) {
            part.encode(default, key);
            self.extend(node, at.saturating_add(1), key, keys)?;
            key.truncate(len);
        }
        Ok(())
    }
}

/// What of a node an index may be on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'n> {
    pub(crate) kind: &'n str,
    pub(crate) attributes: &'n Attributes,
    pub(crate) strength: f32,
    pub(crate) confidence: f32,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) accessed: Timestamp,
    pub(crate) access_count: u64,
    pub(crate) expires: Option<Timestamp>,
}

impl Fields<'_> {
    /// Calls `found` for each value of a field: for each element if it is a list.
    pub(crate) fn each(&self, field: &Field, found: &mut dyn FnMut(&Value)) {
        self.each_whole(field, &mut |value| each_of(value, found));
    }

    /// Calls `found` for each value of a field, which may be a list.
    pub(crate) fn each_whole(&self, field: &Field, found: &mut dyn FnMut(&Value)) {
        let value = match field {
            Field::Attribute(path) => {
                if let Some((first, rest)) = path.split_first()
                    && let Some(value) = self.attributes.get(first)
                {
                    whole(value, rest, found);
                }
                return;
            }
            Field::Kind => Value::from(self.kind),
            Field::Created => self.created.into(),
            Field::Updated => self.updated.into(),
            Field::Accessed => self.accessed.into(),
            Field::AccessCount => {
                // Counts beyond an `i64` are floats, which are in the same order.
                i64::try_from(self.access_count)
                    .map_or(Value::Float(self.access_count as f64), Value::Int)
            }
            Field::Expires => match self.expires {
                Some(expires) => expires.into(),
                None => return,
            },
            Field::Strength => Value::Float(self.strength.into()),
            Field::Confidence => Value::Float(self.confidence.into()),
        };
        found(&value);
    }
}

/// Calls `found` for the values at a path within a value, and in each element of lists
/// on the way.
fn whole(value: &Value, path: &[String], found: &mut dyn FnMut(&Value)) {
    match (value, path.split_first()) {
        (value, None) => found(value),
        (Value::List(values), _) => values.iter().for_each(|value| match value {
            // What is in a list within a list has no place in an order.
            Value::List(_) => {}
            value => whole(value, path, found),
        }),
        (Value::Map(map), Some((first, rest))) => {
            if let Some(value) = map.get(first) {
                whole(value, rest, found);
            }
        }
        (_, Some(_)) => {}
    }
}

/// Calls `found` for a value, or for each element of a list.
fn each_of(value: &Value, found: &mut dyn FnMut(&Value)) {
    match value {
        Value::List(values) => {
            values.iter().filter(|value| !matches!(value, Value::List(_))).for_each(found);
        }
        value => found(value),
    }
}

/// First bytes of encoded values, in the order of the types.
mod tag {
    pub(super) const NULL: u8 = 0x10;
    pub(super) const FALSE: u8 = 0x20;
    pub(super) const TRUE: u8 = 0x21;
    pub(super) const NUMBER: u8 = 0x30;
    pub(super) const TEXT: u8 = 0x40;
    pub(super) const BYTES: u8 = 0x50;
}

/// The first byte of encoded text.
pub(crate) const TEXT_CLASS: u8 = tag::TEXT;

/// The first byte of encoded values of the same type, but for its lowest bits.
pub(crate) fn class_of(value: &Value) -> u8 {
    match value {
        Value::Null | Value::List(_) | Value::Map(_) => tag::NULL,
        Value::Bool(_) => tag::FALSE,
        Value::Int(_) | Value::Float(_) => tag::NUMBER,
        Value::Text(_) => tag::TEXT,
        Value::Bytes(_) => tag::BYTES,
    }
}

/// Encodes a value so that the order of the bytes is that of the values. No encoding
/// begins with another. Returns whether the value has one: lists, maps and NaN have
/// none.
pub(crate) fn encode_value(value: &Value, key: &mut Vec<u8>) -> bool {
    match value {
        Value::Null => key.push(tag::NULL),
        Value::Bool(false) => key.push(tag::FALSE),
        Value::Bool(true) => key.push(tag::TRUE),
        Value::Int(int) => {
            // The nearest float, and how much is missing, which is at most 512.
            let float = *int as f64;
            let missing = i128::from(*int).saturating_sub(float as i128);
            number(key, float, i16::try_from(missing).unwrap_or_default());
        }
        Value::Float(float) if float.is_nan() => return false,
        Value::Float(float) => number(key, *float, 0),
        Value::Text(text) => {
            key.push(tag::TEXT);
            key.extend(KeyBuilder::new().text(text).build());
        }
        Value::Bytes(bytes) => {
            key.push(tag::BYTES);
            key.extend(KeyBuilder::new().bytes(bytes).build());
        }
        Value::List(_) | Value::Map(_) => return false,
    }
    true
}

fn number(key: &mut Vec<u8>, float: f64, missing: i16) {
    key.push(tag::NUMBER);
    key.extend(KeyBuilder::new().float(float).build());
    key.extend((missing as u16 ^ 0x8000).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-3_i64..3).prop_map(Value::Int),
            (any::<i64>(), 0_u32..64).prop_map(|(n, by)| Value::Int(n >> by)),
            any::<i64>().prop_map(|n| Value::Float(n as f64)),
            (-3_i64..3).prop_map(|n| Value::Float(n as f64)),
            any::<f64>().prop_filter("a number", |x| !x.is_nan()).prop_map(Value::Float),
            "[ab\0]{0,3}".prop_map(Value::Text),
            proptest::collection::vec(0_u8..3, 0..4).prop_map(Value::Bytes),
        ]
    }

    /// Numbers are compared exactly: an integer with the integer part of a float.
    fn order(a: &Value, b: &Value) -> Ordering {
        fn exact(int: i64, float: f64) -> Ordering {
            if float >= 9_223_372_036_854_775_808.0 {
                return Ordering::Less;
            }
            if float < -9_223_372_036_854_775_808.0 {
                return Ordering::Greater;
            }
            let whole = float.trunc();
            int.cmp(&(whole as i64)).then((0.0).partial_cmp(&(float - whole)).unwrap())
        }
        let rank = |value: &Value| match value {
            Value::Null => 0,
            Value::Bool(_) => 1,
            Value::Int(_) | Value::Float(_) => 2,
            Value::Text(_) => 3,
            _ => 4,
        };
        match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap(),
            (Value::Int(a), Value::Float(b)) => exact(*a, *b),
            (Value::Float(a), Value::Int(b)) => exact(*b, *a).reverse(),
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            _ => rank(a).cmp(&rank(b)),
        }
    }

    proptest! {
        /// The order of keys is that of the values, each way, and whatever follows.
        #[test]
        fn keys_are_in_the_order_of_the_values(
            a in any_value(), b in any_value(), then in proptest::collection::vec(any::<u8>(), 0..2),
        ) {
            for (part, expected) in [(attr("a"), order(&a, &b)), (attr("a").desc(), order(&b, &a))] {
                let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
                prop_assert!(part.encode(&a, &mut of_a) && part.encode(&b, &mut of_b));
                let same = of_a == of_b;
                prop_assert!(same || (!of_a.starts_with(&of_b) && !of_b.starts_with(&of_a)));
                of_a.extend(&then);
                prop_assert_eq!(if same { Ordering::Equal } else { of_a.cmp(&of_b) }, expected);
            }
        }
    }
}
