//! Bounds the requests to the source of profiles, of the job and on demand together.
//!
//! ```text
//! requests of a minute ─┬─ on demand: at most half of them
//!                       └─ the job: all but a quarter, which it leaves to on demand
//! ```

use std::collections::VecDeque;

use skytide_core::time::Timestamp;

/// The time in which requests are counted.
const PERIOD_MS: u64 = 60_000;

/// Why a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A run of the job.
    Job,
    /// The API requested the profile.
    OnDemand,
}

/// The times of the requests of the last minute.
#[derive(Debug)]
pub(super) struct CallBudget {
    calls_max: usize,
    sent: VecDeque<(Timestamp, Purpose)>,
}

impl CallBudget {
    /// Allows twice `run_calls_max` requests a minute, because the job runs twice a minute by
    /// default.
    pub(super) fn new(run_calls_max: usize) -> Self {
        Self {
            calls_max: run_calls_max.saturating_mul(2),
            sent: VecDeque::new(),
        }
    }

    /// Number of requests that may be sent now for this purpose. Neither one can keep the other
    /// from its work: clients of the API get at most half, and the job leaves them a quarter.
    pub(super) fn left(&mut self, purpose: Purpose, now: Timestamp) -> usize {
        // The clock may have been set back since a request.
        let is_recent = |sent: Timestamp| now.0.abs_diff(sent.0) < PERIOD_MS;
        self.sent.retain(|(sent, _)| is_recent(*sent));
        let left = self.calls_max.saturating_sub(self.sent.len());
        let on_demand = |(_, purpose): &&(Timestamp, Purpose)| *purpose == Purpose::OnDemand;
        let on_demand = self.sent.iter().filter(on_demand).count();
        match purpose {
            Purpose::OnDemand => left.min((self.calls_max / 2).saturating_sub(on_demand)),
            Purpose::Job => left.saturating_sub(self.reserve().saturating_sub(on_demand)),
        }
    }

    /// Number of requests a minute that the job leaves to on demand.
    fn reserve(&self) -> usize {
        self.calls_max.div_ceil(4)
    }

    /// Counts a request.
    pub(super) fn record(&mut self, purpose: Purpose, now: Timestamp) {
        self.sent.push_back((now, purpose));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(1_783_175_888_000 + ms)
    }

    /// What is left for the job and on demand.
    fn left(budget: &mut CallBudget, ms: u64) -> (usize, usize) {
        let job = budget.left(Purpose::Job, at(ms));
        (job, budget.left(Purpose::OnDemand, at(ms)))
    }

    #[test]
    fn requests_of_a_minute_are_bounded_and_half_of_them_are_not_on_demand() {
        let mut budget = CallBudget::new(2);
        assert_eq!(left(&mut budget, 0), (3, 2));
        budget.record(Purpose::OnDemand, at(0));
        assert_eq!(left(&mut budget, 1), (3, 1));
        budget.record(Purpose::OnDemand, at(10));
        assert_eq!(left(&mut budget, 11), (2, 0));
        for ms in [20, 30] {
            budget.record(Purpose::Job, at(ms));
        }
        assert_eq!(left(&mut budget, 59_999), (0, 0));
        assert_eq!(left(&mut budget, 60_000), (1, 1));
        assert_eq!(left(&mut budget, 60_030), (3, 2));
    }

    #[test]
    fn a_job_with_a_backlog_leaves_a_quarter_to_requests_on_demand() {
        let mut budget = CallBudget::new(40);
        let mut sent = 0;
        while budget.left(Purpose::Job, at(0)) > 0 {
            budget.record(Purpose::Job, at(0));
            sent += 1;
        }
        assert_eq!(sent, 60);
        assert_eq!(left(&mut budget, 1), (0, 20));
    }
}
