//! The engine against plain maps: random batches of every operation, with
//! reopenings among them, and every read compared after each.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use ingrain::{
    ConflictReason, Edge, Engine, Error, Node, NodeId, Op, Patch, Precondition, Seq, Snapshot,
    Timestamp, Value, os::Clock,
};
use proptest::{collection::vec, option, prelude::*};

use crate::harness::oracle::{IDS, INDEXES, KINDS, Oracle, batch, id, options};

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

/// With `steps`, the engine has no threads and is always in a checkpoint, of
/// which each write does a step: reads go over three levels.
fn open(path: &Path, clock: &ClockHandle, steps: bool) -> Engine {
    let options = options().clock(Arc::new(clock.clone()));
    let options = if steps { options.inline(true).wal_bytes(4 << 10) } else { options };
    options.open(path).unwrap()
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
