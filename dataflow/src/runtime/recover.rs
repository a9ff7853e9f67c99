//! Where a start begins: which checkpoint is restored, from where the log is read, and which stored rows are replaced.
//!
//! The log decides. A checkpoint or a store *matches* the log if the log still has the tick at which it ends, at the same
//! position and with the same hash. The newest checkpoint that matches is restored; then the log is read from its first cut.
//!
//! | the view store                                           | a checkpoint matches | none, whole log | none, trimmed |
//! |----------------------------------------------------------|----------------------|-----------------|---------------|
//! | is empty, nothing was begun                              | restore, write all   | count the log   | refuse        |
//! | matches the log, not before the checkpoint               | restore, resume      | count, resume   | refuse        |
//! | matches the log, before the checkpoint (an older backup) | refill               | -               | refuse        |
//! | ends before the log begins (an older backup)             | refill               | -               | refuse        |
//! | ends after the log (the log lost its tail)               | refill               | refill          | refuse        |
//! | has another tick there (lost the tail, then counted on)  | refill               | refill          | refuse        |
//! | began a commit up to a tick that the log does not have   | refill               | refill          | refuse        |
//! | began to replace everything, has no commit               | refill               | refill          | refuse        |
//! | was computed from another log                            | refill               | refuse          | refuse        |
//!
//! | a checkpoint                                               |                                                 |
//! |------------------------------------------------------------|-------------------------------------------------|
//! | matches the log, all its bytes are right, the policy fits  | is used if it is the newest of these            |
//! | ends after the log, or the log has another tick there      | is skipped: it counted events that the log lost |
//! | begins before the log, is of another log                   | is skipped                                      |
//! | is damaged, is of a format that this version does not know | is skipped                                      |
//!
//! *Resume*: rows are compared with the stored ones at the store's commit, and commits go on. *Refill*: the first commit
//! replaces all rows, whatever epochs they have ([`Intent::replaces_all`]); it is logged as a warning. *Refuse*: the error
//! names what helps, the least destructive first. A skipped checkpoint stays on the disk until a newer one is complete, so
//! that a log that was put back meets the checkpoints it had. An empty log is one that ends before everything. Each row is
//! tested in `tests/it/restart/accidents.rs`.
//!
//! [`Intent::replaces_all`]: skytide_core::port::store::Intent::replaces_all

mod standing;
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
use standing::{LogEnds, StoreState};
use usable::{Found, Skipped, newest_usable};

/// With what a start begins.
pub(crate) struct Start {
    /// The log from here on.
    pub reader: Box<dyn LogReader>,
    /// Messages that were read from it already.
    pub read: Vec<(Seq, Message)>,
    /// Knows the tick before.
    pub epochs: Epochs,
    /// What is restored first.
    pub checkpoint: Option<Manifest>,
    /// Checkpoints that cannot be used.
    pub unusable: BTreeSet<Epoch>,
    /// Views whose rows in the store are replaced as a whole.
    pub rebuilt: BTreeSet<ViewId>,
    /// Views of which the checkpoint cannot say what their rows add up to.
    pub recounted: BTreeSet<ViewId>,
    /// Whether the first commit replaces everything, whatever the store has committed or begun.
    pub replaces_all: bool,
    /// The log's id.
    pub log_id: u64,
    /// Whether a restart would find no way back until the next checkpoint.
    pub exposed: bool,
}

impl Start {
    /// Up to which time rows need not be emitted: the store has them, and the checkpoint says what they add up to.
    pub fn quiet(&self, verify: bool) -> SuppressedRows {
        let mut quiet = SuppressedRows::NONE;
        let last = self.checkpoint.as_ref().map(|it| it.last.epoch);
        for &view in ViewId::ALL {
            let told = verify || self.rebuilt.contains(&view) || self.recounted.contains(&view);
            if !told {
                quiet.set(view, last.map_or(0, |last| last.0 as Time));
            }
        }
        quiet
    }

