//! The write path: what it accepts, what it refuses, and what it guarantees.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use ingrain::{
    Batch, ConflictReason, Direction, Durability, Edge, Engine, Error, ErrorKind, KeyRange, Metric,
    Node, Op, Options, Patch, Seq, Space, Ticket, Timestamp, Value, limits, os::Clock,
};

use crate::harness::{
    clocks::TestClock,
    dirs::temp_dir,
    faults::{Call, FaultFs},
    nodes::id,
};

fn node(n: u64) -> Node {
    Node::new(id(n), "n")
}

fn put(n: u64) -> Batch {
    let mut batch = Batch::new();
    batch.put(node(n));
    batch
}

fn one(fill: impl FnOnce(&mut Batch) -> &mut Batch) -> Batch {
    let mut batch = Batch::new();
    fill(&mut batch);
    batch
}

#[test]
fn a_bad_batch_is_refused_whole_and_changes_nothing() {
    let dir = temp_dir();
    let engine = Options::new()
        .space("v", Space::new(2, Metric::Cosine))
        .index("i")
        .open(dir.path().join("s"))
        .unwrap();
    engine.write(put(1)).unwrap();
    let before = (engine.snapshot().seq(), engine.stats().write.wal_bytes);
    let deep = (0..limits::VALUE_DEPTH).fold(Value::Null, |v, _| Value::List(vec![v]));
    let wide = (0..=limits::ATTRIBUTES).map(|n| (n.to_string(), Value::Null));
    let long = "x".repeat(limits::NAME_BYTES + 1);
    use ErrorKind::{Invalid, Limit};
    let cases: Vec<(&str, ErrorKind, Batch)> = vec![
        ("empty", Invalid, Batch::new()),
        ("no kind", Invalid, one(|b| b.put(Node::new(id(2), "")))),
        ("long kind", Limit, one(|b| b.put(Node::new(id(2), long.clone())))),
        ("content", Limit, one(|b| b.put(node(2).content(vec![0; limits::CONTENT_BYTES + 1])))),
        ("nan strength", Invalid, one(|b| b.put(node(2).strength(f32::NAN)))),
        ("confidence", Invalid, one(|b| b.put(node(2).confidence(1.5)))),
        ("nan attribute", Invalid, one(|b| b.put(node(2).attribute("a", f64::NAN)))),
        ("deep", Limit, one(|b| b.put(node(2).attribute("a", deep.clone())))),
        ("wide", Limit, one(|b| b.put(node(2).attributes(wide)))),
        (
            "attribute bytes",
            Limit,
            one(|b| b.put(node(2).attribute("a", vec![0_u8; limits::ATTRIBUTE_BYTES]))),
        ),
        ("unknown index", Invalid, one(|b| b.put(node(2).key("nope", [1])))),
        ("long key", Limit, one(|b| b.put(node(2).key("i", vec![0; limits::KEY_BYTES + 1])))),
        (
            "keys",
            Limit,
            one(|b| {
                b.put(
                    (0..=limits::NODE_KEYS as u32)
                        .fold(node(2), |n, k| n.key("i", k.to_be_bytes())),
                )
            }),
        ),
        ("unknown space", Invalid, one(|b| b.put(node(2).vector("nope", [1.0, 2.0])))),
        ("dimension", Invalid, one(|b| b.put(node(2).vector("v", [1.0])))),
        ("nan vector", Invalid, one(|b| b.put(node(2).vector("v", [1.0, f32::NAN])))),
        ("infinite vector", Invalid, one(|b| b.put(node(2).vector("v", [1.0, f32::INFINITY])))),
        ("zero cosine", Invalid, one(|b| b.put(node(2).vector("v", [0.0, -0.0])))),
        ("weight", Invalid, one(|b| b.link(Edge::new(id(1), "e", id(1)).weight(f64::NAN)))),
        ("patch vector", Invalid, one(|b| b.patch(id(1), Patch::new().vector("v", [1.0])))),
        ("patch space", Invalid, one(|b| b.patch(id(1), Patch::new().remove_vector("nope")))),
        ("patch key", Invalid, one(|b| b.patch(id(1), Patch::new().remove_keys("nope")))),
        ("patch kind", Invalid, one(|b| b.patch(id(1), Patch::new().kind("")))),
        ("a good one before", Invalid, one(|b| b.put(node(3)).put(Node::new(id(2), "")))),
    ];
    for (what, kind, batch) in cases {
        let mut kept = batch.clone();
        let error = engine.write(&mut kept).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
        // NaN is not equal to itself.
        let kept = kept == batch || batch != batch.clone() && kept.len() == batch.len();
        assert!(kept, "{what}: the operations stay in the batch");
        let error = engine.submit(batch).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error}");
    }
    assert_eq!((engine.snapshot().seq(), engine.stats().write.wal_bytes), before);
    assert_eq!(engine.snapshot().node_count(), 1);

    // What is at its limit is taken.
    let at_limit = node(9)
        .content(vec![7; limits::CONTENT_BYTES])
        .key("i", vec![0; limits::KEY_BYTES])
        .vector("v", [f32::MAX, f32::MIN_POSITIVE]);
    engine.write(one(|b| b.put(at_limit))).unwrap();
    let found = engine.snapshot();
    assert_eq!(found.get(id(9)).unwrap().unwrap().content().len(), limits::CONTENT_BYTES);
}

