//! Kinds and vector spaces that nothing uses any more: they leave the manifest,
//! and what is read stays right meanwhile.
#![cfg(feature = "sim")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use ingrain::{
    Batch, Cursor, Edge, Engine, ErrorKind, Metric, Node, NodeId, Op, Options, Snapshot, Space,
    format::manifest::Manifest,
    limits,
    os::Fs,
    sim::{Failure, Loss, Points, SimDisk, explore},
};
use proptest::{collection::vec, prelude::*};

use crate::harness::{disks::on_disk, nodes::id};

const DIR: &str = "/s";

fn options(disk: &SimDisk) -> Options {
    // With every few writes a checkpoint begins, and goes on with the next ones.
    let options = Options::new().wal_bytes(4 << 10).write_chunk_bytes(8 << 10);
    on_disk(disk, options.tiny_partition_bytes(128))
}

fn open(disk: &SimDisk) -> Engine {
    options(disk).open(DIR).unwrap()
}

fn read_manifest(disk: &SimDisk) -> (Manifest, usize) {
    let bytes = disk.map(Path::new("/s/MANIFEST")).unwrap();
    (Manifest::decode(&bytes).unwrap(), bytes.len())
}

#[test]
fn what_is_gone_costs_nothing_in_the_manifest() {
    const KINDS: u64 = 3_000;
    let disk = SimDisk::new();
    let engine = open(&disk);
    engine.write(Batch::new().put(Node::new(id(u64::MAX), "stays"))).unwrap();
    engine.checkpoint().unwrap();
    let (_, empty) = read_manifest(&disk);
    let kind = |n: u64| format!("session {n:020} of an agent in a project with a long name");
    for round in 0..3 {
        let from = round * KINDS;
        let all = || from..from + KINDS;
        let mut batch = Batch::new();
        for n in all() {
            batch.put(Node::new(id(n), kind(n)));
            batch.link(Edge::new(id(n), format!("edge {}", kind(n)), id(from)));
            batch.push(Op::CreateSpace { name: format!("{n}"), space: Space::new(1, Metric::L2) });
            batch.push(Op::DropSpace { name: format!("{n}") });
        }
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        let held = engine.snapshot();
        assert_eq!(held.kind_count() as u64, 2 * KINDS + 1);
        let (manifest, full) = read_manifest(&disk);
        assert_eq!(manifest.kinds.len() as u64, 2 * KINDS + 1);
        assert!(full as u64 > empty as u64 + 2 * KINDS * 60);
        let mut batch = Batch::new();
        for n in all() {
            batch.delete(id(n));
        }
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        let (manifest, after) = read_manifest(&disk);
        assert_eq!((manifest.kinds, manifest.spaces), (vec!["stays".to_owned()], vec![]));
        assert!(after < empty + 40, "{after} bytes, {empty} without what is gone");
        assert_eq!(engine.snapshot().kinds().collect::<Vec<_>>(), ["stays"]);
        // Who holds a snapshot reads on.
        assert_eq!(held.get(id(from)).unwrap().unwrap().kind(), kind(from));
        assert_eq!(held.scan(&kind(from + 1)).count(), 1);
        assert_eq!(held.edges_in(id(from)).count() as u64, KINDS);
    }
    engine.close().unwrap();
    drop(engine);
    let engine = open(&disk);
    assert_eq!(engine.snapshot().kind_count(), 1);
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn the_limit_of_spaces_counts_those_that_are_there() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let space = Space::new(2, Metric::L2);
    let create = |n: usize| Op::CreateSpace { name: format!("{n}"), space };
    let drop_space = |n: usize| Op::DropSpace { name: format!("{n}") };
    // More than the limit, one after the other and many at once.
    for from in [0, 1_000, 2_000] {
        engine.write((from..from + 1_000).map(create).collect::<Batch>()).unwrap();
        let vector = Node::new(id(1), "n").vector(format!("{from}"), [1.0, 2.0]);
        engine.write(Batch::new().put(vector)).unwrap();
        engine.write((from..from + 1_000).map(drop_space).collect::<Batch>()).unwrap();
    }
    let both = (0..2_000).flat_map(|n| [create(n), drop_space(n)]);
    engine.write(both.collect::<Batch>()).unwrap();
    assert_eq!(engine.snapshot().spaces().count(), 0);
    engine.write((0..limits::SPACES).map(create).collect::<Batch>()).unwrap();
    let full = |engine: &Engine| {
        assert_eq!(engine.snapshot().spaces().count(), limits::SPACES);
        let error = engine.create_space("one more", space).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
        let swapped = Batch::from_iter([drop_space(5), create(5_000), drop_space(5_000)]);
        engine.write(swapped).unwrap();
        engine.write(Batch::from(create(5))).unwrap();
    };
    full(&engine);
    engine.checkpoint().unwrap();
    full(&engine);
    drop(engine);
    full(&open(&disk));
}

