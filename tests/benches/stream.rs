//! A log like that of the network, generated while it is read: each event is a function of its
//! number, so the log takes no memory, and the expected rows follow from it.
//!
//! | what | how |
//! |---|---|
//! | operations | of 16 events, 15 write a record and one deletes an earlier one: after 16 events to 1.6 million, once each |
//! | records | posts 13 %, likes 67 %, reposts 11 %, follows 7 %, blocks, profiles, others |
//! | posts | 46 % are replies, 8 % quotes, 15 % have a hashtag, 10 % a link |
//! | accounts | one for 50 events; 60 % of the records are by any account, 40 % by Zipf with exponent 1 |
//! | subjects | posts that exist or existed: 93 % younger than two days, log-uniform by age; 60 % by Zipf |
//! | time | an event is as far from the next one as from the previous one |

mod encode;
mod expected;
mod log;

pub use encode::Encoder;
pub use expected::{Expected, Sample};
pub use log::{Meter, StreamLog};

use skytide_core::event::{Action, Body, Event, Op, Sources, Tick};
use skytide_core::id::{Cursor, Did, Epoch, Tid};
use skytide_core::time::Timestamp;
use skytide_tests::world::Random;

/// 2026-06-01T00:10:00Z: streams of whole days end ten minutes after midnight.
const START_MS: u64 = 1_780_272_600_000;
const DAY_MS: u64 = 86_400_000;
/// Events of a block. The last one is a deletion.
const BLOCK: u64 = 16;
/// Events per account.
const EVENTS_PER_ACCOUNT: u64 = 50;
/// For each class of blocks, how many blocks before the deletion the record was written, and at
/// which place of its block. Places differ, so that no record is deleted twice.
const DELETIONS: [(u64, u64); 8] = [
    (1, 1),
    (2, 8),
    (10, 2),
    (60, 0),
    (400, 3),
    (3_000, 4),
    (20_000, 5),
    (100_000, 6),
];

/// The log.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Number of events, a multiple of `epoch_events`.
    pub events: u64,
    /// Number of events of each epoch.
    pub epoch_events: u64,
    /// Network time of the whole log, in days.
    pub days: u64,
}

/// What an event does.
#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Writes a record that did not exist.
    Write(Record),
    /// Deletes the record that the event of this number wrote.
    Delete(u64),
    /// Announces the handle of an account.
    Handle(u64),
}

/// A record. Accounts are numbers; posts are the numbers of the events that wrote them.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// The account.
    pub author: u64,
    /// The content.
    pub kind: Kind,
}

/// The content of a record.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A post.
    Post(PostParts),
    /// A like of this post.
    Like(u64),
    /// A repost of this post.
    Repost(u64),
    /// A follow of this account.
    Follow(u64),
    /// A block of this account.
    Block(u64),
    /// The account's profile.
    Profile,
    /// A record that no view reads.
    Feed,
}

/// The content of a post.
#[derive(Clone, Copy, Debug, Default)]
pub struct PostParts {
    /// The post that it replies to, and the first one of that thread.
    pub reply: Option<(u64, u64)>,
    /// The post that it quotes.
    pub quote: Option<u64>,
    /// The number of its hashtag.
    pub tag: Option<u64>,
    /// The number of its link.
    pub link: Option<u64>,
    /// The index of its language.
    pub lang: usize,
}

impl Stream {
    /// A log that leads to about this many live records. Days: as many as the network needs for it,
    /// at least three.
    pub fn of_live_records(records: u64, epoch_events: u64, days: Option<u64>) -> Self {
        // Of 64 events, 4 are deletions and one is a handle: 55 records stay.
        let epochs = (records * 64 / 55).div_ceil(epoch_events);
        Self {
            events: epochs * epoch_events,
            epoch_events,
            days: days.unwrap_or((records / 38_500_000).max(3)),
        }
    }

    /// The number of epochs.
    pub fn epochs(self) -> u64 {
        self.events / self.epoch_events
    }

    /// Microseconds between two events.
    fn step(self) -> u64 {
        (self.days * DAY_MS * 1_000 / self.events).max(1)
    }

    fn accounts(self) -> u64 {
        (self.events / EVENTS_PER_ACCOUNT).max(16)
    }

    /// What event `number` does.
    pub fn deed(self, number: u64) -> Deed {
        let (block, place) = (number / BLOCK, number % BLOCK);
        if place == BLOCK - 1 {
            let (lag, place) = DELETIONS[(block % 8) as usize];
            if let Some(block) = block.checked_sub(lag) {
                return Deed::Delete(block * BLOCK + place);
            }
        }
        // Each account announces its handle once, and has one profile.
        let newcomer = block / 4 % self.accounts();
        let is_first_round = block / 4 < self.accounts();
        if place == 14 && block % 4 == 2 && is_first_round {
            return Deed::Handle(newcomer);
        }
        if place == 7 && block.is_multiple_of(4) && is_first_round {
            let (author, kind) = (newcomer, Kind::Profile);
            return Deed::Write(Record { author, kind });
        }
        Deed::Write(self.record(number))
    }

