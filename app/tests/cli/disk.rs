//! A disk that rejects writes while the system is running.

use std::process::Command;

use crate::process::Place;
use crate::services::{Running, get};

/// The file size limit in bytes: more than a segment of the log, less than the size that the
/// journal of the view store reaches.
const FILE_BYTES_MAX: u64 = 3 << 19;

/// The same command, in a process that receives an error instead of a signal when a file is too
/// large.
fn with_errors_for_large_files(command: &Command) -> Command {
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

/// The epoch of the newest commit.
fn epoch(address: &str) -> Option<u64> {
    let answer = get(address, "/readyz");
    let rest = answer.split("\"epoch\":").nth(1)?;
    rest.split(',').next()?.parse().ok()
}

/// The store's journal cannot grow any more; the log, which has many small files, can.
#[test]
fn up_exits_when_its_store_rejects_writes_and_resumes_after_a_restart() {
    let place = Place::new();
    let (up, address) = Running::start(with_errors_for_large_files(&demo(&place)));
    assert!(get(&address, "/readyz").contains("{\"name\":\"views\","));
    let process = up.0.id().to_string();
    let size = format!("--fsize={FILE_BYTES_MAX}");
    let limited = Command::new("prlimit")
        .args(["--pid", &process, &size])
        .status();
    assert!(limited.expect("prlimit runs").success());
    let (code, err) = up.end();
    assert_eq!(code, Some(1), "{err}");
    let message = "takes no writes until it is opened again";
    assert!(err.contains(message), "{err}");

    // The limit is gone.
    let (up, address) = Running::start(demo(&place));
    let found = epoch(&address);
    assert!(found > Some(1), "no commit survived: {found:?}");
    while epoch(&address) <= found {
        std::thread::yield_now();
    }
    up.signal("-TERM");
    let (code, err) = up.end();
    assert_eq!(code, Some(0), "{err}");
}