/// A cursor in a kind that has left the store goes on with the kinds after it, and
/// with what came since.
#[test]
fn a_cursor_of_a_kind_that_is_gone_leaves_out_nothing() {
    let disk = SimDisk::new();
    let engine = open(&disk);
    let kinds = ["a", "b", "c"];
    let link = |kind: &str| Op::Link { edge: Edge::new(id(0), kind, id(0)) };
    let mut batch: Batch = (0..3).map(|n| Op::put(Node::new(id(n), kinds[n as usize]))).collect();
    for kind in kinds {
        batch.push(link(kind));
    }
    engine.write(batch).unwrap();
    let (edges, nodes) = {
        let snapshot = engine.snapshot();
        let (mut edges, mut nodes) = (snapshot.edges_out(id(0)), snapshot.scan_all());
        assert_eq!(edges.next().unwrap().unwrap().kind(), "a");
        assert_eq!(nodes.next().unwrap().unwrap().kind(), "a");
        (edges.cursor().unwrap(), nodes.cursor().unwrap())
    };
    let rest = |engine: &Engine| {
        let snapshot = engine.snapshot();
        let of_edges = snapshot.edges_out(id(0)).after(&edges).unwrap();
        let of_nodes = snapshot.scan_all().after(&nodes).unwrap();
        let of_edges: Vec<_> = of_edges.map(|edge| edge.unwrap().kind().to_owned()).collect();
        assert!(of_nodes.map(|node| node.unwrap().kind().to_owned()).eq(of_edges.iter().cloned()));
        of_edges
    };
    assert_eq!(rest(&engine), ["b", "c"]);
    let (source, target, kind) = (id(0), id(0), "a".to_owned());
    let unlink = Op::Unlink { source, kind, target, discriminator: 0 };
    engine.write(Batch::from_iter([unlink, Op::put(Node::new(id(0), "b"))])).unwrap();
    engine.checkpoint().unwrap();
    assert_eq!(engine.snapshot().kinds().collect::<Vec<_>>(), ["b", "c"]);
    engine.write(Batch::from_iter([Op::put(Node::new(id(1), "b"))])).unwrap();
    let snapshot = engine.snapshot();
    let left: Vec<_> = snapshot.edges_out(id(0)).after(&edges).unwrap().collect();
    assert_eq!(left.len(), 2);
    assert_eq!(snapshot.scan_all().after(&nodes).unwrap().count(), 3);
    // It comes back, as the last.
    engine.write(Batch::from_iter([Op::put(Node::new(id(3), "a")), link("a")])).unwrap();
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        let edges = snapshot.edges_out(id(0)).after(&edges).unwrap();
        let edges: Vec<_> = edges.map(|edge| edge.unwrap().kind().to_owned()).collect();
        assert_eq!(edges, ["b", "c", "a"]);
        assert_eq!(snapshot.scan_all().after(&nodes).unwrap().count(), 4);
    };
    check(&engine);
    drop(engine);
    check(&open(&disk));
}

const IDS: u8 = 5;
const KINDS: u8 = 7;
const SPACES: u8 = 3;

/// What a store has.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    /// Kind, and the number in each space.
    nodes: BTreeMap<u8, (u8, BTreeMap<u8, u8>)>,
    edges: BTreeSet<(u8, u8, u8)>,
    /// Dimension.
    spaces: BTreeMap<u8, u8>,
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8, Option<(u8, u8)>),
    Touch(u8),
    Delete(u8),
    Link(u8, u8, u8),
    Unlink(u8, u8, u8),
    CreateSpace(u8, u8),
    DropSpace(u8),
    Checkpoint,
    Compact,
    FailingCheckpoint(u8),
    Reopen,
    Crash(bool),
    Hold,
    Release,
    /// Reads two more edges of what a cursor goes through.
    Page,
}

