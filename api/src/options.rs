//! How the API listens, and the limits of single requests.

use std::net::SocketAddr;

/// How a server listens, and how long a connection may stay in each phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Address and port; port 0 selects a free port.
    pub address: SocketAddr,
    /// Maximum number of open connections. A further connection evicts the one that is needed
    /// least. It is refused while every connection has a request in progress.
    pub connections_max: usize,
    /// Maximum number of open connections of one client (an IPv4 address or an IPv6 `/64`);
    /// 0: only `connections_max` applies.
    pub per_client_max: usize,
    /// Time for the head of a request, counted from its first byte. For the first request it is
    /// counted from the start of the connection.
    pub header_ms_max: u64,
    /// Time between an answer and the next request.
    pub idle_ms_max: u64,
    /// Time for which a client may read nothing of its answer.
    pub send_ms_max: u64,
    /// Time that requests in progress get to finish when the server stops.
    pub stop_ms_max: u64,
}

impl Default for Options {
    /// Listens on loopback only.
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 7780)),
            connections_max: 1_024,
            per_client_max: 0,
            header_ms_max: 10_000,
            idle_ms_max: 60_000,
            send_ms_max: 20_000,
            stop_ms_max: 2_000,
        }
    }
}

/// Limits of single requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum length of path and query in bytes.
    pub uri_bytes_max: usize,
    /// Time for an answer. Event streams have no such limit.
    pub request_ms_max: u64,
    /// Maximum number of open event streams.
    pub stream_clients_max: usize,
    /// Time without a new commit after which `/readyz` reports unready; `None` if there is no
    /// limit, as for a recording.
    pub ready_age_ms_max: Option<u64>,
    /// Maximum time for which an answer is reused after it was read; 0: answers are not reused.
    pub reuse_ms_max: u64,
    /// Maximum bytes of the answers that are cached.
    pub cache_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uri_bytes_max: 16_384,
            request_ms_max: 10_000,
            stream_clients_max: 256,
            ready_age_ms_max: None,
            reuse_ms_max: 0,
            cache_bytes_max: 64 << 20,
        }
    }
}

/// Who may call the API, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessOptions {
    /// Whether requests without a key may read and stream.
    pub anonymous: bool,
    /// The limit of a client address without a key.
    pub address_limit: RateLimit,
    /// The limit of a key that has none of its own.
    pub key_limit: RateLimit,
    /// The number of proxies in front whose entries in `X-Forwarded-For` are trusted.
    pub trusted_hops: usize,
    /// Names, with a port unless it is the default one, by which clients reach the API. The admin
    /// routes refuse all others. The address on which the server listens and the loopback names
    /// need not be listed.
    pub hosts: Vec<String>,
}

impl Default for AccessOptions {
    /// Everybody may read, without a limit.
    fn default() -> Self {
        Self {
            anonymous: true,
            address_limit: RateLimit::NONE,
            key_limit: RateLimit::NONE,
            trusted_hops: 0,
            hosts: Vec::new(),
        }
    }
}

/// A rate limit, in the units in which the catalogue of routes states the cost of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Units per second; 0: no limit.
    pub per_second: u32,
    /// Units that may be used at once after a pause. At least the cost of the most expensive
    /// request.
    pub burst: u32,
}

impl RateLimit {
    /// No limit.
    pub const NONE: Self = Self {
        per_second: 0,
        burst: 0,
    };
}
