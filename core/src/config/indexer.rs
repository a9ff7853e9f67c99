//! Options of the dataflow.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{ByteSize, Span, ValueError, Views, between};

const MIB: u64 = 1 << 20;

/// How the dataflow computes the views.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Indexer (dataflow)")]
pub struct Indexer {
    /// Number of worker threads; 0 stands for one per core.
    #[arg(
        id = "INDEXER_WORKERS",
        long = "indexer-workers",
        env = "INDEXER_WORKERS"
    )]
    #[arg(value_name = "WORKERS", default_value_t = 0, value_parser = between(0..=256_u32))]
    pub workers: u32,

    /// Which accounts' records count. After a change, the next start rewrites all views. A change
    /// from or to `ops_only` requires the whole log.
    #[arg(
        id = "INDEXER_ACCOUNT_POLICY",
        long = "indexer-account-policy",
        env = "INDEXER_ACCOUNT_POLICY"
    )]
    #[arg(value_name = "POLICY", value_enum, default_value_t = AccountPolicy::ActiveAccountsOnly)]
    pub account_policy: AccountPolicy,

    /// Days for which `interactions` are retained, counted from the day on which the record was
    /// first seen; 0 retains them for ever.
    #[arg(
        id = "INDEXER_INTERACTIONS_DAYS",
        long = "indexer-interactions-days",
        env = "INDEXER_INTERACTIONS_DAYS"
    )]
    #[arg(value_name = "DAYS", default_value_t = 8, value_parser = between(0..=36_500_u32))]
    pub interactions_days: u32,

    /// Maximum number of events in a batch of the dataflow. A batch consists of whole epochs, at
    /// least one.
    #[arg(
        id = "INDEXER_BATCH_EVENTS_MAX",
        long = "indexer-batch-events-max",
        env = "INDEXER_BATCH_EVENTS_MAX"
    )]
    #[arg(value_name = "EVENTS", default_value_t = 50_000)]
    #[arg(value_parser = between(1..=10_000_000_u32))]
    pub batch_events_max: u32,

    /// Maximum size of the events in a batch of the dataflow: a batch that has reached it accepts
    /// no further epoch. An epoch has at most 8 MiB and one frame. Up to three batches are in
    /// memory: one being filled, one waiting, one being processed.
    #[arg(
        id = "INDEXER_BATCH_BYTES_MAX",
        long = "indexer-batch-bytes-max",
        env = "INDEXER_BATCH_BYTES_MAX"
    )]
    #[arg(value_name = "BYTES", default_value = "32MiB")]
    #[arg(value_parser = between(ByteSize(MIB)..=ByteSize(1_024 * MIB)))]
    pub batch_bytes_max: ByteSize,

    /// Time between two checkpoints. A restart replays the log from the newest checkpoint on.
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

    /// Number of events after which a checkpoint is made even if its interval has not passed; 0
    /// disables this condition.
    #[arg(
        id = "INDEXER_CHECKPOINT_EVENTS",
        long = "indexer-checkpoint-events",
        env = "INDEXER_CHECKPOINT_EVENTS"
    )]
    #[arg(value_name = "EVENTS", default_value_t = 10_000_000)]
    #[arg(value_parser = between(0..=1_000_000_000_000_u64))]
    pub checkpoint_events: u64,

    /// Number of checkpoints that are retained. The log is retained from the oldest of them on.
    #[arg(
        id = "INDEXER_CHECKPOINTS_KEPT",
        long = "indexer-checkpoints-kept",
        env = "INDEXER_CHECKPOINTS_KEPT"
    )]
    #[arg(value_name = "COUNT", default_value_t = 2, value_parser = between(1..=100_u32))]
    pub checkpoints_kept: u32,

    /// Whether a start recomputes all rows of its checkpoint and compares them with the checksums
    /// in the checkpoint. If not, the start verifies the checksums of the sections, and all rows
    /// that it replays after the checkpoint.
    #[arg(
        id = "INDEXER_CHECKPOINT_VERIFY",
        long = "indexer-checkpoint-verify",
        env = "INDEXER_CHECKPOINT_VERIFY"
    )]
    #[arg(value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub checkpoint_verify: bool,

    /// How much of the log before the oldest checkpoint is retained: `none`, `all`, or a time such
    /// as `36h`, for which the log is retained while it has space. With `all`, ingest blocks when
    /// the log is at its size limit.
    #[arg(
        id = "INDEXER_LOG_KEEP",
        long = "indexer-log-keep",
        env = "INDEXER_LOG_KEEP"
    )]
    #[arg(value_name = "none|all|TIME", default_value = "none")]
    pub log_keep: LogKeep,

    /// Starts over from what the log still contains: replaces views and checkpoints, and `since`
    /// reports from when on events are counted. Set it for a single start, when neither the store
    /// nor a checkpoint is usable.
    #[arg(
        id = "INDEXER_REBUILD",
        long = "indexer-rebuild",
        env = "INDEXER_REBUILD"
    )]
    #[arg(value_name = "BOOL", default_value_t = false, action = clap::ArgAction::Set)]
    pub rebuild: bool,

    /// Whether each worker logs what its operators do: their time, records and arrangements, for
    /// `/v1/dataflow`, `/metrics` and `INDEXER_DATAFLOW_LOG`. `false` saves the CPU time that
    /// docs/dataflow.md names; the time, the records and the arrangements of operators are then
    /// missing everywhere.
    #[arg(
        id = "INDEXER_OPERATOR_LOG",
        long = "indexer-operator-log",
        env = "INDEXER_OPERATOR_LOG"
    )]
    #[arg(value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub operator_log: bool,

    /// Where JSON lines about each operator, each table and each worker go: `off`, `stderr`, or the
    /// path of a file to append to. At 64 MiB the file is renamed to its name with `.1` appended,
    /// which replaces the previous one.
    #[arg(
        id = "INDEXER_DATAFLOW_LOG",
        long = "indexer-dataflow-log",
        env = "INDEXER_DATAFLOW_LOG"
    )]
    #[arg(value_name = "off|stderr|PATH", default_value = "off")]
    pub dataflow_log: DataflowLog,

    /// Time between two groups of these lines. Without `INDEXER_DATAFLOW_LOG` it has no effect.
    #[arg(
        id = "INDEXER_DATAFLOW_LOG_INTERVAL",
        long = "indexer-dataflow-log-interval",
        env = "INDEXER_DATAFLOW_LOG_INTERVAL"
    )]
    #[arg(value_name = "TIME", default_value = "10s")]
    #[arg(value_parser = between(
        Span(Duration::from_secs(1))..=Span(Duration::from_secs(3_600)),
    ))]
    pub dataflow_log_interval: Span,

    /// Time between two audits of a random sample of rows: they are counted again, from the live
    /// records, and compared. `off` for none. An audit takes at most 1 % of one core: it waits
    /// longer if it has to.
    #[arg(
        id = "INDEXER_AUDIT_INTERVAL",
        long = "indexer-audit-interval",
        env = "INDEXER_AUDIT_INTERVAL"
    )]
    #[arg(value_name = "off|TIME", default_value = "10m")]
    pub audit_interval: AuditInterval,

    /// Number of rows in the sample of such an audit, approximately. As many that follow them in
    /// the store are compared, too.
    #[arg(
        id = "INDEXER_AUDIT_ROWS",
        long = "indexer-audit-rows",
        env = "INDEXER_AUDIT_ROWS"
    )]
    #[arg(value_name = "ROWS", default_value_t = 1_000, value_parser = between(10..=1_000_000_u32))]
    pub audit_rows: u32,

    /// Memory of the process: a size, a share of the memory of the control group or of the machine,
    /// or `none`. Above 80 % of it, live records that a checkpoint contains are moved to disk. Above
    /// it, caches are released. If that is not enough, counting stops, and the log grows to its own
    /// limit, until less than 95 % of this memory is in use. A restart is not stopped before its
    /// first commit. docs/capacity.md says what to do then.
    #[arg(
        id = "INDEXER_MEMORY_MAX",
        long = "indexer-memory-max",
        env = "INDEXER_MEMORY_MAX"
    )]
    #[arg(value_name = "BYTES|PERCENT|none", default_value = "50%")]
    pub memory_max: MemoryMax,

    /// The views to compute, separated by commas: `all`, or names of views, which docs/capacity.md
    /// lists. A name with `-` before it is left out; if there are only such names, they are left out
    /// of all views. The first commit after a change removes the rows of the other views, and
    /// requests that need them are answered with an error.
    #[arg(id = "INDEXER_VIEWS", long = "indexer-views", env = "INDEXER_VIEWS")]
    #[arg(
        value_name = "VIEW,...",
        default_value = "all",
        allow_hyphen_values = true
    )]
    pub views: Views,
}

