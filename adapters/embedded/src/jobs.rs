//! The state of the jobs in one file: `data/jobs.json`. Every change writes a new file, syncs it
//! and renames it into place.
//!
//! Only one process at a time uses the view store of the data folder. So a run that is recorded as
//! running when the file is opened belongs to a process that died. Its deadline is removed, so that
//! the next run can start at once, and records the end of the dead one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use skytide_core::port::BoxError;
use skytide_core::port::job::{JobError, JobPlan, JobState, JobStore, RunEnd, Running};
use skytide_core::time::Timestamp;

use super::durable::replace_file;

/// A [`JobStore`] in a file. Clones share one store.
#[derive(Clone, Debug)]
pub struct JobFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    jobs: Mutex<BTreeMap<String, JobState>>,
}

impl JobFile {
    /// Opens the file. No other process may use it. A missing file counts as an empty one.
    ///
    /// # Errors
    /// `Damaged` if the content is not a list of job states, `Failed` if the file cannot be read.
    pub fn open(path: &Path) -> Result<Self, JobError> {
        let mut states: Vec<JobState> = match fs::read(path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|why| {
                let path = path.display();
                JobError::Damaged(format!(
                    "{path}: {why}; if you remove the file, the jobs start without a history"
                ))
            })?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(why) => return Err(failed("read")(why)),
        };
        for run in states.iter_mut().filter_map(|it| it.running.as_mut()) {
            run.deadline = Timestamp(0);
        }
        let named = |state: JobState| (state.name.clone(), state);
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            jobs: Mutex::new(states.into_iter().map(named).collect()),
        })))
    }

    /// Applies a change to a copy of the states, writes the copy, and then replaces the states. If
    /// the write fails, the states in memory stay unchanged.
    async fn change<T: Send + 'static>(
        &self,
        name: &str,
        change: impl FnOnce(&mut JobState) -> T + Send + 'static,
    ) -> Result<T, JobError> {
        let (shared, name) = (self.0.clone(), name.to_owned());
        let work = move || {
            let mut jobs = shared.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let mut changed = jobs.clone();
            let answer = change(JobState::of(&mut changed, &name));
            if changed != *jobs {
                write(&shared.path, &changed)?;
                *jobs = changed;
            }
            Ok(answer)
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(failed("wait for the blocking thread"))?
    }
}

#[async_trait]
impl JobStore for JobFile {
    async fn all(&self) -> Result<Vec<JobState>, JobError> {
        let shared = self.0.clone();
        // The lock is held while the file is written, so waiting for it may block the thread.
        let work = move || {
            let jobs = shared.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            jobs.values().cloned().collect()
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(failed("wait for the blocking thread"))
    }

    async fn plan(&self, name: &str, plan: &JobPlan) -> Result<(), JobError> {
        let plan = plan.clone();
        self.change(name, move |job| job.plan = plan).await
    }

    async fn begin(&self, name: &str, run: &Running) -> Result<Option<Running>, JobError> {
        let run = *run;
        self.change(name, move |job| job.begin(&run)).await
    }

    async fn end(&self, name: &str, token: u64, ended: &RunEnd) -> Result<(), JobError> {
        let ended = ended.clone();
        self.change(name, move |job| job.end(token, &ended)).await
    }
}

fn write(path: &Path, jobs: &BTreeMap<String, JobState>) -> Result<(), JobError> {
    let states: Vec<&JobState> = jobs.values().collect();
    let json = serde_json::to_vec_pretty(&states).map_err(failed("encode"))?;
    let aside = path.with_extension("partial");
    let written = replace_file(path, &aside, |file| file.write_all(&json));
    written.map(drop).map_err(failed("write"))
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> JobError {
    move |source| JobError::Failed {
        operation,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::port::job::{RunOutcome, Trigger};

    const RUN: Running = Running {
        token: 1,
        began: Timestamp(10),
        deadline: Timestamp(1_000),
        trigger: Some(Trigger::Schedule),
    };

    fn ended() -> RunEnd {
        RunEnd {
            began: Timestamp(10),
            ended: Timestamp(20),
            trigger: Some(Trigger::Command),
            outcome: RunOutcome::Ok,
            report: "done".to_owned(),
        }
    }

    #[tokio::test]
    async fn after_a_restart_ended_runs_are_known_and_interrupted_runs_are_recorded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jobs.json");
        let jobs = JobFile::open(&path).expect("opens");
        jobs.begin("a", &RUN).await.expect("begins");
        jobs.end("a", 1, &ended()).await.expect("ends");
        let second = Running { token: 2, ..RUN };
        jobs.begin("a", &second).await.expect("begins");
        drop(jobs);
        let jobs = JobFile::open(&path).expect("opens");
        let third = Running {
            token: 3,
            began: Timestamp(11),
            ..RUN
        };
        assert_eq!(jobs.begin("a", &third).await.expect("begins"), None);
        let all = jobs.all().await.expect("read");
        assert_eq!(all[0].last, Some(ended()));
        let died = RunEnd::died(&second, Timestamp(11));
        assert_eq!(all[0].history, [died, ended()]);
    }

    #[tokio::test]
    async fn a_file_without_a_history_opens() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jobs.json");
        let old = r#"[{"name": "a", "plan": {"cron": "never", "zone": "UTC", "due": null},
            "running": {"token": 7, "began": 5, "deadline": 900},
            "last": {"began": 1, "ended": 2, "ok": false, "report": "no server"}}]"#;
        fs::write(&path, old).expect("written");
        let jobs = JobFile::open(&path).expect("opens");
        let state = jobs.all().await.expect("read").remove(0);
        let last = RunEnd {
            began: Timestamp(1),
            ended: Timestamp(2),
            trigger: None,
            outcome: RunOutcome::Failed,
            report: "no server".to_owned(),
        };
        assert_eq!((state.last, state.history), (Some(last), Vec::new()));
        assert_eq!(jobs.begin("a", &RUN).await.expect("begins"), None);
    }

    #[tokio::test]
    async fn a_change_that_cannot_be_written_fails_and_leaves_the_state_unchanged() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jobs.json");
        let jobs = JobFile::open(&path).expect("opens");
        // A folder occupies the path of the temporary file.
        let aside = folder.path().join("jobs.partial");
        fs::create_dir(&aside).expect("a folder");
        let begun = jobs.begin("a", &RUN).await;
        assert!(matches!(begun, Err(JobError::Failed { .. })), "{begun:?}");
        fs::remove_dir(&aside).expect("removed");
        assert_eq!(jobs.begin("a", &RUN).await.expect("begins"), None);
    }

    #[test]
    fn opening_a_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jobs.json");
        fs::write(&path, "[{\"name\": \"sna").expect("written");
        let opened = JobFile::open(&path);
        assert!(matches!(opened, Err(JobError::Damaged(_))), "{opened:?}");
    }
}
