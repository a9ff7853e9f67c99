//! Recovery decides which checkpoint is restored, from where the log is read, and which stored rows
//! are replaced.
//!
//! The log is authoritative. A store *matches* the log if the log still has the tick at which the
//! last commit ends, at the same position and with the same hash. A checkpoint matches if that is
//! true of the ticks of its first and its last cut. The newest checkpoint that matches is restored.
//! Then the log is read from the first cut of that checkpoint.
//!
//! | the view store                                           | a checkpoint matches | none, whole log | none, trimmed |
//! |----------------------------------------------------------|----------------------|-----------------|---------------|
//! | is empty, no commit was begun                            | restore, write all   | count the log   | refuse        |
//! | matches the log, not before the checkpoint               | restore, resume      | count, resume   | refuse        |
//! | matches the log, before the checkpoint (an older backup) | refill               | -               | refuse        |
//! | ends before the log begins (an older backup)             | refill               | -               | refuse        |
//! | ends after the log (the log lost its tail)               | refill               | refill          | refuse        |
//! | has another tick there (lost the tail, then grew again)  | refill               | refill          | refuse        |
//! | began a commit up to a tick that the log does not have   | refill               | refill          | refuse        |
//! | began to replace everything, has no commit               | refill               | refill          | refuse        |
//! | was computed from another log                            | refill               | refuse          | refuse        |
//!
//! | a checkpoint                                               |                                                 |
//! |------------------------------------------------------------|-------------------------------------------------|
//! | matches the log, all checksums match, the policy fits      | is used if it is the newest of these            |
//! | ends after the log, or the log has another tick there      | is skipped: it counted events that the log lost |
//! | begins before the log, was made from another log           | is skipped                                      |
//! | is damaged, has a format that this version does not know   | is skipped                                      |
//!
//! *Resume*: at the store's commit the recomputed rows are compared with the stored ones; then
//! commits continue. If the rows of `coverage` differ, the first commit replaces them. *Refill*:
//! the first commit replaces all rows, also those of later epochs ([`Intent::replaces_all`]). This
//! is logged as a warning. *Refuse*: the error lists the remedies, the least destructive first.
//!
//! A skipped checkpoint stays on the disk until a newer one is complete. So if an operator restores
//! the right log, its checkpoints still exist. An empty log counts as a log that ends before every
//! epoch. Each row is tested in `tests/it/restart/accidents.rs`.
//!
//! [`Intent::replaces_all`]: skytide_core::port::store::Intent::replaces_all

mod log_match;
mod usable;

use std::collections::BTreeSet;

use skytide_core::event::Message;
use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::Manifest;
use skytide_core::port::log::LogReader;
use skytide_core::port::store::{Control, Recipe};
use skytide_core::view::ViewId;

use crate::runtime::batch::Epochs;
use crate::types::{SuppressedRows, Time};
use crate::{DataflowError, Options, Ports};
use log_match::{LogEnds, StoreState};
use usable::{Found, Skipped, Usable, newest_usable};

/// The outcome of recovery: what a run starts with.
pub(crate) struct Start {
    /// The log, after the messages in `read_ahead`.
    pub reader: Box<dyn LogReader>,
    /// The first messages of the log, which recovery has read already.
    pub read_ahead: Vec<(Seq, Message)>,
    /// Assembles epochs; it knows the tick before the first message.
    pub epochs: Epochs,
    /// The checkpoint to restore.
    pub checkpoint: Option<Manifest>,
    /// Checkpoints that cannot be used.
    pub unusable: BTreeSet<Epoch>,
    /// Views whose stored rows are all replaced by the first commit.
    pub rebuilt: BTreeSet<ViewId>,
    /// Views that are rebuilt as well, unless their rows equal the stored ones at the store's last
    /// commit.
    pub rebuilt_if_different: BTreeSet<ViewId>,
    /// Views whose recipe differs from that of the checkpoint, so their checksums cannot be
    /// compared with those in the checkpoint.
    pub recounted: BTreeSet<ViewId>,
    /// Whether the first commit replaces all stored rows, whatever the store has committed or
    /// begun.
    pub replaces_all: bool,
    /// The id of the log.
    pub log_id: u64,
    /// Whether a restart before the next checkpoint would be refused. Then a checkpoint is needed
    /// at once.
    pub unprotected: bool,
}