#[test]
fn a_patch_is_held_to_the_limits_of_what_it_makes() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let half = |from: usize| {
        (from..from + limits::ATTRIBUTES / 2 + 1).map(|n| (n.to_string(), Value::Null))
    };
    engine.write(one(|b| b.put(node(1).attributes(half(0))))).unwrap();
    let patch = Patch::new().attributes(half(5_000));
    let error = engine.write(one(|b| b.patch(id(1), patch))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let bytes = || vec![0_u8; limits::ATTRIBUTE_BYTES / 2 + 1];
    engine.write(one(|b| b.put(node(2).attribute("a", bytes())))).unwrap();
    let error =
        engine.write(one(|b| b.patch(id(2), Patch::new().attribute("b", bytes())))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[test]
fn preconditions_are_decided_in_turn_and_told_to_their_writer_only() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let v1 = engine.write(put(1)).unwrap();
    let conflict = |batch| match engine.write(batch).unwrap_err() {
        Error::Conflict { op, reason, .. } => (op, reason),
        other => panic!("{other}"),
    };
    use ConflictReason::{Exists, Missing, Version};
    assert_eq!(conflict(one(|b| b.put(node(5)).put_if_absent(node(1)))), (1, Exists));
    let stale = Version { expected: Seq::new(7), found: v1 };
    assert_eq!(conflict(one(|b| b.put_if_version(node(1), Seq::new(7)))), (0, stale));
    assert_eq!(conflict(one(|b| b.put_if_version(node(2), v1))), (0, Missing));
    assert_eq!(conflict(one(|b| b.patch(id(2), Patch::new()))), (0, Missing));
    assert_eq!(conflict(one(|b| b.touch(id(2)))), (0, Missing));
    assert_eq!(conflict(one(|b| b.expire(id(2), None))), (0, Missing));
    assert_eq!(conflict(one(|b| b.link(Edge::new(id(1), "e", id(2))))), (0, Missing));
    assert_eq!(conflict(one(|b| b.delete(id(1)).touch(id(1)))), (1, Missing));
    // Nothing of any of them happened, and no number was used up.
    assert!(!engine.snapshot().contains(id(5)).unwrap());
    assert_eq!(engine.snapshot().seq(), v1);
    // Operations see those before them.
    let v2 = engine
        .write(one(|b| {
            b.delete(id(1)).put_if_absent(node(1)).put(node(2)).link(Edge::new(id(1), "e", id(2)))
        }))
        .unwrap();
    assert_eq!(v2.get(), v1.get() + 1);
    engine.write(one(|b| b.put_if_version(node(1), v2))).unwrap();
    // Access and expiry do not disturb a writer who goes by versions.
    let v3 = engine.snapshot().get(id(1)).unwrap().unwrap().version();
    engine.write(one(|b| b.touch(id(1)).expire(id(1), Some(Timestamp::from_micros(1))))).unwrap();
    engine.write(one(|b| b.put_if_version(node(1), v3))).unwrap();
    // Absent is fine for what takes away.
    engine
        .write(one(|b| {
            b.delete(id(77)).unlink(id(77), "e", id(78)).prune(id(77), Timestamp::default())
        }))
        .unwrap();
}

#[test]
fn updating_keeps_edges_and_deleting_takes_everything() {
    let dir = temp_dir();
    let engine = Options::new()
        .space("v", Space::new(1, Metric::L2))
        .index("i")
        .open(dir.path().join("s"))
        .unwrap();
    let full = |n: u64| node(n).key("i", n.to_be_bytes()).vector("v", [n as f32]);
    engine
        .write(one(|b| {
            b.put(full(1)).put(full(2));
            b.link(Edge::new(id(1), "a", id(2))).link(Edge::new(id(2), "b", id(1)));
            b.link(Edge::new(id(1), "self", id(1)))
        }))
        .unwrap();
    engine.write(one(|b| b.put(full(1).content("again")))).unwrap();
    let snapshot = engine.snapshot();
    assert_eq!((snapshot.edges_out(id(1)).count(), snapshot.edges_in(id(1)).count()), (2, 2));
    engine.write(one(|b| b.delete(id(1)))).unwrap();
    let after = engine.snapshot();
    assert_eq!(
        (after.node_count(), after.edge_count(), after.key_count(), after.vector_count()),
        (1, 0, 1, 1)
    );
    assert_eq!(after.edges_out(id(2)).count() + after.edges_in(id(2)).count(), 0);
    // The snapshot from before has it all still.
    assert_eq!((snapshot.node_count(), snapshot.edge_count(), snapshot.vector_count()), (2, 3, 2));
}

#[test]
fn options_are_refused_by_name_with_their_range() {
    let dir = temp_dir();
    let open = |options: Options| options.open(dir.path().join("s")).unwrap_err();
    let cases = [
        ("write_log_batches", open(Options::new().write_log_batches(0))),
        ("write_log_batches", open(Options::new().write_log_batches(usize::MAX))),
        ("write_log_bytes", open(Options::new().write_log_bytes(10))),
        ("wal_file_bytes", open(Options::new().wal_file_bytes(1))),
        ("wal_file_bytes", open(Options::new().wal_file_bytes(u64::MAX))),
        ("patience", open(Options::new().patience(Duration::from_secs(100_000)))),
        ("publish_interval", open(Options::new().publish_interval(Duration::from_secs(2)))),
        ("dimension", open(Options::new().space("v", Space::new(0, Metric::Dot)))),
        (
            "dimension",
            open(Options::new().space("v", Space::new(limits::DIMENSION + 1, Metric::Dot))),
        ),
        ("space", open(Options::new().space("", Space::new(1, Metric::Dot)))),
        ("index", open(Options::new().index(""))),
    ];
    for (name, error) in cases {
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.with_causes().to_string().contains(name), "{error} names {name}");
        assert!(
            ["space", "index"].contains(&name) || error.with_causes().to_string().contains(".."),
            "{error} gives the range"
        )
    }
    // A combination names both.
    let error = open(Options::new().patience(Duration::from_micros(1))).to_string();
    assert!(error.contains("patience") && error.contains("publish_interval"), "{error}");
    assert!(!dir.path().join("s").exists(), "refused before anything was made");
}

