//! The first steps of a new user.

use ingrain::{
    Batch, Direction, Edge, Engine, ErrorKind, KeyBuilder, KeyRange, Metric, Node, NodeId, Options,
    Seq, Space, graph::PathOptions, search::Filter,
};

#[test]
fn a_space_with_two_definitions_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let two = |b: Space| Options::new().space("v", Space::new(2, Metric::L2)).space("v", b);
    let error = two(Space::new(3, Metric::L2)).open(&path).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("\"v\""), "{error}");
    assert!(!path.exists());
    two(Space::new(2, Metric::L2)).open(&path).unwrap();
}

/// Before the first write there is no load, which is not a bad one.
#[test]
fn a_new_engine_reports_full_health() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    assert_eq!(engine.stats().write.pace.health, 1.0);
    assert_eq!(engine.stats().write.pace.advice, ingrain::admin::Advice::Steady);
}

#[test]
fn what_is_written_is_there_and_there_again() {
    let dir = crate::harness::dirs::temp_dir();
    let path = dir.path().join("store");
    let open = || Options::new().space("v", Space::new(2, Metric::L2)).index("time").open(&path);
    let (a, b) = (NodeId::from_content(b"a"), NodeId::from_content(b"b"));
    let engine = open().unwrap();
    assert_eq!(open().unwrap_err().kind(), ErrorKind::Locked);
    let mut batch = Batch::new();
    batch
        .put(
            Node::new(a, "x")
                .content("A")
                .key("time", KeyBuilder::new().int(1).build())
                .vector("v", [0.0, 1.0]),
        )
        .put(
            Node::new(b, "x")
                .content("B")
                .key("time", KeyBuilder::new().int(2).build())
                .vector("v", [3.0, 4.0]),
        )
        .link(Edge::new(a, "to", b));
    let seq = engine.write(batch).unwrap();
    let check = |engine: &Engine| {
        let s = engine.snapshot();
        assert_eq!(s.seq(), seq);
        assert_eq!(s.get(a).unwrap().unwrap().content(), b"A");
        assert_eq!(s.edges_out(a).count(), 1);
        assert_eq!(s.edges_in(b).map(|e| e.unwrap().source()).collect::<Vec<_>>(), [a]);
        let ids: Vec<NodeId> = s
            .range("time", KeyRange::all(), Direction::Descending)
            .unwrap()
            .map(|e| e.unwrap().node.id())
            .collect();
        assert_eq!(ids, [b, a]);
        let hits = s.nearest("v", &[0.0, 0.0], 1, &Filter::new()).unwrap();
        assert_eq!((hits.len(), hits[0].node.id(), hits[0].distance), (1, a, 1.0));
        assert_eq!(s.shortest_path(a, b, &PathOptions::default()).unwrap().unwrap().steps.len(), 1);
    };
    check(&engine);
    engine.close().unwrap();
    let engine = open().unwrap();
    check(&engine);
    let mut batch = Batch::new();
    batch.delete(a);
    assert_eq!(engine.write(batch).unwrap(), Seq::new(seq.get() + 1));
    assert_eq!(engine.snapshot().edges_in(b).count(), 0);
    assert_eq!(engine.snapshot().node_count(), 1);
}

/// A process that is being started holds copies of all descriptors for a
/// moment, the lock's among them.
#[test]
fn a_closed_store_opens_while_processes_are_started() {
    use std::{
        process::{Command, Stdio},
        sync::atomic::{AtomicBool, Ordering},
    };
    let dir = crate::harness::dirs::temp_dir();
    let path = dir.path().join("store");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let mut command = Command::new("true");
                command.stdout(Stdio::null()).status().unwrap();
            }
        });
        for _ in 0..200 {
            let opened = Engine::open(&path).map(|engine| engine.close());
            if !matches!(opened, Ok(Ok(()))) {
                done.store(true, Ordering::SeqCst);
                panic!("{opened:?}");
            }
        }
        done.store(true, Ordering::SeqCst);
    });
}

/// All that an engine does, once and small, without a file system below it:
/// also for Miri, which has none.
#[cfg(feature = "sim")]
#[test]
fn a_life_on_a_disk_in_memory() {
    use std::sync::Arc;

    use crate::harness::in_small_pieces;
    use ingrain::{
        Patch,
        search::{Effort, Search},
        sim::SimDisk,
    };

    let disk = SimDisk::new();
    let open = || {
        in_small_pieces(Options::new())
            .fs(Arc::new(disk.clone()))
            .clock(Arc::new(disk.clock()))
            .inline(true)
            .index_rows(1)
            .space("v", Space::new(2, Metric::Cosine))
            .index("time")
            .open("/store")
            .unwrap()
    };
    let id = |n: i64| NodeId::from_content(&n.to_le_bytes());
    let engine = open();
    let held = engine.snapshot();
    let mut batch = Batch::new();
    for n in 0..6 {
        let vector = [1.0, n as f32];
        let key = KeyBuilder::new().int(n).build();
        let node = Node::new(id(n), if n % 2 == 0 { "even" } else { "odd" });
        batch.put(node.content(format!("{n}")).key("time", key).vector("v", vector));
    }
    for n in 0..5 {
        batch.link(Edge::new(id(n), "next", id(n + 1)).attribute("n", n));
    }
    engine.write(batch).unwrap();
    engine.checkpoint().unwrap();
    let mut batch = Batch::new();
    batch.patch(id(1), Patch::new().content("one")).delete(id(5)).touch(id(2));
    engine.write(batch).unwrap();
    let check = |engine: &Engine| {
        let s = engine.snapshot();
        assert_eq!((s.node_count(), s.edge_count()), (5, 4));
        assert_eq!(s.get(id(1)).unwrap().unwrap().content(), b"one");
        assert_eq!(s.scan("even").count(), 3);
        let from = KeyRange::from(KeyBuilder::new().int(2).build()..);
        let keys = s.range("time", from, Direction::Ascending);
        assert_eq!(keys.unwrap().count(), 3);
        for effort in [Effort::Fast, Effort::Exact] {
            let found = s.search(&Search::new("v", &[1.0, 3.1], 2).effort(effort)).unwrap();
            let found: Vec<NodeId> = found.iter().map(|hit| hit.node.id()).collect();
            assert_eq!(found, [id(3), id(4)]);
        }
        let path = s.shortest_path(id(0), id(4), &PathOptions::default()).unwrap().unwrap();
        assert_eq!(path.steps.len(), 4);
        assert!(engine.verify().unwrap().is_sound());
        s.digest().unwrap()
    };
    let digest = check(&engine);
    engine.compact().unwrap();
    assert_eq!(check(&engine), digest);
    engine.close().unwrap();
    assert_eq!(check(&open()), digest);
    assert_eq!(held.node_count(), 0);
}
