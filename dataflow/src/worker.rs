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
use crate::graph::{self, Wanted};
use crate::metrics::Metrics;
use crate::records::{AccountPolicy, live_records};
use crate::settle::{Settled, settle};
use crate::types::{Clock, Input, Row, Time};

/// A worker's part of a batch.
#[derive(Debug)]
pub struct Fed {
    /// What to feed, in order of time.
    pub segments: Vec<Segment>,
    /// The end of the batch.
    pub end: End,
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
    /// Where to tell its size and speed.
    pub metrics: Arc<Metrics>,
    /// Set when a worker panicked: the others would wait for it for ever.
    pub broken: AtomicBool,
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

/// Runs until `batches` ends or nobody takes `done` any more.
pub fn work(
    worker: &mut Worker,
    setup: &Setup,
    mut batches: mpsc::Receiver<Fed>,
    done: &mpsc::Sender<Done>,
) {
    let mut inputs: Handle<Input> = InputHandle::new();
    let mut clocks: Handle<Clock> = InputHandle::new();
    let rows = Rc::new(RefCell::new(Vec::<(Row, Time, i32)>::new()));
    let probe = ProbeHandle::new();
    let index = worker.index();
    let _alarm = Alarm(&setup.broken);

    worker.dataflow::<Time, _, _>(|scope| {
        let inputs = scope.input_from(&mut inputs);
        let clocks = scope.input_from(&mut clocks);
        let metrics = setup.metrics.clone();
        let tell = move |gauges, drops| metrics.tell(index, gauges, drops);
        let facts = live_records(inputs, clocks.clone(), setup.policy, tell);
        let built = graph::build(scope, (facts, clocks), &setup.wanted);
        let sink = rows.clone();
        built
            .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(Pipeline, "Rows", |_, _| {
                move |input, _output| {
                    input.for_each(|_time, updates| sink.borrow_mut().append(updates));
                }
            })
            .probe_with(&probe);
    });

    while let Some(Fed { segments, end }) = batches.blocking_recv() {
        let started = Instant::now();
        for Segment {
            time,
            clock,
            inputs: events,
        } in segments
        {
            inputs.advance_to(time);
            clocks.advance_to(time);
            events.into_iter().for_each(|event| inputs.send(event));
            clocks.send(clock);
        }
        let next = end.epoch.0 as Time + 1;
        inputs.advance_to(next);
        clocks.advance_to(next);
        while probe.less_than(&next) {
            worker.step_or_park(Some(PARK));
            setup.check();
        }
        let settled = settle(std::mem::take(&mut *rows.borrow_mut()));
        if index == 0 {
            setup
                .metrics
                .step_seconds
                .inc_by(started.elapsed().as_secs_f64());
        }
        if done.blocking_send(Done { end, settled }).is_err() {
            break;
        }
    }
    setup.check();
}
