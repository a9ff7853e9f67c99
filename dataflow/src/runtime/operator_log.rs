//! Statistics of the operators of one worker, from the logs of timely and differential dataflow.
//!
//! ```text
//! timely, differential ─ events ─▶ OperatorLog (vectors, by id) ─ at most once a second ─▶ WorkerReport
//! ```
//!
//! An operator is logged when it is created, started and stopped. Scopes are started and stopped
//! like operators, around those that they contain. So a stack of what is running gives the time of
//! each without the time of what it contains, and no time counts twice.
//!
//! The logs must be registered before the first dataflow is built: an operator looks up its logger
//! when it is created.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use differential_dataflow::logging::{DifferentialEvent, DifferentialEventBuilder};
use skytide_core::port::graph::{
    ArrangementReport, ChannelReport, OperatorReport, Traffic, WorkerReport,
};
use skytide_core::time::Timestamp;
use timely::logging::{
    ChannelsEvent, MessagesEvent, OperatesEvent, ParkEvent, ScheduleEvent, StartStop, TimelyEvent,
    TimelyEventBuilder,
};
use timely::worker::Worker;

use crate::metrics::Metrics;
use crate::runtime::progress::Progress;
use crate::runtime::worker_clock::{Activity, WorkerClock};
use crate::sizes::StateRegistry;
use crate::types::Time;

/// Shortest time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The statistics of a worker. They grow while it runs.
pub(crate) struct OperatorLog {
    worker: usize,
    clock: WorkerClock,
    activity: Activity,
    reported: Option<Instant>,
    totals: Rc<RefCell<Totals>>,
    /// The states of the operators.
    states: StateRegistry,
    progress: Progress,
    /// Whether the worker also reports while it waits for a command.
    reports_waits: bool,
    /// Receives the reports.
    metrics: Arc<Metrics>,
    /// The newest report, until it is taken.
    newest: Option<WorkerReport>,
}

impl OperatorLog {
    /// Registers the logs of a worker that has built no dataflow yet. `metrics` receive its reports.
    /// Without `of_operators`, nothing is logged, and the reports have neither operators nor
    /// channels nor busy and parked times.
    pub fn register(worker: &Worker, metrics: Arc<Metrics>, of_operators: bool) -> Self {
        let totals = Rc::new(RefCell::new(Totals::default()));
        if let Some(mut register) = worker.log_register().filter(|_| of_operators) {
            let timely = totals.clone();
            register.insert::<TimelyEventBuilder, _>("timely", move |_time, events| {
                let mut totals = timely.borrow_mut();
                for (time, event) in events.iter_mut().flat_map(|events| events.drain(..)) {
                    totals.timely(time, event);
                }
            });
            let arrangements = totals.clone();
            register.insert::<DifferentialEventBuilder, _>(
                "differential/arrange",
                move |_time, events| {
                    let mut totals = arrangements.borrow_mut();
                    for (_, event) in events.iter_mut().flat_map(|events| events.drain(..)) {
                        totals.differential(&event);
                    }
                },
            );
        }
        Self {
            worker: worker.index(),
            clock: WorkerClock::start(Instant::now()),
            activity: Activity::default(),
            reported: None,
            totals,
            states: StateRegistry::default(),
            progress: Progress::default(),
            reports_waits: false,
            metrics,
            newest: None,
        }
    }

    /// The log of a worker that reports while it waits, because it runs operators then. Its reports
    /// contain its waits without the time of operators, so no reader may add to them.
    pub fn reporting_waits(self) -> Self {
        Self {
            reports_waits: true,
            ..self
        }
    }

    /// The states of the operators. Their sizes are part of the reports.
    pub fn states(&self) -> &StateRegistry {
        &self.states
    }

    /// Ends what the worker does now, and begins another activity. Only during
    /// [`Activity::Step`], the time in which the worker is parked counts.
    pub fn switch(&mut self, worker: &Worker, activity: Activity) {
        // The events until now are of the activity that ends.
        if matches!(self.activity, Activity::Step | Activity::WaitForBatch) {
            flush(worker);
        }
        let now = Instant::now();
        self.clock.switch(activity, now);
        self.activity = activity;
        self.totals.borrow_mut().in_batch = activity == Activity::Step;
        if !self.reports_waits {
            self.metrics.record_activity(self.worker, (activity, now));
        }
    }

    /// Gives an operator of a scope another name. Timely names all inputs of a dataflow alike.
    pub fn rename(&self, scope: &[usize], operator: usize, name: &'static str) {
        let mut address = scope.to_vec();
        address.push(operator);
        self.totals.borrow_mut().names.insert(address, name);
    }

