//! Profiles on demand: fetches the profiles that the API requested for accounts in its answers.
//!
//! ```text
//! API ─ request ─▶ profile store ─ take, each second ─▶ fetcher (shared with the job) ─▶ store
//! ```

use std::sync::Arc;
use std::time::Duration;

use skytide_core::port::BoxError;
use skytide_core::port::profile::PROFILES_PER_REQUEST;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::budget::Purpose;
use super::fetcher::{Origin, ProfileFetcher};
use crate::job::ProfilesReport;

/// How often requests are looked for.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Fetches requested profiles.
pub struct OnDemandProfiles {
    fetcher: Arc<ProfileFetcher>,
}

impl OnDemandProfiles {
    /// Fetches with the pause and the budget of `fetcher`.
    pub fn new(fetcher: Arc<ProfileFetcher>) -> Self {
        Self { fetcher }
    }

    /// Fetches requested profiles until `stop` is cancelled. Failures are logged.
    ///
    /// # Errors
    /// None: the result has the form that a supervisor of services expects.
    pub async fn run(self, stop: CancellationToken) -> Result<(), BoxError> {
        let mut failed = false;
        loop {
            let waited = stop.run_until_cancelled(sleep(POLL_INTERVAL)).await;
            if waited.is_none() {
                return Ok(());
            }
            let fetched = stop.run_until_cancelled(self.fetch_requested()).await;
            match fetched {
                None => return Ok(()),
                Some(Ok(_)) => failed = false,
                // One line for each period of failures, not for each second.
                Some(Err(_)) if failed => {}
                Some(Err(error)) => {
                    let error = &*error as &(dyn std::error::Error + 'static);
                    tracing::warn!(error, "could not fetch requested profiles");
                    failed = true;
                }
            }
        }
    }

    /// Fetches the profiles that are requested now, within the budget. Requests that are not
    /// answered wait further, also after a failure.
    ///
    /// # Errors
    /// The source failed, or a store cannot be read or written.
    pub async fn fetch_requested(&self) -> Result<ProfilesReport, BoxError> {
        let mut report = ProfilesReport::default();
        let fetcher = &*self.fetcher;
        let limit = fetcher.limit(Purpose::OnDemand);
        if limit.calls_max == 0 || fetcher.paused_until().await?.is_some() {
            return Ok(report);
        }
        let accounts_max = limit.calls_max.saturating_mul(PROFILES_PER_REQUEST);
        let requested = fetcher.store.take_requests(accounts_max).await?;
        report.listed = requested.len();
        let fetched = match fetcher.classify(&requested, Origin::Requests).await {
            Ok(mut accounts) => {
                report.hidden = accounts.hidden;
                accounts.changed.append(&mut accounts.old);
                let fetched = fetcher.fetch(&accounts.changed, limit, &mut report).await;
                fetched.map_err(|mut error| (std::mem::take(&mut error.unanswered), error.into()))
            }
            Err(error) => Err((requested, error)),
        };
        let (waiting, failure) = match fetched {
            Ok(unsent) => (unsent, None),
            Err((unanswered, error)) => (unanswered, Some(error)),
        };
        let accepted = fetcher.store.request(&waiting, fetcher.clock.now()).await;
        match failure {
            Some(error) => Err(error),
            None => {
                accepted?;
                Ok(report)
            }
        }
    }
}
