//! `edge.frames`: 50 messages that are rare, old or malformed, with the expected result of each.
//!
//! `edge.expected.json` contains the results of two official packages (`js`, `python`). Where the
//! two disagree, or our result differs, the comment of the case gives the reason for ours.

use skytide_core::record;
use skytide_ingest::frame::{Frame, Verify, decode};

use super::{frames, json, list};

/// The name of a case, its result at level `records`, and its result at level `blocks` if that
/// differs.
type Case = (&'static str, &'static str, &'static str);

const SAME: &str = "";

const CASES: [Case; 50] = [
    ("info_outdated", "#info OutdatedCursor", SAME),
    ("error_future", "error FutureCursor", SAME),
    ("error_too_slow", "error ConsumerTooSlow", SAME),
    ("error_without_message", "error Boom", SAME),
    (
        "commit_plain",
        "create app.bsky.feed.post/3kedge2222aa2",
        SAME,
    ),
    // Fields that are not used may be absent, null or filled.
    (
        "commit_without_prevdata",
        "create app.bsky.feed.post/3kedge2222ab2",
        SAME,
    ),
    (
        "delete_without_prev",
        "delete app.bsky.feed.post/3kedge2222ac2",
        SAME,
    ),
    (
        "commit_prevdata_null",
        "create app.bsky.feed.post/3kedge2222ad2",
        SAME,
    ),
    (
        "commit_with_blobs",
        "create app.bsky.feed.post/3kedge2222ae2",
        SAME,
    ),
    // Both packages fail on the empty CAR. We treat it as absent: the repo is out of sync.
    ("commit_too_big", "too big", SAME),
    (
        "commit_rebase",
        "create app.bsky.feed.post/3kedge2222ag2",
        SAME,
    ),
    (
        "commit_extra_fields",
        "create app.bsky.feed.post/3kedge2222ah2",
        SAME,
    ),
    (
        "header_extra_field",
        "create app.bsky.feed.post/3kedge2222ai2",
        SAME,
    ),
    // Python rejects it. Relays in Go write it so, and the envelope is not content-addressed.
    (
        "header_op_before_t",
        "create app.bsky.feed.post/3kedge2222aj2",
        SAME,
    ),
    // JS forgets the first operation. But its key is live, so the previous record's facts must be
    // retracted.
    (
        "car_record_missing",
        "create app.bsky.feed.post/3kedge2222ba2 without record; \
         create app.bsky.feed.post/3kedge2222bb2; dropped record_missing",
        SAME,
    ),
    // The signed commit is checked only if all blocks are verified.
    (
        "car_commit_missing",
        "create app.bsky.feed.post/3kedge2222bc2",
        "rejected commit_inner",
    ),
    // Python does not verify hashes. Nobody has signed a record that does not match its CID.
    ("car_wrong_hash", "rejected cid_mismatch", SAME),
    // Python requires a root. Records are found by their CIDs, so only full verification needs it.
    (
        "car_no_roots",
        "create app.bsky.feed.post/3kedge2222be2",
        "rejected commit_root",
    ),
    // The first root is the commit (atproto.com/specs/repository, CAR file serialization).
    (
        "car_two_roots",
        "create app.bsky.feed.post/3kedge2222bf2",
        SAME,
    ),
    (
        "car_duplicate_blocks",
        "create app.bsky.feed.post/3kedge2222bg2",
        SAME,
    ),
    ("car_truncated", "rejected car", SAME),
    // Both store it under a path that no record can have; we drop only the operation.
    (
        "op_path_without_slash",
        "no operation; dropped op_path",
        SAME,
    ),
    // Python forwards it; JS drops it silently, we count it.
    ("op_unknown_action", "no operation; dropped op_action", SAME),
    // Order is a property of the stream, not of the frame: ingest skips repeated revisions.
    (
        "seq_repeated",
        "create app.bsky.feed.post/3kedge2222ca2",
        SAME,
    ),
    // Both accept the float; the data model has no floats.
    (
        "record_with_float",
        "create com.example.flt/a (record_cbor)",
        SAME,
    ),
    // JS rejects the whole commit; we drop only the record.
    (
        "record_is_array",
        "create com.example.arr/a (record_shape)",
        SAME,
    ),
    // JS accepts it. Inside blocks, each value has exactly one encoding; otherwise a CID would name
    // two interpretations.
    (
        "record_keys_unsorted",
        "create com.example.ord/a (record_cbor)",
        SAME,
    ),
    // Both reject the whole commit in the next two cases; we drop only the record.
    (
        "record_indefinite_length",
        "create com.example.ind/a (record_cbor)",
        SAME,
    ),
    (
        "record_nested_5000",
        "create com.example.deep/a (record_cbor)",
        SAME,
    ),
    ("cbor_huge_length", "rejected frame_cbor", SAME),
    (
        "text_control_chars",
        "create app.bsky.feed.post/3kedge2222ch2",
        SAME,
    ),
    // Replaced by #identity and #account; no relay sends these any more. Counted by type.
    ("legacy_handle", "unknown #handle", SAME),
    ("legacy_tombstone", "unknown #tombstone", SAME),
    ("legacy_migrate", "unknown #migrate", SAME),
    ("unknown_type", "unknown #future", SAME),
    // A status is reported as written. Only `active` decides, except that `deleted` erases.
    ("account_throttled", "#account inactive throttled", SAME),
    (
        "account_unknown_status",
        "#account inactive on-holiday",
        SAME,
    ),
    (
        "account_active_desynchronized",
        "#account active desynchronized",
        SAME,
    ),
    ("identity_invalid_handle", "#identity handle.invalid", SAME),
    ("sync_ahead", "#sync 3n2xrxv343k24", SAME),
    ("seq_beyond_2_32", "#identity -", SAME),
    ("frame_empty", "rejected frame_cbor", SAME),
    ("frame_garbage", "rejected frame_cbor", SAME),
    ("frame_header_only", "rejected frame_cbor", SAME),
    ("frame_three_items", "rejected frame_cbor", SAME),
    ("frame_truncated", "rejected frame_cbor", SAME),
    // The specification says to ignore the frame; both packages disconnect.
    ("frame_op_unknown", "rejected frame_op", SAME),
    ("frame_header_not_map", "rejected frame_shape", SAME),
    ("body_not_map", "rejected frame_shape", SAME),
    ("message_without_t", "rejected frame_shape", SAME),
];

#[test]
fn each_rare_old_or_malformed_message_gives_its_expected_result() {
    let frames = frames("frames/edge.frames", u32::from_be_bytes);
    let expected = json("frames/edge.expected.json");
    assert_eq!(
        (frames.len(), list(&expected).len()),
        (CASES.len(), CASES.len())
    );
    for ((frame, theirs), (name, records, blocks)) in frames.iter().zip(list(&expected)).zip(CASES)
    {
        assert_eq!(
            (&theirs["name"], &theirs["bytes"]),
            (&name.into(), &frame.len().into())
        );
        assert_eq!(
            outcome(frame, Verify::Records),
            records,
            "{name}, level records"
        );
        let blocks = if blocks == SAME { records } else { blocks };
        assert_eq!(
            outcome(frame, Verify::Blocks),
            blocks,
            "{name}, level blocks"
        );
    }
}

#[test]
fn a_rejected_message_reports_its_origin_as_far_as_readable() {
    let frames = frames("frames/edge.frames", u32::from_be_bytes);
    let rejected = |name: &str| {
        let at = CASES
            .iter()
            .position(|case| case.0 == name)
            .expect("a case");
        decode(&frames[at], Verify::Records).expect_err(name)
    };
    let broken = rejected("car_wrong_hash");
    let did = "did:plc:edgeedgeedgeedgeedgeedge".parse().expect("a DID");
    assert_eq!((broken.kind, broken.did), (Some("#commit"), Some(did)));
    assert!(broken.seq.is_some());
    assert_eq!(rejected("frame_garbage").kind, None);
}

fn outcome(frame: &[u8], verify: Verify) -> String {
    match decode(frame, verify) {
        Err(rejected) => format!("rejected {}", rejected.reason.as_str()),
        Ok(Frame::Commit(commit)) if commit.too_big => "too big".to_owned(),
        Ok(Frame::Commit(commit)) => {
            let mut parts: Vec<String> = commit.ops.iter().map(op).collect();
            if parts.is_empty() {
                parts.push("no operation".to_owned());
            }
            parts.extend(
                commit
                    .drops
                    .iter()
                    .map(|drop| format!("dropped {}", drop.as_str())),
            );
            parts.join("; ")
        }
        Ok(Frame::Identity { handle, .. }) => format!("#identity {}", handle.unwrap_or("-")),
        Ok(Frame::Account { active, status, .. }) => {
            let active = if active { "active" } else { "inactive" };
            format!("#account {active} {}", status.unwrap_or("-"))
        }
        Ok(Frame::Sync { rev, .. }) => format!("#sync {rev}"),
        Ok(Frame::Info { name, .. }) => format!("#info {name}"),
        Ok(Frame::Error { name, .. }) => format!("error {name}"),
        Ok(Frame::Unknown { t, .. }) => format!("unknown {t}"),
    }
}

fn op(op: &skytide_ingest::frame::Op<'_>) -> String {
    let path = format!("{} {}/{}", op.action.as_str(), op.collection, op.rkey);
    match op.record.map(|bytes| record::parse(op.collection, bytes)) {
        Some(Err(reason)) => format!("{path} ({})", reason.as_str()),
        None if op.cid.is_some() => format!("{path} without record"),
        _ => path,
    }
}
