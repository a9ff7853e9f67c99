//! `/v1/trends/{view}`: one stored list, joined with the posts or accounts in it.
//!
//! ```text
//! list row ─ order ─ after the cursor ─ first `limit` ─┬─ posts, accounts of their authors  (posts)
//!                                                      └─ accounts      (mentions, actors, blocks)
//! ```
//!
//! With `as_of` the list comes from a snapshot ([`super::as_of`]). The answer then has the epoch
//! and the time of the snapshot. Accounts are shown as they are now. Posts have no tallies, because
//! tallies of now would appear beside values of the past.
//!
//! A list holds at most 100 entries. So `velocity` ranks only the 100 entries with the highest
//! count; `ranked_among` in the answer says how many were ranked.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use skytide_core::port::store::Committed;
use skytide_core::view::{ListEntry, ListKey, ListRow, Measure, ViewId, Window};

use super::as_of::{AsOf, SnapshotCache};
use super::entries::{Entry, ListPage, join};
use super::lists::{ListView, VELOCITY};
use crate::answer::{Answer, Meta, Query, Rows, WithCoverage};
use crate::catalogue::TRENDS;
use crate::cursor::{Cursor, ListName, ListPosition};
use crate::missing::Missing;
use crate::params::{Params, decode_path};
use crate::problem::Problem;
use crate::respond::Answers;
use crate::state::ApiContext;
use crate::velocity::SUPPORT_MIN;

/// A request for one page of one list.
#[derive(Clone, Debug)]
pub(crate) struct ListQuery {
    view: &'static ListView,
    list: ListKey,
    by_velocity: bool,
    limit: usize,
    /// The last entry of the previous page; `None` if this is the first page.
    after: Option<ListPosition>,
    /// The snapshot that the list is read from; `None` for the current list.
    as_of: Option<AsOf>,
}

/// `GET /v1/trends/{view}`
pub(crate) async fn show(
    State(answers): State<Answers>,
    State(snapshots): State<SnapshotCache>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = ListView::by_name(&decode_path(path)?)?;
    let params = Params::parse(query.as_deref(), &TRENDS)?;
    let query = ListQuery::parse(view, &params, 25)?;
    match query.as_of {
        None => answers.respond(&headers, query).await,
        Some(as_of) => answer_as_of(&answers.context, &snapshots, query, as_of).await,
    }
}

/// Answers a request for a list of the past from a snapshot.
async fn answer_as_of(
    context: &ApiContext,
    snapshots: &SnapshotCache,
    mut query: ListQuery,
    as_of: AsOf,
) -> Result<Response, Problem> {
    let snapshot = snapshots.find(context, as_of).await?;
    // The cursor of the answer must lead to further pages of this snapshot, not of a newer one.
    query.as_of = Some(AsOf::exactly(&snapshot));
    // What is missing is known from the newest commit, also what was missing then.
    let newest = context.committed().await.ok();
    let newest = newest.map(|(_, committed)| committed).unwrap_or_default();
    let committed = Committed {
        epoch: snapshot.epoch,
        time: snapshot.time,
        since: snapshot.since,
        recipe: newest.recipe.clone(),
        ..Committed::default()
    };
    let lists = &snapshot.lists;
    if !lists.iter().any(|list| list.view == query.view.id) {
        let (name, time) = (query.view.name, snapshot.time.rfc3339());
        return Err(Problem::not_found(format!(
            "the snapshot of {time} has no list of {name:?}: the view was empty, was left out by \
             INDEXER_VIEWS, or did not exist yet"
        )));
    }
    let list = lists
        .iter()
        .find(|list| list.view == query.view.id && list.key == query.list);
    // A commit may come while a snapshot is taken. A list that it wrote does not belong to the
    // snapshot's epoch.
    let consistent = list.is_none_or(|list| list.epoch <= snapshot.epoch);
    let rows = Rows::new(context, &*context.reader, &committed);
    let row = list.map(|list| list.row.clone()).unwrap_or_default();
    let from = rows.coverage().window(query.list.window).from;
    let intervals = context.intervals.get(&*context.reader, &newest).await;
    let data = WithCoverage {
        coverage: Missing::since(from, intervals.as_deref(), &committed),
        data: query.page(&rows, row).await?,
    };
    let meta = Meta::new(context, &committed, consistent);
    // The answer may change: accounts are renamed, snapshots are removed.
    let caching = [(header::CACHE_CONTROL, "no-cache")];
    Ok((caching, Json(Answer { meta, data })).into_response())
}

