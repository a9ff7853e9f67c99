//! A log that is generated while it is read: each event is a function of its position, so the log
//! takes no memory. The end of the log can be made in advance; it is then read like any log, by
//! decoding messages.
//!
//! Mix and skew are those of the network: likes 67 %, posts 12 % (46 % of them replies), reposts 11
//! %, follows 8 %, blocks and others. One record in 25 is soon deleted. There are three million
//! accounts, few of which write most records. Half of the references are to popular posts, half to
//! recent ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use skytide_core::event::{Action, Body, Event, Message, Op, Sources, Tick};
use skytide_core::id::{Cursor, Did, Epoch, Seq, Tid};
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};
use skytide_core::time::Timestamp;
use skytide_tests::world::{Random, Value};

const ACCOUNTS: u64 = 3_000_000;
/// 2026-06-01T00:00:00Z.
const START_MS: u64 = 1_780_272_000_000;
const WEEK_MS: u64 = 7 * 86_400_000;
const DELETES_PERCENT: u64 = 4;

/// A log with these numbers of epochs and of events per epoch, over seven days.
#[derive(Clone, Copy, Debug)]
pub struct Synthetic {
    pub epochs: u64,
    pub events: u64,
}

/// The record that an event writes, and its key.
struct Record {
    did: Did,
    collection: &'static str,
    rkey: Tid,
}

impl Synthetic {
    fn random(number: u64) -> Random {
        Random::new(number.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn account(number: u64) -> Did {
        let mut packed = [0; 15];
        packed[..8].copy_from_slice(&Self::random(number ^ 1 << 60).bits().to_be_bytes());
        packed[8..12].copy_from_slice(&(number as u32).to_be_bytes());
        Did::from_plc(packed)
    }

    /// A random number in which small values are far more likely: each range between powers of two
    /// is equally likely.
    fn skewed(random: &mut Random, end: u64) -> u64 {
        let bits = random.below(u64::from(64 - (end - 1).leading_zeros()) + 1);
        random.below((1 << bits).min(end))
    }

    /// The record that event `number` wrote if it was a create.
    fn record(number: u64) -> (Record, Random) {
        let mut random = Self::random(number);
        let author = if random.chance(60) {
            random.below(ACCOUNTS)
        } else {
            Self::skewed(&mut random, ACCOUNTS)
        };
        let collection = match random.below(1_000) {
            0..670 => "app.bsky.feed.like",
            670..790 => "app.bsky.feed.post",
            790..900 => "app.bsky.feed.repost",
            900..980 => "app.bsky.graph.follow",
            980..990 => "app.bsky.graph.block",
            _ => "app.bsky.feed.generator",
        };
        let record = Record {
            did: Self::account(author),
            collection,
            rkey: Tid((START_MS * 1_000 + number) << 10 | 7),
        };
        (record, random)
    }

    /// The address of a post by an earlier event, either popular or recent.
    fn post(number: u64, random: &mut Random) -> String {
        let before = if random.chance(50) {
            Self::skewed(random, number.max(2))
        } else {
            number - Self::skewed(random, number.max(2)) - 1
        };
        let (post, _) = Self::record(before);
        format!("at://{}/app.bsky.feed.post/{}", post.did, post.rkey)
    }

    fn content(number: u64, record: &Record, random: &mut Random) -> Value {
        let uri =
            |random: &mut Random| Value::Map(vec![("uri", Self::post(number, random).into())]);
        match record.collection {
            "app.bsky.feed.like" | "app.bsky.feed.repost" => {
                Value::Map(vec![("subject", uri(random))])
            }
            "app.bsky.graph.follow" | "app.bsky.graph.block" => {
                let subject = Self::account(Self::skewed(random, ACCOUNTS));
                Value::Map(vec![("subject", subject.to_string().into())])
            }
            "app.bsky.feed.post" => {
                let lang = ["en", "en", "en", "ja", "pt", "de"][random.below(6) as usize];
                let mut fields = vec![
                    (
                        "text",
                        "a text of about the usual length, though not a very interesting one"
                            .into(),
                    ),
                    ("langs", Value::List(vec![lang.into()])),
                ];
                if random.chance(46) {
                    let reply = vec![("parent", uri(random)), ("root", uri(random))];
                    fields.push(("reply", Value::Map(reply)));
                }
                if random.chance(15) {
                    let tag = format!("tag{}", Self::skewed(random, 100_000));
                    fields.push(("tags", Value::List(vec![tag.into()])));
                }
                Value::Map(fields)
            }
            _ => Value::Map(vec![("description", "something else".into())]),
        }
    }

    fn time(self, epoch: u64) -> Timestamp {
        Timestamp(START_MS + WEEK_MS * epoch / self.epochs)
    }

    fn event(self, number: u64) -> Event {
        let mut choice = Self::random(number ^ 1 << 61);
        let deletes = number > 10 && choice.chance(DELETES_PERCENT);
        let of = if deletes {
            number - 1 - choice.below(number.min(100_000) - 1)
        } else {
            number
        };
        let (record, mut random) = Self::record(of);
        let bytes = (!deletes).then(|| Self::content(number, &record, &mut random).to_bytes());
        let op = Op {
            rev: Tid((START_MS * 1_000 + number) << 10),
            since: None,
            action: if deletes {
                Action::Delete
            } else {
                Action::Create
            },
            collection: record.collection.parse().expect("a collection"),
            rkey: record.rkey.into(),
            cid: None,
            record: bytes,
        };
        Event {
            host: "relay".into(),
            seq: Cursor(number + 1),
            index: 0,
            time: self.time(number / self.events),
            did: record.did,
            body: Body::Op(op),
        }
    }

    fn tick(self, epoch: u64) -> Tick {
        Tick {
            epoch: Epoch(epoch),
            time: self.time(epoch),
            host: "relay".into(),
            cursor: Cursor(epoch * self.events),
            frames: epoch * self.events,
            last: epoch == self.epochs,
            idle: false,
            sources: Sources::default(),
            counts: BTreeMap::new(),
        }
    }

    fn message(self, seq: u64) -> Message {
        let (epoch, place) = ((seq - 1) / (self.events + 1), (seq - 1) % (self.events + 1));
        match place == self.events {
            true => Message::Tick(self.tick(epoch + 1)),
            false => Message::Event(self.event(epoch * self.events + place)),
        }
    }

    fn end(self) -> u64 {
        self.epochs * (self.events + 1)
    }

    /// The same log, with its messages from a position to the end made in advance.
    pub fn made_from(self, first: Seq) -> Made {
        let encoded = |seq| {
            let mut bytes = Vec::new();
            self.message(seq).encode(&mut bytes);
            bytes
        };
        let messages = (first.0..=self.end()).map(encoded).collect();
        Made {
            log: self,
            first: first.0,
            messages: Arc::new(messages),
        }
    }
}

/// A log whose end was made in advance.
#[derive(Debug)]
pub struct Made {
    log: Synthetic,
    first: u64,
    messages: Arc<Vec<Vec<u8>>>,
}

#[async_trait]
impl Log for Synthetic {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        Ok(Bounds {
            id: 1,
            first: Seq(1),
            next: Seq(self.end() + 1),
            bytes: 0,
            bytes_max: u64::MAX,
        })
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        Ok(Some((Seq(self.end()), self.tick(self.epochs))))
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        Err(LogError::Held)
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(Reader {
            log: *self,
            next: from.0,
        }))
    }

