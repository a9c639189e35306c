//! Stores without permission to read or write.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ingrain::Engine;

use crate::harness::{
    dirs::temp_dir,
    files::{read_image, write_image},
    nodes::{id, put},
};

use super::child::run_without_rights;
use super::{
    assert_io, assert_poisoned_by_io, assert_same, cause_at, extension, full_store, options,
    refused,
};

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_store_without_permission_is_refused_by_name_and_left_alone() {
    let dir = temp_dir();
    run_without_rights("without permission", dir.path(), &dir.path().join("s"));
}

pub(super) fn without_permission(path: &Path) {
    let before = full_store(path);
    let image = read_image(path);
    let some = |end: &str| {
        let names = image.keys().rev().find(|name| extension(name) == end);
        names.unwrap_or_else(|| panic!("no .{end}")).clone()
    };
    let cases = [
        (PathBuf::new(), 0o000, "list"),
        (PathBuf::from("LOCK"), 0o444, "lock"),
        (PathBuf::from("MANIFEST"), 0o000, "read"),
        (PathBuf::from("wal"), 0o000, "sync"),
        (PathBuf::from("data"), 0o000, "sync"),
        (some("wal"), 0o000, "read"),
        (some("nodes"), 0o000, "map"),
        (some("heap"), 0o000, "map"),
        (some("vec"), 0o000, "map"),
    ];
    for (name, bits, op) in cases {
        let at = path.join(&name);
        let had = fs::metadata(&at).unwrap().permissions();
        mode(&at, bits);
        assert!(bits != 0 || fs::File::open(&at).is_err(), "permissions bind this process");
        for create in [true, false] {
            let error = options().create(create).open(path).map(drop).unwrap_err();
            assert_io(&error, op, &at, io::ErrorKind::PermissionDenied);
        }
        fs::set_permissions(&at, had).unwrap();
        assert!(read_image(path) == image, "{} was touched", name.display());
    }
    // Codes are made again from what they were made of.
    let codes = path.join(some("vix"));
    mode(&codes, 0o000);
    let engine = options().open(path).unwrap();
    assert_same(&engine, &before);
    engine.rebuild(None).unwrap();
    assert!(engine.verify().unwrap().is_sound());
    engine.close().unwrap();
    drop(engine);

    // Where no store may be made, none is.
    let parent = path.with_file_name("parent");
    fs::create_dir(&parent).unwrap();
    for (bits, op) in [(0o555, "create"), (0o000, "list")] {
        mode(&parent, bits);
        let error = Engine::open(parent.join("s")).unwrap_err();
        assert_io(&error, op, &parent.join("s"), io::ErrorKind::PermissionDenied);
        mode(&parent, 0o755);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
    }
    // Nor is a backup.
    let engine = options().open(path).unwrap();
    mode(&parent, 0o555);
    let error = engine.backup(parent.join("b")).unwrap_err();
    assert_io(&error, "create", &parent.join("b"), io::ErrorKind::PermissionDenied);
    mode(&parent, 0o755);
    assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
    engine.backup(parent.join("b")).unwrap();
    assert_same(&engine, &before);
}

#[test]
fn a_store_that_may_not_be_written_is_read_if_it_was_closed() {
    let dir = temp_dir();
    run_without_rights("read only", dir.path(), &dir.path().join("s"));
}

fn directories(path: &Path) -> [PathBuf; 3] {
    [path.to_owned(), path.join("wal"), path.join("data")]
}

pub(super) fn read_only(path: &Path) {
    use io::ErrorKind::PermissionDenied;
    let before = full_store(path);
    let image = read_image(path);
    directories(path).iter().for_each(|dir| mode(dir, 0o555));
    // Nothing of a store that was closed need be written to open it.
    let engine = options().open(path).unwrap();
    assert_same(&engine, &before);
    engine.close().unwrap();
    drop(engine);
    // One that goes on to write says what it misses, and stays readable.
    let engine = options().open(path).unwrap();
    let checkpoint = cause_at(engine.checkpoint().unwrap_err(), "nodes");
    assert_io(&checkpoint, "create", &path.join("data"), PermissionDenied);
    let error = engine.write(put(1, "one")).unwrap_err();
    assert_poisoned_by_io(&error, "create", &path.join("wal"), PermissionDenied);
    assert_same(&engine, &before);
    assert!(engine.verify().unwrap().is_sound());
    assert_poisoned_by_io(
        &engine.close().unwrap_err(),
        "create",
        &path.join("wal"),
        PermissionDenied,
    );
    drop(engine);
    assert!(read_image(path) == image);
    // After a crash the end of the log is written again: no opening without.
    directories(path).iter().for_each(|dir| mode(dir, 0o755));
    let engine = options().open(path).unwrap();
    engine.write(put(1, "one")).unwrap();
    let killed = read_image(path);
    drop(engine);
    write_image(path, &killed);
    directories(path).iter().for_each(|dir| mode(dir, 0o555));
    let error = refused(path, options());
    assert_io(&error, "create", &path.join("wal"), PermissionDenied);
    directories(path).iter().for_each(|dir| mode(dir, 0o755));
    let engine = options().open(path).unwrap();
    assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), b"one");
}

#[test]
fn a_store_that_becomes_read_only_goes_on_as_far_as_it_can() {
    let dir = temp_dir();
    run_without_rights("becoming read only", dir.path(), &dir.path().join("s"));
}

pub(super) fn becoming_read_only(path: &Path) {
    full_store(path);
    let engine = options().open(path).unwrap();
    engine.write(put(0, "zero")).unwrap();
    directories(path).iter().for_each(|dir| mode(dir, 0o555));
    // The log's file is open.
    engine.write(put(1, "one")).unwrap();
    let before = read_image(path);
    for _ in 0..2 {
        let error = cause_at(engine.checkpoint().unwrap_err(), "nodes");
        assert_io(&error, "create", &path.join("data"), io::ErrorKind::PermissionDenied);
    }
    assert!(read_image(path) == before);
    assert!(engine.stats().checkpoint.last_failure.unwrap().contains("nodes"));
    directories(path).iter().for_each(|dir| mode(dir, 0o755));
    engine.write(put(2, "two")).unwrap();
    engine.checkpoint().unwrap();
    let snapshot = engine.snapshot();
    for (n, content) in [(0, b"zero".as_slice()), (1, b"one"), (2, b"two")] {
        assert_eq!(snapshot.get(id(n)).unwrap().unwrap().content(), content);
    }
    assert!(engine.verify().unwrap().is_sound());
    engine.close().unwrap();
}
