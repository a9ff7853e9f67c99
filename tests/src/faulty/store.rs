//! A view store that crashes or fails as planned.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use skytide_core::port::BoxError;
use skytide_core::port::store::{
    Committed, Control, Intent, Range, StoreError, Term, ViewReader, ViewStore,
};
use skytide_core::view::{Change, Key, StoredRow, ViewId};

use super::Plan;

/// A [`ViewStore`] with the faults of a [`Plan`].
pub struct FaultyStore {
    /// The plan.
    pub plan: Plan,
    /// The wrapped store.
    pub store: Arc<dyn ViewStore>,
}

fn failed(operation: &'static str) -> impl Fn(BoxError) -> StoreError {
    move |source| StoreError::Failed { operation, source }
}

#[async_trait]
impl ViewReader for FaultyStore {
    async fn control(&self) -> Result<Control, StoreError> {
        self.store.control().await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        self.store.get(view, keys).await
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        self.store.scan(view, range).await
    }
}

#[async_trait]
impl ViewStore for FaultyStore {
    async fn lead(&self) -> Result<Control, StoreError> {
        let lead = self.store.lead();
        self.plan
            .around("store.lead", lead, failed("take over"))
            .await
    }

    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        let begin = self.store.begin(term, intent);
        self.plan
            .around("store.begin", begin, failed("begin"))
            .await
    }

    /// Has no point of its own: a fault around `rebuild` is equivalent to one after `begin` or
    /// before the first `write`.
    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError> {
        let rebuild = self.store.rebuild(term, views);
        self.plan
            .around("store.rebuild", rebuild, failed("rebuild"))
            .await
    }

    async fn write(
        &self,
        term: Term,
        view: ViewId,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        let write = self.store.write(term, view, changes);
        self.plan
            .around("store.write", write, failed("write rows"))
            .await
    }

    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError> {
        let commit = self.store.commit(term, committed);
        self.plan
            .around("store.commit", commit, failed("commit"))
            .await
    }

    async fn sync(&self) -> Result<(), StoreError> {
        let sync = self.store.sync();
        self.plan.around("store.sync", sync, failed("sync")).await
    }
}

/// A [`ViewStore`] that can hold no row of one view, whatever the row is.
pub struct RejectingStore {
    /// The view.
    pub view: ViewId,
    /// The store itself.
    pub store: Arc<dyn ViewStore>,
}

#[async_trait]
impl ViewReader for RejectingStore {
    async fn control(&self) -> Result<Control, StoreError> {
        self.store.control().await
    }

    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError> {
        self.store.get(view, keys).await
    }

    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError> {
        self.store.scan(view, range).await
    }
}

#[async_trait]
impl ViewStore for RejectingStore {
    async fn lead(&self) -> Result<Control, StoreError> {
        self.store.lead().await
    }

    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        self.store.begin(term, intent).await
    }

    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError> {
        self.store.rebuild(term, views).await
    }

    async fn write(
        &self,
        term: Term,
        view: ViewId,
        changes: Vec<Change>,
    ) -> Result<(), StoreError> {
        if let Some(change) = changes.first().filter(|_| view == self.view) {
            let why = "it is not wanted".to_owned();
            return Err(StoreError::rejected(view, &change.key, why));
        }
        self.store.write(term, view, changes).await
    }

    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError> {
        self.store.commit(term, committed).await
    }
}
