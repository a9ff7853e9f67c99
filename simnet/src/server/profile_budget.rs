//! The request budget of the AppView, and its random failures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use skytide_core::time::Timestamp;

use crate::random::Random;

/// How profiles are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileOptions {
    /// Maximum number of requests in a period. Further ones are answered with 429.
    pub requests_max: u64,
    /// Length of the period.
    pub period: Duration,
    /// Minimum duration of each answer.
    pub latency: Duration,
    /// This many requests per million fail, with 500, 502 and 503 in turn.
    pub failures_per_million: u32,
    /// Seed of the random failures.
    pub seed: u64,
}

impl Default for ProfileOptions {
    /// The budget of the public AppView.
    fn default() -> Self {
        Self {
            requests_max: 3_000,
            period: Duration::from_secs(300),
            latency: Duration::ZERO,
            failures_per_million: 0,
            seed: 0,
        }
    }
}

/// The remaining requests of the current period, and counts since the start.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) options: ProfileOptions,
    period: Mutex<Period>,
    requests: AtomicU64,
    refusals: AtomicU64,
}

#[derive(Debug)]
struct Period {
    began: Timestamp,
    left: u64,
    random: Random,
    failures: usize,
}

/// How a request is answered.
pub(super) enum Verdict {
    Answer,
    Limited { wait_seconds: u64 },
    Failed(&'static Failure),
}

/// A failure of the AppView, as a client sees it.
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) name: &'static str,
    pub(super) message: &'static str,
}

const FAILURES: [Failure; 3] = [
    Failure {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        name: "InternalServerError",
        message: "Internal Server Error",
    },
    Failure {
        status: StatusCode::BAD_GATEWAY,
        name: "UpstreamFailure",
        message: "Upstream Failure",
    },
    Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        name: "NotEnoughResources",
        message: "Service Unavailable",
    },
];

impl Budget {
    pub(super) fn new(options: ProfileOptions) -> Self {
        let period = Period {
            began: Timestamp::default(),
            left: options.requests_max,
            random: Random::new(options.seed),
            failures: 0,
        };
        Self {
            options,
            period: Mutex::new(period),
            requests: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Relaxed)
    }

    /// Takes one request from the budget. Returns how to answer it, and the headers with the rest
    /// of the budget.
    pub(super) fn take(&self, now: Timestamp) -> (Verdict, HeaderMap) {
        let length = u64::try_from(self.options.period.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        if now.0 < period.began.0 || now.0 - period.began.0 >= length {
            period.began = now;
            period.left = self.options.requests_max;
        }
        let end = period.began.0.saturating_add(length);
        let verdict = match period.left.checked_sub(1) {
            None => Verdict::Limited {
                wait_seconds: (end - now.0).div_ceil(1_000),
            },
            Some(left) => {
                period.left = left;
                let drawn = period.random.below(1_000_000);
                if drawn < u64::from(self.options.failures_per_million) {
                    period.failures += 1;
                    Verdict::Failed(&FAILURES[period.failures % FAILURES.len()])
                } else {
                    Verdict::Answer
                }
            }
        };
        self.requests.fetch_add(1, Ordering::Relaxed);
        if !matches!(verdict, Verdict::Answer) {
            self.refusals.fetch_add(1, Ordering::Relaxed);
        }
        (verdict, self.headers(period.left, end))
    }

    fn headers(&self, left: u64, end_ms: u64) -> HeaderMap {
        let limit = self.options.requests_max;
        let seconds = self.options.period.as_secs();
        let mut headers = HeaderMap::new();
        headers.insert("ratelimit-limit", limit.into());
        headers.insert("ratelimit-remaining", left.into());
        headers.insert("ratelimit-reset", end_ms.div_ceil(1_000).into());
        if let Ok(policy) = format!("{limit};w={seconds}").parse() {
            headers.insert("ratelimit-policy", policy);
        }
        headers
    }
}
