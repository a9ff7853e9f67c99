//! Asks an AppView for profiles: `app.bsky.actor.getProfiles`
//! (<https://docs.bsky.app/docs/api/app-bsky-actor-get-profiles>), public, without a session.
//!
//! ```text
//! 200, JSON            ─▶ profiles; `ratelimit-remaining: 0` ─▶ and not before `ratelimit-reset`
//! 400                  ─▶ refused: these accounts cannot be asked for in one question
//! 429, 503 with a time ─▶ not before that time
//! all else             ─▶ failed
//! ```
//!
//! The answer is foreign: its length, its form and each text in it are bounded, and only what is shown is kept. A malformed
//! entry is left out and counted; the others are kept.
//! A redirect is not followed.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Deserialize;
use serde_json::value::RawValue;
use skytide_core::config::Endpoint;
use skytide_core::id::{Did, is_handle};
use skytide_core::port::clock::Clock;
use skytide_core::port::profile::{FetchedProfiles, Profile, ProfileSource, SourceError};
use skytide_core::time::Timestamp;

/// Who asks, so that the server's operator can tell.
const USER_AGENT: &str = concat!("skytide/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer, at most: a profile has about 3 KB.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Bytes of a refusal's text that are told.
const REFUSAL_BYTES_MAX: usize = 200;
/// Bytes of a display name (`app.bsky.actor.profile`: 640).
const NAME_BYTES_MAX: usize = 640;
const AVATAR_BYTES_MAX: usize = 2_048;
/// The wait if a server that was asked too often names none.
const WAIT_MS: u64 = 60_000;
/// The longest wait that a server can impose.
const WAIT_MS_MAX: u64 = 86_400_000;

/// A [`ProfileSource`] over HTTP.
pub struct AppView {
    client: Client,
    address: String,
    clock: Arc<dyn Clock>,
}

/// The client cannot be made: TLS is not usable here.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be made")]
pub struct AppViewError(#[from] reqwest::Error);

impl AppView {
    /// Asks the server at `url`; a question takes at most `time_max`.
    ///
    /// # Errors
    /// The roots of trust of this machine cannot be used.
    pub fn new(
        url: &Endpoint,
        time_max: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AppViewError> {
        // It is there already if another client came first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .timeout(time_max)
            .connect_timeout(time_max)
            .redirect(redirect::Policy::none())
            .build()?;
        let base = url.with_secret().trim_end_matches('/');
        let address = format!("{base}/xrpc/app.bsky.actor.getProfiles");
        Ok(Self {
            client,
            address,
            clock,
        })
    }

    async fn read(&self, response: Response) -> Result<FetchedProfiles, SourceError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let now = self.clock.now();
        match status {
            StatusCode::OK => {}
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = Timestamp(now.0 + WAIT_MS);
                let not_before = retry_at(&headers, now).unwrap_or(wait);
                return Err(SourceError::RateLimited { not_before });
            }
            StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(RETRY_AFTER) => {
                let not_before = retry_at(&headers, now).unwrap_or(now);
                return Err(SourceError::RateLimited { not_before });
            }
            StatusCode::BAD_REQUEST => {
                let text = body(response).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let end = text.floor_char_boundary(REFUSAL_BYTES_MAX);
                return Err(SourceError::Refused(format!("{:?}", &text[..end])));
            }
            status => return Err(failed(format!("the server answers {status}"))),
        }
        let form = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !form.is_some_and(|it| it.starts_with(b"application/json")) {
            return Err(failed("the answer is no JSON"));
        }
        let (profiles, malformed) = parse(&body(response).await?)?;
        if malformed > 0 {
            tracing::warn!(malformed, "entries of an answer with profiles are left out");
        }
        let spent = number(&headers, "ratelimit-remaining") == Some(0);
        let reset = reset_at(&headers).map(|at| at.min(Timestamp(now.0 + WAIT_MS_MAX)));
        Ok(FetchedProfiles {
            profiles,
            malformed,
            not_before: reset.filter(|_| spent),
        })
    }
}

#[async_trait]
impl ProfileSource for AppView {
    async fn fetch(&self, dids: &[Did]) -> Result<FetchedProfiles, SourceError> {
        let actors: Vec<_> = dids.iter().map(|did| ("actors", did.to_string())).collect();
        let sent = self.client.get(&self.address).query(&actors).send().await;
        // The address may hold a password.
        let response = sent.map_err(|why| failed(why.without_url()))?;
        self.read(response).await
    }
}

/// The entries are read one by one: one that is malformed costs no other.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    profiles: Vec<&'a RawValue>,
}

