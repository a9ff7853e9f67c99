//! Decides what the pipeline waits for: the cause, and not a part that waits for the cause.
//!
//! ```text
//! relay ─▶ log ─▶ workers ─▶ store          a part that stops, stops the parts before it:
//!           ▲ trimmed by checkpoints        so causes are looked for from the end to the start
//! ```
//!
//! [`Observed::wait`] is a pure function. Its order is documented in `docs/health.md`.

use std::time::Duration;

use skytide_core::port::explanation::Explanation;
use skytide_core::port::memory::{MemoryExcess, MemoryUse};
use skytide_core::port::wait::{Wait, WaitWord};
use skytide_dataflow::CommitProgress;

/// A commit that takes at least this long is reported.
const COMMIT_MIN: Duration = Duration::from_secs(2);
/// A commit that ended longer ago than this says nothing about the store now.
const COMMIT_AGE_MAX: Duration = Duration::from_secs(5);
/// The dataflow is behind if it has not committed what the log had this long ago.
const BEHIND_MIN: Duration = Duration::from_secs(5);
/// If the dataflow is behind and spends at least this share of the time in commits, the store is the
/// cause; otherwise the workers.
const COMMIT_SHARE_MIN: f64 = 0.5;
/// Time without a commit, or without an epoch in the log, after which the other process that makes
/// them is reported.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// What a process observes of the pipeline. A field is `None`, or has its default, if the process
/// does not have the part or the part works.
#[derive(Debug, Default)]
pub struct Observed {
    /// How far this machine's clock is behind the stream while that stops reading, in ms.
    pub clock_behind_ms: Option<u64>,
    /// Which processes of the cluster are missing.
    pub cluster: Option<Explanation>,
    /// The process that is over its memory limit, while that stops the dataflow.
    pub memory: Option<MemoryExcess>,
    /// Why the log does not answer.
    pub log_failure: Option<Explanation>,
    /// The size of the log and its limit, in bytes, if it has reached the limit.
    pub log_full: Option<(u64, u64)>,
    /// Why the view store does not answer.
    pub store_failure: Option<Explanation>,
    /// What the committer does.
    pub commits: CommitProgress,
    /// The share of the last seconds that was spent in commits, from 0 to 1.
    pub commit_share: f64,
    /// What the dataflow does after a start.
    pub recovery: Option<String>,
    /// What waits for the dataflow.
    pub backlog: Backlog,
    /// Why checkpoints do not get done.
    pub checkpoint: Option<String>,
    /// How long another process has committed nothing.
    pub no_commit: Option<Duration>,
    /// How long another process has written no epoch to the log.
    pub no_epoch: Option<Duration>,
    /// Why no frames arrive from the relay.
    pub relay: Option<String>,
}

/// What waits for the dataflow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backlog {
    /// How long the oldest epoch that is not committed has been in the log.
    pub behind: Duration,
    /// Epochs in the log that are not committed.
    pub epochs: u64,
    /// Events that were read from the log and not fed to the workers.
    pub events: i64,
    /// Batches that were fed to the workers and are not committed.
    pub batches: i64,
}

impl Observed {
    /// What the pipeline waits for.
    pub fn wait(&self) -> Wait {
        let causes = [
            self.clock(),
            self.cluster
                .clone()
                .map(|it| Wait::new(WaitWord::Cluster, it)),
            self.memory(),
            self.log_failure
                .clone()
                .map(|it| Wait::new(WaitWord::Log, it)),
            self.store(),
            public(WaitWord::Recovery, self.recovery.clone()),
            self.workers(),
            self.log_full(),
            self.silent(WaitWord::Indexer, self.no_commit, "committed nothing"),
            self.silent(
                WaitWord::Ingest,
                self.no_epoch,
                "written nothing to the log",
            ),
            public(WaitWord::Relay, self.relay.clone()),
            public(WaitWord::Checkpoint, self.checkpoint.clone()),
        ];
        let cause = causes.into_iter().flatten().next();
        cause.unwrap_or_else(Wait::nothing)
    }

    fn clock(&self) -> Option<Wait> {
        let behind_ms = self.clock_behind_ms?;
        let sentence = format!(
            "reading has stopped: this machine's clock is {} behind the time of the stream; correct \
             the clock",
            seconds(Duration::from_millis(behind_ms))
        );
        public(WaitWord::Clock, Some(sentence))
    }

