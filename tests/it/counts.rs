//! Counts by kind, degrees, scans of edges and heaviest edges: over many partitions,
//! and over layers and base, compared with plain maps.

use std::{collections::BTreeSet, sync::Arc};

use ingrain::{
    Batch, Edge, Engine, ErrorKind, Named, Node, NodeId, Op, Options, Timestamp, limits,
};

use crate::harness::{
    clocks::TestClock,
    dirs::temp_dir,
    in_partitions_of, in_small_pieces,
    nodes::{id, one},
    oracle::{Oracle, batch},
    random::Random,
};

const NODES: u64 = 24;
const KINDS: &[&str] = &["a", "b", "c", "d"];

/// The nodes of the random steps, the largest id among them.
fn any(random: &mut Random) -> NodeId {
    id_or_last(random.below(NODES))
}

fn id_or_last(n: u64) -> NodeId {
    if n == 2 { NodeId::MAX } else { id(n) }
}

fn any_kind(random: &mut Random) -> String {
    KINDS[random.below(KINDS.len() as u64) as usize].to_owned()
}

/// Most edges leave the first node, or reach the second.
fn any_edge(random: &mut Random) -> Edge {
    let (mut source, mut target) = (any(random), any(random));
    match random.below(3) {
        0 => source = id(0),
        1 => target = id(1),
        _ => {}
    }
    let weight = [0.0, -0.0, 0.5, -1.5, 2.0][random.below(5) as usize];
    let edge = Edge::new(source, any_kind(random), target).weight(weight);
    edge.discriminator([0, 1, 7, u64::MAX][random.below(4) as usize])
}

fn any_op(random: &mut Random, oracle: &Oracle) -> Op {
    match random.below(16) {
        0 => Op::Delete { id: any(random) },
        1 => {
            let expires = Timestamp::from_micros(random.below(100) as i64);
            Op::put(Node::new(any(random), any_kind(random)).expires(expires))
        }
        2 | 3 => Op::put(Node::new(any(random), any_kind(random))),
        4..=7 => {
            let edge = any_edge(random);
            Op::Unlink {
                source: edge.source,
                kind: edge.kind,
                target: edge.target,
                discriminator: edge.discriminator,
            }
        }
        _ => {
            let edge = any_edge(random);
            match oracle.node(edge.source).and(oracle.node(edge.target)) {
                Some(_) => Op::Link { edge },
                None => Op::put(Node::new(edge.source, edge.kind)),
            }
        }
    }
}

