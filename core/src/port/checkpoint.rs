//! Checkpoints: the state of the dataflow on disk, so that a restart needs only the log behind it.
//!
//! ```text
//! write section ─ write section ─ ... ─ complete(manifest)          a checkpoint counts from here on
//! ```

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;

use super::BoxError;
use super::store::Committed;
use crate::event::{Message, Tick};
use crate::id::{Epoch, Seq};
use crate::time::Timestamp;

/// Where checkpoints are kept. One process at a time, from the first thing it asks; a checkpoint is known by the epoch of
/// its first cut.
///
/// Whatever fails, and at whatever step the machine stops: checkpoints that were complete stay as they are, and one that
/// was not is never listed.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Writes a section; it is durable when this returns. Writing it again replaces it.
    ///
    /// # Errors
    /// `Failed` if it could not be written, or the checkpoint is complete already. It may be repeated.
    async fn write(
        &self,
        checkpoint: Epoch,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<Section, CheckpointError>;

    /// Makes a checkpoint whose sections were written complete, durably and in one step.
    ///
    /// # Errors
    /// `Failed`; then it may be complete or not. It is not if one of its sections is not there.
    async fn complete(&self, manifest: &Manifest) -> Result<(), CheckpointError>;

    /// The complete checkpoints, the newest first; those whose manifest is damaged with the reason.
    ///
    /// # Errors
    /// `Failed` if it cannot be known which there are, or another process has them.
    async fn list(&self) -> Result<Vec<Listed>, CheckpointError>;

    /// Reads a section of a complete checkpoint.
    ///
    /// # Errors
    /// `Damaged` unless the bytes are those that were written; `Failed`.
    async fn read(&self, checkpoint: Epoch, section: &Section) -> Result<Vec<u8>, CheckpointError>;

    /// Removes every checkpoint but these, and whatever unfinished ones left. What cannot be removed stays, whole.
    ///
    /// # Errors
    /// `Failed` if something was left; it may be repeated.
    async fn keep(&self, checkpoints: &[Epoch]) -> Result<(), CheckpointError>;
}

/// A complete checkpoint: its epoch, and its manifest or why that is not readable.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The epoch of its first cut.
    pub checkpoint: Epoch,
    /// What it says of itself.
    pub manifest: Result<Manifest, String>,
}

/// What a checkpoint says of itself.
///
/// Accounts are cut shard by shard while the stream goes on: a shard holds everything up to the epoch of its own cut,
/// and the sums that no record tells again are as of the last one. On the way from the first cut to the last, events of
/// an account count from behind the cut of its shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the format of manifest and sections.
    pub format: u32,
    /// Where the log is read on: the tick of the first cut.
    pub first: Mark,
    /// The commit of the last cut, with the sums of all views there.
    pub last: Committed,
    /// The epoch up to which each shard holds everything.
    pub through: Vec<Epoch>,
    /// Its sections.
    pub sections: Vec<Section>,
    /// Positions of the log by time, the oldest first: where it can be trimmed when so much of it is to be kept.
    #[serde(default)]
    pub marks: Vec<Mark>,
}

impl Manifest {
    /// The format that this version writes and reads.
    pub const FORMAT: u32 = 1;

    /// As bytes (CBOR), without a checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).expect("a vector takes every byte");
        bytes
    }

    /// Reads it back.
    ///
    /// # Errors
    /// It is not readable, or of another format.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = ciborium::from_reader(bytes).map_err(|why| why.to_string())?;
        if manifest.format != Self::FORMAT {
            let (found, ours) = (manifest.format, Self::FORMAT);
            return Err(format!(
                "it is of format {found}, this program reads {ours}"
            ));
        }
        Ok(manifest)
    }
}

/// A tick in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The epoch that it ends.
    pub epoch: Epoch,
    /// Its position.
    pub seq: Seq,
    /// Its [`tick_hash`].
    pub hash: u64,
    /// Network time at its end.
    pub time: Timestamp,
}

/// A part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Its name: lower-case letters, digits and hyphens.
    pub name: Box<str>,
    /// Bytes of it.
    pub bytes: u64,
    /// Their [`content_hash`].
    pub hash: u64,
}

impl Section {
    /// The section of these bytes.
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.len() as u64,
            hash: content_hash(bytes),
        }
    }

    /// Whether these bytes are what was written.
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

/// The hash by which a tick is known again: of its encoding, so that another tick at its position is told.
pub fn tick_hash(tick: &Tick) -> u64 {
    let mut bytes = Vec::with_capacity(128);
    Message::Tick(tick.clone()).encode(&mut bytes);
    content_hash(&bytes)
}

/// Why a checkpoint was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// What is stored is not what was written: use another one.
    #[error("checkpoint {checkpoint} is damaged: {what}")]
    Damaged {
        /// Which one.
        checkpoint: Epoch,
        /// What is wrong, and where.
        what: String,
    },
    /// The operation failed; it may be repeated.
    #[error("the checkpoints: could not {operation}")]
    Failed {
        /// What was tried, as `write a section`.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
}
