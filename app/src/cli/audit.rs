//! The arguments of `skytide audit`.

use clap::Args;
use skytide_core::config::Config;

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Audit about this many random rows, and as many that follow them in the store.
    #[arg(long, value_name = "ROWS", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(10..=10_000_000))]
    pub rows: u32,

    /// Audit all rows.
    #[arg(long, conflicts_with = "rows")]
    pub all: bool,

    /// Print the report as one JSON object.
    #[arg(long)]
    pub json: bool,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}
