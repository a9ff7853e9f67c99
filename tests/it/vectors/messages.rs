//! Messages that other projects publish in JSON form, encoded as frames again.

use serde_json::{Value as Json, json};
use skytide_core::event::{Action, DropReason};
use skytide_ingest::frame::{Frame, Verify, decode};

use super::value::{encode, from_json};
use super::{cid_of, json, list};

/// A frame from a header and a body in JSON form.
fn frame(header: &Json, body: &Json) -> Vec<u8> {
    let [header, body] = [header, body].map(|part| from_json(part).expect("a message"));
    [encode(&header), encode(&body)].concat()
}

fn commit_frame(body: &Json) -> Vec<u8> {
    frame(&json!({ "op": 1, "t": "#commit" }), body)
}

fn real_commit() -> Json {
    json("vectors/commit-messages/firehose_commit_4621332152.json")
}

fn reason(body: &Json, verify: Verify) -> DropReason {
    decode(&commit_frame(body), verify)
        .expect_err("the commit is rejected")
        .reason
}

#[test]
fn commits_of_2025_without_prev_data_pass_full_verification() {
    for (number, ops) in [
        ("4621317030", 1),
        ("4621317332", 1),
        ("4621332152", 42),
        ("4623075231", 1),
    ] {
        let body = json(&format!(
            "vectors/commit-messages/firehose_commit_{number}.json"
        ));
        let frame = commit_frame(&body);
        let Ok(Frame::Commit(commit)) = decode(&frame, Verify::Blocks) else {
            panic!("commit {number} is rejected");
        };
        assert_eq!((commit.ops.len(), commit.drops.len()), (ops, 0), "{number}");
        assert_eq!(body["seq"], commit.seq.0);
        for (op, theirs) in commit.ops.iter().zip(list(&body["ops"])) {
            assert_eq!(theirs["path"], format!("{}/{}", op.collection, op.rkey));
            assert_eq!(theirs["action"], op.action.as_str());
            assert_eq!(theirs["cid"]["$link"], op.cid.expect("a CID").to_string());
            assert!(op.record.is_some());
        }
    }
}

#[test]
fn relay_scenarios_are_read_completely_and_pass_full_verification() {
    let names = [
        "account_lifecycle",
        "deactivation",
        "legacy",
        "post_lifecycle",
        "post_lifecycle_legacy",
        "rev_ordering",
        "seq_ordering",
    ];
    let (mut commits, mut refused) = (0, Vec::new());
    for name in names {
        for message in list(&json(&format!("vectors/relay-scenarios/{name}.json"))["messages"]) {
            let (header, body) = (&message["frame"]["header"], &message["frame"]["body"]);
            let bytes = frame(header, body);
            let (kind, seq) = match decode(&bytes, Verify::Blocks) {
                Ok(Frame::Commit(commit)) => {
                    assert_eq!(body["rev"], commit.rev.to_string(), "{name}");
                    assert_eq!(list(&body["ops"]).len(), commit.ops.len(), "{name}");
                    let deletes = commit.ops.iter().filter(|op| op.action == Action::Delete);
                    assert!(deletes.into_iter().all(|op| op.cid.is_none()), "{name}");
                    commits += 1;
                    ("#commit", commit.seq)
                }
                Ok(Frame::Identity { seq, .. }) => ("#identity", seq),
                Ok(Frame::Account { seq, .. }) => ("#account", seq),
                Ok(Frame::Sync { seq, .. }) => ("#sync", seq),
                // Two of the messages that a relay must not forward are invalid in themselves.
                Err(rejected) => {
                    assert_eq!(message["drop"], true, "{name}");
                    refused.push(rejected.reason);
                    continue;
                }
                Ok(other) => panic!("{name}: {other:?}"),
            };
            assert_eq!(
                (&header["t"], &body["seq"]),
                (&kind.into(), &seq.0.into()),
                "{name}"
            );
        }
    }
    assert_eq!(commits, 23);
    assert_eq!(refused, [DropReason::Rev, DropReason::CommitInner]);
}

