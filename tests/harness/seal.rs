//! Corrects checksums of changed files, so that the changes reach the code
//! behind the checksum tests. Written from docs/format.md, without the engine's
//! code.

#[cfg(feature = "sim")]
use std::ops::Range;

const HEADER: usize = 64;
const BLOCK: usize = 4096;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[cfg(feature = "sim")]
fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The CRC-32 of bytes in parts, as files and cursors have it.
pub fn crc(parts: &[&[u8]]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.finalize().to_le_bytes()
}

/// Corrects the header of any file. Returns whether the file has one.
pub fn header(bytes: &mut [u8]) -> bool {
    if bytes.len() < HEADER {
        return false;
    }
    let sum = crc(&[&bytes[..60]]);
    put(bytes, 60, &sum);
    true
}

/// The ranges of the frames of a log file, by the lengths that they declare.
#[cfg(feature = "sim")]
pub fn frames(file: &[u8]) -> Vec<Range<usize>> {
    let mut frames = Vec::new();
    let mut at = HEADER;
    while at + 28 < file.len() {
        let end = at + (28 + u32_at(file, at + 24)).next_multiple_of(8);
        if end > file.len() || file[at..end].iter().all(|byte| *byte == 0) {
            break;
        }
        frames.push(at..end);
        at = end;
    }
    frames
}

/// Corrects a log file. With `renumbered`, its frames also get consecutive
/// sequence numbers.
#[cfg(feature = "sim")]
pub fn wal(file: &mut [u8], renumbered: bool) {
    if !header(file) {
        return;
    }
    let (store, salt) = (file[16..32].to_vec(), file[40..48].to_vec());
    let mut seq = u64::from_le_bytes(file[32..40].try_into().unwrap());
    for frame in frames(file) {
        let frame = &mut file[frame];
        if renumbered {
            put(frame, 8, &seq.to_le_bytes());
            let durable = u64::from_le_bytes(frame[16..24].try_into().unwrap());
            put(frame, 16, &durable.min(seq.saturating_sub(1)).to_le_bytes());
            seq = seq.saturating_add(1);
        }
        let sum = crc(&[&frame[28..]]);
        put(frame, 4, &sum);
        let sum = crc(&[&store, &salt, &frame[4..28]]);
        put(frame, 0, &sum);
    }
}

/// Corrects a manifest: the length of its body and its checksums.
pub fn manifest(file: &mut [u8]) {
    if !header(file) || file.len() < HEADER + 8 {
        return;
    }
    let len = u32::try_from(file.len() - HEADER - 8).unwrap();
    put(file, HEADER, &len.to_le_bytes());
    let sum = crc(&[&file[..68], &file[72..]]);
    put(file, 68, &sum);
}

/// Corrects the header of any file and the first block of a data file, but not
/// the checksums of other blocks or the digest in the manifest.
pub fn first_block(file: &mut [u8]) {
    header(file);
    if file.len() >= BLOCK {
        let sum = crc(&[&file[..BLOCK - 4]]);
        put(file, BLOCK - 4, &sum);
    }
}

/// Corrects a data file: the checksums of its blocks, its pages and its first
/// block, and its length. Bytes after the last complete block are cut off.
/// Returns the digest.
pub fn data(file: &mut Vec<u8>) -> Option<[u8; 16]> {
    file.truncate(file.len() / BLOCK * BLOCK);
    if !header(file) {
        return None;
    }
    let len = (file.len() as u64).to_le_bytes();
    put(file, 64, &len);
    let sum = crc(&[&file[..BLOCK - 4]]);
    put(file, BLOCK - 4, &sum);
    let after = file.len() / BLOCK - 1;
    let pages = after.div_ceil(1024);
    let pages_at = (1 + after - pages) * BLOCK;
    let (blocks, pages) = file.split_at_mut(pages_at);
    let (store, number, salt) =
        (blocks[16..32].to_vec(), blocks[32..40].to_vec(), blocks[40..48].to_vec());
    for (index, page) in pages.chunks_mut(BLOCK).enumerate() {
        let of_page = blocks[BLOCK..].chunks(BLOCK).skip(index * 1023).take(1023);
        for (slot, block) in of_page.enumerate() {
            put(page, slot * 4, &crc(&[block]));
        }
        let index = (index as u64).to_le_bytes();
        let sum = crc(&[&store, &number, &salt, &index, &page[..BLOCK - 4]]);
        put(page, BLOCK - 4, &sum);
    }
    let hash = blake3::Hasher::new().update(&file[..BLOCK]).update(&file[pages_at..]).finalize();
    Some(*hash.as_bytes().first_chunk().unwrap())
}
