//! Fetched profiles, in the same database as the views: one keyspace ordered by account, one by
//! age, one by handle.
//!
//! ```text
//! profiles            account                 ─▶ format, time, profile in the stream, fetched profile
//! profiles_by_age     time (8 bytes), account ─▶ nothing            (time: when it was fetched)
//! profiles_by_handle  handle, 0, account      ─▶ nothing            (handle: in lower case)
//!                     0                       ─▶ nothing            the index is complete
//! profiles_source     "pause"                 ─▶ format, pause in requests to the source
//! ```
//!
//! All are written in one batch, so a crash leaves all changes or none. A batch reaches the disk
//! within a second; a profile that is lost in a power cut is fetched again. Data of a version
//! without the index by handle gets it when the store is opened. Requests for profiles are only in
//! memory: the process that makes them is the one that fetches the profiles.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use skytide_core::id::{Did, Handle};
use skytide_core::memory::RequestQueue;
use skytide_core::port::BoxError;
use skytide_core::port::profile::{
    PausedServer, Profile, ProfileError, ProfileStore, SAME_HANDLE_MAX, SourcePause, StoredProfile,
    StreamProfile,
};
use skytide_core::time::Timestamp;
use skytide_core::view::{Key, ViewKey};

use crate::EmbeddedStore;

/// Version of the value's format: its first byte.
const FORMAT: u8 = 1;
/// Maximum number of entries of one handle that are read to find the newest profiles.
const SAME_HANDLE_READ_MAX: usize = 1_000;
/// The key in `profiles_by_handle` that exists once all stored profiles are in the index. No handle
/// starts with this byte.
const INDEX_COMPLETE: [u8; 1] = [0];
/// The key of the pause in `profiles_source`.
/// Profiles that are added to the index by handle in one batch.
const INDEX_BATCH: usize = 1_000;

/// A [`ProfileStore`] in the database of an [`EmbeddedStore`]. Clones share one store.
#[derive(Clone)]
pub struct EmbeddedProfiles(Arc<Shared>);

struct Shared {
    /// Keeps the database open, and syncs its journal.
    store: EmbeddedStore,
    profiles: Keyspace,
    by_age: Keyspace,
    by_handle: Keyspace,
    source: Keyspace,
    requests: Mutex<RequestQueue>,
    /// Held by every writer, so that a profile and its age change together.
    write_lock: Mutex<()>,
}

impl EmbeddedProfiles {
    /// Opens the profiles in the database of this store.
    ///
    /// # Errors
    /// `Failed` if the files of the database cannot be used; `Damaged` if a profile of an older
    /// version cannot be read.
    pub fn open(store: &EmbeddedStore) -> Result<Self, ProfileError> {
        let database: &Database = store.database();
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let open = |name| keyspace(name).map_err(failed::<fjall::Error>("open"));
        let shared = Shared {
            store: store.clone(),
            profiles: open("profiles")?,
            by_age: open("profiles_by_age")?,
            by_handle: open("profiles_by_handle")?,
            source: open("profiles_source")?,
            requests: Mutex::default(),
            write_lock: Mutex::new(()),
        };
        shared.complete_index()?;
        Ok(Self(Arc::new(shared)))
    }

    fn requests(&self) -> MutexGuard<'_, RequestQueue> {
        let requests = self.0.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, ProfileError> + Send + 'static,
    ) -> Result<T, ProfileError> {
        let shared = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&shared)).await;
        done.map_err(failed("wait for the blocking thread"))?
    }
}

#[async_trait]
impl ProfileStore for EmbeddedProfiles {
    async fn get(&self, dids: &[Did]) -> Result<Vec<Option<StoredProfile>>, ProfileError> {
        let dids = dids.to_vec();
        let get = move |shared: &Shared| dids.iter().map(|did| shared.get(did)).collect();
        self.blocking(move |shared| get(shared)).await
    }

