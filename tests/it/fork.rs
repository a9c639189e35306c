//! Engines in a forked process: it can read, and harms nothing.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use ingrain::{
    Batch, Durability, Engine, Error, ErrorKind, Method, Metric, Node, Op, Options, Snapshot,
    Space, Timestamp,
    search::{Filter, Search},
};

use proptest::{collection::vec, prelude::*};

use crate::harness::{dirs::temp_dir, fork::in_fork, nodes::id};

fn put(n: u64) -> Batch {
    Batch::from(Op::put(Node::new(id(n), "n").vector("v", [n as f32, 1.0])))
}

fn options() -> Options {
    Options::new()
        .space("v", Space::new(2, Metric::L2))
        .index("i")
        .patience(Duration::from_secs(60))
}

/// What every call of an engine does in a forked process, up to dropping it.
/// Returns the first check that does not hold.
fn child(engine: Engine, snapshot: &Snapshot, at: &Path) -> Result<(), u8> {
    fn refused<T>(step: u8, result: Result<T, Error>) -> Result<(), u8> {
        match result {
            Err(error) if error.kind() == ErrorKind::Forked => Ok(()),
            _ => Err(step),
        }
    }
    let holds = |step, what: bool| if what { Ok(()) } else { Err(step) };
    refused(1, engine.write(put(1_000_000)))?;
    refused(2, engine.submit(put(1_000_000)))?;
    let mut batch = put(1_000_000);
    refused(3, engine.write(&mut batch))?;
    holds(4, batch.len() == 1)?;
    refused(5, engine.checkpoint())?;
    refused(6, engine.compact())?;
    refused(7, engine.rebuild(None))?;
    refused(8, engine.verify())?;
    refused(9, engine.backup(at.with_extension("backup")))?;
    refused(10, engine.create_space("v", Space::new(2, Metric::L2)))?;
    refused(11, engine.create_index("i"))?;
    refused(12, engine.drop_space("v"))?;
    refused(13, engine.set_method("v", Method::Exact))?;
    refused(14, engine.prune(Timestamp::MAX, 10))?;
    refused(15, engine.close())?;
    refused(22, engine.transact(|_| Ok(())))?;
    // What it has a copy of can be read.
    let now = engine.snapshot();
    for snapshot in [snapshot, &now] {
        holds(16, snapshot.get(id(0)).is_ok_and(|node| node.is_some()))?;
        holds(17, snapshot.scan("n").all(|node| node.is_ok()))?;
        let hits = snapshot.nearest("v", &[0.0, 1.0], 1, &Filter::new());
        holds(18, hits.is_ok_and(|hits| hits.len() == 1))?;
        let searches: Vec<_> = (0..8).map(|_| Search::new("v", &[0.0, 1.0], 1)).collect();
        holds(19, snapshot.search_many(&searches).is_ok_and(|hits| hits.len() == 8))?;
    }
    holds(20, engine.stats().nodes > 0)?;
    drop(engine);
    drop(now);
    // The parent has it open.
    let again = options().open(at);
    holds(21, again.is_err_and(|error| error.kind() == ErrorKind::Locked))
}

/// Forks, and does in the child everything that [`child`] does.
fn fork(engine: &Arc<Engine>, path: &Path) {
    let (engine, snapshot, path) = (Arc::clone(engine), engine.snapshot(), path.to_owned());
    let forked = in_fork(move || {
        #[allow(unsafe_code, reason = "the child drops what threads of the parent use")]
        // SAFETY: the memory of the child is its own, no other thread is in it, and
        // the value in the `Arc` is not used again before the exec.
        let engine = unsafe { std::ptr::read(Arc::as_ptr(&engine)) };
        child(engine, &snapshot, &path)
    });
    assert_eq!(forked, Ok(()), "the number of a check in `child`");
}

#[test]
fn a_forked_process_can_read_and_leaves_lock_files_and_writes_of_its_parent_alone() {
    for inline in [false, true] {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let engine = Arc::new(options().inline(inline).open(&path).unwrap());
        for n in 0..100 {
            engine.write(put(n)).unwrap();
        }
        fork(&engine, &path); // idle, all of it in the delta
        assert_eq!(options().open(&path).unwrap_err().kind(), ErrorKind::Locked);
        engine.write(put(100)).unwrap();
        engine.checkpoint().unwrap();
        fork(&engine, &path); // idle, in the base
        // Held snapshots keep files of an old base, which a child must not remove.
        let held = engine.snapshot();
        engine.write(put(101)).unwrap();
        engine.compact().unwrap();
        fork(&engine, &path);
        assert!(held.get(id(100)).unwrap().is_some());
        assert!(engine.verify().unwrap().is_sound());
        engine.close().unwrap();
        assert_eq!(options().open(&path).unwrap().snapshot().node_count(), 102);
    }
}

