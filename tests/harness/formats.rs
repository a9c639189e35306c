//! Properties of the parsers.

use ingrain::format::{
    FileKind, Header,
    contents::Contents,
    heap::{NodeMeta, NodeParts, decode_attributes, encode_attributes},
    manifest::Manifest,
    segment::{BLOCK_BYTES, File, encode},
    tables::{COMPONENTS, KINDS, MEMBERS, NodeRow, OFFSETS, REFS, ROW_KINDS, ROWS},
    vectors::{CODEBOOK, CODES, GRAPH, HEAD, IndexHead, dead_bits, dead_rows},
    wal::{decode_batch, encode_batch},
};

use super::{memory::bounded, seal};

/// The largest memory of a decoded payload, as a multiple of its bytes. The
/// worst case is a list of maps with one entry, three bytes each, where each
/// takes a tree node.
const VALUES: usize = 400;

/// A batch that decodes encodes to the same bytes.
pub fn wal_payload(data: &[u8]) {
    let Ok(batch) = bounded(data, VALUES, || decode_batch(data)) else { return };
    // A batch beyond a limit is not encoded, and was never written.
    if let Ok(again) = encode_batch(batch.time, &batch.ops) {
        assert_eq!(again, data);
    }
}

/// A record that decodes, with its attributes, encodes to the same bytes.
pub fn heap_record(data: &[u8]) {
    let Ok(meta) = bounded(data, 1, || NodeMeta::decode(data)) else { return };
    let keys: Vec<_> = meta.keys().collect::<Result<_, _>>().unwrap();
    let vectors: Vec<_> = meta.vectors().collect::<Result<_, _>>().unwrap();
    let Ok(attributes) = bounded(data, VALUES, || meta.attributes()) else { return };
    let parts = NodeParts {
        keys: &keys,
        vectors: &vectors,
        attributes: &attributes,
        content: meta.content,
    };
    let mut again = Vec::new();
    meta.encode(&parts, &mut again);
    assert_eq!(again, data);
    assert!(decode_attributes(&encode_attributes(&attributes)).is_ok());
}

/// The first byte says whether the checksums are corrected. A manifest that
/// decodes encodes to the same bytes.
pub fn manifest(data: &[u8]) {
    let Some((how, file)) = data.split_first() else { return };
    let mut file = file.to_vec();
    if how & 1 == 1 {
        seal::manifest(&mut file);
    }
    let Ok(manifest) = bounded(&file, VALUES, || Manifest::decode(&file)) else { return };
    // One of an older version encodes to the current one.
    let mut current = file.clone();
    current[8..12].copy_from_slice(&ingrain::format::VERSION.to_le_bytes());
    if current == file {
        assert_eq!(manifest.encode().unwrap(), file);
    }
    assert!(manifest.files().all(|(_, data)| data.number < manifest.next_file));
}

/// Makes a file of the rest of the bytes: for each section its length in two
/// bytes, and then as many bytes.
fn built(kind: FileKind, data: &[u8]) -> Option<Vec<u8>> {
    let (how, mut rest) = data.split_first()?;
    let numbers = 4 * (1 + usize::from(how % 8));
    let sections: &[(u32, usize)] = match kind {
        FileKind::Nodes => &[(ROWS, 32), (KINDS, 8), (MEMBERS, 4), (REFS, 16)],
        FileKind::Out => &[(ROWS, 88), (REFS, 16)],
        FileKind::In => &[(ROWS, 88)],
        FileKind::Keys => &[(ROWS, 1), (OFFSETS, 4)],
        FileKind::Vectors => &[(COMPONENTS, numbers), (ROWS, 32), (ROW_KINDS, 4)],
        FileKind::VectorIndex if how % 4 > 0 => &[(HEAD, 96), (CODEBOOK, 4), (CODES, 1)],
        FileKind::VectorIndex => &[(HEAD, 96), (GRAPH, 1)],
        _ => &[(ROWS, 1)],
    };
    let mut parts = Vec::new();
    for (tag, row) in sections {
        let (len, after) = rest.split_first_chunk::<2>().unwrap_or((&[0; 2], &[]));
        let len = usize::from(u16::from_le_bytes(*len)).min(after.len()) / row * row;
        let (part, after) = after.split_at(len);
        parts.push((*tag, *row, part));
        rest = after;
    }
    let header = Header::new(kind, [1; 16], 2, 3);
    Some(encode(header, &parts).unwrap())
}

