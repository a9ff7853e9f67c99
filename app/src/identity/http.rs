//! The requests and their answers, which are untrusted.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Response, StatusCode, redirect};
use serde::Deserialize;
use skytide_core::config::Endpoint;
use skytide_core::id::{Did, is_handle};
use skytide_core::port::clock::Clock;
use skytide_core::port::identity::{DidDocument, IdentityError, IdentityResolver};
use skytide_core::port::profile::{PausedServer, ProfileError, ProfileStore, SourcePause};
use skytide_core::time::Timestamp;
use tokio::sync::OnceCell;

use super::public::{HostLookup, PublicAddresses, SystemLookup, is_public, is_public_name};
use crate::http_body::read_body;
use crate::profiles::{PAUSE_MS_MAX, retry_at};

/// Identifies this program to the operators of the servers.
const USER_AGENT: &str = concat!("skytide/", env!("CARGO_PKG_VERSION"));
/// Maximum size of a response body, in bytes. A document has about 1 KB.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Maximum duration of a request, its body included.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// The pause after a rate limit without a time.
const DEFAULT_PAUSE_MS: u64 = 60_000;

/// An [`IdentityResolver`] over HTTP.
pub struct HttpIdentity {
    /// For the servers that the operator chose.
    chosen: Client,
    /// For the hosts of `did:web`.
    web: Client,
    resolver: Server,
    plc: Server,
    clock: Arc<dyn Clock>,
    /// Keeps the pauses that servers demand; `None`: they end with the process.
    pauses: Option<Arc<dyn ProfileStore>>,
}

/// A server that the operator chose.
struct Server {
    /// Without a slash at the end.
    url: String,
    /// It accepts no request before this time.
    not_before: AtomicU64,
    /// Which of the stored pauses is its own.
    paused: PausedServer,
    /// Set once the stored pause was read.
    restored: OnceCell<()>,
}

