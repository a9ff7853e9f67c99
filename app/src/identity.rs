//! Resolves handles and DIDs over HTTP.
//!
//! ```text
//! handle ─▶ API_RESOLVER_URL  com.atproto.identity.resolveHandle
//! did:plc ─▶ API_PLC_URL      /{did}
//! did:web ─▶ its own host     https://HOST/.well-known/did.json       public addresses only
//! ```
//!
//! The operator chooses the first two servers. The host of a `did:web` is chosen by
//! the account, so only public addresses are connected to (`public`). No redirect is
//! followed, and a body has at most 64 KiB.

mod http;
mod public;

pub use http::{HttpIdentity, HttpIdentityError};
