//! Accounts whose profile was requested: one document for each, with its DID as `_id`. MongoDB
//! removes a request after [`LIFETIME`], so requests that no scheduler takes do not accumulate.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::TryStreamExt;
use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};
use serde::{Deserialize, Serialize};
use skytide_core::id::Did;
use skytide_core::port::profile::{ProfileError, REQUESTS_MAX};
use skytide_core::time::Timestamp;
use tokio::sync::OnceCell;

use super::common::{BATCH_PROFILES, failed, profile_error, texts};
use crate::connection::Connection;
use crate::values::date;

/// How long a request waits.
const LIFETIME: Duration = Duration::from_secs(600);

/// The requests in a MongoDB database.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    connection: Connection,
    documents: Collection<RequestDocument>,
    /// Set once the index by age exists.
    index: Arc<OnceCell<()>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RequestDocument {
    #[serde(rename = "_id")]
    did: String,
    at: DateTime,
}

impl Requests {
    pub(super) fn new(connection: &Connection) -> Self {
        Self {
            documents: connection.database().collection("profile_requests"),
            connection: connection.clone(),
            index: Arc::default(),
        }
    }

    /// See `ProfileStore::request`.
    pub(super) async fn add(&self, dids: &[Did], now: Timestamp) -> Result<usize, ProfileError> {
        if dids.is_empty() {
            return Ok(0);
        }
        let too_large = || failed("write")("the time of the request is too large for a date");
        let at = date(now).ok_or_else(too_large)?;
        self.index.get_or_try_init(|| self.create_index()).await?;
        let mut accepted = 0;
        for dids in dids.chunks(BATCH_PROFILES) {
            let waiting = self.waiting(dids).await?;
            accepted += dids.iter().filter(|did| waiting.contains(*did)).count();
            let count = self.documents.estimated_document_count();
            let count = self.within("read", count).await?;
            let free = REQUESTS_MAX.saturating_sub(usize::try_from(count).unwrap_or(usize::MAX));
            let mut new: Vec<&Did> = dids.iter().filter(|did| !waiting.contains(*did)).collect();
            new.sort_unstable();
            new.dedup();
            new.truncate(free);
            accepted += dids.iter().filter(|did| new.contains(did)).count();
            let new = new.into_iter().map(|did| RequestDocument {
                did: did.to_string(),
                at,
            });
            self.insert(new.collect()).await?;
        }
        Ok(accepted)
    }

    /// See `ProfileStore::take_requests`.
    pub(super) async fn take(&self, limit: usize) -> Result<Vec<Did>, ProfileError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let found = self.documents.find(doc! {}).sort(doc! { "at": 1 });
        let found = found.limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.within("read", found).await?;
        let found: Vec<_> = self.within("read", found.try_collect::<Vec<_>>()).await?;
        for found in found.chunks(BATCH_PROFILES) {
            let ids: Vec<&str> = found.iter().map(|it| it.did.as_str()).collect();
            let removed = self.documents.delete_many(doc! { "_id": { "$in": ids } });
            self.within("remove", removed).await?;
        }
        // A document of another program may have another key: it is removed, and names nobody.
        Ok(found.iter().filter_map(|it| it.did.parse().ok()).collect())
    }

    /// Those of `dids` that wait.
    async fn waiting(&self, dids: &[Did]) -> Result<Vec<Did>, ProfileError> {
        let found = self.documents.find(doc! { "_id": { "$in": texts(dids) } });
        let found = self.within("read", found).await?;
        let found: Vec<_> = self.within("read", found.try_collect::<Vec<_>>()).await?;
        Ok(found.iter().filter_map(|it| it.did.parse().ok()).collect())
    }

    /// Inserts requests. One that another process has inserted meanwhile is not an error.
    async fn insert(&self, documents: Vec<RequestDocument>) -> Result<(), ProfileError> {
        const DUPLICATE_KEY: i32 = 11_000;
        if documents.is_empty() {
            return Ok(());
        }
        let update = |it: &RequestDocument| {
            let new = doc! { "$setOnInsert": { "at": it.at } };
            doc! { "q": { "_id": &it.did }, "u": new, "upsert": true }
        };
        let updates: Vec<Document> = documents.iter().map(update).collect();
        let command = doc! {
            "update": self.documents.name(),
            "ordered": false,
            "updates": updates,
            "writeConcern": self.connection.write_concern().clone(),
        };
        let command = RawDocumentBuf::try_from(&command).map_err(failed("write"))?;
        let answer = self.connection.command("write", command).await;
        let answer = answer.map_err(|why| profile_error("write", why))?;
        let errors = answer.get_array("writeErrors").ok();
        let is_duplicate = |error: &Bson| {
            let code = error.as_document().and_then(|it| it.get_i32("code").ok());
            code == Some(DUPLICATE_KEY)
        };
        match errors.is_none_or(|errors| errors.iter().all(is_duplicate)) {
            true => Ok(()),
            false => Err(failed("write")(answer.to_string())),
        }
    }

    /// Creates the index by which MongoDB removes old requests.
    async fn create_index(&self) -> Result<(), ProfileError> {
        let options = IndexOptions::builder().expire_after(LIFETIME).build();
        let by_age = IndexModel::builder().keys(doc! { "at": 1 });
        let made = self.documents.create_index(by_age.options(options).build());
        self.within("create its index", made).await.map(drop)
    }

    async fn within<T>(
        &self,
        operation: &'static str,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, ProfileError> {
        let done = self.connection.within(operation, work).await;
        done.map_err(|why| profile_error(operation, why))
    }
}
