//! The initial inputs for fuzzing, made from the golden files and from a store
//! with more in it.

#[cfg(feature = "exchange")]
use ingrain::exchange::npy::Array;
use ingrain::format::{FileKind, Header, segment::File, wal::Frames};

use super::store::{Image, golden, rich};

/// An input: target, name, bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// Pseudo-random bytes for targets that make operations of their input.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

fn of_store(of: &str, image: &Image, seeds: &mut Vec<Seed>) {
    for (path, bytes) in image {
        let name = format!("{of}-{}", path.rsplit('/').next().unwrap());
        let mut with = |target, how: u8, bytes: &[u8]| {
            seeds.push((target, name.clone(), [&[how], bytes].concat()));
        };
        if path == "MANIFEST" {
            with("manifest", 1, bytes);
            continue;
        }
        if !path.ends_with(".wal") {
            continue;
        }
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 9);
        with("wal_file", 3, &bytes[..end.min(bytes.len())]);
        let frames = Frames::new(&Header::decode(FileKind::Wal, bytes).unwrap());
        let mut at = 64;
        while let Some(frame) = frames.open(bytes, at) {
            let name = format!("{of}-{}", frame.seq);
            seeds.push(("wal_payload", name, frame.payload.to_vec()));
            at += frame.size;
        }
    }
}

/// The sections of a data file, without the zeros between them.
fn sections(suffix: &str, bytes: &[u8]) -> Vec<u8> {
    let kind = FileKind::DATA.into_iter().find(|kind| kind.suffix() == suffix).unwrap();
    let file = File::decode(kind, bytes).unwrap();
    // Codes, and vectors of three components, are the second variants.
    let mut seed = vec![2, 2];
    for section in &file.layout().sections {
        let len = section.len.min(2_000);
        seed.extend((len as u16).to_le_bytes());
        let at = section.offset as usize;
        seed.extend(&bytes[at..at + len as usize]);
    }
    seed
}

#[cfg(feature = "exchange")]
fn of_exchange(seeds: &mut Vec<Seed>) {
    let lines: [(u8, &str); 8] = [
        (0, r#"{"id":"dog","gloss":"it barks","pos":"n","n":[1,-2.5e3,true,null]}"#),
        (
            0,
            r#"{"id":"30313233-3435-3637-3839-616263646566","$content_base64":"AP8=","$kind":"x"}"#,
        ),
        (
            0,
            r#"{"id":"a","$content":"text","text":"t","content":"c","$attributes":{"$content":1}}"#,
        ),
        (
            0,
            r#"{"id":"a","$node":{"strength":0.5,"confidence":1,"created":1,"updated":2,"accessed":3,"access_count":4,"expires":null,"keys":[{"index":"i","key":"00ff"}]}}"#,
        ),
        (
            0,
            r#"{"id":"a","b":{"$bytes":"AP8="},"m":{"$map":{"$bytes":"x"}},"e":"\u00e9\ud83d\ude00"}"#,
        ),
        (1, r#"{"source":"a","target":"b","kind":"is","weight":0.5,"since":2020}"#),
        (1, r#"{"source":"a","target":"b","$discriminator":18446744073709551615}"#),
        (
            1,
            r#"{"source":"a","target":"b","$edge":{"confidence":0.5,"created":1,"updated":2},"$attributes":{"weight":"w"}}"#,
        ),
    ];
    for (n, (how, line)) in lines.into_iter().enumerate() {
        let bytes = [&[how], line.as_bytes()].concat();
        seeds.push(("import_line", format!("{n}"), bytes));
    }
    let numbers = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0];
    let numbers: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let array = [&[0], Array::header(2, 3).as_slice(), &numbers].concat();
    seeds.push(("npy", "matrix".to_owned(), array));
    let text = b"\0\x93NUMPY\x02\0\x38\0\0\0{\"fortran_order\":False,'descr':'<f2','shape':(3,)}      \n123456";
    seeds.push(("npy", "row".to_owned(), text.to_vec()));
}

/// All inputs.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    of_store("golden", golden(), &mut seeds);
    of_store("rich", rich(), &mut seeds);
    const KINDS: [&str; 7] = ["nodes", "out", "in", "keys", "heap", "vec", "vix"];
    const SEGMENTS: [&str; 7] = [
        "segment_nodes",
        "segment_out",
        "segment_in",
        "segment_keys",
        "segment_heap",
        "segment_vec",
        "segment_vix",
    ];
    for (path, bytes) in golden() {
        let suffix = path.rsplit('.').next().unwrap();
        let Some(kind) = KINDS.iter().position(|kind| *kind == suffix) else { continue };
        let name = format!("golden-{suffix}");
        seeds.push((SEGMENTS[kind], name.clone(), [&[1], bytes.as_slice()].concat()));
        seeds.push((SEGMENTS[kind], "golden-sections".to_owned(), sections(suffix, bytes)));
        let page = bytes[4096..].to_vec();
        match suffix {
            "heap" => {
                // The rows of the node table say where the records are.
                let (_, rows) = golden().iter().find(|(name, _)| name.ends_with(".nodes")).unwrap();
                for (n, row) in rows[4096..8192].chunks(32).take(3).enumerate() {
                    let field = |at: usize| {
                        u32::from_le_bytes(row[at..at + 4].try_into().unwrap()) as usize
                    };
                    let (slot, len) = (field(24), field(28) & 0x7fff_ffff);
                    let record = &page[slot * 8..slot * 8 + len];
                    seeds.push(("heap_record", format!("golden-{n}"), record.to_vec()));
                }
            }
            "keys" => seeds.push(("keys", name, [&[0], &page[..64]].concat())),
            "vix" => seeds.push(("index_head", name, page[..112].to_vec())),
            _ => {}
        }
    }
    #[cfg(feature = "exchange")]
    of_exchange(&mut seeds);
    seeds.push(("keys", "cursor".to_owned(), [&[1], &[7; 20][..]].concat()));
    let text = b"\x0230313233-3435-3637-3839-616263646566";
    seeds.push(("keys", "id".to_owned(), text.to_vec()));
    seeds.push(("keys", "order".to_owned(), [&[3], noise(1, 60).as_slice()].concat()));
    for n in 0..6 {
        seeds.push(("ops", format!("noise-{n}"), noise(n, 100 << (n / 2))));
        seeds.push(("store", format!("noise-{n}"), noise(n + 99, 8 << n)));
    }
    seeds
}
