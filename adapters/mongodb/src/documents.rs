//! The documents of each view: the key and the columns by name. `docs/mongodb.md` shows one of
//! each.
//!
//! A row is converted to a document and back without any loss: the row that is read is byte for
//! byte the row that was written. A row for which that is impossible (it does not have the form of
//! its view, or one of its numbers is 2^63 or more) has no document: the store keeps its bytes
//! instead.

mod actors;
mod lists;
mod network;
mod posts;
mod trends;

use mongodb::bson::{RawDocument, RawDocumentBuf};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skytide_core::view::{Key, RowKind, ViewId, ViewKey, decode_row, encode_row};

use actors::{AccountDocument, ActorDocument, HandleDocument, InteractionDocument};
pub use lists::ListDocument;
use network::{ActivityDocument, CounterDocument, CoverageDocument};
use posts::PostDocument;
use trends::TrendDocument;

/// The form of a view's documents: the key and the columns of a row as fields, without `_id` and
/// `epoch`.
trait RowDocument: Serialize + DeserializeOwned {
    /// The key of the view.
    type Key: ViewKey;
    /// The columns of the view.
    type Row: Serialize + DeserializeOwned;

    /// Converts a row into a document. Returns `None` if a value has no exact form in a document,
    /// so that the row could not be restored.
    fn from_row(key: Self::Key, row: Self::Row) -> Option<Self>;

    /// Converts the document into columns. Returns `None` if a value is out of range, which no
    /// document of [`RowDocument::from_row`] has.
    fn into_row(self) -> Option<Self::Row>;
}

/// Converts a row into a document without `_id` and `epoch`. Returns `None` if the row could not be
/// restored byte for byte.
pub fn document(view: ViewId, key: &Key, row: &[u8]) -> Option<RawDocumentBuf> {
    match view.row_kind() {
        RowKind::Post => write::<PostDocument>(key, row),
        RowKind::List => write::<ListDocument>(key, row),
        RowKind::Trend => write::<TrendDocument>(key, row),
        RowKind::Interaction => write::<InteractionDocument>(key, row),
        RowKind::Actor => write::<ActorDocument>(key, row),
        RowKind::Activity => write::<ActivityDocument>(key, row),
        RowKind::Account => write::<AccountDocument>(key, row),
        RowKind::Handle => write::<HandleDocument>(key, row),
        RowKind::Counter => write::<CounterDocument>(key, row),
        RowKind::Coverage => write::<CoverageDocument>(key, row),
    }
}

/// Converts a document into a row. Returns `None` if the document does not have the form of its
/// view.
pub fn row(view: ViewId, document: &RawDocument) -> Option<Box<[u8]>> {
    match view.row_kind() {
        RowKind::Post => read::<PostDocument>(document),
        RowKind::List => read::<ListDocument>(document),
        RowKind::Trend => read::<TrendDocument>(document),
        RowKind::Interaction => read::<InteractionDocument>(document),
        RowKind::Actor => read::<ActorDocument>(document),
        RowKind::Activity => read::<ActivityDocument>(document),
        RowKind::Account => read::<AccountDocument>(document),
        RowKind::Handle => read::<HandleDocument>(document),
        RowKind::Counter => read::<CounterDocument>(document),
        RowKind::Coverage => read::<CoverageDocument>(document),
    }
}

fn write<C: RowDocument>(key: &Key, row: &[u8]) -> Option<RawDocumentBuf> {
    let columns: C::Row = decode_row(row).ok()?;
    // postcard accepts several encodings of one number, of which only the canonical one can be
    // restored.
    if *encode_row(&columns) != *row {
        return None;
    }
    let document = C::from_row(key.decode().ok()?, columns)?;
    mongodb::bson::serialize_to_raw_document_buf(&document).ok()
}

fn read<C: RowDocument>(document: &RawDocument) -> Option<Box<[u8]>> {
    let document: C = mongodb::bson::deserialize_from_slice(document.as_bytes()).ok()?;
    Some(encode_row(&document.into_row()?))
}

/// A count. It is stored with 32 bits if possible, because `mongosh` shows that as a plain number,
/// and otherwise with 64.
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
