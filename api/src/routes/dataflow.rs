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
use skytide_core::port::size::{MemoryReporter, MemoryTotals, StateSize};

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
    /// Whether it is the whole run, because there was no request in the last 30 s to compare with.
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
    cpu_seconds: Option<f64>,
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
    let read = || {
        let graph = context.graph.as_ref()?;
        let (reports, progress) = (graph.reports(), graph.progress());
        (!reports.is_empty()).then_some(Reading { reports, progress })
    };
    let (reading, recent) = history.read(read).ok_or_else(|| {
        Problem::unavailable(
            "no_dataflow",
            "no dataflow runs in this process, or it has just started; \
             `skytide up` runs one beside the API",
        )
    })?;
    let mut graph = Graph::new(&reading.reports, &recent);
    graph.progress = reading
        .progress
        .map(|now| ShownProgress::new(now, &recent, &context));
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    let memory = context.memory.as_deref();
    let (others, totals) = memory.map(MemoryReporter::sizes_and_totals).unzip();
    graph.memory = totals;
    graph.state = states(&reading.reports, &others.unwrap_or_default());
    let answer = Answer {
        waits_for: ShownWait::of(&*context.health, Audience::of(caller.as_deref())),
        graph,
    };
    Ok((no_store, Json(answer)).into_response())
}

/// The sizes of the states of all workers, and of what this process holds outside the dataflow.
fn states(reports: &[Arc<WorkerReport>], sizes: &[StateSize]) -> Vec<StateEntry> {
    let others = sizes.iter().filter(|size| size.worker.is_none());
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
            cpu_seconds: report.cpu_seconds,
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
mod tests;
