//! Runs the textbook dataflow on threads of this process.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use differential_dataflow::input::InputSession;
use timely::communication::WorkerGuards;
use timely::dataflow::ProbeHandle;
use timely::worker::Worker;

use super::input::{Change, Input, RecordKey};
use super::rows::Row;
use super::views::{BUCKET_PARTS, Inputs, Time, views};
use crate::model::Policy;
use skytide_core::id::Did;

/// Changes of rows, with their multiplicities.
pub type RowChanges = Vec<(Row, i32)>;

/// The textbook dataflow.
pub struct Textbook {
    /// One per worker.
    inputs: Vec<Sender<Input>>,
    outputs: Receiver<RowChanges>,
    _workers: WorkerGuards<()>,
}

impl std::fmt::Debug for Textbook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Textbook({} workers)", self.inputs.len())
    }
}

impl Textbook {
    /// Starts this many workers.
    pub fn start(policy: Policy, workers: usize) -> Self {
        let (inputs, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| channel()).unzip();
        let (sender, outputs) = channel();
        let ends: Vec<_> = receivers
            .into_iter()
            .map(|it| Some((it, sender.clone())))
            .collect();
        let ends = Mutex::new(ends);
        let config = timely::Config::process(workers);
        let workers = timely::execute(config, move |worker| {
            let mut ends = ends.lock().unwrap_or_else(PoisonError::into_inner);
            let own = ends[worker.index()]
                .take()
                .expect("each worker starts once");
            drop(ends);
            work(worker, policy, own);
        });
        Self {
            inputs,
            outputs,
            _workers: workers.expect("threads start"),
        }
    }

    /// Feeds an epoch and returns how it changes the rows. The changes are not consolidated.
    pub fn feed(&mut self, input: Input) -> RowChanges {
        let workers = self.inputs.len();
        let mut parts: Vec<Input> = (0..workers).map(|_| Input::default()).collect();
        for (index, op) in input.ops.into_iter().enumerate() {
            parts[index % workers].ops.push(op);
        }
        parts[0].hidden = input.hidden;
        parts[0].cleared = input.cleared;
        parts[0].recent = input.recent;
        for (sender, part) in self.inputs.iter().zip(parts) {
            sender.send(part).expect("the worker runs");
        }
        let outputs = self.inputs.iter().map(|_| self.outputs.recv());
        outputs
            .flat_map(|changes| changes.expect("the worker runs"))
            .collect()
    }
}

/// The input handles of a worker.
struct Sessions {
    ops: InputSession<Time, (RecordKey, Change), i32>,
    hidden: InputSession<Time, Did, i32>,
    cleared: InputSession<Time, (Did, u64), i32>,
    recent: InputSession<Time, (u32, u64), i32>,
}

impl Sessions {
    /// Feeds an epoch and ends it.
    fn feed(&mut self, input: Input, time: Time) {
        for op in input.ops {
            self.ops.update(op, 1);
        }
        for (did, count) in input.hidden {
            self.hidden.update(did, count);
        }
        for (cleared, count) in input.cleared {
            self.cleared.update(cleared, count);
        }
        for (bucket, count) in input.recent {
            for part in 0..BUCKET_PARTS {
                self.recent.update((bucket, part), count);
            }
        }
        self.ops.advance_to(time);
        self.hidden.advance_to(time);
        self.cleared.advance_to(time);
        self.recent.advance_to(time);
        self.ops.flush();
        self.hidden.flush();
        self.cleared.flush();
        self.recent.flush();
    }
}

/// Runs one worker until the input ends.
fn work(
    worker: &mut Worker,
    policy: Policy,
    (inputs, outputs): (Receiver<Input>, Sender<RowChanges>),
) {
    let changes = Rc::new(RefCell::new(RowChanges::new()));
    let probe = ProbeHandle::new();
    let mut sessions = worker.dataflow::<Time, _, _>(|scope| {
        let mut sessions = Sessions {
            ops: InputSession::new(),
            hidden: InputSession::new(),
            cleared: InputSession::new(),
            recent: InputSession::new(),
        };
        let inputs = Inputs {
            ops: sessions.ops.to_collection(scope),
            hidden: sessions.hidden.to_collection(scope),
            cleared: sessions.cleared.to_collection(scope),
            recent: sessions.recent.to_collection(scope),
        };
        let changes = changes.clone();
        views(inputs, policy)
            .inspect_batch(move |_, rows| {
                let rows = rows.iter().map(|(row, _, count)| (row.clone(), *count));
                changes.borrow_mut().extend(rows);
            })
            .probe_with(&probe);
        sessions
    });
    for (time, input) in (1..).zip(inputs) {
        sessions.feed(input, time);
        while probe.less_than(&time) {
            worker.step_or_park(None);
        }
        if outputs.send(changes.take()).is_err() {
            return;
        }
    }
}
