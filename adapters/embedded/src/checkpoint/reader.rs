//! Reads complete checkpoints without the lock of their writer.
//!
//! The files of a complete checkpoint never change. An open file stays readable after its name is
//! removed. So a reader opens all sections at once, and reads them when it needs them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use skytide_core::port::checkpoint::{
    CheckpointError, CheckpointReader, CheckpointStore, Listed, Manifest, OpenCheckpoint, Section,
};
use tokio::task::spawn_blocking;

use super::{DiskFiles, EmbeddedCheckpoints, SECTION, content, failed};

/// A [`CheckpointReader`] of a folder whose writer may be another process.
#[derive(Clone)]
pub struct CheckpointFolder(EmbeddedCheckpoints);

impl CheckpointFolder {
    /// Reads the checkpoints in this folder.
    pub fn new(folder: &Path) -> Self {
        Self(EmbeddedCheckpoints::on(folder, Box::new(DiskFiles)))
    }
}

#[async_trait]
impl CheckpointReader for CheckpointFolder {
    async fn list(&self) -> Result<Vec<Listed>, CheckpointError> {
        self.0.list().await
    }

    async fn open(&self, manifest: Manifest) -> Result<Box<dyn OpenCheckpoint>, CheckpointError> {
        let opening = self.0.blocking(move |shared| {
            let checkpoint = manifest.first.epoch;
            let mut sections = BTreeMap::new();
            for Section { name, .. } in &manifest.sections {
                let path = shared.path(checkpoint, &format!("{name}{SECTION}"));
                let file = File::open(path).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => CheckpointError::Damaged {
                        checkpoint,
                        what: format!("section {name:?} is missing"),
                    },
                    _ => failed("open a section")(error),
                })?;
                sections.insert(name.clone(), Mutex::new(file));
            }
            Ok(OpenFiles {
                manifest,
                sections: Arc::new(sections),
            })
        });
        Ok(Box::new(opening.await?))
    }
}

/// The open files of a checkpoint.
struct OpenFiles {
    manifest: Manifest,
    sections: Arc<BTreeMap<Box<str>, Mutex<File>>>,
}

#[async_trait]
impl OpenCheckpoint for OpenFiles {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn read(&self, section: &Section) -> Result<Vec<u8>, CheckpointError> {
        let (sections, section) = (self.sections.clone(), section.clone());
        let checkpoint = self.manifest.first.epoch;
        let reading = spawn_blocking(move || {
            let name = &section.name;
            let damaged = |why: &str| CheckpointError::Damaged {
                checkpoint,
                what: format!("section {name:?} {why}"),
            };
            let file = sections.get(name).ok_or_else(|| damaged("is missing"))?;
            let bytes = read_all(file).map_err(failed("read a section"))?;
            let written_by = section.written_by(checkpoint);
            let bytes = content(written_by, &format!("{name}{SECTION}"), bytes);
            let bytes = bytes.map_err(|error| damaged(&error.to_string()))?;
            match section.is(&bytes) {
                true => Ok(bytes),
                false => Err(damaged("is not the one that the manifest names")),
            }
        });
        reading
            .await
            .map_err(failed("wait for the blocking thread"))?
    }
}

fn read_all(file: &Mutex<File>) -> io::Result<Vec<u8>> {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use skytide_core::id::{Epoch, Seq};
    use skytide_core::port::checkpoint::Mark;
    use skytide_core::port::store::Committed;
    use skytide_core::time::Timestamp;

    use super::*;

    async fn write(store: &EmbeddedCheckpoints, epoch: Epoch) -> Manifest {
        let section = store.write(epoch, "sums", b"of all".to_vec()).await;
        let mark = Mark {
            epoch,
            seq: Seq(1),
            hash: 1,
            time: Timestamp(1),
        };
        let manifest = Manifest {
            format: Manifest::FORMAT,
            first: mark,
            last: Committed {
                epoch,
                time: mark.time,
                since: mark.time,
                log_id: 1,
                log_seq: mark.seq,
                tick_hash: None,
                recipe: None,
                sums: BTreeMap::new(),
            },
            through: Vec::new(),
            sections: vec![section.expect("written")],
            marks: Vec::new(),
        };
        store.complete(&manifest).await.expect("completed");
        manifest
    }

    #[tokio::test]
    async fn a_reader_takes_no_lock_and_reads_what_was_removed_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedCheckpoints::open(folder.path()).expect("a folder");
        let reader = CheckpointFolder::new(folder.path());
        assert!(reader.list().await.expect("a list").is_empty());
        assert!(!folder.path().join("writer.lock").exists());

        let manifest = write(&store, Epoch(1)).await;
        let listed = reader.list().await.expect("a list");
        assert_eq!(listed[0].manifest, Ok(manifest.clone()));
        let open = reader.open(manifest.clone()).await.expect("open");
        store.keep(&[]).await.expect("removed");
        for _ in 0..2 {
            let bytes = open.read(&manifest.sections[0]).await.expect("a section");
            assert_eq!(bytes, b"of all");
        }
        let gone = reader.open(manifest).await.map(drop);
        assert!(matches!(gone, Err(CheckpointError::Damaged { .. })));
    }

    #[tokio::test]
    async fn a_damaged_section_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = EmbeddedCheckpoints::open(folder.path()).expect("a folder");
        let manifest = write(&store, Epoch(7)).await;
        let path = folder.path().join("00000000000000000007.sums.section");
        let mut bytes = std::fs::read(&path).expect("a section");
        *bytes.last_mut().expect("bytes") ^= 1;
        std::fs::write(&path, bytes).expect("written");
        let reader = CheckpointFolder::new(folder.path());
        let open = reader.open(manifest.clone()).await.expect("open");
        let read = open.read(&manifest.sections[0]).await;
        assert!(matches!(read, Err(CheckpointError::Damaged { .. })));
    }
}
