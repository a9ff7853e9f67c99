//! For the tests of this crate.

use clap::Parser;
use skytide_core::config::Firehose;

use crate::{Options, RelayOptions};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    firehose: Firehose,
}

/// Everything as it is by default.
pub(crate) fn options() -> Options {
    Options::from(&Cli::parse_from(["test"]).firehose)
}

/// The same for a relay at this address.
pub(crate) fn relay_options(url: &str) -> RelayOptions {
    RelayOptions::new(
        &Cli::parse_from(["test", "--firehose-url", url]).firehose,
        1,
    )
}
