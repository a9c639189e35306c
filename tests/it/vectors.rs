//! Vector search against a comparison of everything: whatever was written, in
//! whatever way it is searched, over files that are damaged, fail, crash and
//! are replaced under the readers.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use ingrain::{
    Batch, By, Durability, Effort, Engine, Error, ErrorKind, Filter, Hit, KeyRange, Method, Metric,
    Node, NodeId, Op, Options, Patch, Search, Snapshot, Space,
    format::{
        FileKind,
        manifest::{DataFile, Manifest, VectorFile},
        segment::Layout,
    },
    limits,
};
use proptest::{collection::vec, prelude::*};

use crate::harness::{
    dirs::temp_dir,
    faults::{Call, FaultFs, failing_while, hooked},
    files::{Image, Sections, data_kind, read_file, read_image, write_file, write_image},
    nodes::{id, put_all},
    oracle::distance,
    random::{Random, noise_vector, whole_vector},
    waiting::until,
};

const KINDS: [&str; 3] = ["note", "person", "place"];
const INDEX: &str = "i";
const METHODS: [Method; 5] = [Method::Auto, Method::Exact, Method::Pq4, Method::Pq8, Method::Hnsw];
const EFFORTS: [Effort; 4] = [Effort::Fast, Effort::Normal, Effort::Thorough, Effort::Exact];

/// Every vector file that is large enough gets all that there is.
fn eager() -> Options {
    Options::new().index_rows(1).graph_rows(1).inline(true).durability(Durability::Os)
}

/// The store as plain maps.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    spaces: BTreeMap<&'static str, Space>,
    nodes: BTreeMap<NodeId, Node>,
}

/// What a search may find.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    kind: Option<&'static str>,
    /// First bytes of keys: from, up to.
    keys: Option<(u8, u8)>,
    /// The least strength.
    strong: Option<f32>,
}

impl Wanted {
    const ALL: Self = Self { kind: None, keys: None, strong: None };

    fn any(random: &mut Random) -> Self {
        let mut wanted = Self::ALL;
        match random.below(8) {
            0 | 1 => wanted.kind = Some(KINDS[random.below(3) as usize]),
            2 => wanted.keys = Some((random.below(256) as u8, random.below(256) as u8)),
            3 => wanted.strong = Some([0.1, 0.5, 0.9, 0.99][random.below(4) as usize]),
            4 => {
                wanted.kind = Some(KINDS[random.below(3) as usize]);
                wanted.keys = Some((random.below(128) as u8, 200));
                wanted.strong = Some(0.5);
            }
            5 => {
                wanted.keys = Some((0, 250));
                wanted.strong = Some(0.9);
            }
            _ => {}
        }
        wanted
    }

    fn lets_by(&self, node: &Node) -> bool {
        self.kind.is_none_or(|kind| node.kind == kind)
            && self.keys.is_none_or(|(from, to)| {
                node.keys.iter().any(|key| key.index == INDEX && (from..to).contains(&key.key[0]))
            })
            && self.strong.is_none_or(|least| node.strength >= least)
    }

    fn filter(self) -> Filter<'static> {
        let mut filter = Filter::new();
        if let Some(kind) = self.kind {
            filter = filter.kind(kind);
        }
        if let Some((from, to)) = self.keys {
            let to = to.max(from);
            filter = filter.index(INDEX, KeyRange::from(vec![from]..vec![to]));
        }
        if let Some(least) = self.strong {
            filter = filter.test(move |node| node.strength() >= least);
        }
        filter
    }
}

type Found = Vec<(f64, NodeId)>;

fn found(hits: &[Hit<'_>]) -> Found {
    hits.iter().map(|hit| (hit.distance, hit.node.id())).collect()
}

impl Model {
    /// All that may be found, best first, ties by id.
    fn ranking(&self, space: &str, query: &[f32], wanted: &Wanted) -> Found {
        let metric = self.spaces[space].metric;
        let nodes = self.nodes.values().filter(|node| wanted.lets_by(node));
        let mut all: Found = nodes
            .filter_map(|node| Some((distance(metric, query, node.vectors.get(space)?), node.id)))
            .collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all
    }

    /// What must hold of hits, however they were found.
    #[track_caller]
    fn check_hits(&self, hits: &[Hit<'_>], ranking: &Found, k: usize, exact: bool, what: &str) {
        let found = found(hits);
        if exact {
            assert_eq!(found, ranking[..k.min(ranking.len())], "{what}");
            return;
        }
        let of: BTreeMap<NodeId, f64> = ranking.iter().map(|(d, id)| (*id, *d)).collect();
        for (distance, id) in &found {
            assert_eq!(of.get(id), Some(distance), "{what}: {id}");
        }
        let ascend = found.is_sorted_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).is_lt());
        assert!(ascend, "{what}: order, or the same twice: {found:?}");
        assert_eq!(found.len(), k.min(ranking.len()), "{what}: count");
    }

    /// Tries searches of every kind. Returns how hits were found.
    #[track_caller]
    fn check(&self, engine: &Engine, random: &mut Random, tries: usize) -> BTreeSet<&'static str> {
        let snapshot = engine.snapshot();
        self.check_in(&snapshot, random, tries, &files_of(engine))
    }

    #[track_caller]
    fn check_in(
        &self,
        snapshot: &Snapshot,
        random: &mut Random,
        tries: usize,
        files: &BTreeMap<String, BTreeSet<u32>>,
    ) -> BTreeSet<&'static str> {
        let mut ways = BTreeSet::new();
        let spaces: BTreeMap<&str, Space> = snapshot.spaces().collect();
        assert_eq!(spaces, self.spaces);
        for (name, space) in &self.spaces {
            for _ in 0..tries {
                let mut stored = self.nodes.values().filter_map(|node| node.vectors.get(*name));
                let query = match random.below(3) {
                    0 => stored.nth(random.below(50) as usize).cloned(),
                    _ => None,
                };
                let query = query.unwrap_or_else(|| whole_vector(random, space.dimension));
                let wanted = Wanted::any(random);
                let k = [0, 1, 3, 10, 10, 10, 40, 2_000][random.below(8) as usize];
                let ranking = self.ranking(name, &query, &wanted);
                let mut singles = Vec::new();
                let searches = || {
                    EFFORTS.map(|effort| {
                        let search = Search::new(name, &query, k).filter(wanted.filter());
                        search.effort(effort).explain(true)
                    })
                };
                for (search, effort) in searches().into_iter().zip(EFFORTS) {
                    let what = format!("{name} {query:?} {k} {effort:?} {wanted:?}");
                    let hits = snapshot.search(&search).unwrap();
                    self.check_hits(&hits, &ranking, k, effort == Effort::Exact, &what);
                    for hit in &hits {
                        let found = hit.found.unwrap();
                        let way = match found.by {
                            By::Codes => "codes",
                            By::Graph => "graph",
                            _ if found.file.is_none() => "memory",
                            _ => "comparison",
                        };
                        ways.insert(way);
                        let ranked = matches!(found.by, By::Codes | By::Graph);
                        assert_eq!(found.rank.is_some(), ranked, "{what}");
                        if let Some(file) = found.file {
                            assert!(files[*name].contains(&file), "{what}: no file {file}");
                        }
                    }
                    let mut same = Search::new(name, &query, k).filter(wanted.filter());
                    same = same.effort(effort).diversity(0.0);
                    let again = snapshot.search(&same).unwrap();
                    assert_eq!(found(&again), found(&hits), "{what}");
                    assert!(again.iter().all(|hit| hit.found.is_none()));
                    singles.push(found(&hits));
                }
                let many = snapshot.search_many(&searches()).unwrap();
                let many: Vec<Found> = many.iter().map(|hits| found(hits)).collect();
                assert_eq!(many, singles);
                let plain = snapshot.nearest(name, &query, k, &wanted.filter()).unwrap();
                assert_eq!(found(&plain), singles[1]);
                if let Some((bound, _)) = ranking.get(random.below(30) as usize) {
                    let near: Found = ranking.iter().filter(|(d, _)| d <= bound).copied().collect();
                    let search = Search::new(name, &query, k).filter(wanted.filter());
                    let hits = snapshot.search(&search.within(*bound)).unwrap();
                    self.check_hits(&hits, &near, k, true, "within");
                }
                if let Some((_, like)) = ranking.first() {
                    let vector = &self.nodes[like].vectors[*name];
                    let mut ranking = self.ranking(name, vector, &wanted);
                    ranking.retain(|(_, id)| id != like);
                    for effort in EFFORTS {
                        let search = Search::like(name, *like, k).filter(wanted.filter());
                        let hits = snapshot.search(&search.effort(effort)).unwrap();
                        let exact = effort == Effort::Exact;
                        self.check_hits(&hits, &ranking, k, exact, "like");
                    }
                }
                let k = k.min(limits::DIVERSE_K);
                let search = Search::new(name, &query, k).filter(wanted.filter());
                let hits = snapshot.search(&search.diversity(0.7)).unwrap();
                let ids: BTreeSet<NodeId> = hits.iter().map(|hit| hit.node.id()).collect();
                assert_eq!(ids.len(), k.min(ranking.len()));
                let all: BTreeSet<NodeId> = ranking.iter().map(|(_, id)| *id).collect();
                assert!(ids.is_subset(&all));
            }
        }
        ways
    }
}

