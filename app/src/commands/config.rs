//! `skytide config`: prints the value of every option and where it comes from.

use std::io::{self, Write};

use skytide_core::config::{effective_settings, markdown};

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
        table(invocation)
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|why| Failure::because("cannot print the options", why))
}

fn table(invocation: &Invocation) -> String {
    let from_file = &invocation.environment.from_file;
    let settings = effective_settings(&invocation.matches, from_file, &invocation.secrets);
    let rows: Vec<[String; 3]> = settings
        .into_iter()
        .map(|it| {
            let value = it.value.unwrap_or_else(|| "(unset)".to_owned());
            [it.name, value, it.source.to_owned()]
        })
        .collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let (names, values) = (width(0), width(1));
    rows.iter()
        .map(|[name, value, source]| format!("{name:names$}  {value:values$}  {source}\n"))
        .collect()
}