impl ListQuery {
    /// Parses the parameters of a request for a list of `view`. `limit` is the default of the
    /// parameter `limit`.
    pub(crate) fn parse(
        view: &'static ListView,
        params: &Params,
        limit: usize,
    ) -> Result<Self, Problem> {
        match params.text("cursor") {
            Some(text) => Self::next_page(view, params, Cursor::decode(text)?),
            None => Self::first_page(view, params, limit),
        }
    }

    fn first_page(view: &'static ListView, params: &Params, limit: usize) -> Result<Self, Problem> {
        let default = if view.has_langs() {
            Window::Day
        } else {
            view.windows[0]
        };
        let window = params.window(view.windows, default)?;
        let lang = params.lang()?;
        if !lang.is_empty() && !view.has_langs() {
            let detail = format!("{:?} has no lists by language", view.name);
            return Err(Problem::parameter("lang", &lang, detail));
        }
        let name = params
            .text("measure")
            .unwrap_or(view.default_measure.name());
        let by_velocity = name == VELOCITY && view.is_trend();
        let stored = Measure::from_name(name).filter(|m| Measure::of(view.id).contains(m));
        let measure = if by_velocity {
            Some(view.default_measure)
        } else {
            stored
        };
        let measure = measure.ok_or_else(|| {
            let detail = format!("{:?} cannot be ordered by {name:?}", view.name);
            Problem::parameter("measure", name, detail).allowed(view.measures())
        })?;
        if by_velocity && window.longer().is_none() {
            let detail =
                "velocity needs a longer window to compare with, and none is longer than \"all\"";
            return Err(
                Problem::parameter("window", window.name(), detail).allowed(["1h", "24h", "7d"])
            );
        }
        Ok(Self {
            view,
            list: ListKey {
                window,
                measure,
                lang,
            },
            by_velocity,
            limit: params.number("limit", 1..=ListRow::LENGTH, limit)?,
            after: None,
            as_of: AsOf::parse(params)?,
        })
    }

    /// The cursor carries all parameters. A parameter that is also in the request must have the
    /// same value, except for `limit`.
    fn next_page(
        view: &'static ListView,
        params: &Params,
        cursor: Cursor,
    ) -> Result<Self, Problem> {
        let carried = [
            ("window", &cursor.window),
            ("lang", &cursor.lang),
            ("measure", &cursor.measure),
        ];
        for (name, value) in carried {
            if let Some(given) = params.text(name).filter(|given| given != value) {
                let detail = format!("the cursor belongs to {name}={value:?}; leave {name:?} out");
                return Err(Problem::parameter(name, given, detail));
            }
        }
        if cursor.view != view.name {
            let detail = format!("the cursor belongs to /v1/trends/{}", cursor.view);
            return Err(Problem::parameter("cursor", "", detail));
        }
        let as_of = AsOf::of_page(params, cursor.as_of)?;
        let carried = Params::from_pairs(&carried.map(|(name, value)| (name, value.as_str())));
        let first = Self::first_page(view, &carried, cursor.limit.clamp(1, ListRow::LENGTH))?;
        Self {
            after: Some(cursor.after),
            as_of,
            ..first
        }
        .with_limit(params)
    }

    /// Replaces the limit by the parameter `limit`, if it is there.
    pub(crate) fn with_limit(self, params: &Params) -> Result<Self, Problem> {
        let limit = params.number("limit", 1..=ListRow::LENGTH, self.limit)?;
        Ok(Self { limit, ..self })
    }

