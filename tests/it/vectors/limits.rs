//! The limits of vectors and searches, and what is refused.

use ingrain::{
    Batch, ErrorKind, KeyRange, Method, Metric, Node, Patch, Space, limits,
    search::{Effort, Filter, Search},
};

use crate::harness::{
    dirs::temp_dir,
    nodes::{id, put_all},
    random::{Random, noise_vector, whole_vector},
};

use super::model::{EFFORTS, METHODS, eager, found};

#[test]
fn bad_vectors_spaces_and_searches_are_refused_and_change_nothing() {
    let dir = temp_dir();
    let engine = eager().open(dir.path().join("s")).unwrap();
    for (name, metric) in [("c", Metric::Cosine), ("l", Metric::L2), ("d", Metric::Dot)] {
        engine.create_space(name, Space::new(3, metric)).unwrap();
    }
    engine.write(put_all([Node::new(id(0), "n").vector("c", [1.0, 2.0, 3.0])])).unwrap();
    let before = (engine.snapshot().seq(), engine.snapshot().digest().unwrap());
    let bad: [(&str, Vec<f32>); 9] = [
        ("c", vec![0.0; 3]),
        ("c", vec![-0.0, 0.0, 0.0]),
        ("l", vec![f32::NAN, 1.0, 1.0]),
        ("l", vec![1.0, f32::INFINITY, 1.0]),
        ("d", vec![1.0, 1.0, f32::NEG_INFINITY]),
        ("d", vec![]),
        ("d", vec![1.0; 2]),
        ("d", vec![1.0; 4]),
        ("none", vec![1.0; 3]),
    ];
    for (space, vector) in &bad {
        let node = Node::new(id(2), "n").vector(*space, vector.clone());
        let whole = put_all([Node::new(id(1), "n"), node]);
        assert_eq!(engine.write(whole).unwrap_err().kind(), ErrorKind::Invalid, "{vector:?}");
        let mut patch = Batch::new();
        patch.patch(id(0), Patch::new().vector(*space, vector.clone()));
        assert_eq!(engine.write(patch).unwrap_err().kind(), ErrorKind::Invalid, "{vector:?}");
        let error = engine.snapshot().nearest(space, vector, 3, &Filter::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{vector:?}");
    }
    for dimension in [0, limits::DIMENSION + 1, usize::MAX] {
        let error = engine.create_space("x", Space::new(dimension, Metric::L2)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Limit), "{error}");
    }
    let snapshot = engine.snapshot();
    for (what, search) in [
        ("distance", Search::new("l", &[1.0; 3], 3).within(f64::NAN)),
        ("diversity", Search::new("l", &[1.0; 3], 3).diversity(1.5)),
        ("diversity", Search::new("l", &[1.0; 3], 3).diversity(f64::NAN)),
        ("no vector", Search::like("l", id(0), 3)),
        ("is missing", Search::like("l", id(5), 3)),
        ("index", Search::new("l", &[1.0; 3], 3).filter(Filter::new().index("x", KeyRange::all()))),
    ] {
        let error = snapshot.search(&search).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Invalid && error.with_causes().to_string().contains(what),
            "{error}"
        );
    }
    for name in ["x", ""] {
        assert_eq!(engine.drop_space(name).unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(engine.rebuild(Some(name)).unwrap_err().kind(), ErrorKind::Invalid);
        let error = engine.set_method(name, Method::Exact).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    assert_eq!(before, (engine.snapshot().seq(), engine.snapshot().digest().unwrap()));
}

#[test]
fn a_search_gives_at_most_k_hits_and_refuses_a_k_over_the_limit() {
    let dir = temp_dir();
    let engine = eager().open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(2, Metric::L2)).unwrap();
    engine.create_space("empty", Space::new(2, Metric::L2)).unwrap();
    let mut random = Random(2);
    let nodes = (0..700).map(|n| Node::new(id(n), "n").vector("v", whole_vector(&mut random, 2)));
    engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
    engine.set_method("v", Method::Hnsw).unwrap();
    engine.compact().unwrap();
    let snapshot = engine.snapshot();
    for effort in EFFORTS {
        for diversity in [0.0, 0.5, 1.0] {
            for (k, expected) in [(0, 0), (1, 1), (700, 700), (701, 700), (limits::NEAREST_K, 700)]
            {
                // Each choice looks at all that are left.
                if diversity > 0.0 && k > 700 {
                    continue;
                }
                let search = Search::new("v", &[0.5, 0.5], k).effort(effort).diversity(diversity);
                assert_eq!(snapshot.search(&search).unwrap().len(), expected);
            }
            let search = Search::new("empty", &[0.5, 0.5], 5).effort(effort).diversity(diversity);
            assert!(snapshot.search(&search).unwrap().is_empty());
        }
        for k in [limits::NEAREST_K + 1, usize::MAX] {
            let search = Search::new("v", &[0.5, 0.5], k).effort(effort);
            assert_eq!(snapshot.search(&search).unwrap_err().kind(), ErrorKind::Limit);
        }
        for (k, refused) in [(limits::DIVERSE_K, false), (limits::DIVERSE_K + 1, true)] {
            let search = Search::new("v", &[0.5, 0.5], k).effort(effort).diversity(1.0);
            let kind = snapshot.search(&search).map(drop).map_err(|error| error.kind());
            assert_eq!(kind, if refused { Err(ErrorKind::Limit) } else { Ok(()) });
        }
    }
    let none = Search::new("v", &[0.5, 0.5], 5).within(-1.0);
    assert!(snapshot.search(&none).unwrap().is_empty());
    let all = Search::new("v", &[0.5, 0.5], 1_000).within(f64::INFINITY);
    assert_eq!(snapshot.search(&all).unwrap().len(), 700);
}

