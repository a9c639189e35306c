//! Nodes that expire: views without them, and an engine that deletes them by
//! itself.
#![cfg(feature = "sim")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ingrain::{
    Batch, Direction, Durability, Edge, Engine, ErrorKind, KeyRange, Method, Metric, Node, NodeId,
    Op, Options, Space, Timestamp,
    format::wal::{File, decode_batch},
    graph::PathOptions,
    os::Fs,
    search::{Effort, Filter, Search},
    sim::{Failure, SimClock, SimDisk},
};

use crate::harness::{
    dirs::temp_dir,
    disks::on_disk,
    faults::{Call, failing_while, within},
    nodes::id,
    waiting::until,
};

const DIR: &str = "/s";
const MINUTE: Duration = Duration::from_secs(60);

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Most of what is closest to the query has expired: a search goes on to those
/// that have not, by codes, by a graph, by a list of an index, and exactly.
#[test]
fn a_search_finds_k_of_the_living() {
    const NODES: u64 = 2_100;
    let disk = SimDisk::new();
    let options = Options::new().index_rows(64).graph_rows(64).delta_vectors(1 << 20);
    let engine = on_disk(&disk, options).open(DIR).unwrap();
    engine.create_index("of").unwrap();
    let spaces = [("codes", Method::Pq8), ("graph", Method::Hnsw), ("exact", Method::Exact)];
    for (name, method) in spaces {
        engine.create_space(name, Space::new(4, Metric::L2)).unwrap();
        engine.set_method(name, method).unwrap();
    }
    // The node n is at the distance n. All but every seventh expire, at 10 or 20.
    let node = |n: u64| {
        let mut node = Node::new(id(n), "note").key("of", [(n % 256) as u8]);
        for (name, _) in spaces {
            node = node.vector(name, [n as f32, 0.0, 0.0, 0.0]);
        }
        if n.is_multiple_of(7) { node } else { node.expires(at(10 + 10 * (n as i64 % 2))) }
    };
    for part in 0..6 {
        let all = part * NODES / 6..(part + 1) * NODES / 6;
        engine.write(all.map(|n| Op::put(node(n))).collect::<Batch>()).unwrap();
        if part < 5 {
            engine.checkpoint().unwrap();
        }
        if part == 3 {
            engine.compact().unwrap();
        }
    }
    let snapshot = engine.snapshot();
    for now in [5, 10, 20] {
        let view = snapshot.alive_at(at(now));
        let alive = |n: &u64| match n % 7 {
            0 => true,
            _ => 10 + 10 * (*n as i64 % 2) > now,
        };
        for (name, _) in spaces {
            for effort in [Effort::Normal, Effort::Thorough, Effort::Exact] {
                for from in [0.0_f32, 1_000.0, 2_000.0] {
                    let query = [from, 0.0, 0.0, 0.0];
                    let mut near: Vec<u64> = (0..NODES).filter(alive).collect();
                    near.sort_by_key(|n| (*n as i64 - from as i64).abs());
                    let search = Search::new(name, &query, 10).effort(effort);
                    let hits = view.search(&search).unwrap();
                    assert_eq!(hits.len(), 10);
                    let last = (near[9] as f64 - f64::from(from)).abs();
                    assert!(hits.iter().all(|hit| hit.distance <= last), "{name} {effort:?} {now}");
                    assert!(hits.iter().all(|hit| hit.node.expires().is_none_or(|e| e > at(now))));
                }
            }
            let filter = Filter::new().index("of", vec![3_u8]..vec![4_u8]);
            let hits = view.nearest(name, &[0.0; 4], 10, &filter).unwrap();
            assert_eq!(
                hits.len(),
                (0..NODES).filter(|n| n % 256 == 3).filter(alive).count().min(10)
            );
        }
        // A node that has expired is not there to search by.
        let like = view.search(&Search::like("codes", id(1), 3));
        assert_eq!(like.is_err(), now >= 20);
    }
}

