//! Graphs: building in the background or on demand, which is done in small
//! units so that it does not delay checkpoints or other callers, and searches
//! that walk graphs.

use std::{path::Path, thread};

use ingrain::{
    Durability, Engine, ErrorKind, Method, Metric, Node, Options, Space,
    search::{CandidateSource, Search},
};

use crate::harness::{
    dirs::temp_dir,
    nodes::{id, put_all},
    random::{Random, noise_vector},
    waiting::until,
};

use super::stored::{Stored, indexed};

const ROWS: u64 = 6_000;

fn open(path: &Path) -> Engine {
    let options = Options::new().durability(Durability::Os).graph_rows(1);
    let engine = options.open(path).unwrap();
    engine.create_space("v", Space::new(96, Metric::L2)).unwrap();
    let mut random = Random(5);
    let nodes = (0..ROWS).map(|n| Node::new(id(n), "n").vector("v", noise_vector(&mut random, 96)));
    engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
    engine.checkpoint().unwrap();
    engine
}

fn has_graph(engine: &Engine) -> bool {
    engine.stats().spaces[0].files.iter().any(|file| file.graph.is_some())
}

/// Checkpoints until the graph is there. One that had to wait for the graph
/// would be the last.
fn checkpoints_until_there_is_a_graph(engine: &Engine) {
    let mut checkpoints = 0;
    while !has_graph(engine) {
        engine.write(put_all([Node::new(id(1 << 40), "n")])).unwrap();
        engine.checkpoint().unwrap();
        checkpoints += 1;
    }
    assert!(checkpoints >= 5, "{checkpoints} checkpoints while the graph was built");
}

#[test]
fn a_checkpoint_does_not_wait_for_a_graph_in_the_background() {
    let dir = temp_dir();
    let engine = open(&dir.path().join("s"));
    engine.set_method("v", Method::Hnsw).unwrap();
    checkpoints_until_there_is_a_graph(&engine);
}

#[test]
fn a_checkpoint_does_not_wait_for_a_rebuild() {
    let dir = temp_dir();
    let engine = open(&dir.path().join("s"));
    engine.set_method("v", Method::Hnsw).unwrap();
    thread::scope(|scope| {
        let rebuilding = scope.spawn(|| engine.rebuild(Some("v")).unwrap());
        checkpoints_until_there_is_a_graph(&engine);
        rebuilding.join().unwrap();
    });
}

#[test]
fn closing_ends_a_rebuild() {
    let dir = temp_dir();
    let engine = open(&dir.path().join("s"));
    engine.set_method("v", Method::Hnsw).unwrap();
    let written = || engine.stats().checkpoint.written_bytes;
    let before = written();
    thread::scope(|scope| {
        let rebuilding = scope.spawn(|| engine.rebuild(Some("v")));
        until("the codes are built, and the graph begun", || written() > before);
        engine.close().unwrap();
        let error = rebuilding.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
    });
}

/// The node itself is found first and is no hit: that makes no walk fail.
#[test]
fn a_search_by_node_walks_the_graph_and_leaves_the_codes_alone() {
    let stored = Stored::new(4_000, 8, 0x2d, 3);
    let dir = temp_dir();
    let path = dir.path().join("s");
    stored.write(&path);
    for like in [false, true] {
        let engine = indexed().open(&path).unwrap();
        let snapshot = engine.snapshot();
        let search = match like {
            true => Search::like("v", id(7), 5),
            false => Search::new("v", &stored.queries[0], 5),
        };
        let hits = snapshot.search(&search.explain(true)).unwrap();
        assert!(
            hits.iter().all(|hit| hit.origin.unwrap().by == CandidateSource::Graph),
            "{hits:?}"
        );
        let file = engine.stats().spaces.remove(0).files.remove(0);
        assert!(file.graph.unwrap().memory > 0);
        assert_eq!(file.codes.unwrap().memory, 0, "like {like}: the codes were asked too");
    }
}
