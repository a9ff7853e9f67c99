//! Lines for the person at the terminal. A closed output is no error: `| head` closes it early.

use std::io::{self, Write};

/// Writes a line of the result to standard output.
pub fn say(line: &str) {
    let _closed = writeln!(io::stdout(), "{line}");
}

/// Writes a line that is not part of the result to standard error.
pub fn note(line: &str) {
    let _closed = writeln!(io::stderr(), "{line}");
}
