use std::collections::BTreeMap;

use super::*;
use crate::policy::MergePolicy;
use crate::run::Lookup;
use crate::testing::random;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

const SMALL: MergePolicy = MergePolicy {
    runs_max: 3,
    first_tier_bytes: 4 << 10,
};

/// A key of a few groups, so that keys share prefixes and come again.
fn key(random: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let group = random(6);
    let mut key = format!("group {group}/").into_bytes();
    key.extend((random(700) as u16).to_be_bytes());
    key.truncate(key.len() - usize::from(random(50) == 0));
    key
}

fn changes(random: &mut impl FnMut(usize) -> usize) -> Changes {
    let change = |random: &mut dyn FnMut(usize) -> usize| {
        let length = match random(40) {
            0 => random(9_000),
            _ => random(30),
        };
        (random(3) > 0).then(|| vec![random(256) as u8; length])
    };
    (0..random(400))
        .map(|_| (key(random), change(random)))
        .collect()
}

fn written(name: &str, changes: &Changes) -> Option<Vec<u8>> {
    let mut writer = RunWriter::new(name);
    for (key, value) in changes {
        writer.push(key, value.as_deref());
    }
    writer.finish()
}

fn opened(name: &str, bytes: Vec<u8>) -> Arc<Run> {
    Arc::new(Run::open(name, Arc::new(bytes)).expect("an intact run"))
}

fn apply(model: &mut Model, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => model.insert(key.clone(), value.clone()),
            None => model.remove(key),
        };
    }
}

fn scanned(runs: &[Arc<Run>], prefix: &[u8]) -> Result<Model, StateError> {
    let mut found = Model::new();
    let mut merge = Merge::open(runs, prefix)?;
    while let Some((key, value)) = merge.next_entry()? {
        if !key.starts_with(prefix) {
            break;
        }
        if let Some(value) = value {
            let is_new = found.insert(key.to_vec(), value.to_vec()).is_none();
            assert!(is_new, "a key twice");
        }
    }
    Ok(found)
}

fn get(runs: &[Arc<Run>], key: &[u8]) -> Option<Box<[u8]>> {
    for run in runs {
        match run.get(key).expect("intact") {
            Lookup::Unknown => {}
            Lookup::Removed => return None,
            Lookup::Found(value) => return Some(value),
        }
    }
    None
}

/// Merges as the policy says. Returns how many merges there were.
fn merge_due(runs: &mut Vec<(u64, Arc<Run>)>, turn: usize) -> usize {
    let sizes: Vec<u64> = runs.iter().map(|(bytes, _)| *bytes).collect();
    let mut merged = Vec::new();
    let mut merges = 0;
    for group in SMALL.groups(&sizes) {
        if group.len() == 1 {
            merged.push(runs[group.start].clone());
            continue;
        }
        merges += 1;
        let inputs = &runs[group.clone()];
        let inputs: Vec<Arc<Run>> = inputs.iter().map(|(_, run)| run.clone()).collect();
        let name = format!("merged-{turn}-{}", group.start);
        let bytes = merge_runs(&name, &inputs, group.end < sizes.len()).expect("intact");
        merged.extend(bytes.map(|it| (it.len() as u64, opened(&name, it))));
    }
    *runs = merged;
    merges
}

/// Every key and every prefix, after each write and each merge.
#[test]
fn runs_that_are_written_and_merged_equal_a_map() {
    for seed in 0..30 {
        let mut random = random(seed);
        let mut sized: Vec<(u64, Arc<Run>)> = Vec::new();
        let (mut model, mut merges) = (Model::new(), 0);
        for turn in 0..20 {
            let changes = changes(&mut random);
            apply(&mut model, &changes);
            let name = format!("run-{turn}");
            if let Some(bytes) = written(&name, &changes) {
                sized.insert(0, (bytes.len() as u64, opened(&name, bytes)));
            }
            merges += merge_due(&mut sized, turn);
            let runs: Vec<Arc<Run>> = sized.iter().map(|(_, run)| run.clone()).collect();
            let all = scanned(&runs, b"").expect("intact");
            assert!(all == model, "seed {seed}, turn {turn}");
            for group in 0..7 {
                let prefix = format!("group {group}/").into_bytes();
                let expected = model.range(prefix.clone()..);
                let expected = expected.take_while(|(key, _)| key.starts_with(&prefix));
                let expected: Model = expected.map(|(k, v)| (k.clone(), v.clone())).collect();
                let found = scanned(&runs, &prefix).expect("intact");
                assert!(found == expected, "seed {seed}, {prefix:?}");
            }
            for _ in 0..100 {
                let key = key(&mut random);
                let expected = model.get(&key).map(Vec::as_slice);
                let found = get(&runs, &key);
                assert_eq!(found.as_deref(), expected, "seed {seed}, {key:?}");
            }
        }
        assert!(merges > 3, "seed {seed}: {merges} merges");
        assert!(sized.len() < 12, "seed {seed}: {} runs", sized.len());
    }
}

#[test]
fn a_tombstone_ends_only_in_a_merge_with_the_oldest_run() {
    let removed = vec![7];
    let old: Changes = [(removed.clone(), Some(vec![1])), (vec![8], Some(vec![2]))].into();
    let new: Changes = [(removed.clone(), None), (vec![9], None)].into();
    let run = |name: &str, changes| opened(name, written(name, changes).expect("entries"));
    let runs = [run("new", &new), run("old", &old)];
    let partial = merge_runs("partial", &runs[..1], true).expect("intact");
    let partial = opened("partial", partial.expect("tombstones"));
    assert_eq!(
        (partial.summary().entries, partial.summary().tombstones),
        (0, 2)
    );
    assert_eq!(get(&[partial, runs[1].clone()], &removed), None);
    let all = merge_runs("all", &runs, false).expect("intact");
    let all = opened("all", all.expect("an entry"));
    assert_eq!((all.summary().entries, all.summary().tombstones), (1, 0));
    assert_eq!(get(&[all], &removed), None);
    let nothing = merge_runs("nothing", &runs[..1], false);
    assert!(nothing.expect("intact").is_none());
    assert!(written("empty", &Changes::new()).is_none());
}

#[test]
fn every_flipped_bit_is_an_error_that_names_the_run() {
    let mut random = random(1);
    let changes = changes(&mut random);
    let intact = written("run-7", &changes).expect("entries");
    let verified = |name: &str, bytes: Vec<u8>| Run::open(name, Arc::new(bytes))?.verify();
    verified("run-7", intact.clone()).expect("intact");
    let renamed = verified("run-8", intact.clone());
    assert!(matches!(renamed, Err(StateError::Damaged { .. })));
    for at in 0..intact.len() {
        let mut damaged = intact.clone();
        damaged[at] ^= 1 << (at % 8);
        let error = verified("run-7", damaged).expect_err("damaged");
        let StateError::Damaged { run, offset, .. } = &error else {
            panic!("byte {at}: {error}");
        };
        // The damaged part begins at or before the bit, except for the length of the summary.
        let in_tail = at + 12 >= intact.len();
        assert!(
            run == "run-7" && (*offset <= at as u64 || in_tail),
            "{error} at {at}"
        );
    }
    for length in 0..intact.len() {
        let truncated = verified("run-7", intact[..length].to_vec());
        assert!(truncated.is_err(), "{length} bytes");
    }
}
