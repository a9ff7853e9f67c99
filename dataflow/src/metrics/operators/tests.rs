//! The reports of made-up workers.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use skytide_core::port::graph::{ArrangementReport, Traffic};
use skytide_core::port::size::StateSize;

use super::*;
use crate::runtime::worker_clock::Activity;

fn report(worker: usize) -> WorkerReport {
    let operator = |place| OperatorReport {
        address: vec![0, place],
        name: "Count".into(),
        busy_seconds: 0.25,
        activations: 3,
        input: Traffic {
            messages: 4,
            records: 50,
        },
        output: Traffic {
            messages: 6,
            records: 70,
        },
        arrangement: Some(ArrangementReport {
            records: 8,
            batches: 2,
            merges: 1,
            pending_records: 5,
        }),
        ..OperatorReport::default()
    };
    WorkerReport {
        worker,
        running_seconds: 10.5,
        busy_seconds: 2.5,
        parked_seconds: 1.5,
        commit_wait_seconds: 6.5,
        epoch: 70,
        frontier_lag_epochs: 3,
        frontier_lag_seconds: 0.25,
        operators: vec![operator(1), operator(2)],
        state: vec![StateSize {
            worker: Some(worker),
            ..StateSize::new("posts.table", 9, 640, None)
        }],
        ..WorkerReport::default()
    }
}

/// Two operators of one name are added up. The worker of another process is not exported.
#[test]
fn the_workers_of_this_process_are_exported_by_operator_and_worker() {
    let mut registry = Registry::default();
    let operators = Arc::new(OperatorMetrics::default());
    let indexer = registry.sub_registry_with_prefix("indexer");
    indexer.register_collector(Box::new(OperatorCollector(operators.clone())));
    operators.record(report(1), true);
    operators.record(report(2), false);
    let mut text = String::new();
    encode(&mut text, &registry).expect("text");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples: Vec<&str> = samples.collect();
    let expected = [
        r#"indexer_operator_activations_total{operator="Count",worker="1"} 6"#,
        r#"indexer_operator_input_messages_total{operator="Count",worker="1"} 8"#,
        r#"indexer_operator_input_records_total{operator="Count",worker="1"} 100"#,
        r#"indexer_operator_output_messages_total{operator="Count",worker="1"} 12"#,
        r#"indexer_operator_output_records_total{operator="Count",worker="1"} 140"#,
        r#"indexer_operator_busy_seconds_total{operator="Count",worker="1"} 0.5"#,
        r#"indexer_arrangement_records{operator="Count",worker="1"} 16"#,
        r#"indexer_arrangement_batches{operator="Count",worker="1"} 4"#,
        r#"indexer_arrangement_pending_records{operator="Count",worker="1"} 10"#,
        r#"indexer_state_bytes{part="posts.table",worker="1"} 640"#,
        r#"indexer_state_entries{part="posts.table",worker="1"} 9"#,
        r#"indexer_worker_running_seconds_total{worker="1"} 10.5"#,
        r#"indexer_worker_busy_seconds_total{worker="1"} 2.5"#,
        r#"indexer_worker_parked_seconds_total{worker="1"} 1.5"#,
        r#"indexer_worker_step_seconds_total{worker="1"} 0.0"#,
        r#"indexer_worker_feed_seconds_total{worker="1"} 0.0"#,
        r#"indexer_worker_consolidate_seconds_total{worker="1"} 0.0"#,
        r#"indexer_worker_commit_wait_seconds_total{worker="1"} 6.5"#,
        r#"indexer_worker_batch_wait_seconds_total{worker="1"} 0.0"#,
        r#"indexer_worker_cut_seconds_total{worker="1"} 0.0"#,
        r#"indexer_worker_other_seconds_total{worker="1"} 0.0"#,
        r#"indexer_worker_epoch{worker="1"} 70.0"#,
        r#"indexer_worker_frontier_lag_epochs{worker="1"} 3.0"#,
        r#"indexer_worker_frontier_lag_seconds{worker="1"} 0.25"#,
    ];
    assert_eq!(samples, expected);
    assert_eq!(operators.reports().len(), 2);
}

/// The worker does not report while it waits.
#[test]
fn the_report_of_a_worker_that_waits_includes_the_wait() {
    let operators = OperatorMetrics::default();
    operators.record(report(1), true);
    let before = operators.reports()[0].clone();
    assert_eq!(before.running_seconds, 10.5);
    let began = Instant::now();
    operators.record_activity(1, (Activity::WaitForCommitter, began));
    while began.elapsed().as_millis() < 3 {
        std::thread::yield_now();
    }
    let waiting = operators.reports()[0].clone();
    assert!(waiting.commit_wait_seconds >= 6.503, "{waiting:?}");
    let longer = waiting.running_seconds - before.running_seconds;
    assert!((waiting.commit_wait_seconds - 6.5 - longer).abs() < 1e-9);
    assert_eq!(waiting.batch_wait_seconds, 0.0);
    // The wait remains when it has ended: no counter may fall.
    operators.record_activity(1, (Activity::Feed, Instant::now()));
    let ended = operators.reports()[0].clone();
    assert!(ended.commit_wait_seconds >= waiting.commit_wait_seconds);
    assert!(ended.running_seconds >= waiting.running_seconds);
    assert_eq!(operators.reports()[0], ended);
    // Only waits are added: nobody knows yet how another activity ends.
    assert_eq!(ended.feed_seconds, before.feed_seconds);
}

/// Workers take the lock at each batch, so they must not copy a report that a reader holds.
#[test]
fn a_wait_copies_no_report_that_a_reader_holds() {
    let operators = OperatorMetrics::default();
    operators.record(report(1), true);
    let held = operators.own_reports_as_made();
    operators.record_activity(1, (Activity::WaitForBatch, Instant::now()));
    operators.record_activity(1, (Activity::Feed, Instant::now()));
    assert!(Arc::ptr_eq(&held[0], &operators.own_reports_as_made()[0]));
}

#[test]
fn a_report_says_whether_its_worker_is_of_another_process() {
    let operators = OperatorMetrics::default();
    operators.record(report(0), true);
    operators.record(report(1), false);
    let remote: Vec<bool> = operators.reports().iter().map(|it| it.is_remote).collect();
    assert_eq!(remote, [false, true]);
}
