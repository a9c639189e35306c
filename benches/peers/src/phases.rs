//! The phases of a race, in their order.
//!
//! After the load the store always has the same records: whatever writes later
//! replaces some, and `delete` comes near the end. A phase that needs a settled
//! store settles it first, which is not timed unless said. Contents are checked
//! wherever they are read, within the time that is measured; a wrong one fails
//! the phase.

use std::{
    any::Any,
    io::{BufRead, BufReader, Write},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    line::{Line, histogram},
    records::{Batch, Values, check, key, random},
    store::{Durability, Snapshot, Store, files},
    watch::Watch,
};

const BATCH: u64 = 1_000;
/// Records that are overwritten and read again before they are settled: at most
/// this many, and at most this many bytes, so that no store settles them by
/// itself.
const FRESH: u64 = 100_000;
const FRESH_BYTES: u64 = 32 << 20;
const DELETED: u64 = 100_000;
const RECOVERED: u64 = 500_000;
/// How many gets a reader beside a writer makes before it takes a new snapshot.
const RENEWED: u64 = 1_000;
/// Openings of which the median is taken.
const OPENINGS: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Phase {
    /// All records in batches of 1,000, not synced; timed until settled
    Load,
    /// Random gets, a snapshot held, 1 and 2 threads
    Get,
    /// Random gets, a snapshot taken for each, 1 and 2 threads
    GetEach,
    /// All records in key order
    Scan,
    /// Random gets among records just overwritten and not settled
    GetFresh,
    /// Random gets while a thread commits single records durably
    GetCommit,
    /// Random gets while a thread writes batches of 1,000, not synced
    GetLoad,
    /// Durable commits of single records, 1 and 16 threads
    Commit,
    /// All records again in batches of 1,000, not synced; timed until settled
    Overwrite,
    /// 100,000 records in batches of 1,000, not synced
    Delete,
    /// Closing, and opening until the first get, warm and cold
    Reopen,
    /// Opening after SIGKILL in the middle of a load
    Recover,
}

impl Phase {
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What one peer shall do in one round.
#[derive(Debug, Clone)]
pub struct Plan {
    pub round: u32,
    pub peer: String,
    pub records: u64,
    pub value: usize,
    pub seconds: f64,
    pub limit: Duration,
    pub phases: Vec<Phase>,
    /// An empty directory.
    pub dir: PathBuf,
}

impl Plan {
    pub fn line(&self, phase: &str, threads: u32) -> Line {
        Line {
            round: self.round,
            peer: self.peer.clone(),
            phase: phase.to_owned(),
            threads,
            records: self.records,
            value: self.value,
            ..Line::default()
        }
    }

    pub fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// Prints a line, for the process that started this one.
pub fn say(line: &Line) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    Ok(out.flush()?)
}

/// Runs the phases of the plan. One that fails is told, and the next is tried.
pub fn run<S: Store>(plan: &Plan) -> Result<()> {
    let watch = Watch::start(plan.limit);
    let path = plan.dir.join("race");
    std::fs::create_dir(&path)?;
    let mut race = Race::<S> {
        values: Values::new(plan.value),
        store: None,
        settled: true,
        deleted: 0,
        path,
        watch: Arc::clone(&watch),
        plan,
    };
    for phase in Phase::value_variants() {
        if *phase != Phase::Load && !plan.phases.contains(phase) {
            continue;
        }
        let begun = plan.line(&phase.name(), 0);
        watch.begin(begun.clone());
        let outcome = catch_unwind(AssertUnwindSafe(|| race.run(*phase)))
            .unwrap_or_else(|panic| Err(anyhow!("it panicked: {}", message(&*panic))));
        if let Err(error) = outcome {
            say(&Line { error: Some(format!("{error:#}")), ..begun })?;
            if *phase == Phase::Load {
                break;
            }
        }
    }
    Ok(())
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

struct Race<'p, S> {
    plan: &'p Plan,
    values: Values,
    path: PathBuf,
    watch: Arc<Watch>,
    store: Option<S>,
    /// Nothing was written since the store has settled.
    settled: bool,
    deleted: u64,
}

/// What generation a value read may be of.
type Allowed = Range<u64>;

const ANY: Allowed = 0..u64::MAX;
const LOADED: u64 = 1;
const FRESHENED: u64 = 2;
const BESIDE: u64 = 3;
const COMMITTED: u64 = 4;
const OVERWRITTEN: u64 = 5;

/// How a reader comes by its snapshots.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    All,
    Each,
    Renewed,
}

