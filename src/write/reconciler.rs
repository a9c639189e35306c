//! The commit step, which is serial: drain the write log, decide each batch in
//! order, log the group, sync it, publish, answer.
//!
//! The thread that holds the core takes the step for all queued batches: a
//! writer that finds the core free commits in its own thread, and the
//! reconciler's thread takes over what is left. That thread sleeps until it is
//! woken.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{Arc, PoisonError, TryLockError},
    task::Waker,
    time::Duration,
};

use crate::{
    format::header::StoreId,
    model::{
        batch::Durability,
        error::{Error, Result},
        time::Seq,
    },
    num,
    os::{clock::Clock, file::Fs},
    read::dead::check,
    state::{State, base::Base, catalog::Dictionary, dead::DeadRun, layer::Frozen},
    store::wal::{self, writer::Writer},
    sync::{
        ArcSwap, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering, fence},
        thread,
    },
    write::{
        admission::{Budget, SLOW_FROM, SLOWEST},
        decide::{Origin, decide},
        pacing::{Pace, Pacing},
        pins::{EPOCH, Pins, SnapshotStats},
        stats::{Counters, WriteStats},
        ticket::{Pending, Refused, Ticket, wake},
        worker::Worker,
        write_log::WriteLog,
    },
};

/// Maximum batches of a group.
const GROUP_BATCHES: usize = 8_192;

/// A group takes no further batch once it has this many bytes when encoded.
const GROUP_BYTES: usize = 8 << 20;

/// What writers, readers and the reconciler's thread share.
pub(crate) struct Reconciler {
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    wal_dir: PathBuf,
    store: StoreId,
    log: WriteLog,
    /// A group takes no further batch once it has this many bytes of memory,
    /// which is also the limit of the write log.
    group_weight: usize,
    published: ArcSwap<State>,
    core: Mutex<Core>,
    closed: AtomicBool,
    thread: Worker,
    /// There is no reconciler's thread: a thread that queues a batch commits
    /// it.
    inline: bool,
    counters: Counters,
    pace: Mutex<Pace>,
    budget: Budget,
    pins: Mutex<Pins>,
    /// Requests a checkpoint.
    checkpoint: Box<dyn Fn() + Send + Sync>,
    /// Wakers of batches that a checkpoint's thread committed, called when it
    /// holds no lock.
    deferred: Mutex<Vec<Waker>>,
}

/// The state of the commit step.
#[derive(Debug)]
struct Core {
    writer: Writer,
    /// The published state and what is being committed on top of it.
    working: State,
    pacing: Pacing,
    /// Why no more batches are taken.
    refusal: Option<Error>,
    group: VecDeque<Pending>,
    decided: Answers,
    /// How many batches were under way when the last group had been synced, and
    /// how long the sync took; 0 if it was not synced.
    under_way: usize,
    sync: Duration,
    /// The part of a reported run that is yet to be checked.
    unchecked: Option<DeadRun>,
    /// When states begin to count as others for the statistics of snapshots.
    epoch_ends: Duration,
}

impl Core {
    /// Notes one run that readers found dead in the working state, as far as it
    /// is dead there too. `None` if there is none; otherwise whether it is news.
    fn note_dead(&mut self) -> Option<bool> {
        /// Keys that are walked over at a time: about a millisecond, if they are in
        /// memory.
        const AT_ONCE: usize = 4_096;
        let run = self.unchecked.take().or_else(|| self.working.dead_reports().pop())?;
        // A read that meets the damage reports it. This is not one.
        let Ok((dead, rest)) = check(&self.working, &run, AT_ONCE) else { return Some(false) };
        self.unchecked = rest;
        Some(self.working.note_dead(dead))
    }
}

/// Batches with their answers.
type Answers = Vec<(Pending, Result<Seq>)>;

/// Gives the answers, and returns the wakers to be called for them.
fn answer(answers: Answers) -> Vec<Waker> {
    answers.into_iter().filter_map(|(pending, answer)| pending.answer(answer)).collect()
}

