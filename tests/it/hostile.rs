//! The engine in surroundings that mean it no good, on the machine's own file
//! system: what cannot be done is refused with the documented error, and the
//! store stays as it was.
//!
//! What needs a user without rights, or limits on a process, runs in a process
//! of its own: this test binary again, told by `SCENARIO` what to do.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, PermissionsExt, symlink},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use ingrain::{
    Batch, Direction, Durability, Edge, Engine, Error, ErrorKind, KeyRange, Metric, Node, NodeId,
    Op, Options, PathOptions, RecoveryMode, Seq, Snapshot, Space, Timestamp,
    format::{HEADER_BYTES, VERSION},
    limits,
};

use crate::harness::{
    clocks::TestClock,
    dirs::temp_dir,
    faults::{Call, hooked, within},
    files::{read_image, write_image},
    nodes::{id, put},
    random::noise,
    seal,
};

/// Tells this test binary that it is a child, and which.
const SCENARIO: &str = "INGRAIN_HOSTILE_SCENARIO";
const STORE: &str = "INGRAIN_HOSTILE_STORE";

/// What children do. Each ends by saying so, or as its test expects.
const SCENARIOS: &[(&str, fn(&Path))] = &[
    ("without permission", without_permission),
    ("read only", read_only),
    ("becoming read only", becoming_read_only),
    ("full disk", full_disk),
    ("nothing may be written", nothing_may_be_written),
    ("no descriptors", no_descriptors),
    ("cut short while mapped", cut_short_while_mapped),
];

/// Not a test by itself: the body of the children.
#[test]
fn child_in_hostile_surroundings() {
    let Ok(asked) = std::env::var(SCENARIO) else { return };
    let store = PathBuf::from(std::env::var_os(STORE).unwrap());
    let (name, scenario) = SCENARIOS.iter().find(|(name, _)| *name == asked).unwrap();
    scenario(&store);
    println!("\ndone: {name}");
}

/// Runs a scenario in a process of its own, under limits that are set by a
/// shell.
fn run(scenario: &str, store: &Path, limits: &str) -> Output {
    let mut command = Command::new("sh");
    let exec = format!("{limits}; exec \"$0\" \"$@\"");
    command.args([OsStr::new("-c"), OsStr::new(&exec)]).arg(std::env::current_exe().unwrap());
    run_command(command, scenario, store)
}