/// More have expired than a view keeps: each node is looked up.
#[test]
fn a_view_of_very_many_expired_hides_them_all() {
    const NODES: u64 = 66_000;
    let disk = SimDisk::new();
    let engine = on_disk(&disk, Options::new()).open(DIR).unwrap();
    let hub = NodeId::MIN;
    engine.write(Batch::new().put(Node::new(hub, "hub"))).unwrap();
    let link = |n: u64| Op::Link { edge: Edge::new(hub, "has", id(n)) };
    for part in 0..2 {
        let all = || part * NODES / 2..(part + 1) * NODES / 2;
        let put = |n: u64| {
            let node = Node::new(id(n), "note");
            Op::put(if n.is_multiple_of(1_000) { node } else { node.expires(at(n as i64)) })
        };
        engine.write(all().map(put).collect::<Batch>()).unwrap();
        engine.write(all().map(link).collect::<Batch>()).unwrap();
        if part == 0 {
            engine.checkpoint().unwrap();
        }
    }
    let snapshot = engine.snapshot();
    for (now, left) in [(0, NODES), (1_000, NODES - 999), (NODES as i64, 66)] {
        let view = snapshot.alive_at(at(now));
        assert_eq!(view.edges_out(hub).count() as u64, left);
        assert_eq!(view.edges_out(hub).rev().count() as u64, left);
        assert_eq!(view.scan("note").count() as u64, left);
        assert_eq!(view.edges_in(id(5)).count(), usize::from(now < 5));
        assert_eq!(view.contains(id(5)).unwrap(), now < 5);
        assert_eq!(view.edge(hub, "has", id(5), 0).unwrap().is_some(), now < 5);
        assert_eq!(view.node_count() as u64, NODES + 1, "all nodes");
    }
}

/// What a view skips at the end of a read is not behind its cursor.
#[test]
fn cursors_and_owned_reads_of_a_view_leave_out_only_what_is_hidden() {
    let disk = SimDisk::new();
    let engine = on_disk(&disk, Options::new()).open(DIR).unwrap();
    engine.create_index("of").unwrap();
    let hub = NodeId::MIN;
    let mut batch = Batch::new();
    batch.put(Node::new(hub, "hub"));
    let mut ids: Vec<NodeId> = (0..200).map(id).collect();
    ids.sort_unstable();
    for (n, id) in ids.iter().enumerate() {
        let node = Node::new(*id, "note").key("of", [n as u8]);
        batch.put(if n % 2 == 0 { node } else { node.expires(at(10)) });
        batch.link(Edge::new(hub, "has", *id));
    }
    engine.write(batch).unwrap();
    let snapshot = engine.snapshot();
    let view = snapshot.alive_at(at(10));
    // The last one is hidden: a view from before it expired shows it.
    let before = snapshot.alive_at(at(9));
    let mut nodes = view.scan("note");
    assert_eq!(nodes.by_ref().count(), 100);
    assert_eq!(before.scan("note").after(&nodes.cursor().unwrap()).unwrap().count(), 1);
    let mut edges = view.edges_out(hub);
    assert_eq!(edges.by_ref().count(), 100);
    assert_eq!(before.edges_out(hub).after(&edges.cursor().unwrap()).unwrap().count(), 1);
    let range = |of: &ingrain::Snapshot, d| of.range("of", KeyRange::all(), d).unwrap().count();
    for direction in [Direction::Ascending, Direction::Descending] {
        assert_eq!((range(&view, direction), range(&before, direction)), (100, 200));
    }
    let mut entries = view.range("of", .., Direction::Ascending).unwrap();
    assert_eq!(entries.by_ref().count(), 100);
    let rest = before.range("of", .., Direction::Ascending).unwrap();
    assert_eq!(rest.after(&entries.cursor().unwrap()).unwrap().count(), 1);
    let page = view.scan_all().after(&view.scan_all().cursor().unwrap_or_else(|| {
        let mut all = view.scan_all();
        all.nth(49).unwrap().unwrap();
        all.cursor().unwrap()
    }));
    assert_eq!(page.unwrap().count(), 51);
    assert_eq!(view.scan_owned("note").count(), 100);
    assert_eq!(view.edges_out_owned(hub).count(), 100);
    assert_eq!(view.range_owned("of", .., Direction::Descending).unwrap().count(), 100);
    // Of a hidden node nothing is shown, not even to itself.
    engine.write(Batch::new().expire(hub, Some(at(5)))).unwrap();
    let view = engine.snapshot().alive_at(at(5));
    assert_eq!((view.edges_out(hub).count(), view.edges_in(ids[0]).count()), (0, 0));
    assert!(view.shortest_path(hub, hub, &PathOptions::default()).unwrap().is_none());
    // A view of a view has its own time.
    assert_eq!(view.alive_at(at(4)).edges_out(hub).count(), 200);
}

/// A disk whose engine prunes every minute, and its clock.
fn pruning(disk: &SimDisk, clock: &SimClock) -> Engine {
    let options = Options::new().prune_every(MINUTE).durability(Durability::Os);
    on_disk(disk, options).clock(Arc::new(clock.clone())).open(DIR).unwrap()
}

fn expiring(n: u64, second: i64) -> Node {
    Node::new(id(n), "note").expires(at(second * 1_000_000))
}

