//! Fetches profiles, for the job and on demand, with one pause and one budget of requests.
//!
//! ```text
//! accounts ─ stream's and stored profile ─┬─ hidden ──▶ remove the stored profile
//!                                         ├─ fresh ───▶ nothing
//!                                         └─ pending ─▶ 25 per request ─▶ store
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skytide_core::id::Did;
use skytide_core::port::BoxError;
use skytide_core::port::clock::Clock;
use skytide_core::port::profile::{
    FetchedProfiles, PROFILES_PER_REQUEST, ProfileAges, ProfileSource, ProfileStore, SourceError,
    SourcePause, StoredProfile, StreamProfile,
};
use skytide_core::port::store::ViewReader;
use skytide_core::time::Timestamp;
use skytide_core::view::{AccountRow, Key, ViewId, decode_row};

use super::budget::CallBudget;
use crate::job::ProfilesReport;

/// Accounts per read of rows.
const PAGE_ACCOUNTS: usize = 500;
/// The pause after the first failure. It doubles with each further failure up to [`PAUSE_MS_MAX`].
const PAUSE_MS: u64 = 30_000;
const PAUSE_MS_MAX: u64 = 3_600_000;

/// Fetches profiles from one source into one store.
pub struct ProfileFetcher {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) reader: Arc<dyn ViewReader>,
    pub(super) store: Arc<dyn ProfileStore>,
    source: Arc<dyn ProfileSource>,
    pub(super) limits: ProfileLimits,
    budget: Mutex<CallBudget>,
    /// The newest pause that this process knows. The store may fail to hold it.
    pause: Mutex<SourcePause>,
    /// Held during a request, so that a pause that its answer demands applies to the next one.
    calling: tokio::sync::Mutex<()>,
}

/// How often profiles are fetched.
#[derive(Clone, Copy, Debug)]
pub struct ProfileLimits {
    /// The ages at which profiles are fetched again.
    pub ages: ProfileAges,
    /// Largest number of requests of a run of the job. Twice as many a minute are sent by the job
    /// and on demand together.
    pub calls_max: usize,
}

/// An account to be fetched, with its profile in the stream at that time.
#[derive(Clone, Debug)]
pub(super) struct PendingProfile {
    pub(super) did: Did,
    stream: StreamProfile,
}

/// Accounts by what is to be done with their profiles.
#[derive(Debug, Default)]
pub(super) struct Classified {
    /// Accounts that were never fetched or that changed in the stream since.
    pub(super) changed: Vec<PendingProfile>,
    /// Accounts whose stored profile is too old.
    pub(super) old: Vec<PendingProfile>,
    /// Number of hidden accounts whose stored profile was removed.
    pub(super) hidden: usize,
}

/// The failure that ended a sequence of requests.
#[derive(Debug, thiserror::Error)]
#[error("the source failed after {fetched} profiles")]
pub(super) struct Interrupted {
    fetched: usize,
    source: SourceError,
}

impl ProfileFetcher {
    /// A fetcher that compares with the rows of `reader`, queries `source`, and stores the answers
    /// in `store`.
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
            budget: Mutex::new(CallBudget::new(limits.calls_max)),
            pause: Mutex::default(),
            calling: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn budget(&self) -> MutexGuard<'_, CallBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_pause(&self) -> MutexGuard<'_, SourcePause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the current pause, which this or another process stored; `None` if there is none.
    pub(super) async fn paused_until(&self) -> Result<Option<Timestamp>, BoxError> {
        let stored = self.store.pause().await?;
        let mut known = self.known_pause();
        if stored.not_before > known.not_before {
            *known = stored;
        }
        Ok((self.clock.now() < known.not_before).then_some(known.not_before))
    }

