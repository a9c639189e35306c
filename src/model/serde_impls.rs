//! The forms of ids, times, values and patches with feature `serde`. Those of
//! the other types are derived.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap as _,
};

use crate::model::{
    id::NodeId,
    limits,
    node::{Expiry, Patch},
    serde_with::{
        BYTES, Components, Content, Finite, Key, finite, from_base64, insert, serialize_bytes,
        unique,
    },
    time::Timestamp,
    value::{Attributes, Value},
};

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            to.serialize_bytes(self.as_ref())
        }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            from.deserialize_str(IdVisitor)
        } else {
            from.deserialize_bytes(IdVisitor)
        }
    }
}

struct IdVisitor;

impl<'de> Visitor<'de> for IdVisitor {
    type Value = NodeId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node id: 32 hexadecimal digits, a UUID with hyphens, or 16 bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<NodeId, E> {
        NodeId::parse(text).map_err(E::custom)
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<NodeId, E> {
        NodeId::try_from(bytes).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<NodeId, A::Error> {
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
        }
        Ok(NodeId::from_bytes(bytes))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            to.serialize_i64(self.as_micros())
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            from.deserialize_str(TimeVisitor)
        } else {
            i64::deserialize(from).map(Self::from_micros)
        }
    }
}

struct TimeVisitor;

impl Visitor<'_> for TimeVisitor {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a date and time of RFC 3339")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
        Timestamp::parse(text).map_err(E::custom)
    }
}

/// How [`Expiry`] is written where nothing tells null from a missing value.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExpiryRepr {
    Keep,
    Never,
    At(Timestamp),
}

const KEEP: &str = "keep";

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return match self {
                Self::Keep => to.serialize_some(KEEP),
                Self::Never => to.serialize_none(),
                Self::At(time) => to.serialize_some(time),
            };
        }
        let repr = match *self {
            Self::Keep => ExpiryRepr::Keep,
            Self::Never => ExpiryRepr::Never,
            Self::At(time) => ExpiryRepr::At(time),
        };
        repr.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return from.deserialize_option(ExpiryVisitor);
        }
        Ok(match ExpiryRepr::deserialize(from)? {
            ExpiryRepr::Keep => Self::Keep,
            ExpiryRepr::Never => Self::Never,
            ExpiryRepr::At(time) => Self::At(time),
        })
    }
}

struct ExpiryVisitor;

