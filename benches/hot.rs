//! The steps of the hot paths that `spine` has no row for, each by itself: a
//! minute, so that what got slower is seen before a race is run.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench hot`. Commits, which are
//! deciding, applying and publishing, gets, scans and replay are in `spine`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench"
)]

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ingrain::{
    Batch, Durability, Edge, Metric, Node, NodeId, Op, Options, Precondition, Seq, Space,
    Timestamp,
    format::{
        FileKind, Header,
        wal::{Frames, encode_batch},
    },
    search::{Effort, Search},
};
use ingrain_benches::scratch;

const RECORDS: u64 = 1_000;
const CONTENT: usize = 256;

fn id(n: u64) -> NodeId {
    NodeId::from_content(&n.to_le_bytes())
}

/// A batch of 1,000 records as the log has it, and its frame.
fn log(c: &mut Criterion) {
    let put = |n: u64| Op::Put {
        node: Node::new(id(n), "record").content(vec![n as u8; CONTENT]),
        precondition: Precondition::None,
    };
    let ops: Vec<Op> = (0..RECORDS).map(put).collect();
    let time = Timestamp::from_micros(1);
    let mut group = c.benchmark_group("log");
    group.throughput(Throughput::Elements(RECORDS));
    group
        .bench_function("encode_1000", |b| b.iter(|| encode_batch(time, black_box(&ops)).unwrap()));
    let payload = encode_batch(time, &ops).unwrap();
    let header = Header::new(FileKind::Wal, [7; 16], 1, 9);
    let frames = Frames::new(&header);
    let mut out = Vec::new();
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("seal", |b| {
        b.iter(|| {
            out.clear();
            frames.seal(Seq::new(1), Seq::ZERO, black_box(&payload), &mut out);
        });
    });
    group.bench_function("open", |b| b.iter(|| frames.open(black_box(&out), 0).unwrap().size));
    group.finish();
}

/// The edges of nodes that have 100 each way.
fn edges(c: &mut Criterion) {
    const NODES: u64 = 1_000;
    const EDGES: u64 = 100;
    let dir = scratch();
    let options = Options::new().durability(Durability::Os).delta_bytes(4 << 30);
    let engine = options.open(dir.path().join("s")).unwrap();
    let mut batch = Batch::new();
    for n in 0..NODES {
        batch.put(Node::new(id(n), "node"));
    }
    engine.write(batch).unwrap();
    for n in 0..NODES {
        let mut batch = Batch::new();
        for m in 1..=EDGES {
            batch.link(Edge::new(id(n), "near", id((n + m * m) % NODES)));
        }
        engine.write(batch).unwrap();
    }
    for level in ["delta", "base"] {
        if level == "base" {
            engine.checkpoint().unwrap();
        }
        let snapshot = engine.snapshot();
        let mut group = c.benchmark_group(format!("edges_from_the_{level}"));
        group.throughput(Throughput::Elements(EDGES));
        let mut nodes = (0..NODES).cycle();
        let mut next = || id(nodes.next().unwrap());
        group.bench_function("out", |b| {
            b.iter(|| snapshot.edges_out(next()).map(|edge| edge.unwrap().weight()).sum::<f64>());
        });
        group.bench_function("in", |b| {
            b.iter(|| snapshot.edges_in(next()).map(|edge| edge.unwrap().weight()).sum::<f64>());
        });
        group.finish();
    }
}

/// Gets of random nodes, one by one and 32 at a time.
fn gets(c: &mut Criterion) {
    const NODES: u64 = 500_000;
    const AT_ONCE: u64 = 32;
    let dir = scratch();
    let options = Options::new().durability(Durability::Os).delta_bytes(4 << 30);
    let engine = options.open(dir.path().join("s")).unwrap();
    for from in (0..NODES).step_by(1_000) {
        let nodes = (from..from + 1_000).map(|n| Node::new(id(n), "n").content(vec![7; CONTENT]));
        engine.write(nodes.map(Op::put).collect::<Batch>()).unwrap();
    }
    for level in ["delta", "base"] {
        if level == "base" {
            engine.checkpoint().unwrap();
        }
        let snapshot = engine.snapshot();
        let mut group = c.benchmark_group(format!("32_gets_from_the_{level}"));
        group.throughput(Throughput::Elements(AT_ONCE));
        let mut state = 1_u64;
        let mut ids = || -> Vec<NodeId> {
            (0..AT_ONCE)
                .map(|_| {
                    // A linear congruential generator (Knuth, MMIX).
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    id((state >> 33) % NODES)
                })
                .collect()
        };
        group.bench_function("get", |b| {
            b.iter_batched(
                &mut ids,
                |ids| {
                    let content = |id: &NodeId| snapshot.get(*id).unwrap().unwrap().content()[0];
                    ids.iter().map(content).fold(0, u8::wrapping_add)
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function("get_many", |b| {
            b.iter_batched(
                &mut ids,
                |ids| {
                    let nodes = snapshot.get_many(&ids).unwrap().into_iter().flatten();
                    nodes.map(|node| node.content()[0]).fold(0, u8::wrapping_add)
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

/// Vectors of 384 numbers: codes that are scanned and the closest compared
/// exactly, and all compared exactly.
fn search(c: &mut Criterion) {
    const ROWS: u64 = 20_000;
    const COMPONENTS: usize = 384;
    let dir = scratch();
    let options = Options::new().space("text", Space::new(COMPONENTS, Metric::Cosine));
    let engine = options.durability(Durability::Os).open(dir.path().join("s")).unwrap();
    let mut state = 1_u64;
    let mut row = || -> Vec<f32> {
        (0..COMPONENTS)
            .map(|_| {
                // Xorshift.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
            })
            .collect()
    };
    for from in (0..ROWS).step_by(1_000) {
        let mut batch = Batch::new();
        for n in from..from + 1_000 {
            batch.put(Node::new(id(n), "text").vector("text", row()));
        }
        engine.write(batch).unwrap();
    }
    engine.compact().unwrap();
    let (snapshot, query) = (engine.snapshot(), row());
    let mut group = c.benchmark_group("search_of_20k");
    group.throughput(Throughput::Elements(ROWS));
    for (name, effort) in [
        ("codes_fast", Effort::Fast),
        ("codes_thorough", Effort::Thorough),
        ("exact", Effort::Exact),
    ] {
        let search = Search::new("text", &query, 10).effort(effort);
        group.bench_function(name, |b| b.iter(|| snapshot.search(&search).unwrap().len()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    targets = log, edges, gets, search
}
criterion_main!(benches);
