//! What every handler may use: ports and configuration, and what all answers have in common. The
//! cache of a route is not here: the route owns it as a sub-state ([`crate::routing::ApiState`]
//! joins them).

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use skytide_core::memory::{MemoryJobs, MemoryProfiles, MemorySnapshots};
use skytide_core::port::audit::AuditReporter;
use skytide_core::port::clock::Clock;
use skytide_core::port::graph::GraphReporter;
use skytide_core::port::job::{JobRunner, JobStore};
use skytide_core::port::profile::{ProfileAges, ProfileStore};
use skytide_core::port::size::MemoryReporter;
use skytide_core::port::snapshot::SnapshotStore;
use skytide_core::port::store::{Committed, Control, ViewReader};
use skytide_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::demand::{DemandPorts, ProfileDemand};
use crate::health::{Health, UnknownHealth};
use crate::metrics::Metrics;
use crate::missing::IntervalsCache;
use crate::options::Limits;
use crate::problem::Problem;

/// The ages at which profiles are fetched again, unless options say otherwise.
const DEFAULT_AGES: ProfileAges = ProfileAges {
    age_max: Duration::from_secs(86_400),
    unknown_age_max: Duration::from_secs(3_600),
};

/// The ports and the configuration of the API. Clones share the same ports.
///
/// Every layer and every handler clones it. So a clone is one reference count: a count of its own for
/// each port took most of the time of a cached answer.
#[derive(Clone)]
pub(crate) struct ApiContext(Arc<ContextParts>);

impl Deref for ApiContext {
    type Target = ContextParts;

    fn deref(&self) -> &ContextParts {
        &self.0
    }
}

impl DerefMut for ApiContext {
    /// Copies the parts if they are shared: clones keep the parts that they have.
    fn deref_mut(&mut self) -> &mut ContextParts {
        Arc::make_mut(&mut self.0)
    }
}

/// The parts of an [`ApiContext`].
#[derive(Clone)]
pub(crate) struct ContextParts {
    pub(crate) reader: Arc<dyn ViewReader>,
    pub(crate) snapshots: Arc<dyn SnapshotStore>,
    pub(crate) profiles: Arc<dyn ProfileStore>,
    pub(crate) jobs: Arc<dyn JobStore>,
    /// `None`: no dataflow runs in this process.
    pub(crate) graph: Option<Arc<dyn GraphReporter>>,
    /// `None`: the memory of this process is not measured.
    pub(crate) memory: Option<Arc<dyn MemoryReporter>>,
    /// `None`: this process makes no audits.
    pub(crate) audits: Option<Arc<dyn AuditReporter>>,
    /// `None`: this process runs no jobs.
    pub(crate) job_runner: Option<Arc<dyn JobRunner>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) health: Arc<dyn Health>,
    pub(crate) registry: Arc<Mutex<Registry>>,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    /// Requests the profiles that answers lack.
    pub(crate) demand: ProfileDemand,
    /// What is missing from the newest commit, which every answer may say.
    pub(crate) intervals: IntervalsCache,
    /// Whether the store shows a commit completely or not at all.
    pub(crate) commits_atomic: bool,
    /// Whether metrics are only on the probe.
    pub(crate) details_on_probe: bool,
    /// Cancelled when the server stops.
    pub(crate) stop: CancellationToken,
}

impl ApiContext {
    /// Reads rows from `reader`, computes ages with `clock`, and adds the API's metrics to
    /// `registry`. Snapshots, profiles and jobs are empty; the health of other services is unknown.
    pub(crate) fn new(
        reader: Arc<dyn ViewReader>,
        clock: Arc<dyn Clock>,
        registry: Arc<Mutex<Registry>>,
    ) -> Self {
        let metrics = Metrics::register(&registry);
        Self(Arc::new(ContextParts {
            reader,
            snapshots: Arc::new(MemorySnapshots::default()),
            profiles: Arc::new(MemoryProfiles::default()),
            jobs: Arc::new(MemoryJobs::default()),
            graph: None,
            memory: None,
            audits: None,
            job_runner: None,
            clock,
            health: Arc::new(UnknownHealth),
            registry,
            metrics,
            limits: Limits::default(),
            demand: ProfileDemand::new(DEFAULT_AGES),
            intervals: IntervalsCache::default(),
            commits_atomic: false,
            details_on_probe: false,
            stop: CancellationToken::new(),
        }))
    }

    /// Reads the control record and the last commit recorded in it.
    ///
    /// # Errors
    /// `nothing_counted_yet` before the first commit; a problem of the store if it cannot be read.
    pub(crate) async fn committed(&self) -> Result<(Control, Committed), Problem> {
        committed_of(&*self.reader).await
    }

    /// The ports that requests for profiles need.
    pub(crate) fn demand_ports(&self) -> DemandPorts {
        DemandPorts {
            profiles: self.profiles.clone(),
            jobs: self.jobs.clone(),
            clock: self.clock.clone(),
        }
    }

    /// The age of a network time by this machine's clock; `None` if the time is not known.
    pub(crate) fn age_ms(&self, time: Timestamp) -> Option<u64> {
        let time = time.known()?;
        Some(self.clock.now().0.saturating_sub(time.0))
    }
}

/// Reads the control record of a reader and the last commit recorded in it.
///
/// # Errors
/// See [`ApiContext::committed`].
pub(crate) async fn committed_of(reader: &dyn ViewReader) -> Result<(Control, Committed), Problem> {
    let control = reader.control().await?;
    let no_commit = || {
        Problem::unavailable(
            "nothing_counted_yet",
            "nothing is counted yet: the store has no commit; /readyz shows the reason",
        )
    };
    let committed = control.committed.clone().ok_or_else(no_commit)?;
    Ok((control, committed))
}
