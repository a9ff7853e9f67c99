//! The keys of the API: one document for each key, with the key's id as `_id`.

use async_trait::async_trait;
use futures_util::stream::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::Error;
use serde::{Deserialize, Serialize};
use skytide_core::port::BoxError;
use skytide_core::port::key::{
    KEEP_ENDED_MS, KEYS_MAX, KeyError, KeyHash, KeyId, KeyStore, Scope, StoredKey,
};
use skytide_core::port::store::StoreError;
use skytide_core::time::Timestamp;

use super::connection::Connection;
use super::error::is_duplicate_key;
use super::values::{date, timestamp};

const COLLECTION: &str = "api_keys";
/// Number of keys whose last use one command records.
const USES_PER_COMMAND: usize = 1_000;

/// A [`KeyStore`] in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoKeys {
    connection: Connection,
    documents: Collection<KeyDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeyDocument {
    #[serde(rename = "_id")]
    id: String,
    /// 64 hexadecimal digits.
    hash: String,
    label: String,
    scopes: Vec<String>,
    created: DateTime,
    expires: Option<DateTime>,
    rate: Option<i64>,
    burst: Option<i64>,
    revoked: Option<DateTime>,
    last_used: Option<DateTime>,
}

impl MongoKeys {
    /// The keys in this database.
    pub fn new(connection: &Connection) -> Self {
        Self {
            documents: connection.database().collection(COLLECTION),
            connection: connection.clone(),
        }
    }

    async fn within<T>(
        &self,
        operation: &'static str,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, KeyError> {
        let done = self.connection.within(operation, work).await;
        done.map_err(|why| match why {
            StoreError::Failed { source, .. } => KeyError::Failed { operation, source },
            other => failed(operation)(other),
        })
    }
}

#[async_trait]
impl KeyStore for MongoKeys {
    async fn all(&self) -> Result<Vec<StoredKey>, KeyError> {
        let found = self.documents.find(doc! {}).sort(doc! { "_id": 1 });
        // Another program may have added documents: they must not fill the memory.
        let found = self.within("read", found.limit(KEYS_MAX as i64)).await?;
        let found: Vec<_> = self.within("read", found.try_collect::<Vec<_>>()).await?;
        found.into_iter().map(KeyDocument::key).collect()
    }

    /// Two processes that add the last key at once may both succeed. So there may be a few keys
    /// more than the maximum, and `all` leaves them out.
    async fn add(&self, key: &StoredKey) -> Result<(), KeyError> {
        let document = KeyDocument::of(key)?;
        let ended = required_date(Timestamp(key.created.0.saturating_sub(KEEP_ENDED_MS)))?;
        let forgotten = doc! { "$or": [
            { "revoked": { "$lte": ended } },
            { "expires": { "$lte": ended } },
        ]};
        let removed = self.documents.delete_many(forgotten);
        self.within("remove old keys", removed).await?;
        let count = self.documents.count_documents(doc! {});
        if self.within("count its keys", count).await? >= KEYS_MAX as u64 {
            return Err(KeyError::Full);
        }
        let added = self.documents.insert_one(document);
        match self.connection.outcome(added).await {
            Ok(_) => Ok(()),
            Err(why) if is_duplicate_key(&why) => Err(KeyError::Exists(key.id.clone())),
            Err(why) => Err(failed("write")(why)),
        }
    }

    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<Option<StoredKey>, KeyError> {
        let this = doc! { "_id": id.as_str() };
        let mut valid = this.clone();
        valid.insert("revoked", mongodb::bson::Bson::Null);
        let change = doc! { "$set": { "revoked": required_date(now)? } };
        // Returns the document as it was before.
        let revoked = self.documents.find_one_and_update(valid, change);
        let before = match self.within("write", revoked).await? {
            Some(before) => Some(before),
            None => self.within("read", self.documents.find_one(this)).await?,
        };
        before.map(KeyDocument::key).transpose()
    }

    async fn note_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
        for used in used.chunks(USES_PER_COMMAND) {
            let updates: Result<Vec<Document>, KeyError> = used.iter().map(use_update).collect();
            let command = doc! { "update": COLLECTION, "updates": updates?, "ordered": false };
            let noted = self.connection.database().run_command(command);
            self.within("record when keys were used", noted).await?;
        }
        Ok(())
    }
}

/// The statement that records a use. A document without `last_used` gets it.
fn use_update((id, time): &(KeyId, Timestamp)) -> Result<Document, KeyError> {
    let time = required_date(*time)?;
    Ok(doc! { "q": { "_id": id.as_str() }, "u": { "$max": { "last_used": time } } })
}

impl KeyDocument {
    fn of(key: &StoredKey) -> Result<Self, KeyError> {
        Ok(Self {
            id: key.id.to_string(),
            hash: key.hash.to_hex(),
            label: key.label.clone(),
            scopes: key.scopes.iter().map(|it| it.name().to_owned()).collect(),
            created: required_date(key.created)?,
            expires: key.expires.map(required_date).transpose()?,
            rate: key.rate.map(i64::from),
            burst: key.burst.map(i64::from),
            revoked: key.revoked.map(required_date).transpose()?,
            last_used: key.last_used.map(required_date).transpose()?,
        })
    }

    /// The key. A scope that this version does not know is skipped: it allows nothing here.
    fn key(self) -> Result<StoredKey, KeyError> {
        let scopes = self.scopes.iter().filter_map(|name| Scope::from_name(name));
        let scopes = scopes.collect();
        // `None` of the outer option: the field is invalid.
        let time = |date: Option<DateTime>| match date {
            Some(date) => timestamp(date).map(Some),
            None => Some(None),
        };
        let number = |number: Option<i64>| match number {
            Some(number) => u32::try_from(number).ok().map(Some),
            None => Some(None),
        };
        let read = || {
            Some(StoredKey {
                id: self.id.parse().ok()?,
                hash: KeyHash::from_hex(&self.hash)?,
                label: self.label.clone(),
                scopes,
                created: timestamp(self.created)?,
                expires: time(self.expires)?,
                rate: number(self.rate)?,
                burst: number(self.burst)?,
                revoked: time(self.revoked)?,
                last_used: time(self.last_used)?,
            })
        };
        read().ok_or_else(|| {
            KeyError::Damaged(format!(
                "the document {:?} of the collection {COLLECTION} has an invalid field; remove it, \
                 or restore it from a backup",
                self.id
            ))
        })
    }
}

fn required_date(time: Timestamp) -> Result<DateTime, KeyError> {
    date(time).ok_or_else(|| failed("write")("a time is too large for a date"))
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> KeyError {
    move |source| KeyError::Failed {
        operation,
        source: source.into(),
    }
}
