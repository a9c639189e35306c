//! Vector search beside faiss-cpu and usearch, in one run.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench vectors --features hnsw`
//! on the shipped sample; `-- FILE.npy` on a matrix of f16 or f32 (rows, dimension), little-endian;
//! `-- FILE.npy 1000000` on so many rows made of it. With
//! `INGRAIN_PYTHON=python3`, an interpreter that has `faiss-cpu` and `numpy`,
//! faiss takes part (`benches/faiss_peer.py`). `INGRAIN_BENCH=codes` leaves the
//! graphs out.
//!
//! Queries are rows that are left out of the store. Rows that are made: a row
//! drawn at random, moved a fifth of the way to another and by normal noise of a
//! twentieth of its length, then set to length one; seeded. Such a set has as
//! many clusters as it has rows to be made of, and is easier than a million
//! texts would be.
//!
//! The store is made under `benches/target/` and removed at the end.
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
    io::{BufRead, BufReader, Write},
    ops::Bound,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use ingrain::{
    Batch, Engine, KeyBuilder, Metric, Node, NodeId, Options, Snapshot, Space,
    search::{Effort, Filter, Search},
};
use ingrain_benches::{Random, scratch};

const K: usize = 10;
const QUERIES: usize = 1_000;
/// From here on a fifth of the queries has to do: what is true takes minutes.
const MANY_ROWS: usize = 200_000;
const ROUNDS: usize = 3;
/// Shares of the nodes, in ten thousandths, and their kinds: for filters.
const KINDS: [(u64, &str); 5] = [(1, "d"), (50, "c"), (500, "b"), (5_000, "a"), (10_000, "e")];

struct Matrix {
    dimension: usize,
    numbers: Vec<f32>,
}

impl Matrix {
    fn len(&self) -> usize {
        self.numbers.len() / self.dimension
    }

    fn row(&self, at: usize) -> &[f32] {
        &self.numbers[at * self.dimension..(at + 1) * self.dimension]
    }

    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let header = u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
        let text = std::str::from_utf8(&bytes[10..10 + header]).unwrap();
        let shape = text.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
        let dimension = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
        let data = &bytes[10 + header..];
        let numbers = if text.contains("<f2") {
            data.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()
        } else {
            data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        Self { dimension, numbers }
    }

    fn write(&self, path: &Path) {
        fs::write(path, bytemuck::cast_slice(&self.numbers)).unwrap();
    }
}

fn normalise(row: &mut [f32]) {
    let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
    row.iter_mut().for_each(|x| *x /= length);
}

/// Rows and queries. Queries are taken from all over.
fn split(all: &Matrix, rows: Option<usize>) -> (Matrix, Matrix) {
    let dimension = all.dimension;
    let queries = QUERIES.min(all.len() / 10);
    let step = all.len() / queries;
    let (mut kept, mut out) = (Vec::new(), Vec::new());
    for at in 0..all.len() {
        let held = at % step == 0 && out.len() < queries * dimension;
        if held { &mut out } else { &mut kept }.extend_from_slice(all.row(at));
    }
    let mut kept = Matrix { dimension, numbers: kept };
    match rows {
        Some(rows) if rows <= kept.len() => kept.numbers.truncate(rows * dimension),
        Some(rows) => {
            let mut random = Random(7);
            let noise = 0.05 / (dimension as f32).sqrt();
            let mut numbers = Vec::with_capacity(rows * dimension);
            for _ in 0..rows {
                let (a, b) = (random.below(kept.len()), random.below(kept.len()));
                let mut row: Vec<f32> = kept.row(a).to_vec();
                normalise(&mut row);
                for (x, y) in row.iter_mut().zip(kept.row(b)) {
                    *x += 0.2 * (y - *x) + noise * random.normal();
                }
                normalise(&mut row);
                numbers.extend(row);
            }
            kept.numbers = numbers;
        }
        None => {}
    }
    if kept.len() > MANY_ROWS {
        out.truncate(QUERIES / 5 * dimension);
    }
    (kept, Matrix { dimension, numbers: out })
}

