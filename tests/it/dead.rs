//! Ordered reads beside what was deleted: they are right whatever they skip, and
//! cost the same however much there is to skip.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

use ingrain::{
    Batch, Direction, Durability, Edge, Engine, KeyBuilder, KeyRange, Node, NodeId, Op, Options,
    Snapshot, Timestamp,
};
use proptest::{collection::vec, prelude::*};

use crate::harness::dirs::temp_dir;

const JOBS: u16 = 300;

/// Ids in the order of their numbers.
fn id(n: u16) -> NodeId {
    NodeId::from_bytes(u128::from(n).to_be_bytes())
}

fn hub() -> NodeId {
    NodeId::from_bytes([0xff; 16])
}

fn kind(n: u16) -> &'static str {
    ["a", "b"][usize::from(n / 64 % 2)]
}

fn key(n: u16) -> Vec<u8> {
    KeyBuilder::new().int(i64::from(n)).build()
}

fn job(n: u16) -> Node {
    let at = Timestamp::from_micros(i64::from(n));
    Node::new(id(n), kind(n)).key("q", key(n)).key("r", [0]).expires(at)
}

/// What happens to jobs of consecutive numbers.
#[derive(Debug, Clone)]
enum Step {
    Put(Range<u16>),
    Delete(Range<u16>),
    Link(Range<u16>),
    Unlink(Range<u16>),
    Checkpoint,
    Reopen,
}

fn any_step() -> impl Strategy<Value = Step> {
    let range = || (0..JOBS, 1..120_u16).prop_map(|(from, len)| from..(from + len).min(JOBS));
    let few = (0..JOBS, 1..3_u16).prop_map(|(from, len)| from..(from + len).min(JOBS));
    prop_oneof![
        2 => range().prop_map(Step::Put),
        3 => few.prop_map(Step::Put),
        4 => range().prop_map(Step::Delete),
        2 => range().prop_map(Step::Link),
        2 => range().prop_map(Step::Unlink),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Clone, Default)]
struct Model {
    jobs: BTreeSet<u16>,
    linked: BTreeSet<u16>,
}

impl Model {
    /// Applies a step, and returns its operations.
    fn apply(&mut self, step: &Step) -> Batch {
        match step.clone() {
            Step::Put(range) => {
                self.jobs.extend(range.clone());
                range.map(|n| Op::put(job(n))).collect()
            }
            Step::Delete(range) => {
                self.jobs.retain(|n| !range.contains(n));
                self.linked.retain(|n| !range.contains(n));
                range.map(|n| Op::Delete { id: id(n) }).collect()
            }
            Step::Link(range) => {
                let there: Vec<u16> = self.jobs.range(range).copied().collect();
                self.linked.extend(&there);
                let both = there
                    .into_iter()
                    .flat_map(|n| [Edge::new(hub(), "has", id(n)), Edge::new(id(n), "of", hub())]);
                both.map(|edge| Op::Link { edge }).collect()
            }
            Step::Unlink(range) => {
                self.linked.retain(|n| !range.contains(n));
                let both = range.flat_map(|n| [(hub(), "has", id(n)), (id(n), "of", hub())]);
                both.map(|(source, kind, target)| Op::Unlink {
                    source,
                    kind: kind.to_owned(),
                    target,
                    discriminator: 0,
                })
                .collect()
            }
            Step::Checkpoint | Step::Reopen => Batch::new(),
        }
    }

