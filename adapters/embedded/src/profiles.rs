//! Fetched profiles, in the same database as the views: one keyspace ordered by account, one by
//! age.
//!
//! ```text
//! profiles         account                ─▶ format, time, profile in the stream, fetched profile
//! profiles_by_age  time (8 bytes), account ─▶ nothing            (time: when it was fetched)
//! ```
//!
//! Both are written in one batch, so a crash leaves both changes or none. A batch reaches the disk
//! within a second; a profile that is lost in a power cut is fetched again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use skytide_core::id::Did;
use skytide_core::port::BoxError;
use skytide_core::port::profile::{
    Profile, ProfileError, ProfileStore, StoredProfile, StreamProfile,
};
use skytide_core::time::Timestamp;
use skytide_core::view::Key;

use crate::EmbeddedStore;

/// Version of the value's format: its first byte.
const FORMAT: u8 = 1;

/// A [`ProfileStore`] in the database of an [`EmbeddedStore`]. Clones share one store.
#[derive(Clone)]
pub struct EmbeddedProfiles(Arc<Shared>);

struct Shared {
    /// Keeps the database open, and syncs its journal.
    store: EmbeddedStore,
    profiles: Keyspace,
    by_age: Keyspace,
    /// Held by every writer, so that a profile and its age change together.
    write_lock: Mutex<()>,
}

impl EmbeddedProfiles {
    /// Opens the profiles in the database of this store.
    ///
    /// # Errors
    /// `Failed` if the files of the database cannot be used.
    pub fn open(store: &EmbeddedStore) -> Result<Self, ProfileError> {
        let database: &Database = store.database();
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let open = || Ok((keyspace("profiles")?, keyspace("profiles_by_age")?));
        let (profiles, by_age) = open().map_err(failed::<fjall::Error>("open"))?;
        Ok(Self(Arc::new(Shared {
            store: store.clone(),
            profiles,
            by_age,
            write_lock: Mutex::new(()),
        })))
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
        for did in put.iter().map(|it| &it.did).chain(remove) {
            if let Some(old) = self.get(did)? {
                by_age.insert(age_key(old.fetched, &Key::of(did)), false);
            }
            profiles.insert(Key::of(did), None);
        }
        for profile in put {
            profiles.insert(Key::of(&profile.did), Some(profile));
        }
        for (key, profile) in profiles.iter().filter_map(|(key, it)| Some((key, (*it)?))) {
            by_age.insert(age_key(profile.fetched, key), true);
        }
        let mut batch = self.store.database().batch();
        for (key, profile) in &profiles {
            match profile {
                Some(profile) => batch.insert(&self.profiles, key.as_bytes(), encode(profile)),
                None => batch.remove(&self.profiles, key.as_bytes()),
            }
        }
        for (key, present) in by_age {
            match present {
                true => batch.insert(&self.by_age, key, []),
                false => batch.remove(&self.by_age, key),
            }
        }
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
}
