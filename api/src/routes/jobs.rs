//! `/v1/jobs`: the states of the periodic jobs, in whichever process they run.
//! `/v1/admin/jobs/{name}/run`: runs a job of this process.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use skytide_core::port::job::{JobState, RunEnd, RunOutcome, Trigger};
use skytide_core::time::Timestamp;

use crate::access::Caller;
use crate::catalogue::{ADMIN_JOB_RUN, JOBS};
use crate::health::Audience;
use crate::params::{Params, decode_path};
use crate::problem::Problem;
use crate::state::ApiContext;

/// How long an answer waits for the end of a requested run.
const RUN_WAIT: Duration = Duration::from_secs(5);

/// The jobs, as JSON.
#[derive(Serialize)]
struct Jobs {
    /// The time by this machine's clock.
    now: String,
    jobs: Vec<Job>,
}

#[derive(Serialize)]
struct Job {
    name: String,
    cron: String,
    time_zone: String,
    /// `null`: it never runs by itself.
    due: Option<String>,
    /// The time limit of a run; `null`: not known.
    run_ms_max: Option<u64>,
    running_since: Option<String>,
    /// The last run that ended and was not interrupted; `null`: there is none.
    last: Option<EndedRun>,
    /// The newest runs, newest first.
    history: Vec<EndedRun>,
}

#[derive(Serialize)]
struct EndedRun {
    began: String,
    ended: String,
    ms: u64,
    ok: bool,
    outcome: RunOutcome,
    /// `null`: an earlier version did not record it.
    trigger: Option<Trigger>,
    report: String,
}

/// A requested run, as JSON.
#[derive(Serialize)]
struct JobRun {
    name: String,
    /// `null`: the run continues.
    run: Option<EndedRun>,
}

/// `POST /v1/admin/jobs/{name}/run`
pub(crate) async fn run(
    State(context): State<ApiContext>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &ADMIN_JOB_RUN)?;
    let name = decode_path(path)?;
    let runner = context
        .job_runner
        .clone()
        .ok_or_else(Problem::no_scheduler)?;
    let request_max = Duration::from_millis(context.limits.request_ms_max);
    // The run continues when this stops waiting for it.
    let ended = tokio::time::timeout(RUN_WAIT.min(request_max / 2), runner.run_now(&name)).await;
    let (status, run) = match ended {
        Ok(end) => (
            StatusCode::OK,
            Some(EndedRun::new(end?, Audience::Operator)),
        ),
        Err(_) => (StatusCode::ACCEPTED, None),
    };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((status, no_store, Json(JobRun { name, run })).into_response())
}

/// `GET /v1/jobs`
pub(crate) async fn show(
    State(context): State<ApiContext>,
    RawQuery(query): RawQuery,
    caller: Option<Extension<Caller>>,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &JOBS)?;
    let audience = Audience::of(caller.as_deref());
    let states = context.jobs.all().await?;
    let now = context.clock.now();
    let answer = Jobs {
        now: now.rfc3339(),
        jobs: states
            .into_iter()
            .map(|job| Job::new(job, now, audience))
            .collect(),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

impl Job {
    fn new(state: JobState, now: Timestamp, audience: Audience) -> Self {
        // The process of a run that is past its deadline has died.
        let running = state.running.filter(|run| run.is_active(now));
        Self {
            name: state.name,
            cron: state.plan.cron,
            time_zone: state.plan.zone,
            due: state.plan.due.map(Timestamp::rfc3339),
            run_ms_max: state.plan.run_ms_max,
            running_since: running.map(|run| run.began.rfc3339()),
            last: state.last.map(|run| EndedRun::new(run, audience)),
            history: state
                .history
                .into_iter()
                .map(|run| EndedRun::new(run, audience))
                .collect(),
        }
    }
}

impl EndedRun {
    fn new(end: RunEnd, audience: Audience) -> Self {
        Self {
            report: match audience {
                Audience::Everybody => end.public_report().to_owned(),
                Audience::Operator => end.report.clone(),
            },
            began: end.began.rfc3339(),
            ended: end.ended.rfc3339(),
            ms: end.ended.0.saturating_sub(end.began.0),
            ok: end.ok(),
            outcome: end.outcome,
            trigger: end.trigger,
        }
    }
}
