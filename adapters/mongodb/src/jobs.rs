//! The state of the jobs: one document for each job, with the job's name as `_id`. The server
//! decides atomically whether a run may start.

use async_trait::async_trait;
use futures_util::stream::TryStreamExt;
use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::Error;
use serde::{Deserialize, Serialize};
use skytide_core::port::BoxError;
use skytide_core::port::job::{
    BEGAN_AHEAD_MS_MAX, DIED_REPORT, JobError, JobPlan, JobState, JobStore, RUNS_KEPT, RunEnd,
    RunOutcome, Running, Trigger,
};
use skytide_core::port::store::StoreError;
use skytide_core::time::Timestamp;

use super::connection::Connection;
use super::error::is_duplicate_key;
use super::values::{date, timestamp};

/// A [`JobStore`] in a MongoDB database.
#[derive(Clone, Debug)]
pub struct MongoJobs {
    connection: Connection,
    documents: Collection<JobDocument>,
}

#[derive(Debug, Serialize, Deserialize)]
struct JobDocument {
    #[serde(rename = "_id")]
    name: String,
    plan: Option<PlanDocument>,
    running: Option<RunningDocument>,
    last: Option<EndDocument>,
    /// Newest first. Missing in documents of earlier versions.
    history: Option<Vec<EndDocument>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PlanDocument {
    cron: String,
    zone: String,
    due: Option<DateTime>,
    run_ms_max: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RunningDocument {
    /// 16 hexadecimal digits.
    token: String,
    began: DateTime,
    deadline: DateTime,
    trigger: Option<Trigger>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndDocument {
    began: DateTime,
    ended: DateTime,
    ok: bool,
    report: String,
    trigger: Option<Trigger>,
    /// Missing in documents of earlier versions, which stored only `ok`.
    outcome: Option<RunOutcome>,
}

impl MongoJobs {
    /// The jobs in this database.
    pub fn new(connection: &Connection) -> Self {
        Self {
            documents: connection.database().collection("jobs"),
            connection: connection.clone(),
        }
    }

    async fn within<T>(
        &self,
        operation: &'static str,
        work: impl IntoFuture<Output = Result<T, Error>>,
    ) -> Result<T, JobError> {
        let done = self.connection.within(operation, work).await;
        done.map_err(|why| match why {
            StoreError::Failed { source, .. } => JobError::Failed { operation, source },
            other => failed(operation)(other),
        })
    }
}

#[async_trait]
impl JobStore for MongoJobs {
    async fn all(&self) -> Result<Vec<JobState>, JobError> {
        let found = self.documents.find(doc! {}).sort(doc! { "_id": 1 });
        let found = self.within("read", found).await?;
        let found: Vec<_> = self.within("read", found.try_collect::<Vec<_>>()).await?;
        found.into_iter().map(JobDocument::state).collect()
    }

    async fn plan(&self, name: &str, plan: &JobPlan) -> Result<(), JobError> {
        let plan = PlanDocument {
            cron: plan.cron.clone(),
            zone: plan.zone.clone(),
            due: plan.due.map(required_date).transpose()?,
            run_ms_max: plan.run_ms_max.and_then(|ms| ms.try_into().ok()),
        };
        let change = doc! { "$set": { "plan": document(&plan)? } };
        let planned = self.documents.update_one(doc! { "_id": name }, change);
        self.within("write", planned.upsert(true)).await.map(drop)
    }

    async fn begin(&self, name: &str, run: &Running) -> Result<Option<Running>, JobError> {
        let running = RunningDocument {
            token: token(run.token),
            began: required_date(run.began)?,
            deadline: required_date(run.deadline)?,
            trigger: run.trigger,
        };
        // A run that began far in the future was recorded by a wrong clock. The last case is a
        // retry: the first attempt recorded this run, but its answer was lost.
        let ahead = Timestamp(run.began.0.saturating_add(BEGAN_AHEAD_MS_MAX));
        let ahead = required_date(ahead)?;
        let free = doc! { "_id": name, "$or": [
            { "running": null },
            { "running.deadline": { "$lte": running.began } },
            { "running.began": { "$gt": ahead } },
            { "running.token": &running.token },
        ]};
        let begun = self.documents.update_one(free, start(&running)?);
        let begun = begun.upsert(true);
        match self.connection.outcome(begun).await {
            Ok(_) => return Ok(None),
            Err(why) if is_duplicate_key(&why) => {}
            Err(why) => return Err(failed("write")(why)),
        }
        let other = self.documents.find_one(doc! { "_id": name });
        let other = self
            .within("read", other)
            .await?
            .map(JobDocument::state)
            .transpose()?;
        match other.and_then(|state| state.running) {
            Some(other) => Ok(Some(other)),
            None => Err(failed("begin a run")(
                "the previous run has just ended: try again",
            )),
        }
    }

    async fn end(&self, name: &str, run: u64, ended: &RunEnd) -> Result<(), JobError> {
        let entry = document(&EndDocument {
            began: required_date(ended.began)?,
            ended: required_date(ended.ended)?,
            ok: ended.ok(),
            report: ended.report.clone(),
            trigger: ended.trigger,
            outcome: Some(ended.outcome),
        })?;
        let newest = doc! { "$each": [&entry], "$position": 0, "$slice": RUNS_KEPT as i64 };
        let mut change = doc! { "$unset": { "running": "" }, "$push": { "history": newest } };
        if ended.outcome != RunOutcome::Interrupted {
            change.insert("$set", doc! { "last": entry });
        }
        let ours = doc! { "_id": name, "running.token": token(run) };
        let done = self.documents.update_one(ours, change);
        self.within("write", done).await.map(drop)
    }
}

/// The update that starts a run. If it replaces a run whose process died, that run enters the
/// history.
fn start(running: &RunningDocument) -> Result<Vec<Document>, JobError> {
    let died = doc! { "$and": [
        { "$ne": [{ "$ifNull": ["$running", null] }, null] },
        { "$ne": ["$running.token", &running.token] },
    ]};
    let entry = doc! {
        "began": "$running.began",
        "ended": running.began,
        "ok": false,
        "report": { "$literal": DIED_REPORT },
        "trigger": { "$ifNull": ["$running.trigger", null] },
        "outcome": mongodb::bson::serialize_to_bson(&RunOutcome::Interrupted)
            .map_err(failed("write"))?,
    };
    let history = doc! { "$ifNull": ["$history", []] };
    let longer = doc! { "$concatArrays": [[entry], &history] };
    let longer = doc! { "$slice": [longer, RUNS_KEPT as i64] };
    Ok(vec![doc! { "$set": {
        "history": { "$cond": [died, longer, history] },
        "running": { "$literal": document(running)? },
    }}])
}

impl JobDocument {
    fn state(self) -> Result<JobState, JobError> {
        let damaged = || {
            JobError::Damaged(format!(
                "the document of job {:?} has an invalid field",
                self.name
            ))
        };
        let time = |date: DateTime| timestamp(date).ok_or_else(damaged);
        let plan = match &self.plan {
            None => JobPlan::default(),
            Some(plan) => JobPlan {
                cron: plan.cron.clone(),
                zone: plan.zone.clone(),
                due: plan.due.map(time).transpose()?,
                run_ms_max: plan.run_ms_max.and_then(|ms| ms.try_into().ok()),
            },
        };
        let running = |run: &RunningDocument| -> Result<Running, JobError> {
            Ok(Running {
                token: u64::from_str_radix(&run.token, 16).map_err(|_| damaged())?,
                began: time(run.began)?,
                deadline: time(run.deadline)?,
                trigger: run.trigger,
            })
        };
        let ended = |end: &EndDocument| -> Result<RunEnd, JobError> {
            Ok(RunEnd {
                began: time(end.began)?,
                ended: time(end.ended)?,
                trigger: end.trigger,
                outcome: RunOutcome::stored(end.outcome, end.ok),
                report: end.report.clone(),
            })
        };
        let history = self.history.iter().flatten().map(ended);
        Ok(JobState {
            plan,
            running: self.running.as_ref().map(running).transpose()?,
            last: self.last.as_ref().map(ended).transpose()?,
            history: history.collect::<Result<_, _>>()?,
            name: self.name,
        })
    }
}

fn token(token: u64) -> String {
    format!("{token:016x}")
}

fn required_date(time: Timestamp) -> Result<DateTime, JobError> {
    date(time).ok_or_else(|| failed("write")("a time is too large for a date"))
}

fn document<T: Serialize>(of: &T) -> Result<Document, JobError> {
    mongodb::bson::serialize_to_document(of).map_err(failed("write"))
}

fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> JobError {
    move |source| JobError::Failed {
        operation,
        source: source.into(),
    }
}
