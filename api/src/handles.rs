//! Resolves handles to accounts, in both directions.
//!
//! ```text
//! handle ─▶ fetched profile that still counts ─▶ verified
//!   └ no ─▶ network: handle ─▶ account ─▶ its DID document names the handle? ─ yes ─▶ verified
//!             │                                                          └ no ─▶ not verified
//!             └ names nobody, or was not asked ─▶ newest `#identity` event ─▶ not verified
//! ```
//!
//! Anyone may claim any handle in the stream, so a claim alone is never verified
//! (<https://atproto.com/specs/handle#handle-resolution>). The network is asked within a budget, so
//! that clients cannot use this server to flood others ([`Lookups`]). An account that the stream
//! knows is found even if the network cannot be asked; the answer then says why it is not verified.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use skytide_core::id::{Did, Handle};
use skytide_core::port::identity::IdentityResolver;
use skytide_core::port::profile::StoredProfile;
use skytide_core::port::store::{Order, Range};
use skytide_core::time::Timestamp;
use skytide_core::view::{AccountRow, HandleKey, HandleRow, ViewId, ViewKey};

use crate::answer::Rows;
use crate::problem::Problem;
use crate::state::{ApiContext, committed_of};
use crate::target::{Actor, Resolved, ResolvedActor, ResolvedBy};
use lookup::{Finding, Lookups, NotChecked};
use metrics::LookupMetrics;

mod lookup;
mod metrics;

/// Maximum number of claims of one handle that are read.
const CLAIMS_MAX: usize = 1_000;
/// How long a request waits for the network.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Resolves handles. Clones share the cache and the budget.
#[derive(Clone)]
pub(crate) struct Handles(Arc<Lookups>);

/// The accounts that claimed a handle in the stream.
struct Claims {
    handle: String,
    /// Newest first.
    newest_first: Vec<(Did, Timestamp)>,
}

impl Handles {
    /// Never asks the network.
    pub(crate) fn offline() -> Self {
        Self(Lookups::new(None, LookupMetrics::default()))
    }

    /// Asks `resolver`, and adds the metric of lookups to `registry`.
    pub(crate) fn new(
        resolver: Arc<dyn IdentityResolver>,
        registry: &Arc<Mutex<Registry>>,
    ) -> Self {
        Self(Lookups::new(
            Some(resolver),
            LookupMetrics::register(registry),
        ))
    }

    /// The handle of an account that the network verified within the last hour.
    pub(crate) fn verified_handle(&self, did: &Did) -> Option<Box<str>> {
        self.0.verified_handle(did)
    }

    /// Resolves an account. The result is part of the query, so that no cached answer depends on
    /// the state of the network.
    ///
    /// # Errors
    /// `not_found` if nothing knows the handle; `resolver_unavailable` if the stream does not know
    /// it and the network could not be asked; a problem of the store.
    pub(crate) async fn resolve(
        &self,
        context: &ApiContext,
        actor: &Actor,
    ) -> Result<ResolvedActor, Problem> {
        let handle = match actor {
            Actor::Did(did) => {
                let did = did.clone();
                let resolved = None;
                return Ok(ResolvedActor { did, resolved });
            }
            Actor::Handle(handle) => handle,
        };
        if Handle::is_invalid(handle) {
            return Err(Problem::not_found(format!(
                "{handle:?} identifies no account: it replaces a handle that could not be verified"
            )));
        }
        let snapshot = context.reader.snapshot();
        let reader = snapshot.as_deref().unwrap_or(&*context.reader);
        let (_, committed) = committed_of(reader).await?;
        let rows = Rows::new(context, reader, &committed);
        let claims = Claims::read(&rows, handle).await?;
        let stored = self.stored(context, &rows, &claims).await?;
        if let Some((stored, true)) = &stored {
            return Ok(claims.resolved(&stored.did, ResolvedBy::Profile, None));
        }
        match self.network(&rows, &claims).await? {
            Ok(Finding::Verified(did)) => Ok(claims.resolved(&did, ResolvedBy::Network, None)),
            Ok(Finding::OneWay(did, reason) | Finding::Unconfirmed(did, reason)) => {
                Ok(claims.resolved(&did, ResolvedBy::Network, Some(reason)))
            }
            Ok(Finding::Nobody) => {
                let reason = format!("the network resolves {handle:?} to no account");
                claims.newest(None, reason, false)
            }
            Err(NotChecked { reason, is_off }) => {
                let stored = stored.map(|(stored, _)| stored.did);
                claims.newest(stored, format!("not checked: {reason}"), !is_off)
            }
        }
    }

