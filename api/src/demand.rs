//! Requests the profiles of accounts that an answer shows and that are missing or stale.
//!
//! ```text
//! answer ─ accounts ─▶ fresh, hidden, unknown here or there? ─ yes ─▶ status
//!                             └ no ─▶ requested within a minute? ─ yes ─▶ status
//!                                            └ no ─▶ profile store ─▶ scheduler, in the background
//! ```
//!
//! An answer never waits for a profile. It shows what is stored, and a status that says why a
//! profile is missing. Nothing is requested if no scheduler fetches profiles, and no account is
//! requested that only a client named.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use moka::policy::EvictionPolicy;
use serde::Serialize;
use skytide_core::id::Did;
use skytide_core::port::clock::Clock;
use skytide_core::port::job::{JobState, JobStore};
use skytide_core::port::profile::{
    PausedServer, ProfileAges, ProfileStore, StoredProfile, StreamProfile, is_requestable,
};
use skytide_core::time::Timestamp;
use skytide_core::view::AccountRow;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The job that fetches profiles. Its stored schedule says whether a scheduler fetches any.
const JOB: &str = "profiles";
/// How long an account is not requested again.
const REQUEST_LIFETIME: Duration = Duration::from_secs(60);
/// Maximum size of the accounts that are remembered as requested, in bytes: about 100,000.
const REQUESTED_BYTES_MAX: u64 = 8_000_000;
/// Size of a remembered account without the text of its DID, in bytes.
const REQUESTED_BYTES: usize = 80;
/// A job that is due for longer than this and does not run has no scheduler.
const OVERDUE_MS_MAX: u64 = 300_000;
/// A profile that was fetched less than this time ago is not requested again, however often its
/// account changes.
const REFETCH_MS_MIN: u64 = 30_000;
/// How long what is known of the scheduler is used.
const SOURCE_LIFETIME: Duration = Duration::from_secs(1);
/// Maximum number of writes of requests at the same time.
const WRITES_MAX: usize = 4;

/// Why an account shows this profile, as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ProfileStatus {
    /// The profile was fetched, and the stream has reported no change since.
    Fresh,
    /// The profile was fetched, and is too old, or the stream has reported a change since.
    Stale,
    /// The profile was never fetched, and is requested.
    Pending,
    /// The server does not know the account, or it is not asked: the stream does not know the
    /// account, or its DID has a method or length that the network does not use.
    Unknown,
    /// The account is hidden: its profile is not shown and not fetched.
    Hidden,
    /// The profile was never fetched, and the server accepts no requests now.
    Paused,
    /// The profile was never fetched, and too many others are requested.
    Busy,
    /// The profile was never fetched, and no scheduler fetches profiles.
    Off,
    /// Stored profiles cannot be read now.
    Unavailable,
}

/// An account of an answer, with what is stored of it.
pub(crate) struct ShownAccount<'a> {
    pub(crate) did: &'a Did,
    pub(crate) row: Option<&'a AccountRow>,
    pub(crate) stored: Option<&'a StoredProfile>,
    /// Whether the stream knows the account.
    pub(crate) is_known: bool,
}

/// The ports that requests need.
#[derive(Clone)]
pub(crate) struct DemandPorts {
    pub(crate) profiles: Arc<dyn ProfileStore>,
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What the scheduler does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceState {
    Active,
    Paused,
    Off,
}

/// Requests profiles. Clones share what was requested.
#[derive(Clone)]
pub(crate) struct ProfileDemand {
    pub(crate) ages: ProfileAges,
    shared: Arc<Shared>,
}

struct Shared {
    /// Accounts with the time of their stored profile, so that a fetch ends the entry.
    requested: moka::sync::Cache<(Did, Timestamp), ()>,
    source: Mutex<Option<(Instant, SourceState)>>,
    /// Whether the store accepted no further requests at the last write.
    full: AtomicBool,
    writes: Arc<Semaphore>,
}

impl ProfileDemand {
    /// The number of accounts whose profile was requested lately, and their bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        let requested = &self.shared.requested;
        (requested.entry_count(), requested.weighted_size())
    }

