//! Fetched profiles: one document for each account, with its DID as `_id`.
//!
//! ```text
//! profiles           by DID; indexes: fetched, profile.handle
//! profile_requests   by DID: accounts whose profile was requested; MongoDB removes old ones
//! profile_source     one document: the pause in requests to the source
//! ```

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_util::stream::TryStreamExt;
use mongodb::bson::{DateTime, Document, RawArrayBuf, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::{Collation, CollationStrength, IndexOptions};
use mongodb::{Collection, IndexModel};
use serde::{Deserialize, Serialize};
use skytide_core::id::{Did, Handle};
use skytide_core::port::profile::{
    PausedServer, Profile, ProfileError, ProfileStore, SAME_HANDLE_MAX, SourcePause, StoredProfile,
    StreamProfile,
};
use skytide_core::time::Timestamp;

use super::connection::Connection;
use super::values::{date, timestamp};
use common::{BATCH_PROFILES, failed, profile_error, texts};
use requests::Requests;

mod common;
mod requests;

/// A [`ProfileStore`] in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoProfiles {
    connection: Connection,
    documents: Collection<ProfileDocument>,
    source: Collection<PauseDocument>,
    requests: Requests,
    /// Whether the index by handle exists or is being created.
    handle_index: Arc<AtomicBool>,
}

/// The `_id` of the pause.