/// The first byte says whether the rest is a file as given, a file whose
/// checksums are corrected, or sections from which a file is made. If block 0
/// and the contents decode, they encode to the same bytes. Exactly those blocks
/// pass their checksums that are unchanged since sealing.
fn segment(kind: FileKind, data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let mut bytes = rest.to_vec();
    match how % 3 {
        0 => {}
        1 => drop(seal::data(&mut bytes)),
        _ => match built(kind, rest) {
            Some(file) => bytes = file,
            None => return,
        },
    }
    let Ok(file) = bounded(&bytes, 1, || File::decode(kind, &bytes)) else { return };
    let layout = file.layout();
    assert_eq!(layout.encode(), bytes[..BLOCK_BYTES]);
    let pages_at = layout.pages_offset() as usize;
    let whole = bounded(&bytes, 1, || file.damage().next().is_none());
    assert!(whole || how % 3 == 0);
    let digest = file.digest();
    if seal::data(&mut bytes.clone()) == Some(digest) {
        assert!(whole);
    }
    assert!(file.is_good(0..0) && (!whole || file.is_good(BLOCK_BYTES as u64..pages_at as u64)));
    let Ok(contents) = bounded(&bytes, 1, || Contents::decode(&file)) else { return };
    let again = contents.encode(layout.header).unwrap();
    if how % 3 == 2 {
        assert!(again == bytes);
    }
    let second = File::decode(kind, &again).unwrap();
    assert!(second.damage().next().is_none());
    // Compared by bytes, because NaN is not equal to itself.
    let second = Contents::decode(&second).unwrap();
    assert!(second.encode(layout.header).unwrap() == again);
    let sound = bounded(&bytes, 4, || contents.check()).is_ok();
    assert_eq!(second.check().is_ok(), sound);
    rows(&contents, sound);
}

/// All rows of a file can be read without a panic, whether or not the file is
/// sound.
fn rows(contents: &Contents<'_>, sound: bool) {
    match contents {
        Contents::Nodes(nodes) => {
            for row in nodes.rows {
                let (place, kind) = (row.place(), row.kind.get());
                let again = NodeRow::new(row.id(), kind, place, row.external());
                assert_eq!(again, *row);
                assert!(place.offset() % 8 == 0 && place.size() >= u64::from(place.len));
            }
        }
        Contents::Edges(edges) => {
            for row in edges.rows {
                let key = row.key();
                assert_eq!(key.reversed().reversed(), key);
                assert_eq!(row.with_attributes(row.attributes()), *row);
            }
        }
        Contents::Keys(keys) => {
            assert!(keys.get(keys.offsets.len()).is_err());
            // Formatting errors takes time, so only some invalid entries are read.
            let rows = if sound { keys.offsets.len() } else { keys.offsets.len().min(64) };
            let mut again = Vec::new();
            for entry in (0..rows).map(|row| keys.get(row)) {
                match entry {
                    Ok(entry) => entry.encode(&mut again),
                    Err(_) => assert!(!sound),
                }
            }
            assert!(!sound || again == keys.entries);
        }
        Contents::Vectors(vectors) => {
            for row in 0..vectors.rows.len() {
                assert_eq!(vectors.get(row).unwrap().len(), vectors.dimension);
            }
            assert!(vectors.get(vectors.rows.len()).is_none());
        }
        Contents::Index(index) => drop(index.head.code_lens()),
        Contents::Heap(_) => {}
    }
}

macro_rules! segments {
    ($($name:ident: $kind:ident;)*) => {$(
        /// A file of this kind.
        pub fn $name(data: &[u8]) {
            segment(FileKind::$kind, data);
        }
    )*};
}
segments! {
    segment_nodes: Nodes;
    segment_out: Out;
    segment_in: In;
    segment_keys: Keys;
    segment_heap: Heap;
    segment_vec: Vectors;
    segment_vix: VectorIndex;
}

/// An index head has the same bytes after decoding and encoding, and so have
/// the bits of dead rows.
pub fn index_head(data: &[u8]) {
    let (head, bits) = data.split_at(data.len().min(size_of::<IndexHead>()));
    if let Ok(head) = bytemuck::try_from_bytes::<IndexHead>(head) {
        assert_eq!(bytemuck::bytes_of(head), &data[..size_of::<IndexHead>()]);
        assert!(head.same_rows(head));
    }
    let again = bounded(bits, 8, || dead_bits(dead_rows(bits), bits.len() * 8));
    match bits.iter().all(|byte| *byte == 0) {
        true => assert!(again.is_empty()),
        false => assert_eq!(again, bits),
    }
}
