use chrono::{Datelike, Timelike};

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
    for text in ["0 30 2 * * *", "30 2 * * *"] {
        let due = Some("2026-03-30T00:30:00.000Z");
        check(text, "Europe/Vienna", now, due);
    }
}

#[test]
fn times_in_a_repeated_hour_are_due_twice_and_a_skipped_hour_delays_nothing() {
    // In Vienna, the clocks change at 01:00 UTC: in October from 03:00 back to 02:00, and in March
    // from 02:00 to 03:00.
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
        (
            "30 2 * * *",
            "2026-10-24T23:59:00Z",
            ["00:30", "01:30", "01:30"],
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
    let every_half_minute = Schedule::parse(" */30 * * * * * ", "UTC").expect("a schedule");
    assert_eq!(every_half_minute.text(), "*/30 * * * * *");
    assert_eq!(every_half_minute.zone(), "UTC");
}

#[test]
fn five_fields_have_the_numbers_of_crontab() {
    // 2026-11-30 is a Monday.
    let now = "2026-11-30T12:00:00Z";
    let cases = [
        ("0 */3 * * *", "2026-11-30T15:00:00.000Z"),
        ("0 6 * * 0", "2026-12-06T06:00:00.000Z"),
        ("0 6 * * 7", "2026-12-06T06:00:00.000Z"),
        ("0 6 * * SUN", "2026-12-06T06:00:00.000Z"),
        ("0 6 * * 1", "2026-12-07T06:00:00.000Z"),
        ("0 6 * * 6-7", "2026-12-05T06:00:00.000Z"),
        ("0 6 * * fri-sun", "2026-12-04T06:00:00.000Z"),
        ("0 6 * * SUN-sun", "2026-12-06T06:00:00.000Z"),
        ("0 6 * Feb *", "2027-02-01T06:00:00.000Z"),
        // Both restricted: either may match. A field that starts with `*` does not count.
        ("0 6 2 * FRI", "2026-12-02T06:00:00.000Z"),
        ("0 6 20 * FRI", "2026-12-04T06:00:00.000Z"),
        ("0 6 */2 * FRI", "2026-12-11T06:00:00.000Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00.000Z"),
        ("@hourly", "2026-11-30T13:00:00.000Z"),
        ("@daily", "2026-12-01T00:00:00.000Z"),
        ("@midnight", "2026-12-01T00:00:00.000Z"),
        ("@weekly", "2026-12-06T00:00:00.000Z"),
        ("@monthly", "2026-12-01T00:00:00.000Z"),
        ("@yearly", "2027-01-01T00:00:00.000Z"),
        ("@annually", "2027-01-01T00:00:00.000Z"),
        // Six fields keep the numbers of the `cron` crate: 1 is Sunday.
        ("0 0 6 * * 1", "2026-12-06T06:00:00.000Z"),
        ("0 0 6 * * SUN", "2026-12-06T06:00:00.000Z"),
    ];
    for (text, due) in cases {
        check(text, "UTC", now, Some(due));
    }
}

#[test]
fn an_invalid_schedule_is_refused_with_the_field_and_an_example() {
    let cases = [
        ("* *", "UTC", "has 2 fields; a schedule has five"),
        ("", "UTC", "has 0 fields"),
        ("0 0 * * * * * * *", "UTC", "has 9 fields"),
        ("0 0 * * * *", "Mars/Base", "is not a time zone"),
        ("@reboot", "UTC", "is not one of @yearly"),
        (
            "60 * * * *",
            "UTC",
            "the minute \"60\" is not valid: 60 is not in 0 to 59",
        ),
        ("0 25 * * *", "UTC", "an example is \"*/3\""),
        (
            "0 5/3 * * *",
            "UTC",
            "a step follows `*` or a range, as \"*/5\" or \"5-23/5\"",
        ),
        (
            "0 */0 * * *",
            "UTC",
            "the step \"0\" is not a number from 1",
        ),
        ("0 */x * * *", "UTC", "the step \"x\""),
        (
            "0 9-5 * * *",
            "UTC",
            "the range \"9-5\" ends before it starts",
        ),
        ("0 1,,2 * * *", "UTC", "\"\" is not a number from 0 to 23"),
        ("0 0 0 * *", "UTC", "the day of month \"0\""),
        (
            "0 0 30 2 *",
            "UTC",
            "none of the selected months has such a day",
        ),
        ("0 0 ? * *", "UTC", "the day of month \"?\""),
        ("0 0 * 13 *", "UTC", "13 is not in 1 to 12"),
        ("0 0 * febr *", "UTC", "nor a name from jan to dec"),
        ("0 0 * * 8", "UTC", "8 is not in 0 to 7"),
        ("0 0 * * sunday", "UTC", "the day of week \"sunday\""),
        ("0 0 * * +1", "UTC", "the day of week \"+1\""),
        ("61 0 * * * *", "UTC", "the second \"61\""),
        (
            "0 0 24 * * *",
            "UTC",
            "the hour \"24\" is not valid: it is not a list",
        ),
        ("0 0 0 * * 0", "UTC", "1 to 7 (1 is Sunday) or names"),
        ("0 0 0 * * * 1066", "UTC", "the year \"1066\""),
        ("0 0 0 * * * 2020", "UTC", "matches no time from now on"),
        ("0 0 0 30 2 *", "UTC", "matches no time from now on"),
    ];
    for (text, zone, expected) in cases {
        let error = Schedule::parse(text, zone).expect_err(text).to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

/// Whether a field of crontab(5) selects a value: an implementation of its own, which reads the
/// text for each value.
fn selects(field: &str, value: u32, names: &[&str], first: u32) -> bool {
    let number = |text: &str| {
        let name = names.iter().position(|name| *name == text);
        name.map_or_else(|| text.parse().expect("a number"), |at| at as u32 + first)
    };
    field.split(',').any(|item| {
        let (range, step) = item.split_once('/').unwrap_or((item, "1"));
        let (low, high) = match range.split_once('-') {
            Some((low, high)) => (number(low), number(high)),
            None if range == "*" => (first, u32::MAX),
            None => (number(range), number(range)),
        };
        (low..=high).contains(&value) && (value - low).is_multiple_of(number(step))
    })
}

/// Whether the local time of a zone matches the five fields, by the rules of crontab(5).
fn matches(fields: &[&str], local: DateTime<Tz>) -> bool {
    if !selects(fields[0], local.minute(), &[], 0) || !selects(fields[1], local.hour(), &[], 0) {
        return false;
    }
    let months = [
        "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
    ];
    let days = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let weekday = local.weekday().num_days_from_sunday();
    let day = selects(fields[2], local.day(), &[], 1);
    let is_weekday = |number| selects(fields[4], number, &days, 0);
    let weekday =
        is_weekday(weekday) || (weekday == 0 && !fields[4].starts_with('*') && is_weekday(7));
    let either = !fields[2].starts_with('*') && !fields[4].starts_with('*');
    let date = if either {
        day || weekday
    } else {
        day && weekday
    };
    date && selects(fields[3], local.month(), &months, 1)
}

/// Compares every due time from a moment on, for some days, with a scan of all minutes.
fn compare(text: &str, zone: &str, from: &str, days: u64, seed: u64) {
    let schedule = Schedule::parse(text, zone).expect(text);
    let tz: Tz = zone.parse().expect(zone);
    let fields: Vec<&str> = text.split(' ').collect();
    let start = Timestamp::parse(from).expect(from);
    let minutes = (1..=days * 1_440).map(|minute| Timestamp(start.0 + minute * 60_000));
    let local = |at: &Timestamp| {
        let at = DateTime::<Utc>::from_timestamp_millis(at.0 as i64);
        at.expect("a moment").with_timezone(&tz)
    };
    let end = Timestamp(start.0 + days * 86_400_000);
    let expected: Vec<_> = minutes.filter(|at| matches(&fields, local(at))).collect();
    let first = schedule.next(start);
    let due = std::iter::successors(first, |due| schedule.next(*due));
    let due: Vec<_> = due.take_while(|due| *due <= end).collect();
    let show = |times: &[Timestamp]| times.iter().map(|it| it.rfc3339()).collect::<Vec<_>>();
    let case = format!("seed {seed}: {text:?} in {zone} from {from}");
    assert_eq!(show(&due), show(&expected), "{case}");
}

#[test]
fn due_times_are_those_of_a_scan_of_all_minutes_when_clocks_change() {
    let expressions = [
        "*/7 * * * *",
        "30 2 * * *",
        "0,59 1-3 * * *",
        "15 */2 * * SUN",
        "0 0 * * *",
        "50 1 * * *",
    ];
    // Two days before each change. Lord Howe changes by 30 minutes; Gaza, Casablanca and Troll have
    // other rules; Apia left out 2011-12-30.
    let changes = [
        ("Europe/Vienna", "2026-03-27T12:34:00Z"),
        ("Europe/Vienna", "2026-10-23T12:34:00Z"),
        ("America/New_York", "2026-03-06T12:34:00Z"),
        ("America/New_York", "2026-10-30T12:34:00Z"),
        ("Australia/Lord_Howe", "2026-04-02T12:34:00Z"),
        ("Australia/Lord_Howe", "2026-10-01T12:34:00Z"),
        ("Africa/Casablanca", "2026-02-13T12:34:00Z"),
        ("America/St_Johns", "2010-03-12T12:34:00Z"),
        ("America/St_Johns", "2010-11-05T12:34:00Z"),
        ("Antarctica/Troll", "2026-03-27T12:34:00Z"),
        ("Asia/Kathmandu", "2026-01-01T00:00:00Z"),
        ("Pacific/Apia", "2011-12-28T12:34:00Z"),
    ];
    for (zone, from) in changes {
        for text in expressions {
            compare(text, zone, from, 4, 0);
        }
    }
}

#[test]
fn due_times_of_random_expressions_are_those_of_a_scan_of_all_minutes() {
    let zones = ["UTC", "Europe/Vienna", "America/New_York", "Asia/Kolkata"];
    let clock = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a time");
    let first = clock.as_nanos() as u64;
    for seed in first..first + 60 {
        let mut state = seed;
        let mut random = |below: u64| {
            // SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed ^ mixed >> 31) % below
        };
        let mut field = |min: u64, max: u64| {
            let (a, b) = (random(max - min + 1) + min, random(max - min + 1) + min);
            let (low, high) = (a.min(b), a.max(b));
            let step = random(max - min) + 1;
            match random(6) {
                0 => "*".to_owned(),
                1 => format!("*/{step}"),
                2 => format!("{low}-{high}"),
                3 => format!("{low}-{high}/{step}"),
                4 => format!("{low},{high}"),
                _ => a.to_string(),
            }
        };
        let hour = field(0, 23);
        let (day, month, weekday) = (field(1, 28), field(1, 12), field(0, 7));
        let text = format!("{} {hour} {day} {month} {weekday}", field(0, 59));
        let zone = zones[random(4) as usize];
        let from = format!("2026-{:02}-{:02}T00:00:00Z", random(12) + 1, random(28) + 1);
        compare(&text, zone, &from, 40, seed);
    }
}
