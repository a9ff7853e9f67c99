//! The jobs with what they work on: stores beside the views, the options, the server they ask.
//!
//! ```text
//! data/snapshots/   a file each     SnapshotDir
//! data/store/       two keyspaces   EmbeddedProfiles
//! data/jobs.json                    JobFile
//! ```
//!
//! With the views on MongoDB these are collections beside them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use skytide_core::config::{self, Config};
use skytide_core::port::BoxError;
use skytide_core::port::clock::Clock;
use skytide_core::port::job::JobStore;
use skytide_core::port::profile::ProfileStore;
use skytide_core::port::snapshot::SnapshotStore;
use skytide_core::port::store::ViewReader;
use skytide_scheduler::jobs::{FetchProfiles, ProfileLimits, Retention, TakeSnapshot};
use skytide_scheduler::{Job, Options, Schedule, Scheduler};

use crate::clock::SystemClock;
use crate::data::{Data, Views};
use crate::failure::Failure;
use crate::profiles::AppView;
use skytide_embedded::EmbeddedProfiles;
use skytide_embedded::JobFile;
use skytide_embedded::SnapshotDir;
use skytide_mongodb::{Connection, MongoJobs, MongoProfiles, MongoSnapshots};

/// What the jobs keep and the API shows.
#[derive(Clone)]
pub struct Kept {
    /// Snapshots of the top lists.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// Fetched profiles.
    pub profiles: Arc<dyn ProfileStore>,
    /// The state of the jobs.
    pub jobs: Arc<dyn JobStore>,
}

impl Kept {
    /// Opens what is beside the views: in the data folder, whose views this process holds, or in their database.
    ///
    /// # Errors
    /// Something there cannot be used.
    pub fn open(data: &Data) -> Result<Self, Failure> {
        let store = match data.views() {
            Views::Mongo(store) => return Ok(Self::in_database(store.connection())),
            Views::Embedded(store) => store,
        };
        let unusable = |what: &'static str| {
            move |why: BoxError| Failure::because(format!("{what} cannot be kept"), why)
        };
        let folder = data.dir.as_ref().expect("embedded views have a folder");
        let folder = folder.path();
        let snapshots = SnapshotDir::open(&folder.join("snapshots"));
        let snapshots = snapshots.map_err(|why| unusable("the snapshots")(why.into()))?;
        let profiles = EmbeddedProfiles::open(store);
        let profiles = profiles.map_err(|why| unusable("profiles")(why.into()))?;
        let jobs = JobFile::open(&folder.join("jobs.json"));
        let jobs = jobs.map_err(|why| unusable("the state of the jobs")(why.into()))?;
        Ok(Self {
            snapshots: Arc::new(snapshots),
            profiles: Arc::new(profiles),
            jobs: Arc::new(jobs),
        })
    }

    fn in_database(connection: &Connection) -> Self {
        Self {
            snapshots: Arc::new(MongoSnapshots::new(connection)),
            profiles: Arc::new(MongoProfiles::new(connection)),
            jobs: Arc::new(MongoJobs::new(connection)),
        }
    }
}

/// The jobs over these views.
///
/// # Errors
/// An option is not right, or the HTTP client cannot be made.
pub fn scheduler(
    config: &Config,
    reader: Arc<dyn ViewReader>,
    kept: &Kept,
) -> Result<Arc<Scheduler>, Failure> {
    let options = &config.scheduler;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let take: Arc<dyn Job> = Arc::new(TakeSnapshot {
        reader: reader.clone(),
        store: kept.snapshots.clone(),
    });
    let retention: Arc<dyn Job> = Arc::new(Retention {
        clock: clock.clone(),
        snapshots: kept.snapshots.clone(),
        keep_snapshots: options.snapshot_retention.0,
        profiles: kept.profiles.clone(),
        keep_profiles: options.profiles_retention.0,
    });
    let profiles: Arc<dyn Job> = Arc::new(profiles(options, reader, kept, clock.clone())?);
    let due = |name: &str, text: &str| {
        Schedule::parse(text, &options.time_zone).map_err(|why| {
            let what = format!("{name} or SCHEDULER_TIME_ZONE is not right");
            Failure::because(what, why)
        })
    };
    let jobs = vec![
        (
            profiles,
            due("SCHEDULER_PROFILES_CRON", &options.profiles_cron)?,
        ),
        (
            retention,
            due("SCHEDULER_RETENTION_CRON", &options.retention_cron)?,
        ),
        (
            take,
            due("SCHEDULER_SNAPSHOT_CRON", &options.snapshot_cron)?,
        ),
    ];
    let options = Options {
        run_max: options.run_max.0,
        // The standard library seeds its hashers at random.
        seed: RandomState::new().hash_one(0),
    };
    let scheduler = Scheduler::new(clock, kept.jobs.clone(), options, jobs);
    Ok(Arc::new(scheduler))
}

fn profiles(
    options: &config::Scheduler,
    reader: Arc<dyn ViewReader>,
    kept: &Kept,
    clock: Arc<dyn Clock>,
) -> Result<FetchProfiles, Failure> {
    let (url, time_max) = (&options.profiles_url, options.profiles_timeout.0);
    let source = AppView::new(url, time_max, clock.clone()).map_err(|why| {
        let what = "profiles cannot be asked for (SCHEDULER_PROFILES_CRON=never goes without)";
        Failure::because(what, why)
    })?;
    let limits = ProfileLimits {
        age_max: options.profiles_age_max.0,
        unknown_age_max: options.profiles_unknown_age_max.0,
        calls_max: options.profiles_calls_max as usize,
    };
    let store = kept.profiles.clone();
    Ok(FetchProfiles::new(
        clock,
        reader,
        store,
        Arc::new(source),
        limits,
    ))
}
