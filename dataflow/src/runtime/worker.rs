//! A timely worker: a thread that feeds its part of each batch, steps until all workers are through, and hands on the rows.
//!
//! A worker of the leading process also has some of the other processes in its charge: it passes on what is meant for
//! them, and hands on what they did.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::{Input as _, Operator, Probe};
use timely::dataflow::{InputHandle, ProbeHandle};
use timely::worker::Worker;
use tokio::sync::mpsc;

use crate::graph::{self, Accumulators, GraphConfig, Streams};
use crate::metrics::Metrics;
use crate::operators::lists::WorkerList;
use crate::records::{AccountPolicy, Drops, Gauges, LiveRecords, live_records};
use crate::runtime::batch::{End, Segment};
use crate::runtime::checkpoint::{Cut, Gate, News, Part};
use crate::runtime::cluster::{Fate, Post, Reply};
use crate::runtime::restore::{shard_name, sums_name};
use crate::runtime::settle::{Settled, settle};
use crate::types::{Clock, Input, Row, Shared, Time};

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    /// What it is to compute; before anything else, and once.
    Begin(Box<Begin>),
    /// Its part of a batch.
    Feed(Fed),
}

/// What is to be computed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// The views.
    pub wanted: GraphConfig,
    /// What an account's status does.
    pub policy: AccountPolicy,
    /// Up to this time counts of events come from a checkpoint.
    pub counted_through: Time,
}

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

/// What a worker tells of itself: sizes, and what it dropped since it last told.
pub type Told = (Gauges, Drops);

/// What a worker of the leading process works with.
#[derive(Debug)]
pub(crate) struct Leading {
    /// What it is told.
    pub orders: mpsc::Receiver<Order>,
    /// Workers of other processes that are in its charge, each with what it is told.
    pub charges: Vec<(usize, mpsc::Receiver<Order>)>,
    /// What was done.
    pub done: mpsc::Sender<Done>,
    /// What was cut.
    pub news: Option<mpsc::UnboundedSender<News>>,
    /// Where to tell sizes and speed.
    pub metrics: Arc<Metrics>,
    /// Tells how much of a cut is under way.
    pub gate: Arc<Gate>,
    /// Whether the computation goes on.
    pub fate: Arc<Fate>,
}

/// Nobody waits for what a worker does any more.
struct Gone;

/// How long a worker sleeps at most while it waits for the others: they wake it.
pub(crate) const PARK: Duration = Duration::from_millis(1);

type Handle<D> = InputHandle<Time, CapacityContainerBuilder<Vec<D>>>;

/// The graph as this worker holds it.
#[derive(Default)]
pub(crate) struct Graph {
    inputs: Handle<Input>,
    clocks: Handle<Clock>,
    former_lists: Handle<WorkerList>,
    records: Shared<LiveRecords>,
    sums: Accumulators,
    rows: Shared<Vec<(Row, Time, i32)>>,
    probe: ProbeHandle<Time>,
}

impl Leading {
    /// Runs until the orders end or nobody takes what was done any more.
    pub fn work(mut self, worker: &mut Worker) {
        // All workers build it, or none.
        let mut post = (!self.charges.is_empty()).then(|| Post::build(worker));
        // However it ends: those in its charge, too, must leave, or nobody could.
        let _gone = self.count(worker, &mut post);
        for (charge, _) in &self.charges {
            post.iter_mut().for_each(|post| post.order(*charge, None));
        }
    }

    fn count(&mut self, worker: &mut Worker, post: &mut Option<Post>) -> Result<(), Gone> {
        let mut graph = None;
        while let Some(order) = self.orders.blocking_recv() {
            let owed = post.as_mut().map_or(0, |post| self.pass_on(post));
            match order {
                Order::Begin(begin) => {
                    let (index, metrics) = (worker.index(), self.metrics.clone());
                    let tell = move |gauges, drops| metrics.record_worker(index, gauges, drops);
                    graph = Some(Graph::build(worker, &begin, tell));
                }
                Order::Feed(fed) => {
                    let graph = graph.as_mut().expect("the first order is to begin");
                    self.feed(worker, graph, fed)?;
                }
            }
            if let Some(post) = post {
                self.hand_on(worker, post, owed)?;
            }
        }
        Ok(())
    }

