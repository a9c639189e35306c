//! Work on several threads at once. The threads are the engine's own: they are
//! started for one call and end with it. No caller can occupy them, as it can
//! the workers of a shared pool, so a call never waits for a task of somebody
//! else, whatever locks it holds.

use std::{
    panic::resume_unwind,
    sync::{Mutex, PoisonError},
    thread,
};

/// Calls `work` with every item, on up to `threads` threads, one of which is the
/// caller's. Each thread makes a state of its own with `init` first. If a thread
/// cannot be started, the others do its share. A panic of `work` is passed on
/// after all threads have ended.
///
/// Starting and joining a thread costs about 0.1 ms.
pub(crate) fn for_each<T, S>(
    threads: usize,
    items: impl ExactSizeIterator<Item = T> + Send,
    init: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) + Sync,
) {
    let others = threads.min(items.len()).saturating_sub(1);
    let items = Mutex::new(items);
    let run = || {
        let mut state = init();
        loop {
            // The lock is released before the item is worked on.
            let item = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = item else { return };
            work(&mut state, item);
        }
    };
    thread::scope(|scope| {
        let mut started = Vec::with_capacity(others);
        for _ in 0..others {
            let thread = thread::Builder::new().name("ingrain-work".to_owned());
            match thread.spawn_scoped(scope, run) {
                Ok(thread) => started.push(thread),
                Err(_) => break,
            }
        }
        run();
        for thread in started {
            if let Err(panic) = thread.join() {
                resume_unwind(panic);
            }
        }
    });
}

/// The results of `work` for every item, in their order. As [`for_each`].
pub(crate) fn map<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let mut results: Vec<Option<R>> = items.iter().map(|_| None).collect();
    let places = items.iter().zip(&mut results);
    for_each(threads, places, || (), |(), (item, result)| *result = Some(work(item)));
    // Every item has a result: a panic does not come here.
    results.into_iter().flatten().collect()
}

/// The threads that the machine runs at once, as the default of an option.
pub(crate) fn available() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Barrier,
    };

    use super::*;

    #[test]
    fn every_item_has_its_result_whatever_the_number_of_threads() {
        for len in [0, 1, 2, 7, 1_000] {
            let items: Vec<u64> = (0..len).collect();
            for threads in [0, 1, 2, 3, 64] {
                let squares: Vec<u64> = items.iter().map(|item| item * item).collect();
                assert_eq!(map(threads, &items, |item| item * item), squares);
            }
        }
    }

    #[test]
    fn items_are_worked_on_at_once() {
        // Each waits for the other, which only two threads can do.
        let barrier = Barrier::new(2);
        let ids = map(2, &[(), ()], |()| {
            barrier.wait();
            thread::current().id()
        });
        assert_eq!(ids.into_iter().collect::<HashSet<_>>().len(), 2);
    }

    #[test]
    fn a_panic_is_passed_on_and_leaves_the_next_call_alone() {
        for threads in [1, 3] {
            let failing = AssertUnwindSafe(|| {
                map(threads, &[1, 2, 3, 4], |item| assert_ne!(*item, 3));
            });
            assert!(catch_unwind(failing).is_err());
            assert_eq!(map(threads, &[1, 2], |item| item + 1), [2, 3]);
        }
    }
}
