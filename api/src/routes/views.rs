//! `/v1/views`: the catalogue of views.

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::view::{ViewId, Window};

use super::lists::{LISTS, ListView};
use crate::answer::{Query, Rows};
use crate::catalogue::VIEWS_ROUTE;
use crate::params::Params;
use crate::problem::Problem;
use crate::respond::Answers;

/// `GET /v1/views`
pub(crate) async fn show(
    State(answers): State<Answers>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &VIEWS_ROUTE)?;
    answers.respond(&headers, ViewsQuery).await
}

/// A request for the catalogue.
#[derive(Debug)]
pub(crate) struct ViewsQuery;

/// The catalogue, as JSON.
#[derive(Serialize)]
pub(crate) struct Catalogue {
    views: Vec<View>,
}

#[derive(Serialize)]
struct View {
    name: &'static str,
    version: u32,
    doc: String,
    /// Whether the newest commit has it (`INDEXER_VIEWS`).
    computed: bool,
    /// Number of its rows; `null`: the commit does not record it.
    rows: Option<i64>,
    /// The route that reads it.
    route: Option<String>,
    measures: Vec<&'static str>,
    windows: Vec<&'static str>,
}

impl Query for ViewsQuery {
    type Data = Catalogue;

    async fn read(&self, rows: &Rows<'_>) -> Result<Catalogue, Problem> {
        let sums = &rows.committed.sums;
        let view = |view: &ViewId| View {
            computed: rows.computes(*view),
            ..View::new(*view, sums.get(view).map(|sum| sum.rows))
        };
        Ok(Catalogue {
            views: ViewId::ALL.iter().map(view).collect(),
        })
    }
}

impl View {
    fn new(view: ViewId, rows: Option<i64>) -> Self {
        let list = LISTS.iter().find(|list| list.id == view);
        let windows: &[Window] = list.map_or(&[], |list| list.windows);
        Self {
            name: view.name(),
            version: view.version(),
            doc: first_sentence(view.doc()),
            computed: true,
            rows,
            route: list
                .map(|list| format!("/v1/trends/{}", list.name))
                .or_else(|| route(view)),
            measures: list.map_or_else(Vec::new, ListView::measures),
            windows: windows.iter().map(|window| window.name()).collect(),
        }
    }
}

/// The route of a view that is not a list.
fn route(view: ViewId) -> Option<String> {
    let route = match view {
        ViewId::Posts => "/v1/posts/{uri}",
        ViewId::Hashtags => "/v1/trends/hashtags/{key}",
        ViewId::Domains => "/v1/trends/domains/{key}",
        ViewId::Links => "/v1/trends/links/{key}",
        ViewId::Mentions => "/v1/trends/mentions/{key}",
        ViewId::Interactions => "/v1/actors/{actor}/interactions",
        ViewId::Actors | ViewId::Accounts | ViewId::Handles => "/v1/actors/{actor}",
        ViewId::Languages | ViewId::Activity | ViewId::Counters => "/v1/network",
        ViewId::Coverage => "/v1/coverage",
        _ => return None,
    };
    Some(route.to_owned())
}

/// The description of a view up to the types of its rows, which mean nothing to clients.
fn first_sentence(doc: &str) -> String {
    let end = doc
        .find(": [")
        .or_else(|| doc.find(": `"))
        .unwrap_or(doc.len());
    doc[..end].trim().to_owned()
}