impl<S: Store> Race<'_, S> {
    fn run(&mut self, phase: Phase) -> Result<()> {
        match phase {
            Phase::Load => {
                self.store = Some(S::open(&self.path)?);
                self.write_all(phase, LOADED)
            }
            Phase::Get => {
                self.settle()?;
                let warm = self.plan.time() / 2;
                self.read(Hold::All, 1, self.all(), ANY, warm)?;
                self.gets(phase, Hold::All, self.all(), ANY)
            }
            Phase::GetEach => {
                self.settle()?;
                self.gets(phase, Hold::Each, self.all(), ANY)
            }
            Phase::Scan => self.scan(),
            Phase::GetFresh => self.get_fresh(),
            Phase::GetCommit => self.get_beside(phase, 1, Durability::Sync),
            Phase::GetLoad => self.get_beside(phase, BATCH, Durability::Os),
            Phase::Commit => self.commit(1).and_then(|()| self.commit(16)),
            Phase::Overwrite => {
                self.settle()?;
                self.write_all(phase, OVERWRITTEN)
            }
            Phase::Delete => self.delete(),
            Phase::Reopen => self.reopen(),
            Phase::Recover => self.recover(),
        }
    }

    fn store(&self) -> Result<&S> {
        self.store.as_ref().context("the store is not open")
    }

    fn say(&self, line: Line) -> Result<()> {
        say(&self.with_sizes(line)?)
    }

    /// The line with what the store takes now of memory and disk.
    fn with_sizes(&self, line: Line) -> Result<Line> {
        let (anon, peak) = self.watch.memory();
        let disk = files(&self.path)?.values().map(|(_, allocated)| allocated).sum();
        Ok(Line {
            anon_bytes: Some(anon),
            anon_peak_bytes: Some(peak),
            disk_bytes: Some(disk),
            ..line
        })
    }

    /// Settles, and says how long it took, less what the store subtracts.
    fn settle(&mut self) -> Result<Duration> {
        if self.settled {
            return Ok(Duration::ZERO);
        }
        let start = Instant::now();
        let idle = self.store()?.settle()?;
        let took = start.elapsed().saturating_sub(idle);
        self.settled = true;
        Ok(took)
    }

    /// Writes all records in batches, and settles.
    fn write_all(&mut self, phase: Phase, generation: u64) -> Result<()> {
        self.settled = false;
        let (mut took, records) = (histogram(), self.plan.records);
        let start = Instant::now();
        let mut batch = Batch::new(&self.values);
        for from in (0..records).step_by(BATCH as usize) {
            batch.fill(from..records.min(from + BATCH), generation);
            let puts = batch.puts();
            let begun = Instant::now();
            self.store()?.write(&puts, Durability::Os)?;
            took.saturating_record(begun.elapsed().as_nanos() as u64);
        }
        drop(batch);
        let written = start.elapsed();
        let settling = self.settle()?;
        let line = self.plan.line(&phase.name(), 1);
        let line = line.rate(records, (written + settling).as_secs_f64()).latency(&took);
        let settle_seconds = Some(settling.as_secs_f64());
        let line = self.with_sizes(Line { settle_seconds, ..line })?;
        // What is not there afterwards has no rate.
        self.verify(generation..generation + 1, records)?;
        say(&line)
    }

    /// Reads everything: as many records as there should be, in order, each of
    /// an allowed generation.
    fn verify(&self, allowed: Allowed, count: u64) -> Result<()> {
        let (mut found, mut last) = (0, [0; 16]);
        let len = self.values.len();
        self.store()?.snapshot()?.scan(|key, value| {
            ensure!(found == 0 || key > &last[..], "the scan is not in the order of the keys");
            last.copy_from_slice(key);
            let generation = check(key, value, len).context("the scan gave a wrong content")?;
            ensure!(allowed.contains(&generation), "the scan gave an old content");
            found += 1;
            Ok(())
        })?;
        ensure!(found == count, "the scan gave {found} records of {count}");
        Ok(())
    }

    fn scan(&mut self) -> Result<()> {
        self.settle()?;
        let mut took = Vec::new();
        for _ in 0..3 {
            let start = Instant::now();
            self.verify(ANY, self.plan.records - self.deleted)?;
            took.push(start.elapsed());
        }
        took.sort_unstable();
        let line = self.plan.line("scan", 1);
        self.say(line.rate(self.plan.records, took[1].as_secs_f64()))
    }

    /// Chooses among all records.
    fn all(&self) -> impl Fn(u64) -> u64 + Copy + Send + Sync + use<S> {
        let records = self.plan.records;
        move |random| random % records
    }

    fn gets(
        &self,
        phase: Phase,
        hold: Hold,
        choose: impl Fn(u64) -> u64 + Copy + Send + Sync,
        allowed: Allowed,
    ) -> Result<()> {
        for threads in [1, 2] {
            let start = Instant::now();
            let took = self.read(hold, threads, choose, allowed.clone(), self.plan.time())?;
            let line = self.plan.line(&phase.name(), threads);
            self.say(line.rate(took.len(), start.elapsed().as_secs_f64()).latency(&took))?;
        }
        Ok(())
    }

    /// Reads in so many threads for a time.
    fn read(
        &self,
        hold: Hold,
        threads: u32,
        choose: impl Fn(u64) -> u64 + Copy + Send + Sync,
        allowed: Allowed,
        time: Duration,
    ) -> Result<Histogram<u64>> {
        let (store, len) = (self.store()?, self.values.len());
        let mut all = histogram();
        for took in in_threads(threads, |thread| {
            read(store, hold, len, u64::from(thread), choose, &allowed, time)
        })? {
            all.add(took)?;
        }
        Ok(all)
    }

    /// The number of the record `n` of `count` that are spread over all.
    fn spread(&self, n: u64, count: u64) -> u64 {
        n * (self.plan.records / count)
    }

    fn get_fresh(&mut self) -> Result<()> {
        self.settle()?;
        let records = self.plan.records;
        let count = FRESH.min(records / 2).min(FRESH_BYTES / self.plan.value as u64);
        self.settled = false;
        let mut batch = Batch::new(&self.values);
        for from in (0..count).step_by(BATCH as usize) {
            let numbers = from..count.min(from + BATCH);
            batch.fill(numbers.map(|n| self.spread(n, count)), FRESHENED);
            self.store()?.write(&batch.puts(), Durability::Os)?;
        }
        drop(batch);
        let step = records / count;
        let choose = move |random: u64| random % count * step;
        self.gets(Phase::GetFresh, Hold::All, choose, FRESHENED..FRESHENED + 1)
    }

    /// A reader beside a writer that replaces records in batches of `len`.
    fn get_beside(&mut self, phase: Phase, len: u64, durability: Durability) -> Result<()> {
        self.settle()?;
        self.settled = false;
        let (store, records, values) = (self.store()?, self.plan.records, &self.values);
        let len = len.min(records);
        let stop = AtomicBool::new(false);
        let write = || -> Result<(u64, Duration)> {
            let (mut state, mut written, mut batch) = (9, 0, Batch::new(values));
            let start = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let from = random(&mut state) % (records - len + 1);
                batch.fill(from..from + len, BESIDE);
                store.write(&batch.puts(), durability)?;
                written += len;
            }
            Ok((written, start.elapsed()))
        };
        let (took, time, wrote) = thread::scope(|scope| {
            let writer = scope.spawn(write);
            let start = Instant::now();
            let took = self.read(Hold::Renewed, 1, self.all(), ANY, self.plan.time());
            let time = start.elapsed();
            stop.store(true, Ordering::Relaxed);
            (took, time, writer.join())
        });
        let took = took?;
        let (written, wrote) = wrote.map_err(|_| anyhow!("the writer panicked"))??;
        let line = self.plan.line(&phase.name(), 1);
        let line = line.rate(took.len(), time.as_secs_f64()).latency(&took);
        let writer_ops_per_second = Some(written as f64 / wrote.as_secs_f64());
        self.say(Line { writer_ops_per_second, ..line })
    }

    fn commit(&mut self, threads: u32) -> Result<()> {
        self.settle()?;
        self.settled = false;
        let (store, records, values) = (self.store()?, self.plan.records, &self.values);
        let start = Instant::now();
        let each = in_threads(threads, |thread| {
            let (threads, thread) = (u64::from(threads), u64::from(thread));
            let (mut state, mut took) = (100 + thread, histogram());
            let mut batch = Batch::new(values);
            while start.elapsed() < self.plan.time() {
                // Each thread has records of its own, since some stores refuse
                // one of two that write the same.
                let n = random(&mut state) % (records / threads) * threads + thread;
                batch.fill(n..n + 1, COMMITTED);
                let puts = batch.puts();
                let begun = Instant::now();
                store.write(&puts, Durability::Sync)?;
                took.saturating_record(begun.elapsed().as_nanos() as u64);
            }
            Ok(took)
        })?;
        let time = start.elapsed();
        let mut all = histogram();
        for took in each {
            all.add(took)?;
        }
        let line = self.plan.line("commit", threads);
        self.say(line.rate(all.len(), time.as_secs_f64()).latency(&all))
    }

    fn delete(&mut self) -> Result<()> {
        self.settle()?;
        let count = DELETED.min(self.plan.records / 2);
        self.settled = false;
        let mut took = histogram();
        let start = Instant::now();
        for from in (0..count).step_by(BATCH as usize) {
            let numbers = from..count.min(from + BATCH);
            let changes: Vec<_> = numbers
                .map(|n| crate::store::Change { key: key(self.spread(n, count)), value: None })
                .collect();
            let begun = Instant::now();
            self.store()?.write(&changes, Durability::Os)?;
            took.saturating_record(begun.elapsed().as_nanos() as u64);
        }
        let time = start.elapsed();
        self.deleted = count;
        let settling = self.settle()?;
        let line = self.plan.line("delete", 1).rate(count, time.as_secs_f64()).latency(&took);
        let line =
            self.with_sizes(Line { settle_seconds: Some(settling.as_secs_f64()), ..line })?;
        self.verify(ANY, self.plan.records - count)?;
        say(&line)
    }

    fn reopen(&mut self) -> Result<()> {
        self.settle()?;
        let start = Instant::now();
        self.store.take().context("the store is not open")?.close()?;
        let close = start.elapsed().as_secs_f64();
        let line = self.plan.line("close", 1);
        self.say(Line { ops: Some(1), seconds: Some(close), ..line })?;

        let mut took = Vec::new();
        for _ in 0..OPENINGS {
            let (store, time) = self.open()?;
            store.close()?;
            took.push(time);
        }
        took.sort_unstable();
        let (ops, seconds) = (Some(OPENINGS as u64), Some(took[OPENINGS / 2].as_secs_f64()));
        self.say(Line { ops, seconds, ..self.plan.line("reopen_warm", 1) })?;

        let line = self.plan.line("reopen_cold", 1);
        if !drop_caches() {
            let error = Some("not measured: the page cache cannot be dropped here".to_owned());
            return self.say(Line { error, ..line });
        }
        let opened = self.open_elsewhere(&self.path)?;
        let left = self.plan.records - self.deleted;
        ensure!(opened.found == left, "{} records after opening, of {left}", opened.found);
        say(&Line {
            ops: Some(1),
            seconds: Some(opened.seconds),
            disk_bytes: Some(opened.disk_bytes),
            anon_bytes: Some(opened.anon_bytes),
            ..line
        })
    }

    /// Opens a store in a process of its own.
    fn open_elsewhere(&self, path: &Path) -> Result<Opened> {
        let out = self.command("recover-open", path)?.stderr(Stdio::inherit()).output()?;
        ensure!(out.status.success(), "the process that opens the store: {}", out.status);
        Ok(serde_json::from_slice(&out.stdout)?)
    }

    fn command(&self, name: &str, path: &Path) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([name, &self.plan.peer]).arg(path);
        command.arg(self.plan.records.to_string()).arg(self.plan.value.to_string());
        Ok(command)
    }

    /// Opens the store and gets a record that was not deleted.
    fn open(&self) -> Result<(S, Duration)> {
        let len = self.values.len();
        let start = Instant::now();
        let store = S::open(&self.path)?;
        let key = key(1);
        let sound = store.get(&key, |value| check(&key, value, len).is_some())?;
        let time = start.elapsed();
        ensure!(sound == Some(true), "the first get after opening gave {sound:?}");
        Ok((store, time))
    }

    /// Loads a store of its own in a process of its own, kills that, and opens
    /// the store in another one.
    fn recover(&mut self) -> Result<()> {
        if let Some(store) = self.store.take() {
            store.close()?;
        }
        let path = self.plan.dir.join("recover");
        std::fs::create_dir(&path)?;
        let mut child = self
            .command("recover-load", &path)?
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the process that is killed")?;
        let mut said = String::new();
        let out = child.stdout.take().context("it has no output")?;
        let read = BufReader::new(out).read_line(&mut said);
        child.kill()?;
        child.wait()?;
        read?;
        ensure!(said.trim() == LOADED_ALL, "the process that loads ended before");

        let opened = self.open_elsewhere(&path)?;
        let line = Line {
            ops: Some(1),
            seconds: Some(opened.seconds),
            written: Some(RECOVERED.min(self.plan.records)),
            found: Some(opened.found),
            anon_bytes: Some(opened.anon_bytes),
            disk_bytes: Some(opened.disk_bytes),
            ..self.plan.line("recover", 1)
        };
        say(&line)
    }
}