    async fn put(&self, profiles: &[StoredProfile]) -> Result<(), ProfileError> {
        let profiles = profiles.to_vec();
        self.blocking(move |shared| shared.change(&profiles, &[]))
            .await
    }

    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, ProfileError> {
        self.blocking(move |shared| shared.remove_before(time, limit))
            .await
    }

    async fn remove(&self, dids: &[Did]) -> Result<(), ProfileError> {
        let dids = dids.to_vec();
        self.blocking(move |shared| shared.change(&[], &dids)).await
    }

    async fn by_handle(&self, handle: &str) -> Result<Vec<StoredProfile>, ProfileError> {
        let handle = handle.to_owned();
        self.blocking(move |shared| shared.with_handle(&handle))
            .await
    }

    async fn request(&self, dids: &[Did], _now: Timestamp) -> Result<usize, ProfileError> {
        Ok(self.requests().add(dids))
    }

    async fn take_requests(&self, limit: usize) -> Result<Vec<Did>, ProfileError> {
        Ok(self.requests().take(limit))
    }

    async fn pause(&self, of: PausedServer) -> Result<SourcePause, ProfileError> {
        self.blocking(move |shared| shared.pause(of)).await
    }

    async fn set_pause(&self, of: PausedServer, pause: &SourcePause) -> Result<(), ProfileError> {
        let pause = *pause;
        self.blocking(move |shared| shared.set_pause(of, &pause))
            .await
    }
}

impl Shared {
    fn get(&self, did: &Did) -> Result<Option<StoredProfile>, ProfileError> {
        let value = self.profiles.get(Key::of(did).as_bytes());
        let value = value.map_err(failed("read"))?;
        value.map(|value| decode(did, &value)).transpose()
    }

    /// Writes the last given profile of each account, and removes the accounts in `remove`.
    fn change(&self, put: &[StoredProfile], remove: &[Did]) -> Result<(), ProfileError> {
        let _lock = self
            .write_lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Changes of one key in a batch have no order, so each key must occur once.
        let (mut profiles, mut by_age) = (BTreeMap::new(), BTreeMap::new());
        let mut by_handle = BTreeMap::new();
        for did in put.iter().map(|it| &it.did).chain(remove) {
            if let Some(old) = self.get(did)? {
                by_age.insert(age_key(old.fetched, &Key::of(did)), false);
                by_handle.extend(handle_key(&old).map(|key| (key, false)));
            }
            profiles.insert(Key::of(did), None);
        }
        for profile in put {
            profiles.insert(Key::of(&profile.did), Some(profile));
        }
        for (key, profile) in profiles.iter().filter_map(|(key, it)| Some((key, (*it)?))) {
            by_age.insert(age_key(profile.fetched, key), true);
            by_handle.extend(handle_key(profile).map(|key| (key, true)));
        }
        let mut batch = self.store.database().batch();
        for (key, profile) in &profiles {
            match profile {
                Some(profile) => batch.insert(&self.profiles, key.as_bytes(), encode(profile)),
                None => batch.remove(&self.profiles, key.as_bytes()),
            }
        }
        for (index, keys) in [(&self.by_age, by_age), (&self.by_handle, by_handle)] {
            for (key, present) in keys {
                match present {
                    true => batch.insert(index, key, []),
                    false => batch.remove(index, key),
                }
            }
        }
        self.commit(batch)
    }

    /// Adds all stored profiles to the index by handle, unless it is complete. An older version
    /// wrote profiles without the index.
    fn complete_index(&self) -> Result<(), ProfileError> {
        let complete = self.by_handle.get(INDEX_COMPLETE);
        if complete.map_err(failed("read"))?.is_some() {
            return Ok(());
        }
        let mut batch = self.store.database().batch();
        let mut entries = 0;
        for guard in self.profiles.iter() {
            let (key, value) = guard.into_inner().map_err(failed("read"))?;
            let damaged = |_| ProfileError::Damaged("a stored profile has no valid account".into());
            let did = Did::decode(&mut &key[..]).map_err(damaged)?;
            if let Some(key) = handle_key(&decode(&did, &value)?) {
                batch.insert(&self.by_handle, key, []);
                entries += 1;
            }
            if entries == INDEX_BATCH {
                self.commit(std::mem::replace(&mut batch, self.store.database().batch()))?;
                entries = 0;
            }
        }
        batch.insert(&self.by_handle, INDEX_COMPLETE, []);
        self.commit(batch)
    }

