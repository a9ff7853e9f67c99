//! Writes what workers cut, makes it complete, keeps the newest, trims the log.

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
use tokio::time::{Instant as Moment, sleep_until};

use super::{CheckpointOptions, Gate, LogKeep, News, Part};
use crate::metrics::Metrics;
use crate::records::SHARDS;

/// How often it is looked whether the log is full.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The wait after a failure, unless the interval is shorter.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// Marks that a manifest holds, about.
const MARKS: u32 = 500;

/// The task that makes checkpoints of what workers cut.
pub(crate) struct Keeper {
    pub checkpoints: Arc<dyn CheckpointStore>,
    pub store: Arc<dyn ViewStore>,
    /// The writer whose checkpoints these are: when another one has taken over, nothing is completed, removed or trimmed.
    pub term: Term,
    pub log: Arc<dyn Log>,
    pub options: CheckpointOptions,
    pub workers: usize,
    pub metrics: Arc<Metrics>,
    pub gate: Arc<Gate>,
    /// Checkpoints that the start could not use: they are removed when a newer one is complete.
    pub unusable: BTreeSet<Epoch>,
}

/// A checkpoint that was begun.
struct Unfinished {
    first: Mark,
    attempt: u64,
    started: Instant,
    through: Vec<Epoch>,
    sections: Vec<Section>,
    /// Workers whose last part is written, and the epoch of that cut.
    ended: usize,
    last: Epoch,
}

/// What happened of late.
#[derive(Default)]
struct Recent {
    unfinished: Option<Unfinished>,
    /// Commits since a checkpoint was begun, and the newest before it.
    committed: BTreeMap<Epoch, Committed>,
    /// Whether the start has proved right: until then nothing is removed and nothing is trimmed.
    right: bool,
    /// Checkpoints that failed since the newest complete one.
    failures: u32,
}

