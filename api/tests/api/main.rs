//! The API as its users see it: requests go through [`skytide_api::router`], rows stand in the memory store.
//!
//! - `lists`: trends, single keys, pages, velocity
//! - `subjects`: posts, accounts, interactions
//! - `past`, `jobs`, `profiles`: what the jobs keep
//! - `network`: activity, the catalogue, health, metrics
//! - `refusals`: slips of clients, limits, methods, CORS, caching
//! - `failures`: what goes wrong on our side
//! - `commits`: answers while commits come between
//! - `stream`: server-sent events
//! - `described`: openapi.json and what is really answered; the start page
//! - `limits`: texts in answers are bounded, whatever the rows hold
//! - `socket`: binding, bounded stop
//! - `connections`: clients that hold connections

mod commits;
mod connections;
mod described;
mod failures;
mod jobs;
mod limits;
mod lists;
mod network;
mod past;
mod profiles;
mod refusals;
mod schema;
mod socket;
mod stream;
mod subjects;
mod world;
