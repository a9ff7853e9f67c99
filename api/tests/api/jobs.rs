//! `/v1/jobs`: the states of the jobs.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use skytide_core::memory::MemoryJobs;
use skytide_core::port::job::{
    JobError, JobPlan, JobState, JobStore, RunEnd, RunOutcome, Running, Trigger,
};
use skytide_core::time::Timestamp;

use crate::schema::violations;
use crate::world::{AS_OF, World, get_json, time};

#[tokio::test]
async fn jobs_are_shown_with_their_due_time_and_their_last_run() {
    let world = World::empty();
    let (jobs, now) = (MemoryJobs::default(), time(AS_OF).0 + 250);
    let plan = JobPlan {
        cron: "0 0 * * * *".to_owned(),
        zone: "Europe/Vienna".to_owned(),
        due: Some(time("2026-07-04T15:00:00Z")),
        run_ms_max: Some(300_000),
    };
    jobs.plan("snapshot", &plan).await.unwrap();
    let run = |token, deadline| Running {
        token,
        began: Timestamp(now - 2_000),
        deadline: Timestamp(deadline),
        trigger: Some(Trigger::CatchUp),
    };
    let ended = RunEnd {
        began: Timestamp(now - 2_000),
        ended: Timestamp(now - 500),
        trigger: Some(Trigger::Command),
        outcome: RunOutcome::TimedOut,
        report: "profiles could not be fetched".to_owned(),
    };
    let interrupted = RunEnd {
        outcome: RunOutcome::Interrupted,
        trigger: None,
        ..ended.clone()
    };
    jobs.begin("profiles", &run(1, now + 1)).await.unwrap();
    jobs.end("profiles", 1, &ended).await.unwrap();
    jobs.begin("profiles", &run(4, now + 1)).await.unwrap();
    jobs.end("profiles", 4, &interrupted).await.unwrap();
    jobs.begin("retention", &run(2, now + 1)).await.unwrap();
    jobs.begin("snapshot", &run(3, now)).await.unwrap();
    let state = world.state().with_jobs(Arc::new(jobs));
    let (_, answer) = get_json(state, "/v1/jobs").await;
    assert_eq!(violations("Jobs", &answer), Vec::<String>::new());
    assert_eq!(answer["now"], "2026-07-04T14:38:07.178Z");
    let [profiles, retention, snapshot] = [0, 1, 2].map(|index| &answer["jobs"][index]);
    let last = json!({"began": "2026-07-04T14:38:05.178Z", "ended": "2026-07-04T14:38:06.678Z",
        "ms": 1_500, "ok": false, "outcome": "timed_out", "trigger": "command",
        "report": "profiles could not be fetched"});
    let mut newest = last.clone();
    newest["outcome"] = json!("interrupted");
    newest["trigger"] = Value::Null;
    assert_eq!(profiles["history"], json!([newest, last]));
    assert_eq!(
        (&profiles["last"], &profiles["running_since"]),
        (&last, &Value::Null)
    );
    assert_eq!(retention["running_since"], "2026-07-04T14:38:05.178Z");
    assert_eq!(retention["last"], Value::Null);
    // The deadline of its run has passed, so its process has died.
    let expected = json!({"name": "snapshot", "cron": "0 0 * * * *", "time_zone": "Europe/Vienna",
        "due": "2026-07-04T15:00:00.000Z", "run_ms_max": 300_000, "running_since": null,
        "last": null, "history": []});
    assert_eq!(*snapshot, expected);
}

/// A store that cannot be read.
struct FailingStore;

#[async_trait]
impl JobStore for FailingStore {
    async fn all(&self) -> Result<Vec<JobState>, JobError> {
        let source = "connection refused by mongodb://secret@host".into();
        let operation = "read";
        Err(JobError::Failed { operation, source })
    }

    async fn plan(&self, _: &str, _: &JobPlan) -> Result<(), JobError> {
        unreachable!("the API only reads")
    }

    async fn begin(&self, _: &str, _: &Running) -> Result<Option<Running>, JobError> {
        unreachable!("the API only reads")
    }

    async fn end(&self, _: &str, _: u64, _: &RunEnd) -> Result<(), JobError> {
        unreachable!("the API only reads")
    }
}

#[tokio::test]
async fn an_unreachable_job_store_is_reported_without_its_error() {
    let state = World::empty().state().with_jobs(Arc::new(FailingStore));
    let (status, problem) = get_json(state, "/v1/jobs").await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (503, &json!("store_unavailable"))
    );
    assert!(!problem.to_string().contains("secret"), "{problem}");
}