    /// The newest stored profile with the handle, and whether it still verifies the handle. It does
    /// not if another account has claimed the handle since the fetch: the handle may have moved.
    async fn stored(
        &self,
        context: &ApiContext,
        rows: &Rows<'_>,
        claims: &Claims,
    ) -> Result<Option<(StoredProfile, bool)>, Problem> {
        let found = context.profiles.by_handle(&claims.handle).await;
        let found = found.unwrap_or_else(|error| {
            let error = &error as &(dyn std::error::Error + 'static);
            tracing::warn!(
                error,
                "cannot read profiles: resolving a handle without them"
            );
            Vec::new()
        });
        let Some(stored) = found.into_iter().next() else {
            return Ok(None);
        };
        let row: Option<AccountRow> = rows.get_one(ViewId::Accounts, stored.did.clone()).await?;
        let claimed_since = claims
            .newest_first
            .iter()
            .any(|(did, at)| *did != stored.did && *at > stored.fetched);
        let counts = rows.is_verified(&stored, row.as_ref()) && !claimed_since;
        Ok(Some((stored, counts)))
    }

    /// What the network says, cached. A cached result ends when the stream reports another claim of
    /// the handle, or another handle of the account.
    async fn network(
        &self,
        rows: &Rows<'_>,
        claims: &Claims,
    ) -> Result<Result<Finding, NotChecked>, Problem> {
        let newest = claims.newest_first.first();
        for _ in 0..2 {
            let asked = self.0.ask(&claims.handle, newest, WAIT_MAX).await;
            let found = match asked {
                Ok(found) => found,
                Err(not_checked) => return Ok(Err(not_checked)),
            };
            let did = match &found.finding {
                Ok(
                    Finding::Verified(did) | Finding::OneWay(did, _) | Finding::Unconfirmed(did, _),
                ) => did,
                other => return Ok(other.clone()),
            };
            let row: Option<AccountRow> = rows.get_one(ViewId::Accounts, did.clone()).await?;
            let reported = row.and_then(|row| row.handle);
            if *found.reported.get_or_init(|| reported.clone()) == reported {
                return Ok(found.finding.clone());
            }
            self.0.forget(&claims.handle, did);
        }
        let reason = "the account changes its handle right now".to_owned();
        Ok(Err(NotChecked {
            reason,
            is_off: false,
        }))
    }
}

impl Claims {
    async fn read(rows: &Rows<'_>, handle: &str) -> Result<Self, Problem> {
        let mut prefix = Vec::new();
        handle.to_owned().encode(&mut prefix);
        let range = Range::prefix(Order::First, &prefix, CLAIMS_MAX);
        let claims: Vec<(HandleKey, HandleRow)> = rows.scan(ViewId::Handles, range).await?;
        let claims = claims.into_iter().map(|(key, row)| (key.did, row.claimed));
        let mut newest_first: Vec<(Did, Timestamp)> = claims.collect();
        newest_first.sort_by_key(|(did, claimed)| Reverse((*claimed, did.clone())));
        Ok(Self {
            handle: handle.to_owned(),
            newest_first,
        })
    }

    /// The account `did`; verified if there is no reason against it.
    fn resolved(&self, did: &Did, by: ResolvedBy, reason: Option<String>) -> ResolvedActor {
        let claimed = self
            .newest_first
            .iter()
            .find(|(claimant, _)| claimant == did);
        let resolved = Resolved {
            handle: self.handle.clone(),
            by,
            verified: reason.is_none(),
            reason,
            claimed: claimed.map(|(_, claimed)| claimed.rfc3339()),
            claims: self.newest_first.len(),
        };
        ResolvedActor {
            did: did.clone(),
            resolved: Some(resolved),
        }
    }

    /// The account of an old profile, else the account that claimed the handle last. `retry`:
    /// whether the network may be asked later.
    fn newest(
        &self,
        stored: Option<Did>,
        reason: String,
        retry: bool,
    ) -> Result<ResolvedActor, Problem> {
        if let Some(did) = stored {
            return Ok(self.resolved(&did, ResolvedBy::Profile, Some(reason)));
        }
        if let Some((did, _)) = self.newest_first.first() {
            return Ok(self.resolved(did, ResolvedBy::Claim, Some(reason)));
        }
        let handle = &self.handle;
        let detail = format!("no #identity event named the handle {handle:?}; {reason}");
        Err(match retry {
            true => Problem::unavailable("resolver_unavailable", detail),
            false => Problem::not_found(detail),
        })
    }
}
