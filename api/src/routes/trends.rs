//! `/v1/trends/{view}`: one stored list, joined with what its entries are.
//!
//! ```text
//! list row ─ order ─ behind the cursor ─ first `limit` ─┬─ posts, accounts of their authors   (posts)
//!                                                       └─ accounts                           (mentions, actors, blocks)
//! ```
//!
//! With `as_of` the list is that of a snapshot ([`past`]).
//!
//! A list holds at most 100 entries; so `velocity` ranks among the 100 of highest count, and the answer says so.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use skytide_core::view::{ListEntry, ListKey, ListRow, Measure, ViewId, Window};

use super::entries::{Entry, Page, join};
use super::lists::{ListView, VELOCITY};
use super::past::{self, AsOf};
use crate::answer::{Query, Rows, answer};
use crate::catalogue::TRENDS;
use crate::page::{Cursor, Position};
use crate::params::{Params, decoded};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::velocity::SUPPORT_MIN;

/// One page of one list.
#[derive(Clone, Debug)]
pub(crate) struct Trends {
    view: &'static ListView,
    list: ListKey,
    by_velocity: bool,
    limit: usize,
    after: Option<Position>,
    /// `None`: as it is now.
    pub(crate) as_of: Option<AsOf>,
}

/// `GET /v1/trends/{view}`
pub(crate) async fn show(
    State(state): State<ApiState>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = ListView::named(&decoded(path)?)?;
    let params = Params::parse(query.as_deref(), &TRENDS)?;
    let question = Trends::parse(view, &params, 25)?;
    match question.as_of {
        None => answer(&state, &headers, question).await,
        Some(as_of) => past::answer(&state, question, as_of).await,
    }
}

impl Trends {
    /// The question that `params` ask of `view`.
    pub(crate) fn parse(
        view: &'static ListView,
        params: &Params,
        limit: usize,
    ) -> Result<Self, Problem> {
        match params.text("cursor") {
            Some(text) => Self::next_page(view, params, Cursor::read(text)?),
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
            let detail = format!("{:?} is not kept by language", view.name);
            return Err(Problem::parameter("lang", &lang, detail));
        }
        let name = params.text("measure").unwrap_or(view.default.name());
        let by_velocity = name == VELOCITY && view.is_trend();
        let stored = Measure::from_name(name).filter(|m| Measure::of(view.id).contains(m));
        let measure = if by_velocity {
            Some(view.default)
        } else {
            stored
        };
        let measure = measure.ok_or_else(|| {
            let detail = format!("{:?} is not ordered by {name:?}", view.name);
            Problem::parameter("measure", name, detail).allowed(view.measures())
        })?;
        if by_velocity && window.longer().is_none() {
            let detail =
                "velocity compares with a longer window, and there is none longer than all";
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

    /// The cursor has all parameters; those that are given beside it must say the same, but for `limit`.
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
        let question = Params::of(&carried.map(|(name, value)| (name, value.as_str())));
        let first = Self::first_page(view, &question, cursor.limit.clamp(1, ListRow::LENGTH))?;
        Self {
            after: Some(cursor.after),
            as_of,
            ..first
        }
        .with_limit(params)
    }

    /// The same with the `limit` that `params` name, if they do.
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

    /// Places, order values and entries, best first.
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

    fn cursor_after(&self, (value, entry): &(f64, ListEntry)) -> String {
        let question = [
            self.view.name,
            self.list.window.name(),
            &self.list.lang,
            self.measure_name(),
        ];
        let after = Position {
            value: *value,
            key: entry.key.clone(),
        };
        let mut cursor = Cursor::new(question, self.limit, after);
        cursor.as_of = self.as_of.map(|as_of| as_of.time.0);
        cursor.write()
    }

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

impl Query for Trends {
    type Data = Page;

    async fn read(&self, rows: &Rows<'_>) -> Result<Page, Problem> {
        let list: Option<ListRow> = rows.one(self.view.id, self.list.clone()).await?;
        self.page(rows, list.unwrap_or_default()).await
    }
}

impl Trends {
    /// Which stored list is asked for.
    pub(crate) fn list(&self) -> (ViewId, &ListKey) {
        (self.view.id, &self.list)
    }

    /// The page of this list.
    pub(crate) async fn page(&self, rows: &Rows<'_>, list: ListRow) -> Result<Page, Problem> {
        let ranked = self.ranked(rows, list);
        let ranked_among = ranked.len();
        let mut page: Vec<(usize, (f64, ListEntry))> = (1..)
            .zip(ranked)
            .filter(|(_, (value, entry))| {
                self.after
                    .as_ref()
                    .is_none_or(|after| after.is_before(*value, &entry.key))
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
        join(rows, self.view.keys, self.as_of.is_none(), &mut entries).await?;
        Ok(Page {
            view: self.view.name,
            window: rows.coverage().of(self.list.window),
            lang: Some(self.list.lang.clone()).filter(|lang| !lang.is_empty()),
            measure: self.measure_name(),
            ranked_among,
            support_min: self.by_velocity.then_some(SUPPORT_MIN),
            entries,
            cursor,
        })
    }
}
