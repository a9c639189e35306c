//! The hot paths of the spine: durable and buffered writes, reads, replay, and
//! what the engine costs when nothing happens.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench spine`. The durable rows are to be read against
//! `fdatasync/*`: the same file system, in the same run.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a bench"
)]

use std::{
    fs,
    hint::black_box,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ingrain::{Batch, Durability, Engine, Node, NodeId, Options};
use ingrain_benches::scratch;

const CONTENT: usize = 256;

fn open(path: &Path, durability: Durability) -> Engine {
    Options::new().durability(durability).open(path).unwrap()
}

/// A store whose delta takes all that these benches write.
fn open_delta(path: &Path) -> Engine {
    Options::new().durability(Durability::Os).delta_bytes(4 << 30).open(path).unwrap()
}

fn id(n: u64) -> NodeId {
    NodeId::from_content(&n.to_le_bytes())
}

fn batch(from: u64, len: u64) -> Batch {
    let mut batch = Batch::new();
    for n in from..from + len {
        batch.put(Node::new(id(n), "record").content(vec![n as u8; CONTENT]));
    }
    batch
}

/// What the machine can do: 300 bytes appended and synced, into blocks that
/// were written before, and into a file that grows.
fn fdatasync(c: &mut Criterion) {
    let mut group = c.benchmark_group("fdatasync");
    group.throughput(Throughput::Elements(1));
    let dir = scratch();
    for written in [true, false] {
        let name = if written { "written_blocks" } else { "growing_file" };
        let file = fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.path().join(name))
            .unwrap();
        if written {
            file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
            file.sync_all().unwrap();
        }
        let mut at = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                file.write_all_at(&[1; 336], at).unwrap();
                at += 336;
                file.sync_data().unwrap();
            });
        });
    }
    group.finish();
}

/// Times `threads` writers that commit `batch_len` records each `rounds` times.
fn commit(
    engine: &Engine,
    next: &AtomicU64,
    threads: u64,
    rounds: u64,
    batch_len: u64,
) -> Duration {
    let batches: Vec<Vec<Batch>> = (0..threads)
        .map(|_| {
            (0..rounds)
                .map(|_| batch(next.fetch_add(batch_len, Ordering::Relaxed), batch_len))
                .collect()
        })
        .collect();
    let start = Instant::now();
    if threads == 1 {
        for batch in batches.into_iter().flatten() {
            engine.write(batch).unwrap();
        }
    } else {
        thread::scope(|scope| {
            for batches in batches {
                scope.spawn(|| {
                    for batch in batches {
                        engine.write(batch).unwrap();
                    }
                });
            }
        });
    }
    start.elapsed()
}

fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    let cases = [
        ("sync_1_thread", Durability::Sync, 1, 1),
        ("sync_16_threads", Durability::Sync, 16, 1),
        ("os_batch_1", Durability::Os, 1, 1),
        ("os_batch_1000", Durability::Os, 1, 1_000),
    ];
    for (name, durability, threads, batch_len) in cases {
        let dir = scratch();
        let engine = open(&dir.path().join("s"), durability);
        let next = AtomicU64::new(0);
        group.throughput(Throughput::Elements(batch_len));
        group.bench_function(name, |b| {
            // Rounds are shared out between the threads, so that an iteration
            // is a batch.
            b.iter_custom(|iterations| {
                let rounds = iterations.div_ceil(threads);
                let time = commit(&engine, &next, threads, rounds, batch_len);
                time.mul_f64(iterations as f64 / (rounds * threads) as f64)
            });
        });
    }
    group.finish();
}

/// A flood of submitted batches of one record, with and without letting them
/// gather.
fn submits(c: &mut Criterion) {
    let mut group = c.benchmark_group("submit_os_batch_1");
    group.throughput(Throughput::Elements(1));
    for (name, interval) in [("gather", Duration::from_millis(5)), ("at_once", Duration::ZERO)] {
        let dir = scratch();
        let engine = Options::new()
            .durability(Durability::Os)
            .publish_interval(interval)
            .open(dir.path().join("s"))
            .unwrap();
        let mut next = 0;
        group.bench_function(name, |b| {
            b.iter_custom(|iterations| {
                let batches: Vec<Batch> = (0..iterations).map(|n| batch(next + n, 1)).collect();
                next += iterations;
                let start = Instant::now();
                let tickets: Vec<_> =
                    batches.into_iter().map(|b| engine.submit(b).unwrap()).collect();
                for ticket in tickets {
                    ticket.wait().unwrap();
                }
                start.elapsed()
            });
        });
        let write = engine.stats().write;
        println!("{name}: {} batches in {} groups", write.batches, write.groups);
    }
    group.finish();
}