/// The vector files of each space, as the stats name them.
fn files_of(engine: &Engine) -> BTreeMap<String, BTreeSet<u32>> {
    let spaces = engine.stats().spaces.into_iter();
    spaces.map(|s| (s.name, s.files.iter().map(|file| file.file).collect())).collect()
}

/// A node whose all follows from the seed.
fn any_node(n: u64, spaces: &BTreeMap<&'static str, Space>, random: &mut Random) -> Node {
    let mut node = Node::new(id(n), KINDS[random.below(3) as usize])
        .key(INDEX, [random.below(256) as u8, n as u8]);
    node.strength = random.below(1_000) as f32 / 1_000.0;
    for (name, space) in spaces {
        if random.below(8) > 0 {
            node.vectors.insert((*name).to_owned(), whole_vector(random, space.dimension));
        }
    }
    node
}

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
fn every_way_is_taken_and_agrees_with_a_comparison_of_everything() {
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
fn a_hit_comes_once_where_the_first_way_does_not_do() {
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

/// A store with a space of so many rows in one file with codes and a graph,
/// closed, and what it says.
struct Stored {
    image: Image,
    manifest: Manifest,
    queries: Vec<Vec<f32>>,
    exact: Vec<Found>,
}

fn indexed() -> Options {
    eager().create(false)
}

const DATA: &str = "data";

impl Stored {
    /// Two stores of one seed differ in their vectors only, if in anything.
    fn new(rows: u64, dimension: usize, seed: u64, vectors: u64) -> Self {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let faults = FaultFs::new();
        faults.seed(seed);
        let engine = eager().fs(faults.handle()).open(&path).unwrap();
        let space = Space::new(dimension, Metric::L2);
        engine.create_space("v", space).unwrap();
        engine.set_method("v", Method::Hnsw).unwrap();
        let mut random = Random(vectors);
        let mut model = Model::default();
        model.spaces.insert("v", space);
        for n in 0..rows {
            let node = Node::new(id(n), "n").vector("v", whole_vector(&mut random, dimension));
            model.nodes.insert(node.id, node);
        }
        engine.write(put_all(model.nodes.values().cloned())).unwrap();
        engine.checkpoint().unwrap();
        engine.compact().unwrap();
        let queries: Vec<Vec<f32>> = (0..3).map(|_| whole_vector(&mut random, dimension)).collect();
        let exact = queries.iter().map(|q| model.ranking("v", q, &Wanted::ALL)).collect();
        let file = engine.stats().spaces.remove(0).files.remove(0);
        assert!(file.codes.is_some() && file.graph.is_some() == cfg!(feature = "hnsw"));
        engine.close().unwrap();
        let image = read_image(&path);
        let manifest = Manifest::decode(&image[Path::new("MANIFEST")]).unwrap();
        Self { image, manifest, queries, exact }
    }

    fn search(engine: &Engine, queries: &[Vec<f32>]) -> ingrain::Result<Vec<Found>> {
        let snapshot = engine.snapshot();
        let hits = queries.iter().map(|query| {
            let search = Search::new("v", query, 5);
            snapshot.search(&search).map(|hits| found(&hits))
        });
        hits.collect()
    }

    fn named(&self, of: impl Fn(&VectorFile) -> Option<DataFile>) -> PathBuf {
        let number = of(&self.manifest.vectors[0]).unwrap().number;
        let names = self.image.keys();
        let mut of_number = names.filter(|name| {
            name.file_stem().is_some_and(|stem| stem.to_str() == Some(&format!("{number:010}")))
        });
        of_number.next().unwrap().clone()
    }

    /// The derived files.
    fn derived(&self) -> Vec<PathBuf> {
        let mut files = vec![self.named(|file| file.codes)];
        if cfg!(feature = "hnsw") {
            files.push(self.named(|file| file.graph));
        }
        files
    }

    fn write(&self, path: &Path) {
        let mut image = self.image.clone();
        image.insert("MANIFEST".into(), self.manifest.encode().unwrap());
        write_image(path, &image);
    }

    /// Searches by the graph and by the codes, whichever it is that is damaged.
    #[track_caller]
    fn check(&self, engine: &Engine, what: &str) {
        let found = Self::search(engine, &self.queries).unwrap_or_else(|e| panic!("{what}: {e}"));
        for (found, exact) in found.iter().zip(&self.exact) {
            self.check_distances(found, exact, what);
            let near = found.iter().filter(|(d, _)| *d <= exact[4].0).count();
            assert!(near >= 4, "{what}: {found:?}");
        }
    }

    /// What the stats say is wrong with the codes or the graph.
    fn damage(engine: &Engine) -> Vec<String> {
        let file = engine.stats().spaces.remove(0).files.remove(0);
        let damage = file.codes.into_iter().chain(file.graph).filter_map(|index| index.damage);
        damage.collect()
    }

    /// Sees that something is found to be wrong, by these words, told by the
    /// stats and by verification, and made good.
    #[track_caller]
    fn damaged(&self, path: &Path, words: &str, by_itself: bool) {
        let engine = indexed().open(path).unwrap();
        self.check(&engine, words);
        let damage = Self::damage(&engine);
        assert!(damage.iter().any(|what| what.contains(words)), "{words}: {damage:?}");
        let report = engine.verify().unwrap();
        let told =
            |error: &Error| error.kind() == ErrorKind::Corrupt && error.to_string().contains(words);
        assert!(report.damage.iter().any(told), "{words}: {:#?}", report.damage);
        if by_itself {
            // A step with each write.
            let mut writes = 0;
            while !Self::damage(&engine).is_empty() {
                writes += 1;
                assert!(writes < 200, "{words}: it is not built again by itself");
                engine.write(put_all([Node::new(id(1 << 40), "other")])).unwrap();
            }
        } else {
            engine.rebuild(Some("v")).unwrap();
        }
        self.sound(&engine, words);
        drop(engine);
        self.sound(&indexed().open(path).unwrap(), words);
        let names = fs::read_dir(path.join(DATA)).unwrap().count();
        let manifest = Manifest::decode(&fs::read(path.join("MANIFEST")).unwrap()).unwrap();
        assert_eq!(names, manifest.files().count(), "{words}: files that nobody names");
    }

    #[track_caller]
    fn sound(&self, engine: &Engine, what: &str) {
        assert_eq!(Self::damage(engine), [""; 0], "{what}");
        let report = engine.verify().unwrap();
        assert!(report.is_sound(), "{what}: {:#?}", report.damage);
        let file = engine.stats().spaces.remove(0).files.remove(0);
        assert!(file.codes.is_some() && file.graph.is_some() == cfg!(feature = "hnsw"));
        let hits = Self::search(engine, &self.queries).unwrap();
        for (found, exact) in hits.iter().zip(&self.exact) {
            self.check_distances(found, exact, what);
        }
    }

    #[track_caller]
    fn check_distances(&self, found: &Found, exact: &Found, what: &str) {
        assert_eq!(found.len(), 5, "{what}");
        assert!(found.iter().all(|hit| exact.contains(hit)), "{what}: {found:?}");
        assert!(found.is_sorted_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).is_lt()));
    }
}

