//! Options of the dataflow.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{ByteSize, Span, ValueError, between};

const MIB: u64 = 1 << 20;

/// How the dataflow counts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Indexer (dataflow)")]
pub struct Indexer {
    /// Threads that count; 0: one a core.
    #[arg(
        id = "INDEXER_WORKERS",
        long = "indexer-workers",
        env = "INDEXER_WORKERS"
    )]
    #[arg(value_name = "WORKERS", default_value_t = 0, value_parser = between(0..=256_u32))]
    pub workers: u32,

    /// Whose records count. Changed, all views are written anew from the next start on; from or to `ops_only` that needs
    /// the whole log.
    #[arg(
        id = "INDEXER_ACCOUNT_POLICY",
        long = "indexer-account-policy",
        env = "INDEXER_ACCOUNT_POLICY"
    )]
    #[arg(value_name = "POLICY", value_enum, default_value_t = AccountPolicy::ActiveAccountsOnly)]
    pub account_policy: AccountPolicy,

    /// Days for which `interactions` are kept, by the day on which the record was first seen; 0:
    /// for ever.
    #[arg(
        id = "INDEXER_INTERACTIONS_DAYS",
        long = "indexer-interactions-days",
        env = "INDEXER_INTERACTIONS_DAYS"
    )]
    #[arg(value_name = "DAYS", default_value_t = 8, value_parser = between(0..=36_500_u32))]
    pub interactions_days: u32,

    /// Events under way in the dataflow, at most; whole epochs, at least one.
    #[arg(
        id = "INDEXER_BATCH_EVENTS_MAX",
        long = "indexer-batch-events-max",
        env = "INDEXER_BATCH_EVENTS_MAX"
    )]
    #[arg(value_name = "EVENTS", default_value_t = 50_000)]
    #[arg(value_parser = between(1..=10_000_000_u32))]
    pub batch_events_max: u32,

    /// Bytes of events under way in the dataflow, at most: a batch takes no further epoch when it has so many. An epoch has
    /// 8 MiB and a frame at most, and three batches may be under way: one gathered, one waiting, one at work.
    #[arg(
        id = "INDEXER_BATCH_BYTES_MAX",
        long = "indexer-batch-bytes-max",
        env = "INDEXER_BATCH_BYTES_MAX"
    )]
    #[arg(value_name = "BYTES", default_value = "32MiB")]
    #[arg(value_parser = between(ByteSize(MIB)..=ByteSize(1_024 * MIB)))]
    pub batch_bytes_max: ByteSize,

    /// Time between two checkpoints: a restart reads the log from the newest one on.
    #[arg(
        id = "INDEXER_CHECKPOINT_INTERVAL",
        long = "indexer-checkpoint-interval",
        env = "INDEXER_CHECKPOINT_INTERVAL"
    )]
    #[arg(value_name = "TIME", default_value = "5m")]
    #[arg(value_parser = between(
        Span(Duration::from_secs(1))..=Span(Duration::from_secs(86_400)),
    ))]
    pub checkpoint_interval: Span,

    /// Events after which a checkpoint is made before its time; 0: only time decides.
    #[arg(
        id = "INDEXER_CHECKPOINT_EVENTS",
        long = "indexer-checkpoint-events",
        env = "INDEXER_CHECKPOINT_EVENTS"
    )]
    #[arg(value_name = "EVENTS", default_value_t = 10_000_000)]
    #[arg(value_parser = between(0..=1_000_000_000_000_u64))]
    pub checkpoint_events: u64,

    /// Checkpoints that are kept; the log is kept from the oldest of them on.
    #[arg(
        id = "INDEXER_CHECKPOINTS_KEPT",
        long = "indexer-checkpoints-kept",
        env = "INDEXER_CHECKPOINTS_KEPT"
    )]
    #[arg(value_name = "COUNT", default_value_t = 2, value_parser = between(1..=100_u32))]
    pub checkpoints_kept: u32,

    /// Whether a start computes all rows of its checkpoint again and compares them with what the checkpoint says they
    /// add up to. Without, checksums and everything behind the checkpoint are compared.
    #[arg(
        id = "INDEXER_CHECKPOINT_VERIFY",
        long = "indexer-checkpoint-verify",
        env = "INDEXER_CHECKPOINT_VERIFY"
    )]
    #[arg(value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub checkpoint_verify: bool,

    /// What stays of the log behind the checkpoints: `none`, `all`, or a time as `36h`, for which it is kept as long as
    /// it has room. With `all` ingest waits when the log is at its size limit.
    #[arg(
        id = "INDEXER_LOG_KEEP",
        long = "indexer-log-keep",
        env = "INDEXER_LOG_KEEP"
    )]
    #[arg(value_name = "none|all|TIME", default_value = "none")]
    pub log_keep: LogKeep,

    /// Starts over from what the log still has: views and checkpoints are replaced, and `since` says from when on they
    /// count. For one start, when neither store nor checkpoints can be used.
    #[arg(
        id = "INDEXER_REBUILD",
        long = "indexer-rebuild",
        env = "INDEXER_REBUILD"
    )]
    #[arg(value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub rebuild: bool,
}

/// What is kept of the log below the oldest checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKeep {
    /// Nothing.
    Nothing,
    /// Messages of so much network time, as long as there is room.
    Time(Span),
    /// Everything.
    All,
}

impl FromStr for LogKeep {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "none" => Ok(Self::Nothing),
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Time).map_err(|_| {
                ValueError(format!(
                    "{text:?} is neither none nor all nor a time such as 36h or 30d"
                ))
            }),
        }
    }
}

impl fmt::Display for LogKeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Time(time) => time.fmt(f),
            Self::All => f.write_str("all"),
        }
    }
}

/// Whose records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum AccountPolicy {
    /// Those of active accounts: records of an inactive one come back with it, those of a deleted
    /// one are gone.
    ActiveAccountsOnly,
    /// All but those of deleted accounts; whether an account is active does not matter.
    DeletedAccountsRemoved,
    /// All: only operations on records count, nothing is known of accounts.
    OpsOnly,
}