    /// Requests the profiles that are older than `ages`.
    pub(crate) fn new(ages: ProfileAges) -> Self {
        let requested = moka::sync::Cache::builder()
            .max_capacity(REQUESTED_BYTES_MAX)
            .weigher(|(did, _): &(Did, Timestamp), ()| {
                u32::try_from(REQUESTED_BYTES + did.heap_bytes()).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(REQUEST_LIFETIME)
            .build();
        Self {
            ages,
            shared: Arc::new(Shared {
                requested,
                source: Mutex::default(),
                full: AtomicBool::new(false),
                writes: Arc::new(Semaphore::new(WRITES_MAX)),
            }),
        }
    }

    /// The status of each account. Requests those that are missing or stale, in the background.
    pub(crate) async fn statuses(
        &self,
        ports: &DemandPorts,
        accounts: &[ShownAccount<'_>],
    ) -> Vec<ProfileStatus> {
        let now = ports.clock.now();
        let settled: Vec<_> = accounts.iter().map(|it| self.settled(it, now)).collect();
        if settled.iter().all(Option::is_some) {
            return settled.into_iter().flatten().collect();
        }
        let source = self.source(ports).await;
        let missing = accounts.iter().zip(&settled).filter(|(_, it)| it.is_none());
        let missing: Vec<&ShownAccount<'_>> = missing.map(|(account, _)| account).collect();
        if source != SourceState::Off {
            self.request(ports, &missing, now);
        }
        let status = |account: &ShownAccount<'_>| {
            let fetched = account.stored.is_some_and(|it| it.profile.is_some());
            match source {
                _ if fetched => ProfileStatus::Stale,
                SourceState::Off => ProfileStatus::Off,
                SourceState::Paused => ProfileStatus::Paused,
                SourceState::Active => match self.shared.requested.contains_key(&key(account)) {
                    true => ProfileStatus::Pending,
                    false => ProfileStatus::Busy,
                },
            }
        };
        let all = accounts.iter().zip(settled);
        all.map(|(account, settled)| settled.unwrap_or_else(|| status(account)))
            .collect()
    }

    /// The status of an account whose profile needs no request.
    fn settled(&self, account: &ShownAccount<'_>, now: Timestamp) -> Option<ProfileStatus> {
        if account.row.is_some_and(|row| !row.active) {
            return Some(ProfileStatus::Hidden);
        }
        let is_requested = account.is_known && is_requestable(account.did);
        let Some(stored) = account.stored else {
            return (!is_requested).then_some(ProfileStatus::Unknown);
        };
        let unchanged = stored.stream == StreamProfile::of(account.row);
        let is_fresh = unchanged && !stored.is_old(now, &self.ages);
        match &stored.profile {
            _ if !is_fresh && is_requested => None,
            Some(_) if is_fresh => Some(ProfileStatus::Fresh),
            Some(_) => Some(ProfileStatus::Stale),
            None => Some(ProfileStatus::Unknown),
        }
    }

    /// Requests the accounts that were not requested within the last minute.
    fn request(&self, ports: &DemandPorts, accounts: &[&ShownAccount<'_>], now: Timestamp) {
        let is_new = |account: &&&ShownAccount<'_>| {
            let recent = |it: &StoredProfile| it.age_ms(now) < REFETCH_MS_MIN;
            !account.stored.is_some_and(recent)
                && !self.shared.requested.contains_key(&key(account))
        };
        let new: Vec<(Did, Timestamp)> = accounts.iter().filter(is_new).map(|it| key(it)).collect();
        if new.is_empty() {
            return;
        }
        let Ok(permit) = self.shared.writes.clone().try_acquire_owned() else {
            return;
        };
        // A full store is asked again by one answer at a time.
        let was_full = self.shared.full.load(Ordering::Relaxed);
        if !was_full {
            for key in &new {
                self.shared.requested.insert(key.clone(), ());
            }
        }
        let (shared, store) = (self.shared.clone(), ports.profiles.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let dids: Vec<Did> = new.iter().map(|(did, _)| did.clone()).collect();
            let accepted = store.request(&dids, now).await;
            let all = accepted.as_ref().is_ok_and(|it| *it == dids.len());
            shared.full.store(!all, Ordering::Relaxed);
            for key in new {
                match all {
                    true => shared.requested.insert(key, ()),
                    false => shared.requested.invalidate(&key),
                }
            }
            if let Err(error) = accepted {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(error, "could not request profiles");
            }
        });
    }

    /// Whether a scheduler fetches profiles, and whether the server accepts requests. Read once a
    /// second; if it cannot be read, requests are made, which does no harm.
    async fn source(&self, ports: &DemandPorts) -> SourceState {
        let known = *self.known_source();
        if let Some((read_at, state)) = known
            && read_at.elapsed() < SOURCE_LIFETIME
        {
            return state;
        }
        let (jobs, pause) = (
            ports.jobs.all().await,
            ports.profiles.pause(PausedServer::Profiles).await,
        );
        let now = ports.clock.now();
        let is_off = jobs.is_ok_and(|jobs| {
            let job = jobs.iter().find(|job| job.name == JOB);
            job.is_none_or(|job| !is_scheduled(job, now))
        });
        let is_paused = pause.is_ok_and(|pause| now < pause.not_before);
        let state = match (is_off, is_paused) {
            (true, _) => SourceState::Off,
            (_, true) => SourceState::Paused,
            (_, false) => SourceState::Active,
        };
        *self.known_source() = Some((Instant::now(), state));
        state
    }

    fn known_source(&self) -> MutexGuard<'_, Option<(Instant, SourceState)>> {
        let source = self.shared.source.lock();
        source.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a scheduler runs the job: it is due, and runs or is not long overdue.
fn is_scheduled(job: &JobState, now: Timestamp) -> bool {
    let runs = job.running.is_some_and(|run| run.is_active(now));
    let latest = |due: Timestamp| due.0.saturating_add(OVERDUE_MS_MAX);
    let due = job.plan.due;
    due.is_some_and(|due| runs || now.0 <= latest(due))
}

fn key(account: &ShownAccount<'_>) -> (Did, Timestamp) {
    let fetched = account.stored.map_or(Timestamp::default(), |it| it.fetched);
    (account.did.clone(), fetched)
}
