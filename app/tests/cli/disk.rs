//! A disk that refuses while the system is up.

use std::process::Command;

use crate::process::Place;
use crate::services::{Running, get};

/// Bytes that a file may have: more than a segment of the log, less than the journal of the view store comes to.
const FILE_BYTES_MAX: u64 = 3 << 19;

/// The same command, in a process that is told of a file that is too large by an error and not by a signal.
fn told_by_errors(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.current_dir(command.get_current_dir().expect("a folder"));
    shell
}

fn demo(place: &Place) -> Command {
    place.command(&[
        "up",
        "--demo",
        "--api-address=127.0.0.1:0",
        "--store-log-segment-bytes=1MiB",
        "--firehose-tick-events-max=200",
    ])
}

/// The committed epoch.
fn epoch(address: &str) -> Option<u64> {
    let answer = get(address, "/readyz");
    let rest = answer.split("\"epoch\":").nth(1)?;
    rest.split(',').next()?.parse().ok()
}

/// The store's journal can grow no more; the log, in many small files, can.
#[test]
fn up_ends_when_its_store_takes_no_writes_and_goes_on_when_it_is_started_again() {
    let place = Place::new();
    let (up, address) = Running::start(told_by_errors(&demo(&place)));
    assert!(get(&address, "/readyz").contains("{\"name\":\"views\","));
    let process = up.0.id().to_string();
    let size = format!("--fsize={FILE_BYTES_MAX}");
    let limited = Command::new("prlimit")
        .args(["--pid", &process, &size])
        .status();
    assert!(limited.expect("prlimit runs").success());
    let (code, err) = up.end();
    assert_eq!(code, Some(1), "{err}");
    let told = "takes no writes until it is opened again";
    assert!(err.contains(told), "{err}");

    // There is room again.
    let (up, address) = Running::start(demo(&place));
    let found = epoch(&address);
    assert!(found > Some(1), "nothing was left: {found:?}");
    while epoch(&address) <= found {
        std::thread::yield_now();
    }
    up.signal("-TERM");
    let (code, err) = up.end();
    assert_eq!(code, Some(0), "{err}");
}
