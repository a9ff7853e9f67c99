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

    /// Records that the commit in progress succeeded.
    pub(super) fn succeed(&self) {
        let mut state = self.lock();
        let started = state.started.take();
        state.progress = CommitProgress {
            last: started.map_or(Duration::ZERO, |started| started.elapsed()),
            ..CommitProgress::default()
        };
    }

    pub(super) fn progress(&self) -> CommitProgress {
        let state = self.lock();
        CommitProgress {
            running: state.started.map(|started| started.elapsed()),
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
    }
}
