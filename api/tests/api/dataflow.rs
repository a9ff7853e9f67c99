//! `/v1/dataflow`: the graph of the dataflow in this process.

use std::collections::BTreeSet;
use std::sync::Arc;

use skytide_core::port::graph::{
    ArrangementReport, ChannelReport, GraphReporter, OperatorReport, Progress, Traffic,
    WorkerReport,
};
use skytide_core::port::size::{MemoryReporter, MemoryTotals, StateSize};
use skytide_core::time::Timestamp;

use crate::schema::violations;
use crate::world::{World, get_json, request, send, text};

/// A dataflow with these reports.
struct Reports(Vec<Arc<WorkerReport>>);

impl GraphReporter for Reports {
    fn reports(&self) -> Vec<Arc<WorkerReport>> {
        self.0.clone()
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress {
            running_seconds: 4.0,
            epoch: 7,
            network_time: Timestamp(1_783_175_888_123),
            events: 100,
            commits: 2,
            commit_seconds: 3.0,
            ..Progress::default()
        })
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
            state: vec![StateSize {
                worker: Some(worker),
                ..StateSize::new(
                    "posts.table",
                    5,
                    320 + worker as u64,
                    Some("FIREHOSE_COLLECTIONS"),
                )
            }],
            commit_wait_seconds: 1.25,
            ..WorkerReport::default()
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

/// A process with an answer in its cache.
pub struct Memory;

impl MemoryReporter for Memory {
    fn sizes(&self) -> Vec<StateSize> {
        let worker = StateSize {
            worker: Some(0),
            ..StateSize::new("posts.table", 5, 320, None)
        };
        let answers = StateSize::new("api.answers", 1, 900, Some("API_CACHE_BYTES_MAX"));
        vec![answers, worker]
    }

    fn totals(&self) -> MemoryTotals {
        MemoryTotals {
            resident_bytes: Some(1_000),
            accounted_bytes: 1_220,
            unaccounted_bytes: Some(-220),
            ..MemoryTotals::default()
        }
    }
}

#[tokio::test]
async fn sizes_of_all_workers_are_added_up_beside_those_of_the_process() {
    let state = World::empty().state().with_graph(graph());
    let state = state.with_memory(Arc::new(Memory));
    let (status, answer) = get_json(state, "/v1/dataflow").await;
    assert_eq!(status, 200, "{answer:#}");
    let none = Vec::<String>::new();
    assert_eq!(violations("Dataflow", &answer), none, "{answer:#}");
    let expected = serde_json::json!([
        {
            "name": "api.answers",
            "entries": 1,
            "bytes": 900,
            "option": "API_CACHE_BYTES_MAX",
            "by_worker": [],
        },
        {
            "name": "posts.table",
            "entries": 10,
            "bytes": 641,
            "option": "FIREHOSE_COLLECTIONS",
            "by_worker": [
                { "worker": 0, "entries": 5, "bytes": 320 },
                { "worker": 1, "entries": 5, "bytes": 321 },
            ],
        },
    ]);
    assert_eq!(answer["state"], expected);
    assert_eq!(answer["memory"]["unaccounted_bytes"], -220);
    assert_eq!(
        answer["memory"]["peak_resident_bytes"],
        serde_json::Value::Null
    );
}

/// Two workers wait for the view store, so that is the first finding. Nobody has asked before, so
/// the shares are of the whole run.
#[tokio::test]
async fn the_graph_shows_what_holds_the_dataflow_up() {
    let state = World::empty().state().with_graph(graph());
    let (_, answer) = get_json(state, "/v1/dataflow").await;
    assert_eq!(answer["recent"]["is_whole_run"], true);
    assert_eq!(answer["workers"][1]["recent"]["commit_wait"], 0.625);
    let finding = &answer["findings"][0];
    assert_eq!(finding["kind"], "store");
    let sentence = finding["sentence"].as_str().expect("a sentence");
    assert!(sentence.starts_with("The view store holds the dataflow up: workers waited 62 %"));
    assert_eq!(answer["progress"]["epoch"], 7);
    assert_eq!(answer["progress"]["recent"]["events_per_second"], 25.0);
    assert_eq!(answer["progress"]["as_of"], "2026-07-04T14:38:08.123Z");
}

/// The page names its files, and each of them exists.
#[tokio::test]
async fn the_page_of_the_dataflow_names_only_files_that_exist() {
    let world = World::empty();
    let mut unread = vec!["/dataflow".to_owned()];
    let mut read = BTreeSet::new();
    while let Some(path) = unread.pop() {
        if !read.insert(path.clone()) {
            continue;
        }
        let response = send(world.state(), request(&path)).await;
        assert_eq!(response.status(), 200, "{path}");
        let file = text(response).await;
        let quoted = file.split('"').skip(1).step_by(2);
        for name in quoted.filter(|name| name.ends_with(".js") || name.ends_with(".css")) {
            unread.push(match (name.strip_prefix("./"), name.strip_prefix("../")) {
                (Some(name), _) => format!("/assets/dataflow/{name}"),
                (_, Some(name)) => format!("/assets/{name}"),
                _ => name.to_owned(),
            });
        }
    }
    assert!(read.len() >= 8, "{read:?}");
    let response = send(world.state(), request("/assets/dataflow/other.js")).await;
    assert_eq!(response.status(), 404);
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
