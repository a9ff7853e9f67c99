//! The keeper: writes checkpoints, completes them, removes old ones and trims the log.
//!
//! ```text
//! worker ─ cut: changes of some shards ─▶ keeper ─▶ sections ─ last cut committed ─▶ manifest
//!                                                                     └─▶ remove old, trim log
//! ```

mod base;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use skytide_core::id::{Epoch, Seq};
use skytide_core::port::BoxError;
use skytide_core::port::checkpoint::{CheckpointStore, Manifest, Mark, Section};
use skytide_core::port::log::Log;
use skytide_core::port::store::{Committed, StoreError, Term, ViewStore};
use tokio::sync::mpsc;
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::runs::{BaseState, NewRuns};
use super::{Base, CheckpointEvent, CheckpointOptions, CutGate, LogKeep, Part};
use crate::metrics::Metrics;
use crate::records::SHARDS;

/// How often the keeper checks whether the log is full.
const LOG_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The delay before the next checkpoint after a failure, unless the interval is shorter.
const RETRY_DELAY: Duration = Duration::from_secs(30);
/// The approximate number of marks in a manifest. A mark is a position at which the log may be
/// trimmed later.
const MARKS: u32 = 500;

/// The task that writes checkpoints from the parts that workers send to it. Each worker sends one
/// part for each cut.
pub(crate) struct Keeper {
    pub checkpoints: Arc<dyn CheckpointStore>,
    pub store: Arc<dyn ViewStore>,
    /// The term of this writer. After another writer has taken over, the keeper completes, removes
    /// and trims nothing.
    pub term: Term,
    pub log: Arc<dyn Log>,
    pub options: CheckpointOptions,
    pub workers: usize,
    pub metrics: Arc<Metrics>,
    /// Shared with the planner and the workers, to decide when a cut may be made.
    pub gate: Arc<CutGate>,
    /// Checkpoints that could not be restored at the start of this process. They are removed when a
    /// newer one is complete.
    pub unusable: BTreeSet<Epoch>,
    /// The complete checkpoint whose runs the next one shares. The gate has its identity.
    pub base: Option<Base>,
    /// The number of records that a worker keeps in memory; `None` if it keeps all.
    pub hot_records_max: Option<usize>,
}

/// A checkpoint that was begun and is not complete.
struct Unfinished {
    /// The epoch at which the first cut was made, and the position of its tick in the log.
    first: Mark,
    attempt: u64,
    started: Instant,
    /// For each shard, the epoch at which it was cut.
    through: Vec<Epoch>,
    sections: Vec<Section>,
    runs: NewRuns,
    /// The number of workers whose last part is written.
    workers_done: usize,
    /// The epoch of the last cut.
    last: Epoch,
}

impl Unfinished {
    /// The sections of the workers, and the runs.
    fn all_sections(&self) -> Vec<Section> {
        let sections = self.sections.iter();
        sections.chain(self.runs.sections()).cloned().collect()
    }
}

/// What the keeper has observed.
#[derive(Default)]
struct Progress {
    unfinished: Option<Unfinished>,
    /// Commits since the unfinished checkpoint was begun, and the newest one before it.
    committed: BTreeMap<Epoch, Committed>,
    /// Whether the state that this process started from is verified: the rows computed from it
    /// have the recorded checksums, or the store accepted a commit of them. Before that, the keeper
    /// removes no complete checkpoint and does not trim the log.
    start_verified: bool,
    /// The number of checkpoints that failed since the newest complete one.
    failures: u32,
    /// The number of failures to read the base since its runs were last read.
    base_failures: u32,
    /// The first shard whose runs are verified next.
    verify_next: u16,
    /// When a checkpoint was last requested for memory, and the shortest time until the next
    /// request.
    for_memory: Option<(TokioInstant, Duration)>,
}