/// Calls `work` in so many threads and gives what each returns.
fn in_threads<T: Send>(threads: u32, work: impl Fn(u32) -> Result<T> + Sync) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let work = &work;
        let spawned: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let ended = spawned.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => bail!("a thread panicked: {}", message(&*panic)),
        });
        ended.collect()
    })
}

/// Random gets for a time, in this thread.
fn read<S: Store>(
    store: &S,
    hold: Hold,
    len: usize,
    seed: u64,
    choose: impl Fn(u64) -> u64,
    allowed: &Allowed,
    time: Duration,
) -> Result<Histogram<u64>> {
    let get_loop = |get: &mut dyn FnMut(u64) -> Result<Option<Option<u64>>>| {
        let (mut state, mut took) = (seed, histogram());
        let start = Instant::now();
        let mut last = start;
        loop {
            let n = choose(random(&mut state));
            match get(n)? {
                Some(Some(generation)) if allowed.contains(&generation) => {}
                Some(Some(_)) => bail!("get gave an old content"),
                Some(None) => bail!("get gave a wrong content"),
                None => bail!("get found nothing"),
            }
            // One reading of the clock a get: the end of one is the beginning
            // of the next.
            let now = Instant::now();
            took.saturating_record((now - last).as_nanos() as u64);
            if now - start >= time {
                return Ok(took);
            }
            last = now;
        }
    };
    match hold {
        Hold::All => {
            let snapshot = store.snapshot()?;
            get_loop(&mut |n| {
                let key = key(n);
                snapshot.get(&key, |value| check(&key, value, len))
            })
        }
        Hold::Each => get_loop(&mut |n| {
            let key = key(n);
            store.get(&key, |value| check(&key, value, len))
        }),
        Hold::Renewed => {
            let (mut held, mut left) = (None, 0);
            get_loop(&mut |n| {
                if left == 0 {
                    // The old one goes first: LMDB has one for a thread.
                    drop(held.take());
                    left = RENEWED;
                }
                left -= 1;
                let snapshot = match &mut held {
                    Some(snapshot) => snapshot,
                    none => none.insert(store.snapshot()?),
                };
                let key = key(n);
                snapshot.get(&key, |value| check(&key, value, len))
            })
        }
    }
}

