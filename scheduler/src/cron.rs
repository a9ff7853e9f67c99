//! The schedule of a job: a cron expression in a time zone.
//!
//! ```text
//! five fields, @hourly ─ unix: by the rules of crontab(5) ─┐
//! six fields, seconds first ───────────────────────────────┴─▶ expressions of the `cron` crate
//! ```

mod unix;

use std::str::FromStr;

use chrono::{DateTime, FixedOffset, Offset, TimeDelta, Utc};
use chrono_tz::Tz;
use skytide_core::time::Timestamp;

/// The fields of an expression that starts with seconds, in the `cron` crate's numbering.
const SECONDS_FIELDS: [(FieldDoc, &str); 7] = [
    (doc("second", "*/30"), "0 to 59"),
    (doc("minute", "*/15"), "0 to 59"),
    (doc("hour", "*/3"), "0 to 23"),
    (doc("day of month", "1,15"), "1 to 31"),
    (doc("month", "1-6"), "1 to 12 or names"),
    (
        doc("day of week", "MON-FRI"),
        "1 to 7 (1 is Sunday) or names",
    ),
    (doc("year", "2027-2030"), "1970 to 2100"),
];
/// The distance of two looks for a change of the offset. Changes of a zone's offset are further
/// apart.
const CHANGE_STEP: TimeDelta = TimeDelta::days(1);

/// The schedule of a job.
#[derive(Clone, Debug)]
pub struct Schedule {
    text: String,
    /// The job is due when one of them matches. Empty for `never`: the job runs only on request.
    expressions: Vec<cron::Schedule>,
    zone: Tz,
}

/// Why a text is not a schedule.
#[derive(Debug, thiserror::Error)]
pub enum CronError {
    /// The time zone does not exist.
    #[error("{0:?} is not a time zone such as UTC or Europe/Vienna")]
    Zone(String),
    /// The text has a form that no schedule has.
    #[error(
        "{text:?} has {count} fields; a schedule has five (minute, hour, day of month, month, day \
         of week), as \"0 */3 * * *\", or six with seconds first, as \"0 30 * * * *\", or is a \
         name such as @hourly, or \"never\""
    )]
    Form {
        /// The text.
        text: String,
        /// The number of its fields.
        count: usize,
    },
    /// A name such as `@hourly` is not known.
    #[error("{name:?} is not one of {known}, \"never\"")]
    Nickname {
        /// The name.
        name: String,
        /// The known names.
        known: String,
    },
    /// A field is not valid.
    #[error("{text:?}: the {field} {value:?} is not valid: {why}; an example is {example:?}")]
    Field {
        /// The whole text.
        text: String,
        /// The name of the field.
        field: &'static str,
        /// The value of the field.
        value: String,
        /// What is wrong.
        why: String,
        /// A valid value.
        example: &'static str,
    },
    /// No time from now on matches.
    #[error(
        "{0:?} matches no time from now on: check the day of the month, the month and the year, or \
         write \"never\""
    )]
    NoTime(String),
    /// The fields are valid, but not together.
    #[error("{text:?} is not a cron expression")]
    Expression {
        /// The text.
        text: String,
        /// The cause.
        #[source]
        source: cron::error::Error,
    },
}

/// The name of a field and an example of its values.
#[derive(Clone, Copy)]
struct FieldDoc {
    name: &'static str,
    example: &'static str,
}

const fn doc(name: &'static str, example: &'static str) -> FieldDoc {
    FieldDoc { name, example }
}

impl FieldDoc {
    fn error(self, text: &str, value: &str, why: String) -> CronError {
        CronError::Field {
            text: text.to_owned(),
            field: self.name,
            value: value.to_owned(),
            why,
            example: self.example,
        }
    }
}

impl Schedule {
    /// Parses a schedule and the name of a time zone. A schedule is an expression of five fields
    /// (crontab(5)), one of six fields that starts with seconds, a name such as `@hourly`, or
    /// `never`.
    ///
    /// # Errors
    /// The schedule or the time zone is not valid, or no time from now on matches.
    pub fn parse(text: &str, zone: &str) -> Result<Self, CronError> {
        let zone = zone.parse().map_err(|_| CronError::Zone(zone.to_owned()))?;
        let text = text.trim().to_owned();
        let expressions = match text.as_str() {
            "never" => Vec::new(),
            _ => expressions(&text)?,
        };
        let is_due = |expression: &cron::Schedule| expression.upcoming(Utc).next().is_some();
        if !expressions.is_empty() && !expressions.iter().any(is_due) {
            return Err(CronError::NoTime(text));
        }
        Ok(Self {
            text,
            expressions,
            zone,
        })
    }