    /// Does this worker's own part.
    fn feed(&self, worker: &mut Worker, graph: &mut Graph, fed: Fed) -> Result<(), Gone> {
        let Fed { segments, end, cut } = fed;
        if !segments.is_empty() {
            let started = Instant::now();
            let settled = graph.count(worker, segments, end, &self.fate).ok_or(Gone)?;
            if worker.index() == 0 {
                let seconds = started.elapsed().as_secs_f64();
                self.metrics.step_seconds.inc_by(seconds);
            }
            self.done(Done { end, settled })?;
        }
        if let Some(cut) = cut {
            let (part, seconds) = graph.cut(cut, &end, worker.index());
            self.part(part, seconds)?;
        }
        Ok(())
    }

    /// Passes on what the workers in its charge are told; answers how many replies they owe.
    fn pass_on(&mut self, post: &mut Post) -> usize {
        let mut owed = 0;
        self.charges.retain_mut(|(charge, orders)| {
            let order = orders.blocking_recv();
            if let Some(Order::Feed(Fed { segments, cut, .. })) = &order {
                owed += usize::from(!segments.is_empty()) + usize::from(cut.is_some());
            }
            // The source tells all workers, or is gone: then this one must leave, for the others would wait for it.
            let stays = order.is_some();
            post.order(*charge, order);
            stays
        });
        owed
    }

    /// Hands on what they did.
    fn hand_on(&self, worker: &mut Worker, post: &Post, mut owed: usize) -> Result<(), Gone> {
        while owed > 0 {
            let Some((charge, reply)) = post.take_reply() else {
                worker.step_or_park(Some(PARK));
                match self.fate.ended() {
                    true => return Err(Gone),
                    false => continue,
                }
            };
            owed -= 1;
            match reply {
                Reply::Done(done, told) => {
                    for (gauges, drops) in told {
                        self.metrics.record_worker(charge, gauges, drops);
                    }
                    self.done(done)?;
                }
                Reply::Part(part, seconds) => self.part(part, seconds)?,
            }
        }
        Ok(())
    }

    fn done(&self, done: Done) -> Result<(), Gone> {
        self.done.blocking_send(done).map_err(|_| Gone)
    }

    fn part(&self, part: Part, seconds: f64) -> Result<(), Gone> {
        self.metrics.record_pause(seconds);
        let Some(news) = &self.news else {
            return Ok(());
        };
        self.gate.sent();
        news.send(News::Part(part)).map_err(|_| Gone)
    }
}

impl Graph {
    /// Builds it on this worker. `tell` is told the sizes of its live records, and what was dropped.
    pub fn build(
        worker: &mut Worker,
        begin: &Begin,
        tell: impl Fn(Gauges, Drops) + 'static,
    ) -> Self {
        let records = LiveRecords::new(begin.policy, begin.counted_through);
        let mut graph = Self {
            records: Rc::new(RefCell::new(records)),
            ..Self::default()
        };
        worker.dataflow::<Time, _, _>(|scope| {
            let inputs = scope.input_from(&mut graph.inputs);
            let clocks = scope.input_from(&mut graph.clocks);
            let former_lists = scope.input_from(&mut graph.former_lists);
            let facts = live_records(inputs, clocks.clone(), graph.records.clone(), tell);
            let streams = Streams {
                facts,
                clocks,
                former_lists,
            };
            let built = graph::build(scope, streams, &begin.wanted, &graph.sums);
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

    /// Feeds this worker's part of a batch and steps until all workers are through; `None`: they never will be.
    pub fn count(
        &mut self,
        worker: &mut Worker,
        segments: Vec<Segment>,
        end: End,
        fate: &Fate,
    ) -> Option<Settled> {
        self.feed(segments, end);
        while self.probe.less_than(&(end.epoch.0 as Time + 1)) {
            worker.step_or_park(Some(PARK));
            if fate.ended() {
                return None;
            }
        }
        Some(settle(std::mem::take(&mut *self.rows.borrow_mut())))
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

    /// Writes shards, and at the end the sums, into memory: the stream waits meanwhile, for the seconds answered.
    pub fn cut(&self, cut: Cut, end: &End, index: usize) -> (Part, f64) {
        let started = Instant::now();
        let records = self.records.borrow();
        let now = end.time.minute();
        let shards = cut.shards.clone();
        let saved =
            shards.filter_map(|shard| Some((shard_name(shard, index), records.save(shard, now)?)));
        let mut sections: Vec<_> = saved.collect();
        if cut.last {
            sections.push((sums_name(index), self.sums.save(&records.names())));
        }
        let part = Part {
            cut,
            through: end.epoch,
            sections,
        };
        (part, started.elapsed().as_secs_f64())
    }
}