    async fn trim(&self, _below: Seq) -> Result<(), LogError> {
        Ok(())
    }
}

#[async_trait]
impl Log for Made {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        self.log.bounds().await
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        self.log.newest_tick().await
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        self.log.writer().await
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        assert!(
            from.0 >= self.first,
            "the log is read from {from:?}, before the messages made in advance"
        );
        Ok(Box::new(MadeReader {
            first: self.first,
            messages: self.messages.clone(),
            next: from.0,
        }))
    }

    async fn trim(&self, _below: Seq) -> Result<(), LogError> {
        Ok(())
    }
}

struct MadeReader {
    first: u64,
    messages: Arc<Vec<Vec<u8>>>,
    next: u64,
}

#[async_trait]
impl LogReader for MadeReader {
    async fn next(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError> {
        let place = (self.next - self.first) as usize;
        let end = self.messages.len().min(place + messages_max);
        if end == place {
            std::future::pending::<()>().await;
        }
        let seqs = self.next..;
        self.next += (end - place) as u64;
        let decoded = self.messages[place..end].iter();
        let decoded = decoded.map(|bytes| Message::decode(bytes).expect("a valid message"));
        Ok(seqs.map(Seq).zip(decoded).collect())
    }
}

struct Reader {
    log: Synthetic,
    next: u64,
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError> {
        let end = self.log.end().min(self.next + messages_max as u64 - 1);
        if end < self.next {
            std::future::pending::<()>().await;
        }
        let seqs = self.next..=end;
        self.next = end + 1;
        Ok(seqs.map(|seq| (Seq(seq), self.log.message(seq))).collect())
    }
}
