//! The view store: rows that a commit has made final. The dataflow writes it, everybody else reads it.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::id::{Epoch, Seq};
use crate::time::Timestamp;
use crate::view::{Change, Key, StoredRow, ViewId, fits};

/// Reads rows.
#[async_trait]
pub trait ViewReader: Send + Sync {
    /// Who may write, what is committed, what was begun.
    async fn control(&self) -> Result<Control, StoreError>;

    /// The rows under `keys`, in the same order; `None` where there is none. Each row is exact at its own epoch.
    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError>;

    /// Rows of one view in the order of their keys, at most `limit`.
    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError>;
}

/// Writes rows: one writer at a time, one commit after the other.
///
/// `lead`, then for each commit `begin`, any number of `write`, `commit`. After a crash the first commit must end
/// exactly at the intent that `lead` answers: then every half-written row is written again with the same value. That
/// holds for rows computed in the same way; where a commit replaces rows of another recipe, it says so by `rebuild`.
#[async_trait]
pub trait ViewStore: ViewReader {
    /// Takes over: draws the next term, which ends the terms before it, and answers the state found.
    async fn lead(&self) -> Result<Control, StoreError>;

    /// Records that a commit up to `intent` begins. `Fenced` unless `term` is the current one;
    /// `Order` unless `intent` is after the committed epoch and not before a recorded intent.
    ///
    /// A commit that replaces everything ([`Intent::replaces_all`]) may begin at any epoch: its rows replace rows of
    /// whatever epoch, and later commits follow it. Until it is made, the store may have no committed epoch. If its
    /// writer leaves it, the store has either everything as before, or no committed epoch and the intent: then the next
    /// writer has to replace everything, too.
    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError>;

    /// Records, before the first row of them is written, that the commit that was begun replaces all rows of these views.
    /// Until a commit is made the store answers them with the intent, together with those recorded before: whoever comes
    /// after a crash must replace them, too. Where a commit that was left is forgotten, there is nothing to keep.
    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError>;

    /// Writes whole rows of one view, exact at the intent. Rows of the same key: the last one counts. Every row that
    /// [`fits`] is taken; one that does not is `Rejected`, and nothing of this call is written.
    async fn write(&self, term: Term, view: ViewId, changes: Vec<Change>)
    -> Result<(), StoreError>;

    /// All rows up to the intent were written: makes it the committed epoch.
    /// `Fenced` unless `term` is the current one; `Order` unless `committed.epoch` is the intent.
    /// Repeating the last commit is fine and changes nothing.
    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError>;

    /// Waits until everything committed so far survives a power cut. A store whose commits do so anyway has nothing to do.
    async fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Number of a writer: each one that takes over gets a higher one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Term(pub u64);

/// The end of a commit that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its rows are exact at the end of this epoch.
    pub epoch: Epoch,
    /// The tick that ends the epoch; `None`: not known.
    pub tick: Option<TickRef>,
    /// Whether the commit replaces everything that is stored, whatever its epochs are: rows of another history of the
    /// log, as of one that lost its newest messages and has counted on with others.
    pub replaces_all: bool,
}

impl From<Epoch> for Intent {
    fn from(epoch: Epoch) -> Self {
        Self {
            epoch,
            tick: None,
            replaces_all: false,
        }
    }
}

/// A tick in the log, to find out later whether the log still has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickRef {
    /// Its position.
    pub log_seq: Seq,
    /// Its hash ([`tick_hash`](super::checkpoint::tick_hash)).
    pub tick_hash: u64,
}

/// The store's one control record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// The current writer.
    pub term: Term,
    /// The last commit that is complete; `None` before the first.
    pub committed: Option<Committed>,
    /// The end of a commit that was begun and not completed.
    pub intent: Option<Epoch>,
    /// The tick at that end: a log that does not have it any more gives other rows. `None`: written by a version that did
    /// not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_tick: Option<TickRef>,
    /// Views that commits up to the intent were to replace: some of their rows may be of another recipe than others.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rebuilding: BTreeSet<ViewId>,
}

