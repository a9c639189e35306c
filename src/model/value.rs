//! The values of attributes.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use crate::model::{
    error::{Error, Result},
    id::NodeId,
    limits::{self, check_count, check_name},
    time::Timestamp,
};

/// The value of an attribute.
///
/// Most types convert into one: `bool`, integers, floats, text, bytes, vectors,
/// slices and arrays of these, [`Option`], [`NodeId`] and [`Timestamp`].
/// [`Value::list`] and [`Value::map`] make lists and maps from whatever can be
/// iterated.
///
/// ```
/// use ingrain::Value;
///
/// let value = Value::map([("name", Value::from("Rex")), ("ages", Value::from([3, 4]))]);
/// assert_eq!(value.get("name").and_then(Value::as_str), Some("Rex"));
/// assert_eq!(value.get("ages").and_then(Value::as_list).map(<[_]>::len), Some(2));
/// assert_eq!(value.get("owner"), None);
/// assert_eq!(value.to_string(), r#"{"ages": [3, 4], "name": "Rex"}"#);
///
/// // Bytes are bytes; a list of numbers is a list.
/// assert_eq!(Value::from(vec![1_u8, 2]), Value::Bytes(vec![1, 2]));
/// assert_eq!(Value::from(vec![1, 2]), Value::List(vec![Value::Int(1), Value::Int(2)]));
///
/// // What may not fit in an `i64` is tried.
/// assert_eq!(Value::try_from(7_u64)?, Value::Int(7));
/// assert!(Value::try_from(u64::MAX).is_err());
/// # Ok::<(), ingrain::Error>(())
/// ```
///
/// # Equality
///
/// Values are equal if they are of the same variant and have the same contents.
/// `Int(1)` is not equal to `Float(1.0)`. Floats compare as `f64` does: NaN,
/// which no store holds, is not equal to itself, and 0.0 is equal to -0.0. So
/// there is no `Eq` and no `Hash`. To use a value as a key, take what it has,
/// or build an index key of it: see [`KeyBuilder`](crate::KeyBuilder).
///
/// # Text
///
/// `Display` is for people and resembles JSON. Bytes are written as hexadecimal
/// digits after `0x`, floats always with a point or an exponent. It cannot be
/// read back.
///
/// # Serde
///
/// With the feature `serde` a value is written as null, a truth value, a
/// number, text, bytes, a list or a map, and read from a format that says which
/// of these it has, such as JSON, YAML, MessagePack or CBOR. Integers and floats
/// stay apart: JSON has `1` and `1.0`.
///
/// Human-readable formats have no bytes: they are `{"$bytes": "<base64>"}`. A
/// map whose only name is `$bytes` or `$map` is `{"$map": {..}}`. A float that
/// is not finite is an error when it is written to such a format. Reading
/// refuses unsigned integers above `i64::MAX`, a name that comes twice in a map,
/// and what is nested far deeper than [`limits::VALUE_DEPTH`], which a write
/// checks exactly. (`serde_json` hands on integers beyond 64 bits as floats.)
///
/// Within an enum with a tag or a flattened field, serde takes every format for
/// a human-readable one: there, MessagePack and CBOR lose a map whose only name
/// is `$bytes` or `$map`, and times cannot be read.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Value {
    /// No value, but present.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number. A batch with a float that is not finite is refused.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Value>),
    /// Named values.
    Map(Attributes),
}

/// Named values, in the order of their names.
///
/// ```
/// use ingrain::{Attributes, Node, NodeId, Value};
///
/// let attributes = Attributes::from([("lang".to_owned(), Value::from("en"))]);
/// let node = Node::new(NodeId::new(), "note").attributes(attributes.clone());
/// assert_eq!(node.attributes, attributes);
/// ```
pub type Attributes = BTreeMap<String, Value>;

impl Value {
    /// A list of these values, in order.
    #[must_use]
    pub fn list<T: Into<Self>>(values: impl IntoIterator<Item = T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }

    /// A map of these names and values. Of a name that comes twice, the last
    /// value counts.
    #[must_use]
    pub fn map<K: Into<String>, V: Into<Self>>(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::Map(collect(entries))
    }

    /// Whether this is [`Value::Null`].
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The truth value of a [`Value::Bool`].
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The number of a [`Value::Int`]. Floats are `None`, whole ones too.
    #[must_use]
    pub const fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The number of a [`Value::Float`] or a [`Value::Int`]. Integers beyond
    /// 2^53 are rounded to the nearest float.
    #[must_use]
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// The text of a [`Value::Text`].
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The bytes of a [`Value::Bytes`]. Those of a text are not among them.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(value) => Some(value),
            _ => None,
        }
    }

    /// The values of a [`Value::List`].
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        match self {
            Self::List(values) => Some(values),
            _ => None,
        }
    }

    /// The entries of a [`Value::Map`].
    #[must_use]
    pub const fn as_map(&self) -> Option<&Attributes> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The value of that name in a [`Value::Map`]. `None` if there is none, or
    /// if this is no map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_map()?.get(name)
    }

    /// The type as a word, for messages: `null`, `bool`, `int`, `float`,
    /// `text`, `bytes`, `list` or `map`.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Text(_) => "text",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }
}

