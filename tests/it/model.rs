//! The engine against plain maps: random batches of every operation, with
//! reopenings among them, and every read compared after each.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ingrain::{
    Batch, ConflictReason, Direction, Durability, Edge, Effort, Engine, Error, IndexKey, KeyRange,
    Metric, Node, NodeId, Op, Options, Patch, Precondition, Search, Seq, Snapshot, Space,
    Timestamp, Value, os::Clock,
};
use proptest::{collection::vec, option, prelude::*};

const IDS: u8 = 6;
const KINDS: &[&str] = &["note", "person", "place"];
const INDEXES: &[&str] = &["first", "second"];
const SPACES: &[(&str, usize, Metric)] = &[("flat", 2, Metric::L2), ("turn", 3, Metric::Cosine)];

/// A wall clock that a test sets.
#[derive(Debug, Default)]
pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }
}

#[derive(Debug, Clone, Default)]
pub struct ClockHandle(pub Arc<TestClock>);

impl Clock for ClockHandle {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

type EdgeName = (NodeId, String, NodeId, u64);

/// The store as plain maps.
#[derive(Debug, Default, Clone)]
pub struct Oracle {
    pub seq: u64,
    nodes: BTreeMap<NodeId, (Node, u64)>,
    edges: BTreeMap<EdgeName, Edge>,
    spaces: BTreeMap<String, Space>,
}

impl Oracle {
    /// After `seq` commits that made the spaces and no node.
    pub fn after(seq: u64) -> Self {
        let spaces = SPACES
            .iter()
            .map(|(name, dimension, metric)| ((*name).to_owned(), Space::new(*dimension, *metric)));
        Self { seq, spaces: spaces.collect(), ..Self::default() }
    }

    /// The definition of a space.
    #[cfg(feature = "sim")]
    pub fn space(&self, name: &str) -> Option<Space> {
        self.spaces.get(name).copied()
    }

    /// The nodes that there are.
    #[cfg(feature = "sim")]
    pub fn ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub fn write(&mut self, time: Timestamp, ops: &[Op]) -> Result<(), (usize, ConflictReason)> {
        let mut next = self.clone();
        next.seq += 1;
        for (at, op) in ops.iter().enumerate() {
            next.op(time, op).map_err(|reason| (at, reason))?;
        }
        *self = next;
        Ok(())
    }

    fn op(&mut self, now: Timestamp, op: &Op) -> Result<(), ConflictReason> {
        let seq = self.seq;
        match op {
            Op::Put { node, precondition } => {
                let old = self.nodes.get(&node.id).cloned();
                match (precondition, &old) {
                    (Precondition::Absent, Some(_)) => return Err(ConflictReason::Exists),
                    (Precondition::Version(_), None) => return Err(ConflictReason::Missing),
                    (Precondition::Version(v), Some((_, found))) if v.get() != *found => {
                        return Err(ConflictReason::Version { expected: v.get(), found: *found });
                    }
                    _ => {}
                }
                let mut new = node.clone();
                let old = old.map(|(old, _)| old);
                new.created = new.created.or(old.as_ref().and_then(|o| o.created)).or(Some(now));
                new.updated = new.updated.or(Some(now));
                new.accessed = new.accessed.or(old.as_ref().and_then(|o| o.accessed)).or(Some(now));
                new.access_count =
                    new.access_count.or(old.as_ref().and_then(|o| o.access_count)).or(Some(0));
                tidy_keys(&mut new.keys);
                self.nodes.insert(new.id, (new, seq));
            }
            Op::Patch { id, patch } => {
                let (node, version) = self.nodes.get_mut(id).ok_or(ConflictReason::Missing)?;
                if let Some(kind) = &patch.kind {
                    node.kind.clone_from(kind);
                }
                if let Some(content) = &patch.content {
                    node.content.clone_from(content);
                }
                for (name, value) in &patch.attributes {
                    match value {
                        Some(value) => drop(node.attributes.insert(name.clone(), value.clone())),
                        None => drop(node.attributes.remove(name)),
                    }
                }
                node.strength = patch.strength.unwrap_or(node.strength);
                node.confidence = patch.confidence.unwrap_or(node.confidence);
                for (index, keys) in &patch.keys {
                    node.keys.retain(|key| key.index != *index);
                    for key in keys {
                        node.keys.push(IndexKey { index: index.clone(), key: key.clone() });
                    }
                }
                tidy_keys(&mut node.keys);
                for (space, vector) in &patch.vectors {
                    match vector {
                        Some(vector) => drop(node.vectors.insert(space.clone(), vector.clone())),
                        None => drop(node.vectors.remove(space)),
                    }
                }
                node.updated = Some(now);
                *version = seq;
            }
            Op::Touch { id, count } => {
                let (node, _) = self.nodes.get_mut(id).ok_or(ConflictReason::Missing)?;
                node.access_count = Some(node.access_count.unwrap() + count);
                node.accessed = node.accessed.max(Some(now));
            }
            Op::Expire { id, expires } => {
                let (node, _) = self.nodes.get_mut(id).ok_or(ConflictReason::Missing)?;
                node.expires = *expires;
            }
            Op::Delete { id } => self.delete(*id),
            Op::Prune { id, before } => {
                let expired = self
                    .nodes
                    .get(id)
                    .is_some_and(|(node, _)| node.expires.is_some_and(|at| at <= *before));
                if expired {
                    self.delete(*id);
                }
            }
            Op::Link { edge } => {
                if !self.nodes.contains_key(&edge.source) || !self.nodes.contains_key(&edge.target)
                {
                    return Err(ConflictReason::Missing);
                }
                let name = name(edge);
                let mut edge = edge.clone();
                let old = self.edges.get(&name).and_then(|old| old.created);
                edge.created = edge.created.or(old).or(Some(now));
                edge.updated = edge.updated.or(Some(now));
                self.edges.insert(name, edge);
            }
            Op::Unlink { source, kind, target, discriminator } => {
                self.edges.remove(&(*source, kind.clone(), *target, *discriminator));
            }
            Op::CreateSpace { name, space } => drop(self.spaces.insert(name.clone(), *space)),
            Op::DropSpace { name } => {
                self.spaces.remove(name);
                self.nodes.values_mut().for_each(|(node, _)| drop(node.vectors.remove(name)));
            }
            Op::SetMethod { .. } => {}
            _ => unreachable!("the strategy makes no such operation"),
        }
        Ok(())
    }

