//! Messages as CBOR maps, through serde and ciborium.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Action, Body, DecodeError, Event, Host, Message, Moved, Op, Tick};
use crate::id::{Cid, Cursor, Did, Epoch, Rkey, Tid};
use crate::time::Timestamp;

/// Every field that a message may have, by its short name on the log.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    kind: Kind,
    host: WireHost,
    seq: u64,
    #[serde(skip_serializing_if = "is_zero", default)]
    index: u32,
    time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    did: Option<WireDid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    collection: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rkey: Option<WireRkey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<Bytes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Bytes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Cow<'a, BTreeMap<Box<str>, u64>>>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Create,
    Update,
    Delete,
    Identity,
    Account,
    Sync,
    Empty,
    TooBig,
    Tick,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

pub(super) fn encode(message: &Message, buffer: &mut Vec<u8>) {
    let wire = match message {
        Message::Event(event) => of_event(event),
        Message::Tick(tick) => of_tick(tick),
    };
    ciborium::into_writer(&wire, buffer).expect("a vector takes every byte");
}

pub(super) fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    let wire: Wire<'_> =
        ciborium::from_reader(bytes).map_err(|error| DecodeError(error.to_string()))?;
    into_message(wire).ok_or_else(|| DecodeError("a field of its kind is missing".to_owned()))
}

fn blank<'a>(kind: Kind, host: &Host, seq: Cursor, time: Timestamp) -> Wire<'a> {
    Wire {
        kind,
        host: WireHost(host.clone()),
        seq: seq.0,
        index: 0,
        time: time.0,
        did: None,
        rev: None,
        since: None,
        collection: None,
        rkey: None,
        cid: None,
        record: None,
        handle: None,
        active: None,
        status: None,
        epoch: None,
        frames: None,
        last: None,
        counts: None,
    }
}

fn of_event(event: &Event) -> Wire<'_> {
    let kind = match &event.body {
        Body::Op(op) => match op.action {
            Action::Create => Kind::Create,
            Action::Update => Kind::Update,
            Action::Delete => Kind::Delete,
        },
        Body::Identity { .. } => Kind::Identity,
        Body::Account { .. } => Kind::Account,
        Body::Moved {
            why: Moved::Sync, ..
        } => Kind::Sync,
        Body::Moved {
            why: Moved::Empty, ..
        } => Kind::Empty,
        Body::Moved {
            why: Moved::TooBig, ..
        } => Kind::TooBig,
    };
    let mut wire = blank(kind, &event.host, event.seq, event.time);
    wire.index = event.index;
    wire.did = Some(WireDid(event.did.clone()));
    match &event.body {
        Body::Op(op) => {
            wire.rev = Some(op.rev.0);
            wire.since = op.since.map(|tid| tid.0);
            wire.collection = Some(op.collection.as_str().into());
            wire.rkey = Some(WireRkey(op.rkey.clone()));
            wire.cid = op.cid.map(|cid| Bytes(cid.to_bytes().to_vec().into()));
            wire.record = op.record.as_deref().map(|record| Bytes(record.into()));
        }
        Body::Identity { handle } => wire.handle = handle.as_deref().map(Cow::from),
        Body::Account { active, status } => {
            wire.active = Some(*active);
            wire.status = status.as_deref().map(Cow::from);
        }
        Body::Moved { rev, .. } => wire.rev = Some(rev.0),
    }
    wire
}

fn of_tick(tick: &Tick) -> Wire<'_> {
    let mut wire = blank(Kind::Tick, &tick.host, tick.cursor, tick.time);
    wire.epoch = Some(tick.epoch.0);
    wire.frames = Some(tick.frames);
    wire.last = tick.last.then_some(true);
    wire.counts = Some(Cow::Borrowed(&tick.counts));
    wire
}

