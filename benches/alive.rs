//! What a view of the living costs: each read of a snapshot, and the same read of
//! views in which nothing, a hundred nodes, or more nodes than a view keeps have
//! expired.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench alive`. The reads take
//! turns, so that what else the machine does falls on all of them; the numbers are
//! medians of the rounds, in nanoseconds for an item.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench"
)]

use std::{hint::black_box, time::Instant};

use ingrain::{
    Batch, Direction, Durability, Edge, KeyRange, Metric, Node, NodeId, Op, Options, Snapshot,
    Space, Timestamp,
    graph::PathOptions,
    search::{Effort, Filter, Search},
};
use ingrain_benches::{Random, scratch};

/// Those that live, and those of which some have expired.
const NODES: u64 = 50_000;
const EXPIRING: u64 = 70_000;
const HUBS: u64 = 500;
const EDGES: u64 = 100;
const DIMENSION: usize = 64;
const ROUNDS: usize = 41;

fn id(n: u64) -> NodeId {
    NodeId::from_content(&n.to_le_bytes())
}

fn row(random: &mut Random) -> Vec<f32> {
    (0..DIMENSION).map(|_| random.normal()).collect()
}

type Read<'a> = (&'static str, Box<dyn Fn(&Snapshot) -> usize + 'a>);

fn main() {
    let dir = scratch();
    let options = Options::new().durability(Durability::Os).delta_bytes(4 << 30);
    let options = options.delta_vectors(1 << 24).space("text", Space::new(DIMENSION, Metric::L2));
    let engine = options.index("of").open(dir.path().join("s")).unwrap();
    let mut random = Random(1);
    for from in (0..NODES + EXPIRING).step_by(1_000) {
        let mut batch = Batch::new();
        for n in from..from + 1_000 {
            let node = Node::new(id(n), if n < NODES { "lives" } else { "expires" });
            let node = node.content(vec![7; 100]).key("of", n.to_be_bytes());
            batch.put(if n < NODES {
                node.vector("text", row(&mut random))
            } else {
                node.expires(Timestamp::from_micros(if n < NODES + 100 { 10 } else { 20 }))
            });
        }
        engine.write(batch).unwrap();
    }
    for hub in 0..HUBS {
        let link = |m: u64| Edge::new(id(hub), "near", id((hub * 31 + m * m * 7) % NODES));
        engine.write((1..=EDGES).map(|m| Op::link(link(m))).collect::<Batch>()).unwrap();
    }
    let query = row(&mut random);
    let picked: Vec<NodeId> = (0..1_000).map(|_| id(random.below(NODES as usize) as u64)).collect();
    let reads: Vec<Read<'_>> = vec![
        ("get", Box::new(|s| picked.iter().filter(|id| s.get(**id).unwrap().is_some()).count())),
        ("get_many", Box::new(|s| s.get_many(&picked).unwrap().into_iter().flatten().count())),
        ("contains", Box::new(|s| picked.iter().filter(|id| s.contains(**id).unwrap()).count())),
        ("scan", Box::new(|s| s.scan("lives").take(5_000).filter(Result::is_ok).count())),
        (
            "range",
            Box::new(|s| {
                let all = s.range("of", KeyRange::all(), Direction::Ascending).unwrap();
                all.take(5_000).filter(Result::is_ok).count()
            }),
        ),
        (
            "edges_out",
            Box::new(|s| {
                let of = |hub| s.edges_out(id(hub)).map(|edge| edge.unwrap().weight() as usize);
                (0..HUBS).flat_map(of).sum()
            }),
        ),
        (
            "edges_in",
            Box::new(|s| {
                let of = |hub| s.edges_in(id(hub)).map(|edge| edge.unwrap().weight() as usize);
                (0..5_000).flat_map(of).sum()
            }),
        ),
        (
            "path",
            Box::new(|s| {
                let options = PathOptions { max_depth: 6, ..PathOptions::default() };
                let steps = |hub: u64| {
                    let path = s.shortest_path(id(hub), id(hub + 1), &options).unwrap();
                    path.map_or(1, |path| path.steps.len())
                };
                (0..20).map(steps).sum()
            }),
        ),
        ("nearest", Box::new(|s| s.nearest("text", &query, 10, &Filter::new()).unwrap().len())),
        (
            "nearest_exact",
            Box::new(|s| {
                let search = Search::new("text", &query, 10).effort(Effort::Exact);
                s.search(&search).unwrap().len()
            }),
        ),
    ];
    println!("level read plain nothing(%) hundred(%) very_many(%)");
    for level in ["layer", "base"] {
        if level == "base" {
            engine.compact().unwrap();
        }
        let plain = engine.snapshot();
        let at = |micros| plain.alive_at(Timestamp::from_micros(micros));
        let views = [plain.clone(), at(5), at(10), at(20)];
        for (name, read) in &reads {
            let mut times = [const { Vec::new() }; 4];
            let mut items = 1;
            for _ in 0..ROUNDS {
                for (view, times) in views.iter().zip(&mut times) {
                    let begun = Instant::now();
                    items = black_box(read(view)).max(1);
                    times.push(begun.elapsed().as_nanos() as f64);
                }
            }
            let [plain, rest @ ..] = times.map(|mut times| {
                times.sort_by(f64::total_cmp);
                times[ROUNDS / 2]
            });
            let percent = rest.map(|time| format!("{:+.1}", (time / plain - 1.0) * 100.0));
            println!("{level} {name} {:.0} {}", plain / items as f64, percent.join(" "));
        }
        // What the first read of edges of a new view pays.
        for (name, micros) in [("nothing", 5), ("hundred", 10), ("very_many", 20)] {
            let mut times: Vec<f64> = (0..ROUNDS)
                .map(|_| {
                    let begun = Instant::now();
                    black_box(at(micros).edges_out(id(0)).next().is_some());
                    begun.elapsed().as_nanos() as f64
                })
                .collect();
            times.sort_by(f64::total_cmp);
            println!("{level} first_read {name} {:.0} ns", times[ROUNDS / 2]);
        }
    }
}
