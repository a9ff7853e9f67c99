//! The parts of a process whose health is checked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skytide_api::Part;
use skytide_core::id::Epoch;
use skytide_core::port::explanation::Explanation;
use skytide_core::port::log::Log;
use skytide_core::port::store::ViewStore;
use skytide_core::time::Timestamp;
use skytide_dataflow::Metrics;
use skytide_ingest::Status;

use super::waits::{Backlog, Observed, memory_text};
use super::watch::{CheckpointWatch, CommitDelay, CommitShare, Unchanged};

pub struct RelayHealth {
    /// A relay that is silent for longer is not healthy.
    pub silence_max: Duration,
    pub newest: Mutex<Option<NewestFrame>>,
    pub status: Status,
}

/// The newest frame that ingest read.
#[derive(Clone, Copy)]
pub struct NewestFrame {
    /// Frames read so far, with this one.
    pub frames: u64,
    pub read_at: Timestamp,
}

pub struct LogHealth {
    pub log: Arc<dyn Log>,
    /// A known reason why the log does not answer.
    pub problem: Box<dyn Fn() -> Option<&'static str> + Send + Sync>,
    /// The result of the newest check.
    pub checked: Mutex<Checked<LogState>>,
    /// How long the log has had no new epoch.
    pub silence: Mutex<Unchanged<Option<Epoch>>>,
}

/// What a check of the log found.
#[derive(Clone, Copy, Debug)]
pub struct LogState {
    pub bytes: u64,
    pub bytes_max: u64,
    /// The newest epoch that ended.
    pub newest: Option<Epoch>,
}

pub struct StoreHealth {
    pub store: Arc<dyn ViewStore>,
    /// The newest committed epoch, as the newest check found it.
    pub checked: Mutex<Checked<Option<Epoch>>>,
    /// How long nothing has been committed.
    pub silence: Mutex<Unchanged<Option<Epoch>>>,
}

/// The result of the newest check; `None` before the first.
pub type Checked<T> = Option<Result<T, Explanation>>;

pub struct DataflowHealth {
    pub metrics: Arc<Metrics>,
    pub watch: Mutex<DataflowWatch>,
}

/// Rates and delays of the dataflow.
pub struct DataflowWatch {
    pub delay: CommitDelay,
    pub share: CommitShare,
    pub checkpoints: CheckpointWatch,
}

impl RelayHealth {
    /// For how long no frame has arrived; `None` if none has since the start.
    pub fn silence(&self, now: Timestamp) -> Option<Duration> {
        let newest = *lock(&self.newest);
        newest.map(|it| Duration::from_millis(now.0.saturating_sub(it.read_at.0)))
    }

    pub fn is_recent(&self, now: Timestamp) -> bool {
        self.silence(now).is_some_and(|it| it <= self.silence_max)
    }

    pub fn newest_frame(&self, now: Timestamp) -> String {
        match self.silence(now) {
            None => "no frame yet".to_owned(),
            Some(silence) => format!("newest frame {} s ago", silence.as_secs()),
        }
    }

    /// Why no frames arrive, as a sentence.
    pub fn problem(&self, now: Timestamp) -> Option<String> {
        if let Some(problem) = self.status.problem() {
            return Some(problem);
        }
        if self.is_recent(now) {
            return None;
        }
        Some(match self.silence(now) {
            None => "no frame has arrived from the relay since the start".to_owned(),
            Some(silence) => format!(
                "no frame has arrived from the relay for {} s",
                silence.as_secs()
            ),
        })
    }
}

impl LogHealth {
    pub fn part(&self) -> Part {
        let (ok, detail) = match &*lock(&self.checked) {
            None => (false, unchecked()),
            Some(Err(why)) => (false, why.clone()),
            Some(Ok(state)) if state.bytes < state.bytes_max => {
                (true, Explanation::new("has room"))
            }
            Some(Ok(_)) => {
                let full = "at its size limit: ingest waits until the log is trimmed";
                (false, Explanation::new(full))
            }
        };
        Part {
            name: "log".to_owned(),
            ok,
            detail,
        }
    }
}

impl StoreHealth {
    pub fn part(&self) -> Part {
        let (ok, detail) = match &*lock(&self.checked) {
            None => (false, unchecked()),
            Some(Err(why)) => (false, why.clone()),
            Some(Ok(epoch)) => {
                let epoch = epoch.unwrap_or_default();
                (
                    true,
                    Explanation::new(format!("committed up to epoch {epoch}")),
                )
            }
        };
        Part {
            name: "views".to_owned(),
            ok,
            detail,
        }
    }
}

impl DataflowHealth {
    /// Adds what the counters of the dataflow show. `in_log`: the newest epoch in the log.
    pub fn observe(&self, in_log: Option<Epoch>, now: Timestamp, observed: &mut Observed) {
        let m = &self.metrics;
        let mut watch = lock(&self.watch);
        let committed = Epoch(m.epoch.get().max(0) as u64);
        observed.commits = m.commit_progress();
        let commits = &observed.commits;
        let spent = commits.total + commits.running.unwrap_or_default();
        observed.commit_share = watch.share.observe(spent.as_secs_f64(), now);
        observed.recovery = self.recovery();
        observed.memory = m.memory_excess().filter(|excess| excess.waits);
        observed.backlog = Backlog {
            behind: in_log.map_or(Duration::ZERO, |it| watch.delay.observe(it, committed, now)),
            epochs: in_log.map_or(0, |it| it.0.saturating_sub(committed.0)),
            events: m.events_pending.get(),
            batches: m.batches_pending.get(),
        };
        let (completed, failed) = (m.checkpoints.get(), m.checkpoint_failures.get());
        observed.checkpoint = watch
            .checkpoints
            .observe(completed, failed, m.commits.get(), now);
    }

    /// What the dataflow does after a start, and whether it is over its memory limit.
    pub fn recovery(&self) -> Option<String> {
        let m = &self.metrics;
        let mut text = match (m.restoring.get(), m.catching_up.get()) {
            (0, 0) => return None,
            (0, _) => format!(
                "replaying the log after a restart: at epoch {}",
                m.epoch.get()
            ),
            (shards, _) => {
                format!("restoring a checkpoint after a restart: {shards} of 64 shards left")
            }
        };
        if let Some(excess) = m.memory_excess() {
            let memory = memory_text(&excess);
            text.push_str(&format!("; {memory}, which does not stop the restart"));
        }
        Some(text)
    }

    pub fn part(&self) -> Part {
        let commits = self.metrics.commit_progress();
        let epoch = self.metrics.epoch.get();
        let memory = self.metrics.memory_excess().filter(|excess| excess.waits);
        let memory = memory.map(|it| format!("waits at epoch {epoch}: {}", memory_text(&it)));
        let reason = memory.or_else(|| self.recovery());
        let ok = reason.is_none() && commits.failure.is_none();
        let detail = match (commits.failure, reason) {
            (Some(why), _) => {
                why.map_public(|public| format!("commits fail and are retried: {public}"))
            }
            (None, Some(reason)) => Explanation::new(reason),
            (None, None) => Explanation::new(format!("at epoch {epoch}")),
        };
        Part {
            name: "dataflow".to_owned(),
            ok,
            detail,
        }
    }
}

fn unchecked() -> Explanation {
    Explanation::new("not checked yet")
}

/// Locks a mutex, also after a panic of another thread.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
