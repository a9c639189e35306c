//! The engine on a disk that crashes and fails at every possible point.
//!
//! `INGRAIN_TORTURE=<minutes> cargo test --release --all-features torture_without_end -- --nocapture`
//! goes on with new seeds for that long. A failure prints its seed;
//! `INGRAIN_TORTURE_SEED=<seed>` begins there.
#![cfg(feature = "sim")]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use ingrain::{
    Batch, Engine, Error, ErrorKind, Method, Metric, Node, NodeId, Op, Options, Patch, Seq, Space,
    Timestamp,
    os::Fs,
    sim::{Call, Crash, Failure, Loss, Points, SimClock, SimDisk},
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::harness::{
    any::any_op,
    oracle::{Oracle, batch, options, renames},
};

/// What a workload does next.
#[derive(Debug, Clone)]
enum Step {
    /// A batch, durable or not, with content of this many bytes more.
    Write(Vec<Op>, bool, usize),
    /// Several, queued together.
    Submit(Vec<Vec<Op>>, bool),
    /// Closed and opened again.
    Close,
    /// Dropped and opened again.
    Drop,
    Checkpoint,
    Compact,
    /// Codes built again.
    Rebuild,
    /// Kinds, indexes or spaces renamed.
    Rename(usize),
    /// A space created, filled, searched otherwise or dropped.
    Space(usize),
    /// Backed up to `/b<n>`, which is opened and compared.
    Backup(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let ops = || vec(any_op(), 1..5);
    prop_oneof![
        // Alone, an operation rarely meets a precondition that does not hold.
        60 => (vec(any_op(), 1..2), prop::bool::weighted(0.7), 0..24_000_usize)
            .prop_map(|(ops, sync, bytes)| Step::Write(ops, sync, bytes)),
        15 => (ops(), any::<bool>()).prop_map(|(ops, sync)| Step::Write(ops, sync, 0)),
        12 => (vec(ops(), 1..4), any::<bool>()).prop_map(|(batches, sync)| Step::Submit(batches, sync)),
        1 => Just(Step::Close),
        1 => Just(Step::Drop),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Compact),
        1 => Just(Step::Rebuild),
        6 => (0..60_usize).prop_map(Step::Space),
        4 => (0..60_usize).prop_map(Step::Rename),
        1 => (0..4_usize).prop_map(Step::Backup),
    ]
}

fn steps(seed: u64, len: usize) -> Vec<Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    vec(any_step(), len).new_tree(&mut runner).unwrap().current()
}

/// What the marks on the disk say.
#[derive(Debug, Clone, Copy)]
enum Mark {
    Submitted,
    /// Acknowledged as handed to the operating system.
    Os,
    /// Acknowledged as durable.
    Sync,
}

fn mark(disk: &SimDisk, mark: Mark, seq: u64) {
    disk.mark(seq << 2 | mark as u64);
}

fn store(disk: &SimDisk, clock: &SimClock) -> Options {
    // Checkpoints by themselves, too, between the writes; each vector file has
    // codes, and each larger file several pieces.
    options()
        .index_rows(1)
        .write_chunk_bytes(8 << 10)
        .wal_bytes(160 << 10)
        .inline(true)
        .fs(Arc::new(disk.clone()))
        .clock(Arc::new(clock.clone()))
}

/// The states of a run, by sequence number.
struct Run {
    states: Vec<Oracle>,
    /// How the run ended, if not at its end.
    failed: Option<Error>,
    acknowledged: u64,
    /// The last commit that was acknowledged as durable.
    durable: u64,
    /// Log files begun because one was full.
    rotations: u64,
    /// Checkpoints completed, and failed.
    checkpoints: (u64, u64),
    /// Backups completed, by their path.
    backups: BTreeSet<String>,
}

const PATH: &str = "/s";

