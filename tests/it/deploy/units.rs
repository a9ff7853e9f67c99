//! The units of systemd and their drop-in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use skytide_core::config::Cluster;

use super::{checked, default_seconds, known, read, root};

/// The commands that units start.
const SERVICES: [&str; 5] = ["up", "ingest", "index", "schedule", "serve"];
/// What `systemd-analyze security` may give a unit at most, in tenths; 100 is no protection at all.
const EXPOSURE_MAX: &str = "--threshold=20";

/// A unit: its name, and the values of each key.
struct Unit {
    name: String,
    text: String,
}

impl Unit {
    fn all() -> Vec<Self> {
        let entries = fs::read_dir(root().join("deploy/systemd")).expect("units");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.into_string().expect("text"));
        names.map(Self::read).collect()
    }

    fn read(name: String) -> Self {
        let text = read(&format!("deploy/systemd/{name}"));
        Self { name, text }
    }

    fn values(&self, key: &str) -> Vec<&str> {
        let lines = self.text.lines();
        let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        values.collect()
    }

    #[track_caller]
    fn value(&self, key: &str) -> &str {
        match self.values(key)[..] {
            [value] => value,
            ref values => panic!("{}: {key} has the values {values:?}", self.name),
        }
    }

    fn command(&self) -> &str {
        let command = self
            .value("ExecStart")
            .strip_prefix("/usr/local/bin/skytide ");
        command.expect("our binary")
    }

    fn environment(&self) -> BTreeMap<&str, &str> {
        let lines = self.values("Environment");
        let pairs = lines.into_iter().flat_map(|line| line.split(' '));
        pairs
            .map(|pair| pair.split_once('=').expect("a pair"))
            .collect()
    }

    fn seconds(&self, key: &str) -> u64 {
        let value = self.value(key).trim_end_matches('s');
        value.parse().expect("seconds")
    }
}

#[test]
fn units_start_commands_that_there_are_with_options_that_there_are() {
    let units = Unit::all();
    for unit in &units {
        let lines = unit.text.lines();
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let section = line.starts_with('[') && line.ends_with(']');
            assert!(section || line.contains('='), "{}: {line:?}", unit.name);
        }
        known(&unit.name, unit.environment().into_keys());
    }
    let started = units.iter().map(|unit| unit.command().split(' ').next());
    let started: BTreeSet<_> = started.flatten().collect();
    assert_eq!(started, SERVICES.into());
}

