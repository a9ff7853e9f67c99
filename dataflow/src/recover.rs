//! With what a start begins: a checkpoint, or the log's beginning, or what is left of the log.
//!
//! ```text
//! checkpoints, the newest first ─ usable? ─ yes ─▶ restore it, read the log behind its first cut
//!                                └ none ─ log begins at 1? ─ yes ─▶ read all of it
//!                                                           └ no ──▶ refuse, unless a person said: start over
//! ```
//!
//! A checkpoint is usable if the log is the one it was made from, still holds the tick of its first cut, and that is
//! the same tick; if the store has committed its last cut, or has nothing at all and can be written anew; if its
//! records can be counted under the policy in force; and if every byte of it is what was written.

use std::collections::BTreeSet;

use skytide_core::event::Message;
use skytide_core::id::{Epoch, Seq};
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore, Manifest, tick_hash};
use skytide_core::port::log::{Bounds, Log, LogError, LogReader};
use skytide_core::port::store::{Control, Recipe};
use skytide_core::view::ViewId;

use crate::batch::Epochs;
use crate::types::{Quiet, Time};
use crate::{AccountPolicy, DataflowError, Options, Ports};

/// With what a start begins.
pub(crate) struct Start {
    /// The log from here on.
    pub reader: Box<dyn LogReader>,
    /// Messages that were read from it already.
    pub read: Vec<(Seq, Message)>,
    /// Knows the tick before.
    pub epochs: Epochs,
    /// What is taken in first.
    pub checkpoint: Option<Manifest>,
    /// Checkpoints that cannot be used.
    pub unusable: BTreeSet<Epoch>,
    /// Views whose rows in the store are replaced as a whole.
    pub rebuilt: BTreeSet<ViewId>,
    /// Views of which the checkpoint cannot say what their rows add up to.
    pub recounted: BTreeSet<ViewId>,
    /// The log's id.
    pub log_id: u64,
    /// Whether a restart would find no way back until the next checkpoint.
    pub exposed: bool,
}

