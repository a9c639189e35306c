//! When to publish: the control law of the reconciler.
//!
//! Publishing a state costs the same for one batch as for a thousand, so under
//! load it pays to let batches gather. The law waits only while batches are
//! expected: it follows the arrivals with an exponential moving average,
//! extrapolates the depth of the queue linearly, and chooses the interval so
//! that publication takes about a tenth of the time. A lone write is published
//! at once.

use std::time::Duration;

use serde::Serialize;

/// Weight of the newest observation in the averages.
const ALPHA: f64 = 0.3;

/// Publication may take one part in this many of the time.
const COST_SHARE: f64 = 10.0;

/// What writers should do about the load, for people and alarms.
///
/// ```
/// use ingrain::{Engine, admin::Advice};
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// if engine.stats().write.pace.advice == Advice::SlowDown {
///     eprintln!("the write log is filling up");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Advice {
    /// Nothing to do.
    #[default]
    Steady,
    /// Batches arrive faster than it pays to commit singly: write larger ones.
    BatchMore,
    /// The queue is filling up: writers will soon be held.
    SlowDown,
}

/// The load as measured by the reconciler.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// # let engine = Engine::open(dir.path().join("memory"))?;
/// engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let pace = engine.stats().write.pace;
/// assert!(pace.utilisation < 0.01 && pace.health > 0.9); // next to no load
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Pace {
    /// Batches in the write log when the last group was taken.
    pub queue_depth: usize,
    /// `queue_depth` as a share of the capacity of the write log: 0 to 1.
    pub utilisation: f64,
    /// Batches expected in the write log one
    /// [`Options::publish_interval`](crate::Options::publish_interval) later.
    pub predicted_depth: f64,
    /// Arrivals, in batches a second (moving average).
    pub rate: f64,
    /// The interval between publications that the law chose, in microseconds.
    pub interval_us: u64,
    /// The duration of a publication, in microseconds (moving average).
    pub publish_us: f64,
    /// From taking a group to having published it, in microseconds (moving
    /// average).
    pub lag_us: f64,
    /// 1 if the queue is empty, 0 if it is full or expected to be.
    pub health: f64,
    /// What writers could do.
    pub advice: Advice,
}

impl Default for Pace {
    /// No load: a health of 1, everything else 0.
    fn default() -> Self {
        Self {
            queue_depth: 0,
            utilisation: 0.0,
            predicted_depth: 0.0,
            rate: 0.0,
            interval_us: 0,
            publish_us: 0.0,
            lag_us: 0.0,
            health: 1.0,
            advice: Advice::Steady,
        }
    }
}

/// The control law.
#[derive(Debug)]
pub(crate) struct Pacing {
    capacity: f64,
    max_interval: Duration,
    taken_at: Option<Duration>,
    published_at: Duration,
    slope: f64,
    pace: Pace,
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and durations become rates; casts of floats saturate"
)]
impl Pacing {
    pub(crate) fn new(capacity: usize, max_interval: Duration) -> Self {
        Self {
            capacity: capacity.max(1) as f64,
            max_interval,
            taken_at: None,
            published_at: Duration::ZERO,
            slope: 0.0,
            pace: Pace::default(),
        }
    }

    /// A group of `taken` batches was taken at `now`; `depth` are left.
    pub(crate) fn taken(&mut self, now: Duration, taken: usize, depth: usize) {
        let before = self.pace.queue_depth as f64;
        let depth_before_taking = depth + taken;
        if let Some(last) = self.taken_at {
            let seconds = now.saturating_sub(last).as_secs_f64().max(1e-6);
            self.pace.rate = average(self.pace.rate, taken as f64 / seconds);
            self.slope = average(self.slope, (depth_before_taking as f64 - before) / seconds);
        }
        self.taken_at = Some(now);
        self.pace.queue_depth = depth_before_taking;
        self.pace.utilisation = (depth_before_taking as f64 / self.capacity).min(1.0);
        let horizon = self.max_interval.as_secs_f64();
        self.pace.predicted_depth = (depth_before_taking as f64 + self.slope * horizon).max(0.0);
        self.pace.health = (1.0
            - self.pace.utilisation.max(self.pace.predicted_depth / self.capacity))
        .clamp(0.0, 1.0);
        self.pace.interval_us = self.interval().as_micros().try_into().unwrap_or(u64::MAX);
        self.pace.advice = if self.pace.health < 0.5 {
            Advice::SlowDown
        } else if self.pace.interval_us > 0 {
            Advice::BatchMore
        } else {
            Advice::Steady
        };
    }

