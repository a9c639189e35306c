//! The recall of searches.

use std::{fs, path::Path};

use ingrain::{
    Batch, Engine, Method, Metric, Node, Space,
    search::{Effort, Search},
};

use crate::harness::{
    dirs::temp_dir,
    nodes::id,
    random::{Random, noise_vector},
};

use super::model::{EFFORTS, Found, eager, found};

/// The vectors of the shipped sample: 384 numbers each, binary16.
fn wordnet() -> Vec<Vec<f32>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wordnet-sample");
    let bytes = fs::read(path.join("vectors.f16.npy")).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let half = |bits: u16| -> f32 {
        let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1_023));
        match exponent {
            0 => sign * fraction * 2_f32.powi(-24),
            31 => f32::NAN,
            _ => sign * (1.0 + fraction / 1_024.0) * 2_f32.powi(exponent - 15),
        }
    };
    let numbers = bytes[10 + header..].as_chunks::<2>().0.iter();
    let numbers: Vec<f32> = numbers.map(|b| half(u16::from_le_bytes(*b))).collect();
    let rows = numbers.chunks_exact(384).filter(|row| row.iter().all(|x| x.is_finite()));
    rows.map(<[f32]>::to_vec).collect()
}

/// Writes vectors, a file for each part.
fn fill(engine: &Engine, space: &str, vectors: &[Vec<f32>], parts: usize) {
    let mut n = 0;
    for part in vectors.chunks(vectors.len().div_ceil(parts)) {
        for some in part.chunks(1_000) {
            let mut batch = Batch::new();
            for vector in some {
                batch.put(Node::new(id(n), "n").vector(space, vector.clone()));
                n += 1;
            }
            engine.write(batch).unwrap();
        }
        engine.checkpoint().unwrap();
    }
}

/// The share of the ten closest that is found, for each effort.
fn recalls(engine: &Engine, space: &str, queries: &[Vec<f32>]) -> [f64; 4] {
    let snapshot = engine.snapshot();
    let search = |effort| -> Vec<Found> {
        let searches = queries.iter().map(|q| Search::new(space, q, 10).effort(effort));
        let searches: Vec<Search<'_>> = searches.collect();
        snapshot.search_many(&searches).unwrap().iter().map(|hits| found(hits)).collect()
    };
    let exact = search(Effort::Exact);
    EFFORTS.map(|effort| {
        let mut hits = 0;
        for (found, exact) in search(effort).iter().zip(&exact) {
            assert_eq!(found.len(), 10);
            // By distance: of equals any will do.
            hits += found.iter().filter(|(d, _)| *d <= exact[9].0).count();
        }
        hits as f64 / (queries.len() * 10) as f64
    })
}

#[track_caller]
fn recall_is_promised(vectors: &[Vec<f32>], metric: Metric, parts: usize, methods: &[Method]) {
    // Held out: the queries are not in the store.
    let (queries, vectors): (Vec<_>, Vec<_>) =
        vectors.iter().cloned().enumerate().partition(|(n, _)| n % 40 == 7);
    let [queries, vectors] = [queries, vectors].map(|of| of.into_iter().map(|(_, v)| v).collect());
    let (queries, vectors): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (queries, vectors);
    let dir = temp_dir();
    let engine = eager().delta_vectors(1 << 20).open(dir.path().join("s")).unwrap();
    let space = Space::new(vectors[0].len(), metric);
    engine.create_space("v", space).unwrap();
    engine.set_method("v", methods[0]).unwrap();
    fill(&engine, "v", &vectors, parts);
    for method in methods {
        engine.set_method("v", *method).unwrap();
        engine.rebuild(None).unwrap();
        let stats = engine.stats().spaces.remove(0);
        assert_eq!(stats.files.len(), parts, "{stats:?}");
        for file in &stats.files {
            let bits = file.codes.as_ref().unwrap().bits;
            assert_eq!(bits, if *method == Method::Pq8 { 8 } else { 4 });
            let graph = *method == Method::Hnsw && cfg!(feature = "hnsw");
            assert_eq!(file.graph.is_some(), graph);
        }
        let recalls = recalls(&engine, "v", &queries);
        println!("{} {metric:?} {parts} {method:?}: {recalls:?}", space.dimension);
        let least = [0.95, 0.99, 0.99, 1.0];
        assert!(recalls.iter().zip(least).all(|(r, least)| *r >= least), "{method:?} {recalls:?}");
    }
}

#[test]
fn recall_of_real_vectors_is_as_promised() {
    recall_is_promised(&wordnet(), Metric::Cosine, 1, &[Method::Pq4]);
}

#[test]
fn recall_of_real_vectors_in_several_files_is_as_promised() {
    let vectors = wordnet();
    recall_is_promised(&vectors[..2_400], Metric::Cosine, 3, &[Method::Pq4, Method::Hnsw]);
}

#[test]
fn recall_of_real_vectors_by_other_methods_is_as_promised() {
    let vectors = wordnet();
    recall_is_promised(&vectors[4_000..5_500], Metric::Dot, 1, &[Method::Pq8, Method::Hnsw]);
}

#[test]
fn recall_of_what_quantises_badly_is_as_promised() {
    let mut random = Random(11);
    let vectors: Vec<Vec<f32>> = (0..3_000).map(|_| noise_vector(&mut random, 64)).collect();
    for metric in [Metric::L2, Metric::Dot] {
        recall_is_promised(&vectors, metric, 1, &[Method::Pq4, Method::Pq8, Method::Hnsw]);
    }
    // Most alike, one far larger than all.
    let mut close = vec![vec![1e6; 16]];
    close.extend((0..2_500).map(|_| {
        noise_vector(&mut random, 16).iter().map(|x| 100.0 + x / 100.0).collect::<Vec<f32>>()
    }));
    recall_is_promised(&close, Metric::L2, 1, &[Method::Pq4, Method::Pq8, Method::Hnsw]);
}
