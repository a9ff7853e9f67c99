//! `/v1/actors/{actor}/interactions`: the accounts with which an account interacted most.
//!
//! ```text
//! today ─ scan ─┐
//! yesterday ────┼─ sum per other account ─▶ the `limit` accounts with the highest sums
//! ...  ─────────┘  newest day first, at most 50,000 rows: if there are more, `partial`
//! ```

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::id::Did;
use skytide_core::port::store::{Committed, Order, Range};
use skytide_core::time::Timestamp;
use skytide_core::view::{InteractionKey, InteractionRow, Key, ViewId, ViewKey};

use crate::account::{Account, accounts};
use crate::answer::{Query, Rows};
use crate::catalogue::INTERACTIONS;
use crate::handles::Handles;
use crate::params::{Params, decode_path};
use crate::problem::Problem;
use crate::respond::Answers;
use crate::target::{Actor, Resolved, ResolvedActor};

/// Maximum number of rows that are read for one answer.
const ROWS_MAX: usize = 50_000;
/// Number of rows of one scan.
const CHUNK_ROWS: usize = 5_000;

/// `GET /v1/actors/{actor}/interactions`
pub(crate) async fn show(
    State(answers): State<Answers>,
    State(handles): State<Handles>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let actor = Actor::parse(&decode_path(path)?)?;
    let params = Params::parse(query.as_deref(), &INTERACTIONS)?;
    let (received, days, limit) = (
        params.choice("direction", &["sent", "received"])? == 1,
        params.number("days", 1..=7, 7)? as u32,
        params.number("limit", 1..=100, 25)?,
    );
    let query = InteractionsQuery {
        target: handles.resolve(&answers.context, &actor).await?,
        received,
        days,
        limit,
    };
    answers.respond(&headers, query).await
}

/// A request for the interactions of an account.
#[derive(Debug)]
pub(crate) struct InteractionsQuery {
    target: ResolvedActor,
    /// Whether the others acted on the account; otherwise it acted on them.
    received: bool,
    days: u32,
    limit: usize,
}

/// The interactions of an account, as JSON.
#[derive(Serialize)]
pub(crate) struct Interactions {
    did: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Resolved>,
    direction: &'static str,
    days: Days,
    rows_read: usize,
    /// Whether there are more rows than are read for one answer. Then sums are too low; the newest
    /// days were read first.
    partial: bool,
    /// Number of other accounts among the rows read.
    accounts: usize,
    entries: Vec<Entry>,
}

/// The first and the last day in UTC, both included.
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

/// Which rows of an account are summed, and how many at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection {
    /// Whether the others acted on the account; otherwise it acted on them.
    pub(crate) received: bool,
    /// The first and the last day in UTC, both included, in days since 1970.
    pub(crate) first_day: u32,
    pub(crate) last_day: u32,
    /// Maximum number of rows that are read.
    pub(crate) rows_max: usize,
    /// Maximum number of other accounts. Rows of further accounts are left out.
    pub(crate) accounts_max: usize,
}

/// The sums of the rows that were read so far.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) by_account: BTreeMap<Did, InteractionRow>,
    rows_read: usize,
    partial: bool,
    /// Number of rows of accounts beyond [`Selection::accounts_max`].
    pub(crate) rows_left_out: u64,
}

impl Query for InteractionsQuery {
    type Data = Interactions;

    fn counts_from(&self, committed: &Committed) -> Option<Timestamp> {
        let first = day_start(self.first_day(committed));
        Some(first.max(committed.since))
    }

    async fn read(&self, rows: &Rows<'_>) -> Result<Interactions, Problem> {
        rows.require_computed(&[ViewId::Interactions])?;
        let ResolvedActor { did, resolved } = &self.target;
        let today = rows.committed.time.day();
        let first = self.first_day(rows.committed);
        let selection = Selection {
            received: self.received,
            first_day: first,
            last_day: today,
            rows_max: ROWS_MAX,
            accounts_max: ROWS_MAX,
        };
        let totals = selection.sum(rows, did).await?;
        let mut best: Vec<(Did, InteractionRow)> = totals.by_account.into_iter().collect();
        best.sort_by_key(|(_, row)| (Reverse(total(row)), Reverse(row.characters)));
        let found = best.len();
        best.truncate(self.limit);
        Ok(Interactions {
            did: did.to_string(),
            resolved: resolved.clone(),
            direction: if self.received { "received" } else { "sent" },
            days: Days {
                first: date(first),
                last: date(today),
            },
            rows_read: totals.rows_read,
            partial: totals.partial,
            accounts: found,
            entries: entries(rows, best).await?,
        })
    }
}

