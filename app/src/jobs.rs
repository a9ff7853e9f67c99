//! Creates the jobs from the options: their stores, their schedules, and the server that the job
//! `profiles` requests.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use skytide_core::config::{self, Config, Span};
use skytide_core::port::clock::Clock;
use skytide_core::port::store::ViewReader;
use skytide_scheduler::jobs::{FetchProfiles, ProfileLimits, Retention, TakeSnapshot};
use skytide_scheduler::{Job, Options, Schedule, ScheduledJob, Scheduler};

use crate::clock::SystemClock;
use crate::data::JobStores;
use crate::failure::Failure;
use crate::profiles::AppView;

/// Creates the scheduler with all jobs. `reader` reads the views.
///
/// # Errors
///
/// A schedule or the time zone is not valid, or the HTTP client cannot be created.
pub fn scheduler(
    config: &Config,
    reader: Arc<dyn ViewReader>,
    stores: &JobStores,
) -> Result<Arc<Scheduler>, Failure> {
    let options = &config.scheduler;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let take: Arc<dyn Job> = Arc::new(TakeSnapshot {
        reader: reader.clone(),
        store: stores.snapshots.clone(),
    });
    let retention: Arc<dyn Job> = Arc::new(Retention {
        clock: clock.clone(),
        snapshots: stores.snapshots.clone(),
        keep_snapshots: options.snapshot_retention.0,
        profiles: stores.profiles.clone(),
        keep_profiles: options.profiles_retention.0,
    });
    let profiles: Arc<dyn Job> = Arc::new(profiles(options, reader, stores, clock.clone())?);
    let run_max = |limit: Option<Span>| limit.unwrap_or(options.run_max).0;
    let scheduled = |job: Arc<dyn Job>, name: &str, text: &str, limit: Option<Span>| {
        let schedule = Schedule::parse(text, &options.time_zone).map_err(|why| {
            let what = format!("{name} or SCHEDULER_TIME_ZONE is not valid");
            Failure::because(what, why)
        })?;
        Ok::<_, Failure>(ScheduledJob {
            job,
            schedule,
            run_max: run_max(limit),
        })
    };
    let jobs = vec![
        scheduled(
            profiles,
            "SCHEDULER_PROFILES_CRON",
            &options.profiles_cron,
            options.profiles_run_max,
        )?,
        scheduled(
            retention,
            "SCHEDULER_RETENTION_CRON",
            &options.retention_cron,
            options.retention_run_max,
        )?,
        scheduled(
            take,
            "SCHEDULER_SNAPSHOT_CRON",
            &options.snapshot_cron,
            options.snapshot_run_max,
        )?,
    ];
    let options = Options {
        jitter: options.jitter.0,
        // The standard library seeds its hashers at random.
        seed: RandomState::new().hash_one(0),
    };
    let scheduler = Scheduler::new(clock, stores.jobs.clone(), options, jobs);
    Ok(Arc::new(scheduler))
}

fn profiles(
    options: &config::Scheduler,
    reader: Arc<dyn ViewReader>,
    stores: &JobStores,
    clock: Arc<dyn Clock>,
) -> Result<FetchProfiles, Failure> {
    let (url, time_max) = (&options.profiles_url, options.profiles_timeout.0);
    let source = AppView::new(url, time_max, clock.clone()).map_err(|why| {
        let what = "cannot request profiles (SCHEDULER_PROFILES_CRON=never turns the job off)";
        Failure::because(what, why)
    })?;
    let limits = ProfileLimits {
        age_max: options.profiles_age_max.0,
        unknown_age_max: options.profiles_unknown_age_max.0,
        calls_max: options.profiles_calls_max as usize,
    };
    let store = stores.profiles.clone();
    Ok(FetchProfiles::new(
        clock,
        reader,
        store,
        Arc::new(source),
        limits,
    ))
}