/// The client cannot be created, because TLS is not usable on this machine.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the HTTP client")]
pub struct HttpIdentityError(#[from] reqwest::Error);

impl HttpIdentity {
    /// Resolves handles at `resolver`, and documents of `did:plc` at `plc`.
    ///
    /// # Errors
    ///
    /// The root certificates of this machine cannot be used.
    pub fn new(
        resolver: &Endpoint,
        plc: &Endpoint,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, HttpIdentityError> {
        Self::with_lookup(resolver, plc, clock, SystemLookup)
    }

    fn with_lookup(
        resolver: &Endpoint,
        plc: &Endpoint,
        clock: Arc<dyn Clock>,
        lookup: impl HostLookup,
    ) -> Result<Self, HttpIdentityError> {
        // Fails if another client has already installed the provider, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy would connect in place of this process, so the address could not be checked.
        let web = client()
            .https_only(true)
            .no_proxy()
            .dns_resolver(Arc::new(PublicAddresses(lookup)))
            .build()?;
        Ok(Self {
            chosen: client().build()?,
            web,
            resolver: Server::new(resolver, PausedServer::Resolver),
            plc: Server::new(plc, PausedServer::Plc),
            clock,
            pauses: None,
        })
    }

    /// Keeps the pauses that servers demand in this store, so that they survive a restart.
    #[must_use]
    pub fn with_pauses(mut self, store: Arc<dyn ProfileStore>) -> Self {
        self.pauses = Some(store);
        self
    }

    /// Applies the stored pause of a server, once. If it cannot be read, the next request tries
    /// again.
    async fn restore_pause(&self, server: &Server) {
        let Some(pauses) = &self.pauses else { return };
        let restored = server.restored.get_or_try_init(|| async {
            let stored = pauses.pause(server.paused).await?;
            // A longer one was stored while a clock was wrong.
            let latest = self.clock.now().0.saturating_add(PAUSE_MS_MAX);
            let not_before = stored.not_before.0.min(latest);
            server.not_before.fetch_max(not_before, Ordering::Relaxed);
            Ok::<(), ProfileError>(())
        });
        if let Err(error) = restored.await {
            let error = &error as &(dyn Error + 'static);
            tracing::warn!(error, "could not read the pause that a resolver demanded");
        }
    }

    /// Starts the pause that a server demands. If it cannot be stored, it ends with the process.
    async fn start_pause(&self, server: &Server, not_before: Timestamp) {
        server.not_before.store(not_before.0, Ordering::Relaxed);
        let Some(pauses) = &self.pauses else { return };
        let pause = SourcePause {
            not_before,
            failures_in_a_row: 0,
        };
        if let Err(error) = pauses.set_pause(server.paused, &pause).await {
            let error = &error as &(dyn Error + 'static);
            tracing::warn!(error, "could not store the pause that a resolver demands");
        }
    }

    /// Requests JSON from a server that the operator chose; `None` if the server knows nothing of
    /// what is requested.
    async fn request(
        &self,
        server: &Server,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Option<Vec<u8>>, IdentityError> {
        self.restore_pause(server).await;
        let not_before = Timestamp(server.not_before.load(Ordering::Relaxed));
        if self.clock.now() < not_before {
            return Err(IdentityError::RateLimited { not_before });
        }
        let url = format!("{}{path}", server.url);
        let sent = self.chosen.get(url).query(query).send().await;
        let answer = read(sent, self.clock.now()).await;
        if let Err(IdentityError::RateLimited { not_before }) = &answer {
            self.start_pause(server, *not_before).await;
        }
        answer
    }

    /// The document of a `did:web`, from its own host.
    async fn web_document(&self, host: &str) -> Result<Option<Vec<u8>>, IdentityError> {
        if !is_public_name(host) {
            let why = format!("{host:?} is not a host name in the public name space");
            return Err(IdentityError::NotAllowed(why));
        }
        let url = format!("https://{host}/.well-known/did.json");
        let response = self.web.get(url).send().await;
        if let Ok(response) = &response
            && !response.remote_addr().is_some_and(|it| is_public(it.ip()))
        {
            let why = format!("{host:?} has no public address");
            return Err(IdentityError::NotAllowed(why));
        }
        read(response, self.clock.now()).await
    }
}

impl Server {
    fn new(url: &Endpoint, paused: PausedServer) -> Self {
        Self {
            url: url.with_secret().trim_end_matches('/').to_owned(),
            not_before: AtomicU64::new(0),
            paused,
            restored: OnceCell::new(),
        }
    }
}

#[async_trait]
impl IdentityResolver for HttpIdentity {
    async fn resolve_handle(&self, handle: &str) -> Result<Option<Did>, IdentityError> {
        #[derive(Deserialize)]
        struct Body {
            did: String,
        }

        let path = "/xrpc/com.atproto.identity.resolveHandle";
        let query = [("handle", handle)];
        let Some(body) = self.request(&self.resolver, path, &query).await? else {
            return Ok(None);
        };
        let body: Body = serde_json::from_slice(&body).map_err(failed)?;
        let did = body.did.parse();
        did.map(Some)
            .map_err(|_| failed("the answer contains no valid DID"))
    }

    async fn document(&self, did: &Did) -> Result<Option<DidDocument>, IdentityError> {
        let text = did.to_string();
        let body = match text.strip_prefix("did:web:") {
            Some(host) => self.web_document(host).await?,
            None if text.starts_with("did:plc:") => {
                self.request(&self.plc, &format!("/{text}"), &[]).await?
            }
            None => {
                let why = "its DID is neither did:plc nor did:web".to_owned();
                return Err(IdentityError::NotAllowed(why));
            }
        };
        body.map(|body| document(&body)).transpose()
    }
}

fn client() -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .timeout(REQUEST_MAX)
        .connect_timeout(REQUEST_MAX)
        .redirect(redirect::Policy::none())
}

/// The part of a DID document that is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DocumentBody {
    id: String,
    #[serde(default)]
    also_known_as: Vec<serde_json::Value>,
}

fn document(body: &[u8]) -> Result<DidDocument, IdentityError> {
    let body: DocumentBody = serde_json::from_slice(body).map_err(failed)?;
    let did = body.id.parse();
    let did = did.map_err(|_| failed("the document contains no valid DID"))?;
    let names = body.also_known_as.iter().filter_map(|it| it.as_str());
    let first = names.filter_map(|name| name.strip_prefix("at://")).next();
    let handle = first.filter(|handle| is_handle(handle));
    Ok(DidDocument {
        did,
        handle: handle.map(|handle| handle.to_ascii_lowercase().into()),
    })
}

/// The body of a response, if it is JSON; `None` if the server reports that there is no such
/// object.
async fn read(
    response: Result<Response, reqwest::Error>,
    now: Timestamp,
) -> Result<Option<Vec<u8>>, IdentityError> {
    // The URL may contain a password, which must not get into the error.
    let response = response.map_err(|why| failed(why.without_url()))?;
    let headers = response.headers();
    let is_json = headers.get(CONTENT_TYPE).is_some_and(is_json);
    match response.status() {
        StatusCode::OK if is_json => {}
        StatusCode::OK => return Err(failed("the response is not JSON")),
        // The directory answers 410 for a DID that was removed. A resolver answers 400 for a handle
        // that does not resolve; a page in place of JSON comes from another server.
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
        StatusCode::BAD_REQUEST if is_json => return Ok(None),
        StatusCode::TOO_MANY_REQUESTS => {
            let default = Timestamp(now.0 + DEFAULT_PAUSE_MS);
            let not_before = retry_at(headers, now).unwrap_or(default);
            return Err(IdentityError::RateLimited { not_before });
        }
        StatusCode::SERVICE_UNAVAILABLE if headers.contains_key(RETRY_AFTER) => {
            let not_before = retry_at(headers, now).unwrap_or(now);
            return Err(IdentityError::RateLimited { not_before });
        }
        status => return Err(failed(format!("the server responded with {status}"))),
    }
    let body = read_body(response, BODY_BYTES_MAX).await;
    body.map(Some).map_err(failed)
}

/// Whether a media type is JSON, such as `application/json` or `application/did+ld+json`.
fn is_json(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    let media = text.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json") || media.to_ascii_lowercase().ends_with("+json")
}

fn failed(why: impl Into<Box<dyn Error + Send + Sync>>) -> IdentityError {
    IdentityError::Failed(why.into())
}

#[cfg(test)]
mod tests;