    /// What of the store's control record counts: nothing but the term where everything is replaced.
    pub fn control(&self, found: Control) -> Control {
        match self.replaces_all {
            true => Control {
                term: found.term,
                ..Control::default()
            },
            false => found,
        }
    }

    /// Replaces everything that is stored.
    fn replacing_all(self) -> Self {
        Self {
            rebuilt: ViewId::ALL.iter().copied().collect(),
            replaces_all: true,
            ..self
        }
    }
}

/// Decides; nothing is changed yet.
///
/// # Errors
/// Log and store do not belong together, or there is no way from what is there to exact views.
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
            let start = from_checkpoint(usable, control, (&recipe, log.bounds.id));
            resume_or_refill(start, store.older_than(last), Some(last))
        }
        None => {
            let why = refusal(&store, &log, &skipped);
            why.map_or(Ok(()), Err)?;
            let start = whole_log(control, ports, (&recipe, log.bounds.id)).await?;
            resume_or_refill(start, store, None)
        }
    };
    let unusable = skipped.into_iter().map(|it| it.checkpoint).collect();
    Ok(Start { unusable, ..start })
}

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
                "the view store does not match the log: all its rows are replaced by the first commit, counted from the \
                 newest checkpoint that matches the log, else from the log's beginning. Nothing that the log still has is \
                 lost; what the log itself has lost is no longer counted. Until then all rows are held in memory"
            );
            start.replacing_all()
        }
    }
}

/// Why there is no way on without a checkpoint; `None`: there is one, the whole log.
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

async fn whole_log(
    control: &Control,
    ports: &Ports,
    (recipe, log_id): (&Recipe, u64),
) -> Result<Start, DataflowError> {
    Ok(Start {
        reader: ports.log.reader(Seq(1)).await?,
        read: Vec::new(),
        epochs: Epochs::default(),
        checkpoint: None,
        unusable: BTreeSet::new(),
        rebuilt: changed(control, recipe),
        recounted: BTreeSet::new(),
        replaces_all: false,
        log_id,
        exposed: false,
    })
}

/// Views of which the store has rows from another recipe, or may have: a commit that was to replace them was begun and
/// not completed.
fn changed(control: &Control, recipe: &Recipe) -> BTreeSet<ViewId> {
    let committed = control.committed.as_ref();
    let stored = committed.and_then(|committed| committed.recipe.as_ref());
    let mut changed = stored.map_or_else(BTreeSet::new, |stored| stored.differing(recipe));
    changed.extend(&control.rebuilding);
    changed
}

/// All that the log still has, whole epochs only; every row there is gets replaced.
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
        "starting over from what the log has: views and checkpoints are replaced"
    );
    let start = Start {
        reader: ports.log.reader(first).await?,
        read: Vec::new(),
        epochs: if first > Seq(1) {
            Epochs::trimmed()
        } else {
            Epochs::default()
        },
        checkpoint: None,
        unusable,
        rebuilt: BTreeSet::new(),
        recounted: BTreeSet::new(),
        replaces_all: false,
        log_id: log.bounds.id,
        exposed: first > Seq(1),
    };
    let stored = control.committed.is_some() || control.intent.is_some();
    Ok(match stored {
        true => start.replacing_all(),
        false => start,
    })
}

fn from_checkpoint(
    usable::Usable {
        manifest,
        place: (reader, read),
    }: usable::Usable,
    control: &Control,
    (recipe, log_id): (&Recipe, u64),
) -> Start {
    let (first, last) = (manifest.first, &manifest.last);
    let made_as = last.recipe.clone().unwrap_or_default();
    let recounted = made_as.differing(recipe);
    let mut rebuilt = changed(control, recipe);
    // Lists are not computed again before they are written next: the store's cannot be compared.
    rebuilt.extend(recounted.iter().filter(|view| view.is_list()));
    Start {
        reader,
        read,
        epochs: Epochs::behind(&first, last.since, last.epoch),
        unusable: BTreeSet::new(),
        rebuilt,
        recounted,
        replaces_all: false,
        log_id,
        exposed: false,
        checkpoint: Some(manifest),
    }
}
