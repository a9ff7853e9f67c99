//! The vectors of the protocol's authors for trees and proofs (`fixtures/vectors/atproto-interop`).

use std::collections::BTreeMap;

use skytide_core::id::Cid;
use skytide_simnet::mst::{Tree, common_prefix, layer};

use crate::vectors::{json, list};

fn digest(cid: &serde_json::Value) -> [u8; 32] {
    let cid: Cid = cid.as_str().expect("a text").parse().expect("a CID");
    *cid.digest()
}

#[test]
fn keys_have_the_layers_and_shared_prefixes_of_the_vectors() {
    for case in list(&json("vectors/atproto-interop/mst/key_heights.json")) {
        let key = case["key"].as_str().expect("a text");
        assert_eq!(u64::from(layer(key.as_bytes())), case["height"], "{key}");
    }
    for case in list(&json("vectors/atproto-interop/mst/common_prefix.json")) {
        let [left, right] = ["left", "right"].map(|side| case[side].as_str().expect("a text"));
        let length = common_prefix(left.as_bytes(), right.as_bytes());
        assert_eq!(length, case["len"], "{left:?} {right:?}");
    }
}

#[test]
fn proofs_have_the_blocks_of_the_vectors_and_lead_back_to_the_previous_tree() {
    let cases = json("vectors/atproto-interop/firehose/commit-proof-fixtures.json");
    for case in list(&cases) {
        let name = case["comment"].as_str().expect("a text");
        let keys = |which: &str| -> Vec<String> {
            let keys = list(&case[which]).iter();
            keys.map(|key| key.as_str().expect("a text").to_owned())
                .collect()
        };
        let (value, before) = (
            digest(&case["leafValue"]),
            digest(&case["rootBeforeCommit"]),
        );
        let mut tree = Tree::default();
        for key in keys("keys") {
            tree.insert(key.as_bytes(), value).unwrap();
        }
        assert_eq!(tree.root(), before, "{name}");
        for key in keys("adds") {
            assert_eq!(tree.insert(key.as_bytes(), value), Ok(None), "{name}");
        }
        for key in keys("dels") {
            assert_eq!(tree.remove(key.as_bytes()), Ok(Some(value)), "{name}");
        }
        let after = tree.root();
        assert_eq!(after, digest(&case["rootAfterCommit"]), "{name}");

        let changed = [keys("adds"), keys("dels")].concat();
        let changed: Vec<&[u8]> = changed.iter().map(String::as_bytes).collect();
        let mut proof = BTreeMap::new();
        let proven = tree.prove(&changed, |digest, block| {
            assert!(
                proof.insert(*digest, block.to_vec()).is_none(),
                "{name}: twice"
            );
        });
        assert_eq!(proven, Ok(after), "{name}");
        for block in list(&case["blocksInProof"]) {
            assert!(proof.contains_key(&digest(block)), "{name}: {block}");
        }

        let theirs = list(&case["blocksInProof"]).iter().map(digest);
        let theirs: BTreeMap<_, _> = theirs.map(|at| (at, proof[&at].as_slice())).collect();
        let mut partial = Tree::from_blocks(&after, &theirs).unwrap();
        for key in keys("dels") {
            partial.insert(key.as_bytes(), value).unwrap();
        }
        for key in keys("adds") {
            assert_eq!(partial.remove(key.as_bytes()), Ok(Some(value)), "{name}");
        }
        assert_eq!(partial.root(), before, "{name}: undone");
    }
}

#[test]
fn a_tree_is_a_function_of_its_keys_for_any_history() {
    let text = crate::vectors::text("vectors/atproto-interop/mst/example_keys.txt");
    let keys: Vec<&[u8]> = text.lines().map(str::as_bytes).collect();
    let value = [7; 32];
    for step in [1, 5, 7, 11, 25, 31] {
        let order = |i: usize| keys[i * step % keys.len()];
        let (mut plain, mut changed) = (Tree::default(), Tree::default());
        let empty = plain.root();
        for key in &keys[..keys.len() / 2] {
            plain.insert(key, value).unwrap();
        }
        for i in 0..keys.len() {
            changed.insert(order(i), value).unwrap();
        }
        for key in &keys[keys.len() / 2..] {
            assert_eq!(changed.remove(key), Ok(Some(value)));
            assert_eq!(changed.remove(key), Ok(None));
        }
        assert_eq!(plain.root(), changed.root(), "step {step}");
        for i in 0..keys.len() {
            changed.remove(order(i)).unwrap();
        }
        assert_eq!(changed.root(), empty, "step {step}");
    }
}
