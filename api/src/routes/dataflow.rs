//! `/v1/dataflow`: the running graph of the dataflow, with what each operator and each channel did,
//! and what holds the dataflow up. The page `/dataflow` and `skytide top` show this answer.

mod findings;
mod rates;
mod recent;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use skytide_core::port::graph::{
    ArrangementReport, ChannelReport, OperatorReport, Traffic, WorkerReport,
};
use skytide_core::port::size::{MemoryReporter, MemoryTotals};

use crate::access::Caller;
use crate::catalogue::DATAFLOW;
use crate::health::{Audience, ShownWait};
use crate::params::Params;
use crate::problem::Problem;
use crate::state::ApiContext;

use findings::{Finding, findings};
use rates::{OperatorRates, Shares, ShownProgress, per_second, share};
pub(crate) use recent::DataflowHistory;
use recent::{Reading, Recent};

/// The graph, as JSON. All counters count from the start of the process.
#[derive(Debug, PartialEq, Serialize)]
struct Graph {
    /// The interval of all rates and shares named `recent`.
    recent: Interval,
    /// What holds the dataflow up, the most important first.
    findings: Vec<Finding>,
    progress: Option<ShownProgress>,
    workers: Vec<Worker>,
    operators: Vec<Operator>,
    channels: Vec<Channel>,
    /// The sizes of all structures, ordered by name.
    state: Vec<StateEntry>,
    /// The memory of this process; `null` if it is not measured.
    memory: Option<MemoryTotals>,
}

/// The size of a structure: the sum of all workers, or that of a part outside the dataflow.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct StateEntry {
    name: Cow<'static, str>,
    entries: u64,
    bytes: u64,
    option: Option<Cow<'static, str>>,
    /// The size on each worker; empty for a part outside the dataflow.
    by_worker: Vec<WorkerState>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct WorkerState {
    worker: usize,
    entries: u64,
    bytes: u64,
}

/// The answer, as JSON.
#[derive(Serialize)]
struct Answer {
    waits_for: ShownWait,
    #[serde(flatten)]
    graph: Graph,
}

#[derive(Debug, PartialEq, Serialize)]
struct Interval {
    seconds: f64,
    /// Whether it is the whole run, because there was no earlier request to compare with.
    is_whole_run: bool,
}

#[derive(Debug, PartialEq, Serialize)]
struct Worker {
    worker: usize,
    running_seconds: f64,
    busy_seconds: f64,
    parked_seconds: f64,
    step_seconds: f64,
    feed_seconds: f64,
    consolidate_seconds: f64,
    commit_wait_seconds: f64,
    batch_wait_seconds: f64,
    cut_seconds: f64,
    other_seconds: f64,
    epoch: u64,
    frontier_lag_epochs: u64,
    frontier_lag_seconds: f64,
    recent: Shares,
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
    recent: OperatorRates,
}

/// A channel: the sum of all workers.
#[derive(Debug, PartialEq, Serialize)]
struct Channel {
    /// Addresses of the operators at both ends. The address of the scope itself stands for an input
    /// or output of the scope.
    source: Vec<usize>,
    target: Vec<usize>,
    messages: u64,
    records: u64,
    records_per_second: f64,
}

/// `GET /v1/dataflow`
pub(crate) async fn show(
    State(context): State<ApiContext>,
    State(history): State<DataflowHistory>,
    RawQuery(query): RawQuery,
    caller: Option<Extension<Caller>>,
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
    let progress = context.graph.as_ref().and_then(|graph| graph.progress());
    let reading = Reading { reports, progress };
    let recent = history.add(reading.clone());
    let mut graph = Graph::new(&reading.reports, &recent);
    graph.progress = progress.map(|now| ShownProgress::new(now, &recent, &context));
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    let memory = context.memory.as_deref();
    graph.memory = memory.map(MemoryReporter::totals);
    graph.state = states(&reading.reports, memory);
    let answer = Answer {
        waits_for: ShownWait::of(&*context.health, Audience::of(caller.as_deref())),
        graph,
    };
    Ok((no_store, Json(answer)).into_response())
}

/// The sizes of the states of all workers, and of what this process holds outside the dataflow.
fn states(reports: &[Arc<WorkerReport>], memory: Option<&dyn MemoryReporter>) -> Vec<StateEntry> {
    let others = memory.map_or(Vec::new(), MemoryReporter::sizes);
    let others = others.iter().filter(|size| size.worker.is_none());
    let workers = reports.iter().flat_map(|report| &report.state);
    let mut states = BTreeMap::<&str, StateEntry>::new();
    for size in workers.chain(others) {
        let new = || StateEntry {
            name: size.name.clone(),
            entries: 0,
            bytes: 0,
            option: size.option.clone(),
            by_worker: Vec::new(),
        };
        let (entries, bytes) = (size.entries, size.bytes);
        let sum = states.entry(&size.name).or_insert_with(new);
        sum.entries += entries;
        sum.bytes += bytes;
        sum.by_worker.extend(size.worker.map(|worker| WorkerState {
            worker,
            entries,
            bytes,
        }));
    }
    states.into_values().collect()
}

impl Graph {
    /// Adds up the reports of all workers.
    fn new(reports: &[Arc<WorkerReport>], recent: &Recent) -> Self {
        let mut graph = Self::sum(reports);
        let changed = Self::sum(&recent.workers);
        let seconds = recent.workers.iter().map(|it| it.running_seconds);
        let longest = seconds.clone().fold(0.0, f64::max);
        let all: f64 = seconds.clone().sum();
        for (worker, changed) in graph.workers.iter_mut().zip(&recent.workers) {
            worker.recent = Shares::from(&**changed);
        }
        for (operator, changed) in graph.operators.iter_mut().zip(&changed.operators) {
            let by_worker = changed.busy_seconds_by_worker.iter().zip(seconds.clone());
            operator.recent = OperatorRates {
                share: share(changed.busy_seconds, all),
                share_by_worker: by_worker.map(|(busy, all)| share(*busy, all)).collect(),
                activations_per_second: per_second(changed.activations, longest),
                input_records_per_second: per_second(changed.input.records, longest),
                output_records_per_second: per_second(changed.output.records, longest),
            };
        }
        for (channel, changed) in graph.channels.iter_mut().zip(&changed.channels) {
            channel.records_per_second = per_second(changed.records, longest);
        }
        graph.recent = Interval {
            seconds: recent.seconds,
            is_whole_run: recent.is_whole_run,
        };
        graph.findings = findings(recent);
        graph
    }

    /// The sums without rates.
    fn sum(reports: &[Arc<WorkerReport>]) -> Self {
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
            recent: Interval {
                seconds: 0.0,
                is_whole_run: true,
            },
            findings: Vec::new(),
            progress: None,
            workers: reports
                .iter()
                .map(|report| Worker::from(&**report))
                .collect(),
            operators: operators.into_values().collect(),
            channels: channels.into_values().collect(),
            state: Vec::new(),
            memory: None,
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
            step_seconds: report.step_seconds,
            feed_seconds: report.feed_seconds,
            consolidate_seconds: report.consolidate_seconds,
            commit_wait_seconds: report.commit_wait_seconds,
            batch_wait_seconds: report.batch_wait_seconds,
            cut_seconds: report.cut_seconds,
            other_seconds: report.other_seconds,
            epoch: report.epoch,
            frontier_lag_epochs: report.frontier_lag_epochs,
            frontier_lag_seconds: report.frontier_lag_seconds,
            recent: Shares::default(),
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
            recent: OperatorRates::default(),
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
            records_per_second: 0.0,
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
}