/// Named values from pairs. Of a name that comes twice, the last value counts.
pub(super) fn collect<K: Into<String>, V: Into<Value>>(
    entries: impl IntoIterator<Item = (K, V)>,
) -> Attributes {
    entries.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

macro_rules! value_from {
    ($($from:ty => $variant:ident via $convert:expr;)*) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant($convert(value))
            }
        }
    )*};
}

value_from! {
    bool => Bool via bool::from;
    i64 => Int via i64::from;
    i32 => Int via i64::from;
    i16 => Int via i64::from;
    i8 => Int via i64::from;
    u32 => Int via i64::from;
    u16 => Int via i64::from;
    u8 => Int via i64::from;
    f64 => Float via f64::from;
    f32 => Float via f64::from;
    String => Text via String::from;
    &String => Text via String::from;
    &str => Text via String::from;
    Box<str> => Text via String::from;
    Cow<'_, str> => Text via String::from;
    char => Text via String::from;
    Vec<u8> => Bytes via Vec::from;
    &[u8] => Bytes via Vec::from;
    Attributes => Map via Attributes::from;
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.into())
    }
}

// Not of every type that converts into a value: that would take in `u8`, and
// bytes are no list.
macro_rules! list_from {
    ($($from:ty)*) => {$(
        impl From<Vec<$from>> for Value {
            fn from(values: Vec<$from>) -> Self {
                Self::list(values)
            }
        }

        impl From<&[$from]> for Value {
            fn from(values: &[$from]) -> Self {
                Self::list(values.iter().cloned())
            }
        }

        impl<const N: usize> From<[$from; N]> for Value {
            fn from(values: [$from; N]) -> Self {
                Self::list(values)
            }
        }
    )*};
}

list_from! { bool i32 i64 f32 f64 String &str Value }

// No `From`: a number that does not fit must not become another.
macro_rules! value_try_from {
    ($($from:ty)*) => {$(
        impl TryFrom<$from> for Value {
            type Error = Error;

            /// A [`Value::Int`], or an error if the number is not in the range
            /// of `i64`.
            fn try_from(value: $from) -> Result<Self> {
                i64::try_from(value).map(Self::Int).map_err(|_| {
                    Error::invalid(format!("integer {value}: it is not in the range of i64"))
                })
            }
        }
    )*};
}

value_try_from! { u64 usize isize i128 u128 }

