//! What an operator sees of the dataflow and of the process: JSON lines and metrics.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::process::{Place, recording};
use crate::services::{NOWHERE, Running, get};

const OPERATOR: &str = "skytide::dataflow::operator";
const WORKER: &str = "skytide::dataflow::worker";

fn parsed(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| {
        let parsed = serde_json::from_str(line);
        parsed.unwrap_or_else(|why| panic!("{why}: {line}"))
    });
    lines.collect()
}

fn number(line: &Value, name: &str) -> f64 {
    let number = line[name].as_f64();
    number.unwrap_or_else(|| panic!("no {name}: {line}"))
}

#[test]
fn the_lines_of_a_replay_add_up_and_standard_error_has_none() {
    let place = Place::new();
    let args = ["replay", &recording("pds.frames.zst"), "--export", "out"];
    let variables = [
        ("INDEXER_DATAFLOW_LOG", "./lines.ndjson"),
        ("INDEXER_DATAFLOW_LOG_INTERVAL", "1s"),
        ("INDEXER_WORKERS", "2"),
    ];
    let ran = place.run_with(&args, variables);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(!ran.err.contains(OPERATOR), "{}", ran.err);
    let text = std::fs::read_to_string(place.path().join("lines.ndjson")).expect("the lines");
    let lines = parsed(&text);
    let summary = std::fs::read_to_string(place.path().join("out/summary.json"));
    let summary: Value = serde_json::from_str(&summary.expect("a summary")).expect("JSON");

    let counted = [
        "busy_seconds",
        "activations",
        "input_records",
        "output_records",
    ];
    // By worker and address: the sums of all lines, and the newest line.
    let mut operators = BTreeMap::<(u64, String), ([f64; 4], Value)>::new();
    let mut workers = BTreeMap::<u64, Value>::new();
    for line in &lines {
        // A structure outside the dataflow belongs to no worker.
        let Some(worker) = line["worker"].as_u64() else {
            continue;
        };
        if line["target"] == WORKER {
            workers.insert(worker, line.clone());
        }
        if line["target"] == OPERATOR {
            let address = line["address"].as_str().expect("an address").to_owned();
            let (sums, newest) = operators.entry((worker, address)).or_default();
            for (sum, name) in sums.iter_mut().zip(counted) {
                *sum += number(line, name);
            }
            *newest = line.clone();
        }
    }
    assert_eq!(workers.len(), 2);
    let mut busy = BTreeMap::<u64, f64>::new();
    for ((worker, address), (sums, newest)) in &operators {
        for (sum, name) in sums.iter().zip(counted) {
            let total = number(newest, &format!("{name}_total"));
            assert!(
                (sum - total).abs() < 1e-6,
                "{address}: {name}: {sum}, {total}"
            );
        }
        *busy.entry(*worker).or_default() += sums[0];
    }
    for (worker, line) in &workers {
        let total = number(line, "busy_seconds_total");
        assert!(total > 0.0 && (busy[worker] - total).abs() < 1e-3, "{line}");
        assert_eq!(line["epoch"], summary["epoch"], "{line}");
        assert_eq!(line["frontier_lag_epochs"], 0, "{line}");
    }
    let rows = operators
        .values()
        .filter(|(_, line)| line["name"] == "Rows");
    let rows: f64 = rows.map(|(sums, _)| sums[2]).sum();
    assert!(rows > 0.0);
}

#[test]
fn without_the_log_of_operators_there_are_lines_about_workers_only() {
    let place = Place::new();
    let args = ["replay", &recording("pds.frames.zst")];
    let variables = [
        ("INDEXER_DATAFLOW_LOG", "./lines.ndjson"),
        ("INDEXER_OPERATOR_LOG", "false"),
    ];
    let ran = place.run_with(&args, variables);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let text = std::fs::read_to_string(place.path().join("lines.ndjson")).expect("the lines");
    let lines = parsed(&text);
    assert!(lines.iter().any(|line| line["target"] == WORKER));
    assert!(
        lines.iter().all(|line| line["target"] != OPERATOR),
        "{text}"
    );
    assert!(
        lines.iter().all(|line| line["busy_seconds"].is_null()),
        "{text}"
    );
}

#[test]
fn a_file_that_cannot_be_opened_and_a_word_that_is_no_file_are_refused() {
    let place = Place::new();
    for (value, reason) in [
        ("./none/lines.ndjson", "cannot open ./none/lines.ndjson"),
        ("on", "neither off, stderr nor a path"),
    ] {
        let ran = place.run_with(&["up", NOWHERE], [("INDEXER_DATAFLOW_LOG", value)]);
        assert_ne!(ran.code, Some(0), "{ran:?}");
        assert!(ran.err.contains(reason), "{}", ran.err);
        assert!(ran.err.contains("INDEXER_DATAFLOW_LOG"), "{}", ran.err);
    }
}

#[cfg(unix)]
#[test]
fn a_service_writes_json_lines_to_standard_error_and_shows_metrics_of_its_process_and_data() {
    let place = Place::new();
    let mut command = place.command(&["up", NOWHERE, "--api-address=127.0.0.1:0"]);
    command.env("INDEXER_DATAFLOW_LOG", "stderr");
    command.env("INDEXER_DATAFLOW_LOG_INTERVAL", "1s");
    // The filter of the other lines does not hide them.
    command.env("SKYTIDE_LOG", "warn");
    let (mut up, address) = Running::start(command);
    let read = up.until_logged(WORKER);
    let lines: Vec<&str> = read.lines().filter(|line| line.starts_with('{')).collect();
    let lines = parsed(&lines.join("\n"));
    assert!(lines.iter().any(|line| line["target"] == WORKER), "{read}");
    // The health check asks the log for its size each second, and the size stays.
    let mut scrapes = (0..100_000).map(|_| get(&address, "/metrics"));
    let metrics = scrapes.find(|metrics| metrics.contains("\nskytide_log_bytes "));
    let metrics = metrics.expect("the log answers");
    for name in [
        "skytide_log_limit_bytes 68719476736",
        "skytide_disk_free_bytes ",
        "skytide_disk_size_bytes ",
        "skytide_build_info{version=",
        "process_start_time_seconds ",
        "process_cpu_seconds_total ",
        "dataflow_log_lines_dropped_total 0",
        "# TYPE indexer_step_duration_seconds histogram",
        "# TYPE indexer_commit_duration_seconds histogram",
        "# TYPE indexer_checkpoint_pause_duration_seconds histogram",
        "# TYPE skytide_ingest_publish_duration_seconds histogram",
        "indexer_worker_epoch{worker=\"0\"}",
        "indexer_worker_frontier_lag_seconds{worker=\"0\"}",
    ] {
        assert!(metrics.contains(name), "no {name}: {metrics}");
    }
    assert!(!metrics.contains("skytide_server_connected{"), "{metrics}");
    up.signal("-TERM");
    assert_eq!(up.end().0, Some(0));
}
