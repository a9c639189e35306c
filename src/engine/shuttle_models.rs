//! Whole engines, with both their threads, on a disk in memory, in random orders.

use std::{
    collections::BTreeSet,
    path::Path,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll, Wake, Waker},
};

use super::*;
use shuttle::thread::{self, JoinHandle};

use crate::{
    model::{edge::Edge, error::ErrorKind, id::NodeId, key::KeyRange, node::Node},
    os::sim::{Call, Failure, SimDisk},
    read::cursor::Direction,
    state::State,
    store::segment,
    sync::models::{explore, time},
};

const DIR: &str = "/store";

/// A clock that advances with every reading, so that publishing has a cost and it
/// pays to let batches gather.
#[derive(Debug, Default)]
struct SlowClock(AtomicU64);

impl Clock for SlowClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }

    fn monotonic(&self) -> Duration {
        time::now() + Duration::from_micros(50 * self.0.fetch_add(1, Relaxed))
    }
}

/// Options with which batches do not gather, unless a model changes that: the
/// clock may stand still.
fn options(disk: &SimDisk) -> Options {
    Options::new()
        .fs(Arc::new(disk.clone()))
        .clock(Arc::new(SlowClock::default()))
        .durability(Durability::Os)
        .patience(Duration::from_secs(3_600))
        .publish_interval(Duration::ZERO)
        .log_chunk_bytes(4 << 10)
        .kind_run(8)
        .index("rounds")
}

fn open(options: Options) -> Arc<Engine> {
    Arc::new(options.open(DIR).unwrap())
}

fn spawn<T: Send + 'static>(
    engine: &Arc<Engine>,
    work: impl FnOnce(&Engine) -> T + Send + 'static,
) -> JoinHandle<T> {
    let engine = Arc::clone(engine);
    thread::spawn(move || work(&engine))
}

fn id(writer: u8, partition: u8) -> NodeId {
    NodeId::from_content(&[writer, partition])
}

/// Round `n` of a writer: both its nodes have `n` in content, key and edges in both
/// directions. A snapshot with two different numbers shows half a batch.
fn round(writer: u8, n: u8) -> Batch {
    sized_round(writer, n, 1)
}

fn sized_round(writer: u8, n: u8, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    for partition in 0..2 {
        let node = Node::new(id(writer, partition), "half").content(vec![n; bytes]);
        batch.put(node.key("rounds", [writer, n, partition]));
    }
    batch.link(Edge::new(id(writer, 0), "forth", id(writer, 1)).weight(n.into()));
    batch.link(Edge::new(id(writer, 1), "back", id(writer, 0)).weight(n.into()));
    batch
}

/// The round of a writer that a snapshot shows; 0 before the first.
fn seen(snapshot: &Snapshot, writer: u8) -> u8 {
    let nodes = snapshot.get_many(&[id(writer, 0), id(writer, 1)]).unwrap();
    let [Some(a), Some(b)] = nodes[..] else {
        assert!(nodes.iter().all(Option::is_none), "half a batch: one node of two");
        return 0;
    };
    let n = a.content()[0];
    assert_eq!((n, a.version()), (b.content()[0], b.version()), "half a batch: two rounds");
    for partition in 0..2 {
        for mut edges in [
            snapshot.edges_out(id(writer, partition)).map(|edge| edge.unwrap().weight()).collect(),
            snapshot
                .edges_in(id(writer, partition))
                .map(|edge| edge.unwrap().weight())
                .collect::<Vec<_>>(),
        ] {
            assert_eq!((edges.pop(), edges.pop()), (Some(f64::from(n)), None));
        }
    }
    let keys = snapshot.range("rounds", KeyRange::prefix(&[writer]), Direction::Ascending).unwrap();
    assert!(keys.map(|entry| entry.unwrap().key[1]).eq([n, n]), "half a batch: keys");
    n
}

fn write(engine: &Engine, writer: u8, n: u8) {
    let seq = engine.write(round(writer, n)).unwrap();
    let snapshot = engine.snapshot();
    assert!(snapshot.seq() >= seq, "acknowledged and not visible");
    assert_eq!(seen(&snapshot, writer), n);
}

/// Takes a few snapshots, which must never go backwards.
fn watch(engine: &Engine, writers: u8) {
    let mut last = (Seq::ZERO, vec![0; writers.into()]);
    for _ in 0..3 {
        let snapshot = engine.snapshot();
        let now: Vec<u8> = (0..writers).map(|writer| seen(&snapshot, writer)).collect();
        assert!(snapshot.seq() >= last.0, "time runs backwards");
        assert!(now.iter().zip(&last.1).all(|(now, last)| now >= last), "time runs backwards");
        last = (snapshot.seq(), now);
    }
}

