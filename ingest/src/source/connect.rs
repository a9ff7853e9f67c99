//! Opens a WebSocket to a relay.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::ServerName;
use skytide_core::config::RelayUrl;
use skytide_core::event::Host;
use skytide_core::id::Cursor;
use skytide_core::time::Timestamp;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{DATE, RETRY_AFTER, USER_AGENT};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{
    Error,
    handshake::client::{Request, Response},
};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::either::Either;

use super::SourceError;
use super::limit::MessageLimit;
use crate::options::RelayOptions;

/// An open connection.
pub(super) type Socket = WebSocketStream<MessageLimit<Stream>>;

/// `ws://` or `wss://`.
type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

const PATH: &str = "/xrpc/com.atproto.sync.subscribeRepos";
const AGENT: &str = concat!("skytide/", env!("CARGO_PKG_VERSION"));

/// A relay's validated address, and the TLS client to connect to it.
pub(super) struct Address {
    /// `ws://` or `wss://`, host and path.
    base: String,
    host: Host,
    former: Vec<Host>,
    tls: Option<TlsConnector>,
}

/// A failed connection attempt: the reason, without secrets, and the wait that the relay requests.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) retry_after: Option<RetryAfter>,
}

/// When a relay allows the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetryAfter {
    In(Duration),
    At(Timestamp),
}

impl Address {
    /// Validates the configured address.
    pub(super) fn new(url: &RelayUrl) -> Result<Self, SourceError> {
        let wrong = |why: &str| SourceError::Address(why.to_owned());
        if url.has_user() {
            return Err(wrong(
                "it contains a user name, which would appear in logs; remove it",
            ));
        }
        if url.has_query() {
            return Err(wrong(
                "it has a query; remove it, as the cursor is added automatically",
            ));
        }
        let scheme = if url.is_secure() { "wss" } else { "ws" };
        let name = url.name();
        Ok(Self {
            base: format!("{scheme}://{name}{}", url.path().unwrap_or(PATH)),
            host: name.into(),
            former: url.former_names().into_iter().map(Into::into).collect(),
            tls: url.is_secure().then(connector).transpose()?,
        })
    }

    /// The relay's name: its host, with the port if one is given.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Names that earlier versions gave to the same relay.
    pub(super) fn former(&self) -> &[Host] {
        &self.former
    }

    /// Sets another name of the relay, which is independent of its address.
    pub(super) fn rename(&mut self, host: &str) {
        self.host = host.into();
        self.former.clear();
    }

    /// Opens a connection whose stream starts after `cursor`.
    pub(super) async fn connect(
        &self,
        cursor: Option<Cursor>,
        options: &RelayOptions,
    ) -> Result<Socket, Refusal> {
        let opening = self.open(cursor, options.message_bytes_max);
        match tokio::time::timeout(options.connect_timeout, opening).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => Err(Refusal {
                reason: format!("no connection within {:?}", options.connect_timeout),
                retry_after: None,
            }),
        }
    }

    /// Opens a connection and closes it again. Also returns the time in the relay's response, if it
    /// has one.
    pub(super) async fn try_to_connect(
        &self,
        message_bytes_max: usize,
    ) -> (Result<(), Refusal>, Option<Timestamp>) {
        match self.open(None, message_bytes_max).await {
            Ok((_, head)) => (Ok(()), date(head.headers())),
            Err(error) => {
                let time = match &error {
                    Error::Http(response) => date(response.headers()),
                    _ => None,
                };
                (Err(refusal(&error)), time)
            }
        }
    }

    async fn open(
        &self,
        cursor: Option<Cursor>,
        message_bytes_max: usize,
    ) -> Result<(Socket, Response), Error> {
        let request = self.request(cursor)?;
        let stream = MessageLimit::new(self.stream(&request).await?, message_bytes_max);
        // A truncated message is one byte over `message_bytes_max`, so it never exceeds the limit
        // of the WebSocket library.
        let limit = Some(message_bytes_max.saturating_add(1));
        let config = WebSocketConfig::default()
            .max_message_size(limit)
            .max_frame_size(limit);
        client_async_with_config(request, stream, Some(config)).await
    }

    /// Opens the TCP connection, with TLS if the address is `wss://`.
    async fn stream(&self, request: &Request) -> Result<Stream, Error> {
        let uri = request.uri();
        let host = uri.host().unwrap_or_default();
        // Brackets surround an IPv6 address only in a URI (RFC 3986, 3.2.2).
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port_default = if self.tls.is_some() { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(port_default);
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Either::Left(tcp));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        Ok(Either::Right(Box::new(tls.connect(name, tcp).await?)))
    }

    fn request(&self, cursor: Option<Cursor>) -> Result<Request, Error> {
        let url = match cursor {
            Some(cursor) => format!("{}?cursor={cursor}", self.base),
            None => self.base.clone(),
        };
        let mut request = url.into_client_request()?;
        let agent = HeaderValue::from_static(AGENT);
        request.headers_mut().insert(USER_AGENT, agent);
        Ok(request)
    }
}

impl RetryAfter {
    /// The requested wait at the time `now`.
    pub(super) fn wait(self, now: Timestamp) -> Duration {
        match self {
            Self::In(wait) => wait,
            Self::At(at) => Duration::from_millis(at.0.saturating_sub(now.0)),
        }
    }
}

/// A TLS client by rustls and ring, with the machine's root certificates.
fn connector() -> Result<TlsConnector, SourceError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = "this machine has no root certificates (install ca-certificates)";
        return Err(SourceError::Tls(why.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SourceError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

fn refusal(error: &Error) -> Refusal {
    match error {
        Error::Http(response) => {
            let status = response.status();
            let is_temporary = matches!(status.as_u16(), 429 | 503);
            Refusal {
                reason: format!("the relay replied {status} instead of opening a WebSocket"),
                retry_after: is_temporary
                    .then(|| retry_after(response.headers()))
                    .flatten(),
            }
        }
        error => Refusal {
            reason: error.to_string(),
            retry_after: None,
        },
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<RetryAfter> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(RetryAfter::In(Duration::from_secs(seconds)));
    }
    http_date(text).map(RetryAfter::At)
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?)
}

fn http_date(text: &str) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(text).ok()?;
    let since_1970 = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp(since_1970.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_and_the_cursor_are_appended_to_an_address() {
        let url = |address: &str, cursor| {
            let address = Address::new(&address.parse().unwrap()).unwrap();
            let request = address.request(cursor).unwrap();
            (request.uri().to_string(), address.host().to_string())
        };
        let (plain, host) = url("ws://Relay.example", None);
        assert_eq!(plain, format!("ws://relay.example{PATH}"));
        assert_eq!(host, "relay.example");
        let (with_cursor, host) = url("http://127.0.0.1:99/own/path", Some(Cursor(7)));
        assert_eq!(with_cursor, "ws://127.0.0.1:99/own/path?cursor=7");
        assert_eq!(host, "127.0.0.1:99");
    }

    #[test]
    fn an_unusable_address_is_refused_without_repeating_its_secrets() {
        for url in ["ws://me:secret@a", "ws://a/?cursor=3"] {
            let error = Address::new(&url.parse().unwrap()).err();
            let error = error.map(|error| error.to_string());
            assert!(
                error.is_some_and(|error| !error.contains("secret")),
                "{url}"
            );
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers).map(|after| after.wait(Timestamp(1_000_000)).as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read("Thu, 01 Jan 1970 00:20:00 GMT"), Some(200));
        assert_eq!(read("Thu, 01 Jan 1970 00:10:00 GMT"), Some(0));
        assert_eq!(read("soon"), None);
    }
}
