//! Bounds the requests to the source of profiles, of the job and on demand together.

use std::collections::VecDeque;

use skytide_core::time::Timestamp;

/// The time in which requests are counted.
const PERIOD_MS: u64 = 60_000;

/// The times of the requests of the last minute.
#[derive(Debug)]
pub(super) struct CallBudget {
    calls_max: usize,
    sent: VecDeque<Timestamp>,
}

impl CallBudget {
    /// Allows twice `run_calls_max` requests a minute: what the job sends by default, which runs
    /// twice a minute.
    pub(super) fn new(run_calls_max: usize) -> Self {
        Self {
            calls_max: run_calls_max.saturating_mul(2),
            sent: VecDeque::new(),
        }
    }

    /// Number of requests that may be sent now.
    pub(super) fn left(&mut self, now: Timestamp) -> usize {
        // The clock may have been set back since a request.
        self.sent.retain(|sent| now.0.abs_diff(sent.0) < PERIOD_MS);
        self.calls_max.saturating_sub(self.sent.len())
    }

    /// Number of requests that may be sent on demand now. The other half is left to the job, so
    /// that clients of the API cannot keep it from its work.
    pub(super) fn left_on_demand(&mut self, now: Timestamp) -> usize {
        self.left(now).saturating_sub(self.calls_max / 2)
    }

    /// Counts a request.
    pub(super) fn record(&mut self, now: Timestamp) {
        self.sent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_a_minute_are_bounded_and_half_of_them_are_not_on_demand() {
        let mut budget = CallBudget::new(2);
        let at = |ms: u64| Timestamp(1_783_175_888_000 + ms);
        assert_eq!((budget.left(at(0)), budget.left_on_demand(at(0))), (4, 2));
        budget.record(at(0));
        assert_eq!((budget.left(at(1)), budget.left_on_demand(at(1))), (3, 1));
        for ms in [10, 20, 30] {
            budget.record(at(ms));
        }
        assert_eq!(
            (budget.left(at(59_999)), budget.left_on_demand(at(59_999))),
            (0, 0)
        );
        assert_eq!(
            (budget.left(at(60_000)), budget.left_on_demand(at(60_000))),
            (1, 0)
        );
        assert_eq!(budget.left(at(60_030)), 4);
    }
}