    fn memory(&self) -> Option<Wait> {
        let memory = memory_text(&self.memory?);
        let sentence = format!(
            "counting has stopped: {memory}; raise INDEXER_MEMORY_MAX, or compute fewer views \
             (INDEXER_VIEWS), and restart"
        );
        public(WaitWord::Memory, Some(sentence))
    }

    fn store(&self) -> Option<Wait> {
        let wait = |sentence| Some(Wait::new(WaitWord::Store, sentence));
        let CommitProgress {
            running,
            last,
            since_last,
            failures,
            failure,
            ..
        } = &self.commits;
        let batches = self.backlog.batches;
        if let Some(failure) = failure {
            let running = seconds(running.unwrap_or_default());
            let sentence = failure.clone().map_public(|_| {
                format!(
                    "the view store accepts no commit: {failures} attempts failed in {running}; \
                     {batches} batches wait"
                )
            });
            return wait(sentence);
        }
        if let Some(failure) = &self.store_failure {
            return wait(failure.clone());
        }
        let is_new = since_last.is_some_and(|since| since <= COMMIT_AGE_MAX);
        let running = running.unwrap_or_default();
        let longest = running.max(*last);
        let is_slow = running >= COMMIT_MIN
            || is_new && *last >= COMMIT_MIN
            || self.backlog.behind >= BEHIND_MIN && self.commit_share >= COMMIT_SHARE_MIN;
        let sentence = format!(
            "the view store needs {} a commit; {batches} batches wait",
            seconds(longest)
        );
        is_slow.then(|| Wait::new(WaitWord::Store, Explanation::new(sentence)))
    }

    fn workers(&self) -> Option<Wait> {
        let Backlog {
            behind,
            epochs,
            events,
            batches,
        } = self.backlog;
        let sentence = format!(
            "the workers are {} behind the log: {epochs} epochs wait, with {events} events and \
             {batches} batches in memory",
            seconds(behind)
        );
        public(
            WaitWord::Workers,
            (behind >= BEHIND_MIN).then_some(sentence),
        )
    }

    fn log_full(&self) -> Option<Wait> {
        let (bytes, bytes_max) = self.log_full?;
        let full = format!("the log is full: {} of {}", mib(bytes), mib(bytes_max));
        let (word, sentence) = match &self.checkpoint {
            Some(checkpoint) => (
                WaitWord::Checkpoint,
                format!("{checkpoint}; so the log is not trimmed, and {full}"),
            ),
            None => (
                WaitWord::Log,
                format!("{full}; ingest waits until it is trimmed or its limit is raised"),
            ),
        };
        public(word, Some(sentence))
    }

    fn silent(&self, word: WaitWord, silence: Option<Duration>, what: &str) -> Option<Wait> {
        let silence = silence.filter(|it| *it >= SILENCE_MAX)?;
        let sentence = format!(
            "the {} has {what} for {}; its own log and /readyz show why",
            word.as_str(),
            seconds(silence)
        );
        public(word, Some(sentence))
    }
}

fn public(word: WaitWord, sentence: Option<String>) -> Option<Wait> {
    sentence.map(|sentence| Wait::new(word, Explanation::new(sentence)))
}

/// The memory of a process and its limit, as the beginning of a sentence.
pub fn memory_text(excess: &MemoryExcess) -> String {
    let MemoryUse {
        used_bytes,
        bytes_max,
    } = excess.memory;
    let process = match excess.process {
        0 => "the process".to_owned(),
        number => format!("process {number} of the cluster"),
    };
    format!(
        "{process} uses {} MiB of memory, and its limit is {} MiB",
        used_bytes >> 20,
        bytes_max >> 20
    )
}

