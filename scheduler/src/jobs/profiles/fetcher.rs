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
    FetchedProfiles, PausedServer, ProfileAges, ProfileSource, ProfileStore, SourceError,
    SourcePause, StoredProfile, StreamProfile, is_requestable,
};
use skytide_core::port::store::ViewReader;
use skytide_core::time::Timestamp;
use skytide_core::view::{AccountRow, Key, ViewId, decode_row};

use super::budget::{CallBudget, Purpose};
use super::calls::{self, Calls, PendingProfile};
use crate::job::ProfilesReport;

/// Accounts per read of rows.
const PAGE_ACCOUNTS: usize = 500;
/// The pause after the first failure. It doubles with each further failure up to [`PAUSE_MS_MAX`].
const PAUSE_MS: u64 = 30_000;
const PAUSE_MS_MAX: u64 = 3_600_000;
/// The longest stored pause that is respected: the longest that a server can impose. A longer one
/// was stored by a process whose clock was wrong.
const STORED_PAUSE_MS_MAX: u64 = 86_400_000;

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

/// Where accounts to be classified come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Lists, whose accounts the stream knows.
    Lists,
    /// Requests of the API.
    Requests,
}

/// The requests that may be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallLimit {
    pub(super) purpose: Purpose,
    pub(super) calls_max: usize,
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
    /// The accounts that were not answered.
    pub(super) unanswered: Vec<Did>,
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

    /// The requests that may be sent now for this purpose.
    pub(super) fn limit(&self, purpose: Purpose) -> CallLimit {
        let calls_max = self.budget().left(purpose, self.clock.now());
        CallLimit { purpose, calls_max }
    }

    fn budget(&self) -> MutexGuard<'_, CallBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_pause(&self) -> MutexGuard<'_, SourcePause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the current pause, which this or another process stored; `None` if there is none.
    pub(super) async fn paused_until(&self) -> Result<Option<Timestamp>, BoxError> {
        let stored = self.stored_pause().await?;
        let now = self.clock.now();
        let mut known = self.known_pause();
        if stored.not_before > known.not_before || known.not_before > latest_pause(now) {
            *known = stored;
        }
        Ok((now < known.not_before).then_some(known.not_before))
    }

    /// Reads the stored pause. Replaces one that is too long, so that it ends.
    async fn stored_pause(&self) -> Result<SourcePause, BoxError> {
        let stored = self.store.pause(PausedServer::Profiles).await?;
        let latest = latest_pause(self.clock.now());
        if stored.not_before <= latest {
            return Ok(stored);
        }
        let bounded = SourcePause {
            not_before: latest,
            ..stored
        };
        self.store
            .set_pause(PausedServer::Profiles, &bounded)
            .await?;
        tracing::warn!("shortened a stored pause of more than a day: a clock was wrong");
        Ok(bounded)
    }

    /// Decides for each account whether its profile is fetched. Removes the stored profiles of
    /// hidden accounts.
    pub(super) async fn classify(
        &self,
        dids: &[Did],
        origin: Origin,
    ) -> Result<Classified, BoxError> {
        let mut classified = Classified::default();
        let dids: Vec<Did> = dids
            .iter()
            .filter(|it| is_requestable(it))
            .cloned()
            .collect();
        for dids in dids.chunks(PAGE_ACCOUNTS) {
            // Stored profiles are read first, so that the rows of the stream are not older.
            let stored = self.store.get(dids).await?;
            let keys: Vec<Key> = dids.iter().map(Key::of).collect();
            let rows = self.reader.get(ViewId::Accounts, &keys).await?;
            let counted: Vec<bool> = match origin {
                Origin::Lists => vec![true; dids.len()],
                Origin::Requests => {
                    let counts = self.reader.get(ViewId::Actors, &keys).await?;
                    counts.iter().map(Option::is_some).collect()
                }
            };
            let mut hidden = Vec::new();
            let accounts = dids.iter().zip(stored).zip(rows).zip(counted);
            for (((did, stored), row), is_counted) in accounts {
                let row: Option<AccountRow> = row.map(|it| decode_row(&it.row)).transpose()?;
                if row.as_ref().is_some_and(|row| !row.active) {
                    hidden.extend(stored.map(|stored| stored.did));
                    continue;
                }
                let pending = PendingProfile {
                    did: did.clone(),
                    stream: StreamProfile::of(row.as_ref()),
                    is_known: is_counted || row.is_some(),
                };
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

    /// Sends requests within `limit` until all accounts are answered or the source requests a
    /// pause. Returns the accounts for which no request was sent.
    pub(super) async fn fetch(
        &self,
        pending: &[PendingProfile],
        limit: CallLimit,
        report: &mut ProfilesReport,
    ) -> Result<Vec<Did>, Interrupted> {
        report.left = pending.len();
        let mut calls = calls::of(pending);
        let sent = self.send(&mut calls, limit, report).await;
        let left = calls.into_iter().rev().flatten();
        let left = left.map(|it| it.did.clone()).collect();
        match sent {
            Ok(()) => Ok(left),
            Err(source) => Err(Interrupted {
                fetched: report.fetched,
                unanswered: left,
                source,
            }),
        }
    }

    /// Sends the last of `calls` and removes it once it is answered, and so on.
    async fn send(
        &self,
        calls: &mut Calls<'_>,
        limit: CallLimit,
        report: &mut ProfilesReport,
    ) -> Result<(), SourceError> {
        while report.calls < limit.calls_max
            && report.not_before.is_none()
            && let Some(&call) = calls.last()
        {
            let dids: Vec<Did> = call.iter().map(|it| it.did.clone()).collect();
            let now = self.clock.now();
            let answer = match self.call(&dids, limit.purpose, report).await {
                Ok(answer) => answer,
                Err(SourceError::Refused(_)) if call.len() > 1 => {
                    let (first, second) = call.split_at(call.len() / 2);
                    calls.pop();
                    calls.extend([second, first]);
                    continue;
                }
                Err(SourceError::Refused(_)) => FetchedProfiles::default(),
                Err(SourceError::RateLimited { not_before }) => {
                    report.not_before = Some(not_before);
                    return Ok(());
                }
                Err(source) => return Err(source),
            };
            report.not_before = answer.not_before;
            self.store_answer(call, answer, now, report).await?;
            calls.pop();
        }
        Ok(())
    }

    /// Sends one request, unless there is a pause. Starts the pause that the answer demands. A rate
    /// limit whose end is not in the future counts as a failure.
    async fn call(
        &self,
        dids: &[Did],
        purpose: Purpose,
        report: &mut ProfilesReport,
    ) -> Result<FetchedProfiles, SourceError> {
        let _turn = self.calling.lock().await;
        let (now, not_before) = (self.clock.now(), self.known_pause().not_before);
        if now < not_before {
            return Err(SourceError::RateLimited { not_before });
        }
        report.calls += 1;
        self.budget().record(purpose, now);
        let answer = self.source.fetch(dids).await;
        let pause = match &answer {
            Ok(answer) => answer.not_before,
            Err(SourceError::Refused(_)) => None,
            Err(SourceError::RateLimited { not_before }) if *not_before > self.clock.now() => {
                Some(*not_before)
            }
            Err(SourceError::RateLimited { .. }) => {
                let not_before = self.pause_after_failure().await;
                return Err(SourceError::RateLimited { not_before });
            }
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

    /// Starts the pause after a failure, and returns its end.
    async fn pause_after_failure(&self) -> Timestamp {
        let failures = self.known_pause().failures_in_a_row;
        let pause = (PAUSE_MS << failures.min(10)).min(PAUSE_MS_MAX);
        let not_before = Timestamp(self.clock.now().0 + pause);
        self.set_pause(SourcePause {
            not_before,
            failures_in_a_row: failures.saturating_add(1),
        })
        .await;
        not_before
    }

    /// Applies a pause in this process, and stores it if it differs from the previous one. If it
    /// cannot be stored, it applies until the process ends.
    async fn set_pause(&self, pause: SourcePause) {
        let previous = std::mem::replace(&mut *self.known_pause(), pause);
        if previous == pause {
            return;
        }
        if let Err(error) = self.store.set_pause(PausedServer::Profiles, &pause).await {
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
    ) -> Result<(), SourceError> {
        let profile = |did: &Did| {
            let found = answer.profiles.iter().find(|(known, _)| known == did);
            found.map(|(_, profile)| profile.clone())
        };
        let answered = call.iter().map(|it| (it, profile(&it.did)));
        let stored: Vec<StoredProfile> = answered
            .filter(|(it, profile)| it.is_known || profile.is_some())
            .map(
                |(PendingProfile { did, stream, .. }, profile)| StoredProfile {
                    did: did.clone(),
                    fetched: now,
                    stream: stream.clone(),
                    profile,
                },
            )
            .collect();
        if let Err(why) = self.store.put(&stored).await {
            self.pause_after_failure().await;
            return Err(SourceError::Failed(why.into()));
        }
        let known = stored.iter().filter(|it| it.profile.is_some()).count();
        report.fetched += known;
        report.unknown += call.len() - known;
        report.malformed += answer.malformed;
        report.left -= call.len();
        Ok(())
    }
}

/// The latest end of a pause that is respected.
fn latest_pause(now: Timestamp) -> Timestamp {
    Timestamp(now.0.saturating_add(STORED_PAUSE_MS_MAX))
}