    /// The group was published at `now`, which took `cost`.
    pub(crate) fn published(&mut self, now: Duration, cost: Duration) {
        self.published_at = now;
        self.pace.publish_us = average(self.pace.publish_us, cost.as_secs_f64() * 1e6);
        if let Some(taken) = self.taken_at {
            let lag = now.saturating_sub(taken).as_secs_f64() * 1e6;
            self.pace.lag_us = average(self.pace.lag_us, lag);
        }
    }

    /// How long from `now` to let batches gather, with `depth` in the queue.
    pub(crate) fn wait(&self, now: Duration, depth: usize) -> Duration {
        if depth as f64 >= self.capacity / 2.0 {
            return Duration::ZERO;
        }
        self.interval().saturating_sub(now.saturating_sub(self.published_at))
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    fn interval(&self) -> Duration {
        let worth = (self.pace.publish_us * 1e-6 * COST_SHARE).min(self.max_interval.as_secs_f64());
        let gathers = self.pace.rate * worth >= 2.0;
        let fills = self.pace.predicted_depth >= self.capacity / 2.0;
        if gathers && !fills { Duration::from_secs_f64(worth) } else { Duration::ZERO }
    }
}

fn average(old: f64, new: f64) -> f64 {
    ALPHA.mul_add(new - old, old)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(5);

    /// Groups of `taken` every `every`, each published at a cost of `cost`.
    fn run(
        taken: usize,
        depth: usize,
        every: Duration,
        cost: Duration,
        n: u32,
    ) -> (Pacing, Duration) {
        let mut pacing = Pacing::new(1_000, MAX);
        let mut now = Duration::from_secs(1);
        for _ in 0..n {
            now += every;
            pacing.taken(now, taken, depth);
            pacing.published(now, cost);
        }
        (pacing, now)
    }

    #[test]
    fn a_lone_write_does_not_wait() {
        let (pacing, now) = run(1, 0, Duration::from_millis(10), Duration::from_micros(3), 100);
        assert_eq!(pacing.wait(now, 1), Duration::ZERO);
        assert_eq!(pacing.pace().advice, Advice::Steady);
    }

    #[test]
    fn under_load_publication_takes_a_tenth_of_the_time() {
        let cost = Duration::from_micros(30);
        let (pacing, now) = run(3, 0, Duration::from_micros(10), cost, 100);
        let wait = pacing.wait(now, 3);
        assert!(wait > cost * 9 && wait < cost * 11, "{wait:?}");
        assert_eq!(pacing.wait(now + wait, 3), Duration::ZERO);
        assert_eq!(pacing.pace().advice, Advice::BatchMore);
    }

    #[test]
    fn no_wait_is_longer_than_the_bound() {
        let (pacing, now) = run(400, 0, MAX, Duration::from_secs(1), 100);
        assert_eq!(pacing.wait(now, 10), MAX);
    }

    #[test]
    fn a_queue_that_fills_is_drained_at_once() {
        let cost = Duration::from_micros(30);
        let (pacing, now) = run(3, 0, Duration::from_micros(10), cost, 100);
        assert_eq!(pacing.wait(now, 500), Duration::ZERO, "half full");
        let (mut pacing, mut now) = (pacing, now);
        for depth in 0..8 {
            now += Duration::from_micros(100);
            pacing.taken(now, 10, depth * 50);
            pacing.published(now, cost);
        }
        assert_eq!(pacing.wait(now, 10), Duration::ZERO, "will be half full");
        assert!(pacing.pace().health < 0.5);
        assert_eq!(pacing.pace().advice, Advice::SlowDown);
    }

    #[test]
    fn averages_follow_with_the_stated_weight() {
        let mut pacing = Pacing::new(1_000, MAX);
        pacing.taken(Duration::from_secs(1), 1, 0);
        pacing.taken(Duration::from_secs(2), 100, 0);
        assert!((pacing.pace().rate - 30.0).abs() < 1e-9);
        pacing.taken(Duration::from_secs(3), 100, 0);
        assert!((pacing.pace().rate - 51.0).abs() < 1e-9);
    }
}
