//! How much memory the engine takes, by an allocator that counts. It counts for
//! the whole process, so these tests are a binary of their own and one at a
//! time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use ingrain::{
    Batch, Direction, Durability, Edge, Engine, KeyRange, Metric, Node, Options, Space, Ticket,
    search::Filter,
};

#[path = "../harness/dirs.rs"]
mod dirs;
#[allow(dead_code, reason = "the other tests need the rest")]
#[path = "../harness/nodes.rs"]
mod nodes;
#[allow(dead_code, reason = "the other tests need the rest")]
#[path = "../harness/random.rs"]
mod random;

use dirs::temp_dir;
use nodes::id;
use random::{Random, noise_vector};

/// The system's allocator, which notes how much is out and how much ever was.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Allocations of this thread.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn note_more(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
    // A thread that ends has no counter any more.
    let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
}

#[allow(unsafe_code, reason = "an allocator is unsafe to write")]
// SAFETY: every call goes to the system's allocator as it came; what is counted
// beside it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note_more(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note_more(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // As if both were there for a moment, as they are if it moves.
        note_more(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most memory that is out while something is done, over what was out
/// before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let done = work();
    (done, PEAK.load(Ordering::Relaxed) - before)
}

/// Allocations that this thread makes while something is done.
fn allocations_of<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATIONS.with(Cell::get);
    let done = work();
    (done, ALLOCATIONS.with(Cell::get) - before)
}

const MIB: usize = 1 << 20;
const DELTA: usize = 8 * MIB;
const LOG: usize = MIB;
/// What docs/architecture.md promises: the delta by its estimate, which is right
/// to a quarter; the write log; as much again for the group that was taken from
/// it, and twice that where it is put together for the log; and the buffers of
/// files.
const PROMISED: usize = DELTA + DELTA / 4 + 4 * LOG + 4 * MIB;
const DIMENSION: usize = 64;

fn options() -> Options {
    Options::new()
        .durability(Durability::Os)
        .delta_bytes(DELTA)
        .write_log_bytes(LOG)
        .wal_file_bytes(MIB as u64)
        .wal_bytes(1 << 30)
        .partition_bytes(MIB as u64)
        .delta_vectors(1 << 20)
        .index_rows(1_024)
        .space("v", Space::new(DIMENSION, Metric::L2))
        .index("i")
}

/// Writes batches from two threads, each with as many under way as the write
/// log takes.
fn write_all(engine: &Engine, batches: u64, batch: impl Fn(u64) -> Batch + Sync) {
    const THREADS: u64 = 2;
    thread::scope(|scope| {
        for part in 0..THREADS {
            let batch = &batch;
            scope.spawn(move || {
                let mut last: Option<Ticket> = None;
                for n in (part..batches).step_by(THREADS as usize) {
                    // The queue holds the writer; the tickets before the last need
                    // not be waited for.
                    last = Some(engine.submit(batch(n)).unwrap());
                }
                last.map(|ticket| ticket.wait().unwrap());
            });
        }
    });
}

/// Nodes of a batch.
const AT_ONCE: u64 = 64;

fn nodes(n: u64, node: impl Fn(u64) -> Node) -> Batch {
    let mut batch = Batch::new();
    for n in n * AT_ONCE..(n + 1) * AT_ONCE {
        batch.put(node(n));
    }
    batch
}

fn vector(n: u64) -> Vec<f32> {
    noise_vector(&mut Random(n), DIMENSION)
}

