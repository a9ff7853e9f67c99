//! What goes on beside the commits while a store leads: the lease is renewed, removed rows are purged.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use skytide_core::port::store::StoreError;
use tokio::task::AbortHandle;

use super::Shared;
use crate::control::ControlRecord;

/// The task; it ends with the store.
#[derive(Debug, Default)]
pub struct Maintenance(Mutex<Option<AbortHandle>>);

impl Maintenance {
    /// Starts it anew.
    pub fn start(&self, store: &Arc<Shared>) {
        let task = tokio::spawn(run(Arc::downgrade(store)));
        self.replace(Some(task.abort_handle()));
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

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Both at the same time: the lease ends in seconds, and purging the rows of a day takes minutes.
async fn run(store: Weak<Shared>) {
    tokio::select! {
        () = renew(&store) => {}
        () = purge(&store) => {}
    }
}

/// Ends with the store, or when another one leads.
async fn renew(store: &Weak<Shared>) {
    let mut failing = false;
    while let Some(store) = after_pause(store).await {
        match store.lease.renew().await {
            Ok(true) => failing = false,
            Ok(false) => {
                tracing::error!(
                    "another indexer has taken over this database, this one stops writing"
                );
                return;
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn("the lease could not be renewed, trying again", &error);
                }
            }
        }
    }
}

/// Ends with the store.
async fn purge(store: &Weak<Shared>) {
    let mut failing = false;
    while let Some(store) = after_pause(store).await {
        let (purge, connection) = (store.purge.clone(), store.connection.clone());
        // A long round is no reason for the store to live on.
        drop(store);
        let record = ControlRecord::new(&connection);
        let done = purge.round(&connection, &record).await;
        if let Err(error) = &done
            && !failing
        {
            warn("removed rows could not be purged, trying again", error);
        }
        failing = done.is_err();
    }
}

/// The store, after a while; `None` if it is gone.
async fn after_pause(store: &Weak<Shared>) -> Option<Arc<Shared>> {
    let pause = store.upgrade()?.lease.renew_every();
    tokio::time::sleep(pause).await;
    store.upgrade()
}

fn warn(what: &str, error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "{what}");
}