fn any_step() -> impl Strategy<Value = Step> {
    let (id, kind, space) = (0..IDS, 0..KINDS, 0..SPACES);
    let vector = prop::option::weighted(0.5, (space.clone(), any::<u8>()));
    prop_oneof![
        12 => (id.clone(), kind.clone(), vector).prop_map(|(id, kind, v)| Step::Put(id, kind, v)),
        4 => id.clone().prop_map(Step::Touch),
        5 => id.clone().prop_map(Step::Delete),
        8 => (id.clone(), kind.clone(), id.clone()).prop_map(|(a, k, b)| Step::Link(a, k, b)),
        6 => (id.clone(), kind, id).prop_map(|(a, k, b)| Step::Unlink(a, k, b)),
        3 => (space.clone(), 1..3_u8).prop_map(|(space, by)| Step::CreateSpace(space, by)),
        2 => space.prop_map(Step::DropSpace),
        3 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        2 => (1..40_u8).prop_map(Step::FailingCheckpoint),
        1 => Just(Step::Reopen),
        1 => any::<bool>().prop_map(Step::Crash),
        2 => Just(Step::Hold),
        1 => Just(Step::Release),
        3 => Just(Step::Page),
    ]
}

fn kind(n: u8) -> String {
    format!("kind {n}")
}

fn space_name(n: u8) -> String {
    format!("space {n}")
}

fn node_id(n: u8) -> NodeId {
    id(n.into())
}

impl Model {
    /// The operation of a step, if it changes something and is allowed.
    fn apply(&mut self, step: &Step) -> Option<Op> {
        Some(match *step {
            Step::Put(id, of, vector) => {
                let vector = vector.filter(|(space, _)| self.spaces.contains_key(space));
                self.nodes.insert(id, (of, vector.into_iter().collect()));
                let mut node = Node::new(node_id(id), kind(of)).content([id; 700]);
                if let Some((space, x)) = vector {
                    let dimension = usize::from(self.spaces[&space]);
                    node = node.vector(space_name(space), vec![f32::from(x); dimension]);
                }
                Op::put(node)
            }
            Step::Touch(id) => {
                self.nodes.get(&id)?;
                Op::Touch { id: node_id(id), count: 1 }
            }
            Step::Delete(id) => {
                self.nodes.remove(&id)?;
                self.edges.retain(|(from, _, to)| *from != id && *to != id);
                Op::Delete { id: node_id(id) }
            }
            Step::Link(from, of, to) => {
                self.nodes.get(&from).and(self.nodes.get(&to))?;
                self.edges.insert((from, of, to));
                Op::Link { edge: Edge::new(node_id(from), kind(of), node_id(to)) }
            }
            Step::Unlink(from, of, to) => {
                self.edges.remove(&(from, of, to));
                let (source, target) = (node_id(from), node_id(to));
                Op::Unlink { source, kind: kind(of), target, discriminator: 0 }
            }
            Step::CreateSpace(n, dimension) => {
                if self.spaces.contains_key(&n) {
                    return None;
                }
                self.spaces.insert(n, dimension);
                let space = Space::new(dimension.into(), Metric::L2);
                Op::CreateSpace { name: space_name(n), space }
            }
            Step::DropSpace(n) => {
                self.spaces.remove(&n)?;
                self.nodes.values_mut().for_each(|(_, vectors)| vectors.retain(|of, _| *of != n));
                Op::DropSpace { name: space_name(n) }
            }
            _ => return None,
        })
    }

    fn rows(&self) -> BTreeMap<String, u64> {
        let mut rows = BTreeMap::new();
        let kinds = self.nodes.values().map(|(of, _)| *of);
        kinds.chain(self.edges.iter().map(|(_, of, _)| *of)).for_each(|of| {
            *rows.entry(kind(of)).or_default() += 1;
        });
        rows
    }

