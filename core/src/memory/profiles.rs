//! Fetched profiles in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::id::Did;
use crate::port::profile::{ProfileError, ProfileStore, StoredProfile};
use crate::time::Timestamp;

/// A [`ProfileStore`] in memory. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryProfiles(Arc<Mutex<BTreeMap<Did, StoredProfile>>>);

impl MemoryProfiles {
    fn profiles(&self) -> MutexGuard<'_, BTreeMap<Did, StoredProfile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ProfileStore for MemoryProfiles {
    async fn get(&self, dids: &[Did]) -> Result<Vec<Option<StoredProfile>>, ProfileError> {
        let stored = self.profiles();
        Ok(dids.iter().map(|did| stored.get(did).cloned()).collect())
    }

    async fn put(&self, profiles: &[StoredProfile]) -> Result<(), ProfileError> {
        let new = profiles.iter().map(|it| (it.did.clone(), it.clone()));
        self.profiles().extend(new);
        Ok(())
    }

    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, ProfileError> {
        let mut stored = self.profiles();
        let old = stored.values().filter(|it| it.fetched < time);
        let mut old: Vec<_> = old.map(|it| (it.fetched, it.did.clone())).collect();
        old.sort_unstable();
        old.truncate(limit);
        for (_, did) in &old {
            stored.remove(did);
        }
        Ok(old.len())
    }

    async fn remove(&self, dids: &[Did]) -> Result<(), ProfileError> {
        let mut stored = self.profiles();
        for did in dids {
            stored.remove(did);
        }
        Ok(())
    }
}
