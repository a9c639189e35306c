//! Indexes built in the background or on demand, and failures of building.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use ingrain::{
    Error, Method, Metric, Node, Space,
    format::manifest::Manifest,
    search::{Filter, Search},
};

use crate::harness::{
    dirs::temp_dir,
    faults::{Call, failing_while, hooked},
    files::{data_kind, overwrite, read_image},
    nodes::{id, put_all},
    random::{Random, whole_vector},
    waiting::until,
};

use super::model::eager;
use super::stored::{Stored, indexed, small};

/// An explicit checkpoint leaves graphs to the background; what fails there is
/// tried again.
#[test]
fn a_background_build_of_an_index_that_failed_is_tried_again() {
    let dir = temp_dir();
    let (armed, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let fs = {
        let (armed, failed) = (Arc::clone(&armed), Arc::clone(&failed));
        hooked(move |call, path| {
            let index = path.extension().is_some_and(|e| e == "vix");
            let meant = call == Call::Rename || (call == Call::Create && index);
            // The checkpoint's own codes, then once each: file and manifest.
            if armed.load(Ordering::SeqCst) && meant {
                let n = failed.fetch_add(1, Ordering::SeqCst);
                if n == 0 || n == 2 {
                    return Err(std::io::Error::other("injected"));
                }
            }
            Ok(())
        })
    };
    let engine = eager().inline(false).fs(fs).open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(2, Metric::L2)).unwrap();
    let mut random = Random(1);
    let nodes = (0..300).map(|n| Node::new(id(n), "n").vector("v", whole_vector(&mut random, 2)));
    engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
    engine.set_method("v", Method::Hnsw).unwrap();
    engine.checkpoint().unwrap();
    let file = || engine.stats().spaces[0].files[0].clone();
    assert!(file().codes.is_some());
    if cfg!(feature = "hnsw") {
        until("the first graph is built", || file().graph.is_some());
    }
    armed.store(true, Ordering::SeqCst);
    engine.set_method("v", Method::Pq8).unwrap();
    until("codes of eight bits are built", || file().codes.is_some_and(|codes| codes.bits == 8));
    assert_eq!(engine.stats().checkpoint.failed, 2);
    engine.checkpoint().unwrap();
    assert!(file().graph.is_none(), "nobody wants it");
    engine.close().unwrap();
    drop(engine);
    let names = read_image(&dir.path().join("s"));
    let manifest = Manifest::decode(&names[Path::new("MANIFEST")]).unwrap();
    let data = names.keys().filter(|name| data_kind(name).is_some()).count();
    assert_eq!(data, manifest.files().count());
}

/// An index that cannot be mapped is a failure that is told, not one more try
/// without end.
#[test]
fn an_index_that_cannot_be_mapped_ends_a_rebuild() {
    let dir = temp_dir();
    let armed = Arc::new(AtomicBool::new(false));
    let index = |path: &Path| path.extension().is_some_and(|e| e == "vix");
    let fs = failing_while(&armed, move |call, path| call == Call::Map && index(path));
    let engine = eager().fs(fs).open(dir.path().join("s")).unwrap();
    engine.create_space("v", Space::new(2, Metric::L2)).unwrap();
    let mut random = Random(1);
    let nodes = (0..300).map(|n| Node::new(id(n), "n").vector("v", whole_vector(&mut random, 2)));
    engine.write(put_all(nodes.collect::<Vec<_>>())).unwrap();
    engine.checkpoint().unwrap();
    armed.store(true, Ordering::SeqCst);
    let before = read_image(&dir.path().join("s"));
    let error = engine.rebuild(None).unwrap_err();
    assert!(matches!(error, Error::Checkpoint { step: "index", .. }), "{error}");
    assert_eq!(engine.snapshot().nearest("v", &[0.5, 0.5], 5, &Filter::new()).unwrap().len(), 5);
    assert!(read_image(&dir.path().join("s")) == before, "something was left behind");
    armed.store(false, Ordering::SeqCst);
    engine.rebuild(None).unwrap();
    assert!(engine.verify().unwrap().is_sound());
}

/// However often searches ask for what cannot be built, it is tried again, and
/// after a pause.
#[test]
fn searches_do_not_change_when_a_failed_build_is_tried_again() {
    const FAILURES: usize = 4;
    let stored = small();
    let dir = temp_dir();
    let path = dir.path().join("s");
    stored.write(&path);
    let codes = path.join(stored.named(|file| file.codes));
    let mut bytes = fs::read(&codes).unwrap();
    bytes[80..].fill(0xa5);
    overwrite(&codes, bytes);
    let tries = Arc::new(AtomicUsize::new(0));
    let fs = {
        let tries = Arc::clone(&tries);
        hooked(move |call, path| {
            let index = path.extension().is_some_and(|e| e == "vix");
            if call == Call::Create && index && tries.fetch_add(1, Ordering::SeqCst) < FAILURES {
                return Err(std::io::Error::other("injected"));
            }
            Ok(())
        })
    };
    let engine = indexed().inline(false).fs(fs).open(&path).unwrap();
    engine.set_method("v", Method::Pq4).unwrap();
    let begun = std::time::Instant::now();
    until("the codes are built", || {
        engine.snapshot().search(&Search::new("v", &stored.queries[0], 5)).unwrap();
        tries.load(Ordering::SeqCst) > FAILURES && Stored::damage(&engine).is_empty()
    });
    // The pauses are 50 ms, 100, 200 and 400.
    assert!(begun.elapsed() >= std::time::Duration::from_millis(700), "{:?}", begun.elapsed());
}
