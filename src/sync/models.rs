//! The types of this module built on the primitives of a model checker. They
//! have only the methods that the code uses.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{Arc, LockResult, PoisonError, TryLockResult},
    time::Duration,
};

#[cfg(loom)]
use loom as tool;
#[cfg(shuttle)]
use shuttle as tool;
pub(crate) use tool::sync::{MutexGuard, RwLock, atomic};

#[cfg(loom)]
use atomic::Ordering;

/// Runs a model in all orders of its threads with at most `preemptions`
/// preemptions, or in all orders; at most 10,000, which most models do not
/// reach. `LOOM_MAX_PREEMPTIONS` and `LOOM_MAX_PERMUTATIONS` override the
/// limits.
#[cfg(all(test, loom))]
pub(crate) fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    builder.max_permutations = builder.max_permutations.or(Some(10_000));
    // loom compares the number of permutations with the maximum only at a
    // checkpoint.
    builder.checkpoint_interval = 100;
    builder.max_branches = 100_000;
    let orders = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&orders);
    let model = Arc::new(model);
    let f = move || {
        count.fetch_add(1, Ordering::Relaxed);
        time::reset(false);
        let model = Arc::clone(&model);
        // The first thread of a model has a small stack.
        spawn(move || model()).join().unwrap();
    };
    if std::env::var("LOOM_LOG").is_ok() {
        loom::model(f);
    } else {
        builder.check(f);
    }
    report(&format_args!("{} orders", orders.load(Ordering::Relaxed)));
}

/// Runs a model in `orders` random orders of its threads, and in as many that
/// PCT generates: by random priorities, which change at two points.
/// `INGRAIN_MODELS` multiplies the number; a failure prints its seed, for
/// `SHUTTLE_RANDOM_SEED`.
#[cfg(all(test, shuttle))]
pub(crate) fn explore(
    orders: usize,
    passes: bool,
    model: impl Fn() + Copy + Send + Sync + 'static,
) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};

    const SEED: u64 = 1;
    let factor = std::env::var("INGRAIN_MODELS").map_or(1, |factor| factor.parse().unwrap());
    let (orders, seed) = (orders * factor, if factor == 1 { SEED } else { factor as u64 });
    let run = move || {
        time::reset(passes);
        model();
    };
    let config = || {
        let mut config = shuttle::Config::new();
        config.stack_size = 1 << 20;
        config.silence_warnings = true;
        config
    };
    let random = RandomScheduler::new_from_seed(seed, orders);
    let mut explored = shuttle::Runner::new(random, config()).run(run);
    let by_priority = PctScheduler::new_from_seed(seed, 3, orders);
    explored += shuttle::Runner::new(by_priority, config()).run(run);
    report(&format_args!("{explored} orders"));
}

/// Starts a thread of a model.
#[cfg(all(test, loom))]
pub(crate) fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    // In machine words.
    const STACK: usize = 1 << 16;
    thread::Builder::new().stack_size(STACK).spawn(work).unwrap()
}

#[cfg(test)]
#[expect(clippy::print_stdout, reason = "shows how much was explored")]
fn report(what: &dyn fmt::Display) {
    println!("{what}");
}

/// The mutex of the model checker. Clearing poison does nothing: a model that
/// panics has failed.
#[derive(Default)]
pub(crate) struct Mutex<T>(tool::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(tool::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.0.lock()
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        self.0.try_lock()
    }

    pub(crate) fn clear_poison(&self) {}
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex")
    }
}

/// The condition variable of the model checker. It has no notion of time;
/// timeouts are simulated by [`time`].
#[derive(Default)]
pub(crate) struct Condvar(Arc<tool::sync::Condvar>);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        self.0.wait(guard)
    }

    /// Returns whether it timed out.
    pub(crate) fn wait_timeout<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        wait: Duration,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        let waiters = Arc::clone(&self.0);
        let timer = time::start(wait, move || waiters.notify_all());
        // If the timer fired before the wait began, the lock was never
        // released.
        if !timer.has_fired() {
            guard = self.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        Ok((guard, timer.stop()))
    }

    pub(crate) fn wait_timeout_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        wait: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<(MutexGuard<'a, T>, bool)> {
        while condition(&mut guard) {
            let waited = self.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner);
            let timed_out;
            (guard, timed_out) = waited;
            if timed_out {
                return Ok((guard, true));
            }
        }
        Ok((guard, false))
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condvar")
    }
}

