//! Audits the rows of one commit.
//!
//! 1. Open the newest checkpoint that ends at or before the commit ([`base`]), and read the log
//!    from there up to the commit ([`replay`]). If the log does not have the messages that the
//!    checkpoint counts, do so with the previous one.
//! 2. For a sample, choose keys: those of random live records, and of the stored rows after each of
//!    them ([`sample`]). So a row that is missing and one that should not exist are found, too.
//! 3. Count the selected keys, one shard of accounts after another, with [`recount`](crate::recount).
//! 4. Compare with the stored rows ([`compare`]).
//!
//! [`Pace`] pauses each of these steps, and ends them if the audit is cancelled.

mod base;
mod compare;
mod pace;
mod replay;
mod sample;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use skytide_core::id::Seq;
use skytide_core::live::SectionReader;
use skytide_core::port::BoxFuture;
use skytide_core::port::audit::AuditReport;
use skytide_core::port::checkpoint::{CheckpointError, CheckpointReader};
use skytide_core::port::log::{Log, LogError};
use skytide_core::port::store::{Committed, Control, StoreError, ViewReader};

use crate::recount::{ListCount, Options, Policy, RowCount, Selection, TopLists};
use base::Bases;
use compare::Comparison;
use pace::Pace;
use replay::Replay;

/// What an audit reads beside the rows.
#[derive(Clone)]
pub struct Sources {
    /// The log that the rows were computed from.
    pub log: Arc<dyn Log>,
    /// The checkpoints of the dataflow, if it makes any.
    pub checkpoints: Option<Arc<dyn CheckpointReader>>,
    /// Reads their sections.
    pub sections: Arc<dyn SectionReader>,
}

/// What to audit.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which rows.
    pub scope: Scope,
    /// The seed from which a sample is drawn.
    pub seed: u64,
    /// The audit works for at most one part in this many of its time and sleeps otherwise; 1 for
    /// no sleep.
    pub pace: u32,
    /// About how much memory the audit may use, in bytes. The events and rows of a single shard or
    /// pass may need more.
    pub memory_bytes: u64,
    /// The audit is refused if it has to read more bytes of the log than this; `None` for no limit.
    pub log_bytes_max: Option<u64>,
    /// Set to cancel the audit: it ends with an error after the current page, batch or shard.
    pub cancelled: Arc<AtomicBool>,
}

impl Request {
    /// An audit without pauses, with 1 GiB of memory.
    pub fn new(scope: Scope, seed: u64) -> Self {
        Self {
            scope,
            seed,
            pace: 1,
            memory_bytes: 1 << 30,
            log_bytes_max: None,
            cancelled: Arc::default(),
        }
    }

    /// The memory that events of the log may take, in bytes.
    fn event_bytes(&self) -> u64 {
        self.memory_bytes / 2
    }

    /// Bytes of live records and events whose rows are counted in one pass.
    fn pass_bytes(&self) -> u64 {
        (self.memory_bytes / 2 / ROW_BYTES_FACTOR).max(1)
    }
}

/// Which rows are audited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All rows.
    All,
    /// A random sample.
    Sample {
        /// About this many rows, and the row after each of them.
        rows: usize,
    },
}