#[test]
fn a_space_is_fixed_when_it_is_created() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Options::new().space("v", Space::new(3, Metric::Cosine)).open(&path).unwrap();
    let seq = engine.snapshot().seq();
    let error = engine.create_space("v", Space::new(4, Metric::Cosine)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    engine.create_index("i").unwrap();
    engine.create_index("i").unwrap();
    engine.create_space("v", Space::new(3, Metric::Cosine)).unwrap();
    drop(engine);
    let error = Options::new().space("v", Space::new(3, Metric::L2)).open(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let engine =
        Options::new().space("v", Space::new(3, Metric::Cosine)).index("i").open(&path).unwrap();
    assert_eq!(engine.snapshot().seq().get(), seq.get() + 1, "nothing was created again");
}

#[test]
fn a_full_write_log_holds_then_refuses_and_loses_nothing() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    for by_bytes in [false, true] {
        let _ = std::fs::remove_dir_all(&path);
        let faults = FaultFs::new();
        let options = Options::new()
            .fs(faults.handle())
            .publish_interval(Duration::ZERO)
            .patience(Duration::from_millis(20));
        let options =
            if by_bytes { options.write_log_bytes(64 << 10) } else { options.write_log_batches(8) };
        let engine = options.open(&path).unwrap();
        let big = |n: u64| {
            one(|b| b.put(node(n).content(vec![n as u8; if by_bytes { 8_000 } else { 8 }])))
        };
        // The first is in the step, held at its sync; the rest fill the queue.
        faults.close_gate();
        let mut tickets = vec![engine.submit(big(0)).unwrap()];
        faults.wait_until_held();
        let mut n = 1;
        let error = loop {
            match engine.submit(big(n)) {
                Ok(ticket) => tickets.push(ticket),
                Err(error) => break error,
            }
            n += 1;
            assert!(n < 100, "the log is bounded");
        };
        assert!(tickets.len() > 3);
        let Error::Backpressure { waited_ms, queued, .. } = error else { panic!("{error}") };
        assert!(waited_ms >= 20);
        assert_eq!(queued, tickets.len() - 1);
        assert!(error.is_retryable());
        // What is refused can be written again as it is.
        let mut refused = big(1_000);
        refused
            .patch(id(1_000), Patch::new().attribute("of", "a patch"))
            .patch(id(1_000), Patch::new().content("new"))
            .touch(id(1_000));
        let before = refused.clone();
        assert_eq!(engine.write(&mut refused).unwrap_err().kind(), ErrorKind::Backpressure);
        assert_eq!(engine.submit(&mut refused).unwrap_err().kind(), ErrorKind::Backpressure);
        assert_eq!(refused, before);
        faults.open_gate();
        engine.write(&mut refused).unwrap();
        assert!(refused.is_empty());
        let written = engine.snapshot();
        assert_eq!(written.get(id(1_000)).unwrap().unwrap().content(), b"new");
        let accepted = tickets.len() as u64;
        let seqs: Vec<u64> = tickets.into_iter().map(|t| t.wait().unwrap().get()).collect();
        assert_eq!(seqs, (1..=accepted).collect::<Vec<_>>());
        drop(engine);
        let snapshot = Engine::open(&path).unwrap().snapshot();
        for n in (0..accepted).chain([1_000]) {
            assert!(snapshot.contains(id(n)).unwrap(), "batch {n} was acknowledged");
        }
        assert_eq!(snapshot.node_count() as u64, accepted + 1, "and nothing else is there");
    }
}