/// The names of the data files on the disk.
fn files(disk: &SimDisk) -> BTreeSet<PathBuf> {
    let dir = Path::new(DIR).join(segment::DIR);
    let names = disk.list(&dir).unwrap();
    names.into_iter().map(|name| dir.join(name)).collect()
}

/// The data files that a state reads.
fn files_of(state: &State) -> BTreeSet<PathBuf> {
    state.base().segments().map(|segment| segment.path().to_owned()).collect()
}

/// Opens the store again, and verifies it.
fn reopen(disk: &SimDisk) -> Arc<Engine> {
    let engine = open(options(disk));
    let report = engine.verify().unwrap();
    assert!(report.is_sound(), "{report:?}");
    engine
}

#[test]
fn writers_readers_and_checkpoints() {
    explore(400, false, || {
        let disk = SimDisk::new();
        let engine = open(options(&disk).wal_bytes(4 << 10).wal_file_bytes(64 << 10));
        let writer = spawn(&engine, |engine| (1..=3).for_each(|n| write(engine, 0, n)));
        let submitter = spawn(&engine, |engine| {
            let tickets = [1, 2].map(|n| engine.submit(round(1, n)).unwrap());
            write(engine, 1, 3);
            let seqs = tickets.map(|ticket| ticket.wait().unwrap());
            assert!(seqs[0] < seqs[1], "one thread's batches are committed in its order");
        });
        let reader = spawn(&engine, |engine| watch(engine, 2));
        let keeper = spawn(&engine, |engine| {
            let before = engine.snapshot().seq();
            assert!(engine.checkpoint().unwrap() >= before);
            engine.compact().unwrap();
        });
        for thread in [writer, submitter, reader, keeper] {
            thread.join().unwrap();
        }
        assert_eq!(engine.snapshot().seq(), Seq::new(7));
        engine.close().unwrap();
        let engine = reopen(&disk);
        assert_eq!([0, 1].map(|writer| seen(&engine.snapshot(), writer)), [3, 3]);
    });
}

/// A file of the base exists as long as a snapshot reads it, and no longer.
#[test]
fn files_stay_with_their_snapshots() {
    explore(400, false, || {
        let disk = SimDisk::new();
        let engine = open(options(&disk).tiny_partition_bytes(64));
        write(&engine, 0, 1);
        engine.checkpoint().unwrap();
        let keeper = spawn(&engine, |engine| {
            write(engine, 0, 2);
            engine.checkpoint().unwrap();
            engine.compact().unwrap();
        });
        let readers = [(); 2].map(|()| {
            let disk = disk.clone();
            spawn(&engine, move |engine| {
                for _ in 0..2 {
                    let state = engine.reconciler.state();
                    let snapshot = Snapshot::new(Arc::clone(&state));
                    let before = seen(&snapshot, 0);
                    thread::yield_now();
                    assert!(files_of(&state).is_subset(&files(&disk)), "a file is gone");
                    assert_eq!(seen(&snapshot, 0), before, "a snapshot changes");
                }
            })
        });
        keeper.join().unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
        assert_eq!(files_of(&engine.reconciler.state()), files(&disk), "a file stays");
        engine.close().unwrap();
    });
}

/// Closing leaves a sound store. Its files are not changed afterwards, also not by
/// threads that still hold the engine.
#[test]
fn closing_answers_everybody_and_then_touches_nothing() {
    explore(400, false, || {
        let disk = SimDisk::new();
        let engine = open(options(&disk).wal_bytes(4 << 10).tiny_partition_bytes(64));
        write(&engine, 2, 1);
        engine.checkpoint().unwrap();
        let held = engine.snapshot();
        let closed = |error: &Error| error.kind() == ErrorKind::Closed;
        let writer = spawn(&engine, move |engine| {
            let written = engine.write(round(0, 1));
            assert!(written.as_ref().err().is_none_or(closed), "{written:?}");
            u8::from(written.is_ok())
        });
        let submitter = spawn(&engine, move |engine| {
            let mut last = 0;
            for n in 1..=2 {
                let written = engine.submit(round(1, n)).and_then(Ticket::wait);
                assert!(written.as_ref().err().is_none_or(closed), "{written:?}");
                last = if written.is_ok() { n } else { last };
            }
            last
        });
        let keeper = spawn(&engine, move |engine| {
            for done in [engine.checkpoint(), engine.compact()] {
                assert!(done.as_ref().err().is_none_or(closed), "{done:?}");
            }
        });
        let other = spawn(&engine, |engine| engine.close().unwrap());
        // One of the two closes; the other does not wait for it.
        engine.close().unwrap();
        other.join().unwrap();
        let written = [writer.join().unwrap(), submitter.join().unwrap()];
        keeper.join().unwrap();
        let operations = disk.operations();
        assert_eq!(seen(&held, 2), 1);
        drop(held);
        assert_eq!(disk.operations(), operations, "the store is somebody else's by now");
        let engine = reopen(&disk);
        assert_eq!([0, 1].map(|writer| seen(&engine.snapshot(), writer)), written);
    });
}

