//! Profiles: the handle, display name and picture of an account, as a server of the network returns
//! them. The scheduler fetches and stores profiles; the API shows them.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::id::{Did, Handle};
use crate::limits::stored;
use crate::time::Timestamp;
use crate::view::AccountRow;

/// A store of fetched profiles, one per account.
#[async_trait]
pub trait ProfileStore: Send + Sync {
    /// The stored profiles of `dids`, in the same order; `None` for an account without a stored
    /// profile.
    async fn get(&self, dids: &[Did]) -> Result<Vec<Option<StoredProfile>>, ProfileError>;

    /// Stores profiles. Each replaces the stored profile of its account; if `profiles` contains
    /// several of one account, the last one is stored. A crash may undo the most recent writes, but
    /// never leaves a partially written profile.
    async fn put(&self, profiles: &[StoredProfile]) -> Result<(), ProfileError>;

    /// Removes at most `limit` profiles that were fetched before `time`, oldest first. Profiles
    /// that were fetched at the same time are removed in any order. Returns how many were removed.
    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, ProfileError>;

    /// Removes the profiles of `dids`. An account without a stored profile is not an error.
    async fn remove(&self, dids: &[Did]) -> Result<(), ProfileError>;

    /// The stored profiles whose fetched handle is `handle` in any ASCII case, newest fetch first,
    /// at most [`SAME_HANDLE_MAX`]. None for `handle.invalid`, which names nobody.
    async fn by_handle(&self, handle: &str) -> Result<Vec<StoredProfile>, ProfileError>;

    /// Requests that the profiles of `dids` be fetched. Each account waits once, and at most
    /// [`REQUESTS_MAX`] accounts wait; those beyond it are not added. Returns how many of `dids`
    /// wait afterwards. A store may drop requests that wait for more than ten minutes after `now`,
    /// and all of them when its process ends.
    async fn request(&self, dids: &[Did], now: Timestamp) -> Result<usize, ProfileError>;

    /// Removes at most `limit` requests, oldest first, and returns their accounts. Two callers at
    /// the same time may get the same request.
    async fn take_requests(&self, limit: usize) -> Result<Vec<Did>, ProfileError>;

    /// The stored pause in requests to a server; the default if none was stored.
    async fn pause(&self, of: PausedServer) -> Result<SourcePause, ProfileError>;

    /// Replaces the stored pause of a server. It survives a restart of the process.
    async fn set_pause(&self, of: PausedServer, pause: &SourcePause) -> Result<(), ProfileError>;
}

/// Maximum number of accounts that wait for their profile.
pub const REQUESTS_MAX: usize = 10_000;
/// Maximum number of stored profiles with one handle that are returned.
pub const SAME_HANDLE_MAX: usize = 16;

/// A server of the network that may demand a pause in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PausedServer {
    /// The source of profiles.
    Profiles,
    /// The resolver of handles (`API_RESOLVER_URL`).
    Resolver,
    /// The directory of `did:plc` (`API_PLC_URL`).
    Plc,
}

impl PausedServer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Profiles, Self::Resolver, Self::Plc];

    /// The name under which stores keep its pause.
    pub const fn stored_name(self) -> &'static str {
        match self {
            Self::Profiles => "pause",
            Self::Resolver => "pause_resolver",
            Self::Plc => "pause_plc",
        }
    }
}

/// A pause in requests to a server, after failures or a rate limit. It is stored, so that a restart
/// and other processes respect it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePause {
    /// No request is sent before this time, by the clock of the machine that sends requests.
    pub not_before: Timestamp,
    /// Number of failures since the last answer.
    pub failures_in_a_row: u32,
}

/// A server from which profiles are fetched.
#[async_trait]
pub trait ProfileSource: Send + Sync {
    /// Fetches the profiles of at most [`PROFILES_PER_REQUEST`] accounts in one request. The answer
    /// omits accounts that the source does not know, and its order is arbitrary.
    async fn fetch(&self, dids: &[Did]) -> Result<FetchedProfiles, SourceError>;
}

/// Maximum number of accounts in one request
/// (<https://docs.bsky.app/docs/api/app-bsky-actor-get-profiles>).
pub const PROFILES_PER_REQUEST: usize = 25;

/// Maximum length of the DID of a requested account, in bytes: `did:web:` with the longest host
/// name. The protocol allows 2,048 bytes (<https://atproto.com/specs/did>), but uses no such DIDs.
pub const REQUESTED_DID_BYTES_MAX: usize = 261;

/// Whether the profile of an account is requested: its DID has a method that the network uses
/// (<https://atproto.com/specs/did#blessed-did-methods>), and is not too long.
pub fn is_requestable(did: &Did) -> bool {
    let is_web = |did: &str| did.starts_with("did:web:") && did.len() <= REQUESTED_DID_BYTES_MAX;
    did.as_plc().is_some() || did.with_str(is_web)
}