#[test]
fn a_held_writer_goes_on_when_there_is_space() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let engine = Options::new()
        .fs(faults.handle())
        .write_log_batches(2)
        .patience(Duration::from_secs(3_600))
        .open(dir.path().join("s"))
        .unwrap();
    faults.close_gate();
    let first = engine.submit(put(0)).unwrap();
    faults.wait_until_held();
    // Two fit; the others are held, and would be for an hour.
    thread::scope(|scope| {
        let writers: Vec<_> = (1..9)
            .map(|n| {
                let engine = &engine;
                scope.spawn(move || engine.write(put(n)).unwrap())
            })
            .collect();
        while engine.stats().write.queued < 2 {
            thread::yield_now();
        }
        faults.open_gate();
        for writer in writers {
            writer.join().unwrap();
        }
    });
    first.wait().unwrap();
    assert_eq!(engine.snapshot().node_count(), 9);
}

#[test]
fn the_write_log_counts_memory_not_only_what_is_logged() {
    let dir = temp_dir();
    let engine = Options::new().write_log_bytes(1 << 20).open(dir.path().join("s")).unwrap();
    // Encoded these take a byte each, and in memory some fifty.
    let nulls = Value::List(vec![Value::Null; 100_000]);
    let batch = one(|b| b.put(node(1).attribute("nulls", nulls)));
    assert_eq!(engine.write(batch).unwrap_err().kind(), ErrorKind::Limit);
    let mut deletes = Batch::new();
    for n in 0..10_000 {
        deletes.delete(id(n));
    }
    assert_eq!(engine.write(deletes).unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn a_batch_larger_than_the_write_log_is_refused_at_once() {
    let dir = temp_dir();
    let engine = Options::new().write_log_bytes(64 << 10).open(dir.path().join("s")).unwrap();
    let mut batch = one(|b| b.put(node(1).content(vec![0; 70_000])));
    let before = batch.clone();
    assert_eq!(engine.write(&mut batch).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(batch, before);
}

#[test]
fn a_failed_log_poisons_writes_and_leaves_reads() {
    let calls = [Call::Write, Call::Sync, Call::Create, Call::Rename, Call::SyncDir];
    for call in calls {
        for nth in 1..4 {
            let dir = temp_dir();
            let path = dir.path().join("s");
            let faults = FaultFs::new();
            let engine =
                Options::new().fs(faults.handle()).wal_file_bytes(64 << 10).open(&path).unwrap();
            faults.fail(nth, Some(call), false);
            let mut acknowledged = 0;
            let big = |n: u64| one(|b| b.put(node(n).content(vec![n as u8; 10_000])));
            let error = loop {
                match engine.write(big(acknowledged + 1)) {
                    Ok(_) => acknowledged += 1,
                    Err(error) => break error,
                }
                assert!(acknowledged < 1_000, "{call:?} {nth} never failed");
            };
            let Error::Poisoned { cause, .. } = &error else { panic!("{error}") };
            assert_eq!(cause.kind(), ErrorKind::Io);
            // Causes can be downcast: they are no `Arc`.
            let source = std::error::Error::source(&error).unwrap();
            let source = source.downcast_ref::<Error>().unwrap();
            let source = std::error::Error::source(source).unwrap();
            assert!(source.downcast_ref::<std::io::Error>().is_some());
            assert!(error.with_causes().to_string().contains("injected"), "{error}");
            // Nothing is tried again, though it would work now.
            faults.take_record();
            for n in 0..3 {
                let again = engine.write(put(100 + n)).unwrap_err();
                assert_eq!(again.to_string(), error.to_string());
                // What is refused before it is queued keeps its operations.
                let mut batch = put(100);
                let refused =
                    [engine.submit(&mut batch).map(drop), engine.write(&mut batch).map(drop)];
                for refused in refused {
                    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Poisoned);
                }
                assert_eq!(batch, put(100));
            }
            let written = engine.transact(|tx| {
                tx.put(node(100));
                Ok(())
            });
            assert_eq!(written.unwrap_err().kind(), ErrorKind::Poisoned);
            let read = engine.transact(|tx| Ok(tx.get(id(100))?.is_none()));
            assert!(read.unwrap().value, "a transaction that only reads goes on");
            let required = engine.write(one(|b| b.require_absent(id(100))));
            assert_eq!(required.unwrap_err().kind(), ErrorKind::Poisoned);
            assert!(faults.take_record().is_empty(), "{call:?}: a poisoned log is left alone");
            assert!(engine.stats().write.poisoned);
            // Readers keep what was acknowledged, and no more.
            let snapshot = engine.snapshot();
            assert_eq!(snapshot.seq(), Seq::new(acknowledged));
            assert_eq!(snapshot.node_count() as u64, acknowledged);
            assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Poisoned);
            drop(engine);
            let engine = Engine::open(&path).unwrap();
            let recovered = engine.snapshot().seq().get();
            assert!((acknowledged..=acknowledged + 1).contains(&recovered), "{call:?} {nth}");
            for n in 1..=recovered {
                assert_eq!(
                    engine.snapshot().get(id(n)).unwrap().unwrap().content(),
                    vec![n as u8; 10_000]
                );
            }
            engine.write(put(500)).unwrap();
        }
    }
}

#[test]
fn a_lone_write_is_one_write_and_one_sync_in_its_own_thread() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let engine = Options::new().fs(faults.handle()).open(dir.path().join("s")).unwrap();
    engine.write(put(0)).unwrap();
    faults.take_record();
    faults.expect_thread(Some(thread::current().id()));
    for n in 1..20 {
        engine.write(put(n)).unwrap();
        assert_eq!(faults.take_record(), [Call::Write, Call::Sync]);
    }
    let mut batch = put(20);
    batch.durability(Durability::Os);
    engine.write(batch).unwrap();
    assert_eq!(faults.take_record(), [Call::Write]);
    faults.expect_thread(None);
}

