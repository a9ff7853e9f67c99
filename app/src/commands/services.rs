//! `skytide up`, and each service as a process of its own.
//!
//! ```text
//! up         ingest, dataflow, scheduler, API            on one Data
//! ingest     relays ─▶ log                               serve      views ─▶ HTTP
//! index      log ─▶ dataflow ─▶ views                    schedule   the jobs
//! ```
//!
//! Each command opens its data, starts tasks under a [`Supervisor`](crate::supervisor::Supervisor)
//! and waits until one of them exits.

mod index;
mod ingest;
mod open;
mod probe;
mod schedule;
mod serve;
mod shared;
mod store_tasks;
mod up;

pub use index::index;
pub use ingest::ingest;
pub use schedule::schedule;
pub use serve::serve;
#[cfg(feature = "demo")]
pub use up::run_all;
pub use up::up;