/// Runs a scenario as a user whom permissions bind, who owns `dir`.
fn run_without_rights(scenario: &str, dir: &Path, store: &Path) {
    const NOBODY: u32 = 65_534;
    // By this name it is found even where the user cannot look at its directory.
    let itself = Path::new("/proc/self/exe");
    let exe = if itself.exists() { itself.to_owned() } else { std::env::current_exe().unwrap() };
    let mut command = Command::new(exe);
    // Whose the new directory is, this process is.
    if fs::metadata(dir).unwrap().uid() == 0 {
        std::os::unix::fs::chown(dir, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    assert_done(scenario, &run_command(command, scenario, store));
}

fn run_command(mut command: Command, scenario: &str, store: &Path) -> Output {
    let child = "hostile::child_in_hostile_surroundings";
    command
        .args(["--exact", child, "--nocapture", "--test-threads=1"])
        .env(SCENARIO, scenario)
        .env(STORE, store)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn assert_done(scenario: &str, output: &Output) {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let done = out.contains(&format!("\ndone: {scenario}\n")) && output.status.success();
    assert!(done, "{}\n{out}\n{err}", output.status);
}

/// The number that a child printed after a word.
fn told(output: &Output, word: &str) -> u64 {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = out.lines().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok());
    numbers.next_back().unwrap_or_else(|| panic!("{word} is not told: {out}"))
}

/// The call of the operating system that failed, and how; the error says where.
#[track_caller]
fn assert_io(error: &Error, op: &str, path: &Path, kind: io::ErrorKind) {
    let (Error::Io { op: named, path: at, source }, text) = (error, error.to_string()) else {
        panic!("{error}")
    };
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!((*named, source.kind()), (op, kind), "{error}");
    assert!(at.starts_with(path), "{error} is about {}", path.display());
    assert!(text.starts_with(op) && text.contains(&*at.to_string_lossy()), "{error}");
}

#[track_caller]
fn assert_poisoned_by_io(error: &Error, op: &str, path: &Path, kind: io::ErrorKind) {
    let Error::Poisoned { cause } = error else { panic!("{error}") };
    assert!(error.to_string().contains(&cause.to_string()), "{error}");
    assert_io(cause, op, path, kind);
}

/// A checkpoint failed at a step.
#[track_caller]
fn cause_at(error: Error, step: &str) -> Error {
    let Error::Checkpoint { step: at, cause } = &error else { panic!("{error}") };
    assert_eq!(*at, step, "{error}");
    assert!(error.to_string().contains(step), "{error}");
    Error::clone(cause)
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const VECTORS: u64 = 200;

fn options() -> Options {
    Options::new().space("v", Space::new(8, Metric::L2)).index("i").index_rows(64)
}

fn vector(n: u64) -> Vec<f32> {
    noise(n, 8).into_iter().map(f32::from).collect()
}

/// A store with files of every kind: two thirds in the base, the rest in the
/// log.
fn full_store(path: &Path) -> Snapshot {
    let engine = options().open(path).unwrap();
    let of = |ns: std::ops::Range<u64>| {
        let mut batch = Batch::new();
        for n in ns.clone() {
            let node = Node::new(id(n), "node").content(noise(n, 300)).key("i", n.to_be_bytes());
            batch.put(node.vector("v", vector(n)).attribute("n", n as i64));
        }
        for n in ns.skip(1) {
            batch.link(Edge::new(id(n), "after", id(n - 1)).attribute("n", n as i64));
        }
        batch
    };
    engine.write(of(0..VECTORS)).unwrap();
    engine.checkpoint().unwrap();
    for n in 0..10 {
        engine.write(of(VECTORS + 10 * n..VECTORS + 10 * (n + 1))).unwrap();
    }
    engine.close().unwrap();
    engine.snapshot()
}

/// The store has what it had.
fn assert_same(engine: &Engine, before: &Snapshot) {
    let now = engine.snapshot();
    assert_eq!(now.seq(), before.seq());
    assert_eq!(now.digest().unwrap(), before.digest().unwrap());
}

/// Opening fails, and nothing of the directory is another than before.
#[track_caller]
fn refused(path: &Path, options: Options) -> Error {
    let before = read_image(path);
    let error = options.open(path).map(|engine| format!("{:?}", engine.recovery())).unwrap_err();
    assert!(read_image(path) == before, "changed by an opening that was refused: {error}");
    error
}

/// Opening does not look into heaps: what is wrong with the first block of one
/// is met by whoever reads it, verification tells it, and nobody writes over it.
#[track_caller]
fn met_where_it_is_read(path: &Path, heap: &Path, before: &Snapshot) -> Error {
    let image = read_image(path);
    let of_heap = |error: &Error| error.to_string().contains(path.join(heap).to_str().unwrap());
    let engine = options().open(path).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.seq(), before.seq());
    let error = snapshot.digest().unwrap_err();
    assert!(of_heap(&error), "{error}");
    assert!(snapshot.scan("node").any(|node| node.is_err_and(|error| of_heap(&error))));
    assert!(engine.verify().unwrap().damage.iter().any(of_heap));
    let compacted = engine.compact().unwrap_err();
    assert!(of_heap(&compacted), "{compacted}");
    engine.close().unwrap();
    drop((engine, snapshot));
    let data = |name: &&PathBuf| name.starts_with("data") && extension(name) != "vix";
    let after = read_image(path);
    for name in image.keys().filter(data) {
        assert!(after.get(name) == image.get(name), "{} was changed or removed", name.display());
    }
    error
}

fn extension(name: &Path) -> &str {
    name.extension().and_then(OsStr::to_str).unwrap_or_default()
}

// Permissions.

#[test]
fn a_store_without_permission_is_refused_by_name_and_left_alone() {
    let dir = temp_dir();
    run_without_rights("without permission", dir.path(), &dir.path().join("s"));
}

fn without_permission(path: &Path) {
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

fn read_only(path: &Path) {
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

fn becoming_read_only(path: &Path) {
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

// Full disks. Without rights to mount a small one, the machine can still be had
// to refuse to write on: a limit on the size of files fails a write in its
// middle, as a disk without space does.

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

fn full_disk(path: &Path) {
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

fn nothing_may_be_written(path: &Path) {
    use io::ErrorKind::FileTooLarge;
    let new = path.with_file_name("new");
    assert_io(&Engine::open(&new).unwrap_err(), "write", &new, FileTooLarge);
    let engine = options().open(path).unwrap();
    assert_eq!(engine.snapshot().get(id(7)).unwrap().unwrap().content(), noise(7, 300));
    let error = engine.write(put(1, "one")).unwrap_err();
    assert_poisoned_by_io(&error, "write", &path.join("wal"), FileTooLarge);
}

// Descriptors.

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

fn no_descriptors(path: &Path) {
    /// EMFILE, the same on every Unix.
    const TOO_MANY: i32 = 24;
    #[track_caller]
    fn assert_too_many(error: &Error, op: &str) {
        let Error::Io { op: named, source, path } = error else { panic!("{error}") };
        assert_eq!((*named, source.raw_os_error()), (op, Some(TOO_MANY)), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
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
    let taken = take_all();
    // What is mapped needs none, nor does the log until its file is full.
    for n in 1..=21 {
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.get(id(n)).unwrap().unwrap().content(), noise(n, 1_000));
    }
    for _ in 0..2 {
        assert_too_many(&cause_at(engine.checkpoint().unwrap_err(), "nodes"), "create");
    }
    assert_too_many(&Engine::open(path.with_file_name("other")).unwrap_err(), "list");
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
    let Error::Poisoned { cause } = &error else { panic!("{error}") };
    assert_too_many(cause, "create");
    assert_eq!(engine.snapshot().seq().get(), n);
    drop(taken);
    // Now there would be some, but what the disk has is for recovery to say.
    assert_eq!(engine.write(put(0, "")).unwrap_err().to_string(), error.to_string());
    assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Poisoned);
}

// Files that change behind the engine.

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
    assert!(file.ends_with(heap) && error.to_string().contains(heap.to_str().unwrap()), "{error}");
    after.insert(heap.clone(), before[heap].clone());
    write_image(&path, &after);
    let engine = options().open(&path).unwrap();
    assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), b"acknowledged");
    assert!(engine.verify().unwrap().is_sound());
}

fn cut_short_while_mapped(path: &Path) {
    let engine = options().open(path).unwrap();
    engine.write(put(1, "acknowledged")).unwrap();
    println!("\nacknowledged 1");
    for entry in fs::read_dir(path.join("data")).unwrap() {
        let file = entry.unwrap().path();
        if extension(&file) == "heap" {
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
            assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
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
    assert!(error.to_string().contains("removed, or moved away from its path"), "{error}");
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
    let Error::Poisoned { cause } = engine.write(put(2, "two")).unwrap_err() else { panic!() };
    assert_gone(&cause, &path);
    assert_eq!(snapshot.digest().unwrap(), digest);
    assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(!path.exists());
    // Nobody takes the place of the store for the store.
    let error = options().create(false).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
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
        assert!(error.to_string().contains("belongs to another store"), "{error}");
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
fn a_log_is_not_blamed_for_a_heap() {
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
            assert!(error.to_string().contains(path.join(&heap).to_str().unwrap()), "{error}");
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
    assert!(error.to_string().contains(path.join(&heap).to_str().unwrap()), "{error}");
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
        for version in [VERSION + 1, u32::MAX, 0] {
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
            let both = format!("format version {version}; this crate reads {VERSION}");
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

// Paths.

#[test]
fn what_stands_in_the_place_of_a_store_or_its_parts_is_told() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    fs::write(&path, "a file").unwrap();
    for create in [true, false] {
        let error = Options::new().create(create).open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("it is no directory"), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    assert_eq!(fs::read(&path).unwrap(), b"a file");
    // A store beneath a file.
    let error = Engine::open(path.join("s")).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    fs::remove_file(&path).unwrap();

    let before = full_store(&path);
    let image = read_image(&path);
    for name in ["LOCK", "MANIFEST", "wal", "data"] {
        let (at, aside) = (path.join(name), dir.path().join("aside"));
        fs::rename(&at, &aside).unwrap();
        if aside.is_dir() {
            fs::write(&at, "a file").unwrap();
        } else {
            fs::create_dir(&at).unwrap();
        }
        let error = options().open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains(at.to_str().unwrap()), "{error}");
        if aside.is_dir() {
            fs::remove_file(&at).unwrap();
        } else {
            fs::remove_dir(&at).unwrap();
        }
        fs::rename(&aside, &at).unwrap();
    }
    assert!(read_image(&path) == image);
    assert_same(&options().open(&path).unwrap(), &before);

    // Pipes, which nobody writes to: an opening that waited would not end.
    let some = |end: &str| image.keys().find(|name| extension(name) == end).unwrap().clone();
    for name in [PathBuf::from("MANIFEST"), some("wal"), some("nodes"), some("vec")] {
        let at = path.join(&name);
        fs::remove_file(&at).unwrap();
        assert!(Command::new("mkfifo").arg(&at).status().unwrap().success());
        let error = options().open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains(at.to_str().unwrap()), "{error}");
        assert!(error.to_string().contains("it is no regular file"), "{error}");
        fs::remove_file(&at).unwrap();
        fs::write(&at, &image[&name]).unwrap();
    }
    assert_same(&options().open(&path).unwrap(), &before);

    // Links to nowhere and to themselves.
    let links = [("nowhere", "absent/store"), ("around", "around")];
    for (name, to) in links {
        let link = dir.path().join(name);
        symlink(to, &link).unwrap();
        let error = Engine::open(&link).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains(link.to_str().unwrap()), "{error}");
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(to));
    }
    assert!(!dir.path().join("absent").exists());
}

#[test]
fn a_path_may_have_any_bytes() {
    let dir = temp_dir();
    let long = OsString::from_vec(vec![b'l'; 255]);
    let names: [OsString; 9] = [
        " leading and trailing ".into(),
        "line\nfeed\tand\rreturn".into(),
        "'quotes' \"and\" \\strokes\\".into(),
        "-rf".into(),
        "*?[a-z]{b,c}$HOME".into(),
        "Größe 大きさ 🗄".into(),
        OsString::from_vec(b"\xff\xfe no \x80 text \xc3(".to_vec()),
        OsString::from_vec((1..=255).filter(|byte| *byte != b'/').collect()),
        long,
    ];
    for name in names {
        let path = dir.path().join(&name);
        let engine = Engine::open(&path).unwrap();
        engine.write(put(1, name.as_bytes())).unwrap();
        engine.checkpoint().unwrap();
        assert_eq!(Engine::open(&path).unwrap_err().kind(), ErrorKind::Locked);
        engine.backup(dir.path().join("backup")).unwrap();
        engine.close().unwrap();
        assert_eq!(engine.path(), path);
        drop(engine);
        let engine = Engine::open(&path).unwrap();
        assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), name.as_bytes());
        drop(engine);
        // An error has the path as it is, whatever its text makes of it.
        fs::write(path.join("MANIFEST"), "").unwrap();
        let Error::Corrupt { file, .. } = refused(&path, Options::new()) else { panic!() };
        assert_eq!(file, path.join("MANIFEST"));
        fs::remove_dir_all(dir.path().join("backup")).unwrap();
    }
    // What no file system takes.
    for name in [OsString::from_vec(vec![b'l'; 256]), "zero\0byte".into()] {
        let path = dir.path().join(name);
        let error = Engine::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
    let error = Engine::open("").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    let deep = (0..40).fold(dir.path().to_owned(), |path, _| path.join("d".repeat(200)));
    assert_eq!(Engine::open(deep).unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_store_is_one_by_whatever_path_it_is_opened() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    fs::create_dir(dir.path().join("below")).unwrap();
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    symlink(dir.path(), dir.path().join("below/up")).unwrap();
    let before = full_store(&path);
    // From the working directory up to the root, and down again.
    let up: PathBuf = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect();
    let paths = [
        link.clone(),
        dir.path().join("below/../s"),
        dir.path().join("below/up/s"),
        dir.path().join("./s/."),
        PathBuf::from(format!("{}//", path.display())),
        up.join(path.strip_prefix("/").unwrap()),
    ];
    for (n, other) in (0..).zip(&paths) {
        let engine = options().open(other).unwrap();
        assert_eq!(options().open(&path).unwrap_err().kind(), ErrorKind::Locked);
        assert!(engine.path().is_absolute());
        if n == 0 {
            assert_same(&engine, &before);
        }
        engine.write(put(n, "changed")).unwrap();
        engine.checkpoint().unwrap();
        engine.close().unwrap();
    }
    let engine = options().open(&path).unwrap();
    for n in 0..paths.len() as u64 {
        assert_eq!(engine.snapshot().get(id(n)).unwrap().unwrap().content(), b"changed");
    }
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "it was not replaced");
    // Directories of a store may be elsewhere.
    engine.close().unwrap();
    drop(engine);
    for name in ["wal", "data"] {
        let elsewhere = dir.path().join(format!("elsewhere {name}"));
        fs::rename(path.join(name), &elsewhere).unwrap();
        symlink(&elsewhere, path.join(name)).unwrap();
    }
    let engine = options().open(&path).unwrap();
    engine.write(put(0, "elsewhere")).unwrap();
    engine.checkpoint().unwrap();
    drop(engine);
    let engine = options().open(&path).unwrap();
    assert_eq!(engine.snapshot().get(id(0)).unwrap().unwrap().content(), b"elsewhere");
    assert!(engine.verify().unwrap().is_sound());
}

// The clock.

const DAY: i64 = 86_400_000_000;

#[test]
fn a_clock_that_goes_back_changes_times_and_nothing_else() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let clock = TestClock::default();
    let open = || options().clock(Arc::new(clock.clone())).open(&path).unwrap();
    let t = 1_700_000_000_000_000;
    let times = [t, t - DAY, t + 1, 0, -1, i64::MIN, i64::MAX, t - 365 * DAY, t];
    let mut engine = open();
    clock.set(times[0]);
    let (a, b) = (id(1), id(2));
    let node = |content: &str| Node::new(a, "node").content(content).key("i", "key");
    let mut batch = Batch::new();
    let expires = Some(Timestamp::from_micros(t));
    batch.put(node("first")).put(Node { expires, ..Node::new(b, "node") });
    engine.write(batch).unwrap();
    let mut last = engine.snapshot().seq();
    for (round, time) in times.into_iter().enumerate() {
        clock.set(time);
        let mut batch = Batch::new();
        batch.put(node(&format!("{time}"))).link(Edge::new(a, "to", b));
        let seq = engine.write(batch).unwrap();
        assert_eq!(seq.get(), last.get() + 1);
        let mut batch = Batch::new();
        batch.touch(a);
        last = engine.write(batch).unwrap();
        match round % 3 {
            0 => drop(engine.checkpoint().unwrap()),
            1 => engine.close().unwrap(),
            _ => {}
        }
        let digest = engine.snapshot().digest().unwrap();
        drop(engine);
        // Whatever time it is when it is read again.
        clock.set(times[(round + 4) % times.len()]);
        engine = open();
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.digest().unwrap(), digest, "at {time}");
        let found = snapshot.get(a).unwrap().unwrap();
        assert_eq!(found.content(), format!("{time}").as_bytes());
        assert_eq!(found.version(), seq);
        let micros = |time: Timestamp| time.as_micros();
        assert_eq!(micros(found.created()), times[0], "when it came to be does not change");
        assert_eq!(micros(found.updated()), time);
        // An access is not undone by an earlier one.
        assert_eq!(Some(&micros(found.accessed())), times[..=round].iter().max());
        let edge = snapshot.edge(a, "to", b, 0).unwrap().unwrap();
        assert_eq!((micros(edge.created()), micros(edge.updated())), (times[0], time));
        // Only a prune takes away what has expired, by the time that it is told.
        assert!(snapshot.contains(b).unwrap());
        assert_eq!(engine.prune(Timestamp::from_micros(t - 1), 10).unwrap(), 0);
    }
    assert!(engine.verify().unwrap().is_sound());
    clock.set(i64::MIN);
    assert_eq!(engine.prune(Timestamp::from_micros(t), 10).unwrap(), 1);
    assert!(!engine.snapshot().contains(b).unwrap());
}

#[test]
fn writers_wait_as_long_as_they_would_with_a_clock_that_goes_back() {
    let dir = temp_dir();
    let clock = TestClock::default();
    clock.step(-DAY);
    let fs = hooked(|call, path| match call {
        Call::Create if within(path, "data") => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    let patience = Duration::from_millis(50);
    let engine = Options::new()
        .fs(fs)
        .clock(Arc::new(clock))
        .delta_bytes(256 << 10)
        .patience(patience)
        .durability(Durability::Os)
        .open(dir.path().join("s"))
        .unwrap();
    let (start, mut began) = (Instant::now(), Instant::now());
    let error = (0..).find_map(|n| {
        began = Instant::now();
        engine.write(put(n, [7; 10_000])).err()
    });
    let Some(Error::Backpressure { waited_ms, .. }) = error else { panic!("{error:?}") };
    assert!(waited_ms >= 50 && began.elapsed() >= patience);
    assert!(start.elapsed() < Duration::from_secs(30));
}

// Much of something, and the bounds.

#[test]
fn a_hundred_thousand_kinds_cost_what_as_many_nodes_do() {
    const KINDS: u64 = 100_000;
    let dir = temp_dir();
    let path = dir.path().join("s");
    let kind = |n: u64| format!("kind {n}");
    // The same work with as many kinds as nodes, and with one.
    let load = |path: &Path, kind: &dyn Fn(u64) -> String| {
        let engine = Options::new().durability(Durability::Os).open(path).unwrap();
        for from in (0..KINDS).step_by(10_000) {
            let mut batch = Batch::new();
            for n in from..from + 10_000 {
                batch.put(Node::new(id(n), kind(n)));
            }
            engine.write(batch).unwrap();
        }
        let check = |engine: &Engine| {
            let snapshot = engine.snapshot();
            for n in [0, 1, 4_999, 77_777, KINDS - 1] {
                assert!(snapshot.scan(&kind(n)).next().is_some());
                assert_eq!(snapshot.get(id(n)).unwrap().unwrap().kind(), kind(n));
            }
            assert_eq!(snapshot.scan("none").count(), 0);
            assert!(snapshot.scan_all().count() as u64 >= KINDS);
        };
        check(&engine);
        engine.checkpoint().unwrap();
        check(&engine);
        // A node more, and a node that changes its kind.
        let mut batch = Batch::new();
        batch.put(Node::new(id(KINDS), kind(0))).put(Node::new(id(5), kind(6)));
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        engine.close().unwrap();
        drop(engine);
        let engine = Options::new().open(path).unwrap();
        check(&engine);
        engine
    };
    let start = Instant::now();
    load(&dir.path().join("one"), &|_| "node".into());
    let one = start.elapsed();
    let start = Instant::now();
    let engine = load(&path, &kind);
    let many = start.elapsed();
    println!("{KINDS} nodes of one kind: {one:?}; of as many kinds: {many:?}");
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.kind_count() as u64, KINDS);
    assert!(snapshot.kinds().zip(0..).all(|(name, n)| name == kind(n)), "in order");
    let of = |n| snapshot.scan(&kind(n)).map(|node| node.unwrap().id()).collect::<Vec<_>>();
    assert_eq!((of(5), of(99)), (vec![], vec![id(99)]));
    let mut both = [id(6), id(5)];
    both.sort_unstable();
    assert_eq!(of(6), both);
    // Nothing is quadratic: that would be a hundred times as much and more.
    assert!(many < one * 20 + Duration::from_secs(2), "{many:?}, with one kind {one:?}");
}

#[test]
fn a_content_may_have_no_bytes_and_the_most_and_not_one_more() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Options::new().durability(Durability::Os).open(&path).unwrap();
    let most: Vec<u8> = (0..limits::CONTENT_BYTES).map(|at| (at % 251) as u8).collect();
    engine.write(put(0, "")).unwrap();
    engine.write(put(1, most.clone())).unwrap();
    let before = read_image(&path);
    let error = engine.write(put(2, vec![0; limits::CONTENT_BYTES + 1])).unwrap_err();
    let (limit, value) = (limits::CONTENT_BYTES as u64, limits::CONTENT_BYTES as u64 + 1);
    assert!(matches!(error, Error::Limit { value: v, limit: l, .. } if (v, l) == (value, limit)));
    assert!(error.to_string().contains("bytes of content"), "{error}");
    let mut patch = Batch::new();
    patch.patch(id(0), ingrain::Patch::new().content(vec![0; limits::CONTENT_BYTES + 1]));
    assert_eq!(engine.write(patch).unwrap_err().kind(), ErrorKind::Limit);
    assert!(read_image(&path) == before);
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.get(id(0)).unwrap().unwrap().content(), b"");
        assert!(snapshot.get(id(1)).unwrap().unwrap().content() == most);
        assert_eq!((snapshot.node_count(), snapshot.seq()), (2, Seq::new(2)));
    };
    check(&engine);
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    check(&engine);
    engine.checkpoint().unwrap();
    check(&engine);
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    check(&engine);
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn a_batch_at_a_limit_is_taken_and_one_past_it_is_refused() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let options = || Options::new().durability(Durability::Os).write_log_bytes(1 << 30);
    let engine = options().open(&path).unwrap();
    let refused = |batch: Batch, value: usize, limit: usize| {
        let before = (read_image(&path), engine.snapshot().seq());
        let error = engine.write(batch).unwrap_err();
        let expected = (value as u64, limit as u64);
        assert!(
            matches!(error, Error::Limit { value, limit, .. } if (value, limit) == expected),
            "{error}"
        );
        assert!((read_image(&path), engine.snapshot().seq()) == before);
    };
    // By its bytes: the error says by how much it is too large.
    let batch = |last: usize| {
        let mut batch = Batch::new();
        for n in 0..3 {
            batch.put(Node::new(id(n), "node").content(vec![n as u8; limits::CONTENT_BYTES]));
        }
        batch.put(Node::new(id(3), "node").content(vec![3; last]));
        batch
    };
    let error = engine.write(batch(limits::CONTENT_BYTES)).unwrap_err();
    let Error::Limit { value, limit, .. } = error else { panic!("{error}") };
    assert_eq!(limit, limits::BATCH_BYTES as u64);
    let last = limits::CONTENT_BYTES - (value - limit) as usize;
    refused(batch(last + 1), limits::BATCH_BYTES + 1, limits::BATCH_BYTES);
    assert_eq!(engine.write(batch(last)).unwrap(), Seq::new(1));
    // By its operations.
    let batch = |ops: usize| {
        let mut batch = Batch::new();
        for n in 0..ops as u64 {
            batch.push(Op::Delete {
                id: NodeId::from_bytes([n.to_le_bytes(); 2].concat().try_into().unwrap()),
            });
        }
        batch
    };
    refused(batch(limits::BATCH_OPS + 1), limits::BATCH_OPS + 1, limits::BATCH_OPS);
    assert_eq!(engine.write(batch(limits::BATCH_OPS)).unwrap(), Seq::new(2));
    drop(engine);
    let engine = options().open(&path).unwrap();
    assert_eq!(engine.snapshot().seq(), Seq::new(2));
    for n in 0..3 {
        assert_eq!(
            engine.snapshot().get(id(n)).unwrap().unwrap().content().len(),
            limits::CONTENT_BYTES
        );
    }
    assert_eq!(engine.snapshot().get(id(3)).unwrap().unwrap().content().len(), last);
}

