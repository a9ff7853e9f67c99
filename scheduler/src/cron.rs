//! The schedule of a job: a cron expression in a time zone.

use std::str::FromStr;

use chrono::{DateTime, FixedOffset, Offset, Utc};
use chrono_tz::Tz;
use skytide_core::time::Timestamp;

/// The schedule of a job.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// `None` for `never`: the job runs only on request.
    expression: Option<cron::Schedule>,
    zone: Tz,
}

/// Why a text is not a schedule.
#[derive(Debug, thiserror::Error)]
pub enum CronError {
    /// The time zone does not exist.
    #[error("{0:?} is not a time zone such as UTC or Europe/Vienna")]
    Zone(String),
    /// The text is neither an expression nor `never`.
    #[error(
        "{text:?} is neither a cron expression (seconds, minutes, hours, days, months, weekdays, \
         as \"0 30 * * * *\") nor \"never\""
    )]
    Expression {
        /// The text.
        text: String,
        /// The cause.
        #[source]
        source: cron::error::Error,
    },
}

impl Schedule {
    /// Parses an expression with seconds, or `never`, and the name of a time zone.
    ///
    /// # Errors
    /// The expression or the time zone is not valid.
    pub fn parse(text: &str, zone: &str) -> Result<Self, CronError> {
        let zone = zone.parse().map_err(|_| CronError::Zone(zone.to_owned()))?;
        if text == "never" {
            let expression = None;
            return Ok(Self { expression, zone });
        }
        let expression = cron::Schedule::from_str(text).map_err(|source| {
            let text = text.to_owned();
            CronError::Expression { text, source }
        })?;
        let expression = Some(expression);
        Ok(Self { expression, zone })
    }

    /// The expression, or `never`.
    pub fn text(&self) -> String {
        let expression = self.expression.as_ref();
        expression.map_or_else(|| "never".to_owned(), ToString::to_string)
    }

    /// The name of the time zone.
    pub fn zone(&self) -> String {
        self.zone.name().to_owned()
    }

    /// Whether the job is never due.
    pub fn is_never(&self) -> bool {
        self.expression.is_none()
    }

    /// The first time after `now` at which the local time of the zone matches the expression;
    /// `None` if there is none. An hour that the clocks skip in spring is skipped. In an hour that
    /// they repeat in autumn, matching times occur twice.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let expression = self.expression.as_ref()?;
        let ms = i64::try_from(now.0).ok()?;
        let now = DateTime::<Utc>::from_timestamp_millis(ms)?;
        let offset = |moment: DateTime<Utc>| moment.with_timezone(&self.zone).offset().fix();
        let in_offset = |offset: FixedOffset| {
            let due = expression.after(&now.with_timezone(&offset)).next();
            due.map(|due| due.with_timezone(&Utc))
        };
        // In a repeated hour, `cron` skips the second occurrence or returns to the first one.
        // Therefore the next time is also computed with two fixed UTC offsets: the current one, and
        // the one at the time that this yields. A result is used only if the zone really has that
        // offset at that time.
        let before = in_offset(offset(now));
        let after = before.and_then(|due| in_offset(offset(due)));
        let same_offset = |due: &DateTime<Utc>, of: DateTime<Utc>| offset(*due) == offset(of);
        let by_zone = expression.after(&now.with_timezone(&self.zone)).next();
        let due = [
            by_zone.map(|due| due.with_timezone(&Utc)),
            before.filter(|due| same_offset(due, now)),
            after.filter(|due| before.is_some_and(|before| same_offset(due, before))),
        ];
        let due = due.into_iter().flatten().filter(|due| *due > now).min()?;
        u64::try_from(due.timestamp_millis()).ok().map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, zone: &str, now: &str, due: Option<&str>) {
        let schedule = Schedule::parse(text, zone).expect(text);
        let next = schedule.next(Timestamp::parse(now).expect(now));
        assert_eq!(next.map(Timestamp::rfc3339).as_deref(), due, "{text}");
    }

    #[test]
    fn a_job_is_due_at_the_next_matching_time_of_its_zone() {
        let hourly = "0 0 * * * *";
        let (now, next) = ("2026-07-04T14:59:59.999Z", "2026-07-04T15:00:00.000Z");
        check(hourly, "UTC", now, Some(next));
        check(hourly, "UTC", next, Some("2026-07-04T16:00:00.000Z"));
        check(
            hourly,
            "Asia/Kolkata",
            now,
            Some("2026-07-04T15:30:00.000Z"),
        );
        check(
            "0 0 6 * * *",
            "Europe/Vienna",
            now,
            Some("2026-07-05T04:00:00.000Z"),
        );
        check("never", "UTC", now, None);
    }

    #[test]
    fn an_hour_that_the_clocks_skip_is_skipped() {
        let now = "2026-03-29T00:00:00Z";
        check(
            "0 30 2 * * *",
            "Europe/Vienna",
            now,
            Some("2026-03-30T00:30:00.000Z"),
        );
    }

    #[test]
    fn times_in_a_repeated_hour_are_due_twice_and_a_skipped_hour_delays_nothing() {
        // In Vienna, the clocks change at 01:00 UTC: in October from 03:00 back to 02:00, and in
        // March from 02:00 to 03:00.
        let cases = [
            (
                "0 30 * * * *",
                "2026-10-24T23:59:00Z",
                ["00:30", "01:30", "02:30"],
            ),
            (
                "*/30 * * * * *",
                "2026-10-25T00:59:00Z",
                ["00:59", "01:00", "01:00"],
            ),
            (
                "0 30 2 * * *",
                "2026-10-24T23:59:00Z",
                ["00:30", "01:30", "01:30"],
            ),
            (
                "0 30 * * * *",
                "2026-03-28T23:59:00Z",
                ["00:30", "01:30", "02:30"],
            ),
            (
                "*/30 * * * * *",
                "2026-03-29T00:59:00Z",
                ["00:59", "01:00", "01:00"],
            ),
        ];
        for (text, now, expected) in cases {
            let schedule = Schedule::parse(text, "Europe/Vienna").expect("a schedule");
            let mut now = Timestamp::parse(now).expect("a moment");
            let due = expected.map(|_| {
                now = schedule.next(now).expect("due");
                now.rfc3339()[11..16].to_owned()
            });
            assert_eq!(due, expected, "{text}");
        }
    }

    #[test]
    fn a_day_of_25_hours_has_one_morning() {
        let now = "2026-10-25T00:00:00Z";
        check(
            "0 0 6 * * *",
            "Europe/Vienna",
            now,
            Some("2026-10-25T05:00:00.000Z"),
        );
        let every_half_minute = Schedule::parse("*/30 * * * * *", "UTC").expect("a schedule");
        assert_eq!(every_half_minute.text(), "*/30 * * * * *");
        assert_eq!(every_half_minute.zone(), "UTC");
    }

    #[test]
    fn an_invalid_schedule_is_refused() {
        for (text, zone) in [("* *", "UTC"), ("", "UTC"), ("0 0 * * * *", "Mars/Base")] {
            assert!(Schedule::parse(text, zone).is_err(), "{text:?} {zone}");
        }
    }
}