/// Right checksums over a number that is none: no metric, effort, limit or order
/// of rows hides it.
#[test]
fn a_vector_that_has_no_distance_is_told_as_damage() {
    let mark = 7.25_f32;
    for metric in [Metric::Cosine, Metric::Dot, Metric::L2] {
        let dir = temp_dir();
        let (sound, path) = (dir.path().join("sound"), dir.path().join("s"));
        let options = || Options::new().inline(true).space("v", Space::new(2, metric));
        let engine = options().open(&sound).unwrap();
        engine
            .write(put_all((0..9).map(|n| {
                let x = if n == 4 { mark } else { n as f32 };
                Node::new(id(n), "node").vector("v", [x, 1.0])
            })))
            .unwrap();
        engine.checkpoint().unwrap();
        engine.close().unwrap();
        for none in [f32::NAN, -f32::NAN] {
            let mut image = read_image(&sound);
            let mut manifest = Manifest::decode(&image[Path::new("MANIFEST")]).unwrap();
            let name = image.keys().find(|name| data_kind(name) == Some(FileKind::Vectors));
            let name = name.unwrap().clone();
            let bytes = &image[&name];
            let layout = Layout::decode(FileKind::Vectors, bytes, bytes.len() as u64).unwrap();
            let mut sections = read_file(&layout, bytes);
            let mut changed = 0;
            for (_, _, rows) in &mut sections {
                for number in rows.chunks_exact_mut(4).filter(|at| **at == mark.to_le_bytes()) {
                    number.copy_from_slice(&none.to_le_bytes());
                    changed += 1;
                }
            }
            assert_eq!(changed, 1);
            let (bytes, file) = write_file(&layout, &sections);
            manifest.vectors[0].file = file;
            image.insert(name, bytes);
            image.insert("MANIFEST".into(), manifest.encode().unwrap());
            let _ = fs::remove_dir_all(&path);
            write_image(&path, &image);
            let engine = options().open(&path).unwrap();
            let snapshot = engine.snapshot();
            for effort in EFFORTS {
                for within in [None, Some(0.0), Some(1e9)] {
                    for k in [1, 20] {
                        let mut search = Search::new("v", &[0.0, 1.0], k).effort(effort);
                        if let Some(within) = within {
                            search = search.within(within);
                        }
                        let error = snapshot.search(&search).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::Corrupt, "{metric:?} {search:?}");
                    }
                }
            }
            assert!(!engine.verify().unwrap().is_sound());
        }
    }
}

/// 300 rows: the least that is searched by what is derived.
fn small() -> Stored {
    Stored::new(300, 2, 0x1d, 1)
}

