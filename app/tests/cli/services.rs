//! `up` and the services as processes: starting, sharing a folder, stopping.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use skytide_tests::copies::frames;
use skytide_tests::relay::RelayServer;

use crate::expected::compare;
use crate::process::{Place, recording};
use crate::replaying::plain;

/// A relay that refuses every connection: nobody listens on this port of loopback.
pub const NOWHERE: &str = "--firehose-url=ws://127.0.0.1:9";

/// A process that is killed when a test ends before it does.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ended = self.0.kill();
        let _code = self.0.wait();
    }
}

impl Running {
    /// Starts the process and reads its standard output up to the line with its address.
    pub fn start(mut command: Command) -> (Self, String) {
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut running = Self(child.expect("the binary starts"));
        let out = running.0.stdout.take().expect("piped");
        let mut lines = BufReader::new(out).lines();
        let line = lines.next().expect("a line").expect("text");
        let address = line.split("http://").nth(1).expect("an address");
        (running, address.trim_end_matches('/').to_owned())
    }

    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Reads standard error up to the first line with this text; returns what it read.
    pub fn until_logged(&mut self, text: &str) -> String {
        let (mut read, mut byte) = (Vec::new(), [0]);
        let err = self.0.stderr.as_mut().expect("piped");
        // Byte by byte, so that `end` reads the rest.
        while err.read(&mut byte).expect("standard error") == 1 {
            read.push(byte[0]);
            if read.ends_with(b"\n") && String::from_utf8_lossy(&read).contains(text) {
                return String::from_utf8(read).expect("text");
            }
        }
        panic!("{text:?} is not in {}", String::from_utf8_lossy(&read));
    }

    /// Waits for the process to exit; returns its code and standard error.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut err = String::new();
        let mut piped = self.0.stderr.take().expect("piped");
        piped.read_to_string(&mut err).expect("text");
        (self.0.wait().expect("an exit status").code(), err)
    }
}

pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}

#[cfg(unix)]
#[test]
fn up_runs_without_a_relay_and_stops_on_either_signal() {
    for signal in ["-INT", "-TERM"] {
        let place = Place::new();
        let (up, address) =
            Running::start(place.command(&["up", NOWHERE, "--api-address=127.0.0.1:0"]));
        assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(get(&address, "/readyz").starts_with("HTTP/1.1 503"));
        assert!(get(&address, "/").contains("<!doctype html>"));
        let metrics = get(&address, "/metrics");
        assert!(
            metrics.contains("ingest") && metrics.contains("indexer"),
            "{metrics}"
        );
        up.signal(signal);
        let (code, err) = up.end();
        assert_eq!(code, Some(0), "{err}");
    }
}

#[cfg(unix)]
#[test]
fn two_processes_do_not_share_a_store_and_the_error_says_what_to_do() {
    let place = Place::new();
    let (up, _) = Running::start(place.command(&["up", NOWHERE, "--api-address=127.0.0.1:0"]));
    for args in [
        ["serve"].as_slice(),
        &["index"],
        &["schedule"],
        &["up", NOWHERE],
    ] {
        let ran = place.run(args);
        assert_eq!(ran.code, Some(1), "{args:?}: {ran:?}");
        let process = format!("process {}", up.0.id());
        assert!(
            ran.err.contains("`skytide up` runs all services"),
            "{args:?}: {}",
            ran.err
        );
        assert!(ran.err.contains(&process), "{args:?}: {}", ran.err);
    }
    up.signal("-TERM");
    assert_eq!(up.end().0, Some(0));
}

#[test]
fn a_taken_port_is_an_error_that_names_the_option() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let ran = place.run(&["up", NOWHERE, &format!("--api-address={address}")]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("API_ADDRESS"), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn serve_answers_from_the_rows_of_a_replay() {
    let place = Place::new();
    let replayed = place.run(&["replay", &recording("pds.frames.zst"), "--data", "data"]);
    assert_eq!(replayed.code, Some(0), "{replayed:?}");
    let (serve, address) = Running::start(place.command(&["serve", "--api-address=127.0.0.1:0"]));
    let tag = get(&address, "/v1/trends/hashtags/art");
    assert!(
        tag.starts_with("HTTP/1.1 200") && tag.contains("661"),
        "{tag}"
    );
    serve.signal("-TERM");
    assert_eq!(serve.end().0, Some(0));
}

#[cfg(unix)]
#[test]
fn an_export_from_a_running_system_shows_one_commit() {
    let place = Place::new();
    let relay = RelayServer::start(frames(&plain()));
    let url = format!("--firehose-url={}", relay.url());
    let args = [
        "up",
        &url,
        "--firehose-start=oldest",
        "--firehose-tick-events-max=50",
    ];
    let loopback = "--api-address=127.0.0.1:0";
    let (up, _) = Running::start(place.command(&[&args[..], &[loopback]].concat()));
    loop {
        // Each export compares its rows with the sums of the commit that it names.
        let ran = place.run(&["export", "out"]);
        assert!(ran.err.contains("has the store open"), "{ran:?}");
        if ran.code == Some(0) {
            let summary = std::fs::read_to_string(place.path().join("out/summary.json"));
            if summary.expect("a summary").contains("\"frames\": 13833,") {
                break;
            }
        } else {
            assert!(ran.err.contains("nothing is counted yet"), "{ran:?}");
        }
    }
    compare(&place.path().join("out"), "active_accounts_only");
    up.signal("-TERM");
    assert_eq!(up.end().0, Some(0));
    let left = std::fs::read_dir(place.path().join("data")).expect("the folder");
    let names = left.map(|entry| entry.expect("an entry").file_name().into_string());
    let names: Vec<_> = names.map(|name| name.expect("text")).collect();
    assert!(
        !names.iter().any(|name| name.starts_with("export")),
        "{names:?}"
    );
}

#[cfg(unix)]
#[test]
fn an_export_of_nothing_is_refused_with_the_reason() {
    let place = Place::new();
    let (up, _) = Running::start(place.command(&["up", NOWHERE, "--api-address=127.0.0.1:0"]));
    let ran = place.run(&["export", "out"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("because: nothing is counted yet"),
        "{ran:?}"
    );
    up.signal("-TERM");
    assert_eq!(up.end().0, Some(0));
}

#[cfg(unix)]
#[test]
fn an_address_may_have_a_name() {
    let place = Place::new();
    let addresses = ["localhost:0", "LOCALHOST:0", "\u{feff}127.0.0.1:0\r"];
    for address in addresses {
        let mut up = place.command(&["up", NOWHERE]);
        up.env("API_ADDRESS", address);
        let (up, address) = Running::start(up);
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
        up.signal("-TERM");
        assert_eq!(up.end().0, Some(0));
    }
    let nowhere = ["up", NOWHERE, "--api-address=nowhere.invalid:7780"];
    let ran = place.run(&nowhere);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let reason = "cannot resolve the host name in API_ADDRESS (nowhere.invalid:7780)";
    assert!(ran.err.contains(reason), "{}", ran.err);
}