/// The threads of the model checker, with timeouts simulated by [`time`].
pub(crate) mod thread {
    use std::time::Duration;

    use super::{time, tool};
    pub(crate) use tool::thread::{Builder, JoinHandle, Thread, current, park, yield_now};

    pub(crate) fn park_timeout(wait: Duration) {
        let parked = current();
        let timer = time::start(wait, move || parked.unpark());
        if !timer.has_fired() {
            park();
        }
        timer.stop();
    }
}

/// Simulated time. It stands still unless a model lets it pass. If it passes,
/// each wait with a timeout may time out whenever the model checker chooses,
/// and the clock advances by the timeout. While it stands still, a timeout
/// cannot hide a lost wake-up, and the checker reports a deadlock.
///
/// Only shuttle can let it pass. With loom, which allows too few threads for
/// it, a model wakes those threads that are to time out.
pub(crate) mod time {
    use std::{
        cell::Cell,
        sync::{
            Arc,
            atomic::{AtomicU8, Ordering::Relaxed},
        },
        time::Duration,
    };

    thread_local! {
        // All threads of a model run on one thread of the machine.
        static PASSES: Cell<bool> = const { Cell::new(false) };
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// Resets the time; called when a model begins.
    pub(crate) fn reset(passes: bool) {
        PASSES.set(passes);
        NOW.set(Duration::ZERO);
    }

    #[cfg(shuttle)]
    pub(crate) fn now() -> Duration {
        NOW.get()
    }

    const RUNS: u8 = 0;
    const FIRED: u8 = 1;
    const STOPPED: u8 = 2;

    pub(super) struct Timer(Arc<AtomicU8>);

    impl Timer {
        pub(super) fn has_fired(&self) -> bool {
            self.0.load(Relaxed) == FIRED
        }

        /// Stops the timer and returns whether it had fired.
        pub(super) fn stop(self) -> bool {
            self.0.swap(STOPPED, Relaxed) == FIRED
        }
    }

    pub(super) fn start(wait: Duration, fire: impl FnOnce() + Send + 'static) -> Timer {
        let state = Arc::new(AtomicU8::new(RUNS));
        if PASSES.get() {
            let (runs, end) = (Arc::clone(&state), NOW.get().saturating_add(wait));
            super::tool::thread::spawn(move || {
                if runs.load(Relaxed) == RUNS {
                    runs.store(FIRED, Relaxed);
                    NOW.set(NOW.get().max(end));
                    fire();
                }
            });
        }
        Timer(state)
    }
}

/// A queue whose only synchronisation is release and acquire between a push and
/// a pop. A thread that learned of a push only by other means may find the
/// queue empty. The real queue loads its ends with sequential consistency,
/// which the engine does not depend on.
#[cfg(loom)]
pub(crate) struct SegQueue<T> {
    /// A mutex of the machine, not of the checker: no other thread runs while
    /// it is held, or between it and the preceding change of `len`.
    items: std::sync::Mutex<VecDeque<T>>,
    len: atomic::AtomicUsize,
}

#[cfg(loom)]
impl<T> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self { items: std::sync::Mutex::default(), len: atomic::AtomicUsize::new(0) }
    }

    pub(crate) fn push(&self, item: T) {
        self.len.fetch_add(1, Ordering::Release);
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push_back(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        let taken = |len: usize| len.checked_sub(1);
        self.len.fetch_update(Ordering::Acquire, Ordering::Relaxed, taken).ok()?;
        self.items.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A queue behind a lock, since shuttle explores only sequentially consistent
/// executions.
#[cfg(shuttle)]
pub(crate) struct SegQueue<T>(Mutex<VecDeque<T>>);

#[cfg(shuttle)]
impl<T> SegQueue<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    fn items(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, item: T) {
        self.items().push_back(item);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.items().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.items().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items().is_empty()
    }
}

impl<T> fmt::Debug for SegQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SegQueue")
    }
}

/// A cell behind a lock. Beyond release and acquire it guarantees that all
/// threads see its changes in one order, which the engine does not depend on.
pub(crate) struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub(crate) fn from_pointee(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub(crate) fn load_full(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = mem::replace(&mut *held, value);
        drop(held);
        // Dropping the old value may take locks.
        drop(old);
    }
}