impl<'de> Visitor<'de> for ExpiryVisitor {
    type Value = Expiry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a date and time of RFC 3339, \"{KEEP}\" or null")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Expiry, E> {
        Ok(Expiry::Never)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Expiry, E> {
        Ok(Expiry::Never)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Expiry, D::Error> {
        from.deserialize_str(self)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Expiry, E> {
        if text == KEEP { Ok(Expiry::Keep) } else { TimeVisitor.visit_str(text).map(Expiry::At) }
    }
}

/// The name that marks a map that could be taken for a mark.
pub(crate) const MAP: &str = "$map";

/// Whether a map has the form of one of the marks.
pub(crate) fn is_marked(map: &Attributes) -> bool {
    map.len() == 1 && (map.contains_key(BYTES) || map.contains_key(MAP))
}

/// A value that was read, with the marks in it replaced by what they mean. From
/// the outside to the inside: what is in a `$map` is not a mark.
pub(crate) fn resolve(value: Value) -> Result<Value, String> {
    let values = |map: Attributes| -> Result<Attributes, String> {
        map.into_iter().map(|(name, value)| Ok((name, resolve(value)?))).collect()
    };
    match value {
        Value::List(list) => {
            list.into_iter().map(resolve).collect::<Result<_, _>>().map(Value::List)
        }
        Value::Map(mut map) if is_marked(&map) => match map.pop_first() {
            Some((name, Value::Text(text))) if name == BYTES => {
                from_base64(&text).map(Value::Bytes)
            }
            Some((name, Value::Map(inner))) if name == MAP => values(inner).map(Value::Map),
            _ => Err(format!(
                "{{\"{BYTES}\": ..}} is for base64 text and {{\"{MAP}\": ..}} for an object"
            )),
        },
        Value::Map(map) => values(map).map(Value::Map),
        value => Ok(value),
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(value) => to.serialize_i64(*value),
            Self::Float(value) => finite(value, to),
            Self::Text(value) => to.serialize_str(value),
            Self::Bytes(value) => serialize_bytes(value, to),
            Self::List(values) => to.collect_seq(values),
            Self::Map(map) if to.is_human_readable() && is_marked(map) => {
                let mut marked = to.serialize_map(Some(1))?;
                marked.serialize_entry(MAP, map)?;
                marked.end()
            }
            Self::Map(map) => to.collect_map(map),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if !from.is_human_readable() {
            return Raw { levels: limits::VALUE_DEPTH }.deserialize(from);
        }
        // Each map of a value may be in a mark, and so may bytes.
        let levels = limits::VALUE_DEPTH.saturating_mul(2).saturating_add(1);
        resolve(Raw { levels }.deserialize(from)?).map_err(D::Error::custom)
    }
}

/// A value as it is written, in which maps may be marks. It has so many levels
/// at most, so that recursion is bounded in all formats.
#[derive(Clone, Copy)]
struct Raw {
    levels: usize,
}

impl Raw {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.levels.checked_sub(1) {
            Some(levels) => Ok(Self { levels }),
            None => Err(E::custom("the value is nested too deep")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Raw {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Raw {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a truth value, a number, text, bytes, a list or a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        self.deserialize(from)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        Value::try_from(value).map_err(E::custom)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(value.to_owned()))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut entries = Attributes::new();
        while let Some(name) = map.next_key()? {
            insert(&mut entries, name, map.next_value_seed(inner)?)?;
        }
        Ok(Value::Map(entries))
    }
}

/// What a patch is as it is written. To set an attribute to null and to remove
/// it are different things, so what is removed is in lists.
#[derive(Serialize)]
struct PatchOut<'a> {
    kind: Option<&'a str>,
    content: Option<Content<'a>>,
    attributes: BTreeMap<&'a str, &'a Value>,
    remove_attributes: Vec<&'a str>,
    strength: Option<Finite<f32>>,
    confidence: Option<Finite<f32>>,
    keys: BTreeMap<&'a str, Vec<Key<'a>>>,
    vectors: BTreeMap<&'a str, Components<'a>>,
    remove_vectors: Vec<&'a str>,
}

impl Serialize for Patch {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        fn removed<V>(entries: &BTreeMap<String, Option<V>>) -> Vec<&str> {
            entries.iter().filter(|(_, v)| v.is_none()).map(|(name, _)| name.as_str()).collect()
        }
        let keys =
            |keys: &'_ Vec<Vec<u8>>| keys.iter().map(|key| Key(key.clone().into())).collect();
        let set = self.attributes.iter();
        let vectors = self.vectors.iter();
        let patch = PatchOut {
            kind: self.kind.as_deref(),
            content: self.content.as_deref().map(|content| Content(content.into())),
            attributes: set.filter_map(|(name, v)| Some((name.as_str(), v.as_ref()?))).collect(),
            remove_attributes: removed(&self.attributes),
            strength: self.strength.map(Finite),
            confidence: self.confidence.map(Finite),
            keys: self.keys.iter().map(|(index, all)| (index.as_str(), keys(all))).collect(),
            vectors: vectors
                .filter_map(|(space, v)| Some((space.as_str(), Components(v.as_ref()?))))
                .collect(),
            remove_vectors: removed(&self.vectors),
        };
        patch.serialize(to)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename = "Patch", default, deny_unknown_fields)]
struct PatchIn {
    kind: Option<String>,
    content: Option<Content<'static>>,
    #[serde(deserialize_with = "unique")]
    attributes: BTreeMap<String, Value>,
    remove_attributes: Vec<String>,
    strength: Option<f32>,
    confidence: Option<f32>,
    #[serde(deserialize_with = "unique")]
    keys: BTreeMap<String, Vec<Key<'static>>>,
    #[serde(deserialize_with = "unique")]
    vectors: BTreeMap<String, Vec<f32>>,
    remove_vectors: Vec<String>,
}

impl<'de> Deserialize<'de> for Patch {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        fn join<V, E: serde::de::Error>(
            set: BTreeMap<String, V>,
            removed: Vec<String>,
        ) -> Result<BTreeMap<String, Option<V>>, E> {
            let mut all: BTreeMap<_, _> =
                set.into_iter().map(|(name, value)| (name, Some(value))).collect();
            removed.into_iter().try_for_each(|name| insert(&mut all, name, None))?;
            Ok(all)
        }
        let read = PatchIn::deserialize(from)?;
        let mut patch = Self::new();
        patch.kind = read.kind;
        patch.content = read.content.map(|content| content.0.into_owned());
        patch.attributes = join(read.attributes, read.remove_attributes)?;
        (patch.strength, patch.confidence) = (read.strength, read.confidence);
        let bytes = |keys: Vec<Key<'_>>| keys.into_iter().map(|key| key.0.into_owned()).collect();
        patch.keys = read.keys.into_iter().map(|(index, keys)| (index, bytes(keys))).collect();
        patch.vectors = join(read.vectors, read.remove_vectors)?;
        Ok(patch)
    }
}
