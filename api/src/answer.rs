//! Consistent answers: all rows of an answer belong to one commit, or the answer says that they may
//! not.
//!
//! ```text
//! control ─▶ rows ─▶ control: same commit, and no row newer than it? ─ yes ─▶ answer
//!    ▲                                                              ─ no ──▶ pause, reread,
//!    └──────────────────────────────────────────────────────────────────────  8 times at most
//! ```
//!
//! If the store has snapshots (the embedded one does), the control record and all rows come from
//! one snapshot, and the picture above does not apply.
//!
//! Other stores (MongoDB) show a commit in progress. A row that it writes is recognized by its newer
//! epoch. A row that it removes leaves no trace. So while a commit is in progress, a missing row
//! also causes a reread, unless commits are atomic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use skytide_core::id::{Did, Epoch};
use skytide_core::port::profile::{ProfileError, StoredProfile};
use skytide_core::port::store::{Committed, Range, ViewReader};
use skytide_core::time::Timestamp;
use skytide_core::view::{AccountRow, Key, StoredRow, ViewId, ViewKey, Window, decode_row};

use crate::demand::{ProfileStatus, ShownAccount};
use crate::health::{Audience, ShownPart, ShownWait};
use crate::missing::{Intervals, Missing};
use crate::problem::Problem;
use crate::state::{ApiContext, committed_of};
use crate::velocity::Coverage;

/// Maximum number of rereads of one answer.
const REREADS_MAX: u32 = 8;
/// Time before a reread, in which the commit in progress may finish.
const REREAD_PAUSE: Duration = Duration::from_millis(5);

/// The parsed request of a route, which reads the rows of its answer.
pub(crate) trait Query: Send + Sync {
    /// The answer, without what all answers have ([`Meta`]).
    type Data: Serialize + Send;

    /// The window of network time that the answer counts: it gets the field `coverage` if something
    /// is missing from the window. `None` for an answer without that field, and for one that counts
    /// another interval ([`counts_from`](Self::counts_from)).
    fn window(&self) -> Option<Window> {
        None
    }

    /// Network time from which the answer counts, at a commit: the start of its window, unless it
    /// counts a part of it.
    fn counts_from(&self, committed: &Committed) -> Option<Timestamp> {
        let window = self.window()?;
        Some(Coverage::from(committed).window(window).from)
    }

    /// Reads the answer from the rows of one commit.
    fn read(&self, rows: &Rows<'_>) -> impl Future<Output = Result<Self::Data, Problem>> + Send;
}

/// The fields that every answer has: its commit, its age, and whether it is consistent.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Meta {
    pub(crate) epoch: Epoch,
    pub(crate) as_of: Option<String>,
    pub(crate) freshness_ms: Option<u64>,
    pub(crate) since: Option<String>,
    pub(crate) consistent: bool,
}

/// An answer, as JSON.
#[derive(Serialize)]
pub(crate) struct Answer<D> {
    #[serde(flatten)]
    pub(crate) meta: Meta,
    #[serde(flatten)]
    pub(crate) data: WithCoverage<D>,
}

/// The data of an answer, and what is known to be missing from them.
#[derive(Serialize)]
pub(crate) struct WithCoverage<D> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) coverage: Option<Missing>,
    #[serde(flatten)]
    pub(crate) data: D,
}

impl<D: Serialize> WithCoverage<D> {
    /// A JSON object with the field `coverage`, if it is there, before those of the data.
    ///
    /// # Errors
    /// The data cannot be serialized.
    pub(crate) fn json(&self) -> Result<String, serde_json::Error> {
        let data = serde_json::to_string(&self.data)?;
        let (Some(coverage), Some(fields)) = (&self.coverage, data.strip_prefix('{')) else {
            return Ok(data);
        };
        let coverage = serde_json::to_string(coverage)?;
        Ok(format!("{{\"coverage\":{coverage},{fields}"))
    }
}

/// Reads the data of a query, and what is missing from them.
async fn read_data<Q: Query>(rows: &Rows<'_>, query: &Q) -> Result<WithCoverage<Q::Data>, Problem> {
    let data = query.read(rows).await?;
    let coverage = match query.counts_from(rows.committed) {
        Some(from) => {
            let intervals = &rows.context.intervals;
            let intervals = intervals.get(rows.reader, rows.committed).await;
            Missing::since(from, intervals.as_deref(), rows.committed)
        }
        None => None,
    };
    Ok(WithCoverage { coverage, data })
}

