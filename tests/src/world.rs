//! Random streams. A seed creates a small world whose accounts repeatedly do everything that can
//! occur in the stream.
//!
//! ```text
//! World ─ frame ─ commit, identity, account, moved, or an old frame once more ─▶ events ─┐
//!       └ time: moments to weeks ──────────────────────────────────────────────────▶ tick ┤
//!                                                                    messages of an epoch ◀┘
//! ```
//!
//! The world does no bookkeeping. With few accounts and few record keys, a path is likely to be
//! live, deleted or never used before. So creations, edits, deletions, recreations and repeated
//! paths within a commit all occur without special code. Cases that are rare on the network are
//! frequent here.

mod acts;
mod cast;
mod cbor;
mod random;
mod records;

pub use cbor::Value;
pub use random::Random;

use std::collections::BTreeMap;

use skytide_core::event::{Action, Body, Event, Host, Message, Op, Sources, Tick};
use skytide_core::id::{AtUri, Cursor, Did, Epoch, Tid};
use skytide_core::time::Timestamp;

use cast::Cast;

/// The size of a world.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Accounts that write.
    pub accounts: usize,
    /// Record keys of each collection.
    pub rkeys: usize,
    /// Number of epochs in the log.
    pub epochs: u64,
    /// Maximum number of frames in an epoch.
    pub frames_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accounts: 8,
            rkeys: 7,
            epochs: 60,
            frames_max: 12,
        }
    }
}

/// A world that produces its log epoch by epoch.
#[derive(Debug)]
pub struct World {
    options: Options,
    random: Random,
    cast: Cast,
    hosts: [Host; 2],
    /// The newest `seq` of each host. The two ranges do not overlap, so that a frame may also be
    /// delivered again by the other host.
    seqs: [u64; 2],
    /// The newest and the previous revision of each account.
    revs: BTreeMap<Did, (Tid, Tid)>,
    time: Timestamp,
    epoch: u64,
    frames: u64,
    /// All frames so far, from which repeated deliveries are drawn.
    sent: Vec<Vec<Event>>,
}

/// 2026-06-01T00:00:00Z.
const START: Timestamp = Timestamp(1_780_272_000_000);

/// The whole log of a world. The tick of its last epoch is marked as last.
pub fn log(seed: u64, options: Options) -> Vec<Message> {
    let mut world = World::new(seed, options);
    let mut messages = Vec::new();
    while let Some(epoch) = world.next_epoch() {
        messages.extend(epoch);
    }
    messages
}

impl World {
    /// The world that a seed describes.
    pub fn new(seed: u64, options: Options) -> Self {
        let mut random = Random::new(seed);
        let cast = Cast::new(options.accounts, options.rkeys, &mut random);
        Self {
            options,
            cast,
            hosts: ["one.example.com".into(), "two.example.com".into()],
            seqs: [0, 1_000_000],
            revs: BTreeMap::new(),
            time: START,
            epoch: 0,
            frames: 0,
            sent: Vec::new(),
            random,
        }
    }

    /// The messages of the next epoch, ending with its tick; `None` after the last epoch.
    pub fn next_epoch(&mut self) -> Option<Vec<Message>> {
        if self.epoch == self.options.epochs {
            return None;
        }
        let frames = match self.random.below(10) {
            0 => 0,
            _ => self.random.below(self.options.frames_max + 1),
        };
        self.pass(&[40, 30, 10, 8, 7, 4, 1]);
        let events: Vec<_> = (0..frames).flat_map(|_| self.next_frame()).collect();
        Some(self.with_tick(events))
    }

    /// A last epoch that deletes these records, whatever account owns them. All deletions come from
    /// one host, which preserves their order.
    pub fn farewell(&mut self, live: &[AtUri]) -> Vec<Message> {
        let mut events = Vec::new();
        for uri in live {
            let op = Op {
                rev: self.next_rev(&uri.did),
                since: None,
                action: Action::Delete,
                collection: uri.collection.clone(),
                rkey: uri.rkey.clone(),
                cid: None,
                record: None,
            };
            events.extend(self.frame(1, &uri.did, vec![Body::Op(op)]));
        }
        self.options.epochs = self.epoch + 1;
        self.with_tick(events)
    }

    fn with_tick(&mut self, events: Vec<Event>) -> Vec<Message> {
        self.pass(&[90, 8, 0, 1, 0, 1, 0]);
        self.epoch += 1;
        let mut counts = BTreeMap::from([("frames/commit".into(), 1 + self.random.below(9))]);
        if self.random.chance(20) {
            counts.insert("dropped/did".into(), 1);
        }
        let host = self.random.below(2) as usize;
        let idle = events.is_empty();
        let tick = Tick {
            epoch: Epoch(self.epoch),
            time: self.time,
            host: self.hosts[host].clone(),
            cursor: Cursor(self.seqs[host]),
            frames: self.frames,
            last: self.epoch == self.options.epochs,
            idle,
            sources: Sources::default(),
            counts,
        };
        let mut messages: Vec<_> = events.into_iter().map(Message::Event).collect();
        messages.push(Message::Tick(tick));
        messages
    }

    /// Advances the time by at most: nothing, moments, a minute, an hour, a day, a week or two
    /// months, chosen with these weights.
    fn pass(&mut self, weights: &[u64; 7]) {
        const SECOND: u64 = 1_000;
        const DAY: u64 = 86_400 * SECOND;
        let most = [
            300,
            4 * SECOND,
            90 * SECOND,
            5_400 * SECOND,
            DAY + DAY / 4,
            9 * DAY,
            62 * DAY,
        ];
        let most = most[self.random.weighted(weights)];
        self.time.0 += self.random.below(most);
        if most > 60 * SECOND && self.random.chance(30) {
            self.time = Timestamp(self.time.0.next_multiple_of(60 * SECOND));
        }
    }

    fn next_frame(&mut self) -> Vec<Event> {
        self.pass(&[80, 15, 2, 2, 1, 0, 0]);
        self.frames += 1;
        if !self.sent.is_empty() && self.random.chance(6) {
            let mut frame = self.random.pick(&self.sent).clone();
            let host = self.hosts[self.random.below(2) as usize].clone();
            for event in &mut frame {
                event.time = self.time;
                event.host = host.clone();
            }
            return frame;
        }
        let did = self.random.pick(self.cast.writers()).clone();
        let bodies = match self.random.weighted(&[80, 5, 8, 5]) {
            0 => self.commit(&did),
            1 => vec![self.identity()],
            2 => vec![self.account()],
            _ => vec![self.moved(&did)],
        };
        let host = self.random.weighted(&[3, 1]);
        let frame = self.frame(host, &did, bodies);
        self.sent.push(frame.clone());
        frame
    }

    fn frame(&mut self, host: usize, did: &Did, bodies: Vec<Body>) -> Vec<Event> {
        self.seqs[host] += 1 + self.random.below(3);
        let event = |(index, body)| Event {
            host: self.hosts[host].clone(),
            seq: Cursor(self.seqs[host]),
            index,
            time: self.time,
            did: did.clone(),
            body,
        };
        (0..).zip(bodies).map(event).collect()
    }
}
