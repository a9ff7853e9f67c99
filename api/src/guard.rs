//! The layer that decides whether a request reaches its route: the rate limit, then the key.
//!
//! ```text
//! request ─▶ key known? ─▶ Host, Origin (admin) ─▶ scope ─▶ bucket of the key, else of the address
//!                               └ 403                └ 401, 403   └ empty: 429, whatever came before
//! ```
//!
//! A request that is refused costs one unit. So a client that guesses keys is limited like any
//! other, and invalid keys create no bucket. A route that checks the key itself costs the same
//! whether it refuses or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
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

/// What was decided about a request before its bucket is charged.
struct Decision {
    /// The valid key, whose bucket is charged; `None`: that of the address.
    key: Option<Arc<KeyEntry>>,
    /// Units that it costs.
    cost: u32,
    /// How it is counted.
    outcome: AccessOutcome,
    /// Whether the route is called, for whom.
    caller: Result<Caller, Denied>,
}

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
    fn charge(&self, request: &Request, decision: &Decision) -> Option<Charge> {
        let cost = decision.cost;
        if cost == 0 {
            return None;
        }
        if let Some(key) = &decision.key {
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

    /// Decides whether the sender of a request may call its route, and what that costs.
    fn decide(&self, request: &Request) -> Decision {
        let matched = request.extensions().get::<MatchedPath>();
        let route = matched.and_then(|path| catalogue::find(path.as_str(), request.method()));
        // A path that is not in the catalogue is a file of the start page, or does not exist.
        let access = route.map_or(RouteAccess::Public, |route| route.access);
        let full_cost = route.map_or(1, |route| Route::cost_of(route, request.uri().query()));
        let has_method = route.is_none_or(|route| route.method.accepts(request.method()));
        if access == RouteAccess::Own && has_method {
            return self.decide_own(request, full_cost);
        }
        let identity = match access {
            RouteAccess::Public | RouteAccess::Own => Ok(None),
            _ => self.access.identify(request.headers()),
        };
        let key = identity.as_ref().ok().cloned().flatten();
        let caller = self.authorize(request, access, identity);
        Decision {
            cost: match caller.is_ok() && has_method {
                true => full_cost,
                false => full_cost.min(1),
            },
            outcome: match &caller {
                Ok(Caller::Anonymous) => AccessOutcome::Anonymous,
                Ok(Caller::Key(_)) => AccessOutcome::Key,
                Err(denied) => denied.outcome(),
            },
            key,
            caller,
        }
    }

    /// Decides about a route that checks the key itself. It is called in any case: it refuses with
    /// answers of its own.
    fn decide_own(&self, request: &Request, cost: u32) -> Decision {
        let key = self.access.check_own(request.headers(), Scope::Read);
        Decision {
            cost,
            outcome: match &key {
                Ok(_) => AccessOutcome::Key,
                Err(refusal) => Denied::Refused(*refusal).outcome(),
            },
            caller: Ok(match &key {
                Ok(key) => Caller::Key(key.clone()),
                Err(_) => Caller::Anonymous,
            }),
            key: key.ok(),
        }
    }

    /// Decides whether the sender of a request may call a route.
    fn authorize(
        &self,
        request: &Request,
        access: RouteAccess,
        identity: Result<Option<Arc<KeyEntry>>, Refusal>,
    ) -> Result<Caller, Denied> {
        let scope = match access {
            RouteAccess::Public | RouteAccess::Own => return Ok(Caller::Anonymous),
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
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let decision = guard.decide(&request);
    let charge = guard.charge(&request, &decision);
    let retry_after = charge.as_ref().and_then(|it| it.retry_after_seconds);
    let mut response = if let Some(seconds) = retry_after {
        guard.metrics.count(AccessOutcome::Limited);
        Problem::rate_limited(seconds).into_response()
    } else {
        guard.metrics.count(decision.outcome);
        match decision.caller {
            Err(denied) => Problem::from(denied).into_response(),
            Ok(caller) => {
                let has_key = matches!(caller, Caller::Key(_));
                request.extensions_mut().insert(caller);
                let mut response = next.run(request).await;
                if has_key {
                    make_private(response.headers_mut());
                }
                response
            }
        }
    };
    if let Some(charge) = charge {
        charge.set_headers(response.headers_mut());
    }
    response
}

/// Keeps the answer to a request with a key out of caches that several clients share
/// (<https://www.rfc-editor.org/rfc/rfc9111#name-private>).
fn make_private(headers: &mut HeaderMap) {
    let caching = headers.get(header::CACHE_CONTROL);
    if caching.is_some_and(|caching| caching != "no-cache") {
        return;
    }
    let private = HeaderValue::from_static("private, no-cache");
    headers.insert(header::CACHE_CONTROL, private);
    let by_key = HeaderValue::from_static("x-api-key, authorization");
    headers.append(header::VARY, by_key);
}

#[cfg(test)]
mod tests;
