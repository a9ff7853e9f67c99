//! Several processes that count together. Any of them is killed, all exit, and the next start
//! resumes as if nothing had happened.
//!
//! ```text
//! relay ─▶ `skytide up`, the leader ◀── loopback ──▶ `skytide index --indexer-process=1`
//!                                                     in a folder without data
//! ```

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use skytide_tests::copies::frames;
use skytide_tests::relay::RelayServer;
use skytide_tests::servers::{Mongo, Nats, free_port};

use crate::expected::compare;
use crate::killed::Random;
use crate::process::Place;
use crate::replaying::{plain, succeeds};
use crate::services::{Running, get};

/// Number of frames of the recorded network.
const FRAMES: u64 = 13_833;

/// The folders and settings of both processes.
struct Team {
    relay: RelayServer,
    hosts: String,
    first: Place,
    second: Place,
    /// Environment variables that place log and views on servers; empty: they are in the folder of
    /// the first process.
    servers: Vec<(&'static str, String)>,
}

/// The two running processes, and the address of the first one.
struct Pair {
    first: Running,
    second: Running,
    address: String,
}

impl Team {
    fn new(servers: Vec<(&'static str, String)>) -> Self {
        let first = Place::new();
        let second = Place::new();
        for place in [&first, &second] {
            place.write("secret", "between us\n");
        }
        Self {
            relay: RelayServer::start(frames(&plain())),
            hosts: format!("127.0.0.1:{},127.0.0.1:{}", free_port(), free_port()),
            first,
            second,
            servers,
        }
    }

    fn second(&self, more: &[&str]) -> Running {
        let hosts = format!("--indexer-hosts={}", self.hosts);
        let args = [
            "index",
            &hosts,
            "--indexer-process=1",
            "--indexer-workers=1",
            "--indexer-secret-file=secret",
            "--skytide-probe-address=127.0.0.1:0",
        ];
        Running::start(self.second.command(&[&args, more].concat())).0
    }

    fn first(&self) -> (Running, String) {
        let hosts = format!("--indexer-hosts={}", self.hosts);
        let url = format!("--firehose-url={}", self.relay.url());
        let args = [
            "up",
            &url,
            "--firehose-start=oldest",
            "--firehose-tick-events-max=100",
            "--api-address=127.0.0.1:0",
            &hosts,
            "--indexer-workers=1",
            "--indexer-secret-file=secret",
            "--indexer-checkpoint-interval=1s",
            "--indexer-checkpoint-events=1000",
            "--indexer-batch-events-max=100",
        ];
        let mut command = self.first.command(&args);
        command.envs(self.servers.iter().cloned());
        Running::start(command)
    }

    fn start(&self) -> Pair {
        let second = self.second(&[]);
        let (first, address) = self.first();
        Pair {
            first,
            second,
            address,
        }
    }

    /// Whatever happened, the views must be those of the recorded network, as other implementations
    /// counted it.
    fn compare(&self) {
        let servers = self.servers.iter().cloned();
        succeeds(&self.first.run_with(&["export", "out"], servers));
        compare(&self.first.path().join("out"), "active_accounts_only");
        let names = |folder: &Path| -> BTreeSet<String> {
            let entries = std::fs::read_dir(folder).expect("a folder");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            names
                .map(|name| name.into_string().expect("text"))
                .collect()
        };
        let left = names(self.second.path());
        assert_eq!(left, ["data", "secret"].map(str::to_owned).into());
        // A process that ends at once leaves the socket of its flight record.
        let data = names(&self.second.path().join("data"));
        let flight = ["flight".to_owned()].into();
        assert_eq!(data, flight, "the second process has no data of views");
    }
}

impl Pair {
    /// Waits until both processes are connected and this many frames are counted; returns the
    /// number of counted frames.
    fn until(&self, frames: u64) -> u64 {
        while !get(&self.address, "/readyz").contains("all processes are connected") {
            std::thread::yield_now();
        }
        loop {
            let counted = frames_counted(&self.address);
            if counted >= frames {
                return counted;
            }
            std::thread::yield_now();
        }
    }
}

/// Number of frames whose events are committed.
fn frames_counted(address: &str) -> u64 {
    let network = get(address, "/v1/network");
    let frames = network.split("\"frames\":").nth(1);
    let frames = frames.and_then(|text| text.split([',', '}']).next());
    frames.map_or(0, |text| text.parse().expect("a number"))
}

/// A value of `/metrics`.
fn number(address: &str, name: &str) -> u64 {
    let metrics = get(address, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |text| text.trim().parse().expect("a number"))
}

/// The process exited by itself, with one error that contains this text.
#[track_caller]
fn assert_failed(ended: (Option<i32>, String), text: &str) {
    let (code, err) = ended;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(text), "{text:?} is not in {err}");
    assert_eq!(err.matches("error: ").count(), 1, "{err}");
    assert!(!err.contains("panicked"), "{err}");
}

fn repeated_kills_are_harmless(servers: Vec<(&'static str, String)>) {
    let mut random = Random::new();
    let team = Team::new(servers);
    let (mut frames, mut in_the_middle) = (0, 0);
    for kill in 0..4 {
        let mut pair = team.start();
        frames += 1 + random.below(FRAMES / 4);
        in_the_middle += u64::from(pair.until(frames) < FRAMES);
        if kill % 2 == 0 {
            pair.second.0.kill().expect("killed");
            assert_failed(pair.first.end(), "process 1 (127.0.0.1:");
        } else {
            pair.first.0.kill().expect("killed");
            assert_failed(pair.second.end(), "process 0 (127.0.0.1:");
        }
    }
    // On a busy machine, all may be counted before this process is scheduled again. The kills are then
    // harmless for another reason, which is no failure of the product.
    println!("kills while something was still to be counted: {in_the_middle} of 4");
    let pair = team.start();
    pair.until(FRAMES);
    assert!(number(&pair.address, "indexer_cluster_sent_bytes_total") > 0);
    pair.first.signal("-TERM");
    let (code, err) = pair.first.end();
    assert_eq!(code, Some(0), "{err}");
    assert_failed(pair.second.end(), "the leader of the cluster, has exited");
    team.compare();
}

#[test]
fn a_kill_of_any_process_stops_all_and_nothing_is_missed_or_counted_twice() {
    repeated_kills_are_harmless(Vec::new());
}

#[test]
fn a_kill_of_any_process_is_harmless_on_nats_and_mongodb() {
    let (Some(nats), Some(mongo)) = (Nats::start(), Mongo::start()) else {
        return;
    };
    repeated_kills_are_harmless(vec![("NATS_URL", nats.url()), ("MONGODB_URI", mongo.uri())]);
}

#[test]
fn a_stopped_follower_exits_cleanly_and_the_leader_names_it() {
    let team = Team::new(Vec::new());
    let pair = team.start();
    pair.until(1);
    pair.second.signal("-TERM");
    let (code, err) = pair.second.end();
    assert_eq!(code, Some(0), "{err}");
    assert_failed(pair.first.end(), "process 1 (127.0.0.1:");
}

#[test]
fn a_process_that_waits_for_others_can_be_stopped() {
    let team = Team::new(Vec::new());
    let (first, address) = team.first();
    while !get(&address, "/readyz").contains("a process of the cluster is not connected") {
        std::thread::yield_now();
    }
    first.signal("-TERM");
    let (code, err) = first.end();
    assert_eq!(code, Some(0), "{err}");
    let second = team.second(&[]);
    second.signal("-TERM");
    let (code, err) = second.end();
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn a_process_with_other_settings_is_rejected_and_the_leader_waits_for_a_matching_one() {
    let team = Team::new(Vec::new());
    team.second.write("other", "another secret");
    let (mut first, address) = team.first();
    for (option, text) in [
        (
            "--indexer-workers=3",
            "it counts with 1 threads, this process with 3",
        ),
        ("--indexer-secret-file=other", "the secrets differ"),
    ] {
        let hosts = format!("--indexer-hosts={}", team.hosts);
        let mut args = vec![
            "index",
            &hosts,
            "--indexer-process=1",
            "--indexer-workers=1",
            "--indexer-secret-file=secret",
        ];
        let name = option.split('=').next().expect("a name");
        args.retain(|arg| !arg.starts_with(name));
        args.push(option);
        let ran = team.second.run(&args);
        assert_failed((ran.code, ran.err.clone()), text);
        assert!(ran.err.contains("process 0 (127.0.0.1:"), "{}", ran.err);
    }
    let second = team.second(&[]);
    while !get(&address, "/readyz").contains("all processes are connected") {
        std::thread::yield_now();
    }
    drop(second);
    let mut err = String::new();
    let mut piped = first.0.stderr.take().expect("piped");
    piped.read_to_string(&mut err).expect("text");
    let refused = err.matches("a call to the cluster's address was refused");
    assert_eq!(refused.count(), 2, "{err}");
    let secrets = ["between us", "another secret"];
    assert!(!secrets.iter().any(|it| err.contains(it)), "{err}");
}

#[test]
fn invalid_cluster_options_are_refused_with_the_reason() {
    let place = Place::new();
    for (args, code, text) in [
        (
            [
                "index",
                "--indexer-hosts=a:1,b:1,a:1",
                "--indexer-process=1",
            ]
            .as_slice(),
            1,
            "INDEXER_HOSTS names a:1 twice",
        ),
        (
            &["index", "--indexer-process=1"],
            1,
            "INDEXER_PROCESS is 1, but INDEXER_HOSTS is not set",
        ),
        (
            &["index", "--indexer-hosts=a:1,b:1", "--indexer-process=2"],
            1,
            "INDEXER_HOSTS has the processes 0 to 1",
        ),
        (
            &["up", "--indexer-hosts=a:1,b:1", "--indexer-process=1"],
            1,
            "set INDEXER_PROCESS to 0",
        ),
        (
            &[
                "index",
                "--indexer-hosts=a:1,b:1",
                "--indexer-secret-file=none",
            ],
            1,
            "cannot use the file that INDEXER_SECRET_FILE names",
        ),
        (
            &["index", "--indexer-hosts=127.0.0.1:1,10.0.0.2:1"],
            1,
            "INDEXER_HOSTS names 10.0.0.2:1, which others can reach, and INDEXER_SECRET_FILE is not set",
        ),
        (
            &[
                "index",
                "--indexer-hosts=127.0.0.1:1,127.0.0.1:2",
                "--indexer-listen=0.0.0.0:1",
            ],
            1,
            "INDEXER_LISTEN is 0.0.0.0:1",
        ),
        (&["index", "--indexer-hosts=a"], 2, "must be a HOST:PORT"),
    ] {
        let ran = place.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        assert!(ran.err.contains(text), "{args:?}: {}", ran.err);
    }
}
