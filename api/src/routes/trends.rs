//! `/v1/trends/{view}`: one stored list, joined with what its entries are.
//!
//! ```text
//! list row ─ order ─ behind the cursor ─ first `limit` ─┬─ posts, accounts of their authors   (posts)
//!                                                       └─ accounts                           (mentions, actors, blocks)
//! ```
//!
//! A list holds at most 100 entries; so `velocity` ranks among the 100 of highest count, and the answer says so.

use std::str::FromStr;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::id::{Did, PostKey};
use skytide_core::view::{ListEntry, ListKey, ListRow, Measure, PostRow, RowError, ViewId, Window};

use crate::answer::{Query, Rows, answer};
use crate::catalogue::TRENDS;
use crate::page::{Cursor, Position};
use crate::params::{Params, decoded};
use crate::problem::Problem;
use crate::state::ApiState;
use crate::subject::{Account, accounts, post_url};
use crate::velocity::{Covered, SUPPORT_MIN};

/// A view of lists.
#[derive(Debug)]
pub(crate) struct ListView {
    /// In routes.
    pub(crate) name: &'static str,
    /// Where its lists are.
    pub(crate) id: ViewId,
    /// The measure if none is named.
    default: Measure,
    /// Windows that are kept.
    pub(crate) windows: &'static [Window],
    /// What its keys are.
    keys: Keys,
}

/// What the entries of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    Posts,
    Accounts,
    Texts,
}

const fn list(name: &'static str, id: ViewId, default: Measure, keys: Keys) -> ListView {
    ListView {
        name,
        id,
        default,
        windows: &Window::ALL,
        keys,
    }
}

const DAY: &[Window] = &[Window::Day];

/// All of them.
pub(crate) const LISTS: [ListView; 7] = [
    list("posts", ViewId::TopPosts, Measure::Likes, Keys::Posts),
    list("hashtags", ViewId::TopHashtags, Measure::Count, Keys::Texts),
    list("domains", ViewId::TopDomains, Measure::Count, Keys::Texts),
    list("links", ViewId::TopLinks, Measure::Count, Keys::Texts),
    list(
        "mentions",
        ViewId::TopMentions,
        Measure::Count,
        Keys::Accounts,
    ),
    ListView {
        windows: DAY,
        ..list(
            "actors",
            ViewId::TopActors,
            Measure::LikesReceived,
            Keys::Accounts,
        )
    },
    ListView {
        windows: DAY,
        ..list(
            "blocks",
            ViewId::TopBlocks,
            Measure::BlocksReceived,
            Keys::Accounts,
        )
    },
];

impl ListView {
    /// The view of this name, `top_` in front or not.
    pub(crate) fn named(name: &str) -> Result<&'static Self, Problem> {
        let bare = name.strip_prefix("top_").unwrap_or(name);
        LISTS.iter().find(|view| view.name == bare).ok_or_else(|| {
            Problem::parameter("view", name, format!("there is no list {name:?}"))
                .allowed(LISTS.iter().map(|view| view.name))
        })
    }

    /// Whether its entries count posts and their authors.
    pub(crate) fn is_trend(&self) -> bool {
        self.default == Measure::Count
    }

    fn has_langs(&self) -> bool {
        self.windows.len() > 1
    }

    /// The measures by which it can be ordered, as in routes.
    pub(crate) fn measures(&self) -> Vec<&'static str> {
        let stored = Measure::of(self.id).iter().map(|measure| measure.name());
        stored.chain(self.is_trend().then_some(VELOCITY)).collect()
    }
}

const VELOCITY: &str = "velocity";

/// One page of one list.
#[derive(Clone, Debug)]
pub(crate) struct Trends {
    view: &'static ListView,
    list: ListKey,
    by_velocity: bool,
    limit: usize,
    after: Option<Position>,
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
    answer(&state, &headers, Trends::parse(view, &params, 25)?).await
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
        let question = Params::of(&carried.map(|(name, value)| (name, value.as_str())));
        let first = Self::first_page(view, &question, cursor.limit.clamp(1, ListRow::LENGTH))?;
        Self {
            after: Some(cursor.after),
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
        Cursor::new(question, self.limit, after).write()
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

/// A page of a list, as JSON.
#[derive(Serialize)]
pub(crate) struct Page {
    view: &'static str,
    window: Covered,
    lang: Option<Box<str>>,
    measure: &'static str,
    /// Entries in the whole list, of which this is a page.
    ranked_among: usize,
    /// How many best by count were looked at, and how high a count must be; only of velocity.
    #[serde(skip_serializing_if = "Option::is_none")]
    support_min: Option<u32>,
    entries: Vec<Entry>,
    cursor: Option<String>,
}

/// An entry of a list, as JSON.
#[derive(Serialize)]
struct Entry {
    rank: usize,
    key: Box<str>,
    value: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    authors: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    velocity: Option<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    post: Option<PostRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl Query for Trends {
    type Data = Page;

    async fn read(&self, rows: &Rows<'_>) -> Result<Page, Problem> {
        let list: ListRow = rows
            .one(self.view.id, self.list.clone())
            .await?
            .unwrap_or_default();
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
        join(rows, self.view.keys, &mut entries).await?;
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

/// Adds the posts and accounts that the keys name.
async fn join(rows: &Rows<'_>, keys: Keys, entries: &mut [Entry]) -> Result<(), Problem> {
    let dids: Vec<Did> = match keys {
        Keys::Texts => return Ok(()),
        Keys::Accounts => keys_of(entries)?,
        Keys::Posts => {
            let posts: Vec<PostKey> = keys_of(entries)?;
            let tallies: Vec<Option<PostRow>> = rows.get(ViewId::Posts, &posts).await?;
            for ((entry, post), tally) in entries.iter_mut().zip(&posts).zip(tallies) {
                entry.post = Some(tally.unwrap_or_default());
                entry.url = Some(post_url(post));
            }
            posts.iter().map(PostKey::did).collect()
        }
    };
    for (entry, account) in entries.iter_mut().zip(accounts(rows, &dids).await?) {
        entry.account = Some(account);
    }
    Ok(())
}

fn keys_of<K: FromStr>(entries: &[Entry]) -> Result<Vec<K>, RowError> {
    entries
        .iter()
        .map(|entry| entry.key.parse().map_err(|_| RowError))
        .collect()
}
