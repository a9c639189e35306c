//! The base in edge cases: closing, truncating the log, panics, and snapshots
//! that outlive their engine.

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use ingrain::{
    Batch, Direction, Durability, Engine, Error, ErrorKind, KeyRange, Node, NodeId, Options,
    admin::RecoveryMode,
};

use crate::harness::{
    dirs::temp_dir,
    faults::{Call, Gate, failing_while, hooked, within},
    files::{read_image, write_image},
    nodes::{id, put},
    waiting::until,
};

/// Writes until the second thread has come to something.
fn fill_until(engine: &Engine, mut done: impl FnMut() -> bool) {
    for n in 0.. {
        if done() {
            return;
        }
        engine.write(put(n, [7; 10_000])).unwrap();
    }
}

fn wal_on_disk(store: &Path) -> (u64, u64) {
    let entries = fs::read_dir(store.join("wal")).unwrap().map(Result::unwrap);
    let sizes: Vec<u64> = entries.map(|entry| entry.metadata().unwrap().len()).collect();
    (sizes.len() as u64, sizes.iter().sum())
}

/// I15: a checkpoint that is under way when a poisoned engine is closed goes on
/// after the lock of the store was let go, and replaces the manifest of whoever
/// has the store then.
#[test]
fn nothing_is_written_once_the_engine_is_closed() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let gate = Arc::new(Gate::default());
    let (broken, closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let late: Arc<Mutex<Vec<String>>> = Arc::default();
    let fs = {
        let (gate, late) = (Arc::clone(&gate), Arc::clone(&late));
        let (broken, closed) = (Arc::clone(&broken), Arc::clone(&closed));
        hooked(move |call, path| {
            if call == Call::Create && within(path, "data") {
                gate.pass();
            }
            if closed.load(Ordering::SeqCst) {
                late.lock().unwrap().push(format!("{call:?} {}", path.display()));
            }
            if broken.load(Ordering::SeqCst) && within(path, "wal") {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        })
    };
    let engine = Options::new().fs(fs).open(&path).unwrap();
    engine.write(put(1, "one")).unwrap();
    gate.close();
    thread::scope(|scope| {
        let checkpoint = scope.spawn(|| engine.checkpoint());
        gate.wait_until_held();
        broken.store(true, Ordering::SeqCst);
        assert_eq!(engine.write(put(2, "two")).unwrap_err().kind(), ErrorKind::Poisoned);
        broken.store(false, Ordering::SeqCst);
        let (tell, told) = mpsc::channel();
        let (engine, closed) = (&engine, &closed);
        scope.spawn(move || {
            let result = engine.close();
            closed.store(true, Ordering::SeqCst);
            tell.send(result).unwrap();
        });
        // Closing waits for the checkpoint, however long that takes.
        let early = told.recv_timeout(Duration::from_millis(100));
        gate.open();
        assert!(early.is_err(), "closed while a checkpoint was under way");
        let _ = checkpoint.join().unwrap();
        told.recv().unwrap().unwrap_err();
    });
    let late = late.lock().unwrap();
    assert!(late.is_empty(), "after the lock was let go: {late:?}");
}

/// A snapshot that outlives its engine removes, when it goes, files of whatever
/// store has the path then.
#[test]
fn a_snapshot_of_a_closed_engine_removes_nothing() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    engine.write(put(1, "first")).unwrap();
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    drop(engine);
    let backup = read_image(&path);
    let engine = Engine::open(&path).unwrap();
    let snapshot = engine.snapshot();
    engine.write(put(1, "second")).unwrap();
    engine.compact().unwrap();
    engine.close().unwrap();
    drop(engine);
    // The store is put back as it was.
    fs::remove_dir_all(&path).unwrap();
    write_image(&path, &backup);
    let engine = Engine::open(&path).unwrap();
    drop(snapshot);
    assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), b"first");
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), b"first");
}

/// Log files that opening cuts, as a crash before the cut leaves them, are not
/// counted for ever after: the count asks for checkpoints.
#[test]
fn the_log_is_counted_as_it_is_after_opening_cut_it() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    for n in 0..50 {
        engine.write(put(n, [7; 10_000])).unwrap();
    }
    let before = read_image(&path);
    engine.checkpoint().unwrap();
    engine.write(put(99, "last")).unwrap();
    engine.close().unwrap();
    drop(engine);
    let mut image = read_image(&path);
    for (name, bytes) in before {
        if name.starts_with("wal") {
            image.entry(name).or_insert(bytes);
        }
    }
    write_image(&path, &image);
    let engine = Engine::open(&path).unwrap();
    engine.write(put(100, "more")).unwrap();
    let stats = engine.stats().write;
    assert_eq!((stats.wal_files, stats.wal_bytes), wal_on_disk(&path));
}