    fn with_handle(&self, handle: &str) -> Result<Vec<StoredProfile>, ProfileError> {
        // The key that marks a complete index has an empty handle.
        if handle.is_empty() {
            return Ok(Vec::new());
        }
        let mut prefix = handle.to_ascii_lowercase().into_bytes();
        prefix.push(0);
        let mut found = Vec::new();
        for guard in self.by_handle.prefix(&prefix).take(SAME_HANDLE_READ_MAX) {
            let key = guard.key().map_err(failed("read"))?;
            let damaged = |_| ProfileError::Damaged(format!("the entry of {handle:?} is invalid"));
            let did = Did::decode(&mut &key[prefix.len()..]).map_err(damaged)?;
            // A version without the index may have changed the profile since.
            found.extend(self.get(&did)?.filter(|it| it.has_handle(handle)));
        }
        found.sort_by_key(|it| Reverse(it.fetched));
        found.truncate(SAME_HANDLE_MAX);
        Ok(found)
    }

    fn pause(&self, of: PausedServer) -> Result<SourcePause, ProfileError> {
        let value = self.source.get(of.stored_name()).map_err(failed("read"))?;
        let Some(value) = value else {
            return Ok(SourcePause::default());
        };
        let pause = match &value[..] {
            [FORMAT, pause @ ..] => postcard::from_bytes(pause).ok(),
            _ => None,
        };
        pause.ok_or_else(|| ProfileError::Damaged("the pause cannot be decoded".to_owned()))
    }

    fn set_pause(&self, of: PausedServer, pause: &SourcePause) -> Result<(), ProfileError> {
        let value = postcard::to_extend(pause, vec![FORMAT]).expect("numbers can be encoded");
        let mut batch = self.store.database().batch();
        batch.insert(&self.source, of.stored_name(), value);
        self.commit(batch)
    }

    fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, ProfileError> {
        let _lock = self
            .write_lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.store.database().batch();
        let mut removed = 0;
        for guard in self.by_age.range(..time.0.to_be_bytes()).take(limit) {
            let age = guard.key().map_err(failed("read"))?;
            let key = age.get(8..).unwrap_or_default();
            let did = Did::decode(&mut &key[..]).ok();
            if let Some(old) = did.map(|did| self.get(&did)).transpose()?.flatten()
                && let Some(key) = handle_key(&old)
            {
                batch.remove(&self.by_handle, key);
            }
            batch.remove(&self.profiles, key);
            batch.remove(&self.by_age, &age[..]);
            removed += 1;
        }
        self.commit(batch)?;
        Ok(removed)
    }

    fn commit(&self, batch: OwnedWriteBatch) -> Result<(), ProfileError> {
        let batch = batch.durability(Some(PersistMode::Buffer));
        let written = self.store.check_written(batch.commit());
        written.map_err(failed("write"))
    }
}

fn age_key(fetched: Timestamp, key: &Key) -> Vec<u8> {
    [&fetched.0.to_be_bytes(), key.as_bytes()].concat()
}

/// The key of a profile in the index by handle; `None` if its handle names nobody.
fn handle_key(stored: &StoredProfile) -> Option<Vec<u8>> {
    let handle = &*stored.profile.as_ref()?.handle;
    let names_account = !Handle::is_invalid(handle) && !handle.as_bytes().contains(&0);
    names_account.then(|| {
        let mut key = handle.to_ascii_lowercase().into_bytes();
        key.push(0);
        key.extend_from_slice(Key::of(&stored.did).as_bytes());
        key
    })
}

