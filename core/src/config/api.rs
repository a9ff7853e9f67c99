//! Options of the API.

use std::time::Duration;

use super::{ByteSize, Endpoint, EndpointOrNever, ListenAddress, Span, between};

const SECOND: Span = Span(Duration::from_secs(1));
const ZERO: Span = Span(Duration::ZERO);
const MINUTE: Span = Span(Duration::from_secs(60));
const MIB: u64 = 1 << 20;
const HOUR: Span = Span(Duration::from_secs(3_600));

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