    fn check(&self, snapshot: &Snapshot) {
        let numbers: BTreeMap<NodeId, u8> = (0..IDS).map(|n| (node_id(n), n)).collect();
        let kinds: Vec<&str> = snapshot.kinds().collect();
        assert_eq!(kinds.iter().collect::<BTreeSet<_>>().len(), kinds.len());
        assert_eq!(kinds.len(), snapshot.kind_count());
        assert!(self.rows().keys().all(|kind| kinds.contains(&&**kind)), "{kinds:?}");
        let mut found = Self::default();
        for node in snapshot.scan_all() {
            let node = node.unwrap();
            let n = numbers[&node.id()];
            let of = (0..KINDS).find(|of| kind(*of) == node.kind()).unwrap();
            let vectors = self.spaces.iter().filter_map(|(space, dimension)| {
                let vector = node.vector(&space_name(*space)).unwrap()?;
                assert_eq!(vector.len(), usize::from(*dimension));
                Some((*space, vector[0] as u8))
            });
            assert!(found.nodes.insert(n, (of, vectors.collect())).is_none());
            for edge in snapshot.edges_out(node.id()) {
                let edge = edge.unwrap();
                let of = (0..KINDS).find(|of| kind(*of) == edge.kind()).unwrap();
                assert!(found.edges.insert((n, of, numbers[&edge.target()])));
            }
            assert_eq!(
                snapshot.edges_in(node.id()).map(Result::unwrap).count(),
                self.edges.iter().filter(|(_, _, to)| *to == n).count()
            );
        }
        for (name, space) in snapshot.spaces() {
            let n = (0..SPACES).find(|n| space_name(*n) == name).unwrap();
            found.spaces.insert(n, space.dimension as u8);
        }
        assert_eq!(found, *self);
        for of in 0..KINDS {
            let nodes = snapshot.scan(&kind(of)).map(|node| node.unwrap().id());
            let expected = self.nodes.iter().filter(|(_, (kind, _))| *kind == of);
            let mut expected: Vec<NodeId> = expected.map(|(n, _)| node_id(*n)).collect();
            expected.sort_unstable();
            assert!(nodes.eq(expected));
            let edges = (0..IDS).map(|n| snapshot.edges_out(node_id(n)).kind(&kind(of)).count());
            let expected = self.edges.iter().filter(|(_, kind, _)| *kind == of);
            assert_eq!(edges.sum::<usize>(), expected.count());
        }
    }

    /// After a checkpoint of everything, only what is there is named.
    fn check_manifest(&self, disk: &SimDisk, snapshot: &Snapshot) {
        let (manifest, _) = read_manifest(disk);
        let rows = manifest.rows_by_kind().unwrap();
        let rows: BTreeMap<String, u64> = rows
            .iter()
            .map(|(number, rows)| (manifest.kind(*number).unwrap().to_owned(), *rows))
            .collect();
        assert_eq!(rows, self.rows());
        assert!(
            snapshot.kinds().map(str::to_owned).collect::<BTreeSet<_>>().iter().eq(rows.keys())
        );
        let spaces: BTreeSet<&str> = manifest.spaces.iter().map(|space| &*space.name).collect();
        assert_eq!(
            spaces,
            self.spaces
                .keys()
                .map(|n| space_name(*n))
                .collect::<Vec<_>>()
                .iter()
                .map(|name| &**name)
                .collect()
        );
        assert!(manifest.files().count() < 60);
    }
}

/// Pages through the edges of a node.
#[derive(Default)]
struct Reading {
    cursor: Option<Vec<u8>>,
    listed: BTreeSet<(u8, u8, u8)>,
    /// The edges that were there all the time.
    stable: BTreeSet<(u8, u8, u8)>,
}

impl Reading {
    fn begin(model: &Model) -> Self {
        let stable = model.edges.iter().filter(|(from, ..)| *from == 0).copied().collect();
        Self { stable, ..Self::default() }
    }

    fn page(&mut self, snapshot: &Snapshot, model: &Model) {
        let mut edges = snapshot.edges_out(node_id(0));
        if let Some(cursor) = &self.cursor {
            edges = edges.after(&Cursor::from_bytes(cursor).unwrap()).unwrap();
        }
        let mut read = 0;
        for edge in edges.by_ref().take(2) {
            let edge = edge.unwrap();
            let of = (0..KINDS).find(|of| kind(*of) == edge.kind()).unwrap();
            let to = (0..IDS).find(|to| node_id(*to) == edge.target()).unwrap();
            self.listed.insert((0, of, to));
            read += 1;
        }
        if read == 2 {
            self.cursor = edges.cursor().map(|cursor| cursor.to_bytes());
            return;
        }
        let missed: Vec<_> = self.stable.difference(&self.listed).collect();
        assert!(missed.is_empty(), "left out: {missed:?}");
        *self = Self::begin(model);
    }
}

