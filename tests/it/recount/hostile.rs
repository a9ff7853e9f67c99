//! Logs that somebody wrote to do harm: lists without end, texts without end, names without end. Each account in them does what
//! the protocol allows.

use std::collections::BTreeMap;

use skytide_core::event::{Action, Body, Event, Message, Op, Sources, Tick};
use skytide_core::id::{Cursor, Did, Epoch, Tid};
use skytide_core::time::Timestamp;
use skytide_core::view::{
    AccountRow, ActivityKey, ActivityRow, CounterRow, Key, ListKey, Span, TrendKey, TrendRow,
    ViewId, ViewKey, decode_row,
};
use skytide_tests::model::{Options, Policy, Rows, recount};
use skytide_tests::world::{Random, Value};

use super::harness::{Case, seeds};
use crate::restart::ground::{Lives, Tally};

const POST: &str = "app.bsky.feed.post";
const PROFILE: &str = "app.bsky.actor.profile";

/// A log under construction; a minute for each epoch.
#[derive(Default)]
struct Script {
    messages: Vec<Message>,
    seq: u64,
    epoch: u64,
}

impl Script {
    fn now(&self) -> Timestamp {
        Timestamp(1_780_272_000_000 + self.epoch * 60_000)
    }

    fn body(&mut self, account: u64, body: Body) {
        self.seq += 1;
        self.messages.push(Message::Event(Event {
            host: "relay".into(),
            seq: Cursor(self.seq),
            index: 0,
            time: self.now(),
            did: did(account),
            body,
        }));
    }

    fn op(
        &mut self,
        account: u64,
        action: Action,
        (collection, rkey): (&str, u64),
        record: Option<Value>,
    ) {
        let rev = Tid(1_000 + self.seq);
        self.op_at(account, (rev, action), (collection, rkey), record);
    }

    fn op_at(
        &mut self,
        account: u64,
        (rev, action): (Tid, Action),
        (collection, rkey): (&str, u64),
        record: Option<Value>,
    ) {
        let name = match collection {
            PROFILE => "self".to_owned(),
            _ => format!("key{rkey}"),
        };
        let op = Op {
            rev,
            since: None,
            action,
            collection: collection.parse().expect("a collection"),
            rkey: name.parse().expect("a record key"),
            cid: None,
            record: record.map(|record| record.to_bytes()),
        };
        self.body(account, Body::Op(op));
    }

