//! Requirements, upserts, increments, and batches that see their own schema.

use ingrain::{
    Batch, ConflictReason, Direction, Durability, Edge, Engine, Error, ErrorKind, Metric, NodeId,
    Op, Options, Patch, Precondition, Seq, Space, Timestamp, Value,
    format::wal::{File, decode_batch},
};
use proptest::{collection::vec, prelude::*};

use crate::harness::{
    any::any_op,
    dirs::temp_dir,
    nodes::{after, id, node, one},
    oracle::{Oracle, batch, is_logged, options},
};

fn conflict(engine: &Engine, batch: Batch) -> (usize, NodeId, ConflictReason) {
    match engine.write(batch).unwrap_err() {
        Error::Conflict { op, node, reason, .. } => (op, node, reason),
        other => panic!("{other}"),
    }
}

fn attribute(engine: &Engine, n: u64, name: &str) -> Option<Value> {
    let snapshot = engine.snapshot();
    snapshot.get(id(n)).unwrap()?.attributes().unwrap().get(name).cloned()
}

#[test]
fn requirements_are_decided_in_the_order_of_their_batch() {
    use ConflictReason::{Exists, Missing, NoEdge, Version};
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let first = engine.write(one(|b| b.put(node(1)))).unwrap();
    let other = engine.write(one(|b| b.put(node(2)))).unwrap();
    engine.write(one(|b| b.link(Edge::new(id(1), "e", id(2))))).unwrap();
    let before = engine.snapshot().seq();

    let expected = Version { expected: other, found: first };
    let wrong = one(|b| b.put(node(3)).require_version(id(1), other).put(node(4)));
    assert_eq!(conflict(&engine, wrong), (1, id(1), expected));
    let gone = one(|b| b.require_exists(id(9)));
    assert_eq!(conflict(&engine, gone), (0, id(9), Missing));
    let gone = one(|b| b.require_version(id(9), first));
    assert_eq!(conflict(&engine, gone), (0, id(9), Missing));
    let there = one(|b| b.put(node(3)).put(node(4)).require_absent(id(2)));
    assert_eq!(conflict(&engine, there), (2, id(2), Exists));
    let other_way = one(|b| b.require_edge(id(2), "e", id(1)));
    assert_eq!(conflict(&engine, other_way), (0, id(2), NoEdge));
    let unknown = one(|b| b.require_edge(id(1), "f", id(2)));
    assert_eq!(conflict(&engine, unknown), (0, id(1), NoEdge));
    let parallel =
        Op::RequireEdge { source: id(1), kind: "e".to_owned(), target: id(2), discriminator: 1 };
    assert_eq!(conflict(&engine, Batch::from(parallel)), (0, id(1), NoEdge));

    // What earlier operations of the batch did counts.
    let put = one(|b| b.put(node(5)).require_absent(id(5)));
    assert_eq!(conflict(&engine, put), (1, id(5), Exists));
    let deleted = one(|b| b.delete(id(1)).require_exists(id(1)));
    assert_eq!(conflict(&engine, deleted), (1, id(1), Missing));
    let with_node = one(|b| b.delete(id(2)).put(node(2)).require_edge(id(1), "e", id(2)));
    assert_eq!(conflict(&engine, with_node), (2, id(1), NoEdge));
    let unlinked = one(|b| b.unlink(id(1), "e", id(2)).require_edge(id(1), "e", id(2)));
    assert_eq!(conflict(&engine, unlinked), (1, id(1), NoEdge));
    let only = Op::Put { node: node(9), precondition: Precondition::Exists };
    assert_eq!(conflict(&engine, Batch::from(only)), (0, id(9), Missing));
    assert_eq!(engine.snapshot().seq(), before);
    assert_eq!(engine.snapshot().node_count(), 2);

    // Contents stay with their operations.
    let seq = engine
        .write(one(|b| {
            b.require_exists(id(1))
                .put(node(6).content("six"))
                .require_version(id(1), first)
                .require_edge(id(1), "e", id(2))
                .put_or_keep(node(7).content("seven"))
                .delete(id(2))
                .put(node(2).content("two"))
                .link(Edge::new(id(1), "new", id(2)))
                .require_edge(id(1), "new", id(2))
                .patch(id(1), Patch::new().content("one"))
        }))
        .unwrap();
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        for (n, content) in [(1, "one"), (2, "two"), (6, "six"), (7, "seven")] {
            let node = snapshot.get(id(n)).unwrap().unwrap();
            assert_eq!((node.content(), node.version()), (content.as_bytes(), seq));
        }
    };
    check(&engine);
    drop(engine);
    check(&Engine::open(dir.path().join("s")).unwrap());
}

