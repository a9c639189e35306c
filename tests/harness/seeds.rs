//! The inputs that fuzzing begins with: made of the golden files and of a
//! richer store.

use ingrain::format::{FileKind, Header, wal::Frames};

use super::store::{Image, golden, rich};

/// An input: target, name, bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// Numbers for targets that make operations of their bytes.
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

/// All of them.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    of_store("golden", golden(), &mut seeds);
    of_store("rich", rich(), &mut seeds);
    const KINDS: [&str; 7] = ["nodes", "out", "in", "keys", "heap", "vec", "vix"];
    for (path, bytes) in golden() {
        let suffix = path.rsplit('.').next().unwrap();
        let Some(kind) = KINDS.iter().position(|kind| *kind == suffix) else { continue };
        let name = format!("golden-{suffix}");
        seeds.push(("segment", name.clone(), [&[7 + kind as u8], bytes.as_slice()].concat()));
        let page = bytes[4096..].to_vec();
        match suffix {
            "heap" => {
                // Records are found by the rows of the nodes.
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
    seeds.push(("keys", "cursor".to_owned(), [&[1], &[7; 20][..]].concat()));
    let text = b"\x0230313233-3435-3637-3839-616263646566";
    seeds.push(("keys", "id".to_owned(), text.to_vec()));
    seeds.push(("keys", "order".to_owned(), [&[3], noise(1, 60).as_slice()].concat()));
    for n in 0..6 {
        seeds.push(("ops", format!("noise-{n}"), noise(n, 300 * (n as usize + 1))));
        seeds.push(("store", format!("noise-{n}"), noise(n + 99, 8 << n)));
    }
    seeds
}
