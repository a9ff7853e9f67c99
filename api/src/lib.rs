//! The views over HTTP: JSON, server-sent events, metrics and the start page. The API reads
//! committed rows and the data that jobs write: snapshots, profiles, job states.
//!
//! ```text
//! request ─▶ middleware ─▶ params ─▶ routes::* ─▶ answer ─▶ ViewReader
//!            limits        known,    one query    rows of one commit,
//!            CORS          in range               with epoch, time, coverage
//! ```
//!
//! [`router`] is the whole app without a socket; [`run`] serves it on one. One table (`catalogue`)
//! lists the routes and their parameters: requests are checked against it, and `openapi.json` is
//! generated from it. `docs/api.md` is the page for clients.

mod access;
mod account;
mod answer;
mod cache;
mod catalogue;
mod client;
mod commit_ref;
mod compressed;
mod connection_state;
mod cursor;
mod demand;
mod estimate;
mod example_metrics;
mod exposition;
mod guard;
mod handles;
mod health;
mod hosts;
mod limiter;
mod metrics;
mod middleware;
mod missing;
mod openapi;
mod options;
mod params;
mod probe;
mod problem;
mod request_id;
mod respond;
mod route;
mod routes;
mod routing;
mod server;
mod sizes;
mod state;
mod target;
mod velocity;

pub use catalogue::COST_MAX;
pub use example_metrics::{register_api_examples, register_probe_examples};
pub use health::{Health, Part};
pub use openapi::describe;
pub use options::{AccessOptions, Limits, Options, RateLimit};
pub use probe::{Probe, ProbeState, api_probe_router, probe_router};
pub use routing::{ApiState, router};
pub use server::{ServeError, Server, run};
