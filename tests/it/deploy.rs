//! Checks the files under `deploy/`, the Dockerfile and compose.yaml. They cannot be run
//! everywhere, so these tests read them and compare them with the program: the options, commands
//! and metrics that they name must exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use skytide_api::ApiState;
use skytide_core::config::{Cluster, PREFIXES, options};
use skytide_core::memory::MemoryStore;
use skytide_core::port::clock::ManualClock;

/// The commands that deployment files may use.
const SERVICES: [&str; 5] = ["up", "ingest", "index", "schedule", "serve"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Rejects names that look like options of Skytide but are not.
#[track_caller]
fn known<'a>(file: &str, names: impl IntoIterator<Item = &'a str>) {
    let options: BTreeSet<String> = options().into_iter().map(|option| option.name).collect();
    let ours = |name: &&str| PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let names: Vec<&str> = names.into_iter().filter(ours).collect();
    assert!(
        !names.is_empty(),
        "{file} names no option: this test does not parse it correctly"
    );
    for name in names {
        assert!(
            options.contains(name),
            "{file} names {name}, which is not an option"
        );
    }
}

#[test]
fn compose_runs_each_service_on_nats_and_mongodb() {
    let compose = yaml("compose.yaml");
    let services = compose["services"].as_object().expect("services");
    let commands = services.values().filter(|it| it["image"] == "skytide");
    let commands: BTreeSet<&str> = commands
        .map(|service| {
            let names = service["environment"].as_object().expect("an environment");
            known("compose.yaml", names.keys().map(String::as_str));
            for needed in ["NATS_URL", "NATS_BYTES_MAX", "MONGODB_URI", "STORE_DIR"] {
                assert!(names.contains_key(needed), "{service} lacks {needed}");
            }
            service["command"][0].as_str().expect("a command")
        })
        .collect();
    assert_eq!(
        commands,
        BTreeSet::from(["ingest", "index", "schedule", "serve"])
    );
    for (name, service) in services {
        for needed in service["depends_on"].as_object().into_iter().flatten() {
            assert!(
                services.contains_key(needed.0),
                "{name} depends on {}",
                needed.0
            );
        }
    }
}

#[test]
fn compose_mounts_existing_files_and_declared_volumes() {
    let compose = yaml("compose.yaml");
    let declared = compose["volumes"].as_object().expect("volumes");
    let services = compose["services"].as_object().expect("services").values();
    let mounts = services.flat_map(|service| service["volumes"].as_array().cloned());
    for mount in mounts.flatten() {
        let mount = mount.as_str().expect("a mount").to_owned();
        let from = mount.split(':').next().expect("a source");
        match from.strip_prefix("./") {
            Some(path) => assert!(root().join(path).exists(), "{path} does not exist"),
            None => assert!(declared.contains_key(from), "volume {from} is not declared"),
        }
    }
}

#[test]
fn prometheus_scrapes_the_ports_of_the_services() {
    let prometheus = yaml("deploy/prometheus.yml");
    let compose = yaml("compose.yaml");
    let jobs = prometheus["scrape_configs"][0]["static_configs"].as_array();
    for group in jobs.expect("targets") {
        let target = group["targets"][0].as_str().expect("a target");
        let (service, port) = target.split_once(':').expect("host and port");
        let variable = match service {
            "serve" => "API_ADDRESS",
            _ => "SKYTIDE_PROBE_ADDRESS",
        };
        let address = &compose["services"][service]["environment"][variable];
        assert_eq!(*address, format!("0.0.0.0:{port}"), "{target}");
    }
}

