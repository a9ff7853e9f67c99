//! One job of a scheduler: waits until it is due or requested, and plans its next run.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use skytide_core::port::job::{JobPlan, JobState, RunEnd, RunRefusal, Running, Trigger};
use skytide_core::time::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::delay::{delay_ms, delayed};
use super::{Options, RunResult, ScheduledJob, Shared, Status};
use crate::cron::Schedule;
use crate::job::{Job, RunFailure};

/// How often the clock is checked while a job waits, because the clock may be changed meanwhile.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How often the store is read while another process runs the job.
const OTHER_RUN_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The time in ms after which a run is tried again whose start could not be stored.
const STORE_RETRY_MS: u64 = 30_000;

/// A request for a run. Its sender receives the result.
type Request = oneshot::Sender<RunResult>;

/// A job with its schedule and state.
pub(super) struct Entry {
    pub(super) job: Arc<dyn Job>,
    pub(super) run_max: Duration,
    pub(super) status: watch::Sender<Status>,
    /// Locked during a run.
    pub(super) running: tokio::sync::Mutex<()>,
    schedule: Schedule,
    delay_ms: u64,
    /// Runs that ended without the store recording it, by token.
    pub(super) unstored: Mutex<BTreeMap<u64, RunEnd>>,
    requests: mpsc::Sender<Request>,
    /// Taken by the task that runs the job.
    requested: Mutex<Option<mpsc::Receiver<Request>>>,
}

/// The next run of a job without a request.
#[derive(Clone, Copy, Debug)]
struct Planned {
    /// `None`: there is none.
    due: Option<Timestamp>,
    /// The due time without the random delay.
    undelayed: Option<Timestamp>,
    trigger: Trigger,
}

/// A run of another process that makes a planned run superfluous.
enum OtherRun {
    Ended,
    Running(Running),
}

impl Entry {
    pub(super) fn new(job: ScheduledJob, options: Options, now: Timestamp) -> Self {
        let ScheduledJob {
            job,
            schedule,
            run_max,
        } = job;
        let jitter = match job.uses_foreign_servers() {
            true => options.jitter,
            false => Duration::ZERO,
        };
        // A further request waits for the current one.
        let (requests, requested) = mpsc::channel(1);
        let (status, _) = watch::channel(Status {
            name: job.name(),
            due: None,
            running_since: None,
            last: None,
        });
        let entry = Self {
            status,
            delay_ms: delay_ms(options.seed, job.name(), jitter),
            job,
            run_max,
            running: tokio::sync::Mutex::new(()),
            schedule,
            unstored: Mutex::default(),
            requests,
            requested: Mutex::new(Some(requested)),
        };
        let due = entry.due_after(now);
        entry.status.send_modify(|status| status.due = due);
        entry
    }

    /// When the job is due after `now`, with its delay.
    pub(super) fn due_after(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.schedule.next(now)?;
        Some(delayed(due, self.delay_ms, self.schedule.next(due)))
    }

    /// Requests a run from the task that runs the job, and waits for its result. The run continues
    /// if the future is dropped.
    pub(super) async fn request(&self) -> Result<RunResult, RunRefusal> {
        if let Some(since) = self.status.borrow().running_since {
            return Err(RunRefusal::Running { since });
        }
        let (request, result) = oneshot::channel();
        let sent = self.requests.send(request).await;
        sent.map_err(|_| RunRefusal::Stopping)?;
        result.await.map_err(|_| RunRefusal::Stopping)
    }

