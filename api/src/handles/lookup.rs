//! Asks the network for a handle: cached, once for all who ask at the same time, within a budget.
//!
//! ```text
//! verified, or one direction only   kept for an hour; for 30 seconds if the stream's reports of
//!                                   handles, which end it earlier, are not computed
//! names nobody                      kept for 5 minutes
//! could not be asked                kept for 30 seconds
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use moka::policy::EvictionPolicy;
use skytide_core::id::Did;
use skytide_core::port::identity::{IdentityError, IdentityResolver};
use skytide_core::port::store::ViewReader;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::claims::{Claim, reported_handle};
use super::metrics::{LookupMetrics, Outcome};
use crate::estimate::estimated;

const FOUND_LIFETIME: Duration = Duration::from_secs(3_600);
const NOBODY_LIFETIME: Duration = Duration::from_secs(300);
const FAILURE_LIFETIME: Duration = Duration::from_secs(30);
/// Maximum number of cached results.
const RESULTS_MAX: u64 = 10_000;
/// Maximum number of lookups at the same time.
const LOOKUPS_MAX: usize = 16;
/// Maximum number of lookups at the same time that request the document of a `did:web`. Strangers
/// choose its host, so slow ones must not take all slots.
const WEB_LOOKUPS_MAX: usize = 4;
/// Maximum duration of a lookup.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// Requests that may be sent at once, and requests a second after that. A lookup is two requests.
const BURST_REQUESTS: f64 = 50.0;
const REQUESTS_PER_SECOND: f64 = 10.0;
const REQUESTS_PER_LOOKUP: f64 = 2.0;

/// What the network says of a handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The handle names the account, and the account names the handle.
    Verified(Did),
    /// The handle names the account; the text says why the other direction is missing.
    OneWay(Did, String),
    /// The handle names the account; the text says why the other direction could not be asked.
    Unconfirmed(Did, String),
    /// The handle names no account.
    Nobody,
}

/// Why the network does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotChecked {
    pub(super) reason: String,
    /// Whether the operator has turned lookups off.
    pub(super) is_off: bool,
}

/// A lookup that ended.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) finding: Result<Finding, NotChecked>,
    /// The handle that the stream reported of the account before its document was requested. If the
    /// stream reports another one later, the document may have changed.
    pub(super) reported: Option<Box<str>>,
    ended: Instant,
    until: Instant,
}

/// A handle that is looked up.
pub(super) struct Question<'a> {
    pub(super) handle: &'a str,
    /// The newest claim of the handle in the stream.
    pub(super) newest_claim: Option<&'a Claim>,
    /// Whether claims and handles of accounts, whose changes end a cached result, are computed.
    pub(super) reports_changes: bool,
    /// Reads what the stream reports of the account during the lookup.
    pub(super) reader: &'a Arc<dyn ViewReader>,
}

/// A cached lookup that verified the handle of an account.
#[derive(Clone, Debug)]
pub(crate) struct VerifiedLookup {
    pub(super) handle: Box<str>,
    /// The newest claim of the handle in the stream when the lookup started. Another one ends the
    /// verification.
    pub(super) newest_claim: Option<Claim>,
}

/// A lookup that runs or has ended.
#[derive(Clone)]
struct Lookup {
    /// The newest claim of the handle in the stream when the lookup started.
    newest_claim: Option<Claim>,
    outcome: watch::Receiver<Option<Arc<Found>>>,
}

/// All lookups.
pub(super) struct Lookups {
    resolver: Option<Arc<dyn IdentityResolver>>,
    lookups: moka::sync::Cache<String, Lookup>,
    slots: Arc<Semaphore>,
    web_slots: Semaphore,
    budget: Mutex<RequestBudget>,
    metrics: LookupMetrics,
}