    /// Reports the statistics until now, unless a report was made within the last second.
    pub fn report_if_due(&mut self, worker: &Worker) {
        let now = Instant::now();
        let is_due = |last: Instant| now.duration_since(last) >= REPORT_INTERVAL;
        if self.reported.is_none_or(is_due) {
            self.report_now(worker);
        }
    }

    /// Reports the statistics until now.
    pub fn report_now(&mut self, worker: &Worker) {
        self.reported = Some(Instant::now());
        let report = self.report(worker);
        self.metrics.record_report(report.clone());
        self.newest = Some(report);
    }

    /// Records that the worker was fed the inputs of a time, which ends at this network time.
    pub fn fed(&mut self, time: Time, now: Timestamp) {
        self.progress.fed(time, now);
    }

    /// Records that all workers have completed all times before `frontier`.
    pub fn completed_before(&mut self, frontier: Time) {
        self.progress.completed_before(frontier);
    }

    /// The newest report, unless it was taken already.
    pub fn take_report(&mut self) -> Option<WorkerReport> {
        self.newest.take()
    }

    /// The statistics until now.
    fn report(&self, worker: &Worker) -> WorkerReport {
        flush(worker);
        let totals = self.totals.borrow();
        let mut report = WorkerReport {
            worker: self.worker,
            state: self.states.sizes(self.worker),
            epoch: self.progress.epoch(),
            frontier_lag_epochs: self.progress.lag_epochs(),
            frontier_lag_seconds: self.progress.lag_seconds(),
            ..totals.report()
        };
        self.clock
            .fill(&mut report, totals.busy_elsewhere, Instant::now());
        report
    }
}

/// Passes the events that a worker has logged to the totals.
fn flush(worker: &Worker) {
    if let Some(mut register) = worker.log_register() {
        register.flush();
    }
}

/// The totals of all events so far. Identifiers are small numbers that timely gives in order, so
/// vectors are indexed by them.
#[derive(Default)]
struct Totals {
    operators: Vec<Option<OperatorTotals>>,
    channels: Vec<Option<ChannelReport>>,
    arrangements: BTreeMap<usize, ArrangementReport>,
    /// Names that replace those that timely gave, by address.
    names: BTreeMap<Vec<usize>, &'static str>,
    /// What is running: an operator within its scopes, the outermost first.
    running: Vec<Running>,
    /// Time in which the outermost scopes ran.
    busy: Duration,
    /// The part of `busy` in which the worker processed no batch.
    busy_elsewhere: Duration,
    parked: Duration,
    /// Whether the worker processes a batch.
    in_batch: bool,
    parked_since: Option<Duration>,
}

struct OperatorTotals {
    address: Vec<usize>,
    name: Box<str>,
    busy: Duration,
    activations: u64,
}

struct Running {
    id: usize,
    since: Duration,
    /// Time in which operators that it contains ran.
    contained: Duration,
}

impl Totals {
    fn timely(&mut self, time: Duration, event: TimelyEvent) {
        match event {
            TimelyEvent::Operates(event) => self.add_operator(event),
            TimelyEvent::Channels(event) => self.add_channel(event),
            TimelyEvent::Messages(event) => self.count_message(&event),
            TimelyEvent::Schedule(event) => self.schedule(time, event),
            // Timely flushes its log before it parks, so the event is not of an earlier state.
            TimelyEvent::Park(ParkEvent::Park(_)) => {
                self.parked_since = self.in_batch.then_some(time);
            }
            TimelyEvent::Park(ParkEvent::Unpark) => {
                if let Some(since) = self.parked_since.take() {
                    self.parked += time.saturating_sub(since);
                }
            }
            TimelyEvent::PushProgress(_)
            | TimelyEvent::Shutdown(_)
            | TimelyEvent::CommChannels(_)
            | TimelyEvent::Text(_) => {}
        }
    }

    fn add_operator(&mut self, event: OperatesEvent) {
        let totals = OperatorTotals {
            address: event.addr,
            name: event.name.into(),
            busy: Duration::ZERO,
            activations: 0,
        };
        *entry(&mut self.operators, event.id) = Some(totals);
    }

    fn add_channel(&mut self, event: ChannelsEvent) {
        let channel = ChannelReport {
            number: event.id,
            scope: event.scope_addr,
            source: event.source,
            target: event.target,
            ..ChannelReport::default()
        };
        *entry(&mut self.channels, event.id) = Some(channel);
    }

    fn count_message(&mut self, event: &MessagesEvent) {
        let Some(Some(channel)) = self.channels.get_mut(event.channel) else {
            return;
        };
        let traffic = match event.is_send {
            true => &mut channel.sent,
            false => &mut channel.received,
        };
        traffic.messages += 1;
        traffic.records += u64::try_from(event.record_count).unwrap_or(0);
    }

