//! Recall of vector searches over sets of rows and queries that are hard for
//! codes and graphs, with the time of a search beside it.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench recall --features hnsw`
//! runs all sets with vectors of the shipped sample. Arguments: a file of f16
//! or f32 vectors (`.npy`, little-endian) to use instead, and words that the
//! lines to be run must contain (set, metric, method). `INGRAIN_RECALL_ROWS`
//! is the largest number of rows of a set, 60,000 if not given.
//!
//! A line: set, metric, method, rows and dimension; recall at 10 with `Fast`,
//! `Normal` and `Thorough` (a hit counts if it is not farther than the true
//! tenth), the least recall of a single query with `Normal`, and the mean times
//! of a search in µs, of `Exact` last. A line whose recall is less than what is
//! promised begins with `!!`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a bench"
)]

use std::{path::Path, time::Instant};

use ingrain::{
    Batch, Durability, Engine, Method, Metric, Node, NodeId, Options, Space,
    search::{Effort, Search},
};
use ingrain_benches::{Random, read_vectors, scratch};

type Rows = Vec<Vec<f32>>;

const K: usize = 10;
const QUERIES: usize = 200;
const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::L2];

struct Set {
    name: &'static str,
    rows: Rows,
    queries: Rows,
    metrics: &'static [Metric],
}

fn length(row: &[f32]) -> f32 {
    row.iter().map(|x| x * x).sum::<f32>().sqrt()
}

fn scaled(rows: &[Vec<f32>], by: impl Fn(usize) -> f32) -> Rows {
    let rows = rows.iter().enumerate();
    rows.map(|(at, row)| row.iter().map(|x| x * by(at)).collect()).collect()
}

/// Each row so many times, moved by noise of a share of its length.
fn repeated(rows: &[Vec<f32>], times: usize, noise: f32, random: &mut Random) -> Rows {
    let mut all = Vec::new();
    for row in rows {
        let by = noise * length(row) / (row.len() as f32).sqrt();
        all.extend(
            (0..times).map(|_| row.iter().map(|x| x + by * random.normal()).collect::<Vec<f32>>()),
        );
    }
    // As they would come: not one beside the other.
    for at in (1..all.len()).rev() {
        all.swap(at, random.below(at + 1));
    }
    all
}

/// Rows around centres.
fn clusters(rows: usize, centres: usize, dimension: usize, width: f32, seed: u64) -> Rows {
    let random = &mut Random(seed);
    let centres: Rows = (0..centres).map(|_| random.gauss(dimension)).collect();
    let one = |_| {
        let centre = &centres[random.below(centres.len())];
        centre.iter().map(|x| x + width * random.normal()).collect()
    };
    (0..rows).map(one).collect()
}

/// The last rows are the queries.
fn held_out(name: &'static str, mut rows: Rows, metrics: &'static [Metric]) -> Set {
    let queries = rows.split_off(rows.len() - QUERIES);
    Set { name, rows, queries, metrics }
}