/// The fields that are shown; the rest is skipped.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    did: String,
    handle: String,
    #[serde(borrow)]
    display_name: Option<&'a RawValue>,
    #[serde(borrow)]
    avatar: Option<&'a RawValue>,
}

/// The usable entries of an answer, and how many are not: entries of another form, without a valid DID and handle, or of an
/// account that an earlier entry names.
fn parse(json: &[u8]) -> Result<(Vec<(Did, Profile)>, usize), SourceError> {
    // JSON is UTF-8. Other bytes stand in texts, and cost the entry of that text at most.
    let json = String::from_utf8_lossy(json);
    let answer: Answer<'_> = serde_json::from_str(&json).map_err(failed)?;
    let entries = answer.profiles.len();
    let mut profiles: Vec<(Did, Profile)> = Vec::new();
    for (did, profile) in answer.profiles.into_iter().filter_map(entry) {
        if !profiles.iter().any(|(known, _)| *known == did) {
            profiles.push((did, profile));
        }
    }
    let malformed = entries - profiles.len();
    Ok((profiles, malformed))
}

/// One account; `None` if the entry is malformed.
fn entry(json: &RawValue) -> Option<(Did, Profile)> {
    let shown: Shown<'_> = serde_json::from_str(json.get()).ok()?;
    let did: Did = shown.did.parse().ok()?;
    if !is_handle(&shown.handle) {
        return None;
    }
    // A text that cannot be read is as good as none.
    let text = |json: Option<&RawValue>| serde_json::from_str(json?.get()).ok();
    let profile = Profile {
        handle: shown.handle.into(),
        name: text(shown.display_name).and_then(name),
        avatar: text(shown.avatar).and_then(avatar),
    };
    Some((did, profile))
}

/// Cut to what a profile record may hold; `None` if nothing can be seen of it.
fn name(text: String) -> Option<Box<str>> {
    let end = text.floor_char_boundary(NAME_BYTES_MAX);
    let text = text[..end].trim();
    (!text.is_empty()).then(|| text.into())
}

/// An address that a page may load; anything else is no picture.
fn avatar(text: String) -> Option<Box<str>> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let fits = plain && text.len() <= AVATAR_BYTES_MAX && text.starts_with("https://");
    fits.then(|| text.into())
}

async fn body(mut response: Response) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let read = |why: reqwest::Error| failed(why.without_url());
    while let Some(chunk) = response.chunk().await.map_err(read)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(failed("the answer is too long"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// When to ask again: `Retry-After`, seconds or a date (<https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>), or
/// `ratelimit-reset`, seconds since 1970; the later one.
fn retry_at(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    let text = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok());
    let seconds = |text: &str| text.trim().parse::<u64>().ok();
    let after = text.and_then(|text| match seconds(text) {
        Some(seconds) => Some(Timestamp(
            now.0.saturating_add(seconds.saturating_mul(1_000)),
        )),
        None => {
            let at = httpdate::parse_http_date(text.trim()).ok()?;
            let ms = at.duration_since(UNIX_EPOCH).ok()?.as_millis();
            u64::try_from(ms).ok().map(Timestamp)
        }
    });
    let latest = Timestamp(now.0 + WAIT_MS_MAX);
    after.max(reset_at(headers)).map(|at| at.clamp(now, latest))
}

fn reset_at(headers: &HeaderMap) -> Option<Timestamp> {
    let seconds = number(headers, "ratelimit-reset")?;
    Some(Timestamp(seconds.saturating_mul(1_000)))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn failed(why: impl Into<Box<dyn Error + Send + Sync>>) -> SourceError {
    SourceError::Failed(why.into())
}

#[cfg(test)]
mod tests;
