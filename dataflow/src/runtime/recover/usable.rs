//! Finds the newest checkpoint that a start can use.

use std::fmt;
use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore, Manifest, Section};
use skytide_core::port::log::LogError;
use skytide_core::port::store::Recipe;
use skytide_state::{ReadFile, Run, StateError};

use super::log_match::{LogEnds, LogMatch, LogPosition, RecordedTick};
use crate::runtime::restore;
use crate::runtime::section_file::RunFile;
use crate::runtime::section_name::run_shard;
use crate::{AccountPolicy, DataflowError, Ports};

/// The result of the search.
pub struct Found {
    /// The newest checkpoint that can be used.
    pub usable: Option<Usable>,
    /// The newer ones, which cannot be used, the newest first.
    pub skipped: Vec<Skipped>,
}

/// A checkpoint that can be used.
pub struct Usable {
    pub manifest: Manifest,
    /// The log after its first cut.
    pub position: LogPosition,
}

/// A checkpoint that cannot be used.
pub struct Skipped {
    pub checkpoint: Epoch,
    pub why: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint {}: {}", self.checkpoint, self.why)
    }
}

/// Why a checkpoint is not used.
enum Refusal {
    /// This one cannot be used; another one may.
    Unusable(String),
    /// Log or checkpoints cannot be read at all.
    Stop(DataflowError),
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        Self::Stop(error.into())
    }
}

/// Checks the checkpoints, the newest first, until one can be used.
///
/// # Errors
/// Log or checkpoints could not be read.
pub async fn newest_usable(
    ports: &Ports,
    log: &LogEnds,
    recipe: &Recipe,
) -> Result<Found, DataflowError> {
    let mut skipped = Vec::new();
    let Some(checkpoints) = &ports.checkpoints else {
        let usable = None;
        return Ok(Found { usable, skipped });
    };
    for listed in checkpoints.list().await? {
        let checkpoint = listed.checkpoint;
        let found = match listed.manifest {
            Ok(manifest) => usable(manifest, ports, checkpoints.as_ref(), log, recipe).await,
            Err(why) => Err(Refusal::Unusable(format!(
                "its manifest cannot be read: {why}"
            ))),
        };
        let why = match found {
            Ok(usable) => {
                let usable = Some(usable);
                return Ok(Found { usable, skipped });
            }
            Err(Refusal::Stop(error)) => return Err(error),
            Err(Refusal::Unusable(why)) => why,
        };
        tracing::warn!(
            checkpoint = checkpoint.0,
            why,
            "skipping a checkpoint that cannot be used; it is removed when a newer one is complete"
        );
        skipped.push(Skipped { checkpoint, why });
    }
    let usable = None;
    Ok(Found { usable, skipped })
}

/// Checks one checkpoint.
async fn usable(
    manifest: Manifest,
    ports: &Ports,
    checkpoints: &dyn CheckpointStore,
    log: &LogEnds,
    recipe: &Recipe,
) -> Result<Usable, Refusal> {
    let unusable = |why: String| Err(Refusal::Unusable(why));
    let (first, last) = (manifest.first, &manifest.last);
    let policy = last.recipe.as_ref().map_or("", |it| &it.account_policy);
    let ops_only = |policy: &str| policy == AccountPolicy::OpsOnly.name();
    if ops_only(policy) != ops_only(&recipe.account_policy) {
        let ours = &recipe.account_policy;
        return unusable(format!(
            "records counted as {policy} cannot be counted as {ours}"
        ));
    }
    let cuts = [
        RecordedTick::of(last),
        RecordedTick {
            log_id: last.log_id,
            seq: first.seq,
            epoch: first.epoch,
            hash: Some(first.hash),
        },
    ];
    let mut position = None;
    for cut in cuts {
        let log_match = log.find(ports.log.as_ref(), &cut).await?;
        position = Some(log_match.position(&cut, log).map_err(Refusal::Unusable)?);
    }
    check_sections(checkpoints, &manifest).await?;
    let position = position.expect("there are two cuts");
    Ok(Usable { manifest, position })
}

impl LogMatch {
    /// The log after a cut of a checkpoint.
    ///
    /// # Errors
    /// Why the checkpoint cannot be used.
    fn position(self, cut: &RecordedTick, log: &LogEnds) -> Result<LogPosition, String> {
        let (epoch, at) = (cut.epoch, cut.seq);
        let (begin, end) = (log.bounds.first, log.bounds.next);
        match self {
            Self::Same(position) => Ok(position),
            Self::Trimmed => Err(format!(
                "it needs the log from {at} on, which holds {begin} to {end}"
            )),
            Self::Lost => Err(format!(
                "it counts up to epoch {epoch} at {at}, but the log lost messages and ends before \
                 that epoch"
            )),
            Self::Replaced => Err(format!(
                "the log has another message at {at}, where the tick of epoch {epoch} was"
            )),
            Self::OtherLog => Err("it was made from another log".to_owned()),
        }
    }
}

/// Reads every section, so that damage or an unknown format is found before anything is restored.
async fn check_sections(
    checkpoints: &dyn CheckpointStore,
    manifest: &Manifest,
) -> Result<(), Refusal> {
    let checkpoint = manifest.first.epoch;
    for section in &manifest.sections {
        if run_shard(&section.name).is_some() {
            check_run(checkpoints, checkpoint, section).await?;
            continue;
        }
        match checkpoints.read(checkpoint, section).await {
            Ok(bytes) => restore::check_format(section, &bytes).map_err(Refusal::Unusable)?,
            Err(CheckpointError::Damaged { what, .. }) => return Err(Refusal::Unusable(what)),
            Err(error) => return Err(Refusal::Stop(error.into())),
        }
    }
    Ok(())
}

/// Reads a run as a restore does, and every block of it. An error names the run, and the offset if
/// the damage is in a block.
async fn check_run(
    checkpoints: &dyn CheckpointStore,
    checkpoint: Epoch,
    section: &Section,
) -> Result<(), Refusal> {
    match checkpoints.read(checkpoint, section).await {
        Ok(bytes) => check_blocks(section, Arc::new(bytes)).await,
        Err(CheckpointError::Damaged { what, .. }) => {
            // The blocks know where the damage is, unless it is in the header of the file.
            if let Ok(file) = checkpoints.open(checkpoint, section).await {
                check_blocks(section, Arc::new(RunFile(file))).await?;
            }
            Err(Refusal::Unusable(what))
        }
        Err(error) => Err(Refusal::Stop(error.into())),
    }
}

/// Reads every block of a run.
async fn check_blocks(section: &Section, file: Arc<dyn ReadFile>) -> Result<(), Refusal> {
    let name = section.name.clone();
    let check = move || Run::open(&name, file)?.verify();
    let checked = tokio::task::spawn_blocking(check).await;
    match checked.map_err(|why| Refusal::Unusable(why.to_string()))? {
        Ok(()) => Ok(()),
        Err(error @ StateError::Damaged { .. }) => {
            Err(Refusal::Unusable(format!("section {error}")))
        }
        Err(error) => Err(Refusal::Stop(DataflowError::Checkpoint(
            CheckpointError::Failed {
                operation: "check a section",
                source: error.into(),
            },
        ))),
    }
}
