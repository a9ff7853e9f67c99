//! The state of the jobs in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::port::job::{
    JobError, JobPlan, JobState, JobStore, RUNS_KEPT, RunEnd, RunOutcome, Running,
};

/// A [`JobStore`] in memory. Clones share one store.
#[derive(Clone, Debug, Default)]
pub struct MemoryJobs(Arc<Mutex<BTreeMap<String, JobState>>>);

impl MemoryJobs {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, JobState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl JobStore for MemoryJobs {
    async fn all(&self) -> Result<Vec<JobState>, JobError> {
        Ok(self.jobs().values().cloned().collect())
    }

    async fn plan(&self, name: &str, plan: &JobPlan) -> Result<(), JobError> {
        JobState::of(&mut self.jobs(), name).plan = plan.clone();
        Ok(())
    }

    async fn begin(&self, name: &str, run: &Running) -> Result<Option<Running>, JobError> {
        Ok(JobState::of(&mut self.jobs(), name).begin(run))
    }

    async fn end(&self, name: &str, token: u64, ended: &RunEnd) -> Result<(), JobError> {
        JobState::of(&mut self.jobs(), name).end(token, ended);
        Ok(())
    }
}

/// The rules of the port, for adapters that apply them on the client side.
impl JobState {
    /// The state of the job with this name; created if it does not exist.
    pub fn of<'a>(jobs: &'a mut BTreeMap<String, Self>, name: &str) -> &'a mut Self {
        jobs.entry(name.to_owned()).or_insert_with(|| Self {
            name: name.to_owned(),
            ..Self::default()
        })
    }

    /// See [`JobStore::begin`].
    pub fn begin(&mut self, run: &Running) -> Option<Running> {
        let other = self.running.filter(|other| other.is_active(run.began));
        if other.is_some() {
            return other;
        }
        if let Some(died) = self.running.replace(*run) {
            self.record(RunEnd::died(&died, run.began));
        }
        None
    }

    /// See [`JobStore::end`].
    pub fn end(&mut self, token: u64, ended: &RunEnd) {
        if self.running.is_none_or(|run| run.token != token) {
            return;
        }
        self.running = None;
        if ended.outcome != RunOutcome::Interrupted {
            self.last = Some(ended.clone());
        }
        self.record(ended.clone());
    }

    /// Adds a run to the history, and removes runs that exceed its length.
    fn record(&mut self, ended: RunEnd) {
        self.history.insert(0, ended);
        self.history.truncate(RUNS_KEPT);
    }
}
