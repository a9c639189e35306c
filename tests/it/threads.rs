//! Many writers and readers at once.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use ingrain::{
    Batch, Direction, Durability, Edge, Engine, ErrorKind, KeyRange, Metric, Node, NodeId, Op,
    Options, Patch, Snapshot, Space,
    search::{Filter, Search},
};

use crate::harness::{
    dirs::temp_dir,
    files::read_image,
    nodes::{id, id_of_writer},
    waiting::until,
};

/// Tells this test binary that it is a child that can start no thread.
const WITHOUT_THREADS: &str = "INGRAIN_WITHOUT_THREADS";

const WRITERS: u64 = 16;
const READERS: usize = 4;
const ROUNDS: u64 = 60;

/// Round `n` of a writer: both its nodes say `n`, in content, key, vector and
/// edges both ways. A snapshot that shows two different numbers shows half a
/// batch.
fn round(writer: u64, n: u64) -> Batch {
    let mut batch = Batch::new();
    for part in 0..2 {
        batch.put(
            Node::new(id_of_writer(writer, part), "half")
                .content(n.to_le_bytes())
                .key("rounds", [writer.to_be_bytes(), n.to_be_bytes(), part.to_be_bytes()].concat())
                .vector("rounds", [writer as f32, n as f32]),
        );
    }
    batch.link(
        Edge::new(id_of_writer(writer, 0), "forth", id_of_writer(writer, 1)).weight(n as f64),
    );
    batch
        .link(Edge::new(id_of_writer(writer, 1), "back", id_of_writer(writer, 0)).weight(n as f64));
    batch.durability(if n.is_multiple_of(3) { Durability::Sync } else { Durability::Os });
    batch
}

/// The round that a snapshot shows of a writer, or `None` before its first.
fn seen(snapshot: &Snapshot, writer: u64) -> Option<u64> {
    let nodes = snapshot.get_many(&[id_of_writer(writer, 0), id_of_writer(writer, 1)]).unwrap();
    let [Some(a), Some(b)] = nodes[..] else {
        assert!(nodes.iter().all(Option::is_none), "half a batch: one node of two");
        return None;
    };
    let number = |content: &[u8]| u64::from_le_bytes(content.try_into().unwrap());
    let n = number(a.content());
    assert_eq!(n, number(b.content()), "half a batch: two rounds");
    assert_eq!(a.version(), b.version());
    for (node, part) in [(a, 0), (b, 1)] {
        assert_eq!(node.vector("rounds").unwrap().unwrap(), [writer as f32, n as f32]);
        let out: Vec<f64> =
            snapshot.edges_out(id_of_writer(writer, part)).map(|e| e.unwrap().weight()).collect();
        let into: Vec<f64> =
            snapshot.edges_in(id_of_writer(writer, part)).map(|e| e.unwrap().weight()).collect();
        assert_eq!((out, into), (vec![n as f64], vec![n as f64]));
    }
    let keys = snapshot
        .range("rounds", KeyRange::prefix(&writer.to_be_bytes()), Direction::Ascending)
        .unwrap()
        .map(|entry| entry.unwrap().key[8..16].to_vec());
    assert_eq!(keys.collect::<Vec<_>>(), [n.to_be_bytes(), n.to_be_bytes()]);
    Some(n)
}

