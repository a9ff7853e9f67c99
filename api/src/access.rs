//! Who may call which route: keys in the headers of a request, and a table of all keys in memory.
//!
//! ```text
//! headers ─▶ credentials ─▶ table: one per process, refreshed each second ─▶ Caller or Refusal
//! ```
//!
//! A check never reads the store, so an unknown key costs no more than a known one. If the table
//! could not be refreshed for [`TABLE_AGE_MAX`], requests with a key are refused: a key that was
//! revoked in the meantime must not work. For the same reason an open event stream asks again
//! ([`Access::still_allows`]).

mod table;

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use skytide_core::port::clock::Clock;
use skytide_core::port::key::{KeyParts, KeyStore, Scope};
use tokio_util::sync::CancellationToken;

use crate::limiter::KeyQuota;
use crate::problem::Problem;

pub(crate) use table::KeyEntry;
use table::{KeyTable, Outdated};

#[cfg(doc)]
use table::TABLE_AGE_MAX;

/// The header with a key; the other one is `Authorization: Bearer`.
pub(crate) const KEY_HEADER: &str = "x-api-key";

/// The sender of a request. The layer [`crate::guard`] adds it to the extensions of the request.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// The request has no key, and needs none.
    Anonymous,
    /// The request has a valid key with the scope that the route needs.
    Key(Arc<KeyEntry>),
}

/// Why a key does not allow a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request has no key, or an empty one.
    Missing,
    /// The key is malformed, unknown, expired or revoked. The client learns no more than that.
    Invalid,
    /// The key is valid and does not have this scope.
    Scope(Scope),
    /// The keys could not be read for a while.
    Unavailable,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self::key_required(),
            Refusal::Invalid => Self::invalid_key(),
            Refusal::Scope(scope) => Self::scope_missing(scope),
            Refusal::Unavailable => Self::unavailable(
                "keys_unavailable",
                "the keys cannot be read now, so no key can be checked; the log has the reason",
            ),
        }
    }
}

/// Checks keys. Clones share the table of keys.
#[derive(Clone)]
pub(crate) struct Access {
    table: Arc<KeyTable>,
    clock: Arc<dyn Clock>,
    anonymous: bool,
}

impl Access {
    /// Checks the keys of this store. `anonymous`: whether requests without a key may read.
    /// `quota`: the limit of a key that has no limit of its own.
    ///
    /// No key is valid until [`Access::refresh`] has read the store.
    pub(crate) fn new(
        keys: Arc<dyn KeyStore>,
        clock: Arc<dyn Clock>,
        anonymous: bool,
        quota: KeyQuota,
    ) -> Self {
        Self {
            table: Arc::new(KeyTable::new(keys, clock.clone(), quota)),
            clock,
            anonymous,
        }
    }

    /// The number of keys, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.table.size()
    }

    /// The store of the keys.
    pub(crate) fn keys(&self) -> &dyn KeyStore {
        self.table.store()
    }

    /// Whether requests without a key may use the routes that read and stream.
    pub(crate) fn allows_anonymous(&self) -> bool {
        self.anonymous
    }

    /// Checks that the header [`KEY_HEADER`] has a valid key with this scope. No other header counts,
    /// and `API_ANONYMOUS` does not matter: for routes that check the key themselves
    /// (`RouteAccess::Own`).
    ///
    /// # Errors
    /// Why the request must be refused.
    pub(crate) fn check_own(
        &self,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<Arc<KeyEntry>, Refusal> {
        let text = one_key(own_keys(headers))?;
        let key = self.find(text)?.ok_or(Refusal::Missing)?;
        match key.stored.allows(scope) {
            true => Ok(key),
            false => Err(Refusal::Scope(scope)),
        }
    }

    /// The valid key of a request, in one of the two headers; `None` if the request has no key.
    ///
    /// # Errors
    /// `Invalid`, `Unavailable`.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Option<Arc<KeyEntry>>, Refusal> {
        self.find(credentials(headers)?)
    }

    /// Whether a request that was accepted would be accepted now: for answers that take long.
    pub(crate) fn still_allows(&self, caller: &Caller, scope: Scope) -> bool {
        let Caller::Key(before) = caller else {
            return true;
        };
        let now = self.clock.now();
        let key = self.table.get(before.stored.id.as_str(), now);
        key.is_ok_and(|key| {
            key.is_some_and(|key| {
                let stored = &key.stored;
                stored.hash.matches(&before.stored.hash)
                    && stored.is_valid_at(now)
                    && stored.allows(scope)
            })
        })
    }

    /// Whether no request can be answered, because every one needs a key, and no key can be checked.
    pub(crate) fn refuses_all(&self) -> bool {
        !self.anonymous && self.table.is_outdated(self.clock.now())
    }

    /// The valid key with this text; `None` without a text.
    fn find(&self, text: Option<&str>) -> Result<Option<Arc<KeyEntry>>, Refusal> {
        let Some(text) = text else {
            return Ok(None);
        };
        let parts = KeyParts::parse(text).ok_or(Refusal::Invalid)?;
        let hash = parts.hash();
        let now = self.clock.now();
        let entry = self
            .table
            .get(parts.id, now)
            .map_err(|Outdated| Refusal::Unavailable)?;
        let entry = entry.ok_or(Refusal::Invalid)?;
        if !entry.stored.hash.matches(&hash) || !entry.stored.is_valid_at(now) {
            return Err(Refusal::Invalid);
        }
        entry.note_used(now);
        Ok(Some(entry))
    }

    /// Reads the store each second until `stop` is cancelled, and records when keys were last used.
    pub(crate) async fn refresh(&self, stop: CancellationToken) {
        self.table.refresh(stop).await;
    }

    /// Reads the store once.
    pub(crate) async fn refresh_once(&self) {
        self.table.refresh_once().await;
    }
}

/// The key in the headers of a request; `None` if there is none, or an empty one. `Authorization`
/// with another scheme than `Bearer` is not for us: it may be for a proxy.
fn credentials(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let bearer = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .filter_map(|value| bearer(value.as_bytes()))
        .map(|token| std::str::from_utf8(token).map_err(|_| Refusal::Invalid));
    one_key(own_keys(headers).chain(bearer))
}

/// The values of [`KEY_HEADER`].
fn own_keys(headers: &HeaderMap) -> impl Iterator<Item = Result<&str, Refusal>> {
    headers.get_all(KEY_HEADER).iter().map(|value| {
        let text = value.to_str().map_err(|_| Refusal::Invalid);
        text.map(str::trim)
    })
}

/// The one key among these texts; `None` if all are empty.
fn one_key<'a>(
    keys: impl Iterator<Item = Result<&'a str, Refusal>>,
) -> Result<Option<&'a str>, Refusal> {
    let mut found = None;
    for key in keys {
        let key = key?;
        if key.is_empty() {
            continue;
        }
        if found.is_some_and(|found| found != key) {
            return Err(Refusal::Invalid);
        }
        found = Some(key);
    }
    Ok(found)
}

/// The token of `Bearer TOKEN`; the scheme may have any case
/// (<https://www.rfc-editor.org/rfc/rfc9110#name-authentication-scheme>).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer";
    let value = value.trim_ascii();
    let (scheme, token) = value.split_at_checked(SCHEME.len())?;
    let is_separated = token.first().is_none_or(|byte| *byte == b' ');
    (scheme.eq_ignore_ascii_case(SCHEME) && is_separated).then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests;
