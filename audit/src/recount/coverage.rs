//! The view `coverage`: what is missing, from the list of everything that the ticks ever said.

use std::collections::BTreeMap;

use skytide_core::event::{Event, Gap, OpenGap, Tick};
use skytide_core::time::Timestamp;
use skytide_core::view::{CoverageKey, CoverageKind, CoverageRow, ViewId};

use super::Table;
use super::history::History;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// Intervals of one kind and label that are not merged.
const INTERVALS: usize = 64;

/// What all ticks said, in order.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// The first time that was counted.
    first: Option<Timestamp>,
    gaps: Vec<Gap>,
    open: Option<OpenGap>,
    /// Time of the tick, name and count.
    counts: Vec<(Timestamp, String, u64)>,
}

/// An interval: its start, its end, what it counts, and how many it was merged from.
type Interval = (u64, u64, u64, u32);

impl Notes {
    /// Reads the tick that ends an epoch with these events.
    pub(super) fn read(&mut self, tick: &Tick, events: &[Event]) {
        let times = events.iter().map(|event| event.time.0);
        let times = times.filter(|time| *time > 0).chain([tick.time.0]);
        let earliest = times.min().unwrap_or_default();
        self.first.get_or_insert(Timestamp(earliest));
        self.gaps.extend(&tick.sources.gaps);
        self.open = tick.sources.open_gap;
        for (name, count) in &tick.counts {
            if &**name == "missing_seqs" || name.starts_with("dropped/") {
                self.counts.push((tick.time, name.to_string(), *count));
            }
        }
    }

    fn gaps(&self) -> BTreeMap<&'static str, Vec<Interval>> {
        let mut by_cause = BTreeMap::<_, Vec<Interval>>::new();
        for gap in &self.gaps {
            let (from, to) = (gap.from.0, gap.to.0);
            let of_cause = by_cause.entry(gap.cause.as_str()).or_default();
            match of_cause.iter_mut().find(|other| other.0 == from) {
                Some(same) => *same = union(*same, (from, to, to - from, 1), true),
                None => of_cause.push((from, to, to - from, 1)),
            }
            limit(of_cause, true);
        }
        by_cause
    }

    fn filters(&self) -> BTreeMap<&str, Vec<Interval>> {
        let mut by_reason = BTreeMap::<_, Vec<Interval>>::new();
        for (time, name, count) in &self.counts {
            let Some(reason) = name.strip_prefix("dropped/") else {
                continue;
            };
            if !reason.starts_with("filter_") {
                continue;
            }
            let hour = time.0 - time.0 % HOUR;
            let of_reason = by_reason.entry(reason).or_default();
            match of_reason.last_mut() {
                Some(last) if last.1 >= hour => {
                    last.1 = last.1.max(hour + HOUR);
                    last.2 += count;
                }
                _ => of_reason.push((hour, hour + HOUR, *count, 1)),
            }
            limit(of_reason, false);
        }
        by_reason
    }
}

/// The interval from the start of the first to the end of the last.
fn union(first: Interval, second: Interval, is_gap: bool) -> Interval {
    let end = first.1.max(second.1);
    let sum = first.2 + second.2;
    let count = if is_gap { sum.min(end - first.0) } else { sum };
    (first.0, end, count, first.3 + second.3)
}

/// Merges the two nearest neighbours if there are too many intervals.
fn limit(intervals: &mut Vec<Interval>, is_gap: bool) {
    intervals.sort_unstable();
    if intervals.len() <= INTERVALS {
        return;
    }
    let mut nearest = 0;
    for index in 1..intervals.len() - 1 {
        let distance = |at: usize| intervals[at + 1].0.saturating_sub(intervals[at].1);
        if distance(index) < distance(nearest) {
            nearest = index;
        }
    }
    let second = intervals.remove(nearest + 1);
    intervals[nearest] = union(intervals[nearest], second, is_gap);
}

/// Puts the rows at the network time `now` into the table.
pub(super) fn rows(notes: &Notes, history: &History, now: Timestamp, table: &mut Table) {
    let mut put = |kind, label: &str, (start, end, count, merged): Interval| {
        let key = CoverageKey {
            kind,
            start: Timestamp(start),
            label: label.into(),
        };
        let row = CoverageRow {
            end: Timestamp(end),
            count,
            merged,
        };
        table.put(ViewId::Coverage, &key, &row);
    };
    if let Some(first) = notes.first {
        put(CoverageKind::Known, "", (first.0, 0, 0, 0));
    }
    for (cause, intervals) in notes.gaps() {
        for interval in intervals {
            put(CoverageKind::Gap, cause, interval);
        }
    }
    if let Some(open) = notes.open {
        put(
            CoverageKind::OpenGap,
            open.cause.as_str(),
            (open.from.0, 0, 0, 1),
        );
    }
    for (reason, intervals) in notes.filters() {
        for interval in intervals {
            put(CoverageKind::Filter, reason, interval);
        }
    }
    let mut buckets = BTreeMap::<(CoverageKind, u64, &str), (u64, u64)>::new();
    for (time, name, count) in notes.counts.iter().chain(history.drops()) {
        let (hour, day) = (time.0 / HOUR, time.0 / DAY);
        let (kind, start, end) = if now.0 / HOUR - hour < 192 {
            (CoverageKind::Hour, hour * HOUR, (hour + 1) * HOUR)
        } else if now.0 / DAY - day < 400 {
            (CoverageKind::Day, day * DAY, (day + 1) * DAY)
        } else {
            (CoverageKind::Earlier, 0, (day + 1) * DAY)
        };
        let bucket = buckets.entry((kind, start, name)).or_default();
        *bucket = (bucket.0.max(end), bucket.1 + count);
    }
    for ((kind, start, name), (end, count)) in buckets {
        put(kind, name, (start, end, count, 1));
    }
}