/// Runs the steps until they end or something fails.
fn run(disk: &SimDisk, steps: &[Step]) -> Run {
    let clock = SimClock::default();
    let first = Oracle::after(1);
    // The spaces and indexes are the first commit.
    let mut run = Run {
        states: vec![Oracle::default(), first],
        failed: None,
        acknowledged: 0,
        durable: 0,
        rotations: 0,
        checkpoints: (0, 0),
        backups: BTreeSet::new(),
    };
    mark(disk, Mark::Submitted, 1);
    let mut engine = match store(disk, &clock).open(PATH) {
        Ok(engine) => engine,
        Err(error) => {
            run.failed = Some(error);
            return run;
        }
    };
    mark(disk, Mark::Sync, 1);
    (run.acknowledged, run.durable) = (1, 1);
    // The creation of a store begins a log file, later lives begin theirs with
    // their first write.
    let mut begun = true;
    for (at, step) in steps.iter().enumerate() {
        // The wall clock goes back a day now and then.
        let now = i64::try_from(at).unwrap() * 1_000 - if at % 7 == 0 { 86_400_000_000 } else { 0 };
        let now = Timestamp::from_micros(now);
        clock.set(now);
        if let Step::Backup(n) = step {
            back_up(disk, &engine, *n, &mut run);
            continue;
        }
        if let Step::Checkpoint | Step::Compact | Step::Rebuild = step {
            let (digest, seq) = (engine.snapshot().digest(), engine.snapshot().seq());
            let made = match step {
                Step::Checkpoint => engine.checkpoint(),
                Step::Rebuild => engine.rebuild(None).map(|()| seq),
                _ => engine.compact(),
            };
            match made {
                Ok(covered) => assert_eq!(covered, seq),
                // I10: the engine goes on.
                Err(error) => assert!(matches!(error, Error::Checkpoint { .. }), "{error}"),
            }
            assert_eq!(engine.snapshot().digest().unwrap(), digest.unwrap());
            run.states.last().unwrap().check(&engine.snapshot());
            continue;
        }
        let (batches, sync) = match step {
            Step::Checkpoint | Step::Compact | Step::Rebuild | Step::Backup(_) => {
                unreachable!("done above")
            }
            Step::Space(n) => (vec![space_ops(run.states.last().unwrap(), *n)], n % 3 > 0),
            Step::Rename(n) => {
                (vec![renames(run.states.last().unwrap(), &engine.snapshot(), *n)], n % 2 == 0)
            }
            Step::Write(ops, sync, bytes) => (vec![grown(ops, *bytes)], *sync),
            Step::Submit(batches, sync) => (batches.clone(), *sync),
            Step::Close | Step::Drop => {
                if matches!(step, Step::Close)
                    && let Err(error) = engine.close()
                {
                    run.failed = Some(error);
                    return run;
                }
                run.count(&engine);
                drop(engine);
                engine = match store(disk, &clock).open(PATH) {
                    Ok(engine) => engine,
                    Err(error) => {
                        run.failed = Some(error);
                        return run;
                    }
                };
                begun = false;
                continue;
            }
        };
        for ops in batches {
            let files = engine.stats().write.wal_files;
            let mut next = run.states.last().unwrap().clone();
            let expected = next.write(now, &ops);
            if expected == Ok(true) {
                run.states.push(next.clone());
                mark(disk, Mark::Submitted, next.seq);
            }
            let answer = match step {
                Step::Submit(..) => {
                    engine.submit(batch(&ops, sync)).and_then(|ticket| ticket.wait())
                }
                _ => engine.write(batch(&ops, sync)),
            };
            match (answer, expected) {
                (Ok(seq), Ok(false)) => assert_eq!(seq.get(), next.seq),
                (Ok(seq), Ok(true)) => {
                    assert_eq!(seq.get(), next.seq);
                    mark(disk, if sync { Mark::Sync } else { Mark::Os }, next.seq);
                    run.acknowledged = next.seq;
                    if sync {
                        run.durable = next.seq;
                    }
                }
                (Err(error), Err(expected)) if expected.is(&error) => {}
                (Err(error @ Error::Poisoned { .. }), _) => {
                    poisoned(&engine, &run);
                    run.failed = Some(error);
                    return run;
                }
                (answer, expected) => panic!("engine: {answer:?}, oracle: {expected:?}"),
            }
            if engine.stats().write.wal_files > files {
                run.rotations += u64::from(begun);
                begun = true;
            }
        }
    }
    run.states.last().unwrap().check(&engine.snapshot());
    run.count(&engine);
    run
}

