//! A whole engine in one test, without threads.

use super::*;
use crate::{
    id::NodeId,
    model::{Edge, KeyBuilder, Metric, Node, Patch},
    os::sim::SimDisk,
    snapshot::{Direction, Effort, KeyRange, PathOptions, Search},
};

/// All that an engine does, once and small, without a file system below it:
/// also for Miri, which has none.
#[test]
fn a_life_on_a_disk_in_memory() {
    let disk = SimDisk::new();
    let open = || {
        Options::new()
            .fs(Arc::new(disk.clone()))
            .clock(Arc::new(disk.clock()))
            .inline(true)
            // A small table of nodes.
            .delta_bytes(1 << 20)
            // Miri cannot follow the threads that train codes.
            .index_rows(if cfg!(miri) { 1 << 24 } else { 1 })
            .space("v", Space::new(2, Metric::Cosine))
            .index("time")
            .open("/store")
            .unwrap()
    };
    let id = |n: i64| NodeId::of_content(&n.to_le_bytes());
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