#[test]
fn a_batch_of_requirements_is_checked_and_leaves_no_trace() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let seq = engine.write(one(|b| b.put(node(1)))).unwrap();
    let before = engine.stats().write;
    let mut holds = one(|b| b.require_version(id(1), seq).require_absent(id(2)));
    holds.durability(Durability::Sync);
    assert_eq!(engine.write(holds.clone()).unwrap(), seq);
    assert_eq!(engine.submit(holds).unwrap().wait().unwrap(), seq);
    conflict(&engine, one(|b| b.require_absent(id(1))));
    let now = engine.stats().write;
    assert_eq!((now.wal_bytes, now.batches), (before.wal_bytes, before.batches));
    assert_eq!(now.refused, before.refused + 1);
    assert_eq!(engine.snapshot().seq(), seq);
    // Queued behind a batch, it is checked against what that one makes.
    let put = engine.submit(one(|b| b.put(node(2)))).unwrap();
    let there = engine.submit(one(|b| b.require_exists(id(2)))).unwrap();
    let next = put.wait().unwrap();
    assert_eq!((next, there.wait().unwrap()), (after(seq), after(seq)));
    assert_eq!(engine.write(one(|b| b.put(node(3)))).unwrap(), after(next));
    engine.close().unwrap();
    let closed = engine.write(one(|b| b.require_exists(id(1)))).unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The log has no requirements, and replaying it makes the same state.
    #[test]
    fn a_log_without_its_requirements_replays_to_the_same(batches in vec(vec(any_op(), 1..5), 1..20)) {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let engine = options().open(&path).unwrap();
        let mut oracle = Oracle::after(1);
        let mut committed = 0;
        for ops in &batches {
            let expected = oracle.write(Timestamp::from_micros(0), ops);
            match engine.write(batch(ops, false)) {
                Ok(seq) => assert_eq!((seq.get(), expected.is_ok()), (oracle.seq, true)),
                Err(error) => assert!(expected.clone().unwrap_err().is(&error), "{error}"),
            }
            committed += usize::from(expected == Ok(true));
        }
        let (seq, digest) = (engine.snapshot().seq(), engine.snapshot().digest().unwrap());
        drop(engine);
        let mut logged = 0;
        for file in std::fs::read_dir(path.join("wal")).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for (_, frame) in File::decode(&bytes).unwrap().frames() {
                let batch = decode_batch(frame.payload).unwrap();
                assert!(!batch.ops.is_empty() && batch.ops.iter().all(is_logged));
                logged += 1;
            }
        }
        // The first created the spaces and indexes.
        assert_eq!(logged, committed + 1);
        let engine = options().open(&path).unwrap();
        assert_eq!((engine.snapshot().seq(), engine.snapshot().digest().unwrap()), (seq, digest));
    }
}

