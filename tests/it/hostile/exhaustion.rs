//! Full disks, and a process without free file descriptors.
//!
//! Mounting a small disk needs privileges. A limit on the size of files has the
//! same effect: it fails a write in its middle, like a disk without space.

use std::{fs, io, path::Path};

use ingrain::{Engine, Error, ErrorKind, Options, Seq};

use crate::harness::{
    dirs::temp_dir,
    files::read_image,
    nodes::{id, put},
    random::noise,
};

use super::child::{assert_done, run, told};
use super::{assert_io, assert_poisoned_by_io, assert_same, cause_at, full_store, options};

/// Shells count in blocks of 512 bytes.
const FULL_KIB: u64 = 512;

fn file_limit(kib: u64) -> String {
    format!("trap '' XFSZ; ulimit -f {}", kib * 2)
}

#[test]
fn a_disk_that_takes_no_more_costs_nothing_that_was_acknowledged() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let output = run("full disk", &path, &file_limit(FULL_KIB));
    assert_done("full disk", &output);
    let acknowledged = told(&output, "acknowledged");
    assert!(acknowledged > 100);
    let engine = Engine::open(&path).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.seq().get(), acknowledged);
    for n in 1..=acknowledged {
        assert_eq!(snapshot.get(id(n)).unwrap().unwrap().content(), noise(n, 8_000));
    }
    engine.checkpoint().unwrap();
    assert!(engine.verify().unwrap().is_sound());
}

pub(super) fn full_disk(path: &Path) {
    use io::ErrorKind::FileTooLarge;
    let engine = Options::new().wal_file_bytes(64 << 10).open(path).unwrap();
    let mut n = 0;
    let mut write = || {
        let written = engine.write(put(n + 1, noise(n + 1, 8_000)));
        n += u64::from(written.is_ok());
        println!("\nacknowledged {n}");
        written
    };
    for _ in 0..150 {
        write().unwrap();
    }
    // More than a file may hold.
    let before = read_image(path);
    let cause = cause_at(engine.checkpoint().unwrap_err(), "nodes");
    assert_io(&cause, "write", &path.join("data"), FileTooLarge);
    assert!(read_image(path) == before, "what a failed checkpoint made is gone");
    for _ in 0..10 {
        write().unwrap();
    }
    let error = engine.write(put(9_999, noise(1, 1 << 20))).unwrap_err();
    assert_poisoned_by_io(&error, "write", &path.join("wal"), FileTooLarge);
    assert_eq!(write().unwrap_err().to_string(), error.to_string());
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.node_count(), 160);
    assert_eq!(snapshot.get(id(160)).unwrap().unwrap().content(), noise(160, 8_000));
    assert_eq!(engine.close().unwrap_err().to_string(), error.to_string());
}

#[test]
fn a_store_is_read_and_none_is_made_where_nothing_may_be_written() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let before = full_store(&path);
    let image = read_image(&path);
    assert_done("nothing may be written", &run("nothing may be written", &path, &file_limit(0)));
    assert!(read_image(&path) == image);
    assert_same(&options().open(&path).unwrap(), &before);
    // What a creation left that failed can be created again.
    assert_eq!(Engine::open(dir.path().join("new")).unwrap().snapshot().seq(), Seq::ZERO);
}

pub(super) fn nothing_may_be_written(path: &Path) {
    use io::ErrorKind::FileTooLarge;
    let new = path.with_file_name("new");
    assert_io(&Engine::open(&new).unwrap_err(), "write", &new, FileTooLarge);
    let engine = options().open(path).unwrap();
    assert_eq!(engine.snapshot().get(id(7)).unwrap().unwrap().content(), noise(7, 300));
    let error = engine.write(put(1, "one")).unwrap_err();
    assert_poisoned_by_io(&error, "write", &path.join("wal"), FileTooLarge);
}

#[test]
fn a_process_without_descriptors_reads_on_and_loses_nothing() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let output = run("no descriptors", &path, "ulimit -n 48");
    assert_done("no descriptors", &output);
    let acknowledged = told(&output, "acknowledged");
    let engine = Engine::open(&path).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.seq().get(), snapshot.node_count() as u64), (acknowledged, acknowledged));
    assert!(engine.verify().unwrap().is_sound());
}

pub(super) fn no_descriptors(path: &Path) {
    /// EMFILE, the same on every Unix.
    const TOO_MANY: i32 = 24;
    #[track_caller]
    fn assert_too_many(error: &Error, op: &str) {
        let Error::Io { op: named, source, path, .. } = error else { panic!("{error}") };
        assert_eq!((*named, source.raw_os_error()), (op, Some(TOO_MANY)), "{error}");
        assert!(error.with_causes().to_string().contains(path.to_str().unwrap()), "{error}");
    }
    let take_all = || -> Vec<fs::File> {
        let taken: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
        assert!(taken.len() < 64, "they are limited");
        taken
    };
    let engine = Options::new().wal_file_bytes(64 << 10).open(path).unwrap();
    let mut n = 0;
    let mut write = |len| {
        let written = engine.write(put(n + 1, noise(n + 1, len)));
        n += u64::from(written.is_ok());
        println!("\nacknowledged {n}");
        written
    };
    for _ in 0..20 {
        write(1_000).unwrap();
    }
    engine.checkpoint().unwrap();
    write(1_000).unwrap();
    let before = read_image(path);
    let mut taken = take_all();
    // What is mapped needs none, nor does the log until its file is full.
    for n in 1..=21 {
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.get(id(n)).unwrap().unwrap().content(), noise(n, 1_000));
    }
    for _ in 0..2 {
        assert_too_many(&cause_at(engine.checkpoint().unwrap_err(), "nodes"), "create");
    }
    assert_too_many(&Engine::open(path.with_file_name("other")).unwrap_err(), "list");
    // With a few, opening says what it needs.
    taken.truncate(taken.len() - 5);
    let error = Engine::open(path.with_file_name("other")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("ulimit -n"), "{error}");
    // With the failed checkpoint out of the way:
    drop(taken);
    assert!(read_image(path) == before);
    engine.checkpoint().unwrap();
    write(1_000).unwrap();
    let taken = take_all();
    write(1_000).unwrap();
    let error = loop {
        match write(10_000) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let Error::Poisoned { cause, .. } = &error else { panic!("{error}") };
    assert_too_many(cause, "create");
    assert_eq!(engine.snapshot().seq().get(), n);
    drop(taken);
    // Now there would be some, but what the disk has is for recovery to say.
    assert_eq!(engine.write(put(0, "")).unwrap_err().to_string(), error.to_string());
    assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Poisoned);
}
