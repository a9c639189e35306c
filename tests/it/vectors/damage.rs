//! Vector files and vector index files that are damaged, missing or of another
//! store.

use std::{fs, path::Path};

use ingrain::{
    ErrorKind, Metric, Node, Options, Space,
    format::{
        FileKind,
        manifest::{Manifest, VectorFile},
        segment::Layout,
    },
    search::{Filter, Search},
};

use crate::harness::{
    dirs::temp_dir,
    files::{Sections, data_kind, overwrite, read_file, read_image, write_file, write_image},
    nodes::{id, put_all},
    random::Random,
};

use super::model::{EFFORTS, found};
use super::stored::{Stored, indexed, small};

/// Right checksums over a number that is none: no metric, effort, limit or order
/// of rows hides it.
#[test]
fn a_vector_that_has_no_distance_is_told_as_damage() {
    let mark = 7.25_f32;
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let dir = temp_dir();
        let (sound, path) = (dir.path().join("sound"), dir.path().join("s"));
        let options = || Options::new().inline(true).space("v", Space::new(2, metric));
        let engine = options().open(&sound).unwrap();
        engine
            .write(put_all((0..9).map(|n| {
                let x = if n == 4 { mark } else { n as f32 };
                Node::new(id(n), "node").vector("v", [x, 1.0])
            })))
            .unwrap();
        engine.checkpoint().unwrap();
        engine.close().unwrap();
        for none in [f32::NAN, -f32::NAN] {
            let mut image = read_image(&sound);
            let mut manifest = Manifest::decode(&image[Path::new("MANIFEST")]).unwrap();
            let name = image.keys().find(|name| data_kind(name) == Some(FileKind::Vectors));
            let name = name.unwrap().clone();
            let bytes = &image[&name];
            let layout = Layout::decode(FileKind::Vectors, bytes, bytes.len() as u64).unwrap();
            let mut sections = read_file(&layout, bytes);
            let mut changed = 0;
            for (_, _, rows) in &mut sections {
                for number in rows.chunks_exact_mut(4).filter(|at| **at == mark.to_le_bytes()) {
                    number.copy_from_slice(&none.to_le_bytes());
                    changed += 1;
                }
            }
            assert_eq!(changed, 1);
            let (bytes, file) = write_file(&layout, &sections);
            manifest.vectors[0].file = file;
            image.insert(name, bytes);
            image.insert("MANIFEST".into(), manifest.encode().unwrap());
            let _ = fs::remove_dir_all(&path);
            write_image(&path, &image);
            let engine = options().open(&path).unwrap();
            let snapshot = engine.snapshot();
            for effort in EFFORTS {
                for within in [None, Some(0.0), Some(1e9)] {
                    for k in [1, 20] {
                        let mut search = Search::new("v", &[0.0, 1.0], k).effort(effort);
                        if let Some(within) = within {
                            search = search.within(within);
                        }
                        let error = snapshot.search(&search).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{metric:?} {search:?}");
                    }
                }
            }
            assert!(!engine.verify().unwrap().is_sound());
        }
    }
}

