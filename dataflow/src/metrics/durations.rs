//! Histograms of durations, with fixed buckets.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use skytide_core::id::Epoch;
use skytide_core::port::arrival::EpochTimes;
use skytide_core::port::clock::Clock;
use skytide_core::time::Timestamp;

/// Upper bounds of the buckets of work, in seconds.
const WORK_BUCKETS: [f64; 16] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// Upper bounds of the buckets from a frame to its rows, in seconds.
const FRAME_TO_ROW_BUCKETS: [f64; 16] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 1_800.0,
    7_200.0,
];

/// The durations of the parts of a batch.
#[derive(Debug, Default)]
pub(super) struct Durations {
    /// The step of a batch on worker 0.
    pub step: WorkSeconds,
    /// A commit, with its retries.
    pub commit: WorkSeconds,
    /// The pause that a cut of a checkpoint caused on one worker.
    pub checkpoint_pause: WorkSeconds,
    /// From the arrival of a frame to its rows.
    pub frame_to_row: FrameToRow,
}

impl Durations {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, histogram) in [
            (
                "step_duration",
                "Time that worker 0 spent stepping the graph for a batch",
                &self.step,
            ),
            (
                "commit_duration",
                "Time of a commit with its retries",
                &self.commit,
            ),
            (
                "checkpoint_pause_duration",
                "Time for which one cut of a checkpoint paused one worker",
                &self.checkpoint_pause,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.0.clone());
        }
        registry.register_with_unit(
            "frame_to_row",
            "Time until the rows of an epoch were committed, one sample per epoch with events: since \
             the arrival of its first frame in this process, or since network time at its end",
            Unit::Seconds,
            self.frame_to_row.by_start.clone(),
        );
    }
}

/// A histogram of work.
#[derive(Debug)]
pub(super) struct WorkSeconds(Histogram);

impl Default for WorkSeconds {
    fn default() -> Self {
        Self(Histogram::new(WORK_BUCKETS))
    }
}

impl WorkSeconds {
    pub(super) fn observe(&self, took: Duration) {
        self.observe_seconds(took.as_secs_f64());
    }

    pub(super) fn observe_seconds(&self, seconds: f64) {
        self.0.observe(seconds);
    }
}

/// The time from a frame to the commit of its rows, once for each epoch that has events and whose
/// rows this process committed.
///
/// ```text
/// first frame arrives ─ epoch ends ─ log ─ batch ─ step ─ commit
/// └────────────────────── since="arrival" ─────────────────────┘   needs ingest in this process
///          network time ┴── since="network_time" ──────────────┘   with the error of the clocks
/// ```
pub(super) struct FrameToRow {
    by_start: Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>,
    /// Network time at the end of each epoch that was read and is not stored yet.
    read: EpochTimes<Timestamp>,
    clocks: OnceLock<Clocks>,
}

struct Clocks {
    clock: Arc<dyn Clock>,
    arrivals: Option<EpochTimes<Instant>>,
}

impl Default for FrameToRow {
    fn default() -> Self {
        Self {
            by_start: Family::new_with_constructor(|| Histogram::new(FRAME_TO_ROW_BUCKETS)),
            read: EpochTimes::default(),
            clocks: OnceLock::new(),
        }
    }
}

impl fmt::Debug for FrameToRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameToRow").finish_non_exhaustive()
    }
}

impl FrameToRow {
    /// Adds one time series, without a sample.
    pub(super) fn add_example(&self) {
        drop(self.by_start.get_or_create(&[("since", "arrival")]));
    }

    /// Measures from now on. A second call changes nothing.
    pub(super) fn measure(&self, clock: Arc<dyn Clock>, arrivals: Option<EpochTimes<Instant>>) {
        let _set_before = self.clocks.set(Clocks { clock, arrivals });
    }

    pub(super) fn read(&self, epoch: Epoch, time: Timestamp) {
        if self.clocks.get().is_some() {
            self.read.record(epoch, time);
        }
    }

    pub(super) fn stored(&self, epoch: Epoch, by_former_run: bool) {
        let Some(Clocks { clock, arrivals }) = self.clocks.get() else {
            return;
        };
        let times = self.read.take_through(epoch);
        let arrivals = arrivals.as_ref().map(|it| it.take_through(epoch));
        if by_former_run {
            return;
        }
        let now = clock.now();
        let since_network_time = times
            .iter()
            .map(|time| now.0.saturating_sub(time.0) as f64 / 1e3);
        self.observe("network_time", since_network_time);
        let arrivals = arrivals.iter().flatten();
        self.observe("arrival", arrivals.map(|it| it.elapsed().as_secs_f64()));
    }

    fn observe(&self, since: &'static str, mut seconds: impl Iterator<Item = f64>) {
        // The family is locked once, and has only starts that were observed.
        let Some(first) = seconds.next() else { return };
        let histogram = self.by_start.get_or_create(&[("since", since)]);
        histogram.observe(first);
        seconds.for_each(|seconds| histogram.observe(seconds));
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use skytide_core::port::clock::ManualClock;

    use super::*;

    fn samples(durations: &Durations) -> Vec<String> {
        let mut registry = Registry::default();
        durations.register(&mut registry);
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let lines = text.lines().filter(|line| line.starts_with("frame_to_row"));
        let sums = lines.filter(|line| !line.contains("bucket"));
        sums.map(str::to_owned).collect()
    }

    /// Epoch 6 has no events. Epochs up to 5 were stored by a former run.
    #[test]
    fn each_epoch_with_events_that_this_run_commits_counts_once() {
        let (durations, clock) = (Durations::default(), Arc::new(ManualClock::default()));
        let latency = &durations.frame_to_row;
        latency.read(Epoch(1), Timestamp(1));
        latency.measure(clock.clone(), None);
        for (epoch, ms) in [(4, 1_000), (5, 1_500), (7, 2_000), (8, 3_000), (9, 9_000)] {
            latency.read(Epoch(epoch), Timestamp(ms));
        }
        clock.set(Timestamp(5_000));
        latency.stored(Epoch(5), true);
        latency.stored(Epoch(8), false);
        // This machine's clock is behind network time.
        latency.stored(Epoch(9), false);
        let expected = [
            r#"frame_to_row_seconds_sum{since="network_time"} 5.0"#,
            r#"frame_to_row_seconds_count{since="network_time"} 3"#,
        ];
        assert_eq!(samples(&durations), expected);
    }

    #[test]
    fn the_time_since_the_arrival_is_known_if_ingest_is_in_this_process() {
        let (durations, arrivals) = (Durations::default(), EpochTimes::default());
        let clock = Arc::new(ManualClock::default());
        let latency = &durations.frame_to_row;
        latency.measure(clock, Some(arrivals.clone()));
        arrivals.record(Epoch(1), Instant::now());
        arrivals.record(Epoch(2), Instant::now());
        latency.stored(Epoch(1), true);
        latency.stored(Epoch(3), false);
        latency.stored(Epoch(4), false);
        let expected = r#"frame_to_row_seconds_count{since="arrival"} 1"#;
        assert_eq!(samples(&durations)[1..], [expected]);
    }
}
