//! The naive recount: every row of every view, computed from live records.
//!
//! ```text
//! messages ─ Model::read ─▶ History: accounts with their records, totals   (history.rs, facts.rs)
//! checkpoint ─ load ──────▶     │ one account after another
//!                               ▼
//!                           rows (posts, trends, people, network), lists, of selected keys
//! ```
//!
//! It knows nothing of the dataflow and shares no code with it. Both follow the same
//! specifications: the row types in `skytide_core::view` and `fixtures/frames/README.md`. The
//! recount avoids every technique that could be wrong: it slides no window, retracts nothing and
//! numbers nothing. Each row is a sum over the live records of all accounts. Reading a message
//! takes time proportional to the message; an answer takes time proportional to all live records,
//! and is computed only on request.
//!
//! Accounts are counted one after another, and only the keys of a [`Selection`] are counted. So the
//! memory of a recount is that of the selected rows, and of one shard of accounts.
//!
//! Lists are written at most once a second of network time, and where ingest reports that the
//! stream is idle or has ended. The [`Model`] computes them from a second history that advances
//! only at those epochs.

mod coverage;
mod facts;
mod history;
mod lists;
mod model;
mod network;
mod people;
mod posts;
mod selection;
mod top;
mod trends;

use std::collections::BTreeMap;

use serde::Serialize;
use skytide_core::time::Timestamp;
use skytide_core::view::{Key, ViewId, ViewKey, encode_row};

pub use history::{EpochInput, History};
pub use lists::ListCount;
pub use model::{Model, recount};
pub use selection::Selection;
pub use top::TopLists;

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

    /// The policy of this name in a commit's recipe.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "active_accounts_only" => Some(Self::ActiveAccountsOnly),
            "deleted_accounts_removed" => Some(Self::DeletedAccountsRemoved),
            "ops_only" => Some(Self::OpsOnly),
            _ => None,
        }
    }
}

/// How to count.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The effect of account events.
    pub policy: Policy,
    /// Days of interactions to retain, including the current day; `None` for all.
    pub interactions_days: Option<u32>,
}

/// Counts the rows of all views but lists, and of the counts that no record gives.
#[derive(Debug)]
pub struct RowCount<'a> {
    posts: posts::Posts<'a>,
    trends: trends::Trends<'a>,
    actors: people::Actors<'a>,
    interactions: people::Interactions<'a>,
    accounts: network::Accounts<'a>,
    live: BTreeMap<String, u64>,
    now: Timestamp,
}

impl<'a> RowCount<'a> {
    /// Counts the selected rows at the network time `now`.
    pub fn new(options: Options, now: Timestamp, selection: &'a Selection) -> Self {
        Self {
            posts: posts::Posts::new(selection),
            trends: trends::Trends::of_rows(selection, now.minute()),
            actors: people::Actors::new(selection),
            interactions: people::Interactions::new(selection, now, options.interactions_days),
            accounts: network::Accounts::new(selection),
            live: BTreeMap::new(),
            now,
        }
    }

    /// Counts all accounts of a history. Each account may be counted only once.
    pub fn add(&mut self, history: &History) {
        for account in history.accounts() {
            self.posts.add(&account);
            self.trends.add(&account);
            self.actors.add(&account);
            self.interactions.add(&account);
            self.accounts.add(&account);
            for (collection, _) in account.live() {
                for kind in [history.kind(collection.as_str()), ""] {
                    match self.live.get_mut(kind) {
                        Some(count) => *count += 1,
                        None => {
                            self.live.insert(kind.to_owned(), 1);
                        }
                    }
                }
            }
        }
    }

    /// The rows, with those of `activity` and `counters` from the totals of `history`.
    pub fn rows(self, history: &History) -> Rows {
        let mut table = Table::default();
        self.posts.rows(&mut table);
        self.trends.rows(&mut table);
        self.actors.rows(&mut table);
        self.interactions.rows(&mut table);
        self.accounts.rows(&mut table);
        network::totals(history, self.live, self.now.minute(), &mut table);
        table.0
    }
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
