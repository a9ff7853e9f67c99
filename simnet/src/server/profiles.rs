//! The AppView: `app.bsky.actor.getProfiles`, `getProfile` and `searchActorsTypeahead`, with a
//! request budget, latency and failures.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use skytide_core::id::Did;

use super::feed::{Feed, HostedAccount};
use super::identities::IdentityCases;
use super::problem::Problem;
use super::profile_budget::Verdict;
use super::query::Query;
use super::shared::Shared;
use crate::random::Random;

/// Maximum number of accounts in a request.
pub const ACTORS_MAX: usize = 25;
/// Maximum number of accounts in an answer of `searchActorsTypeahead`.
const TYPEAHEAD_MAX: u64 = 100;

/// Applies latency, budget and failures to each request.
pub(super) async fn guard(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let latency = shared.budget.options.latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let (verdict, headers) = shared.budget.take(shared.clock.now());
    let mut response = match verdict {
        Verdict::Answer => next.run(request).await,
        Verdict::Limited { wait_seconds } => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let problem = Problem::new(status, "RateLimitExceeded", "Rate Limit Exceeded");
            ([(header::RETRY_AFTER, wait_seconds.to_string())], problem).into_response()
        }
        Verdict::Failed(failure) => {
            Problem::new(failure.status, failure.name, failure.message).into_response()
        }
    };
    response.headers_mut().extend(headers);
    response
}

/// `app.bsky.actor.getProfiles`: the profiles of the active accounts. Unknown and inactive ones are
/// omitted.
pub(super) async fn profiles(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let query = Query::of(&uri);
    query.need("actors")?;
    let actors: Vec<String> = query.all("actors").map(str::to_owned).collect();
    if actors.len() > ACTORS_MAX {
        let message = format!("actors must not have more than {ACTORS_MAX} elements");
        return Err(Problem::invalid(message));
    }
    if let Some(position) = actors.iter().position(|actor| !is_identifier(actor)) {
        let message = format!("actors/{position} must be a valid did or a handle");
        return Err(Problem::invalid(message));
    }
    let cases = shared.identities.clone();
    let found = shared.ask(move |feed| {
        let mut found = Vec::new();
        for actor in actors {
            found.extend(find_account(feed, &cases, &actor).filter(|it| it.status.is_none()));
        }
        found
    });
    let found = found.await;
    let profiles: Vec<_> = found.iter().map(|it| profile(it, &shared.url)).collect();
    Ok(Json(json!({ "profiles": profiles })))
}

/// `app.bsky.actor.getProfile`.
pub(super) async fn single_profile(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let query = Query::of(&uri);
    let actor = query.need("actor")?.to_owned();
    if !is_identifier(&actor) {
        let message = "actor must be a valid did or a handle";
        return Err(Problem::invalid(message));
    }
    let cases = shared.identities.clone();
    let found = shared.ask(move |feed| find_account(feed, &cases, &actor));
    let account = found
        .await
        .ok_or_else(|| Problem::invalid("Profile not found"))?;
    match account.status {
        None => Ok(Json(profile(&account, &shared.url))),
        Some("deactivated") => Err(Problem::named(
            "AccountDeactivated",
            "Account is deactivated",
        )),
        Some("deleted") => Err(Problem::invalid("Profile not found")),
        Some(_) => Err(Problem::named(
            "AccountTakedown",
            "Account has been suspended",
        )),
    }
}

/// A picture of three stripes whose colours follow from its CID.
pub(super) async fn picture(Path((_, cid)): Path<(String, String)>) -> Response {
    let mut random = Random::new(cid.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }));
    let stripes: String = [0, 16, 32]
        .iter()
        .map(|y| {
            let hue = random.below(360);
            format!("<rect y='{y}' width='48' height='16' fill='hsl({hue} 60% 55%)'/>")
        })
        .collect();
    let svg =
        format!("<svg xmlns='http://www.w3.org/2000/svg' width='48' height='48'>{stripes}</svg>");
    ([(header::CONTENT_TYPE, "image/svg+xml")], svg).into_response()
}

/// Whether this is a DID, or could be a handle.
fn is_identifier(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    skytide_core::id::is_did(text) || (text.contains('.') && text.split('.').all(part))
}

/// `app.bsky.actor.searchActorsTypeahead`: active accounts whose handle or name starts with a text
/// (<https://docs.bsky.app/docs/api/app-bsky-actor-search-actors-typeahead>).
pub(super) async fn typeahead(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let query = Query::of(&uri);
    let prefix = query.get("q").unwrap_or_default().to_lowercase();
    let limit = query.number("limit")?.unwrap_or(10);
    if !(1..=TYPEAHEAD_MAX).contains(&limit) {
        return Err(Problem::invalid("limit must be between 1 and 100"));
    }
    let cases = shared.identities.clone();
    let found = shared.ask(move |feed| {
        let mut found = Vec::new();
        for did in feed.dids_after(None, usize::MAX) {
            let account = shown_account(feed, &cases, &did);
            let Some(account) = account.filter(|it| it.status.is_none()) else {
                continue;
            };
            let name = account.display_name.as_deref().unwrap_or_default();
            if account.handle.starts_with(&prefix) || name.to_lowercase().starts_with(&prefix) {
                found.push(account);
            }
            if found.len() as u64 == limit {
                break;
            }
        }
        found
    });
    let found = found.await;
    let actors: Vec<_> = found.iter().map(|it| profile(it, &shared.url)).collect();
    Ok(Json(json!({ "actors": actors })))
}

fn find_account(feed: &mut dyn Feed, cases: &IdentityCases, actor: &str) -> Option<HostedAccount> {
    let did = match actor.parse() {
        Ok(did) => did,
        Err(_) => cases.did_of_handle(&*feed, &actor.to_ascii_lowercase())?,
    };
    shown_account(feed, cases, &did)
}

/// An account with the handle that an AppView shows.
fn shown_account(feed: &mut dyn Feed, cases: &IdentityCases, did: &Did) -> Option<HostedAccount> {
    let account = feed.hosted_account(did)?;
    let handle = cases.shown_handle(feed, &account);
    Some(HostedAccount { handle, ..account })
}

fn profile(account: &HostedAccount, url: &str) -> Value {
    let mut profile = json!({
        "did": account.did.to_string(),
        "handle": account.handle,
        "labels": [],
    });
    if let Some(name) = &account.display_name {
        profile["displayName"] = json!(name);
    }
    if let Some(text) = &account.description {
        profile["description"] = json!(text);
    }
    if let Some(cid) = &account.avatar {
        let did = &account.did;
        profile["avatar"] = json!(format!("{url}/img/avatar/plain/{did}/{cid}"));
    }
    profile
}
