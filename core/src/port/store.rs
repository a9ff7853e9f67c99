//! The view store: the rows that the dataflow commits. The dataflow is the only writer; the API,
//! the scheduler and the export read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::id::{Epoch, Seq};
use crate::time::Timestamp;
use crate::view::{Change, KEY_BYTES_MAX, Key, ROW_BYTES_MAX, StoredRow, ViewId, fits};

/// Reads rows.
#[async_trait]
pub trait ViewReader: Send + Sync {
    /// The control record: the current writer, the last commit, and the intent of an unfinished
    /// commit.
    async fn control(&self) -> Result<Control, StoreError>;

    /// The rows under `keys`, in the same order; `None` for a key without a row. Each row has the
    /// values at the end of the epoch that is stored with it.
    async fn get(&self, view: ViewId, keys: &[Key]) -> Result<Vec<Option<StoredRow>>, StoreError>;

    /// At most [`Range::limit`] rows of one view in a range of keys, in the order of the keys.
    async fn scan(&self, view: ViewId, range: Range) -> Result<Vec<StoredRow>, StoreError>;

    /// A reader of the store as it is now: its control record and all its rows belong to one
    /// commit, and later commits do not change them. While it exists, old versions of rows occupy
    /// space.
    ///
    /// `None` if the store has no such snapshots. Then a commit in progress is visible, and a
    /// reader has to compare the epochs of rows.
    fn snapshot(&self) -> Option<Arc<dyn ViewReader>> {
        None
    }
}

/// Writes rows. There is one writer at a time, and one commit at a time.
///
/// Call order: `lead` once; then for each commit `begin`, any number of `write`, and `commit`.
///
/// After a crash, the first commit must end exactly at the intent that `lead` returns. Every row
/// that the unfinished commit wrote is then written again with the same value. That holds only for
/// rows that are computed in the same way. A commit that replaces rows of a different [`Recipe`]
/// must announce that by `rebuild`.
#[async_trait]
pub trait ViewStore: ViewReader {
    /// Takes over as the writer: draws the next term, which fences all writers with earlier terms,
    /// and returns the current control record.
    async fn lead(&self) -> Result<Control, StoreError>;

    /// Records that a commit up to `intent` starts. Returns `Fenced` unless `term` is the current
    /// one. Returns `Order` unless `intent` is after the committed epoch and not before a recorded
    /// intent.
    ///
    /// A commit that replaces everything ([`Intent::replaces_all`]) may start at any epoch: its
    /// rows replace rows of all epochs, and later commits follow it. Until it completes, the store
    /// may have no committed epoch. If its writer stops before that, one of two states is left:
    /// everything as before, or no committed epoch and the intent. In the second state the next
    /// writer must replace everything as well.
    async fn begin(&self, term: Term, intent: Intent) -> Result<(), StoreError>;

    /// Records that the current commit replaces all rows of these views. Must be called before the
    /// first of these rows is written.
    ///
    /// Until a commit completes, [`control`](ViewReader::control) returns the intent with these
    /// views and those of earlier calls. A writer that takes over after a crash must replace them
    /// as well. A store that discards unfinished commits does not need to store the views.
    async fn rebuild(&self, term: Term, views: &BTreeSet<ViewId>) -> Result<(), StoreError>;

    /// Writes whole rows of one view, with their values at the end of the intent. If several
    /// changes have the same key, the last one applies. The store accepts every row that [`fits`].
    /// If one does not, returns `Rejected` and writes nothing of this call.
    async fn write(&self, term: Term, view: ViewId, changes: Vec<Change>)
    -> Result<(), StoreError>;

    /// Completes a commit after all its rows were written: `committed.epoch` becomes the committed
    /// epoch. Returns `Fenced` unless `term` is the current one, and `Order` unless
    /// `committed.epoch` is the intent. Repeating the last commit succeeds and changes nothing.
    async fn commit(&self, term: Term, committed: Committed) -> Result<(), StoreError>;

