//! From a relay or recordings to the log: connect, read, decode, check, filter, publish.
//!
//! ```text
//! Source ── batches ──▶ Assembler ── epochs ──▶ Log
//! relay: socket,        pure: frames in,        append, flush; a tick is durable
//!   reconnects          events and ticks out    only with all that it covers
//! recordings: files          │
//!     ▲                      │ position: where to go on after a lost connection
//!     └──────────────────────┘
//! ```
//!
//! Three tasks, two bounded queues: a slow log slows the assembler, which slows the source. Where reading goes on
//! after a restart stands in the log's newest tick and nowhere else, for each source that was ever read.

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
