//! The engine compared with a model of plain maps: random batches of all
//! operations, with reopenings in between, and a comparison of every read after
//! each.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use ingrain::{Engine, Error, Op, Seq, Snapshot, Timestamp};
use proptest::{collection::vec, prelude::*};

use crate::harness::{
    any::any_op,
    clocks::TestClock,
    dirs::temp_dir,
    oracle::{Oracle, Refused, batch, options, renames},
};

#[derive(Debug, Clone)]
enum Action {
    Write(Vec<Op>, bool),
    /// Batches submitted together, then waited for.
    Submit(Vec<Vec<Op>>),
    Close,
    /// Dropped without a word.
    Drop,
    Checkpoint,
    Compact,
    /// Kinds, indexes or spaces get other names.
    Rename(usize),
    /// Backed up; from then on the backup is the store, or it stays as it is.
    Backup(bool),
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (vec(any_op(), 1..8), any::<bool>()).prop_map(|(ops, sync)| Action::Write(ops, sync)),
        3 => vec(vec(any_op(), 1..4), 1..5).prop_map(Action::Submit),
        1 => Just(Action::Close),
        1 => Just(Action::Drop),
        3 => Just(Action::Checkpoint),
        1 => Just(Action::Compact),
        3 => (0..60_usize).prop_map(Action::Rename),
        1 => any::<bool>().prop_map(Action::Backup),
    ]
}

/// With `steps`, the engine has no threads and is always in a checkpoint, of
/// which each write does a step: reads go over three levels.
fn open(path: &Path, clock: &TestClock, steps: bool) -> Engine {
    let options = options().clock(Arc::new(clock.clone()));
    let options = if steps { options.inline(true).wal_bytes(4 << 10) } else { options };
    options.open(path).unwrap()
}

fn compare(answer: Result<Seq, Error>, expected: Result<bool, Refused>, oracle: &Oracle) {
    match (answer, expected) {
        (Ok(seq), Ok(_)) => assert_eq!(seq.get(), oracle.seq),
        (Err(error), Err(expected)) => assert!(expected.is(&error), "{error}, not {expected:?}"),
        (answer, expected) => panic!("engine: {answer:?}, oracle: {expected:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_read_agrees_with_plain_maps(actions in vec(any_action(), 1..24), steps in any::<bool>()) {
        let dir = temp_dir();
        let mut path = dir.path().join("store");
        let clock = TestClock::default();
        let mut engine = open(&path, &clock, steps);
        // The spaces and indexes of the options took the first commit.
        let mut oracle = Oracle::after(1);
        let mut backups: Vec<(PathBuf, Oracle)> = Vec::new();
        // Held to the end: none may change.
        let mut held: Vec<(Snapshot, Oracle)> = Vec::new();
        for (step, action) in actions.into_iter().enumerate() {
            let before = engine.snapshot().digest().unwrap();
            let rests = !matches!(
                action,
                Action::Write(..) | Action::Submit(_) | Action::Rename(_)
            );
            // Time goes back now and then.
            let now = i64::try_from(step * 37 % 100).unwrap();
            clock.set(now);
            let now = Timestamp::from_micros(now);
            match action {
                Action::Write(ops, sync) => {
                    let answer = engine.write(batch(&ops, sync));
                    let expected = oracle.write(now, &ops);
                    compare(answer, expected, &oracle);
                }
                Action::Submit(batches) => {
                    let tickets: Vec<_> =
                        batches.iter().map(|ops| engine.submit(batch(ops, false)).unwrap()).collect();
                    for (ticket, ops) in tickets.into_iter().zip(&batches) {
                        let answer = ticket.wait();
                        let expected = oracle.write(now, ops);
                        compare(answer, expected, &oracle);
                    }
                }
                Action::Close => {
                    engine.close().unwrap();
                    drop(engine);
                    engine = open(&path, &clock, steps);
                }
                Action::Drop => {
                    drop(engine);
                    engine = open(&path, &clock, steps);
                }
                Action::Checkpoint => {
                    let seq = engine.checkpoint().unwrap();
                    assert_eq!(seq.get(), oracle.seq);
                }
                Action::Rename(n) => {
                    let ops = renames(&oracle, &engine.snapshot(), n);
                    let answer = engine.write(batch(&ops, false));
                    compare(answer, oracle.write(now, &ops), &oracle);
                }
                Action::Compact => {
                    let seq = engine.compact().unwrap();
                    assert_eq!(seq.get(), oracle.seq);
                }
                Action::Backup(moves) => {
                    let to = dir.path().join(format!("backup {step}"));
                    let report = engine.backup(&to).unwrap();
                    assert_eq!(report.seq.get(), oracle.seq);
                    let left = if moves {
                        drop(engine);
                        engine = open(&to, &clock, steps);
                        std::mem::replace(&mut path, to)
                    } else {
                        to
                    };
                    backups.push((left, oracle.clone()));
                }
            }
            oracle.check(&engine.snapshot());
            for time in [step * 53 % 100, 50] {
                let time = Timestamp::from_micros(i64::try_from(time).unwrap());
                oracle.check_alive_at(&engine.snapshot(), time);
            }
            if rests {
                // I14: whatever the state lies in.
                assert_eq!(engine.snapshot().digest().unwrap(), before);
            }
            held.push((engine.snapshot(), oracle.clone()));
        }
        for (snapshot, oracle) in held {
            oracle.check(&snapshot);
        }
        for (path, oracle) in backups {
            oracle.check(&open(&path, &clock, steps).snapshot());
        }
    }
}
