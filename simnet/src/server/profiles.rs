//! The AppView: `app.bsky.actor.getProfiles` and `getProfile`, with a budget of requests, latency and failures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use skytide_core::time::Timestamp;

use super::feed::{Feed, Person};
use super::net::Net;
use super::problem::Problem;
use super::query::Query;
use crate::random::Random;

/// Accounts of one request, at most.
pub const ACTORS_MAX: usize = 25;

/// How profiles are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Requests in a period, at most; further ones are answered with 429.
    pub requests_max: u64,
    /// The period.
    pub period: Duration,
    /// How long each answer takes at least.
    pub latency: Duration,
    /// So many of a million requests fail with 500, 502 or 503, in turn.
    pub failures_per_million: u32,
    /// Seed of which requests fail.
    pub seed: u64,
}

impl Default for Options {
    /// The budget of the public AppView.
    fn default() -> Self {
        Self {
            requests_max: 3_000,
            period: Duration::from_secs(300),
            latency: Duration::ZERO,
            failures_per_million: 0,
            seed: 0,
        }
    }
}

/// What is left of the requests of a period, and what happened so far.
#[derive(Debug)]
pub(super) struct Budget {
    options: Options,
    period: Mutex<Period>,
    requests: AtomicU64,
    refusals: AtomicU64,
}

#[derive(Debug)]
struct Period {
    began: Timestamp,
    left: u64,
    random: Random,
    failures: usize,
}

/// What a request gets.
enum Verdict {
    Answer,
    Limited {
        wait_seconds: u64,
    },
    /// One of [`FAILURES`].
    Failed(usize),
}

const FAILURES: [(StatusCode, &str, &str); 3] = [
    (
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalServerError",
        "Internal Server Error",
    ),
    (
        StatusCode::BAD_GATEWAY,
        "UpstreamFailure",
        "Upstream Failure",
    ),
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "NotEnoughResources",
        "Service Unavailable",
    ),
];

impl Budget {
    pub(super) fn new(options: Options) -> Self {
        let period = Period {
            began: Timestamp::default(),
            left: options.requests_max,
            random: Random::new(options.seed),
            failures: 0,
        };
        Self {
            options,
            period: Mutex::new(period),
            requests: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Takes one request from what is left; answers what it gets, and the headers that say what is left.
    fn take(&self, now: Timestamp) -> (Verdict, HeaderMap) {
        let length = u64::try_from(self.options.period.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0 < period.began.0 || now.0 - period.began.0 >= length {
            period.began = now;
            period.left = self.options.requests_max;
        }
        let end = period.began.0.saturating_add(length);
        let verdict = match period.left.checked_sub(1) {
            None => Verdict::Limited {
                wait_seconds: (end - now.0).div_ceil(1_000),
            },
            Some(left) => {
                period.left = left;
                let drawn = period.random.below(1_000_000);
                if drawn < u64::from(self.options.failures_per_million) {
                    period.failures += 1;
                    Verdict::Failed(period.failures % FAILURES.len())
                } else {
                    Verdict::Answer
                }
            }
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !matches!(verdict, Verdict::Answer) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        }
        (verdict, self.headers(period.left, end))
    }

    fn headers(&self, left: u64, end_ms: u64) -> HeaderMap {
        let limit = self.options.requests_max;
        let seconds = self.options.period.as_secs();
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-limit", limit.into());
        headers.insert("ratelimit-remaining", left.into());
        headers.insert("ratelimit-reset", end_ms.div_ceil(1_000).into());
        if let Ok(policy) = format!("{limit};w={seconds}").parse() {
            headers.insert("ratelimit-policy", policy);
        }
        headers
    }
}

/// Latency, budget and failures before each answer.
pub(super) async fn guard(State(net): State<Arc<Net>>, request: Request, next: Next) -> Response {
    let latency = net.budget.options.latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let (verdict, headers) = net.budget.take(net.clock.now());
    let mut response = match verdict {
        Verdict::Answer => next.run(request).await,
        Verdict::Limited { wait_seconds } => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let problem = Problem::new(status, "RateLimitExceeded", "Rate Limit Exceeded");
            ([(header::RETRY_AFTER, wait_seconds.to_string())], problem).into_response()
        }
        Verdict::Failed(which) => {
            let (status, name, message) = FAILURES[which];
            Problem::new(status, name, message).into_response()
        }
    };
    response.headers_mut().extend(headers);
    response
}

/// `app.bsky.actor.getProfiles`: those of the accounts that can be shown; the others are left out.
pub(super) async fn profiles(
    State(net): State<Arc<Net>>,
    uri: Uri,
) -> Result<Json<Value>, Problem> {
    let query = Query::of(&uri);
    query.need("actors")?;
    let actors: Vec<String> = query.all("actors").map(str::to_owned).collect();
    if actors.len() > ACTORS_MAX {
        let message = format!("actors must not have more than {ACTORS_MAX} elements");
        return Err(Problem::invalid(message));
    }
    if let Some(place) = actors.iter().position(|actor| !is_identifier(actor)) {
        let message = format!("actors/{place} must be a valid did or a handle");
        return Err(Problem::invalid(message));
    }
    let found = net.ask(move |feed| {
        let persons = actors.iter().filter_map(|actor| person(feed, actor));
        let active = persons.filter(|person| person.status.is_none());
        active.collect::<Vec<_>>()
    });
    let found = found.await;
    let profiles: Vec<_> = found.iter().map(|it| profile(it, &net.url)).collect();
    Ok(Json(json!({ "profiles": profiles })))
}

/// `app.bsky.actor.getProfile`.
pub(super) async fn one(State(net): State<Arc<Net>>, uri: Uri) -> Result<Json<Value>, Problem> {
    let query = Query::of(&uri);
    let actor = query.need("actor")?.to_owned();
    if !is_identifier(&actor) {
        let message = "actor must be a valid did or a handle";
        return Err(Problem::invalid(message));
    }
    let found = net.ask(move |feed| person(feed, &actor)).await;
    let person = found.ok_or_else(|| Problem::invalid("Profile not found"))?;
    match person.status {
        None => Ok(Json(profile(&person, &net.url))),
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

/// A picture, drawn from its CID: three stripes.
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

/// A DID, or something that may be a handle.
fn is_identifier(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    skytide_core::id::is_did(text) || (text.contains('.') && text.split('.').all(part))
}

fn person(feed: &mut dyn Feed, actor: &str) -> Option<Person> {
    let did = match actor.parse() {
        Ok(did) => did,
        Err(_) => feed.did_of_handle(&actor.to_ascii_lowercase())?,
    };
    feed.person(&did)
}

fn profile(person: &Person, url: &str) -> Value {
    let mut profile = json!({
        "did": person.did.to_string(),
        "handle": person.handle,
        "labels": [],
    });
    if let Some(name) = &person.display_name {
        profile["displayName"] = json!(name);
    }
    if let Some(text) = &person.description {
        profile["description"] = json!(text);
    }
    if let Some(cid) = &person.avatar {
        let did = &person.did;
        profile["avatar"] = json!(format!("{url}/img/avatar/plain/{did}/{cid}"));
    }
    profile
}
