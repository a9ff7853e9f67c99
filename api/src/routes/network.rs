//! `/v1/network`: what the whole network does, and what we dropped of it.
//!
//! Collections and languages can be invented by anyone, so both are read up to a bound; the collections of the
//! Bluesky app are looked up by name and never fall out. Sums of hours and minutes are read for the shown ones only.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::port::store::{Order, Range};
use skytide_core::view::{
    ActivityKey, ActivityRow, CounterRow, Span, TrendKey, TrendRow, ViewId, Window,
};

use super::series::{Ops, Point, Rates, Stretches};
use crate::answer::{Query, Rows, answer};
use crate::catalogue::NETWORK;
use crate::params::Params;
use crate::problem::Problem;
use crate::state::{ApiState, Part};
use crate::velocity::Covered;

/// Collections, and languages, that are looked at.
const ROWS_MAX: usize = 5_000;
/// Counters that are shown.
const COUNTERS_MAX: usize = 1_000;

/// Looked up by name, so that no flood of invented names hides them.
const USUAL: &[&str] = &[
    "app.bsky.actor.profile",
    "app.bsky.feed.like",
    "app.bsky.feed.post",
    "app.bsky.feed.postgate",
    "app.bsky.feed.repost",
    "app.bsky.feed.threadgate",
    "app.bsky.graph.block",
    "app.bsky.graph.follow",
    "app.bsky.graph.listitem",
    "#account",
    "#identity",
    "#sync",
];

/// `GET /v1/network`
pub(crate) async fn show(
    State(state): State<ApiState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &NETWORK)?;
    let question = Network {
        limit: params.number("limit", 1..=100, 20)?,
        window: params.window(&Window::ALL, Window::Day)?,
        hours: params.number("hours", 1..=1_440, 24)? as u32,
        parts: state.health.parts(),
    };
    answer(&state, &headers, question).await
}

pub(crate) struct Network {
    limit: usize,
    window: Window,
    hours: u32,
    parts: Vec<Part>,
}

/// The network, as JSON.
#[derive(Serialize)]
pub(crate) struct Picture {
    parts: Vec<Part>,
    rates: Rates,
    total: Collection,
    collections: Vec<Collection>,
    collections_partial: bool,
    languages: Languages,
    counters: BTreeMap<String, u64>,
    drops: BTreeMap<String, u64>,
    minutes: Vec<Point>,
    hours: Vec<Point>,
}

#[derive(Serialize)]
struct Collection {
    /// Empty: all of them.
    collection: Box<str>,
    all: AllTime,
    /// The open hour and 23 before it.
    last_24h: Ops,
    /// The open minute and 59 before it.
    last_hour: Ops,
    /// The last whole minute and the open one.
    last_2m: Ops,
}

#[derive(Serialize)]
struct AllTime {
    #[serde(flatten)]
    ops: Ops,
    accounts: u64,
    live: u64,
}

#[derive(Serialize)]
struct Languages {
    window: Covered,
    entries: Vec<Language>,
    partial: bool,
}

#[derive(Serialize)]
struct Language {
    lang: Box<str>,
    count: u32,
    authors: u32,
}

impl Query for Network {
    type Data = Picture;

    async fn read(&self, rows: &Rows<'_>) -> Result<Picture, Problem> {
        let now = rows.committed.time;
        let (total, all_time, collections_partial) = all_time(rows).await?;
        let mut collections = Vec::new();
        for (name, row) in all_time.into_iter().take(self.limit) {
            collections.push(Collection::read(rows, name, &row).await?);
        }
        let counters = counters(rows).await?;
        Ok(Picture {
            parts: self.parts.clone(),
            rates: Rates::read(rows).await?,
            total: Collection::read(rows, "".into(), &total).await?,
            collections,
            collections_partial,
            languages: self.languages(rows).await?,
            drops: drops(&counters),
            counters,
            minutes: Stretches::minutes(now, 60).series(rows).await?,
            hours: Stretches::hours(now, self.hours).series(rows).await?,
        })
    }
}

impl Collection {
    async fn read(rows: &Rows<'_>, name: Box<str>, all: &ActivityRow) -> Result<Self, Problem> {
        let now = rows.committed.time;
        Ok(Self {
            all: AllTime {
                ops: all.into(),
                accounts: all.accounts,
                live: all.live,
            },
            last_24h: Stretches::hours(now, 24).sum(rows, &name).await?,
            last_hour: Stretches::minutes(now, 60).sum(rows, &name).await?,
            last_2m: Stretches::minutes(now, 2).sum(rows, &name).await?,
            collection: name,
        })
    }
}

type AllTimeRows = (ActivityRow, Vec<(Box<str>, ActivityRow)>, bool);

/// All operations together; the collections, most operations first; and whether there are more than were read.
async fn all_time(rows: &Rows<'_>) -> Result<AllTimeRows, Problem> {
    let key = |collection: &str| ActivityKey {
        span: Span::All,
        start_minute: 0,
        collection: collection.into(),
    };
    let usual: Vec<ActivityKey> = USUAL.iter().map(|name| key(name)).collect();
    let found: Vec<Option<ActivityRow>> = rows.get(ViewId::Activity, &usual).await?;
    let known = usual
        .into_iter()
        .zip(found)
        .filter_map(|(key, row)| Some((key, row?)));

    let range = Range::prefix(Order::First, &[Span::All as u8], ROWS_MAX);
    let scanned: Vec<(ActivityKey, ActivityRow)> = rows.scan(ViewId::Activity, range).await?;
    let partial = scanned.len() == ROWS_MAX;

    let mut merged: BTreeMap<Box<str>, ActivityRow> = scanned
        .into_iter()
        .chain(known)
        .map(|(key, row)| (key.collection, row))
        .collect();
    let total = merged.remove("").unwrap_or_default();
    let mut ranked: Vec<_> = merged.into_iter().collect();
    ranked.sort_by_key(|(_, row)| Reverse(Ops::from(row).operations));
    Ok((total, ranked, partial))
}

async fn counters(rows: &Rows<'_>) -> Result<BTreeMap<String, u64>, Problem> {
    let range = Range::prefix(Order::First, &[], COUNTERS_MAX);
    let found: Vec<(String, CounterRow)> = rows.scan(ViewId::Counters, range).await?;
    Ok(found
        .into_iter()
        .map(|(name, row)| (name, row.value))
        .collect())
}

/// The counters `dropped/REASON` that are not zero, by reason.
fn drops(counters: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let reason = |name: &str| name.strip_prefix("dropped/").map(str::to_owned);
    let dropped = counters.iter().filter(|(_, value)| **value > 0);
    dropped
        .filter_map(|(name, value)| Some((reason(name)?, *value)))
        .collect()
}

impl Network {
    async fn languages(&self, rows: &Rows<'_>) -> Result<Languages, Problem> {
        let range = Range::prefix(Order::First, &[], ROWS_MAX);
        let found: Vec<(TrendKey, TrendRow)> = rows.scan(ViewId::Languages, range).await?;
        let partial = found.len() == ROWS_MAX;
        let place = self.window as usize;
        let mut entries: Vec<Language> = found
            .into_iter()
            .map(|(key, row)| Language {
                lang: key.key,
                count: row.counts[place],
                authors: row.authors[place],
            })
            .filter(|language| language.count > 0)
            .collect();
        entries.sort_by_key(|language| Reverse(language.count));
        entries.truncate(self.limit);
        Ok(Languages {
            window: rows.coverage().of(self.window),
            entries,
            partial,
        })
    }
}