/// The least and the most dimensions, and numbers at the ends of their range.
#[test]
fn extreme_vectors_have_codes_and_are_found() {
    let huge =
        |random: &mut Random, _: usize| vec![f32::MAX * (random.below(2) as f32 * 2.0 - 1.0); 2];
    let tiny = |random: &mut Random, _: usize| {
        vec![
            f32::from_bits(1 + random.below(90) as u32),
            f32::from_bits(1 + random.below(90) as u32),
        ]
    };
    let mixed = |random: &mut Random, n: usize| {
        let power = (random.below(250) as i32 - 125) as f32;
        noise_vector(random, n).iter().map(|x| (x + 1.5) * power.exp2()).collect()
    };
    let same = |_: &mut Random, n: usize| vec![1.0; n];
    let cases: [(usize, Metric, &[Method], &dyn Fn(&mut Random, usize) -> Vec<f32>); 12] = [
        (1, Metric::L2, &METHODS, &whole_vector),
        (1, Metric::Cosine, &METHODS, &whole_vector),
        (1, Metric::Dot, &METHODS, &noise_vector),
        (limits::DIMENSION, Metric::Cosine, &[Method::Pq4], &noise_vector),
        (2, Metric::L2, &METHODS, &huge),
        (2, Metric::Dot, &METHODS, &huge),
        (2, Metric::Cosine, &METHODS, &huge),
        (2, Metric::Cosine, &METHODS, &tiny),
        (2, Metric::L2, &METHODS, &tiny),
        (7, Metric::Dot, &METHODS, &mixed),
        (7, Metric::Cosine, &METHODS, &mixed),
        (33, Metric::L2, &METHODS, &same),
    ];
    for (case, (dimension, metric, methods, vector)) in cases.into_iter().enumerate() {
        let dir = temp_dir();
        let engine = eager().open(dir.path().join("s")).unwrap();
        engine.create_space("v", Space::new(dimension, metric)).unwrap();
        let mut random = Random(case as u64);
        let nodes =
            (0..270).map(|n| Node::new(id(n), "n").vector("v", vector(&mut random, dimension)));
        engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
        for method in methods {
            engine.set_method("v", *method).unwrap();
            engine.compact().unwrap();
            let file = engine.stats().spaces.remove(0).files.remove(0);
            assert!(file.codes.is_some() || *method == Method::Exact, "case {case} {method:?}");
            let snapshot = engine.snapshot();
            for _ in 0..5 {
                let query = vector(&mut random, dimension);
                let search = |effort| {
                    let search = Search::new("v", &query, 5).effort(effort);
                    found(&snapshot.search(&search).unwrap())
                };
                let exact = search(Effort::Exact);
                assert!(exact.iter().all(|(distance, _)| distance.is_finite()), "{exact:?}");
                let all = Search::new("v", &query, 270).effort(Effort::Exact);
                let all = found(&snapshot.search(&all).unwrap());
                let hits = search(Effort::Normal);
                assert!(hits.len() == 5 && hits.iter().all(|hit| all.contains(hit)));
            }
            assert!(engine.verify().unwrap().is_sound(), "case {case} {method:?}");
        }
    }
}
