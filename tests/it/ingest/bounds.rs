//! Texts and sizes that strangers choose: what an epoch holds is bounded by bytes, and a handle is one or none.

use ciborium::{Value, cbor};
use skytide_core::event::{Body, Message};
use skytide_core::time::Timestamp;
use skytide_ingest::assemble::{Assembler, CUT_BYTES_MAX, HELD_BYTES_MAX};

use super::assembler::{assemble, count, events, setup};
use super::frames::{self, NOON, did};
use super::harness::options;

/// A frame about account `seq` with these further fields.
fn about(kind: &str, seq: u64, fields: &[(&str, Value)]) -> Vec<u8> {
    let time = Timestamp(NOON + seq * 1_000).rfc3339();
    let body = cbor!({"seq" => seq, "did" => did(seq), "time" => time}).unwrap();
    let mut entries = body.into_map().unwrap();
    entries.extend(
        fields
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone())),
    );
    frames::frame(kind, &Value::Map(entries))
}

#[test]
fn a_handle_that_is_none_names_nobody_and_is_counted() {
    let long = format!("{}.example", "a".repeat(70_000));
    let cases = [
        ("Alice.Example.COM", Some("alice.example.com")),
        // The dataflow counts it: it takes away the handle that is known.
        ("Handle.Invalid", Some("handle.invalid")),
        ("", None),
        ("nodot", None),
        ("k\u{e4}se.example.com", None),
        ("\u{212a}ate.example.com", None),
        ("-bad.example.com", None),
        (&long, None),
    ];
    let stream = (1..).zip(&cases).map(|(seq, (handle, _))| {
        let handle = Value::Text((*handle).to_owned());
        about("#identity", seq, &[("handle", handle)])
    });
    let cuts = assemble(setup(&options()), stream);
    let handles = events(&cuts).into_iter().map(|event| match &event.body {
        Body::Identity { handle, .. } => handle.as_deref(),
        other => panic!("{other:?}"),
    });
    let wanted: Vec<_> = cases.iter().map(|(_, wanted)| *wanted).collect();
    assert_eq!(handles.collect::<Vec<_>>(), wanted);
    assert_eq!(count(&cuts, "dropped/handle"), 6);
}

/// Each of these statuses is as long as a message may be.
#[test]
fn an_epoch_ends_by_the_bytes_of_whatever_text_there_is() {
    let status = Value::Text("s".repeat(4_900_000));
    let fields = [("active", Value::Bool(false)), ("status", status)];
    let stream = (1..=40).map(|seq| about("#account", seq, &fields));
    let cuts = assemble(setup(&options()), stream);
    assert_eq!(events(&cuts).len(), 40);
    for cut in &cuts {
        let bytes: usize = cut.messages.iter().map(Message::bytes).sum();
        assert!(
            bytes < CUT_BYTES_MAX + 5_000_000,
            "{bytes} bytes in an epoch"
        );
    }
}

#[test]
fn the_first_frames_are_held_back_as_long_as_they_are_small() {
    let junk = Value::Text("j".repeat(4_900_000));
    let fields = [("active", Value::Bool(true)), ("junk", junk)];
    let mut assembler = Assembler::new(setup(&options()), None);
    let mut held = 0;
    while assembler.position().frames == 0 {
        held += 1;
        assembler.frame(about("#account", held, &fields).into());
    }
    let bytes = held as usize * 4_900_000;
    assert!(
        bytes < HELD_BYTES_MAX + 5_000_000,
        "{held} frames were held back"
    );
}
