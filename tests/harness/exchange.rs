//! Properties of the import formats: JSON lines and `.npy` arrays.

use ingrain::exchange::{
    lines::{CONTENT_FIELDS, EdgeLine, NodeLine},
    npy::{Array, Number},
};

use super::memory::bounded;

/// The largest memory of a decoded line, as a multiple of its bytes.
const VALUES: usize = 400;

/// The first byte chooses whether the rest is a line of a node or of an edge.
/// What is decoded from it is encoded and decoded again without loss.
pub fn import_line(data: &[u8]) {
    let Some((how, line)) = data.split_first() else { return };
    if how % 2 == 0 {
        let decode = |line: &[u8]| NodeLine::decode(line, &CONTENT_FIELDS);
        let Ok(node) = bounded(line, VALUES, || decode(line)) else { return };
        let again = serde_json::to_vec(&node.encode()).unwrap();
        assert_eq!(decode(&again).unwrap(), node);
    } else {
        let Ok(edge) = bounded(line, VALUES, || EdgeLine::decode(line)) else { return };
        let again = serde_json::to_vec(&edge.encode()).unwrap();
        assert_eq!(EdgeLine::decode(&again).unwrap(), edge);
    }
}

/// An array has the length that its header says, and the rows that it counts.
/// The first byte says how much of a longer file is given.
pub fn npy(data: &[u8]) {
    let Some((more, bytes)) = data.split_first() else { return };
    let len = bytes.len() as u64 + u64::from(*more) * 8;
    let Ok(array) = bounded(bytes, 16, || Array::decode(bytes, len)) else { return };
    let row_bytes = array.row_bytes();
    assert_eq!(array.data as u64 + array.rows * row_bytes as u64, len);
    let numbers = &bytes[array.data..];
    for row in numbers.chunks(row_bytes) {
        let found = bounded(bytes, 4, || array.row(row));
        assert_eq!(found.map(|row| row.len()), (row.len() == row_bytes).then_some(array.dimension));
    }
    let header = Array::header(array.rows as usize, array.dimension);
    let size = array.rows.checked_mul(array.dimension as u64 * 4);
    if let Some(len) = size.and_then(|size| size.checked_add(header.len() as u64)) {
        let again = Array::decode(&header, len).unwrap();
        let mut expected = array;
        (expected.matrix, expected.number, expected.data) = (true, Number::F32, header.len());
        (expected.big_endian, expected.fortran) = (false, false);
        assert_eq!(again, expected);
    }
}