impl Start {
    /// The rows that need not be emitted: the store has them, and the checkpoint has their
    /// checksums. With `verify`, all rows are emitted.
    pub fn suppressed(&self, verify: bool) -> SuppressedRows {
        let mut suppressed = SuppressedRows::NONE;
        let last = self.checkpoint.as_ref().map(|it| it.last.epoch);
        for &view in ViewId::ALL {
            let emitted = verify
                || self.rebuilt.contains(&view)
                || self.rebuilt_if_different.contains(&view)
                || self.recounted.contains(&view);
            if !emitted {
                suppressed.set(view, last.map_or(0, |last| last.0 as Time));
            }
        }
        suppressed
    }

    /// The store's control record, as this start uses it: if all rows are replaced, only the term
    /// is kept, and the last commit and the intent are ignored.
    pub fn control(&self, found: Control) -> Control {
        match self.replaces_all {
            true => Control {
                term: found.term,
                ..Control::default()
            },
            false => found,
        }
    }

    /// The same start, but with stored rows of `coverage` that may differ. Checkpoints of older
    /// versions do not contain this view, so its rows also depend on where a version that has it
    /// began: a later start from another checkpoint, or from the beginning of the log, computes
    /// others. Its rows are few, and those computed now describe what this start counts.
    fn accepting_other_coverage(mut self) -> Self {
        if !self.rebuilt.contains(&ViewId::Coverage) {
            self.rebuilt_if_different.insert(ViewId::Coverage);
        }
        self
    }

    /// The same start, but replacing all stored rows.
    fn replacing_all(self) -> Self {
        Self {
            rebuilt: ViewId::ALL.iter().copied().collect(),
            rebuilt_if_different: BTreeSet::new(),
            replaces_all: true,
            ..self
        }
    }
}

/// Decides how to start. Changes nothing.
///
/// # Errors
/// Log and store do not belong together, or exact views cannot be computed from what is left.
pub(crate) async fn start(
    control: &Control,
    ports: &Ports,
    options: &Options,
) -> Result<Start, DataflowError> {
    let log = LogEnds::read(ports.log.as_ref()).await?;
    if options.rebuild {
        return start_over(control, ports, &log).await;
    }
    let store = StoreState::of(control, ports.log.as_ref(), &log).await?;
    let recipe = options.recipe();
    let Found { usable, skipped } = newest_usable(ports, &log, &recipe).await?;
    let start = match usable {
        Some(usable) => {
            let last = usable.manifest.last.epoch;
            let start = from_checkpoint(usable, control, &recipe, log.bounds.id);
            resume_or_refill(start, store.older_than(last), Some(last))
        }
        None => {
            if let Some(error) = refusal(&store, &log, &skipped) {
                return Err(error);
            }
            let start = whole_log(control, ports, &recipe, log.bounds.id).await?;
            resume_or_refill(start, store, None)
        }
    };
    let unusable = skipped.into_iter().map(|it| it.checkpoint).collect();
    let start = Start { unusable, ..start };
    Ok(match control.committed.is_some() && !start.replaces_all {
        true => start.accepting_other_coverage(),
        false => start,
    })
}

/// Adjusts a start to the state of the store, and logs a warning if rows must be replaced.
fn resume_or_refill(start: Start, store: StoreState, checkpoint: Option<Epoch>) -> Start {
    match store {
        StoreState::Empty if checkpoint.is_some() => {
            tracing::warn!(
                "the view store is empty: all views are written again from a checkpoint"
            );
            let rebuilt = ViewId::ALL.iter().copied().collect();
            Start { rebuilt, ..start }
        }
        StoreState::Empty | StoreState::Matches(_) => start,
        StoreState::Differs { why, .. } => {
            tracing::warn!(
                store = why,
                from_checkpoint = checkpoint.map(|epoch| epoch.0),
                "the view store does not match the log: the first commit replaces all its rows, \
                 computed from the newest checkpoint that matches the log, or else from the \
                 beginning of the log. Nothing that the log still has is lost; what the log has \
                 lost is no longer counted. Until that commit all rows are in memory"
            );
            start.replacing_all()
        }
    }
}

/// Why the start is refused without a checkpoint; `None` if the whole log can be counted instead.
fn refusal(store: &StoreState, log: &LogEnds, skipped: &[Skipped]) -> Option<DataflowError> {
    let first = log.bounds.first;
    let mut reasons: Vec<String> = skipped.iter().map(ToString::to_string).collect();
    if reasons.is_empty() {
        reasons.push("there is none".to_owned());
    }
    let why = reasons.join("; ");
    match store {
        StoreState::Differs {
            other_log: Some(epoch),
            ..
        } => Some(DataflowError::OtherLog { epoch: *epoch, why }),
        _ if first > Seq(1) => Some(DataflowError::Trimmed { first, why }),
        _ => None,
    }
}

