//! The naive recount: every row of every view, from scratch, after each epoch.
//!
//! ```text
//! messages ─ Model::read ─▶ History: live records, accounts, operations     (history.rs)
//!                               │ visible facts, each a plain value          (facts.rs)
//!                               ▼
//!                           rows of all views: loops over those lists         (posts, trends, people, network)
//! ```
//!
//! It knows nothing of the dataflow and shares no code with it: both follow the same texts (the row types in
//! `skytide_core::view`, `fixtures/frames/README.md`). Whatever could be clever here is not: no window is slid, no
//! count is kept, nothing is taken back; each answer is a loop over what is live. Reading costs time in proportion to what is
//! read; an answer, to all that is live, and only when it is asked for. So it is for small worlds at every epoch, and for
//! millions of events at their end.
//!
//! Lists are written at most once a second of network time, and where ingest says that the stream has settled or ended. What
//! they are made of is a second history, which goes on only then.

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

/// All rows of all views: every view is there, if only empty.
pub type Rows = BTreeMap<ViewId, BTreeMap<Key, Box<[u8]>>>;

/// What the account events mean for the records of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `active: false` hides, `deleted` erases.
    ActiveAccountsOnly,
    /// `deleted` erases, nothing hides.
    DeletedAccountsRemoved,
    /// Neither.
    OpsOnly,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::ActiveAccountsOnly,
        Self::DeletedAccountsRemoved,
        Self::OpsOnly,
    ];
}

/// How to count.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What account events do.
    pub policy: Policy,
    /// Days for which interactions are kept, the open one included; `None`: for ever.
    pub interactions_days: Option<u32>,
}

/// A log, read message by message, and what it amounts to.
#[derive(Debug)]
pub struct Model {
    options: Options,
    /// Events since the newest tick, as they stand in the log.
    epoch: Vec<Event>,
    history: History,
    /// Time of the newest tick.
    now: Option<Timestamp>,
    /// As of the newest epoch that wrote lists.
    listed: Listed,
}

/// What lists are made of.
#[derive(Debug)]
struct Listed {
    history: History,
    /// Whole epochs behind it.
    behind: Vec<Told>,
    minute: Minute,
    /// Their rows, once they were asked for.
    rows: OnceCell<Rows>,
}

/// The events of an epoch in their order, and what ingest counted in it.
#[derive(Debug)]
struct Told {
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
            listed: Listed {
                history: History::new(options.policy),
                behind: Vec::new(),
                minute: Minute(0),
                rows: OnceCell::new(),
            },
        }
    }

    /// Reads the next message; answers the epoch if it is the end of one.
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

    /// The addresses of all live records as of the newest tick, hidden ones included.
    pub fn live(&self) -> Vec<AtUri> {
        self.history.records().cloned().collect()
    }

    /// All rows as of the newest tick.
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
        }
        table.0.extend(self.listed.rows().clone());
        table.0
    }

    /// Brings the epoch's events into their order, leaves out repeats (the first copy counts), applies them.
    fn end_epoch(&mut self, tick: &Tick) {
        let mut events = std::mem::take(&mut self.epoch);
        // What a crash left behind its writer's newest tick is written again, perhaps in a later epoch.
        events.retain(|event| event.host != tick.host || event.seq <= tick.cursor);
        events.sort_by_key(|event| (event.host.clone(), event.seq, event.index));
        events.dedup_by_key(|event| (event.host.clone(), event.seq, event.index));
        let told = Told {
            events,
            counts: tick.counts.clone(),
        };
        told.apply(&mut self.history);
        self.listed.behind.push(told);

        let new_second = self
            .now
            .is_none_or(|before| before.second() < tick.time.second());
        self.now = Some(tick.time);
        if new_second || tick.settled || tick.last {
            self.listed.go_on(tick.time.minute());
        }
    }
}

impl Told {
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

impl Listed {
    fn go_on(&mut self, minute: Minute) {
        for told in self.behind.drain(..) {
            told.apply(&mut self.history);
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

/// Whether a view's rows are lists, which are written at most once a second.
fn is_list(view: ViewId) -> bool {
    !skytide_core::view::Measure::of(view).is_empty()
}

/// The rows of every epoch of a whole log, in order.
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
        assert!(before.is_none(), "{} has two rows of a key", view.name());
    }
}

/// The best entries of those that have a value, or none if there is no such entry.
fn best(entries: impl IntoIterator<Item = ListEntry>) -> Option<ListRow> {
    let mut entries: Vec<_> = entries
        .into_iter()
        .filter(|entry| entry.value > 0)
        .collect();
    entries.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.key.cmp(&b.key)));
    entries.truncate(ListRow::LENGTH);
    (!entries.is_empty()).then_some(ListRow { entries })
}