/// The memory above which the dataflow takes no further batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryMax {
    /// There is no limit.
    Unlimited,
    /// This much.
    Bytes(ByteSize),
    /// This share of the memory of the control group or of the machine, in percent.
    Percent(u8),
}

impl MemoryMax {
    /// The limit in bytes, of a process that may use `total` bytes. `None` for no limit, and for a
    /// share of memory that is not known.
    pub fn bytes(self, total: Option<u64>) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Bytes(ByteSize(bytes)) => Some(bytes),
            Self::Percent(percent) => {
                let share = u128::from(total?) * u128::from(percent) / 100;
                u64::try_from(share).ok()
            }
        }
    }
}

impl FromStr for MemoryMax {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if matches!(text, "none" | "0") {
            return Ok(Self::Unlimited);
        }
        if let Some(percent) = text.strip_suffix('%') {
            let parsed: Option<u8> = percent.trim_end().parse().ok();
            let parsed = parsed.filter(|percent| (1..=100).contains(percent));
            let why = || ValueError(format!("{text:?} is not a share from 1% to 100%"));
            return parsed.map(Self::Percent).ok_or_else(why);
        }
        let parsed = text.parse().ok().filter(|bytes| *bytes >= ByteSize(MIB));
        parsed.map(Self::Bytes).ok_or_else(|| {
            ValueError(format!(
                "{text:?} is not a size of at least 1MiB, a share such as 50%, or none"
            ))
        })
    }
}

