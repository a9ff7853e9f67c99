//! Cron expressions of five fields, as crontab(5) describes them
//! (<https://man7.org/linux/man-pages/man5/crontab.5.html>).
//!
//! They are translated to expressions of the `cron` crate, which differ in three ways: seconds come
//! first, Sunday is 1, and a date must match the day of the month *and* the day of the week.

use super::{CronError, FieldDoc};

/// The names that stand for an expression.
const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The largest number of days of each month.
const MONTH_DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A field of an expression: its range, and the names of its values, the first of which is `min`.
struct Field {
    doc: FieldDoc,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const fn field(
    name: &'static str,
    example: &'static str,
    range: (u32, u32),
    names: &'static [&'static str],
) -> Field {
    let (min, max) = range;
    Field {
        doc: FieldDoc { name, example },
        min,
        max,
        names,
    }
}

const MINUTE: Field = field("minute", "*/15", (0, 59), &[]);
const HOUR: Field = field("hour", "*/3", (0, 23), &[]);
const DAY_OF_MONTH: Field = field("day of month", "1,15", (1, 31), &[]);
const MONTH: Field = field("month", "1-6", (1, 12), MONTHS);
/// 0 and 7 are Sunday.
const DAY_OF_WEEK: Field = field("day of week", "MON-FRI", (0, 7), DAYS);

/// The values that a field selects, as bits.
#[derive(Clone, Copy)]
struct Values {
    bits: u64,
    /// Whether the field starts with `*`. Such a field does not restrict the date by itself.
    starts_with_star: bool,
}

/// The expression that a nickname such as `@hourly` stands for.
pub(super) fn nickname(name: &str) -> Result<&'static str, CronError> {
    let found = NICKNAMES.iter().find(|(known, _)| *known == name);
    let known = || NICKNAMES.map(|(name, _)| name).join(", ");
    found
        .map(|(_, expression)| *expression)
        .ok_or_else(|| CronError::Nickname {
            name: name.to_owned(),
            known: known(),
        })
}

/// Translates the five fields of an expression to expressions of the `cron` crate. A time matches
/// if it matches one of them.
pub(super) fn translate(text: &str, fields: [&str; 5]) -> Result<Vec<String>, CronError> {
    let parse = |field: &Field, value: &str| {
        values(field, value).map_err(|why| field.doc.error(text, value, why))
    };
    let [minute, hour, day, month, weekday] = fields;
    let (minute, hour) = (parse(&MINUTE, minute)?, parse(&HOUR, hour)?);
    let (days, months) = (parse(&DAY_OF_MONTH, day)?, parse(&MONTH, month)?);
    let mut weekdays = parse(&DAY_OF_WEEK, weekday)?;
    // 7 is Sunday, as 0.
    weekdays.bits = (weekdays.bits | weekdays.bits >> 7) & 0b111_1111;
    let time = format!("0 {} {}", list(minute, &MINUTE, 0), list(hour, &HOUR, 0));
    let months_list = list(months, &MONTH, 0);
    let days_list = list(days, &DAY_OF_MONTH, 0);
    let weekdays_list = match weekdays.bits {
        0b111_1111 => "*".to_owned(),
        _ => list(weekdays, &DAY_OF_WEEK, 1),
    };
    if !days.starts_with_star && !weekdays.starts_with_star {
        return Ok(vec![
            format!("{time} {days_list} {months_list} *"),
            format!("{time} * {months_list} {weekdays_list}"),
        ]);
    }
    let exists = (1..=12).filter(|month| months.bits & 1 << month != 0);
    let exists = exists
        .map(|month| MONTH_DAYS[month as usize - 1])
        .any(|last| (1..=last).any(|day| days.bits & 1 << day != 0));
    if !exists {
        let why = "none of the selected months has such a day".to_owned();
        return Err(DAY_OF_MONTH.doc.error(text, day, why));
    }
    Ok(vec![format!(
        "{time} {days_list} {months_list} {weekdays_list}"
    )])
}

/// Writes values for the `cron` crate, each increased by `shift`.
fn list(values: Values, field: &Field, shift: u32) -> String {
    let all = (field.min..=field.max).fold(0, |bits, value| bits | 1 << value);
    if values.bits == all {
        return "*".to_owned();
    }
    let selected = (field.min..=field.max).filter(|value| values.bits & 1 << value != 0);
    let numbers: Vec<String> = selected.map(|value| (value + shift).to_string()).collect();
    numbers.join(",")
}

/// The values that a field selects: a list of values, ranges and steps. The error says why the text
/// is not such a list.
fn values(field: &Field, text: &str) -> Result<Values, String> {
    let mut bits = 0;
    for item in text.split(',') {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (field.min, field.max),
            // `SUN-SUN` is one day.
            Some((first, last)) if first.eq_ignore_ascii_case(last) => {
                let value = value(field, first, false)?;
                (value, value)
            }
            Some((first, last)) => (value(field, first, false)?, value(field, last, true)?),
            None if step.is_some() => {
                let max = field.max;
                return Err(format!(
                    "a step follows `*` or a range, as \"*/5\" or \"{range}-{max}/5\""
                ));
            }
            None => {
                let value = value(field, range, false)?;
                (value, value)
            }
        };
        if first > last {
            return Err(format!("the range {range:?} ends before it starts"));
        }
        let step = step.map_or(Ok(1), |step| match number(step) {
            Some(step) if step > 0 => Ok(step as usize),
            _ => Err(format!("the step {step:?} is not a number from 1")),
        })?;
        let selected = (first..=last).step_by(step);
        bits |= selected.fold(0, |bits, value| bits | 1 << value);
    }
    Ok(Values {
        bits,
        starts_with_star: text.starts_with('*'),
    })
}

/// One value of a field: a number or a name. `is_end`: whether it ends a range, which `SUN` does as
/// the last day of the week.
fn value(field: &Field, text: &str, is_end: bool) -> Result<u32, String> {
    let Field {
        min, max, names, ..
    } = field;
    if let Some(number) = number(text) {
        let allowed = (*min..=*max).contains(&number);
        return allowed
            .then_some(number)
            .ok_or_else(|| format!("{number} is not in {min} to {max}"));
    }
    let index = names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text));
    match index {
        Some(0) if is_end && field.doc.name == DAY_OF_WEEK.doc.name => Ok(7),
        Some(index) => Ok(min + index as u32),
        None if names.is_empty() => Err(format!("{text:?} is not a number from {min} to {max}")),
        None => {
            let (first, last) = (names[0], names[names.len() - 1]);
            Err(format!(
                "{text:?} is neither a number from {min} to {max} nor a name from {first} to {last}"
            ))
        }
    }
}

fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}