#[test]
fn a_group_shares_one_sync() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let engine = Options::new().fs(faults.handle()).open(dir.path().join("s")).unwrap();
    faults.close_gate();
    let first = engine.submit(put(0)).unwrap();
    faults.wait_until_held();
    let rest: Vec<_> = (1..100).map(|n| engine.submit(put(n)).unwrap()).collect();
    faults.take_record();
    faults.open_gate();
    first.wait().unwrap();
    for ticket in rest {
        ticket.wait().unwrap();
    }
    let syncs = faults.take_record().iter().filter(|call| **call == Call::Sync).count();
    assert!(syncs <= 2, "{syncs} syncs for the held batch and the 99 behind it");
    assert_eq!(engine.stats().write.batches, 100);
}

struct Unpark(thread::Thread, AtomicUsize);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.unpark();
    }
}

#[test]
fn a_ticket_is_a_future_that_needs_no_runtime() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let engine = Options::new().fs(faults.handle()).open(dir.path().join("s")).unwrap();
    faults.close_gate();
    let mut ticket = pin!(engine.submit(put(1)).unwrap());
    faults.wait_until_held();
    let unpark = Arc::new(Unpark(thread::current(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    assert!(ticket.as_mut().poll(&mut context).is_pending());
    assert_eq!(unpark.1.load(Ordering::SeqCst), 0);
    faults.open_gate();
    let answer = loop {
        match ticket.as_mut().poll(&mut context) {
            Poll::Ready(answer) => break answer,
            Poll::Pending => thread::park(),
        }
    };
    assert_eq!(answer.unwrap(), Seq::new(1));
    assert!(engine.snapshot().contains(id(1)).unwrap(), "visible once acknowledged");
}

#[test]
fn closing_answers_what_is_queued_and_refuses_what_comes() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let engine = Engine::open(&path).unwrap();
    let tickets: Vec<_> = (0..500).map(|n| engine.submit(put(n)).unwrap()).collect();
    engine.close().unwrap();
    for ticket in tickets {
        assert!(ticket.is_done());
        ticket.wait().unwrap();
    }
    assert_eq!(engine.write(put(1_000)).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(engine.submit(put(1_000)).unwrap_err().kind(), ErrorKind::Closed);
    engine.close().unwrap();
    assert_eq!(engine.snapshot().node_count(), 500, "snapshots stay good");
    // The lock is free though the engine still is.
    assert_eq!(Engine::open(&path).unwrap().snapshot().node_count(), 500);
}

#[test]
fn writers_that_meet_a_close_are_answered() {
    for _ in 0..20 {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let engine = Options::new().durability(Durability::Os).open(&path).unwrap();
        let acknowledged = AtomicUsize::new(0);
        thread::scope(|scope| {
            for w in 0..4_u64 {
                let (engine, acknowledged) = (&engine, &acknowledged);
                scope.spawn(move || {
                    for n in 0.. {
                        let batch = put(w << 32 | n);
                        let answer = if n % 2 == 0 {
                            engine.write(batch)
                        } else {
                            engine.submit(batch).and_then(|ticket| ticket.wait())
                        };
                        match answer {
                            Ok(_) => acknowledged.fetch_add(1, Ordering::SeqCst),
                            Err(Error::Closed) => return,
                            Err(other) => panic!("{other}"),
                        };
                    }
                });
            }
            while acknowledged.load(Ordering::SeqCst) < 100 {
                thread::yield_now();
            }
            engine.close().unwrap();
        });
        let count = acknowledged.load(Ordering::SeqCst);
        assert_eq!(Engine::open(&path).unwrap().snapshot().node_count(), count);
    }
}

#[test]
fn prune_takes_what_has_expired_and_no_more() {
    let dir = temp_dir();
    let engine = Engine::open(dir.path().join("s")).unwrap();
    let at = Timestamp::from_micros;
    for n in 0..10 {
        engine.write(one(|b| b.put(node(n as u64).expires(at(n * 10))))).unwrap();
    }
    engine.write(put(100)).unwrap();
    engine.write(one(|b| b.expire(id(0), None).expire(id(9), Some(at(5))))).unwrap();
    assert_eq!(engine.prune(at(30), 2).unwrap(), 2, "the limit, first to expire first");
    assert!(!engine.snapshot().contains(id(9)).unwrap());
    assert_eq!(engine.prune(at(30), 100).unwrap(), 2);
    assert_eq!(engine.prune(at(30), 100).unwrap(), 0);
    let left: Vec<u64> = [0, 1, 2, 3, 4, 9, 100]
        .into_iter()
        .filter(|n| engine.snapshot().contains(id(*n)).unwrap())
        .collect();
    assert_eq!(left, [0, 4, 100]);
    drop(engine);
    // However much has expired, and however small the write log.
    let engine = Options::new()
        .durability(Durability::Os)
        .write_log_bytes(64 << 10)
        .open(dir.path().join("s"))
        .unwrap();
    for n in 1_000..3_000 {
        engine.write(one(|b| b.put(node(n).expires(at(1))))).unwrap();
    }
    assert_eq!(engine.prune(at(1), usize::MAX).unwrap(), 2_000);
    assert_eq!(engine.snapshot().node_count(), 7);
}

/// What the engine keeps of a node survives a put of an earlier copy: touches
/// and expiries leave the version as it is, so no precondition sees them.
#[test]
fn a_put_of_an_earlier_copy_undoes_nothing() {
    let dir = temp_dir();
    let clock = TestClock::default();
    clock.set(1_000);
    let engine = Options::new().clock(Arc::new(clock.clone())).open(dir.path().join("s")).unwrap();
    let expires = Timestamp::from_micros(77);
    engine.write(one(|b| b.put(node(1)).put(node(2)).link(Edge::new(id(1), "to", id(2))))).unwrap();
    for in_base in [false, true] {
        let snapshot = engine.snapshot();
        let read = snapshot.get(id(1)).unwrap().unwrap();
        let edge = snapshot.edges_out(id(1)).next().unwrap().unwrap().to_edge().unwrap();
        let touched = read.access_count() + 3;
        clock.set(clock.now().as_micros() + 1_000);
        engine.write(one(|b| b.push(Op::Touch { id: id(1), count: 3 }))).unwrap();
        engine.write(one(|b| b.expire(id(1), Some(expires)))).unwrap();
        if in_base {
            engine.checkpoint().unwrap();
        }
        let (accessed, created) = (clock.now(), read.created());
        clock.set(clock.now().as_micros() + 1_000);
        let copy = read.to_node().unwrap().attribute("n", 1);
        engine
            .write(one(|b| b.put_if_version(copy, read.version()).link(edge.weight(0.5))))
            .unwrap();
        let snapshot = engine.snapshot();
        let after = snapshot.get(id(1)).unwrap().unwrap();
        assert_eq!((after.access_count(), after.expires()), (touched, Some(expires)));
        assert_eq!((after.accessed(), after.created()), (accessed, created));
        assert_eq!(after.updated(), clock.now());
        let edge = snapshot.edges_out(id(1)).next().unwrap().unwrap();
        assert_eq!((edge.weight(), edge.created(), edge.updated()), (0.5, created, clock.now()));
        let never = after.to_node().unwrap().expires(None);
        engine.write(one(|b| b.put(never))).unwrap();
        assert_eq!(engine.snapshot().get(id(1)).unwrap().unwrap().expires(), None);
    }
}

#[test]
fn nothing_is_shown_before_it_is_durable() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let engine = Options::new().fs(faults.handle()).open(dir.path().join("s")).unwrap();
    let first = engine.write(put(1)).unwrap();
    faults.close_gate();
    let ticket = engine.submit(put(2)).unwrap();
    faults.wait_until_held();
    assert!(!ticket.is_done());
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.seq(), first);
    assert!(!snapshot.contains(id(2)).unwrap());
    faults.open_gate();
    ticket.wait().unwrap();
    assert!(engine.snapshot().contains(id(2)).unwrap());
    assert!(!snapshot.contains(id(2)).unwrap());
}