#[test]
fn no_option_makes_two_units_share_a_folder_or_a_port() {
    let units = Unit::all();
    let (mut folders, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for unit in &units {
        let folder = unit.value("StateDirectory");
        assert_eq!(format!("{folder}.service"), unit.name);
        // A flag counts before every variable, so also before those of the file that all units read.
        let flag = format!(" --store-dir=%S/{folder}");
        assert!(unit.value("ExecStart").ends_with(&flag), "{}", unit.name);
        assert_eq!(unit.value("WorkingDirectory"), format!("%S/{folder}"));
        assert!(
            !unit.environment().contains_key("STORE_DIR"),
            "{}",
            unit.name
        );
        assert!(folders.insert(folder), "{folder} is shared");
        if let Some(port) = unit.environment().get("SKYTIDE_PROBE_ADDRESS") {
            assert!(ports.insert((*port).to_owned()), "{port} is shared");
        }
    }
    assert_eq!((folders.len(), ports.len()), (SERVICES.len(), 4));
}

#[test]
fn units_are_watched_restarted_without_end_and_started_with_the_right_time() {
    for unit in Unit::all() {
        assert_eq!(unit.value("Type"), "notify", "{}", unit.name);
        assert!(unit.seconds("WatchdogSec") >= 10, "{}", unit.name);
        assert_eq!(unit.value("Restart"), "always", "{}", unit.name);
        assert_eq!(unit.value("StartLimitIntervalSec"), "0", "{}", unit.name);
        assert_eq!(unit.value("TimeoutStartSec"), "infinity", "{}", unit.name);
        let stop = unit.seconds("TimeoutStopSec");
        assert!(
            stop > default_seconds("SKYTIDE_SHUTDOWN_MAX"),
            "{}",
            unit.name
        );
        for key in ["After", "Wants"] {
            let mut targets = unit.value(key).split(' ');
            assert!(
                targets.any(|it| it == "time-sync.target"),
                "{}: {key}",
                unit.name
            );
        }
        let limit: u32 = unit.value("LimitNOFILE").parse().expect("a number");
        assert!(limit >= 16_384, "{}", unit.name);
    }
}

#[test]
fn units_get_their_secrets_as_credentials() {
    let page = read("deploy/README.md");
    for unit in Unit::all() {
        let credentials = unit.values("LoadCredential");
        let credentials: BTreeSet<_> = credentials
            .iter()
            .map(|credential| {
                let (name, path) = credential.split_once(':').expect("a name and a path");
                assert_eq!(path, format!("/etc/skytide/{name}"));
                assert!(page.contains(path), "deploy/README.md does not name {path}");
                format!("%d/{name}")
            })
            .collect();
        let environment = unit.environment();
        let files = environment
            .iter()
            .filter(|(name, _)| name.ends_with("_FILE"));
        let files: BTreeSet<_> = files.map(|(_, path)| (*path).to_owned()).collect();
        assert_eq!(files, credentials, "{}", unit.name);
    }
    let example = read("deploy/skytide.env.example");
    let lines = example.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<_> = lines.filter_map(|line| line.split('=').next()).collect();
    known("deploy/skytide.env.example", names.iter().copied());
    for never in [
        "STORE_DIR",
        "NATS_URL",
        "MONGODB_URI",
        "SKYTIDE_PROBE_ADDRESS",
    ] {
        assert!(!names.contains(&never), "{never} would be all units'");
    }
}

#[test]
fn systemd_reads_the_units_and_finds_them_confined() {
    let layout = tempfile::tempdir().expect("a folder");
    let folder = layout.path().join("etc/systemd/system");
    let program = layout.path().join("usr/local/bin/skytide");
    for parent in [&folder, program.parent().expect("a folder")] {
        fs::create_dir_all(parent).expect("made");
    }
    fs::copy("/bin/true", program).expect("copied");
    let root = format!("--root={}", layout.path().display());
    for unit in Unit::all() {
        let path = folder.join(&unit.name);
        fs::write(&path, &unit.text).expect("written");
        let drop_in = folder.join(format!("{}.d", unit.name));
        if unit.name == "skytide-index.service" {
            fs::create_dir(&drop_in).expect("made");
            let text = read("deploy/skytide-index-cluster.conf");
            fs::write(drop_in.join("cluster.conf"), text).expect("written");
        }
        let verify = [
            "verify",
            &root,
            "--man=no",
            "--recursive-errors=no",
            &unit.name,
        ];
        let Some(output) = checked("systemd-analyze", &verify) else {
            return;
        };
        assert_eq!(output, "", "{}", unit.name);
        let path = path.to_str().expect("text");
        checked(
            "systemd-analyze",
            &["security", "--offline=true", EXPOSURE_MAX, path],
        );
    }
}

#[test]
fn the_drop_in_of_a_cluster_sets_options_that_make_one() {
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
        secret_file: set.get("INDEXER_SECRET_FILE").map(Into::into),
        ..Cluster::default()
    };
    cluster.check().expect("a cluster");
    let page = read("deploy/README.md");
    let secret = "/etc/skytide/cluster-secret";
    assert!(text.contains(&format!("\nLoadCredential=cluster-secret:{secret}\n")));
    assert_eq!(set["INDEXER_SECRET_FILE"], "%d/cluster-secret");
    for name in [file, secret] {
        assert!(page.contains(name), "deploy/README.md does not name {name}");
    }
}
