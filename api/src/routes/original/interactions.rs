//! `POST /original/interactions`: with whom an account interacted in the last 7 days, today
//! included, sent and received. Acts on oneself are left out, as in the view `interactions`.

use std::cmp::Reverse;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::view::{InteractionRow, ViewId};

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
use crate::target::{Actor, ResolvedActor};

/// Number of days of an answer, in UTC, today included.
const DAYS: u32 = 7;
/// Maximum number of other accounts in each direction. It bounds the memory of an answer.
const ACCOUNTS_MAX: usize = 1_000_000;
/// Number of bytes of an unknown name that the error shows: a handle with its `@`.
const NAME_BYTES_SHOWN: usize = 254;
/// The part of an answer between the account and its interactions.
const INTERACTIONS_FIELD: &str = ",\"interactions\":";

/// `POST /original/interactions`
pub(crate) async fn show(
    State(answers): State<Answers>,
    State(access): State<Access>,
    State(handles): State<Handles>,
    request: Request,
) -> Result<Response, Failure> {
    check_key(&access, request.headers())?;
    let HandleBody { handle } = json_body::read(request).await?;
    let name = handle.trim();
    let name = name.strip_prefix('@').unwrap_or(name);
    // A text that is neither a handle nor a DID names no account.
    let actor = Actor::parse_bare(name).map_err(|_| not_found(name))?;
    let target = handles.resolve(&answers.context, &actor).await;
    // Where the network cannot be asked for an unknown handle, the contract has no other answer.
    let ResolvedActor { did, resolved } = target.map_err(|problem| match problem.code() {
        "not_found" | "resolver_unavailable" => not_found(name),
        _ => problem.into(),
    })?;
    if resolved.is_some_and(|resolved| resolved.is_refuted()) {
        return Err(not_found(name));
    }
    let query = InteractionsQuery { did };
    let answer = answers.cache.get(&answers.context, query).await?;
    match actor {
        Actor::Did(_) if Named::of(answer.object())?.handle.is_none() => Err(not_found(name)),
        Actor::Did(_) => Ok(respond(answer.object().to_owned())),
        Actor::Handle(_) => Ok(respond(with_handle(answer.object(), name)?)),
    }
}

/// A name that is too long to be a handle or a DID is shown in part.
fn not_found(name: &str) -> Failure {
    let shown = &name[..name.floor_char_boundary(NAME_BYTES_SHOWN)];
    Failure::new(StatusCode::BAD_REQUEST, format!("user not found: {shown}"))
}

/// The account at the start of an answer.
#[derive(Deserialize, Serialize)]
struct Named {
    did: String,
    handle: Option<String>,
}

impl Named {
    fn of(answer: &str) -> Result<Self, Problem> {
        let (account, _) = parts(answer);
        let named = serde_json::from_str(&format!("{account}}}"));
        named.map_err(|error| Problem::internal(&error))
    }
}

/// Splits an answer before its interactions. A text in JSON cannot contain the name of the field
/// with its quotes, because quotes are escaped there.
fn parts(answer: &str) -> (&str, &str) {
    let found = answer.split_once(INTERACTIONS_FIELD);
    found.expect("every answer has the field")
}

/// Writes the handle as the client wrote it into an answer.
fn with_handle(answer: &str, handle: &str) -> Result<String, Problem> {
    let named = Named {
        handle: Some(handle.to_owned()),
        ..Named::of(answer)?
    };
    let account = serde_json::to_string(&named).map_err(|error| Problem::internal(&error))?;
    let account = account.strip_suffix('}').unwrap_or_default();
    let (_, interactions) = parts(answer);
    Ok([account, INTERACTIONS_FIELD, interactions].concat())
}

/// A request for the interactions of an account.
#[derive(Debug)]
struct InteractionsQuery {
    did: Did,
}

/// The interactions of an account, as JSON.
#[derive(Serialize)]
struct Answer {
    did: String,
    /// The handle of the account, or its DID while no handle is known; `None` if the account has no
    /// interactions and nothing is known of it.
    handle: Option<String>,
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
        rows.require_computed(&[ViewId::Interactions])?;
        let did = &self.did;
        let today = rows.committed.time.day();
        let select = |received| Selection {
            received,
            first_day: (today + 1).saturating_sub(DAYS),
            last_day: today,
            rows_max: usize::MAX,
            accounts_max: ACCOUNTS_MAX,
        };
        let sent = select(false).sum(rows, did).await?;
        let received = select(true).sum(rows, did).await?;
        rows.record_rows_left_out(did, sent.rows_left_out + received.rows_left_out);
        let is_empty = sent.by_account.is_empty() && received.by_account.is_empty();
        let handle = handle_of(rows, did, is_empty).await?;
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

/// The handle of an account, or its DID while no handle is known and for a hidden account. `None` if
/// the account has no interactions, which `is_empty` says, and nothing else is known of it.
async fn handle_of(rows: &Rows<'_>, did: &Did, is_empty: bool) -> Result<Option<String>, Problem> {
    let NamedAccount { account, is_known } = named_account(rows, did, !is_empty).await?;
    let is_known = is_known || account.profile.is_some();
    let is_hidden = account.active == Some(false);
    let reported = account.handle.filter(|_| !is_hidden);
    let handle = account.profile.and_then(|profile| profile.handle);
    let handle = handle.or(reported);
    Ok(is_known.then(|| handle.map_or_else(|| did.to_string(), Into::into)))
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
