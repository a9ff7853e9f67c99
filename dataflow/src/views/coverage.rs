//! `coverage`: what is known to be missing from the counts, by network time.
//!
//! ```text
//! facts ─ ticks, drops ──exchange to worker 0──▶ rows: gaps, filters, counts by hour ─▶ rows
//! ```
//!
//! All of it is on one worker: it is little, and ticks have an order. Counts of hours move to their
//! days, and those of days to one row, when they expire.
//!
//! State: the rows themselves, of a bounded number ([`COVERAGE_INTERVALS_MAX`] for each kind and
//! label of an interval; [`COVERAGE_HOURS`] and [`COVERAGE_DAYS`] for each reason). The state is
//! shared with the worker, which writes it into checkpoints, because live records cannot supply it.

use std::collections::BTreeMap;

use skytide_core::event::{Gap, OpenGap};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    COVERAGE_DAYS, COVERAGE_HOURS, COVERAGE_INTERVALS_MAX, CoverageKey, CoverageKind, CoverageRow,
    ViewId,
};
use timely::dataflow::channels::pact::Exchange;

use super::changes::TouchedRows;
use crate::fact::{CoverageFact, DROPPED_PREFIX, Fact, TickCoverage};
use crate::operators::flat_map_facts::flat_map_facts;
use crate::operators::on_tick::on_tick;
use crate::sizes::{Size, Sizes, StateSizes, btree_bytes};
use crate::types::{Rows, Shared, SuppressedRows, Time, ViewInput};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 86_400_000;
/// The reasons of drops by filters start with this.
const FILTER_PREFIX: &str = "filter_";

/// The rows of `coverage`, which are also its state.
pub type CoverageRows = BTreeMap<CoverageKey, CoverageRow>;

/// Bytes of a label on the heap, approximately: `dropped/` and the name of a reason.
const LABEL_BYTES: usize = 24;

/// The rows, as their size is reported.
struct StateOf(Shared<CoverageRows>);

impl StateSizes for StateOf {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let entries = self.0.borrow().len();
        let bytes = btree_bytes::<CoverageKey, CoverageRow>(entries) + entries * LABEL_BYTES;
        sizes.add("coverage.rows", Size { entries, bytes }, None);
    }
}

/// Computes the rows of `coverage`.
pub fn coverage<'s>(
    input: ViewInput<'s>,
    state: Shared<CoverageRows>,
    suppressed: SuppressedRows,
) -> Rows<'s> {
    let known = flat_map_facts(input.facts, "OfCoverage", |fact, _time, _diff, known| {
        if let Fact::Coverage(part) = fact {
            known.push(part.clone());
        }
    });
    input.clocks.states.share(StateOf(state.clone()));
    on_tick(
        "Coverage",
        known,
        Exchange::new(|_: &CoverageFact| 0),
        input.clocks,
        move |time, clock, parts, rows| {
            let mut state = state.borrow_mut();
            let mut update = Update::new(&mut state, time);
            update.apply(parts.into_iter().flatten());
            update.expire(clock.now);
            if suppressed.emits(ViewId::Coverage, time) {
                let Update { rows: now, touched } = update;
                touched.emit(|key| now.get(key).copied(), rows);
            }
        },
    )
}

/// An update of the rows at one time.
struct Update<'a> {
    rows: &'a mut CoverageRows,
    touched: TouchedRows<CoverageKey, CoverageRow>,
}

impl<'a> Update<'a> {
    fn new(rows: &'a mut CoverageRows, time: Time) -> Self {
        Self {
            rows,
            touched: TouchedRows::new(ViewId::Coverage, time),
        }
    }

