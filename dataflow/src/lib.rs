//! Events to view rows: live records, windows and views in timely and differential dataflow.
//!
//! ```text
//! log ─ source ─▶ batches of whole epochs ─▶ workers (timely threads, the graph) ─▶ committer ─▶ view store
//!         ▲                                     └─ cuts ─▶ keeper ─▶ checkpoints ─▶ the log is trimmed behind them
//!         └─ restore ◀─ recover: which checkpoint?
//! ```
//!
//! The dataflow reads no clock: the same log gives the same rows, epoch by epoch, on any number of workers and however
//! epochs are grouped into commits. Queues: one batch waits while one is at work and one is committed; a batch is
//! bounded by events and by bytes, so a slow store makes commits larger up to that bound and then slows the reading. Facts
//! follow: a record gives at most a constant number for its bytes, and an account's announcement at most one retraction or
//! insertion of each of its live records in a time, of which a batch has two.
//!
//! After a restart the newest good checkpoint is taken in and the log behind it fed again, with the store closed up to
//! what it has committed; there the number of rows and their hashes must be the store's own. The first commit behind it
//! ends at the recorded intent. Without a checkpoint the log is fed from its start. See `docs/checkpoints.md`.

mod error;
pub mod fact;
pub mod graph;
mod metrics;
pub mod operators;
mod options;
pub mod records;
mod runtime;
#[cfg(test)]
mod testing;
pub mod types;
pub mod views;

pub use error::DataflowError;
pub use metrics::Metrics;
pub use options::{Options, Ports};
pub use records::AccountPolicy;
pub use runtime::checkpoint::{CheckpointOptions, LogKeep};
pub use runtime::cluster::{Links, Name, Peer};
pub use runtime::follower::follow;
pub use runtime::{lead, run};