struct SetOnDrop<'d>(&'d AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_reader_sees_half_a_batch_or_time_running_backwards() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let open = || {
        Options::new()
            .space("rounds", Space::new(2, Metric::L2))
            .index("rounds")
            .wal_file_bytes(64 << 10)
            .open(&path)
            .unwrap()
    };
    let engine = open();
    let done = AtomicBool::new(false);
    let looks = AtomicU64::new(0);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let engine = &engine;
                scope.spawn(move || {
                    let mut tickets = Vec::new();
                    for n in 1..=ROUNDS {
                        if n % 4 == 0 {
                            tickets.push((n, engine.submit(round(writer, n)).unwrap()));
                        } else {
                            let seq = engine.write(round(writer, n)).unwrap();
                            let snapshot = engine.snapshot();
                            assert!(snapshot.seq() >= seq);
                            // Nobody else writes these nodes.
                            assert_eq!(
                                seen(&snapshot, writer),
                                Some(n),
                                "acknowledged and visible"
                            );
                        }
                    }
                    let mut last = None;
                    for (_, ticket) in tickets {
                        let seq = Some(ticket.wait().unwrap());
                        assert!(seq > last, "one thread's batches are committed in its order");
                        last = seq;
                    }
                })
            })
            .collect();
        for _ in 0..READERS {
            let (engine, done, looks) = (&engine, &done, &looks);
            scope.spawn(move || {
                let mut last_seq = engine.snapshot().seq();
                let mut last = [None; WRITERS as usize];
                while !done.load(Ordering::SeqCst) {
                    let snapshot = engine.snapshot();
                    assert!(snapshot.seq() >= last_seq, "time runs backwards");
                    last_seq = snapshot.seq();
                    for (writer, last) in last.iter_mut().enumerate() {
                        let now = seen(&snapshot, writer as u64);
                        assert!(now >= *last, "time runs backwards");
                        *last = now;
                    }
                    let hits = snapshot.nearest("rounds", &[3.0, 9.0], 8, &Filter::new()).unwrap();
                    for hit in hits {
                        let n = hit.node.vector("rounds").unwrap().unwrap()[1];
                        assert_eq!(
                            u64::from_le_bytes(hit.node.content().try_into().unwrap()),
                            n as u64
                        );
                    }
                    looks.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        // Also when a writer fails: readers shall not go on for ever.
        let _done = SetOnDrop(&done);
        for writer in writers {
            writer.join().unwrap();
        }
    });
    assert!(looks.load(Ordering::SeqCst) > READERS as u64);
    let stats = engine.stats();
    assert_eq!(stats.write.batches, WRITERS * ROUNDS + 1);
    assert_eq!(stats.write.queued, 0);
    drop(engine);
    let snapshot = open().snapshot();
    for writer in 0..WRITERS {
        assert_eq!(seen(&snapshot, writer), Some(ROUNDS));
    }
}

#[test]
fn contended_preconditions_admit_exactly_one() {
    // 8 threads add 1 to a counter, by version: every success counts once.
    let dir = temp_dir();
    let engine = Options::new().durability(Durability::Os).open(dir.path().join("s")).unwrap();
    let counter = NodeId::from_content(b"counter");
    let node = |n: u64| Node::new(counter, "counter").content(n.to_le_bytes());
    let mut batch = Batch::new();
    batch.put(node(0));
    engine.write(batch).unwrap();
    let read = |engine: &Engine| {
        let snapshot = engine.snapshot();
        let node = snapshot.get(counter).unwrap().unwrap();
        (u64::from_le_bytes(node.content().try_into().unwrap()), node.version())
    };
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    loop {
                        let (n, version) = read(&engine);
                        let mut batch = Batch::new();
                        batch.put_if_version(node(n + 1), version);
                        match engine.write(batch) {
                            Ok(_) => break,
                            Err(error) => assert_eq!(error.kind(), ingrain::ErrorKind::Conflict),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(read(&engine).0, 400);
    assert_eq!(engine.stats().write.batches, 401);
}

#[test]
fn patches_of_many_threads_all_count() {
    let dir = temp_dir();
    let engine = Options::new().durability(Durability::Os).open(dir.path().join("s")).unwrap();
    let shared = NodeId::from_content(b"shared");
    let mut batch = Batch::new();
    batch.put(Node::new(shared, "n"));
    engine.write(batch).unwrap();
    thread::scope(|scope| {
        for writer in 0..8 {
            let engine = &engine;
            scope.spawn(move || {
                for n in 0..40_i64 {
                    let mut batch = Batch::new();
                    batch.touch(shared);
                    batch.patch(shared, Patch::new().attribute(format!("{writer}-{n}"), n));
                    engine.write(batch).unwrap();
                }
            });
        }
    });
    let snapshot = engine.snapshot();
    let node = snapshot.get(shared).unwrap().unwrap();
    assert_eq!(node.attributes().unwrap().len(), 320);
    assert_eq!(node.access_count(), 320);
}

/// What is closed has let go of the store: another may have it by then.
#[test]
fn checkpoints_that_meet_a_close_come_before_it_or_not_at_all() {
    for round in 0..10 {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let engine = Options::new().durability(Durability::Os).open(&path).unwrap();
        let mut batch = Batch::new();
        batch.put(Node::new(id_of_writer(1, 1), "n"));
        engine.write(batch).unwrap();
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    loop {
                        if let Err(error) = engine.compact() {
                            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                            break;
                        }
                    }
                });
            }
            // Most of them wait for one of them.
            while engine.stats().checkpoint.completed < 20 {
                thread::yield_now();
            }
            engine.close().unwrap();
            let closed = engine.stats().checkpoint.completed;
            let left = read_image(&path);
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(5) {
                thread::yield_now();
            }
            assert_eq!(engine.stats().checkpoint.completed, closed, "round {round}");
            assert!(read_image(&path) == left, "round {round}");
        });
    }
}

