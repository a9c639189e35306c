//! The recall of searches for what is not a row, in rows that are hard for codes
//! and graphs: copies, and lengths that differ. `benches/recall.rs` has the whole
//! table, with more rows and other dimensions.

use ingrain::{
    Method, Metric, Node, Space,
    search::{CandidateSource, Effort, Search},
};

use crate::harness::{
    dirs::temp_dir,
    nodes::{id, put_all},
    random::{Random, noise_vector},
};

use super::model::eager;

type Rows = Vec<Vec<f32>>;

const DIMENSION: usize = 64;
const ROWS: usize = 2_000;
const QUERIES: usize = 50;

/// Rows around centres, as embeddings often are.
fn words(random: &mut Random, rows: usize) -> Rows {
    // The same centres for rows and queries.
    let centres: Rows = {
        let random = &mut Random(77);
        (0..60).map(|_| noise_vector(random, DIMENSION)).collect()
    };
    let word = |_| {
        let centre = &centres[random.below(60) as usize];
        let noise = noise_vector(random, DIMENSION);
        centre.iter().zip(noise).map(|(c, n)| c + 0.8 * n).collect()
    };
    (0..rows).map(word).collect()
}

fn times(rows: &[Vec<f32>], by: impl Fn(usize) -> f32) -> Rows {
    let rows = rows.iter().enumerate();
    rows.map(|(at, row)| row.iter().map(|x| x * by(at)).collect()).collect()
}

/// Each row so many times, moved by a share of its length.
fn copies(random: &mut Random, rows: &[Vec<f32>], count: usize, moved: f32) -> Rows {
    let copy = |at: usize| {
        let row = &rows[at % rows.len()];
        // The length of noise is about that of a row.
        row.iter().zip(noise_vector(random, DIMENSION)).map(|(x, n)| x + moved * n).collect()
    };
    (0..rows.len() * count).map(copy).collect()
}

struct Set {
    name: &'static str,
    rows: Rows,
    queries: Rows,
    of: &'static [(Metric, Method)],
}

fn sets() -> Vec<Set> {
    use {Method::*, Metric::*};
    let random = &mut Random(3);
    let (rows, queries) = (words(random, ROWS), words(random, QUERIES));
    let near = copies(random, &rows[..ROWS / 20], 20, 0.01);
    let same = copies(random, &rows[..ROWS / 20], 20, 0.0);
    let mixed = [&near[..ROWS / 2], &rows[ROWS / 2..]].concat();
    let noise: Rows = (0..QUERIES).map(|_| noise_vector(random, DIMENSION)).collect();
    let positive: Rows = rows.iter().map(|row| row.iter().map(|x| x.abs()).collect()).collect();
    let opposite = times(&positive[..QUERIES], |_| -1.0);
    let all_lengths = times(&rows, |at| 10_f32.powi((at % 41) as i32 - 20));
    let set = |name, rows: &Rows, queries: &Rows, of| Set {
        name,
        rows: rows.clone(),
        queries: queries.clone(),
        of,
    };
    vec![
        set("near copies", &near, &queries, &[(Cosine, Pq4), (Cosine, Hnsw), (L2, Pq8)]),
        set("copies", &same, &queries, &[(L2, Pq4)]),
        set("half near copies", &mixed, &queries, &[(Dot, Pq4)]),
        set("turned round", &rows, &times(&queries, |_| -1.0), &[(Cosine, Pq4), (Dot, Hnsw)]),
        set("noise", &rows, &noise, &[(Dot, Pq4)]),
        set("short", &rows, &times(&queries, |_| 1e-3), &[(L2, Pq4)]),
        set("opposite", &positive, &opposite, &[(Dot, Hnsw)]),
        set("all lengths", &all_lengths, &queries, &[(L2, Pq4)]),
    ]
}

/// Recall with `Normal` and `Thorough`, and whether all rows were compared.
fn recalls(set: &Set, metric: Metric, method: Method) -> ([f64; 2], bool) {
    let dir = temp_dir();
    let engine = eager().delta_vectors(1 << 20).open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(DIMENSION, metric)).unwrap();
    engine.set_method("v", method).unwrap();
    let nodes = (0..).zip(&set.rows).map(|(n, row)| Node::new(id(n), "n").vector("v", row.clone()));
    engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
    engine.checkpoint().unwrap();
    engine.rebuild(None).unwrap();
    let snapshot = engine.snapshot();
    let (mut found, mut compared) = ([0, 0], true);
    for query in &set.queries {
        let search = |effort| {
            let search = Search::new("v", query, 10).effort(effort).explain(true);
            snapshot.search(&search).unwrap()
        };
        let exact = search(Effort::Exact);
        // Equal vectors of other lengths have distances that differ by rounding.
        let last = exact[9].distance + 1e-13 * exact[9].distance.abs().max(1e-3);
        for (found, effort) in found.iter_mut().zip([Effort::Normal, Effort::Thorough]) {
            let hits = search(effort);
            assert_eq!(hits.len(), 10);
            *found += hits.iter().filter(|hit| hit.distance <= last).count();
            let by = hits.iter().map(|hit| hit.origin.unwrap().by);
            compared &= by.clone().all(|by| by == CandidateSource::Comparison);
        }
    }
    (found.map(|found| found as f64 / (10 * set.queries.len()) as f64), compared)
}

#[test]
fn recall_of_strangers_is_as_promised() {
    let mut broken = Vec::new();
    for set in sets() {
        for (metric, method) in set.of {
            let (recalls, _) = recalls(&set, *metric, *method);
            let line = format!("{} {metric:?} {method:?}: {recalls:?}", set.name);
            println!("{line}");
            if recalls[0] < 0.99 || recalls[1] < 0.999 {
                broken.push(line);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// A few rows that are far longer than the others do not take all centroids.
#[test]
fn codes_serve_rows_of_which_some_are_long() {
    let random = &mut Random(3);
    let rows = times(&words(random, ROWS), |at| if at % 200 == 7 { 50.0 } else { 1.0 });
    let set = Set { name: "some long rows", rows, queries: words(random, QUERIES), of: &[] };
    let (recalls, compared) = recalls(&set, Metric::L2, Method::Pq4);
    assert!(!compared, "all rows were compared");
    assert!(recalls[0] >= 0.99, "{recalls:?}");
}

/// What was measured is said of strangers only: a row finds itself.
#[test]
fn stats_say_what_was_measured() {
    let dir = temp_dir();
    let engine = eager().delta_vectors(1 << 20).open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(DIMENSION, Metric::Cosine)).unwrap();
    let rows = words(&mut Random(5), ROWS);
    // Another space, in which nothing can be told from anything else.
    engine.create_space("same", Space::new(2, Metric::L2)).unwrap();
    let nodes = (0..)
        .zip(rows)
        .map(|(n, row)| Node::new(id(n), "n").vector("v", row).vector("same", [0.0, 0.0]));
    engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
    engine.checkpoint().unwrap();
    let spaces = engine.stats().spaces;
    let codes = |name: &str| {
        let space = spaces.iter().find(|space| space.name == name).unwrap();
        space.files[0].codes.clone()
    };
    let measured = codes("v").unwrap();
    assert!(measured.recall.is_some_and(|recall| recall >= 0.99), "{measured:?}");
    assert!(measured.sample >= 64 && measured.sample + measured.foreign == 96, "{measured:?}");
    assert_eq!(measured.foreign == 0, measured.foreign_recall.is_none(), "{measured:?}");
    // Not 1.
    assert!(codes("same").is_none_or(|codes| codes.recall.is_none() && codes.sample == 0));
}
