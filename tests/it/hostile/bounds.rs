//! Large amounts of data, and the limits.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use ingrain::{
    Batch, Direction, Durability, Edge, Engine, Error, ErrorKind, KeyRange, Node, NodeId, Op,
    Options, Seq, graph::PathOptions, limits,
};

use crate::harness::{
    dirs::temp_dir,
    files::read_image,
    nodes::{id, put},
};

#[test]
fn a_hundred_thousand_kinds_cost_about_what_one_kind_does() {
    const KINDS: u64 = 100_000;
    let dir = temp_dir();
    let path = dir.path().join("s");
    let kind = |n: u64| format!("kind {n}");
    // The same work with as many kinds as nodes, and with one.
    let load = |path: &Path, kind: &dyn Fn(u64) -> String| {
        let engine = Options::new().durability(Durability::Os).open(path).unwrap();
        for from in (0..KINDS).step_by(10_000) {
            let mut batch = Batch::new();
            for n in from..from + 10_000 {
                batch.put(Node::new(id(n), kind(n)));
            }
            engine.write(batch).unwrap();
        }
        let check = |engine: &Engine| {
            let snapshot = engine.snapshot();
            for n in [0, 1, 4_999, 77_777, KINDS - 1] {
                assert!(snapshot.scan(&kind(n)).next().is_some());
                assert_eq!(snapshot.get(id(n)).unwrap().unwrap().kind(), kind(n));
            }
            assert_eq!(snapshot.scan("none").count(), 0);
            assert!(snapshot.scan_all().count() as u64 >= KINDS);
        };
        check(&engine);
        engine.checkpoint().unwrap();
        check(&engine);
        // A node more, and a node that changes its kind.
        let mut batch = Batch::new();
        batch.put(Node::new(id(KINDS), kind(0))).put(Node::new(id(5), kind(6)));
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        engine.close().unwrap();
        drop(engine);
        let engine = Options::new().open(path).unwrap();
        check(&engine);
        engine
    };
    let start = Instant::now();
    load(&dir.path().join("one"), &|_| "node".into());
    let one = start.elapsed();
    let start = Instant::now();
    let engine = load(&path, &kind);
    let many = start.elapsed();
    println!("{KINDS} nodes of one kind: {one:?}; of as many kinds: {many:?}");
    let snapshot = engine.snapshot();
    let left = (0..KINDS).filter(|n| *n != 5).map(kind);
    assert!(snapshot.kinds().eq(left), "in order, without the one that no node has");
    assert_eq!(snapshot.kind_count() as u64, KINDS - 1);
    let of = |n| snapshot.scan(&kind(n)).map(|node| node.unwrap().id()).collect::<Vec<_>>();
    assert_eq!((of(5), of(99)), (vec![], vec![id(99)]));
    let mut both = [id(6), id(5)];
    both.sort_unstable();
    assert_eq!(of(6), both);
    // Nothing is quadratic: that would be a hundred times as much and more.
    assert!(many < one * 20 + Duration::from_secs(2), "{many:?}, with one kind {one:?}");
}

#[test]
fn a_content_may_have_no_bytes_and_the_most_and_not_one_more() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Options::new().durability(Durability::Os).open(&path).unwrap();
    let most: Vec<u8> = (0..limits::CONTENT_BYTES).map(|at| (at % 251) as u8).collect();
    engine.write(put(0, "")).unwrap();
    engine.write(put(1, most.clone())).unwrap();
    let before = read_image(&path);
    let error = engine.write(put(2, vec![0; limits::CONTENT_BYTES + 1])).unwrap_err();
    let (limit, value) = (limits::CONTENT_BYTES as u64, limits::CONTENT_BYTES as u64 + 1);
    assert!(matches!(error, Error::Limit { value: v, limit: l, .. } if (v, l) == (value, limit)));
    assert!(error.with_causes().to_string().contains("bytes of content"), "{error}");
    let mut patch = Batch::new();
    patch.patch(id(0), ingrain::Patch::new().content(vec![0; limits::CONTENT_BYTES + 1]));
    assert_eq!(engine.write(patch).unwrap_err().kind(), ErrorKind::Limit);
    assert!(read_image(&path) == before);
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.get(id(0)).unwrap().unwrap().content(), b"");
        assert!(snapshot.get(id(1)).unwrap().unwrap().content() == most);
        assert_eq!((snapshot.node_count(), snapshot.seq()), (2, Seq::new(2)));
    };
    check(&engine);
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    check(&engine);
    engine.checkpoint().unwrap();
    check(&engine);
    engine.close().unwrap();
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    check(&engine);
    assert!(engine.verify().unwrap().is_sound());
}

