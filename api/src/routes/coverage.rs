//! `/v1/coverage`: what is known to be missing from the counts, by network time.

use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::event::DropReason;
use skytide_core::port::store::{Order, Range};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    COVERAGE_DAYS, COVERAGE_HOURS, CoverageKey, CoverageKind, CoverageRow, Key, ViewId,
};

use crate::answer::{Query, Rows};
use crate::catalogue::COVERAGE;
use crate::params::Params;
use crate::problem::Problem;
use crate::respond::Answers;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Maximum number of counts of one hour or day: one for each reason, and the missing numbers.
const COUNTS_MAX: usize = DropReason::ALL.len() + 1;

/// `GET /v1/coverage`
pub(crate) async fn show(
    State(answers): State<Answers>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &COVERAGE)?;
    let query = CoverageQuery {
        hours: params.number("hours", 0..=COVERAGE_HOURS as usize, 24)?,
        days: params.number("days", 0..=COVERAGE_DAYS as usize, 0)?,
    };
    answers.respond(&headers, query).await
}

/// A request for what is missing.
#[derive(Debug)]
pub(crate) struct CoverageQuery {
    hours: usize,
    days: usize,
}

/// What is missing, as JSON.
#[derive(Serialize)]
pub(crate) struct KnownCoverage {
    known_since: Option<String>,
    gaps: Vec<Gap>,
    open_gap: Option<OpenGap>,
    filters: Vec<Filter>,
    hours: Vec<Counts>,
    days: Vec<Counts>,
    /// Counts of all days before those that are retained.
    earlier: Option<Earlier>,
}

#[derive(Serialize)]
struct Gap {
    from: String,
    to: String,
    cause: Box<str>,
    /// Length of the gap; if several were merged, at most that of all of them.
    ms: u64,
    /// Number of gaps that were merged into this one.
    merged: u32,
}

#[derive(Serialize)]
struct OpenGap {
    from: String,
    cause: Box<str>,
}

#[derive(Serialize)]
struct Filter {
    reason: Box<str>,
    from: String,
    to: String,
    /// Number of inputs that the filter excluded.
    excluded: u64,
    merged: u32,
}

/// Counts of an hour or a day.
#[derive(Serialize)]
struct Counts {
    start: String,
    #[serde(flatten)]
    missing: MissingCounts,
}

#[derive(Serialize)]
struct Earlier {
    /// The end of the newest day, exclusive.
    until: String,
    #[serde(flatten)]
    missing: MissingCounts,
}

#[derive(Default, Serialize)]
struct MissingCounts {
    /// Numbers that the relay left out: at most so many frames are missing.
    missing_seqs: u64,
    /// Inputs dropped, by reason.
    dropped: BTreeMap<Box<str>, u64>,
}

impl MissingCounts {
    fn add(&mut self, label: &str, count: u64) {
        match label.strip_prefix("dropped/") {
            Some(reason) => *self.dropped.entry(reason.into()).or_default() += count,
            None => self.missing_seqs += count,
        }
    }
}

impl Query for CoverageQuery {
    type Data = KnownCoverage;

    async fn read(&self, rows: &Rows<'_>) -> Result<KnownCoverage, Problem> {
        rows.require(ViewId::Coverage).await?;
        let now = rows.committed.time;
        let intervals = rows.intervals().await?;
        let start = |unit: u64, count: usize| {
            Timestamp((now.0 / unit + 1).saturating_sub(count as u64) * unit)
        };
        let (hour, day) = (start(HOUR_MS, self.hours), start(DAY_MS, self.days));
        Ok(KnownCoverage {
            known_since: intervals.known_since().map(Timestamp::rfc3339),
            gaps: intervals.of(CoverageKind::Gap).map(Gap::from).collect(),
            open_gap: intervals
                .of(CoverageKind::OpenGap)
                .next()
                .map(|(key, _)| OpenGap {
                    from: key.start.rfc3339(),
                    cause: key.label.clone(),
                }),
            filters: intervals
                .of(CoverageKind::Filter)
                .map(Filter::from)
                .collect(),
            hours: counts(rows, CoverageKind::Hour, hour, self.hours).await?,
            days: counts(rows, CoverageKind::Day, day, self.days).await?,
            earlier: earlier(rows).await?,
        })
    }
}

impl From<&(CoverageKey, CoverageRow)> for Gap {
    fn from((key, row): &(CoverageKey, CoverageRow)) -> Self {
        Self {
            from: key.start.rfc3339(),
            to: row.end.rfc3339(),
            cause: key.label.clone(),
            ms: row.count,
            merged: row.merged,
        }
    }
}

impl From<&(CoverageKey, CoverageRow)> for Filter {
    fn from((key, row): &(CoverageKey, CoverageRow)) -> Self {
        Self {
            reason: key.label.clone(),
            from: key.start.rfc3339(),
            to: row.end.rfc3339(),
            excluded: row.count,
            merged: row.merged,
        }
    }
}

/// The rows of a kind from `start` on, at most those of `buckets` hours or days.
async fn scan(
    rows: &Rows<'_>,
    kind: CoverageKind,
    start: Timestamp,
    buckets: usize,
) -> Result<Vec<(CoverageKey, CoverageRow)>, Problem> {
    let range = Range {
        order: Order::First,
        from: Key::of(&CoverageKey {
            kind,
            start,
            label: Box::default(),
        }),
        to: Some(Key::from(&[kind as u8 + 1][..])),
        limit: buckets * COUNTS_MAX,
    };
    rows.scan(ViewId::Coverage, range).await
}

/// The counts of hours or days that have some, in order.
async fn counts(
    rows: &Rows<'_>,
    kind: CoverageKind,
    start: Timestamp,
    buckets: usize,
) -> Result<Vec<Counts>, Problem> {
    if buckets == 0 {
        return Ok(Vec::new());
    }
    let mut by_start = BTreeMap::<Timestamp, MissingCounts>::new();
    for (key, row) in scan(rows, kind, start, buckets).await? {
        let counts = by_start.entry(key.start).or_default();
        counts.add(&key.label, row.count);
    }
    let shown = by_start.into_iter().map(|(start, missing)| Counts {
        start: start.rfc3339(),
        missing,
    });
    Ok(shown.collect())
}

async fn earlier(rows: &Rows<'_>) -> Result<Option<Earlier>, Problem> {
    let found = scan(rows, CoverageKind::Earlier, Timestamp(0), 1).await?;
    let until = found.iter().map(|(_, row)| row.end).max();
    let mut missing = MissingCounts::default();
    for (key, row) in &found {
        missing.add(&key.label, row.count);
    }
    Ok(until.map(|until| Earlier {
        until: until.rfc3339(),
        missing,
    }))
}
