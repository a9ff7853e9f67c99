//! `profiles`: fetches how the accounts in current lists show themselves, and keeps it.
//!
//! ```text
//! listed accounts ─ what the stream tells of each, what is kept ─┬─ hidden ─▶ what is kept is removed
//!                                                                ├─ fresh ──▶ nothing
//!                                                                └─ wanted ─▶ 25 a call ─▶ kept, unknown ones, too
//! ```
//!
//! - Wanted is what was never fetched or of which the stream has told something new (handle, name, picture) since,
//!   then what has grown old.
//! - A run asks a bounded number of times. When the source fails or says that it was asked too often, the run ends: the
//!   next one tries again, but not before the moment that the source named, or a pause that doubles with each failure.
//! - A question that the source refuses is asked again in halves, until the account is found that it does not take.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use skytide_core::id::Did;
use skytide_core::port::BoxError;
use skytide_core::port::clock::Clock;
use skytide_core::port::profile::{
    FetchedProfiles, PROFILES_A_CALL, ProfileSource, ProfileStore, SourceError, StoredProfile,
    StreamProfile,
};
use skytide_core::port::store::ViewReader;
use skytide_core::time::Timestamp;
use skytide_core::view::{AccountRow, Key, ViewId, decode_row};

use crate::job::{Job, ProfilesReport, Report};

mod listed;

/// Accounts whose rows are read at once.
const PAGE_ACCOUNTS: usize = 500;
/// The pause behind the first failure; it doubles with each further one.
const PAUSE_MS: u64 = 30_000;
const PAUSE_MS_MAX: u64 = 3_600_000;

/// Fetches profiles.
pub struct FetchProfiles {
    clock: Arc<dyn Clock>,
    reader: Arc<dyn ViewReader>,
    store: Arc<dyn ProfileStore>,
    source: Arc<dyn ProfileSource>,
    limits: ProfileLimits,
    circuit: Mutex<Circuit>,
}

/// How often profiles are fetched.
#[derive(Clone, Copy, Debug)]
pub struct ProfileLimits {
    /// A profile is fetched again when it is so old.
    pub age_max: Duration,
    /// An account that the source did not know is asked for again after so long.
    pub unknown_age_max: Duration,
    /// Calls of one run, at most.
    pub calls_max: usize,
}

/// Whether the source may be asked; closed by failures.
#[derive(Clone, Copy, Debug, Default)]
struct Circuit {
    not_before: Timestamp,
    failures_in_a_row: u32,
}

/// An account to be asked for, and what the stream had told of it by then.
#[derive(Clone, Debug)]
struct Wanted {
    did: Did,
    stream: StreamProfile,
}

/// Why a run ended in the middle.
#[derive(Debug, thiserror::Error)]
#[error("after {fetched} profiles the source failed")]
struct Interrupted {
    fetched: usize,
    source: SourceError,
}

impl FetchProfiles {
    /// A job that reads lists from `reader`, asks `source`, and keeps the answers in `store`.
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
            circuit: Mutex::default(),
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The accounts to ask for, in this order; removes what is kept of hidden ones.
    async fn wanted(&self, report: &mut ProfilesReport) -> Result<Vec<Wanted>, BoxError> {
        let listed = listed::accounts(&*self.reader).await?;
        report.listed = listed.len();
        let (mut changed, mut old) = (Vec::new(), Vec::new());
        for dids in listed.chunks(PAGE_ACCOUNTS) {
            // What is kept is read first: what the stream tells is then not older than that.
            let kept = self.store.get(dids).await?;
            let keys: Vec<Key> = dids.iter().map(Key::of).collect();
            let rows = self.reader.get(ViewId::Accounts, &keys).await?;
            let mut hidden = Vec::new();
            for ((did, kept), row) in dids.iter().zip(kept).zip(rows) {
                let row: Option<AccountRow> = row.map(|it| decode_row(&it.row)).transpose()?;
                if row.as_ref().is_some_and(|row| !row.active) {
                    hidden.extend(kept.map(|kept| kept.did));
                    continue;
                }
                let (did, stream) = (did.clone(), StreamProfile::of(row.as_ref()));
                match kept {
                    Some(kept) if kept.stream == stream => {
                        if self.is_old(&kept) {
                            old.push(Wanted { did, stream });
                        }
                    }
                    _ => changed.push(Wanted { did, stream }),
                }
            }
            self.store.remove(&hidden).await?;
            report.hidden += hidden.len();
        }
        changed.append(&mut old);
        Ok(changed)
    }

    fn is_old(&self, kept: &StoredProfile) -> bool {
        let age_max = match kept.profile {
            Some(_) => self.limits.age_max,
            None => self.limits.unknown_age_max,
        };
        // The clock may have been set back since.
        let age_ms = self.clock.now().0.abs_diff(kept.fetched.0);
        u128::from(age_ms) >= age_max.as_millis()
    }

    /// Asks until everything is answered, the calls are spent, or the source wants a pause.
    async fn ask(
        &self,
        wanted: Vec<Wanted>,
        report: &mut ProfilesReport,
    ) -> Result<(), Interrupted> {
        report.left = wanted.len();
        let questions = wanted.chunks(PROFILES_A_CALL).rev();
        let mut questions: Vec<&[Wanted]> = questions.collect();
        while report.calls < self.limits.calls_max
            && report.not_before.is_none()
            && let Some(question) = questions.pop()
        {
            report.calls += 1;
            let now = self.clock.now();
            let dids: Vec<Did> = question.iter().map(|it| it.did.clone()).collect();
            let answer = match self.source.fetch(&dids).await {
                Ok(answer) => answer,
                Err(SourceError::Refused(_)) if question.len() > 1 => {
                    let (first, second) = question.split_at(question.len() / 2);
                    questions.extend([second, first]);
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
            self.keep(question, answer, now, report).await?;
        }
        Ok(())
    }

    async fn keep(
        &self,
        question: &[Wanted],
        answer: FetchedProfiles,
        now: Timestamp,
        report: &mut ProfilesReport,
    ) -> Result<(), Interrupted> {
        let profile = |did: &Did| {
            let found = answer.profiles.iter().find(|(known, _)| known == did);
            found.map(|(_, profile)| profile.clone())
        };
        let stored: Vec<StoredProfile> = question
            .iter()
            .map(|Wanted { did, stream }| StoredProfile {
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

    /// Opens the circuit after an answer, closes it for a time after a failure.
    fn learn(&self, asked: &Result<(), Interrupted>, report: &ProfilesReport) {
        let mut circuit = self.circuit();
        let Circuit {
            not_before,
            failures_in_a_row,
        } = &mut *circuit;
        match asked {
            Ok(()) => {
                *not_before = report.not_before.unwrap_or_default();
                *failures_in_a_row = 0;
            }
            Err(_) => {
                if report.fetched + report.unknown > 0 {
                    // Answers came first.
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

    async fn run(&self) -> Result<Report, BoxError> {
        let now = self.clock.now();
        if now < self.circuit().not_before {
            return Ok(Report::Nothing("the source of profiles is given a pause"));
        }
        let mut report = ProfilesReport::default();
        let wanted = self.wanted(&mut report).await?;
        if wanted.is_empty() && report.hidden == 0 {
            return Ok(Report::Nothing("all profiles are fresh"));
        }
        if !wanted.is_empty() {
            let asked = self.ask(wanted, &mut report).await;
            self.learn(&asked, &report);
            asked?;
        }
        Ok(Report::Profiles(report))
    }
}

#[cfg(test)]
mod tests;