fn sets(words: &Rows, most: usize) -> Vec<Set> {
    let random = &mut Random(1);
    let mut words = words.clone();
    for at in (1..words.len()).rev() {
        words.swap(at, random.below(at + 1));
    }
    let queries = words.split_off(words.len() - QUERIES);
    let of = |name, rows: Rows| Set { name, rows, queries: queries.clone(), metrics: &METRICS };
    let words: Rows = words.into_iter().take(most).collect();
    let n = words.len();
    let many = |share: usize| words[..n / share].to_vec();
    let dimension = words[0].len();
    let mut sets = vec![
        of("words", words.clone()),
        of("20 near copies", repeated(&many(20), 20, 0.01, random)),
        of("12 near copies", repeated(&many(12), 12, 0.01, random)),
        of("3 near copies", repeated(&many(3), 3, 0.01, random)),
        of("20 copies", repeated(&many(20), 20, 0.0, random)),
        of("half near copies", {
            let mut rows = repeated(&many(40), 20, 0.01, random);
            rows.extend(words[n / 2..].iter().cloned());
            rows
        }),
    ];
    let noise: Rows = (0..QUERIES).map(|_| random.gauss(dimension)).collect();
    let pairs = |a: usize| -> Vec<f32> {
        let b = &words[(a * 7 + 3) % n];
        words[a * 5 % n].iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect()
    };
    let with = |name, queries: Rows| Set { name, rows: words.clone(), queries, metrics: &METRICS };
    sets.extend([
        with("queries: opposite", scaled(&queries, |_| -1.0)),
        with("queries: noise", noise.clone()),
        with("queries: means of two", (0..QUERIES).map(pairs).collect()),
        with("queries: 1000 x as long", scaled(&queries, |_| 1e3)),
        with("queries: 1000 x as short", scaled(&queries, |_| 1e-3)),
        with("queries: near rows", repeated(&words[..QUERIES], 1, 0.1, random)),
        with("queries: rows", words[..QUERIES].to_vec()),
    ]);
    let n = most.min(20_000);
    let uneven = |rows: &Rows, by: &dyn Fn(usize) -> f32| scaled(rows, by);
    let heavy = uneven(&words, &|at| if at % 200 == 7 { 50.0 } else { 1.0 });
    sets.push(of("1 of 200 rows 50 x as long", heavy.clone()));
    let long = scaled(&queries, |_| 50.0);
    sets.push(Set {
        name: "the same, long queries",
        rows: heavy,
        queries: long,
        metrics: &METRICS,
    });
    let plain = |dimension: usize, rows: usize, seed: u64| -> Rows {
        let random = &mut Random(seed);
        (0..rows + QUERIES).map(|_| random.gauss(dimension)).collect()
    };
    let base = plain(32, n, 5);
    let (rows, queries) = (base[..n].to_vec(), base[n..].to_vec());
    let ends = |name, rows: Rows, queries: Rows| Set { name, rows, queries, metrics: &METRICS };
    let positive = |rows: &Rows, by: f32| -> Rows {
        rows.iter().map(|row| row.iter().map(|x| x.abs() * by).collect()).collect()
    };
    let norms = uneven(&rows, &|at| 10_f32.powi((at % 41) as i32 - 20));
    let lognormal = uneven(&rows, &|at| ((at % 101) as f32 / 12.0 - 4.0).exp());
    let moved = |rows: &Rows, by: f32, to: f32| -> Rows {
        rows.iter().map(|row| row.iter().map(|x| x * by + to).collect()).collect()
    };
    sets.extend([
        ends("noise", rows.clone(), queries.clone()),
        ends("positive, opposite queries", positive(&rows, 1.0), positive(&queries, -1.0)),
        ends("norms from 1e-20 to 1e20", norms, queries.clone()),
        ends("lognormal norms", lognormal, queries.clone()),
        ends("queries near zero", rows.clone(), scaled(&queries, |_| 1e-30)),
        ends("huge queries", rows.clone(), scaled(&queries, |_| 1e30)),
        ends(
            "one outlier",
            {
                let mut rows = rows.clone();
                rows[7] = vec![1e6; 32];
                rows
            },
            queries.clone(),
        ),
        ends("far queries", moved(&rows, 0.01, 1.0), moved(&queries, 1.0, -100.0)),
        ends("offset", moved(&rows, 1.0, 1e4), moved(&queries, 1.0, 1e4)),
        ends(
            "half the same",
            {
                let half = |at: usize| {
                    if at.is_multiple_of(2) { rows[0].clone() } else { rows[at].clone() }
                };
                (0..n).map(half).collect()
            },
            queries.clone(),
        ),
        ends("all the same", vec![rows[0].clone(); n], queries.clone()),
        ends(
            "one direction",
            {
                rows.iter()
                    .map(|r| (0..32).map(|d| if d == 3 { r[0] } else { 0.0 }).collect())
                    .collect()
            },
            queries.clone(),
        ),
        ends(
            "one hot",
            {
                let one = |at: usize| {
                    (0..32)
                        .map(|d| if d == at % 32 { 1.0 + (at / 32) as f32 * 1e-4 } else { 0.0 })
                        .collect()
                };
                (0..n).map(one).collect()
            },
            queries.clone(),
        ),
        ends(
            "binary",
            {
                rows.iter()
                    .map(|r| r.iter().map(|x| f32::from(u8::from(*x > 0.0))).collect())
                    .collect()
            },
            queries
                .iter()
                .map(|r| r.iter().map(|x| f32::from(u8::from(*x > 0.0))).collect())
                .collect(),
        ),
        held_out("near constant", moved(&plain(64, n, 8), 1e-3, 1.0), &METRICS),
        held_out("clusters", clusters(n, 50, 64, 0.3, 3), &METRICS),
        held_out("narrow clusters", clusters(n, 1_000, 64, 0.02, 4), &METRICS),
        held_out("dimension 1", plain(1, n, 11), &METRICS),
        held_out("dimension 2", plain(2, n, 12), &METRICS),
        held_out("dimension 64", plain(64, n, 13), &METRICS),
        held_out("dimension 300", clusters(n, 2_000, 300, 0.7, 14), &METRICS),
        held_out("dimension 1024", clusters(n / 2, 1_000, 1_024, 0.7, 15), &METRICS),
        held_out("dimension 4096", clusters(n / 4, 500, 4_096, 0.7, 16), &METRICS),
    ]);
    sets
}

