//! `/v1/admin/keys`: the keys of the API without their secrets, for operators who have no shell on
//! the server. `skytide keys` does the same and adds keys.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skytide_core::port::key::{KeyId, Scope, StoredKey};
use skytide_core::time::Timestamp;

use crate::access::Access;
use crate::catalogue::{ADMIN_KEY, ADMIN_KEYS};
use crate::params::{Params, decode_path};
use crate::problem::Problem;
use crate::state::ApiContext;

/// The keys, as JSON.
#[derive(Serialize)]
struct Keys {
    /// The time by this machine's clock.
    now: String,
    keys: Vec<Key>,
}

/// A key without its hash.
#[derive(Serialize)]
struct Key {
    id: String,
    label: String,
    scopes: Vec<Scope>,
    /// `null`: the admin key, which is only a file.
    created: Option<String>,
    expires: Option<String>,
    rate: Option<u32>,
    burst: Option<u32>,
    revoked: Option<String>,
    last_used: Option<String>,
    /// Whether it is neither revoked nor expired.
    valid: bool,
}

impl Key {
    fn new(key: StoredKey, now: Timestamp) -> Self {
        Self {
            valid: key.is_valid_at(now),
            id: key.id.into(),
            label: key.label,
            scopes: key.scopes,
            created: key.created.known().map(Timestamp::rfc3339),
            expires: key.expires.map(Timestamp::rfc3339),
            rate: key.rate,
            burst: key.burst,
            revoked: key.revoked.map(Timestamp::rfc3339),
            last_used: key.last_used.map(Timestamp::rfc3339),
        }
    }
}

/// `GET /v1/admin/keys`
pub(crate) async fn list(
    State(context): State<ApiContext>,
    State(access): State<Access>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &ADMIN_KEYS)?;
    let now = context.clock.now();
    let keys = access.keys().all().await?;
    let answer = Keys {
        now: now.rfc3339(),
        keys: keys.into_iter().map(|key| Key::new(key, now)).collect(),
    };
    Ok(not_stored(answer))
}

/// `DELETE /v1/admin/keys/{id}`
pub(crate) async fn revoke(
    State(context): State<ApiContext>,
    State(access): State<Access>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &ADMIN_KEY)?;
    let text = decode_path(path)?;
    let id = text.parse::<KeyId>();
    let id = id.map_err(|why| Problem::parameter("id", &text, why.to_string()))?;
    if id.as_str() == KeyId::ADMIN {
        let detail = "the admin key is in STORE_DIR/admin.key: remove that file, and the next \
                      start writes a new key";
        return Err(Problem::parameter("id", &text, detail));
    }
    let now = context.clock.now();
    let before = access.keys().revoke(&id, now).await?;
    let before = before.ok_or_else(|| Problem::not_found(format!("there is no key {id}")))?;
    // This process refuses the key from now on. The others see the change within seconds.
    access.refresh_once().await;
    let key = StoredKey {
        revoked: before.revoked.or(Some(now)),
        ..before
    };
    Ok(not_stored(Key::new(key, now)))
}

fn not_stored(answer: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}