#[test]
fn a_node_may_be_linked_to_itself() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    let mut batch = Batch::new();
    batch.put(Node::new(id(1), "node")).put(Node::new(id(2), "node"));
    batch.link(Edge::new(id(1), "self", id(1)).attribute("n", 1_i64));
    batch.link(Edge::new(id(1), "self", id(1)).discriminator(7).weight(0.5));
    batch.link(Edge::new(id(1), "to", id(2)));
    engine.write(batch).unwrap();
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.edge_count(), 3);
        let ends = |edges: ingrain::Edges<'_>| -> Vec<(NodeId, NodeId, u64)> {
            let edges = edges.map(Result::unwrap);
            edges.map(|edge| (edge.source(), edge.target(), edge.discriminator())).collect()
        };
        let loops = [(id(1), id(1), 0), (id(1), id(1), 7)];
        assert_eq!(ends(snapshot.edges_out(id(1)).kind("self")), loops);
        assert_eq!(ends(snapshot.edges_in(id(1))), loops);
        assert_eq!(ends(snapshot.edges_out(id(1))).len(), 3);
        let inbound = snapshot.edges_in(id(1)).next().unwrap().unwrap();
        assert_eq!(inbound.attributes().unwrap()["n"], ingrain::Value::Int(1));
        let path = |from, to| snapshot.shortest_path(from, to, &PathOptions::default()).unwrap();
        assert_eq!(path(id(1), id(1)).unwrap().steps.len(), 0);
        assert_eq!(path(id(1), id(2)).unwrap().steps.len(), 1);
    };
    check(&engine);
    engine.checkpoint().unwrap();
    check(&engine);
    assert!(engine.verify().unwrap().is_sound());
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    check(&engine);
    let mut batch = Batch::new();
    batch.unlink(id(1), "self", id(1));
    engine.write(batch).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.edges_in(id(1)).count(), snapshot.edge_count()), (1, 2));
    let mut batch = Batch::new();
    batch.delete(id(1));
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.node_count(), snapshot.edge_count()), (1, 0));
    assert_eq!(snapshot.edges_in(id(2)).count() + snapshot.edges_in(id(1)).count(), 0);
    assert!(engine.verify().unwrap().is_sound());
}

