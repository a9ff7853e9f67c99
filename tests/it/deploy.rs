//! The files under `deploy/`, the Dockerfile and compose.yaml cannot be run everywhere. Here they are read and compared with
//! the program: options, commands and metrics that they name must exist. Then the tools that will read them check them
//! (`tests/servers` installs those). `app/tests/cli/image.rs` runs the binary in the image's file system.
//!
//! - `compose`, `units`, `kubernetes`, `image`: a kind of file each
//! - here: Prometheus and Grafana

mod compose;
mod image;
mod kubernetes;
mod units;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use skytide_core::config::{PREFIXES, options, secrets};

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
    let mut options: BTreeSet<String> = options().into_iter().map(|option| option.name).collect();
    options.extend(secrets().iter().map(|name| format!("{name}_FILE")));
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

/// The default of an option, in seconds.
fn default_seconds(name: &str) -> u64 {
    let option = options().into_iter().find(|option| option.name == name);
    let default = option.and_then(|option| option.default).expect(name);
    let span: skytide_core::config::Span = default.parse().expect("a time");
    span.0.as_secs()
}

/// The user and group of the image.
fn image_user() -> (u64, u64) {
    let text = read("Dockerfile");
    let user = text
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("USER "));
    let (user, group) = user.expect("a user").split_once(':').expect("and a group");
    (
        user.parse().expect("a number"),
        group.parse().expect("a number"),
    )
}

/// Runs a tool that must succeed; answers what it printed. `None`: it is not installed, which was said.
#[track_caller]
fn checked(tool: &str, args: &[&str]) -> Option<String> {
    let program = skytide_tests::servers::program_or_skip(tool)?;
    let ran = Command::new(program)
        .args(args)
        .current_dir(root())
        .output();
    let ran = ran.expect("it runs");
    let (out, err) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    assert!(ran.status.success(), "{tool} {args:?}:\n{out}{err}");
    Some(format!("{out}{err}"))
}

#[test]
fn prometheus_scrapes_the_ports_of_the_services() {
    let prometheus = yaml("deploy/prometheus.yml");
    let compose = yaml("compose.yaml");
    let jobs = prometheus["scrape_configs"][0]["static_configs"].as_array();
    for group in jobs.expect("targets") {
        let target = group["targets"][0].as_str().expect("a target");
        let (service, port) = target.split_once(':').expect("host and port");
        let address = &compose["services"][service]["environment"]["SKYTIDE_PROBE_ADDRESS"];
        assert_eq!(*address, format!("0.0.0.0:{port}"), "{target}");
    }
}

#[test]
fn grafana_and_prometheus_have_their_files() {
    for name in ["datasources/prometheus.yml", "dashboards/skytide.yml"] {
        assert_eq!(
            yaml(&format!("deploy/grafana/provisioning/{name}"))["apiVersion"],
            1
        );
    }
    let dashboard = read("deploy/grafana/dashboards/skytide.json");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    assert!(
        dashboard["panels"]
            .as_array()
            .is_some_and(|it| it.len() > 20)
    );
    // `app/src/metrics/page/tests.rs` compares expressions and alert rules with the metrics.
    let rules = yaml("deploy/prometheus.yml")["rule_files"][0].clone();
    let rules = rules.as_str().expect("a file").to_owned();
    assert!(yaml(&format!("deploy/{rules}"))["groups"].is_array());
}
