//! The lines of a real dataflow against its reports, and their exact form.

use serde_json::{Value, json};
use skytide_core::memory::{MemoryLog, MemoryStore};
use skytide_core::port::graph::{ArrangementReport, Traffic};
use skytide_core::port::log::Log as _;
use skytide_core::port::size::MemoryTotals;
use skytide_dataflow::{Options, Ports};
use skytide_tests::world;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// The lines that `write` writes into a file.
fn lines(write: impl FnOnce()) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lines.ndjson");
    let output = output::at(&path);
    let subscriber = tracing_subscriber::registry().with(layer(output));
    tracing::subscriber::with_default(subscriber, || {
        write();
        tracing::info!(target: "skytide::dataflow", "another line");
    });
    let text = std::fs::read_to_string(path).expect("the lines");
    let lines = text.lines().map(serde_json::from_str);
    let lines: Result<Vec<Value>, _> = lines.collect();
    lines.unwrap_or_else(|why| panic!("{why}: {text}"))
}

fn without_time(mut line: Value) -> Value {
    let fields = line.as_object_mut().expect("an object");
    fields.remove("timestamp").expect("a time");
    line
}

/// Memory with one structure whose size can be set.
struct Memory(std::sync::Mutex<(u64, u64)>);

impl MemoryReporter for Memory {
    fn sizes(&self) -> Vec<StateSize> {
        let (entries, bytes) = *self.0.lock().expect("not poisoned");
        vec![StateSize {
            name: "api.answers".into(),
            worker: None,
            entries,
            bytes,
            option: Some("API_CACHE_BYTES_MAX".into()),
        }]
    }

    fn totals(&self) -> MemoryTotals {
        MemoryTotals::default()
    }
}

fn report(factor: u64) -> WorkerReport {
    let seconds = factor as f64 * 0.1;
    let traffic = |messages, records| Traffic {
        messages: messages * factor,
        records: records * factor,
    };
    let operator = OperatorReport {
        address: vec![0, 3, 12],
        name: "Posts".into(),
        busy_seconds: seconds,
        activations: 7 * factor,
        input: traffic(2, 50),
        output: traffic(3, 20),
        arrangement: Some(ArrangementReport {
            records: 40,
            batches: 2,
            merges: factor,
            pending_records: 1,
        }),
        ..OperatorReport::default()
    };
    WorkerReport {
        worker: 1,
        running_seconds: factor as f64,
        busy_seconds: seconds,
        parked_seconds: seconds * 2.0,
        epoch: 100 * factor,
        frontier_lag_epochs: 2,
        frontier_lag_seconds: 0.1,
        operators: vec![operator],
        ..WorkerReport::default()
    }
}

#[test]
fn a_line_has_what_changed_since_the_previous_one_and_the_totals() {
    let (metrics, memory) = (
        Arc::new(Metrics::default()),
        Arc::new(Memory((3, 900).into())),
    );
    let mut log = DataflowLog::new(metrics.clone(), Some(memory.clone()), Duration::MAX);
    let lines = lines(|| {
        metrics.record_report(report(1));
        log.write();
        metrics.record_report(report(4));
        *memory.0.lock().expect("not poisoned") = (2, 1_000);
        log.write();
    });
    let targets: Vec<&str> = lines
        .iter()
        .filter_map(|it| it["target"].as_str())
        .collect();
    assert_eq!(targets, [WORKER, OPERATOR, STATE].repeat(2));
    let newest: Vec<Value> = lines.into_iter().skip(3).map(without_time).collect();
    let [worker, operator, state] = &newest[..] else {
        panic!("three lines: {newest:?}");
    };
    let expected = json!({
        "level": "INFO", "target": "skytide::dataflow::worker", "worker": 1,
        "interval_seconds": 3.0, "busy_seconds": 0.3, "parked_seconds": 0.6, "other_seconds": 2.1,
        "running_seconds_total": 4.0, "busy_seconds_total": 0.4, "parked_seconds_total": 0.8,
        "epoch": 400, "epochs": 300, "frontier_lag_epochs": 2, "frontier_lag_seconds": 0.1,
    });
    assert_eq!(worker, &expected);
    let expected = json!({
        "level": "INFO", "target": "skytide::dataflow::operator", "worker": 1,
        "address": "0.3.12", "name": "Posts", "is_scope": false, "interval_seconds": 3.0,
        "busy_seconds": 0.3, "activations": 21,
        "input_messages": 6, "input_records": 150, "output_messages": 9, "output_records": 60,
        "busy_seconds_total": 0.4, "activations_total": 28,
        "input_messages_total": 8, "input_records_total": 200,
        "output_messages_total": 12, "output_records_total": 80,
        "arrangement_records": 40, "arrangement_batches": 2, "arrangement_pending_records": 1,
        "arrangement_merges": 3, "arrangement_merges_total": 4,
    });
    assert_eq!(operator, &expected);
    let expected = json!({
        "level": "INFO", "target": "skytide::dataflow::state", "name": "api.answers",
        "entries": 2, "bytes": 1_000, "entries_change": -1, "bytes_change": 100,
        "option": "API_CACHE_BYTES_MAX",
    });
    assert_eq!(state, &expected);
}

