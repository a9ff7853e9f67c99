//! 150 frames of the public relay, compared with the events that another implementation made of
//! them.

use serde_json::{Value as Json, json};
use skytide_core::event::Action;
use skytide_ingest::car::Car;
use skytide_ingest::frame::{Frame, Verify, decode};

use super::value::{self, to_json};
use super::{cid_of, frames, json, text};

const FOLDER: &str = "vectors/relay-2026-07-04";

fn relay() -> Vec<Vec<u8>> {
    frames(&format!("{FOLDER}/frames.bin.zst"), u32::from_le_bytes)
}

#[test]
fn the_frames_of_the_relay_give_the_events_of_jetstream() {
    for verify in [Verify::Records, Verify::Blocks] {
        let mut ours: Vec<String> = Vec::new();
        for frame in relay() {
            ours.extend(events(&decode(&frame, verify).expect("a good frame")));
        }
        let name = format!("{FOLDER}/expected_v1.jsonl");
        let mut theirs: Vec<String> = text(&name).lines().map(their_event).collect();
        assert_eq!(ours.len(), 152);
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
    }
}

/// The events in the form that both sides must agree on, one line per event.
fn events(frame: &Frame<'_>) -> Vec<String> {
    match frame {
        Frame::Commit(commit) => {
            assert!(commit.drops.is_empty());
            let event = |op: &skytide_ingest::frame::Op<'_>| {
                let record = op
                    .record
                    .map(|record| value::decode(record).expect("a good record"));
                let mut body = json!({
                    "rev": commit.rev.to_string(),
                    "operation": op.action.as_str(),
                    "collection": op.collection,
                    "rkey": op.rkey,
                });
                if op.action != Action::Delete {
                    body["record"] = to_json(&record.expect("a record"));
                    body["cid"] = json!(op.cid.expect("a CID").to_string());
                }
                json!({ "did": commit.did.to_string(), "commit": body }).to_string()
            };
            commit.ops.iter().map(event).collect()
        }
        Frame::Identity {
            seq,
            time,
            did,
            handle,
        } => {
            let mut body = json!({ "did": did.to_string(), "seq": seq.0, "time": time });
            if let Some(handle) = handle {
                body["handle"] = json!(handle);
            }
            vec![json!({ "did": did.to_string(), "identity": body }).to_string()]
        }
        Frame::Account {
            seq,
            time,
            did,
            active,
            status,
        } => {
            let mut body =
                json!({ "did": did.to_string(), "seq": seq.0, "time": time, "active": active });
            if let Some(status) = status {
                body["status"] = json!(status);
            }
            vec![json!({ "did": did.to_string(), "account": body }).to_string()]
        }
        other => panic!("not in this recording: {other:?}"),
    }
}

fn their_event(line: &str) -> String {
    let mut event: Json = serde_json::from_str(line).expect("a line of JSON");
    let fields = event.as_object_mut().expect("an event");
    fields.remove("time_us");
    fields.remove("kind");
    event.to_string()
}

#[test]
fn the_recording_has_the_counts_of_its_manifest() {
    let manifest = json(&format!("{FOLDER}/manifest.json"));
    let frames = relay();
    let seqs = frames
        .iter()
        .map(|frame| match decode(frame, Verify::Blocks) {
            Ok(Frame::Commit(commit)) => commit.seq.0,
            Ok(Frame::Identity { seq, .. } | Frame::Account { seq, .. }) => seq.0,
            other => panic!("not in this recording: {other:?}"),
        });
    let (first, last) = (
        manifest["seq_first"].as_u64(),
        manifest["seq_last"].as_u64(),
    );
    assert!(seqs.eq(first.expect("a seq")..=last.expect("a seq")));
    assert_eq!(manifest["frames"], frames.len());
}

#[test]
fn a_repository_export_contains_every_record_of_its_listing() {
    let export = super::bytes(&format!("{FOLDER}/repo.car"));
    let blocks: Vec<_> = Car::open(&export)
        .expect("a CAR")
        .collect::<Result<_, _>>()
        .expect("whole");
    let held: std::collections::BTreeSet<String> = blocks
        .iter()
        .inspect(|block| assert_eq!(block.cid, cid_of(block.data).to_bytes()))
        .map(|block| cid_of(block.data).to_string())
        .collect();
    let listing = text(&format!("{FOLDER}/car_expected_records.tsv"));
    let records: Vec<_> = listing
        .lines()
        .filter_map(|line| line.split('\t').nth(1))
        .collect();
    assert!(records.len() > 10, "the listing has records");
    for cid in records {
        assert!(held.contains(cid), "{cid}");
    }
}

/// Full verification rejects a change of any byte of the blocks, except in plain text that nothing
/// signs.
#[test]
fn a_flipped_bit_within_the_blocks_never_passes_full_verification() {
    let frame = &relay()[0];
    let Ok(Frame::Commit(commit)) = decode(frame, Verify::Blocks) else {
        panic!("the first frame is a commit");
    };
    let record = commit.ops[0].record.expect("a record");
    let at = record.as_ptr() as usize - frame.as_ptr() as usize;
    for bit in (at * 8..(at + record.len()) * 8).step_by(13) {
        let mut broken = frame.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        for verify in [Verify::Records, Verify::Blocks] {
            let reason = decode(&broken, verify).map_err(|rejected| rejected.reason);
            assert_eq!(
                reason,
                Err(skytide_core::event::DropReason::CidMismatch),
                "bit {bit}"
            );
        }
    }
}