#[test]
fn increments_add_what_they_say_or_are_refused() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let mut engine = Engine::open(&path).unwrap();
    engine
        .write(one(|b| b.put(node(1).attribute("text", "x").attribute("most", i64::MAX))))
        .unwrap();
    let seq = engine
        .write(one(|b| {
            b.increment(id(1), "n", 2)
                .increment(id(1), "n", -5)
                .increment(id(1), "x", 0.5)
                .increment(id(1), "x", 1)
                .increment(id(1), "mixed", 1)
                .increment(id(1), "mixed", 0.25)
                .increment(id(1), "most", -1)
        }))
        .unwrap();
    // In the layer, from the log, in the base.
    for step in 0..3 {
        assert_eq!(attribute(&engine, 1, "n"), Some(Value::Int(-3)));
        assert_eq!(attribute(&engine, 1, "x"), Some(Value::Float(1.5)));
        assert_eq!(attribute(&engine, 1, "mixed"), Some(Value::Float(1.25)));
        let snapshot = engine.snapshot();
        let node = snapshot.get(id(1)).unwrap().unwrap();
        assert_eq!(node.version(), seq, "as a patch");
        assert!(node.updated() >= node.created());
        if step == 0 {
            drop(snapshot);
            drop(engine);
            engine = Engine::open(&path).unwrap();
        } else if step == 1 {
            engine.checkpoint().unwrap();
        }
    }
    engine.write(one(|b| b.increment(id(1), "most", 1))).unwrap();
    let before = engine.snapshot().seq();
    for (name, by) in [
        ("most", Value::Int(1)),
        ("text", Value::Int(1)),
        ("n", Value::from("1")),
        ("n", Value::Float(f64::NAN)),
        ("", Value::Int(1)),
    ] {
        let what = format!("{name} {by}");
        let error = engine.write(one(|b| b.increment(id(1), name, by))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
    }
    let error = engine.write(one(|b| b.increment(id(1), "text", 1))).unwrap_err();
    assert!(error.to_string().contains("it is text, no number"), "{error}");
    let large = one(|b| b.increment(id(1), "x", f64::MAX).increment(id(1), "x", f64::MAX));
    assert_eq!(engine.write(large).unwrap_err().kind(), ErrorKind::Invalid);
    let missing = one(|b| b.increment(id(2), "n", 1));
    assert_eq!(conflict(&engine, missing), (0, id(2), ConflictReason::Missing));
    assert_eq!(engine.snapshot().seq(), before);
}

#[test]
fn weights_are_incremented_wherever_the_edge_is() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    let edge = || Edge::new(id(1), "e", id(2)).weight(1.0).attribute("since", 7);
    engine.write(one(|b| b.link_ensuring(edge(), "n"))).unwrap();
    let created = engine.snapshot().edge(id(1), "e", id(2), 0).unwrap().unwrap().created();
    let check = |engine: &Engine, weight: f64| {
        let snapshot = engine.snapshot();
        let edge = snapshot.edge(id(1), "e", id(2), 0).unwrap().unwrap();
        assert_eq!((edge.weight(), edge.created()), (weight, created));
        assert!(edge.updated() >= created);
        assert_eq!(edge.attributes().unwrap()["since"], Value::Int(7));
        let reached = snapshot.edges_in(id(2)).next().unwrap().unwrap();
        assert_eq!(reached.weight(), weight);
        assert_eq!(snapshot.edge_count(), 1);
    };
    engine.write(one(|b| b.increment_weight(id(1), "e", id(2), 0.5))).unwrap();
    check(&engine, 1.5);
    engine.checkpoint().unwrap();
    engine
        .write(one(|b| {
            b.increment_weight(id(1), "e", id(2), 1.0).increment_weight(id(1), "e", id(2), -0.25)
        }))
        .unwrap();
    check(&engine, 2.25);
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    check(&engine, 2.25);
    // Of an edge that the batch itself linked.
    engine.write(one(|b| b.link(edge()).increment_weight(id(1), "e", id(2), 1.0))).unwrap();
    check(&engine, 2.0);

    let none = one(|b| b.increment_weight(id(2), "e", id(1), 1.0));
    assert_eq!(conflict(&engine, none), (0, id(2), ConflictReason::NoEdge));
    let gone = one(|b| b.unlink(id(1), "e", id(2)).increment_weight(id(1), "e", id(2), 1.0));
    assert_eq!(conflict(&engine, gone), (1, id(1), ConflictReason::NoEdge));
    let large = one(|b| {
        b.increment_weight(id(1), "e", id(2), f64::MAX).increment_weight(
            id(1),
            "e",
            id(2),
            f64::MAX,
        )
    });
    assert_eq!(engine.write(large).unwrap_err().kind(), ErrorKind::Invalid);
    let nan = one(|b| b.increment_weight(id(1), "e", id(2), f64::NAN));
    assert_eq!(engine.write(nan).unwrap_err().kind(), ErrorKind::Invalid);
    check(&engine, 2.0);
}

