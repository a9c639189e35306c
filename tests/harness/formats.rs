//! The parsers of bytes.

use ingrain::format::{
    FileKind,
    heap::{NodeMeta, NodeParts, decode_attributes, encode_attributes},
    manifest::Manifest,
    segment::{BLOCK_BYTES, Layout, Section, digest},
    vectors::{IndexHead, dead_bits, dead_rows},
    wal::{decode_batch, encode_batch},
};

use super::{memory::bounded, seal};

/// Most memory of what a payload says, as a multiple of its bytes: a list of
/// maps of one entry, three bytes each, takes a node of a tree for each.
const VALUES: usize = 400;

/// A batch that decodes is what encoding it gives.
pub fn wal_payload(data: &[u8]) {
    let Ok(batch) = bounded(data, VALUES, || decode_batch(data)) else { return };
    // What passes a limit was never written.
    if let Ok(again) = encode_batch(batch.time, &batch.ops) {
        assert_eq!(again, data);
    }
}

/// A record that decodes, with attributes that do, is what encoding it gives.
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

/// The first byte says whether the checksums are made right. A manifest that
/// decodes is what encoding it gives.
pub fn manifest(data: &[u8]) {
    let Some((how, file)) = data.split_first() else { return };
    let mut file = file.to_vec();
    if how & 1 == 1 {
        seal::manifest(&mut file);
    }
    let Ok(manifest) = bounded(&file, VALUES, || Manifest::decode(&file)) else { return };
    assert_eq!(manifest.encode().unwrap(), file);
    assert!(manifest.files().all(|(_, data)| data.number < manifest.next_file));
}

const KINDS: [FileKind; 7] = [
    FileKind::Nodes,
    FileKind::Out,
    FileKind::In,
    FileKind::Keys,
    FileKind::Heap,
    FileKind::Vectors,
    FileKind::VectorIndex,
];

/// The first byte says what kind of file it is, and whether the rest is a file
/// as it stands, one whose checksums are made right, or sections from which one
/// is made. A first block that decodes is what encoding it gives; blocks that
/// pass are those that were sealed.
pub fn segment(data: &[u8]) {
    let Some((how, rest)) = data.split_first() else { return };
    let kind = KINDS[usize::from(how % 7)];
    let mut file = rest.to_vec();
    if how / 7 % 2 == 1 {
        seal::data(&mut file);
    }
    let len = file.len() as u64;
    let Ok(layout) = bounded(&file, 1, || Layout::decode(kind, &file, len)) else { return };
    assert_eq!(layout.encode(), file[..BLOCK_BYTES]);
    let pages_at = layout.pages_offset() as usize;
    let checked = bounded(&file, 1, || layout.check(&file));
    let checksums: Vec<u32> =
        file[BLOCK_BYTES..pages_at].chunks(BLOCK_BYTES).map(crc32fast::hash).collect();
    let pages = layout.encode_pages(&checksums);
    // Unused entries of a page are under its checksum, and not looked at.
    if checked.is_err() {
        assert!(file[pages_at..] != pages);
    }
    let _ = digest(&file[..BLOCK_BYTES], &file[pages_at..]);
    for Section { tag, row_bytes, offset, len } in &layout.sections {
        let found = layout.section(*tag, *row_bytes as usize);
        assert!(found.is_err() || found.is_ok_and(|found| found.offset <= *offset));
        assert!(offset + len <= pages_at as u64);
    }
}

/// A head is its bytes; bits are the rows that they stand for.
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
