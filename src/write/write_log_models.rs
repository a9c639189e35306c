//! Loom models of the write log and its tickets.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use loom::thread::{self, Thread};

use crate::{
    format::wal::Payload,
    model::{
        batch::Durability,
        error::Error,
        time::{Seq, Timestamp},
    },
    os::{clock::Clock, process::Owner},
    sync::{
        atomic::{AtomicU64, Ordering},
        models::{explore, spawn},
    },
    write::{
        ticket::{Pending, Ticket, wake},
        write_log::WriteLog,
    },
};

fn batch(bytes: usize) -> (Pending, Ticket) {
    Pending::new(
        Timestamp::from_micros(0),
        Vec::new(),
        Payload::from_bytes(vec![0; bytes]),
        Durability::Os,
        Owner::current(),
    )
}

/// A clock that a model sets. It is read by a read-modify-write, so that no
/// thread sees an older time than was seen before.
#[derive(Debug)]
struct SetClock(AtomicU64);

impl SetClock {
    fn stopped() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(0, Ordering::AcqRel))
    }
}

fn push(log: &WriteLog, bytes: usize) {
    let (pending, _ticket) = batch(bytes);
    log.push(pending, Duration::MAX, &SetClock::stopped(), || {}).unwrap();
}

fn assert_nothing_is_reserved(log: &WriteLog) {
    assert!(log.is_empty());
    assert_eq!((log.batches.load(Ordering::Relaxed), log.bytes()), (0, 0));
}

#[test]
fn an_answer_reaches_who_waits() {
    explore(None, || {
        let (pending, ticket) = batch(1);
        let waiter = spawn(move || ticket.wait());
        assert!(pending.answer(Ok(Seq::new(7))).is_none());
        assert_eq!(waiter.join().unwrap().unwrap(), Seq::new(7));
    });
}

#[test]
fn a_batch_that_is_dropped_answers_too() {
    explore(None, || {
        let (pending, ticket) = batch(1);
        let dropper = spawn(move || drop(pending));
        assert!(matches!(ticket.wait(), Err(Error::Poisoned { .. })));
        dropper.join().unwrap();
    });
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls as one task, then as another, as happens to a future that is moved.
#[test]
fn an_answer_wakes_whoever_polled_last() {
    explore(None, || {
        let (pending, ticket) = batch(1);
        let poller = spawn(move || {
            let mut ticket = pin!(ticket);
            let mut context = Context::from_waker(Waker::noop());
            let _ = ticket.as_mut().poll(&mut context);
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut context = Context::from_waker(&waker);
            loop {
                match ticket.as_mut().poll(&mut context) {
                    Poll::Ready(answer) => return answer,
                    Poll::Pending => thread::park(),
                }
            }
        });
        wake(pending.answer(Ok(Seq::new(7))));
        assert_eq!(poller.join().unwrap().unwrap(), Seq::new(7));
    });
}

/// A writer that is held by a full log goes on once there is space.
#[test]
fn space_that_is_made_is_seen_by_writers_that_are_held() {
    explore(Some(2), || {
        let log = Arc::new(WriteLog::new(2, 1 << 20));
        push(&log, 1);
        push(&log, 1);
        let writers = [(); 2].map(|()| {
            let log = Arc::clone(&log);
            spawn(move || push(&log, 1))
        });
        for _ in 0..2 {
            assert!(log.pop().is_some());
        }
        for writer in writers {
            writer.join().unwrap();
        }
        assert!(log.pop().is_some() && log.pop().is_some());
        assert_nothing_is_reserved(&log);
    });
}

/// The same by bytes: a large batch needs the space of several.
#[test]
fn a_large_batch_gets_the_space_of_small_ones() {
    explore(Some(3), || {
        let log = Arc::new(WriteLog::new(8, 2));
        push(&log, 1);
        push(&log, 1);
        let writer = {
            let log = Arc::clone(&log);
            spawn(move || push(&log, 2))
        };
        assert!(log.pop().is_some() && log.pop().is_some());
        writer.join().unwrap();
        assert_eq!(log.pop().unwrap().weight(), 2);
        assert_nothing_is_reserved(&log);
    });
}

/// A wait times out while space is made: the batch is in the log, or it is not
/// and nothing is reserved for it.
#[test]
fn a_deadline_leaves_nothing_behind() {
    explore(Some(3), || {
        let log = Arc::new(WriteLog::new(1, 1 << 20));
        push(&log, 1);
        let clock = Arc::new(SetClock::stopped());
        let writer = {
            let (log, clock) = (Arc::clone(&log), Arc::clone(&clock));
            spawn(move || {
                let (pending, ticket) = batch(1);
                let pushed = log.push(pending, Duration::from_millis(10), &*clock, || {});
                let pushed = pushed.map_err(Error::from);
                match pushed {
                    Ok(()) => assert!(!ticket.is_done()),
                    Err(Error::Backpressure { waited_ms: 10, .. }) => assert!(ticket.is_done()),
                    Err(other) => panic!("{other}"),
                }
                pushed.is_ok()
            })
        };
        let time = {
            let log = Arc::clone(&log);
            spawn(move || {
                clock.0.fetch_add(10, Ordering::AcqRel);
                log.freed.notify_all();
            })
        };
        assert!(log.pop().is_some());
        time.join().unwrap();
        let pushed = writer.join().unwrap();
        assert_eq!(log.pop().is_some(), pushed);
        assert_nothing_is_reserved(&log);
    });
}

/// More writers than there is space for, which do not wait, while a batch is
/// taken.
#[test]
fn the_bounds_hold_whoever_comes_first() {
    explore(Some(3), || {
        let log = Arc::new(WriteLog::new(2, 3));
        let writers = [2, 2].map(|bytes| {
            let log = Arc::clone(&log);
            spawn(move || log.try_push(batch(bytes).0).is_ok())
        });
        let mut taken = usize::from(log.pop().is_some());
        assert!(log.bytes() <= 3 && log.batches.load(Ordering::Relaxed) <= 2);
        let pushed = writers.map(|writer| usize::from(writer.join().unwrap()));
        while log.pop().is_some() {
            taken += 1;
        }
        assert_eq!(pushed.iter().sum::<usize>(), taken);
        assert!(taken > 0, "two may be refused only by one that is in");
        assert_nothing_is_reserved(&log);
    });
}