/// What is done next to a space that comes and goes, or to how one is searched.
fn space_ops(state: &Oracle, n: usize) -> Vec<Op> {
    const NAME: &str = "extra";
    let name = NAME.to_owned();
    let Some(space) = state.space(NAME) else {
        let (dimension, metric) = [(2, Metric::Dot), (3, Metric::L2)][n % 2];
        return vec![Op::CreateSpace { name, space: Space::new(dimension, metric) }];
    };
    let vector = |at: usize| (0..space.dimension).map(move |d| ((at * 5 + d * 3 + n) % 9) as f32);
    let patch = |(at, id)| Op::Patch {
        id,
        patch: Patch::new().vector(NAME, vector(at).collect::<Vec<f32>>()),
    };
    let patches: Vec<Op> = state.ids().into_iter().enumerate().map(patch).collect();
    match n % 4 {
        0 => vec![Op::DropSpace { name }],
        1 => {
            let method = [Method::Pq8, Method::Exact, Method::Hnsw, Method::Pq4][n / 4 % 4];
            let name = [NAME, "flat", "turn"][n % 3].to_owned();
            vec![Op::SetMethod { name, method }]
        }
        _ if patches.is_empty() => vec![Op::Delete { id: NodeId::MIN }],
        _ => patches,
    }
}

/// A backup is the store at that moment, or no store, and the store does not
/// notice.
fn back_up(disk: &SimDisk, engine: &Engine, n: usize, run: &mut Run) {
    let path = format!("/b{n}");
    let state = run.states.last().unwrap();
    match engine.backup(&path) {
        Ok(report) => {
            assert_eq!(report.seq.get(), state.seq);
            assert!(run.backups.insert(path.clone()), "{path} was overwritten");
            // One of the calls that open it may be the one that fails.
            match store(disk, &SimClock::default()).create(false).open(&path) {
                Ok(copy) => state.check(&copy.snapshot()),
                Err(error) => assert!(error.io_error().is_some(), "{error}"),
            }
        }
        Err(error) => {
            // What is there stays, whatever it is; it may be that it cannot be
            // seen.
            let refused = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NoStore);
            assert!(refused || error.io_error().is_some(), "{error}");
            if run.backups.contains(&path)
                && let Ok(copy) = store(disk, &SimClock::default()).create(false).open(&path)
            {
                let seq = copy.snapshot().seq().get();
                run.states[seq as usize].check(&copy.snapshot());
            }
        }
    }
    state.check(&engine.snapshot());
}

impl Run {
    fn count(&mut self, engine: &Engine) {
        let stats = engine.stats().checkpoint;
        self.checkpoints.0 += stats.completed;
        self.checkpoints.1 += stats.failed;
    }
}

/// I5: writes are refused, reads show what was acknowledged.
fn poisoned(engine: &Engine, run: &Run) {
    let snapshot = engine.snapshot();
    assert_eq!(snapshot.seq().get(), run.acknowledged);
    run.states[run.acknowledged as usize].check(&snapshot);
    let again = engine.write(batch(&[Op::Delete { id: ingrain::NodeId::MIN }], true));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(engine.close().unwrap_err().kind(), ErrorKind::Poisoned);
}

/// Puts make the log grow, so that it rotates.
fn grown(ops: &[Op], bytes: usize) -> Vec<Op> {
    let mut ops = ops.to_vec();
    for op in &mut ops {
        if let Op::Put { node, .. } | Op::PutOrKeep { node } = op {
            node.content.resize(node.content.len() + bytes, 0xa5);
        }
    }
    ops
}

/// Opens a disk and compares all that is there with the state of its sequence
/// number, which must lie between `least` and `most`.
fn check_store(disk: &SimDisk, states: &[Oracle], least: u64, most: u64) -> Result<Engine, String> {
    let engine = store(disk, &SimClock::default()).open(PATH).map_err(|error| error.to_string())?;
    let snapshot = engine.snapshot();
    let seq = snapshot.seq().get();
    // A store whose creation was cut short has its first commit anew.
    if seq < least.max(1) || seq > most.max(1) {
        return Err(format!("recovered {seq}, expected {least} to {most}"));
    }
    states[seq as usize].check(&snapshot);
    Ok(engine)
}