/// Reads the answer until all its rows belong to one commit, at most 1 + [`REREADS_MAX`] times.
/// The last answer may be inconsistent; its [`Meta`] says so.
pub(crate) async fn read_consistent<Q: Query>(
    context: &ApiContext,
    query: &Q,
) -> Result<(Committed, Answer<Q::Data>), Problem> {
    let mut rereads = 0;
    if let Some(snapshot) = context.reader.snapshot() {
        let (_, committed) = committed_of(&*snapshot).await?;
        let rows = Rows::new(context, &*snapshot, &committed);
        let data = read_data(&rows, query).await?;
        let meta = Meta::new(context, &committed, true);
        return Ok((committed, Answer { meta, data }));
    }
    loop {
        let (before, committed) = context.committed().await?;
        let rows = Rows::new(context, &*context.reader, &committed);
        let data = read_data(&rows, query).await;
        let (after, newest) = context.committed().await?;

        let in_progress = before.intent.is_some() || after.intent.is_some();
        let consistent = committed.epoch == newest.epoch
            && committed.log_id == newest.log_id
            && committed.tick_hash == newest.tick_hash
            && !rows.saw_newer_row.load(Ordering::Relaxed)
            && (context.commits_atomic
                || !in_progress
                || !rows.saw_missing_row.load(Ordering::Relaxed));
        if consistent || rereads == REREADS_MAX {
            let meta = Meta::new(context, &newest, consistent);
            return Ok((newest, Answer { meta, data: data? }));
        }
        rereads += 1;
        context.metrics.rereads.inc();
        tokio::time::sleep(REREAD_PAUSE).await;
    }
}

/// The end of the error message that no event referred to an object: ` since TIME`, with the
/// network time of the first event. Empty if that time is not known.
pub(crate) fn since_start(committed: &Committed) -> String {
    let since = committed.since.known();
    since.map_or_else(String::new, |since| format!(" since {}", since.rfc3339()))
}

impl Meta {
    pub(crate) fn new(context: &ApiContext, committed: &Committed, consistent: bool) -> Self {
        Self {
            epoch: committed.epoch,
            as_of: committed.time.known().map(Timestamp::rfc3339),
            freshness_ms: context.age_ms(committed.time),
            since: committed.since.known().map(Timestamp::rfc3339),
            consistent,
        }
    }
}

/// Reads typed rows, and records signs that they may not all belong to one commit.
pub(crate) struct Rows<'a> {
    reader: &'a dyn ViewReader,
    context: &'a ApiContext,
    /// The commit that the rows should belong to.
    pub(crate) committed: &'a Committed,
    /// Whether a row was newer than that commit.
    saw_newer_row: AtomicBool,
    /// Whether a row was missing, or may have been missing from a scan.
    saw_missing_row: AtomicBool,
}

/// The answer to a request that needs a view that the newest commit does not have.
pub(crate) fn not_computed(view: ViewId) -> Problem {
    let name = view.name();
    let detail = format!(
        "the view {name} is not in the newest commit: INDEXER_VIEWS of the indexer leaves it out, or \
         the version of the indexer does not have it; a start that computes it fills it"
    );
    Problem::unavailable("view_missing", detail)
}

impl<'a> Rows<'a> {
    /// Rows of `reader`, which should belong to the commit.
    pub(crate) fn new(
        context: &'a ApiContext,
        reader: &'a dyn ViewReader,
        committed: &'a Committed,
    ) -> Self {
        Self {
            reader,
            context,
            committed,
            saw_newer_row: AtomicBool::new(false),
            saw_missing_row: AtomicBool::new(false),
        }
    }

    /// The span of network time that the commit covers.
    pub(crate) fn coverage(&self) -> Coverage {
        Coverage::from(self.committed)
    }

    /// Checks that the commit has the rows of a view, which an earlier version may not have had.
    ///
    /// # Errors
    /// `view_missing` if the commit does not have the view, or its rows are being replaced; a
    /// problem of the store.
    pub(crate) async fn require(&self, view: ViewId) -> Result<(), Problem> {
        let recipe = self.committed.recipe.as_ref();
        let is_missing = recipe.is_none_or(|recipe| !recipe.views.contains_key(&view));
        if is_missing {
            return Err(not_computed(view));
        }
        if self.reader.control().await?.rebuilding.contains(&view) {
            let detail = format!(
                "the view {} is being rebuilt: the indexer fills it at its next start, and the \
                 answer comes after that",
                view.name()
            );
            return Err(Problem::unavailable("view_missing", detail));
        }
        Ok(())
    }

    /// Whether the commit has the rows of a view, as far as it says which views it has.
    pub(crate) fn computes(&self, view: ViewId) -> bool {
        let recipe = self.committed.recipe.as_ref();
        recipe.is_none_or(|recipe| recipe.views.contains_key(&view))
    }

    /// Checks that the commit has the rows of these views. A commit that does not say which views it
    /// has passes: an earlier version made it, which computed all views of that time.
    ///
    /// # Errors
    /// `view_missing` if the commit does not have a view.
    pub(crate) fn require_computed(&self, views: &[ViewId]) -> Result<(), Problem> {
        let missing = views.iter().find(|view| !self.computes(**view));
        missing.map_or(Ok(()), |view| Err(not_computed(*view)))
    }