    /// Waits until all completed commits survive a power failure. The default does nothing, for
    /// stores whose commits are already durable.
    async fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Number of a writer. Each writer that takes over gets a higher number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Term(pub u64);

/// The end of a commit that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The commit's rows have the values at the end of this epoch.
    pub epoch: Epoch,
    /// The tick that ends the epoch; `None` if it is not known.
    pub tick: Option<TickRef>,
    /// Whether the commit replaces all stored rows, whatever their epochs. That is needed when the
    /// rows belong to a different history of the log: for example, the log lost its newest messages
    /// and continued with different ones.
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

/// A reference to a tick, which verifies later that the log still contains that tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickRef {
    /// Position of the tick in the log.
    pub log_seq: Seq,
    /// Hash of the tick ([`tick_hash`](super::checkpoint::tick_hash)).
    pub tick_hash: u64,
}

/// The store's single control record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// The term of the current writer.
    pub term: Term,
    /// The last complete commit; `None` before the first.
    pub committed: Option<Committed>,
    /// The end of a commit that has started and not completed.
    pub intent: Option<Epoch>,
    /// The tick at the intent. A log that no longer contains it would produce different rows.
    /// `None` if a version that did not record the tick wrote the intent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_tick: Option<TickRef>,
    /// Views that unfinished commits up to the intent were replacing. Their rows may be a mixture
    /// of two recipes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub rebuilding: BTreeSet<ViewId>,
}

/// The rules of the commit protocol, for adapters that check them on the client side.
impl Control {
    /// Checks whether a commit up to `intent` may start.
    ///
    /// # Errors
    /// `Fenced` and `Order`, under the conditions of [`ViewStore::begin`].
    pub fn check_begin(&self, term: Term, intent: Intent) -> Result<(), StoreError> {
        self.check_term(term)?;
        if intent.replaces_all {
            return Ok(());
        }
        let intent = intent.epoch;
        let out_of_order = |reason: String| StoreError::Order {
            epoch: intent,
            reason,
        };
        match (&self.committed, self.intent) {
            (Some(committed), _) if intent <= committed.epoch => Err(out_of_order(format!(
                "epoch {} is already committed",
                committed.epoch
            ))),
            (_, Some(started)) if intent < started => Err(out_of_order(format!(
                "a commit up to epoch {started} has already started"
            ))),
            _ => Ok(()),
        }
    }

    /// The epoch at which rows may be written now.
    ///
    /// # Errors
    /// `Fenced` unless `term` is the current one; `Order` unless a commit has started.
    pub fn check_write(&self, term: Term) -> Result<Epoch, StoreError> {
        self.check_term(term)?;
        self.intent.ok_or_else(|| StoreError::Order {
            epoch: self.committed.as_ref().map_or(Epoch(0), |it| it.epoch),
            reason: "rows were written before a commit started".to_owned(),
        })
    }

    /// Checks whether a commit may complete. Returns `false` if exactly this commit has already
    /// completed.
    ///
    /// # Errors
    /// `Fenced` and `Order`, under the conditions of [`ViewStore::commit`].
    pub fn check_commit(&self, term: Term, committed: &Committed) -> Result<bool, StoreError> {
        self.check_term(term)?;
        match self.intent {
            Some(intent) if intent == committed.epoch => Ok(true),
            None if self.committed.as_ref() == Some(committed) => Ok(false),
            intent => Err(StoreError::Order {
                epoch: committed.epoch,
                reason: match intent {
                    Some(intent) => format!("the current commit ends at epoch {intent}"),
                    None => "no commit has started".to_owned(),
                },
            }),
        }
    }

    /// Records that a commit starts.
    pub fn record_intent(&mut self, intent: Intent) {
        self.intent = Some(intent.epoch);
        self.intent_tick = intent.tick;
    }

    /// Clears the intent, because the commit completed or the store discarded it.
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

/// The description of a completed commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The rows have the values at the end of this epoch.
    pub epoch: Epoch,
    /// Network time at the end of the epoch.
    pub time: Timestamp,
    /// Network time of the first event that was counted. Nothing before it is included.
    pub since: Timestamp,
    /// Identity of the log from which the rows were computed
    /// ([`Bounds::id`](super::log::Bounds::id)).
    pub log_id: u64,
    /// Position of the epoch's tick in that log.
    pub log_seq: Seq,
    /// The tick's hash ([`tick_hash`](super::checkpoint::tick_hash)). It detects a log that reused
    /// its positions after a power failure. `None` if a version that did not record the hash wrote
    /// the commit.
    #[serde(default)]
    pub tick_hash: Option<u64>,
    /// How the rows were computed. `None` if a version that did not record the recipe wrote the
    /// commit.
    #[serde(default)]
    pub recipe: Option<Recipe>,
    /// For each view, the number of rows and the sum of their hashes. A recomputation is compared
    /// with them.
    pub sums: BTreeMap<ViewId, Sum>,
}