/// Where there is a manifest, there is a whole backup.
fn check_backups(disk: &SimDisk, states: &[Oracle]) -> Result<(), String> {
    for n in 0..4 {
        let path = format!("/b{n}");
        let names = disk.list(Path::new(&path)).unwrap_or_default();
        if !names.iter().any(|name| name == "MANIFEST") {
            continue;
        }
        let copy = store(disk, &SimClock::default())
            .open(&path)
            .map_err(|error| format!("{path}: {error}"))?;
        states[copy.snapshot().seq().get() as usize].check(&copy.snapshot());
    }
    Ok(())
}

fn check_crash(crash: &Crash, states: &[Oracle], deep: bool) -> Result<(), String> {
    let (mut least, mut most) = (0, 0);
    for mark in &crash.marks {
        let seq = mark >> 2;
        if mark & 3 == Mark::Submitted as u64 {
            most = seq;
        }
        // What was only handed to the operating system survives the process.
        if mark & 3 == Mark::Sync as u64
            || (mark & 3 == Mark::Os as u64 && crash.loss == Loss::Nothing)
        {
            least = seq;
        }
    }
    if deep || crash.point.is_multiple_of(5) {
        check_backups(&crash.disk, states)?;
    }
    let engine = check_store(&crash.disk, states, least, most)?;
    let recovered = engine.snapshot().seq();
    let opened = crash.disk.operations();
    // The store goes on.
    let answer = engine.write(batch(&[Op::Delete { id: ingrain::NodeId::MIN }], true));
    if answer.as_ref().ok() != Some(&Seq::new(recovered.get() + 1)) {
        return Err(format!("after recovery to {recovered}: {answer:?}"));
    }
    if deep {
        // A second crash, within the recovery: what it had shown stays.
        for again in crash.disk.crashes(Points::All, 1) {
            let least = if again.point >= opened { recovered.get() } else { least };
            if again.point > opened {
                break;
            }
            check_store(&again.disk, states, least, most.max(recovered.get())).map_err(|what| {
                format!("second crash {:?} at {}: {what}", again.loss, again.point)
            })?;
        }
    }
    Ok(())
}

/// The workload that the suite tries at every point.
const SEED: u64 = 5;
const STEPS: usize = 180;
/// The part of it in which every call fails in its turn.
const FAULT_STEPS: usize = 110;

/// Every crash of a run. Returns how many states were tried.
fn crashes(seed: u64, len: usize, coins: u64) -> usize {
    let disk = SimDisk::new();
    let steps = steps(seed, len);
    let run = run(&disk, &steps);
    assert!(run.failed.is_none(), "seed {seed}: {:?}", run.failed);
    let mut tried = 0;
    for crash in disk.crashes(Points::Boundaries, coins) {
        tried += 1;
        // Where something could be lost, and not always the same.
        let deep = tried % 40 == 0;
        if let Err(what) = check_crash(&crash, &run.states, deep) {
            panic!(
                "seed {seed}, {len} steps, point {}, loss {:?}, coin {}: {what}",
                crash.point, crash.loss, crash.seed
            );
        }
    }
    tried
}

#[test]
fn every_crash_of_a_workload_is_survived() {
    let disk = SimDisk::new();
    let run = run(&disk, &steps(SEED, STEPS));
    assert!(run.states.len() > 120, "{} batches", run.states.len());
    assert!(run.rotations >= 3, "{} rotations", run.rotations);
    assert!(run.checkpoints.0 > 6, "{:?}", run.checkpoints);
    assert!(!run.backups.is_empty(), "no backup");
    println!(
        "{} batches, {} rotations, {} checkpoints, {} backups, {} calls",
        run.states.len() - 1,
        run.rotations,
        run.checkpoints.0,
        run.backups.len(),
        disk.calls().values().sum::<u64>()
    );
    let tried = crashes(SEED, STEPS, 1);
    println!("{tried} crashes");
    assert!(tried > 300 * 8, "{tried} crashes");
}