#[test]
fn a_log_file_is_synced_before_the_next_is_begun() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let engine = Options::new()
        .fs(faults.handle())
        .wal_file_bytes(64 << 10)
        .durability(Durability::Os)
        .open(dir.path().join("s"))
        .unwrap();
    let mut rotations = 0;
    for n in 0..40 {
        let files = engine.stats().write.wal_files;
        faults.take_record();
        engine.write(one(|b| b.put(node(n).content(vec![0; 10_000])))).unwrap();
        let calls: Vec<Call> =
            faults.take_record().into_iter().filter(|call| *call != Call::Remove).collect();
        if engine.stats().write.wal_files > files {
            rotations += 1;
            // The old file, then the new one: header, name, and only then frames.
            use Call::{Create, Rename, Sync, SyncDir, Write};
            assert_eq!(calls, [Sync, Create, Write, Sync, Rename, SyncDir, Write]);
        } else {
            assert_eq!(calls, [Call::Write]);
        }
    }
    assert!(rotations >= 5);
}

#[test]
fn a_panic_in_a_commit_leaves_nobody_waiting() {
    for by_the_engines_thread in [false, true] {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let faults = FaultFs::new();
        let engine = Options::new().fs(faults.handle()).open(&path).unwrap();
        engine.write(put(0)).unwrap();
        faults.close_gate();
        faults.panic_at(1, Call::Sync);
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                if by_the_engines_thread {
                    engine.submit(put(1)).unwrap().wait()
                } else {
                    engine.write(put(1))
                }
            });
            faults.wait_until_held();
            let rest: Vec<_> = (2..20).map(|n| engine.submit(put(n)).unwrap()).collect();
            faults.open_gate();
            assert_eq!(first.join().unwrap().unwrap_err().kind(), ErrorKind::Poisoned);
            for ticket in rest {
                assert_eq!(ticket.wait().unwrap_err().kind(), ErrorKind::Poisoned);
            }
        });
        assert_eq!(engine.write(put(30)).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(engine.snapshot().node_count(), 1, "readers keep what was published");
        assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Poisoned);
        assert!(Engine::open(&path).unwrap().snapshot().contains(id(0)).unwrap());
    }
}

