//! `skytide ingest`: the relays to the log.

use std::sync::Arc;

use skytide_core::config::Config;
use skytide_ingest::{self as ingest, Context, RelaySource, Source};
use tokio_util::sync::CancellationToken;

use super::open::open_unless_stopped;
use super::probe::start_probe;
use super::shared::Shared;
use crate::data::{Data, Role};
use crate::failure::Failure;
use crate::options;
use crate::relays::relays;
use crate::supervisor::Supervisor;

/// Reads the relays into the log.
///
/// # Errors
///
/// The log cannot be used, or ingest failed.
pub async fn ingest(config: &Config, stop: CancellationToken) -> Result<(), Failure> {
    let sources = relays(config)?;
    let dir = &config.store.dir;
    let opening = Data::open(dir, Some(sources[0].host()), Role::Ingest, config, true);
    let Some(data) = open_unless_stopped(opening, &stop).await? else {
        return Ok(());
    };
    let shared = Shared::default();
    shared.data_metrics(&data);
    let health = shared
        .health()
        .with_relay(config.firehose.read_timeout.0, shared.ingest_status.clone())
        .with_log(shared.measured_log(&data), data.log_problem());
    let health = Arc::new(health);
    let observer = health.clone();
    let context = shared.ingest_context(&data, stop.clone(), move |it| observer.on_progress(it));
    let mut supervisor = Supervisor::new(stop.clone(), config.process.shutdown_max.0);
    let record = shared.keep_flight_record(config, Some(health.clone()), None, stop.clone());
    start_probe(config, &shared, health, &mut supervisor, &stop).await?;
    supervisor.start("the flight record", record);
    supervisor.start("ingest", read_relays(config, &data, sources, context));
    supervisor.run_until_one_exits().await
}

/// Reads the relays until the stop token is cancelled. Stores samples of the dropped frames in the
/// data folder.
pub fn read_relays(
    config: &Config,
    data: &Data,
    sources: Vec<RelaySource>,
    context: Context,
) -> impl Future<Output = Result<(), ingest::IngestError>> + use<> {
    let samples = data.folder.as_ref().map(|it| it.path().join("dropped"));
    let options = options::ingest(config, samples);
    let boxed = |source| Box::new(source) as Box<dyn Source>;
    let sources = sources.into_iter().map(boxed).collect();
    async {
        let read = ingest::run(options, sources, context).await;
        read.map(drop)
    }
}
