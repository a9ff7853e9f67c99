//! The views: each a function from facts to rows, in a file of its own.

pub mod accounts;
pub mod activity;
pub mod actors;
pub mod changes;
pub mod handles;
pub mod interactions;
pub mod posts;
pub mod top_actors;
pub mod top_posts;
pub mod trends;

#[cfg(test)]
mod fan_out;
