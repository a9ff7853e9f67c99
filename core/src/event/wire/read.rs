//! Decodes a message from a CBOR map without an intermediate tree of values. Fields may come in any
//! order. A field with a value of the wrong type is an error; an unknown field is skipped.

use std::collections::BTreeMap;

use super::tick;
use super::value::{Reader, collection, counts, did, number, rkey, shared_host};
use crate::cbor;
use crate::event::{
    Action, Body, DecodeError, Event, Gap, Host, Message, Moved, Op, OpenGap, SourcePosition,
    Sources, Tick,
};
use crate::id::{Cid, Cursor, Did, Epoch, Rkey, Tid};
use crate::time::Timestamp;

/// All fields of all kinds of messages, as they were read.
#[derive(Default)]
struct Fields<'a> {
    kind: Option<&'a str>,
    host: Option<&'a str>,
    seq: Option<u64>,
    index: Option<u64>,
    time: Option<u64>,
    did: Option<Did>,
    rev: Option<u64>,
    since: Option<u64>,
    collection: Option<&'a str>,
    rkey: Option<Rkey>,
    cid: Option<Cid>,
    record: Option<&'a [u8]>,
    handle: Option<&'a str>,
    active: Option<bool>,
    status: Option<&'a str>,
    sent: Option<u64>,
    epoch: Option<u64>,
    frames: Option<u64>,
    last: Option<bool>,
    settled: Option<bool>,
    counts: Option<BTreeMap<Box<str>, u64>>,
    sources: Option<BTreeMap<Host, SourcePosition>>,
    open_gap: Option<OpenGap>,
    gaps: Option<Vec<Gap>>,
    cursor_reset: Option<bool>,
}

/// Decodes one message. Bytes after it are an error.
pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = read_message(&mut reader)?;
    reader.end().map_err(invalid_cbor)?;
    Ok(message)
}

/// Decodes messages up to the end of the bytes.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Message>, DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut messages = Vec::new();
    while !reader.rest().is_empty() {
        messages.push(read_message(&mut reader)?);
    }
    Ok(messages)
}

fn read_message(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let mut fields = Fields::default();
    let mut mistyped: Option<&[u8]> = None;
    let read = reader.map(|reader, key| {
        if !fields.read(reader, key)? {
            mistyped = Some(key);
        }
        Ok(())
    });
    read.map_err(invalid_cbor)?
        .ok_or_else(|| DecodeError("it is not a map".to_owned()))?;
    if let Some(key) = mistyped {
        let why = format!(
            "field {:?} has a value of the wrong type",
            key.escape_ascii().to_string()
        );
        return Err(DecodeError(why));
    }
    fields
        .into_message()
        .ok_or_else(|| DecodeError("its kind is unknown or a required field is missing".to_owned()))
}

fn invalid_cbor(error: cbor::Error) -> DecodeError {
    DecodeError(error.to_string())
}

impl<'a> Fields<'a> {
    /// Reads the value of one field. Returns `false` if the value has the wrong type.
    fn read(&mut self, reader: &mut Reader<'a>, key: &[u8]) -> Result<bool, cbor::Error> {
        match key {
            b"kind" => set(&mut self.kind, reader.text()?),
            b"host" => set(&mut self.host, reader.text()?),
            b"seq" => set(&mut self.seq, number(reader)?),
            b"index" => set(&mut self.index, number(reader)?),
            b"time" => set(&mut self.time, number(reader)?),
            b"did" => set(&mut self.did, did(reader)?),
            b"rev" => set(&mut self.rev, number(reader)?),
            b"since" => set(&mut self.since, number(reader)?),
            b"collection" => set(&mut self.collection, reader.text()?),
            b"rkey" => set(&mut self.rkey, rkey(reader)?),
            b"cid" => set(&mut self.cid, reader.bytes()?.and_then(Cid::from_bytes)),
            b"record" => set(&mut self.record, reader.bytes()?),
            b"handle" => set(&mut self.handle, reader.text()?),
            b"active" => set(&mut self.active, reader.boolean()?),
            b"status" => set(&mut self.status, reader.text()?),
            b"sent" => set(&mut self.sent, number(reader)?),
            b"epoch" => set(&mut self.epoch, number(reader)?),
            b"frames" => set(&mut self.frames, number(reader)?),
            b"last" => set(&mut self.last, reader.boolean()?),
            b"settled" => set(&mut self.settled, reader.boolean()?),
            b"counts" => set(&mut self.counts, counts(reader)?),
            b"sources" => set(&mut self.sources, tick::sources(reader)?),
            b"open_gap" => set(&mut self.open_gap, tick::open_gap(reader)?),
            b"gaps" => set(&mut self.gaps, tick::gaps(reader)?),
            b"cursor_reset" => set(&mut self.cursor_reset, reader.boolean()?),
            _ => reader.skip().map(|()| true),
        }
    }

