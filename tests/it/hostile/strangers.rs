//! Files of another store, an earlier lifetime or another format version, and
//! heaps that cannot be read.

use std::fs;

use ingrain::{
    Batch, Engine, Error, ErrorKind, Options, Seq,
    admin::RecoveryMode,
    format::{OLDEST_VERSION, VERSION},
};

use crate::harness::{
    dirs::temp_dir,
    files::{read_image, write_image},
    nodes::{id, put},
    random::noise,
    seal,
};

use super::{VECTORS, assert_same, extension, full_store, met_where_it_is_read, options, refused};

#[test]
fn files_of_another_store_are_refused() {
    let dir = temp_dir();
    let (path, other) = (dir.path().join("s"), dir.path().join("other"));
    let before = full_store(&path);
    full_store(&other);
    let (image, strange) = (read_image(&path), read_image(&other));
    assert!(image.keys().eq(strange.keys()), "they are of one shape");
    let mut kinds = Vec::new();
    for name in image.keys().filter(|name| !name.ends_with("LOCK")) {
        let mut mixed = image.clone();
        mixed.insert(name.clone(), strange[name].clone());
        write_image(&path, &mixed);
        kinds.push(extension(name).to_owned());
        if extension(name) == "vix" {
            assert_same(&options().open(&path).unwrap(), &before);
            continue;
        }
        let error = match extension(name) {
            "heap" => met_where_it_is_read(&path, name, &before),
            _ => refused(&path, options()),
        };
        let Error::Corrupt { file, .. } = &error else { panic!("{error}") };
        assert!(error.with_causes().to_string().contains("belongs to another store"), "{error}");
        // With a strange manifest, it is the others that are strange.
        assert!(file.ends_with(name) || name.ends_with("MANIFEST"), "{error}");
    }
    kinds.dedup();
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

/// A copy of a store that went its own way has files of the same store and the
/// same names, whole in themselves. Opening does not read enough of them to
/// tell; what does not fit what refers to it is met there, and verification
/// tells all of it.
#[test]
fn files_of_a_copy_that_went_its_own_way_are_found_by_verification() {
    let dir = temp_dir();
    let (path, copy) = (dir.path().join("s"), dir.path().join("copy"));
    full_store(&path);
    write_image(&copy, &read_image(&path));
    for (path, salt) in [(&path, 1), (&copy, 2)] {
        let engine = options().open(path).unwrap();
        for n in 0..VECTORS {
            engine.write(put(n, noise(n + salt * 10_000, 300))).unwrap();
        }
        engine.compact().unwrap();
        engine.close().unwrap();
    }
    let (image, strange) = (read_image(&path), read_image(&copy));
    let mut mixed = 0;
    for name in image.keys().filter(|name| name.starts_with("data")) {
        let Some(bytes) = strange.get(name).filter(|bytes| **bytes != image[name]) else {
            continue;
        };
        let mut image = image.clone();
        image.insert(name.clone(), bytes.clone());
        write_image(&path, &image);
        mixed += 1;
        let damage = match options().open(&path) {
            Ok(engine) => engine.verify().unwrap().damage,
            Err(error) => vec![error],
        };
        let named =
            |error: &Error| matches!(error, Error::Corrupt { file, .. } if file.ends_with(name));
        // Codes in doubt may have been made again by now.
        assert!(damage.iter().any(named) || extension(name) == "vix", "{name:?}: {damage:?}");
    }
    assert!(mixed >= 5, "{mixed}");
}

/// Where the log cannot be applied since a heap cannot be read, the heap is
/// named, and a salvaging opening gives up nothing of the log.
#[test]
fn an_unreadable_heap_is_named_when_the_log_cannot_be_applied_for_it() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    engine.write(put(1, noise(1, 300))).unwrap();
    engine.checkpoint().unwrap();
    let mut batch = Batch::new();
    batch.touch(id(1));
    engine.write(batch).unwrap();
    engine.write(put(2, noise(2, 300))).unwrap();
    drop(engine);
    let whole = read_image(&path);
    let heap = whole.keys().find(|name| extension(name) == "heap").unwrap().clone();
    for (at, kind) in
        [(8, ErrorKind::Unsupported), (16, ErrorKind::Corrupt), (4_096, ErrorKind::Corrupt)]
    {
        let mut image = whole.clone();
        let bytes = image.get_mut(&heap).unwrap();
        bytes[at] ^= 0x80;
        seal::first_block(bytes);
        write_image(&path, &image);
        for mode in [RecoveryMode::Strict, RecoveryMode::Salvage] {
            let error = refused(&path, Options::new().recovery(mode));
            assert_eq!(error.kind(), kind, "{mode:?}: {error}");
            assert!(
                error.with_causes().to_string().contains(path.join(&heap).to_str().unwrap()),
                "{error}"
            );
        }
    }
    write_image(&path, &whole);
    assert_eq!(Engine::open(&path).unwrap().snapshot().seq(), Seq::new(3));
}

/// A crash may leave files of the base before. They go only if the heaps of this
/// one can be read.
#[test]
fn an_earlier_base_stays_beside_a_heap_that_cannot_be_read() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    engine.write(put(1, noise(1, 300))).unwrap();
    engine.checkpoint().unwrap();
    drop(engine);
    let mut image = read_image(&path);
    let heap = image.keys().find(|name| extension(name) == "heap").unwrap().clone();
    image.get_mut(&heap).unwrap()[16] ^= 1;
    write_image(&path, &image);
    drop(Engine::open(&path).unwrap());
    let orphan = path.join("data/0000009999.nodes");
    fs::write(&orphan, "of the base before").unwrap();
    let error = refused(&path, Options::new());
    assert!(
        error.with_causes().to_string().contains(path.join(&heap).to_str().unwrap()),
        "{error}"
    );
    image.get_mut(&heap).unwrap()[16] ^= 1;
    fs::write(path.join(&heap), &image[&heap]).unwrap();
    drop(Engine::open(&path).unwrap());
    assert!(!orphan.exists());
}

#[test]
fn a_store_of_a_future_version_is_refused_by_number_and_left_alone() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let before = full_store(&path);
    let image = read_image(&path);
    let mut kinds = Vec::new();
    for name in image.keys().filter(|name| !name.ends_with("LOCK")) {
        for version in [VERSION + 1, u32::MAX, OLDEST_VERSION - 1, 0] {
            let mut other = image.clone();
            let bytes = other.get_mut(name).unwrap();
            bytes[8..12].copy_from_slice(&version.to_le_bytes());
            assert!(seal::header(bytes));
            write_image(&path, &other);
            kinds.push(extension(name).to_owned());
            // What is derived is made anew by who can read the rest.
            if extension(name) == "vix" {
                assert_same(&options().open(&path).unwrap(), &before);
                continue;
            }
            let error = match extension(name) {
                "heap" => met_where_it_is_read(&path, name, &before),
                _ => refused(&path, options()),
            };
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            let text = error.to_string();
            assert!(text.contains(path.join(name).to_str().unwrap()), "{text}");
            let both =
                format!("format version {version}; this crate reads {OLDEST_VERSION} to {VERSION}");
            assert!(text.contains(&both), "{text}");
            if extension(name) == "heap" {
                continue;
            }
            let salvage = RecoveryMode::Salvage;
            let error = refused(&path, options().recovery(salvage));
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        }
    }
    kinds.dedup();
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}
