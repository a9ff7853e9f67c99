//! The state of the API and the table of its routes.
//!
//! A handler extracts the part of [`ApiState`] that it needs: most take the [`ApiContext`] alone;
//! a route with a cache also takes its own sub-state.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::FromRef;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use prometheus_client::registry::Registry;
use skytide_core::memory::MemoryKeys;
use skytide_core::port::clock::Clock;
use skytide_core::port::graph::GraphReporter;
use skytide_core::port::identity::IdentityResolver;
use skytide_core::port::job::{JobRunner, JobStore};
use skytide_core::port::key::KeyStore;
use skytide_core::port::profile::{ProfileAges, ProfileStore};
use skytide_core::port::size::MemoryReporter;
use skytide_core::port::snapshot::SnapshotStore;
use skytide_core::port::store::ViewReader;
use tokio_util::sync::CancellationToken;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::{CompressionLayer, DefaultPredicate, Predicate};

use crate::access::Access;
use crate::cache::AnswerCache;
use crate::demand::ProfileDemand;
use crate::guard::{Guard, guard};
use crate::handles::Handles;
use crate::health::Health;
use crate::limiter::LimitClock;
use crate::metrics::ConnectionMetrics;
use crate::options::{AccessOptions, Limits};
use crate::respond::{Answers, is_not_negotiated};
use crate::routes::as_of::SnapshotCache;
use crate::routes::dataflow::DataflowHistory;
use crate::routes::health::CommitAge;
use crate::routes::stream::StreamState;
use crate::routes::{
    actors, dataflow, dataflow_page, health, interactions, jobs, keys, metrics, network, original,
    posts, snapshots, start, stream, trend, trends, views,
};
use crate::state::ApiContext;
use crate::{catalogue, middleware, openapi};

/// The state of the API: ports, configuration, and a cache for some of the routes. Clones share all
/// of them.
#[derive(Clone)]
pub struct ApiState(Arc<StateParts>);

impl Deref for ApiState {
    type Target = StateParts;

    fn deref(&self) -> &StateParts {
        &self.0
    }
}

impl DerefMut for ApiState {
    /// Copies the parts if they are shared: clones keep the parts that they have.
    fn deref_mut(&mut self) -> &mut StateParts {
        Arc::make_mut(&mut self.0)
    }
}

/// The parts of an [`ApiState`]. Each layer clones the state, so a clone is one reference count.
#[derive(Clone)]
pub struct StateParts {
    context: ApiContext,
    snapshot_cache: SnapshotCache,
    streams: StreamState,
    commit_age: CommitAge,
    cache: AnswerCache,
    guard: Guard,
    handles: Handles,
    dataflow: DataflowHistory,
}

impl ApiState {
    /// Reads rows from `reader` and computes their age with `clock`. The API adds its own metrics
    /// to `registry`, which `/metrics` serves.
    pub fn new(
        reader: Arc<dyn ViewReader>,
        clock: Arc<dyn Clock>,
        registry: Arc<Mutex<Registry>>,
    ) -> Self {
        let context = ApiContext::new(reader, clock, registry);
        let keys = Arc::new(MemoryKeys::default());
        Self(Arc::new(StateParts {
            cache: cache(&context),
            guard: access_guard(&context, AccessOptions::default(), keys),
            context,
            snapshot_cache: SnapshotCache::default(),
            streams: StreamState::default(),
            commit_age: CommitAge::default(),
            handles: Handles::offline(),
            dataflow: DataflowHistory::default(),
        }))
    }

    /// Accepts the keys of this store, by these rules. Without this call everybody may read without
    /// a limit, and no key is valid.
    #[must_use]
    pub fn with_access(mut self, options: AccessOptions, keys: Arc<dyn KeyStore>) -> Self {
        self.guard = access_guard(&self.context, options, keys);
        self
    }

    #[cfg(test)]
    pub(crate) fn with_guard(mut self, guard: Guard) -> Self {
        self.guard = guard;
        self
    }

    /// The metrics of the checks of keys and limits.
    #[cfg(test)]
    pub(crate) fn access_metrics(&self) -> crate::metrics::AccessMetrics {
        self.context.metrics.access.clone()
    }

    /// Reads the keys once. [`Server::run`](crate::Server::run) reads them each second.
    pub async fn read_keys(&self) {
        self.guard.access.refresh_once().await;
    }

