//! Network time: when the network observed an event, not when a client claims that it happened.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole minutes since 1970. A minute is the smallest bucket of a window.
    pub fn minute(self) -> Minute {
        Minute((self.0 / 60_000) as u32)
    }

    /// Whole seconds since 1970.
    pub fn second(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole days since 1970, UTC.
    pub fn day(self) -> u32 {
        (self.0 / 86_400_000) as u32
    }

    /// The time; `None` for 0, the network time of a stream in which no frame has had a readable
    /// time.
    pub fn known(self) -> Option<Self> {
        (self.0 > 0).then_some(self)
    }

    /// `2026-07-04T14:38:08.123Z`, the form of the protocol's `time` fields.
    pub fn rfc3339(self) -> String {
        let (year, month, day) = civil(self.0 / 86_400_000);
        let ms = self.0 % 86_400_000;
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        let ms = ms % 1_000;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
    }

    /// Parses `YYYY-MM-DDThh:mm:ss[.digits](Z|+hh:mm|-hh:mm)`: RFC 3339 as the protocol restricts
    /// it (<https://atproto.com/specs/lexicon#datetime>). Digits after the milliseconds are
    /// discarded. `None` for any other form, for a date that does not exist, and for a time before
    /// 1970.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = bytes.get(from..to)?;
            digits.iter().all(u8::is_ascii_digit).then(|| {
                digits
                    .iter()
                    .fold(0, |n, digit| n * 10 + i64::from(digit - b'0'))
            })
        };
        let require = |at: usize, byte: u8| (bytes.get(at) == Some(&byte)).then_some(());
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        for (index, separator) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
            require(index, separator)?;
        }
        let is_valid = (1..=12).contains(&month)
            && (1..=month_days(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        let (ms, zone) = fraction(&bytes[19..])?;
        let offset_minutes = zone_offset_minutes(zone)?;
        let days = days_from_civil(year, month, day);
        let seconds = ((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
        let total = u64::try_from(seconds * 1_000 + ms).ok()?;
        is_valid.then_some(Self(total))
    }
}

/// Parses the `.123456` in `.123456Z` as milliseconds and returns the rest, the zone. Without a
/// dot, the milliseconds are 0.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = rest.split_first() else {
        return Some((0, rest));
    };
    let length = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let digit = |i: usize| {
        if i < length {
            i64::from(digits[i] - b'0')
        } else {
            0
        }
    };
    (length > 0).then(|| (digit(0) * 100 + digit(1) * 10 + digit(2), &digits[length..]))
}

/// The offset of a zone from UTC in minutes: `Z`, `+hh:mm` or `-hh:mm`. The protocol forbids
/// `-00:00`.
fn zone_offset_minutes(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" => Some(0),
        b"-00:00" => None,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) =>
        {
            let two_digits = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
            let (hours, minutes) = (two_digits(h1, h2), two_digits(m1, m2));
            let size = hours * 60 + minutes;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -size } else { size })
        }
        _ => None,
    }
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day since 1970: the inverse of [`days_from_civil`].
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// Whole minutes since 1970-01-01T00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Minute(pub u32);

impl Minute {
    /// The first millisecond of this minute.
    pub fn start(self) -> Timestamp {
        Timestamp(u64::from(self.0) * 60_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_the_protocol_are_parsed_and_formatted() {
        let cases = [
            ("2026-07-04T14:38:06.928Z", Some("2026-07-04T14:38:06.928Z")),
            ("2026-07-04T14:38:06Z", Some("2026-07-04T14:38:06.000Z")),
            (
                "2026-07-04T14:38:06.1234567Z",
                Some("2026-07-04T14:38:06.123Z"),
            ),
            (
                "2026-07-04T14:38:06+02:00",
                Some("2026-07-04T12:38:06.000Z"),
            ),
            ("2024-02-29T00:00:00Z", Some("2024-02-29T00:00:00.000Z")),
            ("2023-02-29T00:00:00Z", None),
            ("2024-02-30T00:00:00Z", None),
            ("0001-01-01T00:00:00Z", None),
            ("2026-07-04 14:38:06Z", None),
            ("2026-07-04T14:38:06", None),
            ("2026-07-04T14:38:06.Z", None),
            ("2026-07-04T14:38:06-00:00", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let written = Timestamp::parse(text).map(Timestamp::rfc3339);
            assert_eq!(written.as_deref(), expected, "{text}");
        }
    }
}
