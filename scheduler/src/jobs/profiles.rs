//! `profiles`: fetches and stores the profiles of the accounts in current lists, and on demand
//! those of accounts in other answers.
//!
//! ```text
//! listed accounts ─ stream's and stored profile ─┬─ hidden ──▶ remove the stored profile
//!                                                ├─ fresh ───▶ nothing
//!                                                └─ pending ─▶ 25 per request ─▶ store
//! ```
//!
//! - Pending are, in this order: accounts that were never fetched or whose handle, name or picture
//!   in the stream has changed since, then accounts whose stored profile is too old.
//! - The number of requests of a run is bounded, and that of a minute ([`budget`]). When the source
//!   fails or limits the rate, the run ends. The next run retries, but not before the time that the
//!   source named, or, after failures, a pause that doubles with each failure. The pause is stored.
//! - A request that the source refuses is repeated in halves, until the account that it refuses is
//!   found.

use std::sync::Arc;

use async_trait::async_trait;
use skytide_core::port::BoxError;

use crate::job::{Job, ProfilesReport, Report};
use budget::Purpose;
use calls::PendingProfile;
use fetcher::{CallLimit, Origin};

mod budget;
mod calls;
mod fetcher;
mod listed;
mod on_demand;

pub use fetcher::{ProfileFetcher, ProfileLimits};
pub use on_demand::OnDemandProfiles;

/// The job that fetches profiles.
pub struct FetchProfiles {
    fetcher: Arc<ProfileFetcher>,
}

impl FetchProfiles {
    /// A job that fetches the profiles of listed accounts with `fetcher`.
    pub fn new(fetcher: Arc<ProfileFetcher>) -> Self {
        Self { fetcher }
    }

    /// The accounts to fetch, in this order. Removes the stored profiles of hidden accounts.
    async fn pending(&self, report: &mut ProfilesReport) -> Result<Vec<PendingProfile>, BoxError> {
        let listed = listed::accounts(&*self.fetcher.reader).await?;
        report.listed = listed.len();
        let mut accounts = self.fetcher.classify(&listed, Origin::Lists).await?;
        report.hidden = accounts.hidden;
        accounts.changed.append(&mut accounts.old);
        Ok(accounts.changed)
    }
}

#[async_trait]
impl Job for FetchProfiles {
    fn name(&self) -> &'static str {
        "profiles"
    }

    fn uses_foreign_servers(&self) -> bool {
        true
    }

    async fn run(&self) -> Result<Report, BoxError> {
        if self.fetcher.paused_until().await?.is_some() {
            return Ok(Report::Nothing(
                "requests to the source of profiles are paused",
            ));
        }
        let mut report = ProfilesReport::default();
        let pending = self.pending(&mut report).await?;
        if pending.is_empty() && report.hidden == 0 {
            return Ok(Report::Nothing("all profiles are fresh"));
        }
        let left = self.fetcher.limit(Purpose::Job);
        let limit = CallLimit {
            calls_max: left.calls_max.min(self.fetcher.limits.calls_max),
            ..left
        };
        self.fetcher.fetch(&pending, limit, &mut report).await?;
        Ok(Report::Profiles(report))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_on_demand;