    fn delete(&mut self, id: NodeId) {
        self.nodes.remove(&id);
        self.edges.retain(|(source, _, target, _), _| *source != id && *target != id);
    }

    /// Compares every read of a snapshot with the maps.
    pub fn check(&self, snapshot: &Snapshot) {
        assert_eq!(snapshot.seq(), Seq::new(self.seq));
        assert_eq!(snapshot.node_count(), self.nodes.len());
        assert_eq!(snapshot.edge_count(), self.edges.len());
        for id in (0..IDS).map(id) {
            let found = snapshot.get(id).unwrap();
            let expected = self.nodes.get(&id);
            assert_eq!(found.map(|node| node.to_node().unwrap()), expected.map(|(n, _)| n.clone()));
            assert_eq!(found.map(|node| node.version().get()), expected.map(|(_, v)| *v));
            for (reached, edges) in [(false, snapshot.edges_out(id)), (true, snapshot.edges_in(id))]
            {
                let found: BTreeMap<EdgeName, Edge> = edges
                    .map(|edge| edge.unwrap().to_edge().unwrap())
                    .map(|e| (name(&e), e))
                    .collect();
                let expected: BTreeMap<EdgeName, Edge> = self
                    .edges
                    .iter()
                    .filter(|((source, _, target, _), _)| {
                        id == if reached { *target } else { *source }
                    })
                    .map(|(name, edge)| (name.clone(), edge.clone()))
                    .collect();
                assert_eq!(found, expected, "edges {}", if reached { "in" } else { "out" });
            }
        }
        for (name, edge) in &self.edges {
            let found = snapshot.edge(name.0, &name.1, name.2, name.3).unwrap().unwrap();
            assert_eq!(found.to_edge().unwrap(), *edge);
            assert!(snapshot.edge(name.0, &name.1, name.2, 9).unwrap().is_none());
        }
        for kind in KINDS {
            let found: Vec<NodeId> = snapshot.scan(kind).map(|n| n.unwrap().id()).collect();
            let expected: Vec<NodeId> =
                self.nodes.values().filter(|(n, _)| n.kind == *kind).map(|(n, _)| n.id).collect();
            assert_eq!(found, expected, "scan {kind}");
            for id in (0..IDS).map(id) {
                let of_kind = snapshot.edges_out(id).kind(kind).count();
                let expected =
                    self.edges.keys().filter(|(s, k, _, _)| *s == id && k == kind).count();
                assert_eq!(of_kind, expected, "edges of kind {kind}");
            }
        }
        let mut keys = 0;
        for index in INDEXES {
            let mut expected: BTreeSet<(Vec<u8>, NodeId)> = BTreeSet::new();
            for (node, _) in self.nodes.values() {
                for key in node.keys.iter().filter(|key| key.index == *index) {
                    expected.insert((key.key.clone(), node.id));
                }
            }
            keys += expected.len();
            let read = |direction| -> Vec<(Vec<u8>, NodeId)> {
                snapshot
                    .range(index, KeyRange::all(), direction)
                    .unwrap()
                    .map(|entry| entry.unwrap())
                    .map(|entry| (entry.key.to_vec(), entry.node.id()))
                    .collect()
            };
            assert!(read(Direction::Ascending).iter().eq(expected.iter()), "{index} ascending");
            assert!(
                read(Direction::Descending).iter().eq(expected.iter().rev()),
                "{index} descending"
            );
        }
        assert_eq!(snapshot.key_count(), keys);
        assert!(snapshot.spaces().eq(self.spaces.iter().map(|(name, s)| (name.as_str(), *s))));
        for (name, space) in &self.spaces {
            let query: Vec<f32> = (1..=space.dimension).map(|x| x as f32).collect();
            let mut expected: Vec<(f64, NodeId)> = self
                .nodes
                .values()
                .filter_map(|(node, _)| {
                    Some((distance(space.metric, &query, node.vectors.get(name)?), node.id))
                })
                .collect();
            expected.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for effort in [Effort::Normal, Effort::Exact] {
                let search = Search::new(name, &query, 100).effort(effort);
                let hits = snapshot.search(&search).unwrap();
                let found: Vec<(f64, NodeId)> =
                    hits.iter().map(|hit| (hit.distance, hit.node.id())).collect();
                assert_eq!(found, expected, "{name} {effort:?}");
            }
        }
        let expired: Vec<NodeId> =
            snapshot.expired(Timestamp::from_micros(50)).map(Result::unwrap).collect();
        let mut expected: Vec<(Timestamp, NodeId)> = self
            .nodes
            .values()
            .filter_map(|(n, _)| Some((n.expires.filter(|at| at.as_micros() <= 50)?, n.id)))
            .collect();
        expected.sort_unstable();
        assert_eq!(expired, expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
    }
}

fn tidy_keys(keys: &mut Vec<IndexKey>) {
    keys.sort();
    keys.dedup();
}

fn name(edge: &Edge) -> EdgeName {
    (edge.source, edge.kind.clone(), edge.target, edge.discriminator)
}

/// As the metric defines it: exact for small whole numbers.
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        // From plus zero: a sum of minus zeros is one otherwise.
        a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + f64::from(*a) * f64::from(*b))
    };
    match metric {
        Metric::Cosine => (1.0 - dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())).clamp(0.0, 2.0),
        Metric::Dot => -dot(a, b),
        _ => {
            let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            dot(&difference, &difference).sqrt()
        }
    }
}

