//! `POST /original/interactions`: with whom an account interacted in the last 7 days, today
//! included, sent and received. Acts on oneself are left out, as in the view `interactions`.

use std::cmp::Reverse;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use skytide_core::id::Did;
use skytide_core::view::InteractionRow;

use super::failure::Failure;
use super::json_body::{self, HandleBody};
use super::{check_key, respond};
use crate::access::Access;
use crate::account::{NamedAccount, named_account};
use crate::answer::{Query, Rows};
use crate::handles::Handles;
use crate::problem::Problem;
use crate::respond::Answers;
use crate::routes::interactions::{Selection, Totals};
use crate::target::Actor;

/// Number of days of an answer, in UTC, today included.
const DAYS: u32 = 7;

/// `POST /original/interactions`
pub(crate) async fn show(
    State(answers): State<Answers>,
    State(access): State<Access>,
    State(handles): State<Handles>,
    request: Request,
) -> Result<Response, Failure> {
    check_key(&access, request.headers())?;
    let HandleBody { handle } = json_body::read(request).await?;
    let name = handle.trim().trim_start_matches('@');
    let not_found = || Failure::new(StatusCode::BAD_REQUEST, format!("user not found: {name}"));
    let or_not_found = |problem: Problem| match problem.status() {
        StatusCode::NOT_FOUND => not_found(),
        _ => problem.into(),
    };
    // A text that is neither a handle nor a DID names no account.
    let actor = Actor::parse(name).map_err(|_| not_found())?;
    let target = handles.resolve(&answers.context, &actor).await;
    let query = InteractionsQuery {
        did: target.map_err(or_not_found)?.did,
        handle: match actor {
            Actor::Handle(_) => Some(name.to_owned()),
            Actor::Did(_) => None,
        },
    };
    let answer = answers.cache.get(&answers.context, query).await;
    Ok(respond(&*answer.map_err(or_not_found)?))
}

/// A request for the interactions of an account.
#[derive(Debug)]
struct InteractionsQuery {
    did: Did,
    /// The handle as the client wrote it, without `@`; `None` if the client named the DID.
    handle: Option<String>,
}

/// The interactions of an account, as JSON.
#[derive(Serialize)]
struct Answer {
    did: String,
    handle: String,
    interactions: Interactions,
}

#[derive(Serialize)]
struct Interactions {
    sent: Vec<Entry>,
    rcvd: Vec<Entry>,
}

/// The interactions with one other account.
#[derive(Serialize)]
struct Entry {
    #[serde(rename = "_id")]
    did: String,
    /// Likes.
    l: u32,
    /// Reposts.
    r: u32,
    /// Replies and quotes.
    p: u64,
    /// Characters of these replies and quotes.
    c: u64,
    /// Likes, reposts, replies and quotes.
    t: u64,
}

impl Query for InteractionsQuery {
    type Data = Answer;

    async fn read(&self, rows: &Rows<'_>) -> Result<Answer, Problem> {
        let did = &self.did;
        let today = rows.committed.time.day();
        let select = |received| Selection {
            received,
            first_day: (today + 1).saturating_sub(DAYS),
            last_day: today,
        };
        let sent = select(false).sum(rows, did).await?;
        let received = select(true).sum(rows, did).await?;
        let is_empty = sent.by_account.is_empty() && received.by_account.is_empty();
        let handle = match &self.handle {
            Some(handle) => handle.clone(),
            None => handle_of(rows, did, is_empty).await?,
        };
        Ok(Answer {
            did: did.to_string(),
            handle,
            interactions: Interactions {
                sent: entries(sent),
                rcvd: entries(received),
            },
        })
    }
}

/// The handle of an account that the client named by its DID; the DID if no handle is known.
/// `is_empty`: the account has no interactions.
///
/// # Errors
/// `not_found` if the account has no interactions and no event named it.
async fn handle_of(rows: &Rows<'_>, did: &Did, is_empty: bool) -> Result<String, Problem> {
    let NamedAccount { account, is_known } = named_account(rows, did, !is_empty).await?;
    if !is_known {
        return Err(Problem::not_found(format!("no event named {did}")));
    }
    let handle = account.profile.and_then(|profile| profile.handle);
    let handle = handle.or(account.handle);
    Ok(handle.map_or_else(|| did.to_string(), Into::into))
}

/// The sums by the number of interactions, the highest first; equal ones by characters, the
/// highest first, then by DID.
fn entries(totals: Totals) -> Vec<Entry> {
    let entry = |(did, row): (Did, InteractionRow)| {
        let p = u64::from(row.replies) + u64::from(row.quotes);
        Entry {
            did: did.to_string(),
            l: row.likes,
            r: row.reposts,
            p,
            c: row.characters,
            t: u64::from(row.likes) + u64::from(row.reposts) + p,
        }
    };
    // The map is ordered by DID, and the sort is stable.
    let mut entries: Vec<Entry> = totals.by_account.into_iter().map(entry).collect();
    entries.sort_by_key(|entry| Reverse((entry.t, entry.c)));
    entries
}
