//! The lease: who may take over. One document, whose end is told by the server's own clock.
//!
//! It keeps a second writer waiting and lets it in soon after the first has died. It is not what protects the rows:
//! a writer that believes in a lease it has lost is refused by the term (`control`, `guard`).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mongodb::Collection;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use skytide_core::port::store::StoreError;

use super::connection::Connection;
use super::control::COLLECTION;
use super::error::{error_chain, failed, is_duplicate_key};

const ID: &str = "lease";
/// How often one who waits asks again, at least.
const POLL_MAX: Duration = Duration::from_secs(1);

/// The lease, as one holder sees it.
pub struct Lease {
    connection: Connection,
    documents: Collection<Document>,
    holder: ObjectId,
    ttl: Duration,
    /// Until when it is ours for certain: counted from before it was asked for.
    until: Mutex<Option<Instant>>,
}

impl Lease {
    /// For a holder that nobody else is.
    pub fn new(connection: &Connection, ttl: Duration) -> Self {
        Self {
            documents: connection.database().collection(COLLECTION),
            connection: connection.clone(),
            holder: ObjectId::new(),
            ttl,
            until: Mutex::new(None),
        }
    }

    /// How often it is renewed: three times before it ends.
    pub fn renew_every(&self) -> Duration {
        self.ttl / 3
    }

    /// Waits until it is ours. Says once that it waits.
    pub async fn acquire(&self) -> Result<(), StoreError> {
        let mut logged = false;
        while !self.try_acquire().await? {
            if !logged {
                tracing::info!("another indexer writes this database, waiting until it ends");
                logged = true;
            }
            tokio::time::sleep(POLL_MAX.min(self.ttl / 5)).await;
        }
        Ok(())
    }

    /// One step of the server: it becomes ours if it was ours, is new or has run out; else it stays as it is.
    async fn try_acquire(&self) -> Result<bool, StoreError> {
        let long_ago = DateTime::from_millis(0);
        let free = doc! { "$or": [
            { "$eq": ["$holder", self.holder] },
            { "$lte": [{ "$ifNull": ["$expires", long_ago] }, "$$NOW"] },
        ]};
        let mut change = Document::new();
        for (field, new) in self.renewed_fields()? {
            let old = format!("${field}");
            change.insert(field, doc! { "$cond": [free.clone(), new, old] });
        }
        let asked = Instant::now();
        let found = self
            .documents
            .find_one_and_update(doc! { "_id": ID }, vec![doc! { "$set": change }])
            .upsert(true)
            .return_document(ReturnDocument::After);
        match self.connection.outcome(found).await {
            Ok(found) => {
                let holder = found.and_then(|it| it.get_object_id("holder").ok());
                let held = holder == Some(self.holder);
                self.set_until(held.then_some(asked + self.ttl));
                Ok(held)
            }
            // Two made it at the same time, and the other one was first.
            Err(why) if is_duplicate_key(&why) => Ok(false),
            Err(why) => Err(failed("ask for its lease")(error_chain(&why))),
        }
    }

    /// Renews it. Answers `false` if another one holds it: then it never becomes ours again without a new term.
    pub async fn renew(&self) -> Result<bool, StoreError> {
        let asked = Instant::now();
        let ours = doc! { "_id": ID, "holder": self.holder };
        let renewed = self
            .documents
            .update_one(ours, vec![doc! { "$set": self.renewed_fields()? }]);
        let renewed = self.connection.within("renew its lease", renewed).await?;
        let held = renewed.matched_count == 1;
        self.set_until(held.then_some(asked + self.ttl));
        Ok(held)
    }

    /// Whether it is ours now. One that ran out while the server was away, and that nobody took, is renewed.
    pub async fn ensure_held(&self) -> Result<bool, StoreError> {
        match self.until() {
            Some(until) if Instant::now() < until => Ok(true),
            _ => self.renew().await,
        }
    }

    /// Gives it back, so that the next one need not wait.
    pub async fn release(&self) -> Result<(), StoreError> {
        self.set_until(None);
        let ours = doc! { "_id": ID, "holder": self.holder };
        let released = self.documents.delete_one(ours);
        let released = self.connection.within("release its lease", released).await;
        released.map(drop)
    }

    /// Whether it was ours when we last heard.
    pub fn was_held(&self) -> bool {
        self.until().is_some()
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_until(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// `$$NOW` is the server's clock (<https://www.mongodb.com/docs/manual/reference/aggregation-variables/>).
    fn renewed_fields(&self) -> Result<Document, StoreError> {
        let ttl_ms = i64::try_from(self.ttl.as_millis()).map_err(failed("hold a lease so long"))?;
        let expires = doc! { "$add": ["$$NOW", ttl_ms] };
        let process = i64::from(std::process::id());
        Ok(doc! { "holder": self.holder, "process": process, "expires": expires })
    }
}
