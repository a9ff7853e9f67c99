//! The runs of a checkpoint: what changed in each shard becomes a new run, and the runs of the
//! previous checkpoint are shared with it or merged.
//!
//! ```text
//! previous      [ 4 ][ 3 ][ 2 ][      1      ]
//! new      [ 5 ][ 4 ][ 3 ][ 2 ][      1      ]       5 is written, the others are shared
//!       or [        6         ][      1      ]       6 is merged from 5, 4, 3 and 2 and written
//! ```

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use skytide_core::id::Epoch;
use skytide_core::port::BoxError;
use skytide_core::port::checkpoint::{CheckpointError, CheckpointStore, Manifest, Section};
use skytide_state::{MergePolicy, Run, StateError, merge_runs};
use tokio::task::spawn_blocking;

use crate::metrics::Metrics;
use crate::records::{CheckpointId, OpenRuns, SHARDS, build_run};
use crate::runtime::section_file::RunFile;
use crate::runtime::section_name::run_shard;

/// The complete checkpoint on which the next one builds, and its runs.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub id: CheckpointId,
    /// For each shard, its runs, newest first.
    runs: Vec<Vec<Section>>,
}

impl Base {
    /// The runs of a checkpoint; `None` if its format has none, so that the next one must contain
    /// everything.
    pub fn of(manifest: &Manifest, attempt: u64) -> Option<Self> {
        if !manifest.has_runs() {
            return None;
        }
        let mut runs = vec![Vec::new(); usize::from(SHARDS)];
        for section in &manifest.sections {
            if let Some(runs) =
                run_shard(&section.name).and_then(|it| runs.get_mut(usize::from(it)))
            {
                runs.push(section.clone());
            }
        }
        Some(Self {
            id: (manifest.first.epoch, attempt),
            runs,
        })
    }
}

impl Base {
    /// Reads all runs of these shards and compares their checksums. Returns how many there are.
    ///
    /// # Errors
    /// A run cannot be read, or is damaged: the error names the run and the offset.
    pub async fn verify(
        &self,
        checkpoints: &dyn CheckpointStore,
        shards: Range<u16>,
    ) -> Result<u64, BoxError> {
        let mut verified = 0;
        for section in shards.flat_map(|shard| &self.runs[usize::from(shard)]) {
            let run = open_run(checkpoints, self.id.0, section).await;
            let run = run.map_err(of_base)?;
            spawn_blocking(move || run.verify())
                .await?
                .map_err(|error| of_base(error.into()))?;
            verified += 1;
        }
        Ok(verified)
    }

    /// Opens all runs. Those that `previous` has are not opened again.
    ///
    /// # Errors
    /// A run cannot be opened, or is damaged.
    pub async fn open(
        &self,
        checkpoints: &dyn CheckpointStore,
        previous: Option<&OpenRuns>,
        hot_records_max: usize,
    ) -> Result<OpenRuns, BoxError> {
        let mut shards = Vec::new();
        for (shard, sections) in (0..).zip(&self.runs) {
            let mut runs = Vec::new();
            for section in sections {
                let known = previous.and_then(|it| it.find(shard, &section.name));
                let run = match known.filter(|_| section.origin.is_some()) {
                    Some(run) => run,
                    None => open_run(checkpoints, self.id.0, section).await?,
                };
                runs.push(run);
            }
            shards.push(runs);
        }
        Ok(OpenRuns {
            id: self.id,
            shards,
            hot_records_max,
        })
    }
}

async fn open_run(
    checkpoints: &dyn CheckpointStore,
    checkpoint: Epoch,
    section: &Section,
) -> Result<Arc<Run>, BoxError> {
    let file = checkpoints.open(checkpoint, section).await?;
    let name = section.name.clone();
    let run = spawn_blocking(move || Run::open(&name, Arc::new(RunFile(file)))).await??;
    Ok(Arc::new(run))
}

/// The runs of an unfinished checkpoint.
#[derive(Debug)]
pub(super) struct NewRuns {
    checkpoint: Epoch,
    base: Option<Base>,
    shards: Vec<NewShard>,
}

#[derive(Debug, Default)]
struct NewShard {
    /// What the workers said has changed.
    changes: Vec<Vec<u8>>,
    /// The number of workers that wrote their part.
    parts: usize,
    /// The runs, newest first, once all workers wrote their parts.
    runs: Vec<Section>,
}

/// A run before it is part of the new checkpoint.
enum Source {
    /// What changed.
    Changes(Vec<u8>),
    /// A run of the base.
    Base(Section),
}

impl NewRuns {
    pub fn new(checkpoint: Epoch, base: Option<Base>) -> Self {
        Self {
            checkpoint,
            base,
            shards: (0..SHARDS).map(|_| NewShard::default()).collect(),
        }
    }

    /// Adds a worker's part of a shard. Returns whether it was the last one of `workers`.
    pub fn add_part(&mut self, shard: u16, changes: Option<Vec<u8>>, workers: usize) -> bool {
        let shard = &mut self.shards[usize::from(shard)];
        shard.changes.extend(changes);
        shard.parts += 1;
        shard.parts == workers
    }

    /// All runs, newest first within each shard.
    pub fn sections(&self) -> impl Iterator<Item = &Section> {
        self.shards.iter().flat_map(|shard| &shard.runs)
    }

