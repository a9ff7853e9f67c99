//! `/v1/jobs`: the states of the jobs. `/v1/admin/jobs/{name}/run`: a run of one.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use skytide_api::AccessOptions;
use skytide_core::memory::{MemoryJobs, MemoryKeys};
use skytide_core::port::job::{
    JobError, JobPlan, JobRunner, JobState, JobStore, RunEnd, RunOutcome, RunRefusal, Running,
    Trigger,
};
use skytide_core::port::key::{KeyId, KeyStore, KeyText, Scope, StoredKey};
use skytide_core::time::Timestamp;

use crate::schema::violations;
use crate::world::{AS_OF, World, get_json, send, time};

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

/// Runs the job `works`; the others are refused, or never end.
struct Runner;

#[async_trait]
impl JobRunner for Runner {
    async fn run_now(&self, name: &str) -> Result<RunEnd, RunRefusal> {
        let known = ["profiles", "works"].map(str::to_owned);
        match name {
            "works" => Ok(RunEnd {
                began: time("2026-07-04T15:00:00Z"),
                ended: time("2026-07-04T15:00:01Z"),
                trigger: Some(Trigger::Command),
                outcome: RunOutcome::Panicked,
                report: "it panicked".to_owned(),
            }),
            "runs" => Err(RunRefusal::Running {
                since: time("2026-07-04T15:00:00Z"),
            }),
            "unwritable" => Err(RunRefusal::NotStored),
            "stops" => Err(RunRefusal::Stopping),
            "long" => std::future::pending().await,
            name => Err(RunRefusal::Unknown {
                name: name.to_owned(),
                known: known.into(),
            }),
        }
    }

    async fn states(&self) -> Result<Vec<JobState>, JobError> {
        unreachable!("the API reads them from the store")
    }
}

/// Requests a run with or without the admin key; returns the status and the JSON.
async fn run_job(path: &str, runner: Option<Arc<dyn JobRunner>>, key: bool) -> (u16, Value) {
    let id = KeyId::from_random(7);
    let text = KeyText::new(&id, [7; 32]);
    let keys = MemoryKeys::default();
    let stored = StoredKey {
        id,
        hash: text.hash(),
        label: "operator".to_owned(),
        scopes: vec![Scope::Admin],
        created: Timestamp(0),
        expires: None,
        rate: None,
        burst: None,
        revoked: None,
        last_used: None,
    };
    keys.add(&stored).await.unwrap();
    let options = AccessOptions {
        hosts: vec!["api.test".to_owned()],
        ..AccessOptions::default()
    };
    let state = World::empty().state().with_access(options, Arc::new(keys));
    state.read_keys().await;
    let state = match runner {
        Some(runner) => state.with_job_runner(runner),
        None => state,
    };
    let request = Request::post(path).header("host", "api.test");
    let request = match key {
        true => request.header("x-api-key", text.reveal()),
        false => request,
    };
    let response = send(state, request.body(Body::empty()).unwrap()).await;
    let status = response.status().as_u16();
    let text = crate::world::text(response).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_operator_runs_a_job_and_learns_its_result_or_that_it_continues() {
    let path = |name| format!("/v1/admin/jobs/{name}/run");
    let runner = || Some(Arc::new(Runner) as Arc<dyn JobRunner>);
    let (status, answer) = run_job(&path("works"), runner(), true).await;
    assert_eq!(violations("JobRun", &answer), Vec::<String>::new());
    let run = json!({"began": "2026-07-04T15:00:00.000Z", "ended": "2026-07-04T15:00:01.000Z",
        "ms": 1_000, "ok": false, "outcome": "panicked", "trigger": "command",
        "report": "it panicked"});
    assert_eq!(
        (status, answer),
        (200, json!({"name": "works", "run": run}))
    );
    let (status, answer) = run_job(&path("long"), runner(), true).await;
    assert_eq!(
        (status, answer),
        (202, json!({"name": "long", "run": null}))
    );
    let refusals = [
        ("runs", 409, "job_running"),
        ("unwritable", 503, "store_unavailable"),
        ("stops", 503, "interrupted"),
        ("wroks", 404, "not_found"),
    ];
    for (name, expected, code) in refusals {
        let (status, problem) = run_job(&path(name), runner(), true).await;
        assert_eq!(
            (status, &problem["code"]),
            (expected, &json!(code)),
            "{name}"
        );
    }
    let (_, problem) = run_job(&path("wroks"), runner(), true).await;
    assert_eq!(problem["nearest"], "works");
    assert_eq!(problem["allowed"], json!(["profiles", "works"]));
    let (status, problem) = run_job(&path("works"), None, true).await;
    assert_eq!((status, &problem["code"]), (501, &json!("no_scheduler")));
    let (status, problem) = run_job(&path("works"), runner(), false).await;
    assert_eq!((status, &problem["code"]), (401, &json!("key_required")));
}