/// Dropping an engine ends its threads, whatever they are doing.
#[test]
fn dropping_ends_the_threads() {
    explore(400, false, || {
        let disk = SimDisk::new();
        let engine = open(options(&disk).wal_bytes(4 << 10));
        let ticket = engine.submit(round(0, 1)).unwrap();
        engine.maintenance.request();
        drop(engine);
        let written = ticket.wait().is_ok();
        assert_eq!(seen(&reopen(&disk).snapshot(), 0), u8::from(written));
    });
}

/// The clock stands still: a writer that is held by a full log continues only
/// because there is space.
#[test]
fn a_full_log_holds_writers_until_there_is_space() {
    explore(400, false, || {
        let disk = SimDisk::new();
        let engine = open(options(&disk).write_log_batches(1));
        let writers = [0, 1, 2].map(|writer| {
            spawn(&engine, move |engine| {
                let ticket = engine.submit(round(writer, 1)).unwrap();
                write(engine, writer, 2);
                ticket.wait().unwrap();
            })
        });
        for writer in writers {
            writer.join().unwrap();
        }
        engine.close().unwrap();
        assert_eq!(engine.snapshot().seq(), Seq::new(7));
    });
}

/// The clock runs: a writer that is held long enough is refused, and its batch is
/// not in the store.
#[test]
fn a_full_log_refuses_writers_at_their_deadline() {
    explore(400, true, || {
        let disk = SimDisk::new();
        let patience = Duration::from_millis(10);
        let options = options(&disk).write_log_batches(1).publish_interval(patience);
        let engine = open(options.patience(patience));
        let writers = [0, 1, 2].map(|writer| {
            spawn(&engine, move |engine| {
                let mut last = 0;
                let mut tickets = Vec::new();
                for n in 1..=3 {
                    match engine.submit(round(writer, n)) {
                        Ok(ticket) => {
                            tickets.push(ticket);
                            last = n;
                        }
                        Err(Error::Backpressure { waited_ms, .. }) => assert!(waited_ms >= 10),
                        Err(other) => panic!("{other}"),
                    }
                }
                tickets.into_iter().for_each(|ticket| assert!(ticket.wait().is_ok()));
                last
            })
        });
        let last = writers.map(|writer| writer.join().unwrap());
        assert_eq!([0, 1, 2].map(|writer| seen(&engine.snapshot(), writer)), last);
        engine.close().unwrap();
    });
}

/// A delta that has used up its budget holds writers until a checkpoint has written
/// it to the base. The writers request that checkpoint.
#[test]
fn a_full_delta_holds_writers_until_a_checkpoint() {
    for passes in [false, true] {
        explore(150, passes, move || {
            let disk = SimDisk::new();
            let engine = open(options(&disk).delta_bytes(256 << 10));
            let writers = [0, 1].map(|writer| {
                spawn(&engine, move |engine| {
                    for n in 1..=3 {
                        match engine.write(sized_round(writer, n, 50_000)) {
                            Ok(_) => {}
                            Err(Error::Backpressure { .. }) if passes => return n - 1,
                            Err(other) => panic!("{other}"),
                        }
                    }
                    3
                })
            });
            let last = writers.map(|writer| writer.join().unwrap());
            assert_eq!([0, 1].map(|writer| seen(&engine.snapshot(), writer)), last);
            engine.close().unwrap();
            assert_eq!([0, 1].map(|writer| seen(&reopen(&disk).snapshot(), writer)), last);
        });
    }
}

/// A writer that is held by a full delta, for which no checkpoint comes, is
/// released when the engine closes or its log fails. The clock stands still.
#[test]
fn closing_and_failing_let_held_writers_go() {
    for closes in [true, false] {
        explore(300, false, move || {
            let disk = SimDisk::new();
            let engine = open(options(&disk).delta_bytes(256 << 10));
            disk.fail(1, Some(Call::Map), Failure::NoSpace, true);
            engine.write(sized_round(0, 1, 150_000)).unwrap();
            let held = spawn(&engine, |engine| engine.write(round(1, 1)).unwrap_err().kind());
            let other = spawn(&engine, move |engine| {
                if closes {
                    let _ = engine.close();
                } else {
                    engine.reconciler.fail();
                }
            });
            let kind = held.join().unwrap();
            assert_eq!(kind, if closes { ErrorKind::Closed } else { ErrorKind::Poisoned });
            other.join().unwrap();
        });
    }
}