fn id(n: u8) -> NodeId {
    NodeId::of_content(&[n])
}

fn any_id() -> impl Strategy<Value = NodeId> {
    (0..IDS).prop_map(id)
}

fn any_kind() -> impl Strategy<Value = String> {
    prop::sample::select(KINDS).prop_map(str::to_owned)
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (0..100_i64).prop_map(Timestamp::from_micros)
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-1e9..1e9).prop_map(Value::Float),
        ".{0,6}".prop_map(Value::Text),
        vec(any::<u8>(), 0..6).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::List),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..3).prop_map(Value::Map),
        ]
    })
}

/// Small whole numbers, never all zero: their sums are exact in any order.
fn any_vector(dimension: usize) -> impl Strategy<Value = Vec<f32>> {
    vec(-4..=4_i8, dimension).prop_map(|numbers| {
        let mut vector: Vec<f32> = numbers.iter().map(|n| f32::from(*n)).collect();
        if vector.iter().all(|n| *n == 0.0) {
            vector[0] = 1.0;
        }
        vector
    })
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(0_u8), Just(1), Just(0xff)], 0..3)
}

/// Long ones stay where they are when something else of the node changes.
fn any_content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..20), vec(any::<u8>(), 65..90)]
}

fn any_node() -> impl Strategy<Value = Node> {
    (
        (any_id(), any_kind(), any_content()),
        prop::collection::btree_map("[a-c]{1,2}", any_value(), 0..3),
        (-2.0..2.0_f32, 0.0..1.0_f32, option::of(any_time()), option::of(any_time())),
        (option::of(any_time()), option::of(0..9_u64)),
        vec((prop::sample::select(INDEXES), any_key()), 0..4),
        (option::of(any_vector(2)), option::of(any_vector(3))),
    )
        .prop_map(|((id, kind, content), attributes, scores, access, keys, vectors)| {
            let mut node = Node::new(id, kind).content(content);
            node.attributes = attributes;
            (node.strength, node.confidence, node.created, node.expires) = scores;
            (node.accessed, node.access_count) = access;
            for (index, key) in keys {
                node = node.key(index, key);
            }
            for (vector, space) in [(vectors.0, "flat"), (vectors.1, "turn")] {
                if let Some(vector) = vector {
                    node = node.vector(space, vector);
                }
            }
            node
        })
}

