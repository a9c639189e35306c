//! Filters of vector searches at four selectivities, with the search without a
//! filter beside them, and puts into a store with declared indexes.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench filters` runs it with the
//! vectors of the shipped sample. Arguments: a file of f16 or f32 vectors (`.npy`,
//! little-endian) to use instead, and words that the lines to be run must contain.
//! `INGRAIN_FILTER_ROWS` is the number of rows; beyond those of the file come rows that
//! were moved. `INGRAIN_FILTER_METHOD` is `pq4` (if not given), `pq8`, `hnsw` (feature
//! `hnsw`) or `exact`. With `INGRAIN_FILTER_OPPOSITE` the queries point away from the
//! rows.
//!
//! A line: the filter, the share of the nodes that pass, the median time of a search
//! in µs, the same of searches without a filter that took turns with it, the ratio, the
//! time of the first search in µs, and recall at 10 against the exact search with the
//! same filter. A line with a ratio above 1.5 or a recall below 0.99 begins with `!!`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a bench"
)]

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use ingrain::{
    Batch, Durability, Edge, Engine, Method, Metric, Node, NodeId, Options, Snapshot, Space,
    Timestamp,
    index::{Index, attr, created},
    search::{Condition, Effort, Filter, Search},
};
use ingrain_benches::{Random, read_vectors, scratch};

const K: usize = 10;
const QUERIES: usize = 100;
/// Of ten thousand nodes, so many pass.
const SHARES: [u64; 4] = [5_000, 500, 50, 1];
const PLAIN: u64 = 10_000;

fn id(n: u64) -> NodeId {
    NodeId::from_content(&n.to_le_bytes())
}

/// The hub with edges from this share of the nodes.
fn hub(share: u64) -> NodeId {
    NodeId::from_content(format!("hub {share}").as_bytes())
}

fn kind_of(rank: u64) -> String {
    let mut from = 0;
    for share in SHARES {
        if (from..from + share).contains(&rank) {
            return format!("kind{share}");
        }
        from += share;
    }
    "rest".to_owned()
}

/// A place of each node in ten thousand, another for each use.
fn rank(n: u64, of: u64) -> u64 {
    Random(n.wrapping_mul(31).wrapping_add(of)).bits() % PLAIN
}

fn fill(engine: &Engine, rows: &[Vec<f32>]) {
    let hubs = SHARES.map(|share| ingrain::Op::put(Node::new(hub(share), "hub")));
    engine.write(hubs.into_iter().collect::<Batch>()).unwrap();
    for (at, chunk) in rows.chunks(1_000).enumerate() {
        let mut batch = Batch::new();
        batch.durability(Durability::Os);
        for (n, row) in (at as u64 * 1_000..).zip(chunk) {
            let node = Node::new(id(n), kind_of(rank(n, 0)))
                .content(format!("content of node {n}"))
                .attribute("indexed", rank(n, 1) as i64)
                .attribute("plain", rank(n, 2) as i64)
                .expires(Timestamp::from_micros(rank(n, 3) as i64))
                .vector("v", row.clone());
            batch.put(node);
            for share in SHARES {
                if rank(n, 4) < share {
                    batch.link(Edge::new(id(n), "of", hub(share)));
                }
            }
        }
        engine.write(batch).unwrap();
    }
}

fn filters(rows: u64) -> Vec<(&'static str, u64, Filter<'static>)> {
    let mut all = Vec::new();
    for share in SHARES {
        let below = share as i64;
        let alive = Timestamp::from_micros((PLAIN - share) as i64 - 1);
        let ids = (0..rows).filter(|n| rank(*n, 5) < share).map(id);
        let plain = move |node: &ingrain::NodeRef<'_>| {
            node.attributes().is_ok_and(|of| of["plain"].as_i64().is_some_and(|n| n < below))
        };
        all.extend([
            ("kind", share, Filter::new().kind(format!("kind{share}"))),
            ("ids", share, Filter::new().ids(ids)),
            ("index", share, attr("indexed").lt(below).into()),
            ("edge", share, Condition::links_to(hub(share), Some("of")).into()),
            ("alive", share, Condition::alive_at(alive).into()),
            ("attribute", share, attr("plain").lt(below).into()),
            ("closure", share, Filter::new().test(plain)),
        ]);
    }
    all
}

