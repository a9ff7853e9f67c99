//! What a worker does at any moment, outside of its operators: it feeds, steps, consolidates, waits.
//!
//! A worker does exactly one [`Activity`] at a time, so the times of all activities add up to the
//! time since it started.

use std::time::{Duration, Instant};

use skytide_core::port::graph::WorkerReport;

/// What a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Something else: it starts, builds the graph, forwards commands, or reports.
    #[default]
    Other,
    /// It waits for the next command.
    WaitForBatch,
    /// It feeds its part of a batch into the graph.
    Feed,
    /// It steps the graph: it runs operators, exchanges messages, or is parked.
    Step,
    /// It consolidates the changed rows of a batch.
    Consolidate,
    /// It waits until the committer accepts its rows.
    WaitForCommitter,
    /// It serializes its part of a checkpoint.
    Cut,
}

const ACTIVITIES: usize = 7;

/// What a worker does, and when it began.
pub(crate) type Wait = (Activity, Instant);

/// Measures the time of each activity.
#[derive(Debug)]
pub(crate) struct WorkerClock {
    started: Instant,
    totals: [Duration; ACTIVITIES],
    current: Activity,
    since: Instant,
}

impl WorkerClock {
    /// Starts at `now`.
    pub fn start(now: Instant) -> Self {
        Self {
            started: now,
            totals: [Duration::ZERO; ACTIVITIES],
            current: Activity::default(),
            since: now,
        }
    }

    /// Ends the current activity at `now`, and begins another one.
    pub fn switch(&mut self, activity: Activity, now: Instant) {
        self.totals[self.current as usize] += now.duration_since(self.since);
        self.current = activity;
        self.since = now;
    }

    /// Writes the times until `now`, and the CPU time of this thread, into a report whose `busy_seconds` and `parked_seconds` are
    /// known. `busy_elsewhere` is the part of the busy time outside of [`Activity::Step`]: a worker
    /// of another process also runs operators while it waits for a command.
    pub fn fill(&self, report: &mut WorkerReport, busy_elsewhere: Duration, now: Instant) {
        let mut totals = self.totals;
        totals[self.current as usize] += now.duration_since(self.since);
        let seconds = |activity: Activity| totals[activity as usize].as_secs_f64();
        let busy_elsewhere = busy_elsewhere.as_secs_f64();
        let in_step = report.busy_seconds - busy_elsewhere + report.parked_seconds;
        report.running_seconds = now.duration_since(self.started).as_secs_f64();
        report.step_seconds = (seconds(Activity::Step) - in_step).max(0.0);
        report.feed_seconds = seconds(Activity::Feed);
        report.consolidate_seconds = seconds(Activity::Consolidate);
        report.commit_wait_seconds = seconds(Activity::WaitForCommitter);
        report.batch_wait_seconds = (seconds(Activity::WaitForBatch) - busy_elsewhere).max(0.0);
        report.cut_seconds = seconds(Activity::Cut);
        report.other_seconds = seconds(Activity::Other);
        report.cpu_seconds = thread_cpu_seconds();
    }
}

/// The CPU time of this thread, in user mode and in the kernel.
#[cfg(unix)]
fn thread_cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

#[cfg(not(unix))]
fn thread_cpu_seconds() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(report: &WorkerReport) -> f64 {
        report.busy_seconds
            + report.parked_seconds
            + report.step_seconds
            + report.feed_seconds
            + report.consolidate_seconds
            + report.commit_wait_seconds
            + report.batch_wait_seconds
            + report.cut_seconds
            + report.other_seconds
    }

    #[test]
    fn the_times_of_a_worker_add_up_to_the_time_since_it_started() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = WorkerClock::start(start);
        for (ms, activity) in [
            (1, Activity::WaitForBatch),
            (11, Activity::Feed),
            (14, Activity::Step),
            (64, Activity::Consolidate),
            (68, Activity::WaitForCommitter),
            (88, Activity::Cut),
            (95, Activity::Other),
            (96, Activity::WaitForBatch),
        ] {
            clock.switch(activity, at(ms));
        }
        let mut report = WorkerReport {
            busy_seconds: 0.035,
            parked_seconds: 0.012,
            ..WorkerReport::default()
        };
        clock.fill(&mut report, Duration::from_millis(2), at(200));
        let ms = |seconds: f64| (seconds * 1e3).round() as i64;
        assert_eq!(ms(report.running_seconds), 200);
        assert_eq!(ms(report.feed_seconds), 3);
        assert_eq!(ms(report.step_seconds), 50 - 33 - 12);
        assert_eq!(ms(report.consolidate_seconds), 4);
        assert_eq!(ms(report.commit_wait_seconds), 20);
        assert_eq!(ms(report.cut_seconds), 7);
        assert_eq!(ms(report.batch_wait_seconds), 10 + 104 - 2);
        assert_eq!(ms(report.other_seconds), 2);
        assert!((sum(&report) - report.running_seconds).abs() < 1e-9);
    }
}
