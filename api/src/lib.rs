//! Views over HTTP: JSON, server-sent events, metrics and the start page. It reads committed rows and, beside them,
//! what the jobs keep: snapshots, profiles, their own state.
//!
//! ```text
//! request ─▶ edge ─▶ params ─▶ routes::* ─▶ answer ─▶ ViewReader
//!            limits   known,    one query    rows of one commit, with epoch, time, coverage
//!            CORS     in range
//! ```
//!
//! [`router`] is the whole app and needs no socket; [`run`] puts it on one. Routes and parameters stand in one table
//! (`catalogue`), from which requests are checked and `openapi.json` is written. `docs/api.md` is for its users.

mod account;
mod answer;
mod catalogue;
mod edge;
mod exposition;
mod metrics;
mod openapi;
mod page;
mod params;
mod probe;
mod problem;
mod routes;
mod server;
mod state;
mod subject;
mod velocity;

pub use openapi::describe;
pub use probe::{Probe, ProbeState, probe_router};
pub use server::{Limits, Options, ServeError, Server, run};
pub use state::{ApiState, Health, Part};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;

/// The whole app.
pub fn router(state: ApiState) -> Router {
    use routes::{
        actors, health, interactions, jobs, network, posts, snapshots, start, stream, trend,
        trends, views,
    };

    Router::new()
        .route(catalogue::TRENDS.path, get(trends::show))
        .route(catalogue::TREND.path, get(trend::show))
        .route(catalogue::POST.path, get(posts::show))
        .route(catalogue::ACTOR_ROUTE.path, get(actors::show))
        .route(catalogue::INTERACTIONS.path, get(interactions::show))
        .route(catalogue::NETWORK.path, get(network::show))
        .route(catalogue::VIEWS_ROUTE.path, get(views::show))
        .route(catalogue::SNAPSHOTS.path, get(snapshots::show))
        .route(catalogue::JOBS.path, get(jobs::show))
        .route(catalogue::STREAM.path, get(stream::show))
        .route(catalogue::HEALTHZ.path, get(health::alive))
        .route(catalogue::READYZ.path, get(health::ready))
        .route(catalogue::METRICS.path, get(metrics::show))
        .route(catalogue::OPENAPI.path, get(openapi::show))
        .route(catalogue::START.path, get(start::page))
        .route("/assets/style.css", get(start::style))
        .route("/assets/app.js", get(start::script))
        .route("/assets/rows.js", get(start::rows))
        .fallback(edge::nowhere)
        .method_not_allowed_fallback(edge::wrong_method)
        .layer(from_fn_with_state(state.clone(), metrics::measure))
        .layer(from_fn_with_state(state.clone(), edge::guard))
        .with_state(state)
}