impl Keeper {
    /// Runs until all senders of events have ended.
    pub async fn run(mut self, mut events: mpsc::UnboundedReceiver<CheckpointEvent>) {
        let mut progress = Progress::default();
        let mut due = self.options.interval.map(|time| TokioInstant::now() + time);
        let mut log_check = tokio::time::interval(LOG_CHECK_INTERVAL);
        log_check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let never = TokioInstant::now() + Duration::from_secs(86_400);
            tokio::select! {
                biased;
                event = events.recv() => {
                    let Some(event) = event else { return };
                    if let Some(delay) = self.on_event(&mut progress, event).await {
                        let next = |time: Duration| TokioInstant::now() + delay.min(time);
                        due = self.options.interval.map(next);
                        log_check.reset_after(log_check_delay(progress.failures));
                    }
                }
                () = sleep_until(due.unwrap_or(never)), if due.is_some() => {
                    due = self.options.interval.map(|time| TokioInstant::now() + time);
                    self.gate.request();
                }
                _ = log_check.tick() => {
                    self.check_log_size(&progress).await;
                    self.check_memory(&mut progress);
                }
            }
        }
    }

    /// Handles an event. If a checkpoint completed or failed, returns a delay: the next one is due
    /// after this delay or the interval, whichever is shorter.
    async fn on_event(
        &mut self,
        progress: &mut Progress,
        event: CheckpointEvent,
    ) -> Option<Duration> {
        match event {
            CheckpointEvent::Begun {
                first,
                attempt,
                base,
            } => {
                let known = self.base.clone().filter(|it| Some(it.id) == base);
                if known.is_none() && base.is_some() {
                    let why = "it builds on a checkpoint whose runs are not known";
                    return Some(self.abandon(progress, BoxError::from(why).as_ref()).await);
                }
                let newest = progress.committed.pop_last();
                progress.committed = newest.into_iter().collect();
                self.metrics.checkpoint_pause_seconds.set(0.0);
                progress.unfinished = Some(Unfinished {
                    first,
                    attempt,
                    started: Instant::now(),
                    through: vec![first.epoch; usize::from(SHARDS)],
                    sections: Vec::new(),
                    runs: NewRuns::new(first.epoch, known),
                    workers_done: 0,
                    last: first.epoch,
                });
                return None;
            }
            CheckpointEvent::Restored => self.verify_start(progress).await,
            CheckpointEvent::Committed(committed) => {
                self.verify_start(progress).await;
                if progress.unfinished.is_none() {
                    progress.committed.clear();
                }
                progress.committed.insert(committed.epoch, committed);
            }
            CheckpointEvent::Part(part) => {
                let bytes = part.bytes();
                let written = self.write_part(progress.unfinished.as_mut(), part).await;
                self.gate.part_written();
                if self.waits_for_memory() {
                    // There is no batch at whose end the next cut could be made.
                    self.gate.cut_requested.notify_one();
                }
                self.metrics.queues.checkpoint_parts.remove(1, bytes);
                if let Err(error) = written {
                    return Some(self.abandon(progress, error.as_ref()).await);
                }
            }
        }
        let unfinished = progress.unfinished.as_ref()?;
        let last = progress.committed.get(&unfinished.last)?;
        if unfinished.workers_done < self.workers {
            return None;
        }
        match self.complete(unfinished, last).await {
            Ok(manifest) => {
                self.set_base(Base::of(&manifest, unfinished.attempt));
                self.open_runs().await;
                self.gate.set_newest_complete(unfinished.first.epoch);
                progress.unfinished = None;
                progress.failures = 0;
                self.verify_runs(progress).await;
                self.gate.in_progress.store(false, Ordering::Release);
                Some(Duration::MAX)
            }
            Err(error) => Some(self.abandon(progress, error.as_ref()).await),
        }
    }

    /// Drops the unfinished checkpoint after a failure and removes its sections. Returns the delay
    /// before the next one.
    async fn abandon(
        &mut self,
        progress: &mut Progress,
        error: &(dyn std::error::Error + Send + Sync + 'static),
    ) -> Duration {
        self.warn(
            "a checkpoint failed: previous checkpoints stay, and another is made after a delay",
            error,
        );
        self.metrics.checkpoint_failures.inc();
        let state = BaseState::of(error);
        progress.failures += 1;
        let failed = progress.unfinished.take().map(|it| it.first.epoch);
        self.remove_leftovers(progress, failed).await;
        self.check_base(progress, state).await;
        self.gate.failed.store(true, Ordering::Release);
        RETRY_DELAY
    }

    /// Writes the sections of a part. Skips parts of an earlier attempt.
    async fn write_part(
        &self,
        unfinished: Option<&mut Unfinished>,
        part: Part,
    ) -> Result<(), BoxError> {
        let Some(unfinished) = unfinished else {
            return Ok(());
        };
        let checkpoint = unfinished.first.epoch;
        if (part.cut.checkpoint, part.cut.attempt) != (checkpoint, unfinished.attempt) {
            return Ok(());
        }
        let mut changes: BTreeMap<u16, Vec<u8>> = part.changes.into_iter().collect();
        for shard in part.cut.shards {
            unfinished.through[usize::from(shard)] = part.through;
            let changes = changes.remove(&shard);
            if unfinished.runs.add_part(shard, changes, self.workers) {
                let checkpoints = self.checkpoints.as_ref();
                let finished = unfinished.runs.finish(shard, checkpoints, &self.metrics);
                finished.await?;
            }
        }
        for (name, bytes) in part.sections {
            let written = &self.metrics.runs.written_bytes;
            written.inc_by(bytes.len() as u64);
            let section = self.checkpoints.write(checkpoint, &name, bytes).await?;
            unfinished.sections.push(section);
        }
        if part.cut.last {
            unfinished.workers_done += 1;
            unfinished.last = part.through;
        }
        Ok(())
    }

    /// Completes a checkpoint whose sections are all written and whose last cut the store has
    /// committed.
    async fn complete(
        &mut self,
        unfinished: &Unfinished,
        last: &Committed,
    ) -> Result<Manifest, BoxError> {
        self.store.sync().await?;
        let manifest = Manifest {
            format: Manifest::FORMAT,
            first: unfinished.first,
            last: last.clone(),
            through: unfinished.through.clone(),
            sections: unfinished.all_sections(),
            marks: self.marks(unfinished.first).await?,
        };
        self.check_term().await?;
        self.checkpoints.complete(&manifest).await?;
        // An unusable checkpoint of the same epoch, if there was one, has been replaced.
        self.unusable.remove(&manifest.first.epoch);
        let bytes: u64 = manifest.sections.iter().map(|section| section.bytes).sum();
        let seconds = unfinished.started.elapsed().as_secs_f64();
        let m = &self.metrics;
        let runs = unfinished.runs.sections().count();
        m.runs.runs.set(runs as i64);
        m.checkpoints.inc();
        m.checkpoint_bytes.set(bytes as i64);
        m.checkpoint_seconds.set(seconds);
        m.checkpoint_time_seconds
            .set(manifest.first.time.0 as f64 / 1e3);
        tracing::info!(
            from_epoch = manifest.first.epoch.0,
            through_epoch = last.epoch.0,
            bytes,
            seconds,
            longest_pause_ms = m.checkpoint_pause_seconds.get() * 1e3,
            "checkpoint complete"
        );
        if let Err(error) = self.remove_old_and_trim(self.options.keep, false).await {
            self.warn(
                "old checkpoints could not be removed, or the log not trimmed",
                error.as_ref(),
            );
        }
        Ok(manifest)
    }

    /// The positions up to which the log may be trimmed later: the marks of the previous checkpoint
    /// that are still in the log, and the first cut of this checkpoint unless the newest mark is
    /// too close to it.
    async fn marks(&self, first: Mark) -> Result<Vec<Mark>, BoxError> {
        let LogKeep::Time(time) = self.options.log_keep else {
            return Ok(Vec::new());
        };
        let listed = self.checkpoints.list().await?.into_iter();
        let mut usable = listed.filter(|it| !self.unusable.contains(&it.checkpoint));
        let previous = usable.next().and_then(|listed| listed.manifest.ok());
        let mut marks = previous.map_or_else(Vec::new, |manifest| manifest.marks);
        let begin = self.log.bounds().await?.first;
        marks.retain(|mark| mark.seq >= begin);
        let spacing_ms = (time / MARKS).as_millis() as u64;
        if marks
            .last()
            .is_none_or(|last| last.time.0 + spacing_ms <= first.time.0)
        {
            marks.push(first);
        }
        Ok(marks)
    }

    /// Removes all but the newest `keep` checkpoints, and trims the log to what these need and the
    /// options keep. If the log is full, keeps only what the checkpoints need.
    async fn remove_old_and_trim(&self, keep: usize, log_is_full: bool) -> Result<(), BoxError> {
        let listed = self.checkpoints.list().await?;
        let complete = listed.into_iter().filter_map(|listed| listed.manifest.ok());
        let complete = complete.filter(|manifest| !self.unusable.contains(&manifest.first.epoch));
        let kept: Vec<Manifest> = complete.take(keep.max(1)).collect();
        let (Some(newest), Some(oldest)) = (kept.first(), kept.last()) else {
            return Ok(());
        };
        let epochs: Vec<Epoch> = kept.iter().map(|manifest| manifest.first.epoch).collect();
        self.check_term().await?;
        self.checkpoints.keep(&epochs).await?;
        if let Some(position) = self.trim_before(newest, oldest.first.seq, log_is_full) {
            self.log.trim(position).await?;
        }
        Ok(())
    }

    /// The position before which the log is trimmed; `None` if nothing is trimmed.
    fn trim_before(&self, newest: &Manifest, oldest: Seq, log_is_full: bool) -> Option<Seq> {
        match self.options.log_keep {
            LogKeep::All => None,
            LogKeep::Time(time) if !log_is_full => {
                let cutoff = newest.last.time.0.saturating_sub(time.as_millis() as u64);
                let expired = newest.marks.iter().filter(|mark| mark.time.0 <= cutoff);
                expired.map(|mark| mark.seq.min(oldest)).next_back()
            }
            LogKeep::Nothing | LogKeep::Time(_) => Some(oldest),
        }
    }

    /// Makes room if the log is full and the start is verified. This is no deadlock: the start can
    /// be verified without a new epoch, for which a full log has no room.
    async fn check_log_size(&self, progress: &Progress) {
        let trims = self.options.log_keep != LogKeep::All;
        if trims
            && progress.start_verified
            && self.log_is_full().await
            && let Err(error) = self.make_room().await
        {
            self.warn("the log is full and could not be trimmed", error.as_ref());
        }
    }

    async fn log_is_full(&self) -> bool {
        match self.log.bounds().await {
            Ok(bounds) => bounds.bytes >= bounds.bytes_max,
            // The source, which reads the log, gets the same error and reports it.
            Err(_) => false,
        }
    }

    /// Trims a full log to what the kept checkpoints need. If that is not enough, requests a
    /// checkpoint at once, after which more can be trimmed. If the log has no epoch after the
    /// newest checkpoint, removes the older checkpoints and trims the log to what the newest one
    /// needs.
    async fn make_room(&self) -> Result<(), BoxError> {
        // Removing old checkpoints would also remove the sections of the one in progress.
        let in_progress = self.gate.in_progress.load(Ordering::Acquire);
        let trimmed = match in_progress {
            true => Ok(()),
            false => self.remove_old_and_trim(self.options.keep, true).await,
        };
        if !self.log_is_full().await {
            return trimmed;
        }
        let newest = self.log.newest_tick().await?;
        let has_more = newest.is_some_and(|(_, tick)| tick.epoch > self.gate.newest_complete());
        if in_progress || has_more {
            self.gate.request();
            self.gate.cut_requested.notify_one();
            return trimmed;
        }
        trimmed?;
        self.remove_old_and_trim(1, true).await
    }

    /// Records that the start is verified. The first time, it also removes what unfinished
    /// checkpoints left, unless a checkpoint is in progress: then that is done when it completes or
    /// fails.
    async fn verify_start(&self, progress: &mut Progress) {
        if !std::mem::replace(&mut progress.start_verified, true) && progress.unfinished.is_none() {
            self.remove_leftovers(progress, None).await;
        }
    }

    /// Removes what unfinished checkpoints left; `CheckpointStore::keep` does that. If the start is
    /// verified, also removes a complete checkpoint with the epoch `failed`: the failed checkpoint
    /// may be complete despite the error, or an unusable one may have the same epoch. In both cases
    /// another attempt at that epoch would fail while the checkpoint exists.
    async fn remove_leftovers(&self, progress: &Progress, failed: Option<Epoch>) {
        let is_removed = |epoch: &Epoch| progress.start_verified && failed == Some(*epoch);
        let removal = async {
            let listed = self.checkpoints.list().await?.into_iter();
            let epochs = listed.map(|listed| listed.checkpoint);
            let kept: Vec<Epoch> = epochs.filter(|epoch| !is_removed(epoch)).collect();
            self.check_term().await?;
            self.checkpoints.keep(&kept).await?;
            Ok::<_, BoxError>(())
        };
        if let Err(error) = removal.await {
            self.warn("old checkpoints could not be removed", error.as_ref());
        }
    }

    /// Checks that no other writer has taken over. A process that was frozen resumes where it was,
    /// and would otherwise learn only from its next commit that it was replaced.
    async fn check_term(&self) -> Result<(), StoreError> {
        let (current, ours) = (self.store.control().await?.term, self.term);
        match current == ours {
            true => Ok(()),
            false => Err(StoreError::Fenced { current, ours }),
        }
    }

    fn warn(&self, what: &str, error: &(dyn std::error::Error + 'static)) {
        tracing::warn!(error, "{what}");
    }
}

/// The delay before the next check of the log's size. It doubles with each failed checkpoint, so
/// that a full disk is not written to continuously.
fn log_check_delay(failures: u32) -> Duration {
    LOG_CHECK_INTERVAL
        .saturating_mul(1 << failures.min(5))
        .min(RETRY_DELAY)
}

#[cfg(test)]
mod tests;
