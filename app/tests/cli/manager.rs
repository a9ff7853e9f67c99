//! What runs the binary: a service manager, health checks, secrets in files.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;

use skytide_tests::servers::free_port;

use crate::process::Place;
use crate::services::{NOWHERE, Running, get};

/// The messages that a service has sent to its manager so far.
struct Manager {
    socket: UnixDatagram,
    lines: Vec<String>,
}

impl Manager {
    /// Reads messages until this many lines start with the text. Lines that came before count, too:
    /// messages of different tasks have no fixed order.
    fn until(&mut self, wanted: &str, times: usize) {
        let starts = |line: &&String| line.starts_with(wanted);
        while self.lines.iter().filter(starts).count() < times {
            let mut bytes = [0; 4_096];
            let count = self.socket.recv(&mut bytes).expect("a message");
            let text = String::from_utf8_lossy(&bytes[..count]);
            self.lines.extend(text.lines().map(str::to_owned));
        }
    }
}

#[test]
fn a_service_manager_learns_of_the_start_the_state_and_the_end() {
    let place = Place::new();
    let mut manager = Manager {
        socket: UnixDatagram::bind(place.path().join("notify")).expect("a socket"),
        lines: Vec::new(),
    };
    let mut command = place.command(&["up", NOWHERE, "--api-address=127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", place.path().join("notify"));
    command.env("WATCHDOG_USEC", "300000");
    let (up, address) = Running::start(command);
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    manager.until("READY=1", 1);
    let start = &manager.lines;
    assert!(start[0].starts_with("STATUS=opening"), "{start:?}");
    assert!(!start.contains(&"WATCHDOG=1".to_owned()), "{start:?}");
    manager.until("WATCHDOG=1", 2);
    let waits = "STATUS=waits for relay: no frame has arrived from the relay since the start";
    manager.until(waits, 1);
    up.signal("-TERM");
    manager.until("STOPPING=1", 1);
    assert_eq!(up.end().0, Some(0));
}

#[test]
fn a_probe_asks_the_process_beside_it() {
    let place = Place::new();
    let (up, address) = Running::start(place.command(&[
        "up",
        NOWHERE,
        "--api-address=0.0.0.0:0",
        "--skytide-probe-address=127.0.0.1:0",
    ]));
    let port = address.rsplit(':').next().expect("a port").to_owned();
    for at in [format!("0.0.0.0:{port}"), format!("127.0.0.1:{port}")] {
        let api = format!("--api-address={at}");
        let alive = place.run(&["probe", "--live", &api]);
        let line = format!("http://127.0.0.1:{port}/healthz: ok\n");
        assert_eq!((alive.code, alive.out), (Some(0), line));
        let ready = place.run(&["probe", &api]);
        let line = format!("http://127.0.0.1:{port}/readyz: not ready: ");
        assert!(ready.out.starts_with(&line), "{ready:?}");
        assert_eq!((ready.code, ready.out.lines().count()), (Some(1), 1));
    }
    // Nothing listens there for a probe, as in `serve`: the API is asked.
    let both = ["SKYTIDE_PROBE_ADDRESS", "API_ADDRESS"];
    let both = both.into_iter().zip(["127.0.0.1:9".to_owned(), address]);
    let alive = place.run_with(&["probe", "--live"], both);
    assert_eq!(alive.code, Some(0), "{alive:?}");
    up.signal("-TERM");
    assert_eq!(up.end().0, Some(0));
}

#[test]
fn the_metrics_of_a_public_api_are_on_its_probe() {
    let place = Place::new();
    let probe = format!("127.0.0.1:{}", free_port());
    let option = format!("--skytide-probe-address={probe}");
    let public = ["up", NOWHERE, "--api-address=0.0.0.0:0", &option];
    let (up, address) = Running::start(place.command(&public));
    let api = address.replace("0.0.0.0", "127.0.0.1");
    assert!(get(&api, "/metrics").starts_with("HTTP/1.1 404 "));
    let metrics = get(&probe, "/metrics");
    assert!(metrics.contains("log_lines_dropped_total 0"), "{metrics}");
    let (brief, detailed) = (get(&api, "/readyz"), get(&probe, "/readyz"));
    for answer in [brief, detailed] {
        assert!(answer.contains("relay: no frame yet"), "{answer}");
    }
    up.signal("-TERM");
    assert_eq!(up.end().0, Some(0));
}

#[test]
fn a_probe_of_nobody_or_of_something_that_does_not_answer_fails_in_one_line() {
    let place = Place::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("an address").to_string();
    for (address, expected) in [
        ("127.0.0.1:9", "refused"),
        (&silent, "no answer within 1 s"),
    ] {
        let api = format!("--api-address={address}");
        let ran = place.run(&["probe", "--timeout=1s", &api]);
        assert!(ran.out.contains(expected), "{ran:?}");
        assert_eq!((ran.code, ran.out.lines().count()), (Some(1), 1), "{ran:?}");
    }
    let ran = place.run(&["probe", "--api-address=127.0.0.1:0"]);
    assert!(ran.code == Some(1) && ran.err.contains("port 0"), "{ran:?}");
}

#[test]
fn a_secret_is_read_from_a_file_and_shown_nowhere() {
    let place = Place::new();
    let file = place.write("uri", "mongodb://me:s3cret@host\n");
    let file = file.to_str().expect("a path");
    let ran = place.run_with(&["config"], [("MONGODB_URI_FILE", file)]);
    let line = ran
        .out
        .lines()
        .find(|line| line.starts_with("MONGODB_URI "));
    let words: Vec<_> = line.expect("the option").split_whitespace().collect();
    assert_eq!(words, ["MONGODB_URI", "mongodb://***@host", "file"]);

    let flag = "--mongodb-uri=mongodb://flag";
    let ran = place.run_with(&["config", flag], [("MONGODB_URI_FILE", file)]);
    assert!(ran.out.contains("mongodb://flag"), "{ran:?}");

    let both = [
        ("MONGODB_URI_FILE", file),
        ("MONGODB_URI", "mongodb://me:other@host"),
    ];
    let ran = place.run_with(&["config"], both);
    assert!(
        ran.err
            .contains("MONGODB_URI and MONGODB_URI_FILE are both set"),
        "{ran:?}"
    );
    assert!(
        !ran.err.contains("s3cret") && !ran.err.contains("other"),
        "{ran:?}"
    );

    let ran = place.run_with(&["config"], [("MONGODB_URI_FILE", "/nowhere/uri")]);
    let expected = "cannot read the secret in /nowhere/uri (MONGODB_URI_FILE)";
    assert!(ran.code == Some(1) && ran.err.contains(expected), "{ran:?}");

    let wrong = place.write("wrong", "https://me:s3cret@host");
    let ran = place.run_with(&["config"], [("MONGODB_URI_FILE", &wrong)]);
    assert!(
        ran.err.contains("the file that MONGODB_URI_FILE names"),
        "{ran:?}"
    );
    assert!(
        ran.code == Some(2) && !ran.err.contains("s3cret"),
        "{ran:?}"
    );

    let ran = place.run_with(&["up", "--help"], [("MONGODB_URI_FILE", file)]);
    assert!(
        ran.code == Some(0) && !ran.out.contains("s3cret"),
        "{ran:?}"
    );
}

/// Health checks end connections at once: such an end is no error of the service.
#[test]
fn a_client_that_leaves_early_is_no_trouble() {
    let place = Place::new();
    let (up, address) =
        Running::start(place.command(&["up", NOWHERE, "--api-address=127.0.0.1:0"]));
    for _ in 0..3 {
        let mut stream = std::net::TcpStream::connect(&address).expect("it listens");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("half closed");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("closed");
    }
    up.signal("-TERM");
    let (code, err) = up.end();
    assert!(code == Some(0) && !err.contains("ERROR"), "{err}");
}
