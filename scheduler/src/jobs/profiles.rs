//! `profiles`: fetches and stores the profiles of the accounts in current lists.
//!
//! ```text
//! listed accounts ─ stream's and stored profile ─┬─ hidden ──▶ remove the stored profile
//!                                                ├─ fresh ───▶ nothing
//!                                                └─ pending ─▶ 25 per request ─▶ store
//! ```
//!
//! - Pending are, in this order: accounts that were never fetched or whose handle, name or picture
//!   in the stream has changed since, then accounts whose stored profile is too old.
//! - The number of requests of a run is bounded. When the source fails or limits the rate, the run
//!   ends. The next run retries, but not before the time that the source named, or, after failures,
//!   a pause that doubles with each failure.
//! - A request that the source refuses is repeated in halves, until the account that it refuses is
//!   found.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::id::Did;
use skytide_core::port::BoxError;
use skytide_core::port::clock::Clock;
use skytide_core::port::profile::{
    FetchedProfiles, PROFILES_PER_REQUEST, ProfileSource, ProfileStore, SourceError, StoredProfile,
    StreamProfile,
};
use skytide_core::port::store::ViewReader;
use skytide_core::time::Timestamp;
use skytide_core::view::{AccountRow, Key, ViewId, decode_row};

use crate::job::{Job, ProfilesReport, Report};

mod listed;

/// Accounts per read of rows.
const PAGE_ACCOUNTS: usize = 500;
/// The pause after the first failure. It doubles with each further failure up to [`PAUSE_MS_MAX`].
const PAUSE_MS: u64 = 30_000;
const PAUSE_MS_MAX: u64 = 3_600_000;

/// The job that fetches profiles.
pub struct FetchProfiles {
    clock: Arc<dyn Clock>,
    reader: Arc<dyn ViewReader>,
    store: Arc<dyn ProfileStore>,
    source: Arc<dyn ProfileSource>,
    limits: ProfileLimits,
    pause: Mutex<SourcePause>,
}

/// How often profiles are fetched.
#[derive(Clone, Copy, Debug)]
pub struct ProfileLimits {
    /// The age at which a profile is fetched again.
    pub age_max: Duration,
    /// The time after which an account that the source did not know is requested again.
    pub unknown_age_max: Duration,
    /// Largest number of requests of a run.
    pub calls_max: usize,
}

/// A pause in requests to the source, after failures or a rate limit.
#[derive(Clone, Copy, Debug, Default)]
struct SourcePause {
    not_before: Timestamp,
    failures_in_a_row: u32,
}

/// An account to be fetched, with its profile in the stream at that time.
#[derive(Clone, Debug)]
struct PendingProfile {
    did: Did,
    stream: StreamProfile,
}

/// The failure that ended a run.
#[derive(Debug, thiserror::Error)]
#[error("the source failed after {fetched} profiles")]
struct Interrupted {
    fetched: usize,
    source: SourceError,
}

impl FetchProfiles {
    /// A job that reads lists from `reader`, queries `source`, and stores the answers in `store`.
    pub fn new(
        clock: Arc<dyn Clock>,
        reader: Arc<dyn ViewReader>,
        store: Arc<dyn ProfileStore>,
        source: Arc<dyn ProfileSource>,
        limits: ProfileLimits,
    ) -> Self {
        Self {
            clock,
            reader,
            store,
            source,
            limits,
            pause: Mutex::default(),
        }
    }

    fn pause(&self) -> MutexGuard<'_, SourcePause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The accounts to fetch, in this order. Removes the stored profiles of hidden accounts.
    async fn pending(&self, report: &mut ProfilesReport) -> Result<Vec<PendingProfile>, BoxError> {
        let listed = listed::accounts(&*self.reader).await?;
        report.listed = listed.len();
        let (mut changed, mut old) = (Vec::new(), Vec::new());
        for dids in listed.chunks(PAGE_ACCOUNTS) {
            // Stored profiles are read first, so that the rows of the stream are not older.
            let stored = self.store.get(dids).await?;
            let keys: Vec<Key> = dids.iter().map(Key::of).collect();
            let rows = self.reader.get(ViewId::Accounts, &keys).await?;
            let mut hidden = Vec::new();
            for ((did, stored), row) in dids.iter().zip(stored).zip(rows) {
                let row: Option<AccountRow> = row.map(|it| decode_row(&it.row)).transpose()?;
                if row.as_ref().is_some_and(|row| !row.active) {
                    hidden.extend(stored.map(|stored| stored.did));
                    continue;
                }
                let (did, stream) = (did.clone(), StreamProfile::of(row.as_ref()));
                match stored {
                    Some(stored) if stored.stream == stream => {
                        if self.is_old(&stored) {
                            old.push(PendingProfile { did, stream });
                        }
                    }
                    _ => changed.push(PendingProfile { did, stream }),
                }
            }
            self.store.remove(&hidden).await?;
            report.hidden += hidden.len();
        }
        changed.append(&mut old);
        Ok(changed)
    }

