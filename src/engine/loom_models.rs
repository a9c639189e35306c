//! The hand-over of the step between writers, the reconciler's thread,
//! checkpoints and closing: a real reconciler on a disk in memory, in every order.

use std::{
    path::Path,
    pin::pin,
    task::{Context, Poll, Wake, Waker},
};

use super::*;
use loom::thread::JoinHandle;

use crate::{
    engine::{open, prune::Pruner},
    model::{id::NodeId, node::Node},
    os::{process::Owner, sim::SimDisk},
    state::layer::Frozen,
    sync::models::{explore, spawn},
};

/// A new store, without an engine around it.
struct Bench {
    reconciler: Arc<Reconciler>,
    checkpointer: Arc<Checkpointer>,
    maintenance: Arc<MaintenanceWorker>,
    clock: Arc<dyn Clock>,
    /// Without it, the file system refuses to create files.
    _lock: Arc<dyn Lock>,
}

impl Bench {
    /// Starts the thread that makes checkpoints.
    fn keep(&self) -> JoinHandle<()> {
        let Self { reconciler, checkpointer, maintenance, clock, .. } = self;
        let (reconciler, checkpointer) = (Arc::clone(reconciler), Arc::clone(checkpointer));
        let (working, clock) = (Arc::clone(maintenance), Arc::clone(clock));
        let owner = Owner::current();
        let pruner = Pruner::new(Arc::clone(&reconciler), Arc::clone(&clock), owner, None, 1 << 20);
        spawn(move || working.work(&reconciler, &checkpointer, &pruner, &*clock, owner))
    }
}

/// A new store with this budget, and the committing thread unless it is inline.
fn start(inline: bool, delta_bytes: usize) -> (Bench, Option<JoinHandle<()>>) {
    let disk = SimDisk::new();
    let mut options = Options::new()
        .fs(Arc::new(disk.clone()))
        .clock(Arc::new(disk.clock()))
        .durability(Durability::Os)
        .kind_run(8)
        .inline(inline);
    let dir = Path::new("/store");
    let opened = open::open(dir, &mut options, RebuildSignal::default()).unwrap();
    let maintenance = Arc::new(MaintenanceWorker::default());
    let worker = Arc::clone(&maintenance);
    let reconciler = Arc::new(Reconciler::new(Start {
        fs: Arc::clone(&options.fs),
        clock: Arc::clone(&options.clock),
        wal_dir: dir.join(wal::DIR),
        store: opened.manifest.store,
        writer: opened.writer,
        state: opened.state,
        entries: 8,
        bytes: 1 << 20,
        max_interval: Duration::ZERO,
        inline,
        delta_bytes,
        delta_vectors: options.delta_vectors,
        wal_bytes: options.wal_bytes,
        checkpoint: Box::new(move || worker.request()),
    }));
    let worker = (!inline).then(|| {
        let reconciler = Arc::clone(&reconciler);
        spawn(move || reconciler.work())
    });
    let checkpointer = Arc::new(Checkpointer::new(
        options.fs,
        dir,
        Arc::clone(&reconciler),
        Limits {
            partition_bytes: 1 << 20,
            index_rows: 64,
            graph_rows: 64,
            graph_bytes: 1 << 20,
            threads: 1,
            write_chunk_bytes: options.granularity.write_chunk_bytes,
        },
        opened.manifest,
    ));
    (
        Bench { reconciler, checkpointer, maintenance, clock: options.clock, _lock: opened.lock },
        worker,
    )
}

fn batch(n: u64) -> (Pending, Ticket) {
    let mut batch = Batch::new();
    batch.put(Node::new(NodeId::from_content(&n.to_le_bytes()), "n"));
    let (time, mut ops) = (Timestamp::from_micros(0), batch.take_ops());
    let payload = Payload::encode(time, &mut ops).unwrap();
    Pending::new(time, ops, payload, Durability::Sync, Owner::current())
}

/// Writes as [`Engine::write`] does.
fn write(reconciler: &Reconciler, n: u64) -> Result<Seq> {
    let (pending, ticket) = batch(n);
    reconciler.queue(pending, Duration::MAX)?;
    let seq = reconciler.see_through(ticket)?;
    assert!(reconciler.state().seq() >= seq, "acknowledged and visible");
    Ok(seq)
}

fn submit(reconciler: &Reconciler, n: u64) -> Result<Ticket> {
    let (pending, ticket) = batch(n);
    reconciler.queue(pending, Duration::MAX)?;
    reconciler.hand_over();
    Ok(ticket)
}

fn end(reconciler: &Reconciler, worker: Option<JoinHandle<()>>, commits: u64) {
    assert_eq!(reconciler.close().unwrap(), Seq::new(commits));
    if let Some(worker) = worker {
        worker.join().unwrap();
    }
    assert_eq!(reconciler.state().seq(), Seq::new(commits));
    assert_eq!(reconciler.stats(true).queued, 0);
}

#[test]
fn one_of_two_writers_takes_the_step_for_both() {
    explore(Some(2), || {
        let (Bench { reconciler, .. }, _) = start(true, 1 << 20);
        let other = {
            let reconciler = Arc::clone(&reconciler);
            spawn(move || write(&reconciler, 1).unwrap())
        };
        let mine = write(&reconciler, 2).unwrap();
        assert_ne!(other.join().unwrap(), mine);
        end(&reconciler, None, 2);
    });
}