fn micros(from: Instant) -> f64 {
    from.elapsed().as_secs_f64() * 1e6
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn line(snapshot: &Snapshot, queries: &[Vec<f32>], name: &str, share: u64, filter: &Filter<'_>) {
    let search = |query: &[f32], effort| {
        let search = Search::new("v", query, K).effort(effort).filter(filter);
        let hits = snapshot.search(&search).unwrap();
        hits.iter().map(|hit| hit.distance).collect::<Vec<f64>>()
    };
    let first = Instant::now();
    search(&queries[0], Effort::Normal);
    let first = micros(first);
    let (mut with, mut without, mut found, mut wanted) = (Vec::new(), Vec::new(), 0, 0);
    // Of slow lines, fewer.
    let queries = &queries[..((20e6 / first.max(1.0)) as usize).clamp(5, queries.len())];
    for query in queries {
        let from = Instant::now();
        snapshot.search(&Search::new("v", query, K)).unwrap();
        without.push(micros(from));
        let from = Instant::now();
        let hits = search(query, Effort::Normal);
        with.push(micros(from));
        let exact = search(query, Effort::Exact);
        wanted += exact.len();
        let last = exact.last().copied().unwrap_or(f64::INFINITY);
        found += hits.iter().filter(|distance| **distance <= last).count();
    }
    let (with, without) = (median(with), median(without));
    let recall = if wanted == 0 { 1.0 } else { found as f64 / wanted as f64 };
    let flag = if with / without > 1.5 || recall < 0.99 { "!!" } else { "  " };
    println!(
        "{flag} {name:<10} {:>6} % {with:>10.0} {without:>10.0} {:>8.2} {first:>10.0} {recall:>8.4}",
        share as f64 / 100.0,
        with / without
    );
}

/// The seconds that puts of 100,000 nodes take, in batches of 100: with three declared
/// indexes, with three keys by hand, and with neither, in turn.
fn puts() {
    let node = |n: u64| {
        Node::new(id(n), "episode")
            .content(format!("what happened in step {n}"))
            .attribute("topic", ["rust", "c", "sql", "make"][rank(n, 6) as usize % 4])
            .attribute("outcome", rank(n, 7) as i64)
            .created(Timestamp::from_micros(n as i64))
    };
    let declared = [
        Index::on([attr("topic"), created().desc()]),
        Index::on([attr("outcome")]),
        Index::on([created()]),
    ];
    let mut seconds = [const { Vec::new() }; 3];
    for _ in 0..5 {
        for (way, seconds) in seconds.iter_mut().enumerate() {
            let dir = scratch();
            let engine = Options::new().open(dir.path().join("s")).unwrap();
            for (at, definition) in declared.iter().enumerate() {
                match way {
                    0 => {
                        engine.create_index_on(format!("i{at}"), definition.clone()).unwrap();
                    }
                    1 => {
                        engine.create_index(format!("i{at}")).unwrap();
                    }
                    _ => {}
                }
            }
            let from = Instant::now();
            for chunk in 0..1_000 {
                let mut batch = Batch::new();
                batch.durability(Durability::Os);
                for n in chunk * 100..(chunk + 1) * 100 {
                    let mut node = node(n);
                    if way == 1 {
                        let topic = node.attributes["topic"].as_str().unwrap().to_owned();
                        let outcome = node.attributes["outcome"].as_i64().unwrap();
                        let keys = ingrain::KeyBuilder::new;
                        let at = n as i64;
                        node = node
                            .key("i0", keys().text(&topic).descending().int(at).build())
                            .key("i1", keys().int(outcome).build())
                            .key("i2", keys().int(at).build());
                    }
                    batch.put(node);
                }
                engine.write(batch).unwrap();
            }
            seconds.push(from.elapsed().as_secs_f64());
            engine.close().unwrap();
        }
    }
    let [declared, by_hand, none] = seconds.map(median);
    println!(
        "puts of 100,000 nodes: {none:.2} s without indexes, {by_hand:.2} s with three keys by \
         hand, {declared:.2} s with three declared indexes: {:.2} and {:.2} of these",
        declared / none,
        declared / by_hand
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|of| of != "--bench").peekable();
    let path = arguments.next_if(|of| of.ends_with(".npy")).map(PathBuf::from);
    let words: Vec<String> = arguments.collect();
    let sample =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/wordnet-sample/vectors.f16.npy");
    let mut rows = read_vectors(path.as_deref().unwrap_or(&sample));
    let mut random = Random(7);
    let opposite = std::env::var_os("INGRAIN_FILTER_OPPOSITE").is_some();
    let sign = if opposite { -1.0 } else { 1.0 };
    // Queries are not among the rows.
    let queries: Vec<Vec<f32>> = (0..QUERIES.min(rows.len() / 10))
        .map(|_| {
            let at = random.below(rows.len());
            let row = rows.swap_remove(at);
            row.into_iter().map(|x| x * sign).collect()
        })
        .collect();
    let wanted = std::env::var("INGRAIN_FILTER_ROWS").ok().and_then(|rows| rows.parse().ok());
    let known = rows.len();
    let wanted: usize = wanted.unwrap_or(known);
    rows.truncate(wanted);
    while rows.len() < wanted {
        let row = &rows[random.below(known)];
        let scale = row.iter().map(|x| x * x).sum::<f32>().sqrt() / (row.len() as f32).sqrt();
        let moved = row.iter().map(|x| x + scale * (random.below(1_000) as f32 / 500.0 - 1.0));
        rows.push(moved.collect());
    }
    let method = match std::env::var("INGRAIN_FILTER_METHOD").as_deref() {
        Ok("pq8") => Method::Pq8,
        Ok("hnsw") => Method::Hnsw,
        Ok("exact") => Method::Exact,
        _ => Method::Pq4,
    };
    if words.is_empty() || words.iter().any(|word| word == "puts") {
        puts();
    }
    let dir = scratch();
    let engine = Options::new().delta_bytes(512 << 20).open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(rows[0].len(), Metric::Cosine)).unwrap();
    engine.set_method("v", method).unwrap();
    engine.create_index_on("indexed", Index::on([attr("indexed")])).unwrap();
    fill(&engine, &rows);
    engine.compact().unwrap();
    engine.rebuild(None).unwrap();
    let snapshot = engine.snapshot();
    println!("{} rows of {} components, {method:?}", rows.len(), rows[0].len());
    println!("   filter      passes       with    without    ratio      first   recall");
    for (name, share, filter) in filters(rows.len() as u64) {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            line(&snapshot, &queries, name, share, &filter);
        }
    }
    drop(snapshot);
    engine.close().unwrap();
}
