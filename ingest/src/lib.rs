//! Reads frames from a relay or from recordings, decodes, checks and filters them, and writes their
//! events to the log.
//!
//! ```text
//! Source ── batches ──▶ Assembler ── epochs ──▶ Log
//! relay: socket,        pure: frames in,        append, flush; a durable tick implies
//!   reconnects          events and ticks out    that all messages it covers are durable
//! recordings: files          │
//!     ▲                      │ position: where to resume after a lost connection
//!     └──────────────────────┘
//! ```
//!
//! An epoch is a group of events, followed by the tick that ends it. Three tasks are connected by
//! two bounded queues. A slow log slows the assembler, which slows the source (back-pressure). The
//! position at which reading resumes after a restart is stored only in the log's newest tick, for
//! each source that was ever read.

pub mod assemble;
pub mod car;
pub mod frame;
mod metrics;
mod options;
pub mod record;
mod run;
mod samples;
pub mod source;
mod status;
#[cfg(test)]
mod testing;

pub use metrics::Metrics;
pub use options::{Options, RelayOptions};
pub use run::{Context, IngestError, Progress, Summary, run};
pub use source::{RecordingSource, RelaySource, Source};
pub use status::Status;
