//! `/v1/dataflow`: the running graph of the dataflow, with what each operator and each channel did.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use skytide_core::port::graph::{
    ArrangementReport, ChannelReport, OperatorReport, Traffic, WorkerReport,
};

use crate::catalogue::DATAFLOW;
use crate::params::Params;
use crate::problem::Problem;
use crate::state::ApiContext;

/// The graph, as JSON. All numbers count from the start of the process.
#[derive(Debug, PartialEq, Serialize)]
struct Graph {
    workers: Vec<Worker>,
    operators: Vec<Operator>,
    channels: Vec<Channel>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Worker {
    worker: usize,
    running_seconds: f64,
    busy_seconds: f64,
    parked_seconds: f64,
    epoch: u64,
    frontier_lag_epochs: u64,
    frontier_lag_seconds: f64,
}

/// An operator, or a scope of operators: the sum of all workers.
#[derive(Debug, PartialEq, Serialize)]
struct Operator {
    address: Vec<usize>,
    name: Box<str>,
    is_scope: bool,
    busy_seconds: f64,
    /// The busy time of each worker, in the order of `workers`.
    busy_seconds_by_worker: Vec<f64>,
    activations: u64,
    input: Traffic,
    output: Traffic,
    arrangement: Option<ArrangementReport>,
}

/// A channel: the sum of all workers.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Channel {
    /// Addresses of the operators at both ends. The address of the scope itself stands for an input
    /// or output of the scope.
    source: Vec<usize>,
    target: Vec<usize>,
    messages: u64,
    records: u64,
}

/// `GET /v1/dataflow`
pub(crate) async fn show(
    State(context): State<ApiContext>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &DATAFLOW)?;
    let reports = context.graph.as_ref().map(|graph| graph.reports());
    let reports = reports.filter(|reports| !reports.is_empty());
    let reports = reports.ok_or_else(|| {
        Problem::unavailable(
            "no_dataflow",
            "no dataflow runs in this process, or it has just started; \
             `skytide up` runs one beside the API",
        )
    })?;
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((no_store, Json(Graph::new(&reports))).into_response())
}

impl Graph {
    /// Adds up the reports of all workers.
    fn new(reports: &[Arc<WorkerReport>]) -> Self {
        let mut operators = BTreeMap::<&[usize], Operator>::new();
        let mut channels = BTreeMap::<usize, Channel>::new();
        for (place, report) in reports.iter().enumerate() {
            for operator in &report.operators {
                let new = || Operator::new(operator, reports.len());
                let sum = operators.entry(&operator.address).or_insert_with(new);
                sum.add(operator, place);
            }
            for channel in &report.channels {
                let new = || Channel::new(channel);
                let sum = channels.entry(channel.number).or_insert_with(new);
                sum.messages += channel.received.messages;
                sum.records += channel.received.records;
            }
        }
        Self {
            workers: reports
                .iter()
                .map(|report| Worker::from(&**report))
                .collect(),
            operators: operators.into_values().collect(),
            channels: channels.into_values().collect(),
        }
    }
}

impl From<&WorkerReport> for Worker {
    fn from(report: &WorkerReport) -> Self {
        Self {
            worker: report.worker,
            running_seconds: report.running_seconds,
            busy_seconds: report.busy_seconds,
            parked_seconds: report.parked_seconds,
            epoch: report.epoch,
            frontier_lag_epochs: report.frontier_lag_epochs,
            frontier_lag_seconds: report.frontier_lag_seconds,
        }
    }
}

impl Operator {
    fn new(report: &OperatorReport, workers: usize) -> Self {
        Self {
            address: report.address.clone(),
            name: report.name.clone(),
            is_scope: report.is_scope,
            busy_seconds: 0.0,
            busy_seconds_by_worker: vec![0.0; workers],
            activations: 0,
            input: Traffic::default(),
            output: Traffic::default(),
            arrangement: None,
        }
    }

    fn add(&mut self, report: &OperatorReport, place: usize) {
        self.busy_seconds += report.busy_seconds;
        self.busy_seconds_by_worker[place] += report.busy_seconds;
        self.activations += report.activations;
        for (sum, one) in [
            (&mut self.input, report.input),
            (&mut self.output, report.output),
        ] {
            sum.messages += one.messages;
            sum.records += one.records;
        }
        if let Some(one) = report.arrangement {
            let sum = self.arrangement.get_or_insert_default();
            sum.records += one.records;
            sum.batches += one.batches;
            sum.merges += one.merges;
            sum.pending_records += one.pending_records;
        }
    }
}

impl Channel {
    fn new(report: &ChannelReport) -> Self {
        let address = |operator: usize| {
            let mut address = report.scope.clone();
            // Timely numbers operators from 1; 0 is the scope itself.
            if operator > 0 {
                address.push(operator);
            }
            address
        };
        Self {
            source: address(report.source.0),
            target: address(report.target.0),
            messages: 0,
            records: 0,
        }
    }
}

#[cfg(test)]
mod tests {
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
        let graph = Graph::new(&[report(0, 0.5, 10), report(1, 0.25, 20)]);
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
        };
        assert_eq!(graph.channels, [expected]);
        assert_eq!(graph.workers.len(), 2);
    }
}
