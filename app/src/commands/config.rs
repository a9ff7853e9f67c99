//! `skytide config`: prints the value of every option and where it comes from.

use std::io::{self, Write};

use skytide_core::config::markdown;

use crate::cli::{Invocation, Show};
use crate::failure::Failure;

/// Prints the options.
///
/// # Errors
///
/// Standard output is closed.
pub fn show(show: &Show, invocation: &Invocation) -> Result<(), Failure> {
    let text = if show.markdown {
        markdown()
    } else {
        invocation.settings_table()
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|why| Failure::because("cannot print the options", why))
}
