//! Profiles: how an account shows itself, as a server of the network tells it. The scheduler fetches and keeps them,
//! the API shows them.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::id::Did;
use crate::limits::stored;
use crate::time::Timestamp;
use crate::view::AccountRow;

/// Where fetched profiles are kept, one an account.
#[async_trait]
pub trait ProfileStore: Send + Sync {
    /// What is kept of `dids`, in the same order; `None` where nothing is.
    async fn get(&self, dids: &[Did]) -> Result<Vec<Option<StoredProfile>>, ProfileError>;

    /// Keeps these, each in place of what was kept of its account; of one account the last one counts. A crash may
    /// take back the newest of them, but leaves no half of one.
    async fn put(&self, profiles: &[StoredProfile]) -> Result<(), ProfileError>;

    /// Removes those that were fetched before `time`, the oldest first (equal ones in any order), at most `limit`;
    /// answers how many.
    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, ProfileError>;

    /// Removes what is kept of `dids`; what is not there is no error.
    async fn remove(&self, dids: &[Did]) -> Result<(), ProfileError>;
}

/// Who can be asked for profiles.
#[async_trait]
pub trait ProfileSource: Send + Sync {
    /// Asks once for at most [`PROFILES_A_CALL`] accounts. Accounts that the source does not know are left out of the
    /// answer; their order is the source's own.
    async fn fetch(&self, dids: &[Did]) -> Result<FetchedProfiles, SourceError>;
}

/// Accounts of one call, at most
/// (<https://docs.bsky.app/docs/api/app-bsky-actor-get-profiles>).
pub const PROFILES_A_CALL: usize = 25;

/// How an account shows itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Profile {
    /// Its handle, which the source has checked.
    pub handle: Box<str>,
    /// Its display name; `None`: it has none.
    #[serde(default, deserialize_with = "stored::name")]
    pub name: Option<Box<str>>,
    /// Address of its picture, `https`; `None`: it has none.
    pub avatar: Option<Box<str>>,
}

/// What is kept of an account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredProfile {
    /// The account.
    pub did: Did,
    /// When the source was asked, by the scheduler's clock.
    pub fetched: Timestamp,
    /// What the stream had told of the account before the source was asked: news since then make it stale.
    pub stream: StreamProfile,
    /// `None`: the source does not know the account.
    pub profile: Option<Profile>,
}

/// What the stream tells of an account that shows in its profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamProfile {
    /// The newest handle that an `#identity` named.
    pub handle: Option<Box<str>>,
    /// Of the live profile record.
    #[serde(default, deserialize_with = "stored::name")]
    pub display_name: Option<Box<str>>,
    /// Likewise: the CID of the picture.
    pub avatar: Option<Box<str>>,
}

impl StreamProfile {
    /// What a row of the view `accounts` tells; `None`: there is no row.
    pub fn of(row: Option<&AccountRow>) -> Self {
        row.map_or_else(Self::default, |row| Self {
            handle: row.handle.clone(),
            display_name: row.display_name.clone(),
            avatar: row.avatar.clone(),
        })
    }
}

/// What a source answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchedProfiles {
    /// The accounts it knows, each at most once.
    pub profiles: Vec<(Did, Profile)>,
    /// Entries that the answer held beside them and that are not usable. Their accounts count as unknown to the source, so they
    /// are asked for again as late as those.
    pub malformed: usize,
    /// It takes no further call before this moment; `None`: it takes one now.
    pub not_before: Option<Timestamp>,
}

/// Why a source answered nothing.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It was asked too often: not before this moment again.
    #[error("the source of profiles was asked too often, it answers again at {}", .not_before.rfc3339())]
    RateLimited {
        /// By the clock of this machine.
        not_before: Timestamp,
    },
    /// It does not take this question, and never will: asking for the same accounts again is in vain.
    #[error("the source of profiles refused the question: {0}")]
    Refused(String),
    /// It could not be asked, or its answer is not usable: ask again later.
    #[error("profiles could not be fetched")]
    Failed(#[source] BoxError),
}

/// Why profiles were not kept or read.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// What is kept is not what was written: a person must look, or the profiles be thrown away.
    #[error("the kept profiles are damaged: {0}")]
    Damaged(String),
    /// The operation failed; it may be repeated.
    #[error("the profile store could not {operation}")]
    Failed {
        /// What was tried, as `write`.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
}
