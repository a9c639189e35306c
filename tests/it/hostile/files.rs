//! Files that are truncated, removed or moved, some of them while an engine has
//! the store open.

use std::{fs, os::unix::process::ExitStatusExt, path::Path};

use ingrain::{Engine, Error, ErrorKind, Options, format::HEADER_BYTES};

use crate::harness::{
    dirs::temp_dir,
    files::{make_writable, read_image, write_image},
    nodes::{id, put},
    random::noise,
};

use super::child::{run, told};
use super::{VECTORS, assert_same, cause_at, extension, full_store, options, refused};

#[test]
fn a_mapped_file_that_is_cut_short_ends_the_process_and_harms_nothing_else() {
    /// SIGBUS.
    const BUS: i32 = if cfg!(target_os = "linux") { 7 } else { 10 };
    let dir = temp_dir();
    let path = dir.path().join("s");
    full_store(&path);
    let before = read_image(&path);
    let heap = before.keys().find(|name| extension(name) == "heap").unwrap();
    let output = run("cut short while mapped", &path, "ulimit -c 0");
    assert_eq!(output.status.signal(), Some(BUS), "{output:?}");
    assert_eq!(told(&output, "acknowledged"), 1);
    // All that was there is there, and what was acknowledged.
    let mut after = read_image(&path);
    assert_eq!(after[heap].len(), HEADER_BYTES);
    for (name, bytes) in &before {
        assert!(name == heap || after[name] == *bytes, "{} was changed", name.display());
    }
    let error = refused(&path, options());
    let Error::Corrupt { file, .. } = &error else { panic!("{error}") };
    assert!(
        file.ends_with(heap) && error.with_causes().to_string().contains(heap.to_str().unwrap()),
        "{error}"
    );
    after.insert(heap.clone(), before[heap].clone());
    write_image(&path, &after);
    let engine = options().open(&path).unwrap();
    assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), b"acknowledged");
    assert!(engine.verify().unwrap().is_sound());
}

pub(super) fn cut_short_while_mapped(path: &Path) {
    let engine = options().open(path).unwrap();
    engine.write(put(1, "acknowledged")).unwrap();
    println!("\nacknowledged 1");
    for entry in fs::read_dir(path.join("data")).unwrap() {
        let file = entry.unwrap().path();
        if extension(&file) == "heap" {
            make_writable(&file);
            let file = fs::OpenOptions::new().write(true).open(file).unwrap();
            file.set_len(HEADER_BYTES as u64).unwrap();
        }
    }
    let _ = engine.snapshot().get(id(VECTORS - 1)).map(|node| node.is_some());
}

#[test]
fn files_of_a_closed_store_that_are_short_or_gone_are_named() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let before = full_store(&path);
    let image = read_image(&path);
    let mut tried = 0;
    for name in image.keys().filter(|name| !name.ends_with("LOCK")) {
        let len = image[name].len();
        for cut in [None, Some(0), Some(HEADER_BYTES - 1), Some(HEADER_BYTES), Some(len - 1)] {
            let mut damaged = image.clone();
            match cut {
                Some(cut) => damaged.get_mut(name).unwrap().truncate(cut),
                None => drop(damaged.remove(name)),
            }
            // The zeros ahead of a log are no loss.
            if extension(name) == "wal" && cut == Some(len - 1) {
                continue;
            }
            write_image(&path, &damaged);
            // Codes are made of vectors, and can be again.
            if extension(name) == "vix" {
                assert_same(&options().open(&path).unwrap(), &before);
                continue;
            }
            let error = refused(&path, options());
            let Error::Corrupt { file, .. } = &error else { panic!("{error}") };
            let named = if cut.is_none() && extension(name) == "wal" {
                name.parent().unwrap()
            } else {
                name
            };
            assert!(file.ends_with(named), "{error} should name {}", named.display());
            assert!(error.with_causes().to_string().contains(file.to_str().unwrap()), "{error}");
            tried += 1;
        }
    }
    assert!(tried >= 4 * 8, "{tried}");
}

/// The store is not where it was.
#[track_caller]
fn assert_gone(error: &Error, store: &Path) {
    let Error::Io { path, .. } = error else { panic!("{error}") };
    assert!(path.starts_with(store), "{error}");
    assert!(
        error.with_causes().to_string().contains("removed, or moved away from its path"),
        "{error}"
    );
}

