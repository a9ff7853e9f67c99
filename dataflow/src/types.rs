//! Types that all parts of the graph share.

use serde::{Deserialize, Serialize};
use skytide_core::event::Event;
use skytide_core::time::Timestamp;
use skytide_core::view::{Key, ViewId, ViewKey, encode_row};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use timely::dataflow::{Stream, StreamVec};

use crate::fact::{Fact, TickCoverage};
use crate::saved_shard::SavedShard;
use crate::sizes::{HeapSize, StateRegistry, btree_bytes};

/// Time of the dataflow: the number of an epoch. Epochs of a batch that are processed together have
/// the time of the last one. 32 bits last 6.8 years at 20 epochs a second, and
/// take half the memory of 64 bits in each update.
pub type Time = u32;

/// An input of one worker.
#[derive(Clone, Debug)]
pub enum Input {
    /// An event of an account of this worker.
    Event(Event),
    /// Collections that `activity` counts under their own name from now on. No earlier operation is
    /// on one of them.
    Names(Vec<Box<str>>),
    /// Counters of ingest, from a tick.
    Counts(BTreeMap<Box<str>, u64>),
    /// What a tick says of missing events.
    Coverage(TickCoverage),
    /// Accounts from a checkpoint: a shard of live records. Either all of its accounts belong to
    /// this worker, or each worker loads only its own.
    Shard {
        /// The sections of the shard.
        saved: SavedShard,
        /// Whether all accounts of the shard belong to this worker.
        whole: bool,
    },
    /// Accumulators from a checkpoint, as facts.
    Accumulators(Vec<Fact>),
}

impl HeapSize for Input {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.bytes() - size_of::<Event>(),
            Self::Names(names) => names.heap_bytes(),
            Self::Counts(counts) => {
                btree_bytes::<Box<str>, u64>(counts.len())
                    + counts.keys().map(HeapSize::heap_bytes).sum::<usize>()
            }
            Self::Coverage(tick) => tick.heap_bytes(),
            // A section that several workers read is counted by none of them. It is dropped as soon
            // as all have read it.
            Self::Shard { saved, whole } => match whole {
                true => saved.heap_bytes(),
                false => 0,
            },
            Self::Accumulators(facts) => facts.heap_bytes(),
        }
    }
}

/// The tick that ends a dataflow time. Every worker receives one for each time in its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Network time at the end of the epoch.
    pub now: Timestamp,
    /// Whether top lists are written at this time.
    pub lists: bool,
}

/// State that an operator shares with its worker. The worker writes it into checkpoints between
/// batches.
pub type Shared<T> = Rc<RefCell<T>>;

/// Facts with their time and difference: +1 inserts, -1 retracts. All views share the same
/// containers.
pub type Facts<'s> = Stream<'s, Time, Rc<Vec<(Fact, Time, i32)>>>;

/// The clock of this worker, and where the operators that it drives register their state.
#[derive(Clone)]
pub struct Clocks<'s> {
    /// One tick for each time.
    pub ticks: StreamVec<'s, Time, Clock>,
    /// The states of the operators, whose sizes are reported.
    pub states: StateRegistry,
}

/// The two streams that a view with state reads.
#[derive(Clone)]
pub struct ViewInput<'s> {
    /// The facts.
    pub facts: Facts<'s>,
    /// The clock.
    pub clocks: Clocks<'s>,
}

/// Row changes with their time: +1 inserts a row, -1 retracts it.
pub type Rows<'s> = StreamVec<'s, Time, (Row, Time, i32)>;

/// For each view, the last time whose row changes are not emitted, because the store already has
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressedRows([Time; 32]);

impl SuppressedRows {
    /// Every view emits rows from the first time on.
    pub const NONE: Self = Self([0; 32]);

    /// Emits rows of this view only after `through`.
    pub fn set(&mut self, view: ViewId, through: Time) {
        self.0[view as usize] = through;
    }

    /// The last time at which rows of a view are not emitted.
    pub fn through(&self, view: ViewId) -> Time {
        self.0[view as usize]
    }

    /// Whether rows of a view are emitted at a time.
    pub fn emits(&self, view: ViewId, time: Time) -> bool {
        time > self.through(view)
    }
}

/// A row of a view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// The view that the row belongs to.
    pub view: ViewId,
    /// The key of the row.
    pub key: Key,
    /// The encoded columns.
    pub columns: Box<[u8]>,
}

impl Row {
    /// Encodes a row from its typed key and columns.
    pub fn new<C: Serialize>(view: ViewId, key: &impl ViewKey, columns: &C) -> Self {
        Self {
            view,
            key: Key::of(key),
            columns: encode_row(columns),
        }
    }
}

impl HeapSize for Row {
    fn heap_bytes(&self) -> usize {
        self.key.as_bytes().len() + self.columns.len()
    }
}
