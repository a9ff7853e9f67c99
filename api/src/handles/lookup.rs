//! Asks the network for a handle: cached, once for all who ask at the same time, within a budget.
//!
//! ```text
//! verified, or one direction only   kept for an hour
//! names nobody                      kept for 5 minutes
//! could not be asked                kept for 30 seconds
//! ```

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use skytide_core::id::Did;
use skytide_core::port::identity::{IdentityError, IdentityResolver};
use skytide_core::time::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::metrics::{LookupMetrics, Outcome};

const FOUND_LIFETIME: Duration = Duration::from_secs(3_600);
const NOBODY_LIFETIME: Duration = Duration::from_secs(300);
const FAILURE_LIFETIME: Duration = Duration::from_secs(30);
/// Maximum number of cached results.
const RESULTS_MAX: u64 = 10_000;
/// Maximum number of lookups at the same time.
const LOOKUPS_MAX: usize = 16;
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
    /// The handle that the stream had reported of the account when the result was first used.
    pub(super) reported: OnceLock<Option<Box<str>>>,
    until: Instant,
}

/// A lookup that runs or has ended.
#[derive(Clone)]
struct Lookup {
    /// The newest claim of the handle in the stream when the lookup started.
    newest_claim: Option<(Did, Timestamp)>,
    outcome: watch::Receiver<Option<Arc<Found>>>,
}

/// All lookups.
pub(super) struct Lookups {
    resolver: Option<Arc<dyn IdentityResolver>>,
    lookups: moka::sync::Cache<String, Lookup>,
    verified: moka::sync::Cache<Did, Box<str>>,
    slots: Arc<Semaphore>,
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
                .build(),
            verified: moka::sync::Cache::builder()
                .max_capacity(RESULTS_MAX)
                .time_to_live(FOUND_LIFETIME)
                .build(),
            slots: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            budget: Mutex::new(RequestBudget::new(Instant::now())),
        })
    }

    pub(super) fn verified_handle(&self, did: &Did) -> Option<Box<str>> {
        self.verified.get(did)
    }

    /// Drops the cached result of a handle that named this account.
    pub(super) fn forget(&self, handle: &str, did: &Did) {
        self.lookups.invalidate(handle);
        self.verified.invalidate(did);
    }

    /// The cached result of a lookup since the newest claim, or that of a new lookup, for which
    /// this waits at most `wait_max`. A lookup that takes longer continues for later requests.
    pub(super) async fn ask(
        self: &Arc<Self>,
        handle: &str,
        newest_claim: Option<&(Did, Timestamp)>,
        wait_max: Duration,
    ) -> Result<Arc<Found>, NotChecked> {
        let mut outcome = self.join_or_start(handle, newest_claim)?;
        let finished = timeout(wait_max, outcome.wait_for(Option::is_some)).await;
        let late = || not_checked(format!("the resolver did not answer within {wait_max:?}"));
        match finished.map_err(|_| late())?.as_deref() {
            Ok(Some(found)) => Ok(found.clone()),
            _ => Err(not_checked("the lookup was interrupted")),
        }
    }

    fn join_or_start(
        self: &Arc<Self>,
        handle: &str,
        newest_claim: Option<&(Did, Timestamp)>,
    ) -> Result<watch::Receiver<Option<Arc<Found>>>, NotChecked> {
        let Some(resolver) = self.resolver.clone() else {
            return Err(NotChecked {
                reason: "the network is not asked (API_RESOLVER_URL)".to_owned(),
                is_off: true,
            });
        };
        // Locked during the start, so that two requests do not start the same lookup.
        let mut budget = self.budget();
        if let Some(lookup) = self.lookups.get(handle)
            && lookup.newest_claim.as_ref() == newest_claim
            && lookup.is_usable()
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
        let (lookups, handle) = (self.clone(), handle.to_owned());
        tokio::spawn(async move {
            let _slot = slot;
            let looking = AssertUnwindSafe(look_up(&*resolver, &handle)).catch_unwind();
            let finding = match timeout(LOOKUP_MAX, looking).await {
                Ok(Ok(finding)) => finding,
                Ok(Err(_panic)) => Err(not_checked("the lookup failed on our side")),
                Err(_) => Err(not_checked("the resolver did not answer in time")),
            };
            lookups.metrics.count(outcome_of(&finding));
            if let Ok(Finding::Verified(did)) = &finding {
                lookups.verified.insert(did.clone(), handle.into());
            }
            sender.send_replace(Some(Arc::new(Found::new(finding))));
        });
        Ok(outcome)
    }

    fn budget(&self) -> MutexGuard<'_, RequestBudget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup {
    /// Whether the lookup still runs, or its result is not too old.
    fn is_usable(&self) -> bool {
        let is_running = self.outcome.has_changed().is_ok();
        let found = self.outcome.borrow();
        match &*found {
            Some(found) => Instant::now() < found.until,
            None => is_running,
        }
    }
}

impl Found {
    fn new(finding: Result<Finding, NotChecked>) -> Self {
        let lifetime = match &finding {
            Ok(Finding::Verified(_) | Finding::OneWay(..)) => FOUND_LIFETIME,
            Ok(Finding::Nobody) => NOBODY_LIFETIME,
            Ok(Finding::Unconfirmed(..)) | Err(_) => FAILURE_LIFETIME,
        };
        Self {
            finding,
            reported: OnceLock::new(),
            until: Instant::now() + lifetime,
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

/// Asks both directions.
async fn look_up(resolver: &dyn IdentityResolver, handle: &str) -> Result<Finding, NotChecked> {
    let did = resolver.resolve_handle(handle).await;
    let Some(did) = did.map_err(|error| failed(&error))? else {
        return Ok(Finding::Nobody);
    };
    let one_way = |reason: String| Ok(Finding::OneWay(did.clone(), reason));
    match resolver.document(&did).await {
        Ok(Some(document)) if document.did != did => {
            one_way("the DID document is that of another account".to_owned())
        }
        Ok(Some(document)) => match document.handle {
            Some(named) if named.eq_ignore_ascii_case(handle) => Ok(Finding::Verified(did)),
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
            Ok(Finding::Unconfirmed(did, reason))
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