#[test]
fn files_that_are_removed_under_an_open_store_are_read_on() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    full_store(&path);
    let engine = options().open(&path).unwrap();
    let snapshot = engine.snapshot();
    let digest = snapshot.digest().unwrap();
    engine.write(put(1, "one")).unwrap();
    fs::remove_dir_all(&path).unwrap();
    // Every byte is where it was mapped.
    assert_eq!(snapshot.digest().unwrap(), digest);
    assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), b"one");
    // What would make a file says that it cannot, and makes nothing.
    let cause = cause_at(engine.checkpoint().unwrap_err(), "nodes");
    assert_gone(&cause, &path);
    let Error::Poisoned { cause, .. } = engine.write(put(2, "two")).unwrap_err() else { panic!() };
    assert_gone(&cause, &path);
    assert_eq!(snapshot.digest().unwrap(), digest);
    assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(!path.exists());
    // Nobody takes the place of the store for the store.
    let error = options().create(false).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoStore);
    assert!(error.to_string().contains("there is no store"), "{error}");
    assert!(!path.exists());
    // Closing tells of what was written and is gone.
    let other = dir.path().join("other");
    let engine = Engine::open(&other).unwrap();
    engine.write(put(1, "one")).unwrap();
    fs::remove_dir_all(&other).unwrap();
    assert_gone(&engine.close().unwrap_err(), &other);
    assert!(!other.exists());
}

/// The directory of an open store is renamed, and another store made in its
/// place: it is the other's, whatever the engine that is open has yet to write.
#[test]
fn a_store_that_is_moved_away_leaves_the_one_in_its_place_alone() {
    let dir = temp_dir();
    let (path, away) = (dir.path().join("s"), dir.path().join("away"));
    let before = full_store(&path);
    let engine = options().wal_file_bytes(64 << 10).open(&path).unwrap();
    engine.write(put(1, "one")).unwrap();
    fs::rename(&path, &away).unwrap();
    // One of the same names throughout, as a backup has.
    write_image(&path, &read_image(&away));
    let other = options().open(&path).unwrap();
    other.write(put(2, "two")).unwrap();
    let image = read_image(&path);
    assert_gone(&cause_at(engine.checkpoint().unwrap_err(), "nodes"), &path);
    assert_gone(&cause_at(engine.compact().unwrap_err(), "nodes"), &path);
    let mut error = None;
    for n in 0..50 {
        error = error.or(engine.write(put(n, noise(n, 10_000))).err());
    }
    assert_eq!(error.unwrap().kind(), ErrorKind::Poisoned);
    engine.close().unwrap_err();
    drop(engine);
    assert!(read_image(&path) == image);
    other.checkpoint().unwrap();
    assert!(other.verify().unwrap().is_sound());
    other.close().unwrap();
    drop(other);
    let engine = options().open(&path).unwrap();
    assert_eq!(engine.snapshot().get(id(2)).unwrap().unwrap().content(), b"two");
    // Where it was moved to, it is as it was.
    let engine = options().open(&away).unwrap();
    assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), b"one");
    assert!(engine.snapshot().seq() > before.seq());
    assert!(engine.verify().unwrap().is_sound());
}

/// What was written after the cut was acknowledged, but a hole lies before it.
#[test]
fn a_log_that_is_cut_short_under_an_open_store_is_refused_afterwards() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    for n in 0..20 {
        engine.write(put(n, noise(n, 1_000))).unwrap();
    }
    let image = read_image(&path);
    let (wal, bytes) = image.iter().find(|(name, _)| extension(name) == "wal").unwrap();
    let cut = fs::OpenOptions::new().write(true).open(path.join(wal)).unwrap();
    cut.set_len(bytes.len() as u64 / 4).unwrap();
    for n in 20..30 {
        engine.write(put(n, noise(n, 1_000))).unwrap();
    }
    let snapshot = engine.snapshot();
    for n in 0..30 {
        assert_eq!(snapshot.get(id(n)).unwrap().unwrap().content(), noise(n, 1_000));
    }
    drop((engine, snapshot));
    let error = refused(&path, Options::new());
    let Error::Corrupt { file, offset, .. } = &error else { panic!("{error}") };
    assert!(file.ends_with(wal) && (HEADER_BYTES as u64..).contains(offset), "{error}");
    assert!(*offset <= bytes.len() as u64 / 4, "{error}");
}
