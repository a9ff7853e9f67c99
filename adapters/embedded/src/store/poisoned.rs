//! Records the error after which the database accepts no more writes.
//!
//! After a failed write to the journal (write-ahead log) or of a table (SSTable) in the background,
//! fjall rejects all further writes until the database is opened again, even if the cause is gone:
//! only reading the files shows which writes are durable.
//! <https://docs.rs/fjall/3/fjall/enum.Error.html#variant.Poisoned>

use std::sync::Arc;

use skytide_core::port::store::StoreError;
use tokio::sync::watch;

/// The first error of a write, if there was one. Clones share it.
#[derive(Clone, Debug)]
pub struct Poisoned(Arc<watch::Sender<Option<Arc<fjall::Error>>>>);

impl Poisoned {
    /// A state without an error.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Records the error of a failed write and returns it as the error for the caller. No later
    /// write will succeed.
    pub fn record(&self, operation: &'static str, error: fjall::Error) -> StoreError {
        let error = Arc::new(error);
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| error.clone());
            is_first
        });
        store_error(operation, error)
    }

    /// Waits until a write has failed, and returns the first error.
    pub async fn wait(&self) -> StoreError {
        let mut first = self.0.subscribe();
        loop {
            let error = first.borrow_and_update().clone();
            if let Some(error) = error {
                return store_error("write", error);
            }
            // This cannot fail: `self` holds the sender.
            let _changed = first.changed().await;
        }
    }
}

fn store_error(operation: &'static str, error: Arc<fjall::Error>) -> StoreError {
    StoreError::Poisoned {
        operation,
        source: Box::new(error),
    }
}
