//! Decides which events share a message.
//!
//! ```text
//! few events (live)      in order; neighbours with one subject share a message
//! many (catching up)     as many of one subject as fit, unless that would swap
//!                        two events of one account
//! tick                   alone, after everything before it
//! larger than a message  in parts
//! ```
//!
//! In every batch the events of one account keep their order over all subjects, and a tick stays
//! after all events before it. If a batch has [`REGROUP_EVENTS_MIN`] events or more, events of
//! different accounts may be reordered between two ticks.

use async_nats::Subject;
use bytes::Bytes;
use hashbrown::HashMap;
use skytide_core::event::Message;
use skytide_core::id::Did;

use super::subjects::Subjects;

/// The size of a batch from which on an event may share a message with events that are not its
/// neighbours.
pub const REGROUP_EVENTS_MIN: usize = 256;
/// The maximum size of a message that holds several events, in bytes. A single event may be larger.
const SHARED_BYTES_MAX: usize = 64 << 10;
/// Bytes reserved for the headers of a message.
const HEADERS_BYTES: usize = 1 << 10;

/// A message as it is sent to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The subject to which it is published.
    pub subject: Subject,
    /// A CBOR sequence of messages of the log.
    pub payload: Bytes,
    /// Its number, starting at 1, and the number of parts; `None` if the message is not divided.
    pub part: Option<(usize, usize)>,
    /// Whether it is a tick, which may be sent only after everything before it is stored.
    pub tick: bool,
}

impl Packed {
    /// An upper bound of the bytes that the server stores for it.
    pub fn stored_bytes(&self) -> u64 {
        (self.subject.len() + self.payload.len() + 256) as u64
    }
}

/// A message to which events may still be added.
struct OpenMessage {
    subject: String,
    payload: Vec<u8>,
    events: usize,
    tick: bool,
}

/// Packs one batch.
pub struct Packer<'a> {
    subjects: &'a Subjects,
    events_max: usize,
    payload_bytes_max: usize,
    /// Whether an event may join another message than the last one.
    regroup: bool,
    packed: Vec<OpenMessage>,
    /// For each subject the index of the message that accepts further events.
    open_by_subject: HashMap<String, usize>,
    /// For each account the index of the message with its newest event.
    newest_by_account: HashMap<Did, usize>,
}

/// Packs a batch of messages for the server. A message holds up to `events_max` events and up to
/// `payload_bytes_max` bytes, the limit of the server.
pub fn pack(
    messages: &[Message],
    subjects: &Subjects,
    events_max: usize,
    payload_bytes_max: usize,
) -> Vec<Packed> {
    let mut packer = Packer {
        subjects,
        events_max,
        payload_bytes_max: payload_bytes_max.saturating_sub(HEADERS_BYTES).max(1),
        regroup: messages.len() >= REGROUP_EVENTS_MIN,
        packed: Vec::new(),
        open_by_subject: HashMap::new(),
        newest_by_account: HashMap::new(),
    };
    let (mut subject, mut bytes) = (String::new(), Vec::new());
    for message in messages {
        bytes.clear();
        message.encode(&mut bytes);
        match message {
            Message::Event(event) => {
                subjects.event(event, &mut subject);
                packer.add_event(&subject, &event.did, &bytes);
            }
            Message::Tick(_) => packer.add_tick(&bytes),
        }
    }
    packer.finish()
}

