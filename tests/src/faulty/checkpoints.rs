//! A checkpoint store that crashes or fails as planned.

use std::sync::Arc;

use async_trait::async_trait;
use skytide_core::id::Epoch;
use skytide_core::port::BoxError;
use skytide_core::port::checkpoint::{
    CheckpointError, CheckpointStore, Listed, Manifest, Section, SectionFile,
};

use super::Plan;

/// A [`CheckpointStore`] with the faults of a [`Plan`].
pub struct FaultyCheckpoints {
    /// The plan.
    pub plan: Plan,
    /// The wrapped checkpoint store.
    pub checkpoints: Arc<dyn CheckpointStore>,
}

fn failed(operation: &'static str) -> impl Fn(BoxError) -> CheckpointError {
    move |source| CheckpointError::Failed { operation, source }
}

#[async_trait]
impl CheckpointStore for FaultyCheckpoints {
    async fn write(
        &self,
        checkpoint: Epoch,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<Section, CheckpointError> {
        let write = self.checkpoints.write(checkpoint, name, bytes);
        self.plan
            .around("checkpoint.write", write, failed("write"))
            .await
    }

    async fn share(
        &self,
        checkpoint: Epoch,
        from: Epoch,
        sections: &[Section],
    ) -> Result<Vec<Section>, CheckpointError> {
        let share = self.checkpoints.share(checkpoint, from, sections);
        self.plan
            .around("checkpoint.share", share, failed("share"))
            .await
    }

    async fn complete(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        let complete = self.checkpoints.complete(manifest);
        self.plan
            .around("checkpoint.complete", complete, failed("complete"))
            .await
    }

    async fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        let list = self.checkpoints.list();
        self.plan
            .around("checkpoint.list", list, failed("list"))
            .await
    }

    async fn read(&self, checkpoint: Epoch, section: &Section) -> Result<Vec<u8>, CheckpointError> {
        let read = self.checkpoints.read(checkpoint, section);
        self.plan
            .around("checkpoint.read", read, failed("read"))
            .await
    }

    async fn open(
        &self,
        checkpoint: Epoch,
        section: &Section,
    ) -> Result<Arc<dyn SectionFile>, CheckpointError> {
        let open = self.checkpoints.open(checkpoint, section);
        self.plan
            .around("checkpoint.open", open, failed("open"))
            .await
    }

    async fn keep(&self, checkpoints: &[Epoch]) -> Result<(), CheckpointError> {
        let keep = self.checkpoints.keep(checkpoints);
        self.plan
            .around("checkpoint.keep", keep, failed("keep"))
            .await
    }
}
