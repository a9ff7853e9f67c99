//! `simnet serve` and `simnet record`.

use crate::process::Place;
use crate::replaying::succeeds;
use crate::services::{Running, get};

const NETWORK: [&str; 3] = ["--seed=5", "--accounts=100", "--events-max=2000"];

#[cfg(unix)]
fn serve(place: &Place, flags: &[&str]) -> (Running, String) {
    let args = ["simnet", "serve", "--port=0"];
    let (running, address) = Running::start(place.command(&[&args, flags].concat()));
    (
        running,
        address.trim_end_matches("/_simnet/state").to_owned(),
    )
}

/// Polls the state until it contains this text.
#[cfg(unix)]
fn until(address: &str, wanted: &str) -> String {
    loop {
        let state = get(address, "/_simnet/state");
        if state.contains(wanted) {
            return state;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_recording_is_replayed_and_the_same_seed_gives_the_same_bytes() {
    let place = Place::new();
    for file in ["one.frames", "two.frames"] {
        succeeds(&place.run(&[&["simnet", "record", file], &NETWORK[..]].concat()));
    }
    let read = |name| std::fs::read(place.path().join(name)).expect(name);
    assert!(read("one.frames") == read("two.frames"));
    let ran = place.run(&["replay", "one.frames"]);
    succeeds(&ran);
    assert!(
        ran.out.contains("2,000 frames from 2026-06-01T12:00:00"),
        "{}",
        ran.out
    );
    let ran = place.run(&["simnet", "record", "one.frames", "--frames=5"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("the file exists"), "{}", ran.err);
}

#[cfg(unix)]
#[test]
fn a_served_network_is_recorded_and_reported_exactly() {
    let place = Place::new();
    let (server, address) = serve(&place, &[&["--speed=max"], &NETWORK[..]].concat());
    let url = format!("--firehose-url=ws://{address}");
    let record = [
        "record",
        "read.frames",
        "--frames=2000",
        "--firehose-start=oldest",
        &url,
    ];
    succeeds(&place.run(&record));
    let state = until(&address, "\"ended\":true");
    assert!(
        state.contains("\"frames\":2000") && state.contains("\"newest_seq\":"),
        "{state}"
    );
    assert!(get(&address, "/xrpc/com.atproto.sync.listRepos?limit=1").contains("\"head\""));
    server.signal("-TERM");
    let (code, err) = server.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("2,000 frames"), "{err}");
    let ran = place.run(&["replay", "read.frames"]);
    assert!(ran.out.contains("\n2,000 frames"), "{}", ran.out);
}

#[cfg(unix)]
#[test]
fn a_stored_network_continues_with_the_same_frames() {
    let place = Place::new();
    let read = |file: &str| {
        let flags = ["--speed=max", "--keep=network.json"];
        let (server, address) = serve(&place, &[&flags, &NETWORK[..]].concat());
        let url = format!("--firehose-url=ws://{address}");
        let record = [
            "record",
            file,
            "--frames=2000",
            "--firehose-start=oldest",
            &url,
        ];
        succeeds(&place.run(&record));
        server.signal("-TERM");
        assert_eq!(server.end().0, Some(0));
        zstd::decode_all(&*std::fs::read(place.path().join(file)).expect(file)).expect("zstd")
    };
    assert!(read("one.frames") == read("two.frames"));
    let ran = place.run(&[
        "simnet",
        "serve",
        "--port=0",
        "--keep=network.json",
        "--seed=6",
    ]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("holds another network: of seed 5"),
        "{}",
        ran.err
    );
}

#[test]
fn invalid_flags_are_refused_with_the_valid_values() {
    let place = Place::new();
    let cases = [
        (
            ["serve", "--faults=rest=3"],
            "there is no fault \"rest\"; the faults are stall, quiet, reset",
        ),
        (["serve", "--faults=reset"], "KIND@CONNECTION:FRAMES"),
        (["serve", "--bad=nothing=1"], "there is no kind \"nothing\""),
        (["serve", "--speed=fast"], "0.001 to 100000, or max"),
        (
            ["serve", "--start=yesterday"],
            "is not a time such as 2026-06-01T12:00:00Z",
        ),
        (["serve", "--accounts=0"], "0 is not in 1 to 5000000"),
        (["record", "x.frames"], "--frames"),
    ];
    for (args, text) in cases {
        let ran = place.run(&[&["simnet"], &args[..]].concat());
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        assert!(ran.err.contains(text), "{args:?}: {}", ran.err);
    }
    let both = ["simnet", "serve", "--speed=2", "--events-per-second=10"];
    assert_eq!(place.run(&both).code, Some(2));
}
