//! A clock that goes back.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use ingrain::{Batch, Durability, Edge, Error, Node, Options, Timestamp};

use crate::harness::{
    clocks::TestClock,
    dirs::temp_dir,
    faults::{Call, hooked, within},
    nodes::{id, put},
};

use super::options;

const DAY: i64 = 86_400_000_000;

#[test]
fn a_clock_that_goes_back_changes_times_and_nothing_else() {
    let dir = temp_dir();
    let path = dir.path().join("s");
    let clock = TestClock::default();
    let open = || options().clock(Arc::new(clock.clone())).open(&path).unwrap();
    let t = 1_700_000_000_000_000;
    let times = [t, t - DAY, t + 1, 0, -1, i64::MIN, i64::MAX, t - 365 * DAY, t];
    let mut engine = open();
    clock.set(times[0]);
    let (a, b) = (id(1), id(2));
    let node = |content: &str| Node::new(a, "node").content(content).key("i", "key");
    let mut batch = Batch::new();
    let expires = Timestamp::from_micros(t);
    batch.put(node("first")).put(Node::new(b, "node").expires(expires));
    engine.write(batch).unwrap();
    let mut last = engine.snapshot().seq();
    for (round, time) in times.into_iter().enumerate() {
        clock.set(time);
        let mut batch = Batch::new();
        batch.put(node(&format!("{time}"))).link(Edge::new(a, "to", b));
        let seq = engine.write(batch).unwrap();
        assert_eq!(seq.get(), last.get() + 1);
        let mut batch = Batch::new();
        batch.touch(a);
        last = engine.write(batch).unwrap();
        match round % 3 {
            0 => drop(engine.checkpoint().unwrap()),
            1 => engine.close().unwrap(),
            _ => {}
        }
        let digest = engine.snapshot().digest().unwrap();
        drop(engine);
        // Whatever time it is when it is read again.
        clock.set(times[(round + 4) % times.len()]);
        engine = open();
        let snapshot = engine.snapshot();
        assert_eq!(snapshot.digest().unwrap(), digest, "at {time}");
        let found = snapshot.get(a).unwrap().unwrap();
        assert_eq!(found.content(), format!("{time}").as_bytes());
        assert_eq!(found.version(), seq);
        let micros = |time: Timestamp| time.as_micros();
        assert_eq!(micros(found.created()), times[0], "when it came to be does not change");
        assert_eq!(micros(found.updated()), time);
        // An access is not undone by an earlier one.
        assert_eq!(Some(&micros(found.accessed())), times[..=round].iter().max());
        let edge = snapshot.edge(a, "to", b, 0).unwrap().unwrap();
        assert_eq!((micros(edge.created()), micros(edge.updated())), (times[0], time));
        // Only a prune takes away what has expired, by the time that it is told.
        assert!(snapshot.contains(b).unwrap());
        assert_eq!(engine.prune(Timestamp::from_micros(t - 1), 10).unwrap(), 0);
    }
    assert!(engine.verify().unwrap().is_sound());
    clock.set(i64::MIN);
    assert_eq!(engine.prune(Timestamp::from_micros(t), 10).unwrap(), 1);
    assert!(!engine.snapshot().contains(b).unwrap());
}

#[test]
fn patience_is_measured_right_with_a_clock_that_goes_back() {
    let dir = temp_dir();
    let clock = TestClock::default();
    clock.step(-DAY);
    let fs = hooked(|call, path| match call {
        Call::Create if within(path, "data") => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    let patience = Duration::from_millis(50);
    let engine = Options::new()
        .fs(fs)
        .clock(Arc::new(clock))
        .delta_bytes(256 << 10)
        .patience(patience)
        .durability(Durability::Os)
        .open(dir.path().join("s"))
        .unwrap();
    let (start, mut began) = (Instant::now(), Instant::now());
    let error = (0..).find_map(|n| {
        began = Instant::now();
        engine.write(put(n, [7; 10_000])).err()
    });
    let Some(Error::Backpressure { waited_ms, .. }) = error else { panic!("{error:?}") };
    assert!(waited_ms >= 50 && began.elapsed() >= patience);
    assert!(start.elapsed() < Duration::from_secs(30));
}
