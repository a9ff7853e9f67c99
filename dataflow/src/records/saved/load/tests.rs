use std::collections::{BTreeMap, BTreeSet};

use skytide_core::event::{Action, Op};
use skytide_core::id::Rkey;
use skytide_core::live::LiveContent;

use super::*;
use crate::fact::Fact;
use crate::records::AccountPolicy;
use crate::records::announcement::Announced;
use crate::records::saved::read_accounts;
use crate::records::saved::testing::Checkpoints;
use crate::sizes::StateSizes;

fn state() -> LiveRecords {
    LiveRecords::new(AccountPolicy::default(), 0)
}

#[test]
fn subjects_of_another_workers_repo_get_no_numbers() {
    let dids: [Did; 2] =
        ["did:web:a.example", "did:web:b.example"].map(|did| did.parse().expect("it is a DID"));
    let [author, subject] = &dids;
    let mut record = b"\xa1\x67subject\x71".to_vec();
    record.extend(subject.to_string().bytes());
    let follow = Op {
        rev: Tid(1),
        since: None,
        action: Action::Create,
        collection: "app.bsky.graph.follow".parse().expect("it is an NSID"),
        rkey: Tid(1).into(),
        cid: None,
        record: Some(record.into()),
    };
    let mut written = state();
    written.operation(author, follow, Minute(1));
    let mut checkpoints = Checkpoints::default();
    checkpoints.make(&mut written, true);
    for (is_own, accounts) in [(true, 2), (false, 0)] {
        let mut state = state();
        checkpoints.load(&mut state, |_| is_own);
        assert_eq!(state.gauges().accounts, accounts);
    }
}

/// The account is the first one of its shard, so the restored checkpoint has nothing of the shard.
#[test]
fn a_post_of_a_new_account_that_is_gone_before_the_first_cut_after_a_restart_is_saved() {
    let mut checkpoints = Checkpoints::default();
    checkpoints.make(&mut state(), true);
    let mut restored = state();
    checkpoints.load(&mut restored, |_| true);
    let did: Did = "did:web:a.example".parse().expect("it is a DID");
    let post = |action: Action| Op {
        rev: Tid(1),
        since: None,
        action,
        collection: POST.parse().expect("it is an NSID"),
        rkey: Tid(1).into(),
        cid: None,
        record: (action == Action::Create).then(|| b"\xa0"[..].into()),
    };
    restored.operation(&did, post(Action::Create), Minute(1));
    restored.operation(&did, post(Action::Delete), Minute(1));
    checkpoints.make(&mut restored, true);
    let saved = Model::of(&checkpoints);
    assert_eq!((saved.live.len(), saved.gone_posts.len()), (0, 1));
}

/// The records of all accounts, counted from the operations alone: when each was first seen, and the
/// tag of a post.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    live: BTreeMap<(String, String, String), (u32, Option<String>)>,
    gone_posts: BTreeSet<(String, String)>,
    /// Accounts whose facts are hidden. Not compared with checkpoints.
    hidden: BTreeSet<String>,
}

const POST: &str = "app.bsky.feed.post";

impl Model {
    fn remove(&mut self, key: &(String, String, String)) {
        if self.live.remove(key).is_some() && key.1 == POST {
            self.gone_posts.insert((key.0.clone(), key.2.clone()));
        }
    }

    fn apply(&mut self, did: &Did, op: &Op, minute: u32) {
        let key = (
            did.to_string(),
            op.collection.as_str().to_owned(),
            op.rkey.to_string(),
        );
        if op.action == Action::Delete {
            return self.remove(&key);
        }
        let tag = (key.1 == POST).then(|| {
            let record = op.record.as_deref().expect("a record");
            String::from_utf8_lossy(&record[record.len() - 6..]).into_owned()
        });
        if key.1 == POST {
            self.gone_posts.remove(&(key.0.clone(), key.2.clone()));
        }
        let first_seen = self.live.get(&key).map_or(minute, |(first, _)| *first);
        self.live.insert(key, (first_seen, tag));
    }

    fn erase(&mut self, did: &Did) {
        let did = did.to_string();
        let keys = self.live.keys().filter(|key| key.0 == did);
        for key in keys.cloned().collect::<Vec<_>>() {
            self.remove(&key);
        }
    }

