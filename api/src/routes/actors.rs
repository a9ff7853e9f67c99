//! `/v1/actors/{actor}`: what events reported of an account, its profile, and its counts of all
//! time.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::view::{AccountRow, ActorRow, ViewId};

use crate::account;
use crate::answer::{Query, Rows, answer, since};
use crate::catalogue::ACTOR_ROUTE;
use crate::params::{Params, decode_path};
use crate::problem::Problem;
use crate::state::ApiContext;
use crate::target::{Actor, Resolved, optional_time, profile_url};

/// `GET /v1/actors/{actor}`
pub(crate) async fn show(
    State(context): State<ApiContext>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let actor = Actor::parse(&decode_path(path)?)?;
    Params::parse(query.as_deref(), &ACTOR_ROUTE)?;
    answer(&context, &headers, actor).await
}

/// An account, as JSON.
#[derive(Serialize)]
pub(crate) struct ActorAnswer {
    did: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Resolved>,
    /// What events of the account or its host reported; `null`: there was none.
    account: Option<Reported>,
    profile: Option<account::Profile>,
    counts: Counts,
}

#[derive(Serialize)]
struct Reported {
    handle: Option<Box<str>>,
    handle_verified: bool,
    active: bool,
    status: Option<Box<str>>,
    display_name: Option<Box<str>>,
    description: Option<Box<str>>,
    avatar: Option<Box<str>>,
    rev: Option<String>,
    out_of_sync: bool,
}

/// Counts of all time.
#[derive(Serialize)]
struct Counts {
    followers: u32,
    follow_records: u32,
    follows: u32,
    blockers: u32,
    block_records: u32,
    blocks: u32,
    posts: u32,
    likes_given: u32,
    likes_received: u32,
    reposts_given: u32,
    reposts_received: u32,
    last_seen: Option<String>,
}

impl Query for Actor {
    type Data = ActorAnswer;

    async fn read(&self, rows: &Rows<'_>) -> Result<ActorAnswer, Problem> {
        let (did, resolved) = self.resolve(rows).await?;
        let account: Option<AccountRow> = rows.get_one(ViewId::Accounts, did.clone()).await?;
        let counts: Option<ActorRow> = rows.get_one(ViewId::Actors, did.clone()).await?;
        if account.is_none() && counts.is_none() {
            let since = since(rows.committed);
            return Err(Problem::not_found(format!("no event named {did}{since}")));
        }
        Ok(ActorAnswer {
            url: profile_url(&did),
            did: did.to_string(),
            resolved,
            profile: account::profile(rows, &did, account.as_ref()).await,
            account: account.map(Reported::from),
            counts: counts.unwrap_or_default().into(),
        })
    }
}

impl From<AccountRow> for Reported {
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
