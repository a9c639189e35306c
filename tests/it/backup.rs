//! Backups of live stores.
#![allow(clippy::disallowed_methods, reason = "looks at the files of stores")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use ingrain::{
    Batch, Durability, Edge, Engine, ErrorKind, Metric, Node, NodeId, Options, Seq, Space,
    admin::{BackupOptions, Digest},
};

use crate::harness::{
    dirs::temp_dir,
    faults::{Call, Handle, hooked},
    nodes::id,
};

fn options() -> Options {
    Options::new().space("text", Space::new(2, Metric::L2)).index("by").partition_bytes(4_096)
}

/// A batch that touches everything a store has.
fn some(n: u64, os: bool) -> Batch {
    let mut batch = Batch::new();
    let x = n as f32;
    batch
        .put(
            Node::new(id(n), "note")
                .content(n.to_le_bytes())
                .key("by", n.to_be_bytes())
                .vector("text", [x, -x]),
        )
        .link(Edge::new(id(n), "after", id(n)).attribute("n", n as i64));
    if n.is_multiple_of(3) {
        batch.delete(id(n / 2));
    }
    if os {
        batch.durability(Durability::Os);
    }
    batch
}

fn filled(path: &Path, options: Options, commits: u64) -> Engine {
    let engine = options.open(path).unwrap();
    for n in 0..commits {
        engine.write(some(n, true)).unwrap();
    }
    engine
}

fn digest(engine: &Engine) -> Digest {
    engine.snapshot().digest().unwrap()
}

#[test]
fn a_backup_of_a_store_at_rest_is_the_store() {
    let dir = temp_dir();
    let engine = filled(&dir.path().join("a"), options(), 200);
    let report = engine.backup(dir.path().join("b")).unwrap();
    assert_eq!(report.seq, engine.snapshot().seq());
    assert_eq!(report.files, engine.stats().checkpoint.files);
    assert_eq!(report.bytes, engine.stats().checkpoint.file_bytes);
    assert_eq!((report.linked, report.copied), (report.files, 0));
    let first = digest(&engine);
    let copy = options().open(dir.path().join("b")).unwrap();
    assert_eq!((digest(&copy), copy.snapshot().seq()), (first, report.seq));
    assert!(copy.verify().unwrap().is_sound());
    // Each lives on by itself.
    for n in 200..300 {
        engine.write(some(n, true)).unwrap();
        copy.write(some(n + 1_000, true)).unwrap();
    }
    let both = (digest(&engine), digest(&copy));
    engine.compact().unwrap();
    copy.checkpoint().unwrap();
    copy.compact().unwrap();
    assert_eq!((digest(&engine), digest(&copy)), both);
    // And of the backup, a backup.
    copy.backup(dir.path().join("c")).unwrap();
    engine.close().unwrap();
    drop(engine);
    fs::remove_dir_all(dir.path().join("a")).unwrap();
    copy.close().unwrap();
    drop(copy);
    for name in ["b", "c"] {
        let copy = options().open(dir.path().join(name)).unwrap();
        assert_eq!(digest(&copy), both.1, "{name}");
    }
}

