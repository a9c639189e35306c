//! The hits of every search agree with an exhaustive comparison, for all kinds
//! of writes and all methods.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use ingrain::{Batch, Engine, ErrorKind, Method, Metric, Node, Patch, Snapshot, Space};
use proptest::{collection::vec, prelude::*};

use crate::harness::{
    dirs::temp_dir,
    nodes::{id, put_all},
    random::{Random, whole_vector},
};

use super::model::{INDEX, KINDS, METHODS, Model, Wanted, any_node, eager, files_of};

#[derive(Debug, Clone)]
enum Action {
    /// Puts so many nodes from this one on.
    Put(u64, u64),
    /// Patches: another kind, another vector or none.
    Patch(u64, u64),
    Delete(u64, u64),
    /// Drops a space or, if it is not there, creates it: not as it was.
    Space(usize),
    Method(usize, Method),
    Checkpoint,
    Compact,
    Rebuild,
    Reopen(bool),
    Backup,
}

const NODES: u64 = 1_200;
const SPACES: [[(&str, usize, Metric); 2]; 3] = [
    [("a", 4, Metric::L2), ("a", 5, Metric::Cosine)],
    [("b", 9, Metric::Cosine), ("b", 3, Metric::Dot)],
    [("c", 12, Metric::Dot), ("c", 6, Metric::L2)],
];

fn any_action() -> impl Strategy<Value = Action> {
    let few = || (0..NODES, 1..40_u64);
    prop_oneof![
        3 => (0..NODES, 300..900_u64).prop_map(|(from, count)| Action::Put(from, count)),
        2 => few().prop_map(|(from, count)| Action::Put(from, count)),
        3 => (0..NODES, 1..300_u64).prop_map(|(from, count)| Action::Patch(from, count)),
        2 => few().prop_map(|(from, count)| Action::Delete(from, count)),
        1 => (0..NODES, 100..600_u64).prop_map(|(from, count)| Action::Delete(from, count)),
        1 => (0..3_usize).prop_map(Action::Space),
        3 => (0..3_usize, prop::sample::select(&METHODS[..]))
            .prop_map(|(space, method)| Action::Method(space, method)),
        4 => Just(Action::Checkpoint),
        1 => Just(Action::Compact),
        2 => Just(Action::Rebuild),
        1 => any::<bool>().prop_map(Action::Reopen),
        1 => Just(Action::Backup),
    ]
}

struct Run {
    dir: tempfile::TempDir,
    path: PathBuf,
    engine: Option<Engine>,
    model: Model,
    random: Random,
    /// Which definition a space has next.
    turn: [usize; 3],
    ways: BTreeSet<&'static str>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let mut run = Self {
            path,
            dir,
            engine: None,
            model: Model::default(),
            random: Random(seed),
            turn: [0; 3],
            ways: BTreeSet::new(),
        };
        run.open();
        for space in 0..3 {
            run.act(&Action::Space(space));
        }
        run
    }

    fn open(&mut self) {
        drop(self.engine.take());
        let options = eager().delta_vectors(700).index(INDEX);
        self.engine = Some(options.open(&self.path).unwrap());
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Put(from, count) => {
                for n in (*from..from + count).map(|n| n % NODES).collect::<Vec<_>>().chunks(200) {
                    let mut batch = Batch::new();
                    for n in n {
                        let node = any_node(*n, &self.model.spaces, &mut self.random);
                        batch.put(node.clone());
                        self.model.nodes.insert(node.id, node);
                    }
                    self.engine().write(batch).unwrap();
                }
            }
            Action::Patch(from, count) => {
                let mut batch = Batch::new();
                for n in (*from..from + count).map(|n| n % NODES) {
                    let Some(node) = self.model.nodes.get_mut(&id(n)) else { continue };
                    let mut patch = Patch::new();
                    if self.random.below(2) == 0 {
                        node.kind = KINDS[self.random.below(3) as usize].to_owned();
                        patch = patch.kind(&*node.kind);
                    }
                    for (name, space) in &self.model.spaces {
                        match self.random.below(4) {
                            0 => {
                                let vector = whole_vector(&mut self.random, space.dimension);
                                node.vectors.insert((*name).to_owned(), vector.clone());
                                patch = patch.vector(*name, vector);
                            }
                            1 if self.random.below(3) == 0 => {
                                node.vectors.remove(*name);
                                patch = patch.remove_vector(*name);
                            }
                            _ => {}
                        }
                    }
                    batch.patch(id(n), patch);
                }
                if !batch.is_empty() {
                    self.engine().write(batch).unwrap();
                }
            }
            Action::Delete(from, count) => {
                let mut batch = Batch::new();
                for n in (*from..from + count).map(|n| n % NODES) {
                    batch.delete(id(n));
                    self.model.nodes.remove(&id(n));
                }
                self.engine().write(batch).unwrap();
            }
            Action::Space(at) => {
                let (name, dimension, metric) = SPACES[*at][self.turn[*at] % 2];
                if self.model.spaces.remove(name).is_some() {
                    self.engine().drop_space(name).unwrap();
                    self.model.nodes.values_mut().for_each(|n| drop(n.vectors.remove(name)));
                    self.turn[*at] += 1;
                } else {
                    let space = Space::new(dimension, metric);
                    self.engine().create_space(name, space).unwrap();
                    self.model.spaces.insert(name, space);
                }
            }
            Action::Method(at, method) => {
                let name = SPACES[*at][0].0;
                let answer = self.engine().set_method(name, *method);
                match answer {
                    Ok(_) => assert!(self.model.spaces.contains_key(name)),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                        assert!(!self.model.spaces.contains_key(name));
                    }
                }
            }
            Action::Checkpoint => {
                self.engine().checkpoint().unwrap();
            }
            Action::Compact => {
                self.engine().compact().unwrap();
                for space in self.engine().stats().spaces {
                    assert!(space.files.len() <= 1, "{space:?}");
                    assert!(space.files.iter().all(|file| file.dead == 0), "{space:?}");
                }
            }
            Action::Rebuild => {
                self.engine().rebuild(None).unwrap();
                for space in self.engine().stats().spaces {
                    for file in &space.files {
                        assert!(file.codes.is_some() || space.method == Method::Exact, "{space:?}");
                        let damage = file.codes.iter().chain(&file.graph);
                        assert!(damage.clone().all(|i| i.damage.is_none()), "{space:?}");
                    }
                }
                let report = self.engine().verify().unwrap();
                assert!(report.is_sound(), "{:#?}", report.damage);
            }
            Action::Reopen(close) => {
                if *close {
                    self.engine().close().unwrap();
                }
                self.open();
            }
            Action::Backup => {
                let to = self.dir.path().join(format!("backup {}", self.random.below(1 << 40)));
                self.engine().backup(&to).unwrap();
                self.path = to;
                self.open();
            }
        }
    }

    fn check(&mut self, tries: usize) {
        let engine = self.engine.as_ref().unwrap();
        self.ways.extend(self.model.check(engine, &mut self.random, tries));
    }
}

