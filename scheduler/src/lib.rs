//! Runs periodic jobs over the views.
//!
//! ```text
//! cron expression ─┐
//!                  ├─▶ one task per job: wait, run, report ─┐    never two runs of a job at once
//! request ─────────┘        ▲                               │
//!                           └───────────────────────────────┘
//! ```
//!
//! A job is idempotent and takes no input, so one run more or less does no harm. A job does not
//! retry by itself: its next run is the retry. A run returns a [`Report`]. The newest reports and
//! the time at which the job is due are stored in a
//! [`JobStore`](skytide_core::port::job::JobStore). So another process can show them, a missed run
//! is caught up once, and two processes never run a job at the same time. A job that panics or
//! hangs is stopped and reported; the other jobs continue. Only this crate knows cron.

mod cron;
mod driver;
mod job;
pub mod jobs;

pub use cron::{CronError, Schedule};
pub use driver::{Options, RunResult, ScheduledJob, Scheduler, Status};
pub use job::{Job, ProfilesReport, Report, RunFailure};