#[test]
fn every_flip_of_a_derived_file_is_noticed_and_harms_no_search() {
    let stored = small();
    let dir = temp_dir();
    let path = dir.path().join("s");
    stored.write(&path);
    let mut tried = 0;
    for name in stored.derived() {
        let whole = &stored.image[&name];
        for at in 0..whole.len() {
            // Zeros that fill up are all alike.
            if whole[at] == 0 && !at.is_multiple_of(509) {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            overwrite(path.join(&name), &bytes);
            let what = format!("{} byte {at}", name.display());
            let engine = indexed().open(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
            stored.check(&engine, &what);
            // The codes are not looked at while the graph serves.
            let noticed =
                !Stored::damage(&engine).is_empty() || !engine.verify().unwrap().is_sound();
            assert!(noticed, "{what}");
            tried += 1;
        }
        for len in (0..whole.len()).step_by(1_021) {
            overwrite(path.join(&name), &whole[..len]);
            let engine = indexed().open(&path).unwrap();
            stored.check(&engine, "cut");
            assert!(!Stored::damage(&engine).is_empty());
        }
        overwrite(path.join(&name), whole);
    }
    assert!(tried > 500, "{tried}");
    println!("{tried} flips");
    stored.sound(&indexed().open(&path).unwrap(), "restored");
}

#[test]
fn damage_of_derived_files_is_told_and_made_good() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let stored = small();
    // The same files of another store, and of another life of this one: the
    // store and the numbers are the same, the vectors are not.
    let stranger = Stored::new(300, 2, 0x2d00, 1);
    let older = Stored::new(300, 2, 0x1d, 2);
    assert_eq!(stored.manifest.store, older.manifest.store);
    assert_ne!(stored.manifest.store, stranger.manifest.store);
    for by_itself in [false, true] {
        for (at, name) in stored.derived().into_iter().enumerate() {
            let with = |bytes: Option<&[u8]>, words: &str| {
                stored.write(&path);
                match bytes {
                    Some(bytes) => overwrite(path.join(&name), bytes),
                    None => fs::remove_file(path.join(&name)).unwrap(),
                }
                stored.damaged(&path, words, by_itself);
            };
            with(None, "missing");
            with(Some(&[]), name.to_str().unwrap());
            let whole = &stored.image[&name];
            with(Some(&whole[..whole.len() - 1]), name.to_str().unwrap());
            with(Some(&[whole.as_slice(), &[0]].concat()), name.to_str().unwrap());
            with(Some(&stranger.image[&stranger.derived()[at]]), "another store");
            with(Some(&older.image[&name]), "not the one that the manifest names");
            let named = |file: &mut VectorFile, of: &VectorFile| match at {
                0 => file.codes = of.codes,
                _ => file.graph = of.graph,
            };
            // Even if the manifest names it.
            let mut forged = Manifest::clone(&stored.manifest);
            named(&mut forged.vectors[0], &older.manifest.vectors[0]);
            let mut image = stored.image.clone();
            image.insert(name.clone(), older.image[&name].clone());
            image.insert("MANIFEST".into(), forged.encode().unwrap());
            write_image(&path, &image);
            stored.damaged(&path, "derived from other vectors", by_itself);
        }
    }
    if cfg!(feature = "hnsw") {
        for by_itself in [false, true] {
            let mut swapped = small();
            let file = &mut swapped.manifest.vectors[0];
            (file.codes, file.graph) = (file.graph, file.codes);
            swapped.write(&path);
            stored.damaged(&path, "codes in the place of a graph", by_itself);
            swapped.write(&path);
            stored.damaged(&path, "codes of an unknown shape", by_itself);
        }
    }
}

/// Right checksums over wrong bytes: of no use, maybe, and no harm.
#[test]
fn derived_files_of_any_bytes_whatever_crash_nothing() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let stored = Stored::new(900, 6, 0x1d, 5);
    stored.write(&path);
    let mut random = Random(77);
    let mut refused = 0;
    let rounds = if std::env::var_os("INGRAIN_TORTURE").is_some() { 20_000 } else { 1_000 };
    for round in 0..rounds {
        let derived = stored.derived();
        let which = (round % derived.len() as u64) as usize;
        let name = &derived[which];
        let mut manifest = stored.manifest.clone();
        let mut bytes = stored.image[name].clone();
        let damage = |bytes: &mut [u8], random: &mut Random| {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                let len = [1, 1, 4, 64, 4_096][random.below(5) as usize].min(bytes.len() - at);
                for byte in &mut bytes[at..at + len] {
                    *byte = match random.below(4) {
                        0 => 0,
                        1 => 0xff,
                        _ => random.below(256) as u8,
                    };
                }
            }
        };
        if round % 5 == 0 {
            damage(&mut bytes, &mut random);
        } else {
            let layout = Layout::decode(FileKind::VectorIndex, &bytes, bytes.len() as u64).unwrap();
            let mut sections: Sections = read_file(&layout, &bytes);
            let section = random.below(sections.len() as u64) as usize;
            damage(&mut sections[section].2, &mut random);
            let file;
            (bytes, file) = write_file(&layout, &sections);
            match which {
                0 => manifest.vectors[0].codes = Some(file),
                _ => manifest.vectors[0].graph = Some(file),
            }
        }
        overwrite(path.join(name), &bytes);
        overwrite(path.join("MANIFEST"), manifest.encode().unwrap());
        let engine = indexed().open(&path).unwrap();
        let snapshot = engine.snapshot();
        let what = format!("round {round}");
        for (query, exact) in stored.queries.iter().zip(&stored.exact) {
            for wanted in [None, Some(10)] {
                let filter = match wanted {
                    None => Filter::new(),
                    Some(n) => Filter::new().test(move |node| node.id().as_bytes()[0] % n == 0),
                };
                let hits = snapshot.nearest("v", query, 5, &filter).unwrap();
                stored.check_distances(&found(&hits), exact, &what);
            }
        }
        refused += usize::from(!Stored::damage(&engine).is_empty());
        drop((snapshot, engine));
        for name in derived {
            overwrite(path.join(&name), &stored.image[&name]);
        }
    }
    assert!(refused > 300, "{refused}");
    println!("{refused} of {rounds} refused");
}

/// The vectors themselves have nothing that is in their place.
#[test]
fn damage_of_vectors_is_an_error_and_never_an_answer() {
    let stored = small();
    let name = stored.named(|file| Some(file.file));
    let whole = &stored.image[&name];
    let layout = Layout::decode(FileKind::Vectors, whole, whole.len() as u64).unwrap();
    let dir = temp_dir();
    let path = dir.path().join("s");
    stored.write(&path);
    let mut errors = 0;
    for section in &layout.sections {
        for at in (section.offset..section.offset + section.len).step_by(97) {
            let mut bytes = whole.clone();
            bytes[at as usize] ^= 0x10;
            overwrite(path.join(&name), &bytes);
            let engine = indexed().open(&path).unwrap();
            let snapshot = engine.snapshot();
            for (query, exact) in stored.queries.iter().zip(&stored.exact) {
                for effort in EFFORTS {
                    for kind in [None, Some("n")] {
                        let filter = kind.map_or(Filter::new(), |k| Filter::new().kind(k));
                        let search = Search::new("v", query, 5).effort(effort).filter(filter);
                        match snapshot.search(&search) {
                            Ok(hits) => {
                                stored.check_distances(&found(&hits), exact, "damaged vectors");
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                                errors += 1;
                            }
                        }
                    }
                }
            }
            // Nothing is derived from what is damaged.
            if let Err(error) = engine.rebuild(None) {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            }
            drop((snapshot, engine));
            stored.write(&path);
        }
    }
    assert!(errors > 500, "{errors}");
}