fn any_patch() -> impl Strategy<Value = Patch> {
    (
        option::of(any_kind()),
        option::of(any_content()),
        prop::collection::btree_map("[a-c]{1,2}", option::of(any_value()), 0..3),
        (option::of(-2.0..2.0_f32), option::of(0.0..1.0_f32)),
        prop::collection::btree_map(prop::sample::select(INDEXES), vec(any_key(), 0..3), 0..2),
        option::of(option::of(any_vector(2))),
    )
        .prop_map(|(kind, content, attributes, scores, keys, vector)| {
            let mut patch = Patch { kind, content, attributes, ..Patch::default() };
            (patch.strength, patch.confidence) = scores;
            patch.keys = keys.into_iter().map(|(index, keys)| (index.to_owned(), keys)).collect();
            patch.vectors.extend(vector.map(|vector| ("flat".to_owned(), vector)));
            patch
        })
}

fn any_edge() -> impl Strategy<Value = Edge> {
    (any_id(), any_kind(), any_id(), 0..2_u64, -1e6..1e6, option::of(any_time()), any_value())
        .prop_map(|(source, kind, target, discriminator, weight, created, value)| {
            let mut edge =
                Edge::new(source, kind, target).discriminator(discriminator).weight(weight);
            edge.created = created;
            edge.attribute("v", value)
        })
}

pub fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => any_node().prop_map(|node| Op::Put { node, precondition: Precondition::None }),
        1 => any_node().prop_map(|node| Op::Put { node, precondition: Precondition::Absent }),
        // Versions are small: some are right.
        1 => (any_node(), 3..12_u64).prop_map(|(node, version)| Op::Put {
            node,
            precondition: Precondition::Version(Seq::new(version)),
        }),
        2 => (any_id(), any_patch()).prop_map(|(id, patch)| Op::Patch { id, patch }),
        1 => (any_id(), 0..3_u64).prop_map(|(id, count)| Op::Touch { id, count }),
        1 => (any_id(), option::of(any_time())).prop_map(|(id, expires)| Op::Expire { id, expires }),
        2 => any_id().prop_map(|id| Op::Delete { id }),
        1 => (any_id(), any_time()).prop_map(|(id, before)| Op::Prune { id, before }),
        6 => any_edge().prop_map(|edge| Op::Link { edge }),
        2 => any_edge().prop_map(|e| Op::Unlink {
            source: e.source,
            kind: e.kind,
            target: e.target,
            discriminator: e.discriminator,
        }),
    ]
}

#[derive(Debug, Clone)]
enum Action {
    Write(Vec<Op>, bool),
    /// Batches submitted together, then waited for.
    Submit(Vec<Vec<Op>>),
    Close,
    /// Dropped without a word.
    Drop,
    Checkpoint,
    Compact,
    /// Backed up; from then on the backup is the store, or it stays as it is.
    Backup(bool),
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (vec(any_op(), 1..8), any::<bool>()).prop_map(|(ops, sync)| Action::Write(ops, sync)),
        3 => vec(vec(any_op(), 1..4), 1..5).prop_map(Action::Submit),
        1 => Just(Action::Close),
        1 => Just(Action::Drop),
        3 => Just(Action::Checkpoint),
        1 => Just(Action::Compact),
        1 => any::<bool>().prop_map(Action::Backup),
    ]
}

