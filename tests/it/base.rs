//! The base: what a checkpoint writes, and the state after a failed checkpoint.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ingrain::{
    Batch, Durability, Edge, Engine, Error, ErrorKind, KeyRange, Metric, Node, NodeId, Options,
    Seq, Snapshot, Space, Timestamp, admin::SnapshotStats, os::Clock,
};

use crate::harness::{
    dirs::temp_dir,
    faults::{Call, failing_while, hooked, within},
    files::{overwrite, read_image, write_image},
    in_partitions_of,
    nodes::{id, put},
    seal,
};

fn size(path: &Path) -> u64 {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => meta.len(),
            // A checkpoint was quicker.
            Err(_) => 0,
        })
        .sum()
}

fn data_files(store: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(store.join("data")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The parts of a table.
fn parts(store: &Path, kind: &str) -> usize {
    data_files(store).iter().filter(|path| path.extension().is_some_and(|e| e == kind)).count()
}

/// Ids with all sorts of spread: every one is found, and nothing between them.
#[test]
fn ids_are_found_however_they_are_spread() {
    let spread: Vec<(&str, Vec<u128>)> = vec![
        ("even", (0..3_000).map(|n| u128::from_be_bytes(*id(n).as_bytes())).collect()),
        ("times", (0..3_000).map(|_| u128::from_be_bytes(*NodeId::new().as_bytes())).collect()),
        ("dense", (0..3_000).map(|n| n * 2 + 7).collect()),
        ("one prefix", (0..3_000).map(|n| (9 << 64) | (n * 1_000_003)).collect()),
        ("powers", (0..126).map(|n| 2 << n).collect()),
        ("clusters", (0..3_000).map(|n| ((n % 7) << 120) | ((n / 7) * 3)).collect()),
        ("ends", vec![0, 2, u128::MAX - 2, u128::MAX]),
        ("one", vec![5]),
    ];
    for (name, mut ids) in spread {
        for partition_bytes in [2_000, 128 << 20] {
            let dir = temp_dir();
            let options = in_partitions_of(partition_bytes, Options::new());
            let options = options.durability(Durability::Os);
            let engine = options.open(dir.path().join("s")).unwrap();
            let mut batch = Batch::new();
            for n in &ids {
                batch.put(
                    Node::new(NodeId::from_bytes(n.to_be_bytes()), "node").content(n.to_le_bytes()),
                );
            }
            engine.write(batch).unwrap();
            engine.checkpoint().unwrap();
            let snapshot = engine.snapshot();
            ids.sort_unstable();
            for n in &ids {
                let node = snapshot.get(NodeId::from_bytes(n.to_be_bytes())).unwrap();
                assert_eq!(
                    node.unwrap_or_else(|| panic!("{name}: {n}")).content(),
                    n.to_le_bytes()
                );
                for absent in [n.wrapping_sub(1), n.wrapping_add(1), n ^ (1 << 100)] {
                    let there = ids.binary_search(&absent).is_ok();
                    let found = snapshot.contains(NodeId::from_bytes(absent.to_be_bytes()));
                    assert_eq!(found.unwrap(), there, "{name}: {absent}");
                }
            }
            let scanned: Vec<NodeId> =
                snapshot.scan("node").map(|node| node.unwrap().id()).collect();
            assert!(
                scanned
                    .iter()
                    .map(|id| u128::from_be_bytes(*id.as_bytes()))
                    .eq(ids.iter().copied())
            );
        }
    }
}

#[test]
fn parts_split_as_they_grow_and_merge_as_they_shrink() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Options::new().partition_bytes(4_096).index("i").open(&path).unwrap();
    let mut batch = Batch::new();
    for n in 0..2_000 {
        batch.put(Node::new(id(n), "node").key("i", n.to_be_bytes()));
        if n > 0 {
            batch.link(Edge::new(id(n), "next", id(n - 1)));
        }
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    let count = |kind| parts(&path, kind);
    // 32 and 88 bytes a row, 32 a key.
    assert_eq!((count("nodes"), count("keys")), (16, 16));
    assert!(count("out") >= 43 && count("in") >= 43);

    // One node more touches one part of each table it is in.
    let before = data_files(&path);
    engine.write(put(2_000, "one")).unwrap();
    engine.checkpoint().unwrap();
    let after = data_files(&path);
    let kept = before.iter().filter(|path| after.contains(path)).count();
    assert!(kept >= before.len() - 4, "{kept} of {}", before.len());

    let mut batch = Batch::new();
    for n in 30..2_001 {
        batch.delete(id(n));
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!((count("nodes"), count("out"), count("in"), count("keys")), (1, 1, 1, 1));
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.node_count(), snapshot.edge_count(), snapshot.key_count()), (30, 29, 30));
    drop(snapshot);

    let mut batch = Batch::new();
    for n in 0..30 {
        batch.delete(id(n));
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(data_files(&path), Vec::<PathBuf>::new());
    engine.write(put(1, "again")).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(engine.snapshot().node_count(), 1);
}

/// What went wrong elsewhere: a flush that did not drain the queue and then cut
/// the log.
#[test]
fn checkpoints_among_100_000_concurrent_writes_lose_none() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 25_000;
    let dir = temp_dir();
    let path = dir.path().join("s");
    // A write log that is full much of the time, and files that rotate.
    let options = || {
        Options::new().durability(Durability::Os).write_log_batches(256).wal_file_bytes(256 << 10)
    };
    let engine = options().open(&path).unwrap();
    let acknowledged = AtomicU64::new(0);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (engine, acknowledged) = (&engine, &acknowledged);
            scope.spawn(move || {
                let mut tickets = Vec::new();
                for n in writer * EACH..(writer + 1) * EACH {
                    tickets.push(engine.submit(put(n, n.to_le_bytes())).unwrap());
                    if tickets.len() == 512 {
                        for ticket in tickets.drain(..) {
                            ticket.wait().unwrap();
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
                for ticket in tickets {
                    ticket.wait().unwrap();
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let mut checkpoints = 0;
        while acknowledged.load(Ordering::SeqCst) < WRITERS * EACH {
            let before = acknowledged.load(Ordering::SeqCst);
            let covered = engine.checkpoint().unwrap();
            // I10: all that was acknowledged before the call.
            assert!(covered.get() >= before);
            checkpoints += 1;
        }
        assert!(checkpoints > 3);
    });
    let check = |snapshot: &Snapshot| {
        assert_eq!(snapshot.node_count() as u64, WRITERS * EACH);
        for n in 0..WRITERS * EACH {
            assert_eq!(snapshot.get(id(n)).unwrap().unwrap().content(), n.to_le_bytes());
        }
    };
    check(&engine.snapshot());
    // As a crash of the process leaves it.
    drop(engine);
    check(&options().open(&path).unwrap().snapshot());
}

/// Data files are written at multiples of a piece, which is what huge pages are
/// made of where they are asked for. Nothing in the files tells.
#[test]
fn files_are_written_in_pieces_that_make_huge_pages() {
    let dir = temp_dir();
    for (huge_pages, piece) in [(false, 1 << 20), (true, 2 << 20)] {
        let writes = Arc::new(AtomicU64::new(0));
        let fs = {
            let writes = Arc::clone(&writes);
            hooked(move |call, path| {
                if call == Call::Write && path.extension().is_some_and(|e| e == "heap") {
                    writes.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        };
        let store = dir.path().join(if huge_pages { "huge" } else { "not" });
        let options = Options::new().fs(fs).huge_pages(huge_pages).inline(true);
        let engine = options.open(&store).unwrap();
        // The records end within the first block after ten of the smaller pieces,
        // of which the first is a block short.
        for n in 0..10 {
            let left_out = if n == 0 { 2_000 } else { 0 };
            engine.write(put(n, vec![7; (1 << 20) - left_out])).unwrap();
        }
        engine.checkpoint().unwrap();
        engine.close().unwrap();
        let heaps = data_files(&store).into_iter().filter(|p| p.extension().unwrap() == "heap");
        let pieces: u64 = heaps.map(|p| fs::metadata(p).unwrap().len().div_ceil(piece)).sum();
        // And the checksums, and the first block.
        assert_eq!(writes.load(Ordering::SeqCst), pieces + 2);
        // With the other setting.
        let engine = Options::new().huge_pages(!huge_pages).open(&store).unwrap();
        assert!(engine.verify().unwrap().is_sound());
        assert_eq!(engine.snapshot().get(id(8)).unwrap().unwrap().content(), [7; 1 << 20]);
    }
}

/// I16: while the base cannot take anything, the delta grows to its budget and
/// no further, writers are held and turned away, and readers notice nothing.
/// When it can again, all goes on.
#[test]
fn a_base_that_takes_nothing_holds_writers_within_the_budget() {
    const BUDGET: usize = 512 << 10;
    for inline in [false, true] {
        let dir = temp_dir();
        let broken = Arc::new(AtomicBool::new(true));
        let fs = failing_while(&broken, |call, path| call == Call::Create && within(path, "data"));
        let options = || {
            Options::new()
                .fs(Arc::clone(&fs) as _)
                .durability(Durability::Os)
                .delta_bytes(BUDGET)
                .patience(Duration::from_millis(40))
                .inline(inline)
        };
        let engine = options().open(dir.path().join("s")).unwrap();
        let mut written = 0;
        let error = loop {
            match engine.write(put(written, [7; 1_000])) {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 2_000, "no bound");
        };
        assert!(matches!(error, Error::Backpressure { delta, .. } if delta >= BUDGET), "{error}");
        let stats = engine.stats().checkpoint;
        assert!(stats.delta_bytes < BUDGET + 8_000, "{}", stats.delta_bytes);
        assert!(stats.failed > 0 && stats.completed == 0, "{stats:?}");
        assert!(stats.last_failure.unwrap().contains("checkpoint failed at nodes"));
        let asked = engine.checkpoint().unwrap_err();
        assert_eq!(asked.kind(), ErrorKind::DiskFull);
        assert_eq!(engine.snapshot().node_count() as u64, written);

        broken.store(false, Ordering::SeqCst);
        engine.checkpoint().unwrap();
        for n in written..written + 2_000 {
            engine.write(put(n, [7; 1_000])).unwrap();
        }
        let written = written + 2_000;
        assert_eq!(engine.snapshot().node_count() as u64, written);
        assert!(engine.stats().checkpoint.delta_bytes < BUDGET + 8_000);
        engine.close().unwrap();
        drop(engine);
        let engine = options().open(dir.path().join("s")).unwrap();
        assert_eq!(engine.snapshot().node_count() as u64, written);
    }
}

/// What is left to replay after a crash is bounded by what a checkpoint costs:
/// the delta is taken at twice the tables, between an eighth and half of it;
/// with vectors, of which each checkpoint makes a file, at half.
#[test]
fn a_checkpoint_is_due_at_twice_the_tables() {
    const DELTA: usize = 8 << 20;
    const ROW: usize = 32;
    for (nodes, vector, due) in [
        (0, false, DELTA / 8),
        (40_000, false, 40_000 * ROW * 2),
        (200_000, false, DELTA / 2),
        (0, true, DELTA / 2),
    ] {
        let dir = temp_dir();
        let engine = Options::new()
            .durability(Durability::Os)
            .delta_bytes(DELTA)
            .space("s", Space::new(4, Metric::Dot))
            .inline(true)
            .open(dir.path().join("s"))
            .unwrap();
        for from in (0..nodes).step_by(1_000) {
            let mut batch = Batch::new();
            for n in from..from + 1_000 {
                batch.put(Node::new(id(n as u64), "node"));
            }
            engine.write(batch).unwrap();
        }
        engine.checkpoint().unwrap();
        let before = engine.stats().checkpoint.completed;
        let (mut n, mut most) = (0, 0);
        while engine.stats().checkpoint.completed == before {
            let mut batch = Batch::new();
            let node = Node::new(id(n), "node").content([n as u8; 2_000]);
            batch.put(if vector { node.vector("s", [1.0; 4]) } else { node });
            engine.write(batch).unwrap();
            most = most.max(engine.stats().checkpoint.delta_bytes);
            n += 1;
        }
        // Each write does a step of it.
        let range = due..due + (64 << 10);
        assert!(range.contains(&most), "{nodes} {vector}: {most} of {range:?}");
    }
}

/// I17: garbage goes by itself.
#[test]
fn overwriting_every_key_ten_times_stays_within_twice_the_live_bytes() {
    const NODES: u64 = 20_000;
    const DELTA: u64 = 4 << 20;
    for ordered in [false, true] {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let engine = Options::new()
            .durability(Durability::Os)
            .delta_bytes(DELTA as usize)
            .wal_bytes(512 << 10)
            .wal_file_bytes(128 << 10)
            .partition_bytes(64 << 10)
            .open(&path)
            .unwrap();
        let name = |n: u64| {
            if ordered { NodeId::from_bytes((u128::from(n) << 80).to_be_bytes()) } else { id(n) }
        };
        let mut peak = 0;
        for round in 0..11_u64 {
            for from in (0..NODES).step_by(100) {
                let mut batch = Batch::new();
                for n in from..from + 100 {
                    batch.put(Node::new(name(n), "node").content([(n + round) as u8; 256]));
                }
                engine.write(batch).unwrap();
            }
            if round > 0 {
                peak = peak.max(size(&path.join("data")));
            }
        }
        engine.close().unwrap();
        let live = NODES * (256 + 16);
        // What is live takes some 312 bytes a node; what a checkpoint was given
        // comes on top.
        let most = NODES * 312 * 5 / 2 + DELTA;
        let now = size(&path);
        println!("ordered {ordered}: {now} of {live} live, {peak} at most");
        assert!(now <= 2 * live, "{now} bytes on disk, {live} live");
        assert!(peak <= most, "{peak} bytes of data files at a time, {live} live");
        drop(engine);
        let engine = Engine::open(&path).unwrap();
        assert_eq!(engine.snapshot().node_count() as u64, NODES);
        let (done, mut peak) = (AtomicBool::new(false), 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                engine.compact().unwrap();
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                peak = peak.max(size(&path.join("data")));
            }
        });
        assert!(peak <= most, "{peak} bytes of data files at a time, {live} live");
        let now = size(&path);
        assert!(now <= live * 5 / 4, "{now} bytes after compaction, {live} live");
        for n in (0..NODES).step_by(7) {
            let snapshot = engine.snapshot();
            assert_eq!(snapshot.get(name(n)).unwrap().unwrap().content(), [(n + 10) as u8; 256]);
        }
    }
}

/// I8: old files stay for those who read them, and go with the last.
#[test]
fn a_snapshot_keeps_its_files_until_it_is_dropped() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    engine.write(put(1, "first")).unwrap();
    engine.checkpoint().unwrap();
    let first = data_files(&path);
    let held = engine.snapshot();
    engine.write(put(1, "second")).unwrap();
    engine.compact().unwrap();
    let node = held.get(id(1)).unwrap().unwrap();
    assert_eq!(node.content(), b"first");
    assert!(first.iter().all(|file| file.exists()));
    let digest = held.digest().unwrap();
    let other = held.clone();
    drop(held);
    assert_eq!(other.digest().unwrap(), digest);
    drop(other);
    assert!(first.iter().all(|file| !file.exists()));
    assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), b"second");
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
struct StandingClock(AtomicU64);

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn the_statistics_say_what_held_snapshots_keep_and_for_how_long() {
    let dir = temp_dir();
    let clock = Arc::new(StandingClock::default());
    let options = Options::new().inline(true).clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let engine = options.open(dir.path().join("s")).unwrap();
    let go_on = |millis| clock.0.fetch_add(millis, Ordering::SeqCst);
    let kept = || engine.stats().snapshots;
    let opened = engine.snapshot();
    go_on(1_500);
    let first = engine.write(put(1, vec![b'x'; 10_000])).unwrap();
    assert_eq!((kept().oldest, kept().oldest_age_ms), (Some(Seq::ZERO), 1_500));
    drop(opened);
    assert_eq!(kept(), SnapshotStats::default());
    let held = engine.snapshot();
    assert_eq!(kept(), SnapshotStats::default(), "it is the current state");
    engine.checkpoint().unwrap();
    let layer = kept();
    assert_eq!((layer.layers, layer.files), (1, 0));
    assert!(layer.layer_bytes > 100, "{layer:?}");
    let in_base = engine.snapshot();
    go_on(2_000);
    engine.write(put(1, "second")).unwrap();
    engine.compact().unwrap();
    let all = kept();
    assert_eq!((all.oldest, all.oldest_age_ms), (Some(first), 2_000));
    // The second layer was empty when `in_base` was taken, and is shared.
    assert_eq!((all.layers, all.files), (2, 2), "nodes and heap");
    assert!(all.file_bytes > 10_000, "{all:?}");
    go_on(500);
    drop(held);
    assert_eq!((kept().layers, kept().files), (1, 2));
    assert_eq!((kept().oldest, kept().oldest_age_ms), (Some(first), 2_500));
    drop(in_base);
    assert_eq!(kept(), SnapshotStats::default());
}

/// I13, and what went wrong elsewhere: a store that could not be read was
/// begun anew, and the next flush wrote over it.
#[test]
fn a_store_whose_base_cannot_be_read_is_refused_and_left_alone() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Options::new().index("i").open(&path).unwrap();
    let mut batch = Batch::new();
    batch.put(Node::new(id(1), "node").content("content").key("i", [1]));
    batch.put(Node::new(id(2), "node"));
    batch.link(Edge::new(id(1), "to", id(2)).attribute("a", 1_i64));
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    drop(engine);
    let whole = read_image(&path);
    let names: Vec<PathBuf> = whole.keys().filter(|n| n.starts_with("data")).cloned().collect();
    assert_eq!(names.len(), 5);
    for name in names {
        let mut images: BTreeMap<&str, _> = BTreeMap::new();
        for damage in ["missing", "cut", "longer", "header", "another store's"] {
            let mut image = whole.clone();
            let bytes = image.get_mut(&name).unwrap();
            match damage {
                "missing" => drop(image.remove(&name)),
                "cut" => bytes.truncate(bytes.len() - 4_096),
                "longer" => bytes.extend([0; 4_096]),
                "header" => bytes[40] ^= 1,
                _ => {
                    bytes[16] ^= 1;
                    seal::first_block(bytes);
                }
            }
            images.insert(damage, image);
        }
        for (damage, image) in images {
            write_image(&path, &image);
            if name.extension().unwrap() == "heap"
                && ["header", "another store's"].contains(&damage)
            {
                // Met where it is read: `files_of_another_store_are_refused`.
                let engine = Engine::open(&path).unwrap();
                let error = engine.snapshot().get(id(1)).unwrap_err();
                assert!(matches!(&error, Error::Corrupt { file, .. } if file.ends_with(&name)));
                drop(engine);
                assert!(read_image(&path) == image, "{damage}: something was written");
                continue;
            }
            let error = Engine::open(&path).unwrap_err();
            assert!(
                matches!(&error, Error::Corrupt { file, .. } if file.ends_with(&name)),
                "{damage}: {error}"
            );
            assert!(read_image(&path) == image, "{damage}: something was written");
        }
    }
    write_image(&path, &whole);
    Engine::open(&path).unwrap();
}

/// A damaged block is met where it is read, and nowhere else; a write that
/// depends on it is refused, and others go on.
#[test]
fn damage_is_met_where_it_is_read() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    let mut batch = Batch::new();
    for n in 0..1_000 {
        batch.put(Node::new(id(n), "node").content([n as u8; 256]));
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    drop(engine);
    let heap = data_files(&path).into_iter().find(|p| p.extension().unwrap() == "heap").unwrap();
    let mut bytes = fs::read(&heap).unwrap();
    bytes[100_000] ^= 4;
    overwrite(&heap, &bytes);

    let engine = Engine::open(&path).unwrap();
    let snapshot = engine.snapshot();
    let mut damaged = Vec::new();
    for n in 0..1_000 {
        match snapshot.get(id(n)) {
            Ok(node) => assert_eq!(node.unwrap().content(), [n as u8; 256]),
            Err(Error::Corrupt { file, offset, .. }) => {
                assert_eq!((file, offset), (heap.clone(), 100_000 / 4_096 * 4_096));
                damaged.push(n);
            }
            Err(error) => panic!("{error}"),
        }
    }
    // A block of 4,096 bytes has parts of some sixteen records.
    assert!((14..=17).contains(&damaged.len()), "{damaged:?}");
    let patch = |n| {
        let mut batch = Batch::new();
        batch.touch(id(n));
        batch
    };
    assert_eq!(engine.write(patch(damaged[0])).unwrap_err().kind(), ErrorKind::Corrupt);
    let whole = (0..1_000).find(|n| !damaged.contains(n)).unwrap();
    engine.write(patch(whole)).unwrap();
    assert!(snapshot.scan("node").any(|node| node.is_err()));
}

/// I6 over the base: what a deleted node had there is gone with it.
#[test]
fn deleting_takes_what_the_base_has() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let options = || in_partitions_of(300, Options::new().index("i"));
    let engine = options().open(&path).unwrap();
    let mut batch = Batch::new();
    for n in 0..40 {
        batch.put(Node::new(id(n), "node").key("i", n.to_be_bytes()));
    }
    for n in 0..40 {
        batch.link(Edge::new(id(7), "to", id(n)));
        batch.link(Edge::new(id(n), "from", id(7)));
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    let mut batch = Batch::new();
    batch.delete(id(7));
    engine.write(batch).unwrap();
    let check = |snapshot: &Snapshot| {
        assert_eq!((snapshot.node_count(), snapshot.edge_count()), (39, 0));
        assert!(snapshot.get(id(7)).unwrap().is_none());
        for n in 0..40 {
            assert_eq!(snapshot.edges_in(id(n)).count() + snapshot.edges_out(id(n)).count(), 0);
        }
        let keys = snapshot.range("i", KeyRange::all(), ingrain::Direction::Ascending).unwrap();
        assert_eq!(keys.count(), 39);
        assert_eq!(snapshot.key_count(), 39);
    };
    check(&engine.snapshot());
    engine.checkpoint().unwrap();
    check(&engine.snapshot());
    // Made again, it has nothing of what it had.
    engine.write(put(7, "again")).unwrap();
    assert_eq!(engine.snapshot().edges_out(id(7)).count(), 0);
    engine.checkpoint().unwrap();
    drop(engine);
    let engine = options().open(&path).unwrap();
    assert_eq!(engine.snapshot().edges_out(id(7)).count(), 0);
    assert_eq!(engine.snapshot().edge_count(), 0);
}

/// A touch leaves a large content where it is.
#[test]
fn content_is_rewritten_for_garbage_only() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    let content: Vec<u8> = (0..1_000_000_u32).map(|n| n as u8).collect();
    engine.write(put(1, content.clone())).unwrap();
    engine.checkpoint().unwrap();
    let before = engine.stats().checkpoint.written_bytes;
    for _ in 0..5 {
        let mut batch = Batch::new();
        batch.touch(id(1));
        engine.write(batch).unwrap();
        assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), content);
        engine.checkpoint().unwrap();
        assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), content);
    }
    let written = engine.stats().checkpoint.written_bytes - before;
    assert!(written < 300_000, "{written} bytes for five touches");
    engine.compact().unwrap();
    let node = engine.snapshot();
    let node = node.get(id(1)).unwrap().unwrap();
    assert_eq!((node.access_count(), node.content()), (5, content.as_slice()));
}

