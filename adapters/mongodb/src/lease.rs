//! The lease: decides which process may take over. It is one document, and the server's own clock
//! decides when it expires.
//!
//! It makes a second writer wait, and admits it soon after the first one has died. It does not
//! protect the rows: a writer that still believes in an expired lease is refused because of its
//! term (`control`, `guard`).

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
/// The longest delay between two attempts to acquire the lease.
const POLL_MAX: Duration = Duration::from_secs(1);

/// The lease as one process sees it.
pub struct Lease {
    connection: Connection,
    documents: Collection<Document>,
    holder: ObjectId,
    ttl: Duration,
    /// Until when the lease is certainly ours. Measured from before the request was sent, so it
    /// ends before the server's own time.
    until: Mutex<Option<Instant>>,
}

impl Lease {
    /// A lease for a new holder.
    pub fn new(connection: &Connection, ttl: Duration) -> Self {
        Self {
            documents: connection.database().collection(COLLECTION),
            connection: connection.clone(),
            holder: ObjectId::new(),
            ttl,
            until: Mutex::new(None),
        }
    }

    /// The interval of renewals: a third of the time to live.
    pub fn renew_every(&self) -> Duration {
        self.ttl / 3
    }

    /// Waits until this process holds the lease. Logs once that it waits.
    pub async fn acquire(&self) -> Result<(), StoreError> {
        let mut logged = false;
        while !self.try_acquire().await? {
            if !logged {
                tracing::info!(
                    "another indexer writes to this database: waiting until its lease ends"
                );
                logged = true;
            }
            tokio::time::sleep(POLL_MAX.min(self.ttl / 5)).await;
        }
        Ok(())
    }

    /// Acquires the lease atomically if it is ours already, does not exist, or has expired.
    /// Otherwise changes nothing.
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
        let requested = Instant::now();
        let found = self
            .documents
            .find_one_and_update(doc! { "_id": ID }, vec![doc! { "$set": change }])
            .upsert(true)
            .return_document(ReturnDocument::After);
        match self.connection.outcome(found).await {
            Ok(found) => {
                let holder = found.and_then(|it| it.get_object_id("holder").ok());
                let held = holder == Some(self.holder);
                self.set_until(held.then_some(requested + self.ttl));
                Ok(held)
            }
            // Two processes created the document at the same time, and the other one was first.
            Err(why) if is_duplicate_key(&why) => Ok(false),
            Err(why) => Err(failed("acquire its lease")(error_chain(&why))),
        }
    }

    /// Renews the lease. Returns `false` if another process holds it; then this process needs a new
    /// term before it can write again.
    pub async fn renew(&self) -> Result<bool, StoreError> {
        let requested = Instant::now();
        let ours = doc! { "_id": ID, "holder": self.holder };
        let renewed = self
            .documents
            .update_one(ours, vec![doc! { "$set": self.renewed_fields()? }]);
        let renewed = self.connection.within("renew its lease", renewed).await?;
        let held = renewed.matched_count == 1;
        self.set_until(held.then_some(requested + self.ttl));
        Ok(held)
    }

    /// Whether this process holds the lease. A lease that expired while the server was not
    /// reachable is renewed, if no other process acquired it.
    pub async fn ensure_held(&self) -> Result<bool, StoreError> {
        match self.until() {
            Some(until) if Instant::now() < until => Ok(true),
            _ => self.renew().await,
        }
    }

    /// Releases the lease, so that the next process need not wait until it expires.
    pub async fn release(&self) -> Result<(), StoreError> {
        self.set_until(None);
        let ours = doc! { "_id": ID, "holder": self.holder };
        let released = self.documents.delete_one(ours);
        let released = self.connection.within("release its lease", released).await;
        released.map(drop)
    }

    /// Whether this process held the lease according to the last answer.
    pub fn was_held(&self) -> bool {
        self.until().is_some()
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_until(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// The fields of a renewed lease. `$$NOW` is the server's clock
    /// (<https://www.mongodb.com/docs/manual/reference/aggregation-variables/>).
    fn renewed_fields(&self) -> Result<Document, StoreError> {
        let ttl_ms = i64::try_from(self.ttl.as_millis()).map_err(failed("use so long a lease"))?;
        let expires = doc! { "$add": ["$$NOW", ttl_ms] };
        let process = i64::from(std::process::id());
        Ok(doc! { "holder": self.holder, "process": process, "expires": expires })
    }
}
