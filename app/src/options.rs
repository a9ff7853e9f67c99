//! Converts the central `Config` to the options of each service.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::available_parallelism;

use skytide_core::config::{AccountPolicy, Anonymous, BURST_MIN, Config, Indexer, LogKeep};
use skytide_dataflow as dataflow;
use skytide_ingest as ingest;

use skytide_embedded::{LogOptions, StoreOptions};

/// The options of ingest. `samples` is the folder in which ingest stores some of the frames that it
/// dropped.
pub fn ingest(config: &Config, samples: Option<PathBuf>) -> ingest::Options {
    ingest::Options {
        samples,
        stop_grace: config.process.shutdown_max.0 / 2,
        ..ingest::Options::from(&config.firehose)
    }
}

/// The options of each relay.
pub fn relays(config: &Config) -> Vec<ingest::RelayOptions> {
    // The standard library seeds its hashers at random, so two processes wait for different times
    // before they reconnect.
    let seed = RandomState::new().hash_one(0);
    ingest::RelayOptions::all(&config.firehose, seed)
}

/// The options of the dataflow, without the limit on its memory, which only services have.
pub fn dataflow(config: &Config) -> dataflow::Options {
    let indexer = &config.indexer;
    let cores = available_parallelism().map_or(1, usize::from);
    dataflow::Options {
        workers: match indexer.workers {
            0 => cores,
            workers => workers as usize,
        },
        account_policy: match indexer.account_policy {
            AccountPolicy::ActiveAccountsOnly => dataflow::AccountPolicy::ActiveAccountsOnly,
            AccountPolicy::DeletedAccountsRemoved => {
                dataflow::AccountPolicy::DeletedAccountsRemoved
            }
            AccountPolicy::OpsOnly => dataflow::AccountPolicy::OpsOnly,
        },
        interactions_days: (indexer.interactions_days > 0).then_some(indexer.interactions_days),
        views: indexer.views.selected(),
        batch_events_max: indexer.batch_events_max as usize,
        batch_bytes_max: indexer.batch_bytes_max.0 as usize,
        batch_epochs_max: usize::MAX,
        until_last: false,
        checkpoint: checkpoint(indexer),
        verify: indexer.checkpoint_verify,
        rebuild: indexer.rebuild,
        hot_records_max: None,
        operator_log: indexer.operator_log,
        memory: None,
        scratch: None,
    }
}

fn checkpoint(indexer: &Indexer) -> dataflow::CheckpointOptions {
    dataflow::CheckpointOptions {
        interval: Some(indexer.checkpoint_interval.0),
        events: (indexer.checkpoint_events > 0).then_some(indexer.checkpoint_events),
        keep: indexer.checkpoints_kept as usize,
        log_keep: match indexer.log_keep {
            LogKeep::Nothing => dataflow::LogKeep::Nothing,
            LogKeep::Time(time) => dataflow::LogKeep::Time(time.0),
            LogKeep::All => dataflow::LogKeep::All,
        },
        ..dataflow::CheckpointOptions::default()
    }
}

/// How the API listens on `address`, the resolved `API_ADDRESS`.
pub fn api(config: &Config, address: SocketAddr) -> skytide_api::Options {
    let stop_max = config.process.shutdown_max.0 / 2;
    skytide_api::Options {
        address,
        connections_max: config.api.connections_max as usize,
        per_client_max: config.api.client_connections_max as usize,
        header_ms_max: millis(config.api.header_max.0),
        idle_ms_max: millis(config.api.idle_max.0),
        send_ms_max: millis(config.api.send_max.0),
        stop_ms_max: millis(stop_max),
    }
}

// Otherwise a request that costs more than the burst would never be answered.
const _: () = assert!(BURST_MIN >= skytide_api::COST_MAX);

/// Who may call the API, and how often.
pub fn api_access(config: &Config) -> skytide_api::AccessOptions {
    let api = &config.api;
    let configured = std::iter::once(api.address.to_string());
    let listed = api.admin_hosts.iter().map(|host| host.as_str().to_owned());
    skytide_api::AccessOptions {
        anonymous: api.anonymous == Anonymous::Read,
        address_limit: skytide_api::RateLimit {
            per_second: api.rate,
            burst: api.rate_burst,
        },
        key_limit: skytide_api::RateLimit {
            per_second: api.key_rate,
            burst: api.key_rate_burst,
        },
        trusted_hops: api.trusted_hops as usize,
        hosts: configured.chain(listed).collect(),
    }
}

/// The limits of single requests.
pub fn api_limits(config: &Config) -> skytide_api::Limits {
    skytide_api::Limits {
        request_ms_max: millis(config.api.request_max.0),
        stream_clients_max: config.api.stream_clients_max as usize,
        ready_age_ms_max: Some(millis(config.api.ready_age_max.0)),
        reuse_ms_max: millis(config.api.reuse_max.0),
        cache_bytes_max: config.api.cache_bytes_max.0,
        ..skytide_api::Limits::default()
    }
}

/// How the log uses the disk. `sync`: whether acknowledged events survive a power cut.
pub fn log(config: &Config, sync: bool) -> LogOptions {
    LogOptions {
        segment_bytes: config.store.log_segment_bytes.0,
        bytes_max: config.store.log_bytes_max.0,
        sync,
    }
}

/// How the view store uses memory.
pub fn store(config: &Config) -> StoreOptions {
    StoreOptions {
        cache_bytes: config.store.cache_bytes.0,
        ..StoreOptions::default()
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
