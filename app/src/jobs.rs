//! Creates the jobs from the options: their stores, their schedules, and the server that the job
//! `profiles` requests.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use skytide_core::config::{self, Config, Span};
use skytide_core::port::BoxError;
use skytide_core::port::clock::Clock;
use skytide_core::port::profile::ProfileAges;
use skytide_core::port::store::ViewReader;
use skytide_scheduler::jobs::{
    FetchProfiles, OnDemandProfiles, ProfileFetcher, ProfileLimits, Retention, TakeSnapshot,
};
use skytide_scheduler::{Job, Options, Schedule, ScheduledJob, Scheduler};
use tokio_util::sync::CancellationToken;

use crate::clock::SystemClock;
use crate::data::JobStores;
use crate::failure::Failure;
use crate::profiles::AppView;

/// What runs beside the stream.
pub struct Jobs {
    /// The jobs with their schedules.
    pub scheduler: Arc<Scheduler>,
    /// Fetches the profiles that the API requests; `None` if no profiles are fetched.
    pub on_demand: Option<OnDemandProfiles>,
}

impl Jobs {
    /// Fetches the profiles that the API requests, until `stop` is cancelled.
    pub async fn fetch_on_demand(
        on_demand: Option<OnDemandProfiles>,
        stop: CancellationToken,
    ) -> Result<(), BoxError> {
        match on_demand {
            Some(on_demand) => on_demand.run(stop).await,
            None => {
                stop.cancelled().await;
                Ok(())
            }
        }
    }
}

/// Creates the scheduler with all jobs. `reader` reads the views.
///
/// # Errors
///
/// A schedule or the time zone is not valid, or the HTTP client cannot be created.
pub fn scheduler(
    config: &Config,
    reader: Arc<dyn ViewReader>,
    stores: &JobStores,
) -> Result<Jobs, Failure> {
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
    let fetcher = Arc::new(profiles(options, reader, stores, clock.clone())?);
    let profiles: Arc<dyn Job> = Arc::new(FetchProfiles::new(fetcher.clone()));
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
    let profiles = scheduled(
        profiles,
        "SCHEDULER_PROFILES_CRON",
        &options.profiles_cron,
        options.profiles_run_max,
    )?;
    let on_demand = (!profiles.schedule.is_never()).then(|| OnDemandProfiles::new(fetcher));
    let jobs = vec![
        profiles,
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
    Ok(Jobs {
        scheduler: Arc::new(scheduler),
        on_demand,
    })
}

fn profiles(
    options: &config::Scheduler,
    reader: Arc<dyn ViewReader>,
    stores: &JobStores,
    clock: Arc<dyn Clock>,
) -> Result<ProfileFetcher, Failure> {
    let (url, time_max) = (&options.profiles_url, options.profiles_timeout.0);
    let source = AppView::new(url, time_max, clock.clone()).map_err(|why| {
        let what = "cannot request profiles (SCHEDULER_PROFILES_CRON=never turns the job off)";
        Failure::because(what, why)
    })?;
    let limits = ProfileLimits {
        ages: profile_ages(options),
        calls_max: options.profiles_calls_max as usize,
    };
    let store = stores.profiles.clone();
    Ok(ProfileFetcher::new(
        clock,
        reader,
        store,
        Arc::new(source),
        limits,
    ))
}

/// The ages at which profiles are fetched again.
pub fn profile_ages(options: &config::Scheduler) -> ProfileAges {
    ProfileAges {
        age_max: options.profiles_age_max.0,
        unknown_age_max: options.profiles_unknown_age_max.0,
    }
}
