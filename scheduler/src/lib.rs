//! Periodic jobs over the views.
//!
//! ```text
//! cron expression ─┐
//!                  ├─▶ one task a job: wait ─ run ─ report ─┐      never two runs of a job at once
//! by hand (wake) ──┘        ▲                               │
//!                           └───────────────────────────────┘
//! ```
//!
//! A job is idempotent and takes no input, so a run more or less does no harm; it does not retry
//! inside: the next run is the retry. What it did is a [`Report`]; the last one and when the job is due
//! are kept in a [`JobStore`](skytide_core::port::job::JobStore), so another process can show them, a run
//! that was missed is made up for once, and two processes never run a job at once. A job that panics or
//! hangs is ended and told; the others go on. Cron is known only here.

mod cron;
mod driver;
mod job;
pub mod jobs;

pub use cron::{CronError, Schedule};
pub use driver::{Options, Outcome, Scheduler, Status, UnknownJob};
pub use job::{Job, ProfilesReport, Report, RunFailure};
