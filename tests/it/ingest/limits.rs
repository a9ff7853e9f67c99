//! Texts that are truncated where events are made, so that the log does not carry them.

use ciborium::cbor;
use skytide_core::event::{Body, Message};
use skytide_ingest::assemble::filter::Filter;
use skytide_ingest::assemble::{Assembler, Setup};
use skytide_ingest::frame::Verify;

use super::frames::{did, frame};
use super::harness::options;

/// The status that an `#account` frame leads to, and how often a text was truncated.
fn status(written: &str) -> (Option<Box<str>>, u64) {
    let setup = Setup {
        host: "relay.example".into(),
        former_hosts: Vec::new(),
        cursor_reset: false,
        live: false,
        verify: Verify::Records,
        filter: Filter::load(&options()).unwrap(),
        tick_events_max: 100,
        pause_ticks: 3,
    };
    let mut assembler = Assembler::new(setup, None);
    let account = cbor!({
        "seq" => 1, "did" => did(1), "time" => "2026-07-04T14:38:03Z", "active" => false, "status" => written
    });
    assembler.frame(frame("#account", &account.unwrap()).into());
    assembler.tick(true);
    let cuts = assembler.take_cuts();
    let counted = cuts
        .iter()
        .filter_map(|cut| cut.tick.counts.get("dropped/text_limit"));
    let counted = counted.sum();
    let mut events = cuts.into_iter().flat_map(|cut| cut.messages);
    let Some(Message::Event(event)) = events.next() else {
        panic!("no event");
    };
    let Body::Account {
        active: false,
        status,
        ..
    } = event.body
    else {
        panic!("{:?}", event.body);
    };
    (status, counted)
}

#[test]
fn a_status_has_64_bytes_and_ends_between_two_characters() {
    let s = |count: usize| "s".repeat(count);
    for (written, kept, counted) in [
        ("takendown".to_owned(), "takendown".to_owned(), 0),
        (s(64), s(64), 0),
        (s(65), s(64), 1),
        (s(4_900_000), s(64), 1),
        (s(63) + "é", s(63), 1),
        ("é".repeat(33), "é".repeat(32), 1),
    ] {
        assert_eq!(status(&written), (Some(kept.into()), counted));
    }
}