/// The profile of an account, as the source returned it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Profile {
    /// The handle, verified by the source.
    pub handle: Box<str>,
    /// The display name; `None` if the account has none.
    #[serde(default, deserialize_with = "stored::name")]
    pub name: Option<Box<str>>,
    /// URL of the picture, `https`; `None` if the account has none.
    pub avatar: Option<Box<str>>,
}

/// A fetched profile as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredProfile {
    /// The account.
    pub did: Did,
    /// When the source was queried, by the scheduler's clock.
    pub fetched: Timestamp,
    /// The account's profile in the stream at the time of the request. The stored profile is stale
    /// as soon as the stream reports a different one.
    pub stream: StreamProfile,
    /// The profile; `None` if the source does not know the account.
    pub profile: Option<Profile>,
}

/// The parts of a profile that the stream reports. They are compared only to detect that a stored
/// profile is stale. The profile that is shown comes from the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamProfile {
    /// The newest handle that an `#identity` event contained.
    pub handle: Option<Box<str>>,
    /// The display name in the profile record; `None` if there is none.
    #[serde(default, deserialize_with = "stored::name")]
    pub display_name: Option<Box<str>>,
    /// The CID of the picture in the profile record; `None` if there is none.
    pub avatar: Option<Box<str>>,
}

impl StoredProfile {
    /// Whether the fetched handle is `handle`, by ASCII case rules, and names an account.
    pub fn has_handle(&self, handle: &str) -> bool {
        let fetched = self.profile.as_ref().map(|profile| &*profile.handle);
        fetched.is_some_and(|it| it.eq_ignore_ascii_case(handle)) && !Handle::is_invalid(handle)
    }

    /// Time between the fetch and `now`. The clock may have been set back since the fetch.
    pub fn age_ms(&self, now: Timestamp) -> u64 {
        now.0.abs_diff(self.fetched.0)
    }

    /// Whether the profile is too old to be shown without a new fetch.
    pub fn is_old(&self, now: Timestamp, ages: &ProfileAges) -> bool {
        let age_max = match self.profile {
            Some(_) => ages.age_max,
            None => ages.unknown_age_max,
        };
        u128::from(self.age_ms(now)) >= age_max.as_millis()
    }
}

/// The ages at which stored profiles are fetched again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileAges {
    /// The age at which a profile is fetched again.
    pub age_max: Duration,
    /// The time after which an account that the source did not know is requested again.
    pub unknown_age_max: Duration,
}

impl StreamProfile {
    /// The profile in a row of the view `accounts`; the default if the account has no row.
    pub fn of(row: Option<&AccountRow>) -> Self {
        row.map_or_else(Self::default, |row| Self {
            handle: row.handle.clone(),
            display_name: row.display_name.clone(),
            avatar: row.avatar.clone(),
        })
    }
}

/// The answer of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedProfiles {
    /// The accounts that the source knows, each at most once.
    pub profiles: Vec<(Did, Profile)>,
    /// Number of malformed entries in the answer. Their accounts are treated as unknown to the
    /// source, so they are requested again after the same delay as unknown accounts.
    pub malformed: usize,
    /// The source accepts no further request before this time; `None` if it accepts one now.
    pub not_before: Option<Timestamp>,
}

/// Why a source returned no answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source rejected the request because of too many requests. The caller must not send
    /// another one before `not_before`.
    #[error("the profile source accepts no requests before {} (rate limit)", .not_before.rfc3339())]
    RateLimited {
        /// The end of the rate limit, by the clock of this machine.
        not_before: Timestamp,
    },
    /// The source rejected this request permanently. Requesting the same accounts again would fail
    /// again.
    #[error("the profile source rejected the request: {0}")]
    Refused(String),
    /// The source could not be reached, or its answer is malformed. The caller may retry later.
    #[error("could not fetch profiles")]
    Failed(#[source] BoxError),
}

/// Why profiles were not stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The stored bytes are not the ones that were written. An operator must investigate, or delete
    /// the stored profiles.
    #[error("the stored profiles are damaged: {0}")]
    Damaged(String),
    /// The operation failed. The caller may retry.
    #[error("the profile store could not {operation}")]
    Failed {
        /// The operation, for example `write`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_of_accounts_with_other_methods_or_long_names_are_not_requested() {
        let web = |bytes: usize| format!("did:web:{}", "a".repeat(bytes - 8));
        let cases = [
            ("did:plc:3ir4kq33qnjyzawsel2s2vak".to_owned(), true),
            ("did:plc:short".to_owned(), false),
            (
                "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1Z".to_owned(),
                false,
            ),
            (web(REQUESTED_DID_BYTES_MAX), true),
            (web(REQUESTED_DID_BYTES_MAX + 1), false),
        ];
        for (text, expected) in cases {
            assert_eq!(is_requestable(&text.parse().unwrap()), expected, "{text}");
        }
    }
}
