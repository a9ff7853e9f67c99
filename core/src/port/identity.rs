//! Identities: which account a handle names, and which handle an account names. Both directions
//! must agree before a handle is verified (<https://atproto.com/specs/handle#handle-resolution>).

use async_trait::async_trait;

use super::BoxError;
use crate::id::Did;
use crate::time::Timestamp;

/// The servers of the network that resolve handles and DIDs.
#[async_trait]
pub trait IdentityResolver: Send + Sync {
    /// The account that a handle names; `None` if it names none. `handle` is in lower case.
    async fn resolve_handle(&self, handle: &str) -> Result<Option<Did>, IdentityError>;

    /// The DID document of an account; `None` if it has none.
    async fn document(&self, did: &Did) -> Result<Option<DidDocument>, IdentityError>;
}

/// The part of a DID document that is used (<https://atproto.com/specs/did#did-documents>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DidDocument {
    /// The account that the document describes.
    pub did: Did,
    /// The host of the first `at://` entry of `alsoKnownAs`: the handle that the account names. In
    /// lower case; `None` if there is no such entry, or it is not a handle.
    pub handle: Option<Box<str>>,
}

/// Why an identity was not resolved.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A server accepts no more requests before this time, by the clock of this machine.
    #[error("the resolver accepts no requests before {} (rate limit)", .not_before.rfc3339())]
    RateLimited {
        /// The end of the rate limit.
        not_before: Timestamp,
    },
    /// The account names a host that is not queried, for example a private address.
    #[error("{0}")]
    NotAllowed(String),
    /// A server could not be reached, or its answer is malformed. The caller may retry later.
    #[error("could not resolve the identity")]
    Failed(#[source] BoxError),
}