#[test]
fn what_a_writer_leaves_behind_the_thread_takes() {
    explore(Some(2), || {
        let (Bench { reconciler, .. }, worker) = start(false, 1 << 20);
        let other = {
            let reconciler = Arc::clone(&reconciler);
            spawn(move || write(&reconciler, 1).unwrap())
        };
        write(&reconciler, 2).unwrap();
        other.join().unwrap();
        end(&reconciler, worker, 2);
    });
}

#[test]
fn what_is_submitted_the_thread_takes() {
    explore(Some(2), || {
        let (Bench { reconciler, .. }, worker) = start(false, 1 << 20);
        let other = {
            let reconciler = Arc::clone(&reconciler);
            spawn(move || submit(&reconciler, 1).unwrap().wait().unwrap())
        };
        submit(&reconciler, 2).unwrap().wait().unwrap();
        other.join().unwrap();
        end(&reconciler, worker, 2);
    });
}

/// A checkpoint holds the core for a short time. The batch of a writer that finds
/// the core locked is taken by the thread, or by the checkpoint.
#[test]
fn a_batch_that_meets_a_checkpoint_is_taken() {
    for inline in [true, false] {
        explore(Some(2), move || {
            let (Bench { reconciler, .. }, worker) = start(inline, 1 << 20);
            let writer = {
                let reconciler = Arc::clone(&reconciler);
                spawn(move || write(&reconciler, 1).unwrap())
            };
            let frozen: Option<(Arc<Frozen>, _)> = reconciler.freeze().unwrap();
            reconciler.wake_deferred();
            writer.join().unwrap();
            assert!(frozen.is_none_or(|(frozen, _)| frozen.seq() == Seq::new(1)));
            end(&reconciler, worker, 1);
        });
    }
}

/// Waits for the answer to another batch, in the thread that gives the answer
/// to this one.
struct WaitFor(Mutex<Option<(Ticket, Pending)>>);

impl Wake for WaitFor {
    fn wake(self: Arc<Self>) {
        let (ticket, woken) = self.0.lock().unwrap().take().unwrap();
        ticket.wait().unwrap();
        assert!(woken.answer(Ok(Seq::ZERO)).is_none());
    }
}

/// A waker may wait for another batch. Whoever queued that batch sees that the
/// thread is busy, and commits it.
#[test]
fn a_batch_is_taken_while_the_thread_is_with_a_waker() {
    explore(Some(2), || {
        let (Bench { reconciler, .. }, worker) = start(false, 1 << 20);
        let (first, mut ticket) = batch(1);
        let (second, awaited) = batch(2);
        let (waking, woken) = batch(3);
        let waker = Waker::from(Arc::new(WaitFor(Mutex::new(Some((awaited, waking))))));
        let polled = pin!(&mut ticket).poll(&mut Context::from_waker(&waker));
        assert!(matches!(polled, Poll::Pending));
        reconciler.queue(first, Duration::MAX).unwrap();
        reconciler.hand_over();
        reconciler.queue(second, Duration::MAX).unwrap();
        reconciler.hand_over();
        ticket.wait().unwrap();
        // Before closing, which would commit what is left.
        woken.wait().unwrap();
        end(&reconciler, worker, 2);
    });
}

/// A writer that comes while the engine closes is answered: by the thread, by the
/// closing thread, or by itself after both.
#[test]
fn closing_answers_everybody() {
    explore(Some(2), || {
        let (Bench { reconciler, .. }, worker) = start(false, 1 << 20);
        let writer = {
            let reconciler = Arc::clone(&reconciler);
            spawn(move || write(&reconciler, 1))
        };
        let submitter = {
            let reconciler = Arc::clone(&reconciler);
            spawn(move || submit(&reconciler, 2)?.wait())
        };
        let last = reconciler.close().unwrap();
        if let Some(worker) = worker {
            worker.join().unwrap();
        }
        let mut commits = 0;
        for answer in [writer.join().unwrap(), submitter.join().unwrap()] {
            match answer {
                Ok(seq) => {
                    assert!(seq <= last, "acknowledged and not synced");
                    commits += 1;
                }
                Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
            }
        }
        assert_eq!((last, reconciler.state().seq()), (Seq::new(commits), Seq::new(commits)));
        assert_eq!(reconciler.stats(true).queued, 0);
    });
}

/// The maintenance thread sees the request to stop, however early it comes.
#[test]
fn the_second_thread_hears_that_it_is_to_end() {
    explore(Some(2), || {
        let (bench, worker) = start(true, 1 << 20);
        let keeper = bench.keep();
        bench.maintenance.stop();
        keeper.join().unwrap();
        end(&bench.reconciler, worker, 0);
    });
}

/// A writer that is held until there is a checkpoint gets one, however early
/// it is requested.
#[test]
fn a_writer_that_is_held_gets_a_checkpoint() {
    explore(Some(1), || {
        let (bench, worker) = start(false, 1);
        let keeper = bench.keep();
        write(&bench.reconciler, 1).unwrap();
        write(&bench.reconciler, 2).unwrap();
        bench.maintenance.stop();
        keeper.join().unwrap();
        end(&bench.reconciler, worker, 2);
    });
}