    fn into_message(self) -> Option<Message> {
        let body = match self.kind? {
            "create" => self.op(Action::Create)?,
            "update" => self.op(Action::Update)?,
            "delete" => self.op(Action::Delete)?,
            "identity" => Body::Identity {
                handle: self.handle.map(Into::into),
                sent: self.sent.map(Timestamp),
            },
            "account" => Body::Account {
                active: self.active?,
                status: self.status.map(Into::into),
                sent: self.sent.map(Timestamp),
            },
            "sync" => self.moved(Moved::Sync)?,
            "empty" => self.moved(Moved::Empty)?,
            "too_big" => self.moved(Moved::TooBig)?,
            "tick" => return self.into_tick().map(Message::Tick),
            _ => return None,
        };
        Some(Message::Event(Event {
            host: shared_host(self.host?),
            seq: Cursor(self.seq?),
            index: self.index.unwrap_or(0).try_into().ok()?,
            time: Timestamp(self.time?),
            did: self.did?,
            body,
        }))
    }

    fn op(&self, action: Action) -> Option<Body> {
        Some(Body::Op(Op {
            rev: Tid(self.rev?),
            since: self.since.map(Tid),
            action,
            collection: collection(self.collection?)?,
            rkey: self.rkey.clone()?,
            cid: self.cid,
            record: self.record.map(Into::into),
        }))
    }

    fn moved(&self, why: Moved) -> Option<Body> {
        let rev = Tid(self.rev?);
        Some(Body::Moved { rev, why })
    }

    fn into_tick(self) -> Option<Tick> {
        Some(Tick {
            epoch: Epoch(self.epoch?),
            time: Timestamp(self.time?),
            host: shared_host(self.host?),
            cursor: Cursor(self.seq?),
            frames: self.frames?,
            last: self.last.unwrap_or(false),
            idle: self.settled.unwrap_or(false),
            sources: Sources {
                others: self.sources.unwrap_or_default(),
                open_gap: self.open_gap,
                gaps: self.gaps.unwrap_or_default(),
                cursor_reset: self.cursor_reset.unwrap_or(false),
            },
            counts: self.counts?,
        })
    }
}

fn set<T>(field: &mut Option<T>, value: Option<T>) -> Result<bool, cbor::Error> {
    *field = value;
    Ok(field.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of the error that [`decode`] returns for this value.
    fn error_of(value: ciborium::Value) -> String {
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).unwrap();
        decode(&bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_field_of_the_wrong_type_is_named_and_a_missing_one_is_an_error() {
        let map = |fields: &[(&str, ciborium::Value)]| {
            let entries = fields
                .iter()
                .map(|(key, value)| ((*key).into(), value.clone()));
            ciborium::Value::Map(entries.collect())
        };
        assert!(error_of(map(&[("seq", "text".into())])).contains("\"seq\""));
        assert!(error_of(map(&[("seq", (-1).into())])).contains("\"seq\""));
        assert!(error_of(map(&[("did", vec![1_u8].into())])).contains("\"did\""));
        assert!(error_of(map(&[("rkey", "not a key".into())])).contains("\"rkey\""));
        assert!(error_of(map(&[("kind", "create".into())])).contains("missing"));
        assert!(error_of(map(&[("kind", "other".into())])).contains("missing"));
        assert!(error_of(7.into()).contains("not a map"));
    }

    #[test]
    fn unknown_fields_are_skipped_and_trailing_bytes_are_an_error() {
        let message = Message::Event(Event {
            host: "relay.example".into(),
            seq: Cursor(1),
            index: 0,
            time: Timestamp(2),
            did: "did:web:example.com".parse().unwrap(),
            body: Body::Identity {
                handle: None,
                sent: None,
            },
        });
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let mut value: ciborium::Value = ciborium::from_reader(&bytes[..]).unwrap();
        value
            .as_map_mut()
            .unwrap()
            .insert(0, ("new".into(), vec![0_u8; 3].into()));
        let mut longer = Vec::new();
        ciborium::into_writer(&value, &mut longer).unwrap();
        assert_eq!(decode(&longer).unwrap(), message);
        longer.push(0);
        assert!(decode(&longer).is_err());
        assert!(decode_all(&longer).is_err());
    }

    #[test]
    fn concatenated_messages_are_all_decoded() {
        let message = |seq| {
            Message::Event(Event {
                host: "relay.example".into(),
                seq: Cursor(seq),
                index: 0,
                time: Timestamp(2),
                did: "did:web:example.com".parse().unwrap(),
                body: Body::Identity {
                    handle: None,
                    sent: None,
                },
            })
        };
        let messages: Vec<_> = (0..3).map(message).collect();
        let mut bytes = Vec::new();
        messages.iter().for_each(|it| it.encode(&mut bytes));
        assert_eq!(decode_all(&bytes).unwrap(), messages);
        assert_eq!(decode_all(&[]).unwrap(), []);
        assert!(decode_all(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode(&bytes).is_err());
    }
}
