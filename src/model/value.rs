//! The values of attributes.

use std::collections::BTreeMap;

use crate::model::{
    error::{Error, Result},
    limits::{self, check_count, check_name},
};

/// An attribute's value. Floats are finite.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// No value, but present.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A finite number.
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
pub type Attributes = BTreeMap<String, Value>;

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
    u32 => Int via i64::from;
    f64 => Float via f64::from;
    f32 => Float via f64::from;
    String => Text via String::from;
    &str => Text via String::from;
    Vec<u8> => Bytes via Vec::from;
    Vec<Value> => List via Vec::from;
    Attributes => Map via Attributes::from;
}

/// Bytes of an entry of a map or list beside what it points to.
pub(crate) const ENTRY_BYTES: usize = size_of::<String>() + size_of::<Value>();

impl Value {
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
