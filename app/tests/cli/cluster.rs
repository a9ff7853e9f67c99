//! Several processes that count together: any of them is killed, all end, and together they go on as if nothing had happened.
//!
//! ```text
//! relay ─▶ `skytide up`, which leads ◀── loopback ──▶ `skytide index --indexer-process=1`, in a folder without anything
//! ```

use std::io::Read as _;

use skytide_tests::copies::frames;
use skytide_tests::relay::RelayServer;
use skytide_tests::servers::{Mongo, Nats, free_port};

use crate::expected::compare;
use crate::killed::Random;
use crate::process::Place;
use crate::replaying::{plain, succeeds};
use crate::services::{Running, get};

/// Frames of the recorded network.
const FRAMES: u64 = 13_833;

/// Both processes, and where they are.
struct Team {
    relay: RelayServer,
    hosts: String,
    first: Place,
    second: Place,
    /// Where log and views are, if not in the folder of the first.
    servers: Vec<(&'static str, String)>,
}

/// The two of them while they run; with the address of the first.
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

    /// Whatever happened, the views are those of the recorded network, as other implementations counted it.
    fn compare(&self) {
        let servers = self.servers.iter().cloned();
        succeeds(&self.first.run_with(&["export", "out"], servers));
        compare(&self.first.path().join("out"), "active_accounts_only");
        let left: Vec<_> = std::fs::read_dir(self.second.path())
            .expect("its folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(left, ["secret"], "the second one has no data");
    }
}

impl Pair {
    /// Waits until both are there and so many frames are counted; answers how many are.
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

/// Frames whose events are committed.
fn frames_counted(address: &str) -> u64 {
    let network = get(address, "/v1/network");
    let frames = network.split("\"frames\":").nth(1);
    let frames = frames.and_then(|text| text.split([',', '}']).next());
    frames.map_or(0, |text| text.parse().expect("a number"))
}

/// A number of `/metrics`.
fn number(address: &str, name: &str) -> u64 {
    let metrics = get(address, "/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |text| text.trim().parse().expect("a number"))
}

/// It ended by itself, with one error that says why.
#[track_caller]
fn says(ended: (Option<i32>, String), text: &str) {
    let (code, err) = ended;
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(text), "{text:?} is not in {err}");
    assert_eq!(err.matches("error: ").count(), 1, "{err}");
    assert!(!err.contains("panicked"), "{err}");
}

fn killed_again_and_again(servers: Vec<(&'static str, String)>) {
    let mut random = Random::new();
    let team = Team::new(servers);
    let (mut frames, mut in_the_middle) = (0, 0);
    for kill in 0..4 {
        let mut pair = team.start();
        frames += 1 + random.below(FRAMES / 4);
        in_the_middle += u64::from(pair.until(frames) < FRAMES);
        if kill % 2 == 0 {
            pair.second.0.kill().expect("killed");
            says(pair.first.end(), "process 1 (127.0.0.1:");
        } else {
            pair.first.0.kill().expect("killed");
            says(pair.second.end(), "process 0 (127.0.0.1:");
        }
    }
    assert!(
        in_the_middle > 0,
        "everything was counted before the first kill"
    );
    let pair = team.start();
    pair.until(FRAMES);
    assert!(number(&pair.address, "indexer_cluster_sent_bytes_total") > 0);
    pair.first.signal("-TERM");
    let (code, err) = pair.first.end();
    assert_eq!(code, Some(0), "{err}");
    says(pair.second.end(), "of the cluster, which leads, has ended");
    team.compare();
}

#[test]
fn any_process_killed_again_and_again_ends_all_and_nothing_is_missed_or_counted_twice() {
    killed_again_and_again(Vec::new());
}

#[test]
fn the_same_on_nats_and_mongodb() {
    let (Some(nats), Some(mongo)) = (Nats::start(), Mongo::start()) else {
        return;
    };
    killed_again_and_again(vec![("NATS_URL", nats.url()), ("MONGODB_URI", mongo.uri())]);
}

#[test]
fn one_that_is_told_to_stop_ends_well_and_the_others_say_that_it_is_gone() {
    let team = Team::new(Vec::new());
    let pair = team.start();
    pair.until(1);
    pair.second.signal("-TERM");
    let (code, err) = pair.second.end();
    assert_eq!(code, Some(0), "{err}");
    says(pair.first.end(), "process 1 (127.0.0.1:");
}

#[test]
fn one_that_waits_for_the_others_can_be_told_to_stop() {
    let team = Team::new(Vec::new());
    let (first, address) = team.first();
    while !get(&address, "/readyz").contains("waits for process 1 (127.0.0.1:") {
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
fn one_that_does_not_fit_is_told_and_the_others_wait_for_the_right_one() {
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
        says((ran.code, ran.err.clone()), text);
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
fn options_that_make_no_cluster_are_refused_with_what_is_wrong() {
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
            "INDEXER_PROCESS is to be 0",
        ),
        (
            &[
                "index",
                "--indexer-hosts=a:1,b:1",
                "--indexer-secret-file=none",
            ],
            1,
            "INDEXER_SECRET_FILE cannot be read",
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
        (&["index", "--indexer-hosts=a"], 2, "is no HOST:PORT"),
    ] {
        let ran = place.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {ran:?}");
        assert!(ran.err.contains(text), "{args:?}: {}", ran.err);
    }
}
