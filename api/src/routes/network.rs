//! `/v1/network`: the activity of the whole network, and the input that was dropped.
//!
//! Anyone can invent collections and languages, so both are read only up to a bound. The
//! collections of the Bluesky app are looked up by name, so that they are read in any case. Sums of
//! hours and minutes are read only for the collections in the answer.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::limits::KNOWN_COLLECTIONS;
use skytide_core::port::store::{Order, Range};
use skytide_core::view::{
    ActivityKey, ActivityRow, CounterRow, Span, TrendKey, TrendRow, ViewId, Window,
};

use super::series::{Buckets, Ops, Point, Rates};
use crate::access::Caller;
use crate::answer::{Query, Rows};
use crate::catalogue::NETWORK;
use crate::health::{Audience, ShownPart, ShownWait};
use crate::params::Params;
use crate::problem::Problem;
use crate::respond::Answers;
use crate::velocity::CoveredWindow;

/// Maximum number of collections that are read, and of languages.
const ROWS_MAX: usize = 5_000;
/// Maximum number of counters in an answer.
const COUNTERS_MAX: usize = 1_000;

/// Counted like collections: the announcements of accounts.
const ANNOUNCEMENTS: [&str; 3] = ["#account", "#identity", "#sync"];

/// `GET /v1/network`
pub(crate) async fn show(
    State(answers): State<Answers>,
    RawQuery(query): RawQuery,
    caller: Option<Extension<Caller>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &NETWORK)?;
    let query = NetworkQuery {
        limit: params.number("limit", 1..=100, 20)?,
        window: params.window(&Window::ALL, Window::Day)?,
        hours: params.number("hours", 1..=1_440, 24)? as u32,
        audience: Audience::of(caller.as_deref()),
    };
    answers.respond(&headers, query).await
}

/// A request for the activity of the network.
#[derive(Debug)]
pub(crate) struct NetworkQuery {
    limit: usize,
    window: Window,
    hours: u32,
    /// Who may read the details of the health. Answers are cached for each audience.
    audience: Audience,
}

/// The activity of the network, as JSON.
#[derive(Serialize)]
pub(crate) struct NetworkActivity {
    parts: Vec<ShownPart>,
    waits_for: ShownWait,
    rates: Rates,
    total: Collection,
    collections: Vec<Collection>,
    collections_partial: bool,
    languages: Languages,
    counters: BTreeMap<String, u64>,
    drops: BTreeMap<String, u64>,
    minutes: Vec<Point>,
    hours: Vec<Point>,
    /// Parts that are empty because their views are not computed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_computed: Vec<&'static str>,
}

#[derive(Serialize)]
struct Collection {
    /// Empty: all collections together.
    collection: Box<str>,
    all: AllTime,
    /// The open hour and the 23 hours before it.
    last_24h: Ops,
    /// The open minute and the 59 minutes before it.
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
    window: CoveredWindow,
    entries: Vec<Language>,
    partial: bool,
}

#[derive(Serialize)]
struct Language {
    lang: Box<str>,
    count: u32,
    authors: u32,
}

impl Query for NetworkQuery {
    type Data = NetworkActivity;

    fn window(&self) -> Option<Window> {
        Some(Window::All)
    }

    async fn read(&self, rows: &Rows<'_>) -> Result<NetworkActivity, Problem> {
        rows.require_computed(&[ViewId::Activity])?;
        let optional = [ViewId::Languages, ViewId::Counters].into_iter();
        let not_computed = optional.filter(|view| !rows.computes(*view));
        let now = rows.committed.time;
        let all_time = AllTimeActivity::read(rows).await?;
        let mut collections = Vec::new();
        for (name, row) in all_time.collections.into_iter().take(self.limit) {
            collections.push(Collection::read(rows, name, &row).await?);
        }
        let counters = counters(rows).await?;
        let (parts, waits_for) = rows.health(self.audience);
        Ok(NetworkActivity {
            parts,
            waits_for,
            rates: Rates::read(rows).await?,
            total: Collection::read(rows, "".into(), &all_time.total).await?,
            collections,
            collections_partial: all_time.partial,
            languages: self.languages(rows).await?,
            drops: drops(&counters),
            counters,
            minutes: Buckets::minutes(now, 60).series(rows).await?,
            hours: Buckets::hours(now, self.hours).series(rows).await?,
            not_computed: not_computed.map(ViewId::name).collect(),
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
            last_24h: Buckets::hours(now, 24).sum(rows, &name).await?,
            last_hour: Buckets::minutes(now, 60).sum(rows, &name).await?,
            last_2m: Buckets::minutes(now, 2).sum(rows, &name).await?,
            collection: name,
        })
    }
}

/// The activity of all time, by collection.
struct AllTimeActivity {
    /// All collections together.
    total: ActivityRow,
    /// The collection with the most operations first.
    collections: Vec<(Box<str>, ActivityRow)>,
    /// Whether there are more collections than were read.
    partial: bool,
}

impl AllTimeActivity {
    async fn read(rows: &Rows<'_>) -> Result<Self, Problem> {
        let key = |collection: &str| ActivityKey {
            span: Span::All,
            start_minute: 0,
            collection: collection.into(),
        };
        // They are looked up by name, so that a flood of invented names cannot hide them.
        let known = KNOWN_COLLECTIONS.iter().chain(&ANNOUNCEMENTS);
        let known: Vec<ActivityKey> = known.map(|name| key(name)).collect();
        let found: Vec<Option<ActivityRow>> = rows.get(ViewId::Activity, &known).await?;
        let known = known
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
        let mut collections: Vec<_> = merged.into_iter().collect();
        collections.sort_by_key(|(_, row)| Reverse(Ops::from(row).operations));
        Ok(Self {
            total,
            collections,
            partial,
        })
    }
}

/// All counters by name.
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

impl NetworkQuery {
    async fn languages(&self, rows: &Rows<'_>) -> Result<Languages, Problem> {
        let range = Range::prefix(Order::First, &[], ROWS_MAX);
        let found: Vec<(TrendKey, TrendRow)> = rows.scan(ViewId::Languages, range).await?;
        let partial = found.len() == ROWS_MAX;
        let window = self.window as usize;
        let mut entries: Vec<Language> = found
            .into_iter()
            .map(|(key, row)| Language {
                lang: key.key,
                count: row.counts[window],
                authors: row.authors[window],
            })
            .filter(|language| language.count > 0)
            .collect();
        entries.sort_by_key(|language| Reverse(language.count));
        entries.truncate(self.limit);
        Ok(Languages {
            window: rows.coverage().window(self.window),
            entries,
            partial,
        })
    }
}
