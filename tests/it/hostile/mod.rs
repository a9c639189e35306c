//! The engine in a hostile environment, on the file system of the machine: what
//! cannot be done is refused with the documented error, and the store stays
//! unchanged.
//!
//! Tests that need a user without privileges, or resource limits, run in a
//! child process: see `child`.

mod bounds;
mod child;
mod clock;
mod exhaustion;
mod files;
mod paths;
mod permissions;
mod strangers;

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use ingrain::{Batch, Edge, Engine, Error, ErrorKind, Metric, Node, Options, Snapshot, Space};

use crate::harness::{files::read_image, nodes::id, random::noise};

/// The call of the operating system that failed, and how; the error says where.
#[track_caller]
fn assert_io(error: &Error, op: &str, path: &Path, kind: io::ErrorKind) {
    let (Error::Io { op: named, path: at, source, .. }, text) = (error, error.to_string()) else {
        panic!("{error}")
    };
    assert!(!matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Internal), "{error}");
    assert_eq!((*named, source.kind()), (op, kind), "{error}");
    assert!(at.starts_with(path), "{error} is about {}", path.display());
    assert!(
        text.starts_with(&format!("cannot {op}")) && text.contains(&*at.to_string_lossy()),
        "{error}"
    );
}

#[track_caller]
fn assert_poisoned_by_io(error: &Error, op: &str, path: &Path, kind: io::ErrorKind) {
    let Error::Poisoned { cause, .. } = error else { panic!("{error}") };
    assert!(error.with_causes().to_string().contains(&cause.to_string()), "{error}");
    assert_io(cause, op, path, kind);
}

/// A checkpoint failed at a step.
#[track_caller]
fn cause_at(error: Error, step: &str) -> Error {
    let Error::Checkpoint { step: at, cause, .. } = &error else { panic!("{error}") };
    assert_eq!(*at, step, "{error}");
    assert!(error.with_causes().to_string().contains(step), "{error}");
    Error::clone(cause)
}

const VECTORS: u64 = 200;

fn options() -> Options {
    Options::new().space("v", Space::new(8, Metric::L2)).index("i").index_rows(64)
}

fn vector(n: u64) -> Vec<f32> {
    noise(n, 8).into_iter().map(f32::from).collect()
}

/// A store with files of every kind: two thirds in the base, the rest in the
/// log.
fn full_store(path: &Path) -> Snapshot {
    let engine = options().open(path).unwrap();
    let of = |ns: std::ops::Range<u64>| {
        let mut batch = Batch::new();
        for n in ns.clone() {
            let node = Node::new(id(n), "node").content(noise(n, 300)).key("i", n.to_be_bytes());
            batch.put(node.vector("v", vector(n)).attribute("n", n as i64));
        }
        for n in ns.skip(1) {
            batch.link(Edge::new(id(n), "after", id(n - 1)).attribute("n", n as i64));
        }
        batch
    };
    engine.write(of(0..VECTORS)).unwrap();
    engine.checkpoint().unwrap();
    for n in 0..10 {
        engine.write(of(VECTORS + 10 * n..VECTORS + 10 * (n + 1))).unwrap();
    }
    engine.close().unwrap();
    engine.snapshot()
}

/// The store has what it had.
fn assert_same(engine: &Engine, before: &Snapshot) {
    let now = engine.snapshot();
    assert_eq!(now.seq(), before.seq());
    assert_eq!(now.digest().unwrap(), before.digest().unwrap());
}

/// Opening fails, and nothing of the directory is another than before.
#[track_caller]
fn refused(path: &Path, options: Options) -> Error {
    let before = read_image(path);
    let error = options.open(path).map(|engine| format!("{:?}", engine.recovery())).unwrap_err();
    assert!(read_image(path) == before, "changed by an opening that was refused: {error}");
    error
}

/// Opening does not look into heaps: what is wrong with the first block of one
/// is met by whoever reads it, verification tells it, and nobody writes over it.
#[track_caller]
fn met_where_it_is_read(path: &Path, heap: &Path, before: &Snapshot) -> Error {
    let image = read_image(path);
    let of_heap =
        |error: &Error| error.with_causes().to_string().contains(path.join(heap).to_str().unwrap());
    let engine = options().open(path).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.seq(), before.seq());
    let error = snapshot.digest().unwrap_err();
    assert!(of_heap(&error), "{error}");
    assert!(snapshot.scan("node").any(|node| node.is_err_and(|error| of_heap(&error))));
    assert!(engine.verify().unwrap().damage.iter().any(of_heap));
    let compacted = engine.compact().unwrap_err();
    assert!(of_heap(&compacted), "{compacted}");
    engine.close().unwrap();
    drop((engine, snapshot));
    let data = |name: &&PathBuf| name.starts_with("data") && extension(name) != "vix";
    let after = read_image(path);
    for name in image.keys().filter(data) {
        assert!(after.get(name) == image.get(name), "{} was changed or removed", name.display());
    }
    error
}

fn extension(name: &Path) -> &str {
    name.extension().and_then(OsStr::to_str).unwrap_or_default()
}
