//! The same network through different relays, in one data folder.

use std::fs;

use skytide_tests::copies::{frames, renumbered};
use skytide_tests::relay::{Act, RelayServer};

use crate::expected::compare_views;
use crate::killed::{Random, kill_at, moments};
use crate::process::Place;
use crate::replaying::{plain, succeeds};
use crate::services::{Running, get};

/// Bytes of the log of the recorded network, nearly.
const LOG_BYTES: u64 = 7_000_000;
/// How much higher the second relay's numbers are.
const APART: u64 = 30_000_000_000;

fn up(place: &Place, urls: &str, more: &[&str]) -> (Running, String) {
    let urls = format!("--firehose-url={urls}");
    let args = [
        "up",
        &urls,
        "--firehose-start=oldest",
        "--api-address=127.0.0.1:0",
    ];
    Running::start(place.command(&[&args, more].concat()))
}

/// The value of a metric.
fn metric(address: &str, name: &str) -> Option<u64> {
    let text = get(address, "/metrics");
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Waits until the relay was read up to this number, and all of it is committed.
fn until_counted(address: &str, seq: u64) {
    while metric(address, "skytide_ingest_seq ") != Some(seq) {
        std::thread::yield_now();
    }
    let epoch = metric(address, "skytide_ingest_epoch ");
    while metric(address, "indexer_epoch ") < epoch {
        std::thread::yield_now();
    }
}

#[cfg(unix)]
#[test]
fn a_network_read_through_two_relays_counts_once_however_often_they_change_and_it_is_killed() {
    let mut random = Random::new();
    let place = Place::new();
    let first = frames(&plain());
    let second: Vec<_> = first.iter().map(|it| renumbered(it, APART)).collect();
    let newest = APART + first.len() as u64;
    let relays = [first, second].map(RelayServer::start);
    let data = place.path().join("data");
    let mut kills = 0;
    for (n, moment) in moments(&mut random, 6, LOG_BYTES).into_iter().enumerate() {
        let (mut running, _) = up(&place, &relays[n % 2].url(), &[]);
        kills += usize::from(kill_at(&mut running.0, &data, moment));
    }
    assert!(kills > 0, "it was never killed: nothing was tested");
    let (running, address) = up(&place, &relays[1].url(), &[]);
    until_counted(&address, newest);
    running.signal("-TERM");
    let (code, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    succeeds(&place.run(&["export", "out"]));
    compare_views(&place.path().join("out"), "active_accounts_only");
}

#[cfg(unix)]
#[test]
fn a_relay_that_is_gone_is_left_for_the_next_one_of_the_list() {
    let place = Place::new();
    let first = frames(&plain());
    let second: Vec<_> = first.iter().map(|it| renumbered(it, APART)).collect();
    let newest = APART + first.len() as u64;
    let relays = [first, second].map(RelayServer::start);
    relays[0].script([vec![Act::Frames(5_000), Act::Close(1001)]]);
    let refuse = Act::Refuse {
        status: 502,
        headers: Vec::new(),
        body: "<html>",
    };
    relays[0].script((0..100).map(|_| vec![refuse.clone()]));
    let urls = format!("{},{}", relays[0].url(), relays[1].url());
    let more = [
        "--firehose-failover-attempts=2",
        "--firehose-backoff-max=1s",
    ];
    let (running, address) = up(&place, &urls, &more);
    until_counted(&address, newest);
    assert_eq!(
        metric(&address, "skytide_ingest_source_changes_total"),
        Some(1)
    );
    running.signal("-TERM");
    let (code, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    succeeds(&place.run(&["export", "out"]));
    compare_views(&place.path().join("out"), "active_accounts_only");
    assert_eq!(relays[0].cursors().len(), 3);
}

#[cfg(unix)]
#[test]
fn an_address_that_is_none_and_a_relay_given_twice_are_refused_with_the_reason() {
    let place = Place::new();
    for (urls, code, why) in [
        ("wss://bsky.network:abc", 2, "invalid port number"),
        ("bsky.network", 2, "wss://HOST"),
        (
            "wss://a.example,WSS://A.example:443/",
            1,
            "names the relay a.example twice",
        ),
        ("wss://me:secret@a.example", 1, "user name"),
    ] {
        let ran = place.run(&["up", &format!("--firehose-url={urls}")]);
        assert_eq!(ran.code, Some(code), "{urls}: {ran:?}");
        assert!(ran.err.contains(why), "{urls}: {}", ran.err);
    }
    assert!(!place.path().join("data").exists());
}

/// A slow clock as an operator meets it: the relay is ten minutes ahead of this machine.
#[cfg(unix)]
#[test]
fn a_stream_ahead_of_the_machines_clock_makes_up_unready_and_says_why() {
    let place = Place::new();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let ahead = now.expect("after 1970").as_millis() as u64 + 600_000;
    let time = skytide_core::time::Timestamp(ahead).rfc3339();
    let mut stream = frames(&plain());
    stream.truncate(3_000);
    for frame in &mut stream {
        // The first `time` behind a body's fields of a frame; its records keep theirs.
        let key = b"\x64time\x78\x18";
        if let Some(at) = frame.windows(key.len()).position(|it| it == key) {
            let from = at + key.len();
            frame[from..from + time.len()].copy_from_slice(time.as_bytes());
        }
    }
    let relay = RelayServer::start(stream);
    let (running, address) = up(&place, &relay.url(), &[]);
    let ready = loop {
        let ready = get(&address, "/readyz");
        if ready.contains("clock is") {
            break ready;
        }
        std::thread::yield_now();
    };
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("behind the stream's time"), "{ready}");
    let network = get(&address, "/v1/network");
    assert!(!network.contains("rev_future"), "{network}");
    running.signal("-TERM");
    let (code, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("clock is behind the stream"), "{err}");
    assert!(fs::exists(place.path().join("data")).is_ok());
}
