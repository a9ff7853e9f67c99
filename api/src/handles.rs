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

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use skytide_core::id::{Did, Handle};
use skytide_core::port::identity::IdentityResolver;
use skytide_core::port::profile::StoredProfile;
use skytide_core::view::{AccountRow, ViewId};

use crate::answer::Rows;
use crate::problem::Problem;
use crate::state::{ApiContext, committed_of};
use crate::target::{Actor, ResolvedActor, ResolvedBy};
use claims::Claims;
use lookup::{Finding, Lookups, NotChecked, Question};
use metrics::{LookupMetrics, Outcome};

pub(crate) use lookup::VerifiedLookup;

mod claims;
mod lookup;
mod metrics;

/// How long a request waits for the network, and at most half the time that it may take.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Resolves handles. Clones share the cache and the budget.
#[derive(Clone)]
pub(crate) struct Handles(Arc<Lookups>);

/// Registers the metric of lookups with one time series, for the reference page of metrics.
pub(crate) fn register_example(registry: &Arc<Mutex<Registry>>) {
    LookupMetrics::register(registry).count(Outcome::Verified);
}

impl Handles {
    /// Never asks the network.
    pub(crate) fn offline() -> Self {
        Self(Lookups::new(None, LookupMetrics::default()))
    }

    /// The number of cached lookups, and their estimated bytes.
    pub(crate) fn size(&self) -> (u64, u64) {
        self.0.size()
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

    /// The cached lookup that verified the handle that the stream reports of an account
    /// ([`is_verified`] compares it with the rows of the answer). It reads neither the store nor the
    /// network.
    pub(crate) fn lookup_of(&self, did: &Did, row: &AccountRow) -> Option<VerifiedLookup> {
        let reported = row.handle.as_deref()?;
        self.0.verified(reported, did)
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
        match self.network(context, &rows, &claims).await? {
            Ok(Finding::Verified(did)) => Ok(claims.resolved(&did, ResolvedBy::Network, None)),
            Ok(Finding::OneWay(did, reason) | Finding::Unconfirmed(did, reason)) => {
                Ok(claims.resolved(&did, ResolvedBy::Network, Some(reason)))
            }
            Ok(Finding::Nobody) => {
                let reason = format!("the network resolves {handle:?} to no account");
                claims.resolved_by_newest(None, reason, false)
            }
            Err(NotChecked { reason, is_off }) => {
                let stored = stored.map(|(stored, _)| stored.did);
                let reason = format!("not checked: {reason}");
                claims.resolved_by_newest(stored, reason, !is_off)
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
        let counts = rows.is_verified(&stored, row.as_ref())
            && !claims.others_since(&stored.did, stored.fetched);
        Ok(Some((stored, counts)))
    }

    /// What the network says, cached. A cached result ends when the stream reports another claim of
    /// the handle, or another handle of the account. If the commit does not have these views, it ends
    /// soon by itself.
    async fn network(
        &self,
        context: &ApiContext,
        rows: &Rows<'_>,
        claims: &Claims,
    ) -> Result<Result<Finding, NotChecked>, Problem> {
        let reports_changes = claims.is_computed && rows.computes(ViewId::Accounts);
        let question = Question {
            handle: &claims.handle,
            reports_changes,
            newest_claim: claims.newest(),
            reader: &context.reader,
        };
        let request_max = Duration::from_millis(context.limits.request_ms_max);
        let wait_max = WAIT_MAX.min(request_max / 2);
        for _ in 0..2 {
            let asked = self.0.ask(&question, wait_max).await;
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
            if found.reported == reported {
                return Ok(found.finding.clone());
            }
            self.0.forget(&claims.handle);
        }
        let reason = "the account changes its handle right now".to_owned();
        Ok(Err(NotChecked {
            reason,
            is_off: false,
        }))
    }
}

/// Whether the handle in the row of an account is verified by its stored profile or by a lookup, and
/// no other account has claimed it since. Without the view `handles` that is not known, so it is not
/// verified.
pub(crate) async fn is_verified(
    rows: &Rows<'_>,
    row: &AccountRow,
    stored: Option<&StoredProfile>,
    lookup: Option<&VerifiedLookup>,
) -> Result<bool, Problem> {
    let Some(handle) = &row.handle else {
        return Ok(false);
    };
    let stored = stored.filter(|it| rows.is_verified(it, Some(row)));
    let lookup = lookup.filter(|it| it.handle == *handle);
    if stored.is_none() && lookup.is_none() {
        return Ok(false);
    }
    let claims = Claims::read(rows, handle).await?;
    let by_profile = stored.is_some_and(|it| !claims.others_since(&it.did, it.fetched));
    let is_newest = |it: &VerifiedLookup| it.newest_claim.as_ref() == claims.newest();
    let by_lookup = claims.is_computed && lookup.is_some_and(is_newest);
    Ok(by_profile || by_lookup)
}
