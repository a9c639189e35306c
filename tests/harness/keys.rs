//! Properties of index keys: their order, and the parsers of ids and cursors.

use std::cmp::Ordering;

use arbitrary::{Result, Unstructured};
use ingrain::{Cursor, KeyBuilder, KeyRange, NodeId, format::tables::IndexEntryRef};

use super::{memory::bounded, seal::crc};

/// A component of a key.
#[derive(Debug, Clone)]
pub enum Part {
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The key of these components, each of them ascending or descending.
pub fn encode(parts: &[(Part, bool)]) -> Vec<u8> {
    let mut key = KeyBuilder::new();
    for (part, descending) in parts {
        if *descending {
            key = key.descending();
        }
        key = match part {
            Part::Int(value) => key.int(*value),
            Part::Float(value) => key.float(*value),
            Part::Text(value) => key.text(value),
            Part::Bytes(value) => key.bytes(value),
        };
    }
    key.build()
}

/// Compares the values in the order that their keys should have.
pub fn compare(a: &[(Part, bool)], b: &[(Part, bool)]) -> Ordering {
    for ((a, descending), (b, _)) in a.iter().zip(b) {
        let order = match (a, b) {
            (Part::Int(a), Part::Int(b)) => a.cmp(b),
            (Part::Float(a), Part::Float(b)) => a.partial_cmp(b).unwrap(),
            (Part::Text(a), Part::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Part::Bytes(a), Part::Bytes(b)) => a.cmp(b),
            _ => unreachable!("keys of one index have the same types"),
        };
        let order = if *descending { order.reverse() } else { order };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

fn bytes(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let len = u.int_in_range(0..=5_usize)?;
    (0..len).map(|_| u.arbitrary()).collect()
}

fn part(u: &mut Unstructured<'_>, of: u8) -> Result<Part> {
    Ok(match of {
        0 => Part::Int(u.arbitrary()?),
        1 => {
            let float: f64 = u.arbitrary()?;
            // NaN has no place in an order; it has a test of its own.
            Part::Float(if float.is_nan() { 0.0 } else { float })
        }
        2 => Part::Text(String::from_utf8_lossy(&bytes(u)?).into_owned()),
        _ => Part::Bytes(bytes(u)?),
    })
}

fn order(u: &mut Unstructured<'_>) -> Result<()> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..u.int_in_range(0..=4_u8)? {
        let (of, descending) = (u.int_in_range(0..=3_u8)?, u.arbitrary()?);
        let first = part(u, of)?;
        let second = if u.arbitrary()? { first.clone() } else { part(u, of)? };
        a.push((first, descending));
        b.push((second, descending));
    }
    if u.arbitrary()? {
        b.pop();
    }
    assert_eq!(encode(&a).cmp(&encode(&b)), compare(&a, &b), "{a:?} and {b:?}");
    let (a, b) = (encode(&a), encode(&b));
    assert_eq!(KeyRange::prefix(&b).contains(&a), a.starts_with(&b));
    Ok(())
}

/// The first byte chooses what the rest is: an entry of a key table, a cursor,
/// the text of a node id, or two keys whose bytes must have the order of their
/// values.
pub fn keys(data: &[u8]) {
    let Some((which, rest)) = data.split_first() else { return };
    match which % 4 {
        0 => {
            let Ok(place) = bounded(rest, 1, || IndexEntryRef::decode(rest)) else { return };
            let mut again = Vec::new();
            place.encode(&mut again);
            assert!(rest.starts_with(&again));
            assert!(place.compare(&place).is_eq());
        }
        1 => {
            // Without a right checksum, no cursor is looked into.
            let sealed = [rest, &crc(&[rest])].concat();
            let Ok(cursor) = bounded(rest, 1, || Cursor::from_bytes(&sealed)) else { return };
            assert_eq!(cursor.to_bytes(), sealed);
        }
        2 => {
            let Ok(text) = str::from_utf8(rest) else { return };
            let Ok(id) = bounded(rest, 4, || NodeId::parse(text)) else { return };
            assert_eq!(NodeId::parse(&id.to_string()).unwrap(), id);
            let digits = |text: &str| text.replace('-', "").to_lowercase();
            assert_eq!(digits(&id.to_string()), digits(text));
        }
        _ => {
            let _ = order(&mut Unstructured::new(rest));
        }
    }
}
