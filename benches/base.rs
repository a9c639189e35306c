//! A store that is larger than what its engine keeps in memory: loading,
//! opening, random reads, and reads within a limit of memory.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench base` with 1,000,000
//! nodes, or as many as `-- 10000000` says. The store is made under
//! `benches/target/` and removed at the end. Where memory cgroups (v1) can be
//! made, which takes root, the last part runs in one of 256 MB.
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
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use ingrain::{Batch, Durability, Engine, Node, NodeId, Options};
use ingrain_benches::scratch;

const CONTENT: usize = 256;
const BATCH: u64 = 1_000;
const LIMIT: u64 = 256_000_000;

fn id(n: u64) -> NodeId {
    NodeId::from_content(&n.to_le_bytes())
}

fn open(path: &Path) -> Engine {
    Options::new().durability(Durability::Os).open(path).unwrap()
}

/// A line of `/proc/self/status` in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Bytes that this process has handed to the kernel to write.
fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find(|line| line.starts_with("wchar:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn size(path: &Path) -> u64 {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata().unwrap() {
            meta if meta.is_dir() => size(&entry.path()),
            meta => meta.len(),
        })
        .sum()
}

fn mb(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

fn say(what: &str, figure: impl std::fmt::Display) {
    println!("{what:<58} {figure}");
}

/// Watches anonymous memory while something runs.
fn with_peak<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let (stop, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(status("RssAnon"), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let done = work();
        stop.store(true, Ordering::Relaxed);
        (done, peak.load(Ordering::Relaxed))
    })
}

/// Writes nodes, each new or again, and waits until the base has them.
fn load(engine: &Engine, nodes: u64, round: u64) -> Duration {
    let start = Instant::now();
    for from in (0..nodes).step_by(BATCH as usize) {
        let mut batch = Batch::new();
        for n in from..nodes.min(from + BATCH) {
            batch.put(Node::new(id(n), "record").content(vec![(n + round) as u8; CONTENT]));
        }
        engine.write(batch).unwrap();
    }
    engine.checkpoint().unwrap();
    start.elapsed()
}

