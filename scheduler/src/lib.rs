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
//! inside: the next run is the retry. What it did is a [`Report`], and the last one can be read at
//! any time. Cron is known only here.

mod cron;
mod driver;
mod job;
pub mod jobs;

pub use cron::{CronError, Schedule};
pub use driver::{Outcome, Scheduler, Status, UnknownJob};
pub use job::{Job, Report};