impl Start {
    /// Up to which time rows need not be told: the store has them, and the checkpoint says what they add up to.
    pub fn quiet(&self, verify: bool) -> Quiet {
        let mut quiet = Quiet::NONE;
        let last = self.checkpoint.as_ref().map(|it| it.last.epoch);
        for &view in ViewId::ALL {
            let told = verify || self.rebuilt.contains(&view) || self.recounted.contains(&view);
            if !told {
                quiet.set(view, last.map_or(0, |last| last.0 as Time));
            }
        }
        quiet
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
    let bounds = ports.log.bounds().await?;
    if options.rebuild {
        return start_over(control, ports, bounds).await;
    }
    check_log(control, &bounds)?;
    let recipe = options.recipe();
    let mut unusable = BTreeSet::new();
    let mut reasons = Vec::new();
    let listed = match &ports.checkpoints {
        Some(checkpoints) => checkpoints.list().await?,
        None => Vec::new(),
    };
    for listed in listed {
        let usable = match listed.manifest {
            Ok(manifest) => usable(manifest, control, ports, (&bounds, &recipe)).await,
            Err(why) => Err(Refusal::Unusable(format!("its manifest is damaged: {why}"))),
        };
        match usable {
            Ok((manifest, place)) => {
                return Ok(
                    behind(manifest, place, control, (&recipe, bounds.id)).unusable(unusable)
                );
            }
            Err(Refusal::Stop(error)) => return Err(error),
            Err(Refusal::Unusable(why)) => {
                let checkpoint = listed.checkpoint;
                tracing::warn!(checkpoint = checkpoint.0, why, "checkpoint cannot be used");
                reasons.push(format!("checkpoint {checkpoint}: {why}"));
                unusable.insert(checkpoint);
            }
        }
    }
    if bounds.first > Seq(1) {
        let none = "there is none".to_owned();
        let why = if reasons.is_empty() {
            none
        } else {
            reasons.join("; ")
        };
        let first = bounds.first;
        return Err(DataflowError::Trimmed { first, why });
    }
    Ok(Start {
        reader: ports.log.reader(Seq(1)).await?,
        read: Vec::new(),
        epochs: Epochs::default(),
        checkpoint: None,
        unusable,
        rebuilt: changed(control, &recipe),
        recounted: BTreeSet::new(),
        log_id: bounds.id,
        exposed: false,
    })
}

impl Start {
    fn unusable(self, unusable: BTreeSet<Epoch>) -> Self {
        Self { unusable, ..self }
    }
}

/// Views of which the store has rows from another recipe, or may have: a commit that was to replace them was begun and
/// not completed. If none was ever completed, nothing says how the rows were computed that are there.
fn changed(control: &Control, recipe: &Recipe) -> BTreeSet<ViewId> {
    let Some(committed) = &control.committed else {
        let all = ViewId::ALL.iter().copied();
        return all.filter(|_| control.intent.is_some()).collect();
    };
    let stored = committed.recipe.as_ref();
    let mut changed = stored.map_or_else(BTreeSet::new, |stored| stored.differing(recipe));
    changed.extend(&control.rebuilding);
    changed
}

/// Checks that log and store belong together.
fn check_log(control: &Control, bounds: &Bounds) -> Result<(), DataflowError> {
    let Some(committed) = &control.committed else {
        return Ok(());
    };
    if committed.log_id != bounds.id {
        return Err(DataflowError::OtherLog {
            epoch: committed.epoch,
        });
    }
    if committed.log_seq >= bounds.next {
        return Err(DataflowError::LogBehind {
            store: committed.log_seq,
            log: bounds.next,
        });
    }
    Ok(())
}

/// All that the log still has, whole epochs only; every row there is gets replaced.
async fn start_over(
    control: &Control,
    ports: &Ports,
    bounds: Bounds,
) -> Result<Start, DataflowError> {
    if let Some(committed) = &control.committed {
        let newest = ports.log.newest_tick().await?;
        let newest = newest.map_or(Epoch(0), |(_, tick)| tick.epoch);
        let (store, log) = (committed.epoch, newest);
        if committed.log_id != bounds.id && log <= store {
            return Err(DataflowError::RebuildBehind { store, log });
        }
    }
    let mut unusable = BTreeSet::new();
    if let Some(checkpoints) = &ports.checkpoints {
        unusable.extend(checkpoints.list().await?.iter().map(|it| it.checkpoint));
    }
    tracing::warn!(
        from = bounds.first.0,
        checkpoints = unusable.len(),
        "starting over from what the log has: views and checkpoints are replaced"
    );
    let stored = control.committed.is_some() || control.intent.is_some();
    Ok(Start {
        reader: ports.log.reader(bounds.first).await?,
        read: Vec::new(),
        epochs: if bounds.first > Seq(1) {
            Epochs::trimmed()
        } else {
            Epochs::default()
        },
        checkpoint: None,
        unusable,
        rebuilt: ViewId::ALL.iter().copied().filter(|_| stored).collect(),
        recounted: BTreeSet::new(),
        log_id: bounds.id,
        exposed: bounds.first > Seq(1),
    })
}

/// Why a checkpoint is not taken.
enum Refusal {
    /// Another one may do.
    Unusable(String),
    /// Nothing will.
    Stop(DataflowError),
}

/// The log behind the first cut of a checkpoint.
type Place = (Box<dyn LogReader>, Vec<(Seq, Message)>);

async fn usable(
    manifest: Manifest,
    control: &Control,
    ports: &Ports,
    (bounds, recipe): (&Bounds, &Recipe),
) -> Result<(Manifest, Place), Refusal> {
    let unusable = |why: String| Err(Refusal::Unusable(why));
    let (first, last) = (manifest.first, &manifest.last);
    if last.log_id != bounds.id {
        return unusable("it was made from another log".to_owned());
    }
    match (&control.committed, control.intent) {
        (Some(committed), _) if committed.epoch < last.epoch => {
            let (store, ours) = (committed.epoch, last.epoch);
            return unusable(format!(
                "the view store is at epoch {store}, before its epoch {ours}"
            ));
        }
        (None, Some(intent)) if intent < last.epoch => {
            return unusable(format!(
                "the view store is empty and was begun at epoch {intent}"
            ));
        }
        _ => {}
    }
    let policy = last.recipe.as_ref().map_or("", |it| &it.account_policy);
    let ops_only = |policy: &str| policy == AccountPolicy::OpsOnly.name();
    if ops_only(policy) != ops_only(&recipe.account_policy) {
        let ours = &recipe.account_policy;
        return unusable(format!(
            "records counted as {policy} cannot be counted as {ours}"
        ));
    }
    if first.seq < bounds.first || first.seq >= bounds.next {
        let (begin, end, at) = (bounds.first, bounds.next, first.seq);
        return unusable(format!(
            "it needs the log from {at} on, which holds {begin} to {end}"
        ));
    }
    let place = place(ports.log.as_ref(), &manifest).await?;
    let Some(checkpoints) = &ports.checkpoints else {
        return unusable("there is no place for checkpoints".to_owned());
    };
    check_sections(checkpoints.as_ref(), &manifest).await?;
    Ok((manifest, place))
}

/// Finds the tick of the first cut again, and stands behind it.
async fn place(log: &dyn Log, manifest: &Manifest) -> Result<Place, Refusal> {
    let first = manifest.first;
    let stop = |error: LogError| Refusal::Stop(error.into());
    let mut reader = log.reader(first.seq).await.map_err(stop)?;
    loop {
        let mut messages = reader.next(64).await.map_err(stop)?;
        let found = messages.iter().position(|(seq, message)| {
            let same = matches!(message, Message::Tick(tick) if tick_hash(tick) == first.hash);
            same && *seq == first.seq
        });
        if let Some(found) = found {
            messages.drain(..=found);
            return Ok((reader, messages));
        }
        if messages.iter().any(|(seq, _)| *seq > first.seq) {
            let (epoch, seq) = (first.epoch, first.seq);
            let why =
                format!("the log has another message than the tick of epoch {epoch} at {seq}");
            return Err(Refusal::Unusable(why));
        }
    }
}

/// Reads every section: one that is damaged must be known before anything is taken in.
async fn check_sections(
    checkpoints: &dyn CheckpointStore,
    manifest: &Manifest,
) -> Result<(), Refusal> {
    for section in &manifest.sections {
        match checkpoints.read(manifest.first.epoch, section).await {
            Ok(_) => {}
            Err(CheckpointError::Damaged { what, .. }) => return Err(Refusal::Unusable(what)),
            Err(error) => return Err(Refusal::Stop(error.into())),
        }
    }
    Ok(())
}

fn behind(
    manifest: Manifest,
    (reader, read): Place,
    control: &Control,
    (recipe, log_id): (&Recipe, u64),
) -> Start {
    let (first, last) = (manifest.first, &manifest.last);
    let made_as = last.recipe.clone().unwrap_or_default();
    let recounted = made_as.differing(recipe);
    let mut rebuilt = changed(control, recipe);
    if control.committed.is_none() {
        tracing::warn!("the view store is empty: all views are written anew from a checkpoint");
        rebuilt.extend(recipe.views.keys());
    }
    // Lists are not computed again before they are written next: the store's cannot be compared.
    rebuilt.extend(recounted.iter().filter(|view| view.is_list()));
    Start {
        reader,
        read,
        epochs: Epochs::behind(&first, last.since, last.epoch),
        unusable: BTreeSet::new(),
        rebuilt,
        recounted,
        log_id,
        exposed: false,
        checkpoint: Some(manifest),
    }
}
