//! Real servers for the tests: NATS and MongoDB, each on its own loopback port with its own data
//! folder.
//!
//! ```text
//! shared()        the server at SKYTIDE_TEST_NATS_URL or SKYTIDE_TEST_MONGODB_URI,
//!                 else one for all tests of this process
//! start(), ...    a server of the test's own, which it can stop, kill and freeze
//! no server       `None`, and "skipped: ..." on stderr; a panic if CI is set
//! ```
//!
//! Programs are searched on `PATH` and in the folder where `tests/servers install` puts them. A
//! server stops when its value is dropped, and at the latest when this process ends, even by a
//! crash. Tests that share a server use their own names of streams and databases.

mod link;
mod mongo;
mod nats;
mod process;

pub use link::Link;
pub use mongo::{Mongo, ReplicaSet};
pub use nats::{Cluster, Nats};
pub use process::free_port;

use std::path::PathBuf;

/// The path of the program of this name; `None` if it is not installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let home =
        || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/skytide-servers"));
    let installed = std::env::var_os("SKYTIDE_TEST_SERVERS").map(PathBuf::from);
    let installed = installed.or_else(home).map(|home| home.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(installed)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// The path of the program of this name; if it is not installed, prints that the test is skipped.
///
/// # Panics
/// It is not installed, and the variable `CI` is set: there, nothing may be skipped.
pub fn program_or_skip(name: &str) -> Option<PathBuf> {
    let found = program(name);
    if found.is_none() {
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        eprintln!("skipped: {test} needs {name}, which `tests/servers install` installs");
        assert!(
            std::env::var_os("CI").is_none(),
            "{name} is missing, and CI skips no test: run `tests/servers install`"
        );
    }
    found
}

/// The address of a server that all tests of this process share: the one that `variable` names, or
/// the one that `start` starts. `None` if the program is not installed.
fn shared_address(
    variable: &str,
    program: &str,
    start: impl FnOnce() -> Option<String>,
) -> Option<String> {
    match std::env::var(variable) {
        Ok(address) if !address.is_empty() => Some(address),
        _ => start().or_else(|| {
            program_or_skip(program)?;
            None
        }),
    }
}