/// The spaces and indexes that the operations use: the first commit.
pub fn options() -> Options {
    // Parts of a few rows, so that they split and merge.
    let mut options = Options::new().wal_file_bytes(64 << 10).part_bytes(200);
    for (name, dimension, metric) in SPACES {
        options = options.space(*name, Space::new(*dimension, *metric));
    }
    for index in INDEXES {
        options = options.index(*index);
    }
    options
}

/// With `steps`, the engine has no threads and is always in a checkpoint, of
/// which each write does a step: reads go over three levels.
fn open(path: &Path, clock: &ClockHandle, steps: bool) -> Engine {
    let options = options().clock(Arc::new(clock.clone()));
    let options = if steps { options.inline(true).wal_bytes(4 << 10) } else { options };
    options.open(path).unwrap()
}

pub fn batch(ops: &[Op], sync: bool) -> Batch {
    let mut batch = Batch::new();
    for op in ops {
        batch.push(op.clone());
    }
    batch.durability(if sync { Durability::Sync } else { Durability::Os });
    batch
}

fn compare(
    answer: Result<Seq, Error>,
    expected: Result<(), (usize, ConflictReason)>,
    oracle: &Oracle,
) {
    match (answer, expected) {
        (Ok(seq), Ok(())) => assert_eq!(seq.get(), oracle.seq),
        (Err(Error::Conflict { op, reason, .. }), Err(expected)) => {
            assert_eq!((op, reason), expected);
        }
        (answer, expected) => panic!("engine: {answer:?}, oracle: {expected:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_read_agrees_with_plain_maps(actions in vec(any_action(), 1..24), steps in any::<bool>()) {
        let dir = crate::temp_dir();
        let mut path = dir.path().join("store");
        let clock = ClockHandle::default();
        let mut engine = open(&path, &clock, steps);
        // The spaces and indexes of the options took the first commit.
        let mut oracle = Oracle::after(1);
        let mut backups: Vec<(PathBuf, Oracle)> = Vec::new();
        // Held to the end: none may change.
        let mut held: Vec<(Snapshot, Oracle)> = Vec::new();
        for (step, action) in actions.into_iter().enumerate() {
            let before = engine.snapshot().digest().unwrap();
            let rests = !matches!(action, Action::Write(..) | Action::Submit(_));
            // Time goes back now and then.
            let now = i64::try_from(step * 37 % 100).unwrap();
            clock.0.set(now);
            let now = Timestamp::from_micros(now);
            match action {
                Action::Write(ops, sync) => {
                    let answer = engine.write(batch(&ops, sync));
                    let expected = oracle.write(now, &ops);
                    compare(answer, expected, &oracle);
                }
                Action::Submit(batches) => {
                    let tickets: Vec<_> =
                        batches.iter().map(|ops| engine.submit(batch(ops, false)).unwrap()).collect();
                    for (ticket, ops) in tickets.into_iter().zip(&batches) {
                        let answer = ticket.wait();
                        let expected = oracle.write(now, ops);
                        compare(answer, expected, &oracle);
                    }
                }
                Action::Close => {
                    engine.close().unwrap();
                    drop(engine);
                    engine = open(&path, &clock, steps);
                }
                Action::Drop => {
                    drop(engine);
                    engine = open(&path, &clock, steps);
                }
                Action::Checkpoint => {
                    let seq = engine.checkpoint().unwrap();
                    assert_eq!(seq.get(), oracle.seq);
                }
                Action::Compact => {
                    let seq = engine.compact().unwrap();
                    assert_eq!(seq.get(), oracle.seq);
                }
                Action::Backup(moves) => {
                    let to = dir.path().join(format!("backup {step}"));
                    let report = engine.backup(&to).unwrap();
                    assert_eq!(report.seq.get(), oracle.seq);
                    let left = if moves {
                        drop(engine);
                        engine = open(&to, &clock, steps);
                        std::mem::replace(&mut path, to)
                    } else {
                        to
                    };
                    backups.push((left, oracle.clone()));
                }
            }
            oracle.check(&engine.snapshot());
            if rests {
                // I14: whatever the state lies in.
                assert_eq!(engine.snapshot().digest().unwrap(), before);
            }
            held.push((engine.snapshot(), oracle.clone()));
        }
        for (snapshot, oracle) in held {
            oracle.check(&snapshot);
        }
        for (path, oracle) in backups {
            oracle.check(&open(&path, &clock, steps).snapshot());
        }
    }
}