/// The rules of the protocol, for every adapter that decides by itself.
impl Control {
    /// Whether a commit up to `intent` may begin.
    ///
    /// # Errors
    /// `Fenced` and `Order` as [`ViewStore::begin`] says.
    pub fn check_begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        self.check_term(term)?;
        if intent.replaces_all {
            return Ok(());
        }
        let intent = intent.epoch;
        let order = |reason: String| StoreError::Order {
            epoch: intent,
            reason,
        };
        match (&self.committed, self.intent) {
            (Some(committed), _) if intent <= committed.epoch => {
                Err(order(format!("epoch {} is committed", committed.epoch)))
            }
            (_, Some(begun)) if intent < begun => Err(order(format!(
                "a commit up to epoch {begun} was begun before"
            ))),
            _ => Ok(()),
        }
    }

    /// The epoch at which rows may be written now.
    ///
    /// # Errors
    /// `Fenced` unless `term` is the current one; `Order` unless a commit was begun.
    pub fn check_write(&self, term: Term) -> Result<Epoch, StoreError> {
        self.check_term(term)?;
        self.intent.ok_or_else(|| StoreError::Order {
            epoch: self.committed.as_ref().map_or(Epoch(0), |it| it.epoch),
            reason: "rows were written before a commit was begun".to_owned(),
        })
    }

    /// Whether there is something to commit: `false` if this very commit was completed before.
    ///
    /// # Errors
    /// `Fenced` and `Order` as [`ViewStore::commit`] says.
    pub fn check_commit(&self, term: Term, committed: &Committed) -> Result<bool, StoreError> {
        self.check_term(term)?;
        match self.intent {
            Some(intent) if intent == committed.epoch => Ok(true),
            None if self.committed.as_ref() == Some(committed) => Ok(false),
            intent => Err(StoreError::Order {
                epoch: committed.epoch,
                reason: match intent {
                    Some(intent) => format!("a commit up to epoch {intent} was begun"),
                    None => "no commit was begun".to_owned(),
                },
            }),
        }
    }

    /// A commit begins.
    pub fn record_intent(&mut self, intent: Intent) {
        self.intent = Some(intent.epoch);
        self.intent_tick = intent.tick;
    }

    /// A commit was completed, or the one that was begun left nothing behind.
    pub fn forget_intent(&mut self) {
        (self.intent, self.intent_tick) = (None, None);
        self.rebuilding.clear();
    }

    fn check_term(&self, ours: Term) -> Result<(), StoreError> {
        let current = self.term;
        if ours == current {
            return Ok(());
        }
        Err(StoreError::Fenced { current, ours })
    }
}

/// What a completed commit says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Rows are exact at the end of this epoch.
    pub epoch: Epoch,
    /// Network time at its end.
    pub time: Timestamp,
    /// Network time of the first event that was counted: nothing is known from before.
    pub since: Timestamp,
    /// Which log the rows were computed from ([`Bounds::id`](super::log::Bounds::id)).
    pub log_id: u64,
    /// Position of the epoch's tick in that log.
    pub log_seq: Seq,
    /// The tick's hash ([`tick_hash`](super::checkpoint::tick_hash)): a log whose positions were used again after a power
    /// cut is told by it. `None`: written by a version that did not note it.
    #[serde(default)]
    pub tick_hash: Option<u64>,
    /// How the rows were computed. `None`: written by a version that did not note it.
    #[serde(default)]
    pub recipe: Option<Recipe>,
    /// Number of rows of each view and the sum of their hashes, to compare with a recomputation.
    pub sums: BTreeMap<ViewId, Sum>,
}

/// How rows are computed: what must be the same for rows of one view to belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Whose records count: the name of the option's value, as `active_accounts_only`.
    pub account_policy: Box<str>,
    /// Days for which `interactions` are kept; `None`: for ever.
    pub interactions_days: Option<u32>,
    /// The views there are, with their versions.
    pub views: BTreeMap<ViewId, u32>,
}

