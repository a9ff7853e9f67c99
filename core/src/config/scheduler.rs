//! Options of the jobs.

use super::{Endpoint, Span, between};
use std::time::Duration;

const SECOND: Span = Span(Duration::from_secs(1));
const MINUTE: Span = Span(Duration::from_secs(60));
const HOUR: Span = Span(Duration::from_secs(3_600));
const DAY: Span = Span(Duration::from_secs(86_400));
const YEAR: Span = Span(Duration::from_secs(365 * 86_400));

/// When jobs run, and how long their results are retained.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Scheduler (jobs)")]
pub struct Scheduler {
    /// The time zone in which cron expressions are evaluated, for example `Europe/Vienna`.
    #[arg(
        id = "SCHEDULER_TIME_ZONE",
        long = "scheduler-time-zone",
        env = "SCHEDULER_TIME_ZONE"
    )]
    #[arg(value_name = "ZONE", default_value = "UTC")]
    pub time_zone: String,

    /// When the `snapshot` job stores all top lists: a cron expression of five fields as
    /// `0 */3 * * *`, or of six with seconds first, a name such as `@hourly`, or `never`
    /// (`docs/jobs.md`).
    #[arg(
        id = "SCHEDULER_SNAPSHOT_CRON",
        long = "scheduler-snapshot-cron",
        env = "SCHEDULER_SNAPSHOT_CRON"
    )]
    #[arg(value_name = "CRON", default_value = "0 0 * * * *")]
    pub snapshot_cron: String,

    /// When the `retention` job removes old snapshots and profiles: a cron expression as for
    /// `SCHEDULER_SNAPSHOT_CRON`, or `never`.
    #[arg(
        id = "SCHEDULER_RETENTION_CRON",
        long = "scheduler-retention-cron",
        env = "SCHEDULER_RETENTION_CRON"
    )]
    #[arg(value_name = "CRON", default_value = "0 30 * * * *")]
    pub retention_cron: String,

    /// How long snapshots are retained.
    #[arg(
        id = "SCHEDULER_SNAPSHOT_RETENTION",
        long = "scheduler-snapshot-retention",
        env = "SCHEDULER_SNAPSHOT_RETENTION"
    )]
    #[arg(value_name = "TIME", default_value = "30d")]
    #[arg(value_parser = between(HOUR..=Span(YEAR.0.saturating_mul(10))))]
    pub snapshot_retention: Span,

    /// When the `profiles` job fetches names and pictures of listed accounts: a cron expression as
    /// for `SCHEDULER_SNAPSHOT_CRON`, or `never`, which sends no requests.
    #[arg(
        id = "SCHEDULER_PROFILES_CRON",
        long = "scheduler-profiles-cron",
        env = "SCHEDULER_PROFILES_CRON"
    )]
    #[arg(value_name = "CRON", default_value = "*/30 * * * * *")]
    pub profiles_cron: String,

    /// The server from which the `profiles` job fetches profiles (`app.bsky.actor.getProfiles`).
    #[arg(
        id = "SCHEDULER_PROFILES_URL",
        long = "scheduler-profiles-url",
        env = "SCHEDULER_PROFILES_URL",
        hide_env_values = true
    )]
    #[arg(value_name = "URL", default_value = "https://public.api.bsky.app")]
    #[arg(value_parser = |text: &str| Endpoint::parse(text, &["https", "http"]))]
    pub profiles_url: Endpoint,

    /// Age at which a profile is fetched again even if the stream reported no change of its
    /// account.
    #[arg(
        id = "SCHEDULER_PROFILES_AGE_MAX",
        long = "scheduler-profiles-age-max",
        env = "SCHEDULER_PROFILES_AGE_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "1d", value_parser = between(MINUTE..=YEAR))]
    pub profiles_age_max: Span,

    /// Age at which an account that the server did not know is requested again.
    #[arg(
        id = "SCHEDULER_PROFILES_UNKNOWN_AGE_MAX",
        long = "scheduler-profiles-unknown-age-max",
        env = "SCHEDULER_PROFILES_UNKNOWN_AGE_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "1h", value_parser = between(MINUTE..=YEAR))]
    pub profiles_unknown_age_max: Span,

    /// Maximum number of requests in one run of the `profiles` job. Each request is for up to 25
    /// accounts. Twice this number a minute are sent in total, at most half of them for accounts in
    /// other answers of the API.
    #[arg(
        id = "SCHEDULER_PROFILES_CALLS_MAX",
        long = "scheduler-profiles-calls-max",
        env = "SCHEDULER_PROFILES_CALLS_MAX"
    )]
    #[arg(value_name = "CALLS", default_value_t = 20, value_parser = between(1..=1_000_u32))]
    pub profiles_calls_max: u32,

    /// Maximum time for one request.
    #[arg(
        id = "SCHEDULER_PROFILES_TIMEOUT",
        long = "scheduler-profiles-timeout",
        env = "SCHEDULER_PROFILES_TIMEOUT"
    )]
    #[arg(value_name = "TIME", default_value = "10s", value_parser = between(SECOND..=MINUTE))]
    pub profiles_timeout: Span,

    /// How long a profile is retained after it was fetched, if its account is no longer listed.
    #[arg(
        id = "SCHEDULER_PROFILES_RETENTION",
        long = "scheduler-profiles-retention",
        env = "SCHEDULER_PROFILES_RETENTION"
    )]
    #[arg(value_name = "TIME", default_value = "7d", value_parser = between(HOUR..=YEAR))]
    pub profiles_retention: Span,

    /// Maximum time for one run of a job that has no limit of its own. The run is then aborted, and
    /// the next run continues its work.
    #[arg(
        id = "SCHEDULER_RUN_MAX",
        long = "scheduler-run-max",
        env = "SCHEDULER_RUN_MAX"
    )]
    #[arg(value_name = "TIME", default_value = "5m", value_parser = between(SECOND..=DAY))]
    pub run_max: Span,

    /// Maximum time for one run of the `snapshot` job. Unset: `SCHEDULER_RUN_MAX`.
    #[arg(
        id = "SCHEDULER_SNAPSHOT_RUN_MAX",
        long = "scheduler-snapshot-run-max",
        env = "SCHEDULER_SNAPSHOT_RUN_MAX"
    )]
    #[arg(value_name = "TIME", value_parser = between(SECOND..=DAY))]
    pub snapshot_run_max: Option<Span>,

    /// Maximum time for one run of the `profiles` job. Unset: `SCHEDULER_RUN_MAX`.
    #[arg(
        id = "SCHEDULER_PROFILES_RUN_MAX",
        long = "scheduler-profiles-run-max",
        env = "SCHEDULER_PROFILES_RUN_MAX"
    )]
    #[arg(value_name = "TIME", value_parser = between(SECOND..=DAY))]
    pub profiles_run_max: Option<Span>,

    /// Maximum time for one run of the `retention` job. Unset: `SCHEDULER_RUN_MAX`.
    #[arg(
        id = "SCHEDULER_RETENTION_RUN_MAX",
        long = "scheduler-retention-run-max",
        env = "SCHEDULER_RETENTION_RUN_MAX"
    )]
    #[arg(value_name = "TIME", value_parser = between(SECOND..=DAY))]
    pub retention_run_max: Option<Span>,

    /// Limit of the random delay of jobs that send requests to servers of others (`profiles`), so
    /// that not all installations send them at the same second. It is fixed for a process, and
    /// always shorter than the distance to the next run. `snapshot` and `retention` start on time.
    #[arg(
        id = "SCHEDULER_JITTER",
        long = "scheduler-jitter",
        env = "SCHEDULER_JITTER"
    )]
    #[arg(value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = between(Span(Duration::ZERO)..=HOUR))]
    pub jitter: Span,
}
