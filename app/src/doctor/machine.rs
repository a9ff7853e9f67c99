//! Checks of the machine: memory against the live records, processors against the workers, and the
//! limit of open files against the connections.

use std::thread::available_parallelism;

use skytide_core::config::Config;
use skytide_core::view::ViewId;

use super::finding::{Finding, bytes};
use crate::cli::doctor::Service;
use crate::files;
use crate::memory_limit::memory_limit;

/// Memory that a live record needs, in bytes: the upper end of what was measured
/// (`docs/benchmarks`), with room for the tables to grow.
const RECORD_BYTES: u64 = 330;
/// Bytes of these that leave memory when a live record moves to disk (docs/capacity.md).
const EVICTABLE_BYTES: u64 = 98;
/// Memory that a process needs besides live records and caches, in bytes.
const BASE_BYTES: u64 = 256 << 20;
/// Share of the memory above which a warning is given, in percent.
const USED_PERCENT_MAX: u64 = 80;
/// Share of the memory that `INDEXER_MEMORY_MAX` should leave at most to the dataflow, in percent.
const MEMORY_MAX_PERCENT: u64 = 90;

/// Checks the machine. `live_records`: those of the running dataflow, if there is one.
pub fn check(config: &Config, service: Service, live_records: Option<f64>) -> Vec<Finding> {
    let limit = memory_limit();
    let mut findings: Vec<Finding> = limit
        .map(|(limit, what)| memory(config, service, live_records, limit, what))
        .into_iter()
        .collect();
    findings.extend(limit.and_then(|(limit, _)| memory_max(config, service, live_records, limit)));
    if matches!(service, Service::Up | Service::Index) {
        let cores = available_parallelism().map_or(1, usize::from);
        findings.push(workers(config.indexer.workers as usize, cores));
    }
    if matches!(service, Service::Up | Service::Serve) {
        let wanted = config.api.connections_max as usize;
        let hard = rlimit::getrlimit(rlimit::Resource::NOFILE).map(|(_, hard)| hard);
        findings.extend(hard.ok().map(|hard| open_files(wanted, hard)));
    }
    findings
}

fn memory(
    config: &Config,
    service: Service,
    live_records: Option<f64>,
    limit: u64,
    what: &str,
) -> Finding {
    const CHECK: &str = "memory";
    let (needed, records) = needed(config, service, live_records);
    let counts = matches!(service, Service::Up | Service::Index);
    let all_views = match config.indexer.views.selected().len() == ViewId::ALL.len() {
        true => "",
        false => " (with all views; fewer with INDEXER_VIEWS)",
    };
    let share = format!("{} ({what})", bytes(limit));
    let need = match records {
        Some(records) => format!(
            "about {} needed: {records} live records of {RECORD_BYTES} bytes{all_views}, and caches",
            bytes(needed)
        ),
        None if counts => format!(
            "{} needed for caches, and {RECORD_BYTES} bytes for each live record{all_views}, whose \
             number is known only while the service runs",
            bytes(needed)
        ),
        None => format!("about {} needed for caches", bytes(needed)),
    };
    let found = format!("{share}, {need}");
    let fix = "give the service more memory, lower STORE_CACHE_BYTES and API_CACHE_BYTES_MAX, or \
               count on several machines (INDEXER_HOSTS)";
    if needed > limit {
        Finding::problem(CHECK, found, fix)
    } else if needed > limit / 100 * USED_PERCENT_MAX {
        Finding::warning(CHECK, found, fix)
    } else {
        Finding::ok(CHECK, found)
    }
}

/// Compares the memory that the dataflow may use with what it needs, and with `limit`, what the
/// process may use before the system ends it. `None` without a dataflow.
fn memory_max(
    config: &Config,
    service: Service,
    live_records: Option<f64>,
    limit: u64,
) -> Option<Finding> {
    const CHECK: &str = "memory";
    if !matches!(service, Service::Up | Service::Index) {
        return None;
    }
    let option = config.indexer.memory_max;
    let Some(bytes_max) = option.bytes(Some(limit)) else {
        let found =
            "INDEXER_MEMORY_MAX is none: when memory runs out, the system kills the process";
        let fix =
            "set INDEXER_MEMORY_MAX to at most 90% of the memory: counting then stops instead";
        return Some(Finding::warning(CHECK, found, fix));
    };
    let (needed, records) = needed(config, service, live_records);
    let found = format!(
        "INDEXER_MEMORY_MAX is {option}: live records move to disk above 80% of {}",
        bytes(bytes_max)
    );
    Some(if needed > bytes_max {
        let found = format!("{found}, and about {} are needed", bytes(needed));
        let fix = "raise INDEXER_MEMORY_MAX, compute fewer views (INDEXER_VIEWS), or count on \
                   several machines (INDEXER_HOSTS)";
        // What can be released does not stop counting: caches, and live records, which move to disk.
        // In a cluster, only one process can do that.
        let is_alone = config.cluster.hosts.is_empty();
        let evictable = records.filter(|_| is_alone).unwrap_or(0) * EVICTABLE_BYTES;
        match records {
            Some(_) if needed - evictable > bytes_max => Finding::problem(CHECK, found, fix),
            _ => Finding::warning(CHECK, found, fix),
        }
    } else if bytes_max > limit / 100 * MEMORY_MAX_PERCENT {
        let found = format!("{found} of {}", bytes(limit));
        let fix = "lower INDEXER_MEMORY_MAX to at most 90% of the memory: a batch in progress and a \
                   checkpoint need memory above it";
        Finding::warning(CHECK, found, fix)
    } else if needed > bytes_max / 100 * USED_PERCENT_MAX {
        let found = format!("{found}; about {} are needed", bytes(needed));
        let fix = "raise INDEXER_MEMORY_MAX before it is reached";
        Finding::warning(CHECK, found, fix)
    } else {
        Finding::ok(CHECK, found)
    })
}