    /// The visible posts: their tags, and how often each is counted.
    fn visible_tags(&self) -> BTreeMap<String, i64> {
        let visible = self
            .live
            .iter()
            .filter(|(key, _)| !self.hidden.contains(&key.0));
        let mut tags = BTreeMap::new();
        for tag in visible.filter_map(|(_, (_, tag))| tag.clone()) {
            *tags.entry(tag).or_default() += 1;
        }
        tags
    }

    /// What a checkpoint contains.
    fn of(checkpoints: &Checkpoints) -> Self {
        let mut model = Self::default();
        for saved in &checkpoints.complete {
            for account in read_accounts(saved).expect("it is intact") {
                let did = account.did.to_string();
                for rkey in account.gone_posts {
                    let is_new = model.gone_posts.insert((did.clone(), rkey.to_string()));
                    assert!(is_new, "a gone post twice");
                }
                for record in account.records {
                    let collection = record.collection.as_str().to_owned();
                    let tag = match record.content {
                        Some(LiveContent::Post(post)) => Some(post.hashtags[0].to_string()),
                        _ => None,
                    };
                    let key = (did.clone(), collection, record.rkey.to_string());
                    let value = (record.first_seen.0, tag);
                    assert_eq!(model.live.insert(key, value), None, "a record twice");
                }
            }
        }
        model
    }
}

fn random_op(next: &mut dyn FnMut(u64) -> u64, step: u64) -> Op {
    let like = b"\xa1\x67subject\xa1\x63uri\x78\x46at://did:plc:3ir4kq33qnjyzawsel2s2vak/app.bsky.feed.post/3n2xril3jyo2a";
    let post = format!("t{step:05}");
    let (collection, record) = match next(4) {
        0 => ("app.bsky.feed.like".to_owned(), like.to_vec()),
        1 | 2 => (
            POST.to_owned(),
            [b"\xa1\x64tags\x81\x66", post.as_bytes()].concat(),
        ),
        _ => (format!("com.example.n{}.thing", next(5)), b"\xa0".to_vec()),
    };
    let key = next(60);
    let rkey: Rkey = match next(3) {
        0 => format!("text{key}").parse().expect("it is a record key"),
        _ => Tid(key).into(),
    };
    let action = match next(5) {
        0 | 1 => Action::Delete,
        2 => Action::Update,
        _ => Action::Create,
    };
    Op {
        rev: Tid(step),
        since: None,
        action,
        collection: collection.parse().expect("it is an NSID"),
        rkey,
        cid: None,
        record: (action != Action::Delete).then(|| record.into()),
    }
}

/// Applies a random operation or status of an account to the state and to the model.
fn change_account(
    state: &mut LiveRecords,
    model: &mut Model,
    did: &Did,
    (next, step): (&mut dyn FnMut(u64) -> u64, u64),
) {
    match next(300) {
        0 => {
            state.account(
                did,
                false,
                Some("deleted".into()),
                Announced::at(Timestamp(60_000)),
            );
            model.erase(did);
            model.hidden.insert(did.to_string());
        }
        1..4 => {
            state.account(did, true, None, Announced::at(Timestamp(60_000)));
            model.hidden.remove(&did.to_string());
        }
        4..7 => {
            state.account(did, false, None, Announced::at(Timestamp(60_000)));
            model.hidden.insert(did.to_string());
        }
        _ => {
            let op = random_op(next, step);
            model.apply(did, &op, step as u32);
            state.operation(did, op, Minute(step as u32));
        }
    }
}

fn did_of(number: u64) -> Did {
    format!("did:web:{number}.example")
        .parse()
        .expect("it is a DID")
}