#[test]
fn every_flip_of_a_derived_file_is_noticed_and_harms_no_search() {
    let stored = small();
    let dir = temp_dir();
    let path = dir.path().join("s");
    stored.write(&path);
    let mut tried = 0;
    for name in stored.derived() {
        let whole = &stored.image[&name];
        for at in 0..whole.len() {
            // Zeros that fill up are all alike.
            if whole[at] == 0 && !at.is_multiple_of(509) {
                continue;
            }
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(path.join(&name), &bytes).unwrap();
            let what = format!("{} byte {at}", name.display());
            let engine = indexed().open(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
            stored.check(&engine, &what);
            // The codes are not looked at while the graph serves.
            let noticed =
                !Stored::damage(&engine).is_empty() || !engine.verify().unwrap().is_sound();
            assert!(noticed, "{what}");
            tried += 1;
        }
        for len in (0..whole.len()).step_by(1_021) {
            fs::write(path.join(&name), &whole[..len]).unwrap();
            let engine = indexed().open(&path).unwrap();
            stored.check(&engine, "cut");
            assert!(!Stored::damage(&engine).is_empty());
        }
        fs::write(path.join(&name), whole).unwrap();
    }
    assert!(tried > 500, "{tried}");
    println!("{tried} flips");
    stored.sound(&indexed().open(&path).unwrap(), "restored");
}

#[test]
fn damage_of_derived_files_is_told_and_made_good() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let stored = small();
    // The same files of another store, and of another life of this one: the
    // store and the numbers are the same, the vectors are not.
    let stranger = Stored::new(300, 2, 0x2d00, 1);
    let older = Stored::new(300, 2, 0x1d, 2);
    assert_eq!(stored.manifest.store, older.manifest.store);
    assert_ne!(stored.manifest.store, stranger.manifest.store);
    for by_itself in [false, true] {
        for (at, name) in stored.derived().into_iter().enumerate() {
            let with = |bytes: Option<&[u8]>, words: &str| {
                stored.write(&path);
                match bytes {
                    Some(bytes) => fs::write(path.join(&name), bytes).unwrap(),
                    None => fs::remove_file(path.join(&name)).unwrap(),
                }
                stored.damaged(&path, words, by_itself);
            };
            with(None, "missing");
            with(Some(&[]), name.to_str().unwrap());
            let whole = &stored.image[&name];
            with(Some(&whole[..whole.len() - 1]), name.to_str().unwrap());
            with(Some(&[whole.as_slice(), &[0]].concat()), name.to_str().unwrap());
            with(Some(&stranger.image[&stranger.derived()[at]]), "another store");
            with(Some(&older.image[&name]), "not the one that the manifest names");
            let named = |file: &mut VectorFile, of: &VectorFile| match at {
                0 => file.codes = of.codes,
                _ => file.graph = of.graph,
            };
            // Even if the manifest names it.
            let mut forged = Manifest::clone(&stored.manifest);
            named(&mut forged.vectors[0], &older.manifest.vectors[0]);
            let mut image = stored.image.clone();
            image.insert(name.clone(), older.image[&name].clone());
            image.insert("MANIFEST".into(), forged.encode().unwrap());
            write_image(&path, &image);
            stored.damaged(&path, "derived from other vectors", by_itself);
        }
    }
    if cfg!(feature = "hnsw") {
        for by_itself in [false, true] {
            let mut swapped = small();
            let file = &mut swapped.manifest.vectors[0];
            (file.codes, file.graph) = (file.graph, file.codes);
            swapped.write(&path);
            stored.damaged(&path, "codes in the place of a graph", by_itself);
            swapped.write(&path);
            stored.damaged(&path, "codes of an unknown shape", by_itself);
        }
    }
}

/// Right checksums over wrong bytes: of no use, maybe, and no harm.
#[test]
fn derived_files_of_any_bytes_whatever_crash_nothing() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let stored = Stored::new(900, 6, 0x1d, 5);
    stored.write(&path);
    let mut random = Random(77);
    let mut refused = 0;
    let rounds = if std::env::var_os("INGRAIN_TORTURE").is_some() { 20_000 } else { 1_000 };
    for round in 0..rounds {
        let derived = stored.derived();
        let which = (round % derived.len() as u64) as usize;
        let name = &derived[which];
        let mut manifest = stored.manifest.clone();
        let mut bytes = stored.image[name].clone();
        let damage = |bytes: &mut [u8], random: &mut Random| {
            for _ in 0..=random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                let len = [1, 1, 4, 64, 4_096][random.below(5) as usize].min(bytes.len() - at);
                for byte in &mut bytes[at..at + len] {
                    *byte = match random.below(4) {
                        0 => 0,
                        1 => 0xff,
                        _ => random.below(256) as u8,
                    };
                }
            }
        };
        if round % 5 == 0 {
            damage(&mut bytes, &mut random);
        } else {
            let layout = Layout::decode(FileKind::VectorIndex, &bytes, bytes.len() as u64).unwrap();
            let mut sections: Sections = read_file(&layout, &bytes);
            let section = random.below(sections.len() as u64) as usize;
            damage(&mut sections[section].2, &mut random);
            let file;
            (bytes, file) = write_file(&layout, &sections);
            match which {
                0 => manifest.vectors[0].codes = Some(file),
                _ => manifest.vectors[0].graph = Some(file),
            }
        }
        fs::write(path.join(name), &bytes).unwrap();
        fs::write(path.join("MANIFEST"), manifest.encode().unwrap()).unwrap();
        let engine = indexed().open(&path).unwrap();
        let snapshot = engine.snapshot();
        let what = format!("round {round}");
        for (query, exact) in stored.queries.iter().zip(&stored.exact) {
            for wanted in [None, Some(10)] {
                let filter = match wanted {
                    None => Filter::new(),
                    Some(n) => Filter::new().test(move |node| node.id().as_bytes()[0] % n == 0),
                };
                let hits = snapshot.nearest("v", query, 5, &filter).unwrap();
                stored.check_distances(&found(&hits), exact, &what);
            }
        }
        refused += usize::from(!Stored::damage(&engine).is_empty());
        drop((snapshot, engine));
        for name in derived {
            fs::write(path.join(&name), &stored.image[&name]).unwrap();
        }
    }
    assert!(refused > 300, "{refused}");
    println!("{refused} of {rounds} refused");
}

/// The vectors themselves have nothing that is in their place.
#[test]
fn damage_of_vectors_is_an_error_and_never_an_answer() {
    let stored = small();
    let name = stored.named(|file| Some(file.file));
    let whole = &stored.image[&name];
    let layout = Layout::decode(FileKind::Vectors, whole, whole.len() as u64).unwrap();
    let dir = temp_dir();
    let path = dir.path().join("s");
    stored.write(&path);
    let mut errors = 0;
    for section in &layout.sections {
        for at in (section.offset..section.offset + section.len).step_by(97) {
            let mut bytes = whole.clone();
            bytes[at as usize] ^= 0x10;
            fs::write(path.join(&name), &bytes).unwrap();
            let engine = indexed().open(&path).unwrap();
            let snapshot = engine.snapshot();
            for (query, exact) in stored.queries.iter().zip(&stored.exact) {
                for effort in EFFORTS {
                    for kind in [None, Some("n")] {
                        let filter = kind.map_or(Filter::new(), |k| Filter::new().kind(k));
                        let search = Search::new("v", query, 5).effort(effort).filter(filter);
                        match snapshot.search(&search) {
                            Ok(hits) => {
                                stored.check_distances(&found(&hits), exact, "damaged vectors");
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                                errors += 1;
                            }
                        }
                    }
                }
            }
            // Nothing is derived from what is damaged.
            if let Err(error) = engine.rebuild(None) {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            }
            drop((snapshot, engine));
            stored.write(&path);
        }
    }
    assert!(errors > 500, "{errors}");
}