/// Starts from the beginning of the log.
async fn whole_log(
    control: &Control,
    ports: &Ports,
    recipe: &Recipe,
    log_id: u64,
) -> Result<Start, DataflowError> {
    Ok(Start {
        reader: ports.log.reader(Seq(1)).await?,
        read_ahead: Vec::new(),
        epochs: Epochs::default(),
        checkpoint: None,
        unusable: BTreeSet::new(),
        rebuilt: changed_views(control, recipe),
        rebuilt_if_different: BTreeSet::new(),
        recounted: BTreeSet::new(),
        replaces_all: false,
        log_id,
        unprotected: false,
    })
}

/// Views whose stored rows have another recipe, or may have: a commit that rebuilds them was begun
/// and not completed, or a version that recorded no recipe made the commit, and it has no rows of
/// them. That version may not have had the view.
fn changed_views(control: &Control, recipe: &Recipe) -> BTreeSet<ViewId> {
    let mut changed = match &control.committed {
        None => BTreeSet::new(),
        Some(committed) => match &committed.recipe {
            Some(stored) => stored.differing(recipe),
            None => {
                let views = recipe.views.keys().copied();
                views
                    .filter(|view| !committed.sums.contains_key(view))
                    .collect()
            }
        },
    };
    changed.extend(&control.rebuilding);
    changed
}

/// Starts over from all whole epochs that the log still has, and replaces all stored rows.
async fn start_over(
    control: &Control,
    ports: &Ports,
    log: &LogEnds,
) -> Result<Start, DataflowError> {
    let mut unusable = BTreeSet::new();
    if let Some(checkpoints) = &ports.checkpoints {
        unusable.extend(checkpoints.list().await?.iter().map(|it| it.checkpoint));
    }
    let first = log.bounds.first;
    tracing::warn!(
        from = first.0,
        checkpoints = unusable.len(),
        "starting over from what the log still has: views and checkpoints are replaced"
    );
    let start = Start {
        reader: ports.log.reader(first).await?,
        read_ahead: Vec::new(),
        epochs: if first > Seq(1) {
            Epochs::trimmed()
        } else {
            Epochs::default()
        },
        checkpoint: None,
        unusable,
        rebuilt: BTreeSet::new(),
        rebuilt_if_different: BTreeSet::new(),
        recounted: BTreeSet::new(),
        replaces_all: false,
        log_id: log.bounds.id,
        unprotected: first > Seq(1),
    };
    let stored = control.committed.is_some() || control.intent.is_some();
    Ok(match stored {
        true => start.replacing_all(),
        false => start,
    })
}

/// Starts from a checkpoint.
fn from_checkpoint(usable: Usable, control: &Control, recipe: &Recipe, log_id: u64) -> Start {
    let Usable { manifest, position } = usable;
    let (first, last) = (manifest.first, &manifest.last);
    let stored_recipe = last.recipe.clone().unwrap_or_default();
    let recounted = stored_recipe.differing(recipe);
    let mut rebuilt = changed_views(control, recipe);
    // Lists are not recomputed until the next list epoch, so the stored ones cannot be compared.
    rebuilt.extend(recounted.iter().filter(|view| view.is_list()));
    Start {
        reader: position.reader,
        read_ahead: position.read_ahead,
        epochs: Epochs::after(&first, last.since, last.epoch),
        unusable: BTreeSet::new(),
        rebuilt,
        rebuilt_if_different: BTreeSet::new(),
        recounted,
        replaces_all: false,
        log_id,
        unprotected: false,
        checkpoint: Some(manifest),
    }
}

#[cfg(test)]
mod tests {
    use skytide_core::port::store::{Committed, Sum};

    use super::*;

    /// Such a version may not have had the view, whose rows would differ from none.
    #[test]
    fn views_without_rows_in_a_commit_without_a_recipe_are_rebuilt() {
        let views = [ViewId::Posts, ViewId::Coverage];
        let recipe = Recipe {
            views: views.map(|view| (view, 1)).into(),
            ..Recipe::default()
        };
        let committed = |stored: Option<&Recipe>| Control {
            committed: Some(Committed {
                recipe: stored.cloned(),
                sums: [(ViewId::Posts, Sum { rows: 2, hash: 7 })].into(),
                ..Committed::default()
            }),
            ..Control::default()
        };
        let changed = changed_views(&committed(None), &recipe);
        assert_eq!(changed, [ViewId::Coverage].into());
        let changed = changed_views(&committed(Some(&recipe)), &recipe);
        assert_eq!(changed, BTreeSet::new(), "the view is empty");
        assert_eq!(changed_views(&Control::default(), &recipe), BTreeSet::new());
    }
}
