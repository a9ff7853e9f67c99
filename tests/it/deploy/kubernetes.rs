//! The manifests for Kubernetes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{checked, default_seconds, image_user, known, read};

/// Files of one way to run it each.
const FILES: [&str; 2] = [
    "deploy/kubernetes/up.yaml",
    "deploy/kubernetes/services.yaml",
];
/// Versions of Kubernetes whose schemas the manifests must fit.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

fn documents(file: &str) -> Vec<Value> {
    let text = read(file);
    let documents = text.split("\n---\n");
    let parsed = documents.map(serde_saphyr::from_str);
    parsed
        .map(|it| it.unwrap_or_else(|error| panic!("{file}: {error}")))
        .collect()
}

/// Everything that runs pods.
fn workloads(file: &str) -> Vec<Value> {
    let mut all = documents(file);
    all.retain(|it| it["kind"] == "Deployment" || it["kind"] == "StatefulSet");
    assert!(!all.is_empty(), "{file} runs nothing");
    all
}

fn names(list: &Value) -> BTreeSet<&str> {
    let list = list.as_array().into_iter().flatten();
    list.map(|it| it["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn pods_run_as_the_images_user_with_nothing_they_do_not_need() {
    let (user, group) = image_user();
    for workload in FILES.iter().flat_map(|file| workloads(file)) {
        let name = &workload["metadata"]["name"];
        let pod = &workload["spec"]["template"]["spec"];
        let security = &pod["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{name}");
        assert_eq!(
            (&security["runAsUser"], &security["runAsGroup"]),
            (&user.into(), &group.into())
        );
        assert_eq!(security["fsGroup"], group, "{name}");
        assert_eq!(
            security["seccompProfile"]["type"], "RuntimeDefault",
            "{name}"
        );
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["enableServiceLinks"], false, "{name}");
        let grace = pod["terminationGracePeriodSeconds"]
            .as_u64()
            .expect("a time");
        assert!(grace > default_seconds("SKYTIDE_SHUTDOWN_MAX"), "{name}");
        let containers = pod["containers"].as_array().expect("containers");
        assert_eq!(containers.len(), 1, "{name}");
        let security = &containers[0]["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["capabilities"]["drop"][0], "ALL", "{name}");
        let resources = &containers[0]["resources"];
        assert!(resources["limits"]["memory"].is_string(), "{name}");
        assert!(resources["requests"]["cpu"].is_string(), "{name}");
    }
}

#[test]
fn pods_are_asked_where_their_service_listens() {
    for workload in FILES.iter().flat_map(|file| workloads(file)) {
        let name = workload["metadata"]["name"].to_string();
        let container = &workload["spec"]["template"]["spec"]["containers"][0];
        let command = container["args"][0].as_str().expect("a command");
        let ports = container["ports"].as_array().expect("ports");
        let port = |name: &str| {
            let port = ports.iter().find(|port| port["name"] == name);
            port.map(|port| &port["containerPort"])
        };
        let probed = match command {
            "up" | "serve" => {
                assert_eq!(port("http"), Some(&7780.into()), "{name}");
                "probe"
            }
            _ => "http",
        };
        assert_eq!(port(probed), Some(&7781.into()), "{name}");
        let path = |probe: &str| &container[probe]["httpGet"]["path"];
        assert_eq!(*path("startupProbe"), "/healthz", "{name}");
        assert_eq!(
            *path("livenessProbe"),
            "/healthz",
            "{name}: waiting is not dying"
        );
        assert_eq!(*path("readinessProbe"), "/readyz", "{name}");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], probed, "{name}");
        }
    }
}

#[test]
fn volumes_claims_secrets_and_labels_fit_together() {
    for file in FILES {
        let documents = documents(file);
        let of_kind = |kind: &'static str| documents.iter().filter(move |it| it["kind"] == kind);
        let claims = of_kind("PersistentVolumeClaim");
        let claims: Vec<_> = claims.map(|it| &it["metadata"]["name"]).collect();
        for workload in workloads(file) {
            let name = workload["metadata"]["name"].to_string();
            let spec = &workload["spec"];
            let pod = &spec["template"]["spec"];
            let templates = spec["volumeClaimTemplates"]
                .as_array()
                .into_iter()
                .flatten();
            let templates = templates.map(|it| it["metadata"]["name"].as_str().expect("a name"));
            let volumes: BTreeSet<_> = names(&pod["volumes"])
                .into_iter()
                .chain(templates)
                .collect();
            assert_eq!(
                names(&pod["containers"][0]["volumeMounts"]),
                volumes,
                "{name}"
            );
            let listed = pod["volumes"].as_array().into_iter().flatten();
            for volume in listed.filter(|it| it["persistentVolumeClaim"].is_object()) {
                let claim = &volume["persistentVolumeClaim"]["claimName"];
                assert!(claims.contains(&claim), "{name} uses {claim}");
                assert_eq!(spec["strategy"]["type"], "Recreate", "{name} has a folder");
                assert_eq!(spec["replicas"], 1, "{name} has a folder");
            }
            assert_eq!(
                spec["selector"]["matchLabels"],
                spec["template"]["metadata"]["labels"]
            );
        }
        for service in of_kind("Service") {
            let selected =
                |it: &Value| it["spec"]["selector"]["matchLabels"] == service["spec"]["selector"];
            assert!(
                workloads(file).iter().any(selected),
                "{file}: a service of nothing"
            );
        }
    }
}

#[test]
fn manifests_set_options_that_there_are_and_no_secret() {
    for file in FILES {
        let mut set = BTreeMap::new();
        for document in documents(file) {
            assert_ne!(document["kind"], "Secret", "{file} holds a secret");
            if document["kind"] == "ConfigMap" {
                let data = document["data"].as_object().expect("data").clone();
                set.extend(data);
            }
        }
        for workload in workloads(file) {
            let variables = workload["spec"]["template"]["spec"]["containers"][0]["env"].clone();
            for variable in variables.as_array().into_iter().flatten() {
                let name = variable["name"].as_str().expect("a name").to_owned();
                set.insert(name, variable["value"].clone());
            }
        }
        known(file, set.keys().map(String::as_str));
        for (name, value) in set {
            let value = value.as_str().expect("text");
            assert!(!value.contains('@'), "{file}: {name} holds a password");
        }
    }
}

#[test]
fn manifests_fit_the_schemas_of_kubernetes() {
    for version in VERSIONS {
        for file in FILES {
            let args = ["--strict", "-k", version, file];
            let Some(output) = checked("kubernetes-validate", &args) else {
                return;
            };
            let passed = output
                .lines()
                .filter(|line| line.contains(" passed for resource "));
            assert_eq!(passed.count(), documents(file).len(), "{output}");
        }
    }
}