fn run(steps: &[Step]) {
    let mut disk = SimDisk::new();
    let mut engine = open(&disk);
    let mut model = Model::default();
    let mut held: Vec<(Snapshot, Model)> = Vec::new();
    let mut reading = Reading::default();
    for step in steps {
        match step {
            Step::Checkpoint | Step::Compact => {
                if matches!(step, Step::Compact) {
                    engine.compact().unwrap();
                } else {
                    engine.checkpoint().unwrap();
                }
                model.check_manifest(&disk, &engine.snapshot());
            }
            Step::FailingCheckpoint(at) => {
                disk.fail((*at).into(), None, Failure::Io, false);
                let _ = engine.checkpoint();
                disk.heal();
                if engine.write(Batch::new()).is_err() {
                    drop(engine);
                    engine = open(&disk);
                }
            }
            Step::Reopen => {
                engine.close().unwrap();
                drop(engine);
                engine = open(&disk);
            }
            Step::Crash(lose) => {
                let loss = if *lose { Loss::All } else { Loss::Nothing };
                disk = disk.crash(loss, 1);
                held.clear();
                engine = open(&disk);
            }
            Step::Hold => held.push((engine.snapshot(), model.clone())),
            Step::Release => drop(held.pop()),
            Step::Page => reading.page(&engine.snapshot(), &model),
            change => {
                if let Some(op) = model.apply(change) {
                    engine.write(Batch::from(op)).unwrap();
                    reading.stable.retain(|edge| model.edges.contains(edge));
                }
            }
        }
        model.check(&engine.snapshot());
    }
    held.iter().for_each(|(snapshot, model)| model.check(snapshot));
    let damage = engine.verify().unwrap().damage;
    assert!(damage.is_empty(), "{damage:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Names come and go, across checkpoints that succeed and fail, openings,
    /// crashes and held snapshots.
    #[test]
    fn names_that_come_and_go_agree_with_plain_maps(steps in vec(any_step(), 1..90)) {
        run(&steps);
    }
}

/// Names that leave with a checkpoint and come back during it and after it.
#[test]
fn a_crash_while_names_leave_loses_nothing() {
    let put = |n: u64, kind: &str| Op::put(Node::new(id(n), kind));
    let link = |kind: &str| Op::Link { edge: Edge::new(id(0), kind, id(1)) };
    let unlink = |kind: &str| Op::Unlink {
        source: id(0),
        kind: kind.into(),
        target: id(1),
        discriminator: 0,
    };
    let space = Op::CreateSpace { name: "v".into(), space: Space::new(1, Metric::L2) };
    let ops: Vec<Vec<Op>> = vec![
        vec![put(0, "a"), put(1, "b"), put(2, "c"), link("d"), space.clone()],
        vec![],
        vec![
            Op::Delete { id: id(2) },
            unlink("d"),
            put(1, "a"),
            Op::DropSpace { name: "v".into() },
        ],
        vec![],
        vec![put(3, "c"), link("e"), link("d"), space],
        vec![unlink("e")],
        vec![],
        vec![put(4, "b"), link("e")],
    ];
    let digests = std::cell::RefCell::new(BTreeMap::new());
    let note = |engine: &Engine| {
        let snapshot = engine.snapshot();
        digests.borrow_mut().insert(snapshot.seq().get(), snapshot.digest().unwrap());
    };
    let workload = |disk: &SimDisk| {
        let engine = open(disk);
        note(&engine);
        for ops in &ops {
            if ops.is_empty() {
                engine.checkpoint().unwrap();
            } else {
                engine.write(ops.iter().cloned().collect::<Batch>()).unwrap();
                note(&engine);
                disk.mark(engine.snapshot().seq().get());
            }
        }
    };
    let explored = explore(Points::Boundaries, 1, workload, |crash| {
        let engine = options(&crash.disk).open(DIR).map_err(|error| error.to_string())?;
        let (seq, digest) = (engine.snapshot().seq().get(), engine.snapshot().digest().unwrap());
        if crash.marks.last().is_some_and(|mark| seq < *mark) {
            return Err(format!("{seq} is before {:?}", crash.marks));
        }
        if digests.borrow().get(&seq).is_some_and(|of| *of != digest) {
            return Err(format!("another state as of {seq}"));
        }
        let more = Batch::from_iter([put(0, "d"), put(1, "c"), link("b"), link("f")]);
        engine.write(more).map_err(|error| error.to_string())?;
        engine.checkpoint().map_err(|error| error.to_string())?;
        let damage = engine.verify().unwrap().damage;
        if damage.is_empty() { Ok(()) } else { Err(format!("{damage:?}")) }
    });
    let explored = explored.unwrap_or_else(|found| panic!("{found}"));
    assert!(explored.crashes > 200, "{explored:?}");
}