impl InteractionsQuery {
    /// The first day that is read, in days since 1970 in UTC.
    fn first_day(&self, committed: &Committed) -> u32 {
        (committed.time.day() + 1).saturating_sub(self.days)
    }
}

impl Selection {
    /// Sums the rows of each other account, newest day first.
    pub(crate) async fn sum(&self, rows: &Rows<'_>, did: &Did) -> Result<Totals, Problem> {
        let mut totals = Totals::default();
        for day in (self.first_day..=self.last_day).rev() {
            self.add_day(rows, did, day, &mut totals).await?;
        }
        Ok(totals)
    }

    /// Adds the rows of one day. The view is ordered by author; its second order, a secondary
    /// index, is by subject. The second order exchanges `author` and `subject` in the key, so in
    /// both orders the other account is `key.subject`.
    async fn add_day(
        &self,
        rows: &Rows<'_>,
        did: &Did,
        day: u32,
        totals: &mut Totals,
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
            // At `rows_max`, one more row is read, only to find out whether there are more.
            let at_max = totals.rows_read >= self.rows_max;
            if at_max {
                range.limit = 1;
            }
            let chunk: Vec<(InteractionKey, InteractionRow)> =
                rows.scan(ViewId::Interactions, range.clone()).await?;
            if at_max {
                totals.partial |= !chunk.is_empty();
                return Ok(());
            }
            let Some((last, _)) = chunk.last() else {
                return Ok(());
            };
            range.from = next_key(last);
            totals.rows_read += chunk.len();
            let done = chunk.len() < CHUNK_ROWS;
            for (key, row) in chunk {
                totals.add(key.subject, &row, self.accounts_max);
            }
            if done {
                return Ok(());
            }
        }
    }
}

impl Totals {
    /// Adds a row, unless it is of a further account than `accounts_max`.
    fn add(&mut self, other: Did, row: &InteractionRow, accounts_max: usize) {
        let is_full = self.by_account.len() >= accounts_max;
        match self.by_account.entry(other) {
            btree_map::Entry::Occupied(mut sum) => add(sum.get_mut(), row),
            btree_map::Entry::Vacant(_) if is_full => self.rows_left_out += 1,
            btree_map::Entry::Vacant(free) => add(free.insert(InteractionRow::default()), row),
        }
    }
}

/// The smallest key greater than `key`.
fn next_key(key: &InteractionKey) -> Key {
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

/// A day since 1970 in UTC, as `2026-07-04`.
fn date(day: u32) -> String {
    day_start(day).rfc3339()[..10].to_owned()
}

/// The start of a day since 1970 in UTC.
fn day_start(day: u32) -> Timestamp {
    Timestamp(u64::from(day) * 86_400_000)
}

/// Joins the sums with the accounts.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_one_day_counts_from_the_start_of_that_day() {
        let query = |days| InteractionsQuery {
            target: ResolvedActor {
                did: "did:web:a.test".parse().unwrap(),
                resolved: None,
            },
            received: false,
            days,
            limit: 1,
        };
        let committed = Committed {
            time: Timestamp(20_000 * 86_400_000 + 5),
            since: Timestamp(19_998 * 86_400_000 + 7),
            ..Committed::default()
        };
        let from = |days| query(days).counts_from(&committed);
        assert_eq!(from(1), Some(Timestamp(20_000 * 86_400_000)));
        assert_eq!(from(2), Some(Timestamp(19_999 * 86_400_000)));
        assert_eq!(from(3), Some(committed.since), "counting began later");
    }

    #[test]
    fn further_accounts_than_the_limit_are_left_out_and_counted() {
        let mut totals = Totals::default();
        let likes = |likes| InteractionRow {
            likes,
            ..InteractionRow::default()
        };
        let did = |name: &str| -> Did { format!("did:web:{name}.test").parse().unwrap() };
        for (name, number) in [("a", 1), ("b", 2), ("c", 4), ("a", 8), ("c", 16)] {
            totals.add(did(name), &likes(number), 2);
        }
        let sums: Vec<_> = totals.by_account.into_iter().collect();
        assert_eq!(sums, [(did("a"), likes(9)), (did("b"), likes(2))]);
        assert_eq!(totals.rows_left_out, 2);
    }
}
