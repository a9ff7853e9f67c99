//! What goes on beside the commits while a store leads: the lease is renewed, removed rows are purged.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use skytide_core::port::store::StoreError;
use tokio::task::AbortHandle;

use super::Shared;

/// The task; it ends with the store.
#[derive(Debug, Default)]
pub struct Keeper(Mutex<Option<AbortHandle>>);

impl Keeper {
    /// Starts it anew.
    pub fn start(&self, store: &Arc<Shared>) {
        let keeping = tokio::spawn(keep(Arc::downgrade(store)));
        self.replace(Some(keeping.abort_handle()));
    }

    /// Ends it.
    pub fn stop(&self) {
        self.replace(None);
    }

    fn replace(&self, with: Option<AbortHandle>) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *running, with) {
            old.abort();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn keep(store: Weak<Shared>) {
    let mut away = false;
    while let Some(pause) = store.upgrade().map(|store| store.lease.renew_every()) {
        tokio::time::sleep(pause).await;
        let Some(store) = store.upgrade() else {
            return;
        };
        match store.lease.renew().await {
            Ok(true) => away = false,
            Ok(false) => {
                tracing::error!(
                    "another indexer has taken over this database, this one stops writing"
                );
                return;
            }
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    warn("the lease could not be renewed, trying again", &error);
                }
                continue;
            }
        }
        if let Err(error) = purge(&store).await {
            warn("removed rows could not be purged, trying again", &error);
        }
    }
}

async fn purge(store: &Shared) -> Result<(), StoreError> {
    let committed = store.record.read().await?.committed;
    let Some(committed) = committed else {
        return Ok(());
    };
    store
        .purge
        .round(&store.connection, committed.epoch)
        .await
        .map(drop)
}

fn warn(what: &str, error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "{what}");
}
