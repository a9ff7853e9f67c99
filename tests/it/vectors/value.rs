//! A tree of values with its DAG-CBOR and its JSON form (<https://atproto.com/specs/data-model>).
//! The decoder does not need such a tree; it is for tests that need a whole value. The encoder is
//! written independently from the specification; reading uses the reader under test.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use skytide_core::cbor::{Error, Reader, Strict};
use skytide_core::id::Cid;

use super::base64;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Bytes(Vec<u8>),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
    Link(Cid),
}

/// Decodes a whole block.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    let value = read(&mut reader)?;
    reader.end()?;
    Ok(value)
}

fn read(reader: &mut Reader<'_, Strict>) -> Result<Value, Error> {
    let first = *reader.rest().first().ok_or(Error::End)?;
    let value = match first >> 5 {
        0 | 1 => reader.integer()?.map(Value::Integer),
        2 => reader.bytes()?.map(|bytes| Value::Bytes(bytes.to_vec())),
        3 => reader.text()?.map(|text| Value::Text(text.to_owned())),
        4 => {
            let mut items = Vec::new();
            let list = reader.list(|reader| {
                items.push(read(reader)?);
                Ok(())
            })?;
            list.map(|()| Value::List(items))
        }
        5 => {
            let mut entries = BTreeMap::new();
            let map = reader.map(|reader, key| {
                let key = String::from_utf8(key.to_vec()).expect("a checked key");
                entries.insert(key, read(reader)?);
                Ok(())
            })?;
            map.map(|()| Value::Map(entries))
        }
        6 => reader.link()?.map(Value::Link),
        _ if first == 0xf6 => reader.skip().map(|()| Some(Value::Null))?,
        _ => reader.boolean()?.map(Value::Boolean),
    };
    Ok(value.expect("an item of the kind that its first byte names"))
}

/// Encodes a value; each value has exactly one encoding.
pub(super) fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(value, &mut bytes);
    bytes
}

fn write(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.push(0xf6),
        Value::Boolean(value) => bytes.push(0xf4 + u8::from(*value)),
        Value::Integer(value) if *value < 0 => head(1, !*value as u64, bytes),
        Value::Integer(value) => head(0, *value as u64, bytes),
        Value::Bytes(value) => {
            head(2, value.len() as u64, bytes);
            bytes.extend(value);
        }
        Value::Text(value) => {
            head(3, value.len() as u64, bytes);
            bytes.extend(value.as_bytes());
        }
        Value::List(items) => {
            head(4, items.len() as u64, bytes);
            items.iter().for_each(|item| write(item, bytes));
        }
        Value::Map(entries) => {
            head(5, entries.len() as u64, bytes);
            let mut sorted: Vec<_> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| (key.len(), key.as_bytes()));
            for (key, value) in sorted {
                write(&Value::Text(key.clone()), bytes);
                write(value, bytes);
            }
        }
        Value::Link(cid) => {
            bytes.extend([0xd8, 42, 0x58, 37, 0]);
            bytes.extend(cid.to_bytes());
        }
    }
}

fn head(major: u8, argument: u64, bytes: &mut Vec<u8>) {
    let (marker, width) = match argument {
        0..24 => (argument as u8, 0),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    bytes.push(major << 5 | marker);
    bytes.extend(&argument.to_be_bytes()[8 - width..]);
}

/// The value that a JSON form represents; `None` if it is not part of the data model.
pub(super) fn from_json(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Boolean(*value),
        Json::Number(number) => Value::Integer(number.as_i64()?),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(from_json).collect::<Option<_>>()?),
        Json::Object(entries) => match (entries.get("$link"), entries.get("$bytes")) {
            (Some(link), None) if entries.len() == 1 => Value::Link(link.as_str()?.parse().ok()?),
            (None, Some(bytes)) if entries.len() == 1 => Value::Bytes(base64(bytes.as_str()?)),
            (None, None) => {
                let entry = |(key, value): (&String, &Json)| Some((key.clone(), from_json(value)?));
                Value::Map(entries.iter().map(entry).collect::<Option<_>>()?)
            }
            _ => return None,
        },
    })
}

/// The JSON form of a value.
pub(super) fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Bytes(bytes) => json!({ "$bytes": data_encoding::BASE64_NOPAD.encode(bytes) }),
        Value::Text(text) => json!(text),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| (key.clone(), to_json(value)));
            Json::Object(entries.collect())
        }
        Value::Link(cid) => json!({ "$link": cid.to_string() }),
    }
}
