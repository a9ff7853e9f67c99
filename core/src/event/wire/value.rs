//! Decodes single values in a message. A function that takes a reader returns `None` if the value
//! has the wrong type.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cbor::{self, Error, Loose};
use crate::event::Host;
use crate::id::{Collection, Did, Rkey, Tid};

pub(super) type Reader<'a> = cbor::Reader<'a, Loose>;

pub(super) fn number(reader: &mut Reader<'_>) -> Result<Option<u64>, Error> {
    let number = reader.integer()?;
    Ok(number.and_then(|number| number.try_into().ok()))
}

/// Whether the next item is a text (<https://www.rfc-editor.org/rfc/rfc8949#section-3.1>).
fn text_is_next(reader: &Reader<'_>) -> bool {
    reader.rest().first().is_some_and(|head| head >> 5 == 3)
}

/// Reads a DID: a did:plc as its 15 packed bytes, any other DID as text.
pub(super) fn did(reader: &mut Reader<'_>) -> Result<Option<Did>, Error> {
    if text_is_next(reader) {
        return Ok(reader.text()?.and_then(|text| text.parse().ok()));
    }
    let packed = reader.bytes()?.and_then(|bytes| bytes.try_into().ok());
    Ok(packed.map(Did::from_plc))
}

/// Reads a record key: a TID as a number, any other key as text.
pub(super) fn rkey(reader: &mut Reader<'_>) -> Result<Option<Rkey>, Error> {
    if text_is_next(reader) {
        return Ok(reader.text()?.and_then(|text| text.parse().ok()));
    }
    Ok(number(reader)?.map(|tid| Tid(tid).into()))
}

/// Reads a map from counter name to count.
pub(super) fn counts(reader: &mut Reader<'_>) -> Result<Option<BTreeMap<Box<str>, u64>>, Error> {
    let mut counts = BTreeMap::new();
    let mut is_valid = true;
    let read = reader.map(|reader, name| {
        match (std::str::from_utf8(name), number(reader)?) {
            (Ok(name), Some(count)) => drop(counts.insert(name.into(), count)),
            _ => is_valid = false,
        }
        Ok(())
    })?;
    Ok(read.filter(|()| is_valid).map(|()| counts))
}

/// Interns the host: nearly all messages of a log have the same one, so consecutive messages share
/// one allocation.
pub(super) fn shared_host(text: &str) -> Host {
    thread_local!(static NEWEST: RefCell<Host> = RefCell::new(Arc::from("")));
    NEWEST.with_borrow_mut(|newest| {
        if **newest != *text {
            *newest = Arc::from(text);
        }
        newest.clone()
    })
}

/// Maximum number of cached names of collections per thread.
const CACHED_MAX: usize = 16;

/// Parses the name of a collection; `None` if it is not valid. Most messages have one of a few
/// collections, so each thread caches the first [`CACHED_MAX`] names that it parsed.
pub(super) fn collection(text: &str) -> Option<Collection> {
    thread_local!(static CACHE: RefCell<Vec<Collection>> = const { RefCell::new(Vec::new()) });
    CACHE.with_borrow_mut(|cache| {
        if let Some(collection) = cache.iter().find(|it| it.as_str() == text) {
            return Some(collection.clone());
        }
        let collection: Collection = text.parse().ok()?;
        if cache.len() < CACHED_MAX {
            cache.push(collection.clone());
        }
        Some(collection)
    })
}