/// The same for a cut that fails half way.
#[test]
fn the_log_is_counted_as_it_is_after_a_cut_that_failed() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let broken = Arc::new(AtomicBool::new(false));
    let fs = {
        let broken = Arc::clone(&broken);
        let removed = AtomicBool::new(false);
        hooked(move |call, path| {
            if broken.load(Ordering::SeqCst) {
                if call == Call::Remove && path.extension().is_some_and(|e| e == "wal") {
                    removed.store(true, Ordering::SeqCst);
                }
                if call == Call::SyncDir && path.ends_with("wal") && removed.load(Ordering::SeqCst)
                {
                    return Err(io::Error::other("broken"));
                }
            }
            Ok(())
        })
    };
    let engine = Options::new().fs(fs).open(&path).unwrap();
    for n in 0..50 {
        engine.write(put(n, [7; 10_000])).unwrap();
    }
    broken.store(true, Ordering::SeqCst);
    let error = engine.checkpoint().unwrap_err();
    assert!(matches!(error, Error::Checkpoint { step: "truncate", .. }), "{error}");
    broken.store(false, Ordering::SeqCst);
    engine.write(put(100, "more")).unwrap();
    engine.checkpoint().unwrap();
    let stats = engine.stats().write;
    assert_eq!((stats.wal_files, stats.wal_bytes), wal_on_disk(&path));
}

/// A checkpoint that began by itself and failed is tried again without a further
/// write.
#[test]
fn a_checkpoint_that_failed_once_is_tried_again() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let once = Arc::new(AtomicBool::new(true));
    let fs = {
        let once = Arc::clone(&once);
        hooked(move |call, path| {
            if call == Call::Create && within(path, "data") && once.swap(false, Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        })
    };
    // Far from full when it begins, so that no writer asks for another.
    let options = Options::new().fs(fs).delta_bytes(16 << 20).durability(Durability::Os);
    let engine = options.open(&path).unwrap();
    fill_until(&engine, || engine.stats().checkpoint.failed > 0);
    until("the checkpoint is not tried again", || engine.stats().checkpoint.completed > 0);
}

/// I10: when a checkpoint cannot begin the next log file, the engine goes on.
#[test]
fn a_cut_that_failed_leaves_the_log_writable_and_is_made_up_for() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let broken = Arc::new(AtomicBool::new(false));
    let fs = failing_while(&broken, |call, path| call == Call::Create && within(path, "wal"));
    for write_before in [false, true] {
        let _ = fs::remove_dir_all(&path);
        let engine = Options::new().fs(fs.clone()).open(&path).unwrap();
        for n in 0..50 {
            engine.write(put(n, [7; 10_000])).unwrap();
        }
        let (_, long) = wal_on_disk(&path);
        broken.store(true, Ordering::SeqCst);
        let error = engine.checkpoint().unwrap_err();
        assert!(matches!(error, Error::Checkpoint { step: "truncate", .. }), "{error}");
        broken.store(false, Ordering::SeqCst);
        if write_before {
            engine.write(put(100, "more")).unwrap();
        }
        engine.checkpoint().unwrap();
        let (_, now) = wal_on_disk(&path);
        assert!(now < long / 2, "write before: {write_before}: {now} of {long} bytes are left");
        engine.write(put(101, "more")).unwrap();
        engine.close().unwrap();
        drop(engine);
        let engine = Engine::open(&path).unwrap();
        assert_eq!(engine.snapshot().node_count(), if write_before { 52 } else { 51 });
    }
}

/// A panic in a checkpoint is a failure of it: what it made goes, the next one
/// succeeds, by itself too.
#[test]
fn a_panic_in_a_checkpoint_ends_that_checkpoint_only() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let calls = Arc::new(AtomicU64::new(0));
    let fs = {
        let calls = Arc::clone(&calls);
        hooked(move |call, path| {
            if call == Call::Create
                && within(path, "data")
                && calls.fetch_add(1, Ordering::SeqCst) == 1
            {
                panic!("the disk panics");
            }
            Ok(())
        })
    };
    let options = Options::new().fs(fs).delta_bytes(16 << 20).durability(Durability::Os);
    let engine = options.open(&path).unwrap();
    fill_until(&engine, || calls.load(Ordering::SeqCst) >= 2);
    until("no more checkpoints", || engine.stats().checkpoint.completed > 0);
    until("files are left", || {
        let files = fs::read_dir(path.join("data")).unwrap().count();
        files == engine.stats().checkpoint.files
    });
    engine.close().unwrap();
}