    /// Counts and logs rows of accounts that an answer leaves out, because there are too many.
    pub(crate) fn record_rows_left_out(&self, did: &Did, rows: u64) {
        if rows > 0 {
            tracing::warn!(%did, rows, "left out interactions: too many other accounts");
            self.context.metrics.interactions_left_out.inc_by(rows);
        }
    }

    /// The health of the services beside the API, and what the pipeline waits for.
    pub(crate) fn health(&self, audience: Audience) -> (Vec<ShownPart>, ShownWait) {
        let health = &*self.context.health;
        let parts = ShownPart::all(health, audience);
        (parts, ShownWait::of(health, audience))
    }

    /// Reads the rows under `keys`; returns them in the same order.
    pub(crate) async fn get<K: ViewKey + Sync, R: DeserializeOwned + Send>(
        &self,
        view: ViewId,
        keys: &[K],
    ) -> Result<Vec<Option<R>>, Problem> {
        let keys: Vec<Key> = keys.iter().map(Key::of).collect();
        let rows = self.reader.get(view, &keys).await?;
        rows.into_iter()
            .map(|row| row.map(|row| self.decode(&row)).transpose())
            .inspect(|row| {
                if matches!(row, Ok(None)) {
                    self.saw_missing_row.store(true, Ordering::Relaxed);
                }
            })
            .collect()
    }

    /// Reads the row under one key.
    pub(crate) async fn get_one<K: ViewKey + Sync, R: DeserializeOwned + Send>(
        &self,
        view: ViewId,
        key: K,
    ) -> Result<Option<R>, Problem> {
        Ok(self.get(view, &[key]).await?.pop().flatten())
    }

    /// Reads the rows of a range, in the order of their keys. A scan cannot show which rows a
    /// commit in progress has removed, so every scan counts as one that may have missed a row.
    pub(crate) async fn scan<K: ViewKey, R: DeserializeOwned>(
        &self,
        view: ViewId,
        range: Range,
    ) -> Result<Vec<(K, R)>, Problem> {
        self.saw_missing_row.store(true, Ordering::Relaxed);
        let rows = self.reader.scan(view, range).await?;
        rows.iter()
            .map(|row| Ok((row.key.decode()?, self.decode(row)?)))
            .collect()
    }

    /// All known intervals in which something may be missing.
    pub(crate) async fn intervals(&self) -> Result<Intervals, Problem> {
        Intervals::read(self.reader).await
    }

    /// Reads the stored profiles of `dids`; returns them in the same order. Returns `None` if the
    /// profile store cannot be read: profiles are an optional part of an answer.
    pub(crate) async fn profiles(&self, dids: &[Did]) -> Option<Vec<Option<StoredProfile>>> {
        let read = self.context.profiles.get(dids).await;
        let log = |error: &ProfileError| {
            let error = error as &(dyn std::error::Error + 'static);
            tracing::warn!(error, "cannot read profiles: answering without them");
        };
        read.inspect_err(log).ok()
    }

    /// Whether a profile of this account was fetched.
    pub(crate) async fn has_profile(&self, did: &Did) -> bool {
        let stored = self.profiles(std::slice::from_ref(did)).await;
        let mut stored = stored.into_iter().flatten().flatten();
        stored.any(|it| it.profile.is_some())
    }

    /// The status of the profile of each account. Requests the profiles that are missing or stale.
    pub(crate) async fn profile_statuses(
        &self,
        accounts: &[ShownAccount<'_>],
    ) -> Vec<ProfileStatus> {
        let ports = self.context.demand_ports();
        self.context.demand.statuses(&ports, accounts).await
    }

    /// Whether the handle of a stored profile is still verified, unless another account has claimed
    /// it: the server that sent it checked the handle in both directions. It no longer counts if
    /// the stream reports another handle of the account, or if the profile is twice as old as the
    /// age at which it should have been fetched again. An account with a row and without a handle
    /// may have withdrawn the handle by `handle.invalid` since, so it does not count either.
    pub(crate) fn is_verified(&self, stored: &StoredProfile, row: Option<&AccountRow>) -> bool {
        let Some(profile) = &stored.profile else {
            return false;
        };
        let age_ms = stored.age_ms(self.context.clock.now());
        let age_max = self.context.demand.ages.age_max * 2;
        let is_uncontradicted = match row {
            None => stored.stream.handle.is_none(),
            Some(row) => {
                let reported = row.handle.as_deref();
                reported.is_some_and(|it| it.eq_ignore_ascii_case(&profile.handle))
            }
        };
        is_uncontradicted && u128::from(age_ms) < age_max.as_millis()
    }

    /// Decodes the columns of a row, and records if it is newer than the commit.
    fn decode<R: DeserializeOwned>(&self, row: &StoredRow) -> Result<R, Problem> {
        if row.epoch > self.committed.epoch {
            self.saw_newer_row.store(true, Ordering::Relaxed);
        }
        Ok(decode_row(&row.row)?)
    }
}