impl Packer<'_> {
    fn add_event(&mut self, subject: &str, did: &Did, bytes: &[u8]) {
        let newest = self.newest_by_account.get(did).copied();
        let index = match self.open_by_subject.get(subject) {
            Some(&index) if self.accepts(index, newest, bytes.len()) => index,
            _ => self.open_message(subject),
        };
        let open = &mut self.packed[index];
        open.payload.extend_from_slice(bytes);
        open.events += 1;
        if self.regroup {
            self.newest_by_account.insert(did.clone(), index);
        }
    }

    /// Whether an event may be added to the message at `index`. `newest` is the message with the
    /// newest event of the same account, which the event must not precede.
    fn accepts(&self, index: usize, newest: Option<usize>, bytes: usize) -> bool {
        let open = &self.packed[index];
        let in_order = match self.regroup {
            true => newest.is_none_or(|newest| newest <= index),
            false => index + 1 == self.packed.len(),
        };
        let bytes_max = SHARED_BYTES_MAX.min(self.payload_bytes_max);
        in_order && open.events < self.events_max && open.payload.len() + bytes <= bytes_max
    }

    fn open_message(&mut self, subject: &str) -> usize {
        let index = self.packed.len();
        self.open_by_subject.insert(subject.to_owned(), index);
        self.packed.push(OpenMessage {
            subject: subject.to_owned(),
            payload: Vec::new(),
            events: 0,
            tick: false,
        });
        index
    }

    fn add_tick(&mut self, bytes: &[u8]) {
        self.open_by_subject.clear();
        self.newest_by_account.clear();
        self.packed.push(OpenMessage {
            subject: self.subjects.tick(),
            payload: bytes.to_vec(),
            events: 1,
            tick: true,
        });
    }

    fn finish(self) -> Vec<Packed> {
        let mut all = Vec::with_capacity(self.packed.len());
        for OpenMessage {
            subject,
            payload,
            tick,
            ..
        } in self.packed
        {
            let subject = Subject::from(subject);
            let payload = Bytes::from(payload);
            let count = payload.len().div_ceil(self.payload_bytes_max).max(1);
            for number in 0..count {
                let start = number * self.payload_bytes_max;
                let end = payload.len().min(start + self.payload_bytes_max);
                all.push(Packed {
                    subject: subject.clone(),
                    payload: payload.slice(start..end),
                    part: (count > 1).then_some((number + 1, count)),
                    tick,
                });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use skytide_core::event::{Action, Body, Event, Op, Sources, Tick};
    use skytide_core::id::{Cursor, Epoch, Tid};
    use skytide_core::time::Timestamp;

    use super::*;

    fn event(seq: u64, account: u8, name: &str) -> Message {
        Message::Event(Event {
            host: Arc::from("relay.example"),
            seq: Cursor(seq),
            index: 0,
            time: Timestamp(seq),
            did: Did::from_plc([account; 15]),
            body: Body::Op(Op {
                rev: Tid(seq),
                since: None,
                action: Action::Create,
                collection: format!("app.bsky.feed.{name}").parse().unwrap(),
                rkey: Tid(seq).into(),
                cid: None,
                record: Some(vec![7; 100].into()),
            }),
        })
    }

    fn tick(epoch: u64) -> Message {
        Message::Tick(Tick {
            epoch: Epoch(epoch),
            time: Timestamp(epoch),
            host: Arc::from("relay.example"),
            cursor: Cursor(epoch),
            frames: epoch,
            last: false,
            idle: false,
            sources: Sources::default(),
            counts: BTreeMap::new(),
        })
    }

    fn packed(messages: &[Message], payload_bytes_max: usize) -> Vec<Packed> {
        let subjects = Subjects::of(&"skytide".parse().unwrap());
        pack(messages, &subjects, 64, payload_bytes_max)
    }

    fn unpacked(packed: &[Packed]) -> Vec<Message> {
        let payloads = packed.iter().map(|packed| &packed.payload);
        let all = payloads.map(|payload| Message::decode_all(payload).unwrap());
        all.flatten().collect()
    }

    /// Random events of 40 accounts and three collections; the same seed gives the same events.
    fn random_events(mut seed: u64, count: u64) -> Vec<Message> {
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let names = ["like", "post", "repost"];
        (0..count)
            .map(|seq| event(seq, draw(40) as u8, names[draw(3) as usize]))
            .collect()
    }

    #[test]
    fn few_events_keep_their_order_and_neighbours_share_a_message() {
        let mut messages = random_events(1, 200);
        messages.splice(90..90, (1_000..1_010).map(|seq| event(seq, 3, "like")));
        messages.push(tick(1));
        let packed = packed(&messages, 1 << 20);
        assert_eq!(unpacked(&packed), messages);
        assert!(packed.len() <= messages.len() - 9);
    }

    #[test]
    fn many_events_share_messages_and_each_account_keeps_its_order() {
        for seed in 0..20 {
            let mut messages = random_events(seed, 3_000);
            messages.insert(1_500, tick(1));
            messages.push(tick(2));
            let packed = packed(&messages, 1 << 20);
            assert!(
                packed.len() < messages.len() / 2,
                "seed {seed}: {}",
                packed.len()
            );
            let unpacked = unpacked(&packed);
            let of = |messages: &[Message], account: u8| -> Vec<Message> {
                let wanted = |it: &&Message| match it {
                    Message::Event(event) => event.did == Did::from_plc([account; 15]),
                    Message::Tick(_) => true,
                };
                messages.iter().filter(wanted).cloned().collect()
            };
            assert_eq!(unpacked.len(), messages.len(), "seed {seed}");
            for account in 0..40 {
                let (there, here) = (of(&unpacked, account), of(&messages, account));
                assert_eq!(there, here, "seed {seed}, account {account}");
            }
        }
    }

    #[test]
    fn a_message_larger_than_the_servers_limit_is_sent_in_parts() {
        let messages = [event(1, 1, "post"), event(2, 2, "like"), tick(1)];
        let packed = packed(&messages, HEADERS_BYTES + 60);
        assert!(packed.iter().all(|packed| packed.payload.len() <= 60));
        let parts: Vec<_> = packed.iter().filter_map(|packed| packed.part).collect();
        assert_eq!(parts[..2], [(1, 4), (2, 4)]);
        let whole: Vec<u8> = packed.iter().flat_map(|it| it.payload.to_vec()).collect();
        assert_eq!(Message::decode_all(&whole).unwrap(), messages);
    }
}
