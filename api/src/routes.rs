//! One module per resource. A handler parses the request, runs one query, and shapes the answer.

pub(crate) mod actors;
pub(crate) mod as_of;
pub(crate) mod dataflow;
pub(crate) mod dataflow_page;
pub(crate) mod entries;
pub(crate) mod health;
pub(crate) mod interactions;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod lists;
pub(crate) mod metrics;
pub(crate) mod network;
pub(crate) mod original;
pub(crate) mod posts;
pub(crate) mod series;
pub(crate) mod snapshots;
pub(crate) mod start;
pub(crate) mod stream;
pub(crate) mod trend;
pub(crate) mod trends;
pub(crate) mod views;
