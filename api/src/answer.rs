//! An answer: rows of one commit, with the epoch they belong to, or a word that they are not of one.
//!
//! ```text
//! control ─▶ rows ─▶ control: the same commit, and no row newer than it?  ─ yes ─▶ answer
//!    ▲                                                                     ─ no ──▶ pause, again, at most 8 times
//! ```
//!
//! A store may show a commit in progress (MongoDB does). Its rows carry a newer epoch, which tells; a row that it
//! removes leaves nothing, so a missing row is suspicious while a commit is in progress, unless commits are atomic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use skytide_core::id::{Did, Epoch};
use skytide_core::port::profile::{ProfileStore, StoredProfile};
use skytide_core::port::store::{Committed, Range, ViewReader};
use skytide_core::view::{Key, StoredRow, ViewId, ViewKey, decode_row};

use crate::problem::Problem;
use crate::state::ApiState;
use crate::velocity::Coverage;

const REREADS_MAX: u32 = 8;
const REREAD_PAUSE: Duration = Duration::from_millis(5);

/// What a route reads, once its parameters are parsed.
pub(crate) trait Query: Send + Sync {
    /// What it answers.
    type Data: Serialize + Send;

    /// Reads it from the rows of one commit.
    fn read(&self, rows: &Rows<'_>) -> impl Future<Output = Result<Self::Data, Problem>> + Send;
}

/// What every answer says of itself.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Meta {
    pub(crate) epoch: Epoch,
    as_of: String,
    freshness_ms: u64,
    since: String,
    consistent: bool,
}

#[derive(Serialize)]
pub(crate) struct Answer<D> {
    #[serde(flatten)]
    pub(crate) meta: Meta,
    #[serde(flatten)]
    pub(crate) data: D,
}

/// Answers a query as JSON; 304 if the client has the answer of this commit, by the weak comparison of
/// <https://www.rfc-editor.org/rfc/rfc9110#name-if-none-match>.
pub(crate) async fn answer<Q: Query>(
    state: &ApiState,
    headers: &HeaderMap,
    query: Q,
) -> Result<Response, Problem> {
    let (_, committed) = state.committed().await?;
    let any = is_any(headers);
    let is_known = |committed: &Committed| any || names_tag(headers, &etag(committed));
    if !any && is_known(&committed) {
        return Ok(not_modified(&committed));
    }
    let (committed, answer) = consistent(state, &query).await?;
    if answer.meta.consistent && is_known(&committed) {
        // `*` is every answer that there is: not one of an account that nobody knows.
        Ok(not_modified(&committed))
    } else if answer.meta.consistent {
        Ok((cache_headers(&committed), Json(answer)).into_response())
    } else {
        Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
    }
}

/// Reads until everything is of one commit, or the bound is hit.
pub(crate) async fn consistent<Q: Query>(
    state: &ApiState,
    query: &Q,
) -> Result<(Committed, Answer<Q::Data>), Problem> {
    let mut rereads = 0;
    loop {
        let (before, committed) = state.committed().await?;
        let rows = Rows::new(state, &committed);
        let data = query.read(&rows).await;
        let (after, newest) = state.committed().await?;

        let in_progress = before.intent.is_some() || after.intent.is_some();
        let whole = committed.epoch == newest.epoch
            && committed.log_id == newest.log_id
            && committed.tick_hash == newest.tick_hash
            && !rows.newer.load(Ordering::Relaxed)
            && (state.commits_atomic || !in_progress || !rows.missing.load(Ordering::Relaxed));
        if whole || rereads == REREADS_MAX {
            let meta = Meta::new(state, &newest, whole);
            return Ok((newest, Answer { meta, data: data? }));
        }
        rereads += 1;
        state.metrics.rereads.inc();
        tokio::time::sleep(REREAD_PAUSE).await;
    }
}

impl Meta {
    pub(crate) fn new(state: &ApiState, committed: &Committed, consistent: bool) -> Self {
        Self {
            epoch: committed.epoch,
            as_of: committed.time.rfc3339(),
            freshness_ms: state.clock.now().0.saturating_sub(committed.time.0),
            since: committed.since.rfc3339(),
            consistent,
        }
    }
}

/// Whether `If-None-Match` is `*`: the client has an answer, whichever it is.
fn is_any(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH);
    values
        .iter()
        .any(|value| value.as_bytes().trim_ascii() == b"*")
}