#[derive(Debug, Serialize, Deserialize)]
struct PauseDocument {
    #[serde(rename = "_id")]
    name: String,
    not_before: DateTime,
    failures_in_a_row: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ProfileDocument {
    #[serde(rename = "_id")]
    did: String,
    fetched: DateTime,
    #[serde(rename = "told")]
    stream: StreamProfileDocument,
    /// `null` if the source does not know the account.
    profile: Option<FetchedProfileDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StreamProfileDocument {
    handle: Option<String>,
    display_name: Option<String>,
    avatar: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FetchedProfileDocument {
    handle: String,
    name: Option<String>,
    avatar: Option<String>,
}

impl MongoProfiles {
    /// The profiles in this database.
    pub fn new(connection: &Connection) -> Self {
        Self {
            documents: connection.database().collection("profiles"),
            source: connection.database().collection("profile_source"),
            requests: Requests::new(connection),
            handle_index: Arc::default(),
            connection: connection.clone(),
        }
    }

    /// Creates the index by which the oldest profiles are found.
    async fn create_index(&self) -> Result<(), ProfileError> {
        let by_age = IndexModel::builder().keys(doc! { "fetched": 1 }).build();
        let made = self.documents.create_index(by_age);
        self.within("create its index", made).await.map(drop)
    }

    /// Creates the index by handle. It compares by ASCII case rules, like handles.
    async fn create_handle_index(&self) -> Result<(), ProfileError> {
        let options = IndexOptions::builder().collation(any_case()).build();
        let by_handle = IndexModel::builder().keys(doc! { "profile.handle": 1 });
        let made = self
            .documents
            .create_index(by_handle.options(options).build());
        self.within("create its index", made).await.map(drop)
    }

    /// Creates the index by handle in the background, unless that was done. Until it exists,
    /// profiles are found by reading all of them.
    fn ensure_handle_index(&self) {
        if self.handle_index.swap(true, Ordering::Relaxed) {
            return;
        }
        let profiles = self.clone();
        tokio::spawn(async move {
            if let Err(error) = profiles.create_handle_index().await {
                // A later request tries again.
                profiles.handle_index.store(false, Ordering::Relaxed);
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(error, "could not create the index of profiles by handle");
            }
        });
    }

    /// Writes these profiles in one command.
    async fn put_batch(&self, profiles: &[&StoredProfile]) -> Result<(), ProfileError> {
        let mut updates = RawArrayBuf::new();
        for profile in profiles {
            let document = ProfileDocument::of(profile)?;
            let whole = mongodb::bson::serialize_to_document(&document).map_err(failed("write"))?;
            let put = doc! { "q": { "_id": &document.did }, "u": whole, "upsert": true };
            updates.push(RawDocumentBuf::try_from(&put).map_err(failed("write"))?);
        }
        let command = doc! {
            "update": self.documents.name(),
            "ordered": false,
            "writeConcern": self.connection.write_concern().clone(),
        };
        let mut command = RawDocumentBuf::try_from(&command).map_err(failed("write"))?;
        command.append(mongodb::bson::raw::cstr!("updates"), updates);
        let answer = self.connection.command("write", command).await;
        let answer = answer.map_err(|why| profile_error("write", why))?;
        match answer.contains_key("writeErrors") || answer.contains_key("writeConcernError") {
            true => Err(failed("write")(answer.to_string())),
            false => Ok(()),
        }
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

#[async_trait]
impl ProfileStore for MongoProfiles {
    async fn get(&self, dids: &[Did]) -> Result<Vec<Option<StoredProfile>>, ProfileError> {
        let mut found_profiles = BTreeMap::new();
        for dids in dids.chunks(BATCH_PROFILES) {
            let found = self.documents.find(doc! { "_id": { "$in": texts(dids) } });
            let found = self.within("read", found).await?;
            let found: Vec<_> = self.within("read", found.try_collect::<Vec<_>>()).await?;
            for document in found {
                let profile = document.profile()?;
                found_profiles.insert(profile.did.clone(), profile);
            }
        }
        Ok(dids
            .iter()
            .map(|did| found_profiles.get(did).cloned())
            .collect())
    }

    async fn put(&self, profiles: &[StoredProfile]) -> Result<(), ProfileError> {
        let newest: BTreeMap<&Did, &StoredProfile> =
            profiles.iter().map(|it| (&it.did, it)).collect();
        let newest: Vec<&StoredProfile> = newest.into_values().collect();
        for profiles in newest.chunks(BATCH_PROFILES) {
            self.put_batch(profiles).await?;
        }
        Ok(())
    }

    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, ProfileError> {
        let Some(before) = date(time).filter(|_| limit > 0) else {
            return Ok(0);
        };
        self.create_index().await?;
        let ids: Collection<Document> = self.documents.clone_with_type();
        let old = doc! { "fetched": { "$lt": before } };
        let found = ids
            .find(old)
            .sort(doc! { "fetched": 1 })
            .projection(doc! { "_id": 1 });
        let found = found.limit(i64::try_from(limit).unwrap_or(i64::MAX));
        let found = self.within("read", found).await?;
        let found: Vec<Document> = self.within("read", found.try_collect::<Vec<_>>()).await?;
        let mut removed = 0;
        for found in found.chunks(BATCH_PROFILES) {
            let ids: Vec<_> = found
                .iter()
                .filter_map(|it| it.get("_id").cloned())
                .collect();
            // A profile that was fetched again in the meantime stays.
            let old = doc! { "_id": { "$in": ids }, "fetched": { "$lt": before } };
            let deleted = self
                .within("remove", self.documents.delete_many(old))
                .await?;
            removed += usize::try_from(deleted.deleted_count).map_err(failed("remove"))?;
        }
        Ok(removed)
    }

    async fn remove(&self, dids: &[Did]) -> Result<(), ProfileError> {
        for dids in dids.chunks(BATCH_PROFILES) {
            let these = self
                .documents
                .delete_many(doc! { "_id": { "$in": texts(dids) } });
            self.within("remove", these).await?;
        }
        Ok(())
    }

    async fn by_handle(&self, handle: &str) -> Result<Vec<StoredProfile>, ProfileError> {
        if Handle::is_invalid(handle) {
            return Ok(Vec::new());
        }
        self.ensure_handle_index();
        let found = self.documents.find(doc! { "profile.handle": handle });
        let found = found
            .collation(any_case())
            .sort(doc! { "fetched": -1 })
            .limit(SAME_HANDLE_MAX as i64);
        let found = self.within("read", found).await?;
        let found: Vec<_> = self.within("read", found.try_collect::<Vec<_>>()).await?;
        let found = found.into_iter().map(ProfileDocument::profile);
        let mut found = found.collect::<Result<Vec<_>, _>>()?;
        found.retain(|it| it.has_handle(handle));
        found.sort_by_key(|it| Reverse(it.fetched));
        Ok(found)
    }

    async fn request(&self, dids: &[Did], now: Timestamp) -> Result<usize, ProfileError> {
        self.requests.add(dids, now).await
    }

    async fn take_requests(&self, limit: usize) -> Result<Vec<Did>, ProfileError> {
        self.requests.take(limit).await
    }

    async fn pause(&self, of: PausedServer) -> Result<SourcePause, ProfileError> {
        let found = self.source.find_one(doc! { "_id": of.stored_name() });
        let found = self.within("read", found).await?;
        found.map_or(Ok(SourcePause::default()), PauseDocument::pause)
    }

    async fn set_pause(&self, of: PausedServer, pause: &SourcePause) -> Result<(), ProfileError> {
        let not_before = date(pause.not_before)
            .ok_or_else(|| failed("write")("the end of the pause is too large for a date"))?;
        let document = PauseDocument {
            name: of.stored_name().to_owned(),
            not_before,
            failures_in_a_row: pause.failures_in_a_row.into(),
        };
        let by_name = doc! { "_id": of.stored_name() };
        let replaced = self.source.replace_one(by_name, document);
        self.within("write", replaced.upsert(true)).await.map(drop)
    }
}

impl PauseDocument {
    fn pause(self) -> Result<SourcePause, ProfileError> {
        let failures = u32::try_from(self.failures_in_a_row).ok();
        let read = timestamp(self.not_before).zip(failures);
        let (not_before, failures_in_a_row) = read.ok_or_else(|| {
            ProfileError::Damaged("the document of the pause has an invalid field".to_owned())
        })?;
        Ok(SourcePause {
            not_before,
            failures_in_a_row,
        })
    }
}

/// Compares texts without regard to case. Beyond ASCII it would also equate other letters, but a
/// handle has none.
fn any_case() -> Collation {
    Collation::builder()
        .locale("en")
        .strength(CollationStrength::Secondary)
        .build()
}

impl ProfileDocument {
    fn of(profile: &StoredProfile) -> Result<Self, ProfileError> {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let fetched = date(profile.fetched);
        let StoredProfile {
            stream,
            profile: shown,
            ..
        } = profile;
        Ok(Self {
            did: profile.did.to_string(),
            fetched: fetched.ok_or_else(|| failed("write")("its time is too large for a date"))?,
            stream: StreamProfileDocument {
                handle: text(&stream.handle),
                display_name: text(&stream.display_name),
                avatar: text(&stream.avatar),
            },
            profile: shown.as_ref().map(|shown| FetchedProfileDocument {
                handle: shown.handle.to_string(),
                name: text(&shown.name),
                avatar: text(&shown.avatar),
            }),
        })
    }

    fn profile(self) -> Result<StoredProfile, ProfileError> {
        let damaged = || {
            ProfileError::Damaged(format!(
                "the document of {:?} has an invalid field",
                self.did
            ))
        };
        let did = self.did.parse().map_err(|_| damaged())?;
        let fetched = timestamp(self.fetched).ok_or_else(damaged)?;
        let text = |text: Option<String>| text.map(Into::into);
        Ok(StoredProfile {
            did,
            fetched,
            stream: StreamProfile {
                handle: text(self.stream.handle),
                display_name: text(self.stream.display_name),
                avatar: text(self.stream.avatar),
            },
            profile: self.profile.map(|shown| Profile {
                handle: shown.handle.into(),
                name: text(shown.name),
                avatar: text(shown.avatar),
            }),
        })
    }
}