#[test]
fn a_batch_at_a_limit_is_taken_and_one_past_it_is_refused() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let options = || Options::new().durability(Durability::Os).write_log_bytes(1 << 30);
    let engine = options().open(&path).unwrap();
    let refused = |batch: Batch, value: usize, limit: usize| {
        let before = (read_image(&path), engine.snapshot().seq());
        let error = engine.write(batch).unwrap_err();
        let expected = (value as u64, limit as u64);
        assert!(
            matches!(error, Error::Limit { value, limit, .. } if (value, limit) == expected),
            "{error}"
        );
        assert!((read_image(&path), engine.snapshot().seq()) == before);
    };
    // By its bytes: the error says by how much it is too large.
    let batch = |last: usize| {
        let mut batch = Batch::new();
        for n in 0..3 {
            batch.put(Node::new(id(n), "node").content(vec![n as u8; limits::CONTENT_BYTES]));
        }
        batch.put(Node::new(id(3), "node").content(vec![3; last]));
        batch
    };
    let error = engine.write(batch(limits::CONTENT_BYTES)).unwrap_err();
    let Error::Limit { value, limit, .. } = error else { panic!("{error}") };
    assert_eq!(limit, limits::BATCH_BYTES as u64);
    let last = limits::CONTENT_BYTES - (value - limit) as usize;
    refused(batch(last + 1), limits::BATCH_BYTES + 1, limits::BATCH_BYTES);
    assert_eq!(engine.write(batch(last)).unwrap(), Seq::new(1));
    // By its operations.
    let batch = |ops: usize| {
        let mut batch = Batch::new();
        for n in 0..ops as u64 {
            batch.push(Op::Delete {
                id: NodeId::from_bytes([n.to_le_bytes(); 2].concat().try_into().unwrap()),
            });
        }
        batch
    };
    refused(batch(limits::BATCH_OPS + 1), limits::BATCH_OPS + 1, limits::BATCH_OPS);
    assert_eq!(engine.write(batch(limits::BATCH_OPS)).unwrap(), Seq::new(2));
    drop(engine);
    let engine = options().open(&path).unwrap();
    assert_eq!(engine.snapshot().seq(), Seq::new(2));
    for n in 0..3 {
        assert_eq!(
            engine.snapshot().get(id(n)).unwrap().unwrap().content().len(),
            limits::CONTENT_BYTES
        );
    }
    assert_eq!(engine.snapshot().get(id(3)).unwrap().unwrap().content().len(), last);
}

#[test]
fn a_node_may_be_linked_to_itself() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    let mut batch = Batch::new();
    batch.put(Node::new(id(1), "node")).put(Node::new(id(2), "node"));
    batch.link(Edge::new(id(1), "self", id(1)).attribute("n", 1_i64));
    batch.link(Edge::new(id(1), "self", id(1)).discriminator(7).weight(0.5));
    batch.link(Edge::new(id(1), "to", id(2)));
    engine.write(batch).unwrap();
    let check = |engine: &Engine| {
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.edge_count(), 3);
        let ends = |edges: ingrain::Edges<'_>| -> Vec<(NodeId, NodeId, u64)> {
            let edges = edges.map(Result::unwrap);
            edges.map(|edge| (edge.source(), edge.target(), edge.discriminator())).collect()
        };
        let loops = [(id(1), id(1), 0), (id(1), id(1), 7)];
        assert_eq!(ends(snapshot.edges_out(id(1)).kind("self")), loops);
        assert_eq!(ends(snapshot.edges_in(id(1))), loops);
        assert_eq!(ends(snapshot.edges_out(id(1))).len(), 3);
        let inbound = snapshot.edges_in(id(1)).next().unwrap().unwrap();
        assert_eq!(inbound.attributes().unwrap()["n"], ingrain::Value::Int(1));
        let path = |from, to| snapshot.shortest_path(from, to, &PathOptions::default()).unwrap();
        assert_eq!(path(id(1), id(1)).unwrap().steps.len(), 0);
        assert_eq!(path(id(1), id(2)).unwrap().steps.len(), 1);
    };
    check(&engine);
    engine.checkpoint().unwrap();
    check(&engine);
    assert!(engine.verify().unwrap().is_sound());
    drop(engine);
    let engine = Engine::open(&path).unwrap();
    check(&engine);
    let mut batch = Batch::new();
    batch.unlink(id(1), "self", id(1));
    engine.write(batch).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.edges_in(id(1)).count(), snapshot.edge_count()), (1, 2));
    let mut batch = Batch::new();
    batch.delete(id(1));
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.node_count(), snapshot.edge_count()), (1, 0));
    assert_eq!(snapshot.edges_in(id(2)).count() + snapshot.edges_in(id(1)).count(), 0);
    assert!(engine.verify().unwrap().is_sound());
}