fn id(n: usize) -> NodeId {
    NodeId::from_content(&n.to_le_bytes())
}

fn open(set: &Set, metric: Metric, path: &Path) -> Engine {
    let space = Space::new(set.rows[0].len(), metric);
    let engine = Options::new()
        .durability(Durability::Os)
        .graph_rows(1_000)
        .delta_vectors(1 << 22)
        .delta_bytes(1 << 30)
        .space("v", space)
        .open(path)
        .unwrap();
    for (part, rows) in set.rows.chunks(500).enumerate() {
        let mut batch = Batch::new();
        for (at, row) in rows.iter().enumerate() {
            batch.put(Node::new(id(part * 500 + at), "n").vector("v", row.clone()));
        }
        engine.write(batch).unwrap();
    }
    engine
}

/// Recalls of each query, and the mean time in µs.
fn recalls(engine: &Engine, set: &Set, effort: Effort, tenth: &mut Vec<f64>) -> (Vec<f64>, f64) {
    let snapshot = engine.snapshot();
    let cosine = engine.stats().spaces[0].space.metric == Metric::Cosine;
    let (mut recalls, mut took) = (Vec::new(), 0.0);
    for (at, query) in set.queries.iter().enumerate() {
        let search = Search::new("v", query, K).effort(effort);
        let start = Instant::now();
        let hits = snapshot.search(&search).unwrap();
        took += start.elapsed().as_secs_f64() * 1e6;
        if effort == Effort::Exact {
            tenth.push(hits.last().unwrap().distance);
        }
        // Equal vectors of other lengths have distances that differ by rounding.
        let last = tenth[at] + 1e-13 * tenth[at].abs().max(f64::from(u8::from(cosine)));
        let found = hits.iter().filter(|hit| hit.distance <= last).count();
        recalls.push(found as f64 / K as f64);
    }
    (recalls, took / set.queries.len() as f64)
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len() as f64
}

fn run(set: &Set, metric: Metric, methods: &[(Method, &str)]) {
    let scratch = scratch();
    let path = scratch.path().join("s");
    let engine = open(set, metric, &path);
    let (mut first, mut tenth, mut exact) = (true, Vec::new(), 0.0);
    for (method, name) in methods {
        engine.set_method("v", *method).unwrap();
        let start = Instant::now();
        if first {
            engine.compact().unwrap();
        }
        engine.rebuild(None).unwrap();
        let built = start.elapsed().as_secs_f64();
        if first {
            exact = recalls(&engine, set, Effort::Exact, &mut tenth).1;
            first = false;
        }
        let efforts = [Effort::Fast, Effort::Normal, Effort::Thorough];
        let all = efforts.map(|effort| recalls(&engine, set, effort, &mut tenth));
        let of = all.each_ref().map(|(recalls, _)| mean(recalls));
        let least = all[1].0.iter().copied().fold(1.0, f64::min);
        let kept = of[0] >= 0.95 && of[1] >= 0.99 && of[2] >= 0.999;
        println!(
            "{} {:<28} {metric:?} {name} {}x{}: recall {:.4} {:.4} {:.4} least {least:.1}, µs {:.0} {:.0} {:.0} exact {exact:.0}, built {built:.1} s",
            if kept { "  " } else { "!!" },
            set.name,
            set.rows.len(),
            set.rows[0].len(),
            of[0],
            of[1],
            of[2],
            all[0].1,
            all[1].1,
            all[2].1,
        );
        if std::env::var_os("INGRAIN_RECALL_STATS").is_some() {
            let file = &engine.stats().spaces[0].files[0];
            println!("     codes {:?}", file.codes);
            println!("     graph {:?}", file.graph);
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let (files, words): (Vec<_>, Vec<_>) =
        args.into_iter().partition(|arg| Path::new(arg).is_file());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sample = root.join("tests/data/wordnet-sample/vectors.f16.npy");
    let vectors = read_vectors(files.first().map_or(sample.as_path(), Path::new));
    let most = std::env::var("INGRAIN_RECALL_ROWS");
    let most = most.map_or(60_000, |most| most.parse().unwrap());
    let methods = [(Method::Pq4, "pq4"), (Method::Pq8, "pq8"), (Method::Hnsw, "hnsw")];
    for set in sets(&vectors, most) {
        for metric in set.metrics {
            let wanted = |name: &str| {
                let line = format!("{} {metric:?} {name}", set.name);
                words.iter().all(|word| line.contains(word.as_str()))
            };
            let methods: Vec<_> =
                methods.iter().copied().filter(|(_, name)| wanted(name)).collect();
            if !methods.is_empty() {
                run(&set, *metric, &methods);
            }
        }
    }
}