fn id(n: usize) -> NodeId {
    NodeId::from_content(&n.to_le_bytes())
}

fn say(what: &str, figure: impl std::fmt::Display) {
    println!("{what:<64} {figure}");
}

/// A line of `/proc/self/status` in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn mb(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

fn micros(times: &mut [Duration]) -> (f64, f64, f64) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let mean = times.iter().sum::<Duration>().as_secs_f64() * 1e6 / times.len() as f64;
    (at(0.5), at(0.99), mean)
}

/// The closest of each query, among the rows that pass.
fn truth(
    rows: &Matrix,
    queries: &Matrix,
    passes: impl Fn(usize) -> bool + Sync,
) -> Vec<Vec<usize>> {
    use rayon::prelude::*;
    (0..queries.len())
        .into_par_iter()
        .map(|query| {
            let query = queries.row(query);
            let mut closest: Vec<(f32, usize)> = Vec::new();
            for at in (0..rows.len()).filter(|at| passes(*at)) {
                let row = rows.row(at);
                let (mut dot, mut norm) = ([0.0_f32; 8], [0.0_f32; 8]);
                for (q, r) in query.as_chunks::<8>().0.iter().zip(row.as_chunks::<8>().0) {
                    for lane in 0..8 {
                        dot[lane] += q[lane] * r[lane];
                        norm[lane] += r[lane] * r[lane];
                    }
                }
                let score = dot.iter().sum::<f32>() / norm.iter().sum::<f32>().sqrt();
                let place = closest.partition_point(|(other, _)| *other >= score);
                if place < K {
                    closest.insert(place, (score, at));
                    closest.truncate(K);
                }
            }
            closest.into_iter().map(|(_, at)| at).collect()
        })
        .collect()
}

/// Runs every query once; recall, and times: p50, p99, mean.
fn ask(
    queries: &Matrix,
    truth: &[Vec<usize>],
    mut search: impl FnMut(&[f32]) -> Vec<usize>,
) -> (f64, (f64, f64, f64)) {
    let (mut found, mut all) = (0, 0);
    let mut times = Vec::new();
    for (at, truth) in truth.iter().enumerate() {
        let start = Instant::now();
        let hits = search(queries.row(at));
        times.push(start.elapsed());
        found += truth.iter().filter(|row| hits.contains(row)).count();
        all += truth.len();
    }
    (found as f64 / all.max(1) as f64, micros(&mut times))
}

/// Rows by the first bytes of their ids.
struct Names(std::collections::HashMap<NodeId, usize>);

impl Names {
    fn search(&self, snapshot: &Snapshot, search: &Search<'_>) -> Vec<usize> {
        snapshot.search(search).unwrap().iter().map(|hit| self.0[&hit.node.id()]).collect()
    }
}

fn kind(n: usize) -> &'static str {
    let draw = Random(n as u64).bits() % 10_000;
    KINDS.iter().find(|(share, _)| draw < *share).unwrap().1
}

/// A place in an order without relation to the vectors, from 0 to 1.
fn place(n: usize) -> f64 {
    (Random(n as u64 ^ 0xabcd).bits() >> 11) as f64 / (1_u64 << 53) as f64
}

fn open(path: &Path, dimension: usize) -> Engine {
    Options::new()
        .space("text", Space::new(dimension, Metric::Cosine))
        .index("place")
        .open(path)
        .unwrap()
}

fn load(engine: &Engine, rows: &Matrix) -> Duration {
    let start = Instant::now();
    for from in (0..rows.len()).step_by(1_000) {
        let mut batch = Batch::new();
        for n in from..rows.len().min(from + 1_000) {
            let key = KeyBuilder::new().float(place(n)).build();
            let node = Node::new(id(n), kind(n)).key("place", key);
            batch.put(node.vector("text", rows.row(n)));
        }
        engine.write(batch).unwrap();
    }
    start.elapsed()
}

/// faiss in a process of its own, which answers when it is asked.
struct Faiss(Child, BufReader<std::process::ChildStdout>);