/// An explicit checkpoint leaves graphs to the background; what fails there is
/// tried again.
#[test]
fn the_background_builds_what_is_wanted_and_tries_again() {
    let dir = temp_dir();
    let (armed, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let fs = {
        let (armed, failed) = (Arc::clone(&armed), Arc::clone(&failed));
        hooked(move |call, path| {
            let index = path.extension().is_some_and(|e| e == "vix");
            let meant = call == Call::Rename || (call == Call::Create && index);
            // The checkpoint's own codes, then once each: file and manifest.
            if armed.load(Ordering::SeqCst) && meant {
                let n = failed.fetch_add(1, Ordering::SeqCst);
                if n == 0 || n == 2 {
                    return Err(std::io::Error::other("injected"));
                }
            }
            Ok(())
        })
    };
    let engine = eager().inline(false).fs(fs).open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(2, Metric::L2)).unwrap();
    let mut random = Random(1);
    let nodes = (0..300).map(|n| Node::new(id(n), "n").vector("v", whole_vector(&mut random, 2)));
    engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
    engine.set_method("v", Method::Hnsw).unwrap();
    engine.checkpoint().unwrap();
    let file = || engine.stats().spaces[0].files[0].clone();
    assert!(file().codes.is_some());
    if cfg!(feature = "hnsw") {
        until("the first graph is built", || file().graph.is_some());
    }
    armed.store(true, Ordering::SeqCst);
    engine.set_method("v", Method::Pq8).unwrap();
    until("codes of eight bits are built", || file().codes.is_some_and(|codes| codes.bits == 8));
    assert_eq!(engine.stats().checkpoint.failed, 2);
    engine.checkpoint().unwrap();
    assert!(file().graph.is_none(), "nobody wants it");
    engine.close().unwrap();
    drop(engine);
    let names = read_image(&dir.path().join("s"));
    let manifest = Manifest::decode(&names[Path::new("MANIFEST")]).unwrap();
    let data = names.keys().filter(|name| data_kind(name).is_some()).count();
    assert_eq!(data, manifest.files().count());
}

