//! A log with more keys than a top list has candidates. Later, so many keys lose their counts that
//! the remaining candidates do not fill the list. Only in this case, the dataflow must scan all
//! keys for new candidates.

use std::collections::BTreeMap;

use skytide_core::event::{Action, Body, Event, Message, Op, Sources, Tick};
use skytide_core::id::{Cursor, Did, Epoch, Tid};
use skytide_core::time::Timestamp;
use skytide_tests::world::Value;

/// Number of posts in the first epoch. The candidates of a list are pruned at 4,000 keys.
const POSTS: u64 = 6_000;
/// Number of popular tags, and of popular posts.
const POPULAR: u64 = 600;
/// Number of tags and posts that remain popular after the second epoch: fewer than the length of a
/// list.
const STAY: u64 = 50;
const POST: &str = "app.bsky.feed.post";
const LIKE: &str = "app.bsky.feed.like";

/// Three epochs. In the first one, all accounts post and like. In the second one, most posts and
/// likes that made a key popular are deleted. In the third one, some are created again.
pub fn log() -> Vec<Message> {
    let mut crowd = Crowd {
        messages: Vec::new(),
        seq: 0,
        epoch: 0,
    };
    for number in 0..POSTS {
        crowd.write(POST, number, &post(number));
        crowd.write(LIKE, number, &like(number * 7 % POSTS));
    }
    for number in POSTS..2 * POSTS {
        crowd.write(LIKE, number, &like(number % POPULAR));
    }
    crowd.tick();
    for number in POPULAR..2 * POSTS {
        if number % POPULAR >= STAY {
            crowd.delete(if number < POSTS { POST } else { LIKE }, number);
        }
    }
    crowd.tick();
    for number in POPULAR..2 * POPULAR {
        crowd.write(POST, number, &post(number));
    }
    crowd.tick();
    crowd.messages
}

struct Crowd {
    messages: Vec<Message>,
    seq: u64,
    epoch: u64,
}

/// A post with a tag of its own and a tag that it shares with others.
fn post(number: u64) -> Value {
    let tags = vec![
        format!("own{number}").into(),
        format!("shared{}", number % POPULAR).into(),
    ];
    let langs = vec![["en", "ja"][(number % 2) as usize].into()];
    Value::Map(vec![
        ("tags", Value::List(tags)),
        ("langs", Value::List(langs)),
    ])
}

fn like(post: u64) -> Value {
    let uri = format!("at://{}/{POST}/post{post}", author(post));
    Value::Map(vec![("subject", Value::Map(vec![("uri", uri.into())]))])
}

fn author(number: u64) -> Did {
    format!("did:web:host{}.example", number % 61)
        .parse()
        .expect("a DID")
}

impl Crowd {
    fn write(&mut self, collection: &str, number: u64, record: &Value) {
        self.op(Action::Create, collection, number, Some(record.to_bytes()));
    }

    fn delete(&mut self, collection: &str, number: u64) {
        self.op(Action::Delete, collection, number, None);
    }

    fn op(&mut self, action: Action, collection: &str, number: u64, record: Option<Box<[u8]>>) {
        self.seq += 1;
        let op = Op {
            rev: Tid(self.seq),
            since: None,
            action,
            collection: collection.parse().expect("a collection"),
            rkey: format!("post{number}").parse().expect("a record key"),
            cid: None,
            record,
        };
        self.messages.push(Message::Event(Event {
            host: "relay".into(),
            seq: Cursor(self.seq),
            index: 0,
            time: self.now(),
            did: author(number),
            body: Body::Op(op),
        }));
    }

    /// Each epoch lasts a minute.
    fn now(&self) -> Timestamp {
        Timestamp(1_780_272_000_000 + self.epoch * 60_000)
    }

    fn tick(&mut self) {
        self.epoch += 1;
        self.messages.push(Message::Tick(Tick {
            epoch: Epoch(self.epoch),
            time: self.now(),
            host: "relay".into(),
            cursor: Cursor(self.seq),
            frames: self.seq,
            last: self.epoch == 3,
            idle: false,
            sources: Sources::default(),
            counts: BTreeMap::new(),
        }));
    }
}
