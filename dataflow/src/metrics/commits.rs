//! The commit in progress and the newest failure, for health checks.

use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use skytide_core::port::explanation::Explanation;

/// What the committer does now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitProgress {
    /// How long the commit in progress has run, with its failed attempts; `None` if there is none.
    pub running: Option<Duration>,
    /// How long the newest commit took, with its failed attempts; zero before the first.
    pub last: Duration,
    /// How long ago the newest commit ended; `None` before the first.
    pub since_last: Option<Duration>,
    /// The time of all commits, without the one in progress.
    pub total: Duration,
    /// How often the commit in progress has failed.
    pub failures: u64,
    /// The newest failure of the commit in progress.
    pub failure: Option<Explanation>,
}

/// The state that [`CommitProgress`] is made from.
#[derive(Debug, Default)]
pub(super) struct CommitWatch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    started: Option<Instant>,
    ended: Option<Instant>,
    progress: CommitProgress,
}

impl CommitWatch {
    /// Records that a commit starts.
    pub(super) fn start(&self) {
        self.lock().started = Some(Instant::now());
    }

    /// Records that the commit in progress failed and will be retried.
    pub(super) fn fail(&self, error: &dyn Error) {
        let progress = &mut self.lock().progress;
        progress.failures += 1;
        progress.failure = Some(Explanation::because(
            "the view store returned an error",
            error,
        ));
    }

    /// Records that the commit in progress succeeded. Returns how long it took.
    pub(super) fn succeed(&self) -> Duration {
        let mut state = self.lock();
        let now = Instant::now();
        let started = state.started.take();
        let took = started.map_or(Duration::ZERO, |started| now.duration_since(started));
        state.ended = Some(now);
        // A reader finds the time either here or in the commit in progress.
        state.progress = CommitProgress {
            last: took,
            total: state.progress.total + took,
            ..CommitProgress::default()
        };
        took
    }

    pub(super) fn progress(&self) -> CommitProgress {
        let state = self.lock();
        CommitProgress {
            running: state.started.map(|started| started.elapsed()),
            since_last: state.ended.map(|ended| ended.elapsed()),
            ..state.progress.clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::port::store::StoreError;

    #[test]
    fn failures_count_until_the_commit_succeeds() {
        let watch = CommitWatch::default();
        assert_eq!(watch.progress(), CommitProgress::default());
        watch.start();
        for _ in 0..3 {
            watch.fail(&StoreError::Failed {
                operation: "write rows",
                source: "db.example:27017 is gone".into(),
            });
        }
        let failing = watch.progress();
        let failure = failing.failure.expect("a failure");
        assert_eq!((failing.failures, failing.running.is_some()), (3, true));
        assert!(!failure.public().contains("db.example"), "{failure:?}");
        assert!(failure.in_full().ends_with("db.example:27017 is gone"));
        watch.succeed();
        let done = watch.progress();
        assert_eq!((done.failures, done.failure, done.running), (0, None, None));
        assert!(done.since_last.is_some());
        // The time of the commit moved to the total.
        assert_eq!((done.total, failing.total), (done.last, Duration::ZERO));
        assert!(done.total >= failing.running.unwrap_or_default());
        watch.start();
        let both = done.last + watch.succeed();
        assert_eq!(watch.progress().total, both);
    }
}
