//! Options of the dataflow.

use super::between;

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

    /// Whose records count. Numbers of another policy need a data folder of their own.
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
