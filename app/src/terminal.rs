//! Lines for the person at the terminal. A reader that has gone away (`| head`) is no error.

use std::io::{self, Write};

/// Writes a line of the answer to standard output.
pub fn say(line: &str) {
    let _closed = writeln!(io::stdout(), "{line}");
}

/// Writes a line beside the answer to standard error.
pub fn note(line: &str) {
    let _closed = writeln!(io::stderr(), "{line}");
}