impl<T: Into<Self>> From<Option<T>> for Value {
    /// `None` is [`Value::Null`].
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Timestamp> for Value {
    /// The microseconds since 1970, as a [`Value::Int`]:
    /// [`Timestamp::from_micros`] makes a time of them again.
    fn from(time: Timestamp) -> Self {
        Self::Int(time.as_micros())
    }
}

impl From<NodeId> for Value {
    /// The id as a [`Value::Text`], as `Display` has it: [`NodeId::parse`]
    /// reads it.
    fn from(id: NodeId) -> Self {
        Self::Text(id.to_string())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(value) => write_quoted(value, f),
            Self::Bytes(value) => {
                f.write_str("0x")?;
                value.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    value.fmt(f)?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                f.write_str("{")?;
                for (at, (name, value)) in map.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    write_quoted(name, f)?;
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Text in quotes, escaped as in JSON.
pub(crate) fn write_quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Bytes of an entry of a map or list beside what it points to.
pub(crate) const ENTRY_BYTES: usize = size_of::<String>() + size_of::<Value>();

impl Value {
    /// Refuses what cannot be added to a number: anything but a number, and a float
    /// that is not finite.
    pub(crate) fn check_summand(&self) -> Result<()> {
        match self {
            Self::Int(_) => Ok(()),
            Self::Float(by) if by.is_finite() => Ok(()),
            Self::Float(by) => Err(Error::invalid(format!("increment by {by}: it is not finite"))),
            other => {
                let what = other.type_name();
                Err(Error::invalid(format!("increment: it is by a number, not by {what}")))
            }
        }
    }

    /// The sum of two numbers: an integer if both are, else a float. The error says
    /// what is wrong with the sum.
    pub(crate) fn plus(&self, by: &Self) -> Result<Self, String> {
        match (self, by) {
            (Self::Int(a), Self::Int(b)) => {
                let sum = a.checked_add(*b).map(Self::Int);
                sum.ok_or_else(|| format!("{a} + {b} is beyond 64 bits"))
            }
            _ => {
                let no_number = || format!("it is {}, no number", self.type_name());
                let a = self.as_f64().ok_or_else(no_number)?;
                let b = by.as_f64().ok_or_else(no_number)?;
                let sum = a + b;
                let sum = sum.is_finite().then_some(Self::Float(sum));
                sum.ok_or_else(|| format!("{a} + {b} is not finite"))
            }
        }
    }

    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Text(text) => text.capacity(),
            Self::Bytes(bytes) => bytes.capacity(),
            Self::List(values) => {
                values.iter().map(|v| ENTRY_BYTES.saturating_add(v.memory())).fold(0, add)
            }
            Self::Map(map) => map_memory(map),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
        }
    }
}

pub(crate) fn add(sum: usize, more: usize) -> usize {
    sum.saturating_add(more)
}

pub(crate) fn map_memory(map: &Attributes) -> usize {
    let entry = |(name, value): (&String, &Value)| {
        ENTRY_BYTES.saturating_add(name.capacity()).saturating_add(value.memory())
    };
    map.iter().map(entry).fold(0, add)
}

/// Attributes within their bounds, but for their encoded size.
pub(crate) fn check_attributes(attributes: &Attributes) -> Result<()> {
    check_map(attributes, 1)
}

fn check_map(map: &Attributes, depth: usize) -> Result<()> {
    check_count("attributes of a node or edge", map.len(), limits::ATTRIBUTES)?;
    for (name, value) in map {
        check_name("attribute", name)?;
        check_value(name, value, depth)?;
    }
    Ok(())
}

pub(crate) fn check_value(name: &str, value: &Value, depth: usize) -> Result<()> {
    check_count("nesting of an attribute", depth, limits::VALUE_DEPTH)?;
    // Recursion is bounded by the line above.
    match value {
        Value::Float(x) if !x.is_finite() => {
            Err(Error::invalid(format!("attribute {name:?}: {x} is not finite")))
        }
        Value::List(values) => {
            values.iter().try_for_each(|v| check_value(name, v, depth.saturating_add(1)))
        }
        Value::Map(map) => check_map(map, depth.saturating_add(1)),
        Value::Text(_)
        | Value::Bytes(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Float(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A number converts to itself or, if it does not fit, not at all.
        #[test]
        fn numbers_are_never_changed(number in any::<u64>(), wide in any::<i128>()) {
            let as_int = |n: i128| i64::try_from(n).ok().map(Value::Int);
            prop_assert_eq!(Value::try_from(number).ok(), as_int(i128::from(number)));
            prop_assert_eq!(Value::try_from(number as usize).ok(), as_int(i128::from(number)));
            prop_assert_eq!(Value::try_from(wide).ok(), as_int(wide));
            let (byte, short, int) = (number as u8, number as i16, number as u32);
            prop_assert_eq!(Value::from(byte).as_i64(), Some(i64::from(byte)));
            prop_assert_eq!(Value::from(short).as_i64(), Some(i64::from(short)));
            prop_assert_eq!(Value::from(int).as_i64(), Some(i64::from(int)));
        }

        /// Without bytes and floats beyond JSON's, the text is JSON.
        #[test]
        fn what_people_read_is_json_but_for_bytes(text in any::<String>(), x in -1e9..1e9_f64) {
            let value = Value::map([
                (text.clone(), Value::list([Value::from(x), Value::Null, true.into()])),
                ("n".to_owned() + &text, Value::from(&text)),
            ]);
            let json: serde_json::Value = serde_json::from_str(&value.to_string()).unwrap();
            prop_assert_eq!(&json[&text][0], x);
            prop_assert_eq!(&json["n".to_owned() + &text], &text);
        }
    }

    #[test]
    fn each_value_is_what_it_was_made_of() {
        let (id, time) = (NodeId::from_content(b"x"), Timestamp::from_micros(-5));
        let text = |t: &str| Value::Text(t.to_owned());
        let ints = |ints: &[i64]| Value::List(ints.iter().map(|n| Value::Int(*n)).collect());
        for (value, expected, name) in [
            (Value::from(None::<i64>), Value::Null, "null"),
            (Value::from(Some("x")), text("x"), "text"),
            (Value::from(Cow::Borrowed("x")), text("x"), "text"),
            (Value::from(id), text(&id.to_string()), "text"),
            (Value::from(time), Value::Int(-5), "int"),
            (Value::from(0.5_f32), Value::Float(0.5), "float"),
            (Value::from(vec![1_u8, 2]), Value::Bytes(vec![1, 2]), "bytes"),
            (Value::from(b"ab"), Value::Bytes(b"ab".to_vec()), "bytes"),
            (Value::from(&b"ab"[..]), Value::Bytes(b"ab".to_vec()), "bytes"),
            (Value::from(vec![1, 2]), ints(&[1, 2]), "list"),
            (Value::from([1, 2]), ints(&[1, 2]), "list"),
            (Value::from(&[1_i64, 2][..]), ints(&[1, 2]), "list"),
            (Value::list(vec![1_u8, 2]), ints(&[1, 2]), "list"),
            (Value::from(["x"]), Value::List(vec![text("x")]), "list"),
            (Value::map([("a", 1)]), Value::Map([("a".into(), Value::Int(1))].into()), "map"),
        ] {
            assert_eq!(value, expected);
            assert_eq!(value.type_name(), name);
        }
        assert_eq!(Value::Bytes(vec![0, 0xfe]).to_string(), "0x00fe");
        assert_eq!(Value::Int(3).as_f64(), Some(3.0));
        assert_eq!(
            (Value::Float(3.0).as_i64(), Value::Float(3.0).to_string()),
            (None, "3.0".into())
        );
        assert_eq!((text("x").as_bytes(), text("x").get("x")), (None, None));
    }
}