    /// Compares all ordered reads from `from` on, in both directions.
    fn check(&self, snapshot: &Snapshot, from: u16) {
        for direction in [Direction::Ascending, Direction::Descending] {
            let turn = |mut ids: Vec<NodeId>| {
                if direction == Direction::Descending {
                    ids.reverse();
                }
                ids
            };
            let all =
                |jobs: &BTreeSet<u16>| -> Vec<NodeId> { jobs.iter().copied().map(id).collect() };
            let entries = |index: &str, range: KeyRange| -> Vec<NodeId> {
                let entries = snapshot.range(index, range, direction).unwrap();
                entries.map(|entry| entry.unwrap().node.id()).collect()
            };
            assert_eq!(entries("q", KeyRange::all()), turn(all(&self.jobs)));
            assert_eq!(entries("r", KeyRange::all()), turn(all(&self.jobs)));
            let rest: Vec<NodeId> = self.jobs.range(from..).copied().map(id).collect();
            assert_eq!(entries("q", (key(from)..).into()), turn(rest));
            let before: Vec<NodeId> = self.jobs.range(..from).copied().map(id).collect();
            assert_eq!(entries("q", (..key(from)).into()), turn(before));
            for name in ["a", "b"] {
                let of_kind = self.jobs.iter().copied().filter(|n| kind(*n) == name).map(id);
                let scan = snapshot.scan(name).map(|node| node.unwrap().id());
                let found: Vec<NodeId> = match direction {
                    Direction::Ascending => scan.collect(),
                    Direction::Descending => {
                        snapshot.scan(name).rev().map(|node| node.unwrap().id()).collect()
                    }
                };
                assert_eq!(found, turn(of_kind.collect()));
            }
            let target = |edge: ingrain::Result<ingrain::EdgeRef<'_>>| edge.unwrap().target();
            let source = |edge: ingrain::Result<ingrain::EdgeRef<'_>>| edge.unwrap().source();
            let (out, in_edges) = (snapshot.edges_out(hub()), snapshot.edges_in(hub()));
            let (out, in_edges): (Vec<NodeId>, Vec<NodeId>) = match direction {
                Direction::Ascending => (out.map(target).collect(), in_edges.map(source).collect()),
                Direction::Descending => {
                    (out.rev().map(target).collect(), in_edges.rev().map(source).collect())
                }
            };
            assert_eq!(out, turn(all(&self.linked)));
            assert_eq!(in_edges, turn(all(&self.linked)));
        }
        let expired = snapshot.expired(Timestamp::from_micros(i64::from(from)));
        let expected: Vec<NodeId> = self.jobs.range(..=from).copied().map(id).collect();
        assert_eq!(expired.map(Result::unwrap).collect::<Vec<_>>(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Reads report what they found dead, and later ones skip it. All of them
    /// agree with plain sets: also in snapshots of before, after keys come back in
    /// the midst of a run, and across checkpoints.
    #[test]
    fn reads_skip_what_is_dead_and_nothing_else(
        steps in vec((any_step(), 0..JOBS), 1..25),
        held in 0..8_usize,
    ) {
        let dir = temp_dir();
        let open = || {
            let options = Options::new().durability(Durability::Os).index("q").index("r");
            options.inline(true).open(dir.path().join("s")).unwrap()
        };
        let mut engine = open();
        engine.write(Batch::new().put(Node::new(hub(), "hub"))).unwrap();
        let mut model = Model::default();
        engine.write(model.apply(&Step::Put(0..JOBS))).unwrap();
        let mut old: BTreeMap<usize, (Snapshot, Model)> = BTreeMap::new();
        for (at, (step, from)) in steps.iter().enumerate() {
            match step {
                Step::Checkpoint => drop(engine.checkpoint().unwrap()),
                Step::Reopen => {
                    old.clear();
                    drop(engine);
                    engine = open();
                }
                _ => {
                    let batch = model.apply(step);
                    if !batch.is_empty() {
                        engine.write(batch).unwrap();
                    }
                }
            }
            // Twice: the second time with what the first one reported.
            for _ in 0..2 {
                model.check(&engine.snapshot(), *from);
                engine.write(Batch::new().touch(hub())).unwrap();
            }
            if at % 8 == held {
                old.insert(at, (engine.snapshot(), model.clone()));
            }
            for (snapshot, model) in old.values() {
                model.check(snapshot, *from);
            }
        }
    }
}

/// Takes the first of an ordered read and deletes it, again and again. Compares
/// how long the last pops took with the first. Before reads could skip, the last
/// of these took more than ten times as long.
#[test]
fn taking_the_first_costs_the_same_however_much_was_taken() {
    const TAKEN: u16 = 3_000;
    const AT_ONCE: usize = 50;
    let first_of = |how: &str, s: &Snapshot| -> NodeId {
        match how {
            "index" => {
                let mut all = s.range("q", KeyRange::all(), Direction::Ascending).unwrap();
                all.next().unwrap().unwrap().node.id()
            }
            "last" => {
                let mut all = s.range("q", KeyRange::all(), Direction::Descending).unwrap();
                all.next().unwrap().unwrap().node.id()
            }
            "kind" => s.scan("job").next().unwrap().unwrap().id(),
            "edges" => s.edges_out(hub()).next().unwrap().unwrap().target(),
            _ => s.expired(Timestamp::MAX).next().unwrap().unwrap(),
        }
    };
    for in_base in [false, true] {
        for how in ["index", "last", "kind", "edges", "expired"] {
            let dir = temp_dir();
            let options = Options::new().durability(Durability::Os).index("q");
            let engine = options.open(dir.path().join("s")).unwrap();
            let mut batch = Batch::new();
            batch.put(Node::new(hub(), "hub"));
            for n in 0..TAKEN + 100 {
                let at = Timestamp::from_micros(i64::from(n));
                batch.put(Node::new(id(n), "job").key("q", key(n)).expires(at));
                batch.link(Edge::new(hub(), "has", id(n)));
            }
            if in_base {
                engine.write(batch).unwrap();
                engine.checkpoint().unwrap();
            } else {
                // Something is below, so that the layer keeps tombstones.
                engine.write(Batch::new().put(Node::new(id(u16::MAX), "other"))).unwrap();
                engine.checkpoint().unwrap();
                engine.write(batch).unwrap();
            }
            let mut took = Vec::new();
            for _ in 0..usize::from(TAKEN) / AT_ONCE {
                let begun = Instant::now();
                for _ in 0..AT_ONCE {
                    let first = first_of(how, &engine.snapshot());
                    engine.write(Batch::new().delete(first)).unwrap();
                }
                took.push(begun.elapsed());
            }
            let median = |times: &[Duration]| {
                let mut times = times.to_vec();
                times.sort_unstable();
                times[times.len() / 2]
            };
            let (first, last) = (median(&took[..15]), median(&took[took.len() - 15..]));
            assert!(last < first * 4, "{how}, in the base: {in_base}: {first:?}, {last:?}");
        }
    }
}

/// A run is noted even if nobody writes: the maintenance thread does it.
#[test]
fn a_reader_alone_need_not_walk_twice() {
    let dir = temp_dir();
    let options = Options::new().durability(Durability::Os).index("q").index("r");
    let engine: Engine = options.open(dir.path().join("s")).unwrap();
    let all = 0..20_000_u16;
    engine.write(all.clone().map(|n| Op::put(job(n))).collect::<Batch>()).unwrap();
    engine.checkpoint().unwrap();
    engine.write(all.skip(1).map(|n| Op::Delete { id: id(n) }).collect::<Batch>()).unwrap();
    let last = || {
        let begun = Instant::now();
        let snapshot = engine.snapshot();
        let mut all = snapshot.range("q", KeyRange::all(), Direction::Descending).unwrap();
        assert_eq!(all.next().unwrap().unwrap().node.id(), id(0));
        begun.elapsed()
    };
    let first = last();
    // As long as it takes: the test fails by its limit of time.
    let waited = Instant::now();
    while last() * 20 > first {
        assert!(waited.elapsed() < Duration::from_secs(60), "each read walks again");
        std::thread::yield_now();
    }
}

/// Without threads, a report waits for the next commits, and begins no checkpoint.
#[test]
fn a_report_begins_no_checkpoint_in_an_engine_without_threads() {
    let dir = temp_dir();
    let options = Options::new().durability(Durability::Os).index("q").index("r").inline(true);
    let engine = options.open(dir.path().join("s")).unwrap();
    let all = 0..4_000_u16;
    engine.write(all.clone().map(|n| Op::put(job(n))).collect::<Batch>()).unwrap();
    engine.checkpoint().unwrap();
    engine.write(all.skip(1).map(|n| Op::Delete { id: id(n) }).collect::<Batch>()).unwrap();
    let completed = engine.stats().checkpoint.completed;
    for _ in 0..60 {
        let snapshot = engine.snapshot();
        let mut all = snapshot.range("q", KeyRange::all(), Direction::Descending).unwrap();
        assert_eq!(all.next().unwrap().unwrap().node.id(), id(0));
        engine.write(Batch::new().put(job(0))).unwrap();
    }
    assert_eq!(engine.stats().checkpoint.completed, completed);
}
