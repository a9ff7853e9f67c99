//! Checkpoints in memory: a map of sections and a map of complete manifests.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::id::Epoch;
use crate::port::checkpoint::{
    CheckpointError, CheckpointReader, CheckpointStore, Listed, Manifest, OpenCheckpoint, Section,
    SectionFile,
};

/// A [`CheckpointStore`] and [`CheckpointReader`] in memory. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpoints(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    sections: BTreeMap<(Epoch, Box<str>), Arc<Vec<u8>>>,
    complete: BTreeMap<Epoch, Vec<u8>>,
}

impl MemoryCheckpoints {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Fails if a checkpoint is complete, so that its sections may not change.
    fn check_incomplete(
        &self,
        checkpoint: Epoch,
        operation: &'static str,
    ) -> Result<(), CheckpointError> {
        match self.complete.contains_key(&checkpoint) {
            false => Ok(()),
            true => Err(CheckpointError::Failed {
                operation,
                source: format!("checkpoint {checkpoint} is already complete").into(),
            }),
        }
    }
}

/// A section that is open for reading.
struct SharedBytes(Arc<Vec<u8>>);

impl SectionFile for SharedBytes {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.checked_add(buffer.len());
        let part = end.and_then(|end| self.0.get(start..end));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[async_trait]
impl CheckpointStore for MemoryCheckpoints {
    async fn write(
        &self,
        checkpoint: Epoch,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<Section, CheckpointError> {
        let mut state = self.state();
        state.check_incomplete(checkpoint, "write a section")?;
        let section = Section::of(name, &bytes);
        let bytes = Arc::new(bytes);
        state.sections.insert((checkpoint, name.into()), bytes);
        Ok(section)
    }

    async fn share(
        &self,
        checkpoint: Epoch,
        from: Epoch,
        sections: &[Section],
    ) -> Result<Vec<Section>, CheckpointError> {
        const OPERATION: &str = "share a section";
        let mut state = self.state();
        state.check_incomplete(checkpoint, OPERATION)?;
        let mut shared = Vec::new();
        for section in sections {
            let found = state.sections.get(&(from, section.name.clone())).cloned();
            let bytes = found.ok_or_else(|| CheckpointError::Damaged {
                checkpoint: from,
                what: format!("section {:?} is missing", section.name),
            })?;
            let name = section.name.clone();
            state.sections.insert((checkpoint, name), bytes);
            shared.push(section.shared_from(from));
        }
        Ok(shared)
    }

    async fn complete(&self, manifest: &Manifest) -> Result<(), CheckpointError> {
        let mut state = self.state();
        let checkpoint = manifest.first.epoch;
        for section in &manifest.sections {
            let written = state.sections.get(&(checkpoint, section.name.clone()));
            if written.is_none_or(|bytes| bytes.len() as u64 != section.bytes) {
                return Err(CheckpointError::Failed {
                    operation: "write a manifest",
                    source: format!("section {:?} is missing", section.name).into(),
                });
            }
        }
        state.complete.insert(checkpoint, manifest.encode());
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        let state = self.state();
        let newest_first = state.complete.iter().rev();
        let listed = newest_first.map(|(&checkpoint, bytes)| Listed {
            checkpoint,
            manifest: Manifest::decode(bytes),
        });
        Ok(listed.collect())
    }

    async fn read(&self, checkpoint: Epoch, section: &Section) -> Result<Vec<u8>, CheckpointError> {
        let state = self.state();
        let bytes = state.sections.get(&(checkpoint, section.name.clone()));
        match bytes {
            Some(bytes) if section.is(bytes) => Ok(bytes.to_vec()),
            _ => Err(CheckpointError::Damaged {
                checkpoint,
                what: format!("section {:?} does not match what was written", section.name),
            }),
        }
    }

    async fn open(
        &self,
        checkpoint: Epoch,
        section: &Section,
    ) -> Result<Arc<dyn SectionFile>, CheckpointError> {
        let state = self.state();
        match state.sections.get(&(checkpoint, section.name.clone())) {
            Some(bytes) if bytes.len() as u64 == section.bytes => {
                Ok(Arc::new(SharedBytes(bytes.clone())))
            }
            _ => Err(CheckpointError::Damaged {
                checkpoint,
                what: format!("section {:?} does not match what was written", section.name),
            }),
        }
    }

    async fn keep(&self, checkpoints: &[Epoch]) -> Result<(), CheckpointError> {
        let mut state = self.state();
        state
            .complete
            .retain(|epoch, _| checkpoints.contains(epoch));
        let State { sections, complete } = &mut *state;
        sections.retain(|(epoch, _), _| complete.contains_key(epoch));
        Ok(())
    }
}

#[async_trait]
impl CheckpointReader for MemoryCheckpoints {
    async fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        CheckpointStore::list(self).await
    }

    async fn open(&self, manifest: Manifest) -> Result<Box<dyn OpenCheckpoint>, CheckpointError> {
        let checkpoint = manifest.first.epoch;
        let mut sections = BTreeMap::new();
        for section in &manifest.sections {
            let bytes = CheckpointStore::read(self, checkpoint, section).await?;
            sections.insert(section.name.clone(), bytes);
        }
        Ok(Box::new(Copy { manifest, sections }))
    }
}

/// A copy of a checkpoint.
struct Copy {
    manifest: Manifest,
    sections: BTreeMap<Box<str>, Vec<u8>>,
}

#[async_trait]
impl OpenCheckpoint for Copy {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn read(&self, section: &Section) -> Result<Vec<u8>, CheckpointError> {
        let bytes = self.sections.get(&section.name);
        bytes.cloned().ok_or_else(|| CheckpointError::Damaged {
            checkpoint: self.manifest.first.epoch,
            what: format!("section {:?} is missing", section.name),
        })
    }
}