    /// Decides for each account whether its profile is fetched. Removes the stored profiles of
    /// hidden accounts.
    pub(super) async fn classify(&self, dids: &[Did]) -> Result<Classified, BoxError> {
        let mut classified = Classified::default();
        for dids in dids.chunks(PAGE_ACCOUNTS) {
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
                let pending = PendingProfile { did, stream };
                match stored {
                    Some(stored) if stored.stream == pending.stream => {
                        if stored.is_old(self.clock.now(), &self.limits.ages) {
                            classified.old.push(pending);
                        }
                    }
                    _ => classified.changed.push(pending),
                }
            }
            self.store.remove(&hidden).await?;
            classified.hidden += hidden.len();
        }
        Ok(classified)
    }

    /// Sends at most `calls_max` requests until all accounts are answered or the source requests a
    /// pause. Returns the accounts for which no request was sent.
    pub(super) async fn fetch(
        &self,
        pending: &[PendingProfile],
        calls_max: usize,
        report: &mut ProfilesReport,
    ) -> Result<Vec<Did>, Interrupted> {
        report.left = pending.len();
        let calls = pending.chunks(PROFILES_PER_REQUEST).rev();
        let mut calls: Vec<&[PendingProfile]> = calls.collect();
        while report.calls < calls_max
            && report.not_before.is_none()
            && let Some(call) = calls.pop()
        {
            let dids: Vec<Did> = call.iter().map(|it| it.did.clone()).collect();
            let now = self.clock.now();
            let answer = match self.call(&dids, report).await {
                Ok(answer) => answer,
                Err(SourceError::Refused(_)) if call.len() > 1 => {
                    let (first, second) = call.split_at(call.len() / 2);
                    calls.extend([second, first]);
                    continue;
                }
                Err(SourceError::Refused(_)) => FetchedProfiles::default(),
                Err(SourceError::RateLimited { not_before }) => {
                    report.not_before = Some(not_before);
                    calls.push(call);
                    break;
                }
                Err(source) => return Err(interrupted(report, source)),
            };
            report.not_before = answer.not_before;
            self.store_answer(call, answer, now, report).await?;
        }
        let unsent = calls.into_iter().rev().flatten();
        Ok(unsent.map(|it| it.did.clone()).collect())
    }

    /// Sends one request, unless there is a pause. Starts the pause that the answer demands.
    async fn call(
        &self,
        dids: &[Did],
        report: &mut ProfilesReport,
    ) -> Result<FetchedProfiles, SourceError> {
        let _turn = self.calling.lock().await;
        let (now, not_before) = (self.clock.now(), self.known_pause().not_before);
        if now < not_before {
            return Err(SourceError::RateLimited { not_before });
        }
        report.calls += 1;
        self.budget().record(now);
        let answer = self.source.fetch(dids).await;
        let pause = match &answer {
            Ok(answer) => answer.not_before,
            Err(SourceError::Refused(_)) => None,
            Err(SourceError::RateLimited { not_before }) => Some(*not_before),
            Err(SourceError::Failed(_)) => {
                self.pause_after_failure().await;
                return answer;
            }
        };
        self.set_pause(SourcePause {
            not_before: pause.unwrap_or_default(),
            failures_in_a_row: 0,
        })
        .await;
        answer
    }

    async fn pause_after_failure(&self) {
        let failures = self.known_pause().failures_in_a_row;
        let pause = (PAUSE_MS << failures.min(10)).min(PAUSE_MS_MAX);
        self.set_pause(SourcePause {
            not_before: Timestamp(self.clock.now().0 + pause),
            failures_in_a_row: failures.saturating_add(1),
        })
        .await;
    }

    /// Applies a pause in this process, and stores it if it differs from the previous one. If it
    /// cannot be stored, it applies until the process ends.
    async fn set_pause(&self, pause: SourcePause) {
        let previous = std::mem::replace(&mut *self.known_pause(), pause);
        if previous == pause {
            return;
        }
        if let Err(error) = self.store.set_pause(&pause).await {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "could not store the pause in requests for profiles");
        }
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
        if let Err(why) = self.store.put(&stored).await {
            self.pause_after_failure().await;
            return Err(interrupted(report, SourceError::Failed(why.into())));
        }
        let known = stored.iter().filter(|it| it.profile.is_some()).count();
        report.fetched += known;
        report.unknown += stored.len() - known;
        report.malformed += answer.malformed;
        report.left -= stored.len();
        Ok(())
    }
}

fn interrupted(report: &ProfilesReport, source: SourceError) -> Interrupted {
    Interrupted {
        fetched: report.fetched,
        source,
    }
}
