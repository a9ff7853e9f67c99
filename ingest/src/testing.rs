//! Helpers for the tests of this crate.

use clap::Parser;
use skytide_core::config::Firehose;

use crate::{Options, RelayOptions};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    firehose: Firehose,
}

/// The default options.
pub(crate) fn options() -> Options {
    Options::from(&Cli::parse_from(["test"]).firehose)
}

/// The default options of a relay at this address.
pub(crate) fn relay_options(url: &str) -> RelayOptions {
    all_relay_options(&[], url).remove(0)
}

/// The options of a list of relays, with additional flags.
pub(crate) fn all_relay_options(flags: &[&str], list: &str) -> Vec<RelayOptions> {
    let args = ["test", "--firehose-url", list];
    let firehose = Cli::parse_from([&args, flags].concat()).firehose;
    RelayOptions::all(&firehose, 1)
}