/// An account of a shard that had none at the restart creates and removes posts before the first
/// cut. The first checkpoint after it fails or completes.
#[test]
fn posts_that_are_gone_before_the_first_cut_after_a_restart_stay_gone() {
    let mut next = crate::testing::random(1);
    let mut ops = |action: Action, number: u64| {
        let post = b"\xa1\x64tags\x81\x66t00000".to_vec();
        Op {
            collection: POST.parse().expect("it is an NSID"),
            rkey: Tid(number).into(),
            action,
            record: (action != Action::Delete).then(|| post.into()),
            ..random_op(&mut next, number)
        }
    };
    for (completes, erased) in [(true, false), (false, false), (true, true), (false, true)] {
        let (mut written, mut model) = (state(), Model::default());
        let mut apply = |state: &mut LiveRecords, did: &Did, op: Op| {
            model.apply(did, &op, 1);
            state.operation(did, op, Minute(1));
        };
        let mut checkpoints = Checkpoints::default();
        apply(&mut written, &did_of(0), ops(Action::Create, 1));
        checkpoints.make(&mut written, true);
        let mut state = state();
        checkpoints.load(&mut state, |_| true);
        // More accounts than shards: most shards had no account.
        for account in 1..100 {
            let did = did_of(account);
            apply(&mut state, &did, ops(Action::Create, 2));
            apply(&mut state, &did, ops(Action::Create, 3));
            if erased {
                state.account(
                    &did,
                    false,
                    Some("deleted".into()),
                    Announced::at(Timestamp(60_000)),
                );
            } else {
                apply(&mut state, &did, ops(Action::Delete, 2));
            }
        }
        if erased {
            (1..100).for_each(|account| model.erase(&did_of(account)));
        }
        checkpoints.make(&mut state, completes);
        if !completes {
            checkpoints.make(&mut state, true);
        }
        assert_eq!(Model::of(&checkpoints), model, "{completes} {erased}");
    }
}

/// Random operations and deleted accounts, with checkpoints that complete or fail, and restarts with
/// another number of workers.
#[test]
fn checkpoints_of_changes_contain_what_a_recount_of_all_operations_gives() {
    for seed in 0..12_u64 {
        let mut next = crate::testing::random(seed);
        let mut states = vec![state()];
        let hot_records_max = [None, Some(0), Some(64), Some(usize::MAX)][seed as usize % 4];
        let mut checkpoints = Checkpoints::with_hot_records(hot_records_max);
        let (mut model, mut complete) = (Model::default(), Model::default());
        let mut tags = BTreeMap::<String, i64>::new();
        let mut evicted = false;
        for step in 1..=6_000_u64 {
            let account = next(12) * next(3);
            let did: Did = match account % 2 {
                0 => format!("did:web:{account}.example").parse(),
                _ => format!("did:plc:{account:2>24}").parse(),
            }
            .expect("it is a DID");
            let workers = states.len();
            let state = &mut states[crate::records::worker_of(&did, workers)];
            change_account(state, &mut model, &did, (&mut next, step));
            let context = format!("seed {seed}, step {step}");
            if next(20) == 0 {
                state.evict(next(2_000));
            }
            match next(200) {
                0 => {
                    checkpoints.make_of(&mut states, true);
                    complete = model.clone();
                    let expected = Model {
                        hidden: BTreeSet::new(),
                        ..model.clone()
                    };
                    assert_eq!(Model::of(&checkpoints), expected, "{context}");
                }
                1 => checkpoints.make_of(&mut states, false),
                2 if next(3) == 0 => checkpoints.forget_base(),
                3 if !checkpoints.complete.is_empty() => {
                    let workers = [1, 2, 3][next(3) as usize];
                    states = (0..workers).map(|_| self::state()).collect();
                    for (worker, state) in states.iter_mut().enumerate() {
                        checkpoints.load(state, |did| {
                            crate::records::worker_of(did, workers) == worker
                        });
                    }
                    model = complete.clone();
                    tags.clear();
                    let records: u64 = states.iter().map(|it| it.gauges().records).sum();
                    assert_eq!(records, model.live.len() as u64, "{context}");
                }
                _ => {}
            }
            for state in &mut states {
                state.end_of_time(step as u32, Timestamp(step * 60_000));
                state.take_facts(|(fact, diff)| {
                    if let Fact::Post(post) = fact {
                        *tags.entry(post.tags[0].to_string()).or_default() += i64::from(diff);
                    }
                });
            }
            evicted |= states.iter().any(|state| state.cold_records() > 0);
            if step % 50 == 0 {
                tags.retain(|_, count| *count != 0);
                assert_eq!(tags, model.visible_tags(), "{context}");
            }
        }
        assert!(!complete.live.is_empty() && !complete.gone_posts.is_empty());
        assert_eq!(evicted, hot_records_max.is_some(), "seed {seed}");
    }
}
