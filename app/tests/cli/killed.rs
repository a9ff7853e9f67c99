//! SIGKILL at random moments: the next process resumes from what is left, and the final result does
//! not show any kill.
//!
//! A moment is a size of the log on disk, drawn from a seed: no test waits for a time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use skytide_tests::copies::frames;
use skytide_tests::relay::RelayServer;

use crate::expected::compare;
use crate::process::{Place, recording};
use crate::replaying::{files, plain, succeeds};
use crate::services::{Running, get};

/// Approximate size of the log of the recorded network, in bytes.
const LOG_BYTES: u64 = 7_000_000;

/// A small generator of random numbers (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>),
/// seeded by `SKYTIDE_TEST_SEED` or the clock.
pub struct Random(u64);

impl Random {
    pub fn new() -> Self {
        let given = std::env::var("SKYTIDE_TEST_SEED")
            .ok()
            .and_then(|text| text.parse().ok());
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = given.unwrap_or(clock.map_or(1, |since| since.as_nanos() as u64));
        println!("SKYTIDE_TEST_SEED={seed}");
        Self(seed)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Kills the process when the log under `data` has reached this size; false if the process exited
/// before.
pub fn kill_at(child: &mut Child, data: &Path, size: u64) -> bool {
    while log_bytes(data) < size {
        if child.try_wait().expect("a status").is_some() {
            return false;
        }
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("dead");
    true
}

pub fn log_bytes(data: &Path) -> u64 {
    let entries = fs::read_dir(data.join("log"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|about| about.len())
        .sum()
}

/// Sorted moments for a series of kills, as sizes of a log that grows to `bytes`.
pub fn moments(random: &mut Random, count: usize, bytes: u64) -> Vec<u64> {
    let mut moments: Vec<u64> = (0..count).map(|_| random.below(bytes)).collect();
    moments.sort_unstable();
    moments
}

#[test]
fn a_replay_after_repeated_kills_equals_an_undisturbed_one() {
    let mut random = Random::new();
    let place = Place::new();
    let recording = recording("pds.frames.zst");
    succeeds(&place.run(&["replay", &recording, "--export", "undisturbed"]));
    let mut kills = 0;
    for moment in moments(&mut random, 8, LOG_BYTES) {
        let mut replay = place.command(&["replay", &recording, "--data", "kept"]);
        let mut child = replay
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        kills += usize::from(kill_at(&mut child, &place.path().join("kept"), moment));
        child.wait().expect("ended");
    }
    assert!(kills > 0, "no replay was killed: the test proves nothing");
    succeeds(&place.run(&["replay", &recording, "--data", "kept", "--export", "out"]));
    compare(&place.path().join("out"), "active_accounts_only");
    let views = |folder| {
        let mut files = files(&place, folder);
        files.retain(|(name, _)| name != "summary.json");
        files
    };
    for ((name, undisturbed), (_, killed)) in views("undisturbed").iter().zip(&views("out")) {
        assert!(undisturbed == killed, "{name} differs after {kills} kills");
    }
}

/// Kills `up` at random moments, and lets the last process count everything; returns its exit.
#[cfg(unix)]
fn up_after_kills(place: &Place, options: &[&str], until: impl Fn(&Path, &str) -> bool) {
    let mut random = Random::new();
    let relay = RelayServer::start(frames(&plain()));
    let up = || {
        let url = format!("--firehose-url={}", relay.url());
        let args = [
            "up",
            &url,
            "--firehose-start=oldest",
            "--api-address=127.0.0.1:0",
        ];
        Running::start(place.command(&[&args, options].concat()))
    };
    let data = place.path().join("data");
    let mut kills = 0;
    for moment in moments(&mut random, 5, LOG_BYTES) {
        let (mut running, _address) = up();
        kills += usize::from(kill_at(&mut running.0, &data, moment));
    }
    assert!(kills > 0, "no process was killed: the test proves nothing");

    let (running, address) = up();
    while !get(&address, "/v1/network").contains("\"frames\":13833") || !until(&data, &address) {
        std::thread::yield_now();
    }
    running.signal("-TERM");
    let (code, err) = running.end();
    assert_eq!(code, Some(0), "{err}");
    succeeds(&place.run(&["export", "out"]));
    compare(&place.path().join("out"), "active_accounts_only");
}

#[cfg(unix)]
#[test]
fn up_after_repeated_kills_misses_nothing_and_counts_nothing_twice() {
    up_after_kills(&Place::new(), &[], |_, _| true);
}

/// Checkpoints are made as often as possible, and the log is trimmed up to them.
#[cfg(unix)]
#[test]
fn up_after_repeated_kills_resumes_from_checkpoints_when_its_log_is_trimmed() {
    let place = Place::new();
    let options = [
        "--indexer-checkpoint-interval=1s",
        "--indexer-checkpoint-events=1000",
        "--store-log-segment-bytes=1MiB",
    ];
    let trimmed = |data: &Path| !data.join(format!("log/{:020}.log", 1)).exists();
    up_after_kills(&place, &options, |data, _| trimmed(data));
    // Once more, with a trimmed log and nothing left to count: the process must find its rows
    // equal.
    let data = place.path().join("data");
    assert!(trimmed(&data));
    let args = ["index", "--indexer-checkpoint-verify=true"];
    let index = place.command(&args).stderr(Stdio::piped()).spawn();
    let mut index = Running(index.expect("the binary starts"));
    let lines = BufReader::new(index.0.stderr.take().expect("piped")).lines();
    let equal = lines
        .map(|line| line.expect("text"))
        .any(|line| line.contains("rows computed again equal those in the store"));
    assert!(equal, "the process exited before it had compared its rows");
}
