//! Computes view rows from the events of the log: live records, windows and views, in timely and
//! differential dataflow.
//!
//! ```text
//! log ─ source ─▶ batches of whole epochs ─▶ workers (timely threads, the graph) ─▶ committer
//!          ▲                                     │                                      │
//!          │                                     └─ cuts ─▶ keeper                      ▼
//!          │                                                  ├─▶ checkpoints       view store
//!          └─ restore ◀─ recover: picks a checkpoint          └─▶ trims the log
//! ```
//!
//! The dataflow reads no clock. The same log gives the same rows, epoch by epoch, on any number of
//! workers and however epochs are grouped into commits.
//!
//! Queues are bounded. While one batch is being computed, one batch waits and one is committed. A
//! batch is bounded by events and by bytes. A slow store therefore makes commits larger up to that
//! bound and then slows the reading of the log. This also bounds the number of facts. The facts of
//! a record are bounded by its bytes. When the status of an account changes, each of its live
//! records is retracted or inserted at most once in one dataflow time, and a batch has at most two
//! times. State is not bounded; while a process uses more memory than its limit, the source sends no
//! further batch.
//!
//! After a restart, the newest usable checkpoint is restored, and the epochs of the log after it
//! are replayed. Writes are disabled until the replay reaches the store's last commit. There the
//! number of rows and their hashes must equal those of the store. If a commit was interrupted, the
//! store has recorded its intent, and the first new commit ends at the same epoch. Without a
//! checkpoint, the log is replayed from its start. See `docs/checkpoints.md`.

mod error;
pub mod fact;
pub mod graph;
mod metrics;
pub mod operators;
mod options;
pub mod records;
mod runtime;
mod saved_shard;
pub mod sizes;
#[cfg(test)]
mod testing;
pub mod types;
pub mod views;

pub use error::DataflowError;
pub use metrics::{CommitProgress, Metrics};
pub use options::{Options, Ports, Scratch};
pub use records::AccountPolicy;
pub use runtime::checkpoint::{CheckpointOptions, LogKeep};
pub use runtime::cluster::{Links, Name, Peer};
pub use runtime::follower::follow;
pub use runtime::sections::Sections;
pub use runtime::{lead, run};