/// A duration in seconds with one digit after the point.
fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(observed: &Observed, word: WaitWord, part: &str) {
        let wait = observed.wait();
        assert_eq!(wait.word, word, "{observed:?}");
        let sentence = wait.sentence.public();
        assert!(sentence.contains(part), "{sentence}");
    }

    #[test]
    fn nothing_is_reported_while_every_part_works() {
        let observed = Observed {
            commits: CommitProgress {
                running: Some(Duration::from_millis(1_900)),
                ..CommitProgress::default()
            },
            commit_share: 1.0,
            backlog: Backlog {
                behind: Duration::from_millis(4_900),
                batches: 2,
                ..Backlog::default()
            },
            no_commit: Some(Duration::from_secs(29)),
            no_epoch: Some(Duration::from_secs(29)),
            ..Observed::default()
        };
        is(&observed, WaitWord::Nothing, "keeps up");
    }

    #[test]
    fn a_full_log_is_explained_by_its_cause() {
        let mut observed = Observed {
            log_full: Some((64 << 30, 64 << 30)),
            relay: Some("no frame has arrived for 83 s".to_owned()),
            ..Observed::default()
        };
        is(&observed, WaitWord::Log, "65536 MiB of 65536 MiB");
        observed.checkpoint = Some("the last 3 checkpoints failed".to_owned());
        is(
            &observed,
            WaitWord::Checkpoint,
            "3 checkpoints failed; so the log",
        );
        observed.backlog = Backlog {
            behind: Duration::from_millis(14_200),
            epochs: 284,
            events: 50_000,
            batches: 3,
        };
        is(
            &observed,
            WaitWord::Workers,
            "14.2 s behind the log: 284 epochs",
        );
        observed.recovery = Some("replaying the log".to_owned());
        is(&observed, WaitWord::Recovery, "replaying");
        observed.commits.last = Duration::from_millis(2_400);
        observed.commits.since_last = Some(Duration::from_secs(1));
        is(
            &observed,
            WaitWord::Store,
            "needs 2.4 s a commit; 3 batches wait",
        );
        observed.log_failure = Some(Explanation::new("the log does not answer"));
        is(&observed, WaitWord::Log, "does not answer");
        let mut excess = MemoryExcess {
            process: 0,
            memory: MemoryUse {
                used_bytes: 3 << 30,
                bytes_max: 2 << 30,
            },
            waits: true,
        };
        observed.memory = Some(excess);
        is(&observed, WaitWord::Memory, "the process uses 3072 MiB");
        excess.process = 2;
        observed.memory = Some(excess);
        is(&observed, WaitWord::Memory, "process 2 of the cluster uses");
        observed.cluster = Some(Explanation::new("waits for 2 of 4 processes"));
        is(&observed, WaitWord::Cluster, "2 of 4");
        observed.clock_behind_ms = Some(90_000);
        is(&observed, WaitWord::Clock, "90.0 s behind");
    }

    #[test]
    fn a_backlog_is_caused_by_the_store_if_commits_take_most_of_the_time() {
        let backlog = Backlog {
            behind: Duration::from_secs(6),
            batches: 2,
            ..Backlog::default()
        };
        for (commit_share, word) in [(0.6, WaitWord::Store), (0.4, WaitWord::Workers)] {
            let observed = Observed {
                backlog,
                commit_share,
                ..Observed::default()
            };
            is(&observed, word, "batches");
        }
    }

    #[test]
    fn a_slow_commit_before_the_stream_went_silent_is_no_cause() {
        let mut observed = Observed {
            commits: CommitProgress {
                last: Duration::from_millis(2_400),
                since_last: Some(Duration::from_secs(5)),
                ..CommitProgress::default()
            },
            relay: Some("no frame has arrived for 83 s".to_owned()),
            ..Observed::default()
        };
        is(&observed, WaitWord::Store, "needs 2.4 s a commit");
        observed.commits.since_last = Some(Duration::from_secs(6));
        is(&observed, WaitWord::Relay, "83 s");
    }

    #[test]
    fn the_error_of_a_failing_commit_is_private() {
        let observed = Observed {
            commits: CommitProgress {
                running: Some(Duration::from_secs(12)),
                failures: 5,
                failure: Some(Explanation::with_private("failed", "db.example:27017")),
                ..CommitProgress::default()
            },
            ..Observed::default()
        };
        is(&observed, WaitWord::Store, "5 attempts failed in 12.0 s");
        let sentence = observed.wait().sentence;
        assert!(!sentence.public().contains("db.example"), "{sentence:?}");
        assert_eq!(sentence.private(), Some("db.example:27017"));
    }

    #[test]
    fn a_process_that_sees_only_one_end_names_the_other_process() {
        let serve = Observed {
            no_commit: Some(Duration::from_secs(45)),
            ..Observed::default()
        };
        is(&serve, WaitWord::Indexer, "committed nothing for 45.0 s");
        let index = Observed {
            no_epoch: Some(Duration::from_secs(45)),
            ..Observed::default()
        };
        is(&index, WaitWord::Ingest, "for 45.0 s");
    }
}
