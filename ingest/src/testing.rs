//! For the tests of this crate.

use clap::Parser;
use skytide_core::config::Firehose;

use crate::Options;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    firehose: Firehose,
}

/// Everything as it is by default.
pub(crate) fn options() -> Options {
    Options::from(&Cli::parse_from(["test"]).firehose)
}