/// Every call of a workload made to fail, in every way.
fn faults(seed: u64, len: usize, only: Option<Call>, failure: Failure, sticky: bool) -> u64 {
    let steps = steps(seed, len);
    let mut absorbed = 0;
    for n in 1.. {
        let disk = SimDisk::new();
        disk.fail(n, only, failure, sticky);
        let run = run(&disk, &steps);
        let place = || format!("seed {seed}, {len} steps, call {n}: {failure:?}, sticky {sticky}");
        match &run.failed {
            Some(error) => assert!(
                error.io_error().is_some() || error.kind() == ErrorKind::Poisoned,
                "{}: {error}",
                place()
            ),
            None => {
                let calls = disk.calls();
                let calls: u64 = match only {
                    Some(only) => calls.get(&only).copied().unwrap_or(0),
                    None => calls.values().sum(),
                };
                if n > calls {
                    // Other seeds may have none within so few steps.
                    assert!(absorbed > 0 || sticky || seed != SEED, "no checkpoint failed");
                    return n;
                }
                // A checkpoint failed, or a file that could not be removed is
                // left for later.
                absorbed += run.checkpoints.1;
            }
        }
        disk.heal();
        let most = run.states.len() as u64 - 1;
        for loss in [Loss::Nothing, Loss::All] {
            // What was acknowledged under `Os` needs the process's word only,
            // and pages that the kernel dropped may have held some of it.
            let by_process = loss == Loss::Nothing && failure != Failure::LoseDirty;
            let least = if by_process { run.acknowledged } else { run.durable };
            let left = disk.crash(loss, n);
            if let Err(what) = check_store(&left, &run.states, least, most) {
                panic!("{}, loss {loss:?}: {what}", place());
            }
        }
        // Opened again on the running machine, whose cache may have more than
        // the medium: what it shows then, a crash does not take back.
        match check_store(&disk, &run.states, run.durable, most) {
            Ok(engine) => {
                let shown = engine.snapshot().seq().get();
                // The fault is gone: what failed succeeds.
                if n % 4 == 0 {
                    engine.checkpoint().unwrap();
                    run.states[shown as usize].check(&engine.snapshot());
                }
                let left = disk.crash(Loss::All, n);
                if let Err(what) = check_store(&left, &run.states, shown, most.max(1)) {
                    panic!("{}, opened again and crashed: {what}", place());
                }
            }
            Err(what) => panic!("{}, opened again: {what}", place()),
        }
    }
    unreachable!()
}

/// Each a test of its own, so that they share out the processors.
macro_rules! every_failing_call {
    ($($name:ident: $only:expr, $failure:expr, sticky $sticky:expr, at least $least:literal;)*) => {$(
        #[test]
        fn $name() {
            let calls = faults(SEED, FAULT_STEPS, $only, $failure, $sticky);
            println!("{calls} calls");
            assert!(calls > $least, "{calls} calls");
        }
    )*};
}
every_failing_call! {
    every_call_that_fails_is_survived: None, Failure::Io, sticky false, at least 500;
    every_call_from_which_all_fail_is_survived: None, Failure::Io, sticky true, at least 500;
    every_short_write_is_survived: Some(Call::Write), Failure::Short(100), sticky false, at least 200;
    every_sync_that_loses_pages_is_survived:
        Some(Call::Sync), Failure::LoseDirty, sticky false, at least 100;
}

/// I10, at each call that a checkpoint makes: writes go on, and the next one
/// succeeds.
#[test]
fn a_checkpoint_that_fails_at_any_call_stops_no_writes() {
    let put = |n: u8| {
        let mut batch = Batch::new();
        batch.put(Node::new(NodeId::from_bytes([n; 16]), "note"));
        batch
    };
    for failure in [Failure::Io, Failure::LoseDirty] {
        for n in 1.. {
            let disk = SimDisk::new();
            let engine = store(&disk, &SimClock::default()).open(PATH).unwrap();
            engine.write(put(1)).unwrap();
            engine.checkpoint().unwrap();
            engine.write(put(2)).unwrap();
            let before: u64 = disk.calls().values().sum();
            disk.fail(n, None, failure, false);
            let made = engine.checkpoint();
            let calls = disk.calls().values().sum::<u64>() - before;
            if let Err(error) = &made {
                assert!(matches!(error, Error::Checkpoint { .. }), "call {n}: {error}");
            }
            disk.heal();
            let seq = engine.write(put(3)).unwrap_or_else(|error| panic!("call {n}: {error}"));
            assert_eq!(engine.checkpoint().unwrap(), seq);
            let digest = engine.snapshot().digest().unwrap();
            for loss in [Loss::Nothing, Loss::All] {
                let left = disk.crash(loss, n);
                let again = store(&left, &SimClock::default()).open(PATH).unwrap();
                assert_eq!(again.snapshot().digest().unwrap(), digest, "call {n}");
            }
            if n > calls {
                println!("{failure:?}: {n} calls");
                assert!(n > 20, "{n} calls");
                break;
            }
        }
    }
}