    /// Applies restored rows first, then ticks in their order, then drops, whose order does not
    /// matter.
    fn apply(&mut self, parts: impl Iterator<Item = CoverageFact>) {
        let (mut ticks, mut drops) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                CoverageFact::Restored(rows) => {
                    for (key, row) in rows {
                        self.set(key, row);
                    }
                }
                CoverageFact::Tick(tick) => ticks.push(tick),
                CoverageFact::Dropped(hour, reason, count) => drops.push((hour, reason, count)),
            }
        }
        ticks.sort_by_key(|tick| tick.epoch);
        for tick in ticks {
            self.tick(tick);
        }
        for (hour, reason, count) in drops {
            let label = format!("{DROPPED_PREFIX}{reason}").into();
            self.count(Timestamp(hour * HOUR_MS), label, count);
        }
    }

    fn tick(&mut self, tick: TickCoverage) {
        let TickCoverage {
            from,
            time,
            gaps,
            open_gap,
            counts,
            ..
        } = tick;
        let first = key(CoverageKind::Known, Timestamp(0), "");
        let is_known = self.rows.range(first..).next();
        if is_known.is_none_or(|(key, _)| key.kind != CoverageKind::Known) {
            self.set(key(CoverageKind::Known, from, ""), CoverageRow::default());
        }
        for gap in gaps {
            self.gap(gap);
        }
        self.open_gap(open_gap);
        let hour = Timestamp(time.0 / HOUR_MS * HOUR_MS);
        for (name, count) in counts {
            let reason = name.strip_prefix(DROPPED_PREFIX);
            if let Some(filter) = reason.filter(|reason| reason.starts_with(FILTER_PREFIX)) {
                self.filtered(hour, filter, count);
            }
            self.count(hour, name, count);
        }
    }

    fn gap(&mut self, gap: Gap) {
        let key = key(CoverageKind::Gap, gap.from, gap.cause.as_str());
        let new = CoverageRow {
            end: gap.to,
            count: gap.to.0.saturating_sub(gap.from.0),
            merged: 1,
        };
        let row = match self.rows.get(&key) {
            Some(before) => before.merge(gap.from, new, CoverageKind::Gap),
            None => new,
        };
        let label = key.label.clone();
        self.set(key, row);
        self.merge_surplus(CoverageKind::Gap, &label);
    }

    fn open_gap(&mut self, open: Option<OpenGap>) {
        let open = open.map(|gap| key(CoverageKind::OpenGap, gap.from, gap.cause.as_str()));
        let first = key(CoverageKind::OpenGap, Timestamp(0), "");
        let before = self.rows.range(first..).next().map(|(key, _)| key.clone());
        let before = before.filter(|key| key.kind == CoverageKind::OpenGap);
        if before == open {
            return;
        }
        if let Some(before) = before {
            self.remove(&before);
        }
        if let Some(open) = open {
            let row = CoverageRow {
                merged: 1,
                ..CoverageRow::default()
            };
            self.set(open, row);
        }
    }

    /// Adds inputs that a filter excluded in an hour: to the newest interval if that reaches the
    /// hour.
    fn filtered(&mut self, hour: Timestamp, reason: &str, count: u64) {
        let end = Timestamp(hour.0 + HOUR_MS);
        let newest = self.intervals(CoverageKind::Filter, reason).pop();
        let new = CoverageRow {
            end,
            count,
            merged: 1,
        };
        match newest {
            Some((key, row)) if row.end >= hour => {
                let extended = CoverageRow {
                    end: row.end.max(end),
                    count: row.count + count,
                    ..row
                };
                self.set(key, extended);
            }
            _ => {
                self.set(key(CoverageKind::Filter, hour, reason), new);
                self.merge_surplus(CoverageKind::Filter, reason);
            }
        }
    }

    fn count(&mut self, hour: Timestamp, label: Box<str>, count: u64) {
        let end = Timestamp(hour.0 + HOUR_MS);
        self.add(
            CoverageKind::Hour,
            hour,
            label,
            CoverageRow {
                end,
                count,
                merged: 1,
            },
        );
    }

    /// Adds a count to the row of an interval.
    fn add(&mut self, kind: CoverageKind, start: Timestamp, label: Box<str>, more: CoverageRow) {
        let key = CoverageKey { kind, start, label };
        let before = self.rows.get(&key).copied().unwrap_or_default();
        let row = CoverageRow {
            end: before.end.max(more.end),
            count: before.count + more.count,
            merged: 1,
        };
        self.set(key, row);
    }

    /// Moves the counts of hours that have expired to their days, and those of days to one row.
    fn expire(&mut self, now: Timestamp) {
        let hours = (now.0 / HOUR_MS + 1).saturating_sub(COVERAGE_HOURS) * HOUR_MS;
        for (expired, row) in self.before(CoverageKind::Hour, Timestamp(hours)) {
            self.remove(&expired);
            let day = Timestamp(expired.start.0 / DAY_MS * DAY_MS);
            let end = Timestamp(day.0 + DAY_MS);
            self.add(
                CoverageKind::Day,
                day,
                expired.label,
                CoverageRow { end, ..row },
            );
        }
        let days = (now.0 / DAY_MS + 1).saturating_sub(COVERAGE_DAYS) * DAY_MS;
        for (expired, row) in self.before(CoverageKind::Day, Timestamp(days)) {
            self.remove(&expired);
            self.add(CoverageKind::Earlier, Timestamp(0), expired.label, row);
        }
    }

    /// The rows of a kind that start before `end`.
    fn before(&self, kind: CoverageKind, end: Timestamp) -> Vec<(CoverageKey, CoverageRow)> {
        let range = key(kind, Timestamp(0), "")..key(kind, end, "");
        let rows = self.rows.range(range);
        rows.map(|(key, row)| (key.clone(), *row)).collect()
    }

    /// The intervals of a kind and label, in order.
    fn intervals(&self, kind: CoverageKind, label: &str) -> Vec<(CoverageKey, CoverageRow)> {
        let all = self.rows.range(key(kind, Timestamp(0), "")..);
        let all = all.take_while(|(key, _)| key.kind == kind);
        let of_label = all.filter(|(key, _)| &*key.label == label);
        of_label.map(|(key, row)| (key.clone(), *row)).collect()
    }

    /// Merges two neighbours if there are too many intervals of a kind and label.
    fn merge_surplus(&mut self, kind: CoverageKind, label: &str) {
        let intervals = self.intervals(kind, label);
        if intervals.len() <= COVERAGE_INTERVALS_MAX {
            return;
        }
        let distance =
            |pair: &[(CoverageKey, CoverageRow)]| pair[1].0.start.0.saturating_sub(pair[0].1.end.0);
        let pairs = intervals.windows(2);
        if let Some([(first, earlier), (second, later)]) = pairs.min_by_key(|pair| distance(pair)) {
            let merged = earlier.merge(first.start, *later, kind);
            self.remove(second);
            self.set(first.clone(), merged);
        }
    }

    fn set(&mut self, key: CoverageKey, row: CoverageRow) {
        self.touch(&key);
        self.rows.insert(key, row);
    }

    fn remove(&mut self, key: &CoverageKey) {
        self.touch(key);
        self.rows.remove(key);
    }

    fn touch(&mut self, key: &CoverageKey) {
        self.touched.touch(key, || self.rows.get(key).copied());
    }
}

fn key(kind: CoverageKind, start: Timestamp, label: &str) -> CoverageKey {
    CoverageKey {
        kind,
        start,
        label: label.into(),
    }
}
