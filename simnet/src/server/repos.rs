//! The endpoints of a PDS and of the PLC directory: repos, commits, handles, DID documents.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use skytide_core::id::Did;

use super::feed::HostedAccount;
use super::problem::Problem;
use super::query::Query;
use super::shared::Shared;

/// Maximum number of repos in a page of `listRepos`.
const PAGE_MAX: u64 = 1_000;

/// `com.atproto.sync.getRepo`: the whole repo as a CAR. It ignores `since`, which the protocol
/// allows.
pub(super) async fn repo(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Problem> {
    let did = Query::of(&uri).did("did")?;
    let found = shared.ask(move |feed| {
        let account = feed.hosted_account(&did);
        let car = hosted(&did, account)?;
        feed.repo_car(&car.did).ok_or_else(|| not_found(&did))
    });
    let car = found.await?;
    let kind = [(header::CONTENT_TYPE, "application/vnd.ipld.car")];
    Ok((kind, car).into_response())
}

/// `com.atproto.sync.getLatestCommit`.
pub(super) async fn latest_commit(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let did = Query::of(&uri).did("did")?;
    let found = shared.ask(move |feed| {
        let account = feed.hosted_account(&did);
        hosted(&did, account)?;
        feed.latest_commit(&did).ok_or_else(|| not_found(&did))
    });
    let (cid, rev) = found.await?;
    Ok(Json(json!({ "cid": cid, "rev": rev })))
}

/// `com.atproto.sync.getRepoStatus`.
pub(super) async fn status(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let did = Query::of(&uri).did("did")?;
    let found = shared.ask(move |feed| {
        let account = feed.hosted_account(&did).ok_or_else(|| not_found(&did))?;
        Ok((account, feed.latest_commit(&did)))
    });
    let (account, commit) = found.await?;
    let mut answer = json!({
        "did": account.did.to_string(),
        "active": account.status.is_none(),
    });
    match (account.status, commit) {
        (Some(status), _) => answer["status"] = json!(status),
        (None, Some((_, rev))) => answer["rev"] = json!(rev),
        (None, None) => {}
    }
    Ok(Json(answer))
}

/// `com.atproto.sync.listRepos`: all accounts with a repo, in pages.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let query = Query::of(&uri);
    let limit = query.number("limit")?.unwrap_or(500);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::invalid("limit must be between 1 and 1000"));
    }
    let cursor = match query.get("cursor") {
        Some(_) => Some(query.did("cursor")?),
        None => None,
    };
    let page = shared.ask(move |feed| {
        let dids = feed.dids_after(cursor.as_ref(), limit as usize);
        let last = dids.last().filter(|_| dids.len() as u64 == limit).cloned();
        let mut repos = Vec::with_capacity(dids.len());
        for did in dids {
            let (Some(account), Some((head, rev))) =
                (feed.hosted_account(&did), feed.latest_commit(&did))
            else {
                continue;
            };
            let mut repo = json!({
                "did": did.to_string(),
                "head": head,
                "rev": rev,
                "active": account.status.is_none(),
            });
            if let Some(status) = account.status {
                repo["status"] = json!(status);
            }
            repos.push(repo);
        }
        (repos, last)
    });
    let (repos, last) = page.await;
    let mut answer = json!({ "repos": repos });
    if let Some(last) = last {
        answer["cursor"] = json!(last.to_string());
    }
    Ok(Json(answer))
}

/// `com.atproto.identity.resolveHandle`.
pub(super) async fn resolve_handle(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let query = Query::of(&uri);
    let handle = query.need("handle")?.to_ascii_lowercase();
    let did = did_of_handle(&shared, handle).await;
    let did = did.ok_or_else(|| Problem::invalid("Unable to resolve handle"))?;
    Ok(Json(json!({ "did": did.to_string() })))
}

/// `/.well-known/atproto-did` of the requested host
/// (<https://atproto.com/specs/handle#handle-resolution>).
pub(super) async fn well_known(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    match did_of_handle(&shared, host_name(&headers)).await {
        Some(did) => did.to_string().into_response(),
        None => (StatusCode::NOT_FOUND, "User not found").into_response(),
    }
}

async fn did_of_handle(shared: &Arc<Shared>, handle: String) -> Option<Did> {
    let cases = shared.identities.clone();
    let found = shared.ask(move |feed| cases.did_of_handle(&*feed, &handle));
    found.await
}

/// The requested host in lower case, without its port.
fn host_name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    let host = host.unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.to_ascii_lowercase()
}

/// `/.well-known/did.json` of the requested host: the document of its `did:web`
/// (<https://atproto.com/specs/did#blessed-did-methods>). The network has no such accounts.
pub(super) async fn web_document(state: State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let did = format!("did:web:{}", host_name(&headers));
    document(state, Path(did)).await
}

/// `/{did}`: the DID document, as <https://web.plc.directory> returns it.
pub(super) async fn document(
    State(shared): State<Arc<Shared>>,
    Path(text): Path<String>,
) -> Response {
    let unknown = |text: &str| {
        let message = json!({ "message": format!("DID not registered: {text}") });
        (StatusCode::NOT_FOUND, Json(message)).into_response()
    };
    let Ok(did) = text.parse::<Did>() else {
        return unknown(&text);
    };
    let cases = shared.identities.clone();
    let found = shared.ask(move |feed| {
        let account = feed.hosted_account(&did)?;
        let handle = cases.documented_handle(feed, &account)?;
        Some((account, handle))
    });
    let Some((account, handle)) = found.await else {
        return unknown(&text);
    };
    let key = account.key.trim_start_matches("did:key:");
    let document = json!({
        "@context": [
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/multikey/v1",
            "https://w3id.org/security/suites/secp256k1-2019/v1",
        ],
        "id": text,
        "alsoKnownAs": [format!("at://{handle}")],
        "verificationMethod": [{
            "id": format!("{text}#atproto"),
            "type": "Multikey",
            "controller": text,
            "publicKeyMultibase": key,
        }],
        "service": [{
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": shared.url,
        }],
    });
    let kind = [(header::CONTENT_TYPE, "application/did+ld+json")];
    (kind, document.to_string()).into_response()
}

fn not_found(did: &Did) -> Problem {
    let message = format!("Could not find repo for DID: {did}");
    Problem::named("RepoNotFound", message)
}

/// The account, if its repo is available.
fn hosted(did: &Did, account: Option<HostedAccount>) -> Result<HostedAccount, Problem> {
    let account = account.ok_or_else(|| not_found(did))?;
    let refuse = |name, what| Err(Problem::named(name, format!("Repo has been {what}: {did}")));
    match account.status {
        None => Ok(account),
        Some("deactivated") => refuse("RepoDeactivated", "deactivated"),
        Some("suspended") => refuse("RepoSuspended", "suspended"),
        Some("deleted") => Err(not_found(did)),
        Some(_) => refuse("RepoTakendown", "taken down"),
    }
}
