//! Checkpoints: the state of the dataflow on disk. A restart restores the newest checkpoint and
//! replays only the part of the log after it.
//!
//! ```text
//! write section ─ share sections ─ ... ─ complete(manifest)         only now the checkpoint exists
//! ```
//!
//! A section that did not change since an earlier checkpoint is shared with it instead of written
//! again. Removing one of the two checkpoints leaves the section of the other.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::io;
use std::sync::Arc;

use super::BoxError;
use super::store::Committed;
use crate::event::{Message, Tick};
use crate::id::{Epoch, Seq};
use crate::time::Timestamp;

/// A store of checkpoints. Only one process at a time may use it, from its first call on. A
/// checkpoint is identified by the epoch of its first cut (see [`Manifest`]).
///
/// Guarantee: after a failed operation, or a crash at any point, complete checkpoints are
/// unchanged, and [`list`](Self::list) never returns an incomplete one.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Writes a section of a checkpoint and returns when the section is durable. Writing a section
    /// of the same name again replaces it.
    ///
    /// # Errors
    /// `Failed` if the section could not be written, or if the checkpoint is already complete. The
    /// caller may retry.
    async fn write(
        &self,
        checkpoint: Epoch,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<Section, CheckpointError>;

    /// Makes sections of the complete checkpoint `from` part of another one, without copying their
    /// bytes where the storage can do that. A section of the same name is replaced.
    ///
    /// # Errors
    /// `Damaged` if a section of `from` does not exist; `Failed` if it cannot be shared, or if the
    /// checkpoint is already complete. Some of the sections may then be shared.
    async fn share(
        &self,
        checkpoint: Epoch,
        from: Epoch,
        sections: &[Section],
    ) -> Result<Vec<Section>, CheckpointError>;

    /// Marks a checkpoint as complete, durably and atomically. All its sections must have been
    /// written before.
    ///
    /// # Errors
    /// `Failed`. The outcome is then unknown, except that a missing section always leaves the
    /// checkpoint incomplete.
    async fn complete(&self, manifest: &Manifest) -> Result<(), CheckpointError>;

    /// Lists the complete checkpoints, newest first. A checkpoint with a damaged manifest is listed
    /// with the reason in place of the manifest.
    ///
    /// # Errors
    /// `Failed` if the checkpoints cannot be listed, or if another process uses the store.
    async fn list(&self) -> Result<Vec<Listed>, CheckpointError>;

    /// Reads a section of a complete checkpoint.
    ///
    /// # Errors
    /// `Damaged` if the bytes are not the ones that were written, `Failed` if they cannot be read.
    async fn read(&self, checkpoint: Epoch, section: &Section) -> Result<Vec<u8>, CheckpointError>;

    /// Opens a section of a complete checkpoint for reading at any offset. It can be read until the
    /// value is dropped, even if the checkpoint is removed. The bytes are not compared with the
    /// section's hash: the reader checks what it reads.
    ///
    /// # Errors
    /// `Damaged` if the section is missing, belongs to another checkpoint or has another length;
    /// `Failed` if it cannot be opened.
    async fn open(
        &self,
        checkpoint: Epoch,
        section: &Section,
    ) -> Result<Arc<dyn SectionFile>, CheckpointError>;

    /// Removes all checkpoints except the given ones, and everything that unfinished checkpoints
    /// left. A checkpoint that cannot be removed stays complete.
    ///
    /// # Errors
    /// `Failed` if something could not be removed. The caller may retry.
    async fn keep(&self, checkpoints: &[Epoch]) -> Result<(), CheckpointError>;
}

/// A section that is open for reading. Reading blocks the thread.
pub trait SectionFile: Send + Sync {
    /// The length of the section, in bytes.
    fn bytes(&self) -> u64;

    /// Fills a buffer from an offset in the section.
    ///
    /// # Errors
    /// `UnexpectedEof` if the section ends before; else the system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Reads complete checkpoints, while another task or process may write and remove them. Takes no
/// lock, so reading never blocks the process that writes.
#[async_trait]
pub trait CheckpointReader: Send + Sync {
    /// Lists the complete checkpoints, newest first. A checkpoint with a damaged manifest, or one
    /// that is being removed, is listed with the reason in place of the manifest.
    ///
    /// # Errors
    /// `Failed` if the checkpoints cannot be listed.
    async fn list(&self) -> Result<Vec<Listed>, CheckpointError>;

    /// Opens all sections of a checkpoint. They can be read until the value is dropped, even if
    /// the checkpoint is removed.
    ///
    /// # Errors
    /// `Damaged` if a section is missing, for example because the checkpoint was removed since it
    /// was listed; `Failed` if a section cannot be opened.
    async fn open(&self, manifest: Manifest) -> Result<Box<dyn OpenCheckpoint>, CheckpointError>;
}

/// A checkpoint that can be read until this is dropped.
#[async_trait]
pub trait OpenCheckpoint: Send + Sync {
    /// Its manifest.
    fn manifest(&self) -> &Manifest;

