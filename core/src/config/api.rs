//! Options of the API.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::address::trimmed;
use super::{ByteSize, Endpoint, EndpointOrNever, ListenAddress, Span, ValueError, between};

const SECOND: Span = Span(Duration::from_secs(1));
const ZERO: Span = Span(Duration::ZERO);
const MINUTE: Span = Span(Duration::from_secs(60));
const MIB: u64 = 1 << 20;
const HOUR: Span = Span(Duration::from_secs(3_600));
const RATE_MAX: u32 = 1_000_000;

/// Minimum burst of a rate limit: the cost of the most expensive request, which could never be
/// answered otherwise.
pub const BURST_MIN: u32 = 10;

/// How the API accepts connections and answers requests.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "API")]
pub struct Api {
    /// Address or name, and port, on which the API and the start page listen, for example
    /// `127.0.0.1:7780`, `[::1]:7780` or `localhost:7780`. If a name has several addresses, the
    /// first one is used, IPv4 before IPv6. Port 0 selects a free port and prints it.
    #[arg(id = "API_ADDRESS", long = "api-address", env = "API_ADDRESS")]
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:7780")]
    pub address: ListenAddress,

    /// Maximum number of open connections. A new connection beyond it replaces a connection of the
    /// client with the most connections, if that connection waits for a request or its client does
    /// not read the answer. If all connections have requests in progress, the new one is refused.
    #[arg(
        id = "API_CONNECTIONS_MAX",
        long = "api-connections-max",
        env = "API_CONNECTIONS_MAX"
    )]
    #[arg(value_name = "CONNECTIONS", default_value_t = 1_024)]
    #[arg(value_parser = between(1..=100_000_u32))]
    pub connections_max: u32,

    /// Maximum number of open connections per client. A client is an IPv4 address or an IPv6 `/64`.
    /// 0 sets no limit per client; when `API_CONNECTIONS_MAX` is reached, the client with the most
    /// connections loses one first. Leave it 0 if a proxy is in front, because all connections then
    /// come from the proxy.
    #[arg(
        id = "API_CLIENT_CONNECTIONS_MAX",
        long = "api-client-connections-max",
        env = "API_CLIENT_CONNECTIONS_MAX"
    )]
    #[arg(value_name = "CONNECTIONS", default_value_t = 0)]
    #[arg(value_parser = between(0..=100_000_u32))]
    pub client_connections_max: u32,

    /// Maximum time to receive the head of a request, from its first byte, or from the start of a
    /// connection on which nothing has arrived.
    #[arg(id = "API_HEADER_MAX", long = "api-header-max", env = "API_HEADER_MAX")]
    #[arg(value_name = "TIME", default_value = "10s", value_parser = between(SECOND..=HOUR))]
    pub header_max: Span,

    /// How long a connection stays open after an answer if no further request arrives.
    #[arg(id = "API_IDLE_MAX", long = "api-idle-max", env = "API_IDLE_MAX")]
    #[arg(value_name = "TIME", default_value = "60s", value_parser = between(SECOND..=HOUR))]
    pub idle_max: Span,

    /// How long a client may leave an answer or a live stream unread before it is disconnected.
    #[arg(id = "API_SEND_MAX", long = "api-send-max", env = "API_SEND_MAX")]
    #[arg(value_name = "TIME", default_value = "20s", value_parser = between(SECOND..=HOUR))]
    pub send_max: Span,

    /// Maximum number of open live streams (`/v1/stream`). A new stream beyond it replaces the
    /// stream of a client that does not read, or else the oldest stream of the client with the most
    /// streams. It is refused if its own client has no stream yet and no other client has more than
    /// one, because replacing one would be unfair.
    #[arg(
        id = "API_STREAM_CLIENTS_MAX",
        long = "api-stream-clients-max",
        env = "API_STREAM_CLIENTS_MAX"
    )]
    #[arg(value_name = "CLIENTS", default_value_t = 256)]
    #[arg(value_parser = between(0..=100_000_u32))]
    pub stream_clients_max: u32,

    /// Maximum time to produce an answer. Live streams have no time limit.
    #[arg(
        id = "API_REQUEST_MAX",
        long = "api-request-max",
        env = "API_REQUEST_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "10s", value_parser = between(SECOND..=HOUR))]
    pub request_max: Span,

    /// Maximum time for which an answer is reused after it was read. An answer is reused while no
    /// commit came after it, and beyond that for ten times the time that it took to read, so that
    /// an expensive question occupies a small part of the machine. 0 reads every answer again.
    #[arg(id = "API_REUSE_MAX", long = "api-reuse-max", env = "API_REUSE_MAX")]
    #[arg(value_name = "TIME", default_value = "1s", value_parser = between(ZERO..=MINUTE))]
    pub reuse_max: Span,

    /// Maximum memory for answers that are reused.
    #[arg(
        id = "API_CACHE_BYTES_MAX",
        long = "api-cache-bytes-max",
        env = "API_CACHE_BYTES_MAX"
    )]
    #[arg(value_name = "BYTES", default_value = "64MiB")]
    #[arg(value_parser = between(ByteSize(MIB)..=ByteSize(1_024 * 1_024 * MIB)))]
    pub cache_bytes_max: ByteSize,

    /// Maximum age of the last commit: if it is older, `/readyz` reports that the service is not
    /// ready. Commits continue while the stream is quiet.
    #[arg(
        id = "API_READY_AGE_MAX",
        long = "api-ready-age-max",
        env = "API_READY_AGE_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "30s", value_parser = between(SECOND..=HOUR))]
    pub ready_age_max: Span,

    /// What requests without a key may do: read all views and open live streams, or nothing. With
    /// `none`, only the pages `/` and `/dataflow` without their numbers, `/openapi.json`, the probes,
    /// `/metrics` and `/original/collStats` answer without a key.
    #[arg(id = "API_ANONYMOUS", long = "api-anonymous", env = "API_ANONYMOUS")]
    #[arg(value_name = "WHAT", value_enum, default_value_t = Anonymous::Read)]
    pub anonymous: Anonymous,

    /// Rate limit of a client address (IPv4, or an IPv6 `/64`) for requests without a valid key and
    /// for routes that look at no key, in units per second. A point read costs 1 unit, a list 2;
    /// `/v1/network`, interactions, lists of the past and opening a stream cost 10. 0 sets no limit.
    /// Behind a proxy, set `API_TRUSTED_HOPS`, or all clients share one limit.
    #[arg(id = "API_RATE", long = "api-rate", env = "API_RATE")]
    #[arg(value_name = "UNITS", default_value_t = 100, value_parser = between(0..=RATE_MAX))]
    pub rate: u32,

    /// Units that an address may use at once after a pause.
    #[arg(id = "API_RATE_BURST", long = "api-rate-burst", env = "API_RATE_BURST")]
    #[arg(value_name = "UNITS", default_value_t = 1_000)]
    #[arg(value_parser = between(BURST_MIN..=RATE_MAX))]
    pub rate_burst: u32,

    /// Rate limit of each key that has no limit of its own, in units per second. 0 sets no limit.
    #[arg(id = "API_KEY_RATE", long = "api-key-rate", env = "API_KEY_RATE")]
    #[arg(value_name = "UNITS", default_value_t = 1_000, value_parser = between(0..=RATE_MAX))]
    pub key_rate: u32,

    /// Units that such a key may use at once after a pause.
    #[arg(
        id = "API_KEY_RATE_BURST",
        long = "api-key-rate-burst",
        env = "API_KEY_RATE_BURST"
    )]
    #[arg(value_name = "UNITS", default_value_t = 10_000)]
    #[arg(value_parser = between(BURST_MIN..=RATE_MAX))]
    pub key_rate_burst: u32,

    /// Number of proxies in front of the API that append to `X-Forwarded-For`. The client's address
    /// is that many entries from the right of the header; 0 ignores the header. If the header has
    /// fewer entries, or that entry is not an address, the address of the connection is used.
    #[arg(
        id = "API_TRUSTED_HOPS",
        long = "api-trusted-hops",
        env = "API_TRUSTED_HOPS"
    )]
    #[arg(value_name = "PROXIES", default_value_t = 0, value_parser = between(0..=16_u32))]
    pub trusted_hops: u32,

    /// Names under which clients may call the admin routes through a proxy, separated by commas,
    /// each as in the header `Host`: `api.example.org` or `api.example.org:8443`. `API_ADDRESS` and
    /// the loopback names are always allowed.
    #[arg(
        id = "API_ADMIN_HOSTS",
        long = "api-admin-hosts",
        env = "API_ADMIN_HOSTS"
    )]
    #[arg(value_name = "HOST,...", value_delimiter = ',')]
    pub admin_hosts: Vec<HostName>,

    /// The server that resolves handles to accounts (`com.atproto.identity.resolveHandle`), or
    /// `never`: then handles resolve by fetched profiles and by the stream, and no request is sent.
    /// It learns which handles clients ask for.
    #[arg(
        id = "API_RESOLVER_URL",
        long = "api-resolver-url",
        env = "API_RESOLVER_URL",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", default_value = "https://public.api.bsky.app")]
    #[arg(value_parser = |text: &str| EndpointOrNever::parse(text, &["https", "http"]))]
    pub resolver_url: EndpointOrNever,

    /// The directory of `did:plc` documents, which say which handle an account names.
    #[arg(
        id = "API_PLC_URL",
        long = "api-plc-url",
        env = "API_PLC_URL",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", default_value = "https://plc.directory")]
    #[arg(value_parser = |text: &str| Endpoint::parse(text, &["https", "http"]))]
    pub plc_url: Endpoint,
}

/// What requests without a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Anonymous {
    /// Read all views and open live streams.
    Read,
    /// Nothing that needs a key.
    None,
}

/// A host name or an address, with a port or without, as clients send it in `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// The text in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let text = trimmed(text);
        let is_host_character = |it: char| it.is_ascii_alphanumeric() || ".-_:[]".contains(it);
        if text.is_empty() || !text.chars().all(is_host_character) {
            return Err(ValueError(format!(
                "{text:?} is not a host such as api.example.org or api.example.org:8443"
            )));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