#[test]
fn an_engine_without_threads_prunes_with_a_write_when_it_is_due() {
    let (disk, clock) = (SimDisk::new(), SimClock::default());
    let engine = pruning(&disk, &clock);
    // The first look comes with the first write, which is not seen by it.
    engine
        .write(Batch::new().put(expiring(1, 30)).put(expiring(2, 90)).put(expiring(3, 0)))
        .unwrap();
    let touch = || engine.write(Batch::new().put(Node::new(id(100), "other"))).unwrap();
    clock.advance(MINUTE - Duration::from_micros(1));
    touch();
    assert_eq!(engine.snapshot().node_count(), 4);
    clock.advance(Duration::from_micros(1));
    let before = engine.snapshot().seq();
    assert_eq!(touch().get(), before.get() + 2, "a commit of its own");
    assert_eq!(engine.snapshot().node_count(), 2);
    let stats = engine.stats().prune;
    assert_eq!((stats.nodes, stats.batches, stats.last), (2, 1, Some(at(60_000_000))));
    assert_eq!((stats.failed, stats.last_failure), (0, None));
    // Not again within the minute, whatever the wall clock says.
    clock.set(at(1_000_000_000));
    touch();
    assert_eq!(engine.snapshot().node_count(), 2);
    clock.advance(MINUTE);
    touch();
    assert_eq!(engine.snapshot().node_count(), 1);
    // More than a batch is deleted with as many writes, at once.
    for part in 1..4 {
        let put = |n| Op::put(expiring(n, 0));
        let all = part * 1_000..(part + 1) * 1_000;
        engine.write(all.map(put).collect::<Batch>()).unwrap();
    }
    clock.advance(MINUTE);
    let mut counts = Vec::new();
    for _ in 0..4 {
        touch();
        counts.push(engine.snapshot().node_count());
    }
    assert_eq!(counts, [3_001 - 1_024, 3_001 - 2_048, 1, 1]);
    assert_eq!(engine.stats().prune.nodes, 3_003);
    let digest = engine.snapshot().digest().unwrap();
    // The log has ordinary operations, which are replayed.
    let logged = disk.list(Path::new("/s/wal")).unwrap().into_iter().flat_map(|name| {
        let bytes = disk.map(&Path::new("/s/wal").join(name)).unwrap();
        let file = File::decode(&bytes).unwrap();
        let ops = file.frames().flat_map(|(_, frame)| decode_batch(frame.payload).unwrap().ops);
        ops.collect::<Vec<_>>()
    });
    assert_eq!(logged.filter(|op| matches!(op, Op::Prune { .. })).count(), 3_003);
    drop(engine);
    let engine = on_disk(&disk, Options::new()).open(DIR).unwrap();
    assert_eq!(engine.snapshot().digest().unwrap(), digest);
}

/// With threads, nobody has to write. Closing does not wait for the interval.
#[test]
fn an_engine_with_threads_prunes_by_itself_and_closes_at_once() {
    let dir = temp_dir();
    let options = || Options::new().durability(Durability::Os);
    let engine =
        options().prune_every(Duration::from_millis(1)).open(dir.path().join("s")).unwrap();
    let now = Timestamp::now();
    let node = |n: u64| {
        let node = Node::new(id(n), "note");
        if n.is_multiple_of(10) { node } else { node.expires(now) }
    };
    engine.write((0..5_000).map(|n| Op::put(node(n))).collect::<Batch>()).unwrap();
    until("it prunes", || engine.snapshot().node_count() == 500);
    until("it counts", || engine.stats().prune.nodes == 4_500);
    let stats = engine.stats().prune;
    assert!(stats.batches >= 5 && stats.last.is_some() && stats.failed == 0, "{stats:?}");
    engine.close().unwrap();
    drop(engine);
    // An hour: the first look is at opening, and closing ends the wait.
    let engine = options().prune_every(MINUTE * 60).open(dir.path().join("s")).unwrap();
    engine.write(Batch::new().put(node(1))).unwrap();
    let begun = Instant::now();
    engine.close().unwrap();
    assert!(begun.elapsed() < MINUTE);
    drop(engine);
    let engine = options().prune_every(MINUTE * 60).open(dir.path().join("s")).unwrap();
    until("it looks when it is opened", || engine.snapshot().node_count() == 500);
}