/// A waker that runs a closure in the thread that answers.
struct Then<F>(F);

impl<F: Fn() + Send + Sync> Wake for Then<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// Polls a ticket once, with a waker. Returns whether it is pending.
fn leave(ticket: &mut Ticket, then: impl Fn() + Send + Sync + 'static) -> bool {
    let waker = Waker::from(Arc::new(Then(then)));
    matches!(pin!(ticket).poll(&mut Context::from_waker(&waker)), Poll::Pending)
}

/// A waker writes, another closes the engine, in whichever thread they are
/// called: other threads continue.
#[test]
fn wakers_that_write_and_close() {
    explore(400, false, || {
        let disk = SimDisk::new();
        let engine = open(options(&disk));
        let writer = spawn(&engine, |engine| {
            let written = engine.write(round(2, 1));
            assert!(written.is_ok() || matches!(written, Err(Error::Closed)), "{written:?}");
        });
        let mut first = engine.submit(round(0, 1)).unwrap();
        let mut second = engine.submit(round(1, 1)).unwrap();
        let waking = Arc::downgrade(&engine);
        leave(&mut first, move || {
            let written = waking.upgrade().unwrap().write(round(0, 2));
            assert!(written.is_ok() || matches!(written, Err(Error::Closed)), "{written:?}");
        });
        let waking = Arc::downgrade(&engine);
        leave(&mut second, move || waking.upgrade().unwrap().close().unwrap());
        let keeper = spawn(&engine, |engine| {
            let done = engine.checkpoint();
            assert!(done.is_ok() || done.unwrap_err().kind() == ErrorKind::Closed);
        });
        first.wait().unwrap();
        second.wait().unwrap();
        writer.join().unwrap();
        keeper.join().unwrap();
        engine.close().unwrap();
    });
}

/// A sync fails: all writers are answered, none is acknowledged afterwards, and
/// readers are not affected.
#[test]
fn a_log_that_fails_answers_everybody() {
    explore(400, false, || {
        let disk = SimDisk::new();
        let engine = open(options(&disk).durability(Durability::Sync).write_log_batches(2));
        let fault = {
            let disk = disk.clone();
            thread::spawn(move || disk.fail(2, Some(Call::Sync), Failure::LoseDirty, false))
        };
        let writers = [0, 1, 2].map(|writer| {
            spawn(&engine, move |engine| {
                let mut last = 0;
                for n in 1..=2 {
                    match engine.write(round(writer, n)) {
                        Ok(_) if last + 1 == n => last = n,
                        Err(Error::Poisoned { .. }) => {}
                        other => panic!("{other:?}"),
                    }
                }
                last
            })
        });
        let reader = spawn(&engine, |engine| watch(engine, 3));
        let keeper = spawn(&engine, |engine| drop(engine.checkpoint()));
        let last = writers.map(|writer| writer.join().unwrap());
        for thread in [fault, reader, keeper] {
            thread.join().unwrap();
        }
        let shown = [0, 1, 2].map(|writer| seen(&engine.snapshot(), writer));
        assert_eq!(shown, last, "readers see what was acknowledged");
        disk.heal();
        let _ = engine.close();
        drop(engine);
        let engine = reopen(&disk);
        let found = [0, 1, 2].map(|writer| seen(&engine.snapshot(), writer));
        assert!(found.iter().zip(&last).all(|(found, last)| found >= last), "{found:?} {last:?}");
    });
}

/// Automatic and requested checkpoints fail while the engine closes: the thread
/// does not wait until the end of its pause.
#[test]
fn checkpoints_that_fail_keep_nobody() {
    explore(400, false, || {
        let disk = SimDisk::new();
        let engine = open(options(&disk).wal_bytes(4 << 10));
        disk.fail(1, Some(Call::Map), Failure::NoSpace, true);
        let writer = spawn(&engine, |engine| {
            let written = engine.write(sized_round(0, 1, 4_000));
            assert!(written.is_ok() || matches!(written, Err(Error::Closed)), "{written:?}");
            u8::from(written.is_ok())
        });
        let keeper = spawn(&engine, |engine| drop(engine.checkpoint()));
        let _ = engine.close();
        let last = writer.join().unwrap();
        keeper.join().unwrap();
        disk.heal();
        assert_eq!(seen(&reopen(&disk).snapshot(), 0), last);
    });
}