/// Two kinds get each other's name, or one gets a name that is free.
fn any_rename(random: &mut Random, engine: &Engine, oracle: &Oracle) -> Vec<Op> {
    let rename = |from: &str, to: &str| Op::Rename {
        what: Named::Kind,
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let (a, b) = (any_kind(random), any_kind(random));
    let snapshot = engine.snapshot();
    let known: BTreeSet<&str> = snapshot.kinds().collect();
    if a == b || !oracle.has_kind(&a) {
        return vec![Op::Delete { id: NodeId::MIN }];
    }
    if known.contains(&*b) {
        vec![rename(&a, "between"), rename(&b, &a), rename("between", &b)]
    } else {
        vec![rename(&a, &b)]
    }
}

#[test]
fn counts_degrees_and_scans_of_edges_agree_with_plain_maps() {
    let ids: Vec<NodeId> = (0..NODES).map(id_or_last).collect();
    for seed in 0..12 {
        let dir = temp_dir();
        let path = dir.path().join("s");
        // In partitions of a few rows; with a checkpoint in steps for every other one.
        let options = || {
            let options = in_small_pieces(in_partitions_of(400, Options::new()));
            if seed % 2 == 0 { options.inline(true).wal_bytes(4 << 10) } else { options }
        };
        let clock = TestClock::default();
        let options = || options().clock(Arc::new(clock.clone()));
        let mut engine = options().open(&path).unwrap();
        let (mut random, mut oracle) = (Random(seed), Oracle::default());
        let mut held = Vec::new();
        for step in 0..60 {
            let now = Timestamp::from_micros(step);
            clock.set(step);
            let ops = match random.below(12) {
                0 => any_rename(&mut random, &engine, &oracle),
                _ => (0..=random.below(40)).fold(Vec::new(), |mut ops, _| {
                    // As the oracle would be after the operations so far.
                    let mut then = oracle.clone();
                    then.write(now, &ops).unwrap();
                    ops.push(any_op(&mut random, &then));
                    ops
                }),
            };
            engine.write(batch(&ops, false)).unwrap();
            oracle.write(now, &ops).unwrap();
            match random.below(8) {
                0 | 1 => drop(engine.checkpoint().unwrap()),
                2 => drop(engine.compact().unwrap()),
                3 => {
                    drop(engine);
                    engine = options().open(&path).unwrap();
                }
                4 => {
                    engine.close().unwrap();
                    engine = options().open(&path).unwrap();
                }
                _ => {}
            }
            let snapshot = engine.snapshot();
            oracle.check_graph(&snapshot, &ids);
            oracle.check_graph_alive_at(&snapshot, &ids, Timestamp::from_micros(50));
            if step % 20 == 0 {
                held.push((snapshot, oracle.clone()));
            }
        }
        held.iter().for_each(|(snapshot, oracle)| oracle.check_graph(snapshot, &ids));
        assert!(engine.verify().unwrap().is_sound());
    }
}

/// A few edges of a kind among thousands of others, at one source and at many: before
/// them, behind them and between them.
#[test]
fn edges_of_a_rare_kind_are_found_among_many_others() {
    let dir = temp_dir();
    let options = in_partitions_of(4096, Options::new()).clock(Arc::new(TestClock::default()));
    let engine = options.open(dir.path().join("s")).unwrap();
    let ids: Vec<NodeId> = (0..400).map(id).collect();
    let mut oracle = Oracle::default();
    let mut write = |ops: &[Op]| {
        engine.write(batch(ops, false)).unwrap();
        oracle.write(Timestamp::from_micros(0), ops).unwrap();
    };
    let link = |kind: &str, (source, target)| Op::link(Edge::new(source, kind, target));
    // The numbers of the kinds have the order of their first use.
    let mut kinds: Vec<Op> = ids.iter().map(|id| Op::put(Node::new(*id, "node"))).collect();
    let between = |a: usize, b: usize| (ids[a], ids[b]);
    kinds.extend(["first", "many", "middle", "more", "last"].map(|k| link(k, between(0, 0))));
    write(&kinds);
    for half in 0..2 {
        let mut ops = Vec::new();
        for n in (half..400).step_by(2) {
            for (at, kind) in ["many", "more"].into_iter().enumerate() {
                ops.push(link(kind, between(7, n)));
                ops.extend((0..3).map(|m| link(kind, between(n, m + at))));
            }
        }
        let kind = ["middle", "last"][half];
        ops.extend([7, 8, 200, 399].map(|n| link(kind, between(n, 3))));
        ops.extend([7, 100].map(|n| link("first", between(n, half))));
        write(&ops);
        if half == 0 {
            engine.checkpoint().unwrap();
        }
    }
    let last = *ids.iter().max().unwrap();
    write(&[link("last", (last, last)), link("first", (last, last))]);
    oracle.check_graph(&engine.snapshot(), &[ids[7], last]);
    engine.checkpoint().unwrap();
    oracle.check_graph(&engine.snapshot(), &[ids[7], last]);
}

#[test]
fn one_of_several_parallel_edges_is_unlinked() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let edge = |number| Edge::new(id(1), "e", id(2)).discriminator(number);
    let left = || -> Vec<u64> {
        let snapshot = engine.snapshot();
        let edges = snapshot.edges_between(id(1), "e", id(2));
        edges.map(|edge| edge.unwrap().discriminator()).collect()
    };
    let mut batch = Batch::new();
    batch.link_ensuring(edge(0), "n");
    for number in [1, 2, u64::MAX] {
        batch.link(edge(number));
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    engine.write(one(|b| b.unlink_one(id(1), "e", id(2), 1))).unwrap();
    assert_eq!(left(), [0, 2, u64::MAX]);
    // Nothing, where there is no such edge.
    engine.write(one(|b| b.unlink_one(id(1), "e", id(2), 1).unlink(id(2), "e", id(1)))).unwrap();
    assert_eq!(left(), [0, 2, u64::MAX]);
    engine.write(one(|b| b.unlink(id(1), "e", id(2)))).unwrap();
    assert_eq!(left(), [2, u64::MAX]);
    let done = engine.transact(|tx| {
        let first = tx.edges_out(id(1), Some("e"))?.next().transpose()?;
        let number = first.map(|edge| edge.discriminator()).unwrap();
        tx.unlink_one(id(1), "e", id(2), number);
        assert_eq!(tx.edge_count().unwrap_err().kind(), ErrorKind::Invalid, "it may have changed");
        Ok(number)
    });
    assert_eq!((done.unwrap().value, left()), (2, vec![u64::MAX]));
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.degree_out(id(1), None).unwrap(), snapshot.edge_count()), (1, 1));
}

#[test]
fn too_many_heaviest_edges_are_refused() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    engine.write(one(|b| b.link_ensuring(Edge::new(id(1), "e", id(2)), "n"))).unwrap();
    let snapshot = engine.snapshot();
    for (k, refused) in [(limits::HEAVIEST_K, false), (limits::HEAVIEST_K + 1, true)] {
        for answer in [snapshot.edges_out(id(1)).heaviest(k), snapshot.edges().heaviest(k)] {
            match answer {
                Ok(edges) => assert!(!refused && edges.len() == 1),
                Err(error) => assert!(refused && error.kind() == ErrorKind::Limit),
            }
        }
    }
}
