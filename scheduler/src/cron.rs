//! When a job is due: a cron expression in a time zone.

use std::str::FromStr;

use chrono::{DateTime, FixedOffset, Offset, Utc};
use chrono_tz::Tz;
use skytide_core::time::Timestamp;

/// When a job is due.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// None: never by itself.
    expression: Option<cron::Schedule>,
    zone: Tz,
}

/// Why a text is no schedule.
#[derive(Debug, thiserror::Error)]
pub enum CronError {
    /// No such time zone.
    #[error("{0:?} is no time zone such as UTC or Europe/Vienna")]
    Zone(String),
    /// No such expression.
    #[error(
        "{text:?} is no cron expression (seconds, minutes, hours, days, months, weekdays, as \
         \"0 30 * * * *\"), and not \"never\""
    )]
    Expression {
        /// What was read.
        text: String,
        /// What is wrong with it.
        #[source]
        source: cron::error::Error,
    },
}

impl Schedule {
    /// Reads an expression with seconds, or `never`, and the name of a time zone.
    ///
    /// # Errors
    /// One of them is not what it should be.
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

    /// The first moment behind `now` at which the zone's clocks show what the expression says; `None`: never. An hour
    /// that the clocks leave out is left out, one that they repeat counts twice.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let expression = self.expression.as_ref()?;
        let ms = i64::try_from(now.0).ok()?;
        let now = DateTime::<Utc>::from_timestamp_millis(ms)?;
        let offset = |moment: DateTime<Utc>| moment.with_timezone(&self.zone).offset().fix();
        let in_offset = |offset: FixedOffset| {
            let due = expression.after(&now.with_timezone(&offset)).next();
            due.map(|due| due.with_timezone(&Utc))
        };
        // Of two hours with the same name the iterator leaves out the second, or goes back to the first. So the clocks
        // before and behind their change are asked, too; what they answer counts if they show it.
        let before = in_offset(offset(now));
        let after = before.and_then(|due| in_offset(offset(due)));
        let is_shown = |due: &DateTime<Utc>, of: DateTime<Utc>| offset(*due) == offset(of);
        let by_zone = expression.after(&now.with_timezone(&self.zone)).next();
        let due = [
            by_zone.map(|due| due.with_timezone(&Utc)),
            before.filter(|due| is_shown(due, now)),
            after.filter(|due| before.is_some_and(|before| is_shown(due, before))),
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
    fn a_job_is_due_at_the_next_moment_of_its_zone() {
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
    fn an_hour_that_the_clocks_leave_out_is_left_out() {
        let now = "2026-03-29T00:00:00Z";
        check(
            "0 30 2 * * *",
            "Europe/Vienna",
            now,
            Some("2026-03-30T00:30:00.000Z"),
        );
    }

    #[test]
    fn an_hour_that_the_clocks_repeat_counts_twice_and_one_they_leave_out_is_no_gap() {
        // Vienna's clocks go from 03:00 back to 02:00, and in spring from 02:00 to 03:00, at 01:00 UTC.
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
    fn what_is_no_schedule_is_refused() {
        for (text, zone) in [("* *", "UTC"), ("", "UTC"), ("0 0 * * * *", "Mars/Base")] {
            assert!(Schedule::parse(text, zone).is_err(), "{text:?} {zone}");
        }
    }
}