/// A panic where a checkpoint is in the core leaves no writer waiting.
#[test]
fn a_panic_in_the_cut_leaves_nobody_waiting() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let gate = Arc::new(Gate::default());
    let armed = Arc::new(AtomicBool::new(false));
    let fs = {
        let (gate, armed) = (Arc::clone(&gate), Arc::clone(&armed));
        hooked(move |call, path| {
            if call == Call::Create && within(path, "wal") && armed.swap(false, Ordering::SeqCst) {
                gate.pass();
                panic!("the disk panics");
            }
            Ok(())
        })
    };
    let engine = Arc::new(Options::new().fs(fs).open(&path).unwrap());
    engine.write(put(1, "one")).unwrap();
    gate.close();
    armed.store(true, Ordering::SeqCst);
    let (done, answers) = mpsc::channel();
    let checkpoint = {
        let engine = Arc::clone(&engine);
        thread::spawn(move || engine.checkpoint())
    };
    gate.wait_until_held();
    {
        let engine = Arc::clone(&engine);
        thread::spawn(move || done.send(engine.write(put(2, "two")).map(drop)));
    }
    // It is queued, and the core is taken.
    until("nothing is queued", || engine.stats().write.queued == 1);
    assert!(answers.recv_timeout(Duration::from_millis(100)).is_err());
    gate.open();
    let _ = checkpoint.join();
    answers.recv_timeout(Duration::from_secs(60)).expect("the writer waits").unwrap();
}

/// Damage of the base is named as such when replay meets it, and is no reason to
/// take a good log apart.
#[test]
fn damage_of_the_base_is_not_taken_for_damage_of_the_log() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    engine.write(put(1, [7; 256])).unwrap();
    engine.checkpoint().unwrap();
    let mut touch = Batch::new();
    touch.touch(id(1));
    engine.write(touch).unwrap();
    engine.write(put(2, "two")).unwrap();
    engine.close().unwrap();
    drop(engine);
    let mut image = read_image(&path);
    let (heap, bytes) = image
        .iter_mut()
        .find(|(name, _)| name.extension().is_some_and(|extension| extension == "heap"))
        .unwrap();
    bytes[4_096 + 100] ^= 1;
    let heap = heap.clone();
    write_image(&path, &image);
    for mode in [RecoveryMode::Strict, RecoveryMode::Salvage] {
        let error = Options::new()
            .recovery(mode)
            .open(&path)
            .map(|engine| format!("{:?}", engine.recovery()));
        let error = error.unwrap_err();
        assert!(matches!(&error, Error::Corrupt { file, .. } if file.ends_with(&heap)), "{error}");
        assert!(read_image(&path) == image, "{mode:?}: something was written");
    }
}

/// Ranges that meet at a place, and cursors within and beyond them.
#[test]
fn ranges_and_cursors_agree_with_a_plain_filter() {
    for checkpointed in [false, true] {
        let dir = temp_dir();
        let engine = Options::new().index("i").open(dir.path().join("s")).unwrap();
        let mut batch = Batch::new();
        for n in 0..4_u8 {
            batch.put(Node::new(NodeId::from_bytes([n; 16]), "node").key("i", [5]).key("i", [6]));
        }
        engine.write(batch).unwrap();
        if checkpointed {
            engine.checkpoint().unwrap();
        }
        let snapshot = engine.snapshot();
        use std::ops::{
            Bound::{Excluded, Included},
            RangeBounds as _,
        };
        for direction in [Direction::Ascending, Direction::Descending] {
            let cursors: Vec<_> = {
                let mut range = snapshot.range("i", KeyRange::all(), direction).unwrap();
                std::iter::from_fn(|| range.next().map(|_| range.cursor().unwrap())).collect()
            };
            assert_eq!(cursors.len(), 8);
            let mut all: Vec<(u8, u8)> =
                [5, 6].into_iter().flat_map(|key| (0..4).map(move |node| (key, node))).collect();
            if direction == Direction::Descending {
                all.reverse();
            }
            for low in [Included(vec![5]), Excluded(vec![5])] {
                for high in [Included(vec![6]), Excluded(vec![6]), Excluded(vec![5])] {
                    let bounds = (low.clone(), high.clone());
                    let mut whole: Vec<(u8, u8)> = [5_u8, 6]
                        .into_iter()
                        .filter(|key| bounds.contains(&vec![*key]))
                        .flat_map(|key| (0..4).map(move |node| (key, node)))
                        .collect();
                    if direction == Direction::Descending {
                        whole.reverse();
                    }
                    let read = |range: ingrain::IndexEntries<'_>| -> Vec<(u8, u8)> {
                        let entries = range.map(Result::unwrap);
                        entries.map(|e| (e.key[0], e.node.id().as_bytes()[0])).collect()
                    };
                    let range = || snapshot.range("i", bounds.clone(), direction).unwrap();
                    assert_eq!(read(range()), whole, "{bounds:?}");
                    for (cursor, at) in cursors.iter().zip(&all) {
                        let rest = whole.iter().filter(|entry| match direction {
                            Direction::Ascending => *entry > at,
                            Direction::Descending => *entry < at,
                        });
                        assert!(
                            read(range().after(cursor).unwrap()).iter().eq(rest),
                            "{bounds:?} {at:?}"
                        );
                    }
                }
            }
        }
    }
}