    /// Runs the job when it is due or requested, until `stop` is cancelled.
    pub(super) async fn run_on_schedule(&self, shared: &Shared, stop: &CancellationToken) {
        let requested = &self.requested;
        let taken = requested
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut requests) = taken else {
            return;
        };
        let mut planned = self.catch_up_or_next(shared).await;
        loop {
            self.status.send_modify(|status| status.due = planned.due);
            self.store_plan(shared, &self.plan(planned.due)).await;
            let request = tokio::select! {
                () = stop.cancelled() => return,
                request = requests.recv() => request,
                () = wait_until(planned.due, shared) => None,
            };
            let trigger = match request {
                Some(_) => Trigger::Command,
                None => planned.trigger,
            };
            if request.is_none()
                && let Some(other) = self.other_run(planned, shared).await
            {
                planned = match other {
                    OtherRun::Ended => self.next(shared.clock.now()),
                    OtherRun::Running(run) => self.after_other(run, shared, stop).await,
                };
                continue;
            }
            let result = self.run(shared, stop, trigger).await;
            if let Some(request) = request {
                // The requester may have stopped waiting.
                let _gone = request.send(result.clone());
            }
            planned = match result.result {
                Err(RunFailure::Busy(other)) => self.after_other(other, shared, stop).await,
                Err(RunFailure::State) if trigger != Trigger::Command => {
                    self.retry(planned, shared)
                }
                _ => self.keep_or_next(planned, shared),
            };
        }
    }

    /// Plans a missed run, or else the next one.
    async fn catch_up_or_next(&self, shared: &Shared) -> Planned {
        let now = shared.clock.now();
        if let Some(missed) = self.missed_run(shared).await {
            let next = self.schedule.next(now);
            return Planned {
                due: Some(delayed(now, self.delay_ms, next)),
                undelayed: Some(missed),
                trigger: Trigger::CatchUp,
            };
        }
        self.next(now)
    }

    fn next(&self, now: Timestamp) -> Planned {
        Planned {
            due: self.due_after(now),
            undelayed: self.schedule.next(now),
            trigger: Trigger::Schedule,
        }
    }

    /// The planned run if it is still to come, as after a requested run; else the next one.
    fn keep_or_next(&self, planned: Planned, shared: &Shared) -> Planned {
        let now = shared.clock.now();
        match planned.due {
            Some(due) if due > now => planned,
            _ => self.next(now),
        }
    }

    /// Plans the run again whose start could not be stored.
    fn retry(&self, planned: Planned, shared: &Shared) -> Planned {
        let now = shared.clock.now();
        let retry = Timestamp(now.0.saturating_add(STORE_RETRY_MS));
        let next = self.next(now);
        match next.due {
            Some(due) if due <= retry => Planned {
                trigger: planned.trigger,
                ..next
            },
            _ => Planned {
                due: Some(retry),
                ..planned
            },
        }
    }

    /// The run of another process that makes a planned run superfluous: it started at or after the
    /// due time. Processes delay a run differently, and each would run it otherwise.
    async fn other_run(&self, planned: Planned, shared: &Shared) -> Option<OtherRun> {
        let (due, now) = (planned.undelayed?, shared.clock.now());
        self.store_missing_ends(shared).await;
        let state = self.state(shared).await?;
        let running = state.running.filter(|run| run.deadline > now);
        if let Some(run) = running.filter(|run| run.began >= due) {
            return Some(OtherRun::Running(run));
        }
        let last = state.last.filter(|last| last.began >= due);
        last.map(|_| OtherRun::Ended)
    }

    /// Waits for the run of another process, then plans a missed run, or else the next one.
    async fn after_other(
        &self,
        other: Running,
        shared: &Shared,
        stop: &CancellationToken,
    ) -> Planned {
        self.wait_for_other(other, shared, stop).await;
        self.catch_up_or_next(shared).await
    }

    /// Waits until the run of another process has ended or its deadline has passed.
    async fn wait_for_other(&self, other: Running, shared: &Shared, stop: &CancellationToken) {
        let since = Some(other.began);
        self.status
            .send_modify(|status| status.running_since = since);
        let ended = async {
            loop {
                let left = other.deadline.0.saturating_sub(shared.clock.now().0);
                if left == 0 {
                    return;
                }
                sleep(OTHER_RUN_CHECK_INTERVAL.min(Duration::from_millis(left))).await;
                let state = self.state(shared).await;
                let is_other = |run: Running| run.token == other.token;
                if state.is_some_and(|state| !state.running.is_some_and(is_other)) {
                    return;
                }
            }
        };
        stop.run_until_cancelled(ended).await;
        self.status
            .send_modify(|status| status.running_since = None);
    }

    /// The stored state of the job; `None` if it cannot be read, which is logged.
    async fn state(&self, shared: &Shared) -> Option<JobState> {
        let job = self.job.name();
        match shared.store.all().await {
            Ok(states) => {
                let found = states.into_iter().find(|state| state.name == job);
                Some(found.unwrap_or_default())
            }
            Err(error) => {
                let error = &error as &(dyn Error + 'static);
                tracing::warn!(job, error, "could not read the state of the job");
                None
            }
        }
    }

    /// Whether no process has stored the plan of the job.
    pub(super) async fn is_unplanned(&self, shared: &Shared) -> bool {
        let state = self.state(shared).await;
        state.is_some_and(|state| state.plan == JobPlan::default())
    }

    /// The due time of the run that was missed; `None` if none was.
    async fn missed_run(&self, shared: &Shared) -> Option<Timestamp> {
        let state = self.state(shared).await?;
        // A job whose run never ended was due at the stored time.
        let due = match state.last {
            Some(last) => self.schedule.next(last.ended),
            None => state.plan.due.filter(|_| !self.schedule.is_never()),
        };
        due.filter(|due| *due <= shared.clock.now())
    }

    /// The plan of the job, for other processes to show.
    pub(super) fn plan(&self, due: Option<Timestamp>) -> JobPlan {
        JobPlan {
            cron: self.schedule.text(),
            zone: self.schedule.zone(),
            due,
            run_ms_max: u64::try_from(self.run_max.as_millis()).ok(),
        }
    }

    /// Stores when the job is due. A failure is only logged.
    pub(super) async fn store_plan(&self, shared: &Shared, plan: &JobPlan) {
        let job = self.job.name();
        if let Err(error) = shared.store.plan(job, plan).await {
            let error = &error as &(dyn Error + 'static);
            tracing::warn!(job, error, "could not store when the job is due");
        }
    }
}

/// Waits until the wall clock shows this time; forever if it is `None`.
async fn wait_until(due: Option<Timestamp>, shared: &Shared) {
    let Some(due) = due else {
        return std::future::pending().await;
    };
    loop {
        let left = Duration::from_millis(due.0.saturating_sub(shared.clock.now().0));
        if left.is_zero() {
            return;
        }
        sleep(left.min(CLOCK_CHECK_INTERVAL)).await;
    }
}