fn into_message(wire: Wire<'_>) -> Option<Message> {
    let (host, seq, time) = (wire.host.0, Cursor(wire.seq), Timestamp(wire.time));
    let boxed = |text: Cow<'_, str>| -> Box<str> { text.into() };
    let action = match wire.kind {
        Kind::Create => Action::Create,
        Kind::Update => Action::Update,
        Kind::Delete => Action::Delete,
        other => {
            let rev = wire.rev.map(Tid);
            let body = match other {
                Kind::Identity => Body::Identity {
                    handle: wire.handle.map(boxed),
                },
                Kind::Account => Body::Account {
                    active: wire.active?,
                    status: wire.status.map(boxed),
                },
                Kind::Sync => Body::Moved {
                    rev: rev?,
                    why: Moved::Sync,
                },
                Kind::Empty => Body::Moved {
                    rev: rev?,
                    why: Moved::Empty,
                },
                Kind::TooBig => Body::Moved {
                    rev: rev?,
                    why: Moved::TooBig,
                },
                _ => {
                    return Some(Message::Tick(Tick {
                        epoch: Epoch(wire.epoch?),
                        time,
                        host,
                        cursor: seq,
                        frames: wire.frames?,
                        last: wire.last.unwrap_or(false),
                        counts: wire.counts?.into_owned(),
                    }));
                }
            };
            let did = wire.did?.0;
            return Some(Message::Event(Event {
                host,
                seq,
                index: wire.index,
                time,
                did,
                body,
            }));
        }
    };
    let body = Body::Op(Op {
        rev: Tid(wire.rev?),
        since: wire.since.map(Tid),
        action,
        collection: wire.collection?.parse().ok()?,
        rkey: wire.rkey?.0,
        cid: match wire.cid {
            Some(cid) => Some(Cid::from_bytes(&cid.0)?),
            None => None,
        },
        record: wire.record.map(|record| record.0.into_owned().into()),
    });
    Some(Message::Event(Event {
        host,
        seq,
        index: wire.index,
        time,
        did: wire.did?.0,
        body,
    }))
}

struct Bytes<'a>(Cow<'a, [u8]>);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Owned;
        impl Visitor<'_> for Owned {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer
            .deserialize_byte_buf(Owned)
            .map(|bytes| Self(bytes.into()))
    }
}

/// The host, shared between neighbours: nearly all messages of a log name the same one.
struct WireHost(Host);

impl Serialize for WireHost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WireHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shared;
        impl Visitor<'_> for Shared {
            type Value = Host;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a host name")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Host, E> {
                thread_local!(static NEWEST: RefCell<Host> = RefCell::new(Arc::from("")));
                Ok(NEWEST.with_borrow_mut(|newest| {
                    if **newest != *text {
                        *newest = Arc::from(text);
                    }
                    newest.clone()
                }))
            }
        }
        deserializer.deserialize_str(Shared).map(Self)
    }
}

/// A did:plc as its 15 bytes, another DID as text.
struct WireDid(Did);

impl Serialize for WireDid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_plc() {
            Some(packed) => serializer.serialize_bytes(packed),
            None => serializer.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for WireDid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Did;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a DID as 15 bytes or text")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Did, E> {
                let packed = bytes
                    .try_into()
                    .map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(Did::from_plc(packed))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Did, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
}

/// A TID as a number, another record key as text.
struct WireRkey(Rkey);

impl Serialize for WireRkey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_tid() {
            Some(tid) => serializer.serialize_u64(tid.0),
            None => serializer.collect_str(&self.0),
        }
    }
}

impl<'de> Deserialize<'de> for WireRkey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Rkey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a record key as a number or text")
            }
            fn visit_u64<E: Error>(self, tid: u64) -> Result<Rkey, E> {
                Ok(Tid(tid).into())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Rkey, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Any).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        assert_eq!(Message::decode(&bytes).unwrap(), message);
        for end in 0..bytes.len() {
            assert!(Message::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
    }

    fn event(did: &str, body: Body) -> Message {
        Message::Event(Event {
            host: Arc::from("relay.example"),
            seq: Cursor(31_527_015_322),
            index: 3,
            time: Timestamp(1_783_175_886_928),
            did: did.parse().unwrap(),
            body,
        })
    }

    #[test]
    fn every_message_comes_back_as_it_was() {
        let plc = "did:plc:3ir4kq33qnjyzawsel2s2vak";
        let op = |action, rkey: &str, record: Option<&[u8]>| {
            Body::Op(Op {
                rev: "3n2xril3jyo2a".parse().unwrap(),
                since: None,
                action,
                collection: "app.bsky.feed.post".parse().unwrap(),
                rkey: rkey.parse().unwrap(),
                cid: record.map(|_| Cid::dag_cbor([7; 32])),
                record: record.map(Into::into),
            })
        };
        check(event(
            plc,
            op(Action::Create, "3n2xril3jyo2a", Some(&[0xa0])),
        ));
        check(event(
            "did:web:example.com",
            op(Action::Update, "self", Some(&[])),
        ));
        check(event(plc, op(Action::Delete, "zzzz", None)));
        check(event(
            plc,
            Body::Identity {
                handle: Some("ana.example".into()),
            },
        ));
        check(event(
            plc,
            Body::Account {
                active: false,
                status: Some("deleted".into()),
            },
        ));
        for why in [Moved::Sync, Moved::Empty, Moved::TooBig] {
            check(event(plc, Body::Moved { rev: Tid(9), why }));
        }
        check(Message::Tick(Tick {
            epoch: Epoch(12),
            time: Timestamp(5),
            host: Arc::from("relay.example"),
            cursor: Cursor(7),
            frames: 900,
            last: true,
            counts: [("frames/#commit".into(), 3)].into(),
        }));
    }
}
