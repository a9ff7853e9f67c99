//! Real servers for the tests: NATS and MongoDB, on loopback ports of their own, with data folders of their own.
//!
//! ```text
//! shared()        SKYTIDE_TEST_NATS_URL / SKYTIDE_TEST_MONGODB_URI, else one server for all tests of this process
//! start(), ...    a server of one's own, to be stopped, killed and frozen
//! neither         `None`, and "skipped: ..." on stderr; where CI is set, a panic
//! ```
//!
//! Programs are looked for on `PATH` and where `tests/servers install` puts them. A server ends with its value, and
//! with this process at the latest, however that ends. Tests that share a server use stream and database names of their own.

mod link;
mod mongo;
mod nats;
mod process;

pub use link::Link;
pub use mongo::{Mongo, ReplicaSet};
pub use nats::{Cluster, Nats};
pub use process::free_port;

use std::path::PathBuf;

/// The program of this name; `None` if it is not installed.
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

/// The program of this name, or word that tests are skipped.
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
            "{name} is missing, and in CI nothing is skipped"
        );
    }
    found
}
