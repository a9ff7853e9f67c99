//! When a job is due: a cron expression in a time zone.

use std::str::FromStr;

use chrono::{DateTime, Utc};
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

    /// The first moment behind `now`; `None`: never.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let ms = i64::try_from(now.0).ok()?;
        let now = DateTime::<Utc>::from_timestamp_millis(ms)?.with_timezone(&self.zone);
        let due = self.expression.as_ref()?.after(&now).next()?;
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
    fn what_is_no_schedule_is_refused() {
        for (text, zone) in [("* *", "UTC"), ("", "UTC"), ("0 0 * * * *", "Mars/Base")] {
            assert!(Schedule::parse(text, zone).is_err(), "{text:?} {zone}");
        }
    }
}
