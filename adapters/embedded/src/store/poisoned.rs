//! Whether the database still takes writes.
//!
//! After one that failed, whether of its journal or of a sorted file in the background, fjall takes no more of them until
//! it is opened again, whatever becomes of the cause: what had reached the disk is only known by reading it.
//! <https://docs.rs/fjall/3/fjall/enum.Error.html#variant.Poisoned>

use std::sync::Arc;

use skytide_core::port::store::StoreError;
use tokio::sync::watch;

/// The first error, once there is one. Clones are handles of the same.
#[derive(Clone, Debug)]
pub struct Poisoned(Arc<watch::Sender<Option<Arc<fjall::Error>>>>);

impl Poisoned {
    /// It takes writes.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// A write failed, and no other one will succeed. Answers what to tell whoever tried.
    pub fn record(&self, operation: &'static str, error: fjall::Error) -> StoreError {
        let error = Arc::new(error);
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert_with(|| error.clone());
            is_first
        });
        store_error(operation, error)
    }

    /// Waits until it takes no writes any more; answers why.
    pub async fn wait(&self) -> StoreError {
        let mut first = self.0.subscribe();
        loop {
            let error = first.borrow_and_update().clone();
            if let Some(error) = error {
                return store_error("write", error);
            }
            // The sender lives as long as this.
            let _changed = first.changed().await;
        }
    }
}

fn store_error(operation: &'static str, error: Arc<fjall::Error>) -> StoreError {
    StoreError::Spent {
        operation,
        source: Box::new(error),
    }
}
