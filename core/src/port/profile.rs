//! Profiles: the handle, display name and picture of an account, as a server of the network returns
//! them. The scheduler fetches and stores profiles; the API shows them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::id::Did;
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