#[test]
fn a_backup_while_threads_write_is_of_one_moment() {
    let dir = temp_dir();
    let path = |n: usize| dir.path().join(format!("b{n}"));
    let engine = filled(&dir.path().join("a"), options(), 50);
    let stopped = AtomicBool::new(false);
    let reports = thread::scope(|scope| {
        for writer in 1..=2_u64 {
            let (engine, stopped) = (&engine, &stopped);
            scope.spawn(move || {
                // Each batch is one node and one edge: a half one would show.
                for n in 0.. {
                    if stopped.load(Ordering::Relaxed) {
                        break;
                    }
                    let n = (writer << 32) + n;
                    let mut batch = Batch::new();
                    batch.put(Node::new(id(n), "note")).link(Edge::new(id(n), "is", id(n)));
                    batch.durability(Durability::Os);
                    engine.write(batch).unwrap();
                }
            });
        }
        let reports: Vec<_> = (0..4)
            .map(|n| {
                let before = engine.snapshot().seq();
                let report = engine.backup(path(n)).unwrap();
                let after = engine.snapshot().seq();
                assert!(before <= report.seq && report.seq <= after);
                report
            })
            .collect();
        stopped.store(true, Ordering::Relaxed);
        reports
    });
    let before = options().open(dir.path().join("c")).unwrap().snapshot().node_count();
    for (n, report) in reports.iter().enumerate() {
        let copy = options().open(path(n)).unwrap();
        let snapshot = copy.snapshot();
        assert_eq!(snapshot.seq(), report.seq);
        // Commits after the first 51 are one node and one edge each.
        let since = usize::try_from(report.seq.get()).unwrap() - 51;
        let (mut nodes, mut edges) = (before, 0);
        for node in snapshot.scan_all() {
            nodes += 1;
            edges += snapshot.edges_out(node.unwrap().id()).count();
        }
        let first = filled(&dir.path().join(format!("f{n}")), options(), 50);
        assert_eq!(nodes, first.snapshot().node_count() + since);
        assert_eq!(edges, first.snapshot().edge_count() + since);
        for node in first.snapshot().scan_all() {
            assert!(snapshot.contains(node.unwrap().id()).unwrap());
        }
    }
}

#[test]
fn a_target_that_exists_is_refused_and_unchanged() {
    let dir = temp_dir();
    let engine = filled(&dir.path().join("a"), options(), 10);
    let checkpoints = engine.stats().checkpoint.completed;
    drop(options().open(dir.path().join("store")).unwrap());
    let other = dir.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("letter"), "dear").unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let half = dir.path().join("half");
    fs::create_dir_all(half.join("data")).unwrap();
    fs::write(half.join("data/0000000001.heap"), "x").unwrap();
    std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
    let names =
        ["a", "a/within", "a/data", "store", "other", "file", "half", "link", "link/within"];
    for name in names {
        let error = engine.backup(dir.path().join(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error}");
    }
    assert!(engine.backup(dir.path().join("no/such")).is_err());
    assert_eq!(engine.stats().checkpoint.completed, checkpoints + 1, "of the last one only");
    assert_eq!(fs::read(other.join("letter")).unwrap(), b"dear");
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
    assert_eq!(options().open(dir.path().join("store")).unwrap().snapshot().seq(), Seq::new(1));
    // What a failed backup leaves is no hindrance, nor an empty directory.
    for name in ["data", "wal"] {
        fs::create_dir_all(dir.path().join("left").join(name)).unwrap();
    }
    fs::create_dir(dir.path().join("empty")).unwrap();
    engine.backup(dir.path().join("left")).unwrap();
    engine.backup(dir.path().join("empty")).unwrap();
    engine.close().unwrap();
    let error = engine.backup(dir.path().join("late")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(!dir.path().join("late").exists());
}

/// A file system that does not link.
fn no_links(kind: io::ErrorKind) -> Arc<Handle> {
    hooked(move |call, _| if call == Call::Link { Err(kind.into()) } else { Ok(()) })
}

/// The data files of a store, by name.
fn data_files(store: &Path) -> BTreeMap<OsString, fs::Metadata> {
    let files = fs::read_dir(store.join("data")).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name(), file.metadata().unwrap())).collect()
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_copied_backup_shares_no_file_and_no_data_file_can_be_written() {
    let dir = temp_dir();
    let at = |name: &str| dir.path().join(name);
    let options = || options().index_rows(16);
    let engine = filled(&at("a"), options(), 200);
    engine.checkpoint().unwrap();
    let linked = engine.backup(at("linked")).unwrap();
    let copied = engine.backup_with(at("copied"), &BackupOptions::new().copy(true)).unwrap();
    assert_eq!((linked.linked, linked.copied), (linked.files, 0));
    assert_eq!((copied.linked, copied.copied), (0, linked.files));
    assert_eq!((copied.seq, copied.bytes), (linked.seq, linked.bytes));
    let of_store = data_files(&at("a"));
    let suffixes: BTreeSet<&str> =
        of_store.keys().filter_map(|name| Path::new(name).extension()?.to_str()).collect();
    assert_eq!(suffixes, ["heap", "in", "keys", "nodes", "out", "vec", "vix"].into());
    for (name, shared) in [("a", true), ("linked", true), ("copied", false)] {
        let files = data_files(&at(name));
        assert!(files.keys().eq(of_store.keys()));
        for (file, meta) in &files {
            assert_eq!(meta.ino() == of_store[file].ino(), shared, "{name}: {file:?}");
            assert_eq!(meta.mode() & 0o222, 0, "{name}: {file:?} cannot be written");
        }
    }
    // Nothing that happens to the files of the copy happens to the store.
    let whole = digest(&engine);
    for file in data_files(&at("copied")).keys() {
        let file = at("copied").join("data").join(file);
        set_mode(&file, 0o644);
        fs::write(file, "something else").unwrap();
    }
    assert!(engine.verify().unwrap().is_sound());
    assert_eq!(digest(&engine), whole);
    // A repaired store, and what was removed and made again.
    engine.close().unwrap();
    drop(engine);
    options().repair(at("a"), at("repaired"), &mut |_, _| {}).unwrap();
    let engine = options().open(at("linked")).unwrap();
    engine.compact().unwrap();
    assert!(data_files(&at("linked")).keys().any(|file| !of_store.contains_key(file)));
    drop(engine);
    for name in ["repaired", "linked"] {
        assert!(data_files(&at(name)).values().all(|meta| meta.mode() & 0o222 == 0), "{name}");
    }
    // A store opens whatever the modes of its data files are.
    let mut expected = whole;
    for mode in [0o644, 0o444] {
        for file in data_files(&at("a")).keys() {
            set_mode(&at("a").join("data").join(file), mode);
        }
        let engine = options().open(at("a")).unwrap();
        assert_eq!(digest(&engine), expected);
        engine.write(some(mode.into(), true)).unwrap();
        engine.write(some((mode + 1).into(), true)).unwrap();
        engine.compact().unwrap();
        assert!(engine.verify().unwrap().is_sound());
        let (backup, changed) = (at(&format!("of {mode}")), digest(&engine));
        engine.backup(&backup).unwrap();
        assert_eq!(digest(&options().open(backup).unwrap()), changed);
        drop(engine);
        fs::remove_dir_all(at("a")).unwrap();
        let engine = options().open(at("repaired")).unwrap();
        engine.backup(at("a")).unwrap();
        expected = digest(&engine);
    }
}