/// Writes back and drops what the kernel has cached of files, which takes root.
fn drop_caches() -> bool {
    Command::new("sync").status().is_ok_and(|status| status.success())
        && std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}

/// What the process that is killed says when it has written everything.
const LOADED_ALL: &str = "loaded";

/// Loads records, not synced, and waits to be killed.
pub fn recover_load<S: Store>(dir: &Path, records: u64, value: usize) -> Result<()> {
    let store = S::open(dir)?;
    let values = Values::new(value);
    let mut batch = Batch::new(&values);
    let records = RECOVERED.min(records);
    for from in (0..records).step_by(BATCH as usize) {
        batch.fill(from..records.min(from + BATCH), LOADED);
        store.write(&batch.puts(), Durability::Os)?;
    }
    println!("{LOADED_ALL}");
    // Also ends when the process that should kill this one has ended itself.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Opened {
    seconds: f64,
    found: u64,
    anon_bytes: u64,
    disk_bytes: u64,
}

/// Opens a store, times it until the first get, and counts what is there.
pub fn recover_open<S: Store>(dir: &Path, records: u64, value: usize) -> Result<()> {
    let start = Instant::now();
    let store = S::open(dir)?;
    let first = key(1);
    let sound = store.get(&first, |content| check(&first, content, value).is_some())?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(sound != Some(false), "the first get after opening gave a wrong content");
    let anon_bytes = crate::watch::anonymous();
    let mut found = 0;
    store.snapshot()?.scan(|key, content| {
        check(key, content, value).context("the scan after opening gave a wrong content")?;
        found += 1;
        Ok(())
    })?;
    ensure!(found <= records, "{found} records were found of {records}");
    ensure!(found == 0 || sound == Some(true), "the first record is lost, and not all");
    let disk_bytes = files(dir)?.values().map(|(_, allocated)| allocated).sum();
    store.close()?;
    println!("{}", serde_json::to_string(&Opened { seconds, found, anon_bytes, disk_bytes })?);
    Ok(())
}
