//! The graph of one worker: its inputs, its probe, and the state that checkpoints save.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::{Input as _, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;

use crate::graph::{self, Accumulators, Streams};
use crate::operators::lists::WorkerList;
use crate::options::Scratch;
use crate::records::{Drops, Gauges, LiveRecords, OpenRuns, live_records};
use crate::runtime::batch::{End, Segment};
use crate::runtime::checkpoint::{Cut, Part};
use crate::runtime::cluster::{Liveness, PARK};
use crate::runtime::command::BuildCommand;
use crate::runtime::consolidate::{RowChanges, consolidate};
use crate::runtime::operator_log::OperatorLog;
use crate::runtime::section_name::{accumulators_name, shard_name};
use crate::runtime::worker_clock::Activity;
use crate::sizes::{BATCH_EVENTS, Size, Sizes, StateSizes, sampled_heap_bytes, vec_bytes};
use crate::types::{Clock, Clocks, Input, Row, Shared, Time};

type Handle<D> = InputHandle<Time, CapacityContainerBuilder<Vec<D>>>;

/// One worker's instance of the graph.
#[derive(Default)]
pub(crate) struct WorkerGraph {
    inputs: Handle<Input>,
    clocks: Handle<Clock>,
    /// The input for the top lists of a restored checkpoint.
    restored_lists: Handle<WorkerList>,
    records: Shared<LiveRecords>,
    accumulators: Accumulators,
    rows: Shared<RowBuffer>,
    probe: ProbeHandle<Time>,
}

/// The row updates of the current batch.
#[derive(Default)]
struct RowBuffer(Vec<(Row, Time, i32)>);

impl StateSizes for RowBuffer {
    fn add_sizes(&mut self, sizes: &mut Sizes) {
        let size = Size {
            entries: self.0.len(),
            bytes: vec_bytes(&self.0) + sampled_heap_bytes(std::iter::once(&self.0[..])),
        };
        sizes.add("rows.buffer", size, BATCH_EVENTS);
    }
}

impl WorkerGraph {
    /// Builds the graph on this worker. `report` receives the sizes of its live records and the
    /// counts of inputs that it dropped. Up to `command.counted_through`, the counts of events come
    /// from the restored checkpoint. The inputs get their names in `log`. State can move to
    /// `scratch`.
    pub fn build(
        worker: &mut Worker,
        command: &BuildCommand,
        log: &OperatorLog,
        report: impl Fn(Gauges, Drops) + 'static,
        scratch: Option<&Scratch>,
    ) -> Self {
        let mut records = LiveRecords::new(command.policy, command.counted_through);
        if command.restores_runs {
            records.set_restored();
        }
        let mut graph = Self {
            records: Rc::new(RefCell::new(records)),
            ..Self::default()
        };
        worker.dataflow_named::<Time, _, _>("Views", |scope| {
            let inputs = scope.input_from(&mut graph.inputs);
            let clocks = scope.input_from(&mut graph.clocks);
            let restored_lists = scope.input_from(&mut graph.restored_lists);
            for (operator, name) in [
                (inputs.name().node, "Events"),
                (clocks.name().node, "Ticks"),
                (restored_lists.name().node, "RestoredLists"),
            ] {
                log.rename(&scope.addr(), operator, name);
            }
            let states = log.states().clone();
            states.register(&graph.rows);
            let clocks = Clocks {
                ticks: clocks,
                states,
            };
            let facts = live_records(inputs, clocks.clone(), graph.records.clone(), report);
            let streams = Streams {
                facts,
                clocks,
                restored_lists,
            };
            let built = graph::build(scope, streams, &command.graph, &graph.accumulators, scratch);
            let sink = graph.rows.clone();
            built
                .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "Rows", |_, _| {
                    move |input, _output| {
                        input.for_each(|_time, updates| sink.borrow_mut().0.append(updates));
                    }
                })
                .probe_with(&graph.probe);
        });
        graph
    }

    /// Steps until all workers have completed the batch that was fed; reports meanwhile. Returns
    /// `None` if the computation ended first.
    pub fn complete(
        &mut self,
        worker: &mut Worker,
        end: End,
        log: &mut OperatorLog,
        liveness: &Liveness,
    ) -> Option<RowChanges> {
        log.switch(worker, Activity::Step);
        while self.probe.less_than(&(end.epoch.0 as Time + 1)) {
            worker.step_or_park(Some(PARK));
            if liveness.ended() {
                return None;
            }
            log.completed_before(self.frontier());
            log.report_if_due(worker);
        }
        log.completed_before(self.frontier());
        log.switch(worker, Activity::Consolidate);
        Some(consolidate(std::mem::take(&mut self.rows.borrow_mut().0)))
    }

    /// The first time that some worker has not completed.
    fn frontier(&self) -> Time {
        let first = self
            .probe
            .with_frontier(|frontier| frontier.first().copied());
        first.unwrap_or(Time::MAX)
    }

    /// Feeds this worker's part of a batch.
    pub fn feed(&mut self, segments: Vec<Segment>, end: End, log: &mut OperatorLog) {
        for Segment {
            time,
            clock,
            inputs,
            lists,
        } in segments
        {
            self.advance(time);
            log.fed(time, clock.now);
            inputs.into_iter().for_each(|input| self.inputs.send(input));
            lists
                .into_iter()
                .for_each(|list| self.restored_lists.send(list));
            self.clocks.send(clock);
        }
        self.advance(end.epoch.0 as Time + 1);
    }

    fn advance(&mut self, time: Time) {
        self.inputs.advance_to(time);
        self.clocks.advance_to(time);
        self.restored_lists.advance_to(time);
    }

    /// Uses these runs to evict live records.
    pub fn set_open_runs(&mut self, open: Option<Arc<OpenRuns>>) {
        self.records.borrow_mut().set_open_runs(open);
    }

    /// Serializes this worker's part of a cut into memory: what changed in the shards, and with the
    /// last cut also its accumulators. The worker processes nothing meanwhile; the part records how
    /// long that took.
    pub fn cut(&self, cut: Cut, end: &End, worker: usize) -> Part {
        let started = Instant::now();
        let mut records = self.records.borrow_mut();
        let (mut sections, mut changes) = (Vec::new(), Vec::new());
        for shard in cut.shards.clone() {
            let id = (cut.checkpoint, cut.attempt);
            if let Some(saved) = records.save(shard, id, cut.base) {
                sections.push((shard_name(shard, worker), saved.section));
                changes.push((shard, saved.changes));
            }
        }
        if cut.last {
            sections.push((
                accumulators_name(worker),
                self.accumulators.save(&records.names()),
            ));
        }
        Part {
            cut,
            through: end.epoch,
            sections,
            changes,
            pause_seconds: started.elapsed().as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests;