    fn schedule(&mut self, time: Duration, event: ScheduleEvent) {
        if event.start_stop == StartStop::Start {
            self.running.push(Running {
                id: event.id,
                since: time,
                contained: Duration::ZERO,
            });
            return;
        }
        let Some(ended) = self.running.pop() else {
            return;
        };
        let took = time.saturating_sub(ended.since);
        match self.running.last_mut() {
            Some(scope) => scope.contained += took,
            None => {
                self.busy += took;
                if !self.in_batch {
                    self.busy_elsewhere += took;
                }
            }
        }
        if let Some(Some(operator)) = self.operators.get_mut(ended.id) {
            operator.busy += took.saturating_sub(ended.contained);
            operator.activations += 1;
        }
    }

    fn differential(&mut self, event: &DifferentialEvent) {
        let change = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        match event {
            DifferentialEvent::Batch(event) => {
                let arrangement = self.arrangements.entry(event.operator).or_default();
                arrangement.batches += 1;
                arrangement.records += change(event.length);
            }
            DifferentialEvent::Merge(event) => {
                // An event without a length reports the start of a merge.
                let Some(merged) = event.complete else { return };
                let arrangement = self.arrangements.entry(event.operator).or_default();
                arrangement.merges += 1;
                arrangement.batches -= 1;
                arrangement.records += change(merged) - change(event.length1 + event.length2);
            }
            DifferentialEvent::Drop(event) => {
                let arrangement = self.arrangements.entry(event.operator).or_default();
                arrangement.batches -= 1;
                arrangement.records -= change(event.length);
            }
            DifferentialEvent::Batcher(event) => {
                let arrangement = self.arrangements.entry(event.operator).or_default();
                arrangement.pending_records += event.records_diff as i64;
            }
            DifferentialEvent::MergeShortfall(_) | DifferentialEvent::TraceShare(_) => {}
        }
    }

    fn report(&self) -> WorkerReport {
        let channels: Vec<ChannelReport> = self.channels.iter().flatten().cloned().collect();
        let traffic = traffic_by_operator(&channels);
        let operators = self.operators.iter().enumerate();
        let operators = operators.filter_map(|(id, totals)| Some((id, totals.as_ref()?)));
        let scopes: BTreeSet<&[usize]> = operators
            .clone()
            .filter_map(|(_, operator)| operator.address.split_last().map(|(_, scope)| scope))
            .collect();
        let mut reports: Vec<OperatorReport> = operators
            .map(|(id, operator)| {
                let (input, output) = traffic.get(&operator.address).copied().unwrap_or_default();
                OperatorReport {
                    address: operator.address.clone(),
                    name: match self.names.get(&operator.address) {
                        Some(name) => (*name).into(),
                        None => operator.name.clone(),
                    },
                    is_scope: scopes.contains(&operator.address[..]),
                    busy_seconds: operator.busy.as_secs_f64(),
                    activations: operator.activations,
                    input,
                    output,
                    arrangement: self.arrangements.get(&id).copied(),
                }
            })
            .collect();
        reports.sort_by(|a, b| a.address.cmp(&b.address));
        WorkerReport {
            busy_seconds: self.busy.as_secs_f64(),
            parked_seconds: self.parked.as_secs_f64(),
            operators: reports,
            channels,
            ..WorkerReport::default()
        }
    }
}

/// What each operator received and produced, by its address. An output that has several channels
/// sends each of them the same data, so the largest is counted.
fn traffic_by_operator(channels: &[ChannelReport]) -> BTreeMap<Vec<usize>, (Traffic, Traffic)> {
    let address = |scope: &[usize], operator: usize| {
        let mut address = scope.to_vec();
        address.push(operator);
        address
    };
    let mut outputs = BTreeMap::<(Vec<usize>, usize), Traffic>::new();
    let mut traffic = BTreeMap::<Vec<usize>, (Traffic, Traffic)>::new();
    for channel in channels {
        let target = address(&channel.scope, channel.target.0);
        let (input, _) = traffic.entry(target).or_default();
        input.messages += channel.received.messages;
        input.records += channel.received.records;
        let source = address(&channel.scope, channel.source.0);
        let output = outputs.entry((source, channel.source.1)).or_default();
        output.messages = output.messages.max(channel.sent.messages);
        output.records = output.records.max(channel.sent.records);
    }
    for ((operator, _port), sent) in outputs {
        let (_, output) = traffic.entry(operator).or_default();
        output.messages += sent.messages;
        output.records += sent.records;
    }
    traffic
}

/// The entry at an index, which the vector is extended to.
fn entry<T>(entries: &mut Vec<Option<T>>, index: usize) -> &mut Option<T> {
    if index >= entries.len() {
        entries.resize_with(index + 1, || None);
    }
    &mut entries[index]
}

#[cfg(test)]
mod tests;