/// Splitmix64, for the order of random reads.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Random reads with the content checked: reads per second, p50, p99.
fn reads(engine: &Engine, nodes: u64, count: u64) -> (f64, Duration, Duration) {
    let snapshot = engine.snapshot();
    let mut state = 7;
    let mut took: Vec<Duration> = Vec::with_capacity(count as usize);
    let start = Instant::now();
    for _ in 0..count {
        let n = random(&mut state) % nodes;
        let id = id(n);
        let begun = Instant::now();
        let content = snapshot.get(id).unwrap().unwrap().content();
        assert_eq!(black_box(content)[CONTENT - 1], content[0]);
        took.push(begun.elapsed());
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    took.sort_unstable();
    (rate, took[took.len() / 2], took[took.len() * 99 / 100])
}

fn say_reads(what: &str, (rate, p50, p99): (f64, Duration, Duration)) {
    say(what, format!("{rate:.0}/s, p50 {p50:?}, p99 {p99:?}"));
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort_unstable();
    took[took.len() / 2]
}

/// What a little costs in a store of this size: a record that is written again
/// durably, and a checkpoint of a thousand of them.
fn say_little(engine: &Engine, nodes: u64) {
    let mut state = 11;
    let mut batch = |records: u64, durability: Durability| {
        let mut batch = Batch::new();
        batch.durability(durability);
        for _ in 0..records {
            let n = random(&mut state) % nodes;
            batch.put(Node::new(id(n), "record").content(vec![n as u8; CONTENT]));
        }
        let start = Instant::now();
        engine.write(batch).unwrap();
        start.elapsed()
    };
    let commit = median((0..1_000).map(|_| batch(1, Durability::Sync)).collect());
    engine.checkpoint().unwrap();
    let checkpoints = (0..7).map(|_| {
        batch(BATCH, Durability::Os);
        let start = Instant::now();
        engine.checkpoint().unwrap();
        start.elapsed()
    });
    let checkpoint = median(checkpoints.collect());
    let figures = format!("{commit:?}, {checkpoint:?}");
    say(&format!("{nodes} nodes: durable commit, checkpoint of {BATCH}"), figures);
}

/// Memory cgroups of version 1.
const CGROUPS: &str = "/sys/fs/cgroup/memory";

fn limited(path: &Path, nodes: u64) {
    let group = Path::new(CGROUPS).join(format!("ingrain-{}", std::process::id()));
    let made = fs::create_dir(&group)
        .and_then(|()| fs::write(group.join("memory.limit_in_bytes"), LIMIT.to_string()));
    if let Err(error) = made {
        say("within 256 MB", format!("not measured: {}: {error}", group.display()));
        return;
    }
    // Pages count for the group that read them first.
    if !drop_caches() {
        say("  the kernel's cache was not dropped", "pages that were in it do not count");
    }
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", group.display()))
        .arg(program)
        .args(["--limited", path.to_str().unwrap(), &nodes.to_string()])
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let most = fs::read_to_string(group.join("memory.max_usage_in_bytes")).unwrap();
    say("  memory of that process, pages of files included", mb(most.trim().parse().unwrap()));
    fs::remove_dir(&group).unwrap();
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [flag, path, nodes] = arguments.as_slice()
        && flag == "--limited"
    {
        let nodes = nodes.parse().unwrap();
        let engine = Engine::open(path).unwrap();
        say_reads("random get within 256 MB, from a cold cache", reads(&engine, nodes, 5_000));
        if nodes > 2_000_000 {
            return;
        }
        let node_count = engine.snapshot().scan_all().inspect(|node| assert!(node.is_ok())).count();
        assert_eq!(node_count as u64, nodes);
        say("  and a scan of all nodes", "done");
        return;
    }
    let nodes: u64 = arguments.first().map_or(1_000_000, |n| n.parse().unwrap());
    let dir = scratch();

    for small in [10_000, 100_000, 1_000_000].into_iter().filter(|small| *small < nodes) {
        let path = dir.path().join(format!("{small}"));
        let engine = open(&path);
        load(&engine, small, 0);
        say_little(&engine, small);
        engine.close().unwrap();
        drop(engine);
        say(&format!("opening of {small} nodes after a close"), format!("{:?}", opening(&path)));
        fs::remove_dir_all(path).unwrap();
    }

    let path = dir.path().join("store");
    let engine = open(&path);
    let (before, given) = (written(), nodes * (CONTENT as u64 + 16));
    let (took, peak) = with_peak(|| load(&engine, nodes, 0));
    let rate = nodes as f64 / took.as_secs_f64();
    say(
        &format!("{nodes} nodes of {CONTENT} B, batches of {BATCH}, into the base"),
        format!("{rate:.0}/s"),
    );
    say(
        "  bytes written / bytes given",
        format!("{:.2}", (written() - before) as f64 / given as f64),
    );
    say("  peak of anonymous memory", mb(peak));
    say("  size of the store / bytes given", format!("{} / {}", mb(size(&path)), mb(given)));
    let checkpoint = engine.stats().checkpoint;
    say(
        "  checkpoints, files, live bytes",
        format!("{}, {}, {}", checkpoint.completed, checkpoint.files, mb(checkpoint.live_bytes)),
    );
    reads(&engine, nodes, nodes.min(1_000_000));
    say_reads("random get, warm", reads(&engine, nodes, 1_000_000));
    let start = Instant::now();
    let bytes: usize = engine.snapshot().scan_all().map(|node| node.unwrap().content().len()).sum();
    assert_eq!(bytes as u64, nodes * CONTENT as u64);
    say("scan of all nodes", format!("{:.0}/s", nodes as f64 / start.elapsed().as_secs_f64()));
    say_little(&engine, nodes);
    engine.close().unwrap();
    drop(engine);

    let anonymous = status("RssAnon");
    say(&format!("opening of {nodes} nodes after a close"), format!("{:?}", opening(&path)));
    let engine = open(&path);
    say("  anonymous memory that it takes", mb(status("RssAnon").saturating_sub(anonymous)));
    drop(engine);
    if drop_caches() {
        let start = Instant::now();
        let engine = open(&path);
        say("  with a cold cache", format!("{:?}", start.elapsed()));
        drop(engine);
    }
    limited(&path, nodes);

    if nodes <= 2_000_000 {
        let engine = open(&path);
        let took = load(&engine, nodes, 1);
        let rate = nodes as f64 / took.as_secs_f64();
        say("every node written again, into the base", format!("{rate:.0}/s"));
        for round in 2..=10 {
            load(&engine, nodes, round);
        }
        let stats = engine.stats().checkpoint;
        say(
            "  after ten times: size / live bytes",
            format!("{} / {}", mb(size(&path)), mb(stats.live_bytes)),
        );
        engine.close().unwrap();
    }
}

/// Drops what the kernel has cached of files, which takes root.
fn drop_caches() -> bool {
    Command::new("sync").status().is_ok() && fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}

/// The median of nine openings.
fn opening(path: &Path) -> Duration {
    let took = (0..9).map(|_| {
        let start = Instant::now();
        let engine = open(path);
        let took = start.elapsed();
        engine.close().unwrap();
        took
    });
    median(took.collect())
}