#[test]
fn a_fork_amid_writes_and_checkpoints_changes_nothing() {
    const FORKS: u64 = 12;
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Arc::new(options().durability(Durability::Os).index_rows(64).open(&path).unwrap());
    engine.write(put(0)).unwrap();
    let done = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let (engine, done) = (&engine, &done);
                scope.spawn(move || {
                    let mut written = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let n = 1 + writer + 2 * written.len() as u64;
                        engine.write(put(n)).unwrap();
                        written.push(n);
                    }
                    written
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                engine.checkpoint().unwrap();
            }
        });
        for _ in 0..FORKS {
            fork(&engine, &path);
        }
        done.store(true, Ordering::Relaxed);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(engine.verify().unwrap().is_sound());
    engine.close().unwrap();
    let engine = options().open(&path).unwrap();
    for n in written {
        assert!(engine.snapshot().contains(id(n)).unwrap(), "{n} was acknowledged");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 6, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// A store beside a map, with forks among the operations.
    #[test]
    fn forks_among_all_operations_change_nothing(
        steps in vec((0..12_u8, 1..20_u64), 10..40),
        inline in any::<bool>(),
    ) {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let open = || Arc::new(options().inline(inline).durability(Durability::Os).open(&path).unwrap());
        let (mut engine, mut model, mut held) = (open(), BTreeSet::from([0]), Vec::new());
        engine.write(put(0)).unwrap();
        for (step, n) in steps {
            match step {
                0..4 => {
                    engine.write(put(n)).unwrap();
                    model.insert(n);
                }
                4..6 => {
                    engine.write(Batch::new().delete(id(n))).unwrap();
                    model.remove(&n);
                }
                6 => drop(engine.checkpoint().unwrap()),
                7 => drop(engine.compact().unwrap()),
                8 => held.push((engine.snapshot(), model.clone())),
                9 => held.clear(),
                10 => {
                    engine.close().unwrap();
                    engine = open();
                }
                _ => fork(&engine, &path),
            }
            let now = [(engine.snapshot(), model.clone())];
            for (snapshot, model) in held.iter().chain(&now) {
                for n in 0..20 {
                    prop_assert_eq!(snapshot.contains(id(n)).unwrap(), model.contains(&n));
                }
            }
        }
        fork(&engine, &path);
        prop_assert!(engine.verify().unwrap().is_sound());
    }
}

#[test]
fn a_ticket_is_not_waited_for_in_a_forked_process() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let ticket =
        Mutex::new(Some(engine.submit(Batch::from(Op::put(Node::new(id(1), "n")))).unwrap()));
    let ticket = Arc::new(ticket);
    let of_child = Arc::clone(&ticket);
    let forked = in_fork(move || {
        let ticket = of_child.try_lock().ok().and_then(|mut ticket| ticket.take()).ok_or(1)?;
        if !ticket.is_done() {
            return Err(2);
        }
        match ticket.wait() {
            Err(error) if error.kind() == ErrorKind::Forked => Ok(()),
            _ => Err(3),
        }
    });
    assert_eq!(forked, Ok(()));
    let ticket = ticket.lock().unwrap().take().unwrap();
    ticket.wait().unwrap();
}

#[test]
fn a_child_may_open_a_store_that_its_parent_has_closed() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    engine.write(Batch::from(Op::put(Node::new(id(1), "n")))).unwrap();
    engine.close().unwrap();
    // The copy of a closed engine is refused and dropped as that of an open one.
    let (engine, at) = (Arc::new(engine), path.clone());
    let forked = in_fork(move || {
        if engine.write(Batch::from(Op::put(Node::new(id(2), "n")))).is_ok() {
            return Err(1);
        }
        let own = Engine::open(&at).map_err(|_| 2)?;
        own.write(Batch::from(Op::put(Node::new(id(3), "n")))).map_err(|_| 3)?;
        own.close().map_err(|_| 4)
    });
    assert_eq!(forked, Ok(()));
    let snapshot = Engine::open(&path).unwrap().snapshot();
    assert!(snapshot.contains(id(1)).unwrap() && snapshot.contains(id(3)).unwrap());
    assert!(!snapshot.contains(id(2)).unwrap());
}
