//! `/v1/actors/{actor}/interactions`: the accounts with which an account had most to do.
//!
//! ```text
//! today ─ scan ─┐
//! yesterday ────┼─ sum per other account ─ best 100
//! ...  ─────────┘  newest day first, until 50,000 rows were read: then `partial`
//! ```

use std::cmp::Reverse;
use std::collections::BTreeMap;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::id::Did;
use skytide_core::port::store::{Order, Range};
use skytide_core::time::Timestamp;
use skytide_core::view::{InteractionKey, InteractionRow, Key, ViewId, ViewKey};

use crate::account::{Account, accounts};
use crate::answer::{Query, Rows, answer};
use crate::catalogue::INTERACTIONS;
use crate::params::{Params, decoded};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::subject::{Actor, Resolved};

/// Rows read for one answer.
const ROWS_MAX: usize = 50_000;
/// Rows asked for at once.
const CHUNK_ROWS: usize = 5_000;

/// `GET /v1/actors/{actor}/interactions`
pub(crate) async fn show(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let actor = Actor::parse(&decoded(path)?)?;
    let params = Params::parse(query.as_deref(), &INTERACTIONS)?;
    let question = Interactions {
        actor,
        received: params.word("direction", &["sent", "received"])? == 1,
        days: params.number("days", 1..=7, 7)? as u32,
        limit: params.number("limit", 1..=100, 25)?,
    };
    answer(&state, &headers, question).await
}

pub(crate) struct Interactions {
    actor: Actor,
    received: bool,
    days: u32,
    limit: usize,
}

/// Whom an account had to do with, as JSON.
#[derive(Serialize)]
pub(crate) struct Circle {
    did: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Resolved>,
    direction: &'static str,
    days: Days,
    rows_read: usize,
    /// More rows were there than are read for one answer: sums are too low, the newest days come first.
    partial: bool,
    /// Other accounts among the rows read.
    accounts: usize,
    entries: Vec<Entry>,
}

/// Days of UTC, both included.
#[derive(Serialize)]
struct Days {
    first: String,
    last: String,
}

#[derive(Serialize)]
struct Entry {
    rank: usize,
    account: Account,
    total: u32,
    #[serde(flatten)]
    sums: InteractionRow,
}

#[derive(Default)]
struct Sums {
    by_account: BTreeMap<Did, InteractionRow>,
    rows: usize,
    partial: bool,
}

impl Query for Interactions {
    type Data = Circle;

    async fn read(&self, rows: &Rows<'_>) -> Result<Circle, Problem> {
        let (did, resolved) = self.actor.resolve(rows).await?;
        let today = rows.committed.time.day();
        let first = (today + 1).saturating_sub(self.days);
        let mut sums = Sums::default();
        for day in (first..=today).rev() {
            self.add_day(rows, &did, day, &mut sums).await?;
        }
        let mut best: Vec<(Did, InteractionRow)> = sums.by_account.into_iter().collect();
        best.sort_by_key(|(_, row)| (Reverse(total(row)), Reverse(row.characters)));
        let found = best.len();
        best.truncate(self.limit);
        Ok(Circle {
            did: did.to_string(),
            resolved,
            direction: if self.received { "received" } else { "sent" },
            days: Days {
                first: date(first),
                last: date(today),
            },
            rows_read: sums.rows,
            partial: sums.partial,
            accounts: found,
            entries: entries(rows, best).await?,
        })
    }
}

impl Interactions {
    /// Adds the rows of one day; in the second order the key's `author` is the subject and the other way round, so
    /// the other account is its `subject` in both.
    async fn add_day(
        &self,
        rows: &Rows<'_>,
        did: &Did,
        day: u32,
        sums: &mut Sums,
    ) -> Result<(), Problem> {
        let order = if self.received {
            Order::Second
        } else {
            Order::First
        };
        let mut prefix = Vec::new();
        did.encode(&mut prefix);
        day.encode(&mut prefix);
        let mut range = Range::prefix(order, &prefix, CHUNK_ROWS);
        loop {
            if sums.rows >= ROWS_MAX {
                range.limit = 1;
            }
            let chunk: Vec<(InteractionKey, InteractionRow)> =
                rows.scan(ViewId::Interactions, range.clone()).await?;
            if range.limit == 1 {
                sums.partial |= !chunk.is_empty();
                return Ok(());
            }
            let Some((last, _)) = chunk.last() else {
                return Ok(());
            };
            range.from = after(last);
            sums.rows += chunk.len();
            let done = chunk.len() < CHUNK_ROWS;
            for (key, row) in chunk {
                add(sums.by_account.entry(key.subject).or_default(), &row);
            }
            if done {
                return Ok(());
            }
        }
    }
}

/// The first key behind `key`.
fn after(key: &InteractionKey) -> Key {
    let mut bytes = Key::of(key).as_bytes().to_vec();
    bytes.push(0);
    Key::from(bytes.as_slice())
}

fn add(sum: &mut InteractionRow, row: &InteractionRow) {
    sum.likes += row.likes;
    sum.reposts += row.reposts;
    sum.replies += row.replies;
    sum.quotes += row.quotes;
    sum.characters += row.characters;
}

fn total(row: &InteractionRow) -> u32 {
    row.likes + row.reposts + row.replies + row.quotes
}

fn date(day: u32) -> String {
    let start = Timestamp(u64::from(day) * 86_400_000);
    start.rfc3339()[..10].to_owned()
}

async fn entries(rows: &Rows<'_>, best: Vec<(Did, InteractionRow)>) -> Result<Vec<Entry>, Problem> {
    let (dids, sums): (Vec<Did>, Vec<InteractionRow>) = best.into_iter().unzip();
    let accounts = accounts(rows, &dids).await?;
    let entry = |(rank, (account, sums))| Entry {
        rank,
        account,
        total: total(&sums),
        sums,
    };
    Ok((1..)
        .zip(accounts.into_iter().zip(sums))
        .map(entry)
        .collect())
}
