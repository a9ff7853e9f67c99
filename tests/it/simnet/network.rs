//! A network is a function of its options, and its proofs are valid.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use skytide_core::event::Body;
use skytide_core::id::Cid;
use skytide_ingest::car::Car;
use skytide_simnet::mst::Tree;
use skytide_simnet::{Network, Options, RecordingEnd, write_recording};

use super::{frames, options, with_bad};

#[test]
fn equal_options_give_equal_bytes_and_other_options_do_not() {
    let bytes = |options: Options| -> Vec<_> { frames(options).map(|frame| frame.bytes).collect() };
    let first = bytes(with_bad(1, 2_000, 2_000));
    assert_eq!(first, bytes(with_bad(1, 2_000, 2_000)));
    assert_ne!(first[0], bytes(with_bad(2, 1, 0))[0]);
    let unsigned = Options {
        signed: false,
        ..with_bad(1, 2_000, 2_000)
    };
    assert_ne!(first[0], bytes(unsigned)[0]);
}

#[test]
fn frames_after_a_skip_are_the_same_as_without_it() {
    let whole: Vec<_> = frames(with_bad(7, 4_000, 3_000)).collect();
    let skips = [0, 1, 60, 700, 701, 702, 703, 1_500, 2_800, 1 << 40];
    for (made, seq) in skips
        .map(|seq| (0, seq))
        .into_iter()
        .chain([(500, 900), (1_200, 3_000)])
    {
        let mut network = Network::new(with_bad(7, 4_000, 3_000));
        for frame in &whole[..made] {
            let bytes = network.next_frame().map(|frame| frame.bytes);
            assert_eq!(bytes.as_ref(), Some(&frame.bytes));
        }
        network.skip_to(seq);
        let begin = whole.iter().position(|frame| frame.seq > seq);
        let expected = &whole[begin.unwrap_or(whole.len())..];
        let mut count = 0;
        while let Some(frame) = network.next_frame() {
            let other = &expected[count];
            assert_eq!(
                frame.bytes, other.bytes,
                "behind {seq}: frame {count}, {:?}",
                frame.malformed
            );
            assert_eq!(frame.events, other.events, "after {seq}: frame {count}");
            assert_eq!(frame.expected, other.expected, "after {seq}: frame {count}");
            count += 1;
        }
        assert_eq!(count, expected.len(), "after {seq}");
    }
}

fn field<'a>(value: &'a Ipld, key: &str) -> &'a Ipld {
    match value {
        Ipld::Map(map) => map.get(key).unwrap_or(&Ipld::Null),
        _ => panic!("{key} of no map"),
    }
}

fn digest(value: &Ipld) -> Option<[u8; 32]> {
    match value {
        Ipld::Link(cid) => cid.hash().digest().try_into().ok(),
        _ => None,
    }
}

/// Undoes a commit's operations on the partial tree in its CAR; the result must be the previous
/// tree.
fn check_proof(bytes: &[u8]) -> Option<()> {
    let body = bytes.strip_prefix(b"\xa2at\x67#commitbop\x01")?;
    let body: Ipld = serde_ipld_dagcbor::from_slice(body).expect("DAG-CBOR");
    let Ipld::Bytes(blocks) = field(&body, "blocks") else {
        panic!("a commit has blocks")
    };
    let car = Car::open(blocks).expect("a CAR");
    let blocks: BTreeMap<[u8; 32], &[u8]> = car
        .map(|block| {
            let block = block.expect("a block");
            let cid = Cid::from_bytes(block.cid).expect("a CID");
            (*cid.digest(), block.data)
        })
        .collect();
    let commit = digest(field(&body, "commit")).expect("a link");
    let commit: Ipld = serde_ipld_dagcbor::from_slice(blocks[&commit]).expect("DAG-CBOR");
    let root = digest(field(&commit, "data")).expect("a link");
    let before = digest(field(&body, "prevData"))?;
    let mut tree = Tree::from_blocks(&root, &blocks).expect("the root is there");
    let Ipld::List(ops) = field(&body, "ops") else {
        panic!("a commit has operations")
    };
    for op in ops.iter().rev() {
        let Ipld::String(path) = field(op, "path") else {
            panic!("an operation has a path")
        };
        let (cid, prev) = (digest(field(op, "cid")), digest(field(op, "prev")));
        let now = match prev {
            Some(prev) => tree.insert(path.as_bytes(), prev),
            None => tree.remove(path.as_bytes()),
        };
        assert_eq!(now.expect("the proof is complete"), cid, "{path}");
    }
    assert_eq!(tree.root(), before);
    Some(())
}

#[test]
fn undoing_the_operations_of_ten_thousand_commits_leads_to_the_previous_trees() {
    let options = Options {
        accounts: 60,
        history: 200,
        signed: false,
        ..options(11, 11_000)
    };
    let checked = frames(options).filter_map(|frame| check_proof(&frame.bytes));
    assert!(checked.count() >= 10_000);
}

#[test]
fn a_repo_has_the_content_that_the_stream_gave_it() {
    let mut network = Network::new(options(13, 3_000));
    let mut last = BTreeMap::new();
    while let Some(frame) = network.next_frame() {
        if let (Some(did), Some(Body::Op(op))) =
            (frame.did, frame.events.last().map(|event| &event.body))
        {
            last.insert(did, op.rev);
        }
    }
    let mut compared = 0;
    for (did, rev) in last {
        let Some((commit, newest)) = network.latest_commit(&did) else {
            continue;
        };
        assert_eq!(newest, rev, "{did}");
        let repo = network.repo_car(&did).expect("it is hosted");
        let mut car = Car::open(&repo).expect("a CAR");
        assert_eq!(car.root(), Some(commit));
        assert!(car.all(|block| block.is_ok()));
        let account = network.account(&did).expect("it is known");
        assert_eq!(network.did_of_handle(&account.handle), Some(did));
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_recording_is_read_back_frame_by_frame() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("network.frames.zst");
    let mut network = Network::new(with_bad(5, 1_000, 500));
    let written =
        write_recording(&mut network, &path, RecordingEnd::Frames(600)).expect("it is written");
    let packed = std::fs::read(&path).expect("it is there");
    assert_eq!(
        (written.frames, written.file_bytes),
        (600, packed.len() as u64)
    );
    let bytes = zstd::decode_all(packed.as_slice()).expect("zstd");
    let (mut rest, mut count) = (bytes.as_slice(), 0);
    for frame in frames(with_bad(5, 600, 500)) {
        let (length, after) = rest.split_first_chunk().expect("a length");
        let (bytes, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        assert_eq!(bytes, frame.bytes);
        (rest, count) = (after, count + 1);
    }
    assert_eq!((count, rest.len()), (600, 0));
}