/// An index that cannot be mapped is a failure that is told, not one more try
/// without end.
#[test]
fn an_index_that_cannot_be_mapped_ends_a_rebuild() {
    let dir = temp_dir();
    let armed = Arc::new(AtomicBool::new(false));
    let index = |path: &Path| path.extension().is_some_and(|e| e == "vix");
    let fs = failing_while(&armed, move |call, path| call == Call::Map && index(path));
    let engine = eager().fs(fs).open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(2, Metric::L2)).unwrap();
    let mut random = Random(1);
    let nodes = (0..300).map(|n| Node::new(id(n), "n").vector("v", whole_vector(&mut random, 2)));
    engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
    engine.checkpoint().unwrap();
    armed.store(true, Ordering::SeqCst);
    let before = read_image(&dir.path().join("s"));
    let error = engine.rebuild(None).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { step: "index", .. }), "{error}");
    assert_eq!(engine.snapshot().nearest("v", &[0.5, 0.5], 5, &Filter::new()).unwrap().len(), 5);
    assert!(read_image(&dir.path().join("s")) == before, "something was left behind");
    armed.store(false, Ordering::SeqCst);
    engine.rebuild(None).unwrap();
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn readers_find_what_their_snapshot_has_while_everything_changes() {
    const IDS: u64 = 900;
    let dir = temp_dir();
    let options = eager().inline(false).delta_vectors(250).wal_bytes(256 << 10);
    let engine = options.open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(6, Metric::L2)).unwrap();
    engine.set_method("v", Method::Hnsw).unwrap();
    let mut random = Random(5);
    let nodes: Vec<Node> =
        (0..IDS).map(|n| Node::new(id(n), "n").vector("v", whole_vector(&mut random, 6))).collect();
    engine.write(put_all(nodes)).unwrap();
    engine.compact().unwrap();
    let writing = AtomicUsize::new(2);
    let searched: usize = thread::scope(|scope| {
        for writer in 0..2_u64 {
            let (engine, writing) = (&engine, &writing);
            scope.spawn(move || {
                let mut random = Random(100 + writer);
                for round in 0..40 {
                    let mut batch = Batch::new();
                    for _ in 0..25 {
                        // Each writer has nodes of its own.
                        let n = id(random.below(IDS / 2) * 2 + writer);
                        if random.below(3) == 0 {
                            batch.delete(n);
                        } else {
                            batch.put(Node::new(n, "n").vector("v", whole_vector(&mut random, 6)));
                        }
                    }
                    engine.write(batch).unwrap();
                    match round % 8 {
                        1 | 5 => {
                            engine.checkpoint().unwrap();
                        }
                        3 if writer == 0 => engine.rebuild(None).unwrap(),
                        7 if writer == 1 => {
                            let method = METHODS[random.below(5) as usize];
                            engine.set_method("v", method).unwrap();
                            engine.set_method("v", Method::Hnsw).unwrap();
                        }
                        7 => {
                            engine.compact().unwrap();
                        }
                        _ => {}
                    }
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        let readers: Vec<_> = (0..3_u64)
            .map(|reader| {
                let (engine, writing) = (&engine, &writing);
                scope.spawn(move || {
                    let mut random = Random(200 + reader);
                    let mut rounds = 0;
                    while rounds < 30 || writing.load(Ordering::SeqCst) > 0 {
                        rounds += 1;
                        search_all_ways(&engine.snapshot(), &mut random);
                    }
                    rounds
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    println!("{searched} rounds of searches");
    assert!(engine.verify().unwrap().is_sound());
}

/// Compares hits with what the same snapshot says of the nodes.
#[track_caller]
fn search_all_ways(snapshot: &Snapshot, random: &mut Random) {
    let query = whole_vector(random, 6);
    let mut all: Found = Vec::new();
    for node in snapshot.scan_all() {
        let node = node.unwrap();
        let vector = node.vector("v").unwrap().unwrap();
        all.push((distance(Metric::L2, &query, vector), node.id()));
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let of: BTreeMap<NodeId, f64> = all.iter().map(|(d, id)| (*id, *d)).collect();
    for effort in EFFORTS {
        for odd in [false, true] {
            let test = |id: &NodeId| !odd || id.as_bytes()[0] % 2 == 1;
            let mut search = Search::new("v", &query, 10).effort(effort);
            if odd {
                search = search.filter(Filter::new().test(move |node| test(&node.id())));
            }
            let found = found(&snapshot.search(&search).unwrap());
            let right: Found = all.iter().filter(|(_, id)| test(id)).copied().collect();
            assert_eq!(found.len(), 10.min(right.len()));
            assert!(found.iter().all(|(d, id)| of.get(id) == Some(d) && test(id)), "{found:?}");
            assert!(found.is_sorted_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).is_lt()));
            if effort == Effort::Exact {
                assert_eq!(found, right[..10.min(right.len())]);
            }
        }
    }
}

/// Bytes of files with these endings.
fn bytes_of(path: &Path, kinds: &[FileKind]) -> u64 {
    let image = read_image(path);
    let files = image.iter().filter(|(n, _)| data_kind(n).is_some_and(|k| kinds.contains(&k)));
    files.map(|(_, bytes)| bytes.len() as u64).sum()
}

#[test]
fn replaced_vectors_leave_few_dead_rows_and_little_garbage() {
    const ROWS: u64 = 600;
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = eager().graph_rows(1 << 20).open(&path).unwrap();
    engine.create_space("v", Space::new(32, Metric::Dot)).unwrap();
    let mut random = Random(9);
    for round in 0..40 {
        let mut batch = Batch::new();
        for n in 0..ROWS {
            // All of them, then some of them.
            if round <= 20 || random.below(7) == 0 {
                batch.put(Node::new(id(n), "n").vector("v", whole_vector(&mut random, 32)));
            }
        }
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        let files = engine.stats().spaces.remove(0).files;
        let rows: usize = files.iter().map(|file| file.rows).sum();
        let dead: usize = files.iter().map(|file| file.dead).sum();
        assert_eq!(rows - dead, ROWS as usize);
        assert!(dead * 3 <= rows, "round {round}: {dead} of {rows}");
        assert!(files.len() <= 12, "{files:?}");
        let live = ROWS * (4 * 32 + 32 + 4 + 16);
        let bytes = bytes_of(&path, &[FileKind::Vectors, FileKind::VectorIndex]);
        // Each file has blocks that are not full.
        let most = live * 3 / 2 + files.len() as u64 * (10 << 12);
        assert!(bytes <= most, "round {round}: {bytes} of at most {most}");
    }
    // All gone: nothing stays.
    let mut batch = Batch::new();
    for n in 0..ROWS {
        batch.delete(id(n));
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(bytes_of(&path, &[FileKind::Vectors, FileKind::VectorIndex]), 0);
}

#[test]
fn a_dropped_space_takes_its_files_with_it() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = eager().open(&path).unwrap();
    let mut random = Random(9);
    for name in ["a", "b"] {
        engine.create_space(name, Space::new(3, Metric::L2)).unwrap();
        engine.set_method(name, Method::Hnsw).unwrap();
        let nodes =
            (0..300).map(|n| Node::new(id(n), "n").vector(name, whole_vector(&mut random, 3)));
        engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
        engine.compact().unwrap();
    }
    let kinds = [FileKind::Vectors, FileKind::VectorIndex];
    // The second put took the first vectors away.
    let one = bytes_of(&path, &kinds);
    assert!(one > 0);
    let held = engine.snapshot();
    engine.drop_space("b").unwrap();
    assert_eq!(engine.snapshot().vector_count(), 0);
    let error = engine.snapshot().nearest("b", &[1.0; 3], 3, &Filter::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    engine.checkpoint().unwrap();
    // Whoever had it has it.
    assert_eq!(held.nearest("b", &[1.0; 3], 9, &Filter::new()).unwrap().len(), 9);
    assert_eq!(bytes_of(&path, &kinds), one);
    drop(held);
    assert_eq!(bytes_of(&path, &kinds), 0);
    // The name is free for another.
    engine.create_space("b", Space::new(5, Metric::Dot)).unwrap();
    engine.rebuild(None).unwrap();
    assert!(engine.verify().unwrap().is_sound());
    let node = engine.snapshot().get(id(1)).unwrap().unwrap().to_node().unwrap();
    assert!(node.vectors.is_empty());
}

#[test]
fn what_does_not_fit_is_refused_before_anything_changes() {
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
        ("not there", Search::like("l", id(5), 3)),
        ("index", Search::new("l", &[1.0; 3], 3).filter(Filter::new().index("x", KeyRange::all()))),
    ] {
        let error = snapshot.search(&search).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(what), "{error}");
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
fn the_number_of_hits_has_its_bounds() {
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

/// What is built in the background, or because somebody asked for it, makes no
/// checkpoint wait: it is done in pieces, and whoever wants in between comes.
#[cfg(feature = "hnsw")]
mod patience {
    use super::*;

    const ROWS: u64 = 6_000;

    fn open(path: &Path) -> Engine {
        let options = Options::new().durability(Durability::Os).graph_rows(1);
        let engine = options.open(path).unwrap();
        engine.create_space("v", Space::new(96, Metric::L2)).unwrap();
        let mut random = Random(5);
        let nodes =
            (0..ROWS).map(|n| Node::new(id(n), "n").vector("v", noise_vector(&mut random, 96)));
        engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
        engine.checkpoint().unwrap();
        engine
    }

    fn has_graph(engine: &Engine) -> bool {
        engine.stats().spaces[0].files.iter().any(|file| file.graph.is_some())
    }

    /// Checkpoints until the graph is there. One that had to wait for the graph
    /// would be the last.
    fn checkpoints_until_there_is_a_graph(engine: &Engine) {
        let mut checkpoints = 0;
        while !has_graph(engine) {
            engine.write(put_all([Node::new(id(1 << 40), "n")])).unwrap();
            engine.checkpoint().unwrap();
            checkpoints += 1;
        }
        assert!(checkpoints >= 5, "{checkpoints} checkpoints while the graph was built");
    }

    #[test]
    fn a_checkpoint_does_not_wait_for_a_graph_in_the_background() {
        let dir = temp_dir();
        let engine = open(&dir.path().join("s"));
        engine.set_method("v", Method::Hnsw).unwrap();
        checkpoints_until_there_is_a_graph(&engine);
    }

    #[test]
    fn a_checkpoint_does_not_wait_for_a_rebuild() {
        let dir = temp_dir();
        let engine = open(&dir.path().join("s"));
        engine.set_method("v", Method::Hnsw).unwrap();
        thread::scope(|scope| {
            let rebuilding = scope.spawn(|| engine.rebuild(Some("v")).unwrap());
            checkpoints_until_there_is_a_graph(&engine);
            rebuilding.join().unwrap();
        });
    }

    #[test]
    fn closing_ends_a_rebuild() {
        let dir = temp_dir();
        let engine = open(&dir.path().join("s"));
        engine.set_method("v", Method::Hnsw).unwrap();
        let written = || engine.stats().checkpoint.written_bytes;
        let before = written();
        thread::scope(|scope| {
            let rebuilding = scope.spawn(|| engine.rebuild(Some("v")));
            until("the codes are built, and the graph begun", || written() > before);
            engine.close().unwrap();
            let error = rebuilding.join().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed);
        });
    }
}

/// The node itself is found first and is no hit: that makes no walk fail.
#[cfg(feature = "hnsw")]
#[test]
fn a_search_by_node_is_a_walk_of_the_graph_alone() {
    let stored = Stored::new(4_000, 8, 0x2d, 3);
    let dir = temp_dir();
    let path = dir.path().join("s");
    stored.write(&path);
    for like in [false, true] {
        let engine = indexed().open(&path).unwrap();
        let snapshot = engine.snapshot();
        let search = match like {
            true => Search::like("v", id(7), 5),
            false => Search::new("v", &stored.queries[0], 5),
        };
        let hits = snapshot.search(&search.explain(true)).unwrap();
        assert!(hits.iter().all(|hit| hit.found.unwrap().by == By::Graph), "{hits:?}");
        let file = engine.stats().spaces.remove(0).files.remove(0);
        assert!(file.graph.unwrap().memory > 0);
        assert_eq!(file.codes.unwrap().memory, 0, "like {like}: the codes were asked too");
    }
}

/// However often searches ask for what cannot be built, it is tried again, and
/// after a pause.
#[test]
fn searches_neither_hasten_nor_put_off_the_next_try() {
    const FAILURES: usize = 4;
    let stored = small();
    let dir = temp_dir();
    let path = dir.path().join("s");
    stored.write(&path);
    let codes = path.join(stored.named(|file| file.codes));
    let mut bytes = fs::read(&codes).unwrap();
    bytes[80..].fill(0xa5);
    fs::write(&codes, bytes).unwrap();
    let tries = Arc::new(AtomicUsize::new(0));
    let fs = {
        let tries = Arc::clone(&tries);
        hooked(move |call, path| {
            let index = path.extension().is_some_and(|e| e == "vix");
            if call == Call::Create && index && tries.fetch_add(1, Ordering::SeqCst) < FAILURES {
                return Err(std::io::Error::other("injected"));
            }
            Ok(())
        })
    };
    let engine = indexed().inline(false).fs(fs).open(&path).unwrap();
    engine.set_method("v", Method::Pq4).unwrap();
    let begun = std::time::Instant::now();
    until("the codes are built", || {
        engine.snapshot().search(&Search::new("v", &stored.queries[0], 5)).unwrap();
        tries.load(Ordering::SeqCst) > FAILURES && Stored::damage(&engine).is_empty()
    });
    // The pauses are 50 ms, 100, 200 and 400.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(700), "{:?}", begun.elapsed());
}

/// A node with as many vectors as it may have: one of another space takes the
/// place of that of a space that goes, in one batch.
#[test]
fn a_space_that_is_dropped_and_made_again_leaves_nothing_behind() {
    let dir = temp_dir();
    let engine = eager().open(dir.path().join("s")).unwrap();
    let mut node = Node::new(id(1), "n");
    for n in 0..limits::NODE_VECTORS {
        engine.create_space(format!("v{n}"), Space::new(2, Metric::L2)).unwrap();
        node = node.vector(format!("v{n}"), [1.0, n as f32]);
    }
    engine.write(put_all([node])).unwrap();
    for (round, metric) in [(0, Metric::Dot), (1, Metric::Cosine)] {
        let mut batch = Batch::new();
        batch.push(Op::DropSpace { name: "v0".into() });
        batch.push(Op::CreateSpace { name: "v0".into(), space: Space::new(2, metric) });
        batch.patch(id(1), Patch::new().vector("v0", [2.0; 2]).kind(format!("k{round}")));
        engine.write(batch).unwrap_or_else(|error| panic!("{round}: {error}"));
        engine.checkpoint().unwrap();
        assert_eq!(engine.snapshot().vector_count(), limits::NODE_VECTORS);
        assert!(engine.verify().unwrap().is_sound());
    }
}

#[cfg(feature = "sim")]
mod simulated {
    use ingrain::{
        os::Fs,
        sim::{self, Failure, Loss, Points, SimDisk},
    };

    use super::*;

    const PATH: &str = "/s";

    fn open(disk: &SimDisk) -> ingrain::Result<Engine> {
        eager()
            .fs(Arc::new(disk.clone()))
            .clock(Arc::new(disk.clock()))
            .index(INDEX)
            .durability(Durability::Sync)
            .open(PATH)
    }

    /// Nothing is in the directory that the manifest does not name.
    fn check_names(disk: &SimDisk) {
        let bytes = disk.map(&Path::new(PATH).join("MANIFEST")).unwrap();
        let manifest = Manifest::decode(&bytes).unwrap();
        let names = disk.list(&Path::new(PATH).join(DATA)).unwrap();
        assert_eq!(names.len(), manifest.files().count(), "{names:?}");
    }

    fn change(engine: &Engine, model: &mut Model, random: &mut Random) {
        let mut batch = Batch::new();
        for n in 0..30 {
            let node = any_node(n * 2, &model.spaces, random);
            batch.put(node.clone());
            model.nodes.insert(node.id, node);
        }
        batch.delete(id(1)).delete(id(3));
        model.nodes.remove(&id(1));
        model.nodes.remove(&id(3));
        engine.write(batch).unwrap();
    }

    /// I10 of vector files and what is derived from them, at each call.
    fn every_call(only: Option<sim::Call>, failure: Failure, sticky: bool) {
        let first = SimDisk::new();
        let engine = open(&first).unwrap();
        let mut model = Model::default();
        let mut random = Random(1);
        for (name, method) in [("a", Method::Hnsw), ("b", Method::Pq8)] {
            let space = Space::new(3, Metric::L2);
            engine.create_space(name, space).unwrap();
            engine.set_method(name, method).unwrap();
            model.spaces.insert(name, space);
        }
        for n in 0..40 {
            let node = any_node(n, &model.spaces, &mut random);
            model.nodes.insert(node.id, node);
        }
        engine.write(put_all(model.nodes.values().cloned())).unwrap();
        engine.compact().unwrap();
        drop(engine);
        let mut failed = BTreeSet::new();
        for n in 1.. {
            let disk = first.crash(Loss::Nothing, 0);
            let (mut model, mut random) = (model.clone(), Random(n));
            let engine = open(&disk).unwrap();
            change(&engine, &mut model, &mut random);
            // A base that will not do, too.
            engine.set_method("a", Method::Pq8).unwrap();
            engine.set_method("b", Method::Hnsw).unwrap();
            let count = || match only {
                Some(call) => disk.calls().get(&call).copied().unwrap_or(0),
                None => disk.calls().values().sum::<u64>(),
            };
            let before = count();
            disk.fail(n, only, failure, sticky);
            let made = engine.checkpoint().and_then(|_| engine.rebuild(None));
            let calls = count() - before;
            model.check(&engine, &mut random, 1);
            disk.heal();
            if let Err(error) = &made {
                let Error::Checkpoint { step, .. } = error else { panic!("call {n}: {error}") };
                failed.insert(*step);
            }
            for loss in [Loss::Nothing, Loss::All] {
                let left = disk.crash(loss, n);
                let again = open(&left).unwrap_or_else(|e| panic!("call {n} {loss:?}: {e}"));
                model.check(&again, &mut random, 1);
                drop(again);
                check_names(&left);
            }
            engine.checkpoint().unwrap_or_else(|error| panic!("call {n}, healed: {error}"));
            engine.rebuild(None).unwrap_or_else(|error| panic!("call {n}, healed: {error}"));
            let report = engine.verify().unwrap();
            assert!(report.is_sound(), "call {n}: {:#?}", report.damage);
            model.check(&engine, &mut random, 1);
            drop(engine);
            drop(open(&disk).unwrap());
            check_names(&disk);
            if n > calls {
                break;
            }
        }
        println!("{only:?} {failure:?} {sticky}: {failed:?}");
        if only.is_none() {
            let expected = ["cut", "heap", "index", "map", "publish", "sync", "vectors"];
            assert!(expected.iter().all(|step| failed.contains(step)), "{failed:?}");
        }
    }

    #[test]
    fn a_build_that_fails_at_any_call_leaves_everything_as_it_was() {
        every_call(None, Failure::Io, false);
    }

    #[test]
    fn a_build_that_fails_from_any_call_on_leaves_everything_as_it_was() {
        every_call(None, Failure::Io, true);
    }

    #[test]
    fn a_build_without_space_leaves_everything_as_it_was() {
        every_call(Some(sim::Call::Write), Failure::NoSpace, false);
        every_call(Some(sim::Call::Write), Failure::NoSpace, true);
        every_call(Some(sim::Call::Rename), Failure::NoSpace, true);
        every_call(Some(sim::Call::Map), Failure::Io, true);
    }

    /// A workload whose vector files are large enough to be searched by what is
    /// derived from them, and every crash of it.
    #[test]
    fn every_crash_leaves_the_vectors_of_some_commit_and_nothing_else() {
        let mut states: BTreeMap<u64, Model> = BTreeMap::new();
        // Its states, which the check needs.
        let mut workload = |disk: &SimDisk| {
            let mut model = Model::default();
            let mut random = Random(4);
            states.insert(1, model.clone());
            let engine = open(disk).unwrap();
            disk.mark(1);
            let mut seq = 1;
            let mut commit = |model: &Model, write: &mut dyn FnMut()| {
                seq += 1;
                states.insert(seq, model.clone());
                write();
                assert_eq!(engine.snapshot().seq().get(), seq);
                disk.mark(seq);
            };
            for (dimension, methods) in
                [(3, [Method::Pq4, Method::Hnsw]), (2, [Method::Pq8, Method::Auto])]
            {
                let space = Space::new(dimension, Metric::L2);
                model.spaces.insert("v", space);
                commit(&model, &mut || {
                    engine.create_space("v", space).unwrap();
                });
                let nodes: Vec<Node> =
                    (0..330).map(|n| any_node(n, &model.spaces, &mut random)).collect();
                model.nodes.extend(nodes.iter().map(|node| (node.id, node.clone())));
                commit(&model, &mut || {
                    engine.write(put_all(nodes.clone())).unwrap();
                });
                commit(&model, &mut || {
                    engine.set_method("v", methods[0]).unwrap();
                });
                engine.checkpoint().unwrap();
                let nodes: Vec<Node> =
                    (0..30).map(|n| any_node(n, &model.spaces, &mut random)).collect();
                model.nodes.extend(nodes.iter().map(|node| (node.id, node.clone())));
                commit(&model, &mut || {
                    engine.write(put_all(nodes.clone())).unwrap();
                });
                commit(&model, &mut || {
                    engine.set_method("v", methods[1]).unwrap();
                });
                engine.checkpoint().unwrap();
                engine.rebuild(None).unwrap();
                let gone: Vec<NodeId> = (100..140).map(id).collect();
                gone.iter().for_each(|id| drop(model.nodes.remove(id)));
                let mut batch = Batch::new();
                for id in &gone {
                    batch.delete(*id);
                }
                commit(&model, &mut || {
                    engine.write(batch.clone()).unwrap();
                });
                engine.compact().unwrap();
                model.spaces.clear();
                model.nodes.values_mut().for_each(|node| node.vectors.clear());
                commit(&model, &mut || {
                    engine.drop_space("v").unwrap();
                });
            }
            engine.checkpoint().unwrap();
        };
        let disk = SimDisk::new();
        workload(&disk);
        let mut random = Random(8);
        let mut tried = 0;
        // All of them, or every third.
        let step = if std::env::var_os("INGRAIN_TORTURE").is_some() { 1 } else { 3 };
        for crash in disk.crashes(Points::Boundaries, 1).step_by(step) {
            tried += 1;
            let what = format!("point {} {:?} {}", crash.point, crash.loss, crash.seed);
            let engine = open(&crash.disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            let seq = engine.snapshot().seq().get();
            assert!(seq >= crash.marks.last().copied().unwrap_or(1), "{what}: {seq}");
            states[&seq].check(&engine, &mut random, 1);
            if tried % 20 == 0 {
                engine.rebuild(None).unwrap();
                engine.compact().unwrap();
                states[&seq].check(&engine, &mut random, 1);
                let report = engine.verify().unwrap();
                assert!(report.is_sound(), "{what}: {:#?}", report.damage);
                drop(engine);
                check_names(&crash.disk);
            }
        }
        println!("{tried} crashes");
        assert!(tried > 200, "{tried}");
    }
}
