//! The definition of an index, as the log and the manifest have it.

use crate::{
    format::{
        header::Damage,
        pack::{Packer, Unpacker},
    },
    model::index::{Field, Index, IndexPart},
};

const ATTRIBUTE: u64 = 0;
const KIND: u64 = 1;
const CREATED: u64 = 2;
const UPDATED: u64 = 3;
const ACCESSED: u64 = 4;
const ACCESS_COUNT: u64 = 5;
const EXPIRES: u64 = 6;
const STRENGTH: u64 = 7;
const CONFIDENCE: u64 = 8;

/// Encodes a definition: an array of the fields, the kinds, and whether it is
/// unique.
pub(super) fn pack(p: &mut Packer, index: &Index) {
    p.array(3);
    p.array(index.parts.len());
    for part in &index.parts {
        p.array(4);
        p.uint(match part.field {
            Field::Attribute(_) => ATTRIBUTE,
            Field::Kind => KIND,
            Field::Created => CREATED,
            Field::Updated => UPDATED,
            Field::Accessed => ACCESSED,
            Field::AccessCount => ACCESS_COUNT,
            Field::Expires => EXPIRES,
            Field::Strength => STRENGTH,
            Field::Confidence => CONFIDENCE,
        });
        let path: &[String] = match &part.field {
            Field::Attribute(path) => path,
            _ => &[],
        };
        p.array(path.len());
        path.iter().for_each(|name| p.str(name));
        p.uint(u64::from(part.descending));
        // Null may be a default.
        p.array(usize::from(part.default.is_some()));
        part.default.iter().for_each(|value| p.value(value));
    }
    p.array(index.kinds.len());
    index.kinds.iter().for_each(|kind| p.str(kind));
    p.uint(u64::from(index.unique));
}

/// Decodes a definition.
///
/// # Errors
/// [`Damage`] if it is not what [`pack`] writes.
pub(super) fn unpack(u: &mut Unpacker<'_>) -> Result<Index, Damage> {
    u.array_of(3)?;
    let parts = (0..u.array()?).map(|_| part(u)).collect::<Result<Vec<_>, Damage>>()?;
    let names = (0..u.array()?).map(|_| u.str()).collect::<Result<Vec<_>, Damage>>()?;
    if !names.is_sorted_by(|a, b| a < b) {
        return Err(u.damage("the kinds of an index are out of order"));
    }
    let index = Index::on(parts).kinds(names);
    Ok(if flag(u)? { index.unique() } else { index })
}

fn part(u: &mut Unpacker<'_>) -> Result<IndexPart, Damage> {
    u.array_of(4)?;
    let field = u.uint()?;
    let path =
        (0..u.array()?).map(|_| u.str().map(str::to_owned)).collect::<Result<Vec<_>, Damage>>()?;
    let field = match field {
        ATTRIBUTE => Field::Attribute(path),
        _ if !path.is_empty() => return Err(u.damage("a field that is no attribute has names")),
        KIND => Field::Kind,
        CREATED => Field::Created,
        UPDATED => Field::Updated,
        ACCESSED => Field::Accessed,
        ACCESS_COUNT => Field::AccessCount,
        EXPIRES => Field::Expires,
        STRENGTH => Field::Strength,
        CONFIDENCE => Field::Confidence,
        n => return Err(u.damage(format!("unknown field {n} of an index"))),
    };
    let descending = flag(u)?;
    let default = match u.array()? {
        0 => None,
        1 => Some(u.value(1)?),
        n => return Err(u.damage(format!("{n} defaults of a field"))),
    };
    Ok(IndexPart { field, descending, default })
}

fn flag(u: &mut Unpacker<'_>) -> Result<bool, Damage> {
    match u.uint()? {
        0 => Ok(false),
        1 => Ok(true),
        n => Err(u.damage(format!("{n} where 0 or 1 is expected"))),
    }
}

/// A definition as bytes.
pub(crate) fn encode(index: &Index) -> Vec<u8> {
    let mut p = Packer::with_capacity(64);
    pack(&mut p, index);
    p.finish()
}

/// The definition that these bytes are, which is valid.
///
/// # Errors
/// [`Damage`] if they are not what [`encode`] returns.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Result<Index, Damage> {
    let mut u = Unpacker::new(bytes);
    let index = unpack(&mut u)?;
    index.check(name).map_err(|error| u.damage(error.to_string()))?;
    u.finish()?;
    Ok(index)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::value::Value;

    fn any_part() -> impl Strategy<Value = IndexPart> {
        let field = prop_oneof![
            proptest::collection::vec("[a-c]{1,2}", 1..3).prop_map(Field::Attribute),
            Just(Field::Kind),
            Just(Field::Created),
            Just(Field::Updated),
            Just(Field::Accessed),
            Just(Field::AccessCount),
            Just(Field::Expires),
            Just(Field::Strength),
            Just(Field::Confidence),
        ];
        let default = prop_oneof![
            Just(None),
            Just(Some(Value::Null)),
            any::<i64>().prop_map(|n| Some(Value::Int(n))),
            "[a-c]{0,2}".prop_map(|text| Some(Value::Text(text))),
        ];
        (field, any::<bool>(), default).prop_map(|(field, descending, default)| IndexPart {
            field,
            descending,
            default,
        })
    }

    proptest! {
        /// A definition is read as it was written, and there is one encoding: whatever
        /// decodes encodes to the same bytes.
        #[test]
        fn a_definition_has_one_encoding(
            parts in proptest::collection::vec(any_part(), 1..4),
            kinds in proptest::collection::btree_set("[a-c]{1,2}", 0..3),
            unique in any::<bool>(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let index = Index { parts, kinds, unique };
            let mut bytes = encode(&index);
            prop_assert_eq!(decode("i", &bytes).unwrap(), index);
            let at = at.index(bytes.len());
            *bytes.get_mut(at).unwrap() = byte;
            if let Ok(other) = decode("i", &bytes) {
                prop_assert_eq!(encode(&other), bytes);
            }
        }
    }
}