const CASES: u32 = 5;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, max_shrink_iters: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_search_agrees_with_a_comparison_of_everything(
        seed in any::<u64>(),
        actions in vec(any_action(), 5..12),
    ) {
        let mut run = Run::new(seed);
        run.act(&Action::Put(0, 1_000));
        // What a snapshot finds, it finds for good.
        let mut held: Vec<(Snapshot, Model, BTreeMap<String, BTreeSet<u32>>)> = Vec::new();
        for action in &actions {
            run.act(action);
            run.check(1);
            if held.len() < 4 {
                let engine = run.engine();
                held.push((engine.snapshot(), run.model.clone(), files_of(engine)));
            }
        }
        run.act(&Action::Checkpoint);
        run.check(2);
        for (snapshot, model, files) in held {
            run.ways.extend(model.check_in(&snapshot, &mut run.random, 1, &files));
        }
    }
}

/// Vectors of many rows, so that every way is taken; with changes on top, so
/// that candidates do not count.
#[test]
fn every_search_method_is_used_and_agrees_with_a_comparison_of_everything() {
    let mut run = Run::new(7);
    run.act(&Action::Put(0, NODES));
    for (at, method) in [Method::Pq4, Method::Pq8, Method::Hnsw].into_iter().enumerate() {
        run.act(&Action::Method(at, method));
    }
    run.act(&Action::Compact);
    run.check(12);
    run.act(&Action::Patch(100, 400));
    run.act(&Action::Delete(700, 200));
    run.check(12);
    run.act(&Action::Checkpoint);
    run.check(12);
    let graph = cfg!(feature = "hnsw").then_some("graph");
    let ways: BTreeSet<&str> = ["memory", "comparison", "codes"].into_iter().chain(graph).collect();
    assert_eq!(run.ways, ways);
}

/// A filter that lets few of the closest by: what a walk and a scan gave as
/// candidates comes once.
#[test]
fn a_search_that_falls_back_to_another_method_gives_no_hit_twice() {
    let dir = temp_dir();
    let engine = eager().open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(8, Metric::L2)).unwrap();
    let mut random = Random(3);
    let mut model = Model::default();
    model.spaces.insert("v", Space::new(8, Metric::L2));
    for n in 0..2_000 {
        let mut node = Node::new(id(n), "n").vector("v", whole_vector(&mut random, 8));
        node.strength = (n % 50) as f32;
        model.nodes.insert(node.id, node);
    }
    engine.write(put_all(model.nodes.values().cloned())).unwrap();
    for method in [Method::Pq4, Method::Pq8, Method::Hnsw] {
        engine.set_method("v", method).unwrap();
        engine.compact().unwrap();
        for least in [49.0, 48.0, 40.0, 25.0] {
            let wanted = Wanted { strong: Some(least), ..Wanted::ALL };
            for _ in 0..8 {
                let query = whole_vector(&mut random, 8);
                let ranking = model.ranking("v", &query, &wanted);
                for k in [10, 60, 100] {
                    let snapshot = engine.snapshot();
                    let hits = snapshot.nearest("v", &query, k, &wanted.filter()).unwrap();
                    model.check_hits(&hits, &ranking, k, false, &format!("{method:?} {least}"));
                }
            }
        }
    }
}