/// Submits a batch whose commit is held at its sync, and polls its ticket: this
/// wakes when the gate is opened.
fn polled(engine: &Engine, faults: &FaultFs, wake: impl Wake + Send + Sync + 'static) -> Ticket {
    faults.close_gate();
    let mut ticket = engine.submit(put(1)).unwrap();
    faults.wait_until_held();
    let waker = Waker::from(Arc::new(wake));
    assert!(pin!(&mut ticket).poll(&mut Context::from_waker(&waker)).is_pending());
    ticket
}

/// Holds the thread that wakes it until it is told to go on, then writes and
/// closes.
struct Slow(
    Arc<Engine>,
    std::sync::Mutex<(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>)>,
);

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        let (reached, go_on) = &*self.1.lock().unwrap();
        reached.send(()).unwrap();
        go_on.recv().unwrap();
        // It may be closed by now: then that is the answer.
        match self.0.write(put(1)) {
            Ok(_) | Err(Error::Closed) => {}
            Err(error) => panic!("{error}"),
        }
        self.0.close().unwrap();
        reached.send(()).unwrap();
    }
}

#[test]
fn a_slow_wake_up_holds_up_nobody_else() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let engine = Arc::new(Options::new().fs(faults.handle()).open(dir.path().join("s")).unwrap());
    let ((reached, reach), (go, go_on)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let slow = Slow(Arc::clone(&engine), (reached, go_on).into());
    let _ticket = polled(&engine, &faults, slow);
    faults.open_gate();
    reach.recv().unwrap();
    // The engine's thread is in the waker.
    for n in 2..20 {
        engine.submit(put(n)).unwrap().wait().unwrap();
    }
    thread::scope(|scope| {
        for writer in 1..5_u64 {
            let engine = &engine;
            scope.spawn(move || {
                (0..50).for_each(|n| assert!(engine.write(put(writer << 32 | n)).is_ok()))
            });
        }
    });
    go.send(()).unwrap();
    // Closing here and there at once.
    engine.close().unwrap();
    reach.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(engine.snapshot().node_count(), 219);
}

/// What a task does when it is woken: here it panics.
struct Panic;

impl Wake for Panic {
    fn wake(self: Arc<Self>) {
        panic!("injected panic of a waker");
    }
}

#[test]
fn wakers_that_panic_harm_nobody_else() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let engine = Options::new().fs(faults.handle()).open(dir.path().join("s")).unwrap();
    faults.close_gate();
    let first = engine.submit(put(0)).unwrap();
    faults.wait_until_held();
    let mut woken: Vec<_> = (1..4).map(|n| engine.submit(put(n)).unwrap()).collect();
    let rest: Vec<_> = (4..8).map(|n| engine.submit(put(n)).unwrap()).collect();
    for ticket in &mut woken {
        let waker = Waker::from(Arc::new(Panic));
        assert!(pin!(ticket).poll(&mut Context::from_waker(&waker)).is_pending());
    }
    faults.open_gate();
    first.wait().unwrap();
    for ticket in woken.into_iter().chain(rest) {
        ticket.wait().unwrap();
    }
    engine.write(put(9)).unwrap();
    engine.close().unwrap();
}

/// Lets go of the last handle of the engine.
struct LetGo(std::sync::Mutex<Option<Arc<Engine>>>, bool, std::sync::mpsc::Sender<()>);

impl Wake for LetGo {
    fn wake(self: Arc<Self>) {
        let engine = self.0.lock().unwrap().take().unwrap();
        if self.1 {
            engine.close().unwrap();
        }
        drop(engine);
        self.2.send(()).unwrap();
    }
}

#[test]
fn a_wake_up_may_close_or_drop_the_engine() {
    for close in [false, true] {
        let dir = temp_dir();
        let path = dir.path().join("s");
        let faults = FaultFs::new();
        let engine = Options::new().fs(faults.handle()).open(&path).unwrap();
        let engine = Arc::new(engine);
        let (send, receive) = std::sync::mpsc::channel();
        let let_go = LetGo(Some(Arc::clone(&engine)).into(), close, send);
        let _ticket = polled(&engine, &faults, let_go);
        drop(engine);
        faults.open_gate();
        receive.recv().unwrap();
        assert_eq!(Engine::open(&path).unwrap().snapshot().node_count(), 1);
    }
}