#[cfg(feature = "sim")]
mod simulated {
    use ingrain::sim::{Failure, SimDisk};

    use super::*;
    use crate::harness::disks::on_disk;

    fn open(disk: &SimDisk) -> Engine {
        let options = Options::new().index("i").tiny_partition_bytes(1 << 10);
        on_disk(disk, options).open("/s").unwrap()
    }

    fn fill(engine: &Engine, from: u64, to: u64) {
        for n in from..to {
            let mut batch = Batch::new();
            batch.put(
                Node::new(id(n), "node").content(vec![n as u8; 200]).key("i", n.to_be_bytes()),
            );
            if n > 0 {
                batch.link(Edge::new(id(n), "next", id(n - 1)).attribute("n", n as i64));
            }
            engine.write(batch).unwrap();
        }
    }

    /// The same calls, whatever there is.
    #[test]
    fn opening_costs_the_same_whatever_the_size() {
        let calls = |nodes: u64| {
            let disk = SimDisk::new();
            let options = || on_disk(&disk, Options::new());
            let engine = options().open("/s").unwrap();
            fill_plain(&engine, nodes);
            engine.checkpoint().unwrap();
            engine.close().unwrap();
            drop(engine);
            let before = disk.calls();
            options().open("/s").unwrap();
            let after = disk.calls();
            after
                .into_iter()
                .map(|(call, n)| (call, n - before.get(&call).copied().unwrap_or(0)))
                .filter(|(_, n)| *n > 0)
                .collect::<BTreeMap<_, _>>()
        };
        let (small, large) = (calls(10), calls(10_000));
        assert!(small.values().sum::<u64>() < 30, "{small:?}");
        assert_eq!(small, large);
    }

