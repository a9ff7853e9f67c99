//! The binary `skytide`: runs one command and prints its error if it fails.

use std::process::ExitCode;

fn main() -> ExitCode {
    skytide::main()
}
