//! `/v1/trends/{view}/{key}`: any tag, domain, link or mentioned account, by window and language.
//!
//! All rows of a key are adjacent, so one scan reads them. A key that nobody used has counts of
//! zero, which are exact too.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::port::store::{Order, Range};
use skytide_core::view::{TrendKey, TrendRow, ViewId, ViewKey, Window};

use crate::account::{Account, named_account};
use crate::answer::{Query, Rows};
use crate::catalogue::TREND;
use crate::handles::Handles;
use crate::params::{Params, decode_path};
use crate::problem::Problem;
use crate::respond::Answers;
use crate::target::{Actor, Resolved, ResolvedActor};
use crate::velocity::{Coverage, CoveredWindow};

/// Maximum number of languages of one key that are read.
const LANGS_MAX: usize = 500;

/// `GET /v1/trends/{view}/{key}`
pub(crate) async fn show(
    State(answers): State<Answers>,
    State(handles): State<Handles>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (view, key) = decode_path(path)?;
    let (view, key) = parse(&view, &key)?;
    Params::parse(query.as_deref(), &TREND)?;
    let key = match key {
        Key::Text(text) => CountedKey::Text(text),
        Key::Account(actor) => {
            CountedKey::Account(handles.resolve(&answers.context, &actor).await?)
        }
    };
    answers.respond(&headers, TrendQuery { view, key }).await
}

/// A request for the counts of one key.
#[derive(Debug)]
pub(crate) struct TrendQuery {
    view: ViewId,
    key: CountedKey,
}

/// A key in the form in which the view counts it.
#[derive(Debug)]
enum CountedKey {
    Text(String),
    Account(ResolvedActor),
}

/// A key, as the client named it.
enum Key {
    Text(String),
    Account(Actor),
}

/// Parses view and key. Normalizes the key to the form in which the view counts it.
fn parse(view: &str, text: &str) -> Result<(ViewId, Key), Problem> {
    if text.is_empty() {
        return Err(Problem::parameter("key", text, "the key is empty"));
    }
    let key = |key: String| Key::Text(key);
    let (view, key) = match view.strip_prefix("top_").unwrap_or(view) {
        "hashtags" => {
            let tag = text.strip_prefix(['#', '＃']).unwrap_or(text);
            (ViewId::Hashtags, key(tag.to_lowercase()))
        }
        "domains" => (ViewId::Domains, key(text.to_lowercase())),
        "links" => (ViewId::Links, key(text.to_owned())),
        "mentions" => (ViewId::Mentions, Key::Account(Actor::parse(text)?)),
        "posts" => return Err(wrong_route(view, "/v1/posts/{uri}")),
        "actors" | "blocks" | "interactions" => {
            return Err(wrong_route(view, "/v1/actors/{actor}"));
        }
        _ => {
            let detail = format!("there is no view {view:?} with counts of single keys");
            let views = ["hashtags", "domains", "links", "mentions"];
            return Err(Problem::parameter("view", view, detail).allowed(views));
        }
    };
    Ok((view, key))
}

/// The problem of a view whose entries have a route of their own.
fn wrong_route(view: &str, route: &str) -> Problem {
    let detail = format!("single entries of {view:?} are at {route}");
    Problem::parameter("view", view, detail)
}

/// Counts of one key, as JSON.
#[derive(Serialize)]
pub(crate) struct Counts {
    view: &'static str,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved: Option<Resolved>,
    /// Counts in all languages together.
    windows: Vec<WindowCounts>,
    /// The language with the highest count of all time first.
    languages: Vec<LanguageCounts>,
    /// Whether there are more languages than were read.
    partial: bool,
}

#[derive(Serialize)]
struct LanguageCounts {
    lang: Box<str>,
    windows: Vec<WindowCounts>,
}

#[derive(Serialize)]
struct WindowCounts {
    window: CoveredWindow,
    count: u32,
    authors: u32,
    velocity: Option<f64>,
}

/// The counts of a row by window.
fn windows(coverage: Coverage, row: &TrendRow) -> Vec<WindowCounts> {
    let window_counts = |window: Window| {
        let longer = window.longer().map_or(0, |longer| row.count(longer));
        WindowCounts {
            window: coverage.window(window),
            count: row.count(window),
            authors: row.authors[window as usize],
            velocity: coverage.velocity(window, row.count(window), longer),
        }
    };
    Window::ALL.map(window_counts).into()
}

impl Query for TrendQuery {
    type Data = Counts;

    fn window(&self) -> Option<Window> {
        Some(Window::All)
    }

    async fn read(&self, rows: &Rows<'_>) -> Result<Counts, Problem> {
        rows.require_computed(&[self.view])?;
        let (key, did, resolved) = match &self.key {
            CountedKey::Text(text) => (text.clone(), None, None),
            CountedKey::Account(ResolvedActor { did, resolved }) => {
                (did.to_string(), Some(did.clone()), resolved.clone())
            }
        };
        let mut prefix = Vec::new();
        key.encode(&mut prefix);
        let range = Range::prefix(Order::First, &prefix, LANGS_MAX + 1);
        let mut found: Vec<(TrendKey, TrendRow)> = rows.scan(self.view, range).await?;
        let account = match &did {
            Some(did) => Some(named_account(rows, did, !found.is_empty()).await?.account),
            None => None,
        };
        let partial = found.len() > LANGS_MAX;
        let overall = found.iter().position(|(key, _)| key.lang.is_empty());
        let overall = overall.map_or_else(TrendRow::default, |index| found.remove(index).1);
        found.sort_by_key(|(_, row)| std::cmp::Reverse(row.count(Window::All)));

        let coverage = rows.coverage();
        Ok(Counts {
            view: self.view.name(),
            account,
            resolved,
            windows: windows(coverage, &overall),
            languages: found
                .into_iter()
                .map(|(key, row)| LanguageCounts {
                    lang: key.lang,
                    windows: windows(coverage, &row),
                })
                .collect(),
            key,
            partial,
        })
    }
}
