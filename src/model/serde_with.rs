//! How fields are written and read with feature `serde`, where the plain way of
//! their type would lose or blur something.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
    ser::{Error as _, SerializeMap as _},
};

/// The name that marks base64 in a format without bytes.
pub(crate) const BYTES: &str = "$bytes";

/// Bytes from base64.
pub(crate) fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("the base64 text cannot be read: {error}"))
}

/// Bytes as base64.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Writes `{"$bytes": "<base64>"}`, or bytes where the format has them.
pub(super) fn serialize_bytes<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    if !to.is_human_readable() {
        return to.serialize_bytes(bytes);
    }
    let mut map = to.serialize_map(Some(1))?;
    map.serialize_entry(BYTES, &to_base64(bytes))?;
    map.end()
}

/// Content. In human-readable formats it is text if it is UTF-8, else
/// `{"$bytes": "<base64>"}`; in others it is bytes.
pub(super) struct Content<'a>(pub(super) Cow<'a, [u8]>);

impl Serialize for Content<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(&self.0) {
            Ok(text) if to.is_human_readable() => to.serialize_str(text),
            _ => serialize_bytes(&self.0, to),
        }
    }
}

impl<'de> Deserialize<'de> for Content<'static> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = if from.is_human_readable() {
            from.deserialize_any(ContentVisitor)
        } else {
            from.deserialize_byte_buf(ContentVisitor)
        };
        Ok(Self(Cow::Owned(bytes?)))
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "text, bytes, or {{\"{BYTES}\": base64}}")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Vec<u8>, E> {
        Ok(text.into())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<u8>, A::Error> {
        match map.next_key::<String>()? {
            Some(name) if name == BYTES => {}
            _ => return Err(A::Error::custom(format!("expected the one field {BYTES:?}"))),
        }
        let bytes = from_base64(&map.next_value::<String>()?).map_err(A::Error::custom)?;
        match map.next_key::<String>()? {
            None => Ok(bytes),
            Some(name) => Err(A::Error::custom(format!("unknown field {name:?}"))),
        }
    }
}

/// The content of a node.
pub(super) mod content {
    use super::*;

    pub(in crate::model) fn serialize<S: Serializer>(
        bytes: &[u8],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        Content(bytes.into()).serialize(to)
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<u8>, D::Error> {
        Ok(Content::deserialize(from)?.0.into_owned())
    }
}

/// An index key. In human-readable formats it is hexadecimal digits, in which
/// its order can be seen; in others it is bytes.
pub(super) struct Key<'a>(pub(super) Cow<'a, [u8]>);

impl Serialize for Key<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if !to.is_human_readable() {
            return to.serialize_bytes(&self.0);
        }
        to.serialize_str(&self.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Key<'static> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let bytes = if from.is_human_readable() {
            from.deserialize_str(KeyVisitor)
        } else {
            from.deserialize_byte_buf(KeyVisitor)
        };
        Ok(Self(Cow::Owned(bytes?)))
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an index key: an even number of hexadecimal digits, or bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
        let bytes = pairs.iter().map(byte).collect::<Option<_>>().filter(|_| rest.is_empty());
        bytes.ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }
}

/// The bytes of an [`IndexKey`](crate::IndexKey).
pub(super) mod key {
    use super::*;

    pub(in crate::model) fn serialize<S: Serializer>(
        bytes: &[u8],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        Key(bytes.into()).serialize(to)
    }

    pub(in crate::model) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<u8>, D::Error> {
        Ok(Key::deserialize(from)?.0.into_owned())
    }
}

/// A number that must be finite where the format is human-readable: JSON would
/// have null for it.
pub(super) fn finite<S: Serializer, T: Serialize + Copy + Into<f64>>(
    number: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    let value: f64 = (*number).into();
    if to.is_human_readable() && !value.is_finite() {
        return Err(S::Error::custom(format!("the number {value} is not finite")));
    }
    number.serialize(to)
}

/// A number that is [`finite`], within something else.
pub(super) struct Finite<T>(pub(super) T);

impl<T: Serialize + Copy + Into<f64>> Serialize for Finite<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        finite(&self.0, to)
    }
}

/// The components of a vector, each [`finite`].
pub(super) struct Components<'a>(pub(super) &'a [f32]);

impl Serialize for Components<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(|component| Finite(*component)))
    }
}

/// Vectors by space.
pub(super) mod vectors {
    use super::*;

    pub(in crate::model) use super::unique as deserialize;

    pub(in crate::model) fn serialize<S: Serializer>(
        vectors: &BTreeMap<String, Vec<f32>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(vectors.iter().map(|(space, vector)| (space, Components(vector))))
    }
}

/// Reads a map in which no name comes twice.
pub(super) fn unique<'de, D: Deserializer<'de>, V: Deserialize<'de>>(
    from: D,
) -> Result<BTreeMap<String, V>, D::Error> {
    struct Unique<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some((name, value)) = map.next_entry()? {
                insert(&mut entries, name, value)?;
            }
            Ok(entries)
        }
    }

    from.deserialize_map(Unique(PhantomData))
}

/// Adds an entry, whose name must be new.
pub(super) fn insert<V, E: serde::de::Error>(
    entries: &mut BTreeMap<String, V>,
    name: String,
    value: V,
) -> Result<(), E> {
    if entries.contains_key(&name) {
        return Err(E::custom(format!("the name {name:?} is there twice")));
    }
    entries.insert(name, value);
    Ok(())
}

/// An option that must be there, if only as null.
pub(super) fn explicit<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(from)
}

/// The strength, confidence or weight of what leaves it out.
pub(super) fn one<T: From<u8>>() -> T {
    1.into()
}