    /// Reads one of its sections.
    ///
    /// # Errors
    /// `Damaged` if the bytes are not the ones that were written, `Failed` if they cannot be read.
    async fn read(&self, section: &Section) -> Result<Vec<u8>, CheckpointError>;
}

/// A complete checkpoint as [`CheckpointStore::list`] returns it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The epoch of the first cut of the checkpoint, which identifies it.
    pub checkpoint: Epoch,
    /// The manifest, or the reason why it cannot be read.
    pub manifest: Result<Manifest, String>,
}

/// The description of a checkpoint.
///
/// A checkpoint does not contain the state at a single epoch. The accounts are divided into shards,
/// and the state of each shard is captured at another epoch, the *cut* of that shard, while the
/// dataflow continues to process events. Accumulators that cannot be recomputed from the live
/// records have their values at the last cut. While the log is replayed from the first cut to the
/// last, an event is counted only if it is after the cut of its account's shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format of manifest and sections.
    pub format: u32,
    /// The tick of the first cut: replay of the log starts after it.
    pub first: Mark,
    /// The commit at the last cut, with the checksums of all views there.
    pub last: Committed,
    /// For each shard, the last epoch that its section includes.
    pub through: Vec<Epoch>,
    /// The sections of the checkpoint.
    pub sections: Vec<Section>,
    /// Positions in the log by time, oldest first. They map an age to the position at which the log
    /// can be trimmed, when the log must be retained for a given time.
    #[serde(default)]
    pub marks: Vec<Mark>,
}

impl Manifest {
    /// The format that this version writes. It also reads format 1, which has no shared sections.
    pub const FORMAT: u32 = 2;

    /// Whether the format has runs, on which the next checkpoint can build.
    pub fn has_runs(&self) -> bool {
        self.format >= 2
    }

    /// Encodes the manifest as CBOR, without a checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).expect("writing to a vector cannot fail");
        bytes
    }

    /// Decodes a manifest.
    ///
    /// # Errors
    /// The bytes are not a manifest, or its format is above [`FORMAT`](Self::FORMAT).
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = ciborium::from_reader(bytes).map_err(|why| why.to_string())?;
        if !(1..=Self::FORMAT).contains(&manifest.format) {
            let (found, ours) = (manifest.format, Self::FORMAT);
            return Err(format!(
                "its format is {found}, but this program reads formats up to {ours}"
            ));
        }
        Ok(manifest)
    }
}

/// A reference to a tick in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The epoch that the tick ends.
    pub epoch: Epoch,
    /// The tick's position in the log.
    pub seq: Seq,
    /// The tick's [`tick_hash`].
    pub hash: u64,
    /// Network time at the tick.
    pub time: Timestamp,
}

/// The description of one section of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Name: lower-case letters, digits and hyphens.
    pub name: Box<str>,
    /// Length of the section, in bytes.
    pub bytes: u64,
    /// [`content_hash`] of the section's bytes.
    pub hash: u64,
    /// The checkpoint that wrote the section, if this one shares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Epoch>,
}

impl Section {
    /// The description of a section with this name and content.
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.len() as u64,
            hash: content_hash(bytes),
            origin: None,
        }
    }

    /// The same section as part of another checkpoint, which shares it with the checkpoint `from`.
    #[must_use]
    pub fn shared_from(&self, from: Epoch) -> Self {
        Self {
            origin: self.origin.or(Some(from)),
            ..self.clone()
        }
    }

    /// The checkpoint that wrote the section, which is part of `checkpoint`.
    pub fn written_by(&self, checkpoint: Epoch) -> Epoch {
        self.origin.unwrap_or(checkpoint)
    }

    /// Whether `bytes` match the recorded length and hash.
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes.len() as u64 && self.hash == content_hash(bytes)
    }
}

/// SipHash-1-3 with key 0 (<https://www.aumasson.jp/siphash/>). Part of the stored format.
pub fn content_hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The hash of a tick's encoding. It distinguishes the tick from a different tick that was later
/// written at the same position.
pub fn tick_hash(tick: &Tick) -> u64 {
    let mut bytes = Vec::with_capacity(128);
    Message::Tick(tick.clone()).encode(&mut bytes);
    content_hash(&bytes)
}

/// Why a checkpoint was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The stored bytes are not the ones that were written. The caller should use another
    /// checkpoint.
    #[error("checkpoint {checkpoint} is damaged: {what}")]
    Damaged {
        /// The damaged checkpoint.
        checkpoint: Epoch,
        /// What is wrong, and in which part.
        what: String,
    },
    /// The operation failed. The caller may retry.
    #[error("the checkpoint store could not {operation}")]
    Failed {
        /// The operation, for example `write a section`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
}