#[test]
fn an_upsert_creates_or_leaves_alone() {
    let dir = temp_dir();
    let engine = Options::new().index("i").open(dir.path().join("s")).unwrap();
    let note = |content: &str| node(1).content(content).key("i", [1]);
    let first = engine.write(one(|b| b.put_or_keep(note("first")))).unwrap();
    engine.write(one(|b| b.put_or_keep(note("second")).ensure(id(1), "other"))).unwrap();
    engine.checkpoint().unwrap();
    engine.write(one(|b| b.ensure(id(1), "other").ensure(id(2), "other"))).unwrap();
    let snapshot = engine.snapshot();
    let kept = snapshot.get(id(1)).unwrap().unwrap();
    assert_eq!((kept.kind(), kept.content(), kept.version()), ("n", &b"first"[..], first));
    assert_eq!(snapshot.get(id(2)).unwrap().unwrap().kind(), "other");
    assert_eq!(snapshot.key_count(), 1);
    // Deleted by the same batch, it is created again.
    engine.write(one(|b| b.delete(id(1)).put_or_keep(note("third")))).unwrap();
    assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().content(), b"third");
    // Both ends of an edge.
    engine.write(one(|b| b.link_ensuring(Edge::new(id(2), "e", id(3)), "end"))).unwrap();
    let snapshot = engine.snapshot();
    let kinds = [2, 3].map(|n| snapshot.get(id(n)).unwrap().unwrap().kind());
    assert_eq!(kinds, ["other", "end"]);
    assert_eq!(snapshot.edge_count(), 1);
    assert_eq!(engine.write(one(|b| b.ensure(id(9), ""))).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_batch_sees_its_own_spaces_and_indexes() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    let create = |b: &mut Batch, dimension| {
        b.push(Op::CreateSpace { name: "v".to_owned(), space: Space::new(dimension, Metric::L2) });
    };
    let drop_space = |b: &mut Batch| {
        b.push(Op::DropSpace { name: "v".to_owned() });
    };
    let mut batch = Batch::new();
    create(&mut batch, 2);
    batch.push(Op::CreateIndex { name: "i".to_owned(), index: None });
    batch.put(node(1).vector("v", [1.0, 2.0]).key("i", [1]));
    batch.patch(id(1), Patch::new().keys("i", [[2_u8]]));
    engine.write(batch).unwrap();
    // Another dimension under the same name.
    let mut batch = Batch::new();
    batch.put(node(2).vector("v", [3.0, 4.0]));
    drop_space(&mut batch);
    create(&mut batch, 3);
    batch.put(node(3).vector("v", [1.0, 2.0, 3.0]));
    let seq = engine.write(batch).unwrap();
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.seq(), seq);
        let vector = |n| snapshot.get(id(n)).unwrap().unwrap().vector("v").unwrap();
        assert_eq!((vector(1), vector(2)), (None, None));
        assert_eq!(vector(3), Some(&[1.0, 2.0, 3.0][..]));
        assert_eq!(snapshot.vector_count(), 1);
        assert_eq!(snapshot.range("i", .., Direction::Ascending).unwrap().count(), 1);
        assert!(engine.verify().unwrap().is_sound());
    };
    check(&engine);
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    check(&engine);
    engine.checkpoint().unwrap();
    check(&engine);
    // What the batch has dropped or not yet created is not there.
    let mut batch = Batch::new();
    drop_space(&mut batch);
    batch.put(node(4).vector("v", [1.0, 2.0, 3.0]));
    assert_eq!(engine.write(batch).unwrap_err().kind(), ErrorKind::Invalid);
    let mut batch = Batch::new();
    batch.put(node(4).key("late", [1]));
    batch.push(Op::CreateIndex { name: "late".to_owned(), index: None });
    assert_eq!(engine.write(batch).unwrap_err().kind(), ErrorKind::Invalid);
    let mut batch = Batch::new();
    create(&mut batch, 3);
    batch.put(node(4).vector("v", [1.0]));
    assert_eq!(engine.write(batch).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(engine.snapshot().seq(), Seq::new(2));
}