/// How rows are computed. Rows of one view belong together only if they have the same recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The account policy: the name of the option's value, for example `active_accounts_only`.
    pub account_policy: Box<str>,
    /// Days for which `interactions` are retained; `None` for no limit.
    pub interactions_days: Option<u32>,
    /// All views, with their versions.
    pub views: BTreeMap<ViewId, u32>,
}

impl Recipe {
    /// The views whose rows differ between the two recipes: computed differently, or contained in
    /// only one of them.
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

/// Number of rows and the wrapping sum of their 128-bit hashes
/// ([`row_hash`](crate::view::row_hash)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Number of rows.
    pub rows: i64,
    /// Sum of the rows' hashes, modulo 2^128.
    pub hash: u128,
}

/// The range of keys that a scan reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The order of the scan: by the view's own key, or by its second key ([`ViewId::second_key`]).
    /// The returned rows carry the keys of that order.
    pub order: Order,
    /// First key, inclusive.
    pub from: Key,
    /// Last key, exclusive; `None` for the end of the view.
    pub to: Option<Key>,
    /// Maximum number of rows to return.
    pub limit: usize,
}

/// By which key a scan is ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The view's own key.
    First,
    /// The view's second key: for `interactions`, the subject comes first.
    Second,
}

impl Range {
    /// All rows whose key starts with `prefix`.
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

/// Checks that every row [`fits`]. All adapters apply this rule.
///
/// # Errors
/// `Rejected`, for the first row that does not fit.
pub fn check_rows(view: ViewId, changes: &[Change]) -> Result<(), StoreError> {
    let does_not_fit =
        |change: &&Change| !fits(&change.key, change.row.as_deref().unwrap_or_default());
    let Some(change) = changes.iter().find(does_not_fit) else {
        return Ok(());
    };
    let (key, row) = (change.key.as_bytes().len(), change.row.as_ref());
    let row = row.map_or(0, |row| row.len());
    let why = format!(
        "its key has {key} bytes (allowed: 1 to {KEY_BYTES_MAX}) and its columns have {row} bytes \
         (allowed: up to {ROW_BYTES_MAX})"
    );
    Err(StoreError::rejected(view, &change.key, why))
}

impl StoreError {
    /// The error for a row that the store can never hold.
    pub fn rejected(view: ViewId, key: &Key, why: String) -> Self {
        Self::Rejected {
            view: view.name(),
            key: key.shown(),
            why,
        }
    }
}

/// Why an operation on the view store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another writer took over. The caller must stop.
    #[error("the writer of term {} is fenced by the writer of term {}", .ours.0, .current.0)]
    Fenced {
        /// The term of the current writer.
        current: Term,
        /// The term of the caller.
        ours: Term,
    },
    /// The call violates the order of commits. This is a bug in the caller.
    #[error("the commit at epoch {epoch} is out of order: {reason}")]
    Order {
        /// The epoch that was to be committed.
        epoch: Epoch,
        /// Which rule the call violates.
        reason: String,
    },
    /// Stored bytes are not the ones that were written. The caller should stop; an operator must
    /// investigate.
    #[error("the view store is damaged: {0}")]
    Damaged(String),
    /// The operation failed; it may or may not have taken effect. Every later write fails as well,
    /// until the store is opened again. The process should exit; its successor reads the state from
    /// the store.
    #[error("the view store could not {operation}, and takes no writes until it is opened again")]
    Poisoned {
        /// The operation.
        operation: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
    /// The store can never hold this row. A retry is useless: the caller should stop and report the
    /// row.
    #[error("the view store cannot hold the row {key:?} of {view}: {why}")]
    Rejected {
        /// Name of the view.
        view: &'static str,
        /// The row's key, printable and truncated.
        key: String,
        /// Why the store rejects the row.
        why: String,
    },
    /// The operation failed; it may or may not have taken effect. The caller should retry.
    #[error("the view store could not {operation}")]
    Failed {
        /// The operation, for example `write rows`.
        operation: &'static str,
        /// The cause.
        #[source]
        source: BoxError,
    },
}
