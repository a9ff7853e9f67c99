//! `/v1/dataflow`: the graph of the dataflow in this process.

use std::sync::Arc;

use skytide_core::port::graph::{
    ArrangementReport, ChannelReport, GraphReporter, OperatorReport, Traffic, WorkerReport,
};

use crate::schema::violations;
use crate::world::{World, get_json};

/// A dataflow with these reports.
struct Reports(Vec<Arc<WorkerReport>>);

impl GraphReporter for Reports {
    fn reports(&self) -> Vec<Arc<WorkerReport>> {
        self.0.clone()
    }
}

/// A dataflow of two workers, with an operator that reads an input.
pub fn graph() -> Arc<dyn GraphReporter> {
    let report = |worker| {
        let traffic = Traffic {
            messages: 2,
            records: 40 + worker as u64,
        };
        let operator = |place: usize, name: &str| OperatorReport {
            address: vec![0, place],
            name: name.into(),
            busy_seconds: 0.25,
            activations: 4,
            ..OperatorReport::default()
        };
        let input = OperatorReport {
            output: traffic,
            ..operator(1, "Events")
        };
        let accounts = OperatorReport {
            input: traffic,
            arrangement: Some(ArrangementReport {
                records: 10,
                batches: 2,
                ..ArrangementReport::default()
            }),
            ..operator(2, "Accounts")
        };
        let channel = ChannelReport {
            number: 3,
            scope: vec![0],
            source: (1, 0),
            target: (2, 0),
            sent: traffic,
            received: traffic,
        };
        Arc::new(WorkerReport {
            worker,
            running_seconds: 2.0,
            busy_seconds: 0.5,
            parked_seconds: 0.25,
            epoch: 70,
            frontier_lag_epochs: 3,
            frontier_lag_seconds: 0.15,
            operators: vec![input, accounts],
            channels: vec![channel],
            state: Vec::new(),
        })
    };
    Arc::new(Reports(vec![report(0), report(1)]))
}

#[tokio::test]
async fn the_graph_shows_what_operators_and_channels_of_all_workers_did() {
    let state = World::empty().state().with_graph(graph());
    let (status, answer) = get_json(state, "/v1/dataflow").await;
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(
        violations("Dataflow", &answer),
        Vec::<String>::new(),
        "{answer:#}"
    );
    let accounts = &answer["operators"][1];
    assert_eq!(accounts["name"], "Accounts");
    assert_eq!(accounts["input"]["records"], 81);
    assert_eq!(accounts["arrangement"]["records"], 20);
    assert_eq!(accounts["busy_seconds"], 0.5);
    let worker = &answer["workers"][1];
    assert_eq!(worker["epoch"], 70);
    assert_eq!(worker["frontier_lag_epochs"], 3);
    assert_eq!(worker["frontier_lag_seconds"], 0.15);
    let channel = &answer["channels"][0];
    assert_eq!(
        (&channel["source"][1], &channel["target"][1]),
        (&1.into(), &2.into())
    );
    assert_eq!(channel["records"], 81);
}

#[tokio::test]
async fn a_process_without_a_dataflow_says_so() {
    let none: Arc<dyn GraphReporter> = Arc::new(Reports(Vec::new()));
    for state in [
        World::empty().state(),
        World::empty().state().with_graph(none),
    ] {
        let (status, problem) = get_json(state, "/v1/dataflow").await;
        assert_eq!(status, 503, "{problem:#}");
        assert_eq!(problem["code"], "no_dataflow");
    }
}
