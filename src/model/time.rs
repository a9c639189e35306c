//! Sequence numbers and points in time.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// The sequence number of a commit. The first batch of a store is 1, and numbers
/// continue across restarts. The number of a commit that a crash took, which was
/// written under `Os` or never acknowledged, is given to the next commit.
///
/// ```
/// use ingrain::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("memory"))?;
/// assert_eq!(engine.snapshot().seq(), Seq::ZERO);
/// let first = engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// let second = engine.write(Batch::new().put(Node::new(NodeId::new(), "note")))?;
/// assert!(first < second);
/// assert_eq!((first.get(), second.to_string()), (1, "2".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(u64);

impl Seq {
    /// The state before the first batch.
    pub const ZERO: Self = Self(0);

    /// The sequence number with this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The value.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of the following commit. At a million commits a second the
    /// numbers last for half a million years.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time: microseconds since 1970-01-01T00:00:00Z, negative before.
///
/// Times are data, not control: nothing in the engine depends on the wall
/// clock being right, unless [`Options::prune_every`](crate::Options::prune_every)
/// asks it to delete what has expired.
///
/// # Text
///
/// `Display` writes the form of RFC 3339 in UTC: `2024-02-29T12:00:00.5Z`. The
/// fraction has up to six digits and no zeros at its end. Times outside of the
/// years 0000 to 9999, which RFC 3339 cannot express, are written as `@` and
/// the microseconds: `@-62167219200000001`. [`Timestamp::parse`] reads both, so
/// every time can be written and read back. With the feature `serde` a time is
/// this text in human-readable formats, and the microseconds in others.
///
/// ```
/// use std::time::Duration;
///
/// use ingrain::Timestamp;
///
/// let noon = Timestamp::parse("2024-02-29T13:00:00+01:00")?;
/// assert_eq!(noon.to_string(), "2024-02-29T12:00:00Z");
/// assert_eq!(noon.as_micros(), 1_709_208_000_000_000);
///
/// let later = noon.checked_add(Duration::from_millis(500)).unwrap();
/// assert_eq!(later.to_string(), "2024-02-29T12:00:00.5Z");
/// assert_eq!(later.duration_since(noon), Some(Duration::from_millis(500)));
/// assert_eq!(noon.duration_since(later), None);
/// # Ok::<(), ingrain::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time, about 292,000 years before 1970.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time, about 292,000 years after 1970.
    pub const MAX: Self = Self(i64::MAX);
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// From microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The time that is `duration` later, or `None` if it is after
    /// [`Timestamp::MAX`]. Of the duration, whole microseconds count.
    #[must_use]
    pub fn checked_add(self, duration: Duration) -> Option<Self> {
        self.0.checked_add_unsigned(micros(duration)?).map(Self)
    }

    /// The time that is `duration` earlier, or `None` if it is before
    /// [`Timestamp::MIN`]. Of the duration, whole microseconds count.
    #[must_use]
    pub fn checked_sub(self, duration: Duration) -> Option<Self> {
        self.0.checked_sub_unsigned(micros(duration)?).map(Self)
    }

    /// The time that is `duration` later, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration).unwrap_or(Self::MAX)
    }

    /// The time that is `duration` earlier, at least [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        self.checked_sub(duration).unwrap_or(Self::MIN)
    }

    /// The time that passed since `earlier`, or `None` if `earlier` is later
    /// than this time.
    #[must_use]
    pub fn duration_since(self, earlier: Self) -> Option<Duration> {
        (self >= earlier).then(|| Duration::from_micros(self.0.abs_diff(earlier.0)))
    }

    /// The time of the system's clock, or `None` if it is beyond
    /// [`Timestamp::MIN`] or [`Timestamp::MAX`]. Parts of a microsecond are
    /// rounded down, to the earlier time.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Option<Self> {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self::UNIX_EPOCH.checked_add(after),
            Err(before) => {
                let before = before.duration();
                let part = before.subsec_nanos() % 1_000;
                // Up to a whole microsecond, which is down in time.
                let up = if part == 0 { 0 } else { 1_000_u32.saturating_sub(part) };
                let before = before.checked_add(Duration::from_nanos(u64::from(up)))?;
                Self::UNIX_EPOCH.checked_sub(before)
            }
        }
    }

    /// The same time as the standard library has it, or `None` if the platform
    /// cannot represent it. Unix platforms of 64 bits can represent all.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_micros(self.0.unsigned_abs());
        if self.0 < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }
}

/// Whole microseconds, if there are less than 2^64.
fn micros(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_micros()).ok()
}

pub(super) const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A date and time of day in UTC, of the proleptic Gregorian calendar.
pub(super) struct Civil {
    pub(super) year: i64,
    /// From 1.
    pub(super) month: i64,
    /// From 1.
    pub(super) day: i64,
    /// Microseconds since midnight.
    pub(super) of_day: i64,
}

// Both directions are the algorithms `days_from_civil` and `civil_from_days` of
// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
// (https://howardhinnant.github.io/date_algorithms.html). They count days in
// eras of 400 years, and years from 1 March, so that a leap day is the last of
// its year. No number here comes near the bounds of i64: a time has less than
// 2^28 days, and parsed years have four digits.
impl Civil {
    pub(super) fn from_timestamp(time: Timestamp) -> Self {
        let (days, of_day) = (time.0.div_euclid(DAY), time.0.rem_euclid(DAY));
        let days = days + 719_468; // since 0000-03-01
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153; // 0 is March
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: of_year - (153 * shifted + 2) / 5 + 1,
            of_day,
        }
    }

    /// Microseconds since 1970-01-01T00:00:00Z. The date must exist.
    pub(super) fn micros(&self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let shifted = if self.month > 2 { self.month - 3 } else { self.month + 9 };
        let of_year = (153 * shifted + 2) / 5 + self.day - 1;
        let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
        (era * 146_097 + of_era - 719_468) * DAY + self.of_day
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, of_day } = Civil::from_timestamp(*self);
        if !(0..=9_999).contains(&year) {
            return write!(f, "@{}", self.0);
        }
        let (seconds, micros) = (of_day / SECOND, of_day % SECOND);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if micros != 0 {
            let digits = format!("{micros:06}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}
