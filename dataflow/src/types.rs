//! The types that every part of the graph shares.

use serde::{Deserialize, Serialize};
use skytide_core::event::Event;
use skytide_core::time::Timestamp;
use skytide_core::view::{Key, ViewId, ViewKey, encode_row};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use timely::dataflow::{Stream, StreamVec};

use crate::fact::Fact;

/// Time of the dataflow: the number of an epoch. 32 bits last 6.8 years at twenty a second, and halve the time of an update.
pub type Time = u32;

/// What a worker is fed.
#[derive(Clone, Debug)]
pub enum Input {
    /// An event of an account of this worker.
    Event(Event),
    /// Collections that have a name of their own from now on: no operation came before on one of them.
    Names(Vec<Box<str>>),
    /// What ingest counted.
    Counts(BTreeMap<Box<str>, u64>),
    /// Accounts from a checkpoint: a section of live records, whole or to be shared with other workers.
    Shard {
        /// Its bytes.
        section: Arc<Vec<u8>>,
        /// All of its accounts are of this worker.
        whole: bool,
    },
    /// Accumulators from a checkpoint.
    Accumulators(Vec<Fact>),
}

/// The tick that ends a time; every worker gets one for each time that it is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Network time at the end of the epoch.
    pub now: Timestamp,
    /// Whether lists are written at this time.
    pub lists: bool,
}

/// State that an operator shares with its worker, which writes it into checkpoints between batches.
pub type Shared<T> = Rc<RefCell<T>>;

/// Facts with their time and how many times they come (+1) or go (-1); all views read the same ones.
pub type Facts<'s> = Stream<'s, Time, Rc<Vec<(Fact, Time, i32)>>>;

/// The clock of this worker.
pub type Clocks<'s> = StreamVec<'s, Time, Clock>;

/// Rows that begin to hold (+1) and end to hold (-1).
pub type Rows<'s> = StreamVec<'s, Time, (Row, Time, i32)>;

/// Up to which time the rows of each view are known to stand in the store as they should: they need not be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuppressedRows([Time; 32]);

impl SuppressedRows {
    /// Every view is told from the first time on.
    pub const NONE: Self = Self([0; 32]);

    /// Tells rows of this view only behind `through`.
    pub fn set(&mut self, view: ViewId, through: Time) {
        self.0[view as usize] = through;
    }

    /// The last time at which rows of a view are not told.
    pub fn through(&self, view: ViewId) -> Time {
        self.0[view as usize]
    }

    /// Whether rows of a view are told at a time.
    pub fn emits(&self, view: ViewId, time: Time) -> bool {
        time > self.through(view)
    }
}

/// A row of a view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Of which view.
    pub view: ViewId,
    /// Its key.
    pub key: Key,
    /// Its columns.
    pub columns: Box<[u8]>,
}

impl Row {
    /// The row of typed columns.
    pub fn new<C: Serialize>(view: ViewId, key: &impl ViewKey, columns: &C) -> Self {
        Self {
            view,
            key: Key::of(key),
            columns: encode_row(columns),
        }
    }
}
