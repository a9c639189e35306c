//! Ids and times from text and from other types, where that can fail.
//!
//! It is a file of its own because errors refer to ids: `id.rs` and `time.rs`
//! know nothing of errors.

use std::{str::FromStr, time::SystemTime};

use uuid::Uuid;

use crate::model::{
    error::{Error, Result},
    id::NodeId,
    time::{Civil, SECOND, Timestamp},
};

impl NodeId {
    /// Reads an id from 32 hexadecimal digits, or from a UUID with hyphens, in
    /// upper or lower case.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        // Uuid also reads braces and `urn:uuid:`; we do not.
        if matches!(text.len(), 32 | 36)
            && let Ok(uuid) = Uuid::try_parse(text)
        {
            return Ok(Self::from_bytes(uuid.into_bytes()));
        }
        Err(Error::invalid(format!(
            "node id {text:?}: expected 32 hexadecimal digits, or a UUID with hyphens"
        )))
    }
}

impl FromStr for NodeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for NodeId {
    type Error = Error;

    /// As [`NodeId::parse`].
    fn try_from(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<&[u8]> for NodeId {
    type Error = Error;

    /// The id with these bytes. An error if there are not exactly 16.
    fn try_from(bytes: &[u8]) -> Result<Self> {
        let known = <[u8; 16]>::try_from(bytes);
        known.map(Self::from_bytes).map_err(|_| {
            Error::invalid(format!("node id of {} bytes: it has exactly 16", bytes.len()))
        })
    }
}

impl Timestamp {
    /// Reads a time as RFC 3339 has it, or as `@` and microseconds since 1970.
    ///
    /// The offset is `Z` or `±hh:mm`. Between date and time is a `T` or a
    /// space, and letters may be in lower case. Digits after the sixth of a
    /// fraction are dropped. A leap second (23:59:60 in UTC) is read as the
    /// second after it, as POSIX has it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for anything else, and
    /// for dates that do not exist.
    pub fn parse(text: &str) -> Result<Self> {
        let micros = match text.strip_prefix('@') {
            Some(micros) => micros.parse().ok(),
            None => rfc_3339(text.as_bytes()),
        };
        micros.map(Self::from_micros).ok_or_else(|| {
            Error::invalid(format!(
                "time {text:?}: expected a date and time of RFC 3339, such as \
                 2024-02-29T12:00:00.5Z, or @ and microseconds since 1970"
            ))
        })
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Timestamp {
    type Error = Error;

    /// As [`Timestamp::parse`].
    fn try_from(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<SystemTime> for Timestamp {
    type Error = Error;

    /// As [`Timestamp::from_system_time`].
    fn try_from(time: SystemTime) -> Result<Self> {
        Self::from_system_time(time)
            .ok_or_else(|| Error::invalid("time: it is more than 292,000 years from 1970"))
    }
}

impl TryFrom<Timestamp> for SystemTime {
    type Error = Error;

    /// As [`Timestamp::to_system_time`].
    fn try_from(time: Timestamp) -> Result<Self> {
        time.to_system_time().ok_or_else(|| {
            Error::invalid(format!("time {time}: this platform cannot represent it"))
        })
    }
}

/// Microseconds since 1970 of `YYYY-MM-DDThh:mm:ss[.digits](Z|±hh:mm)`.
fn rfc_3339(text: &[u8]) -> Option<i64> {
    let mut rest = Digits(text);
    let year = rest.number(4)?;
    rest.one_of(b"-")?;
    let month = rest.number(2).filter(|month| (1..=12).contains(month))?;
    rest.one_of(b"-")?;
    let day = rest.number(2).filter(|day| (1..=days_of_month(year, month)).contains(day))?;
    rest.one_of(b"Tt ")?;
    let hour = rest.number(2).filter(|hour| *hour < 24)?;
    rest.one_of(b":")?;
    let minute = rest.number(2).filter(|minute| *minute < 60)?;
    rest.one_of(b":")?;
    let second = rest.number(2).filter(|second| *second <= 60)?;
    let fraction = if rest.one_of(b".").is_some() { rest.fraction()? } else { 0 };
    let offset = match rest.one_of(b"Zz+-")? {
        b'Z' | b'z' => 0,
        sign => {
            let hours = rest.number(2).filter(|hours| *hours < 24)?;
            rest.one_of(b":")?;
            let minutes = rest.number(2).filter(|minutes| *minutes < 60)?;
            if sign == b'-' { -(hours * 60 + minutes) } else { hours * 60 + minutes }
        }
    };
    let utc_minute = (hour * 60 + minute - offset).rem_euclid(24 * 60);
    if !rest.0.is_empty() || (second == 60 && utc_minute != 24 * 60 - 1) {
        return None;
    }
    let of_day = (hour * 3_600 + minute * 60 + second) * SECOND + fraction;
    Some(Civil { year, month, day, of_day }.micros() - offset * 60 * SECOND)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Text that is read from its beginning.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    fn one_of(&mut self, allowed: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first().filter(|(first, _)| allowed.contains(first))?;
        self.0 = rest;
        Some(*first)
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let mut number = 0;
        for _ in 0..digits {
            number = number * 10 + i64::from(self.one_of(b"0123456789")? - b'0');
        }
        Some(number)
    }

    /// One digit or more, as microseconds.
    fn fraction(&mut self) -> Option<i64> {
        let (mut micros, mut unit) = (self.number(1)? * SECOND / 10, SECOND / 10);
        while let Some(digit) = self.number(1) {
            unit /= 10;
            micros += digit * unit;
        }
        Some(micros)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::model::error::ErrorKind;

    #[test]
    fn ids_are_read_in_two_forms_and_no_other() {
        let id = NodeId::from_bytes(*b"0123456789abcdef");
        let plain = "30313233343536373839616263646566";
        for good in [plain, &plain.to_uppercase(), &id.to_string(), &format!("{id:x}")] {
            assert_eq!(NodeId::parse(good).unwrap(), id);
        }
        for bad in [
            "",
            "30",
            &plain[1..],
            &format!("{{{id}}}"),
            &format!("urn:uuid:{id}"),
            &"g".repeat(32),
            &"é".repeat(16),
        ] {
            assert_eq!(NodeId::parse(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
        }
        assert_eq!(NodeId::try_from(&id.as_bytes()[..]).unwrap(), id);
        assert!(NodeId::try_from(&id.as_bytes()[1..]).is_err());
    }

    #[test]
    fn known_times_are_read_and_written() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("2000-02-29T00:00:00Z", 951_782_400_000_000),
            ("2024-02-29T12:00:00.5Z", 1_709_208_000_500_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
            ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
            ("@-62167219200000001", -62_167_219_200_000_001),
            ("@253402300800000000", 253_402_300_800_000_000),
            ("@9223372036854775807", i64::MAX),
            ("@-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().as_micros(), micros, "{text}");
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
        }
    }

    #[test]
    fn other_forms_of_a_time_are_the_same_time() {
        for (text, same) in [
            ("1996-12-19T16:39:57-08:00", "1996-12-20T00:39:57Z"), // of RFC 3339
            ("1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00Z"),
            ("1937-01-01t12:00:27.87+00:20", "1937-01-01T11:40:27.87Z"),
            ("2024-01-01 00:00:00.1234569z", "2024-01-01T00:00:00.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2024-01-01T00:00:00-00:00", "2024-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00+00:01", "@-62167219260000000"),
            ("@000", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_string(), same, "{text}");
        }
        for bad in [
            "",
            "@",
            "@1.5",
            "@9223372036854775808",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00Z ",
            "2024-01-01T00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:60Z",
            "2024-01-01T23:59:60+01:00",
            "2024-01-01T00:00:00+24:00",
            "2024-01-01T00:00:00+0100",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "+024-01-01T00:00:00Z",
            "12024-01-01T00:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(bad).unwrap_err().kind(), ErrorKind::Invalid, "{bad:?}");
        }
    }

    /// Days follow each other, each month having its days.
    #[test]
    fn every_day_of_the_calendar_is_followed_by_the_next() {
        let (mut year, mut month, mut day) = (0, 1, 1);
        let mut micros = -62_167_219_200_000_000;
        while year < 10_000 {
            let civil = Civil::from_timestamp(Timestamp::from_micros(micros));
            assert_eq!((civil.year, civil.month, civil.day), (year, month, day));
            assert_eq!(civil.micros(), micros);
            micros += 86_400 * SECOND;
            day += 1;
            if day > days_of_month(year, month) {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    fn any_micros() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -63_000_000_000_000_000..254_000_000_000_000_000_i64]
    }

    proptest! {
        #[test]
        fn every_time_is_read_as_it_was_written(micros in any_micros()) {
            let time = Timestamp::from_micros(micros);
            prop_assert_eq!(Timestamp::parse(&time.to_string()).unwrap(), time);
        }

        #[test]
        fn an_offset_moves_a_time_by_itself(
            micros in -62_000_000_000_000_000..250_000_000_000_000_000_i64,
            minutes in -1_439..=1_439_i64,
        ) {
            let shifted = Timestamp::from_micros(micros + minutes * 60 * SECOND).to_string();
            let sign = if minutes < 0 { '-' } else { '+' };
            let (hours, rest) = (minutes.abs() / 60, minutes.abs() % 60);
            let text = format!("{}{sign}{hours:02}:{rest:02}", shifted.trim_end_matches('Z'));
            prop_assert_eq!(Timestamp::parse(&text).unwrap().as_micros(), micros);
        }

        #[test]
        fn text_that_is_no_time_is_refused(text in "[0-9TZ:@+ .-]{0,30}|\\PC{0,30}") {
            if let Ok(time) = Timestamp::parse(&text) {
                prop_assert_eq!(Timestamp::parse(&time.to_string()).unwrap(), time);
            }
        }

        #[test]
        fn system_times_are_rounded_down(micros in any::<i64>(), nanos in 0..1_000_u64) {
            let time = Timestamp::from_micros(micros);
            let system = SystemTime::try_from(time).unwrap();
            prop_assert_eq!(Timestamp::try_from(system).unwrap(), time);
            let later = system + Duration::from_nanos(nanos);
            prop_assert_eq!(Timestamp::from_system_time(later), Some(time));
        }

        #[test]
        fn durations_take_times_there_and_back(a in any::<i64>(), b in any::<i64>()) {
            let (a, b) = (Timestamp::from_micros(a.min(b)), Timestamp::from_micros(a.max(b)));
            let between = b.duration_since(a).unwrap();
            prop_assert_eq!(a.checked_add(between), Some(b));
            prop_assert_eq!(b.checked_sub(between), Some(a));
            prop_assert_eq!(a.duration_since(b).is_some(), a == b);
            let beyond = between + Timestamp::MAX.duration_since(b).unwrap();
            prop_assert_eq!(a.checked_add(beyond), Some(Timestamp::MAX));
            let beyond = beyond + Duration::from_micros(1);
            prop_assert_eq!((a.checked_add(beyond), a.saturating_add(beyond)), (None, Timestamp::MAX));
        }
    }
}
