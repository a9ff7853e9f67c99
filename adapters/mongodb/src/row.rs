//! Converts rows to documents and back: `{_id, epoch, columns...}`, or `{_id, epoch, removed}` for
//! a removed row.

use mongodb::bson::raw::cstr;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{RawBinaryRef, RawDocument, RawDocumentBuf};
use skytide_core::id::Epoch;
use skytide_core::port::store::{Order, StoreError};
use skytide_core::view::{Change, Key, StoredRow, ViewId};

use super::{documents, key};

/// The field with the key in the view's second order (a secondary index), if the view has one.
pub const BY_SUBJECT: &str = "by_subject";
/// The field with the epoch at which the row was removed. A document with this field is not a row.
pub const REMOVED: &str = "removed";
/// The field with the bytes of the columns, for rows that cannot be stored by name.
const RAW: &str = "raw";

/// The epoch with which rows are written.
#[derive(Clone, Copy, Debug)]
pub struct RowEpoch {
    /// The end of the commit, as the database stores it.
    pub epoch: i64,
    /// Whether the rows also replace rows of later epochs.
    pub replaces_all: bool,
}

/// The statement that writes or removes a row. It fails if the stored row has a later epoch, unless
/// `at.replaces_all` is set.
///
/// How it fails: the filter does not match a row of a later epoch, so the server tries to insert a
/// second document with the same `_id`, and that is a duplicate key.
pub fn statement(view: ViewId, change: &Change, at: RowEpoch) -> RawDocumentBuf {
    let id = key::encode(change.key.as_bytes());
    let mut filter = RawDocumentBuf::new();
    filter.append(cstr!("_id"), id.as_str());
    if !at.replaces_all {
        let mut not_later = RawDocumentBuf::new();
        not_later.append(cstr!("$lte"), at.epoch);
        filter.append(cstr!("epoch"), not_later);
    }
    let mut statement = RawDocumentBuf::new();
    statement.append(cstr!("q"), filter);
    statement.append(cstr!("u"), document(view, change, &id, at.epoch));
    statement.append(cstr!("upsert"), true);
    statement
}

fn document(view: ViewId, change: &Change, id: &str, epoch: i64) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), id);
    document.append(cstr!("epoch"), epoch);
    let Some(row) = &change.row else {
        document.append(cstr!("removed"), epoch);
        return document;
    };
    if let Some(second) = view.second_key(change.key.as_bytes()) {
        let second = key::encode(second.as_bytes());
        document.append(cstr!("by_subject"), second.as_str());
    }
    match documents::document(view, &change.key, row) {
        Some(columns) => concatenate(document, &columns),
        None => {
            let (subtype, bytes) = (BinarySubtype::Generic, &row[..]);
            document.append(cstr!("raw"), RawBinaryRef { subtype, bytes });
            document
        }
    }
}

/// Appends the elements of one document to another one. A document consists of its length, its
/// elements and a zero byte: <https://bsonspec.org/spec.html>.
fn concatenate(head: RawDocumentBuf, tail: &RawDocument) -> RawDocumentBuf {
    let mut bytes = head.into_bytes();
    bytes.pop();
    bytes.extend_from_slice(&tail.as_bytes()[4..]);
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).expect("the concatenation of two documents is a document")
}

/// Reads the row of a document, with the key of the order in which it was read. `None` if the row
/// was removed.
///
/// # Errors
/// The document does not have the form of the view.
pub fn read(
    view: ViewId,
    order: Order,
    document: &RawDocument,
) -> Result<Option<StoredRow>, StoreError> {
    let damaged = || {
        let id = document.get_str("_id").unwrap_or_default();
        StoreError::Damaged(format!("{id:?} in {} is not a valid row", view.name()))
    };
    if document.get(REMOVED).map_err(|_| damaged())?.is_some() {
        return Ok(None);
    }
    let field = match order {
        Order::First => "_id",
        Order::Second => BY_SUBJECT,
    };
    let key: Option<Key> = document.get_str(field).ok().and_then(key::decode);
    let row = match document.get_binary(RAW) {
        Ok(raw) => Some(raw.bytes.into()),
        Err(_) => documents::row(view, document),
    };
    Ok(Some(StoredRow {
        key: key.ok_or_else(damaged)?,
        epoch: epoch(document).ok_or_else(damaged)?,
        row: row.ok_or_else(damaged)?,
    }))
}

/// The epoch of a document.
pub fn epoch(document: &RawDocument) -> Option<Epoch> {
    let epoch = document.get_i64("epoch").ok()?;
    epoch.try_into().ok().map(Epoch)
}