    /// Lets the admin routes answer under the names of this address.
    #[must_use]
    pub(crate) fn with_listener(mut self, address: SocketAddr) -> Self {
        self.guard.hosts.add_listener(address);
        self
    }

    /// Reads the keys each second until `stop` is cancelled.
    pub(crate) fn refresh_keys(
        &self,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let access = self.guard.access.clone();
        async move { access.refresh(stop).await }
    }

    /// Shows the health of the services beside this one in `/readyz` and `/v1/network`.
    #[must_use]
    pub fn with_health(mut self, health: Arc<dyn Health>) -> Self {
        self.context.health = health;
        self
    }

    /// Replaces the default limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.context.limits = limits;
        self.cache = cache(&self.context);
        self
    }

    /// Declares that the store shows a commit completely or not at all, as the embedded store does.
    /// Then a row that is missing while a commit is in progress does not cause a reread.
    #[must_use]
    pub fn with_atomic_commits(mut self) -> Self {
        self.context.commits_atomic = true;
        self
    }

    /// Declares that the API is public: `/metrics` is only on a probe ([`Probe::run_beside_api`]).
    ///
    /// [`Probe::run_beside_api`]: crate::Probe::run_beside_api
    #[must_use]
    pub fn with_details_on_probe(mut self) -> Self {
        self.context.details_on_probe = true;
        self
    }

    /// Answers requests for lists of the past (the parameter `as_of`) from these snapshots. Without
    /// this call there are no snapshots.
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: Arc<dyn SnapshotStore>) -> Self {
        self.context.snapshots = snapshots;
        self
    }

    /// Shows these profiles beside accounts. Without this call an account shows only what the
    /// stream reported.
    #[must_use]
    pub fn with_profiles(mut self, profiles: Arc<dyn ProfileStore>) -> Self {
        self.context.profiles = profiles;
        self
    }

    /// Requests the profiles of accounts in answers when they are older than this.
    #[must_use]
    pub fn with_profile_ages(mut self, ages: ProfileAges) -> Self {
        self.context.demand = ProfileDemand::new(ages);
        self
    }

    /// Resolves handles by this resolver. Without this call the network is not asked: a handle
    /// resolves by fetched profiles and by the stream.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn IdentityResolver>) -> Self {
        self.handles = Handles::new(resolver, &self.context.registry);
        self
    }

    /// Shows these job states in `/v1/jobs`. Without this call there are no jobs.
    #[must_use]
    pub fn with_jobs(mut self, jobs: Arc<dyn JobStore>) -> Self {
        self.context.jobs = jobs;
        self
    }

    /// Shows what this dataflow does in `/v1/dataflow`. Without this call there is none.
    #[must_use]
    pub fn with_graph(mut self, graph: Arc<dyn GraphReporter>) -> Self {
        self.context.graph = Some(graph);
        self
    }

    /// Shows the memory of this process in `/v1/dataflow`. Without this call it is not known.
    #[must_use]
    pub fn with_memory(mut self, memory: Arc<dyn MemoryReporter>) -> Self {
        self.context.memory = Some(memory);
        self
    }

    /// Runs jobs on request of an operator. Without this call the process runs no jobs.
    #[must_use]
    pub fn with_job_runner(mut self, runner: Arc<dyn JobRunner>) -> Self {
        self.context.job_runner = Some(runner);
        self
    }

    /// Ends event streams when `stop` is cancelled.
    #[must_use]
    pub fn with_stop(mut self, stop: CancellationToken) -> Self {
        self.context.stop = stop;
        self
    }

    /// All metrics of the process.
    pub(crate) fn registry(&self) -> Arc<Mutex<Registry>> {
        self.context.registry.clone()
    }

    /// The metrics of the connections that this state's server accepts.
    pub(crate) fn connection_metrics(&self) -> ConnectionMetrics {
        self.context.metrics.connections.clone()
    }
}

fn access_guard(context: &ApiContext, options: AccessOptions, keys: Arc<dyn KeyStore>) -> Guard {
    let metrics = context.metrics.access.clone();
    Guard::new(
        options,
        keys,
        context.clock.clone(),
        LimitClock::system(),
        metrics,
    )
}