impl Keeper {
    /// Runs until everybody who has news is gone.
    pub async fn run(mut self, mut news: mpsc::UnboundedReceiver<News>) {
        let mut recent = Recent::default();
        let mut due = self.options.interval.map(|time| Moment::now() + time);
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let far = Moment::now() + Duration::from_secs(86_400);
            tokio::select! {
                biased;
                next = news.recv() => {
                    let Some(next) = next else { return };
                    if let Some(wait) = self.hear(&mut recent, next).await {
                        due = self.options.interval.map(|time| Moment::now() + wait.min(time));
                        look.reset_after(patience(recent.failures));
                    }
                }
                () = sleep_until(due.unwrap_or(far)), if due.is_some() => {
                    due = self.options.interval.map(|time| Moment::now() + time);
                    self.gate.due.store(true, Ordering::Release);
                }
                _ = look.tick() => self.look(&recent).await,
            }
        }
    }

    /// Takes a piece of news; answers when the next checkpoint is to be made if one ended with it.
    async fn hear(&mut self, recent: &mut Recent, news: News) -> Option<Duration> {
        match news {
            News::Begun(first, attempt) => {
                let newest = recent.committed.pop_last();
                recent.committed = newest.into_iter().collect();
                self.metrics.checkpoint_pause_seconds.set(0.0);
                recent.unfinished = Some(Unfinished {
                    first,
                    attempt,
                    started: Instant::now(),
                    through: vec![first.epoch; usize::from(SHARDS)],
                    sections: Vec::new(),
                    ended: 0,
                    last: first.epoch,
                });
                return None;
            }
            News::Restored => self.right(recent).await,
            News::Committed(committed) => {
                self.right(recent).await;
                if recent.unfinished.is_none() {
                    recent.committed.clear();
                }
                recent.committed.insert(committed.epoch, committed);
            }
            News::Part(part) => {
                let taken = self.take(recent.unfinished.as_mut(), part).await;
                self.gate.written();
                if let Err(error) = taken {
                    return Some(self.give_up(recent, error.as_ref()).await);
                }
            }
        }
        let unfinished = recent.unfinished.as_ref()?;
        let last = recent.committed.get(&unfinished.last)?;
        if unfinished.ended < self.workers {
            return None;
        }
        match self.finish(unfinished, last).await {
            Ok(()) => {
                self.gate.completed(unfinished.first.epoch);
                recent.unfinished = None;
                recent.failures = 0;
                self.gate.busy.store(false, Ordering::Release);
                Some(Duration::MAX)
            }
            Err(error) => Some(self.give_up(recent, error.as_ref()).await),
        }
    }

    /// Gives back the room of what was written.
    async fn give_up(
        &self,
        recent: &mut Recent,
        error: &(dyn std::error::Error + Send + Sync + 'static),
    ) -> Duration {
        self.warn(
            "a checkpoint failed: the ones before stay, it is tried again",
            error,
        );
        self.metrics.checkpoint_failures.inc();
        recent.failures += 1;
        let failed = recent.unfinished.take().map(|it| it.first.epoch);
        self.tidy(recent, failed).await;
        self.gate.failed.store(true, Ordering::Release);
        RETRY_AFTER
    }

    async fn take(&self, unfinished: Option<&mut Unfinished>, part: Part) -> Result<(), BoxError> {
        let Some(unfinished) = unfinished else {
            return Ok(());
        };
        let checkpoint = unfinished.first.epoch;
        if (part.cut.checkpoint, part.cut.attempt) != (checkpoint, unfinished.attempt) {
            return Ok(());
        }
        for shard in part.cut.shards {
            unfinished.through[usize::from(shard)] = part.through;
        }
        for (name, bytes) in part.sections {
            let section = self.checkpoints.write(checkpoint, &name, bytes).await?;
            unfinished.sections.push(section);
        }
        if part.cut.last {
            unfinished.ended += 1;
            unfinished.last = part.through;
        }
        Ok(())
    }

    /// Everything is written and the store has committed the last cut: makes it count.
    async fn finish(&mut self, unfinished: &Unfinished, last: &Committed) -> Result<(), BoxError> {
        self.store.sync().await?;
        let manifest = Manifest {
            format: Manifest::FORMAT,
            first: unfinished.first,
            last: last.clone(),
            through: unfinished.through.clone(),
            sections: unfinished.sections.clone(),
            marks: self.marks(unfinished.first).await?,
        };
        self.check_term().await?;
        self.checkpoints.complete(&manifest).await?;
        // It may be in the place of one that the start could not use.
        self.unusable.remove(&manifest.first.epoch);
        let bytes: u64 = manifest.sections.iter().map(|section| section.bytes).sum();
        let seconds = unfinished.started.elapsed().as_secs_f64();
        let m = &self.metrics;
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
        if let Err(error) = self.retire(self.options.keep, false).await {
            self.warn(
                "the log could not be trimmed behind a checkpoint",
                error.as_ref(),
            );
        }
        Ok(())
    }

    /// Where the log may be trimmed later: what the checkpoint before knew and is still there, and this one's place.
    async fn marks(&self, first: Mark) -> Result<Vec<Mark>, BoxError> {
        let LogKeep::Time(time) = self.options.log_keep else {
            return Ok(Vec::new());
        };
        let listed = self.checkpoints.list().await?.into_iter();
        let mut usable = listed.filter(|it| !self.unusable.contains(&it.checkpoint));
        let before = usable.next().and_then(|listed| listed.manifest.ok());
        let mut marks = before.map_or_else(Vec::new, |manifest| manifest.marks);
        let begin = self.log.bounds().await?.first;
        marks.retain(|mark| mark.seq >= begin);
        let apart = (time / MARKS).as_millis() as u64;
        if marks
            .last()
            .is_none_or(|last| last.time.0 + apart <= first.time.0)
        {
            marks.push(first);
        }
        Ok(marks)
    }

    /// Keeps the newest `keep` checkpoints and what the log must hold for them.
    async fn retire(&self, keep: usize, full: bool) -> Result<(), BoxError> {
        let listed = self.checkpoints.list().await?;
        let whole = listed.into_iter().filter_map(|listed| listed.manifest.ok());
        let whole = whole.filter(|manifest| !self.unusable.contains(&manifest.first.epoch));
        let kept: Vec<Manifest> = whole.take(keep.max(1)).collect();
        let (Some(newest), Some(oldest)) = (kept.first(), kept.last()) else {
            return Ok(());
        };
        let epochs: Vec<Epoch> = kept.iter().map(|manifest| manifest.first.epoch).collect();
        self.check_term().await?;
        self.checkpoints.keep(&epochs).await?;
        if let Some(below) = self.trimmed_below(newest, oldest.first.seq, full) {
            self.log.trim(below).await?;
        }
        Ok(())
    }

    fn trimmed_below(&self, newest: &Manifest, oldest: Seq, full: bool) -> Option<Seq> {
        match self.options.log_keep {
            LogKeep::All => None,
            LogKeep::Time(time) if !full => {
                let late = newest.last.time.0.saturating_sub(time.as_millis() as u64);
                let old = newest.marks.iter().filter(|mark| mark.time.0 <= late);
                old.map(|mark| mark.seq.min(oldest)).next_back()
            }
            LogKeep::Nothing | LogKeep::Time(_) => Some(oldest),
        }
    }

    /// At a full log room is made, as soon as the start has proved right: a commit is told without any.
    async fn look(&self, recent: &Recent) {
        let trims = self.options.log_keep != LogKeep::All;
        if trims
            && recent.right
            && self.full().await
            && let Err(error) = self.make_room().await
        {
            self.warn("the log is full and could not be trimmed", error.as_ref());
        }
    }

    async fn full(&self) -> bool {
        match self.log.bounds().await {
            Ok(bounds) => bounds.bytes >= bounds.bytes_max,
            // Whoever reads the log meets the same error, and tells it.
            Err(_) => false,
        }
    }

    /// Trims a full log behind all checkpoints that are kept. If that is not enough, one is made at once, so that more can
    /// be trimmed; if nothing came since the newest one, the log is cut down to what that one needs.
    async fn make_room(&self) -> Result<(), BoxError> {
        // What is being written must not be taken for something left over.
        let busy = self.gate.busy.load(Ordering::Acquire);
        let trimmed = match busy {
            true => Ok(()),
            false => self.retire(self.options.keep, true).await,
        };
        if !self.full().await {
            return trimmed;
        }
        let newest = self.log.newest_tick().await?;
        let more = newest.is_some_and(|(_, tick)| tick.epoch > self.gate.newest());
        if busy || more {
            self.gate.due.store(true, Ordering::Release);
            self.gate.at_once.notify_one();
            return trimmed;
        }
        trimmed?;
        self.retire(1, true).await
    }

    /// At the first commit it is certain that the start was right. One in progress removes what is of no use when it ends.
    async fn right(&self, recent: &mut Recent) {
        if !std::mem::replace(&mut recent.right, true) && recent.unfinished.is_none() {
            self.tidy(recent, None).await;
        }
    }

    /// Removes what unfinished checkpoints left, and once the start has proved right the one that failed: it may have become
    /// complete all the same, or have the name of one that the start could not use, and then it could not be made again.
    async fn tidy(&self, recent: &Recent, failed: Option<Epoch>) {
        let useless = |epoch: &Epoch| recent.right && failed == Some(*epoch);
        let tidy = async {
            let listed = self.checkpoints.list().await?.into_iter();
            let epochs = listed.map(|listed| listed.checkpoint);
            let kept: Vec<Epoch> = epochs.filter(|epoch| !useless(epoch)).collect();
            self.check_term().await?;
            self.checkpoints.keep(&kept).await?;
            Ok::<_, BoxError>(())
        };
        if let Err(error) = tidy.await {
            self.warn("old checkpoints could not be removed", error.as_ref());
        }
    }

    /// A process that was frozen goes on where it stood, and learns only by its next commit that it was replaced.
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

/// The wait before a full log is looked at again: after failures doubled each time, so that a disk that is full is not
/// written to without a pause.
fn patience(failures: u32) -> Duration {
    LOOK_EVERY
        .saturating_mul(1 << failures.min(5))
        .min(RETRY_AFTER)
}

#[cfg(test)]
mod tests;