/// What a [`Reconciler`] starts from.
pub(crate) struct Start {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) wal_dir: PathBuf,
    pub(crate) store: StoreId,
    pub(crate) writer: Writer,
    pub(crate) state: State,
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) max_interval: Duration,
    pub(crate) inline: bool,
    pub(crate) delta_bytes: usize,
    pub(crate) delta_vectors: usize,
    pub(crate) wal_bytes: u64,
    /// Requests a checkpoint.
    pub(crate) checkpoint: Box<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconciler").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Reconciler {
    pub(crate) fn new(start: Start) -> Self {
        let (mut state, mut pins) = (start.state, Pins::default());
        let now = start.clock.monotonic();
        pins.begin(now, &mut state);
        let budget = Budget {
            delta: start.delta_bytes,
            vectors: start.delta_vectors,
            wal: start.wal_bytes,
            layers: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            due: AtomicUsize::new(0),
            active_vectors: AtomicUsize::new(0),
            gate: Mutex::new(()),
            opened: Condvar::new(),
        };
        budget.note(&state);
        let counters = Counters::default();
        counters.note(&start.writer);
        Self {
            fs: start.fs,
            clock: start.clock,
            wal_dir: start.wal_dir,
            store: start.store,
            log: WriteLog::new(start.entries, start.bytes),
            group_weight: start.bytes,
            published: ArcSwap::from_pointee(state.clone()),
            core: Mutex::new(Core {
                writer: start.writer,
                working: state,
                pacing: Pacing::new(start.entries, start.max_interval),
                refusal: None,
                group: VecDeque::new(),
                decided: Vec::new(),
                under_way: 0,
                sync: Duration::ZERO,
                unchecked: None,
                epoch_ends: now.saturating_add(EPOCH),
            }),
            closed: AtomicBool::new(false),
            thread: Worker::default(),
            inline: start.inline,
            counters,
            pace: Mutex::new(Pace::default()),
            budget,
            pins: Mutex::new(pins),
            checkpoint: start.checkpoint,
            deferred: Mutex::default(),
        }
    }

    /// The published state.
    pub(crate) fn state(&self) -> Arc<State> {
        self.published.load_full()
    }

    /// Waits for a [queued](Self::queue) batch. If the core is free, takes the
    /// step in this thread.
    pub(crate) fn see_through(&self, ticket: Ticket) -> Result<Seq> {
        // Pairs with the fence in `must_step`: if the core is taken, its holder
        // sees this batch when it leaves.
        fence(Ordering::SeqCst);
        while !ticket.is_answered() {
            let Some(core) = self.try_enter() else { break };
            let answers = self.step(core, true);
            // The next group need not wait for the answers of this one.
            self.hand_over();
            let idle = answers.is_empty();
            wake(answer(answers));
            if idle {
                // Another thread took the batch and is about to answer it.
                break;
            }
        }
        ticket.wait_here()
    }

    /// Queues a batch, for which the caller then [waits](Self::see_through), or
    /// which it [leaves](Self::hand_over) to the reconciler's thread. A refused
    /// batch is returned with the error.
    pub(crate) fn queue(&self, pending: Pending, patience: Duration) -> Result<(), Refused> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Refused::new(Error::Closed, pending));
        }
        if self.counters.poisoned.load(Ordering::Relaxed) {
            // A writer that finds the core taken relies on its holder to answer it.
            let refusal = self.with_core(|core| core.refusal.clone());
            self.wake_deferred();
            if let Some(refusal) = refusal {
                return Err(Refused::new(refusal, pending));
            }
        }
        match self.admit(patience) {
            Ok(patience) => self.log.push(pending, patience, &*self.clock, || self.hand_over()),
            Err(error) => Err(Refused::new(error, pending)),
        }
    }

    /// Holds a writer while the delta has reached its limit, and slows it down
    /// when it is close. Returns the patience that is left.
    ///
    /// Without a reconciler's thread it does not wait: the engine makes the
    /// checkpoint before it calls this.
    fn admit(&self, patience: Duration) -> Result<Duration> {
        if self.budget.fill() < SLOW_FROM {
            return Ok(patience);
        }
        let start = self.clock.monotonic();
        let mut slowed = false;
        loop {
            if self.counters.poisoned.load(Ordering::Relaxed) {
                // There will be no room; the step reports why.
                return Ok(patience);
            }
            let fill = self.budget.fill();
            let waited = self.clock.monotonic().saturating_sub(start);
            let left = patience.saturating_sub(waited);
            if fill < SLOW_FROM || (fill < 1000 && (slowed || self.inline)) {
                return Ok(left);
            }
            if self.closed.load(Ordering::SeqCst) {
                return Err(Error::Closed);
            }
            if left.is_zero() || self.inline {
                return Err(Error::Backpressure {
                    waited_ms: waited.as_millis().try_into().unwrap_or(u64::MAX),
                    queued: self.log.len(),
                    bytes: self.log.bytes(),
                    delta: self.budget.bytes(),
                });
            }
            let wait = if fill < 1000 {
                slowed = true;
                let over = u32::try_from(fill.saturating_sub(SLOW_FROM)).unwrap_or(u32::MAX);
                SLOWEST.saturating_mul(over) / 250
            } else {
                (self.checkpoint)();
                left
            };
            let guard = self.budget.gate.lock().unwrap_or_else(PoisonError::into_inner);
            // Checked under the lock that is taken before the signal: what ends
            // the wait is either seen here, or wakes it.
            if self.budget.fill() >= SLOW_FROM && !self.has_ended() {
                let waited = self.budget.opened.wait_timeout(guard, wait.min(left));
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    /// Whether no more batches are taken.
    fn has_ended(&self) -> bool {
        self.closed.load(Ordering::SeqCst) || self.counters.poisoned.load(Ordering::Relaxed)
    }

    /// Whether a checkpoint is due.
    pub(crate) fn checkpoint_due(&self) -> bool {
        self.budget.active.load(Ordering::Relaxed) >= self.budget.due.load(Ordering::Relaxed)
            || self.budget.active_vectors.load(Ordering::Relaxed) >= self.budget.vectors
            || self.counters.wal_bytes.load(Ordering::Relaxed) >= self.budget.wal
    }

    /// Whether the delta has used up its budget.
    pub(crate) fn is_full(&self) -> bool {
        self.budget.fill() >= 1000
    }

    /// Freezes what was committed so far for a checkpoint, or returns what an
    /// earlier one froze and did not write. `None` if there is nothing to
    /// write.
    pub(crate) fn freeze(&self) -> Result<Option<(Arc<Frozen>, Arc<Base>)>> {
        self.with_core(|core| {
            match &core.refusal {
                // A closed engine still has to write what was committed.
                None | Some(Error::Closed) => {}
                Some(refusal) => return Err(refusal.clone()),
            }
            let fresh = core.working.frozen().is_none();
            let Some(frozen) = core.working.freeze().cloned() else { return Ok(None) };
            if fresh {
                core.writer.rotate();
                self.publish(core);
            }
            Ok(Some((frozen, Arc::clone(core.working.base()))))
        })
    }

    /// Calls `work` with the core, then commits the batches whose writers found
    /// the core taken. Their wakers are called by
    /// [`wake_deferred`](Self::wake_deferred), since a waker may request a
    /// checkpoint.
    fn with_core<T>(&self, work: impl FnOnce(&mut Core) -> T) -> T {
        // Dropped also if `work` panics.
        struct After<'a>(&'a Reconciler);
        impl Drop for After<'_> {
            fn drop(&mut self) {
                let Self(reconciler) = self;
                while reconciler.must_step() {
                    let wakers = answer(reconciler.step(reconciler.enter(), false));
                    let deferred = reconciler.deferred.lock();
                    deferred.unwrap_or_else(PoisonError::into_inner).extend(wakers);
                }
            }
        }
        let after = After(self);
        let done = work(&mut self.enter());
        drop(after);
        done
    }

    /// To be called, with no lock held, after whatever calls
    /// [`freeze`](Self::freeze), [`install`](Self::install),
    /// [`replace`](Self::replace) and [`truncate`](Self::truncate).
    pub(crate) fn wake_deferred(&self) {
        let deferred =
            std::mem::take(&mut *self.deferred.lock().unwrap_or_else(PoisonError::into_inner));
        wake(deferred);
    }

    /// Publishes the base into which a checkpoint merged the frozen layer, and the
    /// kinds that are left if some are gone. The bytes of that layer count until it is [`released`](Self::released).
    pub(crate) fn install(&self, base: Arc<Base>, kinds: Option<Dictionary>) {
        self.with_core(|core| {
            let frozen = core.working.frozen().map_or(0, |frozen| frozen.layer().bytes());
            self.budget.leaving.store(frozen, Ordering::Relaxed);
            self.pins().replaced(&core.working, &base, true);
            core.working.install(base, kinds);
            self.publish(core);
        });
    }

    /// Stops counting the layer that [`install`](Self::install) replaced, which
    /// is freed now, and wakes held writers.
    pub(crate) fn released(&self) {
        self.budget.leaving.store(0, Ordering::Relaxed);
        self.budget.open();
    }

    /// Publishes a base with the same contents as the current one.
    pub(crate) fn replace(&self, base: Arc<Base>) {
        self.with_core(|core| {
            self.pins().replaced(&core.working, &base, false);
            core.working.replace_base(base);
            self.publish(core);
        });
    }

    /// Removes the log files that the checkpoint covers.
    pub(crate) fn truncate(&self, checkpoint: Seq) -> Result<()> {
        let place = wal::LogDir::new(&*self.fs, &self.wal_dir, self.store);
        self.with_core(|core| core.writer.continue_from(place, checkpoint))?;
        let mut removed = wal::Removed::default();
        let cut = wal::cut(place, checkpoint, &mut removed);
        self.with_core(|core| {
            core.writer.removed(removed);
            self.counters.note(&core.writer);
        });
        cut
    }

    fn pins(&self) -> MutexGuard<'_, Pins> {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What held snapshots keep. In a forked process, which is not `here`, a thread
    /// that does not exist may hold the lock.
    pub(crate) fn snapshot_stats(&self, here: bool) -> SnapshotStats {
        let pins = if here { self.pins.lock().ok() } else { self.pins.try_lock().ok() };
        pins.map_or_else(SnapshotStats::default, |pins| pins.stats(self.clock.monotonic()))
    }

    /// Notes in the state what readers found dead, so that reads skip it. For the
    /// maintenance thread: the commit step does so too.
    pub(crate) fn note_dead(&self) {
        /// Readers may report faster than this thread checks.
        const MOST: usize = 64;
        for _ in 0..MOST {
            let noted = self.with_core(|core| {
                let noted = if core.refusal.is_none() { core.note_dead() } else { None };
                if noted == Some(true) {
                    self.publish(core);
                }
                noted
            });
            self.wake_deferred();
            if noted.is_none() || self.checkpoint_due() {
                break;
            }
        }
    }

    fn publish(&self, core: &mut Core) {
        let now = self.clock.monotonic();
        if core.epoch_ends <= now {
            core.epoch_ends = now.saturating_add(EPOCH);
            self.pins().begin(now, &mut core.working);
        }
        self.published.store(Arc::new(core.working.clone()));
        self.budget.note(&core.working);
        if !self.inline && core.working.indexes().unfinished().is_some() {
            // The thread that makes checkpoints builds them.
            (self.checkpoint)();
        }
    }

    /// Makes sure that a thread takes what is queued. To be called after
    /// pushing, and after leaving the core.
    pub(crate) fn hand_over(&self) {
        if self.must_step() {
            self.run(false);
        }
    }

    /// Wakes the reconciler's thread if something is queued. Returns whether
    /// the caller has to take the step instead.
    fn must_step(&self) -> bool {
        fence(Ordering::SeqCst);
        if self.log.is_empty() {
            return false;
        }
        let urgent = || self.log.pressure() * 2 >= self.log.capacity();
        // There may be no thread; it may have ended, and then the step refuses
        // the batches; or a waker may be holding it up.
        self.inline || self.closed.load(Ordering::SeqCst) || !self.thread.call(urgent)
    }

    fn try_enter(&self) -> Option<MutexGuard<'_, Core>> {
        match self.core.try_lock() {
            Ok(core) => Some(core),
            Err(TryLockError::WouldBlock) => None,
            // A step catches its panics, so the core is consistent.
            Err(TryLockError::Poisoned(core)) => Some(core.into_inner()),
        }
    }

    fn enter(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes steps until the write log is empty. The reconciler's own thread
    /// also stops when it pays to let batches gather, and returns for how long.
    fn run(&self, own_thread: bool) -> Duration {
        loop {
            let core = self.enter();
            let wait = core.pacing.wait(self.clock.monotonic(), self.log.pressure());
            if own_thread && !wait.is_zero() && !self.closed.load(Ordering::SeqCst) {
                return wait;
            }
            let mut wakers = answer(self.step(core, true));
            if own_thread && !wakers.is_empty() {
                // From here on, others see that this thread may be held up. It
                // takes once more what was queued before they could see that.
                self.thread.waking(true);
                let mut groups = self.log.len() / GROUP_BATCHES;
                while !self.log.is_empty() {
                    wakers.extend(answer(self.step(self.enter(), false)));
                    groups = match groups.checked_sub(1) {
                        Some(groups) => groups,
                        None => break,
                    };
                }
                wake(wakers);
                self.thread.waking(false);
            } else {
                wake(wakers);
            }
            fence(Ordering::SeqCst);
            if self.log.is_empty() {
                return Duration::ZERO;
            }
        }
    }

    /// The commit step. Releases the core, and returns the answers for the
    /// caller to give: the tasks that they wake may do anything, even write.
    /// With `may_wait` it may wait for other writers; a caller that has yet to
    /// wake some of them must not allow it.
    fn step(&self, mut core: MutexGuard<'_, Core>, may_wait: bool) -> Answers {
        let group = AssertUnwindSafe(|| {
            if may_wait {
                self.gather(&core);
            }
            self.drain(&mut core);
            self.take_group(&mut core);
        });
        if catch_unwind(group).is_err() {
            // A panic of a caller's file system, or a bug. How much of the
            // group was done is unknown, so this is handled as a failure of the
            // log: every writer gets an answer.
            let error = Error::internal("a panic ended a commit half way");
            self.refuse(&mut core, error.poisons());
        }
        std::mem::take(&mut core.decided)
    }

    /// Fails as if the log had failed.
    #[cfg(all(test, shuttle))]
    pub(crate) fn fail(&self) {
        let cause = Error::internal("a model fails the engine").poisons();
        self.with_core(|core| self.refuse(core, cause));
    }

    /// Refuses the group and all further batches. Readers keep the published
    /// state.
    fn refuse(&self, core: &mut Core, refusal: Error) {
        core.working = State::clone(&self.published.load());
        for (_, answer) in &mut core.decided {
            *answer = Err(refusal.clone());
        }
        core.decided.extend(core.group.drain(..).map(|p| (p, Err(refusal.clone()))));
        core.refusal = Some(refusal);
        self.counters.poisoned.store(true, Ordering::Relaxed);
        // Writers that wait for room must learn that there will be none.
        self.budget.open();
    }

    fn take_group(&self, core: &mut Core) {
        if core.group.is_empty() {
            return;
        }
        if let Some(refusal) = &core.refusal {
            core.decided.extend(core.group.drain(..).map(|p| (p, Err(refusal.clone()))));
            return;
        }
        core.pacing.taken(self.clock.monotonic(), core.group.len(), self.log.len());
        let committed = self.commit(core);
        self.counters.note(&core.writer);
        match committed {
            Ok(()) if self.checkpoint_due() => (self.checkpoint)(),
            Ok(()) => {}
            // Only recovery can determine what is on disk of the group.
            Err(error) => self.refuse(core, error.poisons()),
        }
    }

    /// Waits briefly for recently acknowledged writers to return (group
    /// commit).
    ///
    /// Writers that wait for each commit return when they are answered. If a
    /// sync begins before they do, they have to wait for the next one as well.
    /// So the core waits until three quarters of the batches that were under
    /// way are queued, but at most half the duration of a sync. A lone writer
    /// does not wait. docs/decisions has the measurement.
    fn gather(&self, core: &Core) {
        /// Ends the loop if the clock stands still.
        const POLLS: usize = if cfg!(any(loom, shuttle)) { 2 } else { 1_000 };
        let most = core.under_way - core.under_way / 4;
        // Writers that are refused, or held until this group is taken, do not
        // return.
        let full = self.log.pressure() * 2 >= self.log.capacity();
        if most < 2 || self.inline || full || core.refusal.is_some() || self.has_ended() {
            return;
        }
        let until = self.clock.monotonic().saturating_add(core.sync / 2);
        for _ in 0..POLLS {
            if self.log.len() >= most || self.clock.monotonic() >= until {
                break;
            }
            thread::yield_now();
        }
    }

    fn drain(&self, core: &mut Core) {
        let (mut bytes, mut weight) = (0_usize, 0_usize);
        // What is taken makes room for others at once, so without a limit on
        // memory a group could be many times as large as the write log.
        while core.group.len() < GROUP_BATCHES && bytes < GROUP_BYTES && weight < self.group_weight
        {
            let Some(pending) = self.log.pop() else { break };
            bytes += pending.payload.bytes().len();
            weight += pending.weight();
            core.group.push_back(pending);
        }
    }

    /// Decides, logs and publishes the group.
    fn commit(&self, core: &mut Core) -> Result<()> {
        let mut durability = Durability::Os;
        let (mut committed, mut checked) = (0_u64, 0_u64);
        while let Some(mut pending) = core.group.pop_front() {
            let seq = core.working.seq().next();
            let (time, ops) = (pending.time, std::mem::take(&mut pending.ops));
            let (asked, contents) = (pending.durability, pending.payload.take());
            let (reads, is_logged) = (pending.reads.take(), pending.is_logged);
            // Added before anything can fail, so that it is answered with the
            // rest.
            core.decided.push((pending, Err(Error::Closed)));
            let holds = reads.map_or(Ok(()), |reads| reads.check(&core.working));
            let decided = holds
                .and_then(|()| decide(&core.working, seq, time, ops, &contents, Origin::Writer));
            let answer = decided.map(|effects| {
                if !is_logged {
                    // Requirements only, and they hold.
                    checked += 1;
                    return core.working.seq();
                }
                core.working.apply(seq, effects, contents.memory());
                durability = durability.max(asked);
                committed += 1;
                seq
            });
            if let Some((_, place)) = core.decided.last_mut() {
                *place = answer;
            }
        }
        self.counters
            .refused
            .fetch_add(num::wide(core.decided.len()) - committed - checked, Ordering::Relaxed);
        if committed == 0 {
            core.under_way = 0;
            return Ok(());
        }
        core.note_dead();
        let payloads = core
            .decided
            .iter()
            .filter(|(pending, answer)| pending.is_logged && answer.is_ok())
            .map(|(pending, _)| &**pending.payload.bytes());
        let place = wal::LogDir::new(&*self.fs, &self.wal_dir, self.store);
        let begun = self.clock.monotonic();
        core.writer.append(place, payloads, durability == Durability::Sync)?;
        let before = self.clock.monotonic();
        (core.under_way, core.sync) = match durability {
            Durability::Sync => (core.decided.len() + self.log.len(), before.saturating_sub(begun)),
            _ => (0, Duration::ZERO),
        };
        self.publish(core);
        let after = self.clock.monotonic();
        core.pacing.published(after, after.saturating_sub(before));
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = core.pacing.pace();
        self.counters.batches.fetch_add(committed, Ordering::Relaxed);
        self.counters.groups.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The body of the reconciler's thread.
    pub(crate) fn work(&self) {
        self.thread.start();
        let mut wait = Duration::ZERO;
        while self.thread.sleep(wait, || self.log.is_empty()) {
            wait = self.run(true);
        }
    }

    /// Takes no more batches, answers those in the write log, and syncs the
    /// log. Returns the last commit, which is then durable.
    pub(crate) fn close(&self) -> Result<Seq> {
        self.closed.store(true, Ordering::SeqCst);
        self.budget.open();
        while !self.log.is_empty() {
            wake(answer(self.step(self.enter(), false)));
        }
        self.thread.stop();
        let mut core = self.enter();
        if core.refusal.is_none() {
            core.refusal = Some(match core.writer.sync() {
                Ok(()) => Error::Closed,
                Err(error) => error.poisons(),
            });
            self.counters.note(&core.writer);
        }
        let result = match &core.refusal {
            Some(error) if !matches!(error, Error::Closed) => Err(error.clone()),
            _ => Ok(core.writer.durable()),
        };
        drop(core);
        // Answers batches whose writers found the core taken in the meantime.
        self.hand_over();
        result
    }

    /// In a forked process, which is not `here`, a thread that does not exist may
    /// hold the lock.
    pub(crate) fn stats(&self, here: bool) -> WriteStats {
        let c = &self.counters;
        let pace = if here { self.pace.lock().ok() } else { self.pace.try_lock().ok() };
        WriteStats {
            batches: c.batches.load(Ordering::Relaxed),
            groups: c.groups.load(Ordering::Relaxed),
            refused: c.refused.load(Ordering::Relaxed),
            queued: self.log.len(),
            queued_bytes: self.log.bytes(),
            wal_files: c.wal_files.load(Ordering::Relaxed),
            wal_bytes: c.wal_bytes.load(Ordering::Relaxed),
            durable: Seq::new(c.durable.load(Ordering::Relaxed)),
            poisoned: c.poisoned.load(Ordering::Relaxed),
            pace: pace.map_or_else(Pace::default, |pace| *pace),
        }
    }
}