/// Makes one change at a time to a valid commit. Each case has the reason at level `records` and at
/// level `blocks`.
#[test]
fn a_commit_that_is_invalid_as_a_whole_is_rejected() {
    use DropReason::{Car, CommitInner, CommitRoot, CommitSize, Did, FrameShape, Rev};
    let other_did = json!("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa");
    let large = json!({ "$bytes": data_encoding::BASE64_NOPAD.encode(&vec![0; 2_000_001]) });
    let many: Vec<Json> = list(&real_commit()["ops"])
        .iter()
        .cycle()
        .take(201)
        .cloned()
        .collect();
    let cases: [(&str, Json, Option<DropReason>, DropReason); 14] = [
        ("seq", json!("1"), Some(FrameShape), FrameShape),
        ("seq", json!(-1), Some(FrameShape), FrameShape),
        ("repo", Json::Null, Some(FrameShape), FrameShape),
        ("repo", json!("bob.example.com"), Some(Did), Did),
        ("repo", other_did, None, CommitInner),
        ("rev", json!("soon"), Some(Rev), Rev),
        ("rev", json!("222222d7n7i22"), None, CommitInner),
        ("ops", Json::Null, Some(FrameShape), FrameShape),
        ("ops", json!([1]), Some(FrameShape), FrameShape),
        ("ops", json!(many), Some(CommitSize), CommitSize),
        ("blocks", large, Some(CommitSize), CommitSize),
        ("blocks", json!({ "$bytes": "AAAA" }), Some(Car), Car),
        ("commit", Json::Null, None, CommitRoot),
        (
            "commit",
            real_commit()["ops"][0]["cid"].clone(),
            None,
            CommitRoot,
        ),
    ];
    for (field, value, at_records, at_blocks) in cases {
        let mut body = real_commit();
        body[field] = value;
        let records = decode(&commit_frame(&body), Verify::Records).map(|_| ());
        assert_eq!(
            records.map_err(|rejected| rejected.reason).err(),
            at_records,
            "{field}"
        );
        assert_eq!(reason(&body, Verify::Blocks), at_blocks, "{field}");
    }
}

/// Makes one change at a time to the first operation: its 41 siblings remain.
#[test]
fn an_invalid_operation_is_dropped_alone() {
    use DropReason::{OpAction, OpCid, OpPath, RecordMissing};
    let absent = json!({ "$link": cid_of(b"absent").to_string() });
    let blob = json!({ "$link": "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity" });
    let cases = [
        ("path", json!("app.bsky.feed.like"), OpPath, 41),
        ("path", json!("app.bsky.feed.like/a/b"), OpPath, 41),
        ("path", json!("app.bsky.feed.like/.."), OpPath, 41),
        ("path", json!("app..like/a"), OpPath, 41),
        ("path", json!(7), OpPath, 41),
        ("action", json!("upsert"), OpAction, 41),
        ("action", Json::Null, OpAction, 41),
        ("cid", Json::Null, OpCid, 42),
        ("cid", json!("bafy"), OpCid, 42),
        ("cid", blob, OpCid, 42),
        ("cid", absent, RecordMissing, 42),
    ];
    for (field, value, reason, remaining) in cases {
        let mut body = real_commit();
        body["ops"][0][field] = value;
        let frame = commit_frame(&body);
        let Ok(Frame::Commit(commit)) = decode(&frame, Verify::Blocks) else {
            panic!("a commit with a bad {field} is rejected as a whole");
        };
        assert_eq!(commit.drops.as_slice(), [reason], "{field}");
        assert_eq!(commit.ops.len(), remaining, "{field}");
        assert_eq!(commit.ops[0].index, u32::from(remaining == 41), "{field}");
        assert_eq!(
            commit.ops.iter().filter(|op| op.record.is_some()).count(),
            41,
            "{field}"
        );
    }
}

#[test]
fn a_commit_without_operations_or_blocks_is_read_as_far_as_possible() {
    let decoded = |change: &dyn Fn(&mut Json)| {
        let mut body = real_commit();
        change(&mut body);
        match decode(&commit_frame(&body), Verify::Blocks) {
            Ok(Frame::Commit(commit)) => (commit.too_big, commit.ops.len()),
            other => panic!("not a commit: {other:?}"),
        }
    };
    assert_eq!(decoded(&|_| {}), (false, 42));
    assert_eq!(decoded(&|body| body["ops"] = json!([])), (false, 0));
    // The flag alone says nothing; it does where operations are missing.
    let flagged = |body: &mut Json| body["tooBig"] = json!(true);
    assert_eq!(decoded(&flagged), (false, 42));
    assert_eq!(
        decoded(&|body| {
            flagged(body);
            body["ops"] = json!([]);
        }),
        (true, 0)
    );
    assert_eq!(
        decoded(&|body| body["blocks"] = json!({ "$bytes": "" })),
        (true, 0)
    );
    assert_eq!(decoded(&|body| body["blocks"] = Json::Null), (true, 0));
}

#[test]
fn repeated_paths_in_a_commit_keep_their_order() {
    let mut body = real_commit();
    let first = body["ops"][0].clone();
    let delete = json!({ "action": "delete", "path": first["path"], "cid": null });
    body["ops"] = json!([first, delete, first]);
    let frame = commit_frame(&body);
    let Ok(Frame::Commit(commit)) = decode(&frame, Verify::Records) else {
        panic!("a valid commit is rejected");
    };
    let actions: Vec<_> = commit.ops.iter().map(|op| (op.index, op.action)).collect();
    let expected = [
        (0, Action::Create),
        (1, Action::Delete),
        (2, Action::Create),
    ];
    assert_eq!(actions, expected);
    // Two operations may share one block.
    assert!(commit.ops[0].record.is_some() && commit.ops[0].record == commit.ops[2].record);
}