#[test]
fn memory_stays_within_what_the_options_say() {
    let _alone = alone();
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = options().open(&path).unwrap();
    let mut over = Vec::new();
    let mut measure = |what: &str, work: &dyn Fn()| {
        engine.checkpoint().unwrap();
        let ((), peak) = peak_of(work);
        let figure = format!("{what}: {:.1} MiB", peak as f64 / MIB as f64);
        println!("{figure}");
        if peak > PROMISED {
            over.push(figure);
        }
    };
    // Ten times what the delta may take.
    let large = |round: u8| move |n: u64| Node::new(id(n), "node").content(vec![round; 1_000]);
    measure("contents of 1,000 bytes", &|| {
        write_all(&engine, 10 * DELTA as u64 / 1_350 / AT_ONCE, |n| nodes(n, large(1)));
    });
    // The others twice, so that there is a checkpoint in the middle.
    measure("the same again", &|| write_all(&engine, 150, |n| nodes(n, large(2))));
    measure("nodes of nothing", &|| {
        write_all(&engine, 600, |n| nodes(n, |n| Node::new(id(n + 1_000_000), "node")));
    });
    measure("one node over and over", &|| {
        write_all(&engine, 400, |_| nodes(0, |_| Node::new(id(7), "node").content([7; 100])));
    });
    measure("edges", &|| {
        write_all(&engine, 600, |n| {
            let mut batch = Batch::new();
            for n in n * AT_ONCE..(n + 1) * AT_ONCE {
                let edge = Edge::new(id(n % 9_000), "edge", id(n * 7_919 % 9_000));
                batch.link(edge.discriminator(n));
            }
            batch
        });
    });
    measure("keys", &|| {
        write_all(&engine, 125, |n| {
            nodes(n, |n| {
                let node = Node::new(id(n), "node");
                (0..8).fold(node, |node, key| node.key("i", format!("{key} of {n}")))
            })
        });
    });
    measure("attributes", &|| {
        write_all(&engine, 125, |n| {
            nodes(n, |n| {
                let node = Node::new(id(n), "node");
                (0..8).fold(node, |node, at| node.attribute(format!("name {at}"), n as i64))
            })
        });
    });
    measure("vectors", &|| {
        write_all(&engine, 300, |n| nodes(n, |n| Node::new(id(n), "node").vector("v", vector(n))));
    });
    measure("deletions", &|| {
        write_all(&engine, 150, |n| {
            let mut batch = Batch::new();
            for n in n * AT_ONCE..(n + 1) * AT_ONCE {
                batch.delete(id(n));
            }
            batch
        });
    });
    measure("a compaction", &|| {
        engine.compact().unwrap();
    });
    measure("a backup", &|| {
        engine.backup(dir.path().join("b")).unwrap();
    });
    measure("a verification", &|| assert!(engine.verify().unwrap().is_sound()));
    assert!(engine.stats().checkpoint.completed > 20, "{:?}", engine.stats().checkpoint);
    let before = LIVE.load(Ordering::Relaxed);
    engine.close().unwrap();
    drop(engine);
    let (engine, peak) = peak_of(|| options().open(&path).unwrap());
    println!("held: {before} bytes; opening: {peak} bytes");
    assert!(peak < MIB, "opening took {peak} bytes");
    drop(engine);
    assert!(over.is_empty(), "more than {PROMISED} bytes: {over:?}");
}

