//! Rates and shares of an interval, as they are shown.

use serde::Serialize;
use skytide_core::port::graph::{Progress, WorkerReport};
use skytide_core::time::Timestamp;

use super::recent::Recent;
use crate::state::ApiContext;

/// How far the dataflow is.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ShownProgress {
    #[serde(flatten)]
    now: Progress,
    as_of: Option<String>,
    /// The age of the newest commit's network time.
    lag_ms: Option<u64>,
    recent: ProgressRates,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ProgressRates {
    events_per_second: f64,
    rows_per_second: f64,
    commits_per_second: f64,
    /// The share of the time in which a commit was in progress.
    commit_share: f64,
}

/// The shares of a worker's time, from 0 to 1.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Shares {
    /// The length of the interval, as the worker measured it.
    pub seconds: f64,
    pub busy: f64,
    pub parked: f64,
    pub step: f64,
    pub feed: f64,
    pub consolidate: f64,
    pub commit_wait: f64,
    pub batch_wait: f64,
    pub cut: f64,
    pub other: f64,
}

/// What an operator did in the interval.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct OperatorRates {
    /// Its share of the time of all workers, from 0 to 1.
    pub share: f64,
    /// Its share of the time of each worker, in the order of `workers`.
    pub share_by_worker: Vec<f64>,
    pub activations_per_second: f64,
    pub input_records_per_second: f64,
    pub output_records_per_second: f64,
}

impl ShownProgress {
    pub(super) fn new(now: Progress, recent: &Recent, context: &ApiContext) -> Self {
        let changed = recent.progress.unwrap_or_default();
        let rate = |n: u64| per_second(n, changed.running_seconds);
        Self {
            now,
            as_of: now.network_time.known().map(Timestamp::rfc3339),
            lag_ms: context.age_ms(now.network_time),
            recent: ProgressRates {
                events_per_second: rate(changed.events),
                rows_per_second: rate(changed.rows),
                commits_per_second: rate(changed.commits),
                commit_share: share(changed.commit_seconds, changed.running_seconds),
            },
        }
    }
}

/// A part of a whole, from 0 to 1.
pub(super) fn share(part: f64, whole: f64) -> f64 {
    match whole > 0.0 {
        true => (part / whole).min(1.0),
        false => 0.0,
    }
}

pub(super) fn per_second(count: u64, seconds: f64) -> f64 {
    match seconds > 0.0 {
        true => count as f64 / seconds,
        false => 0.0,
    }
}

impl From<&WorkerReport> for Shares {
    fn from(changed: &WorkerReport) -> Self {
        let of = |seconds: f64| share(seconds, changed.running_seconds);
        Self {
            seconds: changed.running_seconds,
            busy: of(changed.busy_seconds),
            parked: of(changed.parked_seconds),
            step: of(changed.step_seconds),
            feed: of(changed.feed_seconds),
            consolidate: of(changed.consolidate_seconds),
            commit_wait: of(changed.commit_wait_seconds),
            batch_wait: of(changed.batch_wait_seconds),
            cut: of(changed.cut_seconds),
            other: of(changed.other_seconds),
        }
    }
}