    /// The expression as it was written, or `never`.
    pub fn text(&self) -> String {
        self.text.clone()
    }

    /// The name of the time zone.
    pub fn zone(&self) -> String {
        self.zone.name().to_owned()
    }

    /// Whether the job is never due.
    pub fn is_never(&self) -> bool {
        self.expressions.is_empty()
    }

    /// The first time after `now` at which the local time of the zone matches the expression;
    /// `None` if there is none. An hour that the clocks skip in spring is skipped. In an hour that
    /// they repeat in autumn, matching times occur twice.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let ms = i64::try_from(now.0).ok()?;
        let mut from = DateTime::<Utc>::from_timestamp_millis(ms)?;
        let mut searched = from;
        // `cron` skips or repeats times when the offset of a zone changes. Therefore it computes
        // only with fixed offsets, from one change to the next.
        loop {
            let due = self.next_in_offset(from, self.offset(searched));
            let until = due.map_or(searched + CHANGE_STEP + CHANGE_STEP, |due| due);
            let Some(change) = self.offset_change(searched, until) else {
                return u64::try_from(due?.timestamp_millis()).ok().map(Timestamp);
            };
            // The moment of the change has the new offset, and may match.
            (from, searched) = (change - TimeDelta::milliseconds(1), change);
        }
    }

    /// The first time after `from` at which the local time at this UTC offset matches.
    fn next_in_offset(&self, from: DateTime<Utc>, offset: FixedOffset) -> Option<DateTime<Utc>> {
        let from = from.with_timezone(&offset);
        let due = self.expressions.iter();
        let due = due.filter_map(|expression| expression.after(&from).next());
        due.min().map(|due| due.with_timezone(&Utc))
    }

    fn offset(&self, moment: DateTime<Utc>) -> FixedOffset {
        moment.with_timezone(&self.zone).offset().fix()
    }

    /// The first moment after `from`, up to `until`, at which the zone has another offset.
    fn offset_change(&self, from: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let offset = self.offset(from);
        let mut before = from;
        while before < until {
            let mut after = (before + CHANGE_STEP).min(until);
            if self.offset(after) == offset {
                before = after;
                continue;
            }
            while after - before > TimeDelta::milliseconds(1) {
                let middle = before + (after - before) / 2;
                match self.offset(middle) == offset {
                    true => before = middle,
                    false => after = middle,
                }
            }
            return Some(after);
        }
        None
    }
}

/// The expressions of which one must match.
fn expressions(text: &str) -> Result<Vec<cron::Schedule>, CronError> {
    let expression = match text.starts_with('@') {
        true => unix::nickname(text)?,
        false => text,
    };
    let fields: Vec<&str> = expression.split_whitespace().collect();
    let invalid = |source| {
        let text = text.to_owned();
        CronError::Expression { text, source }
    };
    let parse = |expression: &str| cron::Schedule::from_str(expression);
    if let Ok(fields) = <[&str; 5]>::try_from(fields.as_slice()) {
        let translated = unix::translate(text, fields)?;
        let parsed = translated.iter().map(|it| parse(it).map_err(invalid));
        return parsed.collect();
    }
    parse(text)
        .map(|parsed| vec![parsed])
        .map_err(|source| invalid_field(text, &fields).unwrap_or_else(|| invalid(source)))
}

/// Finds the first field that is invalid by itself in an expression that starts with seconds.
fn invalid_field(text: &str, fields: &[&str]) -> Option<CronError> {
    if ![6, 7].contains(&fields.len()) {
        let (text, count) = (text.to_owned(), fields.len());
        return Some(CronError::Form { text, count });
    }
    let (at, value) = fields.iter().enumerate().find(|(at, value)| {
        let mut alone = ["*"; 7];
        alone[*at] = value;
        cron::Schedule::from_str(&alone.join(" ")).is_err()
    })?;
    let (doc, allowed) = SECONDS_FIELDS[at];
    let why = format!("it is not a list of values, ranges or steps of {allowed}");
    Some(doc.error(text, value, why))
}

#[cfg(test)]
mod tests;