    fn is_old(&self, stored: &StoredProfile) -> bool {
        let age_max = match stored.profile {
            Some(_) => self.limits.age_max,
            None => self.limits.unknown_age_max,
        };
        // The clock may have been set back since the fetch.
        let age_ms = self.clock.now().0.abs_diff(stored.fetched.0);
        u128::from(age_ms) >= age_max.as_millis()
    }

    /// Sends requests until all accounts are answered, the limit of requests is reached, or the
    /// source requests a pause.
    async fn fetch(
        &self,
        pending: Vec<PendingProfile>,
        report: &mut ProfilesReport,
    ) -> Result<(), Interrupted> {
        report.left = pending.len();
        let calls = pending.chunks(PROFILES_PER_REQUEST).rev();
        let mut calls: Vec<&[PendingProfile]> = calls.collect();
        while report.calls < self.limits.calls_max
            && report.not_before.is_none()
            && let Some(call) = calls.pop()
        {
            report.calls += 1;
            let now = self.clock.now();
            let dids: Vec<Did> = call.iter().map(|it| it.did.clone()).collect();
            let answer = match self.source.fetch(&dids).await {
                Ok(answer) => answer,
                Err(SourceError::Refused(_)) if call.len() > 1 => {
                    let (first, second) = call.split_at(call.len() / 2);
                    calls.extend([second, first]);
                    continue;
                }
                Err(SourceError::Refused(_)) => FetchedProfiles::default(),
                Err(SourceError::RateLimited { not_before }) => {
                    report.not_before = Some(not_before);
                    return Ok(());
                }
                Err(source) => return Err(interrupted(report, source)),
            };
            report.not_before = answer.not_before;
            self.store_answer(call, answer, now, report).await?;
        }
        Ok(())
    }

    async fn store_answer(
        &self,
        call: &[PendingProfile],
        answer: FetchedProfiles,
        now: Timestamp,
        report: &mut ProfilesReport,
    ) -> Result<(), Interrupted> {
        let profile = |did: &Did| {
            let found = answer.profiles.iter().find(|(known, _)| known == did);
            found.map(|(_, profile)| profile.clone())
        };
        let stored: Vec<StoredProfile> = call
            .iter()
            .map(|PendingProfile { did, stream }| StoredProfile {
                did: did.clone(),
                fetched: now,
                stream: stream.clone(),
                profile: profile(did),
            })
            .collect();
        let put = self.store.put(&stored).await;
        put.map_err(|why| interrupted(report, SourceError::Failed(why.into())))?;
        let known = stored.iter().filter(|it| it.profile.is_some()).count();
        report.fetched += known;
        report.unknown += stored.len() - known;
        report.malformed += answer.malformed;
        report.left -= stored.len();
        Ok(())
    }

    /// Ends the pause after an answer, and starts one after a failure or a rate limit.
    fn update_pause(&self, result: &Result<(), Interrupted>, report: &ProfilesReport) {
        let mut pause = self.pause();
        let SourcePause {
            not_before,
            failures_in_a_row,
        } = &mut *pause;
        match result {
            Ok(()) => {
                *not_before = report.not_before.unwrap_or_default();
                *failures_in_a_row = 0;
            }
            Err(_) => {
                if report.fetched + report.unknown > 0 {
                    // The source answered before the failure, so this is the first failure.
                    *failures_in_a_row = 0;
                }
                let pause = PAUSE_MS << (*failures_in_a_row).min(10);
                *failures_in_a_row = failures_in_a_row.saturating_add(1);
                *not_before = Timestamp(self.clock.now().0 + pause.min(PAUSE_MS_MAX));
            }
        }
    }
}

fn interrupted(report: &ProfilesReport, source: SourceError) -> Interrupted {
    Interrupted {
        fetched: report.fetched,
        source,
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
        let now = self.clock.now();
        if now < self.pause().not_before {
            return Ok(Report::Nothing(
                "requests to the source of profiles are paused",
            ));
        }
        let mut report = ProfilesReport::default();
        let pending = self.pending(&mut report).await?;
        if pending.is_empty() && report.hidden == 0 {
            return Ok(Report::Nothing("all profiles are fresh"));
        }
        if !pending.is_empty() {
            let fetched = self.fetch(pending, &mut report).await;
            self.update_pause(&fetched, &report);
            fetched?;
        }
        Ok(Report::Profiles(report))
    }
}

#[cfg(test)]
mod tests;