fn cache(context: &ApiContext) -> AnswerCache {
    let Limits {
        cache_bytes_max,
        reuse_ms_max,
        ..
    } = context.limits;
    AnswerCache::new(cache_bytes_max, reuse_ms_max, context.metrics.cache.clone())
}

impl FromRef<ApiState> for Answers {
    fn from_ref(state: &ApiState) -> Self {
        Self {
            context: state.context.clone(),
            cache: state.cache.clone(),
        }
    }
}

impl FromRef<ApiState> for Guard {
    fn from_ref(state: &ApiState) -> Self {
        state.guard.clone()
    }
}

impl FromRef<ApiState> for Access {
    fn from_ref(state: &ApiState) -> Self {
        state.guard.access.clone()
    }
}

impl FromRef<ApiState> for ApiContext {
    fn from_ref(state: &ApiState) -> Self {
        state.context.clone()
    }
}

impl FromRef<ApiState> for SnapshotCache {
    fn from_ref(state: &ApiState) -> Self {
        state.snapshot_cache.clone()
    }
}

impl FromRef<ApiState> for StreamState {
    fn from_ref(state: &ApiState) -> Self {
        state.streams.clone()
    }
}

impl FromRef<ApiState> for Handles {
    fn from_ref(state: &ApiState) -> Self {
        state.handles.clone()
    }
}

impl FromRef<ApiState> for DataflowHistory {
    fn from_ref(state: &ApiState) -> Self {
        state.dataflow.clone()
    }
}

impl FromRef<ApiState> for CommitAge {
    fn from_ref(state: &ApiState) -> Self {
        state.commit_age.clone()
    }
}

/// All routes with their middleware. Tests call the router directly, without a socket.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route(catalogue::TRENDS.path, get(trends::show))
        .route(catalogue::TREND.path, get(trend::show))
        .route(catalogue::POST.path, get(posts::show))
        .route(catalogue::ACTOR_ROUTE.path, get(actors::show))
        .route(catalogue::INTERACTIONS.path, get(interactions::show))
        .route(catalogue::NETWORK.path, get(network::show))
        .route(catalogue::VIEWS_ROUTE.path, get(views::show))
        .route(catalogue::SNAPSHOTS.path, get(snapshots::show))
        .route(catalogue::DATAFLOW.path, get(dataflow::show))
        .route(catalogue::JOBS.path, get(jobs::show))
        .route(catalogue::STREAM.path, get(stream::show))
        .route(catalogue::HEALTHZ.path, get(health::alive))
        .route(catalogue::READYZ.path, get(health::ready))
        .route(catalogue::METRICS.path, get(metrics::show))
        .route(catalogue::OPENAPI.path, get(openapi::show))
        .route(catalogue::START.path, get(start::page))
        .route(catalogue::DATAFLOW_PAGE.path, get(dataflow_page::page))
        .route("/assets/dataflow/{name}", get(dataflow_page::asset))
        .route("/assets/style.css", get(start::style))
        .route("/assets/app.js", get(start::script))
        .route("/assets/rows.js", get(start::rows))
        .route("/assets/stream.js", get(start::stream))
        .route(catalogue::ADMIN_KEYS.path, get(keys::list))
        .route(catalogue::ADMIN_KEY.path, delete(keys::revoke))
        .route(catalogue::ADMIN_JOB_RUN.path, post(jobs::run))
        .route(catalogue::ORIGINAL_TOP.path, get(original::top::show))
        .route(
            catalogue::ORIGINAL_INTERACTIONS.path,
            post(original::interactions::show),
        )
        .route(catalogue::ORIGINAL_COUNTS.path, get(original::counts::show))
        .fallback(middleware::not_found)
        .method_not_allowed_fallback(middleware::method_not_allowed)
        // From the innermost layer to the outermost: what a layer refuses is counted, too.
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(DefaultPredicate::new().and(is_not_negotiated)),
        )
        .layer(CatchPanicLayer::custom(middleware::panicked))
        .layer(from_fn_with_state(state.clone(), guard))
        .layer(from_fn_with_state(
            state.clone(),
            middleware::enforce_limits,
        ))
        .layer(from_fn(original::adapt_errors))
        .layer(from_fn_with_state(
            state.clone(),
            middleware::observe_request,
        ))
        .with_state(state)
}
