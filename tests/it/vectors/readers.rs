//! Searches during concurrent changes.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use ingrain::{
    Batch, Method, Metric, Node, NodeId, Snapshot, Space,
    search::{Effort, Filter, Search},
};

use crate::harness::{
    dirs::temp_dir,
    nodes::{id, put_all},
    oracle::distance,
    random::{Random, whole_vector},
};

use super::model::{EFFORTS, Found, METHODS, eager, found};

#[test]
fn readers_find_what_their_snapshot_has_while_everything_changes() {
    const IDS: u64 = 900;
    let dir = temp_dir();
    let options = eager().inline(false).delta_vectors(250).wal_bytes(256 << 10);
    let engine = options.open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(6, Metric::L2)).unwrap();
    engine.set_method("v", Method::Hnsw).unwrap();
    let mut random = Random(5);
    let nodes: Vec<Node> =
        (0..IDS).map(|n| Node::new(id(n), "n").vector("v", whole_vector(&mut random, 6))).collect();
    engine.write(put_all(nodes)).unwrap();
    engine.compact().unwrap();
    let writing = AtomicUsize::new(2);
    let searched: usize = thread::scope(|scope| {
        for writer in 0..2_u64 {
            let (engine, writing) = (&engine, &writing);
            scope.spawn(move || {
                let mut random = Random(100 + writer);
                for round in 0..40 {
                    let mut batch = Batch::new();
                    for _ in 0..25 {
                        // Each writer has nodes of its own.
                        let n = id(random.below(IDS / 2) * 2 + writer);
                        if random.below(3) == 0 {
                            batch.delete(n);
                        } else {
                            batch.put(Node::new(n, "n").vector("v", whole_vector(&mut random, 6)));
                        }
                    }
                    engine.write(batch).unwrap();
                    match round % 8 {
                        1 | 5 => {
                            engine.checkpoint().unwrap();
                        }
                        3 if writer == 0 => engine.rebuild(None).unwrap(),
                        7 if writer == 1 => {
                            let method = METHODS[random.below(5) as usize];
                            engine.set_method("v", method).unwrap();
                            engine.set_method("v", Method::Hnsw).unwrap();
                        }
                        7 => {
                            engine.compact().unwrap();
                        }
                        _ => {}
                    }
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        let readers: Vec<_> = (0..3_u64)
            .map(|reader| {
                let (engine, writing) = (&engine, &writing);
                scope.spawn(move || {
                    let mut random = Random(200 + reader);
                    let mut rounds = 0;
                    while rounds < 30 || writing.load(Ordering::SeqCst) > 0 {
                        rounds += 1;
                        search_all_ways(&engine.snapshot(), &mut random);
                    }
                    rounds
                })
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().unwrap()).sum()
    });
    println!("{searched} rounds of searches");
    assert!(engine.verify().unwrap().is_sound());
}

/// Compares hits with what the same snapshot says of the nodes.
#[track_caller]
fn search_all_ways(snapshot: &Snapshot, random: &mut Random) {
    let query = whole_vector(random, 6);
    let mut all: Found = Vec::new();
    for node in snapshot.scan_all() {
        let node = node.unwrap();
        let vector = node.vector("v").unwrap().unwrap();
        all.push((distance(Metric::L2, &query, vector), node.id()));
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let of: BTreeMap<NodeId, f64> = all.iter().map(|(d, id)| (*id, *d)).collect();
    for effort in EFFORTS {
        for odd in [false, true] {
            let test = |id: &NodeId| !odd || id.as_bytes()[0] % 2 == 1;
            let mut search = Search::new("v", &query, 10).effort(effort);
            if odd {
                search = search.filter(Filter::new().test(move |node| test(&node.id())));
            }
            let found = found(&snapshot.search(&search).unwrap());
            let right: Found = all.iter().filter(|(_, id)| test(id)).copied().collect();
            assert_eq!(found.len(), 10.min(right.len()));
            assert!(found.iter().all(|(d, id)| of.get(id) == Some(d) && test(id)), "{found:?}");
            assert!(found.is_sorted_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).is_lt()));
            if effort == Effort::Exact {
                assert_eq!(found, right[..10.min(right.len())]);
            }
        }
    }
}