/// A hundred thousand edges, a million with `INGRAIN_TORTURE`.
#[test]
fn a_node_with_very_many_edges_is_read_in_order_and_deleted_at_once() {
    let edges: u64 =
        if std::env::var_os("INGRAIN_TORTURE").is_some() { 1_000_000 } else { 100_000 };
    let dir = temp_dir();
    let path = dir.path().join("s");
    let hub = id(u64::MAX);
    let others = edges / 100;
    for checkpointed in [false, true] {
        let _ = fs::remove_dir_all(&path);
        let start = Instant::now();
        let engine = Options::new().durability(Durability::Os).open(&path).unwrap();
        let mut batch = Batch::new();
        batch.put(Node::new(hub, "hub"));
        for n in 0..others {
            batch.put(Node::new(id(n), "node"));
        }
        engine.write(batch).unwrap();
        // Half leave it, half reach it.
        for from in (0..edges).step_by(10_000) {
            let mut batch = Batch::new();
            for n in from..from + 10_000 {
                let (other, parallel) = (id(n / 2 % others), n / 2 / others);
                let ends = if n % 2 == 0 { (hub, other) } else { (other, hub) };
                batch.link(Edge::new(ends.0, "edge", ends.1).discriminator(parallel));
            }
            engine.write(batch).unwrap();
        }
        if checkpointed {
            engine.checkpoint().unwrap();
        }
        let loaded = start.elapsed();
        let start = Instant::now();
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.edge_count() as u64, edges);
        for out in [true, false] {
            let of = || if out { snapshot.edges_out(hub) } else { snapshot.edges_in(hub) };
            // In pages, each from where the last one ended.
            let (mut cursor, mut seen, mut last) = (None, 0, None);
            loop {
                let mut page = match &cursor {
                    Some(cursor) => of().after(cursor),
                    None => of(),
                };
                for edge in page.by_ref().take(997).map(Result::unwrap) {
                    let other = if out { edge.target() } else { edge.source() };
                    let at = Some((other, edge.discriminator()));
                    assert!(last < at, "in order, each once");
                    (last, seen) = (at, seen + 1);
                }
                let next = page.cursor();
                if next.is_none() || seen == edges / 2 {
                    break;
                }
                cursor = next;
            }
            assert_eq!(seen, edges / 2);
        }
        let read = start.elapsed();
        let start = Instant::now();
        let log = engine.stats().write.wal_bytes;
        let mut batch = Batch::new();
        batch.delete(hub);
        // A batch is bounded by what it says, not by what follows from it.
        engine.write(batch).unwrap();
        let deleted = start.elapsed();
        // Zeros ahead, and a new file at most.
        assert!(engine.stats().write.wal_bytes <= log + (2 << 20), "it says little");
        let now = engine.snapshot();
        assert_eq!((now.edge_count(), now.node_count() as u64), (0, others));
        assert_eq!(now.edges_in(id(0)).count() + now.edges_out(id(0)).count(), 0);
        assert_eq!(snapshot.edges_out(hub).take(10).count(), 10, "as it was");
        let digest = now.digest().unwrap();
        drop((snapshot, now));
        drop(engine);
        let start = Instant::now();
        let engine = Engine::open(&path).unwrap();
        let reopened = start.elapsed();
        let now = engine.snapshot();
        assert_eq!(now.digest().unwrap(), digest);
        drop(now);
        engine.checkpoint().unwrap();
        assert_eq!(engine.snapshot().digest().unwrap(), digest);
        assert!(engine.verify().unwrap().is_sound());
        println!(
            "{edges} edges, in the base: {checkpointed}: loaded in {loaded:?}, read in {read:?}, \
             deleted in {deleted:?}, opened in {reopened:?}"
        );
    }
}

