//! `up --demo`: a whole system on a simulated network, killed and started again.

use std::process::Command;

use crate::killed::{Random, kill_at, log_bytes, moments};
use crate::process::Place;
use crate::replaying::{files, succeeds};
use crate::services::{Running, get};

/// Number of frames of the network in the test that kills the process.
const FRAMES: u32 = 20_000;

fn up(place: &Place, flags: &[&str]) -> Command {
    let args = ["up", "--demo", "--api-address=127.0.0.1:0"];
    place.command(&[&args, flags].concat())
}

/// The demo with a network that ends and lies in the past, so that all of it is due at once.
fn short(place: &Place) -> Command {
    let end = format!("--demo-events-max={FRAMES}");
    up(place, &["--demo-start=2026-10-01T10:00:00Z", &end])
}

/// Polls a path until the answer satisfies the condition.
fn until(address: &str, path: &str, wanted: impl Fn(&str) -> bool) -> String {
    loop {
        let answer = get(address, path);
        if wanted(&answer) {
            return answer;
        }
        std::thread::yield_now();
    }
}

/// The epoch in an answer.
fn epoch(answer: &str) -> Option<u64> {
    let rest = answer.split("\"epoch\":").nth(1)?;
    rest.split(',').next()?.parse().ok()
}

/// The newest epoch of the log, as the process that writes it reports; `None` before the first one.
fn written(address: &str) -> Option<u64> {
    let metrics = get(address, "/metrics");
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("skytide_ingest_epoch "));
    let epoch: u64 = line.expect("the newest epoch").parse().expect("a number");
    (epoch > 0).then_some(epoch)
}

/// Waits until all frames are counted and the stream is idle, stops the process, and exports.
fn finish(place: &Place, (running, address): (Running, String)) -> Vec<(String, Vec<u8>)> {
    let all = format!("\"frames\":{FRAMES}");
    let counted = epoch(&until(&address, "/v1/network", |it| it.contains(&all)));
    let begun = loop {
        if let Some(begun) = written(&address) {
            break begun;
        }
        std::thread::yield_now();
    };
    // No later tick has events: the twentieth of them at the latest has updated the lists.
    let settled = counted.max(Some(begun)).map(|newest| newest + 20);
    until(&address, "/v1/network", |it| epoch(it) >= settled);
    running.signal("-TERM");
    let (code, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    succeeds(&place.run(&["export", "out", "--store-dir=data-demo"]));
    let mut views = files(place, "out");
    views.retain(|(name, _)| name != "summary.json");
    assert!(views.len() > 15, "{}", views.len());
    views
}

#[cfg(unix)]
#[test]
fn the_demo_shows_moving_trends_without_a_network() {
    let place = Place::new();
    let (demo, address) = Running::start(up(&place, &["--demo-rate=500"]));
    let path = "/v1/trends/hashtags?window=1h";
    let first = until(&address, path, |it| it.contains("\"rank\":10"));
    until(&address, path, |it| {
        it.contains("\"rank\":10") && epoch(it) > epoch(&first) && it != first
    });
    until(&address, "/readyz", |it| it.starts_with("HTTP/1.1 200"));
    demo.signal("-TERM");
    let (code, err) = demo.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(place.path().join("data-demo/demo.json").exists());
    assert!(!place.path().join("data").exists());
}

#[cfg(unix)]
#[test]
fn after_repeated_kills_the_result_equals_that_of_an_undisturbed_run() {
    let mut random = Random::new();
    let rounds = std::env::var("SKYTIDE_TEST_KILLS");
    let rounds = rounds.map_or(10, |text| text.parse().expect("a number of kills"));
    let alone = Place::new();
    let undisturbed = finish(&alone, Running::start(short(&alone)));
    let bytes = log_bytes(&alone.path().join("data-demo"));

    let place = Place::new();
    let data = place.path().join("data-demo");
    let mut kills = 0;
    for moment in moments(&mut random, rounds, bytes) {
        let (mut running, _address) = Running::start(short(&place));
        kills += usize::from(kill_at(&mut running.0, &data, moment));
    }
    assert_eq!(kills, rounds, "some process ended before its kill");
    let killed = finish(&place, Running::start(short(&place)));
    for ((name, undisturbed), (_, killed)) in undisturbed.iter().zip(&killed) {
        same_lines(name, undisturbed, killed);
    }
}

/// Compares line by line, so that a difference is readable.
#[track_caller]
fn same_lines(name: &str, undisturbed: &[u8], killed: &[u8]) {
    let lines = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (undisturbed, killed) = (lines(undisturbed), lines(killed));
    let mut pairs = undisturbed.lines().zip(killed.lines());
    if let Some((undisturbed, killed)) = pairs.find(|(one, other)| one != other) {
        panic!("{name} differs:\n{undisturbed}\n{killed}");
    }
    assert_eq!(undisturbed.len(), killed.len(), "{name}");
}

#[cfg(unix)]
#[test]
fn data_of_the_demo_and_of_a_relay_never_mix() {
    let place = Place::new();
    let (demo, _address) = Running::start(up(&place, &[]));
    demo.signal("-TERM");
    assert_eq!(demo.end().0, Some(0));
    let relay = [
        "up",
        "--firehose-url=ws://127.0.0.1:9",
        "--store-dir=data-demo",
    ];
    let ran = place.run(&relay);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("holds the data of \"demo:simnet\""),
        "{}",
        ran.err
    );

    let (relay, _address) = Running::start(place.command(&[
        "up",
        "--firehose-url=ws://127.0.0.1:9",
        "--api-address=127.0.0.1:0",
    ]));
    relay.signal("-TERM");
    assert_eq!(relay.end().0, Some(0));
    let ran = place.run(&["up", "--demo", "--store-dir=data"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("holds the data of \"127.0.0.1:9\""),
        "{}",
        ran.err
    );
}

#[cfg(unix)]
#[test]
fn another_seed_in_the_same_folder_is_refused() {
    let place = Place::new();
    let (demo, _address) = Running::start(up(&place, &["--demo-seed=7"]));
    demo.signal("-TERM");
    assert_eq!(demo.end().0, Some(0));
    let ran = place.run(&["up", "--demo", "--demo-seed=8"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("holds another network: of seed 7"),
        "{}",
        ran.err
    );
    let ran = place.run(&["up", "--demo-seed=8"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("--demo"), "{}", ran.err);
}
