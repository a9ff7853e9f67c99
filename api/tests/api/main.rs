//! The API as its clients see it: requests go through [`skytide_api::router`], rows are in the
//! memory store.
//!
//! - `lists`: trends, single keys, pages, velocity
//! - `handles`: which account a handle names
//! - `targets`: posts, accounts, interactions
//! - `as_of`, `jobs`, `profiles`: what the jobs store
//! - `network`: activity, the catalogue, health, metrics
//! - `http`: client errors, limits, methods, CORS, caching
//! - `failures`: failures on the server's side
//! - `cache`: shared reads, reuse, entity tags
//! - `original`: the contract of another API
//! - `encodings`: compressed answers, memory of many answers
//! - `request_ids`: the id of a request in answers
//! - `public`: what everybody may read of the health, and what only the operator may
//! - `coverage`: what is known to be missing
//! - `commits`: answers while commits come between their reads
//! - `dataflow`: the graph of the dataflow
//! - `stream`: server-sent events
//! - `openapi`: answers match openapi.json; the start page
//! - `text_limits`: texts in answers are bounded, whatever the rows hold
//! - `selection`: views that are left out
//! - `socket`: binding, bounded stop
//! - `connections`: clients that hold connections

mod as_of;
mod audit;
mod cache;
mod commits;
mod connections;
mod coverage;
mod dataflow;
mod encodings;
mod failures;
mod handles;
mod http;
mod jobs;
mod lists;
mod network;
mod openapi;
mod original;
mod profiles;
mod public;
mod request_ids;
mod schema;
mod selection;
mod socket;
mod stream;
mod targets;
mod text_limits;
mod world;
