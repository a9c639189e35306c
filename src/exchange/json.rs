//! Converts values to JSON and back, without loss.
//!
//! JSON has no type for bytes; they are written as `{"$bytes": "<base64>"}`. A
//! map that has this form, or the following, is written as `{"$map": {..}}`. A
//! float that is not finite, which no store holds, becomes null.
//!
//! ```
//! use ingrain::{Value, exchange::json::to_json};
//!
//! let value = Value::List(vec![Value::Int(1), Value::Bytes(vec![0, 255])]);
//! assert_eq!(to_json(&value).to_string(), r#"[1,{"$bytes":"AP8="}]"#);
//! ```

use std::{cell::Cell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::model::{
    serde_impls::{MAP, is_marked, resolve},
    serde_with::{BYTES, to_base64},
    value::{Attributes, Value},
};

/// A number that may be as large as an unsigned one gets.
pub(super) const DISCRIMINATOR: &str = "$discriminator";
/// The fields of a node that the engine maintains, and the one of them that may
/// be as large.
pub(super) const NODE: &str = "$node";
pub(super) const ACCESS_COUNT: &str = "access_count";

/// A line of input, which is a JSON object.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// All fields but the numbers below.
    pub(super) fields: Attributes,
    pub(super) discriminator: Option<u64>,
    /// What `$node` has of this name.
    pub(super) access_count: Option<u64>,
}

/// Parses a line that is a JSON object. An object with the same name twice, or
/// an integer that does not fit, is refused rather than changed.
pub(super) fn parse_line(line: &[u8]) -> Result<Line, String> {
    let large = Cell::new(false);
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let parsed = LineSeed(&large)
        .deserialize(&mut deserializer)
        .and_then(|parsed| deserializer.end().map(|()| parsed))
        .map_err(|error| reason(&error))?;
    if large.get()
        && let Some(number) = large_integer(line)
    {
        return Err(format!(
            "the number {number} does not fit in 64 bits; write it as text or with an exponent"
        ));
    }
    Ok(parsed)
}

/// The message of serde_json, with the column only: it counts lines from the
/// start of its input, which is a single line here.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(text) => format!("{text} (column {})", error.column()),
        None => text,
    }
}

/// The first integer in a JSON text of more than 64 bits, with or without a
/// sign. Those that fit without one are `visit_u64`'s to take or to refuse.
fn large_integer(line: &[u8]) -> Option<&str> {
    let (mut at, mut quoted) = (0, false);
    while let Some(byte) = line.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'-' | b'0'..=b'9' if !quoted => {
                let rest = line.get(at..)?;
                let length = rest
                    .iter()
                    .position(|b| !matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .unwrap_or(rest.len());
                let number = rest.get(..length).and_then(|n| str::from_utf8(n).ok())?;
                let fits = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
                if !number.contains(['.', 'e', 'E']) && !fits {
                    return Some(number);
                }
                at += length;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

struct LineSeed<'c>(&'c Cell<bool>);

impl<'de> DeserializeSeed<'de> for LineSeed<'_> {
    type Value = Line;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Line, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for LineSeed<'_> {
    type Value = Line;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line, A::Error> {
        let mut line = Line::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == DISCRIMINATOR {
                if line.discriminator.replace(map.next_value()?).is_some() {
                    return Err(twice(&name));
                }
                continue;
            }
            let value = if name == NODE {
                let seed = KeptSeed { values: ValueSeed(self.0), count: &mut line.access_count };
                map.next_value_seed(seed)?
            } else {
                map.next_value_seed(ValueSeed(self.0))?
            };
            let value = resolve(value).map_err(A::Error::custom)?;
            insert(&mut line.fields, name, value)?;
        }
        Ok(line)
    }
}

fn twice<E: Error>(name: &str) -> E {
    E::custom(format!("the field {name:?} occurs twice"))
}

fn insert<E: Error>(fields: &mut Attributes, name: String, value: Value) -> Result<(), E> {
    if fields.contains_key(&name) {
        return Err(twice(&name));
    }
    fields.insert(name, value);
    Ok(())
}

#[derive(Clone, Copy)]
struct ValueSeed<'c>(&'c Cell<bool>);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        i64::try_from(value).map(Value::Int).map_err(|_| {
            E::custom(format!(
                "the number {value} does not fit in 64 bits with a sign; write it as text or with \
                 an exponent"
            ))
        })
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // serde_json returns integers of more than 64 bits as floats.
        if value.fract() == 0.0 && value.abs() >= 9.2e18 {
            self.0.set(true);
        }
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Attributes::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            insert(&mut fields, name, value)?;
        }
        Ok(Value::Map(fields))
    }
}

/// The object `$node`: a map like others, but for its count.
struct KeptSeed<'c> {
    values: ValueSeed<'c>,
    count: &'c mut Option<u64>,
}

impl<'de> DeserializeSeed<'de> for KeptSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for KeptSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object in the field {NODE:?}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Attributes::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == ACCESS_COUNT {
                let count = map.next_value().map_err(|error| {
                    A::Error::custom(format!("{ACCESS_COUNT:?} is not a count: {error}"))
                })?;
                if self.count.replace(count).is_some() {
                    return Err(twice(&name));
                }
                continue;
            }
            let value = map.next_value_seed(self.values)?;
            insert(&mut fields, name, value)?;
        }
        Ok(Value::Map(fields))
    }
}

/// Bytes as base64, as `$bytes` has them.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    to_base64(bytes)
}

/// Converts a value to JSON.
#[must_use]
pub fn to_json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Bool(value) => Json::from(*value),
        Value::Int(value) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::Text(value) => Json::from(value.as_str()),
        Value::Bytes(bytes) => object([(BYTES, Json::from(base64(bytes)))]),
        Value::List(values) => Json::Array(values.iter().map(to_json).collect()),
        Value::Map(map) if is_marked(map) => object([(MAP, Json::Object(map_to_json(map)))]),
        Value::Map(map) => Json::Object(map_to_json(map)),
        Value::Null => Json::Null,
    }
}

/// Converts attributes to a JSON object, in the order of their names.
#[must_use]
pub fn map_to_json(map: &Attributes) -> serde_json::Map<String, serde_json::Value> {
    map.iter().map(|(name, value)| (name.clone(), to_json(value))).collect()
}

/// Makes a JSON object of these fields.
#[must_use]
pub fn object<const N: usize>(fields: [(&str, serde_json::Value); N]) -> serde_json::Value {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
