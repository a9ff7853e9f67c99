//! Examples whose numbers were worked out by hand, so that the recount itself can be trusted.

use skytide_core::event::{Action, Body, Moved, Op};
use skytide_core::id::{Cursor, Did, PostKey, Tid};
use skytide_core::view::{
    AccountRow, ActivityKey, ActivityRow, ActorRow, CounterRow, HandleKey, InteractionKey,
    InteractionRow, ListKey, Measure, PostRow, PostState, Span, TrendKey, TrendRow, Window,
    decode_row,
};

use serde::de::DeserializeOwned;

use std::collections::BTreeMap;

use skytide_core::event::{Event, Message, Sources, Tick};
use skytide_core::id::Epoch;
use skytide_core::time::Timestamp;
use skytide_core::view::{Key, ListRow, ViewId, ViewKey};
use skytide_tests::model::{Model, Options, Policy};
use skytide_tests::world::Value;

mod repeated;

const POST: &str = "app.bsky.feed.post";
const LIKE: &str = "app.bsky.feed.like";
const MINUTE: u64 = 60_000;
const DAY: u64 = 1_440 * MINUTE;

/// Builds a log; `ana`, `bea` and `cai` denote did:web accounts.
struct Script {
    model: Model,
    time: Timestamp,
    seq: u64,
    rev: u64,
    epoch: u64,
}

fn script(policy: Policy) -> Script {
    Script {
        model: Model::new(Options {
            policy,
            interactions_days: Some(2),
        }),
        time: Timestamp(20_000 * DAY),
        seq: 0,
        rev: 0,
        epoch: 0,
    }
}

fn did(name: &str) -> Did {
    format!("did:web:{name}").parse().unwrap()
}

fn uri(name: &str, collection: &str, rkey: &str) -> String {
    format!("at://did:web:{name}/{collection}/{rkey}")
}

fn like(subject: &str) -> Value {
    Value::Map(vec![("subject", Value::Map(vec![("uri", subject.into())]))])
}

