//! The graph of made-up reports.

use super::*;

fn report(worker: usize, busy: f64, records: u64) -> Arc<WorkerReport> {
    let traffic = Traffic {
        messages: 1,
        records,
    };
    let operator = OperatorReport {
        address: vec![0, 2],
        name: "Posts".into(),
        busy_seconds: busy,
        activations: 3,
        input: traffic,
        arrangement: (worker == 1).then_some(ArrangementReport {
            records: 7,
            ..ArrangementReport::default()
        }),
        ..OperatorReport::default()
    };
    let channel = ChannelReport {
        number: 5,
        scope: vec![0],
        source: (1, 0),
        target: (2, 0),
        received: traffic,
        ..ChannelReport::default()
    };
    Arc::new(WorkerReport {
        worker,
        busy_seconds: busy,
        operators: vec![operator],
        channels: vec![channel],
        ..WorkerReport::default()
    })
}

#[test]
fn the_graph_is_the_sum_of_all_workers() {
    let graph = Graph::sum(&[report(0, 0.5, 10), report(1, 0.25, 20)]);
    let [posts] = &graph.operators[..] else {
        panic!("one operator: {graph:?}");
    };
    assert_eq!(posts.busy_seconds, 0.75);
    assert_eq!(posts.busy_seconds_by_worker, [0.5, 0.25]);
    assert_eq!((posts.activations, posts.input.records), (6, 30));
    assert_eq!(posts.arrangement.map(|it| it.records), Some(7));
    let expected = Channel {
        source: vec![0, 1],
        target: vec![0, 2],
        messages: 2,
        records: 30,
        records_per_second: 0.0,
    };
    assert_eq!(graph.channels, [expected]);
    assert_eq!(graph.workers.len(), 2);
}

#[test]
fn shares_and_rates_are_of_the_interval() {
    let reading = |seconds: f64, busy: [f64; 2], records: u64| Reading {
        reports: [0, 1]
            .map(|worker| {
                Arc::new(WorkerReport {
                    running_seconds: seconds,
                    ..(*report(worker, busy[worker], records)).clone()
                })
            })
            .into(),
        progress: None,
    };
    let history = DataflowHistory::default();
    history.add(reading(100.0, [50.0, 50.0], 1_000));
    let now = reading(110.0, [55.0, 51.0], 1_400);
    let graph = Graph::new(&now.reports, &history.add(now.clone()));
    let recent = &graph.operators[0].recent;
    assert_eq!(recent.share, 0.3);
    assert_eq!(recent.share_by_worker, [0.5, 0.1]);
    assert_eq!(recent.input_records_per_second, 80.0);
    assert_eq!(graph.channels[0].records_per_second, 80.0);
    assert_eq!(graph.workers[0].recent.busy, 0.5);
    assert_eq!(graph.recent.seconds, 10.0);
    assert!(!graph.recent.is_whole_run);
    assert!(!graph.findings.is_empty());
}
