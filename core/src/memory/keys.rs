//! Keys in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::port::key::{KEYS_MAX, KeyError, KeyId, KeyStore, StoredKey};
use crate::time::Timestamp;

/// A [`KeyStore`] in memory. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryKeys(Arc<Mutex<BTreeMap<KeyId, StoredKey>>>);

impl MemoryKeys {
    fn keys(&self) -> MutexGuard<'_, BTreeMap<KeyId, StoredKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl KeyStore for MemoryKeys {
    async fn all(&self) -> Result<Vec<StoredKey>, KeyError> {
        Ok(self.keys().values().cloned().collect())
    }

    async fn add(&self, key: &StoredKey) -> Result<(), KeyError> {
        StoredKey::add_to(&mut self.keys(), key)
    }

    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<Option<StoredKey>, KeyError> {
        Ok(StoredKey::revoke_in(&mut self.keys(), id, now))
    }

    async fn note_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), KeyError> {
        let mut keys = self.keys();
        for (id, time) in used {
            if let Some(key) = keys.get_mut(id) {
                key.last_used = key.last_used.max(Some(*time));
            }
        }
        Ok(())
    }
}

/// The rules of the port, for adapters that apply them on the client side.
impl StoredKey {
    /// See [`KeyStore::add`].
    ///
    /// # Errors
    /// `Exists`, `Full`.
    pub fn add_to(keys: &mut BTreeMap<KeyId, Self>, key: &Self) -> Result<(), KeyError> {
        if keys.contains_key(&key.id) {
            return Err(KeyError::Exists(key.id.clone()));
        }
        keys.retain(|_, other| !other.is_forgotten_at(key.created));
        if keys.len() >= KEYS_MAX {
            return Err(KeyError::Full);
        }
        keys.insert(key.id.clone(), key.clone());
        Ok(())
    }

    /// See [`KeyStore::revoke`].
    pub fn revoke_in(keys: &mut BTreeMap<KeyId, Self>, id: &KeyId, now: Timestamp) -> Option<Self> {
        let key = keys.get_mut(id)?;
        let before = key.clone();
        key.revoked.get_or_insert(now);
        Some(before)
    }
}