impl Recipe {
    /// The views whose rows another recipe computes in another way, has not, or has besides.
    pub fn differing(&self, other: &Self) -> BTreeSet<ViewId> {
        let differs = |view: &ViewId| {
            self.views.get(view) != other.views.get(view)
                || self.account_policy != other.account_policy
                || *view == ViewId::Interactions
                    && self.interactions_days != other.interactions_days
        };
        let either = self.views.keys().chain(other.views.keys());
        either.copied().filter(differs).collect()
    }
}

/// Number of rows and the wrapping sum of their 128-bit hashes ([`row_hash`](crate::view::row_hash)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Rows there are.
    pub rows: i64,
    /// Sum of their hashes, modulo 2^128.
    pub hash: u128,
}

/// Which rows a scan wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// By the view's key, or by its second order ([`ViewId::second_key`]); the rows carry that order's keys.
    pub order: Order,
    /// Keys from here on, inclusive.
    pub from: Key,
    /// Up to here, exclusive; `None`: to the end.
    pub to: Option<Key>,
    /// At most so many.
    pub limit: usize,
}

/// By which key rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The view's own.
    First,
    /// The other one: of `interactions`, by subject.
    Second,
}

impl Range {
    /// All rows whose key begins with `prefix`.
    pub fn prefix(order: Order, prefix: &[u8], limit: usize) -> Self {
        let mut end = prefix.to_vec();
        while end.last() == Some(&0xff) {
            end.pop();
        }
        let to = end
            .last_mut()
            .map(|byte| *byte += 1)
            .map(|()| Key::from(end.as_slice()));
        Self {
            order,
            from: Key::from(prefix),
            to,
            limit,
        }
    }
}

/// The rule of the port for every adapter: each of these rows fits.
///
/// # Errors
/// `Rejected`, of the first one that does not.
pub fn check_rows(view: ViewId, changes: &[Change]) -> Result<(), StoreError> {
    let large = |change: &&Change| !fits(&change.key, change.row.as_deref().unwrap_or_default());
    let Some(change) = changes.iter().find(large) else {
        return Ok(());
    };
    let (key, row) = (change.key.as_bytes().len(), change.row.as_ref());
    let row = row.map_or(0, |row| row.len());
    let why = format!("its key has {key} bytes and its columns have {row}");
    Err(StoreError::rejected(view, &change.key, why))
}

impl StoreError {
    /// A row that the store can never hold.
    pub fn rejected(view: ViewId, key: &Key, why: String) -> Self {
        Self::Rejected {
            view: view.name(),
            key: key.shown(),
            why,
        }
    }
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer took over: stop.
    #[error("writer {ours:?} is fenced off by {current:?}")]
    Fenced {
        /// The current writer's term.
        current: Term,
        /// The caller's.
        ours: Term,
    },
    /// The commit is out of turn: a bug of the caller.
    #[error("commit at epoch {epoch} is out of turn: {reason}")]
    Order {
        /// The epoch that was to be committed.
        epoch: Epoch,
        /// What stands in its way.
        reason: String,
    },
    /// Stored bytes are not what was written: stop, a person must look.
    #[error("the view store is damaged: {0}")]
    Damaged(String),
    /// The operation failed and may have been done or not, and so will every one that writes until the store is opened
    /// again: end the process, and let the next one see what is there.
    #[error("the view store could not {operation}, and takes no writes until it is opened again")]
    Poisoned {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
    /// The store can never hold this row, however often it is written: stop, and name it.
    #[error("the view store cannot hold the row {key:?} of {view}: {why}")]
    Rejected {
        /// The view.
        view: &'static str,
        /// The row's key, printable and shortened.
        key: String,
        /// What the store has against it.
        why: String,
    },
    /// The operation failed and may have been done or not: repeat it.
    #[error("the view store could not {operation}")]
    Failed {
        /// What was tried, as `write rows`.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: BoxError,
    },
}