/// Every few commits are the first behind the zeros that were written ahead.
#[test]
fn every_crash_at_the_end_of_the_zeros_is_survived() {
    let open = |disk: &SimDisk| store(disk, &SimClock::default()).log_zeros_bytes(512).open(PATH);
    let disk = SimDisk::new();
    let engine = open(&disk).unwrap();
    for n in 1..=20_u8 {
        let mut batch = Batch::new();
        batch.put(Node::new(NodeId::from_bytes([n; 16]), "note").content(vec![n; 200]));
        mark(&disk, Mark::Sync, engine.write(batch).unwrap().get());
    }
    drop(engine);
    let mut tried = 0;
    for crash in disk.crashes(Points::Boundaries, 2) {
        tried += 1;
        let engine = open(&crash.disk).unwrap();
        let least = crash.marks.last().map_or(1, |mark| mark >> 2);
        let seq = engine.snapshot().seq().get();
        assert!(seq >= least, "point {}, loss {:?}: {seq}, {least}", crash.point, crash.loss);
        assert_eq!(engine.snapshot().node_count() as u64, seq - 1);
    }
    println!("{tried} crashes");
    assert!(tried > 150, "{tried} crashes");
}

#[test]
fn a_disk_that_fills_up_at_any_kilobyte_is_survived() {
    let steps = steps(2, 60);
    let mut full = 0;
    for kilobytes in 0.. {
        let disk = SimDisk::new();
        disk.limit_space(Some(kilobytes * 1024));
        let run = run(&disk, &steps);
        disk.heal();
        let engine = check_store(&disk, &run.states, run.acknowledged, run.states.len() as u64 - 1);
        if let Err(what) = engine {
            panic!("{kilobytes} KiB: {what}");
        }
        if run.failed.is_none() {
            break;
        }
        full += 1;
    }
    println!("{full} kilobytes");
    assert!(full > 60, "{full}");
}

#[test]
fn a_read_that_flips_a_bit_is_refused_and_does_no_harm() {
    let disk = SimDisk::new();
    let run = run(&disk, &steps(3, 80));
    let last = run.states.len() as u64 - 1;
    let mut refused = 0;
    for n in 1.. {
        let left = disk.crash(Loss::Nothing, 0);
        left.flip_reads(n, 0x10);
        match store(&left, &SimClock::default()).open(PATH) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                refused += 1;
            }
            // It reads no more than n times.
            Ok(_) => break,
        }
        check_store(&left, &run.states, last, last).unwrap();
    }
    println!("{refused} reads");
    assert!(refused >= 3, "the manifest and the log files");
}

#[test]
fn torture_without_end() {
    let Some(minutes) = std::env::var("INGRAIN_TORTURE").ok().and_then(|m| m.parse::<f64>().ok())
    else {
        return;
    };
    let first = std::env::var("INGRAIN_TORTURE_SEED").ok().and_then(|s| s.parse().ok());
    let first = first.unwrap_or(1_000);
    let start = Instant::now();
    let end = Duration::from_secs_f64(minutes * 60.0);
    let (mut states, mut seeds) = (0, 0_u64);
    while start.elapsed() < end {
        let seed = first + seeds;
        println!("seed {seed}");
        states += crashes(seed, 60 + (seed % 100) as usize, 3);
        let failure = [Failure::Io, Failure::NoSpace, Failure::Short(70), Failure::LoseDirty];
        states += faults(seed, 40, None, failure[(seed % 4) as usize], seed % 8 < 4) as usize;
        seeds += 1;
    }
    let rate = states as f64 / start.elapsed().as_secs_f64();
    println!("{seeds} seeds, {states} states, {rate:.0} states/s, 0 failures");
}
