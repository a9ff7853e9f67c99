//! Fetched profiles in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::id::Did;
use crate::port::profile::{ProfileError, ProfileStore, StoredProfile};
use crate::time::Timestamp;

/// A [`ProfileStore`] in memory. Clones are handles of the same store.
#[derive(Clone, Debug, Default)]
pub struct MemoryProfiles(Arc<Mutex<BTreeMap<Did, StoredProfile>>>);

impl MemoryProfiles {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<Did, StoredProfile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ProfileStore for MemoryProfiles {
    async fn get(&self, dids: &[Did]) -> Result<Vec<Option<StoredProfile>>, ProfileError> {
        let kept = self.kept();
        Ok(dids.iter().map(|did| kept.get(did).cloned()).collect())
    }

    async fn put(&self, profiles: &[StoredProfile]) -> Result<(), ProfileError> {
        let new = profiles.iter().map(|it| (it.did.clone(), it.clone()));
        self.kept().extend(new);
        Ok(())
    }

    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, ProfileError> {
        let mut kept = self.kept();
        let old = kept.values().filter(|it| it.fetched < time);
        let mut old: Vec<_> = old.map(|it| (it.fetched, it.did.clone())).collect();
        old.sort_unstable();
        old.truncate(limit);
        for (_, did) in &old {
            kept.remove(did);
        }
        Ok(old.len())
    }

    async fn remove(&self, dids: &[Did]) -> Result<(), ProfileError> {
        let mut kept = self.kept();
        for did in dids {
            kept.remove(did);
        }
        Ok(())
    }
}