    /// Writes the runs of a shard of which all parts have arrived.
    ///
    /// # Errors
    /// A run cannot be read, shared or written, or is damaged.
    pub async fn finish(
        &mut self,
        shard: u16,
        checkpoints: &dyn CheckpointStore,
        metrics: &Metrics,
    ) -> Result<(), BoxError> {
        let name = format!("run{shard:02}-e{}", self.checkpoint);
        let changes = std::mem::take(&mut self.shards[usize::from(shard)].changes);
        let built = {
            let name = name.clone();
            spawn_blocking(move || build_run(&name, &changes)).await?
        };
        let base = self.base.as_ref();
        let older = base.map_or(&[][..], |base| &base.runs[usize::from(shard)]);
        let older = older.iter().cloned().map(Source::Base);
        let sources: Vec<Source> = built
            .into_iter()
            .map(Source::Changes)
            .chain(older)
            .collect();
        let sizes: Vec<u64> = sources.iter().map(Source::bytes).collect();
        let groups = merge_policy(shard).groups(&sizes);
        let mut sources = sources.into_iter();
        let mut runs = Vec::new();
        for (number, group) in groups.into_iter().enumerate() {
            let inputs: Vec<Source> = sources.by_ref().take(group.len()).collect();
            let has_older = group.end < sizes.len();
            let merged = format!("{name}-m{number}");
            let run = match <[Source; 1]>::try_from(inputs) {
                Ok([Source::Base(section)]) => self.share(checkpoints, section).await?,
                Ok([Source::Changes(bytes)]) => {
                    metrics.runs.written_bytes.inc_by(bytes.len() as u64);
                    checkpoints.write(self.checkpoint, &name, bytes).await?
                }
                Err(inputs) => {
                    let inputs = self.open(checkpoints, &name, inputs).await?;
                    metrics.runs.merges.inc();
                    let name = merged.clone();
                    let bytes = spawn_blocking(move || merge_runs(&name, &inputs, has_older));
                    let bytes = bytes.await?.map_err(|error| of_base(error.into()))?;
                    let Some(bytes) = bytes else { continue };
                    metrics.runs.written_bytes.inc_by(bytes.len() as u64);
                    checkpoints.write(self.checkpoint, &merged, bytes).await?
                }
            };
            runs.push(run);
        }
        self.shards[usize::from(shard)].runs = runs;
        Ok(())
    }

    async fn share(
        &self,
        checkpoints: &dyn CheckpointStore,
        section: Section,
    ) -> Result<Section, BoxError> {
        let from = self.base_epoch();
        let shared = checkpoints.share(self.checkpoint, from, &[section]).await;
        let shared = shared.map_err(|error| of_base(error.into()))?;
        Ok(shared.into_iter().next().expect("one section was shared"))
    }

    /// Opens the runs to merge.
    async fn open(
        &self,
        checkpoints: &dyn CheckpointStore,
        changes_name: &str,
        inputs: Vec<Source>,
    ) -> Result<Vec<Arc<Run>>, BoxError> {
        let mut runs = Vec::new();
        for input in inputs {
            runs.push(match input {
                Source::Changes(bytes) => Arc::new(Run::open(changes_name, Arc::new(bytes))?),
                Source::Base(section) => {
                    let run = open_run(checkpoints, self.base_epoch(), &section).await;
                    run.map_err(of_base)?
                }
            });
        }
        Ok(runs)
    }

    fn base_epoch(&self) -> Epoch {
        let base = self.base.as_ref().expect("the run is part of the base");
        base.id.0
    }
}

impl Source {
    fn bytes(&self) -> u64 {
        match self {
            Self::Changes(bytes) => bytes.len() as u64,
            Self::Base(section) => section.bytes,
        }
    }
}

/// Which runs of a shard are merged. Shards differ, so that not all of them merge their largest
/// runs for the same checkpoint.
fn merge_policy(shard: u16) -> MergePolicy {
    let default = MergePolicy::default();
    MergePolicy {
        runs_max: default.runs_max - 1 + usize::from(shard + 2) % 3,
        first_tier_bytes: default.first_tier_bytes + u64::from(shard / 3) * (8 << 10),
    }
}

/// An error of a run that is part of the base.
#[derive(Debug)]
struct BaseError(BoxError);

/// Marks an error of a run that is part of the base.
pub(super) fn of_base(error: BoxError) -> BoxError {
    BaseError(error).into()
}

impl fmt::Display for BaseError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, to)
    }
}

impl std::error::Error for BaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

/// What an error says of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BaseState {
    /// Nothing: another part of the checkpoint failed.
    Unknown,
    /// Its runs could not be read or shared. Another attempt may succeed.
    Unreadable,
    /// Its runs are damaged or missing, so another attempt fails, too.
    Damaged,
}

impl BaseState {
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let base = error.downcast_ref::<BaseError>();
        let inner = base.map_or(error, |it| it.0.as_ref());
        let checkpoint = inner.downcast_ref::<CheckpointError>();
        let state = inner.downcast_ref::<StateError>();
        let is_damaged = matches!(checkpoint, Some(CheckpointError::Damaged { .. }))
            || matches!(state, Some(StateError::Damaged { .. }));
        let causes = std::iter::successors(Some(inner), |&it| it.source());
        let is_full = causes
            .filter_map(|it| it.downcast_ref::<io::Error>())
            .any(|it| {
                let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
                full.contains(&it.kind())
            });
        match base {
            _ if is_damaged => Self::Damaged,
            // Where a run is copied, the disk may be full. Then there is no room for all runs.
            Some(_) if !is_full => Self::Unreadable,
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
