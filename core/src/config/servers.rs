//! Options of servers that a later version will use. Setting one is refused, so that nobody
//! believes it did something.

use super::{Endpoint, ValueError};

/// A MongoDB that holds the views.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "MongoDB (not in this version)")]
pub struct Mongo {
    /// A MongoDB as the view store. Not in this version: refused when set.
    #[arg(
        id = "MONGODB_URI",
        long = "mongodb-uri",
        env = "MONGODB_URI",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", value_parser = not_in_this_version)]
    pub uri: Option<Endpoint>,
}

fn not_in_this_version(_: &str) -> Result<Endpoint, ValueError> {
    Err(ValueError(
        "not in this version, which holds log and views in files of its own: leave it unset"
            .to_owned(),
    ))
}
