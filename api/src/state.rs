//! What the routes share.

use std::sync::{Arc, Mutex};

use prometheus_client::registry::Registry;
use serde::Serialize;
use skytide_core::memory::{MemoryJobs, MemoryProfiles, MemorySnapshots};
use skytide_core::port::clock::Clock;
use skytide_core::port::job::JobStore;
use skytide_core::port::profile::ProfileStore;
use skytide_core::port::snapshot::SnapshotStore;
use skytide_core::port::store::{Committed, Control, ViewReader};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::routes::health::Newest;
use crate::routes::past::Past;
use crate::routes::stream::Streams;
use crate::server::Limits;

/// What the routes share; clones are handles of the same.
#[derive(Clone)]
pub struct ApiState {
    pub(crate) reader: Arc<dyn ViewReader>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<Mutex<Registry>>,
    pub(crate) health: Arc<dyn Health>,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) streams: Arc<Streams>,
    pub(crate) commits_atomic: bool,
    pub(crate) snapshots: Arc<dyn SnapshotStore>,
    pub(crate) past: Arc<Past>,
    pub(crate) profiles: Arc<dyn ProfileStore>,
    pub(crate) jobs: Arc<dyn JobStore>,
    pub(crate) newest: Arc<Newest>,
    pub(crate) stop: CancellationToken,
}

impl ApiState {
    /// Reads rows from `reader` and tells their age by `clock`. The API's own metrics are added to `registry`, which
    /// `/metrics` serves.
    pub fn new(
        reader: Arc<dyn ViewReader>,
        clock: Arc<dyn Clock>,
        registry: Arc<Mutex<Registry>>,
    ) -> Self {
        let metrics = Metrics::register(&registry);
        Self {
            reader,
            clock,
            registry,
            health: Arc::new(Unknown),
            metrics,
            limits: Limits::default(),
            streams: Arc::default(),
            commits_atomic: false,
            snapshots: Arc::new(MemorySnapshots::default()),
            past: Arc::default(),
            profiles: Arc::new(MemoryProfiles::default()),
            jobs: Arc::new(MemoryJobs::default()),
            newest: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Tells in `/readyz` and `/v1/network` how the services beside this one do.
    #[must_use]
    pub fn with_health(mut self, health: Arc<dyn Health>) -> Self {
        self.health = health;
        self
    }

    /// Other limits than the default ones.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The store shows a commit wholly or not at all (the embedded one does). Then a row that is missing while a
    /// commit is in progress is no reason to read again.
    #[must_use]
    pub fn with_atomic_commits(mut self) -> Self {
        self.commits_atomic = true;
        self
    }

    /// Answers questions about the past from these snapshots; without them there is no past.
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: Arc<dyn SnapshotStore>) -> Self {
        self.snapshots = snapshots;
        self
    }

    /// Shows these profiles with accounts; without them what the stream tells.
    #[must_use]
    pub fn with_profiles(mut self, profiles: Arc<dyn ProfileStore>) -> Self {
        self.profiles = profiles;
        self
    }

    /// Tells in `/v1/jobs` what the jobs do; without them there are none.
    #[must_use]
    pub fn with_jobs(mut self, jobs: Arc<dyn JobStore>) -> Self {
        self.jobs = jobs;
        self
    }

    /// Streams end when `stop` is cancelled.
    #[must_use]
    pub fn with_stop(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// The control record and the last commit in it.
    pub(crate) async fn committed(&self) -> Result<(Control, Committed), Problem> {
        let control = self.reader.control().await?;
        let nothing = || {
            Problem::unavailable(
                "nothing_counted_yet",
                "no commit yet: nothing has been counted; /readyz says what is waited for",
            )
        };
        let committed = control.committed.clone().ok_or_else(nothing)?;
        Ok((control, committed))
    }
}

/// How the services beside the API do, as far as this process knows.
pub trait Health: Send + Sync {
    /// One part each, as `relay`, `log`, `dataflow`; none where nothing is known.
    fn parts(&self) -> Vec<Part>;

    /// Whether a part that is not well makes the system unready although it answers and commits: a person must act.
    fn needs_help(&self) -> bool {
        false
    }
}

/// How one part of the system does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Which one, as `relay`.
    pub name: String,
    /// Whether it does its work.
    pub ok: bool,
    /// In words for people, as `connected` or `retrying in 8 s: connection refused`. Public: no secrets.
    pub detail: String,
}

/// Nothing is known: the other services run in processes of their own.
struct Unknown;

impl Health for Unknown {
    fn parts(&self) -> Vec<Part> {
        Vec::new()
    }
}
