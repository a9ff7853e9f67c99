//! The views: each is a function from facts to rows, in a file of its own.
//!
//! Some views are top lists. They are written about once per second of network time, in epochs
//! whose [`Clock::lists`](crate::types::Clock) is set. Each worker then emits the lists of its own
//! keys, and [`lists`](crate::operators::lists) merges them.

mod account_table;
pub mod accounts;
pub mod activity;
pub mod actors;
pub mod changes;
pub mod coverage;
pub mod handles;
pub mod interactions;
mod post_table;
pub mod posts;
pub mod top_actors;
pub mod top_posts;
pub mod trends;

#[cfg(test)]
mod fan_out;