/// A post with these additional fields.
fn post(fields: Vec<(&'static str, Value)>) -> Value {
    Value::Map([vec![("text", "héllo".into())], fields].concat())
}

fn tagged(tag: &str, langs: &[&str]) -> Value {
    let list = |texts: &[&str]| Value::List(texts.iter().map(|text| (*text).into()).collect());
    post(vec![("tags", list(&[tag])), ("langs", list(langs))])
}

impl Script {
    fn body(&mut self, seq: u64, index: u32, name: &str, body: Body) -> &mut Self {
        let event = Event {
            host: "relay".into(),
            seq: Cursor(seq),
            index,
            time: self.time,
            did: did(name),
            body,
        };
        self.model.read(&Message::Event(event));
        self
    }

    fn event(&mut self, name: &str, body: Body) -> &mut Self {
        self.seq += 1;
        self.body(self.seq, 0, name, body)
    }

    fn account(&mut self, name: &str, active: bool, status: Option<&str>) -> &mut Self {
        let status = status.map(Into::into);
        let sent = Some(self.time);
        let body = Body::Account {
            active,
            status,
            sent,
        };
        self.event(name, body)
    }

    fn identity(&mut self, name: &str, handle: &str) -> &mut Self {
        self.event(
            name,
            Body::Identity {
                handle: Some(handle.into()),
                sent: None,
            },
        )
    }

    fn op(&mut self, action: Action, path: [&str; 2], record: Option<&Value>) -> Body {
        Body::Op(Op {
            rev: Tid(self.rev),
            since: None,
            action,
            collection: path[0].parse().unwrap(),
            rkey: path[1].parse().unwrap(),
            cid: None,
            record: record.map(Value::to_bytes),
        })
    }

    fn create(&mut self, name: &str, path: [&str; 2], record: &Value) -> &mut Self {
        self.rev += 1;
        let body = self.op(Action::Create, path, Some(record));
        self.event(name, body)
    }

    fn update(&mut self, name: &str, path: [&str; 2], record: Option<&Value>) -> &mut Self {
        self.rev += 1;
        let body = self.op(Action::Update, path, record);
        self.event(name, body)
    }

    fn delete(&mut self, name: &str, path: [&str; 2]) -> &mut Self {
        self.rev += 1;
        let body = self.op(Action::Delete, path, None);
        self.event(name, body)
    }

    fn tick_after(&mut self, ms: u64) -> &mut Self {
        self.time.0 += ms;
        self.tick(false)
    }

    fn tick(&mut self, idle: bool) -> &mut Self {
        self.epoch += 1;
        let tick = Tick {
            epoch: Epoch(self.epoch),
            time: self.time,
            host: "relay".into(),
            cursor: Cursor(self.seq),
            frames: self.seq,
            last: false,
            idle,
            sources: Sources::default(),
            counts: BTreeMap::new(),
        };
        self.model.read(&Message::Tick(tick));
        self
    }

    fn get<K: ViewKey, R: DeserializeOwned>(&self, view: ViewId, key: &K) -> Option<R> {
        let rows = self.model.rows();
        rows[&view]
            .get(&Key::of(key))
            .map(|row| decode_row(row).unwrap())
    }

    fn post(&self, name: &str, rkey: &str) -> Option<PostRow> {
        let key: PostKey = uri(name, POST, rkey).parse().unwrap();
        self.get(ViewId::Posts, &key)
    }

    fn hashtag(&self, key: &str, lang: &str) -> Option<TrendRow> {
        let key = TrendKey {
            key: key.into(),
            lang: lang.into(),
        };
        self.get(ViewId::Hashtags, &key)
    }

    fn actor(&self, name: &str) -> ActorRow {
        self.get(ViewId::Actors, &did(name)).unwrap_or_default()
    }

    fn counter(&self, name: &str) -> u64 {
        let row: Option<CounterRow> = self.get(ViewId::Counters, &name.to_owned());
        row.unwrap_or_default().value
    }

    /// The keys and values of a list.
    fn list(
        &self,
        view: ViewId,
        window: Window,
        measure: Measure,
        lang: &str,
    ) -> Vec<(String, u32)> {
        let key = ListKey {
            window,
            measure,
            lang: lang.into(),
        };
        let row: ListRow = self.get(view, &key).unwrap_or_default();
        let entries = row.entries.into_iter();
        entries
            .map(|entry| (entry.key.into(), entry.value))
            .collect()
    }
}

#[test]
fn a_like_before_its_post_counts_and_its_deletion_removes_the_row() {
    let mut log = script(Policy::OpsOnly);
    log.create("bea", [LIKE, "1"], &like(&uri("ana", POST, "1")))
        .tick_after(0);
    let seen = log.post("ana", "1").unwrap();
    assert_eq!(
        (seen.likes, seen.self_likes, seen.state),
        (1, 0, PostState::NeverSeen)
    );

    log.delete("bea", [LIKE, "1"]).tick_after(0);
    assert_eq!(log.post("ana", "1"), None);
}

#[test]
fn a_deleted_post_is_gone_and_keeps_the_tallies_of_live_records() {
    let mut log = script(Policy::OpsOnly);
    log.create("ana", [POST, "1"], &post(vec![])).tick_after(0);
    log.create("ana", [LIKE, "1"], &like(&uri("ana", POST, "1")))
        .tick_after(2_000);
    let listed = vec![(uri("ana", POST, "1"), 1)];
    assert_eq!(
        log.list(ViewId::TopPosts, Window::All, Measure::Likes, ""),
        listed
    );

    log.delete("ana", [POST, "1"]).tick_after(2_000);
    let row = log.post("ana", "1").unwrap();
    assert_eq!(
        (row.likes, row.self_likes, row.state),
        (1, 1, PostState::Gone)
    );
    assert_eq!(
        log.list(ViewId::TopPosts, Window::All, Measure::Likes, ""),
        []
    );
}

#[test]
fn a_reply_that_quotes_counts_as_both_and_is_one_interaction() {
    let parent = uri("bea", POST, "1");
    let reference = |uri: &str| Value::Map(vec![("uri", uri.into())]);
    let reply = Value::Map(vec![
        ("parent", reference(&parent)),
        ("root", reference(&parent)),
    ]);
    let embed = Value::Map(vec![
        ("$type", "app.bsky.embed.record".into()),
        ("record", reference(&uri("cai", POST, "2"))),
    ]);
    let mut log = script(Policy::OpsOnly);
    let record = post(vec![("reply", reply), ("embed", embed)]);
    log.create("ana", [POST, "3"], &record).tick_after(0);

    let answered = log.post("bea", "1").unwrap();
    assert_eq!(
        (answered.replies, answered.root_replies, answered.quotes),
        (1, 1, 0)
    );
    assert_eq!(log.post("cai", "2").unwrap().quotes, 1);
    let key = |subject| InteractionKey {
        author: did("ana"),
        day: 20_000,
        subject: did(subject),
    };
    let expected = InteractionRow {
        replies: 1,
        characters: 5,
        ..Default::default()
    };
    assert_eq!(log.get(ViewId::Interactions, &key("bea")), Some(expected));
    assert_eq!(
        log.get::<_, InteractionRow>(ViewId::Interactions, &key("cai")),
        None
    );

    // Two days are retained, including the current one: the row lives through the next day and no
    // longer.
    log.tick_after(2 * DAY - 1);
    assert_eq!(log.get(ViewId::Interactions, &key("bea")), Some(expected));
    log.tick_after(1);
    assert_eq!(
        log.get::<_, InteractionRow>(ViewId::Interactions, &key("bea")),
        None
    );
}

#[test]
fn a_hashtag_counts_once_per_post_and_primary_language_until_its_window_ends() {
    let mut log = script(Policy::OpsOnly);
    log.create("ana", [POST, "1"], &tagged("Rust", &["en-US", "en", "ja"]));
    log.create("ana", [POST, "2"], &tagged("rust", &[]));
    log.create("bea", [POST, "1"], &tagged("RUST", &["ja"]))
        .tick_after(0);
    let row = |counts, authors| Some(TrendRow { counts, authors });
    assert_eq!(log.hashtag("rust", ""), row([3; 4], [2; 4]));
    assert_eq!(log.hashtag("rust", "en"), row([1; 4], [1; 4]));
    assert_eq!(log.hashtag("rust", "ja"), row([2; 4], [2; 4]));
    assert_eq!(log.hashtag("rust", "und"), row([1; 4], [1; 4]));
    assert_eq!(log.hashtag("rust", "en-us"), None);

    log.tick_after(59 * MINUTE);
    assert_eq!(log.hashtag("rust", ""), row([3; 4], [2; 4]));
    log.tick_after(MINUTE);
    assert_eq!(log.hashtag("rust", ""), row([0, 3, 3, 3], [0, 2, 2, 2]));
    log.tick_after(23 * 60 * MINUTE - 1);
    assert_eq!(log.hashtag("rust", "").unwrap().counts, [0, 3, 3, 3]);
    log.tick_after(1);
    assert_eq!(log.hashtag("rust", "").unwrap().counts, [0, 0, 3, 3]);
    log.tick_after(6 * DAY);
    assert_eq!(log.hashtag("rust", "").unwrap().counts, [0, 0, 0, 3]);
}

#[test]
fn an_edit_keeps_the_first_seen_time_and_a_recreation_does_not() {
    let mut log = script(Policy::OpsOnly);
    log.create("ana", [POST, "1"], &tagged("old", &[]))
        .tick_after(120 * MINUTE);
    log.update("ana", [POST, "1"], Some(&tagged("new", &[])))
        .tick_after(0);
    assert_eq!(log.hashtag("old", ""), None);
    assert_eq!(log.hashtag("new", "").unwrap().counts, [0, 1, 1, 1]);

    log.delete("ana", [POST, "1"])
        .create("ana", [POST, "1"], &tagged("new", &[]));
    log.tick_after(0);
    assert_eq!(log.hashtag("new", "").unwrap().counts, [1, 1, 1, 1]);
}

#[test]
fn an_unreadable_edit_retracts_the_facts_and_the_record_stays_live() {
    let mut log = script(Policy::OpsOnly);
    log.create("ana", [POST, "1"], &tagged("tag", &[]));
    log.update("ana", [POST, "1"], None).tick_after(0);
    assert_eq!(log.hashtag("tag", ""), None);
    assert_eq!(log.post("ana", "1").unwrap().state, PostState::Live);
    assert_eq!(log.counter("dropped/op_cid"), 1);

    log.update("ana", [POST, "1"], Some(&Value::List(vec![])))
        .tick_after(0);
    assert_eq!(log.counter("dropped/record_shape"), 1);
    assert_eq!((log.actor("ana").posts, log.post("ana", "2")), (0, None));
}

#[test]
fn events_of_an_epoch_are_sorted_and_only_the_first_copy_counts() {
    let mut log = script(Policy::OpsOnly);
    (log.rev, log.seq) = (1, 7);
    let create = log.op(Action::Create, [POST, "1"], Some(&post(vec![])));
    let delete = log.op(Action::Delete, [POST, "1"], None);
    log.body(7, 1, "ana", delete)
        .body(7, 0, "ana", create.clone());
    log.body(7, 0, "ana", create).tick_after(0);
    assert_eq!(log.post("ana", "1").unwrap().state, PostState::Gone);
    assert_eq!(log.counter("dropped/delete_unknown"), 0);

    let key = ActivityKey {
        span: Span::Hour,
        start_minute: 20_000 * 1_440,
        collection: POST.into(),
    };
    let row: ActivityRow = log.get(ViewId::Activity, &key).unwrap();
    assert_eq!(
        (row.creates, row.deletes, row.accounts, row.live),
        (1, 1, 1, 0)
    );
}

#[test]
fn a_deactivated_account_is_hidden_and_returns_to_its_old_buckets() {
    let mut log = script(Policy::ActiveAccountsOnly);
    log.create("ana", [POST, "1"], &tagged("tag", &[]))
        .tick_after(0);
    log.account("ana", false, Some("deactivated"));
    log.create("ana", [POST, "2"], &tagged("tag", &[]))
        .tick_after(90 * MINUTE);
    assert_eq!((log.hashtag("tag", ""), log.actor("ana").posts), (None, 0));
    assert_eq!(log.post("ana", "1").unwrap().state, PostState::Gone);
    assert_eq!(log.post("ana", "2").unwrap().state, PostState::Gone);

    log.account("ana", true, None).tick_after(0);
    assert_eq!(log.hashtag("tag", "").unwrap().counts, [0, 2, 2, 2]);
    assert_eq!(log.post("ana", "2").unwrap().state, PostState::Live);
}

#[test]
fn a_deleted_account_is_erased_and_only_one_policy_hides_what_it_writes_afterwards() {
    for (policy, posts) in Policy::ALL.into_iter().zip([0, 1, 2]) {
        let mut log = script(policy);
        log.create("ana", [POST, "1"], &post(vec![]));
        log.account("ana", false, Some("deleted"));
        log.create("ana", [POST, "2"], &post(vec![])).tick_after(0);
        assert_eq!(log.actor("ana").posts, posts, "{policy:?}");
        log.account("ana", true, None).tick_after(0);
        assert_eq!(log.actor("ana").posts, posts.max(1), "{policy:?}");
    }
}

#[test]
fn followers_are_distinct_accounts_and_follows_are_records() {
    let mut log = script(Policy::OpsOnly);
    let follow = Value::Map(vec![("subject", "did:web:bea".into())]);
    for rkey in ["1", "2"] {
        log.create("ana", ["app.bsky.graph.follow", rkey], &follow);
    }
    log.create("bea", ["app.bsky.graph.follow", "1"], &follow)
        .tick_after(0);
    let (ana, bea) = (log.actor("ana"), log.actor("bea"));
    assert_eq!((bea.followers, bea.follow_records, bea.follows), (2, 3, 1));
    assert_eq!((ana.followers, ana.follow_records, ana.follows), (0, 0, 2));
}

#[test]
fn lists_wait_for_the_next_second_and_ties_go_to_the_smaller_key() {
    let mut log = script(Policy::OpsOnly);
    log.create("ana", [POST, "1"], &tagged("b", &["en"]))
        .tick_after(0);
    log.create("ana", [POST, "2"], &tagged("a", &["en"]))
        .tick_after(999);
    let list = |log: &Script| log.list(ViewId::TopHashtags, Window::Hour, Measure::Count, "en");
    assert_eq!(list(&log), [("b".to_owned(), 1)]);
    log.tick_after(1);
    assert_eq!(list(&log), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
}

#[test]
fn lists_are_updated_once_the_stream_is_idle() {
    let mut log = script(Policy::OpsOnly);
    log.create("ana", [POST, "1"], &tagged("b", &["en"]))
        .tick_after(0);
    log.create("ana", [POST, "2"], &tagged("a", &["en"]))
        .tick_after(999);
    log.tick(true);
    let list = log.list(ViewId::TopHashtags, Window::Hour, Measure::Count, "en");
    assert_eq!(list, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
}

#[test]
fn a_repo_is_out_of_sync_after_a_sync_ahead_of_what_is_known_and_a_handle_moves_on() {
    let mut log = script(Policy::OpsOnly);
    let moved = |rev| Body::Moved {
        rev: Tid(rev),
        why: Moved::Sync,
    };
    let out = |log: &Script| {
        let row: Option<AccountRow> = log.get(ViewId::Accounts, &did("ana"));
        row.map(|row| row.out_of_sync)
    };
    log.event("ana", moved(5)).tick_after(0);
    assert_eq!(out(&log), None);
    log.event("ana", moved(5))
        .identity("ana", "Ana.example.com")
        .tick_after(0);
    assert_eq!(out(&log), Some(false));
    log.event("ana", moved(6))
        .identity("ana", "new.example.com")
        .tick_after(0);
    assert_eq!(out(&log), Some(true));
    let key = |handle: &str| HandleKey {
        handle: handle.into(),
        did: did("ana"),
    };
    let row = |log: &Script, handle| -> Option<skytide_core::view::HandleRow> {
        log.get(ViewId::Handles, &key(handle))
    };
    assert_eq!(row(&log, "ana.example.com"), None);
    assert_eq!(row(&log, "new.example.com").unwrap().claimed, log.time);

    // What is no handle leaves the known one; what says that there is none takes it away.
    log.identity("ana", "nodot").tick_after(0);
    assert!(row(&log, "new.example.com").is_some());
    log.identity("ana", "handle.invalid").tick_after(0);
    let left = ["new.example.com", "handle.invalid"].map(|handle| row(&log, handle));
    assert_eq!(left, [None, None]);
}