/// Nodes come, go and change their kinds while others scan: what a scan gives is
/// what the nodes of its snapshot are, also when the snapshot is old.
#[test]
fn scans_agree_with_gets_whatever_comes_meanwhile() {
    const NODES: u64 = 40;
    const BATCHES: u64 = 600;
    let dir = temp_dir();
    let engine = Options::new().durability(Durability::Os).open(dir.path().join("s")).unwrap();
    let agree = |snapshot: &Snapshot| {
        let mut expected: Vec<(String, NodeId)> = (0..NODES)
            .filter_map(|n| snapshot.get(id(n)).unwrap())
            .map(|node| (node.kind().to_owned(), node.id()))
            .collect();
        expected.sort();
        let mut found = Vec::new();
        for kind in ["a", "b", "c"] {
            // In pages of three.
            let mut scan = snapshot.scan(kind);
            loop {
                let page: Vec<_> = scan.by_ref().take(3).map(|node| node.unwrap().id()).collect();
                found.extend(page.iter().map(|id| (kind.to_owned(), *id)));
                let Some(cursor) = scan.cursor().filter(|_| page.len() == 3) else { break };
                scan = snapshot.scan(kind).after(&cursor).unwrap();
            }
        }
        assert_eq!(found, expected);
        assert_eq!(snapshot.scan_all().count(), expected.len());
    };
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held = Vec::new();
                while !done.load(Ordering::SeqCst) {
                    let snapshot = engine.snapshot();
                    agree(&snapshot);
                    held.push(snapshot);
                    if held.len() == 20 {
                        held.iter().for_each(agree);
                        held.truncate(3);
                    }
                }
                held.iter().for_each(agree);
            });
        }
        let mut x = 1_u64;
        let mut next = |bound: u64| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (x >> 33) % bound
        };
        for n in 0..BATCHES {
            let mut batch = Batch::new();
            for _ in 0..8 {
                let node = id(next(NODES));
                match next(4) {
                    0 => batch.delete(node),
                    kind => batch.put(Node::new(node, ["a", "b", "c"][kind as usize - 1])),
                };
            }
            engine.write(batch).unwrap();
            if n % 150 == 149 {
                engine.checkpoint().unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}

/// A space whose codes are built by every checkpoint, and vectors for it.
fn with_codes(path: &std::path::Path, options: Options) -> Engine {
    let options = options.durability(Durability::Os).index_rows(256);
    let engine = options.space("v", Space::new(32, Metric::Cosine)).open(path).unwrap();
    for from in (0..4_000).step_by(500) {
        let node = |n: u64| {
            let components: Vec<f32> =
                (0..32).map(|d| ((n * 31 + d * 7) % 97) as f32 - 48.0).collect();
            Node::new(id(n), "n").vector("v", components)
        };
        engine.write((from..from + 500).map(|n| Op::put(node(n))).collect::<Batch>()).unwrap();
    }
    engine
}

#[test]
fn callers_that_hold_all_workers_of_a_pool_do_not_hang_the_engine() {
    let dir = temp_dir();
    let engine = with_codes(&dir.path().join("s"), Options::new());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    // Every worker is in a call of the engine while codes are built.
    pool.broadcast(|_| engine.compact().unwrap());
    pool.broadcast(|_| engine.rebuild(None).unwrap());
    let snapshot = engine.snapshot();
    let searches: Vec<_> = (0..64).map(|_| Search::new("v", &[1.0; 32], 5)).collect();
    pool.broadcast(|_| assert_eq!(snapshot.search_many(&searches).unwrap().len(), 64));
    pool.broadcast(|_| engine.checkpoint().unwrap());
    pool.broadcast(|_| engine.close().unwrap());
    // Nor does the engine wait for workers of the global pool, all of which are
    // blocked here by tasks of the program.
    let engine = with_codes(&dir.path().join("t"), Options::new());
    let (blocked, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            rayon::broadcast(|_| {
                blocked.fetch_add(1, Ordering::AcqRel);
                until("the engine is done", || done.load(Ordering::Acquire));
            });
        });
        let workers = rayon::current_num_threads() as u64;
        until("all workers are blocked", || blocked.load(Ordering::Acquire) == workers);
        engine.compact().unwrap();
        engine.rebuild(None).unwrap();
        assert_eq!(engine.snapshot().search_many(&searches).unwrap().len(), 64);
        engine.close().unwrap();
        done.store(true, Ordering::Release);
    });
    let stats = engine.stats();
    assert!(stats.spaces.iter().all(|space| space.files.iter().all(|f| f.codes.is_some())));
}

/// Not a test by itself: a process that can start no thread.
#[test]
fn child_without_threads() {
    let Some(path) = std::env::var_os(WITHOUT_THREADS) else { return };
    assert!(thread::Builder::new().spawn(|| ()).is_err(), "the limit has no effect");
    let engine = with_codes(std::path::Path::new(&path), Options::new().inline(true).threads(8));
    engine.checkpoint().unwrap();
    let snapshot = engine.snapshot();
    let searches: Vec<_> = (0..8).map(|_| Search::new("v", &[1.0; 32], 5)).collect();
    assert_eq!(snapshot.search_many(&searches).unwrap().len(), 8);
    engine.compact().unwrap();
    engine.close().unwrap();
    println!("done");
}

#[test]
fn without_threads_to_be_had_the_engine_goes_on_alone() {
    let dir = temp_dir();
    // A stack that no address space has room for: starting a thread fails.
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "threads::child_without_threads", "--nocapture", "--test-threads=1"])
        .env(WITHOUT_THREADS, dir.path().join("s"))
        .env("RUST_MIN_STACK", (1_u64 << 50).to_string())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("done"), "{child:?}");
    assert_eq!(Engine::open(dir.path().join("s")).unwrap().snapshot().vector_count(), 4_000);
}
