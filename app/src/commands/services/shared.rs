//! What the services of one process share: the metrics registry and the status of ingest.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;
use skytide_api::{ApiState, Health};
use skytide_core::config::Config;
use skytide_core::port::graph::GraphReporter;
use skytide_core::port::identity::IdentityResolver;
use skytide_core::port::log::Log;
use skytide_dataflow as dataflow;
use skytide_ingest::{self as ingest, Context, Progress};
use tokio_util::sync::CancellationToken;

use crate::audit::{AuditMetrics, AuditService};
use crate::clock::SystemClock;
use crate::cluster::ClusterMember;
use crate::data::{Data, JobStores};
use crate::failure::Failure;
use crate::flight::{self, Sources};
use crate::health::ServiceHealth;
use crate::identity::HttpIdentity;
use crate::jobs::profile_ages;
use crate::keys::{WithAdminKey, create_admin_key};
use crate::log_queue::LogLines;
use crate::memory_report::{MemoryCollector, ProcessMemory};
use crate::metrics::{CheckpointAge, LogSize, register_data, register_log_lines, register_process};
use crate::options;

/// What the services of one process share.
pub struct Shared {
    /// The metrics of all services.
    pub registry: Arc<Mutex<Registry>>,
    /// What ingest reports about its relay.
    pub ingest_status: ingest::Status,
    /// The memory of the process.
    pub memory: ProcessMemory,
    log_size: LogSize,
}

impl Default for Shared {
    /// Has only the metrics of the process, its memory and its log lines.
    fn default() -> Self {
        let mut registry = Registry::default();
        register_process(&mut registry);
        register_log_lines(&mut registry);
        let memory = ProcessMemory::default();
        memory.add(Arc::new(LogLines));
        registry.register_collector(Box::new(MemoryCollector(memory.clone())));
        let log_size = LogSize::default();
        registry.register_collector(Box::new(log_size.clone()));
        Self {
            memory,
            registry: Arc::new(Mutex::new(registry)),
            ingest_status: ingest::Status::default(),
            log_size,
        }
    }
}

impl Shared {
    /// Records metrics, graph and health of this process in its flight record, and serves the
    /// record to `skytide doctor`, until `stop` is cancelled.
    pub fn keep_flight_record(
        &self,
        config: &Config,
        health: Option<Arc<dyn Health>>,
        graph: Option<Arc<dyn GraphReporter>>,
        stop: CancellationToken,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let sources = Sources {
            registry: self.registry.clone(),
            graph,
            health,
        };
        let created = flight::place::create(&config.store.dir);
        async move {
            match created {
                Ok(folder) => {
                    stop.run_until_cancelled(flight::run(folder, sources)).await;
                }
                Err(error) => {
                    let what =
                        "cannot create STORE_DIR/flight, so doctor does not see this process";
                    tracing::info!(%error, "{what}");
                    stop.cancelled().await;
                }
            }
            Ok(())
        }
    }

    /// Registers the metrics of the data folder and of the connections to servers.
    pub fn data_metrics(&self, data: &Data) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        register_data(&mut registry, data);
    }

    /// The log, for the health check: the metrics show the size that it answers.
    pub fn measured_log(&self, data: &Data) -> Arc<dyn Log> {
        self.log_size.measure(data.log())
    }

    /// The health of a process without any part yet, with its metric.
    pub fn health(&self) -> ServiceHealth {
        ServiceHealth::new(Arc::new(SystemClock)).with_metric(&self.registry)
    }

    /// The options of the dataflow, with the limit on the memory of this process.
    pub fn dataflow_options(&self, config: &Config) -> dataflow::Options {
        dataflow::Options {
            memory: self.memory.limit(config.indexer.memory_max),
            ..options::dataflow(config)
        }
    }

    /// Registers the metrics of the dataflow, for the workers of all processes of the cluster.
    pub fn dataflow_metrics(
        &self,
        options: &dataflow::Options,
        member: Option<&ClusterMember>,
    ) -> Arc<dataflow::Metrics> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let processes = member.map_or(1, ClusterMember::processes);
        let metrics = dataflow::Metrics::register(&mut registry, options.workers * processes);
        self.memory.add(metrics.clone());
        let age = CheckpointAge::new(&metrics);
        registry.register_collector(Box::new(age));
        metrics
    }

    /// Adds the sizes of the view store to the memory of the process.
    pub fn add_store_sizes(&self, data: &Data) {
        if let Some(sizes) = data.views().sizes() {
            self.memory.add(sizes);
        }
    }

    /// The audits of these data, which must be opened for the dataflow.
    pub fn audits(&self, data: &Data) -> Arc<AuditService> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        AuditService::new(data, AuditMetrics::register(&mut registry))
    }

    /// The ports of ingest. `on_progress` is called after each epoch that ingest wrote.
    pub fn ingest_context(
        &self,
        data: &Data,
        stop: CancellationToken,
        on_progress: impl Fn(&Progress) + Send + Sync + 'static,
    ) -> Context {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let metrics = ingest::Metrics::register(&mut registry);
        self.memory.add(Arc::new(metrics.clone()));
        Context {
            log: data.log(),
            clock: Arc::new(SystemClock),
            metrics,
            progress: Arc::new(on_progress),
            status: self.ingest_status.clone(),
            stop,
        }
    }

    /// The ports and limits of the API. Writes the admin key if there is none.
    ///
    /// # Errors
    ///
    /// The HTTP client that resolves handles cannot be created.
    pub fn api_state(
        &self,
        config: &Config,
        data: &Data,
        job_stores: &JobStores,
    ) -> Result<ApiState, Failure> {
        let clock = Arc::new(SystemClock);
        let state = ApiState::new(data.store(), clock, self.registry.clone());
        let state = match resolver(config, job_stores)? {
            Some(resolver) => state.with_resolver(resolver),
            None => state,
        };
        let state = match data.views().has_atomic_commits() {
            true => state.with_atomic_commits(),
            false => state,
        };
        let admin = create_admin_key(&config.store.dir);
        let keys = WithAdminKey::new(data.views().keys(), admin);
        let state = state
            .with_access(options::api_access(config), Arc::new(keys))
            .with_limits(options::api_limits(config))
            .with_snapshots(job_stores.snapshots.clone())
            .with_profiles(job_stores.profiles.clone())
            .with_profile_ages(profile_ages(&config.scheduler))
            .with_jobs(job_stores.jobs.clone())
            .with_memory(Arc::new(self.memory.clone()));
        self.memory.add(state.sizes());
        Ok(state)
    }
}

/// The servers that resolve handles; `None` if `API_RESOLVER_URL` is `never`.
fn resolver(
    config: &Config,
    job_stores: &JobStores,
) -> Result<Option<Arc<dyn IdentityResolver>>, Failure> {
    let Some(url) = &config.api.resolver_url.0 else {
        return Ok(None);
    };
    let made = HttpIdentity::new(url, &config.api.plc_url, Arc::new(SystemClock));
    let made = made.map_err(|why| {
        let what = "cannot resolve handles (API_RESOLVER_URL=never turns requests off)";
        Failure::because(what, why)
    })?;
    Ok(Some(Arc::new(
        made.with_pauses(job_stores.profiles.clone()),
    )))
}