#[test]
fn an_engine_that_takes_no_writes_does_not_go_on_pruning() {
    let (disk, clock) = (SimDisk::new(), SimClock::default());
    let engine = pruning(&disk, &clock);
    engine.write(Batch::new().put(expiring(1, 0))).unwrap();
    clock.advance(MINUTE);
    // Its own commit is the one that fails.
    disk.fail(1, None, Failure::Io, true);
    let touch = || engine.write(Batch::new().put(Node::new(id(100), "other")));
    assert_eq!(touch().unwrap_err().kind(), ErrorKind::Poisoned);
    let stats = engine.stats().prune;
    assert_eq!((stats.nodes, stats.failed), (0, 1));
    assert!(stats.last_failure.is_some());
    for _ in 0..3 {
        clock.advance(MINUTE);
        assert_eq!(touch().unwrap_err().kind(), ErrorKind::Poisoned);
    }
    assert_eq!(engine.stats().prune.failed, 1, "it was not tried again");
    disk.heal();
    drop(engine);
    let engine = pruning(&disk, &clock);
    engine.write(Batch::new().put(Node::new(id(100), "other"))).unwrap();
    assert_eq!(engine.snapshot().node_count(), 1, "the first write after opening prunes");
}

/// A full delta: nothing is deleted until there is room, and no try follows at once.
#[test]
fn an_engine_that_has_no_room_prunes_later() {
    for inline in [true, false] {
        let dir = temp_dir();
        let broken = Arc::new(AtomicBool::new(true));
        let fs = failing_while(&broken, |call, path| call == Call::Create && within(path, "data"));
        let clock = SimClock::default();
        let options = Options::new().durability(Durability::Os).delta_bytes(512 << 10);
        let options = options.patience(Duration::ZERO).inline(inline).fs(fs);
        let options = options.prune_every(MINUTE).clock(Arc::new(clock.clone()));
        let engine = options.open(dir.path().join("s")).unwrap();
        let put = |n| engine.write(Batch::new().put(expiring(n, 10).content([7; 1_000])));
        let written = (0..2_000).find(|n| put(*n).is_err()).unwrap();
        let kept = |n: u64| engine.snapshot().node_count() as u64 == n;
        assert!(kept(written));
        if inline {
            for tries in 1..4 {
                clock.advance(MINUTE);
                for _ in 0..3 {
                    assert_eq!(put(3_000).unwrap_err().kind(), ErrorKind::Backpressure);
                }
                let stats = engine.stats().prune;
                assert_eq!((stats.nodes, stats.failed), (0, tries));
                assert!(stats.last_failure.is_some() && kept(written));
            }
        }
        broken.store(false, Ordering::SeqCst);
        engine.checkpoint().unwrap();
        clock.advance(MINUTE);
        // A request of any sort makes the thread look at the clock.
        engine.create_space("any", Space::new(1, Metric::L2)).unwrap();
        engine.set_method("any", Method::Exact).unwrap();
        // The statistics follow the commit that a snapshot shows.
        until("it prunes", || engine.stats().prune.nodes == written);
        assert!(kept(0) && engine.stats().prune.last_failure.is_none());
        engine.close().unwrap();
    }
}

/// One block of the base is damaged: what it does not hold is deleted.
#[test]
fn what_is_damaged_does_not_keep_the_rest_from_being_pruned() {
    let (disk, clock) = (SimDisk::new(), SimClock::default());
    let engine = pruning(&disk, &clock);
    let nodes = (0..600).map(|n| Op::put(expiring(n, 10).content([n as u8; 256])));
    engine.write(nodes.collect::<Batch>()).unwrap();
    engine.checkpoint().unwrap();
    engine.close().unwrap();
    drop(engine);
    let names = disk.list(Path::new("/s/data")).unwrap();
    let heap = names.iter().find(|name| name.to_str().unwrap().ends_with(".heap")).unwrap();
    let heap = Path::new("/s/data").join(heap);
    let mut bytes = disk.map(&heap).unwrap().to_vec();
    bytes[100_000] ^= 4;
    disk.remove(&heap).unwrap();
    disk.create_new(&heap).unwrap().write_at(0, &bytes).unwrap();

    let engine = pruning(&disk, &clock);
    let touch = || engine.write(Batch::new().put(Node::new(id(1_000), "other"))).unwrap();
    touch();
    clock.advance(MINUTE);
    touch();
    let left = engine.snapshot().node_count() - 1;
    assert!((1..30).contains(&left), "{left} nodes are left");
    let stats = engine.stats().prune;
    assert_eq!(stats.nodes, 600 - left as u64);
    assert!(stats.last_failure.is_some_and(|why| why.contains(".heap")));
    // They are tried again, but not at once.
    touch();
    assert_eq!(engine.stats().prune.failed, stats.failed);
    clock.advance(MINUTE);
    touch();
    assert!(engine.stats().prune.failed > stats.failed);
}

#[test]
fn an_interval_out_of_bounds_is_refused() {
    let disk = SimDisk::new();
    for interval in [Duration::ZERO, Duration::from_micros(999), MINUTE * 60 * 24 * 367] {
        let refused = on_disk(&disk, Options::new()).prune_every(interval).open(DIR);
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("prune_every"), "{error}");
    }
}