fn encode(stored: &StoredProfile) -> Vec<u8> {
    let columns = (stored.fetched, &stored.stream, &stored.profile);
    postcard::to_extend(&columns, vec![FORMAT]).expect("strings and numbers can be encoded")
}

fn decode(did: &Did, value: &[u8]) -> Result<StoredProfile, ProfileError> {
    type Columns = (Timestamp, StreamProfile, Option<Profile>);
    let columns = match value {
        [FORMAT, columns @ ..] => postcard::take_from_bytes::<Columns>(columns).ok(),
        _ => None,
    };
    match columns {
        Some(((fetched, stream, profile), [])) => Ok(StoredProfile {
            did: did.clone(),
            fetched,
            stream,
            profile,
        }),
        _ => Err(ProfileError::Damaged(format!(
            "the profile of {did} cannot be decoded"
        ))),
    }
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> ProfileError {
    move |source| ProfileError::Failed {
        operation,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreOptions;

    #[tokio::test]
    async fn profiles_survive_closing_and_opening_the_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let stored = StoredProfile {
            did: "did:plc:3ir4kq33qnjyzawsel2s2vak".parse().expect("a DID"),
            fetched: Timestamp(77),
            stream: StreamProfile::default(),
            profile: None,
        };
        let open = || {
            let store = EmbeddedStore::open(folder.path(), StoreOptions::default());
            EmbeddedProfiles::open(&store.expect("opens")).expect("opens")
        };
        open()
            .put(std::slice::from_ref(&stored))
            .await
            .expect("put");
        let dids = [stored.did.clone()];
        let found = open().get(&dids).await.expect("read");
        assert_eq!(found, [Some(stored)]);
        assert!(
            decode(&dids[0], &[FORMAT, 0]).is_err(),
            "a truncated value must be an error"
        );
    }

    #[tokio::test]
    async fn profiles_of_a_version_without_an_index_are_found_by_their_handle() {
        let folder = tempfile::tempdir().expect("a folder");
        let stored = StoredProfile {
            did: "did:plc:3ir4kq33qnjyzawsel2s2vak".parse().expect("a DID"),
            fetched: Timestamp(77),
            stream: StreamProfile::default(),
            profile: Some(Profile {
                handle: "Ana.Test".into(),
                name: None,
                avatar: None,
            }),
        };
        let open = || EmbeddedStore::open(folder.path(), StoreOptions::default()).expect("opens");
        {
            // What a version without the index writes.
            let store = open();
            let database = store.database();
            let keyspace = database.keyspace("profiles", KeyspaceCreateOptions::default);
            let keyspace = keyspace.expect("a keyspace");
            let mut batch = database.batch();
            batch.insert(&keyspace, Key::of(&stored.did).as_bytes(), encode(&stored));
            let durable = batch.durability(Some(PersistMode::SyncAll));
            durable.commit().expect("written");
        }
        let profiles = EmbeddedProfiles::open(&open()).expect("opens");
        let found = profiles.by_handle("ana.test").await.expect("read");
        assert_eq!(found, std::slice::from_ref(&stored));
        profiles.remove(&[stored.did]).await.expect("removed");
        let entries = profiles.0.by_handle.iter().count();
        assert_eq!(entries, 1, "only the mark of a complete index is left");
    }

    #[tokio::test]
    async fn a_pause_survives_closing_and_opening_the_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || {
            let store = EmbeddedStore::open(folder.path(), StoreOptions::default());
            EmbeddedProfiles::open(&store.expect("opens")).expect("opens")
        };
        let pause = SourcePause {
            not_before: Timestamp(1_783_175_888_000),
            failures_in_a_row: 3,
        };
        for of in PausedServer::ALL {
            open().set_pause(of, &pause).await.expect("written");
            assert_eq!(open().pause(of).await.expect("read"), pause);
        }
    }
}