/// The memory that the service needs, in bytes, and the live records that are included.
fn needed(config: &Config, service: Service, live_records: Option<f64>) -> (u64, Option<u64>) {
    let has_store = config.mongo.uri.is_none() && service != Service::Ingest;
    let has_api = matches!(service, Service::Up | Service::Serve);
    let caches = [
        (has_store, config.store.cache_bytes.0),
        (has_api, config.api.cache_bytes_max.0),
        (true, config.process.flight_bytes_max.0),
    ];
    let caches: u64 = caches
        .into_iter()
        .filter(|it| it.0)
        .map(|(_, bytes)| bytes)
        .sum();
    let counts = matches!(service, Service::Up | Service::Index);
    let records = live_records.filter(|_| counts).map(|it| it.max(0.0) as u64);
    let processes = config.cluster.hosts.len().max(1) as u64;
    let of_records = records.unwrap_or(0) / processes * RECORD_BYTES;
    (BASE_BYTES + caches + of_records, records)
}

fn workers(workers: usize, cores: usize) -> Finding {
    const CHECK: &str = "cpu";
    match workers {
        0 => Finding::ok(CHECK, format!("{cores} processors, one worker for each")),
        workers if workers > cores => {
            let found = format!("INDEXER_WORKERS is {workers}, and there are {cores} processors");
            let fix =
                format!("set INDEXER_WORKERS to 0 or at most {cores}: workers wait for each other");
            Finding::warning(CHECK, found, fix)
        }
        workers => Finding::ok(CHECK, format!("{cores} processors for {workers} workers")),
    }
}

fn open_files(wanted: usize, hard: u64) -> Finding {
    const CHECK: &str = "files";
    let allowed = files::connections(wanted, hard);
    if allowed >= wanted {
        let found = format!("{hard} open files allowed, for {wanted} connections");
        return Finding::ok(CHECK, found);
    }
    let found = format!(
        "{hard} open files allowed, which is enough for {allowed} connections, not for {wanted} \
         (API_CONNECTIONS_MAX)"
    );
    let fix = "raise the hard limit (ulimit -Hn, LimitNOFILE= of the unit), or lower \
               API_CONNECTIONS_MAX";
    Finding::warning(CHECK, found, fix)
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::super::finding::Level;
    use super::*;

    #[test]
    fn limits_are_compared_with_the_options() {
        assert_eq!(workers(0, 2).level, Level::Ok);
        assert_eq!(workers(2, 2).level, Level::Ok);
        assert_eq!(workers(3, 2).level, Level::Warning);
        assert_eq!(open_files(1_024, 65_536).level, Level::Ok);
        let finding = open_files(1_024, 1_024);
        assert_eq!(finding.level, Level::Warning);
        assert!(finding.found.contains("512 connections"), "{finding:?}");
    }

    #[test]
    fn the_limit_on_memory_is_compared_with_the_need_and_with_the_machine() {
        let command = Config::augment_args(clap::Command::new("skytide").no_binary_name(true));
        let matches = command.try_get_matches_from(Vec::<String>::new());
        let config = Config::from_arg_matches(&matches.expect("defaults"));
        let config = config.expect("defaults");
        let level = |memory_max: &str, records: f64| {
            let mut config = config.clone();
            config.indexer.memory_max = memory_max.parse().expect("a limit");
            let found = memory_max_of(&config, records);
            (found.level, found.found)
        };
        assert_eq!(level("50%", 1e6).0, Level::Ok);
        // 8 GiB of 16 GiB are enough for about 23 million records.
        assert_eq!(level("50%", 21e6).0, Level::Warning);
        // Without the live records themselves, for about 35 million.
        assert_eq!(level("50%", 30e6).0, Level::Warning);
        assert_eq!(level("50%", 40e6).0, Level::Problem);
        assert_eq!(level("15GiB", 1e6).0, Level::Warning);
        let (level, found) = level("none", 1e6);
        assert_eq!(level, Level::Warning);
        assert!(found.contains("kills the process"), "{found}");
        let mut small = config.clone();
        small.indexer.memory_max = "1MiB".parse().expect("a limit");
        let unknown = memory_max(&small, Service::Index, None, 16 << 30);
        assert_eq!(unknown.map(|it| it.level), Some(Level::Warning));
        let other = memory_max(&config, Service::Serve, None, 16 << 30);
        assert_eq!(other.map(|it| it.found), None, "it has no dataflow");
    }

    fn memory_max_of(config: &Config, records: f64) -> Finding {
        let found = memory_max(config, Service::Index, Some(records), 16 << 30);
        found.expect("index has a dataflow")
    }
}