#[cfg(feature = "sim")]
mod simulated {
    use std::collections::BTreeMap;

    use ingrain::{
        Edge, Metric, Patch, Snapshot, Space,
        search::Filter,
        sim::{Call, Failure, SimDisk},
    };

    use super::*;
    use crate::harness::{disks::on_disk, random::Random};

    const NODES: u64 = 14;

    fn batch(random: &mut Random) -> Batch {
        let mut batch = Batch::new();
        for _ in 0..=random.below(4) {
            let a = id(random.below(NODES));
            let b = id(random.below(NODES));
            let kind = ["k0", "k1", "k2"][random.below(3) as usize];
            let vector = vec![random.below(100) as f32 + 1.0, random.below(100) as f32];
            match random.below(12) {
                0..=2 => {
                    let len = random.below(200) as usize;
                    let mut node = Node::new(a, kind).content(vec![random.below(255) as u8; len]);
                    for _ in 0..random.below(3) {
                        node = node.key("i", [random.below(6) as u8]);
                    }
                    if random.below(2) == 0 {
                        node = node.vector("v", vector);
                    }
                    if random.below(3) == 0 {
                        node = node.vector("w", vec![random.below(9) as f32 + 1.0]);
                    }
                    batch.put(node);
                }
                3 => {
                    batch.delete(a);
                }
                4 => {
                    batch.touch(a);
                }
                5 | 6 => {
                    let mut patch = Patch::new();
                    match random.below(6) {
                        0 => patch = patch.kind(kind),
                        1 => patch = patch.content(vec![1; random.below(300) as usize]),
                        2 => patch = patch.vector("v", vector),
                        3 => patch = patch.remove_vector("v"),
                        4 => patch = patch.keys("i", vec![vec![random.below(6) as u8]]),
                        _ => patch = patch.remove_vector("v").strength(0.5),
                    }
                    batch.patch(a, patch);
                }
                7..=9 => {
                    batch.link(
                        Edge::new(a, kind, b).weight(random.below(9) as f64).attribute("x", 1_i64),
                    );
                }
                10 => {
                    batch.unlink(a, kind, b);
                }
                _ => {
                    let at = ingrain::Timestamp::from_micros(random.below(100) as i64);
                    batch.expire(a, (random.below(2) == 0).then_some(at));
                }
            }
        }
        batch
    }