impl Lookups {
    pub(super) fn new(
        resolver: Option<Arc<dyn IdentityResolver>>,
        metrics: LookupMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            resolver,
            metrics,
            lookups: moka::sync::Cache::builder()
                .max_capacity(RESULTS_MAX)
                .time_to_live(FOUND_LIFETIME)
                // Otherwise a client that asks for some handles often keeps all others out.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            slots: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            web_slots: Semaphore::new(WEB_LOOKUPS_MAX),
            budget: Mutex::new(RequestBudget::new(Instant::now())),
        })
    }

    /// The number of cached lookups, and their estimated bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        // A handle has some 20 characters, and most lookups find an account.
        const HANDLE_BYTES: usize = 32;
        let entry_bytes = 2 * HANDLE_BYTES + size_of::<Lookup>() + size_of::<Found>();
        estimated(self.lookups.entry_count(), entry_bytes)
    }

    /// The cached lookup of a handle that the stream reports of this account, if it verified it.
    pub(super) fn verified(&self, handle: &str, did: &Did) -> Option<VerifiedLookup> {
        let lookup = self.lookups.get(handle)?;
        let found = lookup.outcome.borrow().clone()?;
        let is_verified = Instant::now() < found.until
            && found.reported.as_deref() == Some(handle)
            && matches!(&found.finding, Ok(Finding::Verified(verified)) if verified == did);
        is_verified.then(|| VerifiedLookup {
            handle: handle.into(),
            newest_claim: lookup.newest_claim,
        })
    }

    /// Drops the cached result of a handle.
    pub(super) fn forget(&self, handle: &str) {
        self.lookups.invalidate(handle);
    }

    /// The cached result of a lookup since the newest claim, or that of a new lookup, for which
    /// this waits at most `wait_max`. A lookup that takes longer continues for later requests.
    pub(super) async fn ask(
        self: &Arc<Self>,
        question: &Question<'_>,
        wait_max: Duration,
    ) -> Result<Arc<Found>, NotChecked> {
        let mut outcome = self.join_or_start(question)?;
        let finished = timeout(wait_max, outcome.wait_for(Option::is_some)).await;
        let late = || not_checked(format!("the resolver did not answer within {wait_max:?}"));
        match finished.map_err(|_| late())?.as_deref() {
            Ok(Some(found)) => Ok(found.clone()),
            _ => Err(not_checked("the lookup was interrupted")),
        }
    }

    fn join_or_start(
        self: &Arc<Self>,
        question: &Question<'_>,
    ) -> Result<watch::Receiver<Option<Arc<Found>>>, NotChecked> {
        let Some(resolver) = self.resolver.clone() else {
            return Err(NotChecked {
                reason: "the network is not asked (API_RESOLVER_URL)".to_owned(),
                is_off: true,
            });
        };
        let Question {
            handle,
            newest_claim,
            reports_changes,
            reader,
        } = *question;
        let age_max = match reports_changes {
            true => FOUND_LIFETIME,
            false => FAILURE_LIFETIME,
        };
        // Locked during the start, so that two requests do not start the same lookup.
        let mut budget = self.budget();
        if let Some(lookup) = self.lookups.get(handle)
            && lookup.newest_claim.as_ref() == newest_claim
            && lookup.is_usable(age_max)
        {
            return Ok(lookup.outcome);
        }
        let slot = self.slots.clone().try_acquire_owned();
        let refused = |reason| {
            self.metrics.count(Outcome::Refused);
            not_checked(reason)
        };
        let slot = slot.map_err(|_| refused("too many handles are being resolved"))?;
        if !budget.take(REQUESTS_PER_LOOKUP, Instant::now()) {
            return Err(refused("too many handles were resolved recently"));
        }
        let (sender, outcome) = watch::channel(None);
        let lookup = Lookup {
            newest_claim: newest_claim.cloned(),
            outcome: outcome.clone(),
        };
        self.lookups.insert(handle.to_owned(), lookup);
        let (lookups, reader, handle) = (self.clone(), reader.clone(), handle.to_owned());
        tokio::spawn(async move {
            let _slot = slot;
            let looking = lookups.look_up(&*resolver, &*reader, &handle);
            let looking = AssertUnwindSafe(looking).catch_unwind();
            let looked = match timeout(LOOKUP_MAX, looking).await {
                Ok(Ok(looked)) => looked,
                Ok(Err(_panic)) => Err(not_checked("the lookup failed on our side")),
                Err(_) => Err(not_checked("the resolver did not answer in time")),
            };
            let found = Found::new(looked);
            lookups.metrics.count(outcome_of(&found.finding));
            sender.send_replace(Some(Arc::new(found)));
        });
        Ok(outcome)
    }

    /// Asks both directions. Returns what was found, and the handle that the stream reported of the
    /// account in between.
    async fn look_up(
        &self,
        resolver: &dyn IdentityResolver,
        reader: &dyn ViewReader,
        handle: &str,
    ) -> Result<(Finding, Option<Box<str>>), NotChecked> {
        let did = resolver.resolve_handle(handle).await;
        let Some(did) = did.map_err(|error| failed(&error))? else {
            return Ok((Finding::Nobody, None));
        };
        let reported = reported_handle(reader, &did).await;
        let reported = reported.map_err(|_| not_checked("the account could not be read"))?;
        let web_slot = match did.with_str(|did| did.starts_with("did:web:")) {
            true => Some(self.web_slots.try_acquire()),
            false => None,
        };
        let finding = match web_slot {
            Some(Err(_)) => {
                let reason = "the DID document was not checked: too many hosts are being asked";
                Finding::Unconfirmed(did, reason.to_owned())
            }
            _slot => confirm(resolver, handle, did).await,
        };
        Ok((finding, reported))
    }

    fn budget(&self) -> MutexGuard<'_, RequestBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    /// Whether the lookup still runs, or its result is neither too old nor older than `age_max`.
    fn is_usable(&self, age_max: Duration) -> bool {
        let is_running = self.outcome.has_changed().is_ok();
        let found = self.outcome.borrow();
        match &*found {
            Some(found) => Instant::now() < found.until.min(found.ended + age_max),
            None => is_running,
        }
    }
}