    fn measure_name(&self) -> &'static str {
        if self.by_velocity {
            VELOCITY
        } else {
            self.list.measure.name()
        }
    }

    /// The entries with the values by which they are ordered, highest first.
    fn ranked(&self, rows: &Rows<'_>, list: ListRow) -> Vec<(f64, ListEntry)> {
        let coverage = rows.coverage();
        let window = self.list.window;
        if !self.by_velocity {
            return list
                .entries
                .into_iter()
                .map(|entry| (entry.value.into(), entry))
                .collect();
        }
        let mut ranked: Vec<(f64, ListEntry)> = list
            .entries
            .into_iter()
            .filter_map(|entry| {
                Some((coverage.velocity(window, entry.value, entry.longer)?, entry))
            })
            .collect();
        ranked.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.key.cmp(&y.key)));
        ranked
    }

    /// The cursor of the page after this entry.
    fn cursor_after(&self, (value, entry): &(f64, ListEntry)) -> String {
        let list = ListName {
            view: self.view.name,
            window: self.list.window.name(),
            lang: &self.list.lang,
            measure: self.measure_name(),
        };
        let after = ListPosition {
            value: *value,
            key: entry.key.clone(),
        };
        let mut cursor = Cursor::new(list, self.limit, after);
        cursor.as_of = self.as_of.map(|as_of| as_of.time.0);
        cursor.encode()
    }

    /// An entry, before the join with its post or account.
    fn entry(&self, rows: &Rows<'_>, rank: usize, entry: ListEntry) -> Entry {
        let velocity = || {
            rows.coverage()
                .velocity(self.list.window, entry.value, entry.longer)
        };
        let (count, authors) = match self.list.measure {
            Measure::Count => (Some(entry.value), Some(entry.other)),
            Measure::Authors => (Some(entry.other), Some(entry.value)),
            _ => (None, None),
        };
        Entry {
            rank,
            value: entry.value,
            count,
            authors,
            velocity: self.view.is_trend().then(velocity),
            key: entry.key,
            post: None,
            account: None,
            url: None,
        }
    }
}

impl Query for ListQuery {
    type Data = ListPage;

    fn window(&self) -> Option<Window> {
        Some(self.list.window)
    }

    async fn read(&self, rows: &Rows<'_>) -> Result<ListPage, Problem> {
        // Stores of earlier versions do not have this view.
        if self.view.id == ViewId::TopInteractions {
            rows.require(self.view.id).await?;
        }
        rows.require_computed(&[self.view.id])?;
        self.stored(rows).await
    }
}

impl ListQuery {
    /// Whether the commit has the view, as far as it says so.
    pub(crate) fn is_computed(&self, rows: &Rows<'_>) -> bool {
        rows.computes(self.view.id)
    }

    /// The page, which is empty if the commit does not have the view.
    pub(crate) async fn stored(&self, rows: &Rows<'_>) -> Result<ListPage, Problem> {
        let list: Option<ListRow> = rows.get_one(self.view.id, self.list.clone()).await?;
        self.page(rows, list.unwrap_or_default()).await
    }

    /// Orders a list, selects the page, and joins its entries.
    async fn page(&self, rows: &Rows<'_>, list: ListRow) -> Result<ListPage, Problem> {
        let ranked = self.ranked(rows, list);
        let ranked_among = ranked.len();
        let mut page: Vec<(usize, (f64, ListEntry))> = (1..)
            .zip(ranked)
            .filter(|(_, (value, entry))| {
                self.after
                    .as_ref()
                    .is_none_or(|after| after.precedes(*value, &entry.key))
            })
            .take(self.limit + 1)
            .collect();
        let more = page.len() > self.limit;
        page.truncate(self.limit);
        let cursor = page
            .last()
            .filter(|_| more)
            .map(|(_, last)| self.cursor_after(last));
        let entries = page
            .into_iter()
            .map(|(rank, (_, entry))| self.entry(rows, rank, entry));
        let mut entries: Vec<Entry> = entries.collect();
        join(
            rows,
            self.view.entry_kind,
            self.as_of.is_none(),
            &mut entries,
        )
        .await?;
        Ok(ListPage {
            view: self.view.name,
            window: rows.coverage().window(self.list.window),
            lang: Some(self.list.lang.clone()).filter(|lang| !lang.is_empty()),
            measure: self.measure_name(),
            ranked_among,
            support_min: self.by_velocity.then_some(SUPPORT_MIN),
            entries,
            cursor,
        })
    }
}
