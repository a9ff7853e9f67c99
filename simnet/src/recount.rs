//! The naive recount: every row of every view, computed from scratch after each epoch.
//!
//! ```text
//! messages ─ Model::read ─▶ History: live records, accounts, operations     (history.rs)
//!                               │ visible facts, each a plain value          (facts.rs)
//!                               ▼
//!                           rows of all views: loops over facts (posts, trends, people, network)
//! ```
//!
//! It knows nothing of the dataflow and shares no code with it. Both follow the same
//! specifications: the row types in `skytide_core::view` and `fixtures/frames/README.md`. The
//! recount avoids every technique that could be wrong: it slides no window, maintains no count and
//! retracts nothing. Each answer is a loop over the live records. Reading a message takes time
//! proportional to the message; an answer takes time proportional to all live records, and is
//! computed only on request. So the recount suits small worlds at every epoch, and millions of
//! events at their end.
//!
//! Lists are written at most once a second of network time, and where ingest reports that the
//! stream is idle or has ended. They are computed from a second history that advances only at those
//! epochs.

mod coverage;
mod facts;
mod history;
mod network;
mod people;
mod posts;
mod trends;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde::Serialize;
use skytide_core::event::{Event, Message, Tick};
use skytide_core::id::{AtUri, Epoch};
use skytide_core::time::{Minute, Timestamp};
use skytide_core::view::{Key, ListEntry, ListRow, ViewId, ViewKey, encode_row};

use history::History;

/// All rows of all views. Every view is present, even if it is empty.
pub type Rows = BTreeMap<ViewId, BTreeMap<Key, Box<[u8]>>>;

/// How account events affect the records of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `active: false` hides the records, `deleted` removes them.
    ActiveAccountsOnly,
    /// `deleted` removes the records, nothing hides them.
    DeletedAccountsRemoved,
    /// Account events have no effect on records.
    OpsOnly,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 3] = [
        Self::ActiveAccountsOnly,
        Self::DeletedAccountsRemoved,
        Self::OpsOnly,
    ];
}

/// How to count.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The effect of account events.
    pub policy: Policy,
    /// Days of interactions to retain, including the current day; `None` for all.
    pub interactions_days: Option<u32>,
}

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
    minute: Minute,
    /// The rows of the lists, cached after the first request.
    rows: OnceCell<Rows>,
}

/// The events of an epoch in their order, and the counts that ingest reported for it.
#[derive(Debug)]
struct EpochInput {
    events: Vec<Event>,
    counts: BTreeMap<Box<str>, u64>,
}

impl Model {
    /// A model that has read nothing.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            epoch: Vec::new(),
            history: History::new(options.policy),
            now: None,
            coverage: coverage::Notes::default(),
            lists: ListState {
                history: History::new(options.policy),
                pending: Vec::new(),
                minute: Minute(0),
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
        self.history.records().cloned().collect()
    }

    /// All rows at the newest tick.
    pub fn rows(&self) -> Rows {
        let mut table = Table::default();
        if let Some(now) = self.now {
            posts::rows(&self.history, &mut table);
            trends::rows(&self.history, now.minute(), &mut table);
            people::rows(&self.history, &mut table);
            people::interactions(
                &self.history,
                now,
                self.options.interactions_days,
                &mut table,
            );
            network::rows(&self.history, now.minute(), &mut table);
            coverage::rows(&self.coverage, &self.history, now, &mut table);
        }
        table.0.extend(self.lists.rows().clone());
        table.0
    }

    /// Sorts the events of the epoch, removes duplicates (the first copy counts) and applies them.
    fn end_epoch(&mut self, tick: &Tick) {
        let mut events = std::mem::take(&mut self.epoch);
        // A writer that crashes may leave events after its newest tick. They are written again,
        // perhaps in a later epoch.
        events.retain(|event| event.host != tick.host || event.seq <= tick.cursor);
        events.sort_by_key(|event| (event.host.clone(), event.seq, event.index));
        events.dedup_by_key(|event| (event.host.clone(), event.seq, event.index));
        self.coverage.read(tick, &events);
        let epoch = EpochInput {
            events,
            counts: tick.counts.clone(),
        };
        epoch.apply(&mut self.history);
        self.lists.pending.push(epoch);

        let new_second = self
            .now
            .is_none_or(|before| before.second() < tick.time.second());
        self.now = Some(tick.time);
        if new_second || tick.idle || tick.last {
            self.lists.advance(tick.time.minute());
        }
    }
}

impl EpochInput {
    fn apply(&self, history: &mut History) {
        for frame in self
            .events
            .chunk_by(|a, b| (&a.host, a.seq) == (&b.host, b.seq))
        {
            history.apply(frame);
        }
        history.count(&self.counts);
    }
}

impl ListState {
    fn advance(&mut self, minute: Minute) {
        for epoch in self.pending.drain(..) {
            epoch.apply(&mut self.history);
        }
        self.minute = minute;
        self.rows = OnceCell::new();
    }

    fn rows(&self) -> &Rows {
        self.rows.get_or_init(|| {
            let mut table = Table::default();
            posts::lists(&self.history, self.minute, &mut table);
            trends::lists(&self.history, self.minute, &mut table);
            people::lists(&self.history, self.minute, &mut table);
            table.0.retain(|view, _| is_list(*view));
            table.0
        })
    }
}

/// Whether the rows of a view are lists, which are written at most once a second.
fn is_list(view: ViewId) -> bool {
    !skytide_core::view::Measure::of(view).is_empty()
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

/// Rows under construction.
#[derive(Debug)]
struct Table(Rows);

impl Default for Table {
    fn default() -> Self {
        let empty = |view: &ViewId| (*view, BTreeMap::new());
        Self(ViewId::ALL.iter().map(empty).collect())
    }
}

impl Table {
    fn put<K: ViewKey, R: Serialize>(&mut self, view: ViewId, key: &K, row: &R) {
        let before = self
            .0
            .entry(view)
            .or_default()
            .insert(Key::of(key), encode_row(row));
        assert!(
            before.is_none(),
            "{} has two rows with one key",
            view.name()
        );
    }
}

/// The top list of these entries: the [`ListRow::LENGTH`] with the largest values above 0, largest
/// first. `None` if no value is above 0.
fn top_list(entries: impl IntoIterator<Item = ListEntry>) -> Option<ListRow> {
    let mut entries: Vec<_> = entries
        .into_iter()
        .filter(|entry| entry.value > 0)
        .collect();
    entries.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.key.cmp(&b.key)));
    entries.truncate(ListRow::LENGTH);
    (!entries.is_empty()).then_some(ListRow { entries })
}
