//! The background task of a leading store: it renews the lease and purges removed rows.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use skytide_core::port::store::StoreError;
use tokio::task::AbortHandle;

use super::Shared;
use crate::control::ControlRecord;

/// The task. It ends when the store is dropped.
#[derive(Debug, Default)]
pub struct Maintenance(Mutex<Option<AbortHandle>>);

impl Maintenance {
    /// Starts the task, and stops the previous one if there is one.
    pub fn start(&self, store: &Arc<Shared>) {
        let task = tokio::spawn(run(Arc::downgrade(store)));
        self.replace(Some(task.abort_handle()));
    }

    /// Stops the task.
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

/// Runs both concurrently: a lease expires within seconds, and purging the rows of a day takes
/// minutes.
async fn run(store: Weak<Shared>) {
    tokio::select! {
        () = renew(&store) => {}
        () = purge(&store) => {}
    }
}

/// Renews the lease until the store is dropped or another process leads.
async fn renew(store: &Weak<Shared>) {
    let mut failing = false;
    while let Some(store) = after_pause(store).await {
        match store.lease.renew().await {
            Ok(true) => failing = false,
            Ok(false) => {
                tracing::error!(
                    "another indexer has taken over this database: this one stops writing"
                );
                return;
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    warn("cannot renew the lease: trying again", &error);
                }
            }
        }
    }
}

/// Purges removed rows until the store is dropped.
async fn purge(store: &Weak<Shared>) {
    let mut failing = false;
    while let Some(store) = after_pause(store).await {
        let (purge, connection) = (store.purge.clone(), store.connection.clone());
        // Dropped here so that a long round does not keep the store alive.
        drop(store);
        let record = ControlRecord::new(&connection);
        let done = purge.round(&connection, &record).await;
        if let Err(error) = &done
            && !failing
        {
            warn("cannot purge removed rows: trying again", error);
        }
        failing = done.is_err();
    }
}

/// Waits for the interval of renewals. Returns the store, or `None` if it was dropped.
async fn after_pause(store: &Weak<Shared>) -> Option<Arc<Shared>> {
    let pause = store.upgrade()?.lease.renew_every();
    tokio::time::sleep(pause).await;
    store.upgrade()
}

fn warn(what: &str, error: &StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "{what}");
}
