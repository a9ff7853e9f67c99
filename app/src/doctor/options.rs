//! Checks of the options: contradictions, options without an effect, backends that this binary was
//! built without, and files that cannot be read.

use std::path::Path;
use std::sync::Arc;

use skytide_core::config::Config;
use skytide_core::memory::{MemoryJobs, MemoryProfiles, MemorySnapshots, MemoryStore};

use super::finding::Finding;
use crate::cli::doctor::Service;
use crate::cluster::ClusterMember;
use crate::data::JobStores;
use crate::failure::chain;
use crate::jobs::scheduler;
use crate::relays::relays;
use crate::{options, secrets};

const CHECK: &str = "options";

/// Checks the options. `set`: the names of the options that were set.
pub fn check(config: &Config, set: &[String], service: Service) -> Vec<Finding> {
    let mut findings = vec![];
    findings.extend(refused_at_start(config, service));
    findings.extend(not_built(config));
    findings.extend(secret_files(config));
    findings.extend(contradictions(config));
    findings.extend(without_effect(config, set));
    if findings.is_empty() {
        findings.push(Finding::ok(
            CHECK,
            format!("{} are set, all valid", set.len()),
        ));
    }
    findings
}

/// What a start of the service would refuse.
fn refused_at_start(config: &Config, service: Service) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refused = |failure: crate::failure::Failure| {
        let fix = "correct this option; `skytide config` shows where its value comes from";
        findings.push(Finding::problem(CHECK, chain(&failure), fix));
    };
    let all = service == Service::Up;
    if all || service == Service::Ingest {
        relays(config).map(drop).unwrap_or_else(&mut refused);
    }
    if all || service == Service::Index {
        let dataflow = options::dataflow(config);
        let member = ClusterMember::from_options(&config.cluster, &dataflow);
        member.map(drop).unwrap_or_else(&mut refused);
    }
    if all || service == Service::Schedule {
        let stores = JobStores {
            snapshots: Arc::new(MemorySnapshots::default()),
            profiles: Arc::new(MemoryProfiles::default()),
            jobs: Arc::new(MemoryJobs::default()),
        };
        let jobs = scheduler(config, Arc::new(MemoryStore::default()), &stores);
        jobs.map(drop).unwrap_or_else(&mut refused);
    }
    if all && config.cluster.follows() {
        let fix = "set INDEXER_PROCESS to 0, or run `skytide index`";
        let found = "`skytide up` cannot follow another process of a cluster";
        findings.push(Finding::problem(CHECK, found, fix));
    }
    findings
}

/// Options that ask for a backend which this binary was built without.
fn not_built(config: &Config) -> Vec<Finding> {
    let backends = [
        (
            !config.nats.url.is_empty(),
            cfg!(feature = "nats"),
            "NATS_URL",
            "nats",
        ),
        (
            config.mongo.uri.is_some(),
            cfg!(feature = "mongodb"),
            "MONGODB_URI",
            "mongodb",
        ),
    ];
    let missing = backends
        .into_iter()
        .filter(|(is_set, is_built, ..)| *is_set && !is_built);
    let finding = |(_, _, option, feature): (bool, bool, &str, &str)| {
        let found = format!("{option} is set, but this binary was built without `{feature}`");
        let fix = format!("build it with `--features {feature}`, or remove {option}");
        Finding::problem(CHECK, found, fix)
    };
    missing.map(finding).collect()
}

/// Files with secrets that cannot be read.
fn secret_files(config: &Config) -> Vec<Finding> {
    let files = [
        ("NATS_TOKEN_FILE", &config.nats.token_file),
        ("NATS_NKEY_FILE", &config.nats.nkey_file),
        ("NATS_CREDENTIALS_FILE", &config.nats.credentials_file),
        ("NATS_TLS_CA_FILE", &config.nats.tls_ca_file),
        (
            "NATS_TLS_CERTIFICATE_FILE",
            &config.nats.tls_certificate_file,
        ),
        ("NATS_TLS_KEY_FILE", &config.nats.tls_key_file),
    ];
    let files = files
        .into_iter()
        .filter_map(|(option, file)| Some((option, file.as_ref()?)));
    let unreadable = files.filter_map(|(option, file)| {
        let why = match option.contains("TLS") {
            true => std::fs::read(file).err()?,
            false => secrets::contents(Path::new(file)).err()?,
        };
        let found = format!("cannot read {} ({option}): {why}", file.display());
        let fix = "correct the path, or allow the user of the service to read the file";
        Some(Finding::problem(CHECK, found, fix))
    });
    unreadable.collect()
}

/// Options that are valid alone and not together.
fn contradictions(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let api = &config.api;
    if let Some(probe) = &config.process.probe_address
        && probe.port() != 0
        && probe.to_string() == api.address.to_string()
    {
        let found = format!("SKYTIDE_PROBE_ADDRESS and API_ADDRESS are both {probe}");
        findings.push(Finding::problem(CHECK, found, "give them different ports"));
    }
    if api.stream_clients_max > api.connections_max {
        let found = format!(
            "API_STREAM_CLIENTS_MAX ({}) is above API_CONNECTIONS_MAX ({})",
            api.stream_clients_max, api.connections_max
        );
        let fix = "lower API_STREAM_CLIENTS_MAX, so that other requests find a connection";
        findings.push(Finding::warning(CHECK, found, fix));
    }
    let store = &config.store;
    if store.log_segment_bytes.0 > store.log_bytes_max.0 / 4 {
        let found = format!(
            "STORE_LOG_SEGMENT_BYTES ({}) is above a quarter of STORE_LOG_BYTES_MAX ({}), which is \
             used instead",
            store.log_segment_bytes, store.log_bytes_max
        );
        findings.push(Finding::warning(
            CHECK,
            found,
            "lower STORE_LOG_SEGMENT_BYTES",
        ));
    }
    let mongo = &config.mongo;
    if mongo.uri.is_some() && mongo.writes_max >= mongo.connections_max {
        let found = format!(
            "MONGODB_WRITES_MAX ({}) leaves no connection of MONGODB_CONNECTIONS_MAX ({}) for reads",
            mongo.writes_max, mongo.connections_max
        );
        findings.push(Finding::warning(
            CHECK,
            found,
            "raise MONGODB_CONNECTIONS_MAX",
        ));
    }
    findings
}

/// Options that have no effect, because the option that they belong to is unset.
fn without_effect(config: &Config, set: &[String]) -> Option<Finding> {
    let groups = [
        ("NATS_", "NATS_URL", !config.nats.url.is_empty()),
        ("MONGODB_", "MONGODB_URI", config.mongo.uri.is_some()),
    ];
    let idle = set.iter().filter(|name| {
        let mut groups = groups
            .iter()
            .filter(|(prefix, ..)| name.starts_with(prefix));
        groups.any(|(_, _, is_used)| !is_used)
    });
    let idle: Vec<&str> = idle.map(String::as_str).collect();
    let fix = "set NATS_URL or MONGODB_URI, or remove them";
    let found = || {
        format!(
            "{} have no effect without the server's address",
            idle.join(", ")
        )
    };
    (!idle.is_empty()).then(|| Finding::warning(CHECK, found(), fix))
}