    fn record(self, number: u64) -> Record {
        let mut random = Random::new(number.wrapping_mul(0xd134_2543_de82_ef95));
        let random = &mut random;
        let accounts = self.accounts();
        let author = match random.chance(60) {
            true => random.below(accounts),
            false => ruler(random.below(accounts), 8, random),
        };
        let is_post = (number % BLOCK).is_multiple_of(8);
        let kind = match random.below(1_000) {
            _ if is_post => Kind::Post(self.post(number, random)),
            0..775 => Kind::Like(self.subject(number, random)),
            775..905 => Kind::Repost(self.subject(number, random)),
            905..985 => Kind::Follow(ruler(random.below(accounts), 14, random)),
            985..995 => Kind::Block(ruler(random.below(accounts), 14, random)),
            _ => Kind::Feed,
        };
        Record { author, kind }
    }

    fn post(self, number: u64, random: &mut Random) -> PostParts {
        let reply = random.chance(46);
        let reply = reply.then(|| (self.subject(number, random), self.subject(number, random)));
        PostParts {
            reply,
            quote: random.chance(8).then(|| self.subject(number, random)),
            tag: random.chance(15).then(|| skewed(random, 100_000)),
            link: random.chance(10).then(|| skewed(random, 1_000_000)),
            lang: random.below(encode::LANGS.len() as u64) as usize,
        }
    }

    /// A post that was written before event `number`: the event that wrote it.
    fn subject(self, number: u64, random: &mut Random) -> u64 {
        let before = number / 8;
        if before == 0 {
            return 0;
        }
        let two_days = (self.events / 8 * 2 / self.days).max(16);
        let post = match random.chance(93) {
            true => before - 1 - skewed(random, before.min(two_days)),
            false => random.below(before),
        };
        let post = match random.chance(60) {
            true => ruler(post, 12, random),
            false => post,
        };
        post * 8
    }

    /// The identifier of account `number`.
    pub fn did(number: u64) -> Did {
        let mut random = Random::new(number ^ 1 << 60);
        let mut packed = [0; 15];
        packed[..8].copy_from_slice(&random.bits().to_be_bytes());
        packed[8..].copy_from_slice(&random.bits().to_be_bytes()[..7]);
        Did::from_plc(packed)
    }

    /// The key of the record that event `number` wrote.
    pub fn rkey(self, number: u64) -> Tid {
        Tid((START_MS * 1_000 + number * self.step()) << 10 | 7)
    }

    /// Network time of event `number`.
    pub fn time(self, number: u64) -> Timestamp {
        Timestamp(START_MS + number * self.step() / 1_000)
    }

    /// Event `number`.
    pub fn event(self, number: u64, encoder: &Encoder) -> Event {
        let deed = self.deed(number);
        let (did, body) = match deed {
            Deed::Handle(account) => {
                let handle = Some(format!("account-{account}.example.com").into());
                (Self::did(account), Body::Identity { handle, sent: None })
            }
            Deed::Write(record) => {
                let bytes = encoder.encode(self, record.kind);
                let op = self.op(number, (number, record.kind), Some(bytes), encoder);
                (Self::did(record.author), Body::Op(op))
            }
            Deed::Delete(written) => {
                let record = self.written(written);
                let op = self.op(number, (written, record.kind), None, encoder);
                (Self::did(record.author), Body::Op(op))
            }
        };
        Event {
            host: encoder.host(),
            seq: Cursor(number + 1),
            index: 0,
            time: self.time(number),
            did,
            body,
        }
    }

    /// The record that event `number` wrote.
    ///
    /// # Panics
    /// The event wrote none. Deletions name only events that did.
    pub fn written(self, number: u64) -> Record {
        match self.deed(number) {
            Deed::Write(record) => record,
            other => panic!("event {number} writes no record: {other:?}"),
        }
    }

    fn op(
        self,
        number: u64,
        (written, kind): (u64, Kind),
        record: Option<Box<[u8]>>,
        encoder: &Encoder,
    ) -> Op {
        let rkey = match kind {
            Kind::Profile => encoder.profile_rkey(),
            _ => self.rkey(written).into(),
        };
        Op {
            rev: Tid((START_MS * 1_000 + number * self.step()) << 10 | 1),
            since: None,
            action: match record {
                Some(_) => Action::Create,
                None => Action::Delete,
            },
            collection: encoder.collection(kind),
            rkey,
            cid: None,
            record,
        }
    }

    /// The tick of an epoch; the first epoch is 1.
    pub fn tick(self, epoch: u64, encoder: &Encoder) -> Tick {
        let end = epoch * self.epoch_events;
        Tick {
            epoch: Epoch(epoch),
            time: self.time(end - 1),
            host: encoder.host(),
            cursor: Cursor(end),
            frames: end,
            last: epoch == self.epochs(),
            idle: false,
            sources: Sources::default(),
            counts: Default::default(),
        }
    }
}

/// A random number in which small values are far more likely: each range between powers of two is
/// equally likely.
fn skewed(random: &mut Random, end: u64) -> u64 {
    let bits = random.below(u64::from(64 - (end - 1).leading_zeros()) + 1);
    random.below((1 << bits).min(end))
}

/// Clears a random number of up to `bits` low bits. So of uniform numbers, those with many trailing
/// zeros become frequent: by Zipf with exponent 1.
fn ruler(number: u64, bits: u64, random: &mut Random) -> u64 {
    let cleared = random.below(bits + 1);
    number >> cleared << cleared
}