/// A hundred thousand edges, a million with `INGRAIN_TORTURE`.
#[test]
fn a_node_with_very_many_edges_is_read_in_order_and_deleted_at_once() {
    let edges: u64 =
        if std::env::var_os("INGRAIN_TORTURE").is_some() { 1_000_000 } else { 100_000 };
    let dir = temp_dir();
    let path = dir.path().join("s");
    let hub = id(u64::MAX);
    let others = edges / 100;
    for checkpointed in [false, true] {
        let _ = fs::remove_dir_all(&path);
        let start = Instant::now();
        let engine = Options::new().durability(Durability::Os).open(&path).unwrap();
        let mut batch = Batch::new();
        batch.put(Node::new(hub, "hub"));
        for n in 0..others {
            batch.put(Node::new(id(n), "node"));
        }
        engine.write(batch).unwrap();
        // Half leave it, half reach it.
        for from in (0..edges).step_by(10_000) {
            let mut batch = Batch::new();
            for n in from..from + 10_000 {
                let (other, parallel) = (id(n / 2 % others), n / 2 / others);
                let ends = if n % 2 == 0 { (hub, other) } else { (other, hub) };
                batch.link(Edge::new(ends.0, "edge", ends.1).discriminator(parallel));
            }
            engine.write(batch).unwrap();
        }
        if checkpointed {
            engine.checkpoint().unwrap();
        }
        let loaded = start.elapsed();
        let start = Instant::now();
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.edge_count() as u64, edges);
        for out in [true, false] {
            let of = || if out { snapshot.edges_out(hub) } else { snapshot.edges_in(hub) };
            // In pages, each from where the last one ended.
            let (mut cursor, mut seen, mut last) = (None, 0, None);
            loop {
                let mut page = match &cursor {
                    Some(cursor) => of().after(cursor).unwrap(),
                    None => of(),
                };
                for edge in page.by_ref().take(997).map(Result::unwrap) {
                    let other = if out { edge.target() } else { edge.source() };
                    let at = Some((other, edge.discriminator()));
                    assert!(last < at, "in order, each once");
                    (last, seen) = (at, seen + 1);
                }
                let next = page.cursor();
                if next.is_none() || seen == edges / 2 {
                    break;
                }
                cursor = next;
            }
            assert_eq!(seen, edges / 2);
        }
        let read = start.elapsed();
        let start = Instant::now();
        let log = engine.stats().write.wal_bytes;
        let mut batch = Batch::new();
        batch.delete(hub);
        // A batch is bounded by what it says, not by what follows from it.
        engine.write(batch).unwrap();
        let deleted = start.elapsed();
        // Zeros ahead, and a new file at most.
        assert!(engine.stats().write.wal_bytes <= log + (2 << 20), "it says little");
        let now = engine.snapshot();
        assert_eq!((now.edge_count(), now.node_count() as u64), (0, others));
        assert_eq!(now.edges_in(id(0)).count() + now.edges_out(id(0)).count(), 0);
        assert_eq!(snapshot.edges_out(hub).take(10).count(), 10, "as it was");
        let digest = now.digest().unwrap();
        drop((snapshot, now));
        drop(engine);
        let start = Instant::now();
        let engine = Engine::open(&path).unwrap();
        let reopened = start.elapsed();
        let now = engine.snapshot();
        assert_eq!(now.digest().unwrap(), digest);
        drop(now);
        engine.checkpoint().unwrap();
        assert_eq!(engine.snapshot().digest().unwrap(), digest);
        assert!(engine.verify().unwrap().is_sound());
        println!(
            "{edges} edges, in the base: {checkpointed}: loaded in {loaded:?}, read in {read:?}, \
             deleted in {deleted:?}, opened in {reopened:?}"
        );
    }
}

