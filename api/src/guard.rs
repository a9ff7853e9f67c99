//! The layer that decides whether a request reaches its route: the rate limit, then the key.
//!
//! ```text
//! request ─▶ key known? ─▶ bucket of the key, else of the address ─▶ Host, Origin (admin) ─▶ scope
//!                              └ empty: 429                             └ 403           └ 401, 403
//! ```
//!
//! A request that is refused costs one unit, too. So a client that guesses keys is limited like any
//! other, and invalid keys create no bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use skytide_core::port::clock::Clock;
use skytide_core::port::key::{KeyStore, Scope};

use crate::access::{Access, Caller, KeyEntry, Refusal};
use crate::catalogue::{self, Route, RouteAccess};
use crate::client::{FORWARDED_FOR, client_of};
use crate::connection_state::Peer;
use crate::hosts::Hosts;
use crate::limiter::{AddressLimits, Charge, KeyQuota, LimitClock};
use crate::metrics::{AccessMetrics, AccessOutcome};
use crate::options::AccessOptions;
use crate::problem::Problem;

/// What the layer needs. Clones share buckets and keys.
#[derive(Clone)]
pub(crate) struct Guard {
    pub(crate) access: Access,
    pub(crate) addresses: AddressLimits,
    pub(crate) hosts: Hosts,
    pub(crate) trusted_hops: usize,
    pub(crate) metrics: AccessMetrics,
    /// Whether a proxy was reported that `API_TRUSTED_HOPS` does not count.
    proxy_reported: Arc<AtomicBool>,
}

/// The key of a request: none, a valid one, or one that cannot be accepted.
type Identity = Result<Option<Arc<KeyEntry>>, Refusal>;

impl Guard {
    /// The layer with these rules. `clock` decides when keys expire.
    pub(crate) fn new(
        options: AccessOptions,
        keys: Arc<dyn KeyStore>,
        clock: Arc<dyn Clock>,
        limit_clock: LimitClock,
        metrics: AccessMetrics,
    ) -> Self {
        let quota = KeyQuota::new(options.key_limit, limit_clock.clone());
        Self {
            access: Access::new(keys, clock, options.anonymous, quota),
            addresses: AddressLimits::new(options.address_limit, limit_clock),
            hosts: Hosts::new(&options.hosts),
            trusted_hops: options.trusted_hops,
            metrics,
            proxy_reported: Arc::default(),
        }
    }

    /// Takes what the request costs from its bucket; `None` if it has no limit or costs nothing.
    fn charge(&self, request: &Request, identity: &Identity, cost: u32) -> Option<Charge> {
        if cost == 0 {
            return None;
        }
        if let Ok(Some(key)) = identity {
            return key.limiter.as_ref().map(|limiter| limiter.charge(cost));
        }
        let peer = request.extensions().get::<Peer>().map(|peer| peer.client);
        let client = client_of(request.headers(), peer, self.trusted_hops);
        let charge = self.addresses.charge(client, cost)?;
        if charge.retry_after_seconds.is_some() {
            self.report_proxy(request);
        }
        Some(charge)
    }

    /// Warns once if a client was limited that may be a proxy for many clients.
    fn report_proxy(&self, request: &Request) {
        let is_forwarded = request.headers().contains_key(FORWARDED_FOR);
        if self.trusted_hops == 0
            && is_forwarded
            && !self.proxy_reported.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "limited a client that sends X-Forwarded-For: if it is your proxy, set \
                 API_TRUSTED_HOPS, or all its clients share one limit"
            );
        }
    }

    /// Decides whether the sender of a request may call a route.
    fn authorize(
        &self,
        request: &Request,
        access: RouteAccess,
        identity: Identity,
    ) -> Result<Caller, Denied> {
        let scope = match access {
            RouteAccess::Public => return Ok(Caller::Anonymous),
            RouteAccess::Own => {
                return Ok(match identity {
                    Ok(Some(key)) => Caller::Key(key),
                    _ => Caller::Anonymous,
                });
            }
            RouteAccess::Read => Scope::Read,
            RouteAccess::Live => Scope::Live,
            RouteAccess::Admin => Scope::Admin,
        };
        let is_admin = access == RouteAccess::Admin;
        if is_admin && !self.hosts.allow(request.uri(), request.headers()) {
            return Err(Denied::Foreign);
        }
        match identity.map_err(Denied::Refused)? {
            Some(key) if key.stored.allows(scope) => Ok(Caller::Key(key)),
            Some(_) => Err(Denied::Refused(Refusal::Scope(scope))),
            None if self.access.allows_anonymous() && !is_admin => Ok(Caller::Anonymous),
            None => Err(Denied::Refused(Refusal::Missing)),
        }
    }
}

/// Why a request does not reach its route.
enum Denied {
    /// An admin route was called under a foreign name or by a page of another origin.
    Foreign,
    /// The key does not allow it.
    Refused(Refusal),
}

impl Denied {
    fn outcome(&self) -> AccessOutcome {
        match self {
            Self::Foreign => AccessOutcome::Foreign,
            Self::Refused(Refusal::Missing) => AccessOutcome::Missing,
            Self::Refused(Refusal::Invalid) => AccessOutcome::Invalid,
            Self::Refused(Refusal::Scope(_)) => AccessOutcome::Scope,
            Self::Refused(Refusal::Unavailable) => AccessOutcome::Unavailable,
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Foreign => Self::foreign_host(),
            Denied::Refused(refusal) => refusal.into(),
        }
    }
}

/// Lets a request pass to its route, or refuses it. Adds the [`Caller`] to its extensions, and the
/// state of the bucket to the headers of the answer.
pub(crate) async fn guard(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.and_then(|path| catalogue::find(path.as_str(), request.method()));
    // A path that is not in the catalogue is a file of the start page, or does not exist.
    let access = route.map_or(RouteAccess::Public, |route| route.access);
    let identity = match access {
        RouteAccess::Public => Ok(None),
        _ => guard.access.identify(request.headers()),
    };
    let full_cost = route.map_or(1, |route| Route::cost_of(route, request.uri().query()));
    let cost = if identity.is_ok() { full_cost } else { 1 };
    let charge = guard.charge(&request, &identity, cost);
    let retry_after = charge.as_ref().and_then(|it| it.retry_after_seconds);
    let mut response = if let Some(seconds) = retry_after {
        guard.metrics.count(AccessOutcome::Limited);
        Problem::rate_limited(seconds).into_response()
    } else {
        match guard.authorize(&request, access, identity) {
            Err(denied) => {
                guard.metrics.count(denied.outcome());
                Problem::from(denied).into_response()
            }
            Ok(caller) => {
                guard.metrics.count(match &caller {
                    Caller::Anonymous => AccessOutcome::Anonymous,
                    Caller::Key(_) => AccessOutcome::Key,
                });
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
        }
    };
    if let Some(charge) = charge {
        charge.set_headers(response.headers_mut());
    }
    response
}

#[cfg(test)]
mod tests;