    fn fill_plain(engine: &Engine, nodes: u64) {
        let mut batch = Batch::new();
        for n in 0..nodes {
            batch.put(Node::new(id(n), "node"));
        }
        engine.write(batch).unwrap();
    }

    /// I10: whatever fails in a checkpoint, nothing is lost, the error names
    /// the step, the engine goes on, and the next one succeeds.
    fn failing(fault: impl Fn(&SimDisk, u64)) -> (u64, Vec<String>) {
        let mut steps = Vec::new();
        for n in 1.. {
            let disk = SimDisk::new();
            let engine = open(&disk);
            fill(&engine, 0, 40);
            engine.checkpoint().unwrap();
            fill(&engine, 40, 60);
            let mut batch = Batch::new();
            batch.delete(id(3));
            engine.write(batch).unwrap();
            let digest = engine.snapshot().digest().unwrap();
            fault(&disk, n);
            let calls = || disk.calls().values().sum::<u64>();
            let before = calls();
            let made = engine.checkpoint();
            let made_calls = calls() - before;
            disk.heal();
            assert_eq!(engine.snapshot().digest().unwrap(), digest);
            let error = match made {
                Err(error) => error,
                Ok(_) if n > made_calls => return (n, steps),
                // Files of the old base that could not be removed are left.
                Ok(_) => continue,
            };
            let Error::Checkpoint { step, .. } = &error else { panic!("{error}") };
            steps.push((*step).to_owned());
            if *step != "truncate" {
                // What was not finished is gone, or kept for a manifest that
                // the disk may have.
                fill(&engine, 60, 62);
            }
            let written = engine.snapshot().digest().unwrap();
            engine.checkpoint().unwrap_or_else(|again| panic!("{error}, then {again}"));
            assert_eq!(engine.snapshot().digest().unwrap(), written);
            drop(engine);
            for left in [disk.crash(ingrain::sim::Loss::All, n), disk.clone()] {
                assert_eq!(open(&left).snapshot().digest().unwrap(), written, "{error}");
            }
        }
        unreachable!()
    }

    #[test]
    fn a_checkpoint_that_fails_at_any_call_loses_nothing_and_the_next_succeeds() {
        let (calls, mut steps) = failing(|disk, n| disk.fail(n, None, Failure::Io, false));
        assert!(calls > 60, "{calls}");
        steps.dedup();
        for step in ["nodes", "out", "in", "keys", "heap", "sync", "map", "publish", "truncate"] {
            assert!(steps.iter().any(|s| s == step), "{step} is not in {steps:?}");
        }
    }

    #[test]
    fn a_checkpoint_on_a_disk_full_at_any_kilobyte_loses_nothing_and_the_next_succeeds() {
        let (kilobytes, _) = failing(|disk, n| disk.limit_space(Some((n as usize - 1) * 1024)));
        assert!(kilobytes > 100, "{kilobytes}");
    }
}