#[test]
fn keys_that_begin_with_each_other_are_kept_apart() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let open = || Options::new().index("i").index("ii").open(&path).unwrap();
    let engine = open();
    let mut keys: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![0, 0],
        vec![0, 0, 0],
        vec![0, 0xff],
        vec![1],
        b"a".to_vec(),
        b"a\0".to_vec(),
        b"a\0b".to_vec(),
        b"ab".to_vec(),
        vec![0xff],
        vec![0xff; 2],
        vec![0xff; limits::KEY_BYTES - 1],
        vec![0xff; limits::KEY_BYTES],
        vec![0; limits::KEY_BYTES],
    ];
    // Two nodes for each key, and each key in an index whose name begins with
    // that of the other; every second one in the base.
    for (n, key) in (0..).zip(&keys) {
        let mut batch = Batch::new();
        for node in [2 * n, 2 * n + 1] {
            batch.put(Node::new(id(node), "node").key("i", key.clone()).key("ii", key.clone()));
        }
        engine.write(batch).unwrap();
        if n % 2 == 0 {
            engine.checkpoint().unwrap();
        }
    }
    let nodes = |n: u64| {
        let mut nodes = [id(2 * n), id(2 * n + 1)];
        nodes.sort_unstable();
        nodes
    };
    let mut expected: Vec<(Vec<u8>, NodeId)> =
        (0..).zip(&keys).flat_map(|(n, key)| nodes(n).map(|node| (key.clone(), node))).collect();
    expected.sort_unstable();
    keys.sort_unstable();
    let check = |engine: &Engine, expected: &[(Vec<u8>, NodeId)]| {
        let snapshot = engine.snapshot();
        for index in ["i", "ii"] {
            let read = |range: KeyRange| -> Vec<(Vec<u8>, NodeId)> {
                let entries = snapshot.range(index, range, Direction::Ascending).unwrap();
                entries.map(Result::unwrap).map(|e| (e.key.to_vec(), e.node.id())).collect()
            };
            let those = |test: &dyn Fn(&[u8]) -> bool| -> Vec<(Vec<u8>, NodeId)> {
                expected.iter().filter(|(key, _)| test(key)).cloned().collect()
            };
            assert_eq!(read(KeyRange::all()), expected);
            for key in &keys {
                let exactly = KeyRange::from(key.clone()..=key.clone());
                assert_eq!(read(exactly), those(&|other| other == *key), "{key:?}");
                let prefix = KeyRange::prefix(key);
                assert_eq!(read(prefix), those(&|other| other.starts_with(key)), "{key:?}");
                let after = KeyRange::from(key.clone()..);
                assert_eq!(read(after), those(&|other| other >= &**key), "{key:?}");
                let before = KeyRange::from(..key.clone());
                assert_eq!(read(before), those(&|other| other < &**key), "{key:?}");
            }
        }
    };
    check(&engine, &expected);
    engine.compact().unwrap();
    check(&engine, &expected);
    // One of two nodes lets go of its key; the other, and all longer keys, stay.
    let gone = id(0);
    let mut batch = Batch::new();
    batch.put(Node::new(gone, "node"));
    engine.write(batch).unwrap();
    expected.retain(|(_, node)| *node != gone);
    check(&engine, &expected);
    drop(engine);
    let engine = open();
    check(&engine, &expected);
    engine.checkpoint().unwrap();
    check(&engine, &expected);
    assert!(engine.verify().unwrap().is_sound());
    let mut batch = Batch::new();
    batch.put(Node::new(id(99), "node").key("i", vec![0; limits::KEY_BYTES + 1]));
    assert_eq!(engine.write(batch).unwrap_err().kind(), ErrorKind::Limit);
    check(&engine, &expected);
}
