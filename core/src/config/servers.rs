//! Options of servers that a later version will use. Setting one is refused, so that nobody
//! believes it did something.

use super::{Endpoint, ValueError};

/// A NATS server that holds the log.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "NATS (not in this version)")]
pub struct Nats {
    /// A NATS server with JetStream as the log. Not in this version: refused when set.
    #[arg(
        id = "NATS_URL",
        long = "nats-url",
        env = "NATS_URL",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", value_parser = not_in_this_version)]
    pub url: Option<Endpoint>,
}

fn not_in_this_version(_: &str) -> Result<Endpoint, ValueError> {
    Err(ValueError(
        "not in this version, which holds log and views in files of its own: leave it unset"
            .to_owned(),
    ))
}
