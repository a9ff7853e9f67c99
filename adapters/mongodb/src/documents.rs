//! The documents of each view: its key and its columns by name. `docs/mongodb.md` shows one of each.
//!
//! A document is made from a row and a row from a document; what the dataflow wrote comes back byte by byte. A row that
//! would not (it is not of its view's form, or a number of it is above 2^63) has no document: the store keeps its bytes.

mod actors;
mod lists;
mod network;
mod posts;
mod trends;

use mongodb::bson::{RawDocument, RawDocumentBuf};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skytide_core::view::{Key, ViewId, ViewKey, decode_row, encode_row};

use actors::{AccountDocument, ActorDocument, HandleDocument, InteractionDocument};
pub use lists::ListDocument;
use network::{ActivityDocument, CounterDocument};
use posts::PostDocument;
use trends::TrendDocument;

/// What a view's documents hold beside `_id` and `epoch`.
trait Columns: Serialize + DeserializeOwned {
    /// The view's key.
    type Key: ViewKey;
    /// Its columns.
    type Row: Serialize + DeserializeOwned;

    /// The document of a row; `None` if it could not be read back.
    fn of(key: Self::Key, row: Self::Row) -> Option<Self>;

    /// The columns; `None` if they are out of range.
    fn row(self) -> Option<Self::Row>;
}

/// The document of a row, without `_id` and `epoch`; `None` if the row would not come back from it byte by byte.
pub fn document(view: ViewId, key: &Key, row: &[u8]) -> Option<RawDocumentBuf> {
    match view {
        ViewId::Posts => write::<PostDocument>(key, row),
        ViewId::TopPosts
        | ViewId::TopHashtags
        | ViewId::TopDomains
        | ViewId::TopLinks
        | ViewId::TopMentions
        | ViewId::TopActors
        | ViewId::TopBlocks => write::<ListDocument>(key, row),
        ViewId::Hashtags
        | ViewId::Domains
        | ViewId::Links
        | ViewId::Mentions
        | ViewId::Languages => write::<TrendDocument>(key, row),
        ViewId::Interactions => write::<InteractionDocument>(key, row),
        ViewId::Actors => write::<ActorDocument>(key, row),
        ViewId::Activity => write::<ActivityDocument>(key, row),
        ViewId::Accounts => write::<AccountDocument>(key, row),
        ViewId::Handles => write::<HandleDocument>(key, row),
        ViewId::Counters => write::<CounterDocument>(key, row),
    }
}

/// The row of a document; `None` if the document is not of its view's form.
pub fn row(view: ViewId, document: &RawDocument) -> Option<Box<[u8]>> {
    match view {
        ViewId::Posts => read::<PostDocument>(document),
        ViewId::TopPosts
        | ViewId::TopHashtags
        | ViewId::TopDomains
        | ViewId::TopLinks
        | ViewId::TopMentions
        | ViewId::TopActors
        | ViewId::TopBlocks => read::<ListDocument>(document),
        ViewId::Hashtags
        | ViewId::Domains
        | ViewId::Links
        | ViewId::Mentions
        | ViewId::Languages => read::<TrendDocument>(document),
        ViewId::Interactions => read::<InteractionDocument>(document),
        ViewId::Actors => read::<ActorDocument>(document),
        ViewId::Activity => read::<ActivityDocument>(document),
        ViewId::Accounts => read::<AccountDocument>(document),
        ViewId::Handles => read::<HandleDocument>(document),
        ViewId::Counters => read::<CounterDocument>(document),
    }
}

fn write<C: Columns>(key: &Key, row: &[u8]) -> Option<RawDocumentBuf> {
    let columns: C::Row = decode_row(row).ok()?;
    // Numbers in postcard have more than one form, and only one of them would come back.
    if *encode_row(&columns) != *row {
        return None;
    }
    let document = C::of(key.decode().ok()?, columns)?;
    mongodb::bson::serialize_to_raw_document_buf(&document).ok()
}

fn read<C: Columns>(document: &RawDocument) -> Option<Box<[u8]>> {
    let document: C = mongodb::bson::deserialize_from_slice(document.as_bytes()).ok()?;
    Some(encode_row(&document.row()?))
}

/// A count: 32 bits where they suffice, so that it is a plain number in `mongosh`, else 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count(u64);

impl Count {
    fn to_u32(self) -> Option<u32> {
        self.0.try_into().ok()
    }
}

impl From<u32> for Count {
    fn from(count: u32) -> Self {
        Self(count.into())
    }
}

impl From<u64> for Count {
    fn from(count: u64) -> Self {
        Self(count)
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match i32::try_from(self.0) {
            Ok(short) => serializer.serialize_i32(short),
            Err(_) => serializer.serialize_u64(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self)
    }
}