#[test]
fn a_backup_copies_files_where_hard_links_fail() {
    for kind in [
        io::ErrorKind::CrossesDevices,
        io::ErrorKind::Unsupported,
        io::ErrorKind::TooManyLinks,
        io::ErrorKind::PermissionDenied,
    ] {
        let dir = temp_dir();
        let options = || options().fs(no_links(kind));
        let engine = filled(&dir.path().join("a"), options(), 20);
        // More than is copied at once, and not a whole number of it.
        let mut batch = Batch::new();
        batch.put(Node::new(NodeId::new(), "large").content(vec![7; (3 << 20) + 5]));
        engine.write(batch).unwrap();
        let report = engine.backup(dir.path().join("b")).unwrap();
        assert_eq!((report.linked, report.copied), (0, report.files));
        let copy = options().open(dir.path().join("b")).unwrap();
        assert_eq!(digest(&copy), digest(&engine));
    }
    // Any other failure is one.
    let dir = temp_dir();
    let options = options().fs(no_links(io::ErrorKind::StorageFull));
    let engine = filled(&dir.path().join("a"), options, 20);
    assert_eq!(engine.backup(dir.path().join("b")).unwrap_err().kind(), ErrorKind::DiskFull);
    let left: Vec<_> = fs::read_dir(dir.path().join("b/data")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[cfg(feature = "sim")]
mod sim {
    use ingrain::os::Fs as _;
    use ingrain::sim::{Failure, Loss, Points, SimDisk};

    use super::*;
    use crate::harness::disks::on_disk;

    fn store(disk: &SimDisk) -> Options {
        on_disk(disk, options())
    }

    /// Whether the target is a store. If so it is all of the backup; if not,
    /// opening it refuses, or finds nothing.
    fn check_target(disk: &SimDisk, whole: Digest, place: &str) -> bool {
        let root = Path::new("/b");
        let there = disk.list(root).is_ok_and(|names| names.iter().any(|n| n == "MANIFEST"));
        match store(disk).create(!there).open(root) {
            Ok(engine) if there => {
                assert_eq!(digest(&engine), whole, "{place}");
                engine.write(some(1_000, false)).unwrap();
                engine.checkpoint().unwrap();
            }
            Ok(engine) => assert_eq!(engine.snapshot().seq(), Seq::new(1), "{place}"),
            Err(error) => {
                assert!(!there, "{place}: {error}");
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{place}: {error}");
            }
        }
        there
    }

    fn check_source(disk: &SimDisk, whole: Digest, place: &str) {
        let engine = store(disk).create(false).open("/a").unwrap();
        assert_eq!(digest(&engine), whole, "{place}");
        engine.write(some(1_001, false)).unwrap();
        engine.compact().unwrap();
    }

    /// Every call of a backup made to fail.
    #[test]
    fn a_backup_that_fails_at_any_call_harms_nothing() {
        for (failure, sticky) in [
            (Failure::Io, false),
            (Failure::Io, true),
            (Failure::LoseDirty, false),
            (Failure::Short(50), true),
        ] {
            let (mut n, mut failed) = (0, 0);
            loop {
                n += 1;
                let place = format!("call {n}, {failure:?}, sticky {sticky}");
                let disk = SimDisk::new();
                let engine = filled(Path::new("/a"), store(&disk), 6);
                engine.checkpoint().unwrap();
                engine.write(some(7, false)).unwrap();
                let whole = digest(&engine);
                let before: u64 = disk.calls().values().sum();
                disk.fail(n, None, failure, sticky);
                let made = engine.backup("/b");
                disk.heal();
                let calls = disk.calls().values().sum::<u64>() - before;
                assert_eq!(digest(&engine), whole, "{place}");
                for loss in [Loss::Nothing, Loss::All] {
                    let left = disk.crash(loss, n);
                    let there = check_target(&left, whole, &place);
                    assert!(there || made.is_err(), "{place}, {loss:?}");
                    check_source(&left, whole, &place);
                }
                if made.is_err() {
                    failed += 1;
                    // The fault gone, it succeeds in the same place, or in
                    // another if what was made could not be removed.
                    if engine.backup("/b").is_err() {
                        assert!(sticky || check_target(&disk, whole, &place), "{place}");
                    }
                    let again = engine.backup("/c").unwrap();
                    assert_eq!(again.seq, engine.snapshot().seq());
                    // Writes go on, whatever failed.
                    engine.write(some(8, false)).unwrap();
                } else if n > calls {
                    break;
                }
            }
            assert!(failed > 10, "{failed} of {n} calls");
        }
    }

    #[test]
    fn a_crash_at_any_point_of_a_backup_leaves_it_whole_or_not_at_all() {
        let disk = SimDisk::new();
        let engine = filled(Path::new("/a"), store(&disk), 6);
        engine.checkpoint().unwrap();
        engine.write(some(7, false)).unwrap();
        let whole = digest(&engine);
        let begun = disk.operations();
        engine.backup("/b").unwrap();
        let done = disk.operations();
        let (mut with, mut without) = (0, 0);
        for crash in disk.crashes(Points::All, 2).filter(|crash| crash.point >= begun) {
            let place = format!("point {}, {:?}, coin {}", crash.point, crash.loss, crash.seed);
            let there = check_target(&crash.disk, whole, &place);
            assert!(there || crash.point < done, "{place}");
            if there {
                with += 1
            } else {
                without += 1
            }
            check_source(&crash.disk, whole, &place);
        }
        assert!(with > 0 && without > 20, "{with}, {without}");
    }

    /// The store may remove its files at any time after.
    #[test]
    fn later_changes_of_the_store_do_not_reach_a_backup() {
        let disk = SimDisk::new();
        let engine = filled(Path::new("/a"), store(&disk), 6);
        engine.backup("/b").unwrap();
        let whole = digest(&engine);
        let done = disk.operations();
        engine.write(some(9, false)).unwrap();
        engine.compact().unwrap();
        for crash in disk.crashes(Points::Boundaries, 1).filter(|crash| crash.point >= done) {
            assert!(check_target(&crash.disk, whole, "afterwards"));
        }
    }
}
