//! Instructions that an event costs, counted by valgrind's tool cachegrind: unlike CPU time, they are
//! the same on a machine that does other work.
//!
//! ```text
//! instructions an event = (those of a replay - those of a replay without frames) / events
//! ```
//!
//! Measured are the views, each computed alone with one worker, and the log of operators. A replay
//! takes about half a minute under valgrind.

use std::path::Path;
use std::process::{Command, Stdio};

use skytide_core::view::ViewId;

use crate::pipeline::record;
use crate::whole::skytide;

/// Copies of the recording in one replay.
const COPIES: u64 = 2;
/// Views that every selection contains.
const ALWAYS: [ViewId; 3] = [ViewId::Activity, ViewId::Counters, ViewId::Coverage];

/// Runs the benchmark and prints its results.
pub fn run() {
    let found = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !found.is_ok_and(|status| status.success()) {
        println!("\ninstructions: SKIPPED, because valgrind is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a scratch folder");
    let (full, empty) = (folder.path().join("full"), folder.path().join("empty"));
    let frames = record(&full, COPIES) as f64;
    record(&empty, 0);

    println!("\ninstructions per frame, in thousands ({frames} frames)");
    let cost = |options: &[(&str, &str)]| {
        let instructions = instructions(&full, options) - instructions(&empty, options);
        instructions as f64 / frames / 1e3
    };
    let print = |name: &str, cost: f64, base: f64| {
        println!("  {name:<28}{cost:>9.1}{:>+9.1}", cost - base);
    };
    let one_worker = ("INDEXER_WORKERS", "1");
    let base = cost(&[one_worker, ("INDEXER_VIEWS", "activity")]);
    print("no view but activity", base, base);
    for view in ViewId::ALL.iter().filter(|view| !ALWAYS.contains(view)) {
        let name = view.name();
        print(name, cost(&[one_worker, ("INDEXER_VIEWS", name)]), base);
    }
    print("all views", cost(&[one_worker]), base);
    let off = cost(&[("INDEXER_OPERATOR_LOG", "false")]);
    print("2 workers, no operator log", off, off);
    print("2 workers, operator log", cost(&[]), off);
    let every_second = [
        ("INDEXER_DATAFLOW_LOG", "./dataflow.ndjson"),
        ("INDEXER_DATAFLOW_LOG_INTERVAL", "1s"),
    ];
    // Seconds of valgrind: a line of the log costs as much as 30 times more frames than live.
    print("and JSON lines each second", cost(&every_second), off);
}

/// The instructions of a replay by all threads of the process.
fn instructions(recording: &Path, options: &[(&str, &str)]) -> u64 {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let plain = skytide(folder.path());
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=cachegrind", "--cache-sim=no"])
        .arg("--cachegrind-out-file=/dev/null")
        .arg(plain.get_program())
        .current_dir(folder.path())
        .stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command
        .arg("replay")
        .arg(recording)
        .env("SKYTIDE_LOG", "warn")
        .envs(options.iter().copied())
        .output()
        .expect("valgrind starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let line = text.lines().find(|line| line.contains("I refs:"));
    let number = line.and_then(|line| line.rsplit("I refs:").next());
    let digits: String = number
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().expect("valgrind prints the instructions")
}
