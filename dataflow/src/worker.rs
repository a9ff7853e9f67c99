//! A timely worker: a thread that feeds its part of each batch, steps until all workers are through, and hands on the rows.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::{Input as _, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;
use tokio::sync::mpsc;

use crate::batch::{End, Segment};
use crate::checkpoint::{Cut, Gate, News, Part};
use crate::graph::{self, Streams, Sums, Wanted};
use crate::metrics::Metrics;
use crate::operators::lists::WorkerList;
use crate::records::{AccountPolicy, LiveRecords, live_records};
use crate::restore::{shard_name, sums_name};
use crate::settle::{Settled, settle};
use crate::types::{Clock, Input, Row, Shared, Time};

/// A worker's part of a batch.
#[derive(Debug)]
pub struct Fed {
    /// What to feed, in order of time; nothing: only the cut is wanted.
    pub segments: Vec<Segment>,
    /// The end of the batch.
    pub end: End,
    /// What to write into a checkpoint then.
    pub(crate) cut: Option<Cut>,
}

/// A worker's part of what a batch did.
#[derive(Debug)]
pub struct Done {
    /// The end of the batch.
    pub end: End,
    /// Its rows.
    pub settled: Settled,
}

/// What a worker needs.
#[derive(Debug)]
pub struct Setup {
    /// What to compute.
    pub wanted: Wanted,
    /// What an account's status does.
    pub policy: AccountPolicy,
    /// Up to this time counts of events come from a checkpoint.
    pub counted_through: Time,
    /// Where to tell its size and speed.
    pub metrics: Arc<Metrics>,
    /// Tells how much of a cut is under way.
    pub(crate) gate: Arc<Gate>,
    /// Set when a worker panicked: the others would wait for it for ever.
    pub broken: AtomicBool,
}

/// The queues of a worker.
pub struct Queues {
    /// What it is fed.
    pub batches: mpsc::Receiver<Fed>,
    /// What it did.
    pub done: mpsc::Sender<Done>,
    /// What it cut.
    pub(crate) news: Option<mpsc::UnboundedSender<News>>,
}

impl Setup {
    /// Panics when another worker did: returning instead would leave timely waiting for it.
    fn check(&self) {
        assert!(
            !self.broken.load(Ordering::Relaxed),
            "another worker stopped"
        );
    }
}

/// Tells the other workers when this one panics.
struct Alarm<'a>(&'a AtomicBool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// How long a worker sleeps at most while it waits for the others: they wake it.
const PARK: Duration = Duration::from_millis(1);

type Handle<D> = InputHandle<Time, CapacityContainerBuilder<Vec<D>>>;

/// The graph as this worker holds it.
#[derive(Default)]
struct Graph {
    inputs: Handle<Input>,
    clocks: Handle<Clock>,
    former_lists: Handle<WorkerList>,
    records: Shared<LiveRecords>,
    sums: Sums,
    rows: Shared<Vec<(Row, Time, i32)>>,
    probe: ProbeHandle<Time>,
}

/// Runs until the batches end or nobody takes what was done any more.
pub fn work(worker: &mut Worker, setup: &Setup, mut queues: Queues) {
    let _alarm = Alarm(&setup.broken);
    let index = worker.index();
    let mut graph = Graph::build(worker, setup);
    while let Some(Fed { segments, end, cut }) = queues.batches.blocking_recv() {
        let started = Instant::now();
        if !segments.is_empty() {
            graph.feed(segments, end);
            while graph.probe.less_than(&(end.epoch.0 as Time + 1)) {
                worker.step_or_park(Some(PARK));
                setup.check();
            }
            let settled = settle(std::mem::take(&mut *graph.rows.borrow_mut()));
            if index == 0 {
                let seconds = started.elapsed().as_secs_f64();
                setup.metrics.step_seconds.inc_by(seconds);
            }
            if queues.done.blocking_send(Done { end, settled }).is_err() {
                break;
            }
        }
        if let (Some(cut), Some(news)) = (cut, &queues.news) {
            let part = graph.cut(cut, &end, (index, &setup.metrics));
            setup.gate.sent();
            if news.send(News::Part(part)).is_err() {
                break;
            }
        }
    }
    setup.check();
}

impl Graph {
    fn build(worker: &mut Worker, setup: &Setup) -> Self {
        let mut graph = Self {
            records: Rc::new(RefCell::new(LiveRecords::new(
                setup.policy,
                setup.counted_through,
            ))),
            ..Self::default()
        };
        let index = worker.index();
        worker.dataflow::<Time, _, _>(|scope| {
            let inputs = scope.input_from(&mut graph.inputs);
            let clocks = scope.input_from(&mut graph.clocks);
            let former_lists = scope.input_from(&mut graph.former_lists);
            let metrics = setup.metrics.clone();
            let tell = move |gauges, drops| metrics.tell(index, gauges, drops);
            let facts = live_records(inputs, clocks.clone(), graph.records.clone(), tell);
            let streams = Streams {
                facts,
                clocks,
                former_lists,
            };
            let built = graph::build(scope, streams, &setup.wanted, &graph.sums);
            let sink = graph.rows.clone();
            built
                .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "Rows", |_, _| {
                    move |input, _output| {
                        input.for_each(|_time, updates| sink.borrow_mut().append(updates));
                    }
                })
                .probe_with(&graph.probe);
        });
        graph
    }

    fn feed(&mut self, segments: Vec<Segment>, end: End) {
        for Segment {
            time,
            clock,
            inputs,
            lists,
        } in segments
        {
            self.advance(time);
            inputs.into_iter().for_each(|input| self.inputs.send(input));
            lists
                .into_iter()
                .for_each(|list| self.former_lists.send(list));
            self.clocks.send(clock);
        }
        self.advance(end.epoch.0 as Time + 1);
    }

    fn advance(&mut self, time: Time) {
        self.inputs.advance_to(time);
        self.clocks.advance_to(time);
        self.former_lists.advance_to(time);
    }

    /// Writes shards, and at the end the sums, into memory: the stream waits meanwhile.
    fn cut(&self, cut: Cut, end: &End, (index, metrics): (usize, &Metrics)) -> Part {
        let started = Instant::now();
        let records = self.records.borrow();
        let now = end.time.minute();
        let shards = cut.shards.clone();
        let saved =
            shards.filter_map(|shard| Some((shard_name(shard, index), records.save(shard, now)?)));
        let mut sections: Vec<_> = saved.collect();
        if cut.last {
            sections.push((sums_name(index), self.sums.save()));
        }
        metrics.paused(started.elapsed().as_secs_f64());
        Part {
            cut,
            through: end.epoch,
            sections,
        }
    }
}