#[test]
fn keys_that_begin_with_each_other_are_kept_apart() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let open = || Options::new().index("i").index("ii").open(&path).unwrap();
    let engine = open();
    let mut keys: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        vec![0, 0],
        vec![0, 0, 0],
        vec![0, 0xff],
        vec![1],
        b"a".to_vec(),
        b"a\0".to_vec(),
        b"a\0b".to_vec(),
        b"ab".to_vec(),
        vec![0xff],
        vec![0xff; 2],
        vec![0xff; limits::KEY_BYTES - 1],
        vec![0xff; limits::KEY_BYTES],
        vec![0; limits::KEY_BYTES],
    ];
    // Two nodes for each key, and each key in an index whose name begins with
    // that of the other; every second one in the base.
    for (n, key) in (0..).zip(&keys) {
        let mut batch = Batch::new();
        for node in [2 * n, 2 * n + 1] {
            batch.put(Node::new(id(node), "node").key("i", key.clone()).key("ii", key.clone()));
        }
        engine.write(batch).unwrap();
        if n % 2 == 0 {
            engine.checkpoint().unwrap();
        }
    }
    let nodes = |n: u64| {
        let mut nodes = [id(2 * n), id(2 * n + 1)];
        nodes.sort_unstable();
        nodes
    };
    let mut expected: Vec<(Vec<u8>, NodeId)> =
        (0..).zip(&keys).flat_map(|(n, key)| nodes(n).map(|node| (key.clone(), node))).collect();
    expected.sort_unstable();
    keys.sort_unstable();
    let check = |engine: &Engine, expected: &[(Vec<u8>, NodeId)]| {
        let snapshot = engine.snapshot();
        for index in ["i", "ii"] {
            let read = |range: KeyRange| -> Vec<(Vec<u8>, NodeId)> {
                let entries = snapshot.range(index, range, Direction::Ascending).unwrap();
                entries.map(Result::unwrap).map(|e| (e.key.to_vec(), e.node.id())).collect()
            };
            let those = |test: &dyn Fn(&[u8]) -> bool| -> Vec<(Vec<u8>, NodeId)> {
                expected.iter().filter(|(key, _)| test(key)).cloned().collect()
            };
            assert_eq!(read(KeyRange::all()), expected);
            for key in &keys {
                let exactly = KeyRange::from(key.clone()..=key.clone());
                assert_eq!(read(exactly), those(&|other| other == *key), "{key:?}");
                let prefix = KeyRange::prefix(key);
                assert_eq!(read(prefix), those(&|other| other.starts_with(key)), "{key:?}");
                let after = KeyRange::from(key.clone()..);
                assert_eq!(read(after), those(&|other| other >= &**key), "{key:?}");
                let before = KeyRange::from(..key.clone());
                assert_eq!(read(before), those(&|other| other < &**key), "{key:?}");
            }
        }
    };
    check(&engine, &expected);
    engine.compact().unwrap();
    check(&engine, &expected);
    // One of two nodes lets go of its key; the other, and all longer keys, stay.
    let gone = id(0);
    let mut batch = Batch::new();
    batch.put(Node::new(gone, "node"));
    engine.write(batch).unwrap();
    expected.retain(|(_, node)| *node != gone);
    check(&engine, &expected);
    drop(engine);
    let engine = open();
    check(&engine, &expected);
    engine.checkpoint().unwrap();
    check(&engine, &expected);
    assert!(engine.verify().unwrap().is_sound());
    let mut batch = Batch::new();
    batch.put(Node::new(id(99), "node").key("i", vec![0; limits::KEY_BYTES + 1]));
    assert_eq!(engine.write(batch).unwrap_err().kind(), ErrorKind::Limit);
    check(&engine, &expected);
}