/// Why an audit was not possible. It found no difference and excludes none.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The store holds no commit. Try again later.
    #[error("nothing is counted yet: the store holds no commit")]
    Empty,
    /// An older version wrote the newest commit. Try again after the next commit.
    #[error(
        "the newest commit does not say how its rows are computed: try again after the next one"
    )]
    NoRecipe,
    /// A newer version wrote the commit.
    #[error(
        "the rows are computed with the account policy {0:?}, which this version does not know"
    )]
    Policy(Box<str>),
    /// The log is not the one that the rows were computed from.
    #[error(
        "the rows were computed from another log: point the audit at the log of `skytide index`"
    )]
    OtherLog,
    /// The log has other messages than those that the rows were computed from.
    #[error("the log has another message where the tick of epoch {0} was")]
    Replaced(u64),
    /// The log ends before the commit.
    #[error(
        "the rows of epoch {epoch} were computed from the log up to {wanted}, but the log ends \
         before {next}: it lost messages"
    )]
    LogEnds {
        /// The epoch of the audited commit.
        epoch: u64,
        /// The position of its tick.
        wanted: Seq,
        /// The position that the next message will get.
        next: Seq,
    },
    /// The log does not return a message that it should contain.
    #[error("the log returned no message after {after} for {seconds} s; try again later")]
    LogWaits {
        /// The position of the last message.
        after: Seq,
        /// How long the audit waited.
        seconds: u64,
    },
    /// The log after the checkpoint is too long.
    #[error(
        "the log from the newest checkpoint to the audited rows has about {bytes} bytes, more than \
         the {max} that an audit at intervals reads: lower INDEXER_CHECKPOINT_INTERVAL, or run \
         `skytide audit`"
    )]
    LongLog {
        /// The estimated bytes.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// A checkpoint counts messages that the log does not have.
    #[error("checkpoint {checkpoint} counts another epoch {epoch} than the log has")]
    OtherHistory {
        /// The checkpoint.
        checkpoint: u64,
        /// The epoch.
        epoch: u64,
    },
    /// The audit was cancelled.
    #[error("the audit was cancelled")]
    Cancelled,
    /// No live records are available.
    #[error(
        "no live records are available: the log was trimmed, and no checkpoint up to epoch {epoch} is \
         usable; try again after the next checkpoint (INDEXER_CHECKPOINT_INTERVAL)"
    )]
    NoBase {
        /// The epoch of the audited commit.
        epoch: u64,
    },
    /// The rows changed while they were read, because the store has no snapshots.
    #[error(
        "the store changed during the audit: use a replica set of MongoDB 5.0 or later, which \
         provides snapshots, or stop `skytide index` during the audit"
    )]
    Moved,
    /// A section of a checkpoint cannot be read.
    #[error("cannot read section {name:?} of checkpoint {checkpoint}: {why}")]
    Section {
        /// The checkpoint.
        checkpoint: u64,
        /// The section.
        name: String,
        /// Why.
        why: String,
    },
    /// The checkpoint cannot be read.
    #[error("cannot read the checkpoint for the audit")]
    Checkpoint(#[from] CheckpointError),
    /// The log cannot be read.
    #[error("cannot read the log for the audit")]
    Log(#[from] LogError),
    /// The rows cannot be read.
    #[error("cannot read the view store for the audit")]
    Store(#[from] StoreError),
}

impl AuditError {
    /// Whether the previous checkpoint may be usable.
    fn concerns_checkpoint(&self) -> bool {
        matches!(
            self,
            Self::OtherHistory { .. }
                | Self::Section { .. }
                | Self::Checkpoint(_)
                | Self::Log(LogError::Trimmed { .. })
        )
    }
}

/// The rows that are counted from live records need about this many times the bytes that the records
/// have in a checkpoint.
const ROW_BYTES_FACTOR: u64 = 10;

/// Audits the rows of the newest commit that `reader` shows. All its rows must belong to one
/// commit; for a store without snapshots, that is checked at the end.
///
/// # Errors
/// See [`AuditError`].
pub fn run<'a>(
    sources: &'a Sources,
    reader: &'a dyn ViewReader,
    request: &'a Request,
) -> BoxFuture<'a, Result<AuditReport, AuditError>> {
    Box::pin(audit_rows(sources, reader, request))
}

async fn audit_rows(
    sources: &Sources,
    reader: &dyn ViewReader,
    request: &Request,
) -> Result<AuditReport, AuditError> {
    let started = Instant::now();
    let pace = Pace::new(request.pace, request.cancelled.clone());
    let control = reader.control().await?;
    let committed = control.committed.clone().ok_or(AuditError::Empty)?;
    let mut bases = Bases::find(sources, &committed).await?;
    let manifests = std::mem::take(&mut bases.manifests);
    let mut skipped = None;
    for manifest in manifests.into_iter().map(Some).chain([None]) {
        let checkpoint = manifest.as_ref().map(|it| it.first.epoch.0);
        let audit = async {
            let base = bases.open(sources, manifest, request).await?;
            let replay = Replay::new(sources, base, &committed, request, &pace).await?;
            audit(replay, reader, &control, request).await
        };
        match audit.await {
            Err(error) if checkpoint.is_some() && error.concerns_checkpoint() => {
                let why: &dyn std::error::Error = &error;
                tracing::warn!(checkpoint, why, "an audit cannot use a checkpoint");
                skipped.get_or_insert(error);
            }
            Err(AuditError::NoBase { .. }) if skipped.is_some() => break,
            audited => {
                let seconds = started.elapsed().as_secs_f64();
                return audited.map(|report| AuditReport { seconds, ..report });
            }
        }
    }
    let epoch = committed.epoch.0;
    Err(skipped.unwrap_or(AuditError::NoBase { epoch }))
}

