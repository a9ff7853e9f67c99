//! Signals: which of them end the process, and how.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use crate::process::Place;
use crate::services::{Running, get};

const NOWHERE: &str = "--firehose-url=ws://127.0.0.1:9";
const UP: [&str; 3] = ["up", NOWHERE, "--api-address=127.0.0.1:0"];

/// As when the terminal is closed.
#[test]
fn a_hangup_ends_it_as_sigterm_does() {
    let place = Place::new();
    let (up, _) = Running::start(place.command(&UP));
    up.signal("-HUP");
    let (code, err) = up.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("stopping"), "{err}");
}

#[test]
fn a_hangup_that_is_ignored_at_the_start_stays_ignored() {
    let place = Place::new();
    let up = place.command(&UP);
    // What `nohup` does.
    let mut ignoring = Command::new("sh");
    ignoring.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]);
    ignoring.arg(up.get_program()).args(up.get_args());
    ignoring.current_dir(place.path());
    ignoring.env("SCHEDULER_PROFILES_CRON", "never");
    let (up, address) = Running::start(ignoring);
    up.signal("-HUP");
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    up.signal("-TERM");
    let (code, err) = up.end();
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(err.matches("stopping").count(), 1, "{err}");
}

/// A NATS that accepts connections and never answers: the process waits for it when the signal
/// arrives.
#[test]
fn a_stop_is_heard_while_a_server_is_waited_for_at_the_start() {
    let place = Place::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("--nats-url=nats://{}", silent.local_addr().expect("bound"));
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut command = place.command(&["ingest", NOWHERE, &url]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let up = Running(child.expect("it starts"));
        let _connected = silent.accept().expect("it calls");
        up.signal(signal);
        let (code, err) = up.end();
        assert_eq!(code, Some(0), "{signal}: {err}");
    }
}

/// The first signal ends services in their time, the second one at once.
#[test]
fn a_second_signal_ends_it_at_once() {
    let place = Place::new();
    for (second, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut command = place.command(&UP);
        // Requests under way may take so long: this one is never complete.
        command.args(["--api-request-max=60s", "--skytide-shutdown-max=300s"]);
        let (mut up, address) = Running::start(command);
        let mut err = BufReader::new(up.0.stderr.take().expect("piped")).lines();
        let mut open = std::net::TcpStream::connect(&address).expect("it listens");
        let head = "GET /v1/stream HTTP/1.1\r\nHost: here\r\n";
        std::io::Write::write_all(&mut open, head.as_bytes()).expect("sent");
        up.signal("-TERM");
        let stopping = err.find(|line| line.as_ref().is_ok_and(|it| it.contains("stopping")));
        assert!(stopping.is_some(), "it did not say that it stops");
        up.signal(second);
        let ended = up.0.wait().expect("it ends").code();
        // It may have ended in order before the second one came.
        assert!([Some(code), Some(0)].contains(&ended), "{ended:?}");
    }
}
