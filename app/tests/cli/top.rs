//! `skytide top` on a running demo: once, as a script uses it.

use crate::process::Place;
use crate::services::{Running, get};

/// Starts the demo and waits until its dataflow reports something.
fn demo(place: &Place, flags: &[&str]) -> (Running, String) {
    let args = [
        "up",
        "--demo",
        "--api-address=127.0.0.1:0",
        "--demo-rate=500",
    ];
    Running::start(place.command(&[&args, flags].concat()))
}

fn once(place: &Place, address: &str, flags: &[&str]) -> crate::process::Ran {
    let url = format!("--url=http://{address}");
    place.run(&[&["top", "--once", &url], flags].concat())
}

#[test]
fn top_prints_the_cause_the_workers_and_the_operators_once() {
    let place = Place::new();
    let (_demo, address) = demo(&place, &["--indexer-workers=2"]);
    // The answer itself says when the dataflow has begun.
    while !get(&address, "/v1/dataflow").contains("LiveRecords") {
        std::thread::yield_now();
    }
    let ran = once(&place, &address, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for text in [
        "skytide top  http://",
        "epoch ",
        "WORKER",
        "OPERATOR",
        "LiveRecords",
        "rates over ",
    ] {
        assert!(ran.out.contains(text), "no {text:?} in {}", ran.out);
    }
    assert!(!ran.out.contains('\u{1b}'), "control characters: {ran:?}");
    let workers = ran.out.lines().filter(|line| line.starts_with(['0', '1']));
    assert_eq!(workers.count(), 2, "{}", ran.out);
}

#[test]
fn top_says_how_to_send_a_key_and_what_does_not_answer() {
    let place = Place::new();
    let (_demo, address) = demo(&place, &["--api-anonymous=none"]);
    let refused = once(&place, &address, &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.err.contains("SKYTIDE_KEY"), "{}", refused.err);
    let nobody = place.run(&["top", "--once", "--url=http://127.0.0.1:9"]);
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    let expected = "no answer from http://127.0.0.1:9";
    assert!(nobody.err.contains(expected), "{}", nobody.err);
    let not_url = place.run(&["top", "--once", "--url=localhost"]);
    assert!(not_url.err.contains("--url"), "{}", not_url.err);
}
