//! Audits the rows of one commit.
//!
//! 1. Choose the newest checkpoint that ends at or before the commit ([`base`]), and read the log
//!    from there up to the commit ([`replay`]).
//! 2. For a sample, choose keys: those of random live records, and of the stored rows after each of
//!    them ([`sample`]). So a row that is missing and one that should not exist are found, too.
//! 3. Count the selected keys, one shard of accounts after another, with [`recount`](crate::recount).
//! 4. Compare with the stored rows ([`compare`]).

mod base;
mod compare;
mod replay;
mod sample;

use std::sync::Arc;
use std::time::{Duration, Instant};

use skytide_core::live::SectionReader;
use skytide_core::port::audit::AuditReport;
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore};
use skytide_core::port::log::{Log, LogError};
use skytide_core::port::store::{Committed, Control, StoreError, ViewReader};
use tokio::time::sleep;

use crate::recount::{ListCount, Options, Policy, RowCount, Selection, TopLists};
use base::Base;
use compare::Comparison;
use replay::Replay;

/// What an audit reads beside the rows.
#[derive(Clone)]
pub struct Sources {
    /// The log that the rows were computed from.
    pub log: Arc<dyn Log>,
    /// The checkpoints of the dataflow, if it makes any.
    pub checkpoints: Option<Arc<dyn CheckpointStore>>,
    /// Reads their sections.
    pub sections: Arc<dyn SectionReader>,
}

/// What to audit.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Which rows.
    pub scope: Scope,
    /// The seed from which a sample is drawn.
    pub seed: u64,
    /// The audit counts for at most one part in this many of its time and sleeps otherwise; 1 for
    /// no sleep.
    pub pace: u32,
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

/// Bytes of checkpoint sections whose accounts are counted in one pass. A pass needs about ten
/// times as much memory for the rows that it counts.
const PASS_BYTES: u64 = 64 << 20;

/// Audits the rows of the newest commit that `reader` shows. All its rows must belong to one
/// commit; for a store without snapshots, that is checked at the end.
///
/// # Errors
/// See [`AuditError`].
pub async fn run(
    sources: &Sources,
    reader: &dyn ViewReader,
    request: &Request,
) -> Result<AuditReport, AuditError> {
    let started = Instant::now();
    let control = reader.control().await?;
    let committed = control.committed.clone().ok_or(AuditError::Empty)?;
    let options = options_of(&committed)?;
    let base = Base::find(sources, &committed).await?;
    let mut replay = Replay::new(sources, base, &committed, options.policy).await?;
    let mut comparison = Comparison::new(&committed, options);
    match request.scope {
        Scope::All => {
            all(&mut replay, reader, options, request, &mut comparison).await?;
            unchanged(reader, &control).await?;
        }
        Scope::Sample { rows } => {
            let seed = request.seed;
            let sample = sample::choose(&mut replay, reader, options, rows, seed).await?;
            unchanged(reader, &control).await?;
            comparison.note_sampled_lists();
            let (count, lists) = count(&mut replay, options, &sample.selection, request).await?;
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
    report.seconds = started.elapsed().as_secs_f64();
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
    comparison: &mut Comparison,
) -> Result<(), AuditError> {
    let passes = replay.section_bytes().div_ceil(PASS_BYTES).max(1);
    let mut all_lists: Option<TopLists> = None;
    for part in 0..passes {
        let selection = match passes {
            1 => Selection::All,
            of => Selection::Part { part, of },
        };
        let (count, lists) = count(replay, options, &selection, request).await?;
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
    request: &Request,
) -> Result<(RowCount<'a>, Option<TopLists>), AuditError> {
    let mut rows = RowCount::new(options, replay.now(), selection);
    let mut lists = replay
        .lists_at()
        .map(|(_, time)| ListCount::new(time, selection));
    replay.begin_pass().await?;
    loop {
        let started = Instant::now();
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
        pause(started.elapsed(), request.pace).await;
    }
    let lists = lists.map(|count| {
        let mut lists = TopLists::default();
        count.offer(&mut lists);
        lists
    });
    Ok((rows, lists))
}

async fn pause(worked: Duration, pace: u32) {
    if pace > 1 {
        sleep(worked * (pace - 1)).await;
    }
}
