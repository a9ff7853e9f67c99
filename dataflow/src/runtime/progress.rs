//! How far a worker has come: what it was fed, and what all workers have completed.

use std::collections::VecDeque;

use skytide_core::time::Timestamp;

use crate::types::Time;

/// The end of a time: its last epoch, and network time there.
#[derive(Clone, Copy, Debug)]
struct Mark {
    time: Time,
    now: Timestamp,
}

/// The progress of one worker. It has an entry for each time that is not complete: a batch has two
/// at most.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    complete: Option<Mark>,
    incomplete: VecDeque<Mark>,
}

impl Progress {
    /// Records that the worker was fed a time, which ends at this network time.
    pub fn fed(&mut self, time: Time, now: Timestamp) {
        self.incomplete.push_back(Mark { time, now });
    }

    /// Records that all times before `frontier` are complete.
    pub fn completed_before(&mut self, frontier: Time) {
        while let Some(mark) = self.incomplete.pop_front_if(|mark| mark.time < frontier) {
            self.complete = Some(mark);
        }
    }

    /// The newest complete epoch; 0 if there is none.
    pub fn epoch(&self) -> u64 {
        self.complete.map_or(0, |mark| u64::from(mark.time))
    }

    /// Epochs from the newest complete one to the newest one that was fed. Before the first epoch
    /// is complete, they are counted from the first time that was fed.
    pub fn lag_epochs(&self) -> u64 {
        let lag = self.lag().map(|(from, to)| to.time - from.time);
        u64::from(lag.unwrap_or_default())
    }

    /// The same in seconds of network time.
    pub fn lag_seconds(&self) -> f64 {
        let lag = self.lag();
        let ms = lag.map(|(from, to)| to.now.0.saturating_sub(from.now.0));
        ms.unwrap_or_default() as f64 / 1e3
    }

    fn lag(&self) -> Option<(Mark, Mark)> {
        let from = self.complete.or_else(|| self.incomplete.front().copied());
        from.zip(self.incomplete.back().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(progress: &Progress, epoch: u64, lag: (u64, f64)) {
        let found = (progress.lag_epochs(), progress.lag_seconds());
        assert_eq!((progress.epoch(), found), (epoch, lag), "{progress:?}");
    }

    #[test]
    fn the_lag_is_what_was_fed_beyond_the_newest_complete_epoch() {
        let mut progress = Progress::default();
        check(&progress, 0, (0, 0.0));
        progress.fed(41, Timestamp(10_000));
        progress.fed(60, Timestamp(11_500));
        check(&progress, 0, (19, 1.5));
        progress.completed_before(41);
        check(&progress, 0, (19, 1.5));
        progress.completed_before(42);
        check(&progress, 41, (19, 1.5));
        progress.completed_before(61);
        check(&progress, 60, (0, 0.0));
        progress.fed(75, Timestamp(12_250));
        check(&progress, 60, (15, 0.75));
        progress.completed_before(Time::MAX);
        check(&progress, 75, (0, 0.0));
    }
}
