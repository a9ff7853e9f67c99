//! `/v1/views`: what there is to ask for.

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use skytide_core::view::{ViewId, Window};

use super::lists::{LISTS, ListView};
use crate::answer::{Query, Rows, answer};
use crate::catalogue::VIEWS_ROUTE;
use crate::params::Params;
use crate::problem::Problem;
use crate::state::ApiState;

/// `GET /v1/views`
pub(crate) async fn show(
    State(state): State<ApiState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &VIEWS_ROUTE)?;
    answer(&state, &headers, Views).await
}

pub(crate) struct Views;

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
    /// Rows it has; `null`: the commit does not say.
    rows: Option<i64>,
    /// Where it is read.
    route: Option<String>,
    measures: Vec<&'static str>,
    windows: Vec<&'static str>,
}

impl Query for Views {
    type Data = Catalogue;

    async fn read(&self, rows: &Rows<'_>) -> Result<Catalogue, Problem> {
        let sums = &rows.committed.sums;
        let view = |view: &ViewId| View::new(*view, sums.get(view).map(|sum| sum.rows));
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
            rows,
            route: list
                .map(|list| format!("/v1/trends/{}", list.name))
                .or_else(|| route(view)),
            measures: list.map_or_else(Vec::new, ListView::measures),
            windows: windows.iter().map(|window| window.name()).collect(),
        }
    }
}

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
        _ => return None,
    };
    Some(route.to_owned())
}

/// The catalogue's description up to the types of its rows, which mean nothing outside.
fn first_sentence(doc: &str) -> String {
    let end = doc
        .find(": [")
        .or_else(|| doc.find(": `"))
        .unwrap_or(doc.len());
    doc[..end].trim().to_owned()
}
