//! Fetches profiles from an AppView: `app.bsky.actor.getProfiles`
//! (<https://docs.bsky.app/docs/api/app-bsky-actor-get-profiles>), which is public and needs no
//! session.
//!
//! ```text
//! 200 with JSON         ─▶ profiles; with `ratelimit-remaining: 0` no request before `ratelimit-reset`
//! 400, 413, 414, 431    ─▶ refused: the server rejects this set of accounts
//! 429; 503 with a time  ─▶ rate limited: no request before that time
//! anything else         ─▶ failed
//! ```
//!
//! The response is untrusted. Its size, its format and each text in it are limited, and only the
//! fields that are shown are stored. A malformed entry is skipped and counted; the other entries
//! are used. Redirects are not followed.

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

use crate::http_body::read_body;

/// Identifies this program to the operator of the server.
const USER_AGENT: &str = concat!("skytide/", env!("CARGO_PKG_VERSION"));
/// Maximum size of a response body, in bytes. A profile has about 3 KB.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Maximum length of the server's reason for a refusal in our error, in bytes.
const REFUSAL_BYTES_MAX: usize = 200;
/// Maximum length of a display name, in bytes (`app.bsky.actor.profile`: 640).
const NAME_BYTES_MAX: usize = 640;
/// Maximum length of the URL of an avatar, in bytes.
const AVATAR_BYTES_MAX: usize = 2_048;
/// The pause after a rate limit without a time.
const DEFAULT_PAUSE_MS: u64 = 60_000;
/// The longest pause that a server can impose, in milliseconds.
pub const PAUSE_MS_MAX: u64 = 86_400_000;

/// A [`ProfileSource`] over HTTP.
pub struct AppView {
    client: Client,
    address: String,
    clock: Arc<dyn Clock>,
}

/// The client cannot be created, because TLS is not usable on this machine.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the HTTP client")]
pub struct AppViewError(#[from] reqwest::Error);

impl AppView {
    /// Creates a client for the server at `url`. A request takes at most `time_max`.
    ///
    /// # Errors
    ///
    /// The root certificates of this machine cannot be used.
    pub fn new(
        url: &Endpoint,
        time_max: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AppViewError> {
        // Fails if another client has already installed the provider, which is fine.
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
                let default = Timestamp(now.0 + DEFAULT_PAUSE_MS);
                let not_before = retry_at(&headers, now).unwrap_or(default);
                return Err(SourceError::RateLimited { not_before });
            }
            StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(RETRY_AFTER) => {
                let not_before = retry_at(&headers, now).unwrap_or(now);
                return Err(SourceError::RateLimited { not_before });
            }
            // All but the first one mean that the request is too long.
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::URI_TOO_LONG
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                let text = body(response).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let end = text.floor_char_boundary(REFUSAL_BYTES_MAX);
                return Err(SourceError::Refused(format!("{:?}", &text[..end])));
            }
            status => return Err(failed(format!("the server responded with {status}"))),
        }
        let format = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !format.is_some_and(|it| it.starts_with(b"application/json")) {
            return Err(failed("the response is not JSON"));
        }
        let (profiles, malformed) = parse(&body(response).await?)?;
        if malformed > 0 {
            tracing::warn!(malformed, "skipped malformed profiles in a response");
        }
        let is_exhausted = number(&headers, "ratelimit-remaining") == Some(0);
        let reset = reset_at(&headers).map(|at| at.min(Timestamp(now.0 + PAUSE_MS_MAX)));
        Ok(FetchedProfiles {
            profiles,
            malformed,
            not_before: reset.filter(|_| is_exhausted),
        })
    }
}

#[async_trait]
impl ProfileSource for AppView {
    async fn fetch(&self, dids: &[Did]) -> Result<FetchedProfiles, SourceError> {
        let actors: Vec<_> = dids.iter().map(|did| ("actors", did.to_string())).collect();
        let sent = self.client.get(&self.address).query(&actors).send().await;
        // The URL may contain a password, which must not get into the error.
        let response = sent.map_err(|why| failed(why.without_url()))?;
        self.read(response).await
    }
}

/// The body of a response. Each entry is parsed by itself, so a malformed entry affects no other.
#[derive(Deserialize)]
struct ProfilesBody<'a> {
    #[serde(borrow)]
    profiles: Vec<&'a RawValue>,
}

/// The fields of a profile that are shown. The others are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProfileEntry<'a> {
    did: String,
    handle: String,
    #[serde(borrow)]
    display_name: Option<&'a RawValue>,
    #[serde(borrow)]
    avatar: Option<&'a RawValue>,
}

/// The valid entries of a response, and the number of malformed entries. An entry is malformed if
/// it has another format, no valid DID and handle, or the account of an earlier entry.
fn parse(json: &[u8]) -> Result<(Vec<(Did, Profile)>, usize), SourceError> {
    // JSON is UTF-8. Invalid bytes can only be in strings, so they affect at most the entry of that
    // string.
    let json = String::from_utf8_lossy(json);
    let body: ProfilesBody<'_> = serde_json::from_str(&json).map_err(failed)?;
    let entries = body.profiles.len();
    let mut profiles: Vec<(Did, Profile)> = Vec::new();
    for (did, profile) in body.profiles.into_iter().filter_map(entry) {
        if !profiles.iter().any(|(known, _)| *known == did) {
            profiles.push((did, profile));
        }
    }
    let malformed = entries - profiles.len();
    Ok((profiles, malformed))
}

/// One account; `None` if the entry is malformed.
fn entry(json: &RawValue) -> Option<(Did, Profile)> {
    let entry: ProfileEntry<'_> = serde_json::from_str(json.get()).ok()?;
    let did: Did = entry.did.parse().ok()?;
    if !is_handle(&entry.handle) {
        return None;
    }
    // A string that is not valid is treated as missing.
    let text = |json: Option<&RawValue>| serde_json::from_str(json?.get()).ok();
    let profile = Profile {
        handle: entry.handle.to_ascii_lowercase().into(),
        name: text(entry.display_name).and_then(name),
        avatar: text(entry.avatar).and_then(avatar),
    };
    Some((did, profile))
}

/// A display name, truncated to the length that a profile record allows; `None` if it is blank.
fn name(text: String) -> Option<Box<str>> {
    let end = text.floor_char_boundary(NAME_BYTES_MAX);
    let text = text[..end].trim();
    (!text.is_empty()).then(|| text.into())
}

/// The URL of an avatar, if a page may load it.
fn avatar(text: String) -> Option<Box<str>> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let fits = plain && text.len() <= AVATAR_BYTES_MAX && text.starts_with("https://");
    fits.then(|| text.into())
}

async fn body(response: Response) -> Result<Vec<u8>, SourceError> {
    read_body(response, BODY_BYTES_MAX).await.map_err(failed)
}

/// The earliest time of the next request: the later one of `Retry-After`, in seconds or as a date
/// (<https://www.rfc-editor.org/rfc/rfc9110#field.retry-after>), and `ratelimit-reset`, in seconds
/// since 1970. At most a day after `now`; `None` if there is neither.
pub fn retry_at(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
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
    let latest = Timestamp(now.0 + PAUSE_MS_MAX);
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
