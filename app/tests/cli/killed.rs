//! kill -9 at random moments: what is left goes on, and in the end nothing shows that it happened.
//!
//! The moment is a size of the log on disk, drawn from a seed: nothing waits for a time.

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

/// Bytes of the log of the recorded network, nearly.
const LOG_BYTES: u64 = 7_000_000;

/// A small generator (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>), seeded by `SKYTIDE_TEST_SEED` or the clock.
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

/// Kills the process when the log under `data` has this size; false if it ended before.
pub fn kill_at(child: &mut Child, data: &Path, size: u64) -> bool {
    while log_bytes(data) < size {
        if child.try_wait().expect("it can be asked").is_some() {
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

/// Moments for one series of kills of a log that grows to so many bytes, the earliest first.
pub fn moments(random: &mut Random, count: usize, bytes: u64) -> Vec<u64> {
    let mut moments: Vec<u64> = (0..count).map(|_| random.below(bytes)).collect();
    moments.sort_unstable();
    moments
}

#[test]
fn a_replay_killed_again_and_again_ends_as_one_left_alone() {
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
            .expect("it starts");
        kills += usize::from(kill_at(&mut child, &place.path().join("kept"), moment));
        child.wait().expect("ended");
    }
    assert!(kills > 0, "no replay was killed: nothing was tested");
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

/// Kills `up` at random moments, lets the last one see everything; answers its exit.
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
    assert!(kills > 0, "it was never killed: nothing was tested");

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
fn up_killed_again_and_again_misses_nothing_and_counts_nothing_twice() {
    up_after_kills(&Place::new(), &[], |_, _| true);
}

/// Checkpoints as often as can be, and a log that is gone behind them.
#[cfg(unix)]
#[test]
fn up_killed_again_and_again_goes_on_from_checkpoints_when_its_log_is_trimmed() {
    let place = Place::new();
    let options = [
        "--indexer-checkpoint-interval=1s",
        "--indexer-checkpoint-events=1000",
        "--store-log-segment-bytes=1MiB",
    ];
    let trimmed = |data: &Path| !data.join(format!("log/{:020}.log", 1)).exists();
    up_after_kills(&place, &options, |data, _| trimmed(data));
    // And once more, from a log without its beginning: nothing is left to count, and that is what it finds.
    let data = place.path().join("data");
    assert!(trimmed(&data));
    let args = ["index", "--indexer-checkpoint-verify=true"];
    let index = place.command(&args).stderr(Stdio::piped()).spawn();
    let mut index = Running(index.expect("it starts"));
    let told = BufReader::new(index.0.stderr.take().expect("piped")).lines();
    let equal = told
        .map(|line| line.expect("text"))
        .any(|line| line.contains("rows computed again equal those in the store"));
    assert!(equal, "it ended before it had compared its rows");
}