#[test]
fn without_the_log_of_operators_a_worker_has_only_its_progress() {
    let metrics = Arc::new(Metrics::default());
    let unlogged = WorkerReport {
        operators: Vec::new(),
        ..report(1)
    };
    let mut log = DataflowLog::new(metrics.clone(), None, Duration::MAX);
    let lines = lines(|| {
        metrics.record_report(unlogged);
        log.write();
    });
    let expected = json!({
        "level": "INFO", "target": "skytide::dataflow::worker", "worker": 1,
        "interval_seconds": 1.0, "running_seconds_total": 1.0, "epoch": 100, "epochs": 100,
        "frontier_lag_epochs": 2, "frontier_lag_seconds": 0.1,
    });
    let lines: Vec<Value> = lines.into_iter().map(without_time).collect();
    assert_eq!(lines, [expected]);
}

/// Runs a dataflow twice over the halves of one log, with lines after each. All numbers that are
/// changes add up to the reports.
#[test]
fn the_lines_of_a_run_add_up_to_the_reports_of_its_workers() {
    const WORKERS: usize = 2;
    let metrics = Arc::new(Metrics::default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut messages = world::log(5, world::Options::default());
    let second = messages.split_off(messages.len() / 2);
    let log = Arc::new(MemoryLog::new(1));
    let ports = Ports {
        log: log.clone(),
        store: Arc::new(MemoryStore::default()),
        checkpoints: None,
    };
    let options = Options {
        workers: WORKERS,
        until_last: true,
        ..Options::default()
    };
    let running = {
        let (metrics, never) = (metrics.clone(), CancellationToken::new());
        runtime.spawn(skytide_dataflow::run(options, ports, metrics, never))
    };
    let append = |messages| {
        runtime.block_on(async {
            let mut writer = log.writer().await.expect("a writer");
            writer.append(messages).await.expect("appended");
            writer.flush().await.expect("flushed");
        });
    };
    let mut lines_of = DataflowLog::new(metrics.clone(), None, Duration::MAX);
    let lines = lines(|| {
        append(messages);
        while metrics.epoch.get() == 0 {
            assert!(!running.is_finished(), "the second half is missing");
            std::thread::yield_now();
        }
        lines_of.write();
        append(second);
        let ended = runtime.block_on(running).expect("no panic");
        ended.expect("the run completes");
        lines_of.write();
    });
    let reports = metrics.own_reports();
    assert_eq!(reports.len(), WORKERS);
    for report in reports {
        let of_worker = lines.iter().filter(|it| it["worker"] == report.worker);
        let of_worker: Vec<&Value> = of_worker.collect();
        let workers = of_worker.iter().filter(|it| it["target"] == WORKER);
        let sum = |name: &str| -> f64 { workers.clone().filter_map(|it| it[name].as_f64()).sum() };
        assert_close(sum("interval_seconds"), report.running_seconds);
        assert_close(sum("busy_seconds"), report.busy_seconds);
        assert_close(sum("parked_seconds"), report.parked_seconds);
        assert_eq!(sum("epochs") as u64, report.epoch);
        assert_eq!(report.epoch, 60);
        assert!(report.operators.len() > 20, "{report:?}");
        for operator in &report.operators {
            check_operator(&of_worker, operator);
        }
    }
}

fn check_operator(lines: &[&Value], operator: &OperatorReport) {
    let address: Vec<String> = operator.address.iter().map(ToString::to_string).collect();
    let mine = lines
        .iter()
        .filter(|it| it["target"] == OPERATOR && it["address"] == address.join("."));
    let newest = mine.clone().next_back().expect("a line");
    assert_eq!(newest["name"], &*operator.name);
    for (name, expected) in [
        ("activations", operator.activations),
        ("input_messages", operator.input.messages),
        ("input_records", operator.input.records),
        ("output_messages", operator.output.messages),
        ("output_records", operator.output.records),
    ] {
        let sum: u64 = mine.clone().filter_map(|it| it[name].as_u64()).sum();
        assert_eq!(sum, expected, "{name} of {operator:?}");
        assert_eq!(newest[format!("{name}_total")], expected, "{operator:?}");
    }
    let sum = mine.filter_map(|it| it["busy_seconds"].as_f64()).sum();
    assert_close(sum, operator.busy_seconds);
}

#[track_caller]
fn assert_close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
}
