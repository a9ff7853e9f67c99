//! The recount of a log from its first message, at every epoch.

use std::cell::OnceCell;

use skytide_core::event::{Event, Message, Tick};
use skytide_core::id::{AtUri, Epoch};
use skytide_core::time::Timestamp;

use super::coverage;
use super::history::{EpochInput, History};
use super::{ListCount, Options, RowCount, Rows, Selection, Table, TopLists};

/// A log, read message by message, and the rows that follow from it.
#[derive(Debug)]
pub struct Model {
    options: Options,
    /// Events since the newest tick, in the order of the log.
    epoch: Vec<Event>,
    history: History,
    /// Time of the newest tick.
    now: Option<Timestamp>,
    /// What ticks said of missing events.
    coverage: coverage::Notes,
    /// The state at the newest epoch that wrote lists.
    lists: ListState,
}

/// The state from which lists are computed.
#[derive(Debug)]
struct ListState {
    history: History,
    /// Epochs after that state, not yet applied to it.
    pending: Vec<EpochInput>,
    now: Timestamp,
    /// The rows of the lists, cached after the first request.
    rows: OnceCell<Rows>,
}

impl Model {
    /// A model that has read nothing.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            epoch: Vec::new(),
            history: History::new(options.policy).with_drops(),
            now: None,
            coverage: coverage::Notes::default(),
            lists: ListState {
                history: History::new(options.policy),
                pending: Vec::new(),
                now: Timestamp(0),
                rows: OnceCell::new(),
            },
        }
    }

    /// Reads the next message; returns the epoch if the message ends one.
    pub fn read(&mut self, message: &Message) -> Option<Epoch> {
        match message {
            Message::Event(event) => {
                self.epoch.push(event.clone());
                None
            }
            Message::Tick(tick) => {
                self.end_epoch(tick);
                Some(tick.epoch)
            }
        }
    }

    /// The addresses of all live records at the newest tick, including hidden ones.
    pub fn live(&self) -> Vec<AtUri> {
        self.history.records().collect()
    }

    /// All rows at the newest tick.
    pub fn rows(&self) -> Rows {
        let mut rows = match self.now {
            Some(now) => {
                let mut count = RowCount::new(self.options, now, &Selection::All);
                count.add(&self.history);
                let mut table = Table(count.rows(&self.history));
                coverage::rows(&self.coverage, &self.history, now, &mut table);
                table.0
            }
            None => Table::default().0,
        };
        rows.extend(self.lists.rows().clone());
        rows
    }

    fn end_epoch(&mut self, tick: &Tick) {
        let epoch = EpochInput::new(std::mem::take(&mut self.epoch), tick.clone());
        self.coverage.read(epoch.tick(), epoch.events());
        apply(&epoch, &mut self.history);
        self.lists.pending.push(epoch);
        let new_second = self
            .now
            .is_none_or(|before| before.second() < tick.time.second());
        self.now = Some(tick.time);
        if new_second || tick.idle || tick.last {
            self.lists.advance(tick.time);
        }
    }
}

/// Applies a whole epoch.
fn apply(epoch: &EpochInput, history: &mut History) {
    history.assign_names(epoch);
    history.apply(epoch.events());
    history.count_ingest(epoch);
}

impl ListState {
    fn advance(&mut self, now: Timestamp) {
        for epoch in self.pending.drain(..) {
            apply(&epoch, &mut self.history);
        }
        self.now = now;
        self.rows = OnceCell::new();
    }

    fn rows(&self) -> &Rows {
        self.rows.get_or_init(|| {
            let mut count = ListCount::new(self.now, &Selection::All);
            count.add(&self.history);
            let mut lists = TopLists::default();
            count.offer(&mut lists);
            lists.rows()
        })
    }
}

/// The rows of every epoch of a log, in order.
pub fn recount(messages: &[Message], options: Options) -> Vec<(Epoch, Rows)> {
    let mut model = Model::new(options);
    let mut all = Vec::new();
    for message in messages {
        if let Some(epoch) = model.read(message) {
            all.push((epoch, model.rows()));
        }
    }
    all
}