/// Whether `If-None-Match` lists this entity tag, by the weak comparison. A value stops counting where
/// it is malformed: the bytes are a client's.
fn names_tag(headers: &HeaderMap, tag: &str) -> bool {
    let wanted = tag.trim_start_matches("W/").trim_matches('"').as_bytes();
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    values.into_iter().any(|value| {
        let mut rest = value.as_bytes();
        loop {
            rest = match rest {
                [b' ' | b'\t' | b',', tail @ ..] => tail,
                [b'W', b'/', b'"', tail @ ..] | [b'"', tail @ ..] => {
                    let Some(end) = tail.iter().position(|byte| *byte == b'"') else {
                        return false;
                    };
                    if &tail[..end] == wanted {
                        return true;
                    }
                    &tail[end + 1..]
                }
                _ => return false,
            };
        }
    })
}

fn not_modified(committed: &Committed) -> Response {
    (StatusCode::NOT_MODIFIED, cache_headers(committed)).into_response()
}

/// Weak, as `freshness_ms` differs between answers of the same commit. The tick's hash distinguishes
/// two epochs of one number: the log may have lost the first and then reached the number again.
fn etag(committed: &Committed) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let history = committed.tick_hash.unwrap_or(committed.log_id);
    format!("W/\"{version}-{history:x}-{}\"", committed.epoch)
}

fn cache_headers(committed: &Committed) -> [(header::HeaderName, HeaderValue); 2] {
    let tag = HeaderValue::try_from(etag(committed)).expect("digits, letters and dashes");
    let revalidate = HeaderValue::from_static("no-cache");
    [(header::ETAG, tag), (header::CACHE_CONTROL, revalidate)]
}

/// Typed rows, which watch whether they are all of one commit.
pub(crate) struct Rows<'a> {
    reader: &'a dyn ViewReader,
    kept: &'a dyn ProfileStore,
    pub(crate) committed: &'a Committed,
    newer: AtomicBool,
    missing: AtomicBool,
}

impl<'a> Rows<'a> {
    pub(crate) fn new(state: &'a ApiState, committed: &'a Committed) -> Self {
        Self {
            reader: &*state.reader,
            kept: &*state.profiles,
            committed,
            newer: AtomicBool::new(false),
            missing: AtomicBool::new(false),
        }
    }

    /// The time that the commit covers.
    pub(crate) fn coverage(&self) -> Coverage {
        Coverage::from(self.committed)
    }

    /// The rows under `keys`, in the same order.
    pub(crate) async fn get<K: ViewKey + Sync, R: DeserializeOwned + Send>(
        &self,
        view: ViewId,
        keys: &[K],
    ) -> Result<Vec<Option<R>>, Problem> {
        let keys: Vec<Key> = keys.iter().map(Key::of).collect();
        let rows = self.reader.get(view, &keys).await?;
        rows.into_iter()
            .map(|row| row.map(|row| self.columns(&row)).transpose())
            .inspect(|row| {
                if matches!(row, Ok(None)) {
                    self.missing.store(true, Ordering::Relaxed);
                }
            })
            .collect()
    }

    /// The row under one key.
    pub(crate) async fn one<K: ViewKey + Sync, R: DeserializeOwned + Send>(
        &self,
        view: ViewId,
        key: K,
    ) -> Result<Option<R>, Problem> {
        Ok(self.get(view, &[key]).await?.pop().flatten())
    }

    /// Rows in the order of their keys. A row that is being removed cannot be seen, so every scan counts as one that
    /// may miss rows.
    pub(crate) async fn scan<K: ViewKey, R: DeserializeOwned>(
        &self,
        view: ViewId,
        range: Range,
    ) -> Result<Vec<(K, R)>, Problem> {
        self.missing.store(true, Ordering::Relaxed);
        let rows = self.reader.scan(view, range).await?;
        rows.iter()
            .map(|row| Ok((row.key.decode()?, self.columns(row)?)))
            .collect()
    }

    /// What is kept of the profiles of `dids`, in the same order; nothing if they cannot be read.
    pub(crate) async fn profiles(&self, dids: &[Did]) -> Vec<Option<StoredProfile>> {
        self.kept.get(dids).await.unwrap_or_else(|error| {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "profiles not readable");
            vec![None; dids.len()]
        })
    }

    fn columns<R: DeserializeOwned>(&self, row: &StoredRow) -> Result<R, Problem> {
        if row.epoch > self.committed.epoch {
            self.newer.store(true, Ordering::Relaxed);
        }
        Ok(decode_row(&row.row)?)
    }
}
