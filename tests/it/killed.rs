//! A process that writes with real threads is killed with SIGKILL repeatedly,
//! on one store.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use ingrain::{Batch, Durability, Edge, Engine, Node, Options};

use crate::harness::{dirs::temp_dir, nodes::id_of_writer};

const WRITERS: u64 = 4;
const CYCLES: u64 = 50;
/// Tells this test binary that it is the child.
const STORE: &str = "INGRAIN_KILLED_STORE";

fn open(path: &Path) -> Engine {
    Options::new().wal_file_bytes(256 << 10).open(path).unwrap()
}

/// The first number of a writer that is not in the store.
fn next(engine: &Engine, writer: u64) -> u64 {
    let snapshot = engine.snapshot();
    (0..).find(|n| !snapshot.contains(id_of_writer(writer, *n)).unwrap()).unwrap()
}

/// Not a test by itself: the process that is killed.
#[test]
fn child_that_is_killed() {
    let Some(path) = std::env::var_os(STORE) else { return };
    let engine = open(Path::new(&path));
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let engine = &engine;
            scope.spawn(move || {
                for n in next(engine, writer).. {
                    let mut batch = Batch::new();
                    batch.put(Node::new(id_of_writer(writer, n), "n").content(vec![n as u8; 300]));
                    if n > 0 {
                        batch.link(Edge::new(
                            id_of_writer(writer, n),
                            "after",
                            id_of_writer(writer, n - 1),
                        ));
                    }
                    batch.durability(if n % 2 == 0 { Durability::Sync } else { Durability::Os });
                    if n % 5 == 0 {
                        engine.submit(batch).unwrap().wait().unwrap();
                    } else {
                        engine.write(batch).unwrap();
                    }
                    // One write: lines of several threads do not mix.
                    std::io::stdout()
                        .write_all(format!("\nack {writer} {n}\n").as_bytes())
                        .unwrap();
                }
            });
        }
    });
}

#[test]
fn a_process_killed_fifty_times_loses_nothing() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let mut acknowledged = [None::<u64>; WRITERS as usize];
    for cycle in 0..CYCLES {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child_that_is_killed", "--nocapture", "--test-threads=1"])
            .env(STORE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // After so many acknowledgements, a number that wanders; in the first
        // cycles at once, in the middle of creation and recovery.
        let enough = if cycle < 5 { 0 } else { cycle * 7_919 % 97 };
        let mut seen = 0;
        if enough == 0 {
            child.kill().unwrap();
        }
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some(ack) = line.strip_prefix("ack ") else { continue };
            // The kill may have cut the last line short.
            let Some((writer, n)) = ack.split_once(' ') else { continue };
            let (Ok(writer), Ok(n)) = (writer.parse::<usize>(), n.parse::<u64>()) else { continue };
            acknowledged[writer] = acknowledged[writer].max(Some(n));
            seen += 1;
            if seen == enough {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();

        let engine = open(&path);
        let snapshot = engine.snapshot();
        let mut nodes = 0;
        for writer in 0..WRITERS {
            let count = next(&engine, writer);
            if let Some(last) = acknowledged[writer as usize] {
                assert!(
                    count > last,
                    "cycle {cycle}: writer {writer} was told {last}, {count} are there"
                );
            }
            for n in 0..count {
                let node = snapshot.get(id_of_writer(writer, n)).unwrap().unwrap();
                assert_eq!(node.content(), [n as u8; 300]);
                assert_eq!(
                    snapshot.edges_out(id_of_writer(writer, n)).count() as u64,
                    n.min(1),
                    "whole"
                );
            }
            nodes += count;
        }
        assert_eq!(snapshot.node_count() as u64, nodes);
        assert_eq!(snapshot.seq().get(), nodes, "each node was a batch, and none was twice");
    }
    assert!(acknowledged.iter().all(|last| *last > Some(10)), "{acknowledged:?}");
}