impl fmt::Display for MemoryMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("none"),
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Where lines about the dataflow go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataflowLog {
    /// Nowhere.
    Off,
    /// Standard error.
    Stderr,
    /// This file.
    File(PathBuf),
}

impl FromStr for DataflowLog {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "off" => Ok(Self::Off),
            "stderr" => Ok(Self::Stderr),
            // A word such as `on` is no file that somebody wants.
            path if path.contains(['/', '.']) => Ok(Self::File(path.into())),
            _ => Err(ValueError(format!(
                "{text:?} is neither off, stderr nor a path such as ./dataflow.ndjson"
            ))),
        }
    }
}

impl fmt::Display for DataflowLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Time between two audits; `None` for no audits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditInterval(pub Option<Span>);

impl FromStr for AuditInterval {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "off" {
            return Ok(Self(None));
        }
        let shortest = Span(Duration::from_secs(1));
        let parsed = text.parse().ok().filter(|interval| *interval >= shortest);
        let why = || ValueError(format!("{text:?} is not off or a duration of at least 1s"));
        parsed.map(|interval| Self(Some(interval))).ok_or_else(why)
    }
}

impl fmt::Display for AuditInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("off"),
            Some(interval) => interval.fmt(f),
        }
    }
}

/// How much of the log before the oldest checkpoint is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKeep {
    /// Nothing.
    Nothing,
    /// The messages of this much network time, while the log has space.
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
                    "{text:?} is not none, all, or a duration such as 36h or 30d"
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

/// Which accounts' records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum AccountPolicy {
    /// Records of active accounts. Records of an inactive account count again when it becomes
    /// active; records of a deleted account are removed.
    ActiveAccountsOnly,
    /// Records of all accounts except deleted ones, whether active or not.
    DeletedAccountsRemoved,
    /// All records. Only operations on records have an effect; events about accounts have none.
    OpsOnly,
}