impl Faiss {
    fn start(rows: &Path, queries: &Path, truth: &Path, dimension: usize) -> Option<Self> {
        let python = std::env::var_os("INGRAIN_PYTHON")?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("faiss_peer.py");
        let mut child = Command::new(python)
            .arg(script)
            .args([rows, queries, truth])
            .arg(dimension.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut faiss = Self(child, out);
        say("faiss: training and adding, one thread", faiss.line());
        Some(faiss)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Recall, p50, p99, mean in µs.
    fn round(&mut self) -> [f64; 4] {
        writeln!(self.0.stdin.as_mut().unwrap(), "go").unwrap();
        let line = self.line();
        let numbers: Vec<f64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    }
}

impl Drop for Faiss {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// usearch as it is, over the same numbers as ours in i8.
#[cfg(feature = "hnsw")]
struct Raw(usearch::Index);

#[cfg(feature = "hnsw")]
impl Raw {
    fn build(rows: &Matrix) -> Self {
        let options = usearch::IndexOptions {
            dimensions: rows.dimension,
            metric: usearch::MetricKind::Cos,
            quantization: usearch::ScalarKind::I8,
            connectivity: 16,
            expansion_add: 128,
            expansion_search: 64,
            multi: false,
        };
        let index = usearch::Index::new(&options).unwrap();
        index.reserve_capacity_and_threads(rows.len(), 1).unwrap();
        for at in 0..rows.len() {
            index.add(at as u64, &quantise(rows.row(at))).unwrap();
        }
        Self(index)
    }

    fn search(&self, rows: &Matrix, query: &[f32], ef: usize, ranked: usize) -> Vec<usize> {
        self.0.change_expansion_search(ef);
        let found = self.0.search(&quantise(query), ranked).unwrap();
        let mut ranked: Vec<(f32, usize)> = found
            .keys
            .iter()
            .map(|key| {
                let row = rows.row(*key as usize);
                let dot: f32 = row.iter().zip(query).map(|(a, b)| a * b).sum();
                let norm: f32 = row.iter().map(|a| a * a).sum();
                (-dot / norm.sqrt(), *key as usize)
            })
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked.into_iter().take(K).map(|(_, row)| row).collect()
    }
}

#[cfg(feature = "hnsw")]
fn quantise(row: &[f32]) -> Vec<i8> {
    let max = row.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    row.iter().map(|x| (x * 127.0 / max).round() as i8).collect()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn figure((recall, (p50, p99, mean)): (f64, (f64, f64, f64))) -> String {
    format!("recall {recall:.4}, p50 {p50:.0} µs, p99 {p99:.0}, mean {mean:.0}")
}

/// In a process that has nothing else in memory: what serving takes.
fn serve(path: &Path, queries: &Path, dimension: usize) {
    let queries = Matrix {
        dimension,
        numbers: fs::read(queries)
            .unwrap()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
    };
    let before = status("RssAnon");
    let start = Instant::now();
    let engine = open(path, dimension);
    let opened = start.elapsed();
    let snapshot = engine.snapshot();
    let start = Instant::now();
    let first = snapshot.nearest("text", queries.row(0), K, &Filter::new()).unwrap();
    let first_took = start.elapsed();
    assert_eq!(first.len(), K);
    let mut times = Vec::new();
    for at in 0..queries.len() {
        let start = Instant::now();
        snapshot.nearest("text", queries.row(at), K, &Filter::new()).unwrap();
        times.push(start.elapsed());
    }
    let (p50, p99, _) = micros(&mut times);
    let memory = status("RssAnon") - before;
    println!(
        "open {:.1} ms, first query {:.1} ms, then p50 {p50:.0} µs, p99 {p99:.0} µs, anonymous {}",
        opened.as_secs_f64() * 1e3,
        first_took.as_secs_f64() * 1e3,
        mb(memory)
    );
}

fn serve_apart(what: &str, store: &Path, queries: &Path, dimension: usize) {
    let run = |prefix: &[&str]| {
        let mut args: Vec<std::ffi::OsString> = prefix.iter().map(Into::into).collect();
        args.push(std::env::current_exe().unwrap().into());
        args.extend(["serve".into(), store.into(), queries.into(), dimension.to_string().into()]);
        let out = Command::new(&args[0]).args(&args[1..]).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    say(&format!("{what}: a new process"), run(&[]));
    // A memory cgroup (v1), which takes root.
    let group = Path::new("/sys/fs/cgroup/memory/ingrain-vectors");
    if fs::create_dir(group).is_ok() {
        if fs::write(group.join("memory.limit_in_bytes"), "256000000").is_ok() {
            let script = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.display());
            say(&format!("{what}: within 256 MB"), run(&["sh", "-c", &script, "sh"]));
        }
        let _ = fs::remove_dir(group);
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [serving, store, queries, dimension] = args.as_slice()
        && serving == "serve"
    {
        return serve(Path::new(store), Path::new(queries), dimension.parse().unwrap());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sample = root.join("tests/data/wordnet-sample/vectors.f16.npy");
    let file = args.first().map_or(sample, PathBuf::from);
    let wanted = args.get(1).map(|rows| rows.parse().unwrap());
    let (rows, queries) = split(&Matrix::read(&file), wanted);
    let dimension = rows.dimension;
    say("rows, dimension, queries", format!("{}, {dimension}, {}", rows.len(), queries.len()));
    let scratch = scratch();
    let store = scratch.path().join("store");
    let expected = truth(&rows, &queries, |_| true);
    let (rows_file, queries_file, truth_file) =
        (scratch.path().join("rows"), scratch.path().join("queries"), scratch.path().join("truth"));
    queries.write(&queries_file);

    let engine = open(&store, dimension);
    let took = load(&engine, &rows);
    let vectors = rows.len() as f64 / took.as_secs_f64();
    say("load, batches of 1,000, each synced", format!("{took:.1?}, {vectors:.0} vectors/s"));
    let start = Instant::now();
    engine.checkpoint().unwrap();
    say("the checkpoint after it", format!("{:.1?}", start.elapsed()));
    let names = Names((0..rows.len()).map(|n| (id(n), n)).collect());
    let files = engine.stats().spaces[0].files.len();
    let snapshot = engine.snapshot();
    let ours = |effort: Effort| {
        ask(&queries, &expected, |query| {
            names.search(&snapshot, &Search::new("text", query, K).effort(effort))
        })
    };
    say(&format!("as it was loaded, {files} files: normal"), figure(ours(Effort::Normal)));
    drop(snapshot);
    let start = Instant::now();
    engine.compact().unwrap();
    say("compact", format!("{:.1?}", start.elapsed()));
    let start = Instant::now();
    engine.rebuild(Some("text")).unwrap();
    say("rebuild: training, encoding, measuring", format!("{:.1?}", start.elapsed()));
    for file in &engine.stats().spaces[0].files {
        let codes = file.codes.as_ref().map(|codes| (codes.bytes, codes.recall, codes.depths));
        say("a file: rows, bytes, codes", format!("{}, {}, {codes:?}", file.rows, mb(file.bytes)));
    }
    let snapshot = engine.snapshot();
    let ours = |effort: Effort| {
        ask(&queries, &expected, |query| {
            names.search(&snapshot, &Search::new("text", query, K).effort(effort))
        })
    };
    for (name, effort) in
        [("fast", Effort::Fast), ("normal", Effort::Normal), ("thorough", Effort::Thorough)]
    {
        say(&format!("codes: {name}"), figure(ours(effort)));
    }
    let few = Matrix { dimension, numbers: queries.numbers[..20 * dimension].to_vec() };
    let exact = ask(&few, &expected[..20], |query| {
        names.search(&snapshot, &Search::new("text", query, K).effort(Effort::Exact))
    });
    say("exact", figure(exact));
    let searches: Vec<Search<'_>> =
        (0..queries.len()).map(|at| Search::new("text", queries.row(at), K)).collect();
    let start = Instant::now();
    snapshot.search_many(&searches).unwrap();
    let each = start.elapsed().as_secs_f64() * 1e6 / searches.len() as f64;
    say("search_many, all cores", format!("{each:.0} µs a query"));

    rows.write(&rows_file);
    let flat: Vec<i64> = expected.iter().flatten().map(|row| *row as i64).collect();
    fs::write(&truth_file, bytemuck::cast_slice(&flat)).unwrap();
    if let Some(mut faiss) = Faiss::start(&rows_file, &queries_file, &truth_file, dimension) {
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let (recall, times) = ours(Effort::Normal);
            let [peer, p50, p99, mean] = faiss.round();
            ratios.push(times.2 / mean);
            say("round: ours", figure((recall, times)));
            say("round: faiss, 4 bits, 10 x 10 re-ranked", figure((peer, (p50, p99, mean))));
        }
        say("ours / faiss, mean time, median of the rounds", format!("{:.2}", median(ratios)));
    }

    let unfiltered = ours(Effort::Normal).1.2;
    for (share, name) in KINDS.iter().take(4) {
        let few = Matrix {
            dimension,
            numbers: queries.numbers[..200.min(queries.len()) * dimension].to_vec(),
        };
        let expected = truth(&rows, &few, |n| kind(n) == *name);
        let by_kind = ask(&few, &expected, |query| {
            let search = Search::new("text", query, K).filter(Filter::new().kind(*name));
            names.search(&snapshot, &search)
        });
        let share = *share as f64 / 10_000.0;
        say(
            &format!(
                "kind of {:.2} %: {:.2} x unfiltered",
                share * 100.0,
                by_kind.1.2 / unfiltered
            ),
            figure(by_kind),
        );
        let expected = truth(&rows, &few, |n| place(n) < share);
        let by_index = ask(&few, &expected, |query| {
            let end = KeyBuilder::new().float(share).build();
            let filter = Filter::new().index("place", (Bound::Unbounded, Bound::Excluded(end)));
            names.search(&snapshot, &Search::new("text", query, K).filter(filter))
        });
        say(
            &format!(
                "index range of {:.2} %: {:.2} x unfiltered",
                share * 100.0,
                by_index.1.2 / unfiltered
            ),
            figure(by_index),
        );
    }
    drop(snapshot);
    engine.close().unwrap();
    serve_apart("codes", &store, &queries_file, dimension);

    #[cfg(feature = "hnsw")]
    if std::env::var_os("INGRAIN_BENCH").is_none_or(|only| only != "codes") {
        graphs(&store, &rows, &queries, &expected, &names);
        serve_apart("graph", &store, &queries_file, dimension);
    }
}

#[cfg(feature = "hnsw")]
fn graphs(store: &Path, rows: &Matrix, queries: &Matrix, expected: &[Vec<usize>], names: &Names) {
    let engine = Options::new().graph_rows(1_000).graph_bytes(1 << 33).open(store).unwrap();
    let start = Instant::now();
    engine.set_method("text", ingrain::Method::Hnsw).unwrap();
    engine.checkpoint().unwrap();
    engine.compact().unwrap();
    say("graph: build", format!("{:.1?}", start.elapsed()));
    for file in &engine.stats().spaces[0].files {
        let graph = file.graph.as_ref();
        let graph = graph.map(|g| (g.bytes, g.recall, g.depths, g.memory, g.damage.clone()));
        say("a file: rows, graph", format!("{}, {graph:?}", file.rows));
    }
    let start = Instant::now();
    let raw = Raw::build(rows);
    say("usearch i8: build, one thread", format!("{:.1?}", start.elapsed()));
    let snapshot = engine.snapshot();
    for _ in 0..ROUNDS {
        for (name, effort) in
            [("fast", Effort::Fast), ("normal", Effort::Normal), ("thorough", Effort::Thorough)]
        {
            let ours = ask(queries, expected, |query| {
                names.search(&snapshot, &Search::new("text", query, K).effort(effort))
            });
            say(&format!("round: graph: {name}"), figure(ours));
        }
        for ef in [64, 128, 256] {
            let peer = ask(queries, expected, |query| raw.search(rows, query, ef, 20));
            say(&format!("round: usearch i8, ef {ef}, 20 re-ranked"), figure(peer));
        }
    }
}
