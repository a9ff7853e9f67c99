//! `/v1/actors/{actor}`: an account as the events describe it, its profile, and its counts over all
//! time.

use std::fmt;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::view::{AccountRow, ActorRow, ViewId, Window};

use crate::account;
use crate::answer::{Query, Rows, since_start};
use crate::catalogue::ACTOR_ROUTE;
use crate::demand::ProfileStatus;
use crate::handles::{Handles, is_verified};
use crate::params::{Params, decode_path};
use crate::problem::Problem;
use crate::respond::Answers;
use crate::target::{Actor, Resolved, ResolvedActor, optional_time, profile_url};

/// `GET /v1/actors/{actor}`
pub(crate) async fn show(
    State(answers): State<Answers>,
    State(handles): State<Handles>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let actor = Actor::parse(&decode_path(path)?)?;
    Params::parse(query.as_deref(), &ACTOR_ROUTE)?;
    let target = handles.resolve(&answers.context, &actor).await?;
    let query = ActorQuery { target, handles };
    answers.respond(&headers, query).await
}

/// A request for an account.
pub(crate) struct ActorQuery {
    target: ResolvedActor,
    /// Knows whether the network verified the handle of the account recently.
    handles: Handles,
}

/// The key of the cached answer. Whether the network verified the handle is not part of it: a cached
/// answer shows that as of when it was read, like everything else.
impl fmt::Debug for ActorQuery {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(to)
    }
}

/// An account, as JSON.
#[derive(Serialize)]
pub(crate) struct ActorAnswer {
    did: String,
    url: String,
    /// How the handle in the request was resolved; absent if the request has a DID.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Resolved>,
    /// `null` if there was no event about the account itself.
    account: Option<ReportedAccount>,
    profile: Option<account::Profile>,
    profile_status: ProfileStatus,
    counts: Counts,
}

/// An account as its own events and those of its host describe it.
#[derive(Serialize)]
struct ReportedAccount {
    handle: Option<Box<str>>,
    /// Whether the handle is known to name the account, and the account to name the handle.
    handle_verified: bool,
    active: bool,
    status: Option<Box<str>>,
    display_name: Option<Box<str>>,
    description: Option<Box<str>>,
    avatar: Option<Box<str>>,
    rev: Option<String>,
    /// Whether operations of the account's repo were missed.
    out_of_sync: bool,
}

/// Counts over all time.
#[derive(Serialize)]
struct Counts {
    /// Distinct accounts that follow this account, itself included.
    followers: u32,
    /// Follow records that name this account.
    follow_records: u32,
    /// Follow records of this account.
    follows: u32,
    /// Distinct accounts that block this account.
    blockers: u32,
    /// Block records that name this account.
    block_records: u32,
    /// Block records of this account.
    blocks: u32,
    posts: u32,
    likes_given: u32,
    likes_received: u32,
    reposts_given: u32,
    reposts_received: u32,
    last_seen: Option<String>,
}

impl Query for ActorQuery {
    type Data = ActorAnswer;

    fn window(&self) -> Option<Window> {
        Some(Window::All)
    }

    async fn read(&self, rows: &Rows<'_>) -> Result<ActorAnswer, Problem> {
        rows.require_computed(&[ViewId::Actors, ViewId::Accounts])?;
        let ResolvedActor { did, resolved } = &self.target;
        let account: Option<AccountRow> = rows.get_one(ViewId::Accounts, did.clone()).await?;
        let counts: Option<ActorRow> = rows.get_one(ViewId::Actors, did.clone()).await?;
        let is_known = account.is_some() || counts.is_some() || resolved.is_some();
        if !is_known && !rows.has_profile(did).await {
            let since_start = since_start(rows.committed);
            return Err(Problem::not_found(format!(
                "no event named {did}{since_start}"
            )));
        }
        let shown = account::profile(rows, did, &account).await;
        let account = match account {
            Some(row) => {
                let lookup = self.handles.lookup_of(did, &row);
                let stored = shown.stored.as_ref();
                let handle_verified = is_verified(rows, &row, stored, lookup.as_ref()).await?;
                Some(ReportedAccount {
                    handle_verified,
                    ..ReportedAccount::from(row)
                })
            }
            None => None,
        };
        Ok(ActorAnswer {
            url: profile_url(did),
            did: did.to_string(),
            resolved: resolved.clone(),
            profile: shown.profile,
            profile_status: shown.status,
            account,
            counts: counts.unwrap_or_default().into(),
        })
    }
}

impl From<AccountRow> for ReportedAccount {
    fn from(row: AccountRow) -> Self {
        Self {
            handle: row.handle,
            handle_verified: false,
            active: row.active,
            status: row.status,
            display_name: row.display_name,
            description: row.description,
            avatar: row.avatar,
            rev: row.rev.map(|rev| rev.to_string()),
            out_of_sync: row.out_of_sync,
        }
    }
}

impl From<ActorRow> for Counts {
    fn from(row: ActorRow) -> Self {
        Self {
            followers: row.followers,
            follow_records: row.follow_records,
            follows: row.follows,
            blockers: row.blockers,
            block_records: row.block_records,
            blocks: row.blocks,
            posts: row.posts,
            likes_given: row.likes_given,
            likes_received: row.likes_received,
            reposts_given: row.reposts_given,
            reposts_received: row.reposts_received,
            last_seen: optional_time(row.last_seen),
        }
    }
}