/// What is in memory or mapped is lent, not copied. What goes over layers in
/// order keeps its place in each; a search keeps candidates.
#[test]
fn reads_allocate_nothing_but_places_and_candidates() {
    let _alone = alone();
    let dir = temp_dir();
    let engine = options().open(dir.path().join("s")).unwrap();
    let node = |n: u64| {
        let node = Node::new(id(n), "node").content([7; 100]).key("i", n.to_be_bytes());
        node.vector("v", vector(n)).attribute("n", 1_i64)
    };
    let mut batch = Batch::new();
    (0..100).fold(&mut batch, |batch, n| batch.put(node(n)));
    for n in 0..100 {
        batch.link(Edge::new(id(0), "edge", id(n)).attribute("n", 1_i64));
    }
    engine.write(batch).unwrap();
    let mut found = Vec::new();
    for (layers, place) in [(1, "delta"), (0, "base")] {
        if layers == 0 {
            engine.checkpoint().unwrap();
        }
        let snapshot = engine.snapshot();
        let mut count = |what: &str, most: u64, read: &dyn Fn() -> u64| {
            // Blocks are checked, and threads' own things made, once.
            read();
            let (sum, allocations) = allocations_of(read);
            assert!(sum > 0, "{what}: something is read");
            println!("{what}, from the {place}: {allocations}");
            if allocations > most {
                found.push(format!("{what}, from the {place}: {allocations}, not {most}"));
            }
        };
        count("a snapshot", 0, &|| engine.snapshot().seq().get());
        count("100 gets with content", 0, &|| {
            let get = |n| snapshot.get(id(n)).unwrap().unwrap().content().len() as u64;
            (0..100).map(get).sum()
        });
        count("100 gets of what is not there", 0, &|| {
            (1_000..1_100).map(|n| u64::from(snapshot.get(id(n)).unwrap().is_none())).sum()
        });
        count("100 vectors", 0, &|| {
            let get = |n| snapshot.get(id(n)).unwrap().unwrap().vector("v").unwrap();
            (0..100).map(|n| get(n).unwrap().len() as u64).sum()
        });
        count("100 edges by name", 0, &|| {
            let get = |n| snapshot.edge(id(0), "edge", id(n), 0).unwrap().unwrap();
            (0..100).map(|n| get(n).target().as_bytes().len() as u64).sum()
        });
        count("100 edges in order", 2 * layers, &|| {
            snapshot.edges_out(id(0)).map(|e| e.unwrap().kind().len() as u64).sum()
        });
        count("100 edges the other way", 200 * layers, &|| {
            (0..100).flat_map(|n| snapshot.edges_in(id(n))).map(|e| e.is_ok() as u64).sum()
        });
        count("a scan of 100 nodes", 3 * layers, &|| {
            snapshot.scan("node").map(|node| node.unwrap().content().len() as u64).sum()
        });
        count("100 keys in order", 2 * layers, &|| {
            let range = snapshot.range("i", KeyRange::all(), Direction::Ascending).unwrap();
            range.map(|entry| entry.unwrap().key.len() as u64).sum()
        });
        let query = vector(5);
        count("a search of 100 vectors", 8 + 2 * layers, &|| {
            snapshot.nearest("v", &query, 10, &Filter::new()).unwrap().len() as u64
        });
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// What a commit keeps, and little more: a regression shows here before it shows
/// in a bench. The batches are made before they are counted.
#[test]
fn writes_allocate_what_they_keep() {
    let _alone = alone();
    let dir = temp_dir();
    let open = || {
        let options = Options::new().durability(Durability::Os).inline(true).index("i");
        options.open(dir.path().join("s")).unwrap()
    };
    let engine = open();
    let mut next = 0;
    let mut batch = |len: u64, node: &dyn Fn(u64) -> Node| {
        let mut batch = Batch::new();
        (next..next + len).fold(&mut batch, |batch, n| batch.put(node(n)));
        next += len;
        batch
    };
    let plain = |n| Node::new(id(n), "node").content([7; 256]);
    let keyed = |n: u64| plain(n).key("i", n.to_be_bytes()).attribute("n", 1_i64);
    let mut found = Vec::new();
    let mut count = |what: &str, most: u64, (done, allocations): (u64, u64)| {
        let each = allocations.div_ceil(done);
        println!("{what}: {each} allocations each of {done}");
        if each > most {
            found.push(format!("{what}: {each} allocations each, not {most}"));
        }
    };
    // Tables and buffers have grown.
    engine.write(batch(20_000, &keyed)).unwrap();
    for (what, most, commits, records, node) in [
        ("commits of a record", 9, 1_000, 1, &plain as &dyn Fn(u64) -> Node),
        ("records of commits of 1,000", 2, 10, 1_000, &plain),
        ("keyed records of commits of 1,000", 5, 10, 1_000, &keyed),
    ] {
        let batches: Vec<Batch> = (0..commits).map(|_| batch(records, node)).collect();
        let write = || batches.into_iter().map(|batch| engine.write(batch).unwrap()).max();
        let (_, allocations) = allocations_of(write);
        count(what, most, (commits * records, allocations));
    }
    drop(engine);
    let (engine, allocations) = allocations_of(open);
    count("records of a replay", 9, (next, allocations));
    let (_, allocations) = allocations_of(|| engine.checkpoint().unwrap());
    count("records of a checkpoint", 4, (next, allocations));
    assert!(found.is_empty(), "{found:#?}");
}