impl Found {
    fn new(looked: Result<(Finding, Option<Box<str>>), NotChecked>) -> Self {
        let (finding, reported) = match looked {
            Ok((finding, reported)) => (Ok(finding), reported),
            Err(not_checked) => (Err(not_checked), None),
        };
        let lifetime = match &finding {
            Ok(Finding::Verified(_) | Finding::OneWay(..)) => FOUND_LIFETIME,
            Ok(Finding::Nobody) => NOBODY_LIFETIME,
            Ok(Finding::Unconfirmed(..)) | Err(_) => FAILURE_LIFETIME,
        };
        let ended = Instant::now();
        Self {
            finding,
            reported,
            ended,
            until: ended + lifetime,
        }
    }
}

fn outcome_of(finding: &Result<Finding, NotChecked>) -> Outcome {
    match finding {
        Ok(Finding::Verified(_)) => Outcome::Verified,
        Ok(Finding::OneWay(..) | Finding::Unconfirmed(..)) => Outcome::Unverified,
        Ok(Finding::Nobody) => Outcome::Nobody,
        Err(_) => Outcome::Failed,
    }
}

/// Asks whether the account that a handle names also names the handle.
async fn confirm(resolver: &dyn IdentityResolver, handle: &str, did: Did) -> Finding {
    let one_way = |reason: String| Finding::OneWay(did.clone(), reason);
    match resolver.document(&did).await {
        Ok(Some(document)) if document.did != did => {
            one_way("the DID document is that of another account".to_owned())
        }
        Ok(Some(document)) => match document.handle {
            Some(named) if named.eq_ignore_ascii_case(handle) => Finding::Verified(did),
            Some(named) => one_way(format!("the DID document names the handle {named:?}")),
            None => one_way("the DID document names no handle".to_owned()),
        },
        Ok(None) => one_way("the account has no DID document".to_owned()),
        Err(IdentityError::NotAllowed(reason)) => {
            one_way(format!("the DID document is not requested: {reason}"))
        }
        Err(error) => {
            let reason = format!(
                "the DID document was not checked: {}",
                failed(&error).reason
            );
            Finding::Unconfirmed(did, reason)
        }
    }
}

/// The reason for clients. Its causes may name internal addresses, so they are only logged.
fn failed(error: &IdentityError) -> NotChecked {
    let logged = error as &(dyn std::error::Error + 'static);
    tracing::debug!(error = logged, "could not resolve a handle");
    match error {
        IdentityError::Failed(_) => not_checked("the resolver could not be asked"),
        other => not_checked(other.to_string()),
    }
}

fn not_checked(reason: impl Into<String>) -> NotChecked {
    NotChecked {
        reason: reason.into(),
        is_off: false,
    }
}

/// A token bucket of requests to the network.
#[derive(Debug)]
struct RequestBudget {
    tokens: f64,
    at: Instant,
}

impl RequestBudget {
    fn new(now: Instant) -> Self {
        Self {
            tokens: BURST_REQUESTS,
            at: now,
        }
    }

    /// Takes the cost of a lookup, if it is there.
    fn take(&mut self, cost: f64, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.tokens = (self.tokens + elapsed * REQUESTS_PER_SECOND).min(BURST_REQUESTS);
        let is_enough = self.tokens >= cost;
        if is_enough {
            self.tokens -= cost;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_are_bounded_by_a_burst_and_a_rate() {
        let start = Instant::now();
        let mut budget = RequestBudget::new(start);
        let mut taken = |ms: u64| {
            let now = start + Duration::from_millis(ms);
            (0..100).take_while(|_| budget.take(2.0, now)).count()
        };
        assert_eq!(taken(0), 25);
        assert_eq!(taken(199), 0);
        assert_eq!(taken(200), 1);
        assert_eq!(taken(1_200), 5);
        assert_eq!(taken(3_600_000), 25);
    }
}
