//! A network is a function of its options, has the proportions of the real one, and its proofs hold.

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use skytide_core::event::{Action, Body};
use skytide_core::id::Cid;
use skytide_ingest::car::Car;
use skytide_simnet::mst::Tree;
use skytide_simnet::{Content, End, Network, Options, write_recording};

use super::{frames, options, with_bad};

#[test]
fn the_same_options_give_the_same_bytes_and_other_ones_do_not() {
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
fn frames_behind_a_skip_are_the_same_as_without_it() {
    let whole: Vec<_> = frames(with_bad(7, 4_000, 3_000)).collect();
    for seq in [0, 1, 60, 700, 701, 702, 703, 1_500, 2_800, 1 << 40] {
        let mut network = Network::new(with_bad(7, 4_000, 3_000));
        network.skip_to(seq);
        let begin = whole.iter().position(|frame| frame.seq > seq);
        let expected = &whole[begin.unwrap_or(whole.len())..];
        let mut count = 0;
        while let Some(frame) = network.next_frame() {
            let other = &expected[count];
            assert_eq!(
                frame.bytes, other.bytes,
                "behind {seq}: frame {count}, {:?}",
                frame.bad
            );
            assert_eq!(frame.events, other.events, "behind {seq}: frame {count}");
            assert_eq!(
                frame.expected, other.expected,
                "behind {seq}: frame {count}"
            );
            count += 1;
        }
        assert_eq!(count, expected.len(), "behind {seq}");
    }
}

#[test]
fn the_mix_is_that_of_the_network() {
    let options = Options {
        accounts: 3_000,
        rate: 50.0,
        signed: false,
        events_max: Some(300_000),
        ..Options::default()
    };
    let (mut creates, mut deletes, mut updates, mut ops, mut several) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let (mut posts, mut replies, mut silent, mut english) = (0.0, 0.0, 0.0, 0.0);
    let mut classes: BTreeMap<String, f64> = BTreeMap::new();
    let mut bytes: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let mut commits = 0.0;
    for frame in frames(options) {
        let made = frame
            .events
            .iter()
            .filter(|event| matches!(event.body, Body::Op(_)));
        several += f64::from(made.clone().count() > 1);
        commits += f64::from(made.count() > 0);
        for (event, content) in frame.events.iter().zip(&frame.contents) {
            let Body::Op(op) = &event.body else { continue };
            ops += 1.0;
            match op.action {
                Action::Create => creates += 1.0,
                Action::Update => updates += 1.0,
                Action::Delete => deletes += 1.0,
            }
            *classes.entry(op.collection.to_string()).or_default() += 1.0;
            if let Some(record) = &op.record {
                let (sum, count) = bytes.entry(op.collection.to_string()).or_default();
                (*sum, *count) = (*sum + record.len() as f64, *count + 1.0);
            }
            if let (Content::Post(post), Action::Create) = (content, op.action) {
                posts += 1.0;
                replies += f64::from(post.parent.is_some());
                silent += f64::from(post.langs.is_empty());
                english += f64::from(post.langs.first().is_some_and(|lang| lang == "en"));
            }
        }
    }
    let share = |collection: &str| 100.0 * classes[collection] / ops;
    let size = |collection: &str| bytes[collection].0 / bytes[collection].1;
    // What; measured; as PROTOCOL has it; how far it may be off, in parts of it.
    let rows = [
        ("likes, %", share("app.bsky.feed.like"), 67.0, 0.06),
        ("posts, %", share("app.bsky.feed.post"), 12.0, 0.12),
        ("reposts, %", share("app.bsky.feed.repost"), 11.0, 0.08),
        ("follows, %", share("app.bsky.graph.follow"), 8.0, 0.12),
        ("blocks, %", share("app.bsky.graph.block"), 0.7, 0.25),
        ("creates, %", 100.0 * creates / ops, 95.5, 0.01),
        ("deletes, %", 100.0 * deletes / ops, 3.9, 0.2),
        ("updates, %", 100.0 * updates / ops, 0.6, 0.35),
        (
            "commits of one operation for each of several",
            commits / several,
            148.0,
            0.25,
        ),
        (
            "replies among posts, %",
            100.0 * replies / posts,
            46.0,
            0.08,
        ),
        ("posts of no language, %", 100.0 * silent / posts, 12.0, 0.1),
        ("posts in English, %", 100.0 * english / posts, 61.0, 0.1),
        ("bytes of a like", size("app.bsky.feed.like"), 217.0, 0.1),
        (
            "bytes of a repost",
            size("app.bsky.feed.repost"),
            226.0,
            0.1,
        ),
        (
            "bytes of a follow",
            size("app.bsky.graph.follow"),
            109.0,
            0.1,
        ),
        ("bytes of a post", size("app.bsky.feed.post"), 584.0, 0.15),
    ];
    let mut off = Vec::new();
    for (what, ours, theirs, tolerance) in rows {
        println!("{what:<48}{ours:>9.2}{theirs:>9.2}");
        if (ours / theirs - 1.0).abs() > tolerance {
            off.push(what);
        }
    }
    assert!(off.is_empty(), "too far off: {off:?}");
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

/// Undoes a commit's operations on the tree of its own CAR; the tree before must come out.
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
fn undoing_the_operations_of_ten_thousand_commits_leads_to_the_trees_before() {
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
fn a_repo_is_what_the_stream_made_of_it() {
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
    let written = write_recording(&mut network, &path, End::Frames(600)).expect("it is written");
    let packed = std::fs::read(&path).expect("it is there");
    assert_eq!(
        (written.frames, written.file_bytes),
        (600, packed.len() as u64)
    );
    let bytes = zstd::decode_all(packed.as_slice()).expect("zstd");
    let (mut rest, mut count) = (bytes.as_slice(), 0);
    for frame in frames(with_bad(5, 600, 500)) {
        let (length, behind) = rest.split_first_chunk().expect("a length");
        let (bytes, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        assert_eq!(bytes, frame.bytes);
        (rest, count) = (behind, count + 1);
    }
    assert_eq!((count, rest.len()), (600, 0));
}