    fn all(snapshot: &Snapshot) -> Vec<String> {
        let mut out = vec![
            format!("{}", snapshot.seq()),
            format!(
                "{} {} {} {}",
                snapshot.node_count(),
                snapshot.edge_count(),
                snapshot.key_count(),
                snapshot.vector_count()
            ),
            snapshot.digest().unwrap().to_string(),
        ];
        let (mut nodes, mut edges, mut keys, mut vectors) = (0, 0, 0, 0);
        for kind in ["k0", "k1", "k2"] {
            for node in snapshot.scan(kind) {
                let node = node.unwrap();
                nodes += 1;
                keys += node.keys().count();
                for space in ["v", "w"] {
                    vectors += usize::from(node.vector(space).unwrap().is_some());
                }
                out.push(format!("{kind} {:?}", node.to_exact_node().unwrap()));
            }
        }
        for n in 0..NODES {
            assert_eq!(snapshot.contains(id(n)).unwrap(), snapshot.get(id(n)).unwrap().is_some());
            // A kind that was gone and came back comes after those that stayed.
            let mut of_node = Vec::new();
            for edge in snapshot.edges_out(id(n)) {
                edges += 1;
                of_node.push(format!("out {:?}", edge.unwrap().to_exact_edge().unwrap()));
            }
            for edge in snapshot.edges_in(id(n)) {
                of_node.push(format!("in {:?}", edge.unwrap().to_exact_edge().unwrap()));
            }
            of_node.sort_unstable();
            out.append(&mut of_node);
        }
        for direction in [Direction::Ascending, Direction::Descending] {
            for range in [
                KeyRange::all(),
                KeyRange::from(vec![2]..vec![4]),
                KeyRange::from(vec![2]..=vec![4]),
                KeyRange::from(vec![3]..),
            ] {
                let mut entries = Vec::new();
                let mut cursor = None;
                // Each from a cursor of its own.
                loop {
                    let mut read = snapshot.range("i", range.clone(), direction).unwrap();
                    if let Some(cursor) = &cursor {
                        read = read.after(cursor).unwrap();
                    }
                    let Some(entry) = read.next() else { break };
                    let entry = entry.unwrap();
                    entries.push(format!("{:?} {}", entry.key, entry.node.id()));
                    cursor = read.cursor();
                }
                out.push(format!("{entries:?}"));
            }
        }
        let late = ingrain::Timestamp::from_micros(50);
        out.push(format!("{:?}", snapshot.expired(late).map(Result::unwrap).collect::<Vec<_>>()));
        for (space, query) in [("v", vec![3.0, 4.0]), ("w", vec![1.0])] {
            for k in [3, 100] {
                let hits = snapshot.nearest(space, &query, k, &Filter::new()).unwrap();
                out.push(format!(
                    "{:?}",
                    hits.iter().map(|hit| (hit.distance, hit.node.id())).collect::<Vec<_>>()
                ));
            }
        }
        assert_eq!(
            (nodes, edges, keys, vectors),
            (
                snapshot.node_count(),
                snapshot.edge_count(),
                snapshot.key_count(),
                snapshot.vector_count()
            )
        );
        out
    }

    /// A store with checkpoints that fail and succeed, a layer frozen half of
    /// the time, says at any time what one without a base says.
    #[test]
    fn three_levels_say_what_one_says() {
        let seeds = std::env::var("REVIEW_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(40);
        for seed in 0..seeds {
            let (disk, plain) = (SimDisk::new(), SimDisk::new());
            let open = |disk: &SimDisk| {
                let options = Options::new()
                    .tiny_partition_bytes(256)
                    .index("i")
                    .space("v", Space::new(2, Metric::L2))
                    .space("w", Space::new(1, Metric::L2));
                on_disk(disk, options).open("/s").unwrap()
            };
            let (mut engine, other) = (open(&disk), open(&plain));
            let mut random = Random(seed);
            let mut kept: BTreeMap<u64, (Snapshot, Vec<String>)> = BTreeMap::new();
            for step in 0..120 {
                match random.below(12) {
                    0 => drop(engine.checkpoint()),
                    1 => {
                        disk.fail(1 + random.below(40), None, Failure::Io, false);
                        let failed = engine.checkpoint();
                        disk.heal();
                        if matches!(failed, Err(Error::Checkpoint { step: "truncate", .. })) {
                            drop(engine);
                            engine = open(&disk);
                        }
                    }
                    2 => {
                        disk.fail(1, Some(Call::Create), Failure::Io, true);
                        let _ = engine.checkpoint();
                        disk.heal();
                    }
                    3 => {
                        engine.compact().unwrap();
                    }
                    4 => {
                        drop(engine);
                        engine = open(&disk);
                    }
                    5 => {
                        let snapshot = engine.snapshot();
                        let said = all(&snapshot);
                        kept.insert(random.below(3), (snapshot, said));
                    }
                    _ => {
                        let batch = batch(&mut random);
                        let (a, b) = (engine.write(batch.clone()), other.write(batch));
                        assert_eq!(format!("{a:?}"), format!("{b:?}"), "seed {seed} step {step}");
                    }
                }
                let (a, b) = (all(&engine.snapshot()), all(&other.snapshot()));
                assert_eq!(a, b, "seed {seed} step {step}");
                for (snapshot, said) in kept.values() {
                    assert_eq!(&all(snapshot), said, "seed {seed} step {step}: a snapshot changed");
                }
            }
            let report = engine.verify().unwrap();
            assert!(report.is_sound(), "seed {seed}: {report:?}");
        }
    }
}
