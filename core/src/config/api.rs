//! Options of the API.

use std::time::Duration;

use super::{ListenAddress, Span, between};

const SECOND: Span = Span(Duration::from_secs(1));
const HOUR: Span = Span(Duration::from_secs(3_600));

/// How the API listens.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "API")]
pub struct Api {
    /// Address or name, and port, on which the API and the start page listen, as `127.0.0.1:7780`, `[::1]:7780` or
    /// `localhost:7780`; of a name's addresses the first one is taken, IPv4 before IPv6. Port 0: any free one, which is printed.
    #[arg(id = "API_ADDRESS", long = "api-address", env = "API_ADDRESS")]
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:7780")]
    pub address: ListenAddress,

    /// Connections open at once, at most. A further one replaces a connection that waits for a request, or whose client
    /// does not read its answer, of the client with the most connections. It is refused while all have requests under
    /// way.
    #[arg(
        id = "API_CONNECTIONS_MAX",
        long = "api-connections-max",
        env = "API_CONNECTIONS_MAX"
    )]
    #[arg(value_name = "CONNECTIONS", default_value_t = 1_024)]
    #[arg(value_parser = between(1..=100_000_u32))]
    pub connections_max: u32,

    /// Connections of one client at once, at most; a client is an IPv4 address or an IPv6 `/64`. 0: as many as
    /// `API_CONNECTIONS_MAX`, and the client with the most gives up its own first. With a proxy in front, all
    /// connections are the proxy's: leave it 0 there.
    #[arg(
        id = "API_CLIENT_CONNECTIONS_MAX",
        long = "api-client-connections-max",
        env = "API_CLIENT_CONNECTIONS_MAX"
    )]
    #[arg(value_name = "CONNECTIONS", default_value_t = 0)]
    #[arg(value_parser = between(0..=100_000_u32))]
    pub client_connections_max: u32,

    /// How long the head of a request may take to arrive, from its first byte, or from the start of a connection on
    /// which nothing has arrived.
    #[arg(id = "API_HEADER_MAX", long = "api-header-max", env = "API_HEADER_MAX")]
    #[arg(value_name = "TIME", default_value = "10s", value_parser = between(SECOND..=HOUR))]
    pub header_max: Span,

    /// How long a connection stays open after an answer without another request.
    #[arg(id = "API_IDLE_MAX", long = "api-idle-max", env = "API_IDLE_MAX")]
    #[arg(value_name = "TIME", default_value = "60s", value_parser = between(SECOND..=HOUR))]
    pub idle_max: Span,

    /// How long a client may read nothing of an answer or a live stream that waits for it.
    #[arg(id = "API_SEND_MAX", long = "api-send-max", env = "API_SEND_MAX")]
    #[arg(value_name = "TIME", default_value = "20s", value_parser = between(SECOND..=HOUR))]
    pub send_max: Span,

    /// Live streams (`/v1/stream`) open at once, at most. A further one replaces the stream of a client that does not
    /// read; else the oldest one of the client with the most streams. It is refused when that would be unfair: when
    /// its own client has none and no other has more than one.
    #[arg(
        id = "API_STREAM_CLIENTS_MAX",
        long = "api-stream-clients-max",
        env = "API_STREAM_CLIENTS_MAX"
    )]
    #[arg(value_name = "CLIENTS", default_value_t = 256)]
    #[arg(value_parser = between(0..=100_000_u32))]
    pub stream_clients_max: u32,

    /// How long an answer may take; live streams have no end.
    #[arg(
        id = "API_REQUEST_MAX",
        long = "api-request-max",
        env = "API_REQUEST_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "10s", value_parser = between(SECOND..=HOUR))]
    pub request_max: Span,

    /// Time without a new commit from which on `/readyz` says no. Commits go on when the stream is quiet.
    #[arg(
        id = "API_READY_AGE_MAX",
        long = "api-ready-age-max",
        env = "API_READY_AGE_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "30s", value_parser = between(SECOND..=HOUR))]
    pub ready_age_max: Span,
}
