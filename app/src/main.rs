//! `skytide`: reads what it is told, does it, and prints why it could not.

use std::process::ExitCode;

fn main() -> ExitCode {
    skytide::main()
}
