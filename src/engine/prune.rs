//! Pruning by the engine itself: what has expired is deleted every so often.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use serde::Serializer;

use crate::{
    engine::own,
    model::{
        batch::Op,
        error::{Error, Result},
        id::NodeId,
        time::Timestamp,
    },
    os::{clock::Clock, process::Owner},
    read::snapshot::Snapshot,
    sync::Mutex,
    write::reconciler::Reconciler,
};

/// After a failure, at least so long passes before the next try.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// What an engine has pruned by itself since it was opened: see
/// [`Options::prune_every`](crate::Options::prune_every).
///
/// ```
/// use std::time::Duration;
///
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let options = Options::new().inline(true).prune_every(Duration::from_secs(60));
/// let engine = options.open(dir.path().join("memory"))?;
/// let gone = Node::new(NodeId::new(), "note").expires(Timestamp::UNIX_EPOCH);
/// engine.write(Batch::new().put(gone))?; // the first look, before there is anything
/// let stats = engine.stats().prune;
/// assert_eq!((stats.nodes, stats.last), (0, None)); // the next comes in a minute
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct PruneStats {
    /// Expired nodes in batches that were committed. One whose expiry was changed
    /// before its batch was committed counts, but stays.
    pub nodes: u64,
    /// These batches.
    pub batches: u64,
    /// When the last of them was made, by the wall clock.
    #[serde(serialize_with = "as_text")]
    pub last: Option<Timestamp>,
    /// Batches that were refused, for example because the delta was full.
    pub failed: u64,
    /// Why it could not delete all when it last looked.
    pub last_failure: Option<String>,
}

fn as_text<S: Serializer>(time: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(time),
        None => to.serialize_none(),
    }
}

/// The most operations of one batch that prunes, so that it fits into the
/// smallest write log.
pub(super) fn at_once(write_log_bytes: usize) -> usize {
    const LEAST: usize = 128;
    LEAST.max(write_log_bytes.min(4 << 20) / 4096)
}

/// What prunes by itself, and when.
#[derive(Debug)]
pub(crate) struct Pruner {
    reconciler: Arc<Reconciler>,
    clock: Arc<dyn Clock>,
    owner: Owner,
    /// `None` if the engine prunes nothing by itself.
    interval: Option<Duration>,
    at_once: usize,
    /// When it is due, by the monotonic clock; `None` once no write is taken any
    /// more. The thread that holds the lock prunes, and no other waits for it.
    due: Mutex<Option<Duration>>,
    stats: Mutex<PruneStats>,
}

impl Pruner {
    pub(super) fn new(
        reconciler: Arc<Reconciler>,
        clock: Arc<dyn Clock>,
        owner: Owner,
        interval: Option<Duration>,
        write_log_bytes: usize,
    ) -> Self {
        let due = Mutex::new(interval.map(|_| Duration::ZERO));
        let (at_once, stats) = (at_once(write_log_bytes), Mutex::default());
        Self { reconciler, clock, owner, interval, at_once, due, stats }
    }

    /// How long it is until it is due; `None` if it never is, or another thread is
    /// at it.
    pub(super) fn left(&self) -> Option<Duration> {
        self.interval?;
        let due = self.due.try_lock().ok().and_then(|due| *due)?;
        Some(due.saturating_sub(self.clock.monotonic()))
    }

    pub(super) fn is_due(&self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    /// Deletes what has expired, up to one batch of it, if it is due. It is due
    /// again at once while there is more.
    pub(super) fn step(&self) {
        let Some(interval) = self.interval else { return };
        let Ok(mut due) = self.due.try_lock() else { return };
        if due.is_none_or(|due| due > self.clock.monotonic()) {
            return;
        }
        let before = self.clock.now();
        let snapshot = Snapshot::new(self.reconciler.state());
        let expired = snapshot.expired(before).take(self.at_once).collect::<Result<Vec<_>>>();
        let full = expired.as_ref().is_ok_and(|ids| ids.len() >= self.at_once);
        let (pruned, failure) = match expired {
            Ok(ids) => self.prune(&ids, before),
            Err(error) => (0, Some(error)),
        };
        // The state of the snapshot is not kept while this thread waits.
        drop(snapshot);
        if !matches!(failure, Some(Error::Closed)) {
            let why = failure.as_ref().map(|error| error.with_causes().to_string());
            self.stats.lock().unwrap_or_else(PoisonError::into_inner).last_failure = why;
        }
        let wait = match &failure {
            _ if full && pruned > 0 => Some(Duration::ZERO),
            None => Some(interval),
            // There will be no more writes.
            Some(Error::Closed | Error::Poisoned { .. } | Error::Forked { .. }) => None,
            Some(_) => Some(interval.max(LEAST_PAUSE)),
        };
        *due = wait.map(|wait| self.clock.monotonic().saturating_add(wait));
    }

    /// Deletes those of these nodes that have expired. If one of them is damaged,
    /// the others are deleted without it. Returns how many, and the last error.
    fn prune(&self, ids: &[NodeId], before: Timestamp) -> (usize, Option<Error>) {
        if ids.is_empty() {
            return (0, None);
        }
        let error = match self.commit(ids, before) {
            Ok(()) => return (ids.len(), None),
            Err(error) => error,
        };
        if matches!(error, Error::Corrupt { .. }) && ids.len() > 1 {
            let (first, second) = ids.split_at(ids.len() / 2);
            let (first, second) = (self.prune(first, before), self.prune(second, before));
            return (first.0 + second.0, second.1.or(first.1));
        }
        (0, Some(error))
    }

    /// Commits one batch. It never waits for room: what is not deleted now is deleted
    /// later.
    fn commit(&self, ids: &[NodeId], before: Timestamp) -> Result<()> {
        let ops = ids.iter().map(|id| Op::Prune { id: *id, before }).collect();
        let committed = own::commit(&self.reconciler, self.owner, before, ops, Duration::ZERO);
        let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        match &committed {
            Ok(()) => {
                let nodes = u64::try_from(ids.len()).unwrap_or(u64::MAX);
                stats.nodes = stats.nodes.saturating_add(nodes);
                stats.batches = stats.batches.saturating_add(1);
                stats.last = Some(before);
            }
            Err(Error::Closed) => {}
            Err(_) => stats.failed = stats.failed.saturating_add(1),
        }
        committed
    }

    /// In a forked process, which is not `here`, a thread that does not exist may
    /// hold the lock.
    pub(super) fn stats(&self, here: bool) -> PruneStats {
        let stats = if here { self.stats.lock().ok() } else { self.stats.try_lock().ok() };
        stats.map_or_else(PruneStats::default, |stats| stats.clone())
    }
}