fn reads(c: &mut Criterion) {
    const RECORDS: u64 = 100_000;
    let dir = scratch();
    let engine = open_delta(&dir.path().join("s"));
    for from in (0..RECORDS).step_by(1_000) {
        engine.write(batch(from, 1_000)).unwrap();
    }
    let ids: Vec<NodeId> = (0..RECORDS).map(|n| id(n.wrapping_mul(7_919) % RECORDS)).collect();
    for level in ["delta", "base"] {
        if level == "base" {
            engine.checkpoint().unwrap();
        }
        let mut group = c.benchmark_group(format!("get_of_100k_from_the_{level}"));
        group.throughput(Throughput::Elements(1));
        let snapshot = engine.snapshot();
        let mut at = ids.iter().cycle();
        group.bench_function("snapshot_held", |b| {
            b.iter(|| {
                let node = snapshot.get(*at.next().unwrap()).unwrap().unwrap();
                black_box(node.content()[CONTENT - 1])
            });
        });
        group.bench_function("snapshot_each", |b| {
            b.iter(|| {
                let snapshot = engine.snapshot();
                let node = snapshot.get(*at.next().unwrap()).unwrap().unwrap();
                black_box(node.content()[CONTENT - 1])
            });
        });
        group.finish();
    }
}

/// All nodes in order: of a layer that was scanned before, after each commit that
/// replaces one, and from the base.
fn scans(c: &mut Criterion) {
    const RECORDS: u64 = 100_000;
    let dir = scratch();
    let engine = open_delta(&dir.path().join("s"));
    let load = || {
        for from in (0..RECORDS).step_by(1_000) {
            engine.write(batch(from, 1_000)).unwrap();
        }
    };
    load();
    let all = || engine.snapshot().scan_all().map(|node| node.unwrap().content().len()).sum();
    let start = Instant::now();
    let sum: usize = all();
    println!("the first scan of {RECORDS} in the delta: {:.1?}", start.elapsed());
    assert_eq!(sum, RECORDS as usize * CONTENT);
    let mut group = c.benchmark_group("scan_of_100k");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("delta", |b| b.iter(all));
    group.throughput(Throughput::Elements(10));
    let mut next = RECORDS;
    group.bench_function("delta_first_10_after_each_commit", |b| {
        b.iter(|| {
            engine.write(batch(next % RECORDS, 1)).unwrap();
            next += 1;
            engine.snapshot().scan("record").take(10).map(|node| node.unwrap().content()[0]).max()
        });
    });
    engine.checkpoint().unwrap();
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("base", |b| b.iter(all));
    group.finish();
}

fn replay(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay");
    group.sample_size(10);
    for (records, batch_len) in [(100_000, 1), (100_000, 1_000)] {
        let dir = scratch();
        let path = dir.path().join("s");
        let engine = open_delta(&path);
        for from in (0..records).step_by(batch_len as usize) {
            engine.write(batch(from, batch_len)).unwrap();
        }
        // Not closed: that would bring it into the base.
        drop(engine);
        group.throughput(Throughput::Elements(records));
        group.bench_with_input(BenchmarkId::new("batches_of", batch_len), &path, |b, path| {
            b.iter_custom(|iterations| {
                let mut time = Duration::ZERO;
                for _ in 0..iterations {
                    let start = Instant::now();
                    let engine = open_delta(path);
                    time += start.elapsed();
                    assert_eq!(engine.snapshot().node_count() as u64, records);
                }
                time
            });
        });
    }
    group.finish();
}

/// Times that the threads of this process were put on a processor.
fn switches() -> u64 {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default())
        .flat_map(|status| {
            status
                .lines()
                .filter(|line| line.contains("ctxt_switches"))
                .filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok())
                .collect::<Vec<_>>()
        })
        .sum()
}

/// Not a timing: prints how often an idle engine's thread ran in two seconds.
fn idle(_: &mut Criterion) {
    if !Path::new("/proc/self/task").exists() {
        println!("idle: skipped, there is no /proc here");
        return;
    }
    let dir = scratch();
    let engine = open(&dir.path().join("s"), Durability::Os);
    for from in 0..100 {
        engine.submit(batch(from, 1)).unwrap().wait().unwrap();
    }
    thread::sleep(Duration::from_millis(100));
    let before = switches();
    thread::sleep(Duration::from_secs(2));
    // This thread's own sleep is one.
    println!("idle: {} wake-ups in 2 s", (switches() - before).saturating_sub(1));
}

criterion_group! {
    name = spine;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
    targets = fdatasync, writes, submits, reads, scans, replay, idle
}
criterion_main!(spine);
