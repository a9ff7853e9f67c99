//! Fetched profiles in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::id::Did;
use crate::port::profile::{
    PausedServer, ProfileError, ProfileStore, REQUESTS_MAX, SAME_HANDLE_MAX, SourcePause,
    StoredProfile,
};
use crate::time::Timestamp;

/// A [`ProfileStore`] in memory. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryProfiles(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    profiles: BTreeMap<Did, StoredProfile>,
    requests: RequestQueue,
    pauses: BTreeMap<PausedServer, SourcePause>,
}

/// Accounts whose profile was requested, oldest request first, each account once. A store whose
/// only user is one process keeps its requests here.
#[derive(Debug, Default)]
pub struct RequestQueue {
    order: VecDeque<Did>,
    waiting: BTreeSet<Did>,
}

impl RequestQueue {
    /// See [`ProfileStore::request`].
    pub fn add(&mut self, dids: &[Did]) -> usize {
        let mut accepted = 0;
        for did in dids {
            if !self.waiting.contains(did) {
                if self.order.len() >= REQUESTS_MAX {
                    continue;
                }
                self.waiting.insert(did.clone());
                self.order.push_back(did.clone());
            }
            accepted += 1;
        }
        accepted
    }

    /// See [`ProfileStore::take_requests`].
    pub fn take(&mut self, limit: usize) -> Vec<Did> {
        let count = limit.min(self.order.len());
        let taken: Vec<Did> = self.order.drain(..count).collect();
        for did in &taken {
            self.waiting.remove(did);
        }
        taken
    }
}

impl MemoryProfiles {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ProfileStore for MemoryProfiles {
    async fn get(&self, dids: &[Did]) -> Result<Vec<Option<StoredProfile>>, ProfileError> {
        let stored = &self.state().profiles;
        Ok(dids.iter().map(|did| stored.get(did).cloned()).collect())
    }

    async fn put(&self, profiles: &[StoredProfile]) -> Result<(), ProfileError> {
        let new = profiles.iter().map(|it| (it.did.clone(), it.clone()));
        self.state().profiles.extend(new);
        Ok(())
    }

    async fn remove_before(&self, time: Timestamp, limit: usize) -> Result<usize, ProfileError> {
        let stored = &mut self.state().profiles;
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
        let stored = &mut self.state().profiles;
        for did in dids {
            stored.remove(did);
        }
        Ok(())
    }

    async fn by_handle(&self, handle: &str) -> Result<Vec<StoredProfile>, ProfileError> {
        let stored = &self.state().profiles;
        let mut found: Vec<_> = stored
            .values()
            .filter(|it| it.has_handle(handle))
            .cloned()
            .collect();
        found.sort_by_key(|it| Reverse(it.fetched));
        found.truncate(SAME_HANDLE_MAX);
        Ok(found)
    }

    async fn request(&self, dids: &[Did], _now: Timestamp) -> Result<usize, ProfileError> {
        Ok(self.state().requests.add(dids))
    }

    async fn take_requests(&self, limit: usize) -> Result<Vec<Did>, ProfileError> {
        Ok(self.state().requests.take(limit))
    }

    async fn pause(&self, of: PausedServer) -> Result<SourcePause, ProfileError> {
        Ok(self.state().pauses.get(&of).copied().unwrap_or_default())
    }

    async fn set_pause(&self, of: PausedServer, pause: &SourcePause) -> Result<(), ProfileError> {
        self.state().pauses.insert(of, *pause);
        Ok(())
    }
}
