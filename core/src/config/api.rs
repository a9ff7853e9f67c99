//! Options of the API.

use std::net::SocketAddr;

use super::between;

/// How the API listens.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "API")]
pub struct Api {
    /// Address and port on which the API and the start page listen; port 0: any free one, which is
    /// printed.
    #[arg(id = "API_ADDRESS", long = "api-address", env = "API_ADDRESS")]
    #[arg(value_name = "HOST:PORT", default_value = "127.0.0.1:7780")]
    pub address: SocketAddr,

    /// Requests answered at once, at most; more of them wait.
    #[arg(
        id = "API_REQUESTS_MAX",
        long = "api-requests-max",
        env = "API_REQUESTS_MAX"
    )]
    #[arg(value_name = "REQUESTS", default_value_t = 256, value_parser = between(1..=100_000_u32))]
    pub requests_max: u32,

    /// Live streams open at once, at most; more of them are refused.
    #[arg(
        id = "API_STREAMS_MAX",
        long = "api-streams-max",
        env = "API_STREAMS_MAX"
    )]
    #[arg(value_name = "STREAMS", default_value_t = 256, value_parser = between(0..=100_000_u32))]
    pub streams_max: u32,
}