    fn create(
        &mut self,
        account: u64,
        collection: &str,
        rkey: u64,
        record: Vec<(&'static str, Value)>,
    ) {
        self.op(
            account,
            Action::Create,
            (collection, rkey),
            Some(Value::Map(record)),
        );
    }

    fn status(&mut self, account: u64, active: bool, status: Option<&str>) {
        let status = status.map(Into::into);
        let body = Body::Account {
            active,
            status,
            sent: None,
        };
        self.body(account, body);
    }

    fn tick(&mut self) {
        self.epoch += 1;
        self.messages.push(Message::Tick(Tick {
            epoch: Epoch(self.epoch),
            time: self.now(),
            host: "relay".into(),
            cursor: Cursor(self.seq),
            frames: self.seq,
            last: false,
            idle: false,
            counts: BTreeMap::new(),
            sources: Sources::default(),
        }));
    }
}

fn did(number: u64) -> Did {
    format!("did:web:host{number}.example")
        .parse()
        .expect("a DID")
}

fn texts(name: &str, count: usize) -> Value {
    Value::List((0..count).map(|i| format!("{name}{i}").into()).collect())
}

fn row<R: serde::de::DeserializeOwned>(rows: &Rows, view: ViewId, key: &impl ViewKey) -> Option<R> {
    let row = rows[&view].get(&Key::of(key))?;
    Some(decode_row(row).expect("a row of the view"))
}

fn counter(rows: &Rows, name: &str) -> u64 {
    let row: Option<CounterRow> = row(rows, ViewId::Counters, &name.to_owned());
    row.map_or(0, |row| row.value)
}

fn case() -> Case {
    Case {
        options: Options {
            policy: Policy::ActiveAccountsOnly,
            interactions_days: Some(8),
        },
        ..Case::of(0)
    }
}

#[tokio::test]
async fn a_post_of_6000_languages_and_tags_gives_3_and_8_and_is_taken_back_whole() {
    let mut script = Script::default();
    // Three letters each, and no language has most of them.
    let langs = (0..6_000_u32).map(|n| {
        let letter = |place: u32| char::from(b'a' + (n / 26_u32.pow(place) % 26) as u8);
        format!("x{}{}{}", letter(2), letter(1), letter(0)).into()
    });
    let langs = ["en", "ja", "de-at"]
        .map(Value::from)
        .into_iter()
        .chain(langs);
    let facet = |i: u32| {
        let feature = vec![
            ("$type", "app.bsky.richtext.facet#mention".into()),
            ("did", format!("did:web:m{i}.example").into()),
        ];
        Value::Map(vec![("features", Value::List(vec![Value::Map(feature)]))])
    };
    let record = vec![
        ("tags", texts("tag", 6_000)),
        ("langs", Value::List(langs.collect())),
        ("facets", Value::List((0..6_000).map(facet).collect())),
    ];
    script.create(1, POST, 1, record);
    script.create(2, POST, 1, vec![("tags", texts("after", 1))]);
    script.tick();
    script.op(1, Action::Delete, (POST, 1), None);
    script.tick();

    let expected = recount(&script.messages, case().options);
    for workers in [1, 3] {
        let case = case().with(workers, 1);
        let commits = case.run(&script.messages).await;
        case.compare(&expected, &commits);
        let rows = &commits[0].rows;
        // 8 tags and 64 mentions, each overall and in 3 languages; the other post's tag overall and in `und`.
        assert_eq!(rows[&ViewId::Hashtags].len(), 8 * 4 + 2);
        assert_eq!(rows[&ViewId::Mentions].len(), 64 * 4);
        let langs = rows[&ViewId::Languages].keys();
        let langs: Vec<_> = langs
            .map(|key| key.decode::<TrendKey>().expect("a key").key)
            .collect();
        assert_eq!(langs, ["de-AT", "en", "ja", "und"].map(Box::from));
        let left_out = 6_000 + (6_000 - 8) + (6_000 - 64);
        assert_eq!(counter(rows, "dropped/list_limit"), left_out);

        let rows = &commits[1].rows;
        let (tags, mentions) = (&rows[&ViewId::Hashtags], &rows[&ViewId::Mentions]);
        assert_eq!((tags.len(), mentions.len()), (2, 0));
        assert_eq!(counter(rows, "dropped/list_limit"), left_out);
    }
}

#[tokio::test]
async fn names_of_900000_bytes_are_truncated_in_rows_and_counted() {
    let mut script = Script::default();
    for account in 0..5 {
        let record = vec![
            ("displayName", "n".repeat(900_000).into()),
            ("description", "é".repeat(450_000).into()),
        ];
        script.create(account, PROFILE, 1, record);
        script.status(account, true, Some(&"s".repeat(450_000)));
    }
    script.status(9, false, Some(&format!("deleted{}", " ".repeat(60))));
    script.tick();
    let expected = recount(&script.messages, case().options);
    let commits = case().run(&script.messages).await;
    case().compare(&expected, &commits);
    let rows = &commits[0].rows;
    for account in 0..5 {
        let row: AccountRow = row(rows, ViewId::Accounts, &did(account)).expect("a row");
        let texts = [row.display_name, row.description, row.status];
        assert_eq!(
            texts.map(|text| text.map_or(0, |it| it.len())),
            [640, 2_560, 64]
        );
    }
    assert!(
        rows[&ViewId::Accounts]
            .values()
            .all(|row| row.len() < 4_000)
    );
    assert_eq!(counter(rows, "dropped/text_limit"), 5 * 3 + 1);
}

#[tokio::test]
async fn languages_without_end_count_as_other_or_und() {
    let mut script = Script::default();
    for n in 0..3_000_u64 {
        // As `x1f4`, `xabc`, `en-x-1f4`.
        let lang = match n % 2 {
            0 => format!("x{n:x}"),
            _ => format!("en-x-{n:x}"),
        };
        let record = vec![
            ("langs", Value::List(vec![lang.into()])),
            ("tags", texts("t", 1)),
        ];
        script.create(n % 50, POST, n, record);
        let uri = format!("at://{}/{POST}/key{n}", did(n % 50));
        let subject = Value::Map(vec![("uri", uri.into())]);
        script.create(77, "app.bsky.feed.like", n, vec![("subject", subject)]);
    }
    script.tick();
    let expected = recount(&script.messages, case().options);
    let case = case().with(2, 1);
    let commits = case.run(&script.messages).await;
    case.compare(&expected, &commits);
    let rows = &commits[0].rows;
    let count = |lang: &str| {
        let key = TrendKey {
            key: lang.into(),
            lang: "".into(),
        };
        row::<TrendRow>(rows, ViewId::Languages, &key).map_or(0, |row| row.counts[3])
    };
    let (und, other) = (count("und"), count("other"));
    assert_eq!((und + other, count("en")), (1_500, 1_500));
    // Even numbers in hexadecimal that have letters only.
    assert_eq!(
        u64::from(other),
        (0..3_000)
            .step_by(2)
            .filter(|n| {
                format!("{n:x}")
                    .bytes()
                    .all(|byte| byte.is_ascii_alphabetic())
            })
            .count() as u64
    );
    assert_eq!(counter(rows, "dropped/lang_syntax"), u64::from(und));
    assert_eq!(rows[&ViewId::Languages].len(), 3);
    let lists = rows[&ViewId::TopPosts].keys();
    let langs = lists.map(|key| key.decode::<ListKey>().expect("a key").lang);
    let langs: std::collections::BTreeSet<_> = langs.collect();
    assert_eq!(langs, ["", "en", "other", "und"].map(Box::from).into());
}

const EPOCHS: usize = 40;

/// More collections than have names, records that come and go in them, accounts that are hidden and deleted, and operations
/// that are not applied.
fn collections(seed: u64) -> Vec<Message> {
    let mut random = Random::new(seed);
    let mut script = Script::default();
    let (mut live, mut next) = (Vec::new(), 0_u64);
    for _ in 0..EPOCHS {
        for _ in 0..40 {
            let account = random.below(9);
            match random.below(10) {
                0..7 => {
                    // Two thirds are new ones.
                    let n = if random.below(3) > 0 {
                        next
                    } else {
                        random.below(next + 1)
                    };
                    next = next.max(n + 1);
                    let collection = format!("com.example.n{n}.thing");
                    script.create(account, &collection, n, vec![]);
                    live.push((account, collection, n));
                }
                7 => {
                    // Not newer than what was applied: it is dropped, but its name came.
                    let collection = format!("com.example.repeated{next}.thing");
                    let record = Some(Value::Map(vec![]));
                    script.op_at(account, (Tid(1), Action::Create), (&collection, 1), record);
                }
                8 if !live.is_empty() => {
                    let place = random.below(live.len() as u64) as usize;
                    let (account, collection, n) = live.swap_remove(place);
                    script.op(account, Action::Delete, (&collection, n), None);
                }
                _ => {
                    let status =
                        [None, Some("deactivated"), Some("deleted")][random.below(3) as usize];
                    script.status(account, status.is_none(), status);
                }
            }
        }
        script.tick();
    }
    script.messages
}

#[tokio::test]
async fn collections_without_end_count_as_other_on_any_number_of_workers() {
    for seed in seeds(50_000).into_iter().take(3) {
        let messages = collections(seed);
        let expected = recount(&messages, case().options);
        for (workers, epochs_max) in [(1, 1), (2, 1), (4, 7)] {
            let case = case().with(workers, epochs_max);
            let commits = case.run(&messages).await;
            case.compare(&expected, &commits);
            let rows = &commits.last().expect("a commit").rows;
            let keys = rows[&ViewId::Activity].keys();
            let keys: Vec<ActivityKey> = keys.map(|key| key.decode().expect("a key")).collect();
            let all = keys.iter().filter(|key| key.span == Span::All);
            let names = all
                .filter(|key| key.collection.starts_with("com.example"))
                .count();
            // Those of operations that were never applied have a name and no row.
            assert!((400..=500).contains(&names), "seed {seed}: {names} names");
            let key = ActivityKey {
                span: Span::All,
                start_minute: 0,
                collection: "other".into(),
            };
            let other: ActivityRow = row(rows, ViewId::Activity, &key).expect("a row");
            assert!(
                other.live > 10 && other.deletes > 5 && other.accounts == 9,
                "seed {seed}: {other:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collections_without_end_keep_their_names_over_restarts() {
    let mut tally = Tally::default();
    let seeds = seeds(51_000);
    for &seed in &seeds {
        let messages = collections(seed);
        let case = Case { seed, ..case() };
        let expected = recount(&messages, case.options);
        tally += Lives::new(case, EPOCHS).run(&messages, &expected).await;
    }
    tally.assert_not_vacuous(seeds.len());
}