/// Writes to the engine from within the wake-up.
struct WriteAgain(Arc<Engine>, std::sync::mpsc::Sender<u64>);

impl Wake for WriteAgain {
    fn wake(self: Arc<Self>) {
        self.1.send(self.0.write(put(99)).unwrap().get()).unwrap();
    }
}

#[test]
fn a_wake_up_may_write() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let engine = Arc::new(Options::new().fs(faults.handle()).open(dir.path().join("s")).unwrap());
    let (send, receive) = std::sync::mpsc::channel();
    let _ticket = polled(&engine, &faults, WriteAgain(Arc::clone(&engine), send));
    faults.open_gate();
    assert_eq!(receive.recv().unwrap(), 2);
}

#[test]
fn a_creation_is_synced_step_by_step() {
    let dir = temp_dir();
    let faults = FaultFs::new();
    let options = Options::new().fs(faults.handle());
    drop(options.open(dir.path().join("s")).unwrap());
    use Call::{Create, CreateDir, Map, Rename, Sync, SyncDir, Write};
    let calls: Vec<Call> = faults
        .take_record()
        .into_iter()
        .filter(|c| ![Call::List, Call::Remove, Call::Open].contains(c))
        .collect();
    let file = [Create, Write, Sync, Rename, SyncDir];
    // Whether files can be mapped, the store's directory in its parent, the log's and the data's in the
    // store's, the log, and the manifest last.
    let dirs = [CreateDir, Map, SyncDir, CreateDir, CreateDir, SyncDir];
    let expected = [&dirs[..], &file, &file].concat();
    assert_eq!(calls, expected);
}

/// What a batch looks at together, it decides as if each operation came alone.
#[test]
fn a_large_batch_is_decided_as_if_each_operation_came_alone() {
    const NODES: u64 = 200;
    let dir = temp_dir();
    let open = |name: &str| {
        let options = Options::new().index("i").durability(Durability::Os).inline(true);
        let engine = options.open(dir.path().join(name)).unwrap();
        let mut batch = Batch::new();
        for n in 0..NODES {
            let node = Node::new(id(n), "old").content(n.to_le_bytes());
            batch.put(node.key("i", n.to_be_bytes()));
        }
        for n in 0..NODES {
            batch.link(Edge::new(id(n), "next", id((n + 1) % NODES)));
        }
        engine.write(batch).unwrap();
        engine.checkpoint().unwrap();
        engine
    };
    // Each node comes twice, more than three windows apart.
    let node = |at: u64| at * 37 % NODES;
    let op = |batch: &mut Batch, at: u64| {
        let n = node(at);
        match (at < NODES, at % 5) {
            (true, 0) => batch.put(Node::new(id(n), "new").content("new").key("i", [n as u8])),
            (true, 1) => batch.delete(id(n)),
            (true, 2) => batch.unlink(id(n), "next", id((n + 1) % NODES)),
            (true, 3) => {
                let patch = Patch::new().content("patched").keys("i", vec![vec![9; 4]]);
                batch.patch(id(n), patch)
            }
            (true, _) => batch.expire(id(n), Some(Timestamp::from_micros(7))),
            (false, 0) => batch.put(Node::new(id(n), "again")),
            (false, 1) => batch.put(Node::new(id(n), "back").content("back")),
            // To one that was put two windows before.
            (false, 2) => batch.link(Edge::new(id(n), "late", id(node(at - 127)))),
            (false, 3) => batch.touch(id(n)),
            (false, _) => batch.prune(id(n), Timestamp::from_micros(7)),
        };
    };
    let (together, alone) = (open("together"), open("alone"));
    let mut all = Batch::new();
    for at in 0..2 * NODES {
        op(&mut all, at);
        let mut one = Batch::new();
        op(&mut one, at);
        alone.write(one).unwrap();
    }
    together.write(all).unwrap();
    let seen = |engine: &Engine| {
        let snapshot = engine.snapshot();
        let mut nodes = Vec::new();
        let mut edges = Vec::new();
        for n in 0..NODES {
            nodes.push(snapshot.get(id(n)).unwrap().map(|node| {
                (node.kind().to_owned(), node.content().to_vec(), node.access_count())
            }));
            for edge in snapshot.edges_out(id(n)).chain(snapshot.edges_in(id(n))) {
                let edge = edge.unwrap();
                edges.push((edge.kind().to_owned(), edge.source(), edge.target()));
            }
        }
        let keys = snapshot.range("i", KeyRange::all(), Direction::Ascending).unwrap();
        let keys = keys.map(Result::unwrap).map(|entry| (entry.key.to_vec(), entry.node.id()));
        let keys: Vec<_> = keys.collect();
        (nodes, edges, keys, snapshot.node_count(), snapshot.edge_count(), snapshot.key_count())
    };
    assert_eq!(seen(&together), seen(&alone));
    assert_eq!(together.snapshot().node_count(), 160);
    for engine in [&together, &alone] {
        engine.checkpoint().unwrap();
        assert!(engine.verify().unwrap().is_sound());
    }
    assert_eq!(seen(&together), seen(&alone));
}
