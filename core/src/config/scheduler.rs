//! Options of the jobs.

use super::{Span, between};
use std::time::Duration;

/// When jobs run and what they keep.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Scheduler (jobs)")]
pub struct Scheduler {
    /// The time zone in which cron expressions are read, as `Europe/Vienna`.
    #[arg(
        id = "SCHEDULER_TIME_ZONE",
        long = "scheduler-time-zone",
        env = "SCHEDULER_TIME_ZONE"
    )]
    #[arg(value_name = "ZONE", default_value = "UTC")]
    pub time_zone: String,

    /// When the `snapshot` job stores all top lists: a cron expression with seconds, or `never`.
    #[arg(
        id = "SCHEDULER_SNAPSHOT_CRON",
        long = "scheduler-snapshot-cron",
        env = "SCHEDULER_SNAPSHOT_CRON"
    )]
    #[arg(value_name = "CRON", default_value = "0 0 * * * *")]
    pub snapshot_cron: String,

    /// When the `retention` job removes old snapshots: a cron expression with seconds, or `never`.
    #[arg(
        id = "SCHEDULER_RETENTION_CRON",
        long = "scheduler-retention-cron",
        env = "SCHEDULER_RETENTION_CRON"
    )]
    #[arg(value_name = "CRON", default_value = "0 30 * * * *")]
    pub retention_cron: String,

    /// How long snapshots are kept.
    #[arg(
        id = "SCHEDULER_SNAPSHOT_RETENTION",
        long = "scheduler-snapshot-retention",
        env = "SCHEDULER_SNAPSHOT_RETENTION"
    )]
    #[arg(value_name = "TIME", default_value = "30d")]
    #[arg(value_parser = between(
        Span(Duration::from_secs(3_600))..=Span(Duration::from_secs(3_650 * 86_400)),
    ))]
    pub snapshot_retention: Span,
}