/// Audits the rows of the commit of this control record.
async fn audit(
    mut replay: Replay<'_>,
    reader: &dyn ViewReader,
    control: &Control,
    request: &Request,
) -> Result<AuditReport, AuditError> {
    let options = options_of(replay.committed())?;
    let mut comparison = Comparison::new(replay.committed(), options, replay.pace());
    match request.scope {
        Scope::All => {
            all(&mut replay, reader, options, request, &mut comparison).await?;
            unchanged(reader, control).await?;
        }
        Scope::Sample { rows } => {
            let seed = request.seed;
            let sample = sample::choose(&mut replay, reader, options, rows, seed).await?;
            unchanged(reader, control).await?;
            comparison.note_sampled_lists();
            let (count, lists) = count(&mut replay, options, &sample.selection).await?;
            let mut expected = count.rows(replay.history());
            match lists {
                Some(lists) => expected.extend(lists.rows()),
                None => expected.retain(|view, _| !view.is_list()),
            }
            comparison.sampled(&sample, expected);
        }
    }
    if replay.lists_at().is_none() {
        comparison.lists_not_audited();
    }
    let mut report = comparison.report();
    report.scope = match request.scope {
        Scope::All => "all".into(),
        Scope::Sample { .. } => "sample".into(),
    };
    report.checkpoint = replay.checkpoint();
    report.events = replay.events();
    report.live_records = replay.live_records();
    Ok(report)
}

/// Checks that all rows that were read belong to the commit of this control record. A snapshot
/// never changes. Without one, rows of later commits may have been read.
async fn unchanged(reader: &dyn ViewReader, control: &Control) -> Result<(), AuditError> {
    match reader.control().await? == *control {
        true => Ok(()),
        false => Err(AuditError::Moved),
    }
}

fn options_of(committed: &Committed) -> Result<Options, AuditError> {
    let recipe = committed.recipe.as_ref().ok_or(AuditError::NoRecipe)?;
    let unknown = || AuditError::Policy(recipe.account_policy.clone());
    Ok(Options {
        policy: Policy::from_name(&recipe.account_policy).ok_or_else(unknown)?,
        interactions_days: recipe.interactions_days,
    })
}

/// Audits all rows, in as many passes as bound the memory.
async fn all(
    replay: &mut Replay<'_>,
    reader: &dyn ViewReader,
    options: Options,
    request: &Request,
    comparison: &mut Comparison<'_>,
) -> Result<(), AuditError> {
    let bytes = replay.section_bytes() + replay.event_bytes();
    let passes = bytes.div_ceil(request.pass_bytes()).max(1);
    let mut all_lists: Option<TopLists> = None;
    for part in 0..passes {
        let selection = match passes {
            1 => Selection::All,
            of => Selection::Part { part, of },
        };
        let (count, lists) = count(replay, options, &selection).await?;
        let expected = count.rows(replay.history());
        comparison.stored_rows(reader, &selection, expected).await?;
        match (&mut all_lists, lists) {
            (Some(all), Some(lists)) => all.add(lists),
            (all, lists) => *all = lists,
        }
    }
    if let Some(lists) = all_lists {
        comparison.stored_lists(reader, lists.rows()).await?;
    }
    Ok(())
}

/// Counts the selected keys of all accounts: rows, and the lists if it is known when they were
/// written.
async fn count<'a>(
    replay: &mut Replay<'_>,
    options: Options,
    selection: &'a Selection,
) -> Result<(RowCount<'a>, Option<TopLists>), AuditError> {
    let mut rows = RowCount::new(options, replay.now(), selection);
    let mut lists = replay
        .lists_at()
        .map(|(_, time)| ListCount::new(time, selection));
    replay.begin_pass().await?;
    loop {
        let has_more = replay.next_shard(|history, is_list_epoch, is_last| {
            if is_list_epoch && let Some(lists) = &mut lists {
                lists.add(history);
            }
            if is_last {
                rows.add(history);
            }
        });
        if !has_more.await? {
            break;
        }
        replay.pace().pause().await?;
    }
    let lists = lists.map(|count| {
        let mut lists = TopLists::default();
        count.offer(&mut lists);
        lists
    });
    Ok((rows, lists))
}
