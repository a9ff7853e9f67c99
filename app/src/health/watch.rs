//! Turns counters that are read once a second into rates, ages and delays.

use std::collections::VecDeque;
use std::time::Duration;

use skytide_core::id::Epoch;
use skytide_core::time::Timestamp;

/// Maximum number of samples of the log that wait for their commit: ten minutes of them.
const SAMPLES_MAX: usize = 600;
/// Time over which the share of commits is averaged, in ms.
const SHARE_MS: u64 = 10_000;

/// How long a value has not changed.
#[derive(Debug, Default)]
pub struct Unchanged<T>(Option<(T, Timestamp)>);

impl<T: PartialEq + Copy> Unchanged<T> {
    /// Records the value at a time. Returns how long it has been the same.
    pub fn observe(&mut self, value: T, now: Timestamp) -> Duration {
        let (_, since) = match self.0 {
            Some(seen) if seen.0 == value => seen,
            _ => *self.0.insert((value, now)),
        };
        since_then(since, now)
    }
}

/// How long the oldest epoch that is not committed has been in the log.
#[derive(Debug, Default)]
pub struct CommitDelay(VecDeque<(Epoch, Timestamp)>);

impl CommitDelay {
    /// Records the newest epoch in the log and the newest committed one. Returns the delay.
    pub fn observe(&mut self, in_log: Epoch, committed: Epoch, now: Timestamp) -> Duration {
        let samples = &mut self.0;
        let is_new = samples.back().is_none_or(|(epoch, _)| *epoch < in_log);
        if is_new && samples.len() < SAMPLES_MAX {
            samples.push_back((in_log, now));
        }
        while samples
            .front()
            .is_some_and(|(epoch, _)| *epoch <= committed)
        {
            samples.pop_front();
        }
        let oldest = samples.front();
        oldest.map_or(Duration::ZERO, |(_, seen)| since_then(*seen, now))
    }
}

/// The share of the last seconds that was spent in commits.
#[derive(Debug, Default)]
pub struct CommitShare(VecDeque<(Timestamp, f64)>);

impl CommitShare {
    /// Records the total time of commits, in seconds. Returns the share, from 0 to 1.
    pub fn observe(&mut self, seconds: f64, now: Timestamp) -> f64 {
        let samples = &mut self.0;
        samples.push_back((now, seconds));
        while samples.len() > 2 && now.0.saturating_sub(samples[1].0.0) >= SHARE_MS {
            samples.pop_front();
        }
        let (first, before) = samples[0];
        let elapsed = since_then(first, now).as_secs_f64();
        if elapsed == 0.0 {
            return 0.0;
        }
        ((seconds - before) / elapsed).clamp(0.0, 1.0)
    }
}

/// Whether checkpoints get done.
#[derive(Debug)]
pub struct CheckpointWatch {
    interval: Duration,
    completed: Unchanged<u64>,
    /// The number of failures and of commits when the newest checkpoint was completed.
    at_completion: Option<(u64, u64, u64)>,
}

impl CheckpointWatch {
    /// Checkpoints are expected at this interval.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            completed: Unchanged::default(),
            at_completion: None,
        }
    }

    /// Records the numbers of completed and failed checkpoints, and of commits. Returns why
    /// checkpoints do not get done, if they do not. Without commits none is expected.
    pub fn observe(
        &mut self,
        completed: u64,
        failed: u64,
        commits: u64,
        now: Timestamp,
    ) -> Option<String> {
        let age = self.completed.observe(completed, now);
        let (_, failed_before, commits_before) = match self.at_completion {
            Some(before) if before.0 == completed => before,
            _ => *self.at_completion.insert((completed, failed, commits)),
        };
        let failures = failed.saturating_sub(failed_before);
        let age_s = age.as_secs();
        if failures > 0 {
            return Some(format!(
                "{failures} checkpoints failed since the newest complete one, {age_s} s ago or \
                 earlier"
            ));
        }
        let is_late = age > self.interval * 2 + Duration::from_secs(60);
        (is_late && commits > commits_before).then(|| {
            let interval = self.interval.as_secs();
            format!("no checkpoint was completed for {age_s} s; one is due every {interval} s")
        })
    }
}

fn since_then(then: Timestamp, now: Timestamp) -> Duration {
    Duration::from_millis(now.0.saturating_sub(then.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_the_age_of_the_oldest_epoch_that_is_not_committed() {
        let mut delay = CommitDelay::default();
        let mut observe = |in_log, committed, second: u64| {
            let delay = delay.observe(Epoch(in_log), Epoch(committed), Timestamp(second * 1_000));
            delay.as_secs()
        };
        assert_eq!(observe(10, 10, 0), 0);
        assert_eq!(observe(30, 25, 1), 0, "first seen now");
        assert_eq!(observe(50, 28, 2), 1, "30 is in the log for a second");
        assert_eq!(observe(50, 30, 9), 7, "50 is in the log for seven seconds");
        assert_eq!(observe(50, 50, 10), 0);
        for second in 0..10_000 {
            observe(51 + second, 50, 10 + second);
        }
        assert_eq!(observe(20_000, 50, 10_010), 10_000);
    }

    #[test]
    fn the_share_of_commits_is_that_of_the_last_ten_seconds() {
        let mut share = CommitShare::default();
        assert_eq!(share.observe(0.0, Timestamp(0)), 0.0);
        for second in 1..=20_u32 {
            share.observe(f64::from(second), Timestamp(u64::from(second) * 1_000));
        }
        let mut last = 1.0;
        for second in 21..=30 {
            let now = share.observe(20.0, Timestamp(second * 1_000));
            assert!(now < last, "{now} {last}");
            last = now;
        }
        assert_eq!(last, 0.0);
    }

    #[test]
    fn a_checkpoint_is_late_only_if_something_was_committed() {
        let mut watch = CheckpointWatch::new(Duration::from_secs(300));
        let mut observe = |completed, failed, commits, second: u64| {
            watch.observe(completed, failed, commits, Timestamp(second * 1_000))
        };
        assert_eq!(observe(1, 0, 100, 0), None);
        assert_eq!(observe(1, 0, 100, 10_000), None);
        assert_eq!(observe(1, 0, 101, 660), None);
        let late = observe(1, 0, 101, 661).expect("it is late");
        assert!(late.contains("661 s"), "{late}");
        let failed = observe(1, 2, 101, 662).expect("it failed");
        assert!(failed.starts_with("2 checkpoints failed"), "{failed}");
        assert_eq!(observe(2, 2, 101, 663), None);
    }
}