#[test]
fn grafana_shows_existing_metrics() {
    for name in ["datasources/prometheus.yml", "dashboards/skytide.yml"] {
        assert_eq!(
            yaml(&format!("deploy/grafana/provisioning/{name}"))["apiVersion"],
            1
        );
    }
    let dashboard = read("deploy/grafana/dashboards/skytide.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let known = metrics();
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let expressions = targets.map(|target| target["expr"].as_str().expect("an expression"));
    let mut used = BTreeSet::new();
    for expression in expressions {
        let words = expression.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        let ours = ["skytide_", "indexer_", "api_"];
        used.extend(words.filter(|word| ours.iter().any(|prefix| word.starts_with(prefix))));
    }
    assert!(used.len() >= 10, "{used:?}");
    for name in used {
        let base = name.trim_end_matches("_total").trim_end_matches("_bucket");
        assert!(
            known.contains(base) || is_family(base),
            "{name} is not among the metrics {known:?}"
        );
    }
}

/// Whether a metric family with labels is declared under this name. Such a family is exported only
/// after it has counted something.
fn is_family(name: &str) -> bool {
    let homes = [
        ("skytide_ingest_", "ingest/src/metrics.rs"),
        ("indexer_", "dataflow/src/metrics.rs"),
        ("api_", "api/src/metrics.rs"),
    ];
    homes.into_iter().any(|(prefix, file)| {
        let declared = |name: &str| read(file).contains(&format!("\"{name}\""));
        name.strip_prefix(prefix).is_some_and(declared)
    })
}

/// The names of all metrics, without the suffixes that Prometheus adds.
fn metrics() -> BTreeSet<String> {
    let registry = Arc::new(Mutex::new(prometheus_client::registry::Registry::default()));
    {
        let mut registry = registry.lock().expect("nobody panicked");
        skytide_ingest::Metrics::register(&mut registry);
        skytide_dataflow::Metrics::register(&mut registry, 1);
    }
    let store = Arc::new(MemoryStore::default());
    ApiState::new(store, Arc::new(ManualClock::default()), registry.clone());
    let mut text = String::new();
    let registry = registry.lock().expect("nobody panicked");
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect()
}

#[test]
fn units_use_existing_commands_and_options() {
    let units = fs::read_dir(root().join("deploy/systemd")).expect("units");
    let mut started = BTreeSet::new();
    for unit in units {
        let path = unit.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a unit");
        let values = |key: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(key));
            lines.map(str::to_owned).collect()
        };
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let section = line.starts_with('[') && line.ends_with(']');
            assert!(section || line.contains('='), "{path:?}: {line:?}");
        }
        let command = values("ExecStart=/usr/local/bin/skytide ").remove(0);
        assert!(
            SERVICES.contains(&command.as_str()),
            "{path:?} starts {command}"
        );
        let names: Vec<_> = values("Environment=")
            .iter()
            .map(|line| line.split('=').next().unwrap_or_default().to_owned())
            .collect();
        known(&path.to_string_lossy(), names.iter().map(String::as_str));
        started.insert(command);
    }
    assert_eq!(started, SERVICES.map(str::to_owned).into());
}

#[test]
fn the_drop_in_of_a_cluster_configures_one() {
    let file = "deploy/skytide-index-cluster.conf";
    let text = read(file);
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let set: BTreeMap<_, _> = lines
        .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
        .collect();
    known(file, set.keys().copied());
    let hosts = set["INDEXER_HOSTS"].split(',');
    let cluster = Cluster {
        hosts: hosts.map(|it| it.parse().expect("a host")).collect(),
        process: set["INDEXER_PROCESS"].parse().expect("a number"),
        ..Cluster::default()
    };
    cluster.check().expect("a cluster");
    let page = read("deploy/README.md");
    for name in [file, set["INDEXER_SECRET_FILE"]] {
        assert!(page.contains(name), "deploy/README.md does not name {name}");
    }
}

#[test]
fn the_environment_of_the_units_and_the_image_names_existing_options() {
    let file = "deploy/skytide.env.example";
    let text = read(file);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    known(file, lines.filter_map(|line| line.split('=').next()));
    let text = read("Dockerfile");
    let set = text.lines().filter_map(|line| line.strip_prefix("ENV "));
    let words = set.flat_map(|line| line.split(' '));
    known(
        "Dockerfile",
        words.filter_map(|word| word.split('=').next()),
    );
    assert!(
        text.contains("\nUSER skytide\n"),
        "the image does not run as root"
    );
    let pinned = read("rust-toolchain.toml");
    let pinned = pinned
        .lines()
        .find_map(|line| line.strip_prefix("channel = \""));
    let minor: Vec<_> = pinned
        .expect("a channel")
        .split(['.', '"'])
        .take(2)
        .collect();
    assert!(
        text.contains(&format!("FROM rust:{}-", minor.join("."))),
        "the image is built with the pinned toolchain"
    );
}
